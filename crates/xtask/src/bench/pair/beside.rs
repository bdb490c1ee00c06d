//! The lines in which the pair and what it is compared with do the same work in turns: durable writes and reads of 4 KiB.

use std::fmt::Write as _;

use lab::{Error, Process, wait_until};

use super::super::table::median;
use super::load::{self, Sample};
use super::ping_pong;
use super::stage::{COPY_LIMIT, PairStage};

/// Who takes part.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Contestant {
    /// fio on a file with O_DSYNC.
    Fio,
    /// The same on two files at once; what one of them gets.
    FioTwice,
    /// A round trip on the wire between the nodes, without anything else.
    PingPong,
    /// `etherpair export` on a file like the nodes'.
    Export,
    /// The pair, through node 0 alone.
    OneNode,
    /// The pair, through both nodes.
    BothNodes,
}

impl Contestant {
    const fn name(self) -> &'static str {
        match self {
            Self::Fio => "fio, O_DSYNC",
            Self::FioTwice => "fio on two files at once, each",
            Self::PingPong => "TCP between the nodes, 4 KiB forth, 48 B back",
            Self::Export => "one `etherpair export`",
            Self::OneNode => "**pair, through one node**",
            Self::BothNodes => "**pair, through both nodes**",
        }
    }
}

/// A thing we must reach.
#[derive(Clone, Copy, Debug)]
enum Goal {
    /// At most so many microseconds more, by the median and by the mean.
    Added(f64),
    /// At most a round trip and so many microseconds more, by the median.
    AddedToPingPong(f64),
    /// At least so much of the rate.
    Rate(f64),
}

/// A line.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) name: &'static str,
    work: &'static str,
    depth: u32,
    contestants: &'static [Contestant],
    /// Whose, compared with whom.
    goals: &'static [(Contestant, Contestant, Goal)],
}

use Contestant::{BothNodes, Export, Fio, FioTwice, OneNode, PingPong};

/// All of them.
pub(super) const LINES: [Line; 3] = [
    Line {
        name: "pair: 4 KiB random durable write, depth 1",
        work: "randwrite",
        depth: 1,
        contestants: &[Fio, FioTwice, PingPong, Export, OneNode, BothNodes],
        goals: &[
            (OneNode, Fio, Goal::Added(90.0)),
            (OneNode, Fio, Goal::AddedToPingPong(20.0)),
            (OneNode, FioTwice, Goal::AddedToPingPong(20.0)),
            (BothNodes, Fio, Goal::Added(90.0)),
        ],
    },
    Line {
        name: "pair: 4 KiB random durable write, depth 32",
        work: "randwrite",
        depth: 32,
        contestants: &[Fio, FioTwice, Export, OneNode, BothNodes],
        goals: &[(OneNode, FioTwice, Goal::Rate(0.7)), (BothNodes, FioTwice, Goal::Rate(0.7))],
    },
    Line {
        name: "pair: 4 KiB random read, depth 32",
        work: "randread",
        depth: 32,
        contestants: &[Export, OneNode, BothNodes],
        goals: &[(OneNode, Export, Goal::Rate(0.95)), (BothNodes, Export, Goal::Rate(1.3))],
    },
];

/// The results of a line: of each contestant, round after round.
type Results = Vec<(Contestant, Vec<Sample>)>;

/// The table of a line.
pub(super) fn measure(line: &Line, stage: &PairStage<'_>, rounds: usize) -> Result<String, Error> {
    let mut results: Results = line.contestants.iter().map(|one| (*one, Vec::new())).collect();
    for round in 1..=rounds {
        // Another one goes first in each round.
        for turn in 0..results.len() {
            let index = (round + turn) % results.len();
            let contestant = results[index].0;
            eprintln!("round {round} of {rounds}: {}: {}", line.name, contestant.name());
            results[index].1.push(once(line, contestant, stage)?);
        }
    }
    Ok(table(line, &results))
}

fn once(line: &Line, contestant: Contestant, stage: &PairStage<'_>) -> Result<Sample, Error> {
    let seconds = stage.bench.seconds;
    let files = [stage.bench.image.as_path(), stage.second_image.as_path()];
    let both = [&stage.nodes[0], &stage.nodes[1]];
    let pair = || {
        let arguments = load::arguments("7.1", line.work, line.depth, seconds);
        load::aoe(&stage.bench.command, &stage.client, &arguments, &both)
    };
    match contestant {
        Fio => load::fio(&files[..1], line.depth, seconds),
        FioTwice => load::fio(&files, line.depth, seconds),
        PingPong => ping_pong::measure(&stage.pair, seconds),
        Export => {
            let mut export = start_export(stage)?;
            let arguments = load::arguments("8.1", line.work, line.depth, seconds);
            let sample = load::aoe(&stage.bench.command, &stage.client, &arguments, &[&export]);
            export.terminate(COPY_LIMIT)?;
            sample
        }
        OneNode => {
            stage.pair.set_storage_silent(1, true)?;
            let sample = pair();
            stage.pair.set_storage_silent(1, false)?;
            sample
        }
        BothNodes => pair(),
    }
}

/// A single export beside the nodes, once it answers.
fn start_export(stage: &PairStage<'_>) -> Result<Process, Error> {
    let program =
        stage.neighbour.program(&stage.bench.command).args(["export", "8.1"]).arg(&stage.bench.image);
    let program = program.args(["-i", "eth1", "--state-directory"]).arg(stage.bench.scratch.path());
    let mut export = stage.bench.start(program, "single")?;
    wait_until("an answer of the single export", COPY_LIMIT, || {
        export.expect_running()?;
        let question = ["discover", "8.1", "-i", "eth1", "--timeout", "50"];
        let output = stage.client.program(&stage.bench.command).args(question).output()?;
        Ok(output.status.success().then_some(()))
    })?;
    Ok(export)
}

fn table(line: &Line, results: &Results) -> String {
    let mut text = format!(
        "\n**{}**\n\n| | requests/s | p50 µs | mean µs | p99 µs | processor µs |\n|---|---|---|---|---|---|\n",
        line.name
    );
    for (contestant, samples) in results {
        let of = |value: fn(&Sample) -> f64| median(samples.iter().map(value).collect()).unwrap_or(0.0);
        let processor = of(|sample| sample.processor.unwrap_or(0.0));
        let processor = if processor > 0.0 { format!("{processor:.1}") } else { "–".to_owned() };
        let (rate, p50) = (of(|sample| sample.requests_per_second), of(|sample| sample.p50));
        let (mean, p99) = (of(|sample| sample.mean), of(|sample| sample.p99));
        let name = contestant.name();
        let _ = writeln!(text, "| {name} | {rate:.0} | {p50:.0} | {mean:.0} | {p99:.0} | {processor} |");
    }
    let verdicts: Vec<String> = line.goals.iter().filter_map(|goal| verdict(results, goal)).collect();
    let _ = writeln!(text, "\n{}.", verdicts.join("; "));
    text
}

/// Whether a goal was reached: the median of what was found in each round.
fn verdict(results: &Results, goal: &(Contestant, Contestant, Goal)) -> Option<String> {
    let (ours, theirs, goal) = goal;
    let of = |wanted: Contestant| results.iter().find(|(one, _)| *one == wanted).map(|(_, samples)| samples);
    let compared = |compare: &dyn Fn(usize, &Sample, &Sample) -> f64| {
        let rounds = of(*ours)?.iter().zip(of(*theirs)?).enumerate();
        median(rounds.map(|(round, (ours, theirs))| compare(round, ours, theirs)).collect())
    };
    let (found, is_reached) = match goal {
        Goal::Added(wanted) => {
            let added = compared(&|_, ours, theirs| ours.p50 - theirs.p50)?;
            let mean = compared(&|_, ours, theirs| ours.mean - theirs.mean)?;
            (
                format!("{added:.0} µs more than {{}} (wanted {wanted}), by the mean {mean:.0}"),
                added <= *wanted,
            )
        }
        Goal::AddedToPingPong(wanted) => {
            let trips = of(PingPong)?;
            let added = compared(&|round, ours, theirs| ours.p50 - theirs.p50 - trips[round].p50)?;
            (format!("{added:.0} µs more than {{}} and a round trip (wanted {wanted})"), added <= *wanted)
        }
        Goal::Rate(wanted) => {
            let ratio = compared(&|_, ours, theirs| ours.requests_per_second / theirs.requests_per_second)?;
            (format!("{ratio:.2} × {{}} (wanted {wanted})"), ratio >= *wanted)
        }
    };
    let found = format!("{}: {}", ours.name(), found.replace("{}", theirs.name()));
    Some(if is_reached { found } else { format!("**missed:** {found}") })
}
