//! Stories of disks that fail: whose copy counts then, and who goes on.

use replication::membership::Members;

use super::copies::one_serves_and_lacks;
use super::copies::serves_and_lacks;
use super::{FOR_GOOD, LARGE, SMALL, Story, Told};
use crate::world::disk::Landing::Everything;
use crate::world::disk::Sectors;
use crate::world::{EXTENT, Stage, World, open_metadata};

pub(super) const STORIES: &[Story] = &[
    ("bad sector", SMALL, a_bad_sector_is_read),
    ("bad source", LARGE, a_write_fails_at_the_source_and_is_on_the_disk_of_the_target),
    ("bad source behind a copy", LARGE, a_write_fails_at_the_source_behind_a_copy_of_its_sectors),
    ("bad source superseding", LARGE, a_write_fails_at_the_source_that_supersedes_one_of_the_target),
    ("bad source of another's write", LARGE, a_write_of_the_target_fails_at_the_source),
    ("bad source of equals", LARGE, writes_fail_at_the_source_of_two_members),
    ("bad disk beside a lost one", SMALL, a_write_fails_where_the_other_disk_is_lost),
    ("bad superseder after a cut", LARGE, a_write_fails_after_a_cut_that_came_over_another),
    (
        "bad source of one that is being told",
        LARGE,
        a_write_fails_before_the_peer_can_be_told_that_it_is_a_member,
    ),
    ("flush at a bad source", LARGE, a_flush_of_the_target_fails_at_the_source),
    ("disk exchanged", SMALL, a_disk_that_has_failed_is_exchanged),
    ("write of before the disk failed", SMALL, a_write_comes_after_one_from_before_its_node_lost_its_disk),
];

fn a_bad_sector_is_read(world: &mut World) -> Told {
    world.until("both serve", |world| world.serves(0) && world.serves(1))?;
    world.nodes[1].sectors.unreadable.extend(8..16);
    world.ask(1, false, 10, 2);
    world.run(3000);
    let is_mended = world.nodes[1].sectors.unreadable.is_empty();
    if is_mended { Ok(()) } else { Err("silence: a sector that could not be read is not mended".into()) }
}

fn a_write_fails_at_the_source_and_is_on_the_disk_of_the_target(world: &mut World) -> Told {
    serves_and_lacks(world)?;
    world.nodes[0].sectors.refuses_writes = true;
    world.ask(0, true, EXTENT, 8);
    world.until("the write is over", |world| world.are_all_answered())?;
    world.nodes[0].sectors.refuses_writes = false;
    world.run(60);
    world.ask(1, false, EXTENT, 8);
    world.run(200);
    world.go_on(Stage::Disk, 0);
    world.until("the read is over", |world| world.are_all_answered())?;
    world.ask(0, false, EXTENT, 8);
    world.until("the other read is over", |world| world.are_all_answered())
}

fn a_write_fails_at_the_source_behind_a_copy_of_its_sectors(world: &mut World) -> Told {
    serves_and_lacks(world)?;
    world.stall(Stage::Write, 1, FOR_GOOD);
    world.go_on(Stage::Disk, 0);
    world.until("the copy has come", |world| world.writes_at(1) > 0)?;
    world.nodes[0].sectors.refuses_writes = true;
    world.ask(0, true, EXTENT, 8);
    world.run(200);
    world.nodes[0].sectors.refuses_writes = false;
    world.go_on(Stage::Write, 1);
    world.until("the write is over", |world| world.are_all_answered())?;
    world.run(200);
    for index in 0..2 {
        world.ask(index, false, EXTENT, 8);
        world.until("a read is over", |world| world.are_all_answered())?;
    }
    Ok(())
}

fn a_write_fails_at_the_source_that_supersedes_one_of_the_target(world: &mut World) -> Told {
    for comes_after in [false, true] {
        one_serves_and_lacks(world, 0)?;
        let followed = |world: &World| world.status(1).map_or(0, |status| status.counters.followed);
        let before = followed(world);
        world.stall(Stage::Write, 1, FOR_GOOD);
        (0..2).for_each(|index| world.stall(Stage::Link, index, FOR_GOOD));
        world.ask(1, true, EXTENT, 8);
        world.ask(0, true, EXTENT, 8);
        world.nodes[1].sectors.refuses_writes = true;
        if !comes_after {
            world.go_on(Stage::Link, 1);
            world.until("the other's write has come", |world| followed(world) > before)?;
        }
        world.go_on(Stage::Write, 1);
        world.until("its own has failed", |world| world.writes_at(1) == 0)?;
        world.nodes[1].sectors.refuses_writes = false;
        (0..2).for_each(|index| world.go_on(Stage::Link, index));
        world.run(40);
        world.go_on(Stage::Disk, 1);
        world.until("the writes are over", |world| world.are_all_answered())?;
        for index in [1, 0] {
            world.ask(index, false, EXTENT, 8);
            world.until("a read is over", |world| world.are_all_answered())?;
        }
    }
    Ok(())
}

/// The only disk that is left, and nobody can be asked yet.
fn a_write_fails_where_the_other_disk_is_lost(world: &mut World) -> Told {
    world.until("both serve", |world| world.serves(0) && world.serves(1) && world.is_a_whole_pair())?;
    world.stall(Stage::Question, 0, FOR_GOOD);
    world.nodes[1].sectors.refuses_writes = true;
    world.ask(1, true, 0, 8);
    world.until("one disk is lost", |world| world.is_diskless(1))?;
    world.run(200);
    world.nodes[0].sectors.refuses_writes = true;
    world.ask(0, true, 16, 8);
    world.run(300);
    if world.is_diskless(0) {
        return Err("liveness: the only disk that is left is given up".to_owned());
    }
    world.nodes[0].sectors.refuses_writes = false;
    world.go_on(Stage::Question, 0);
    world.until("who has a disk goes on", |world| world.is_alone(0) && world.are_all_answered())?;
    world.nodes[1].sectors.refuses_writes = false;
    world.crash_with(1, [Everything, Everything]);
    world.start(1);
    Ok(())
}

/// Node 1's write comes over one of node 0's, which so is on no disk but node 0's, and fails when that is lost.
fn a_write_fails_after_a_cut_that_came_over_another(world: &mut World) -> Told {
    // The other's may reach farther, so that a part of it goes to the disk.
    for length in [8, 16] {
        a_write_fails_over_another(world, length)?;
    }
    Ok(())
}

fn a_write_fails_over_another(world: &mut World, length: u64) -> Told {
    world.until("both serve", |world| world.serves(0) && world.serves(1) && world.is_a_whole_pair())?;
    let followed = |world: &World| world.status(1).map_or(0, |status| status.counters.followed);
    let before = followed(world);
    (0..2).for_each(|index| world.stall(Stage::Write, index, FOR_GOOD));
    (0..2).for_each(|index| world.stall(Stage::Link, index, FOR_GOOD));
    world.ask(0, true, EXTENT, length);
    let digest = u128::from(world.next_value);
    world.ask(1, true, EXTENT, 8);
    world.until("its write is at the disk", |world| world.writes_at(1) > 0)?;
    world.go_on(Stage::Link, 1);
    world.until("the other's write has come", |world| followed(world) > before)?;
    world.crash_with(0, [Everything, Everything]);
    world.until("node 1 has parted", |world| !world.is_paired(1))?;
    world.nodes[1].sectors.refuses_writes = true;
    let writes = world.writes_at(1);
    world.go_on(Stage::Write, 1);
    world.until("a write has failed", |world| world.writes_at(1) < writes)?;
    world.nodes[1].sectors.refuses_writes = false;
    world.until("the other one is over, if there is one", |world| world.writes_at(1) == 0)?;
    if world.nodes[1].executed.contains(&digest) {
        return Err("memory: a write that is on no disk counts as executed".to_owned());
    }
    (0..2).for_each(|index| world.go_on(Stage::Link, index));
    world.go_on(Stage::Write, 0);
    world.start(0);
    Ok(())
}

fn a_write_of_the_target_fails_at_the_source(world: &mut World) -> Told {
    serves_and_lacks(world)?;
    world.nodes[0].sectors.refuses_writes = true;
    world.ask(1, true, EXTENT, 8);
    world.until("the nodes have parted", |world| !world.is_paired(0) && !world.is_paired(1))?;
    world.nodes[0].sectors.refuses_writes = false;
    world.go_on(Stage::Disk, 0);
    world.until("both serve again", |world| world.serves(0) && world.serves(1))
}

fn writes_fail_at_the_source_of_two_members(world: &mut World) -> Told {
    for writer in [0, 1] {
        world
            .until("both are whole", |world| world.is_a_whole_pair() && world.serves(0) && world.serves(1))?;
        world.stall(Stage::Link, 1, FOR_GOOD);
        world.ask(0, true, EXTENT, 8);
        world.until("the write is at a disk", |world| world.writes_at(0) > 0)?;
        world.until("it is there", |world| world.writes_at(0) == 0)?;
        world.cut();
        world.go_on(Stage::Link, 1);
        (0..2).for_each(|index| world.stall(Stage::Disk, index, FOR_GOOD));
        world.uncut();
        world.until("both serve again", |world| world.serves(0) && world.serves(1))?;
        if world.status(0).is_none_or(|status| status.membership.members != Members::Both) {
            // They were apart for too long.
            return Ok(());
        }
        world.nodes[0].sectors.refuses_writes = true;
        world.ask(writer, true, EXTENT, 8);
        world.until("the write has failed", |world| world.are_all_answered())?;
        world.nodes[0].sectors.refuses_writes = false;
        (0..2).for_each(|index| world.go_on(Stage::Disk, index));
    }
    world.until("both serve at the end", |world| world.serves(0) && world.serves(1))
}

fn a_write_fails_before_the_peer_can_be_told_that_it_is_a_member(world: &mut World) -> Told {
    serves_and_lacks(world)?;
    world.stall(Stage::Superblock, 0, FOR_GOOD);
    world.go_on(Stage::Disk, 0);
    let is_member =
        |world: &World| world.status(0).is_some_and(|status| status.membership.members == Members::Both);
    world.until("node 0 has its peer for a member", is_member)?;
    // What fails is not copied meanwhile.
    world.stall(Stage::Disk, 0, FOR_GOOD);
    world.nodes[0].sectors.refuses_writes = true;
    world.ask(0, true, EXTENT, 8);
    world.run(400);
    world.nodes[0].sectors.refuses_writes = false;
    world.go_on(Stage::Superblock, 0);
    world.go_on(Stage::Disk, 0);
    world.until("both serve at the end", |world| world.serves(0) && world.serves(1))
}

fn a_flush_of_the_target_fails_at_the_source(world: &mut World) -> Told {
    serves_and_lacks(world)?;
    world.nodes[0].sectors.refuses_flushes = true;
    world.ask_to_flush(1);
    world.go_on(Stage::Disk, 0);
    world.run(60);
    world.nodes[0].sectors.refuses_flushes = false;
    world.until("the flush is over", World::are_all_answered)
}

/// Nobody tells the node that it has another disk now.
fn a_disk_that_has_failed_is_exchanged(world: &mut World) -> Told {
    world.until("both serve", |world| world.serves(0) && world.serves(1))?;
    world.ask(1, true, 10, 2);
    world.until("the write is answered", |world| world.are_all_answered())?;
    world.nodes[0].sectors.refuses_writes = true;
    world.ask(0, true, 30, 1);
    world.until("node 1 goes on", |world| world.is_alone(1))?;
    world.until("node 0 is a way to it", |world| world.nodes[0].hands_over)?;
    world.run(200);
    world.crash_with(0, [Everything, Everything]);
    if !open_metadata(&world.nodes[0].metadata).superblock.disk_lost {
        return Err("equality: what is found in the place of the disk would count".to_owned());
    }
    world.nodes[0].sectors = Sectors::default();
    world.start(0);
    world.until("they meet", |world| world.is_paired(0) && world.is_paired(1))
}

/// Node 1's disk has the first one still to do, when node 0 has been exchanged for dead, is back, and writes there again.
fn a_write_comes_after_one_from_before_its_node_lost_its_disk(world: &mut World) -> Told {
    world.until("both serve", |world| world.serves(0) && world.serves(1))?;
    world.stall(Stage::Write, 1, FOR_GOOD);
    world.nodes[0].sectors.refuses_writes = true;
    world.ask(0, true, 3, 1);
    world.until("node 1 goes on", |world| world.is_alone(1))?;
    world.nodes[0].sectors.refuses_writes = false;
    world.crash_with(0, [Everything, Everything]);
    world.start(0);
    world.until("node 0 serves", |world| world.is_paired(0) && world.serves(0))?;
    world.ask(0, true, 3, 1);
    world.run(200);
    world.go_on(Stage::Write, 1);
    world.until("the write is over", World::are_all_answered)
}
