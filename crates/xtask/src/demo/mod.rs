//! `cargo xtask demo`: a mirrored pair from nothing to a node that dies under load, comes back, and leaves in order.
//!
//! Namespaces stand for machines, bridges for switches. Nothing outside of them is touched.

mod stage;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use lab::pair::{PATIENCE, is_whole};
use lab::{Error, Process, Program, wait_until, workspace_directory};
use serde_json::Value;
use stage::Stage;

/// A release build from nothing, on two slow cores.
const BUILD_LIMIT: Duration = Duration::from_secs(1200);
const STOP_LIMIT: Duration = Duration::from_secs(30);
/// What runs while something happens to a node: every read is compared with what was written last. It sleeps between answers,
/// because both nodes need the same two cores: what it measured otherwise was how long they waited for one.
const VERIFIED_LOAD: &str = "bench 7.1 -i eth1 --rw randrw --depth 16 --seconds 8 --verify --allow-writes --size 64m \
                             --answer-timeout 150 --sleep --json";
/// What is written meanwhile where that does not look, so that there is something to copy when a node comes back.
const MORE_TO_COPY: &str = "bench 7.1 -i eth1 --rw write --block-size 64k --depth 16 --offset 64m --seconds 1 --allow-writes \
                            --sleep --json";

pub(crate) fn run() -> Result<(), String> {
    show().map_err(|error| error.to_string())
}

fn show() -> Result<(), Error> {
    let command = build()?;
    let begun = Instant::now();
    say(
        "five namespaces: storage0, storage1, witness, hypervisor, and the switches that they are plugged into",
    );
    let stage = Stage::new(command)?;

    say("witness:    etherpair witness        storage0, storage1:  etherpair serve");
    let mut witness = stage.pair.start_witness()?;
    let mut nodes = [stage.pair.start_node(0)?, stage.pair.start_node(1)?];
    say("storage0:   etherpair volume create 7.1 --size 256M        (makes it on both nodes)");
    print_indented(&stage.pair.command(0, "volume create 7.1 --size 256M")?);
    stage.pair.wait_until_in_sync()?;
    print_indented(&stage.pair.command(0, "status")?);
    say("hypervisor: etherpair discover -i eth1        (one disk, two targets)");
    print_indented(&stage.hypervisor_runs("discover -i eth1")?);

    loads(&stage)?;
    let death = death_under_load(&stage, &mut nodes)?;
    let pause = leave_under_load(&stage)?;

    let verified = verify(&stage, &mut nodes[1])?;
    if !stage.pair.copies_are_equal()? {
        return Err(Error::Unexpected { program: "demo".into(), detail: "the copies differ".into() });
    }
    println!("            the two images are equal");
    for node in &mut nodes {
        node.terminate(STOP_LIMIT)?;
    }
    witness.terminate(STOP_LIMIT)?;
    say(&format!(
        "summary: a node was killed under load: the slowest request took {:.0} ms, none failed, nothing was lost.\n\
         It came back, and {} MiB were copied to it in {:.1} s, while both went on serving.\n\
         A node left in order and came back: the slowest request took {pause:.0} ms.\n\
         In the end both copies were compared while they were served: {verified}.\n\
         {} s; namespaces, processes and images are gone.",
        death.stall,
        death.missed_bytes >> 20,
        death.resync.as_secs_f64(),
        begun.elapsed().as_secs()
    ));
    Ok(())
}

/// Plain load through both nodes.
fn loads(stage: &Stage) -> Result<(), Error> {
    for (story, arguments) in [
        ("random reads, 4 KiB, 32 at a time, through both nodes", "--rw randread --depth 32 --seconds 3"),
        (
            "random writes, each on stable storage at both nodes before it is acknowledged",
            "--rw randwrite --depth 32 --seconds 3 --allow-writes",
        ),
        ("the same one at a time: what a write takes", "--rw randwrite --depth 1 --seconds 3 --allow-writes"),
    ] {
        say(&format!("hypervisor: {story}\n            etherpair bench 7.1 -i eth1 {arguments}"));
        print_indented(&stage.hypervisor_runs(&format!("bench 7.1 -i eth1 {arguments}"))?);
    }
    Ok(())
}

/// What became of a node that was killed.
struct Death {
    /// The slowest request, in milliseconds.
    stall: f64,
    /// What it lacked when it came back: what it had missed, and what was under way when it was killed.
    missed_bytes: u64,
    /// How long it took to get that.
    resync: Duration,
}

/// A verified load goes on while node 0 is killed and comes back.
fn death_under_load(stage: &Stage, nodes: &mut [Process; 2]) -> Result<Death, Error> {
    say(
        "storage0:   kill -9 in the middle of verified reads and writes, and a new start when more was written",
    );
    let (mut missed_bytes, mut resync) = (0, Duration::ZERO);
    let report = under_load(stage, || {
        nodes[0].kill()?;
        stage.pair.wait_until_alone(1)?;
        stage.hypervisor_runs(MORE_TO_COPY)?;
        print_indented(&stage.pair.command(1, "status")?);
        println!("            storage0 starts, and gets what it has missed while the load goes on:");
        nodes[0] = stage.pair.start_node(0)?;
        let begun = Instant::now();
        missed_bytes = stage.watch(1, "the resync to end", "resync", is_whole)?;
        resync = begun.elapsed();
        Ok(())
    })?;
    stage.pair.wait_until_in_sync()?;
    Ok(Death { stall: tell(&report)?, missed_bytes, resync })
}

/// Compares both copies while they are served. What came of it, in the daemon's words.
fn verify(stage: &Stage, node: &mut Process) -> Result<String, Error> {
    const OVER: [&str; 2] = ["7.1: verified: ", "7.1: comparing was given up"];
    say("storage1:   etherpair volume verify 7.1        (online; and then byte for byte)");
    print_indented(&stage.pair.command(1, "volume verify 7.1")?);
    stage.watch(1, "the end of the verify", "verify", |volume| volume["verify"].is_null())?;
    let said = wait_until("the outcome of the verify", PATIENCE, || {
        node.expect_running()?;
        let is_over = |line: &&str| OVER.iter().any(|word| line.contains(word));
        Ok(node.output().lines().find(is_over).map(str::to_owned))
    })?;
    match said.split_once(OVER[0]) {
        Some((_, outcome)) if !outcome.contains("differ") => Ok(outcome.to_owned()),
        _ => Err(Error::Unexpected { program: "etherpair volume verify".into(), detail: said }),
    }
}

/// The same with a node that leaves in order. The slowest request, in milliseconds.
fn leave_under_load(stage: &Stage) -> Result<f64, Error> {
    say("storage1:   etherpair leave, and a little later etherpair join, under the same load");
    let report = under_load(stage, || {
        print_indented(&stage.pair.command(1, "leave")?);
        thread::sleep(Duration::from_secs(1));
        print_indented(&stage.pair.command(1, "join")?);
        Ok(())
    })?;
    stage.pair.wait_until_in_sync()?;
    tell(&report)
}

/// Has something happen in the middle of a verified load. What the load reports.
fn under_load(stage: &Stage, happening: impl FnOnce() -> Result<(), Error>) -> Result<Value, Error> {
    let report = thread::scope(|scope| {
        let load = scope.spawn(|| stage.hypervisor_runs(VERIFIED_LOAD));
        thread::sleep(Duration::from_secs(2));
        let happened = happening();
        let report = load.join().map_err(|_| unexpected("its thread panicked"))?;
        happened.and(report)
    })?;
    serde_json::from_str(&report).map_err(|error| unexpected(&format!("{error}: {report}")))
}

/// Says how it was for the hypervisor, for which nothing may have failed. The slowest request, in milliseconds.
fn tell(report: &Value) -> Result<f64, Error> {
    let rate = |kind: &str| report[kind]["requests_per_second"].as_f64().unwrap_or_default();
    let slowest =
        |kind: &str| report[kind]["latency_microseconds"]["max"].as_f64().unwrap_or_default() / 1000.0;
    let (rate, slowest) = (rate("read") + rate("write"), slowest("read").max(slowest("write")));
    println!(
        "            {rate:.0} requests a second, {} failed, every read returned what was written last; the slowest took {slowest:.0} ms",
        report["failed"]
    );
    if report["failed"] == 0 { Ok(slowest) } else { Err(unexpected(&format!("requests failed: {report}"))) }
}

fn unexpected(detail: &str) -> Error {
    Error::Unexpected { program: "etherpair bench".into(), detail: detail.into() }
}

/// The command, built as it is released.
pub(crate) fn build() -> Result<PathBuf, Error> {
    say("building etherpair (release)");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let directory = workspace_directory();
    Program::new(cargo)
        .args(["build", "--release", "--package", "etherpair"])
        .directory(&directory)
        .within(BUILD_LIMIT)
        .run()?;
    Ok(release_command(&directory))
}

fn release_command(workspace: &Path) -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace.join("target"), PathBuf::from);
    target.join("release").join("etherpair")
}

fn say(text: &str) {
    println!("\n{text}");
    // A closed standard output is no reason to stop.
    let _ = std::io::stdout().flush();
}

fn print_indented(text: &str) {
    for line in text.lines() {
        println!("            {line}");
    }
}
