//! After healing both nodes become members that lack nothing, and whoever is to serve does.

use replication::membership::Members;
use replication::volume::VolumeStatus;

/// Whether that is so at a node that serves, or, where the other one answers ahead of it, follows.
#[must_use]
pub fn is_whole_at(status: &VolumeStatus, follows: bool) -> bool {
    (status.serving || follows)
        && status.membership.members == Members::Both
        && status.out_of_sync == 0
        && status.lacking == 0
}

#[cfg(test)]
mod tests {
    use replication::membership::{Epoch, Membership, NodeNumber};
    use replication::message::CopyState;
    use replication::volume::{Counters, Phase};

    use super::*;

    #[test]
    fn who_is_silent_alone_or_lacks_something_is_not_whole() {
        let whole = VolumeStatus {
            phase: Phase::Paired,
            membership: Membership { epoch: Epoch(3), members: Members::Both },
            serving: true,
            shut_out: false,
            copy: CopyState::Good,
            sectors: 64,
            out_of_sync: 0,
            lacking: 0,
            peer_copy: None,
            verify: None,
            answers_from_memory: false,
            counters: Counters::default(),
        };
        assert!(is_whole_at(&whole, false));
        let silent = VolumeStatus { serving: false, ..whole };
        assert!(!is_whole_at(&silent, false) && is_whole_at(&silent, true));
        let members = Members::Only(NodeNumber::Zero);
        let alone = VolumeStatus { membership: Membership { members, ..whole.membership }, ..whole };
        let wrong = [alone, VolumeStatus { out_of_sync: 1, ..whole }, VolumeStatus { lacking: 1, ..whole }];
        assert!(wrong.iter().all(|status| !is_whole_at(status, true)));
    }
}
