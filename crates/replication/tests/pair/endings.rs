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

/// Both were told to leave while they were apart, and have told each other.
fn both_have_left(world: &mut World) -> Told {
    world.until("both serve", |world| world.serves(0) && world.serves(1))?;
    world.run_for(14_000 * MILLISECOND);
    world.arbiter_is_up = false;
    world.cut();
    world.until("both are frozen", |world| !world.serves(0) && !world.serves(1))?;
    (0..2).for_each(|index| world.control(index, Control::Leave));
    world.uncut();
    world.run(600);
    world.arbiter_is_up = true;
    Ok(())
}

pub(crate) fn two_nodes_that_have_left_come_back_at_once(world: &mut World) -> Told {
    both_have_left(world)?;
    world.stall(Stage::Link, 1, crate::stories::FOR_GOOD);
    (0..2).for_each(|index| world.control(index, Control::Join));
    world.run_for(700 * MILLISECOND);
    world.go_on(Stage::Link, 1);
    Ok(())
}

pub(crate) fn one_of_two_nodes_that_have_left_comes_back(world: &mut World) -> Told {
    for index in 0..2 {
        both_have_left(world)?;
        world.control(index, Control::Join);
        world.until("it goes on", |world| world.is_alone(index))?;
        world.control(1 - index, Control::Join);
        world.until("both are whole", World::is_a_whole_pair)?;
    }
    Ok(())
}

pub(crate) fn one_of_two_nodes_that_have_left_has_the_volume_no_more(world: &mut World) -> Told {
    both_have_left(world)?;
    world.control(1, Control::Remove);
    world.run(300);
    world.control(0, Control::Join);
    world.until("the other one goes on", |world| world.is_alone(0))
}
