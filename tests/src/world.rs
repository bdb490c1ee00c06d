//! A storage network on one machine: a switch, a host with disks, a host without, and guests.

use lab::{
    Error, Namespace, Scratch,
    guest::{Guest, GuestOptions},
    network::{self, MTU_JUMBO},
    package,
};
use std::path::PathBuf;

/// The bridge that everybody is plugged into.
const BRIDGE: &str = "br0";
/// The bridge of the second path.
const SECOND_BRIDGE: &str = "br1";

/// A switch with two hosts plugged in: `storage`, whose interface is `eth1`, and `client`, whose interface is `eth0`.
#[derive(Debug)]
pub struct World {
    /// Where the target under test runs.
    pub storage: Namespace,
    /// A host for tools that need no kernel of their own.
    pub client: Namespace,
    /// The switch; its ports are named as the hosts.
    pub switch: Namespace,
    /// Images and logs.
    pub scratch: Scratch,
}

impl World {
    /// Builds one. `label` names its directory while it lives.
    pub fn new(label: &str) -> Result<Self, Error> {
        package::require(&[package::IPROUTE2])?;
        let (storage, client, switch) = (Namespace::new()?, Namespace::new()?, Namespace::new()?);
        switch.add_bridge(BRIDGE, MTU_JUMBO)?;
        for (host, interface, port) in [(&storage, "eth1", "storage"), (&client, "eth0", "client")] {
            network::wire((host, interface), (&switch, port), MTU_JUMBO)?;
            switch.plug(port, BRIDGE)?;
        }
        Ok(Self { storage, client, switch, scratch: Scratch::new(label)? })
    }

    /// Switches on a guest with one card on the switch and the kernel's AoE initiator loaded.
    pub fn guest_with_initiator(&self, name: &str) -> Result<Guest, Error> {
        initiator(name)?.plug(&self.switch, BRIDGE)?.start(&self.scratch)
    }

    /// Gives the storage host a second way out: `eth2`, on a switch of its own whose port is `storage2`.
    pub fn add_second_path(&self) -> Result<(), Error> {
        self.switch.add_bridge(SECOND_BRIDGE, MTU_JUMBO)?;
        network::wire((&self.storage, "eth2"), (&self.switch, "storage2"), MTU_JUMBO)?;
        self.switch.plug("storage2", SECOND_BRIDGE)
    }

    /// The same guest with a card on each of the two paths.
    pub fn guest_with_two_paths(&self, name: &str) -> Result<Guest, Error> {
        initiator(name)?.plug(&self.switch, BRIDGE)?.plug(&self.switch, SECOND_BRIDGE)?.start(&self.scratch)
    }

    /// Switches on a machine that runs a script in iPXE.
    pub fn ipxe(&self, script: &str) -> Result<lab::Process, Error> {
        lab::guest::start_ipxe(&self.scratch, &self.switch, BRIDGE, script)
    }

    /// How many frames the storage host has received so far.
    pub fn frames_received_by_storage(&self) -> Result<u64, Error> {
        let path = "/sys/class/net/eth1/statistics/rx_packets";
        let text = self.storage.program("cat").arg(path).run()?.stdout;
        text.trim().parse().map_err(|_| Error::Unexpected { program: path.into(), detail: text })
    }

    /// The path of a file of this world.
    pub fn path(&self, name: &str) -> PathBuf {
        self.scratch.join(name)
    }

    /// An image of nothing but zeroes.
    pub fn sparse_image(&self, name: &str, size_bytes: u64) -> Result<PathBuf, Error> {
        let path = self.path(name);
        lab::disk::sparse_image(&path, size_bytes)?;
        Ok(path)
    }

    /// An image full of data.
    pub fn filled_image(&self, name: &str, size_bytes: u64) -> Result<PathBuf, Error> {
        let path = self.path(name);
        lab::disk::filled_image(&path, size_bytes)?;
        Ok(path)
    }
}

pub(crate) fn initiator(name: &str) -> Result<GuestOptions, Error> {
    package::require(&[package::FIO, package::E2FSPROGS, package::AOETOOLS])?;
    Ok(GuestOptions::new(name).module("ext4").module("crc32c_generic").module("aoe"))
}
