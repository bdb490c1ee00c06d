//! Stories of nodes that end, in good order or not, and begin again: what they may go on with, and what nobody waits for.

use replication::input::Control;

use crate::stories::{MILLISECOND, Told};
use crate::world::disk::Landing::{Everything, Nothing};
use crate::world::{EXTENT, Stage, World};

/// The process ends, and the machine stays on.
fn end(world: &mut World, index: usize) {
    world.crash_with(index, [Everything, Everything]);
}

pub(crate) fn a_node_that_ended_well_is_forced_when_the_other_one_is_lost(world: &mut World) -> Told {
    world.until("both serve", |world| world.serves(0) && world.serves(1))?;
    world.run_for(14_000 * MILLISECOND);
    world.control(1, Control::Leave);
    world.until("node 0 goes on", |world| world.is_alone(0))?;
    world.run(300);
    end(world, 1);
    end(world, 0);
    world.start(1);
    world.control(1, Control::Force);
    world.until("node 1 goes on", |world| world.is_alone(1))?;
    // The daemon tells.
    world.arbiter = world.status(1).expect("running").membership;
    world.ask(1, true, 3, 1);
    world.until("the write is answered", World::are_all_answered)
}

/// Its disk is asked for nothing more, but what was in its cache is lost: it waits for the other one also after that.
pub(crate) fn a_node_ends_well_that_has_lost_its_memory(world: &mut World) -> Told {
    world.both_rely_on_memory()?;
    world.ask(0, true, 5 * EXTENT, 1);
    world.until("the write is answered", World::are_all_answered)?;
    world.arbiter_is_up = false;
    world.crash_with(1, [Nothing, Everything]);
    world.cut();
    world.until("node 0 is frozen", |world| !world.serves(0))?;
    world.run_for(2_000 * MILLISECOND);
    world.start(1);
    world.control(1, Control::Leave);
    world.run(300);
    end(world, 1);
    end(world, 0);
    world.start(1);
    world.arbiter_is_up = true;
    world.run_for(20_000 * MILLISECOND);
    Ok(())
}

/// Of two that have begun anew one has lost its memory, and the other one had written its own down before.
pub(crate) fn a_node_without_its_memory_meets_one_that_ended_well(world: &mut World) -> Told {
    world.both_rely_on_memory()?;
    world.ask(1, true, 5 * EXTENT, 1);
    world.until("the write is answered", World::are_all_answered)?;
    world.arbiter_is_up = false;
    world.crash_with(0, [Nothing, Everything]);
    world.cut();
    world.until("node 1 is frozen", |world| !world.serves(1))?;
    world.run_for(2_000 * MILLISECOND);
    world.control(1, Control::Leave);
    world.run(300);
    end(world, 1);
    world.start(1);
    world.start(0);
    world.uncut();
    world.until("they meet", |world| world.is_paired(0) && world.is_paired(1))
}

pub(crate) fn the_follower_begins_anew_while_it_is_the_sole_member(world: &mut World) -> Told {
    world.until("node 1 serves", |world| world.serves(1))?;
    world.run_for(14_000 * MILLISECOND);
    world.control(1, Control::Leave);
    world.until("node 0 goes on", |world| world.is_alone(0))?;
    end(world, 1);
    end(world, 0);
    world.start(0);
    world.until("node 0 goes on again", |world| world.is_alone(0))
}

pub(crate) fn the_metadata_of_a_node_fails_that_has_offered_to_meet(world: &mut World) -> Told {
    world.until("both serve", |world| world.serves(0) && world.serves(1))?;
    world.ask(1, true, 3, 1);
    world.until("the write is answered", World::are_all_answered)?;
    world.crash_with(1, [Everything, Everything]);
    world.until("node 0 goes on", |world| world.is_alone(0))?;
    world.stall(Stage::FirstBitmap, 0, crate::stories::FOR_GOOD);
    world.stall(Stage::FirstBitmap, 1, crate::stories::FOR_GOOD);
    world.is_busy = true;
    world.start(1);
    world.run(300);
    world.fail_metadata(1);
    world.go_on(Stage::FirstBitmap, 0);
    world.ask(0, true, 9, 1);
    world.until("the write is answered", World::are_all_answered)
}
