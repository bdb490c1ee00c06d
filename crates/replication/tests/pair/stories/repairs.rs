//! Stories of sectors that one disk has lost and the other one has: where they are read, who gives them to whom, and what becomes of
//! that when something else happens on the way.

use replication::input::Control;
use replication::membership::Members;
use replication::message::VolumeMessage;

use super::copies::serves_and_lacks;
use super::{FOR_GOOD, LARGE, MILLISECOND, SMALL, Story, Told};
use crate::world::disk::Landing::Everything;
use crate::world::{EXTENT, Stage, World};

pub(super) const STORIES: &[Story] = &[
    (
        "bad sector beside one that was granted",
        SMALL,
        a_bad_sector_is_written_in_part_before_the_grant_is_durable,
    ),
    ("parted while mending", SMALL, the_nodes_part_before_a_bad_sector_is_mended),
    ("bad sector of the only good disk", LARGE, the_only_good_disk_cannot_be_mended),
    ("bad source behind a write", LARGE, a_write_fails_at_the_source_over_one_of_the_target),
    ("bad source and a read", LARGE, a_read_of_the_target_has_what_fails_at_the_source),
    ("bad sector beside a leaver", SMALL, a_bad_sector_is_written_in_part_while_the_other_one_has_left),
    ("bad sector written anew", SMALL, a_bad_sector_is_written_while_it_is_fetched),
    ("bad sector beside a copy", LARGE, a_read_finds_one_part_here_and_the_other_there),
];

/// Both copies count as much, and only the one that could be read may be copied.
fn the_nodes_part_before_a_bad_sector_is_mended(world: &mut World) -> Told {
    for index in 0..2 {
        both_are_whole(world)?;
        world.ask(index, true, 8, 8);
        world.until("the write is over", |world| world.are_all_answered() && world.is_a_whole_pair())?;
        world.nodes[index].sectors.unreadable.extend(8..16);
        world.stall(Stage::Write, index, FOR_GOOD);
        world.ask(index, false, 10, 2);
        world.until("a copy has come", |world| world.writes_at(index) > 0)?;
        world.cut();
        world.go_on(Stage::Write, index);
        world.nodes[index].sectors.unreadable.extend(8..16);
        world.uncut();
        both_are_whole(world)?;
        (0..2).for_each(|reader| _ = world.ask(reader, false, 8, 8));
        world.until("it is mended", |world| {
            world.are_all_answered() && world.nodes[index].sectors.unreadable.is_empty()
        })?;
    }
    Ok(())
}

/// A sector can be neither read nor written there, and nothing but that disk could serve if it were given up.
fn the_only_good_disk_cannot_be_mended(world: &mut World) -> Told {
    node_one_lacks(world)?;
    world.nodes[0].sectors.unreadable.extend(8..16);
    world.nodes[0].sectors.refuses_writes = true;
    world.ask(0, false, 8, 8);
    world.until("it is read from the other one", World::are_all_answered)?;
    world.run(1500);
    if world.is_diskless(0) {
        return Err("liveness: the only good disk is given up for a copy".into());
    }
    world.ask(0, false, 8, 8);
    world.until("it is read once more", World::are_all_answered)?;
    world.nodes[0].sectors.refuses_writes = false;
    world.until("it is mended", |world| world.nodes[0].sectors.unreadable.is_empty())?;
    world.go_on(Stage::Write, 1);
    both_are_whole(world)
}

/// It was read from node 1, which has left, and node 0's disk takes no more writes.
fn a_part_of_a_bad_sector_is_written_in_vain(world: &mut World) -> Told {
    world.nodes[0].sectors.unreadable.extend(8..16);
    world.stall(Stage::Write, 0, FOR_GOOD);
    world.ask(0, false, 8, 8);
    world.until("it is read from the other one", World::are_all_answered)?;
    world.nodes[0].sectors.refuses_writes = true;
    world.nodes[0].sectors.unreadable.clear();
    world.ask(0, true, 6, 4);
    world.run(100);
    world.go_on(Stage::Write, 0);
    Ok(())
}

/// What held node 0 up at that stage is over as well, and node 1 comes back.
fn the_disk_works_again_and_all_is_read(world: &mut World, held_up: Stage) -> Told {
    world.nodes[0].sectors.refuses_writes = false;
    world.go_on(held_up, 0);
    world.run(300);
    world.ask(0, false, 8, 8);
    world.run(300);
    world.control(1, Control::Join);
    world.run(300);
    for index in 0..2 {
        world.crash_with(index, [Everything, Everything]);
        world.start(index);
    }
    both_are_whole(world)
}

/// The other one has left, and nobody can be asked yet: it is read where this disk cannot.
fn a_bad_sector_is_written_in_part_while_the_other_one_has_left(world: &mut World) -> Told {
    both_are_whole(world)?;
    world.ask(0, true, 0, 16);
    world.until("the write is over", World::are_all_answered)?;
    world.run_for(14_000 * MILLISECOND);
    world.stall(Stage::Question, 0, FOR_GOOD);
    world.control(1, Control::Leave);
    world.until("node 0 hears that node 1 has left", |world| {
        world.is_under_way(0, |message| matches!(message, VolumeMessage::Leave))
    })?;
    world.run(20);
    a_part_of_a_bad_sector_is_written_in_vain(world)?;
    world.until("node 0 gives up what it cannot make good", |world| world.is_diskless(0))?;
    world.ask(0, false, 8, 8);
    world.run(300);
    the_disk_works_again_and_all_is_read(world, Stage::Question)
}

/// The source acknowledges a write of the target's and fails with one of its own to the same block, before the target's disk has either:
/// when both have the first, one of them has it no more.
fn a_write_fails_at_the_source_over_one_of_the_target(world: &mut World) -> Told {
    serves_and_lacks(world)?;
    let followed = |world: &World| world.status(0).map_or(0, |status| status.counters.followed);
    let before = followed(world);
    world.stall(Stage::Write, 1, FOR_GOOD);
    world.ask(1, true, EXTENT, 8);
    world.until("the source has it", |world| {
        followed(world) > before && world.is_under_way(1, is_ack) && world.writes_at(0) == 0
    })?;
    world.nodes[0].sectors.refuses_writes = true;
    world.ask(0, true, EXTENT, 4);
    world.until("its own is at the disk", |world| world.writes_at(0) > 0)?;
    world.until("its own has failed", |world| world.writes_at(0) == 0)?;
    world.run(200);
    world.nodes[0].sectors.refuses_writes = false;
    world.go_on(Stage::Write, 1);
    world.until("the writes are over", World::are_all_answered)?;
    for index in [1, 0] {
        world.ask(index, false, EXTENT, 8);
        world.run(100);
    }
    world.go_on(Stage::Disk, 0);
    world.until("the reads are over", World::are_all_answered)
}

/// What it has taken for a value of the write it is not answered with.
fn a_read_of_the_target_has_what_fails_at_the_source(world: &mut World) -> Told {
    serves_and_lacks(world)?;
    world.stall(Stage::Write, 0, FOR_GOOD);
    world.ask(0, true, EXTENT + 8, 8);
    world.until("the target has it", |world| world.is_under_way(0, is_ack))?;
    world.ask(1, false, EXTENT + 8, 8);
    world.run(200);
    world.nodes[0].sectors.refuses_writes = true;
    world.go_on(Stage::Write, 0);
    world.until("the write has failed", |world| world.writes_at(0) == 0)?;
    world.run(200);
    world.nodes[0].sectors.refuses_writes = false;
    world.go_on(Stage::Disk, 0);
    world.until("both have ended", World::are_all_answered)?;
    world.ask(0, false, EXTENT + 8, 8);
    world.until("the other read is over", World::are_all_answered)
}

/// Node 1 has left, and node 0 was granted to serve alone, which is not durable yet.
fn a_bad_sector_is_written_in_part_before_the_grant_is_durable(world: &mut World) -> Told {
    both_are_whole(world)?;
    world.ask(0, true, 0, 16);
    world.until("the write is over", World::are_all_answered)?;
    world.stall(Stage::Superblock, 0, FOR_GOOD);
    world.control(1, Control::Leave);
    world.until("node 0 hears that it was granted to serve alone", |world| {
        world.status(0).is_some_and(|status| status.membership.members != Members::Both)
    })?;
    a_part_of_a_bad_sector_is_written_in_vain(world)?;
    world.run(300);
    world.ask(0, false, 8, 8);
    world.run(300);
    the_disk_works_again_and_all_is_read(world, Stage::Superblock)
}

/// The write is under way at the peer when that is asked for a copy.
fn a_bad_sector_is_written_while_it_is_fetched(world: &mut World) -> Told {
    both_are_whole(world)?;
    world.nodes[1].sectors.unreadable.extend(8..16);
    world.stall(Stage::Link, 1, FOR_GOOD);
    world.is_busy = true;
    world.ask(1, false, 8, 8);
    world.until("it was read at the peer", |world| {
        world.is_under_way(1, |message| matches!(message, VolumeMessage::Fetched { .. }))
    })?;
    world.ask(1, true, 8, 8);
    world.until("both disks have the write", |world| {
        world.writes_at(1) == 0 && world.is_under_way(1, is_ack)
    })?;
    world.go_on(Stage::Link, 1);
    world.is_busy = false;
    both_are_whole(world)
}

/// No disk can read all of it, and none of it is lost.
fn a_read_finds_one_part_here_and_the_other_there(world: &mut World) -> Told {
    node_one_lacks(world)?;
    world.is_busy = true;
    for (reader, start) in [(0, EXTENT), (1, EXTENT - 8)] {
        let bad = 2 * start + 8 - EXTENT;
        world.nodes[0].sectors.unreadable.extend(bad..bad + 8);
        // Initiators ask again.
        for _ in 0..5 {
            world.ask(reader, false, start, 16);
            world.run(400);
        }
        world.until("it is mended", |world| {
            world.nodes[0].sectors.unreadable.is_empty() && world.are_all_answered()
        })?;
    }
    world.is_busy = false;
    world.go_on(Stage::Write, 1);
    both_are_whole(world)
}

fn is_ack(message: &VolumeMessage) -> bool {
    matches!(message, VolumeMessage::Ack { .. })
}

fn both_are_whole(world: &mut World) -> Told {
    world.until("both are whole", |world| world.serves(0) && world.serves(1) && world.is_a_whole_pair())
}

/// Node 0 has served alone, and its copies do not get to the disk of the other one.
fn node_one_lacks(world: &mut World) -> Told {
    world.left_alone(0)?;
    world.ask(0, true, EXTENT, 8);
    world.until("the write is over", World::are_all_answered)?;
    world.stall(Stage::Write, 1, FOR_GOOD);
    world.start(1);
    world.until("both serve again", |world| world.serves(0) && world.serves(1))
}
