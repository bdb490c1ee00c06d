//! The engine against itself: two of them with disks, a link, an arbiter and clients, driven by chance. The simulator does
//! this with whole nodes and everything that can go wrong; here is what the engine alone must stand.

mod oracle;
mod world;

use world::{Faults, World};

const CALM: Faults = Faults {
    cuts: false,
    crashes: false,
    pauses: false,
    arbiter: false,
    read_errors: false,
    write_errors: false,
    leaves: false,
    single_losses: false,
};

fn run(seed: u64, steps: u32, sectors: u64, faults: Faults) -> Result<u64, String> {
    let mut world = World::new(seed, sectors, faults);
    if std::env::var("TRACE").is_ok() {
        world.trace = Some(Vec::new());
    }
    let result = (|| {
        for _ in 0..steps {
            world.step();
        }
        world.heal()?;
        oracle::check(&world.history)
    })();
    if let (Err(error), Some(trace)) = (&result, &world.trace) {
        eprintln!("{}\n{error}", trace.join("\n"));
    }
    result.map(|()| world.finished)
}

fn run_many(name: &str, steps: u32, sectors: u64, faults: Faults) {
    let (first, count) = match std::env::var("SEED") {
        Ok(seed) => (seed.parse().expect("a number"), 1),
        Err(_) => (0, std::env::var("SEEDS").map_or(100, |seeds| seeds.parse().expect("a number"))),
    };
    let mut finished = 0;
    for seed in first..first + count {
        match run(seed, steps, sectors, faults) {
            Ok(requests) => finished += requests,
            Err(error) => panic!(
                "seed {seed}: {error}\nTRACE=1 SEED={seed} cargo test -p replication --test pair {name}"
            ),
        }
    }
    assert!(finished > 20 * count, "hardly anything was finished: {finished} requests in {count} runs");
}

#[test]
fn without_faults_every_history_is_that_of_one_disk() {
    run_many("without_faults", 3000, 64, CALM);
}

#[test]
fn over_cuts_of_the_link_as_well() {
    run_many("over_cuts", 4000, 64, Faults { cuts: true, ..CALM });
}

#[test]
fn over_losses_of_power_as_well() {
    run_many("over_losses", 4000, 20_000, Faults { crashes: true, ..CALM });
}

#[test]
fn over_pauses_as_well() {
    run_many("over_pauses", 4000, 64, Faults { pauses: true, cuts: true, ..CALM });
}

#[test]
fn over_planned_leaves_as_well() {
    run_many("over_planned", 4000, 64, Faults { leaves: true, cuts: true, ..CALM });
}

#[test]
fn over_disks_that_fail_as_well() {
    run_many("over_disks", 4000, 64, Faults { read_errors: true, write_errors: true, ..CALM });
}

#[test]
fn over_losses_of_power_of_one_node_with_writes_in_memory() {
    run_many("with_writes_in_memory", 4000, 64, Faults { single_losses: true, ..CALM });
}

#[test]
fn over_everything_at_once() {
    let all = Faults {
        cuts: true,
        crashes: true,
        pauses: true,
        arbiter: true,
        read_errors: true,
        write_errors: true,
        leaves: true,
        single_losses: false,
    };
    run_many("over_everything", 6000, 20_000, all);
}
