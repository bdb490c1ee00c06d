//! The soak: a real pair under load from several initiators, while its nodes are killed and stopped and its wires cut, cycle after cycle.
//!
//! `cargo xtask soak` calls it. In each cycle one thing happens (`fault`) while the initiators (`initiator`, `requests`) read and write
//! the same sectors and write down what they are told (`record`). The pair heals, the initiators rest, and it is judged (`verdict`):
//! nothing lost, nothing stale, the copies equal. The first thing that is wrong ends it, and is kept (`evidence`). The seed decides what
//! is tried and when, not how the threads of a real machine meet: the same seed tries the same, and may find something else.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a command of the real world: it takes time, starts threads, and orders nothing by its maps"
)]

mod evidence;
mod fault;
mod initiator;
mod record;
mod requests;
mod stage;
mod summary;
mod verdict;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use clap::Parser;
use fault::{Deck, Plan};
use record::Entry;
use stage::Stage;
use summary::{Requests, Summary};
use thiserror::Error;
use verdict::{Judge, Looked, Wrong};

/// Answers that every initiator has had before something happens, and again after the pair has healed.
const ANSWERS: u64 = 40;

/// Kills, stops and cuts parts of a real pair under verified load. Run as root.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask soak")]
struct Arguments {
    /// How many times something happens.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..))]
    cycles: u64,
    /// What is tried, and when; chosen by the clock unless given.
    #[arg(long)]
    seed: Option<u64>,
    /// The program `etherpair` to be tried; built from this workspace unless given.
    #[arg(long)]
    command: PathBuf,
    /// Requests a second of each of the initiators.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rate: u32,
    /// Only what has these words in its name, as "killed".
    #[arg(long, default_value = "")]
    only: String,
    /// Keep what there is to see of the last cycle, even if nothing is wrong.
    #[arg(long)]
    keep: bool,
}

/// Why a soak fails.
#[derive(Debug, Error)]
enum Failure {
    /// The laboratory, or a daemon that does not do what it is told.
    #[error("{0}")]
    Lab(#[from] lab::Error),
    /// Something was lost, stale or diverged.
    #[error("{0}")]
    Wrong(#[from] Wrong),
    /// Nothing is called so.
    #[error("nothing that happens has {0:?} in its name; see the names in the summary of a run")]
    Nothing(String),
    /// An initiator waits for ever, or has died.
    #[error("an initiator does not come to rest: it waits for an answer, or has ended")]
    Restless,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let seed = arguments.seed.unwrap_or_else(|| {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        since.as_secs() % 1_000_000
    });
    match soak(&arguments, seed) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("soak: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn soak(arguments: &Arguments, seed: u64) -> Result<(), Failure> {
    let deck = Deck::new(seed, &arguments.only).ok_or_else(|| Failure::Nothing(arguments.only.clone()))?;
    println!("soak: {} cycles, seed {seed}", arguments.cycles);
    let begun = Instant::now();
    let mut stage = Stage::build(&arguments.command, seed, arguments.rate)?;
    let mut soak = Soak::default();
    let ran = soak.run(&mut stage, deck, arguments.cycles);
    if ran.is_err() || arguments.keep {
        let outcome = ran.as_ref().map_or_else(ToString::to_string, |()| "nothing is wrong".to_owned());
        let what =
            format!("seed {seed}, cycle {}: {outcome}", soak.summary.cycles() + u64::from(ran.is_err()));
        match evidence::keep(stage.pair.scratch.path(), seed, &soak.entries, &what) {
            Ok(directory) => println!("soak: kept in {}", directory.display()),
            Err(error) => println!("soak: what there is to see cannot be kept: {error}"),
        }
    }
    ran?;
    stage.close()?;
    println!("\n{}", soak.summary);
    println!("nothing was lost, stale or diverged; {} s, seed {seed}", begun.elapsed().as_secs());
    Ok(())
}

#[derive(Debug, Default)]
struct Soak {
    judge: Judge,
    summary: Summary,
    /// The cycle that is under way, or was last.
    cycle: String,
    /// Its notes.
    entries: Vec<Entry>,
}

impl Soak {
    /// So many cycles, or until something is wrong.
    fn run(&mut self, stage: &mut Stage, mut deck: Deck, cycles: u64) -> Result<(), Failure> {
        for number in 1..=cycles {
            let plan = deck.next();
            self.cycle = format!("{number:>4}  {plan}");
            print!("{}: ", self.cycle);
            // A closed standard output is no reason to stop.
            let _ = std::io::stdout().flush();
            self.entries.clear();
            let done = self.carry_out(stage, &plan);
            if done.is_err() {
                println!("WRONG");
                self.entries.append(&mut stage.end());
            }
            done?;
        }
        Ok(())
    }

    fn carry_out(&mut self, stage: &mut Stage, plan: &Plan) -> Result<(), Failure> {
        stage.work();
        stage.let_work(ANSWERS)?;
        stage.carry_out(plan)?;
        stage.heal()?;
        stage.let_work(ANSWERS)?;
        self.entries = stage.rest().ok_or(Failure::Restless)?;
        // Also at rest, with what the last requests have left.
        stage.heal()?;
        stage.expect_running()?;
        let requests = Requests::of(&self.entries);
        let looked = self.judge.judge(&self.entries, [&stage.pair.image(0), &stage.pair.image(1)])?;
        self.tell(plan, requests, looked);
        Ok(())
    }

    fn tell(&mut self, plan: &Plan, requests: Requests, looked: Looked) {
        let Requests { reads, writes, longest } = requests;
        println!("{reads} reads, {writes} writes, the longest {:.2} s; copies equal", longest.as_secs_f64());
        self.summary.count(plan.fault.kind(), requests, looked);
    }
}
