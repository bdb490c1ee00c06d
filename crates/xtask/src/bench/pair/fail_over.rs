//! What an initiator notices when a node dies, and when one leaves in order and comes back.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use lab::Error;

use super::super::table::median;
use super::load;
use super::probe;
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
/// A node that has come back is quiet for three seconds before it answers at its own address again.
const JOIN_LOAD: &str = "7.1 --rw randrw --depth 4 --seconds 6 --allow-writes";

/// What a kill did, in milliseconds.
#[derive(Clone, Copy, Debug)]
struct Killed {
    /// Until the survivor said that it serves alone.
    alone: f64,
    /// How long no write was answered to an initiator that knows the survivor alone.
    first: f64,
    /// The longest write of one that wrote through both.
    longest: f64,
}

/// Nodes are killed in turns, three in a round.
pub(super) fn kills(name: &str, stage: &mut PairStage<'_>, rounds: usize) -> Result<String, Error> {
    let mut kills = Vec::new();
    for number in 0..rounds * 3 {
        eprintln!("{} of {}: {name}", number + 1, rounds * 3);
        kills.push(kill(stage, number % 2)?);
    }
    let wanted = LEASE_MILLISECONDS + BEYOND_LEASE_WANTED;
    let of = |value: fn(&Killed) -> f64| kills.iter().map(value).collect::<Vec<_>>();
    let greatest = of(|kill| kill.first).into_iter().fold(0.0, f64::max);
    let missed = if greatest <= wanted { "" } else { "**missed:** " };
    let mut text = format!(
        "\n**{name}**, under writes, {} times\n\n| | median, ms | longest, ms |\n|---|---|---|\n",
        kills.len()
    );
    row(&mut text, "from the kill until the other node serves alone", &of(|kill| kill.alone));
    row(&mut text, "until a write is answered by it, asked anew every 10 ms", &of(|kill| kill.first));
    row(
        &mut text,
        "the longest of four writes at a time through both nodes, copies after 20 ms, 40 ms, 80 ms …",
        &of(|kill| kill.longest),
    );
    let _ = writeln!(text, "\n{missed}{greatest:.0} ms (wanted at most {wanted:.0}: the lease and 300 ms).");
    Ok(text)
}

fn kill(stage: &mut PairStage<'_>, victim: usize) -> Result<Killed, Error> {
    let survivor = 1 - victim;
    stage.set_second_network_silent(victim, true)?;
    let (command, client, watcher) =
        (stage.bench.command.clone(), stage.client.clone(), stage.watcher.clone());
    let stop = AtomicBool::new(false);
    let (longest, first, killed) = thread::scope(|scope| {
        let longest = scope.spawn(|| load::aoe(&command, &client, KILL_LOAD, &[]));
        let first = scope.spawn(|| probe::longest_silence(&watcher, &stop));
        thread::sleep(BEFORE);
        let killed = unix_time();
        stage.nodes[victim].kill()?;
        let longest = joined(longest);
        stop.store(true, Ordering::Relaxed);
        Ok::<_, Error>((longest?.max / 1e3, joined(first)?, killed))
    })?;
    let alone = (stage.told_at(survivor, "alone") - killed) * 1e3;
    stage.set_second_network_silent(victim, false)?;
    stage.restart(victim)?;
    Ok(Killed { alone, first, longest })
}

/// Nodes leave and join in turns, twice in a round, each under a load of its own.
pub(super) fn leaves(name: &str, stage: &PairStage<'_>, rounds: usize) -> Result<String, Error> {
    let (mut leaves, mut joins) = (Vec::new(), Vec::new());
    for number in 0..rounds * 2 {
        eprintln!("{} of {}: {name}", number + 1, rounds * 2);
        let node = number % 2;
        leaves.push(under_load(stage, LEAVE_LOAD, || stage.leave(node))?);
        joins.push(under_load(stage, JOIN_LOAD, || {
            stage.pair.command(node, "join")?;
            stage.pair.wait_until_serving(node)
        })?);
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
    row(&mut text, "while it comes back, and answers at its own address again", &joins);
    let _ = writeln!(text, "\n{missed}{greatest:.1} ms at most (wanted {LEAVE_WANTED}).");
    Ok(text)
}

/// The slowest request in milliseconds of a load in which something happens, all of it.
fn under_load(
    stage: &PairStage<'_>,
    options: &str,
    happening: impl FnOnce() -> Result<(), Error>,
) -> Result<f64, Error> {
    // A node that has just started cannot leave: that is waited for before, not under the load.
    stage.wait_until_settled();
    let load = thread::scope(|scope| {
        let load = scope.spawn(|| load::aoe(&stage.bench.command, &stage.client, options, &[]));
        thread::sleep(BEFORE);
        let happened = happening();
        let outlasted = !load.is_finished();
        let load = joined(load);
        happened.and(load).and_then(|load| if outlasted { Ok(load) } else { Err(too_slow()) })
    })?;
    Ok(load.max / 1e3)
}

fn too_slow() -> Error {
    let detail =
        "the load ended before everything had happened: the machine is too slow for this line".into();
    Error::Unexpected { program: "cargo xtask bench".into(), detail }
}

fn joined<T>(load: thread::ScopedJoinHandle<'_, Result<T, Error>>) -> Result<T, Error> {
    load.join().unwrap_or_else(|_| {
        Err(Error::Unexpected { program: "etherpair bench".into(), detail: "its thread panicked".into() })
    })
}

fn row(text: &mut String, name: &str, milliseconds: &[f64]) {
    let middle = median(milliseconds.to_vec()).unwrap_or(0.0);
    let longest = milliseconds.iter().copied().fold(0.0, f64::max);
    let _ = writeln!(text, "| {name} | {middle:.1} | {longest:.1} |");
}
