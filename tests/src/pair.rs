//! The laboratory's pair with the target under test in it, for tests: what does not come in time fails the test with the whole story.

use crate::binary;
use lab::{
    Error,
    guest::Guest,
    pair::{Pair as Parts, STORAGE},
};
use serde_json::Value;
use std::ops::Deref;

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
}

impl Deref for Pair {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.parts
    }
}
