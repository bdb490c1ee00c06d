//! Stories of nodes that end, in good order or not, and begin again: what they may go on with, and what nobody waits for.

use replication::input::Control;
use replication::membership::{Members, NodeNumber};
use replication::message::VolumeMessage;

use crate::stories::{FOR_GOOD, MILLISECOND, Told};
use crate::world::disk::Landing::{Everything, Nothing};
use crate::world::{EXTENT, Stage, World, open_metadata};

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
    world.force(1);
    world.until("node 1 goes on", |world| world.is_alone(1))?;
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
pub(crate) fn a_node_without_its_memory_meets_one_that_ended_well(world: &mut World) -> Told {
    world.both_rely_on_memory()?;
    world.ask(1, true, 5 * EXTENT, 1);
    world.until("the write is answered", World::are_all_answered)?;
    world.arbiter_is_up = false;
    world.crash_with(0, [Nothing, Everything]);
    world.cut();
    node_one_ends_well_and_both_begin_anew(world)
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
    world.stall(Stage::FirstBitmap, 0, FOR_GOOD);
    world.stall(Stage::FirstBitmap, 1, FOR_GOOD);
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
    world.stall(Stage::Link, 1, FOR_GOOD);
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

/// It has lost what was in the disk's cache, though nobody waits for it any more.
pub(crate) fn a_flush_fails_that_a_freeze_has_dropped(world: &mut World) -> Told {
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

/// It has found that the arbiter lets it serve alone, and makes its peer a member again, which does not know that it is none.
pub(crate) fn a_node_knows_of_the_register_what_its_peer_does_not(world: &mut World) -> Told {
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

/// Of two that have begun anew one has lost power in the middle of a write, and the other one has ended in good order.
pub(crate) fn a_node_that_ended_well_meets_one_with_a_torn_sector(world: &mut World) -> Told {
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

/// The node that served alone was asked for another one meanwhile, and has answered.
pub(crate) fn a_setting_that_nobody_was_answered_for_comes_back(world: &mut World) -> Told {
    let setting = |world: &World, index: usize| {
        let opened = open_metadata(&world.nodes[index].metadata);
        opened.small_state.map(|state| state.config_string)
    };
    for index in 0..2 {
        world
            .until("both are whole", |world| world.serves(0) && world.serves(1) && world.is_a_whole_pair())?;
        let first = setting(world, index);
        world.stall(Stage::Link, 1 - index, FOR_GOOD);
        world.set_at(index);
        world.until("it is on one disk", |world| setting(world, index) != first)?;
        world.crash_with(index, [Everything, Everything]);
        world.go_on(Stage::Link, 1 - index);
        world.until("the other one goes on", |world| world.is_alone(1 - index))?;
        world.run(300);
        let before = setting(world, 1 - index);
        world.set_at(1 - index);
        world.until("it has what it was asked for", |world| setting(world, 1 - index) != before)?;
        let answered = setting(world, 1 - index);
        world.start(index);
        world.until("both are members again", |world| {
            world.is_a_whole_pair() && setting(world, 0) == setting(world, 1)
        })?;
        if setting(world, index) != answered {
            return Err("settings: what was answered for is undone".into());
        }
    }
    Ok(())
}

/// It is told to leave when it has offered to meet, and to come back when it has met: nothing that it notes meanwhile may say that it has
/// ended well.
pub(crate) fn a_node_that_meets_is_told_to_leave_and_to_come_back(world: &mut World) -> Told {
    world.until("both serve", |world| world.serves(0) && world.serves(1) && world.is_a_whole_pair())?;
    world.ask(1, true, EXTENT, 8);
    world.until("the extent is hot", |world| world.are_all_answered())?;
    world.run(300);
    world.arbiter_is_up = false;
    world.cut();
    world.until("both are frozen", |world| !world.serves(0) && !world.serves(1))?;
    world.run(300);
    world.stall(Stage::FirstBitmap, 0, FOR_GOOD);
    world.stall(Stage::Bitmap, 0, FOR_GOOD);
    world.stall(Stage::Superblock, 1, FOR_GOOD);
    world.stall(Stage::Link, 1, FOR_GOOD);
    world.uncut();
    world.run(300);
    world.go_on(Stage::Link, 1);
    let has_offered = |world: &World| world.status(1).is_some_and(|status| status.peer_copy.is_some());
    world.until("they have offered", has_offered)?;
    world.control(1, Control::Leave);
    world.run(20);
    world.go_on(Stage::FirstBitmap, 0);
    world.go_on(Stage::Bitmap, 0);
    world.run(300);
    world.control(1, Control::Join);
    world.run(300);
    world.stall(Stage::Link, 0, FOR_GOOD);
    world.ask(1, true, EXTENT, 8);
    world.run(20);
    world.crash_with(1, [Everything, Everything]);
    world.arbiter_is_up = true;
    world.go_on(Stage::Superblock, 1);
    world.go_on(Stage::Link, 0);
    world.start(1);
    Ok(())
}

/// Node 1 has left with all that was answered from memory; what node 0 has of that its disk could not keep.
pub(crate) fn a_flush_fails_after_the_other_one_has_left(world: &mut World) -> Told {
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
pub(crate) fn a_write_fails_after_the_other_one_has_left(world: &mut World) -> Told {
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
pub(crate) fn a_durable_write_fails_that_a_freeze_has_dropped(world: &mut World) -> Told {
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

/// They lost each other for a moment, with a write at both disks.
fn both_are_about_to_meet_as_equals(world: &mut World) -> Told {
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
pub(crate) fn a_flush_fails_before_the_other_one_knows_that_it_is_a_member(world: &mut World) -> Told {
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

/// Node 1 has the write at its disk, and is not granted to go on alone: node 0's copy may count.
pub(crate) fn a_write_is_at_one_disk_when_the_other_one_fails(world: &mut World) -> Told {
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
pub(crate) fn a_disk_fails_with_a_write_that_met_another(world: &mut World) -> Told {
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

/// The server's disk fails, and the nodes lose each other before the follower is granted to go on, which it has all for.
pub(crate) fn the_nodes_part_after_the_servers_disk_has_failed(world: &mut World) -> Told {
    world.until("node 1 serves", |world| world.serves(1))?;
    world.ask(1, true, 10, 2);
    world.until("the write is answered", |world| world.are_all_answered())?;
    world.run(300);
    world.stall(Stage::Question, 0, FOR_GOOD);
    world.nodes[1].sectors.refuses_writes = true;
    world.ask(1, true, 30, 1);
    world.until("node 1 gives its disk up", |world| world.is_diskless(1))?;
    world.run(300);
    world.cut();
    world.until("node 0 is frozen", |world| !world.is_paired(0))?;
    world.go_on(Stage::Question, 0);
    world.until("node 0 goes on", |world| world.is_alone(0))?;
    world.ask(0, false, 10, 2);
    world.run(200);
    world.nodes[1].sectors.refuses_writes = false;
    Ok(())
}

/// Node 1 is being brought up to date when the nodes lose each other; node 0 has a durable write at its disk, which fails then.
pub(crate) fn a_dropped_write_fails_at_the_only_good_disk(world: &mut World) -> Told {
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
