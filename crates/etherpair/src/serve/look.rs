//! Looks on the wire whether somebody who is not of the pair answers for an address that this node is about to serve: an old
//! server that was not stopped, or another pair with the same address. Initiators would take both for one disk, and ruin both.
//!
//! It asks for the configuration of each address on each interface, twice, and listens for a tenth of a second in all, so that a start
//! is hardly later for it; when nobody answers, or an interface cannot be asked, the address is free. The peer is known by the addresses
//! of the pair, and without these (`virtual_macs = false`) it could not be told from a stranger: then nobody looks.

use std::collections::{BTreeMap, BTreeSet};
use std::thread;
use std::time::Duration;

use aoe::target::PortId;
use aoe::{Address, MacAddress};
use node::virtual_mac;
use os::Interface;
use replication::membership::NodeNumber;

use crate::config::node::NodeConfig;
use crate::export::{Heard, Probe};

/// How often is asked, and how long is listened each time.
const ROUNDS: (u32, Duration) = (2, Duration::from_millis(50));

/// Who answers for an address, and where.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Stranger {
    /// On which of this node's interfaces it was heard.
    pub(super) interface: String,
    /// Its address.
    pub(super) mac: MacAddress,
}

/// Which of the addresses are served by strangers, on the interfaces of this node or on the last of them only, from that number on.
/// Waits for them.
pub(super) fn strangers(
    config: &NodeConfig,
    interfaces: &[Interface],
    first: usize,
    addresses: &[Address],
) -> BTreeMap<Address, Stranger> {
    if !config.virtual_macs || addresses.is_empty() {
        return BTreeMap::new();
    }
    let of_pair = addresses_of_pair(config, interfaces);
    let found = thread::scope(|scope| {
        let looks: Vec<_> = interfaces
            .iter()
            .skip(first)
            .map(|interface| scope.spawn(|| look(interface, interfaces, addresses, &of_pair)))
            .collect();
        looks.into_iter().flat_map(|look| look.join().unwrap_or_default()).collect::<Vec<_>>()
    });
    // One name is enough for each.
    found.into_iter().rev().collect()
}

fn addresses_of_pair(config: &NodeConfig, interfaces: &[Interface]) -> BTreeSet<MacAddress> {
    let ports = (0..u8::MAX).zip(interfaces).map(|(port, _)| PortId(port));
    let nodes = [NodeNumber::Zero, NodeNumber::One];
    ports.flat_map(|port| nodes.map(|node| virtual_mac(config.pair, node, port))).collect()
}

fn look(
    interface: &Interface,
    interfaces: &[Interface],
    addresses: &[Address],
    of_pair: &BTreeSet<MacAddress>,
) -> Vec<(Address, Stranger)> {
    let probe = Probe::new(addresses, interface, interfaces);
    let mut probe = match probe {
        Ok(probe) => probe.of_pair(of_pair),
        Err(error) => {
            tracing::warn!("{}: nobody can look who else serves there: {error}", interface.name);
            return Vec::new();
        }
    };
    let mut found = Vec::new();
    let _: Result<(), ()> = probe.ask(ROUNDS, |_, heard| {
        if let Heard::Served { address, mac } = heard {
            found.push((address, Stranger { interface: interface.name.clone(), mac }));
        }
        Ok(())
    });
    found
}
