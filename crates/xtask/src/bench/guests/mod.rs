//! A pair inside two emulated machines beside DRBD in the same machines: what a write and a read take that are on both disks.
//!
//! Compared is like with like. *In the disks' caches of both*: ours with `durability = "memory"`, DRBD protocol C as it is, whose
//! flushes come only when somebody asks. *On stable storage of both*: ours as it is, DRBD with a flush for each write. Our initiator is
//! on the wire, outside of the machines, and goes through the first machine alone, or through both; DRBD's is fio on its device inside the
//! first machine (no AoE at all), or the same initiator on the wire with vblade before the device. All take turns.

mod machines;

use std::fmt::Write as _;
use std::time::Duration;

use lab::{Error, package};
use serde_json::Value;

use self::machines::Machines;
use super::Arguments;
use super::stage::Stage;
use super::table::median;

/// For `--only`.
pub(super) const NAME: &str = "a pair and DRBD inside two emulated machines";
const WRITES_WANTED: f64 = 1.5;
const READS_WANTED: f64 = 1.0;
const LOAD_LIMIT: Duration = Duration::from_secs(120);

/// What is done.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Work {
    Write,
    DurableWrite,
    Read,
}

/// Who does it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Contestant {
    Drbd,
    DrbdVblade,
    OneNode,
    BothNodes,
}

const CONTESTANTS: [Contestant; 4] =
    [Contestant::Drbd, Contestant::DrbdVblade, Contestant::OneNode, Contestant::BothNodes];

const LINES: [(&str, Work, u32); 5] = [
    ("4 KiB random write, depth 1, in the caches of both disks", Work::Write, 1),
    ("the same, depth 32", Work::Write, 32),
    ("4 KiB random write, depth 1, on stable storage of both", Work::DurableWrite, 1),
    ("the same, depth 32", Work::DurableWrite, 32),
    ("4 KiB random read, depth 32", Work::Read, 32),
];

/// The table.
pub(super) fn measure(stage: &Stage, arguments: &Arguments) -> Result<String, Error> {
    package::require(&[package::DRBD_UTILS, package::QEMU, package::BUSYBOX, package::KMOD])?;
    let mut machines = Machines::start(&stage.command)?;
    let mut rates = vec![vec![Vec::new(); CONTESTANTS.len()]; LINES.len()];
    for round in 1..=arguments.rounds {
        for (line, (name, work, depth)) in LINES.into_iter().enumerate() {
            eprintln!("round {round} of {}, in guests: {name}", arguments.rounds);
            // Another one goes first in each round.
            for turn in 0..CONTESTANTS.len() {
                let index = (round + turn) % CONTESTANTS.len();
                let rate = once(&mut machines, CONTESTANTS[index], work, depth, stage.seconds);
                rates[line][index].push(rate.map_err(|error| machines.tell_with_logs(&error))?);
            }
        }
    }
    Ok(table(&rates))
}

fn table(rates: &[Vec<Vec<f64>>]) -> String {
    let mut text = format!(
        "\n**{NAME}**, requests a second\n\n| work | DRBD 8.4, fio on it | DRBD, vblade before it | **etherpair**, through one node | \
         **etherpair**, through both |\n|---|---|---|---|---|\n"
    );
    for ((name, work, _), rates) in LINES.into_iter().zip(rates) {
        let wanted = if work == Work::Read { READS_WANTED } else { WRITES_WANTED };
        let [drbd, vblade, one, both] = &rates[..] else { continue };
        let middle = |rates: &[f64]| median(rates.to_vec()).unwrap_or(0.0);
        let verdict = |ours: &[f64], theirs: &[f64], who: &str| {
            let ratios = ours.iter().zip(theirs).map(|(ours, theirs)| ours / theirs.max(1.0));
            let ratio = median(ratios.collect()).unwrap_or(0.0);
            let mark = if ratio >= wanted { "" } else { "**missed:** " };
            format!("{mark}{ratio:.2} × {who} (wanted {wanted})")
        };
        let ours = |ours: &[f64]| {
            let (alone, before) = (verdict(ours, drbd, "DRBD"), verdict(ours, vblade, "DRBD and vblade"));
            format!("{:.0}: {alone}; {before}", middle(ours))
        };
        let theirs = format!("{:.0} | {:.0}", middle(drbd), middle(vblade));
        let _ = writeln!(text, "| {name} | {theirs} | {} | {} |", ours(one), ours(both));
    }
    text
}

fn once(
    machines: &mut Machines,
    contestant: Contestant,
    work: Work,
    depth: u32,
    seconds: f64,
) -> Result<f64, Error> {
    match contestant {
        Contestant::Drbd => fio(machines, work, depth, seconds),
        Contestant::OneNode => initiator(machines, pair_address(work), &["eth0"], work, depth, seconds),
        Contestant::BothNodes => {
            initiator(machines, pair_address(work), &["eth0", "eth1"], work, depth, seconds)
        }
        Contestant::DrbdVblade => {
            machines.start_vblade(if work == Work::DurableWrite { "-d -s" } else { "-d" })?;
            let rate = initiator(machines, "7.3", &["eth0"], work, depth, seconds);
            machines.stop_vblade()?;
            rate
        }
    }
}

/// Which of the pair's two volumes makes the promise that is compared.
const fn pair_address(work: Work) -> &'static str {
    match work {
        Work::Write => "7.2",
        Work::DurableWrite | Work::Read => "7.1",
    }
}

/// Our load generator on the wire. It sleeps between answers: the machines need both cores.
fn initiator(
    machines: &Machines,
    address: &str,
    cards: &[&str],
    work: Work,
    depth: u32,
    seconds: f64,
) -> Result<f64, Error> {
    let (depth, seconds) = (depth.to_string(), seconds.to_string());
    let mut arguments = vec!["bench", address, "--depth", &depth, "--seconds", &seconds];
    arguments.extend(cards.iter().flat_map(|card| ["-i", *card]));
    arguments.extend(["--warm-up", "0.5", "--sleep", "--json"]);
    let kind = if work == Work::Read { "read" } else { "write" };
    if work != Work::Read {
        arguments.extend(["--rw", "randwrite", "--allow-writes"]);
    }
    let said = machines.client_runs(&arguments)?;
    rate(&said, |report| report[kind]["requests_per_second"].as_f64())
}

/// fio on DRBD's device in the first machine.
fn fio(machines: &mut Machines, work: Work, depth: u32, seconds: f64) -> Result<f64, Error> {
    let kind = if work == Work::Read { "read" } else { "write" };
    let sync = if work == Work::DurableWrite { "--sync=dsync" } else { "" };
    let script = format!(
        "/usr/bin/fio --name=line --filename=/dev/drbd0 --ioengine=libaio --direct=1 --thread --rw=rand{kind} --bs=4k \
         --iodepth={depth} {sync} --time_based --runtime={}ms --ramp_time=500ms --output-format=json",
        (seconds * 1e3).round()
    );
    let said = machines.guests[0].run(&script, LOAD_LIMIT)?;
    rate(&said, |report| report["jobs"][0][kind]["iops"].as_f64())
}

fn rate(said: &str, find: impl Fn(&Value) -> Option<f64>) -> Result<f64, Error> {
    // What fio has to remark stands before.
    let begin = said.find('{').unwrap_or_default();
    let report: Option<Value> = serde_json::from_str(&said[begin..]).ok();
    report.as_ref().and_then(find).ok_or_else(|| Error::Unexpected {
        program: "a load in or before guests".into(),
        detail: said.into(),
    })
}
