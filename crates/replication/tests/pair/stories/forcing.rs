//! Stories of operators who force a node to serve: what the other one does, that perhaps serves as well.

use replication::input::Control;
use replication::volume::VolumeStatus;

use super::{FOR_GOOD, LARGE, MILLISECOND, SMALL, Story, Told};
use crate::world::disk::Landing::{Everything, Nothing};
use crate::world::{EXTENT, Stage, World};

pub(super) const STORIES: &[Story] = &[
    ("forced once", SMALL, a_node_is_forced_and_told_to_stay),
    ("forced beside the other", SMALL, a_node_is_forced_while_the_other_one_serves),
    ("forced before it can offer", SMALL, a_node_is_forced_that_could_not_offer_yet),
    ("forced and left", SMALL, a_node_is_forced_and_told_to_leave),
    ("forced against a grant", SMALL, a_node_is_forced_where_the_other_one_was_granted),
    ("forced with a question", SMALL, a_node_is_forced_while_the_arbiter_is_asked),
    ("forced and not noted", SMALL, a_node_is_forced_and_loses_power_before_it_has_noted_that),
    ("forced while meeting", LARGE, a_node_is_forced_while_it_meets_the_other_one),
];

fn a_node_is_forced_and_told_to_stay(world: &mut World) -> Told {
    world.until("both serve", |world| world.serves(0) && world.serves(1))?;
    world.arbiter_is_up = false;
    world.crash_with(1, [Everything, Everything]);
    world.until("node 0 is frozen", |world| !world.serves(0))?;
    world.stall(Stage::Superblock, 0, FOR_GOOD);
    world.force(0);
    let forced = world.status(0).expect("running").membership;
    world.control(0, Control::Join);
    assert_eq!(world.status(0).expect("running").membership, forced, "forced once");
    world.go_on(Stage::Superblock, 0);
    world.until("node 0 goes on", |world| world.is_alone(0))
}

/// The other one was granted the epoch that would come next, and is lost. Whether or not the arbiter can say so when an operator forces
/// the one that is left, what was granted must not count any more.
fn a_node_is_forced_where_the_other_one_was_granted(world: &mut World) -> Told {
    for (forced, arbiter_is_up) in [(1, true), (0, true), (1, false), (0, false)] {
        let lost = 1 - forced;
        world
            .until("both are whole", |world| world.is_a_whole_pair() && world.serves(0) && world.serves(1))?;
        world.stall(Stage::Question, forced, FOR_GOOD);
        world.cut();
        world.until("one goes on", |world| world.is_alone(lost) && !world.serves(forced))?;
        world.crash_with(lost, [Everything, Everything]);
        world.run_for(12_000 * MILLISECOND);
        world.arbiter_is_up = arbiter_is_up;
        world.go_on(Stage::Question, forced);
        world.run(100);
        world.force(forced);
        world.until("the forced one serves", |world| world.is_alone(forced))?;
        world.arbiter_is_up = true;
        world.run(200);
        world.start(lost);
        world.run_for(12_000 * MILLISECOND);
        world.run(2000);
        if world.serves(lost) {
            return Err("exclusion: what was granted before an operator decided still counts".to_owned());
        }
        world.uncut();
    }
    Ok(())
}

/// What it hears then is about what counted before.
fn a_node_is_forced_while_the_arbiter_is_asked(world: &mut World) -> Told {
    world.until("both are whole", |world| world.is_a_whole_pair() && world.serves(0) && world.serves(1))?;
    world.stall(Stage::Question, 1, FOR_GOOD);
    world.stall(Stage::Answer, 1, FOR_GOOD);
    world.cut();
    world.until("one goes on", |world| world.is_alone(0) && !world.serves(1))?;
    world.crash_with(0, [Everything, Everything]);
    world.is_busy = true;
    world.go_on(Stage::Question, 1);
    world.until("the arbiter has answered", World::has_answers)?;
    world.stall(Stage::Superblock, 1, FOR_GOOD);
    world.force(1);
    world.run(20);
    world.go_on(Stage::Answer, 1);
    world.run(100);
    world.go_on(Stage::Superblock, 1);
    world.is_busy = false;
    world.until("the forced one serves", |world| world.is_alone(1))
}

/// Its disk has nothing of it yet, and the other one comes back instead of it.
fn a_node_is_forced_and_loses_power_before_it_has_noted_that(world: &mut World) -> Told {
    world.left_alone(0)?;
    world.crash_with(0, [Everything, Everything]);
    world.start(1);
    world.run(300);
    world.stall(Stage::Superblock, 1, FOR_GOOD);
    world.force(1);
    world.run(300);
    world.crash_with(1, [Nothing, Nothing]);
    world.start(0);
    world.until("who served alone does again", |world| world.serves(0))
}

/// Nobody writes anything meanwhile, so that it does not matter whose history is kept.
fn a_node_is_forced_while_the_other_one_serves(world: &mut World) -> Told {
    for forced in [1, 0] {
        one_serves_and_the_other_cannot_reach_it(world, 1 - forced)?;
        force(world, forced)?;
        world.uncut();
        they_agree(world)?;
    }
    Ok(())
}

/// It hears of the other one before it serves.
fn a_node_is_forced_that_could_not_offer_yet(world: &mut World) -> Told {
    for forced in [1, 0] {
        one_serves_and_the_other_cannot_reach_it(world, 1 - forced)?;
        world.stall(Stage::Superblock, forced, FOR_GOOD);
        world.force(forced);
        world.uncut();
        world.run(400);
        world.go_on(Stage::Superblock, forced);
        they_agree(world)?;
    }
    Ok(())
}

/// Whoever serves nothing takes nothing from one that does.
fn a_node_is_forced_and_told_to_leave(world: &mut World) -> Told {
    one_serves_and_the_other_cannot_reach_it(world, 1)?;
    force(world, 0)?;
    world.control(0, Control::Leave);
    world.uncut();
    world.run(600);
    if !world.serves(1) {
        return Err("stall: nobody serves, since one that leaves was forced".to_owned());
    }
    world.control(0, Control::Join);
    they_agree(world)
}

/// They were about to go on together by what they had offered.
fn a_node_is_forced_while_it_meets_the_other_one(world: &mut World) -> Told {
    for forced in [1, 0] {
        one_serves_and_the_other_cannot_reach_it(world, 1 - forced)?;
        world.ask(1 - forced, true, EXTENT, 8);
        world.until("the write is over", World::are_all_answered)?;
        world.stall(Stage::FirstBitmap, 1 - forced, FOR_GOOD);
        world.uncut();
        let has_offered = |status: VolumeStatus| status.peer_copy.is_some();
        world.until("they have offered", |world| world.status(1 - forced).is_some_and(has_offered))?;
        world.run(100);
        if world.is_paired(forced) {
            world.go_on(Stage::FirstBitmap, 1 - forced);
            world.is_forced = false;
            continue;
        }
        // What was written alone is written again: it may be lost now.
        force(world, forced)?;
        world.go_on(Stage::FirstBitmap, 1 - forced);
        they_agree(world)?;
    }
    Ok(())
}

fn one_serves_and_the_other_cannot_reach_it(world: &mut World, index: usize) -> Told {
    world.until("both are whole", |world| world.is_a_whole_pair() && world.serves(0) && world.serves(1))?;
    world.is_forced = true;
    world.stall(Stage::Question, 1 - index, FOR_GOOD);
    world.cut();
    world.until("one goes on", |world| world.is_alone(index) && !world.serves(1 - index))?;
    // No question of the other's is under way any more.
    world.run_for(12_000 * MILLISECOND);
    world.go_on(Stage::Question, 1 - index);
    world.run(100);
    Ok(())
}

fn force(world: &mut World, index: usize) -> Told {
    world.force(index);
    world.until("the forced one serves, or has given way", |world| {
        world.is_alone(index) || world.is_paired(index)
    })
}

/// The older one gives way, and both go on.
fn they_agree(world: &mut World) -> Told {
    world.until("they are together", |world| world.is_paired(0) && world.is_paired(1))?;
    world.is_forced = false;
    world.until("both are whole again", World::is_a_whole_pair)
}
