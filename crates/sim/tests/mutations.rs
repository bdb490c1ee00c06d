//! Would the simulator notice? All nodes of all its worlds make one mistake on purpose.
//!
//! The test command wants a few mistakes found, each by one property: who takes the call of a property away hears of it here.
//! `MUTATIONS=write` tries all mistakes and writes what came out into `docs/mutations.md`.

use std::panic::{set_hook, take_hook};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, Once};
use std::thread;

use replication::mutation::Mutation;
use sim::finding::{Finding, Property};
use sim::minimise::minimise;
use sim::options::Options;
use sim::run::{injections, run};
use sim::scenario::ALL;

/// So many seeds, from 0 on, before a mistake counts as one that the simulator does not find.
const SEEDS_MAX: u64 = 2000;
/// What is found soon: the mistake, by which property, from which seed on, and within how many. Some properties see little that
/// another one has not seen before: these begin shortly before a seed in which they do. That a lone node is judged has tests of its own
/// (`survivor.rs`): hardly a mistake waits for that.
const SOON: [(Mutation, Property, u64, u64); 12] = [
    (Mutation::LogNotReplayed, Property::Durable, 5000, 40),
    (Mutation::LogNotReplayed, Property::ReplicasEqual, 5000, 60),
    (Mutation::LogNotReplayed, Property::DifferenceCovered, 5800, 60),
    (Mutation::DroppedWritesAnswered, Property::Linearizable, 5000, 60),
    (Mutation::FrozenReadsAnswered, Property::Lease, 5640, 30),
    (Mutation::ArbiterNotAsked, Property::OneHistory, 5000, 20),
    (Mutation::SmallStateNotShared, Property::SmallStateEqual, 5000, 70),
    (Mutation::AckBeforeDisk, Property::Liveness, 5000, 40),
    (Mutation::AckNotAwaited, Property::Whole, 5000, 60),
    (Mutation::AckNotAwaited, Property::AnsweredOnce, 9660, 30),
    (Mutation::AckNotAwaited, Property::Lag, 5390, 30),
    (Mutation::LateNotTold, Property::Assertion, 0, 40),
];
const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/mutations.md");
/// What the last column of the page holds before the simulator was asked.
const NOT_TRIED: &str = "not tried";
const COMMAND: &str = "MUTATIONS=write cargo test --profile sim -p sim --features mutations --test mutations";
/// Threads in which nodes make mistakes: their assertions fail without a word.
const THREAD: &str = "makes mistakes";

fn options(mutation: Mutation, seed: u64) -> Options {
    Options { mistake: mutation.into(), ..Options::new(seed) }
}

fn failure(options: &Options, suppressed: &[u32]) -> Option<Finding> {
    run(options, suppressed, 0).failure
}

/// Does the work with as many threads as there are cores.
fn in_parallel(count: usize, work: impl Fn(usize) + Sync) {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let hook = take_hook();
        set_hook(Box::new(move |panic| {
            if thread::current().name() != Some(THREAD) {
                hook(panic);
            }
        }));
    });
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(2, usize::from) {
            let work = || {
                let indices = std::iter::repeat_with(|| next.fetch_add(1, Ordering::Relaxed));
                indices.take_while(|index| *index < count).for_each(&work);
            };
            thread::Builder::new().name(THREAD.into()).spawn_scoped(scope, work).expect("a thread");
        }
    });
}

/// The same for each of them, in their order.
fn each<T: Sync, R: Send>(all: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let results: Vec<Mutex<Option<R>>> = all.iter().map(|_| Mutex::new(None)).collect();
    in_parallel(all.len(), |index| {
        let result = work(&all[index]);
        *results[index].lock().expect("nobody panics holding it") = Some(result);
    });
    let result = |result: Mutex<Option<R>>| result.into_inner().expect("as above").expect("it was done");
    results.into_iter().map(result).collect()
}

#[test]
fn a_volume_that_is_about_to_grow_again_is_not_served_without_what_is_new() {
    let scenario = ALL.iter().find(|scenario| scenario.name == "grows-twice-before-it-serves");
    let report = scenario.expect("told").run(Mutation::SizeNotToldWhileGrowing.into(), 0);
    assert_eq!(report.failure.map(|finding| finding.property), Some(Property::Size));
}

#[test]
fn each_property_finds_a_mistake_soon() {
    let missed = each(&SOON, |&(mutation, property, first, seeds)| {
        let is_found = |seed| failure(&options(mutation, seed), &[]).is_some_and(|f| f.property == property);
        let found = (first..first + seeds).position(is_found);
        println!("{property}: {mutation:?}, {:?} of {seeds} seeds", found.map(|seeds| seeds + 1));
        found.is_none().then_some((property, mutation))
    });
    let missed: Vec<_> = missed.into_iter().flatten().collect();
    assert!(missed.is_empty(), "not found any more: {missed:?}");
}

/// What different properties find, and would find in each other's place where only some of it goes wrong.
#[test]
fn a_failing_run_is_made_small_and_fails_by_the_same_property() {
    let mut worlds = (5000..).map(|seed| options(Mutation::AckNotAwaited, seed));
    let mut failing = Vec::new();
    while failing.len() < 4 {
        let options = worlds.next().expect("there are more");
        failing.extend(failure(&options, &[]).map(|finding| (options, finding.property)));
    }
    let small = each(&failing, |(options, property)| {
        let left_out = minimise(options, *property);
        let found_by = failure(options, &left_out).map(|finding| finding.property);
        (found_by, injections(options).len(), left_out.len())
    });
    let (mut planned, mut left_out) = (0, 0);
    for ((options, property), (found_by, of_it, out_of_it)) in failing.iter().zip(small) {
        assert_eq!(found_by, Some(*property), "seed {}", options.seed);
        planned += of_it;
        left_out += out_of_it;
    }
    assert!(left_out > planned / 2, "of {planned} injections only {left_out} are left out");
}

/// By which property a mistake is found first, and after how many seeds.
fn hunt(mutation: Mutation) -> Option<(Property, u64)> {
    let found = (0..SEEDS_MAX).find_map(|seed| Some((failure(&options(mutation, seed), &[])?, seed + 1)));
    let told = found.as_ref().map(|(finding, seeds)| format!("{seeds} seeds: {finding}"));
    let told: String =
        told.unwrap_or_else(|| format!("not in {SEEDS_MAX} seeds")).chars().take(200).collect();
    println!("{mutation:?}: {told}");
    found.map(|(finding, seeds)| (finding.property, seeds))
}

/// A line of the page's table with that cell at its end, and the one that was there.
fn with_cell(line: &str, cell: &str) -> Option<(String, String)> {
    let mut cells: Vec<&str> = line.split('|').collect();
    let [_, _, _, _, _, _, last, ""] = cells.as_mut_slice() else { return None };
    let before = std::mem::replace(last, cell).trim().to_owned();
    Some((cells.join("|"), before))
}

fn is_row_of(line: &str, mutation: Mutation) -> bool {
    line.contains(&format!("| `{mutation:?}` |"))
}

/// Asks the simulator for these mistakes, and writes what it says into the page.
fn write_page(page: &str, mutations: &[Mutation]) {
    let found = each(mutations, |mutation| hunt(*mutation));
    let seeds = found.iter().flatten().map(|(_, seeds)| *seeds).max().unwrap_or_default();
    let innocent: Vec<u64> = (0..seeds).collect();
    let findings = each(&innocent, |seed| failure(&Options::new(*seed), &[]));
    assert_eq!(findings.into_iter().flatten().next(), None, "the engine without a mistake");
    let cells = found.iter().map(|found| {
        found.map_or_else(|| " – ".into(), |(property, seeds)| format!(" {property}, {seeds} "))
    });
    let cells: Vec<(Mutation, String)> = mutations.iter().copied().zip(cells).collect();
    let rewritten = page.lines().map(|line| {
        let of = cells.iter().find(|(mutation, _)| is_row_of(line, *mutation));
        of.and_then(|(_, cell)| with_cell(line, cell)).map_or_else(|| line.to_owned(), |(line, _)| line)
    });
    let rewritten: String = rewritten.map(|line| line + "\n").collect();
    std::fs::write(PAGE, rewritten).expect("docs/mutations.md can be written");
    println!("{} of {} are found", found.iter().flatten().count(), found.len());
}

/// How many seeds it took changes with the simulator and is not compared.
#[test]
fn the_page_tells_what_the_simulator_finds() {
    let read = || std::fs::read_to_string(PAGE).expect("docs/mutations.md is there");
    let cell_of = |page: &str, mutation: &Mutation| {
        let row = page.lines().find(|line| is_row_of(line, *mutation))?;
        with_cell(row, "").map(|(_, cell)| cell)
    };
    let asked: Vec<Mutation> = match std::env::var("MUTATIONS").as_deref() {
        Ok("write") => Mutation::ALL.to_vec(),
        Ok("new") => {
            let page = read();
            let is_new =
                |mutation: &&Mutation| cell_of(&page, mutation).is_some_and(|cell| cell == NOT_TRIED);
            Mutation::ALL.iter().filter(is_new).copied().collect()
        }
        _ => Vec::new(),
    };
    if !asked.is_empty() {
        write_page(&read(), &asked);
    }
    let page = read();
    assert!(
        page.contains(&format!("in {SEEDS_MAX} seeds")),
        "docs/mutations.md is of another number of seeds"
    );
    let is_told = |mutation: &Mutation| {
        cell_of(&page, mutation).is_some_and(|cell| !cell.is_empty() && cell != NOT_TRIED)
    };
    let untold: Vec<_> = Mutation::ALL.iter().filter(|mutation| !is_told(mutation)).collect();
    assert!(
        untold.is_empty(),
        "docs/mutations.md does not say whether the simulator finds {untold:?}: {COMMAND}"
    );
}
