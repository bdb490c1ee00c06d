//! The engine against itself: two of them with disks, a link, an arbiter and clients, driven by chance. The simulator does
//! this with whole nodes and everything that can go wrong; here is what the engine alone must stand.

mod oracle;
mod plan;
mod stories;
mod world;

use plan::run;
use replication::input::{Control, Input};
use world::{Plan, VOLUME, World};

fn run_many(name: &str, plan: Plan) {
    let (first, count) = match std::env::var("SEED") {
        Ok(seed) => (seed.parse().expect("a number"), 1),
        Err(_) => (0, std::env::var("SEEDS").map_or(100, |seeds| seeds.parse().expect("a number"))),
    };
    let mut finished = 0;
    for seed in first..first + count {
        match run(seed, plan) {
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
    run_many("without_faults", plan::WITHOUT_FAULTS);
}

#[test]
fn over_cuts_of_the_link_as_well() {
    run_many("over_cuts", plan::CUTS);
}

#[test]
fn over_losses_of_power_as_well() {
    run_many("over_losses", plan::LOSSES);
}

#[test]
fn over_pauses_as_well() {
    run_many("over_pauses", plan::PAUSES);
}

#[test]
fn over_planned_leaves_as_well() {
    run_many("over_planned", plan::LEAVES);
}

#[test]
fn over_disks_that_fail_as_well() {
    run_many("over_disks", plan::BAD_DISKS);
}

#[test]
fn over_growth_of_the_volume_as_well() {
    run_many("over_growth", plan::GROWTH);
}

#[test]
fn over_removals_of_the_volume_as_well() {
    run_many("over_removals", plan::REMOVALS);
}

#[test]
fn over_removals_of_the_volume_with_losses_of_power_and_a_cold_log() {
    run_many("over_removals_of_the_volume_with", plan::COLD_REMOVALS);
}

#[test]
fn without_faults_a_pair_grows_when_it_is_asked_to() {
    for seed in 0..20 {
        let mut world = World::new(seed, Plan { faults: plan::CALM, ..plan::WITHOUT_FAULTS });
        for step in 0..3000 {
            world.step();
            if step % 1000 == 500 {
                world.grow(usize::from(seed % 3 == 0));
            }
        }
        world.heal().expect("all comes to an end");
        assert!(world.grown >= 2, "seed {seed}: grown {} times", world.grown);
    }
}

#[test]
fn with_more_writes_than_the_log_has_extents() {
    run_many("with_more", plan::CROWD);
}

#[test]
fn over_losses_of_power_of_one_node_with_writes_in_memory() {
    run_many("over_losses_of_power_of_one", plan::WRITES_IN_MEMORY);
}

#[test]
fn over_losses_of_power_with_writes_in_memory_and_a_cold_log() {
    run_many("over_losses_of_power_with", plan::COLD_WRITES_IN_MEMORY);
}

#[test]
fn over_leaves_alone_without_anybody_noticing() {
    run_many("over_leaves", plan::ONLY_LEAVES);
}

#[test]
fn over_stalls_of_every_part_as_well() {
    run_many("over_stalls", plan::STALLS);
}

#[test]
fn over_a_resync_that_takes_long() {
    run_many("over_a_resync", plan::SLOW_RESYNC);
}

#[test]
fn over_changes_of_the_rate_of_a_resync() {
    run_many("over_changes", plan::RATES);
}

#[test]
fn over_losses_of_power_at_the_worst_moments() {
    run_many("over_losses_of_power_at", plan::MINES);
}

#[test]
fn over_losses_of_power_at_the_worst_moments_with_a_cold_log() {
    run_many("over_losses_of_power_at", plan::COLD_MINES);
}

#[test]
fn over_answers_ahead_of_the_peer() {
    run_many("over_answers", plan::AHEAD);
}

#[test]
fn over_everything_at_once() {
    run_many("over_everything", plan::EVERYTHING);
}

#[test]
fn in_every_story_that_is_told_by_plan() {
    let number = |name| std::env::var(name).ok().map(|text| text.parse().expect("a number"));
    let only = std::env::var("STORY").ok();
    let seeds = number("SEED").map_or(0..number("SEEDS").unwrap_or(10), |seed| seed..seed + 1);
    let is_chosen = |(name, ..): &stories::Story| only.as_ref().is_none_or(|only| only == name);
    assert!(stories::all().any(|story| is_chosen(&story)), "no story has the name {only:?}");
    for story in stories::all().filter(is_chosen) {
        for seed in seeds.clone() {
            let told = stories::tell(seed, story, None);
            assert_eq!(told, Ok(()), "seed {seed}: {}", story.0);
        }
    }
}

#[test]
fn two_verifies_of_the_same_sectors_do_not_stand_in_each_others_way_for_ever() {
    for seed in 0..20 {
        let mut world = World::new(seed, Plan { faults: plan::CALM, ..plan::WITHOUT_FAULTS });
        for _ in 0..500 {
            world.step();
        }
        for index in 0..2 {
            world.input(index, Input::Control { volume: VOLUME, control: Control::Verify { fix: true } });
        }
        world.heal().expect("both come to an end");
    }
}
