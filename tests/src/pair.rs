//! The laboratory's pair with the target under test in it, for tests: what does not come in time fails the test with the whole story.

use crate::binary;
use lab::{
    Error,
    guest::Guest,
    network::{Direction, Loss, MTU_JUMBO},
    pair::{Pair as Parts, STORAGE},
};
use serde_json::Value;
use std::ops::Deref;

/// What guests have to say to each other passes here.
const GUESTS: &str = "guests";

/// See [`lab::pair::Pair`].
#[derive(Debug)]
pub struct Pair {
    parts: Parts,
}

impl Pair {
    /// Builds the hosts and the wires. Nothing runs yet. `label` names its directory while it lives.
    pub fn new(label: &str, virtual_macs: bool) -> Result<Self, Error> {
        Ok(Self { parts: Parts::new(label, binary()?, virtual_macs)? })
    }

    /// The switch's port of a node on one of the storage networks (0 and 1).
    pub fn storage_port(node: usize, network: usize) -> String {
        Parts::storage_port(node, network)
    }

    /// Waits until the only volume of a node is as wanted.
    pub fn wait_for(&self, node: usize, what: &str, is_so: impl Fn(&Value) -> bool) {
        self.parts.wait_for(node, what, is_so).expect("a node that gets there");
    }

    /// Waits until a node serves alone.
    pub fn wait_until_alone(&self, node: usize) {
        self.parts.wait_until_alone(node).expect("a node that goes on alone");
    }

    /// Waits until both nodes are members and serve equal copies.
    pub fn wait_until_in_sync(&self) {
        self.parts.wait_until_in_sync().expect("a pair that becomes whole");
    }

    /// Which node serves alone, once one of them does.
    pub fn wait_for_winner(&self) -> usize {
        self.parts.wait_for_winner().expect("a node that goes on alone")
    }

    /// Whether the data of both copies are equal, byte for byte.
    pub fn copies_are_equal(&self) -> bool {
        self.parts.copies_are_equal().expect("two copies")
    }

    /// Switches on a guest with a card on each storage network and the kernel's AoE initiator loaded.
    pub fn guest(&self, name: &str) -> Result<Guest, Error> {
        let [first, second] = STORAGE;
        let options = crate::world::initiator(name)?.plug(&self.switch, first)?.plug(&self.switch, second)?;
        options.start(&self.scratch)
    }

    /// The address that a node answers at on one of the storage networks: what is left of the pair's identity, folded, is nothing.
    pub fn virtual_mac(node: usize, network: usize) -> [u8; 6] {
        let byte = |number| u8::try_from(number).unwrap_or(u8::MAX);
        [0x02, 0, 0, 0, byte(network), byte(node)]
    }

    /// Lays the network that guests have among themselves.
    pub fn add_guest_network(&self) -> Result<(), Error> {
        self.switch.add_bridge(GUESTS, MTU_JUMBO)
    }

    /// Switches on a guest that sees the disk through one node only: it hears nothing that comes from the other node's own address
    /// (but what that answers at the address of its node). Its second card is on the network of the guests.
    pub fn guest_through(&self, name: &str, node: usize) -> Result<Guest, Error> {
        let options = crate::world::initiator(name)?.module("ocfs2").module("ocfs2_stack_o2cb");
        let options = options.plug(&self.switch, STORAGE[0])?.plug(&self.switch, GUESTS)?;
        let other = Loss::From(Self::virtual_mac(1 - node, 0));
        self.switch.set_loss(&format!("{name}0"), Direction::Sent, other)?;
        options.start(&self.scratch)
    }
}

impl Deref for Pair {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.parts
    }
}
