//! Stories of two whole nodes, told frame by frame and kept in `testdata`. `TRANSCRIPTS=write` writes them anew, to be reviewed
//! as a diff. Each line of a story is something that happens; below it stands what a reader wants to know of what follows.

mod stories;
mod world;

use std::path::PathBuf;

fn compare(name: &str, text: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testdata").join(format!("{name}.txt"));
    if std::env::var("TRANSCRIPTS").is_ok_and(|mode| mode == "write") {
        return std::fs::write(&path, text).expect("the file can be written");
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    let different = expected.lines().zip(text.lines()).find(|(old, new)| old != new);
    assert!(
        expected == text,
        "{name}.txt tells another story, first at {different:?}; if this one is right: TRANSCRIPTS=write, and look at the diff"
    );
}

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
