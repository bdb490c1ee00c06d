//! At most one node serves alone, and while it does the other serves nothing; an epoch has one owner for ever.
//!
//! A node that came back serves together with the one that was alone, before it is a member: that is not alone. A node that
//! is paused, or whose lease has run out on its own clock, serves nothing, whatever it remembers of itself.

use std::collections::BTreeMap;

use block::Instant;
use replication::membership::{Epoch, Members, Membership, NodeNumber};
use thiserror::Error;

/// How a node serves.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Serving {
    /// By which membership.
    pub membership: Membership,
    /// Without its peer.
    pub alone: bool,
}

/// Two histories, or what may become of them.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum TwoHistories {
    /// Both serve, and one of them alone.
    #[error("at {} ns {node} serves alone ({membership:?}) while its peer serves, too", .now.as_nanos())]
    Both {
        /// When.
        now: Instant,
        /// The one that is alone.
        node: NodeNumber,
        /// By which membership.
        membership: Membership,
    },
    /// A node serves alone by a membership that does not say so.
    #[error("at {} ns {node} serves alone by {membership:?}", .now.as_nanos())]
    NotSole {
        /// When.
        now: Instant,
        /// Who.
        node: NodeNumber,
        /// By which membership.
        membership: Membership,
    },
    /// An epoch had other members before.
    #[error("at {} ns {node} serves by {membership:?}, but epoch {} was that of {before}", .now.as_nanos(), .membership.epoch)]
    Owner {
        /// When.
        now: Instant,
        /// Who.
        node: NodeNumber,
        /// By which membership.
        membership: Membership,
        /// Whose epoch it was.
        before: Members,
    },
    /// A node serves in an epoch after which its peer has served alone in a later one.
    #[error("at {} ns {node} serves by {membership:?} after its peer served alone in epoch {later}", .now.as_nanos())]
    Stale {
        /// When.
        now: Instant,
        /// Who.
        node: NodeNumber,
        /// By which membership.
        membership: Membership,
        /// The later epoch.
        later: Epoch,
    },
}

/// What was seen so far.
#[derive(Debug, Default)]
pub struct OneHistory {
    owners: BTreeMap<Epoch, Members>,
    /// The last epoch in which each node served alone.
    alone: [Option<Epoch>; 2],
}

impl OneHistory {
    /// Looks at both nodes; what does not serve is `None`.
    ///
    /// # Errors
    /// If there are two histories, or may be.
    pub fn check(&mut self, now: Instant, serving: [Option<Serving>; 2]) -> Result<(), TwoHistories> {
        for (index, node) in [NodeNumber::Zero, NodeNumber::One].into_iter().enumerate() {
            let Some(Serving { membership, alone }) = serving[index] else { continue };
            let Membership { epoch, members } = membership;
            let before = *self.owners.entry(epoch).or_insert(members);
            if before != members {
                return Err(TwoHistories::Owner { now, node, membership, before });
            }
            if let Some(later) = self.alone[1 - index].filter(|later| *later > epoch) {
                return Err(TwoHistories::Stale { now, node, membership, later });
            }
            if alone && members != Members::Only(node) {
                return Err(TwoHistories::NotSole { now, node, membership });
            }
            if alone && serving[1 - index].is_some() {
                return Err(TwoHistories::Both { now, node, membership });
            }
            if alone {
                self.alone[index] = Some(epoch);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Instant = Instant::from_nanos(7);

    #[expect(clippy::unnecessary_wraps, reason = "what the property is told")]
    fn serving(epoch: u64, members: Members, alone: bool) -> Option<Serving> {
        Some(Serving { membership: Membership { epoch: Epoch(epoch), members }, alone })
    }

    const ZERO: Members = Members::Only(NodeNumber::Zero);
    const ONE: Members = Members::Only(NodeNumber::One);

    #[test]
    fn losing_the_peer_and_taking_it_back_is_one_history() {
        let mut property = OneHistory::default();
        let both = |epoch| serving(epoch, Members::Both, false);
        for step in [
            [both(1), both(1)],
            [serving(2, ZERO, true), None],
            [serving(2, ZERO, false), serving(2, ZERO, false)],
            [both(3), serving(2, ZERO, false)],
            [both(3), both(3)],
            [None, serving(4, ONE, true)],
        ] {
            assert_eq!(property.check(NOW, step), Ok(()));
        }
    }

    #[test]
    fn split_brain_is_found() {
        let mut property = OneHistory::default();
        let error = property.check(NOW, [serving(2, ZERO, true), serving(1, Members::Both, false)]);
        assert!(matches!(error, Err(TwoHistories::Both { node: NodeNumber::Zero, .. })));
        let error = OneHistory::default().check(NOW, [serving(1, Members::Both, true), None]);
        assert!(matches!(error, Err(TwoHistories::NotSole { .. })));
    }

    #[test]
    fn two_owners_of_an_epoch_are_found_even_one_after_the_other() {
        let mut property = OneHistory::default();
        assert_eq!(property.check(NOW, [serving(2, ZERO, true), None]), Ok(()));
        let error = property.check(NOW, [None, serving(2, ONE, true)]);
        assert!(matches!(error, Err(TwoHistories::Owner { before: ZERO, .. })));
        let error = property.check(NOW, [None, serving(1, Members::Both, false)]);
        assert!(matches!(error, Err(TwoHistories::Stale { later: Epoch(2), .. })));
    }
}
