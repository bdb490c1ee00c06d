//! What an initiator notices when a node dies, and when one leaves in order and comes back.

use std::fmt::Write as _;
use std::thread;
use std::time::Duration;

use lab::Error;

use super::super::table::median;
use super::load::{self, Sample};
use super::stage::{PairStage, unix_time};

/// As the pair of the laboratory has it, which says nothing.
const LEASE_MILLISECONDS: f64 = 1000.0;
const BEYOND_LEASE_WANTED: f64 = 300.0;
const LEAVE_WANTED: f64 = 50.0;
/// A load begins, and after this something happens.
const BEFORE: Duration = Duration::from_millis(700);
/// Long enough for the stall and what is behind it.
const KILL_LOAD: &str = "7.1 --rw randwrite --depth 4 --seconds 4 --allow-writes --retransmit-after 20";
const LEAVE_LOAD: &str = "7.1 --rw randrw --depth 4 --seconds 2 --allow-writes";

/// Nodes are killed in turns, three in a round.
pub(super) fn kills(name: &str, stage: &mut PairStage<'_>, rounds: usize) -> Result<String, Error> {
    let (mut slowest, mut serving) = (Vec::new(), Vec::new());
    for number in 0..rounds * 3 {
        eprintln!("{} of {}: {name}", number + 1, rounds * 3);
        let (load, alone) = kill(stage, number % 2)?;
        slowest.push(load.max / 1e3);
        serving.push(alone * 1e3);
    }
    let wanted = LEASE_MILLISECONDS + BEYOND_LEASE_WANTED;
    let greatest = slowest.iter().copied().fold(0.0, f64::max);
    let missed = if greatest <= wanted { "" } else { "**missed:** " };
    let mut text = format!(
        "\n**{name}**, under writes through both nodes, 4 at a time, {} times\n\n| | median, ms | longest, ms |\n\
         |---|---|---|\n",
        slowest.len()
    );
    row(&mut text, "from the kill until the other node serves alone", &serving);
    row(&mut text, "the longest write, which began before or at the kill", &slowest);
    let _ = writeln!(text, "\n{missed}{greatest:.0} ms (wanted at most {wanted:.0}: the lease and 300 ms).");
    Ok(text)
}

/// What the load noticed, and after how many seconds the survivor said that it serves alone.
fn kill(stage: &mut PairStage<'_>, victim: usize) -> Result<(Sample, f64), Error> {
    let (command, client) = (stage.bench.command.clone(), stage.client.clone());
    let (load, killed) = thread::scope(|scope| {
        let load = scope.spawn(|| load::aoe(&command, &client, KILL_LOAD, &[]));
        thread::sleep(BEFORE);
        let killed = unix_time();
        stage.nodes[victim].kill()?;
        joined(load).map(|load| (load, killed))
    })?;
    let alone = stage.told(1 - victim, "alone").unwrap_or(f64::INFINITY) - killed;
    stage.restart(victim)?;
    Ok((load, alone))
}

/// Nodes leave and join in turns, twice in a round, each under a load of its own.
pub(super) fn leaves(name: &str, stage: &PairStage<'_>, rounds: usize) -> Result<String, Error> {
    let (mut leaves, mut joins) = (Vec::new(), Vec::new());
    for number in 0..rounds * 2 {
        eprintln!("{} of {}: {name}", number + 1, rounds * 2);
        let node = number % 2;
        leaves.push(under_load(stage, || stage.leave(node))?);
        joins.push(under_load(stage, || stage.pair.command(node, "join").map(|_| ()))?);
        stage.pair.wait_until_in_sync()?;
    }
    let greatest = leaves.iter().chain(&joins).copied().fold(0.0, f64::max);
    let missed = if greatest <= LEAVE_WANTED { "" } else { "**missed:** " };
    let mut text = format!(
        "\n**{name}**, under reads and writes through both nodes, 4 at a time, {} times\n\n\
         | slowest request | median, ms | longest, ms |\n|---|---|---|\n",
        leaves.len()
    );
    row(&mut text, "while a node leaves", &leaves);
    row(&mut text, "while it joins and gets what it missed", &joins);
    let _ = writeln!(text, "\n{missed}{greatest:.1} ms (wanted at most {LEAVE_WANTED}).");
    Ok(text)
}

/// The slowest request in milliseconds of a load in which something happens.
fn under_load(stage: &PairStage<'_>, happening: impl FnOnce() -> Result<(), Error>) -> Result<f64, Error> {
    // A node that has just started cannot leave: that is waited for before, not under the load.
    stage.wait_until_settled();
    let load = thread::scope(|scope| {
        let load = scope.spawn(|| load::aoe(&stage.bench.command, &stage.client, LEAVE_LOAD, &[]));
        thread::sleep(BEFORE);
        let happened = happening();
        let load = joined(load);
        happened.and(load)
    })?;
    Ok(load.max / 1e3)
}

fn joined(load: thread::ScopedJoinHandle<'_, Result<Sample, Error>>) -> Result<Sample, Error> {
    load.join().unwrap_or_else(|_| {
        Err(Error::Unexpected { program: "etherpair bench".into(), detail: "its thread panicked".into() })
    })
}

fn row(text: &mut String, name: &str, milliseconds: &[f64]) {
    let middle = median(milliseconds.to_vec()).unwrap_or(0.0);
    let longest = milliseconds.iter().copied().fold(0.0, f64::max);
    let _ = writeln!(text, "| {name} | {middle:.1} | {longest:.1} |");
}
