//! The command around the simulator: which seeds, in how many threads, and what came of them.
//!
//! `cargo xtask sim` calls it. It is the only part that knows the real time and threads.
#![allow(
    clippy::disallowed_methods,
    reason = "a command of the real world: it takes time and starts threads"
)]

use std::io::Write;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use clap::Parser;
use sim::fault::Fault;
use sim::finding::{Finding, Property};
use sim::minimise::minimise;
use sim::mistake::Mistake;
use sim::options::Options;
use sim::replay::Replay;
use sim::run::{Report, run_compared};
use sim::scenario;
use sim::tally::Tally;

/// Lines of the trace that a failure shows.
const LINES_SHOWN: usize = 60;
/// One seed in so many is run twice: chance from outside shows in whatever seed it touches, and a few thousand are run at a time.
const TWICE_EVERY: u64 = 50;

/// Runs the pair through what can go wrong, once for each seed.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask sim")]
struct Arguments {
    /// How many seeds.
    #[arg(long, default_value_t = 1000)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    seed_base: u64,
    /// Threads; one for each core unless told otherwise.
    #[arg(long)]
    jobs: Option<usize>,
    /// One seed, told in detail.
    #[arg(long)]
    seed: Option<u64>,
    /// Show what happens.
    #[arg(long)]
    trace: bool,
    /// Leave out these kinds of faults, or injections of these numbers.
    #[arg(long, value_delimiter = ',')]
    without: Vec<String>,
    /// One named scenario, or `all`.
    #[arg(long)]
    scenario: Option<String>,
    /// Run every seed twice, not one in 50, and compare the ways it took.
    #[arg(long)]
    twice: bool,
    /// Do not stop at a failure: tell all of them at the end.
    #[arg(long)]
    keep_going: bool,
    /// Fail as well if a kind of fault never happened, or something that is looked out for was never seen. Takes a few thousand seeds.
    #[arg(long)]
    see_all: bool,
    /// Every node of every world makes this mistake on purpose.
    #[cfg(feature = "mutations")]
    #[arg(long, value_name = "NAME")]
    mistake: Option<Mistake>,
    /// Tell which mistakes there are.
    #[cfg(feature = "mutations")]
    #[arg(long)]
    mistakes: bool,
}

/// What is the same for every seed.
struct Chosen {
    /// Kinds of faults that are left out.
    without: Vec<Fault>,
    mistake: Mistake,
}

impl Chosen {
    fn options(&self, seed: u64) -> Options {
        Options { mistake: self.mistake, ..Options::new(seed).without(&self.without) }
    }

    fn replay<'a>(&'a self, seed: u64, suppressed: &'a [u32], finding: &Finding) -> Replay<'a> {
        let found_by = finding.property;
        Replay { seed, without: &self.without, suppressed, mistake: self.mistake, found_by }
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    #[cfg(feature = "mutations")]
    if arguments.mistakes {
        Mistake::all()
            .for_each(|mistake| println!("{}: {}", mistake.name().unwrap_or_default(), mistake.text()));
        return ExitCode::SUCCESS;
    }
    #[cfg(feature = "mutations")]
    let mistake = arguments.mistake.unwrap_or_default();
    #[cfg(not(feature = "mutations"))]
    let mistake = Mistake::default();
    let (without, numbers) = match without(&arguments.without) {
        Ok(without) => without,
        Err(error) => {
            eprintln!("sim: {error}");
            return ExitCode::from(2);
        }
    };
    let chosen = Chosen { without, mistake };
    let passed = if let Some(name) = &arguments.scenario {
        scenarios(name, mistake, arguments.trace)
    } else if let Some(seed) = arguments.seed {
        one(&chosen.options(seed), &numbers, arguments.trace, arguments.twice)
    } else {
        many(&arguments, &chosen)
    };
    if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Kinds and numbers of what is left out.
fn without(words: &[String]) -> Result<(Vec<Fault>, Vec<u32>), String> {
    let (mut faults, mut numbers) = (Vec::new(), Vec::new());
    for word in words {
        match word.parse() {
            Ok(number) => numbers.push(number),
            Err(_) => faults.push(word.parse()?),
        }
    }
    Ok((faults, numbers))
}

fn scenarios(name: &str, mistake: Mistake, trace: bool) -> bool {
    let named = scenario::ALL.iter().filter(|scenario| scenario.name == name);
    let chosen: Vec<_> = if name == "all" { scenario::ALL.iter().collect() } else { named.collect() };
    if chosen.is_empty() {
        let names: Vec<&str> = scenario::ALL.iter().map(|scenario| scenario.name).collect();
        eprintln!("sim: there is no scenario {name}; there are: {}", names.join(", "));
        return false;
    }
    let mut passed = true;
    for scenario in chosen {
        let report = scenario.run(mistake, if trace { usize::MAX / 2 } else { 0 });
        report.lines.iter().for_each(|line| println!("{line}"));
        match &report.failure {
            None => println!("{}: good ({} requests)", scenario.name, report.requests),
            Some(failure) => println!("{}: {failure}", scenario.name),
        }
        passed &= report.failure.is_none();
    }
    passed
}

fn one(options: &Options, suppressed: &[u32], trace: bool, twice: bool) -> bool {
    println!("seed {}: {options}", options.seed);
    for injection in sim::run::injections(options) {
        let left_out = if suppressed.contains(&injection.number) { " (left out)" } else { "" };
        println!("  {injection}{left_out}");
    }
    let report = run_compared(options, suppressed, if trace { usize::MAX / 2 } else { LINES_SHOWN }, twice);
    report.lines.iter().for_each(|line| println!("{line}"));
    let Report { requests, events, digest, .. } = report;
    println!("{requests} requests, {events} events, {} faults, way {digest:016x}", report.faults.total());
    match report.failure {
        None => println!("good"),
        Some(failure) => {
            println!("{failure}");
            return false;
        }
    }
    true
}

fn many(arguments: &Arguments, chosen: &Chosen) -> bool {
    let jobs = arguments.jobs.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    let next = AtomicU64::new(0);
    let stop = AtomicBool::new(false);
    let tally = Mutex::new(Tally::default());
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index >= arguments.seeds {
                        return;
                    }
                    let options = chosen.options(arguments.seed_base + index);
                    let twice = arguments.twice || index.is_multiple_of(TWICE_EVERY);
                    let report = run_compared(&options, &[], 0, twice);
                    let mut tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
                    tally.add(options.seed, report);
                    let failed = !tally.failures.is_empty();
                    stop.fetch_or(failed && !arguments.keep_going, Ordering::Relaxed);
                }
            });
        }
        scope.spawn(|| progress(&tally, &stop, arguments.seeds, begun));
    });
    let tally = tally.into_inner().unwrap_or_else(PoisonError::into_inner);
    let seconds = begun.elapsed().as_secs_f64();
    println!("{tally}");
    println!("{:.0} seeds a second in {jobs} threads", tally.seeds as f64 / seconds.max(0.001));
    for (seed, finding) in &tally.failures {
        println!("\nseed {seed}: {finding}");
        if arguments.keep_going {
            println!("see it again: {}", chosen.replay(*seed, &[], finding));
        }
    }
    let Some((seed, finding)) = tally.failures.first_key_value() else {
        return nothing_is_unseen(arguments, &tally);
    };
    if !arguments.keep_going {
        told_small(chosen, *seed, finding);
    }
    false
}

/// Whether everything was seen that should be, where that is asked.
fn nothing_is_unseen(arguments: &Arguments, tally: &Tally) -> bool {
    let unseen = if arguments.see_all { tally.unseen() } else { Vec::new() };
    if !unseen.is_empty() {
        let unseen = unseen.join(", ");
        println!("\nnever seen: {unseen}: change what seeds draw, or where it counts as seen");
    }
    unseen.is_empty()
}

/// Makes a failing seed small and says how to see it again.
fn told_small(chosen: &Chosen, seed: u64, finding: &Finding) {
    let options = chosen.options(seed);
    let suppressed = minimise(&options, finding.property);
    one(&options, &suppressed, false, finding.property == Property::Repeatable);
    println!("\nsee it again: {}", chosen.replay(seed, &suppressed, finding));
}

fn progress(tally: &Mutex<Tally>, stop: &AtomicBool, seeds: u64, begun: Instant) {
    loop {
        std::thread::sleep(Duration::from_millis(100));
        let done = tally.lock().unwrap_or_else(PoisonError::into_inner).seeds;
        let rate = done as f64 / begun.elapsed().as_secs_f64();
        eprint!("\r{done} of {seeds} seeds, {rate:.0} a second ");
        let _ = std::io::stderr().flush();
        if done >= seeds || stop.load(Ordering::Relaxed) {
            eprintln!();
            return;
        }
    }
}
