//! What of a configuration differs from what a running daemon does, and what of that takes more than reading it again.
//!
//! Only looks, and names each key with its place and the cure.

use std::collections::BTreeMap;

use aoe::Address;
use os::Interface;
use replication::identity::VolumeIdentity;

use super::daemon::{Broken, Daemon};
use super::volumes::Volume;
use crate::config::node::NodeConfig;
use crate::config::places::SectionPlace;
use crate::config::volume::VolumeEntry;

/// How one daemon at a time takes on what it is told.
const RESTART: &str = "put it back, or restart this daemon: one node after the other";
/// How both do.
const STOP_BOTH: &str = "put it back, or stop both daemons, change it on both, and start them";
/// What never changes.
const NEVER: &str = "put it back: it never changes";
/// A port's number belongs to the pair's address on it.
const LAST_ONLY: &str = "interfaces are added and removed at the end of the list only, since both nodes count them; put the others \
                         back, or stop both daemons, change it on both, and start them";

/// What differs between what is done and what is wanted of volumes.
#[derive(Debug, Default)]
pub(super) struct VolumeChanges {
    pub(super) added: Vec<VolumeEntry>,
    pub(super) removed: Vec<Volume>,
    pub(super) changed: Vec<(Volume, VolumeEntry)>,
    /// Could not be served before.
    pub(super) tried_again: Vec<VolumeEntry>,
    /// Served no more, and their disks have not given back yet what they were asked: whatever is wanted of them has to wait. Why.
    pub(super) going: Vec<String>,
    pub(super) forgotten: Vec<Address>,
}

/// What takes more than this, by key and with the cure.
pub(super) fn fixed_keys(ours: &NodeConfig, wanted: &NodeConfig) -> Vec<String> {
    let keys = [
        ("pair", ours.pair == wanted.pair, NEVER),
        ("node", ours.node == wanted.node, NEVER),
        ("volumes_directory", ours.volumes_directory == wanted.volumes_directory, RESTART),
        ("storage.port", ours.port_kinds == wanted.port_kinds, RESTART),
        ("storage.virtual_macs", ours.virtual_macs == wanted.virtual_macs, STOP_BOTH),
        ("peer.listen", ours.listen == wanted.listen, RESTART),
        ("peer.addresses", ours.peer_addresses == wanted.peer_addresses, RESTART),
        ("peer.versions", ours.versions == wanted.versions, RESTART),
        ("peer.lease", ours.lease == wanted.lease, STOP_BOTH),
        ("arbiter", ours.arbiter == wanted.arbiter, STOP_BOTH),
        ("admin.socket", ours.socket == wanted.socket, RESTART),
        ("threads.count", ours.shards == wanted.shards, STOP_BOTH),
        ("threads.cores", ours.cores == wanted.cores, RESTART),
        ("threads.busy_poll_microseconds", ours.busy_poll == wanted.busy_poll, RESTART),
        ("threads.engine", ours.engine == wanted.engine, RESTART),
    ];
    let refused = keys.into_iter().filter(|(_, is_same, _)| !is_same);
    let places = &wanted.places.node;
    refused
        .map(|(key, _, cure)| format!("{}: cannot change while the daemon runs; {cure}", places.of(key)))
        .collect()
}

/// What is wrong with the interfaces that are wanted.
pub(super) fn interface_changes(now: &[String], wanted: &[String]) -> Vec<String> {
    let kept = now.len().min(wanted.len());
    if now[..kept] != wanted[..kept] {
        return vec![LAST_ONLY.to_owned()];
    }
    let missing = wanted[kept..].iter().filter_map(|name| Interface::named(name).err());
    missing.map(|error| error.to_string()).collect()
}

/// What is to become of volumes; what cannot is refused.
pub(super) fn volume_changes(
    daemon: &Daemon,
    config: &NodeConfig,
    refused: &mut Vec<String>,
) -> VolumeChanges {
    let mut changes = VolumeChanges::default();
    let served = daemon.volumes().clone();
    let broken = daemon.broken();
    let wanted: BTreeMap<Address, &VolumeEntry> =
        config.volumes.iter().map(|entry| (entry.address, entry)).collect();
    for (address, entry) in &wanted {
        let place = config.places.of_volume(*address);
        if let Some(text) = daemon.clash_with_made(entry) {
            refused.push(format!("{}: {text}", place.of("address")));
        }
        match served.get(address) {
            Some(_) if broken.contains_key(address) => {}
            None if broken.contains_key(address) => changes.tried_again.push((*entry).clone()),
            None => changes.added.push((*entry).clone()),
            Some(volume) => {
                refused.extend(fixed_volume_keys(&volume.entry, volume.identity, entry, place));
                if volume.entry != **entry {
                    changes.changed.push((volume.clone(), (*entry).clone()));
                }
            }
        }
    }
    let is_going = |address: &Address| served.contains_key(address) && broken.contains_key(address);
    let going = broken.iter().filter(|(address, _)| is_going(address));
    changes.going = going
        .map(|(address, Broken { error, .. })| {
            format!("{address} is about to go from this node, and nothing else becomes of it before its disk has answered: {error}")
        })
        .collect();
    let unwanted = |address: &&Address| !wanted.contains_key(*address) && !is_going(address);
    changes.removed = served.keys().filter(unwanted).map(|address| served[address].clone()).collect();
    changes.forgotten = broken.keys().filter(unwanted).copied().collect();
    changes
}

fn fixed_volume_keys(
    ours: &VolumeEntry,
    identity: VolumeIdentity,
    wanted: &VolumeEntry,
    place: &SectionPlace,
) -> Vec<String> {
    let is_same_volume = wanted.identity.as_ref().is_none_or(|stated| stated.identity == identity);
    let is_same_size = wanted.logical_sector_size.is_none()
        || ours.logical_sector_size.is_none()
        || ours.logical_sector_size == wanted.logical_sector_size;
    let keys = [
        ("data", ours.data == wanted.data, RESTART),
        ("metadata", ours.metadata == wanted.metadata, RESTART),
        ("identity", is_same_volume, NEVER),
        ("sector_size", is_same_size, STOP_BOTH),
        ("buffer_count", ours.buffer_count == wanted.buffer_count, RESTART),
        ("durability", ours.mirror.durability == wanted.mirror.durability, STOP_BOTH),
    ];
    let refused = keys.into_iter().filter(|(_, is_same, _)| !is_same);
    let text =
        |(key, _, cure)| format!("{}: cannot change while {} is served; {cure}", place.of(key), ours.address);
    refused.map(text).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const EXAMPLE: &str = include_str!("../../../../docs/operating/node.toml");

    fn config(text: &str) -> NodeConfig {
        NodeConfig::parse(Path::new("node.toml"), text).expect("a configuration")
    }

    #[test]
    fn what_takes_a_restart_is_named_with_the_cure() {
        let ours = config(EXAMPLE);
        assert_eq!(fixed_keys(&ours, &ours), Vec::<String>::new());
        let other = EXAMPLE
            .replace("lease = \"1000ms\"", "lease = \"2s\"")
            .replace("engine = \"auto\"", "engine = \"threads\"")
            .replace("node = 0", "node = 1");
        let refused = fixed_keys(&ours, &config(&other)).join("\n");
        let line = |key: &str| 1 + EXAMPLE.lines().position(|line| line.starts_with(key)).expect("a key");
        for part in [
            &format!("node.toml:{}: `node`: cannot change", line("node")),
            &format!("node.toml:{}: `peer.lease`: cannot change", line("lease")),
            "stop both",
            &format!("node.toml:{}: `threads.engine`: ", line("engine")),
            "restart",
        ] {
            assert!(refused.contains(part), "{part} in {refused}");
        }
    }

    #[test]
    fn of_a_volume_its_pace_and_its_masks_change() {
        let ours = config(EXAMPLE).volumes.remove(0);
        let refused = |line: &str| {
            let config = config(&format!("{EXAMPLE}{line}\n"));
            let place = config.places.of_volume(ours.address);
            fixed_volume_keys(&ours, VolumeIdentity(7), &config.volumes[0], place)
        };
        let same = format!("identity = \"{}\"", VolumeIdentity(7));
        for line in ["resync_rate = \"50M\"", "masks = [\"02:00:00:00:00:01\"]", &same] {
            assert_eq!(refused(line), Vec::<String>::new());
        }
        let another = refused(&format!("identity = \"{}\"", VolumeIdentity(8)));
        assert!(another.len() == 1 && another[0].contains("`volume.identity`: cannot change"), "{another:?}");
        let refused = refused("durability = \"memory\"");
        let place = format!("node.toml:{}: `volume.durability`: ", EXAMPLE.lines().count() + 1);
        assert!(refused.len() == 1 && refused[0].starts_with(&place), "{refused:?}");
        assert!(refused[0].contains("while e7.1 is served"), "{refused:?}");
    }

    #[test]
    fn interfaces_come_and_go_at_the_end() {
        let names = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        let none = Vec::<String>::new();
        assert_eq!(interface_changes(&names(&["a", "lo"]), &names(&["a"])), none);
        assert_eq!(interface_changes(&names(&["a"]), &names(&["a", "lo"])), none);
        let moved = interface_changes(&names(&["a", "b"]), &names(&["b"]));
        assert!(moved[0].contains("at the end"), "{moved:?}");
        let missing = interface_changes(&names(&["a"]), &names(&["a", "nowhere9"]));
        assert!(missing[0].contains("nowhere9"), "{missing:?}");
    }
}
