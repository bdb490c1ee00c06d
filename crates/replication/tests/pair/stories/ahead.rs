//! Stories of `Async` mode: one node serves and answers ahead of the other.

use replication::input::Control;
use replication::membership::Members;

use super::endings::end;
use super::{AHEAD, FOR_GOOD, FULL_PEER, LARGE_AHEAD, MILLISECOND, Story, Told};
use crate::world::disk::Landing::Everything;
use crate::world::{EXTENT, Stage, World};

pub(super) const STORIES: &[Story] = &[
    ("bad sector ahead", AHEAD, a_sector_is_lost_that_the_peer_does_not_have_yet),
    ("disk lost ahead", AHEAD, the_disk_of_the_server_fails_before_the_follower_has_what_was_answered),
    ("ahead of the server", LARGE_AHEAD, a_write_of_the_stand_in_is_in_its_log_when_the_server_is_back),
    ("more ahead than is followed", FULL_PEER, more_is_written_ahead_than_the_follower_has_room_for),
    ("parted from a failed server", AHEAD, the_nodes_part_after_the_servers_disk_has_failed),
    ("follower alone", AHEAD, the_follower_begins_anew_while_it_is_the_sole_member),
];

fn a_sector_is_lost_that_the_peer_does_not_have_yet(world: &mut World) -> Told {
    world.until("node 1 serves", |world| world.serves(1))?;
    world.stall(Stage::Write, 0, FOR_GOOD);
    world.ask(1, true, 10, 2);
    world.until("the write is answered", |world| world.are_all_answered())?;
    world.nodes[1].sectors.unreadable.extend(8..16);
    world.ask(1, false, 10, 2);
    world.run(200);
    world.go_on(Stage::Write, 0);
    world.until("the read is over", |world| world.are_all_answered())
}

fn the_disk_of_the_server_fails_before_the_follower_has_what_was_answered(world: &mut World) -> Told {
    world.until("node 1 serves", |world| world.serves(1))?;
    world.stall(Stage::Log, 0, FOR_GOOD);
    world.ask(1, true, 10, 2);
    world.until("the write is answered", |world| world.are_all_answered())?;
    world.nodes[1].sectors.refuses_writes = true;
    world.ask(1, true, 30, 1);
    world.run(400);
    world.go_on(Stage::Log, 0);
    world.until("node 0 serves", |world| world.serves(0))?;
    world.ask(0, false, 10, 2);
    world.run(200);
    world.nodes[1].sectors.refuses_writes = false;
    Ok(())
}

/// The server's disk fails, and the nodes lose each other before the follower is granted to go on, which it has all for.
fn the_nodes_part_after_the_servers_disk_has_failed(world: &mut World) -> Told {
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

fn a_write_of_the_stand_in_is_in_its_log_when_the_server_is_back(world: &mut World) -> Told {
    world.until("node 1 serves", |world| world.serves(1))?;
    world.run_for(14_000 * MILLISECOND);
    world.control(1, Control::Leave);
    world.until("node 0 goes on", |world| world.is_alone(0))?;
    world.stall(Stage::Answer, 0, FOR_GOOD);
    world.is_busy = true;
    world.control(1, Control::Join);
    world.until("they meet", |world| world.is_paired(0) && world.is_paired(1) && world.serves(0))?;
    world.stall(Stage::Log, 0, FOR_GOOD);
    world.ask(0, true, 100 * EXTENT, 1);
    world.run(60);
    world.go_on(Stage::Answer, 0);
    let is_member = |world: &World, node| {
        world.status(node).is_some_and(|status| status.membership.members == Members::Both)
    };
    world.until("both are members", |world| is_member(world, 0) && is_member(world, 1))?;
    world.stall(Stage::Link, 1, FOR_GOOD);
    world.go_on(Stage::Log, 0);
    world.run(60);
    world.crash_with(0, [Everything, Everything]);
    world.go_on(Stage::Link, 1);
    world.run_for(4_000 * MILLISECOND);
    Ok(())
}

fn more_is_written_ahead_than_the_follower_has_room_for(world: &mut World) -> Told {
    world.until("node 1 serves", |world| world.serves(1))?;
    world.stall(Stage::Write, 0, FOR_GOOD);
    let mut sectors = (0..).step_by(3);
    // Half of the places, and half is left for other volumes.
    for sector in sectors.by_ref().take(FULL_PEER.limits.ahead_max() / 2) {
        world.ask(1, true, sector, 1);
        world.until("the write is answered", |world| world.are_all_answered())?;
    }
    let beyond = world.ask(1, true, sectors.next().expect("another"), 1);
    world.run(300);
    assert_eq!(
        world.outcome(beyond),
        None,
        "the follower has no room for it and those that may still be asked"
    );
    world.go_on(Stage::Write, 0);
    world.until("the write is over", |world| world.are_all_answered())
}

fn the_follower_begins_anew_while_it_is_the_sole_member(world: &mut World) -> Told {
    world.until("node 1 serves", |world| world.serves(1))?;
    world.run_for(14_000 * MILLISECOND);
    world.control(1, Control::Leave);
    world.until("node 0 goes on", |world| world.is_alone(0))?;
    end(world, 1);
    end(world, 0);
    world.start(0);
    world.until("node 0 goes on again", |world| world.is_alone(0))
}
