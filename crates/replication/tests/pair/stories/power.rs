//! Stories of power that is lost: what was answered, or read, is there afterwards, and nothing else comes back.

use replication::input::Control;
use replication::membership::{Epoch, Members, Membership, NodeNumber};

use super::copies::serves_and_lacks;
use super::{FOR_GOOD, IN_MEMORY, LARGE, MILLISECOND, SMALL, Story, Told};
use crate::world::disk::Landing::{Everything, Nothing};
use crate::world::{EXTENT, Stage, World, open_metadata};

pub(super) const STORIES: &[Story] = &[
    ("cold write, power lost", LARGE, a_write_to_a_cold_extent_is_on_one_disk_only),
    ("cold write in memory, power lost", IN_MEMORY, a_write_to_a_cold_extent_is_lost_from_memory),
    ("flushed in memory, power lost", IN_MEMORY, what_a_flush_has_answered_survives_the_power_of_both),
    ("written through, power lost", IN_MEMORY, what_was_to_be_on_stable_storage_survives_the_power_of_both),
    ("healed and forgotten", IN_MEMORY, the_memory_of_whoever_healed_the_register_is_lost),
    ("bits late", LARGE, an_extent_is_forgotten_before_the_bits_of_its_writes_are_durable),
    ("doubts late", LARGE, an_extent_is_forgotten_before_its_doubts_are_durable),
    ("epoch late", SMALL, power_is_lost_before_the_epoch_is_durable),
    ("join late", LARGE, what_was_joined_is_lost_with_the_power),
    ("superseder lost", SMALL, a_superseder_is_lost_with_the_power),
    ("memory of a source lost", IN_MEMORY, a_write_is_lost_from_the_memory_of_one_whose_peer_is_not_whole),
    ("left with a cache", IN_MEMORY, a_node_loses_power_after_the_other_has_left),
    ("left in flight", IN_MEMORY, a_node_loses_power_after_the_other_has_left_without_having_a_write),
    ("dropped into a cache", IN_MEMORY, what_a_freeze_has_dropped_is_read_and_the_power_lost),
    ("untold of the register", IN_MEMORY, a_node_knows_of_the_register_what_its_peer_does_not),
];

fn a_write_to_a_cold_extent_is_on_one_disk_only(world: &mut World) -> Told {
    world.until("both serve", |world| world.serves(0) && world.serves(1))?;
    (0..2).for_each(|index| world.stall(Stage::Log, index, FOR_GOOD));
    world.stall(Stage::Write, 1, FOR_GOOD);
    world.ask(0, true, 5 * EXTENT, 1);
    world.run(300);
    world.crash_with(0, [Everything, Nothing]);
    world.crash_with(1, [Nothing, Nothing]);
    Ok(())
}

fn a_write_to_a_cold_extent_is_lost_from_memory(world: &mut World) -> Told {
    world.both_rely_on_memory()?;
    world.stall(Stage::Log, 1, FOR_GOOD);
    world.ask(0, true, 5 * EXTENT, 1);
    world.run(200);
    world.crash_with(1, [Nothing, Nothing]);
    Ok(())
}

fn what_a_flush_has_answered_survives_the_power_of_both(world: &mut World) -> Told {
    world.both_rely_on_memory()?;
    world.ask(0, true, 5 * EXTENT, 1);
    world.ask(1, true, 6 * EXTENT, 1);
    world.until("the writes are over", |world| world.are_all_answered())?;
    world.is_busy = true;
    world.ask_to_flush(1);
    world.until("the flush is over", |world| world.are_all_answered())?;
    world.is_busy = false;
    (0..2).for_each(|index| world.crash_with(index, [Nothing, Nothing]));
    Ok(())
}

/// Nobody has flushed anything.
fn what_was_to_be_on_stable_storage_survives_the_power_of_both(world: &mut World) -> Told {
    world.both_rely_on_memory()?;
    world.writes_through = true;
    world.ask(0, true, 5 * EXTENT, 1);
    world.ask(1, true, 6 * EXTENT, 1);
    world.until("the writes are over", |world| world.are_all_answered())?;
    (0..2).for_each(|index| world.crash_with(index, [Nothing, Nothing]));
    Ok(())
}

fn an_extent_is_forgotten_before_the_bits_of_its_writes_are_durable(world: &mut World) -> Told {
    world.left_alone(0)?;
    world.stall(Stage::FirstBitmap, 0, FOR_GOOD);
    world.ask(0, true, 5 * EXTENT, 1);
    world.run(60);
    world.forget_extents(0);
    world.crash_with(0, [Everything, Nothing]);
    Ok(())
}

fn an_extent_is_forgotten_before_its_doubts_are_durable(world: &mut World) -> Told {
    world.until("both serve", |world| world.serves(0) && world.serves(1))?;
    world.stall(Stage::FirstBitmap, 0, FOR_GOOD);
    world.stall(Stage::Link, 1, FOR_GOOD);
    world.ask(0, true, 5 * EXTENT, 1);
    world.run(60);
    world.crash_with(1, [Nothing, Nothing]);
    world.run(2000);
    world.forget_extents(0);
    world.crash_with(0, [Everything, Nothing]);
    Ok(())
}

fn power_is_lost_before_the_epoch_is_durable(world: &mut World) -> Told {
    world.until("both serve", |world| world.serves(0) && world.serves(1))?;
    world.stall(Stage::Superblock, 0, FOR_GOOD);
    world.stall(Stage::Question, 1, FOR_GOOD);
    world.cut();
    world.run(2000);
    world.ask(0, true, 3, 1);
    world.run(200);
    world.crash_with(0, [Everything, Nothing]);
    world.start(0);
    world.uncut();
    world.until("they meet", |world| world.is_paired(0) && world.is_paired(1))?;
    // All of it is copied.
    world.run(40_000);
    Ok(())
}

fn what_was_joined_is_lost_with_the_power(world: &mut World) -> Told {
    world.until("both serve", |world| world.serves(0) && world.serves(1))?;
    world.is_busy = true;
    world.stall(Stage::Link, 0, FOR_GOOD);
    world.ask(1, true, 5 * EXTENT, 1);
    world.run(200);
    world.stall(Stage::FirstBitmap, 0, FOR_GOOD);
    world.stall(Stage::Disk, 0, FOR_GOOD);
    world.cut();
    world.go_on(Stage::Link, 0);
    world.run(60);
    world.uncut();
    world.run(1000);
    world.forget_extents(0);
    world.crash_with(0, [Everything, Nothing]);
    world.crash_with(1, [Everything, Everything]);
    Ok(())
}

fn a_superseder_is_lost_with_the_power(world: &mut World) -> Told {
    world.until("both serve", |world| world.serves(0) && world.serves(1))?;
    world.is_busy = true;
    world.stall(Stage::Write, 1, FOR_GOOD);
    world.stall(Stage::Link, 0, FOR_GOOD);
    world.ask(1, true, 3, 1);
    world.ask(0, true, 3, 1);
    world.run(100);
    world.go_on(Stage::Link, 0);
    world.run(200);
    world.crash_with(1, [Nothing, Nothing]);
    world.crash_with(0, [Everything, Everything]);
    world.is_busy = false;
    world.go_on(Stage::Write, 1);
    world.start(1);
    world.until("node 1 serves alone", |world| world.is_alone(1))?;
    world.ask(1, false, 3, 1);
    world.run(200);
    Ok(())
}

/// Node 0 has asked to serve alone, and met its peer again before it was granted. It makes node 1 a member once more, and loses power
/// before node 1 hears of that: then its copy counts.
fn the_memory_of_whoever_healed_the_register_is_lost(world: &mut World) -> Told {
    world.both_rely_on_memory()?;
    (0..2).for_each(|index| world.stall(Stage::Question, index, FOR_GOOD));
    world.is_busy = true;
    world.cut();
    world.run_for(2500 * MILLISECOND);
    world.uncut();
    world.until("both serve again", |world| world.serves(0) && world.serves(1) && world.is_paired(0))?;
    world.is_busy = false;
    let Epoch(before) = world.arbiter.epoch;
    world.go_on(Stage::Question, 0);
    world.until("node 0 is granted to serve alone", |world| world.arbiter.epoch == Epoch(before + 1))?;
    // It looks every two seconds, and flushes a second after a write.
    world.run_for(1600 * MILLISECOND);
    world.ask(0, true, 5 * EXTENT, 1);
    world.ask(1, true, 6 * EXTENT, 1);
    world.until("the register is healed", |world| {
        world.arbiter == Membership { epoch: Epoch(before + 2), members: Members::Both }
    })?;
    world.crash_with(0, [Nothing, Nothing]);
    Ok(())
}

/// Node 1 has come back, and lacks something: it cannot go on with what it has in memory.
fn a_write_is_lost_from_the_memory_of_one_whose_peer_is_not_whole(world: &mut World) -> Told {
    serves_and_lacks(world)?;
    world.ask(0, true, 5 * EXTENT, 1);
    world.until("the write is over", |world| world.are_all_answered())?;
    world.crash_with(0, [Nothing, Nothing]);
    Ok(())
}

fn a_node_loses_power_after_the_other_has_left(world: &mut World) -> Told {
    world.both_rely_on_memory()?;
    world.is_busy = true;
    world.ask(0, true, 5 * EXTENT, 1);
    world.ask(1, true, 6 * EXTENT, 1);
    world.until("the writes are over", |world| world.are_all_answered())?;
    world.stall(Stage::Disk, 0, FOR_GOOD);
    world.control(1, Control::Leave);
    world.run(3000);
    world.crash_with(0, [Nothing, Nothing]);
    world.is_busy = false;
    Ok(())
}

fn a_node_loses_power_after_the_other_has_left_without_having_a_write(world: &mut World) -> Told {
    world.both_rely_on_memory()?;
    world.is_busy = true;
    world.stall(Stage::Write, 1, FOR_GOOD);
    world.ask(0, true, 5 * EXTENT, 1);
    world.run(100);
    world.control(1, Control::Leave);
    world.until("the write is over", |world| world.are_all_answered())?;
    world.crash_with(0, [Nothing, Nothing]);
    world.is_busy = false;
    Ok(())
}

fn what_a_freeze_has_dropped_is_read_and_the_power_lost(world: &mut World) -> Told {
    world.both_rely_on_memory()?;
    world.stall(Stage::Link, 1, FOR_GOOD);
    world.ask(0, true, 5 * EXTENT, 1);
    world.run(100);
    world.crash_with(1, [Nothing, Nothing]);
    world.until("the other goes on", |world| world.is_alone(0) && world.serves(0))?;
    world.ask(0, false, 5 * EXTENT, 1);
    world.until("the read is over", |world| world.are_all_answered())?;
    world.crash_with(0, [Nothing, Nothing]);
    Ok(())
}

/// It has found that the arbiter lets it serve alone, and makes its peer a member again, which does not know that it is none.
fn a_node_knows_of_the_register_what_its_peer_does_not(world: &mut World) -> Told {
    world.both_rely_on_memory()?;
    world.stall(Stage::Question, 0, FOR_GOOD);
    world.is_busy = true;
    world.cut_at(0);
    for _ in 0..300 {
        if !world.asks(0) {
            world.run_for(10 * MILLISECOND);
        }
    }
    let is_alone_in_it = world.asks(0) && !world.asks(1);
    world.go_on(Stage::Link, 1);
    world.uncut();
    world.run_for(1500 * MILLISECOND);
    if !(is_alone_in_it && world.is_paired(0) && world.serves(0) && world.serves(1)) {
        // The clocks were against it.
        world.is_busy = false;
        return Ok(());
    }
    let before = world.arbiter.epoch;
    world.stall(Stage::Superblock, 0, FOR_GOOD);
    world.go_on(Stage::Question, 0);
    let is_told = |world: &World| {
        let membership = world.status(0).map(|status| status.membership);
        membership.is_some_and(|membership| membership.members == Members::Only(NodeNumber::Zero))
    };
    // It looks every two seconds.
    world.run_for(2500 * MILLISECOND);
    world.until("node 0 has found it", is_told)?;
    world.ask(1, true, 5 * EXTENT, 1);
    world.until("the write is answered", World::are_all_answered)?;
    world.stall(Stage::Link, 1, FOR_GOOD);
    world.go_on(Stage::Superblock, 0);
    world.until("node 0 has noted it", |world| {
        open_metadata(&world.nodes[0].metadata).superblock.membership.epoch > before
    })?;
    world.crash_with(0, [Nothing, Everything]);
    world.go_on(Stage::Link, 1);
    world.is_busy = false;
    Ok(())
}
