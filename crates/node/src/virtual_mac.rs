//! The address that a node of a pair answers from: its own, whatever card is in it.
//!
//! When one node serves alone it answers at both nodes' addresses, so that initiators which never change the address they
//! send to, or only after many seconds, go on. Both nodes derive both addresses; nothing has to be configured.

use aoe::MacAddress;
use aoe::target::PortId;
use replication::identity::PairIdentity;
use replication::membership::NodeNumber;

/// The address of a node on one of its interfaces: locally administered, another one for each interface, since both may
/// hang on one switch. The interfaces have the same order on both nodes.
#[must_use]
pub const fn virtual_mac(pair: PairIdentity, node: NodeNumber, port: PortId) -> MacAddress {
    let PairIdentity(pair) = pair;
    let [a, b, c, d, ..] = (pair ^ (pair >> 64) ^ (pair >> 32) ^ (pair >> 96)).to_le_bytes();
    let unicast_and_local = a & 0xfc | 0x02;
    MacAddress([unicast_and_local, b, c, d, port.0, node.number()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_node_and_interface_of_a_pair_has_an_address_of_its_own() {
        let mut found = Vec::new();
        for pair in [0, 1, 1 << 32, u128::MAX, 0x0123_4567_89ab_cdef_0011_2233_4455_6677] {
            for node in [NodeNumber::Zero, NodeNumber::One] {
                for port in [0, 1, 255] {
                    let mac = virtual_mac(PairIdentity(pair), node, PortId(port));
                    assert!(mac.is_locally_administered() && !mac.is_multicast(), "{mac}");
                    found.push((pair, node, port, mac));
                }
            }
        }
        for one in &found {
            let same = found.iter().filter(|other| other.3 == one.3 && other.0 == one.0);
            assert_eq!(same.count(), 1, "{one:?}");
        }
    }
}
