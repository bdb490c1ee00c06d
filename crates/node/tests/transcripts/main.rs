//! Stories of two whole nodes, told frame by frame and kept in `testdata`. `TRANSCRIPTS=write` writes them anew, to be reviewed
//! as a diff. Each line of a story is something that happens; below it stands what a reader wants to know of what follows.

#[path = "../../../replication/tests/transcripts/compare.rs"]
mod compare;
mod stories;
mod world;

use compare::compare;

#[test]
fn a_duplicate_that_comes_late() {
    compare("late_duplicate", &stories::late_duplicate(None));
}

#[test]
fn a_node_that_leaves_with_requests_that_wait() {
    compare("leave_with_waiting", &stories::leave_with_waiting(None));
}

#[test]
fn a_numbered_duplicate_that_comes_after_its_node_was_killed() {
    compare("late_number", &stories::late_number(None));
}

#[test]
fn a_write_in_doubt_that_the_copy_which_counts_has() {
    compare("doubt_executed", &stories::doubt_executed(None));
}

#[test]
fn a_write_in_doubt_that_the_copy_which_counts_has_not() {
    compare("doubt_abandoned", &stories::doubt_abandoned(None));
}
