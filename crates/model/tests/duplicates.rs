//! Frames that are sent again, linger, and come by the other node: what each rule prevents, and what none can.

use model::catalogue::DUPLICATES;
use model::rules::Rule;
use model::scope::duplicates;

#[test]
fn a_stock_write_in_two_frames_takes_effect_once() {
    DUPLICATES.assert_holds(duplicates::stock);
}

#[test]
fn a_stock_write_in_two_frames_takes_effect_once_across_a_fail_over() {
    DUPLICATES.assert_holds(duplicates::stock_and_cut);
}

#[test]
fn a_stock_write_in_two_frames_takes_effect_once_across_a_power_loss() {
    DUPLICATES.assert_holds(duplicates::stock_and_power_loss);
}

#[test]
fn a_node_that_goes_on_too_soon_takes_frames_it_has_forgotten() {
    DUPLICATES.assert_needs(Rule::ForgetfulWaits);
}

#[test]
fn a_stock_write_in_two_frames_takes_effect_once_though_the_copy_that_counts_is_of_a_node_that_has_forgotten()
{
    DUPLICATES.assert_holds(duplicates::stock_returning_and_power_loss);
}

#[test]
fn a_write_of_which_nobody_knows_whether_it_took_effect_must_not_be_executed_soon() {
    DUPLICATES.assert_needs(Rule::DoubtfulDropped);
}

#[test]
fn a_sequenced_write_takes_effect_once_by_whichever_node_and_however_late() {
    DUPLICATES.assert_holds(duplicates::sequenced);
}

#[test]
fn a_sequenced_write_takes_effect_once_across_a_fail_over() {
    DUPLICATES.assert_holds(duplicates::sequenced_and_cut);
}

#[test]
fn a_sequenced_write_takes_effect_once_across_a_power_loss() {
    DUPLICATES.assert_holds(duplicates::sequenced_and_power_loss);
}

#[test]
fn a_write_in_flight_at_the_peer_must_be_known_here() {
    DUPLICATES.assert_needs(Rule::InFlightAtBoth);
}

#[test]
fn a_finished_write_must_be_remembered() {
    DUPLICATES.assert_needs(Rule::FinishedRemembered);
}

#[test]
fn a_finished_write_must_be_remembered_by_the_follower_too() {
    DUPLICATES.assert_needs(Rule::FinishedAtBoth);
}

#[test]
fn a_finished_write_must_be_remembered_for_longer_than_its_answer_takes() {
    DUPLICATES.assert_needs(Rule::AnswersInTime);
}

#[test]
fn an_old_frame_must_be_dropped() {
    DUPLICATES.assert_needs(Rule::OldFramesDropped);
}

#[test]
fn a_node_that_returns_must_be_told_what_was_finished() {
    DUPLICATES.assert_needs(Rule::MemoryShared);
}

#[test]
fn a_write_that_a_frozen_node_has_on_its_disk_counts_as_executed() {
    DUPLICATES.assert_needs(Rule::StartedIsExecuted);
}

#[test]
fn the_sole_member_must_settle_its_writes_before_its_peer_is_back() {
    DUPLICATES.assert_needs(Rule::SoleSettlesFirst);
}

#[test]
fn a_sequenced_write_needs_its_name() {
    DUPLICATES.assert_needs(Rule::Identity);
}

#[test]
fn a_name_that_only_the_coordinator_knows_is_no_name() {
    DUPLICATES.assert_needs(Rule::IdentityReplicated);
}

#[test]
fn a_name_that_a_power_loss_takes_is_no_name() {
    DUPLICATES.assert_needs(Rule::IdentityKept);
}

#[test]
fn a_sequenced_write_takes_effect_once_without_names_on_disk_where_one_node_remembers() {
    DUPLICATES.assert_holds(duplicates::numbers_remembered);
    DUPLICATES.assert_holds(duplicates::numbers_remembered_alone);
}

#[test]
fn a_node_that_lost_power_must_be_told_which_writes_were_executed() {
    DUPLICATES.assert_needs(Rule::NumbersShared);
}

#[test]
fn of_two_that_meet_the_copy_of_the_one_that_remembers_must_count() {
    DUPLICATES.assert_needs(Rule::RememberingCopyWins);
}

#[test]
fn a_second_frame_during_the_write_waits_its_turn_even_without_a_rule_of_its_own() {
    DUPLICATES.assert_spares(Rule::InFlightOnce);
}

#[test]
fn frames_of_a_stock_initiator_may_be_taken_in_any_order() {
    DUPLICATES.assert_spares(Rule::ReceiveOrder);
}

#[test]
fn a_queue_kept_over_a_freeze_does_no_harm_that_other_rules_would_not_prevent() {
    DUPLICATES.assert_spares(Rule::QueueDroppedAfterFreeze);
}

#[test]
fn a_stock_write_in_two_frames_takes_effect_once_though_it_waits_at_the_other_node() {
    DUPLICATES.assert_holds(duplicates::stock_behind);
}

#[test]
fn a_frame_must_be_judged_once_more_when_its_turn_has_come() {
    DUPLICATES.assert_needs(Rule::JudgedInTurn);
}

#[test]
fn frames_that_the_network_doubles_or_floods_take_effect_once() {
    DUPLICATES.assert_holds(duplicates::stock_alone);
    DUPLICATES.assert_holds(duplicates::stock_doubled);
    DUPLICATES.assert_holds(duplicates::stock_flooded);
}

#[test]
fn a_second_frame_during_the_write_is_dropped_or_waits_for_it() {
    DUPLICATES.assert_needs_either([Rule::InFlightOnce, Rule::WaitForLocal]);
}

#[test]
fn a_second_frame_during_the_write_is_dropped_at_once_or_known_when_its_turn_has_come() {
    DUPLICATES.assert_needs_either([Rule::InFlightOnce, Rule::JudgedInTurn]);
}

#[test]
fn a_doubled_frame_is_taken_in_order_or_known() {
    DUPLICATES.assert_needs_either([Rule::ReceiveOrder, Rule::FinishedRemembered]);
}

#[test]
fn a_frame_queued_over_a_freeze_is_dropped_or_known_from_the_other_node() {
    DUPLICATES.assert_needs_either([Rule::QueueDroppedAfterFreeze, Rule::MemoryShared]);
}

#[test]
fn no_rule_saves_a_stock_write_whose_answer_is_lost() {
    DUPLICATES.assert_limited(duplicates::stock_read);
}

#[test]
fn nothing_saves_a_sequenced_write_that_the_node_which_serves_has_forgotten() {
    DUPLICATES.assert_limited(duplicates::numbers_forgotten);
    DUPLICATES.assert_limited(duplicates::numbers_forgotten_alone);
    DUPLICATES.assert_limited(duplicates::numbers_forgotten_by_one);
}
