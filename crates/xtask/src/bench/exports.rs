//! Many exports in one process: what each costs in memory, in time to start, and to the rate of one that is used.

use std::fmt::Write as _;
use std::fs;
use std::time::{Duration, Instant};

use lab::{Error, Process, disk, wait_until};
use serde_json::Value;

use super::stage::{CLIENT_INTERFACE, Stage, TARGET_INTERFACE};
use super::table::median;

/// For `--only`.
pub(super) const NAME: &str = "exports in one process";
const COUNTS: [usize; 4] = [1, 10, 100, 1000];
/// Slots that an address may have, a round number of them.
const SLOTS: usize = 250;
const OTHER_BYTES: u64 = 16 << 20;
const START_LIMIT: Duration = Duration::from_secs(60);

/// What was found with so many exports.
#[derive(Clone, Copy, Debug)]
struct Found {
    start_milliseconds: f64,
    resident_megabytes: f64,
    requests_per_second: f64,
}

/// The table.
pub(super) fn measure(stage: &Stage, rounds: usize) -> Result<String, Error> {
    let others = stage.scratch.join("others");
    fs::create_dir(&others).map_err(|source| Error::System { action: "make a directory".into(), source })?;
    for index in 1..*COUNTS.last().unwrap_or(&1) {
        disk::sparse_image(&others.join(format!("{index}.img")), OTHER_BYTES)?;
    }
    let mut found: Vec<Vec<Found>> = vec![Vec::new(); COUNTS.len()];
    for round in 1..=rounds {
        // Another count goes first in each round: whoever is always first finds a rested disk.
        for turn in 0..COUNTS.len() {
            let index = (round + turn) % COUNTS.len();
            eprintln!("round {round} of {rounds}: {} exports", COUNTS[index]);
            found[index].push(once(stage, COUNTS[index])?);
        }
    }
    let mut text = format!(
        "\n**1 to 1000 {NAME}**, one of them read at random with depth 32\n\n\
         | exports | start, ms | resident, MB | requests/s |\n|---|---|---|---|\n"
    );
    let of = |results: &[Found], value: fn(&Found) -> f64| {
        median(results.iter().map(value).collect()).unwrap_or(0.0)
    };
    for (results, count) in found.iter().zip(COUNTS) {
        let start = of(results, |found| found.start_milliseconds);
        let resident = of(results, |found| found.resident_megabytes);
        let rate = of(results, |found| found.requests_per_second);
        let _ = writeln!(text, "| {count} | {start:.0} | {resident:.1} | {rate:.0} |");
    }
    Ok(text)
}

fn once(stage: &Stage, count: usize) -> Result<Found, Error> {
    stage.cache(false)?;
    let mut program = stage.target(&stage.command).arg("export").arg("20.0").arg(&stage.image);
    for index in 1..count {
        let address = format!("{}.{}", 20 + index / SLOTS, index % SLOTS);
        let image = stage.scratch.join("others").join(format!("{index}.img"));
        program = program.arg(address).arg(image);
    }
    let program = program.args(["-i", TARGET_INTERFACE, "--state-directory"]).arg(stage.scratch.path());
    let begun = Instant::now();
    let mut target = stage.start(program, "exports")?;
    let last = format!("{}.{}", 20 + (count - 1) / SLOTS, (count - 1) % SLOTS);
    wait_until("an answer of the last export", START_LIMIT, || answers(stage, &mut target, &last))?;
    let start_milliseconds = begun.elapsed().as_secs_f64() * 1e3;
    let seconds = stage.seconds.to_string();
    let load = ["bench", "20.0", "-i", CLIENT_INTERFACE, "--depth", "32", "--json", "--seconds", &seconds];
    let output = stage.client(&stage.command).args(load).run()?;
    let report: Value = serde_json::from_str(&output.stdout).map_err(|error| Error::Unexpected {
        program: "etherpair bench".into(),
        detail: error.to_string(),
    })?;
    let resident = u32::try_from(target.resident_bytes()? / 1024).unwrap_or(u32::MAX);
    target.terminate(START_LIMIT)?;
    Ok(Found {
        start_milliseconds,
        resident_megabytes: f64::from(resident) / 1024.0,
        requests_per_second: report["read"]["requests_per_second"].as_f64().unwrap_or(0.0),
    })
}

fn answers(stage: &Stage, target: &mut Process, address: &str) -> Result<Option<()>, Error> {
    target.expect_running()?;
    let question = ["discover", address, "-i", CLIENT_INTERFACE, "--timeout", "20"];
    let output = stage.client(&stage.command).args(question).output()?;
    Ok(output.status.success().then_some(()))
}
