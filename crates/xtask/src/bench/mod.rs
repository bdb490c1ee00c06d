//! `cargo xtask bench`: our target beside its rivals and beside fio on the file itself, in one run, on one machine.
//!
//! Two namespaces, a veth pair with MTU 9000, a fully written file of 1 GiB; the client on core 0, the target on core 1.
//! The contestants of a line take turns, round after round, so that what disturbs the machine disturbs all of them; a
//! figure is the median of the rounds. All AoE targets are loaded by the same program. The tables go to
//! `docs/measurements.md`, between markers.

mod contestant;
mod exports;
mod guests;
mod line;
mod measure;
mod pair;
mod stage;
mod table;

use std::path::PathBuf;

use clap::Args;
use lab::{Error, package};

use line::Line;
use measure::Measurement;
use stage::Stage;

/// What `cargo xtask bench` takes.
#[derive(Args, Clone, Debug)]
pub(crate) struct Arguments {
    /// Compare with this ggaoed binary too (it is not packaged; its source is public)
    #[arg(long, value_name = "PATH")]
    ggaoed: Option<PathBuf>,

    /// Rounds; a figure is the median of them
    #[arg(long, value_name = "N", default_value_t = 5)]
    rounds: usize,

    /// Seconds for each measurement
    #[arg(long, value_name = "N", default_value_t = 2.0)]
    seconds: f64,

    /// Only lines whose name contains this; `pair:` are those of a mirrored pair
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,

    /// Give client and target real-time priority: for a machine that does something else, too. Durable writes then still
    /// wait for the kernel's threads, which have none
    #[arg(long)]
    realtime: bool,

    /// One round of half a second each, up to 100 volumes: to see that it works, not what it costs. Implies --dry-run
    #[arg(long, conflicts_with_all = ["rounds", "seconds"])]
    short: bool,

    /// Print the tables and leave docs/measurements.md as it is
    #[arg(long)]
    dry_run: bool,
}

/// Measures everything and writes it down.
pub(crate) fn run(arguments: &Arguments) -> Result<(), String> {
    let mut arguments = arguments.clone();
    if arguments.short {
        (arguments.rounds, arguments.seconds, arguments.dry_run) = (1, 0.5, true);
    }
    measure_all(&arguments).map_err(|error| error.to_string())
}

/// Tables, each said as soon as it is known: what comes after it may take long, or be interrupted.
#[derive(Default)]
struct Report {
    text: String,
}

impl Report {
    fn add(&mut self, table: &str) {
        print!("{table}");
        self.text += table;
    }
}

fn measure_all(arguments: &Arguments) -> Result<(), Error> {
    package::require(&[package::IPROUTE2, package::FIO, package::VBLADE, package::QEMU_UTILS])?;
    let stage = Stage::new(arguments)?;
    let wanted = |name: &str| arguments.only.as_ref().is_none_or(|only| name.contains(only.as_str()));
    let lines: Vec<Line> = line::all().into_iter().filter(|line| wanted(line.name)).collect();
    let mut rounds: Vec<Vec<Vec<Option<Measurement>>>> = Vec::new();
    for round in 1..=arguments.rounds {
        let mut results = Vec::new();
        for line in &lines {
            eprintln!("round {round} of {}: {}", arguments.rounds, line.name);
            results.push(line.measure(&stage)?);
        }
        rounds.push(results);
    }
    let mut report = Report::default();
    report.add(&table::header(arguments));
    for (index, line) in lines.iter().enumerate() {
        let of_line: Vec<&[Option<Measurement>]> = rounds.iter().map(|round| &*round[index]).collect();
        report.add(&table::line(line, &of_line));
    }
    if wanted(exports::NAME) {
        report.add(&exports::measure(&stage, arguments.rounds)?);
    }
    pair::measure(&stage, arguments, &wanted, &mut report)?;
    if wanted(guests::NAME) {
        report.add(&guests::measure(&stage, arguments)?);
    }
    if arguments.dry_run || arguments.only.is_some() {
        return Ok(());
    }
    table::write(&report.text)
}
