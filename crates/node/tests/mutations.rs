//! Mistakes of the engine that only whole nodes show: the stories of `transcripts` end with other disks.

#[path = "transcripts/stories.rs"]
mod stories;
#[path = "transcripts/world.rs"]
mod world;

use std::panic::catch_unwind;

use replication::mutation::Mutation;

#[test]
fn a_numbered_write_is_executed_again_where_nodes_do_not_tell_each_other_the_numbers() {
    assert!(catch_unwind(|| stories::late_number(None)).is_ok());
    assert!(catch_unwind(|| stories::late_number(Some(Mutation::NumbersNotTold))).is_err());
}
