//! Rules R1 to R5: everything holds with them, and without any of them something does not.

use model::catalogue::MIRROR;
use model::rules::Rule;
use model::scope::mirror;

#[test]
fn two_writes_and_two_reads_from_both_sides_are_linearizable_durable_and_answered() {
    MIRROR.assert_holds(mirror::two_writes_two_reads);
}

#[test]
fn three_writes_from_both_sides_are_durable_and_converge() {
    MIRROR.assert_holds(mirror::three_writes);
}

#[test]
fn three_writes_and_a_read_from_both_sides_are_linearizable() {
    MIRROR.assert_holds(mirror::three_writes_one_read);
}

#[test]
fn writes_that_overlap_in_part_are_ordered_alike_on_both_nodes() {
    MIRROR.assert_holds(mirror::partial_overlap);
}

#[test]
fn a_write_across_two_others_is_ordered_alike_on_both_nodes() {
    MIRROR.assert_holds(mirror::bridge);
}

#[test]
fn without_waiting_for_local_writes_the_copies_diverge() {
    MIRROR.assert_needs(Rule::WaitForLocal);
}

#[test]
fn without_waiting_for_remote_writes_the_copies_diverge() {
    MIRROR.assert_needs(Rule::WaitForRemote);
}

#[test]
fn without_the_tie_break_the_copies_diverge() {
    MIRROR.assert_needs(Rule::TieBreak);
}

#[test]
fn without_the_order_that_an_acknowledgement_gives_the_copies_diverge() {
    MIRROR.assert_needs(Rule::AckedIsBefore);
}

#[test]
fn without_waiting_for_the_local_disk_the_copies_diverge() {
    MIRROR.assert_needs(Rule::LocalDiskFirst);
}

#[test]
fn a_superseded_write_acknowledged_too_early_is_lost() {
    MIRROR.assert_needs(Rule::AckAfterSuperseder);
}

#[test]
fn a_read_that_does_not_wait_for_local_writes_is_unread_at_the_peer() {
    MIRROR.assert_needs(Rule::ReadsWaitForLocal);
}

#[test]
fn a_read_that_does_not_wait_for_remote_writes_can_be_lost() {
    MIRROR.assert_needs(Rule::ReadsWaitForRemote);
}

#[test]
fn without_the_commit_a_value_that_was_read_can_vanish() {
    MIRROR.assert_needs(Rule::Commit);
}

#[test]
fn a_read_that_only_waits_before_it_begins_can_be_lost() {
    MIRROR.assert_needs(Rule::ReadsCheckedWhenSampled);
}
