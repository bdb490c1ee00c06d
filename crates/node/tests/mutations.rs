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

#[test]
fn a_write_in_doubt_is_undone_or_executed_again_where_the_target_does_not_heed_the_source() {
    for story in [stories::doubt_executed, stories::doubt_abandoned] {
        assert!(catch_unwind(|| story(None)).is_ok());
        assert!(catch_unwind(|| story(Some(Mutation::TargetKeepsItsEffects))).is_err());
    }
}
