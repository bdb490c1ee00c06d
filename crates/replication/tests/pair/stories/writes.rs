//! Stories of writes that meet each other, or wait for the activity log.

use super::{FOR_GOOD, LARGE, SMALL, Story, Told};
use crate::world::disk::Landing::Nothing;
use crate::world::{EXTENT, Stage, World};

pub(super) const STORIES: &[Story] = &[
    ("full logs", LARGE, both_nodes_have_more_to_write_than_the_log_holds),
    ("sent to both", SMALL, a_write_sent_to_both_nodes_waits_at_one_and_is_outdated),
    ("superseded by nothing", LARGE, a_write_meets_one_that_waits_for_the_log_and_is_dropped),
    ("copy of a write that waits", LARGE, a_copy_of_a_write_that_waits_for_the_log_comes_from_the_peer),
];

fn both_nodes_have_more_to_write_than_the_log_holds(world: &mut World) -> Told {
    world.until("both serve", |world| world.serves(0) && world.serves(1))?;
    (0..2).for_each(|index| world.stall(Stage::Link, index, FOR_GOOD));
    world.is_busy = true;
    for extent in 0..64 {
        world.ask(0, true, extent * EXTENT, 1);
        world.ask(1, true, (70 + extent) * EXTENT, 1);
    }
    world.run(1000);
    (0..2).for_each(|index| world.go_on(Stage::Link, index));
    world.is_busy = false;
    world.until("every write is over", |world| world.are_all_answered())
}

/// Node 1 has a write that waits for its record in the log.
pub(super) fn waits_for_the_log(world: &mut World) -> Told {
    world.until("both serve", |world| world.serves(0) && world.serves(1))?;
    world.is_busy = true;
    world.stall(Stage::Log, 1, FOR_GOOD);
    world.ask(1, true, 5 * EXTENT, 1);
    world.run(60);
    Ok(())
}

fn a_write_meets_one_that_waits_for_the_log_and_is_dropped(world: &mut World) -> Told {
    waits_for_the_log(world)?;
    world.ask(0, true, 5 * EXTENT, 1);
    world.run(200);
    world.stall(Stage::Question, 1, FOR_GOOD);
    world.crash_with(0, [Nothing, Nothing]);
    world.go_on(Stage::Log, 1);
    world.start(0);
    world.until("they meet", |world| world.is_paired(0) && world.is_paired(1))
}

fn a_copy_of_a_write_that_waits_for_the_log_comes_from_the_peer(world: &mut World) -> Told {
    waits_for_the_log(world)?;
    world.ask(1, false, 5 * EXTENT, 1);
    world.run(60);
    world.ask_the_same(0, 5 * EXTENT, 1);
    world.run(200);
    world.go_on(Stage::Log, 1);
    world.is_busy = false;
    world.until("the read is over", |world| world.are_all_answered())
}

/// It waits at node 1 for one before it, while node 0 executes it, and another one after it.
fn a_write_sent_to_both_nodes_waits_at_one_and_is_outdated(world: &mut World) -> Told {
    world.until("both serve", |world| world.serves(0) && world.serves(1))?;
    world.is_busy = true;
    world.stall(Stage::Write, 1, FOR_GOOD);
    world.ask(1, true, 3, 1);
    world.run(100);
    world.ask(1, true, 3, 1);
    world.run(10);
    let executed = world.ask_the_same(0, 3, 1);
    world.run(100);
    world.go_on(Stage::Write, 1);
    world.until("it is answered", |world| world.outcome(executed).is_some())?;
    world.tick += 1;
    world.ask(0, true, 3, 1);
    world.until("all is over", |world| world.are_all_answered())?;
    world.ask(0, false, 3, 1);
    world.until("the read is over", |world| world.are_all_answered())?;
    world.is_busy = false;
    Ok(())
}
