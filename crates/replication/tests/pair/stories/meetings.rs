//! Stories of nodes that lose each other and meet again: who may serve, from when on, and with what.

use replication::membership::{Epoch, Members, NodeNumber};
use replication::message::VolumeMessage;

use super::{FOR_GOOD, MILLISECOND, SMALL, Story, Told};
use crate::world::disk::Landing::{Everything, Nothing};
use crate::world::{Stage, World, open_metadata};

pub(super) const STORIES: &[Story] = &[
    ("target not ready", SMALL, the_source_is_read_before_the_target_is_ready),
    ("target not durable", SMALL, the_target_is_read_before_it_knows_durably_what_it_lacks),
    ("grant late", SMALL, a_grant_is_late_and_was_held_for_another_one),
    ("clocks apart", SMALL, the_clocks_differ_by_the_margin),
    ("no grants", SMALL, the_peer_grants_nothing),
    ("write in the way of a meeting", SMALL, a_dropped_write_is_at_the_disk_when_the_nodes_meet),
    ("write in the way of serving alone", SMALL, a_dropped_write_is_at_the_disk_of_who_goes_on),
    ("grant between offers", SMALL, a_grant_comes_between_the_offers),
    ("old backup", SMALL, a_node_comes_back_with_what_it_had_two_epochs_ago),
    ("busy host", SMALL, a_node_comes_back_to_one_that_is_never_idle),
    ("metadata lost while meeting", SMALL, the_metadata_of_a_node_fails_that_has_offered_to_meet),
    ("granted while frozen", SMALL, a_node_that_was_never_told_of_the_meeting_has_granted_a_lease),
    ("set and never answered", SMALL, a_setting_that_nobody_was_answered_for_comes_back),
];

/// A write is on node 0's disk only, and the nodes meet without having been apart for long. One is asked for it.
fn read_what_is_in_doubt(world: &mut World, reader: usize) -> Told {
    world.until("both serve", |world| world.serves(0) && world.serves(1))?;
    world.is_busy = true;
    world.stall(Stage::Link, 1, FOR_GOOD);
    world.ask(0, true, 3, 1);
    world.run(100);
    world.cut();
    world.go_on(Stage::Link, 1);
    world.stall(Stage::Superblock, 1, FOR_GOOD);
    world.run(60);
    world.uncut();
    world.run(500);
    world.ask(reader, false, 3, 1);
    world.run(200);
    world.crash_with(0, [Everything, Everything]);
    world.crash_with(1, [Everything, Nothing]);
    world.is_busy = false;
    world.go_on(Stage::Superblock, 1);
    world.start(1);
    world.until("node 1 serves alone", |world| world.is_alone(1))?;
    world.ask(1, false, 3, 1);
    world.run(200);
    Ok(())
}

fn the_source_is_read_before_the_target_is_ready(world: &mut World) -> Told {
    read_what_is_in_doubt(world, 0)
}

fn the_target_is_read_before_it_knows_durably_what_it_lacks(world: &mut World) -> Told {
    read_what_is_in_doubt(world, 1)
}

fn a_grant_is_late_and_was_held_for_another_one(world: &mut World) -> Told {
    world.until("both serve", |world| world.serves(0) && world.serves(1))?;
    world.set_clock_rates([0, 0]);
    world.stall(Stage::Link, 0, FOR_GOOD);
    world.run_for(260 * MILLISECOND);
    world.stall(Stage::Link, 1, FOR_GOOD);
    world.run_for(350 * MILLISECOND);
    world.go_on(Stage::Link, 0);
    world.run_for(10 * MILLISECOND);
    world.cut_at(1);
    world.run_for(1200 * MILLISECOND);
    Ok(())
}

fn the_clocks_differ_by_the_margin(world: &mut World) -> Told {
    world.set_clock_rates([-24, 24]);
    world.until("both serve", |world| world.serves(0) && world.serves(1))?;
    world.run_for(600 * MILLISECOND);
    world.cut_at(1);
    world.run_for(1200 * MILLISECOND);
    Ok(())
}

fn the_peer_grants_nothing(world: &mut World) -> Told {
    world.grants_are_lost = true;
    for _ in 0..3000 {
        world.step();
        let serves = (world.serves(0) || world.serves(1)) && world.is_paired(0);
        if serves {
            return Err("exclusion: a node serves without a lease".into());
        }
    }
    Ok(())
}

fn a_dropped_write_is_at_the_disk_when_the_nodes_meet(world: &mut World) -> Told {
    world.until("both serve", |world| world.serves(0) && world.serves(1))?;
    world.is_busy = true;
    world.stall(Stage::Write, 1, FOR_GOOD);
    world.ask(1, true, 0, 8);
    world.run(60);
    world.cut();
    world.run(60);
    world.uncut();
    world.run(500);
    world.ask(0, true, 0, 8);
    world.run(200);
    Ok(())
}

fn a_dropped_write_is_at_the_disk_of_who_goes_on(world: &mut World) -> Told {
    world.until("both serve", |world| world.serves(0) && world.serves(1))?;
    world.stall(Stage::Write, 0, FOR_GOOD);
    world.ask(0, true, 3, 1);
    world.run(60);
    world.crash(1);
    world.run(2000);
    world.ask(0, false, 3, 1);
    world.run(200);
    Ok(())
}

fn a_grant_comes_between_the_offers(world: &mut World) -> Told {
    world.until("both serve", |world| world.serves(0) && world.serves(1))?;
    // Until nobody asks the arbiter any more for what was before.
    world.run_for(14_000 * MILLISECOND);
    world.stall(Stage::Answer, 1, FOR_GOOD);
    world.stall(Stage::Question, 0, FOR_GOOD);
    world.cut();
    world.until("node 1 is granted to serve alone", |world| {
        world.arbiter.members == Members::Only(NodeNumber::One)
    })?;
    world.uncut();
    world.is_busy = true;
    world.until("node 1 makes an offer", |world| {
        world.is_under_way(0, |message| matches!(message, VolumeMessage::Offer(_)))
    })?;
    world.stall(Stage::Link, 0, FOR_GOOD);
    world.go_on(Stage::Answer, 1);
    world.run(60);
    Ok(())
}

fn a_node_comes_back_with_what_it_had_two_epochs_ago(world: &mut World) -> Told {
    world.until("both serve", |world| world.serves(0) && world.serves(1))?;
    let Epoch(first) = world.arbiter.epoch;
    world.crash(1);
    let backup = (world.nodes[1].sectors.clone(), world.nodes[1].metadata.clone());
    world.until("node 0 goes on", |world| world.is_alone(0))?;
    world.ask(0, true, 5, 1);
    world.until("the write is over", |world| world.are_all_answered())?;
    world.start(1);
    world.until("both are members again", |world| {
        world.arbiter.epoch == Epoch(first + 2) && world.are_whole()
    })?;
    world.crash(1);
    (world.nodes[1].sectors, world.nodes[1].metadata) = backup;
    world.until("node 0 goes on again", |world| world.arbiter.epoch == Epoch(first + 3))
}

fn a_node_comes_back_to_one_that_is_never_idle(world: &mut World) -> Told {
    world.left_alone(0)?;
    world.start(1);
    for _ in 0..10_000 {
        while world.serves(0) && world.requests() < 12 {
            let sector = world.chance.below(64);
            world.ask(0, true, sector, 1);
        }
        world.step();
        if world.is_paired(0) {
            return Ok(());
        }
    }
    Err("liveness: a node that is never idle does not take its peer back".into())
}

/// Node 0 has met node 1, which does not hear of it, and the link breaks once more. Node 0 serves as long as its lease lasts, which
/// node 1 has granted in the second session.
fn a_node_that_was_never_told_of_the_meeting_has_granted_a_lease(world: &mut World) -> Told {
    world.until("both serve", |world| world.serves(0) && world.serves(1))?;
    world.run_for(14_000 * MILLISECOND);
    world.is_busy = true;
    world.cut();
    world.run_for(500 * MILLISECOND);
    world.uncut();
    let proceed = |message: &VolumeMessage| matches!(message, VolumeMessage::Proceed(_));
    world.until("node 0 proceeds", |world| world.is_under_way(1, proceed))?;
    world.stall(Stage::Link, 1, FOR_GOOD);
    world.cut_at(1);
    world.go_on(Stage::Link, 1);
    world.run_for(1200 * MILLISECOND);
    world.is_busy = false;
    Ok(())
}

fn the_metadata_of_a_node_fails_that_has_offered_to_meet(world: &mut World) -> Told {
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

/// The node that served alone was asked for another one meanwhile, and has answered.
fn a_setting_that_nobody_was_answered_for_comes_back(world: &mut World) -> Told {
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
