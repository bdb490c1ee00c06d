//! The words for the state of disks and of replication: DRBD's, as it prints them.

use replication::durability::Durability;
use replication::membership::NodeNumber;
use replication::message::CopyState;
use replication::volume::{Phase, VolumeStatus};

/// As in the configuration.
pub(super) const fn durability_word(durability: Durability) -> &'static str {
    match durability {
        Durability::Stable => "stable",
        Durability::Memory => "memory",
        Durability::Async { .. } => "async",
    }
}

/// This node's disk.
pub(super) fn disk_word(node: NodeNumber, status: &VolumeStatus) -> &'static str {
    match status.copy {
        CopyState::Diskless => "Diskless",
        CopyState::Inconsistent => "Inconsistent",
        CopyState::Good if status.lacking > 0 => "Inconsistent",
        CopyState::Good if !status.membership.members.includes(node) => "Outdated",
        CopyState::Good => "UpToDate",
    }
}

/// The peer's disk, as far as this node knows.
pub(super) fn peer_disk_word(node: NodeNumber, status: &VolumeStatus) -> &'static str {
    let is_member = status.membership.members.includes(node.other());
    match (status.phase, status.peer_copy) {
        (Phase::Paired | Phase::Left, _) if status.out_of_sync == 0 && is_member => "UpToDate",
        (Phase::Paired | Phase::Left, _) => "Inconsistent",
        // By it the peer serves for both.
        (Phase::Passing, _) => "UpToDate",
        (Phase::Frozen | Phase::Alone, Some(CopyState::Diskless)) => "Diskless",
        (Phase::Frozen | Phase::Alone, _) if !is_member => "Outdated",
        (Phase::Frozen | Phase::Alone, _) => "DUnknown",
    }
}

/// What goes from disk to disk. A node without a disk is given nothing, though it may be connected.
pub(super) fn replication_word(status: &VolumeStatus) -> &'static str {
    if !matches!(status.phase, Phase::Paired | Phase::Left) {
        return "Off";
    }
    match (status.lacking, status.out_of_sync, status.verify) {
        (0, 0, None) => "Established",
        (0, 0, Some(verify)) if verify.is_source => "VerifyS",
        (0, 0, Some(_)) => "VerifyT",
        (0, ..) => "SyncSource",
        _ => "SyncTarget",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use block::Duration;
    use replication::membership::{Epoch, Members, Membership};
    use replication::resync::VerifyStatus;
    use replication::volume::Counters;

    const WHOLE: VolumeStatus = VolumeStatus {
        phase: Phase::Paired,
        membership: Membership { epoch: Epoch(1), members: Members::Both },
        serving: true,
        copy: CopyState::Good,
        sectors: 131_072,
        out_of_sync: 0,
        lacking: 0,
        peer_copy: Some(CopyState::Good),
        verify: None,
        answers_from_memory: false,
        counters: Counters {
            writes: 0,
            reads: 0,
            followed: 0,
            waited: 0,
            superseded: 0,
            held: 0,
            reads_waited: 0,
            fetched: 0,
            dropped: 0,
            copied: 0,
            copies_yielded: 0,
            freezes: 0,
        },
    };

    /// Replication, disk and peer's disk, as node 0 says it.
    fn words(status: &VolumeStatus) -> [&'static str; 3] {
        let node = NodeNumber::Zero;
        [replication_word(status), disk_word(node, status), peer_disk_word(node, status)]
    }

    #[test]
    fn a_pair_is_established_a_source_a_target_or_verifies() {
        assert_eq!(words(&WHOLE), ["Established", "UpToDate", "UpToDate"]);
        let verify = |is_source| VerifyStatus { is_source, sectors: 0, elapsed: Duration::ZERO };
        let verifying = |is_source| VolumeStatus { verify: Some(verify(is_source)), ..WHOLE };
        assert_eq!(words(&verifying(true)), ["VerifyS", "UpToDate", "UpToDate"]);
        assert_eq!(words(&verifying(false)), ["VerifyT", "UpToDate", "UpToDate"]);
        let source = VolumeStatus { out_of_sync: 1, ..verifying(true) };
        assert_eq!(words(&source), ["SyncSource", "UpToDate", "Inconsistent"]);
        assert_eq!(words(&VolumeStatus { lacking: 1, ..WHOLE }), ["SyncTarget", "Inconsistent", "UpToDate"]);
    }

    #[test]
    fn a_node_alone_knows_of_its_peer_what_that_has_said() {
        let alone = VolumeStatus {
            phase: Phase::Alone,
            membership: Membership { epoch: Epoch(2), members: Members::Only(NodeNumber::Zero) },
            peer_copy: None,
            ..WHOLE
        };
        assert_eq!(words(&alone), ["Off", "UpToDate", "Outdated"]);
        let failed = VolumeStatus { peer_copy: Some(CopyState::Diskless), ..alone };
        assert_eq!(words(&failed), ["Off", "UpToDate", "Diskless"]);
        let frozen = VolumeStatus { phase: Phase::Frozen, peer_copy: None, ..WHOLE };
        assert_eq!(words(&frozen), ["Off", "UpToDate", "DUnknown"]);
        let passing = VolumeStatus { phase: Phase::Passing, copy: CopyState::Diskless, ..WHOLE };
        assert_eq!(words(&passing), ["Off", "Diskless", "UpToDate"]);
    }
}
