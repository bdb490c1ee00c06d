//! Losing the peer and finding it again: everything holds with the rules, and without any of them something does not.

use model::catalogue::FAILOVER;
use model::rules::Rule;
use model::scope::failover;

#[test]
fn a_broken_link_loses_nothing_and_lets_one_node_serve() {
    FAILOVER.assert_holds(failover::one_cut);
}

#[test]
fn a_broken_link_is_not_seen_by_readers_on_both_sides() {
    FAILOVER.assert_holds(failover::one_cut_readers);
}

#[test]
fn a_link_may_break_twice() {
    FAILOVER.assert_holds(failover::two_cuts);
}

#[test]
fn a_power_loss_at_any_point_loses_nothing() {
    FAILOVER.assert_holds(failover::one_power_loss);
}

#[test]
fn two_power_losses_at_any_points_lose_nothing() {
    FAILOVER.assert_holds(failover::two_power_losses);
}

#[test]
fn a_broken_link_and_a_power_loss_lose_nothing() {
    FAILOVER.assert_holds(failover::cut_and_power_loss);
}

#[test]
fn a_node_that_leaves_on_purpose_disturbs_no_request() {
    FAILOVER.assert_holds(failover::leave);
}

#[test]
fn a_node_returns_while_both_are_written() {
    FAILOVER.assert_holds(failover::resync);
}

#[test]
fn a_node_returns_that_lacks_two_sectors() {
    FAILOVER.assert_holds(failover::resync_two_sectors);
}

#[test]
fn a_resync_may_be_cut_off_at_any_point() {
    FAILOVER.assert_holds(failover::resync_and_cut);
}

#[test]
fn a_resync_survives_a_power_loss_at_any_point() {
    FAILOVER.assert_holds(failover::resync_and_power_loss);
}

#[test]
fn without_waiting_for_the_lease_a_stale_read_is_answered() {
    FAILOVER.assert_needs(Rule::LeaseWait);
}

#[test]
fn a_lease_looked_at_before_the_work_lets_a_given_up_value_be_read() {
    FAILOVER.assert_needs(Rule::LeaseCheckedAfterWork);
}

#[test]
fn an_arbiter_that_only_votes_makes_two_histories() {
    FAILOVER.assert_needs(Rule::ExclusiveArbiter);
}

#[test]
fn an_epoch_that_is_not_durable_before_the_first_answer_is_forgotten() {
    FAILOVER.assert_needs(Rule::EpochBeforeAnswers);
}

#[test]
fn a_grant_that_comes_after_the_peer_is_back_must_not_be_heeded() {
    FAILOVER.assert_needs(Rule::AbandonedGrantsIgnored);
}

#[test]
fn a_disk_still_at_work_spoils_what_the_nodes_agreed_on() {
    FAILOVER.assert_needs(Rule::DrainFirst);
}

#[test]
fn without_the_activity_log_a_double_power_loss_leaves_different_copies() {
    FAILOVER.assert_needs(Rule::LogFirst);
}

#[test]
fn without_taking_one_copy_equals_that_meet_stay_different() {
    FAILOVER.assert_needs(Rule::OneCopyWins);
}

#[test]
fn without_the_bitmap_a_returning_node_stays_stale() {
    FAILOVER.assert_needs(Rule::BitmapSet);
}

#[test]
fn a_node_that_leaves_in_the_middle_of_a_write_drops_it() {
    FAILOVER.assert_needs(Rule::LeaverSettles);
}

#[test]
fn a_bitmap_that_a_power_loss_takes_is_no_bitmap() {
    FAILOVER.assert_needs(Rule::BitmapKept);
}

#[test]
fn a_returning_node_that_keeps_its_own_writes_serves_what_nobody_acknowledged() {
    FAILOVER.assert_needs(Rule::ReturningGivesUp);
}

#[test]
fn a_returning_node_that_serves_before_it_is_in_sync_serves_stale_data() {
    FAILOVER.assert_needs(Rule::ReturningWaitsForSync);
}

#[test]
fn a_syncing_node_that_is_a_member_can_become_the_sole_one() {
    FAILOVER.assert_needs(Rule::MemberWhenInSync);
}

#[test]
fn a_copy_taken_during_a_write_is_of_nothing_that_lasts() {
    FAILOVER.assert_needs(Rule::CopyWaitsForWrites);
}

#[test]
fn a_copy_that_does_not_yield_undoes_a_newer_write() {
    FAILOVER.assert_needs(Rule::CopyYields);
}
