//! Stories of nodes that leave on purpose, and come back: nobody is kept from serving by that.

use replication::input::Control;
use replication::membership::{Epoch, Members, Membership, NodeNumber};
use replication::message::VolumeMessage;
use replication::output::Outcome;

use super::copies::serves_and_lacks;
use super::{FOR_GOOD, LARGE, MILLISECOND, SMALL, Story, Told};
use crate::world::disk::Landing::{Everything, Nothing};
use crate::world::{EXTENT, Stage, World};

pub(super) const STORIES: &[Story] = &[
    ("busy leaver", SMALL, a_node_is_told_to_leave_with_a_write_in_flight),
    ("indispensable leaver", LARGE, a_node_is_told_to_leave_that_has_what_its_peer_lacks),
    ("untold leaver", LARGE, a_node_is_told_to_leave_whose_last_write_makes_its_peer_whole),
    ("left to a quiet one", SMALL, a_node_leaves_its_peer_that_has_just_come_back),
    ("clean end", LARGE, a_node_is_told_to_leave_before_it_has_noted_what_is_in_doubt),
    ("leaves while meeting", LARGE, a_node_that_meets_is_told_to_leave_and_to_come_back),
    ("both left and back", SMALL, two_nodes_that_have_left_come_back_at_once),
    ("both left and one removed", SMALL, one_of_two_nodes_that_have_left_has_the_volume_no_more),
    ("both left and one back", SMALL, one_of_two_nodes_that_have_left_comes_back),
    ("stray question of a leaver", SMALL, a_node_leaves_whose_question_is_still_under_way),
    ("leave before the healed register", SMALL, a_node_leaves_before_it_hears_of_the_healed_register),
    (
        "left and back before the healed register",
        SMALL,
        a_node_is_back_before_it_hears_of_the_healed_register,
    ),
    ("healed by one, heard by the other", SMALL, the_peer_of_the_healer_hears_of_the_healed_register_first),
    ("healer leaves", SMALL, the_healer_leaves_when_it_hears_of_the_healed_register),
    ("source leaves while meeting", SMALL, the_source_is_to_leave_when_it_has_offered),
];

fn a_node_is_told_to_leave_with_a_write_in_flight(world: &mut World) -> Told {
    world.until("both serve", |world| world.serves(0) && world.serves(1))?;
    world.run_for(14_000 * MILLISECOND);
    world.stall(Stage::Write, 0, FOR_GOOD);
    let client = world.ask(0, true, 3, 1);
    world.run(60);
    world.control(0, Control::Leave);
    world.run(3000);
    world.go_on(Stage::Write, 0);
    world.until("the write is over", |world| world.are_all_answered())?;
    let outcome = world.outcome(client);
    let is_done = matches!(outcome, Some(Outcome::Done(_)));
    if is_done { Ok(()) } else { Err(format!("stall: a leaver ends a write with {outcome:?}")) }
}

fn a_node_is_told_to_leave_that_has_what_its_peer_lacks(world: &mut World) -> Told {
    serves_and_lacks(world)?;
    world.control(0, Control::Leave);
    world.run(1000);
    Ok(())
}

fn a_node_is_told_to_leave_whose_last_write_makes_its_peer_whole(world: &mut World) -> Told {
    world.until("both serve", |world| world.serves(0) && world.serves(1))?;
    world.run_for(14_000 * MILLISECOND);
    world.stall(Stage::Write, 1, FOR_GOOD);
    world.ask(0, true, 5 * EXTENT, 8);
    world.run(100);
    world.cut();
    world.go_on(Stage::Write, 1);
    world.stall(Stage::Disk, 0, FOR_GOOD);
    world.uncut();
    world.until("both serve again", |world| world.serves(0) && world.serves(1))?;
    if world.status(0).is_none_or(|status| status.membership.members != Members::Both) {
        // They were apart for too long.
        return Ok(());
    }
    world.run_for(14_000 * MILLISECOND);
    let client = world.ask(0, true, 5 * EXTENT, 8);
    world.control(0, Control::Leave);
    world.until("the write is over", |world| world.are_all_answered())?;
    world.run(1000);
    match world.outcome(client) {
        Some(Outcome::Done(_)) => Ok(()),
        other => Err(format!("stall: a leaver ends a write with {other:?}")),
    }
}

fn a_node_leaves_its_peer_that_has_just_come_back(world: &mut World) -> Told {
    world.until("both serve", |world| world.serves(0) && world.serves(1))?;
    world.run_for(14_000 * MILLISECOND);
    world.control(1, Control::Leave);
    world.until("node 0 goes on", |world| world.is_alone(0))?;
    world.is_busy = true;
    world.control(1, Control::Join);
    world.until("both are members again", World::is_a_whole_pair)?;
    world.arbiter_is_up = false;
    world.control(0, Control::Leave);
    world.until("node 0 has left", |world| !world.serves(0))?;
    if world.serves(1) {
        return Err("memory: node 1 serves at once".into());
    }
    world.run_for(4_000 * MILLISECOND);
    // Nobody can make it the sole member now, and nobody else answers at its address.
    if world.serves(1) && world.is_paired(1) { Ok(()) } else { Err("liveness: both nodes are quiet".into()) }
}

fn a_node_is_told_to_leave_before_it_has_noted_what_is_in_doubt(world: &mut World) -> Told {
    world.until("both serve", |world| world.serves(0) && world.serves(1))?;
    world.stall(Stage::Link, 1, FOR_GOOD);
    world.ask(0, true, 5 * EXTENT, 1);
    world.run(100);
    world.crash_with(1, [Nothing, Nothing]);
    world.crash_with(0, [Everything, Everything]);
    world.stall(Stage::FirstBitmap, 0, FOR_GOOD);
    world.start(0);
    world.control(0, Control::Leave);
    world.run(1000);
    world.crash_with(0, [Everything, Nothing]);
    Ok(())
}

/// It is told to leave when it has offered to meet, and to come back when it has met: nothing that it notes meanwhile may say that it has
/// ended well.
fn a_node_that_meets_is_told_to_leave_and_to_come_back(world: &mut World) -> Told {
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

fn two_nodes_that_have_left_come_back_at_once(world: &mut World) -> Told {
    both_have_left(world)?;
    world.stall(Stage::Link, 1, FOR_GOOD);
    (0..2).for_each(|index| world.control(index, Control::Join));
    world.run_for(700 * MILLISECOND);
    world.go_on(Stage::Link, 1);
    Ok(())
}

fn one_of_two_nodes_that_have_left_comes_back(world: &mut World) -> Told {
    for index in 0..2 {
        both_have_left(world)?;
        world.control(index, Control::Join);
        world.until("it goes on", |world| world.is_alone(index))?;
        world.control(1 - index, Control::Join);
        world.until("both are whole", World::is_a_whole_pair)?;
    }
    Ok(())
}

fn one_of_two_nodes_that_have_left_has_the_volume_no_more(world: &mut World) -> Told {
    both_have_left(world)?;
    world.control(1, Control::Remove);
    world.run(300);
    world.control(0, Control::Join);
    world.until("the other one goes on", |world| world.is_alone(0))
}

/// Both nodes have asked to serve alone, and met again before the arbiter heard of it.
pub(super) fn questions_are_under_way(world: &mut World) -> Told {
    world.until("both serve", |world| world.serves(0) && world.serves(1))?;
    world.run_for(14_000 * MILLISECOND);
    (0..2).for_each(|index| world.stall(Stage::Question, index, FOR_GOOD));
    world.is_busy = true;
    world.cut();
    world.run_for(2500 * MILLISECOND);
    world.uncut();
    world.until("both serve again", |world| world.serves(0) && world.serves(1) && world.is_paired(0))
}

/// The register comes to name it alone: its peer could not go on.
fn a_node_leaves_whose_question_is_still_under_way(world: &mut World) -> Told {
    questions_are_under_way(world)?;
    world.control(0, Control::Leave);
    world.run_for(1000 * MILLISECOND);
    world.go_on(Stage::Question, 0);
    world.until("node 0 is granted to serve alone", |world| {
        world.arbiter.members == Members::Only(NodeNumber::Zero)
    })?;
    world.go_on(Stage::Question, 1);
    world.is_busy = false;
    world.until("node 0 has left, and node 1 goes on", |world| world.is_alone(1) && !world.serves(0))
}

fn a_node_leaves_before_it_hears_of_the_healed_register(world: &mut World) -> Told {
    a_leave_crosses_the_healed_register(world, false)
}

fn a_node_is_back_before_it_hears_of_the_healed_register(world: &mut World) -> Told {
    a_leave_crosses_the_healed_register(world, true)
}

/// Node 0 was granted to serve alone, and makes node 1 a member once more; node 1 leaves before it hears of either, and takes the first
/// for the answer to its leave.
fn a_leave_crosses_the_healed_register(world: &mut World, is_back_soon: bool) -> Told {
    world.until("both serve", |world| world.serves(0) && world.serves(1))?;
    world.run_for(14_000 * MILLISECOND);
    world.stall(Stage::Question, 0, FOR_GOOD);
    world.cut();
    // It does not ask to serve alone, and nothing that it has asked is in the way of its leave.
    world.control(1, Control::Leave);
    world.run_for(2500 * MILLISECOND);
    world.uncut();
    world.until("node 1 says that it has left", |world| {
        world.is_under_way(0, |message| matches!(message, VolumeMessage::Leave))
    })?;
    world.control(1, Control::Join);
    world.until("both serve again", |world| world.serves(0) && world.serves(1) && world.is_paired(0))?;
    world.go_on(Stage::Question, 0);
    world.until("node 0 is granted to serve alone", |world| {
        world.arbiter.members == Members::Only(NodeNumber::Zero)
    })?;
    world.until("node 0 knows that", |world| {
        world.status(0).is_some_and(|status| status.membership == world.arbiter)
    })?;
    // Its lease does not outlast that.
    world.stall(Stage::Link, 1, 500 * MILLISECOND);
    world.until("the register is healed", |world| world.arbiter.members == Members::Both)?;
    world.stall(Stage::Question, 0, FOR_GOOD);
    world.control(1, Control::Leave);
    world.until("node 1 leaves", |world| {
        world.is_under_way(0, |message| matches!(message, VolumeMessage::Leave))
    })?;
    if is_back_soon {
        world.control(1, Control::Join);
    }
    world.go_on(Stage::Link, 1);
    world.run_for(100 * MILLISECOND);
    world.go_on(Stage::Question, 0);
    if !is_back_soon {
        world.until("node 0 goes on", |world| world.is_alone(0))?;
        world.control(1, Control::Join);
    }
    Ok(())
}

fn the_peer_of_the_healer_hears_of_the_healed_register_first(world: &mut World) -> Told {
    the_healed_register_is_heard_of_first_by_the_other(world, false)
}

/// The healer is to leave meanwhile.
fn the_healer_leaves_when_it_hears_of_the_healed_register(world: &mut World) -> Told {
    the_healed_register_is_heard_of_first_by_the_other(world, true)
}

/// The one that is to be the source is told to leave between its offer and the meeting.
fn the_source_is_to_leave_when_it_has_offered(world: &mut World) -> Told {
    world.until("both serve", |world| world.serves(0) && world.serves(1))?;
    world.stall(Stage::Question, 0, FOR_GOOD);
    world.stall(Stage::Question, 1, FOR_GOOD);
    world.stall(Stage::Disk, 1, FOR_GOOD);
    world.stall(Stage::Write, 1, FOR_GOOD);
    world.ask(0, true, 3, 1);
    world.until("the write is at the disk of node 1", |world| world.writes_at(1) > 0)?;
    world.cut();
    world.uncut();
    world.until("node 0 offers to meet", |world| {
        world.is_under_way(1, |message| matches!(message, VolumeMessage::Offer(_)))
    })?;
    world.control(0, Control::Leave);
    world.run(100);
    for stage in [Stage::Write, Stage::Disk] {
        world.go_on(stage, 1);
    }
    (0..2).for_each(|index| world.go_on(Stage::Question, index));
    world.until("node 1 goes on", |world| world.is_alone(1) && world.serves(1))
}

/// Node 0 makes node 1 a member once more, and hears from node 1 that the arbiter has agreed, before its own answer comes.
fn the_healed_register_is_heard_of_first_by_the_other(world: &mut World, leaves: bool) -> Told {
    questions_are_under_way(world)?;
    let Epoch(before) = world.arbiter.epoch;
    let at = |epoch, members| Membership { epoch: Epoch(before + epoch), members };
    let knows = |world: &World, index, membership| {
        world.status(index).is_some_and(|status| status.membership == membership)
    };
    let (alone, healed) = (at(1, Members::Only(NodeNumber::Zero)), at(2, Members::Both));
    world.go_on(Stage::Question, 0);
    world.is_busy = false;
    world.until("node 0 knows what it was granted", |world| knows(world, 0, alone))?;
    world.is_busy = true;
    // Its lease does not outlast that.
    world.stall(Stage::Link, 1, 700 * MILLISECOND);
    world.stall(Stage::Answer, 0, FOR_GOOD);
    world.until("the register is healed", |world| world.arbiter == healed)?;
    if leaves {
        world.is_busy = false;
        world.control(0, Control::Leave);
    }
    world.go_on(Stage::Question, 1);
    world.until("node 0 hears of that from node 1", |world| knows(world, 0, healed))?;
    world.go_on(Stage::Link, 1);
    if !leaves {
        world.until("node 1 knows it, too", |world| knows(world, 1, healed))?;
    }
    world.go_on(Stage::Answer, 0);
    world.is_busy = false;
    if leaves {
        world.until("node 1 goes on", |world| world.is_alone(1))?;
    }
    Ok(())
}
