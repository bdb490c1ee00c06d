//! Both nodes hold the same config string, MAC mask and reservation: a reservation that one of them does not know is none.

use replication::meta::small_state::SmallState;
use thiserror::Error;

/// What differs.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum UnequalState {
    /// Not even the number of changes.
    #[error("node 0 has revision {} of the small state, node 1 revision {}", .0[0], .0[1])]
    Revision([u64; 2]),
    /// The same number of changes, and another outcome.
    #[error("both nodes have revision {0} of the small state, with different contents")]
    Content(u64),
}

/// Compares what the nodes hold; nothing was ever set where there is none.
///
/// # Errors
/// If they differ.
pub fn check(states: [Option<&SmallState>; 2]) -> Result<(), UnequalState> {
    let revisions = states.map(|state| state.map_or(0, |state| state.revision));
    let contents = states.map(|state| {
        state.map(|state| {
            (state.config_string.as_slice(), state.mac_mask.as_slice(), state.reservation.as_slice())
        })
    });
    let [zero, one] = contents.map(Option::unwrap_or_default);
    if revisions[0] != revisions[1] {
        Err(UnequalState::Revision(revisions))
    } else if zero != one {
        Err(UnequalState::Content(revisions[0]))
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use replication::identity::VolumeIdentity;

    use super::*;

    #[test]
    fn a_reservation_that_one_node_does_not_know_is_found() {
        let none = SmallState::new(VolumeIdentity(1));
        assert_eq!(check([None, Some(&none)]), Ok(()));
        let mut reserved = none.clone();
        reserved.reservation.push([2, 0, 0, 0, 0, 1]);
        assert_eq!(check([Some(&none), Some(&reserved)]), Err(UnequalState::Content(0)));
        reserved.revision = 1;
        assert_eq!(check([None, Some(&reserved)]), Err(UnequalState::Revision([0, 1])));
    }
}
