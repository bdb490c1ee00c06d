//! Stories of `Memory` mode in which a disk fails: what only its cache had is lost with it, and nobody may count on that.

use replication::input::Control;
use replication::message::VolumeMessage;

use super::{FOR_GOOD, IN_MEMORY, MILLISECOND, SMALL_IN_MEMORY, Story, Told};
use crate::world::disk::Landing::{Everything, Nothing};
use crate::world::{EXTENT, Stage, World};

pub(super) const STORIES: &[Story] = &[
    ("flush failed beside a leaver", IN_MEMORY, a_flush_fails_after_the_other_one_has_left),
    (
        "write at one disk when the other one fails",
        IN_MEMORY,
        a_write_is_at_one_disk_when_the_other_one_fails,
    ),
    ("disk failed under two that met", IN_MEMORY, a_disk_fails_with_a_write_that_met_another),
    ("write failed beside a leaver", IN_MEMORY, a_write_fails_after_the_other_one_has_left),
    (
        "write dropped and failed at the only good disk",
        IN_MEMORY,
        a_dropped_write_fails_at_the_only_good_disk,
    ),
    ("durable write dropped and failed", IN_MEMORY, a_durable_write_fails_that_a_freeze_has_dropped),
    (
        "flush failed before the member",
        IN_MEMORY,
        a_flush_fails_before_the_other_one_knows_that_it_is_a_member,
    ),
    ("flush dropped and failed", SMALL_IN_MEMORY, a_flush_fails_that_a_freeze_has_dropped),
];

/// Node 1 has left with all that was answered from memory; what node 0 has of that its disk could not keep.
fn a_flush_fails_after_the_other_one_has_left(world: &mut World) -> Told {
    world.both_rely_on_memory()?;
    world.nodes[0].sectors.refuses_flushes = true;
    world.ask(0, true, 5 * EXTENT, 1);
    world.until("the write is answered", World::are_all_answered)?;
    world.control(1, Control::Leave);
    world.until("node 0 gives its disk up", |world| world.is_diskless(0))?;
    world.control(1, Control::Join);
    world.until("node 1 goes on", |world| world.is_alone(1) && world.serves(1))?;
    world.nodes[0].sectors.refuses_flushes = false;
    world.crash_with(0, [Everything, Everything]);
    world.start(0);
    Ok(())
}

/// As above, of a durable write: what the disk's flush was to keep with it is lost as well.
fn a_write_fails_after_the_other_one_has_left(world: &mut World) -> Told {
    world.both_rely_on_memory()?;
    world.ask(0, true, 5 * EXTENT, 1);
    world.until("the write is answered", World::are_all_answered)?;
    // It asks to go on alone when nothing is in memory only.
    world.stall(Stage::Disk, 0, FOR_GOOD);
    world.control(1, Control::Leave);
    world.until("node 1 leaves", |world| {
        world.is_under_way(0, |message| matches!(message, VolumeMessage::Leave))
    })?;
    world.run(20);
    world.nodes[0].sectors.refuses_writes = true;
    world.ask(0, true, 6 * EXTENT, 1);
    world.until("node 0 gives its disk up", |world| world.is_diskless(0))?;
    world.go_on(Stage::Disk, 0);
    world.control(1, Control::Join);
    world.until("node 1 goes on", |world| world.is_alone(1) && world.serves(1))?;
    world.nodes[0].sectors.refuses_writes = false;
    world.crash_with(0, [Everything, Everything]);
    world.start(0);
    Ok(())
}

/// As above, of one that was at the disk when the nodes lost each other.
fn a_durable_write_fails_that_a_freeze_has_dropped(world: &mut World) -> Told {
    world.both_rely_on_memory()?;
    world.ask(0, true, 5 * EXTENT, 1);
    world.until("the write is answered", World::are_all_answered)?;
    world.writes_through = true;
    world.nodes[0].sectors.refuses_writes = true;
    world.stall(Stage::Write, 0, FOR_GOOD);
    world.ask(0, true, 6 * EXTENT, 1);
    world.until("it is at the disk", |world| world.writes_at(0) > 0)?;
    world.cut();
    world.until("node 0 is frozen", |world| !world.serves(0))?;
    world.go_on(Stage::Write, 0);
    world.until("node 0 gives its disk up", |world| world.is_diskless(0))?;
    world.writes_through = false;
    world.until("node 1 goes on", |world| world.is_alone(1))?;
    world.nodes[0].sectors.refuses_writes = false;
    world.crash_with(0, [Everything, Everything]);
    world.uncut();
    world.start(0);
    Ok(())
}

/// It has lost what was in the disk's cache, though nobody waits for it any more.
fn a_flush_fails_that_a_freeze_has_dropped(world: &mut World) -> Told {
    world.both_rely_on_memory()?;
    world.stall(Stage::Disk, 0, FOR_GOOD);
    world.ask(1, true, 20, 1);
    world.until("the write is answered", World::are_all_answered)?;
    world.run_for(1200 * MILLISECOND);
    world.control(0, Control::Leave);
    world.until("node 1 goes on", |world| world.is_alone(1))?;
    world.run(100);
    world.nodes[0].sectors.refuses_flushes = true;
    world.go_on(Stage::Disk, 0);
    world.run(600);
    world.nodes[0].sectors.refuses_flushes = false;
    world.crash_with(0, [Nothing, Everything]);
    Ok(())
}

/// They lost each other for a moment, with a write at both disks.
pub(super) fn both_are_about_to_meet_as_equals(world: &mut World) -> Told {
    world.both_rely_on_memory()?;
    for index in 0..2 {
        world.stall(Stage::Write, index, FOR_GOOD);
    }
    world.ask(0, true, 3 * EXTENT, 1);
    world.until("the write is at both disks", |world| world.writes_at(0) > 0 && world.writes_at(1) > 0)?;
    world.cut();
    world.run_for(20 * MILLISECOND);
    world.uncut();
    for index in 0..2 {
        world.go_on(Stage::Write, index);
    }
    Ok(())
}

/// Both met as equals, and node 1 does not know yet that it lacks nothing any more: node 0's disk would be kept.
fn a_flush_fails_before_the_other_one_knows_that_it_is_a_member(world: &mut World) -> Told {
    both_are_about_to_meet_as_equals(world)?;
    world.until("node 1 is told that it is a member", |world| {
        world.is_under_way(1, |message| matches!(message, VolumeMessage::Member(_)))
    })?;
    world.stall(Stage::Superblock, 1, FOR_GOOD);
    world.until("node 0 serves", |world| world.serves(0))?;
    world.ask(0, true, 5 * EXTENT, 1);
    world.until("the write is answered", World::are_all_answered)?;
    world.nodes[0].sectors.refuses_flushes = true;
    world.ask_to_flush(0);
    world.until("the flush is answered", World::are_all_answered)?;
    world.go_on(Stage::Superblock, 1);
    world.until("node 1 says that it is one", |world| {
        world.is_under_way(0, |message| matches!(message, VolumeMessage::MemberKnown(_)))
    })?;
    world.nodes[0].sectors.refuses_flushes = false;
    world.ask(0, false, 5 * EXTENT, 1);
    Ok(())
}

/// Node 1 is being brought up to date when the nodes lose each other; node 0 has a durable write at its disk, which fails then.
fn a_dropped_write_fails_at_the_only_good_disk(world: &mut World) -> Told {
    both_are_about_to_meet_as_equals(world)?;
    world.until("they meet", |world| {
        world.is_under_way(1, |message| matches!(message, VolumeMessage::Proceed(_)))
    })?;
    world.stall(Stage::Write, 1, FOR_GOOD);
    world.until("node 0 serves", |world| world.serves(0))?;
    world.nodes[0].sectors.refuses_writes = true;
    world.stall(Stage::Write, 0, FOR_GOOD);
    world.ask(0, true, 5 * EXTENT, 1);
    world.until("the write is at the disk", |world| world.writes_at(0) > 0)?;
    world.cut();
    world.until("node 0 is frozen", |world| !world.serves(0))?;
    world.go_on(Stage::Write, 0);
    world.run(100);
    if world.is_diskless(0) {
        return Err("liveness: the only good disk is given up".to_owned());
    }
    world.nodes[0].sectors.refuses_writes = false;
    world.go_on(Stage::Write, 1);
    world.uncut();
    Ok(())
}

/// Node 1 has the write at its disk, and is not granted to go on alone: node 0's copy may count.
fn a_write_is_at_one_disk_when_the_other_one_fails(world: &mut World) -> Told {
    world.both_rely_on_memory()?;
    world.stall(Stage::Question, 1, FOR_GOOD);
    world.nodes[0].sectors.refuses_writes = true;
    world.ask(0, true, 5 * EXTENT, 1);
    world.until("node 0 gives its disk up", |world| world.is_diskless(0))?;
    world.run(200);
    world.ask(1, false, 5 * EXTENT, 1);
    world.run(200);
    world.nodes[0].sectors.refuses_writes = false;
    for index in 0..2 {
        world.crash_with(index, [Everything, Everything]);
    }
    for index in 0..2 {
        world.start(index);
    }
    world.until("both serve", |world| world.serves(0) && world.serves(1))?;
    world.ask(1, false, 5 * EXTENT, 1);
    Ok(())
}

/// Both write the same at once; the one that stays has both in its disk's cache, and writes its own one through when the
/// other disk fails.
fn a_disk_fails_with_a_write_that_met_another(world: &mut World) -> Told {
    world.both_rely_on_memory()?;
    let failing = world.chance.pick(2);
    let staying = 1 - failing;
    for index in 0..2 {
        world.stall(Stage::Write, index, FOR_GOOD);
        world.ask(index, true, 5 * EXTENT, 1);
    }
    world.until("both are at a disk", |world| world.writes_at(0) > 0 && world.writes_at(1) > 0)?;
    world.run(300);
    world.go_on(Stage::Write, staying);
    world.run(300);
    world.stall(Stage::Question, staying, 5000);
    world.nodes[failing].sectors.refuses_writes = true;
    world.go_on(Stage::Write, failing);
    world.until("one gives its disk up", |world| world.is_diskless(failing))?;
    world.until("the other one goes on alone", |world| world.is_alone(staying))?;
    world.nodes[failing].sectors.refuses_writes = false;
    world.crash_with(failing, [Everything, Everything]);
    world.start(failing);
    Ok(())
}
