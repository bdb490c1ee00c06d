//! Stories of nodes that end, in good order or not, and begin again: what they may go on with, and what nobody waits for.

use replication::input::Control;

use super::{FOR_GOOD, IN_MEMORY, LARGE, MILLISECOND, SMALL, Story, Told};
use crate::world::disk::Landing::{Everything, Nothing};
use crate::world::{EXTENT, Stage, World};

pub(super) const STORIES: &[Story] = &[
    ("ended and forced", SMALL, a_node_that_ended_well_is_forced_when_the_other_one_is_lost),
    ("ended without its memory", IN_MEMORY, a_node_ends_well_that_has_lost_its_memory),
    ("memories of different worth", IN_MEMORY, a_node_without_its_memory_meets_one_that_ended_well),
    ("ended well and torn", LARGE, a_node_that_ended_well_meets_one_with_a_torn_sector),
];

/// The process ends, and the machine stays on.
pub(super) fn end(world: &mut World, index: usize) {
    world.crash_with(index, [Everything, Everything]);
}

fn a_node_that_ended_well_is_forced_when_the_other_one_is_lost(world: &mut World) -> Told {
    world.until("both serve", |world| world.serves(0) && world.serves(1))?;
    world.run_for(14_000 * MILLISECOND);
    world.control(1, Control::Leave);
    world.until("node 0 goes on", |world| world.is_alone(0))?;
    world.run(300);
    end(world, 1);
    end(world, 0);
    world.start(1);
    world.force(1);
    world.until("node 1 goes on", |world| world.is_alone(1))?;
    world.ask(1, true, 3, 1);
    world.until("the write is answered", World::are_all_answered)
}

/// Its disk is asked for nothing more, but what was in its cache is lost: it waits for the other one also after that.
fn a_node_ends_well_that_has_lost_its_memory(world: &mut World) -> Told {
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

/// Node 0 is without power, and nobody can be asked who may go on.
fn node_one_ends_well_and_both_begin_anew(world: &mut World) -> Told {
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

/// Of two that have begun anew one has lost its memory, and the other one had written its own down before.
fn a_node_without_its_memory_meets_one_that_ended_well(world: &mut World) -> Told {
    world.both_rely_on_memory()?;
    world.ask(1, true, 5 * EXTENT, 1);
    world.until("the write is answered", World::are_all_answered)?;
    world.arbiter_is_up = false;
    world.crash_with(0, [Nothing, Everything]);
    world.cut();
    node_one_ends_well_and_both_begin_anew(world)
}

/// Of two that have begun anew one has lost power in the middle of a write, and the other one has ended in good order.
fn a_node_that_ended_well_meets_one_with_a_torn_sector(world: &mut World) -> Told {
    world.until("both serve", |world| world.serves(0) && world.serves(1))?;
    world.ask(0, true, EXTENT, 8);
    world.until("the write is answered", |world| world.are_all_answered() && world.is_a_whole_pair())?;
    world.arbiter_is_up = false;
    world.stall(Stage::Link, 1, FOR_GOOD);
    world.ask(0, true, EXTENT, 8);
    world.run(100);
    world.crash_with(0, [Nothing, Everything]);
    world.nodes[0].sectors.unreadable.extend(EXTENT..EXTENT + 8);
    world.cut();
    world.go_on(Stage::Link, 1);
    node_one_ends_well_and_both_begin_anew(world)?;
    world.arbiter_is_up = true;
    world.until("what was torn is mended", World::is_a_whole_pair)
}
