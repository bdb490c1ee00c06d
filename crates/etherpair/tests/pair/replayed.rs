//! What was recorded of a connection between the nodes, at the peer port once more.

use std::fs;

use replication::identity::PairIdentity;
use replication::membership::NodeNumber;
use replication::version::{Version, VersionRange};
use replication::wire::preamble::{Preamble, ProgramName, Purpose};

use crate::world::World;
use crate::{assert_equal_copies, pair, under_load};

fn said(purpose: Purpose, versions: VersionRange) -> [u8; 64] {
    let pair = PairIdentity(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef);
    let program = ProgramName::new("0.1.0");
    Preamble { pair, node: NodeNumber::One, purpose, versions, program }.emit()
}

#[test]
fn a_recorded_connection_opens_none_and_ends_none() {
    let world = World::new();
    let (_witness, _nodes) = pair(&world);
    let request = b"{\"remove\":{\"address\":\"7.1\",\"identity\":null,\"delete_data\":true}}\n";
    under_load(&world, 2, || {
        // Before version 4 nobody said anything back.
        for versions in [VersionRange::ALL, VersionRange::of(Version::V1, Version::V3)] {
            let said = |purpose| said(purpose, versions);
            let confirmed = said(Purpose::Confirmed { nonce: 0x1234_5678 });
            let stream = [said(Purpose::Shard { shard: 0, shards: 1 }), confirmed].concat();
            let control = said(Purpose::Control);
            for _ in 0..10 {
                world.send_to_peer_port(0, &stream);
                world.send_to_peer_port(0, &[&control[..], &confirmed, request].concat());
                world.send_to_peer_port(0, &[&control[..], request].concat());
            }
        }
    });
    let log = fs::read_to_string(world.scratch.join("node0.log")).expect("a log");
    assert!(log.contains("does not say back what it was told"), "{log}");
    assert!(log.contains("they have none in common"), "{log}");
    assert_eq!(log.matches("the stream 0 stands").count(), 1, "the peer's own: {log}");
    assert_equal_copies(&world);
}
