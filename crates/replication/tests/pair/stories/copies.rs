//! Stories of a resync: copies beside writes and reads, and how fast they go.

use replication::input::Control;
use replication::resync::ResyncRate;

use super::{FOR_GOOD, LARGE, MILLISECOND, Story, Told};
use crate::world::{EXTENT, Stage, World};

pub(super) const STORIES: &[Story] = &[
    ("copy and write", LARGE, a_copy_is_read_before_a_write_and_sent_after_it),
    ("copy on its way to the disk", LARGE, a_copy_is_on_its_way_to_the_disk_when_it_is_read),
    ("read of what is lacking", LARGE, what_a_node_lacks_is_read_there),
    ("rate of a resync", LARGE, the_rate_of_a_resync_is_changed_while_it_runs),
];

/// Node 1 has come back and serves, and lacks a block, since node 0's disk does not get to reading it.
pub(super) fn serves_and_lacks(world: &mut World) -> Told {
    one_serves_and_lacks(world, 1)
}

/// The other node has served alone, and copies nothing yet.
pub(super) fn one_serves_and_lacks(world: &mut World, index: usize) -> Told {
    world.left_alone(1 - index)?;
    world.ask(1 - index, true, EXTENT, 8);
    world.until("the write is over", |world| world.are_all_answered())?;
    world.stall(Stage::Disk, 1 - index, FOR_GOOD);
    world.start(index);
    world.until("who came back serves", |world| world.serves(index))
}

/// Its own disk has the old value, and would be asked before the copy is there, and have answered after it.
fn what_a_node_lacks_is_read_there(world: &mut World) -> Told {
    serves_and_lacks(world)?;
    world.stall(Stage::Disk, 1, FOR_GOOD);
    world.ask(1, false, EXTENT, 8);
    if !world.nodes[1].at_disk.is_empty() {
        world.reach(1, 0);
    }
    world.go_on(Stage::Disk, 0);
    world.run(300);
    world.go_on(Stage::Disk, 1);
    world.until("the read is over", World::are_all_answered)
}

fn a_copy_is_read_before_a_write_and_sent_after_it(world: &mut World) -> Told {
    serves_and_lacks(world)?;
    world.is_busy = true;
    world.reach(0, 0);
    world.ask(1, true, EXTENT, 8);
    world.until("the write is at both disks", |world| world.writes_at(0) > 0)?;
    world.stall(Stage::Link, 0, FOR_GOOD);
    world.until("the write is over", |world| world.are_all_answered())?;
    world.go_on(Stage::Disk, 0);
    world.run(200);
    Ok(())
}

fn a_copy_is_on_its_way_to_the_disk_when_it_is_read(world: &mut World) -> Told {
    serves_and_lacks(world)?;
    world.stall(Stage::Write, 1, FOR_GOOD);
    world.go_on(Stage::Disk, 0);
    world.until("the block has come", |world| world.writes_at(1) > 0)?;
    world.ask(1, false, EXTENT, 8);
    world.until("the read is over", |world| world.are_all_answered())
}

/// As fast as may be, then one block a second, then as fast as may be again.
fn the_rate_of_a_resync_is_changed_while_it_runs(world: &mut World) -> Told {
    let lacking = |world: &World| world.status(0).map_or(0, |status| status.out_of_sync);
    let set = |world: &mut World, rate| {
        world.control(0, Control::Resync { rate, checksums: false });
    };
    world.left_alone(0)?;
    for block in 0..60 {
        world.ask(0, true, 16 * block, 1);
    }
    world.until("the writes are over", World::are_all_answered)?;
    world.is_busy = true;
    world.start(1);
    world.until("a block is copied", |world| world.is_paired(1) && (1..58).contains(&lacking(world)))?;
    set(world, ResyncRate::BytesPerSecond(4096));
    world.run_for(100 * MILLISECOND);
    let before = lacking(world);
    if before < 30 {
        return Err(format!("rate: {before} blocks are left when it should have become slow"));
    }
    world.run_for(3000 * MILLISECOND);
    let copied = before - lacking(world);
    if !(1..=5).contains(&copied) {
        return Err(format!("rate: {copied} blocks in 3 s at one a second"));
    }
    set(world, ResyncRate::Yielding);
    world.run_for(1000 * MILLISECOND);
    match lacking(world) {
        0 => Ok(()),
        left => Err(format!("rate: {left} blocks are left when nothing was to wait for")),
    }
}
