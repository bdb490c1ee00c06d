//! Would the tests notice? The engine makes one mistake after the other, in the worlds of `pair`, until each is caught; the
//! engine without a mistake passes the same runs. `MUTATIONS=write` writes what came out to `docs/mutations.md`,
//! `MUTATION=Name` looks at one of them only.

#[path = "pair/oracle.rs"]
mod oracle;
#[path = "pair/plan.rs"]
mod plan;
#[path = "pair/stories/mod.rs"]
mod stories;
#[path = "pair/world/mod.rs"]
mod world;

use std::fmt::Write as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use replication::mutation::Mutation;
use world::Plan;

/// So many runs, over all worlds in turn, before a mistake counts as one that nobody notices.
const RUNS_MAX: u64 = 640;
/// Each story is told so often before that: what it leaves to chance differs.
const TELLINGS: u64 = 8;
/// Mistakes that nothing shows, and why that is so. Not looked for, unless by name.
const UNNOTICED: [(Mutation, &str); 6] = [
    (
        Mutation::TargetKeepsItsEffects,
        "no client here sends a write again after the nodes have parted; the stories `doubt_executed` and `doubt_abandoned` of two whole nodes break with it (`crates/node/tests/mutations.rs`)",
    ),
    (
        Mutation::NumbersNotTold,
        "no client here writes with numbers; the story `late_number` of two whole nodes breaks with it (`crates/node/tests/mutations.rs`)",
    ),
    (
        Mutation::SizeNotToldWhileGrowing,
        "clients here know how large a volume is from the nodes' events; the scenario `grows-twice-before-it-serves` of the simulator breaks with it (`crates/sim/tests/mutations.rs`)",
    ),
    (
        Mutation::RemoteDoubtsDropped,
        "the coordinator of a write has it in its log, or in its bitmap since it froze, until both nodes have it, and brings it to the next meeting: what the follower notes is a second net",
    ),
    (
        Mutation::LacksForgotten,
        "the source has noted durably what the target lacks before it proceeds, and clears a bit only when the target has the block: what the target notes is a second net",
    ),
    (
        Mutation::DoubtsNotDurable,
        "a node goes on alone only when nothing is under way to its disk, and the bits of its doubts are handed out when it freezes: the rule says what would otherwise follow by accident",
    ),
];
const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/mutations.md");
const HEAD: &str = "\
# Mistakes, and whether the tests notice

`crates/replication/src/mutation.rs` lists wrong changes to the engine, one rule broken in one place each. The test
`mutations` lets two engines make each mistake in the stories of `crates/replication/tests/pair`, then in its worlds in turn,
until it is caught. The unchanged engine passes the same runs, and many more. Rewritten by
`MUTATIONS=write cargo test -p replication --features mutations --test mutations`; the numbers are those of the last time.

The last column is that of the simulator (`cargo xtask sim --mistake NAME`), where all nodes of all worlds make the mistake: which
of its properties (`docs/fault-coverage.md`) was the first to find something, and after how many seeds; – where none did in 2000 seeds.
It draws its worlds for everything that can go wrong, not for these rules, so it is the slower one, and sees about a third of them. Some it cannot
see at all: its nodes have the AoE target above the engine, which orders writes that overlap at one node (R1, R4), and drops what comes late, before the
engine is asked. Rewritten by
`MUTATIONS=write cargo test --profile sim -p sim --features mutations --test mutations`. A few are part of the test command.

What is looked at in every run:

| property | what must hold |
|---|---|
| history | every read and write fits one disk on one time line, sector by sector; at the end everything is read once more |
| equality | when both are members and nothing is under way, the copies are equal |
| liveness | when all is repaired, both become members again, the arbiter knows it, and every request ends |
| exclusion | while one serves alone the other serves nothing, whatever it has not noticed yet |
| address | while one answers at the other's address the other serves nothing |
| memory | whoever serves has heard of every write that was answered less than three seconds ago, or two where neither has answered anything since it began |
| silence | no initiator is told of an error while both copies are good |
| refusal | no node tells the other that it broke the protocol |
| leave | whoever is told that its peer leaves can go on without it |
| stall | where nodes only leave and come back, every request is answered |
| verify | an online verify finds what differs, and nothing else; where it is to fix that, the copies are equal afterwards, and as the node has it that was told to |
| settings | what AoE clients set is the same on both disks at the end |
| assertion | the engine's own |

";

/// What stands in the last column before the simulator was asked.
const NOT_TRIED: &str = "not tried";

/// How a mistake was caught.
#[derive(Clone, Debug)]
struct Catch {
    property: &'static str,
    world: &'static str,
    runs: u64,
    message: String,
}

const PROPERTIES: [&str; 12] = [
    "history",
    "equality",
    "liveness",
    "exclusion",
    "address",
    "memory",
    "silence",
    "refusal",
    "leave",
    "stall",
    "verify",
    "settings",
];

fn reason(mutation: Mutation) -> Option<&'static str> {
    UNNOTICED.iter().find(|(unnoticed, _)| *unnoticed == mutation).map(|(_, reason)| *reason)
}

fn property(message: &str) -> &'static str {
    PROPERTIES
        .into_iter()
        .find(|property| message.strip_prefix(property).is_some_and(|rest| rest.starts_with(':')))
        .unwrap_or("assertion")
}

/// The worlds in turn: every one of them sees every seed.
fn chosen(run: u64) -> (u64, &'static str, Plan) {
    let worlds = plan::ALL.len() as u64;
    let (name, plan) = plan::ALL[usize::try_from(run % worlds).expect("a few")];
    (run / worlds, name, plan)
}

fn hunt(mutation: Mutation) -> Option<Catch> {
    let only_story = std::env::var("STORY").ok();
    let told = (0..TELLINGS)
        .flat_map(|seed| stories::all().map(move |story| (seed, story)))
        .filter(|(_, (name, ..))| only_story.as_ref().is_none_or(|only| only == name))
        .zip(1..)
        .find_map(|((seed, story), runs)| {
            let message = stories::tell(seed, story, Some(mutation)).err()?;
            Some(Catch { property: property(&message), world: story.0, runs, message })
        });
    told.or_else(|| hunt_in_worlds(mutation))
}

fn hunt_in_worlds(mutation: Mutation) -> Option<Catch> {
    (0..RUNS_MAX).find_map(|number| {
        let (seed, world, plan) = chosen(number);
        let message = plan::run(seed, Plan { mutation: Some(mutation), ..plan }).err()?;
        Some(Catch { property: property(&message), world, runs: number + 1, message })
    })
}

/// Does the work with as many threads as there are cores.
fn in_parallel(count: usize, work: impl Fn(usize) + Sync) {
    let next = AtomicUsize::new(0);
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index >= count {
                        break;
                    }
                    work(index);
                }
            });
        }
    });
}

/// What the page has of the simulator, which is asked by a test of its own.
fn of_the_simulator(page: &str, mutation: Mutation) -> &str {
    let row = page.lines().find(|line| line.contains(&format!("| `{mutation:?}` |")));
    let cells: Vec<&str> = row.unwrap_or_default().split('|').collect();
    if let [_, _, _, _, _, _, last, ""] = cells.as_slice() { last.trim() } else { NOT_TRIED }
}

fn table(caught: &[(Mutation, Option<Catch>)]) -> String {
    let page = std::fs::read_to_string(PAGE).unwrap_or_default();
    let mut text = String::from(
        "| mistake | name | caught by | in the world | after runs | simulator, after seeds |\n|---|---|---|---|---|---|\n",
    );
    for (mutation, found) in caught {
        let (mistake, simulated) = (mutation.mistake(), of_the_simulator(&page, *mutation));
        match found {
            Some(Catch { property, world, runs, .. }) => {
                writeln!(text, "| {mistake} | `{mutation:?}` | {property} | {world} | {runs} | {simulated} |")
            }
            None => {
                let reason = reason(*mutation).unwrap_or("nobody knows why");
                writeln!(text, "| {mistake} | `{mutation:?}` | nothing: {reason} | | | {simulated} |")
            }
        }
        .expect("a string takes everything");
    }
    text
}

#[test]
fn every_mistake_is_noticed_and_the_engine_makes_none() {
    let only = std::env::var("MUTATION").ok();
    let mutations: Vec<Mutation> = Mutation::ALL
        .iter()
        .copied()
        .filter(|mutation| only.as_ref().is_none_or(|only| *only == format!("{mutation:?}")))
        .collect();
    assert!(!mutations.is_empty(), "there is no mistake {only:?}");
    if let Ok(only) = std::env::var("STORY") {
        assert!(stories::all().any(|(name, ..)| name == only), "there is no story {only}");
    }
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let results = Mutex::new(vec![None; mutations.len()]);
    in_parallel(mutations.len(), |index| {
        let is_hopeless = only.is_none() && reason(mutations[index]).is_some();
        let found = if is_hopeless { None } else { hunt(mutations[index]) };
        if let Some(Catch { message, runs, world, .. }) = &found {
            let message: String = message.chars().take(150).collect();
            println!("{:?}: {world}, {runs} runs: {message}", mutations[index]);
        }
        results.lock().expect("nobody panics holding it")[index] = found;
    });
    let results = results.into_inner().expect("nobody panics holding it");
    let caught: Vec<_> = mutations.into_iter().zip(results).collect();
    let runs = caught.iter().flat_map(|(_, found)| found).map(|found| found.runs).max().unwrap_or(1);
    let innocent = Mutex::new(Vec::new());
    in_parallel(usize::try_from(runs).expect("bounded"), |number| {
        let (seed, world, plan) = chosen(number as u64);
        if let Err(message) = plan::run(seed, plan) {
            innocent.lock().expect("nobody panics holding it").push((world, seed, message));
        }
    });
    std::panic::set_hook(hook);
    let table = table(&caught);
    println!("{table}");
    let innocent = innocent.into_inner().expect("nobody panics holding it");
    assert!(innocent.is_empty(), "the engine without a mistake: {innocent:?}");
    let missed: Vec<_> = caught
        .iter()
        .filter(|(mutation, found)| found.is_none() && reason(*mutation).is_none())
        .map(|(mutation, _)| mutation)
        .collect();
    assert!(missed.is_empty(), "nobody notices {missed:?}");
    if only.is_none() {
        check_page(&table, &caught);
    }
}

/// The page tells of every mistake; how many runs it took changes with the engine and is not compared.
fn check_page(table: &str, caught: &[(Mutation, Option<Catch>)]) {
    if std::env::var("MUTATIONS").is_ok_and(|value| value == "write") {
        std::fs::write(PAGE, format!("{HEAD}{table}")).expect("docs/mutations.md can be written");
    }
    let page = std::fs::read_to_string(PAGE).unwrap_or_default();
    let untold: Vec<_> = caught
        .iter()
        .filter(|(mutation, _)| !page.contains(&format!("| {} | `{mutation:?}` |", mutation.mistake())))
        .map(|(mutation, _)| mutation)
        .collect();
    assert!(
        untold.is_empty(),
        "docs/mutations.md does not tell of {untold:?}: MUTATIONS=write cargo test -p replication --features mutations --test mutations"
    );
}
