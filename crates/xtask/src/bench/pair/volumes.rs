//! Many volumes in one pair: what they cost while nobody uses them, and how long a node takes that comes back to them.

use std::fmt::Write as _;
use std::thread;
use std::time::{Duration, Instant};

use lab::pair::{Pair, is_whole};
use lab::{Error, Process};

use super::super::Arguments;
use super::super::stage::Stage;
use super::stage::COPY_LIMIT;

const COUNTS: [usize; 4] = [1, 10, 100, 1000];
/// Slots that an address may have, a round number of them.
const SLOTS: usize = 250;
const IDLE_WANTED: f64 = 2.0;
/// After a start, before idleness is measured.
const REST: Duration = Duration::from_secs(3);
/// How long a node is watched that has nothing to do.
const WATCHED: Duration = Duration::from_secs(10);
/// How often the nodes are asked how far they are: it costs them something to say.
const LOOK: Duration = Duration::from_millis(50);

/// What was found with so many volumes. Of each node: percent of a core, and MB.
#[derive(Clone, Copy, Debug)]
struct Found {
    connect_seconds: f64,
    idle_percent: [f64; 2],
    resident_megabytes: [f64; 2],
}

/// The table. More and more volumes are made in the same pair.
pub(super) fn measure(name: &str, stage: &Stage, arguments: &Arguments) -> Result<String, Error> {
    let pair = Pair::new("bench-volumes", &stage.command, true)?;
    let _witness = pair.start_witness()?;
    let mut nodes = [pair.start_node(0)?, pair.start_node(1)?];
    let counts = if arguments.short { &COUNTS[..3] } else { &COUNTS[..] };
    let mut text = format!(
        "\n**{name}**, of 16 MiB, nobody uses them\n\n| volumes | idle, % of a core, node 0 · 1 | resident MB, node 0 · 1 \
         | from the start of node 1 until all are established, s |\n|---|---|---|---|\n"
    );
    let (mut made, mut worst) = (0, 0.0_f64);
    for &count in counts {
        eprintln!("{name}: {count} volumes");
        for index in made..count {
            pair.command(0, &format!("volume create {} --size 16M", address(index)))?;
        }
        made = count;
        let found = once(&pair, &mut nodes, count)?;
        let Found { connect_seconds, idle_percent: idle, resident_megabytes: resident } = found;
        worst = worst.max(idle[0]).max(idle[1]);
        let _ = writeln!(
            text,
            "| {count} | {:.2} · {:.2} | {:.0} · {:.0} | {connect_seconds:.2} |",
            idle[0], idle[1], resident[0], resident[1]
        );
    }
    let missed = if worst < IDLE_WANTED { "" } else { "**missed:** " };
    let _ = writeln!(text, "\n{missed}at most {worst:.2} % of a core while idle (wanted {IDLE_WANTED}).");
    Ok(text)
}

fn address(index: usize) -> String {
    format!("{}.{}", 20 + index / SLOTS, index % SLOTS)
}

fn once(pair: &Pair, nodes: &mut [Process; 2], count: usize) -> Result<Found, Error> {
    all_whole(pair, count)?;
    nodes[1].terminate(COPY_LIMIT)?;
    let begun = Instant::now();
    nodes[1] = pair.start_node(1)?;
    all_whole(pair, count)?;
    let connect_seconds = begun.elapsed().as_secs_f64();
    thread::sleep(REST);
    let used = || Ok::<_, Error>([nodes[0].cpu_time()?, nodes[1].cpu_time()?]);
    let (before, begun) = (used()?, Instant::now());
    thread::sleep(WATCHED);
    let (after, elapsed) = (used()?, begun.elapsed());
    let idle = |node: usize| (after[node] - before[node]).as_secs_f64() * 100.0 / elapsed.as_secs_f64();
    let resident = |node: usize| {
        let kibibytes = u32::try_from(nodes[node].resident_bytes()? / 1024).unwrap_or(u32::MAX);
        Ok::<_, Error>(f64::from(kibibytes) / 1024.0)
    };
    let resident_megabytes = [resident(0)?, resident(1)?];
    Ok(Found { connect_seconds, idle_percent: [idle(0), idle(1)], resident_megabytes })
}

/// Waits until both nodes have so many volumes and serve them all as equals.
fn all_whole(pair: &Pair, count: usize) -> Result<(), Error> {
    pair.wait_for_pair("all volumes established", COPY_LIMIT, || {
        for node in 0..2 {
            let status = pair.status(node)?;
            let volumes = status["volumes"].as_array().map(Vec::as_slice).unwrap_or_default();
            if volumes.len() != count || !volumes.iter().all(is_whole) {
                thread::sleep(LOOK);
                return Ok(None);
            }
        }
        Ok(Some(()))
    })
}
