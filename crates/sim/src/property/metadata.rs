//! A node starts with the metadata that it has left, and finds there what it has written, whatever repairable damage came to it.
//!
//! It is told what could be opened before and after.

use replication::meta::Opened;
use replication::meta::activity_log::Extent;

/// Whether the same is found as before.
///
/// # Errors
/// What is lost, or is something else now.
pub fn survives(before: &Opened, after: Option<&Opened>) -> Result<(), String> {
    let Some(after) = after else { return Err("it is not survived".to_owned()) };
    let is_same = before.superblock == after.superblock
        && before.small_state == after.small_state
        && hot(before) == hot(after)
        && before.bitmap.out_of_sync() == after.bitmap.out_of_sync();
    if is_same { Ok(()) } else { Err(format!("it was not noticed: {before:?}, now {after:?}")) }
}

/// What is in which slot of the log, if that is known.
fn hot(opened: &Opened) -> Option<&[Option<Extent>]> {
    opened.log.as_ref().ok().map(|log| log.slots.as_slice())
}

#[cfg(test)]
pub(crate) mod tests {
    use replication::identity::{FormatIdentity, PairIdentity, VolumeIdentity};
    use replication::membership::{Membership, NodeNumber};
    use replication::meta::layout::{HOT_EXTENTS_MIN, Layout, Place};
    use replication::meta::twin::Side;
    use replication::meta::{self, Format, format};

    use super::*;
    use crate::store::Store;

    /// Metadata that was just made, of a small volume.
    pub(crate) fn fresh(volume: u128) -> Store {
        let mut store = Store::default();
        let fresh = format(Format {
            format: FormatIdentity(7),
            volume: VolumeIdentity(volume),
            pair: PairIdentity(1),
            node: NodeNumber::Zero,
            layout: Layout::new(100, HOT_EXTENTS_MIN).expect("a small volume"),
            membership: Membership::FIRST,
            good: true,
        });
        for (place, record) in fresh.superblock_records() {
            store.write(place.0, &record);
        }
        store
    }

    fn open(store: &Store) -> Option<Opened> {
        let read = |place: Place, bytes: &mut [u8]| {
            store.read(place.0, bytes);
            Ok(())
        };
        meta::open(read).ok()
    }

    #[test]
    fn both_superblocks_lost_are_told_and_one_is_survived() {
        let mut store = fresh(1);
        let before = open(&store).expect("it is fresh");
        let [one, other] = Side::BOTH.map(Layout::superblock);
        store.write(one.0, &[0; 512]);
        assert_eq!(survives(&before, open(&store).as_ref()), Ok(()));
        store.write(other.0, &[0; 512]);
        assert_eq!(survives(&before, open(&store).as_ref()), Err("it is not survived".to_owned()));
    }

    #[test]
    fn what_says_something_else_is_told() {
        let (before, after) = (open(&fresh(1)).expect("it is fresh"), open(&fresh(2)).expect("this as well"));
        assert_eq!(survives(&before, Some(&before)), Ok(()));
        let told = survives(&before, Some(&after)).expect_err("it is another volume");
        assert!(told.starts_with("it was not noticed: "), "{told}");
    }
}
