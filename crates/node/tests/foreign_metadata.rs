//! Metadata that is another node's, or another pair's, is refused before the engine sees it, and nothing is left of it.
#![cfg(test)]

use aoe::target::{ExportConfig, Identity, SmallState, TargetError, TargetLimits};
use aoe::{Address, Shelf, Slot};
use block::{Instant, LogicalSectorSize};
use node::{MirrorError, Node, PairConfig};
use replication::identity::{FormatIdentity, PairIdentity, VolumeIdentity};
use replication::limits::{LEASE, Limits};
use replication::membership::{Membership, NodeNumber};
use replication::meta::layout::{HOT_EXTENTS_MIN, Layout, RECORD_BYTES};
use replication::meta::{Format, Opened, format, open};
use replication::start::VolumeConfig;
use replication::version::VersionRange;

const PAIR: PairIdentity = PairIdentity(7);
const OTHER_PAIR: PairIdentity = PairIdentity(8);
const SECTORS: u64 = 64;
const NOW: Instant = Instant::from_nanos(100_000_000_000);

fn limits() -> TargetLimits {
    TargetLimits {
        outstanding_max: 16,
        write_history_max: 64,
        export_max: 1,
        followed_max: 32,
        digest_seed: 1,
    }
}

/// Node 0 of the pair.
fn node_zero() -> Node {
    let pair = PairConfig {
        node: NodeNumber::Zero,
        pair: PAIR,
        incarnation: 1,
        lease: LEASE,
        limits: Limits { requests: 16, followed: 32, copies: 4, volumes: 1, runs_at_once: 64 },
        versions: VersionRange::ALL,
    };
    Node::with_peer(NOW, limits(), pair)
}

fn config() -> ExportConfig {
    ExportConfig {
        address: Address::new(Shelf(7), Slot(1)).expect("an address"),
        sectors: SECTORS,
        logical_sector_size: LogicalSectorSize::B512,
        identity: Identity::new("test", "made", "1"),
        read_only: false,
        write_cache: false,
        buffer_count: 16,
        state: SmallState::default(),
        mirror: None,
    }
}

/// As it was made at a node of a pair.
fn metadata(pair: PairIdentity, node: NodeNumber) -> Opened {
    let records = format(Format {
        format: FormatIdentity(50),
        volume: VolumeIdentity(1),
        pair,
        node,
        layout: Layout::new(SECTORS, HOT_EXTENTS_MIN).expect("a small volume"),
        membership: Membership::FIRST,
        good: true,
    });
    let records: Vec<_> = records.bitmap_records().chain(records.superblock_records()).collect();
    let opened = open(|place, into| {
        into.fill(0);
        for (at, record) in &records {
            let offset = at.0.checked_sub(place.0).and_then(|offset| usize::try_from(offset).ok());
            if let Some(bytes) = offset.and_then(|offset| into.get_mut(offset..offset + RECORD_BYTES)) {
                bytes.copy_from_slice(record);
            }
        }
        Ok(())
    });
    opened.expect("metadata that was just made")
}

/// What is said to metadata, and whether the same node takes its own afterwards.
fn refusal(pair: PairIdentity, node: NodeNumber) -> MirrorError {
    let mut zero = node_zero();
    let volume_config = VolumeConfig::default();
    let refused = zero.add_mirrored_export(NOW, config(), metadata(pair, node), volume_config);
    assert_eq!(zero.exports().count(), 0);
    assert!(zero.poll_output().is_none(), "nothing is written to metadata that is not its own");
    let own = zero.add_mirrored_export(NOW, config(), metadata(PAIR, NodeNumber::Zero), volume_config);
    let own = own.expect("its own is as good as before");
    assert!(zero.volume_status(own).is_some());
    refused.expect_err("not its own")
}

#[test]
fn the_metadata_of_another_pair_is_refused() {
    assert_eq!(
        refusal(OTHER_PAIR, NodeNumber::Zero),
        MirrorError::Pair { found: OTHER_PAIR, expected: PAIR }
    );
    assert_eq!(
        refusal(OTHER_PAIR, NodeNumber::One),
        MirrorError::Pair { found: OTHER_PAIR, expected: PAIR },
        "which disk it is says more than which node"
    );
}

#[test]
fn the_metadata_of_the_other_node_is_refused() {
    let (found, expected) = (NodeNumber::One, NodeNumber::Zero);
    assert_eq!(refusal(PAIR, NodeNumber::One), MirrorError::Node { found, expected });
}

#[test]
fn a_node_without_a_peer_takes_no_metadata() {
    let opened = metadata(PAIR, NodeNumber::Zero);
    let refused = Node::new(limits()).add_mirrored_export(NOW, config(), opened, VolumeConfig::default());
    assert_eq!(refused, Err(MirrorError::NoPeer));
}

#[test]
fn what_the_target_refuses_is_told_as_that() {
    let mut zero = node_zero();
    let opened = || metadata(PAIR, NodeNumber::Zero);
    zero.add_mirrored_export(NOW, config(), opened(), VolumeConfig::default())
        .expect("there is room for one");
    let refused = zero.add_mirrored_export(NOW, config(), opened(), VolumeConfig::default());
    assert!(matches!(refused, Err(MirrorError::Target(TargetError::AddressInUse { .. }))), "{refused:?}");
}
