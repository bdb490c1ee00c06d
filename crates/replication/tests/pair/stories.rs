//! Stories: what has to happen, in which order, for a rule of the engine to matter. Each breaks one thing after the other by
//! plan where the worlds do so by chance; in the end everything is repaired and looked at as after any other run.
//!
//! A story says what is done to the nodes, not what they answer to it: where a rule holds, half of what follows never
//! happens, and that is no failure.

use block::Operation;
use replication::durability::Durability;
use replication::input::{Control, Input};
use replication::limits::Limits;
use replication::membership::{Epoch, Members, Membership, NodeNumber};
use replication::message::VolumeMessage;
use replication::mutation::Mutation;
use replication::output::Outcome;
use replication::resync::ResyncRate;
use replication::volume::Phase;

use crate::endings;
use crate::forcing;
use crate::oracle;
use crate::plan::{CALM, WITHOUT_FAULTS, caught};
use crate::repairs;
use crate::verifies;
use crate::world::disk::Landing::{Everything, Nothing};
use crate::world::disk::Sectors;
use crate::world::{EXTENT, Faults, LIMITS, Plan, Stage, VOLUME, World, open_metadata};

/// For as long as the story lasts.
pub(crate) const FOR_GOOD: u64 = u64::MAX;
/// A millisecond of the world.
pub(crate) const MILLISECOND: u64 = 1_000_000;
/// More extents than the log holds.
const MANY: u64 = 140 * EXTENT;

pub(crate) type Told = Result<(), String>;
type Story = fn(&mut World) -> Told;

pub(crate) const SMALL: Plan =
    Plan { clients: 300, faults: Faults { one_sided: true, ..CALM }, ..WITHOUT_FAULTS };
const AHEAD: Plan =
    Plan { durability: Durability::Async { server: NodeNumber::One, lag_bytes_max: 20_000 }, ..SMALL };
/// A peer that follows hardly more than may be asked for.
const FULL_PEER: Plan = Plan { limits: Limits { followed: LIMITS.requests + 4, ..LIMITS }, ..AHEAD };
const LARGE_AHEAD: Plan = Plan { sectors: MANY, ..AHEAD };
const LARGE: Plan = Plan { sectors: MANY, ..SMALL };
const SMALL_IN_MEMORY: Plan = Plan { durability: Durability::Memory, ..SMALL };
const IN_MEMORY: Plan = Plan { durability: Durability::Memory, ..LARGE };

/// All there are, with the world in which each happens.
pub(crate) const ALL: [(&str, Plan, Story); 103] = [
    ("cold write, power lost", LARGE, a_write_to_a_cold_extent_is_on_one_disk_only),
    ("cold write in memory, power lost", IN_MEMORY, a_write_to_a_cold_extent_is_lost_from_memory),
    ("flushed in memory, power lost", IN_MEMORY, what_a_flush_has_answered_survives_the_power_of_both),
    ("full logs", LARGE, both_nodes_have_more_to_write_than_the_log_holds),
    ("written through, power lost", IN_MEMORY, what_was_to_be_on_stable_storage_survives_the_power_of_both),
    ("sent to both", SMALL, a_write_sent_to_both_nodes_waits_at_one_and_is_outdated),
    ("healed and forgotten", IN_MEMORY, the_memory_of_whoever_healed_the_register_is_lost),
    ("bits late", LARGE, an_extent_is_forgotten_before_the_bits_of_its_writes_are_durable),
    ("doubts late", LARGE, an_extent_is_forgotten_before_its_doubts_are_durable),
    ("epoch late", SMALL, power_is_lost_before_the_epoch_is_durable),
    ("target not ready", SMALL, the_source_is_read_before_the_target_is_ready),
    ("target not durable", SMALL, the_target_is_read_before_it_knows_durably_what_it_lacks),
    ("join late", LARGE, what_was_joined_is_lost_with_the_power),
    ("grant late", SMALL, a_grant_is_late_and_was_held_for_another_one),
    ("clocks apart", SMALL, the_clocks_differ_by_the_margin),
    ("no grants", SMALL, the_peer_grants_nothing),
    ("write in the way of a meeting", SMALL, a_dropped_write_is_at_the_disk_when_the_nodes_meet),
    ("write in the way of serving alone", SMALL, a_dropped_write_is_at_the_disk_of_who_goes_on),
    ("grant between offers", SMALL, a_grant_comes_between_the_offers),
    ("old backup", SMALL, a_node_comes_back_with_what_it_had_two_epochs_ago),
    ("busy host", SMALL, a_node_comes_back_to_one_that_is_never_idle),
    ("copy and write", LARGE, a_copy_is_read_before_a_write_and_sent_after_it),
    ("copy on its way to the disk", LARGE, a_copy_is_on_its_way_to_the_disk_when_it_is_read),
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
    ("bad sector ahead", AHEAD, a_sector_is_lost_that_the_peer_does_not_have_yet),
    ("disk exchanged", SMALL, a_disk_that_has_failed_is_exchanged),
    ("disk lost ahead", AHEAD, the_disk_of_the_server_fails_before_the_follower_has_what_was_answered),
    ("ahead of the server", LARGE_AHEAD, a_write_of_the_stand_in_is_in_its_log_when_the_server_is_back),
    ("forced once", SMALL, forcing::a_node_is_forced_and_told_to_stay),
    ("forced beside the other", SMALL, forcing::a_node_is_forced_while_the_other_one_serves),
    ("forced before it can offer", SMALL, forcing::a_node_is_forced_that_could_not_offer_yet),
    ("forced and left", SMALL, forcing::a_node_is_forced_and_told_to_leave),
    ("forced against a grant", SMALL, forcing::a_node_is_forced_where_the_other_one_was_granted),
    ("forced with a question", SMALL, forcing::a_node_is_forced_while_the_arbiter_is_asked),
    ("forced and not noted", SMALL, forcing::a_node_is_forced_and_loses_power_before_it_has_noted_that),
    ("forced while meeting", LARGE, forcing::a_node_is_forced_while_it_meets_the_other_one),
    ("more ahead than is followed", FULL_PEER, more_is_written_ahead_than_the_follower_has_room_for),
    ("busy leaver", SMALL, a_node_is_told_to_leave_with_a_write_in_flight),
    ("indispensable leaver", LARGE, a_node_is_told_to_leave_that_has_what_its_peer_lacks),
    ("untold leaver", LARGE, a_node_is_told_to_leave_whose_last_write_makes_its_peer_whole),
    ("left to a quiet one", SMALL, a_node_leaves_its_peer_that_has_just_come_back),
    ("superseded by nothing", LARGE, a_write_meets_one_that_waits_for_the_log_and_is_dropped),
    ("superseder lost", SMALL, a_superseder_is_lost_with_the_power),
    ("copy of a write that waits", LARGE, a_copy_of_a_write_that_waits_for_the_log_comes_from_the_peer),
    ("memory of a source lost", IN_MEMORY, a_write_is_lost_from_the_memory_of_one_whose_peer_is_not_whole),
    ("left with a cache", IN_MEMORY, a_node_loses_power_after_the_other_has_left),
    ("left in flight", IN_MEMORY, a_node_loses_power_after_the_other_has_left_without_having_a_write),
    ("dropped into a cache", IN_MEMORY, what_a_freeze_has_dropped_is_read_and_the_power_lost),
    ("clean end", LARGE, a_node_is_told_to_leave_before_it_has_noted_what_is_in_doubt),
    ("ended and forced", SMALL, endings::a_node_that_ended_well_is_forced_when_the_other_one_is_lost),
    ("ended without its memory", IN_MEMORY, endings::a_node_ends_well_that_has_lost_its_memory),
    ("memories of different worth", IN_MEMORY, endings::a_node_without_its_memory_meets_one_that_ended_well),
    ("leaves while meeting", LARGE, endings::a_node_that_meets_is_told_to_leave_and_to_come_back),
    ("both left and back", SMALL, endings::two_nodes_that_have_left_come_back_at_once),
    ("both left and one removed", SMALL, endings::one_of_two_nodes_that_have_left_has_the_volume_no_more),
    ("both left and one back", SMALL, endings::one_of_two_nodes_that_have_left_comes_back),
    ("read of what is lacking", LARGE, what_a_node_lacks_is_read_there),
    ("parted from a failed server", AHEAD, endings::the_nodes_part_after_the_servers_disk_has_failed),
    ("follower alone", AHEAD, endings::the_follower_begins_anew_while_it_is_the_sole_member),
    ("metadata lost while meeting", SMALL, endings::the_metadata_of_a_node_fails_that_has_offered_to_meet),
    ("fixed from both sides", verifies::PLAN, verifies::both_nodes_are_told_to_fix_the_same),
    ("silent damage", verifies::PLAN, verifies::silent_damage_is_found_and_fixed),
    ("verified twice", verifies::PLAN, verifies::a_verify_is_begun_while_one_is_under_way),
    ("parted while verifying", verifies::PLAN, verifies::the_nodes_part_while_one_verifies),
    ("verified over a bad sector", verifies::PLAN, verifies::what_cannot_be_read_is_fixed_from_the_peer),
    ("granted while frozen", SMALL, a_node_that_was_never_told_of_the_meeting_has_granted_a_lease),
    ("write of before the disk failed", SMALL, a_write_comes_after_one_from_before_its_node_lost_its_disk),
    ("stray question of a leaver", SMALL, a_node_leaves_whose_question_is_still_under_way),
    ("leave before the healed register", SMALL, a_node_leaves_before_it_hears_of_the_healed_register),
    (
        "left and back before the healed register",
        SMALL,
        a_node_is_back_before_it_hears_of_the_healed_register,
    ),
    ("flush failed beside a leaver", IN_MEMORY, endings::a_flush_fails_after_the_other_one_has_left),
    (
        "write at one disk when the other one fails",
        IN_MEMORY,
        endings::a_write_is_at_one_disk_when_the_other_one_fails,
    ),
    ("disk failed under two that met", IN_MEMORY, endings::a_disk_fails_with_a_write_that_met_another),
    ("write failed beside a leaver", IN_MEMORY, endings::a_write_fails_after_the_other_one_has_left),
    (
        "write dropped and failed at the only good disk",
        IN_MEMORY,
        endings::a_dropped_write_fails_at_the_only_good_disk,
    ),
    ("durable write dropped and failed", IN_MEMORY, endings::a_durable_write_fails_that_a_freeze_has_dropped),
    (
        "flush failed before the member",
        IN_MEMORY,
        endings::a_flush_fails_before_the_other_one_knows_that_it_is_a_member,
    ),
    (
        "bad sector beside one that was granted",
        SMALL,
        repairs::a_bad_sector_is_written_in_part_before_the_grant_is_durable,
    ),
    ("healed by one, heard by the other", SMALL, the_peer_of_the_healer_hears_of_the_healed_register_first),
    ("rate of a resync", LARGE, the_rate_of_a_resync_is_changed_while_it_runs),
    ("parted while fixing", verifies::PLAN, verifies::the_nodes_part_before_what_differs_is_fixed),
    ("parted while mending", SMALL, repairs::the_nodes_part_before_a_bad_sector_is_mended),
    ("bad sector of the only good disk", LARGE, repairs::the_only_good_disk_cannot_be_mended),
    ("bad source behind a write", LARGE, repairs::a_write_fails_at_the_source_over_one_of_the_target),
    ("bad source and a read", LARGE, repairs::a_read_of_the_target_has_what_fails_at_the_source),
    (
        "bad sector beside a leaver",
        SMALL,
        repairs::a_bad_sector_is_written_in_part_while_the_other_one_has_left,
    ),
    ("bad sector written anew", SMALL, repairs::a_bad_sector_is_written_while_it_is_fetched),
    ("bad sector beside a copy", LARGE, repairs::a_read_finds_one_part_here_and_the_other_there),
    ("flush dropped and failed", SMALL_IN_MEMORY, endings::a_flush_fails_that_a_freeze_has_dropped),
    ("healer leaves", SMALL, the_healer_leaves_when_it_hears_of_the_healed_register),
    ("source leaves while meeting", SMALL, the_source_is_to_leave_when_it_has_offered),
    ("untold of the register", IN_MEMORY, endings::a_node_knows_of_the_register_what_its_peer_does_not),
    ("ended well and torn", LARGE, endings::a_node_that_ended_well_meets_one_with_a_torn_sector),
    ("set and never answered", SMALL, endings::a_setting_that_nobody_was_answered_for_comes_back),
];

/// What was wrong, if anything, when the engines made a mistake.
pub(crate) fn tell(seed: u64, (_, plan, story): (&str, Plan, Story), mutation: Option<Mutation>) -> Told {
    caught(|| {
        let mut world = World::new(seed, Plan { mutation, ..plan });
        world.trace = std::env::var("TRACE").is_ok();
        (world.calm, world.closed) = (true, true);
        story(&mut world)?;
        world.heal()?;
        oracle::check(&world.history).map_err(|error| format!("history: {error}"))
    })
}

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

fn both_nodes_have_more_to_write_than_the_log_holds(world: &mut World) -> Told {
    world.until("both serve", |world| world.serves(0) && world.serves(1))?;
    (0..2).for_each(|index| world.stall(Stage::Link, index, FOR_GOOD));
    world.is_busy = true;
    for extent in 0..64 {
        world.ask(0, true, extent * EXTENT, 1);
        world.ask(1, true, (70 + extent) * EXTENT, 1);
    }
    world.run(1000);
    (0..2).for_each(|index| world.go_on(Stage::Link, index));
    world.is_busy = false;
    world.until("every write is over", |world| world.are_all_answered())
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

/// Node 1 has come back and serves, and lacks a block, since node 0's disk does not get to reading it.
pub(crate) fn serves_and_lacks(world: &mut World) -> Told {
    one_serves_and_lacks(world, 1)
}

/// The other node has served alone, and copies nothing yet.
fn one_serves_and_lacks(world: &mut World, index: usize) -> Told {
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

/// Node 1 has a write that waits for its record in the log.
fn waits_for_the_log(world: &mut World) -> Told {
    world.until("both serve", |world| world.serves(0) && world.serves(1))?;
    world.is_busy = true;
    world.stall(Stage::Log, 1, FOR_GOOD);
    world.ask(1, true, 5 * EXTENT, 1);
    world.run(60);
    Ok(())
}

fn a_write_meets_one_that_waits_for_the_log_and_is_dropped(world: &mut World) -> Told {
    waits_for_the_log(world)?;
    world.ask(0, true, 5 * EXTENT, 1);
    world.run(200);
    world.stall(Stage::Question, 1, FOR_GOOD);
    world.crash_with(0, [Nothing, Nothing]);
    world.go_on(Stage::Log, 1);
    world.start(0);
    world.until("they meet", |world| world.is_paired(0) && world.is_paired(1))
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

fn a_copy_of_a_write_that_waits_for_the_log_comes_from_the_peer(world: &mut World) -> Told {
    waits_for_the_log(world)?;
    world.ask(1, false, 5 * EXTENT, 1);
    world.run(60);
    world.ask_the_same(0, 5 * EXTENT, 1);
    world.run(200);
    world.go_on(Stage::Log, 1);
    world.is_busy = false;
    world.until("the read is over", |world| world.are_all_answered())
}

/// It waits at node 1 for one before it, while node 0 executes it, and another one after it.
fn a_write_sent_to_both_nodes_waits_at_one_and_is_outdated(world: &mut World) -> Told {
    world.until("both serve", |world| world.serves(0) && world.serves(1))?;
    world.is_busy = true;
    world.stall(Stage::Write, 1, FOR_GOOD);
    world.ask(1, true, 3, 1);
    world.run(100);
    world.ask(1, true, 3, 1);
    world.run(10);
    let executed = world.ask_the_same(0, 3, 1);
    world.run(100);
    world.go_on(Stage::Write, 1);
    world.until("it is answered", |world| world.outcome(executed).is_some())?;
    world.tick += 1;
    world.ask(0, true, 3, 1);
    world.until("all is over", |world| world.are_all_answered())?;
    world.ask(0, false, 3, 1);
    world.until("the read is over", |world| world.are_all_answered())?;
    world.is_busy = false;
    Ok(())
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

/// Both nodes have asked to serve alone, and met again before the arbiter heard of it.
fn questions_are_under_way(world: &mut World) -> Told {
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

/// What stories are told with.
impl World {
    /// Both serve, and nothing that was asked of the arbiter before can still be carried out.
    pub(crate) fn both_rely_on_memory(&mut self) -> Told {
        self.until("both serve", |world| world.serves(0) && world.serves(1))?;
        self.run_for(14_000 * MILLISECOND);
        let relies = |index| self.status(index).is_some_and(|status| status.answers_from_memory);
        if relies(0) && relies(1) { Ok(()) } else { Err("stall: nodes do not rely on memory".to_owned()) }
    }

    pub(crate) fn serves(&self, index: usize) -> bool {
        self.is_running(index) && self.nodes[index].serving
    }

    pub(crate) fn is_paired(&self, index: usize) -> bool {
        self.status(index).is_some_and(|status| status.phase == Phase::Paired)
    }

    pub(crate) fn writes_at(&self, index: usize) -> usize {
        let writes = self.nodes[index].at_disk.iter();
        writes.filter(|at_disk| matches!(at_disk.request.operation, Operation::Write { .. })).count()
    }

    pub(crate) fn go_on(&mut self, stage: Stage, index: usize) {
        self.stall(stage, index, 0);
    }

    pub(crate) fn control(&mut self, index: usize, control: Control) {
        self.input(index, Input::Control { volume: VOLUME, control });
    }

    pub(crate) fn run(&mut self, steps: u32) {
        (0..steps).for_each(|_| self.step());
    }

    pub(crate) fn until(&mut self, what: &str, is_so: impl Fn(&Self) -> bool) -> Told {
        for _ in 0..20_000 {
            if is_so(self) {
                return Ok(());
            }
            self.step();
        }
        Err(format!("liveness: never comes to pass that {what}"))
    }

    /// So much time passes, evenly.
    pub(crate) fn run_for(&mut self, nanoseconds: u64) {
        let (end, was_busy) = (self.now() + nanoseconds, self.is_busy);
        self.is_busy = true;
        while self.now() < end {
            self.step();
        }
        self.is_busy = was_busy;
    }

    /// Both nodes know at once.
    pub(crate) fn cut(&mut self) {
        self.link_is_up(false);
        self.break_link();
        (0..2).for_each(|index| self.close(index));
    }

    /// One node knows at once, and the other not before its lease runs out.
    pub(crate) fn cut_at(&mut self, index: usize) {
        self.stall(Stage::Link, 1 - index, FOR_GOOD);
        self.link_is_up(false);
        self.break_at(1 - index);
        self.break_at(index);
        self.close(index);
    }

    pub(crate) fn uncut(&mut self) {
        self.link_is_up(true);
    }

    /// The pair has lost a node, and the other one goes on.
    pub(crate) fn left_alone(&mut self, index: usize) -> Told {
        self.until("both serve", |world| world.serves(0) && world.serves(1))?;
        self.crash(1 - index);
        self.until("the other goes on", |world| world.is_alone(index))
    }

    /// Writes to so many extents of other blocks of the bitmap that the log holds none of the first any more.
    fn forget_extents(&mut self, index: usize) {
        for extent in 40..115 {
            self.ask(index, true, extent * EXTENT, 1);
            self.run(60);
        }
    }
}
