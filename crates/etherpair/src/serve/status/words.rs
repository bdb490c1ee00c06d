//! The words for states. Those of disks and of replication are DRBD's, as it prints them.

use replication::durability::Durability;
use replication::membership::NodeNumber;
use replication::message::CopyState;
use replication::volume::{Phase, VolumeStatus};

/// A stream to the peer.
pub(crate) const fn connection_word(is_standing: bool) -> &'static str {
    if is_standing { "Connected" } else { "Connecting" }
}

/// Whether this node answers initiators, for people.
pub(super) fn serving_words(is_serving: bool, phase: &str) -> &'static str {
    match (is_serving, phase) {
        (true, "Alone") => "serving alone, without a lease",
        (true, _) => "serving",
        (false, _) => "NOT serving",
    }
}

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
        CopyState::Good if status.shut_out || !status.membership.members.includes(node) => "Outdated",
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
    use std::collections::BTreeSet;

    use super::*;
    use block::Duration;
    use replication::membership::{Epoch, Members, Membership};
    use replication::resync::VerifyStatus;
    use replication::volume::Counters;

    const WHOLE: VolumeStatus = VolumeStatus {
        phase: Phase::Paired,
        membership: Membership { epoch: Epoch(1), members: Members::Both },
        serving: true,
        shut_out: false,
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
        assert_eq!(words(&VolumeStatus { shut_out: true, ..frozen }), ["Off", "Outdated", "DUnknown"]);
        let passing = VolumeStatus { phase: Phase::Passing, copy: CopyState::Diskless, ..WHOLE };
        assert_eq!(words(&passing), ["Off", "Diskless", "UpToDate"]);
    }

    /// All of them: one more does not compile before it stands here.
    fn phases() -> impl Iterator<Item = Phase> {
        std::iter::successors(Some(Phase::Frozen), |phase| match phase {
            Phase::Frozen => Some(Phase::Paired),
            Phase::Paired => Some(Phase::Alone),
            Phase::Alone => Some(Phase::Left),
            Phase::Left => Some(Phase::Passing),
            Phase::Passing => None,
        })
    }

    /// Likewise.
    fn copies() -> impl Iterator<Item = CopyState> {
        std::iter::successors(Some(CopyState::Good), |copy| match copy {
            CopyState::Good => Some(CopyState::Inconsistent),
            CopyState::Inconsistent => Some(CopyState::Diskless),
            CopyState::Diskless => None,
        })
    }

    /// In every state that there is, also where two exclude each other: more words than needed do no harm.
    fn states() -> Vec<VolumeStatus> {
        let mut states = vec![WHOLE];
        let mut vary = |change: &dyn Fn(&VolumeStatus) -> Vec<VolumeStatus>| {
            states = states.iter().flat_map(change).collect();
        };
        vary(&|state| phases().map(|phase| VolumeStatus { phase, ..*state }).collect());
        vary(&|state| [true, false].map(|serving| VolumeStatus { serving, ..*state }).to_vec());
        vary(&|state| copies().map(|copy| VolumeStatus { copy, ..*state }).collect());
        let peer_copies = || copies().map(Some).chain([None]);
        vary(&|state| peer_copies().map(|peer_copy| VolumeStatus { peer_copy, ..*state }).collect());
        vary(&|state| [0, 1].map(|lacking| VolumeStatus { lacking, ..*state }).to_vec());
        vary(&|state| [0, 1].map(|out_of_sync| VolumeStatus { out_of_sync, ..*state }).to_vec());
        let verify = |is_source| VerifyStatus { is_source, sectors: 0, elapsed: Duration::ZERO };
        let verifies = [None, Some(verify(true)), Some(verify(false))];
        vary(&|state| verifies.map(|verify| VolumeStatus { verify, ..*state }).to_vec());
        let members = [Members::Both, Members::Only(NodeNumber::Zero), Members::Only(NodeNumber::One)];
        vary(&|state| {
            let membership = |members| Membership { members, ..state.membership };
            members.map(|members| VolumeStatus { membership: membership(members), ..*state }).to_vec()
        });
        states
    }

    /// What may stand before a word in the table, and the word.
    fn all_words() -> BTreeSet<(&'static str, String)> {
        let mut found: BTreeSet<(&str, String)> = BTreeSet::new();
        for state in states() {
            let [replication, disk, peer_disk] = words(&state);
            let phase = format!("{:?}", state.phase);
            let serving =
                serving_words(state.serving, &phase).trim_end_matches(", without a lease").to_owned();
            let told =
                [("", replication.to_owned()), ("disk ", disk.to_owned()), ("disk ", peer_disk.to_owned())];
            found.extend(told.into_iter().chain([("phase ", phase), ("", serving)]));
        }
        let durability = |durability| ("", durability_word(durability).to_owned());
        found.extend([Durability::Stable, Durability::Memory].map(durability));
        found.insert(durability(Durability::Async { server: NodeNumber::Zero, lag_bytes_max: 0 }));
        found.extend([true, false].map(|is_standing| ("", connection_word(is_standing).to_owned())));
        found
    }

    #[test]
    fn the_documents_say_of_every_word_what_it_means_and_what_to_do_and_of_no_other() {
        let page = include_str!("../../../../../docs/operating/pair.md");
        let (_, table) = page.split_once("| word | it means | to do |\n|---|---|---|\n").expect("the table");
        let (table, _) = table.split_once("\n\n").expect("its end");
        let rows: Vec<Vec<&str>> = table.lines().map(|row| row.split('|').map(str::trim).collect()).collect();
        for row in &rows {
            assert!(row.len() == 5 && row[1..4].iter().all(|cell| !cell.is_empty()), "{row:?}");
        }
        let all = all_words();
        for (before, word) in &all {
            let told = |row: &&Vec<&str>| {
                row[1].contains(&format!("`{word}`")) && row[1].contains(before.trim_end())
            };
            assert_eq!(rows.iter().filter(told).count(), 1, "{before}{word}");
        }
        // What else there is stands as it is in the text.
        let status = crate::serve::status::text::tests::status();
        let text = status.display();
        let ticked = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
        for word in rows.iter().flat_map(|row| ticked(row[1])) {
            let others = ["leaving", "NOT serving", "etcd", "none"];
            let is_known = all.iter().any(|(_, known)| *known == word);
            assert!(
                is_known || others.contains(&word.as_str()) || text.contains(&word),
                "{word} is no word of {text}"
            );
        }
    }
}
