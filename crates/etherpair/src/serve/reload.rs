//! The configuration is read again, and what can change while the daemon runs is changed: volumes and interfaces come and go,
//! resyncs take another pace, and other initiators are listened to.
//!
//! All of it is looked at before anything is touched: a file that is wrong, a key that takes a restart, a new volume that cannot be
//! opened or a new interface that is not there refuse the whole, and everything stays as it was.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use aoe::Address;
use os::Interface;
use os::shard::Command;
use replication::input::Control;
use tokio::sync::oneshot;

use super::daemon::Daemon;
use super::error::VolumeError;
use super::remove::stop_serving;
use super::volumes::{OpenedVolume, Volume};
use crate::config::node::NodeConfig;
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

/// Interfaces on which initiators are to be served, wanted of whoever has the ports.
#[derive(Debug)]
pub(crate) struct WantedInterfaces {
    /// By name, in order.
    pub(crate) names: Vec<String>,
    /// Where to say how it went.
    pub(crate) reply: oneshot::Sender<Result<(), String>>,
}

/// What differs between what is done and what is wanted of volumes.
#[derive(Debug, Default)]
struct VolumeChanges {
    added: Vec<VolumeEntry>,
    removed: Vec<Volume>,
    changed: Vec<(Volume, VolumeEntry)>,
    /// Could not be served before.
    tried_again: Vec<VolumeEntry>,
    forgotten: Vec<Address>,
}

/// Reads the configuration again and does what it says.
///
/// # Errors
/// What is wrong, all at once; then nothing was changed, unless it says otherwise.
pub(crate) async fn reload(daemon: &Arc<Daemon>, path: &Path) -> Result<String, String> {
    let _alone = daemon.reloading.lock().await;
    let config = NodeConfig::read(path).map_err(|failure| failure.to_string())?;
    let mut refused = fixed_keys(&daemon.config, &config);
    let interfaces_now = daemon.interfaces().clone();
    refused.extend(interface_changes(&interfaces_now, &config.interfaces).err());
    let changes = volume_changes(daemon, &config.volumes, &mut refused);
    let mut strangers = strangers(daemon, &changes).await;
    for entry in &changes.added {
        let stranger = strangers.remove(&entry.address);
        refused.extend(stranger.map(|error| format!("{}: {error}", entry.address)));
    }
    if config.interfaces.len() > interfaces_now.len() && refused.is_empty() {
        let found = strangers_on_new(daemon, &config.interfaces, interfaces_now.len()).await.into_iter();
        refused.extend(found.map(|(address, error)| format!("`storage.interfaces`: {address}: {error}")));
    }
    let opened = open_all(daemon, &changes.added, &mut refused).await;
    if !refused.is_empty() {
        return Err(format!("nothing was changed: {}", refused.join("; ")));
    }
    if interfaces_now != config.interfaces {
        daemon.change_interfaces(config.interfaces).await?;
    }
    daemon.tell_of_slow(config.slow_request);
    let mut told = Told::default();
    for volume in &changes.removed {
        leave_and_stop(daemon, volume).await?;
        told.removed.push(volume.entry.address);
    }
    for address in changes.forgotten {
        daemon.broken().remove(&address);
    }
    for (entry, opened) in opened {
        let address = entry.address;
        daemon.serve_volume(entry, opened).map_err(|error| format!("{address}: {error}"))?;
        told.added.push(address);
    }
    for (volume, entry) in changes.changed {
        change(daemon, &volume, entry);
    }
    for entry in changes.tried_again {
        match strangers.remove(&entry.address) {
            None => daemon.add_configured(entry),
            Some(error) => daemon.not_served(entry, &error),
        }
    }
    Ok(told.text())
}

/// What was done, for people.
#[derive(Debug, Default)]
struct Told {
    added: Vec<Address>,
    removed: Vec<Address>,
}

impl Told {
    fn text(&self) -> String {
        let list = |what: &str, addresses: &[Address]| {
            let names: Vec<String> = addresses.iter().map(ToString::to_string).collect();
            if names.is_empty() { String::new() } else { format!("; {what} {}", names.join(", ")) }
        };
        let (added, removed) = (list("served now:", &self.added), list("removed:", &self.removed));
        format!("the configuration was read again{added}{removed}")
    }
}

/// What takes more than this, by key and with the cure.
fn fixed_keys(ours: &NodeConfig, wanted: &NodeConfig) -> Vec<String> {
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
        ("arbiter", ours.arbiter == wanted.arbiter, RESTART),
        ("admin.socket", ours.socket == wanted.socket, RESTART),
        ("threads.count", ours.shards == wanted.shards, STOP_BOTH),
        ("threads.cores", ours.cores == wanted.cores, RESTART),
        ("threads.busy_poll_microseconds", ours.busy_poll == wanted.busy_poll, RESTART),
        ("threads.engine", ours.engine == wanted.engine, RESTART),
    ];
    let refused = keys.into_iter().filter(|(_, is_same, _)| !is_same);
    refused.map(|(key, _, cure)| format!("`{key}` cannot change while the daemon runs; {cure}")).collect()
}

fn interface_changes(now: &[String], wanted: &[String]) -> Result<(), String> {
    let kept = now.len().min(wanted.len());
    if now[..kept] != wanted[..kept] {
        return Err(format!("`storage.interfaces`: {LAST_ONLY}"));
    }
    let missing = wanted[kept..].iter().filter_map(|name| Interface::named(name).err());
    let missing: Vec<String> = missing.map(|error| format!("`storage.interfaces`: {error}")).collect();
    if missing.is_empty() { Ok(()) } else { Err(missing.join("; ")) }
}

fn volume_changes(daemon: &Daemon, wanted: &[VolumeEntry], refused: &mut Vec<String>) -> VolumeChanges {
    let mut changes = VolumeChanges::default();
    let served = daemon.volumes().clone();
    let broken = daemon.broken();
    let wanted: BTreeMap<Address, &VolumeEntry> = wanted.iter().map(|entry| (entry.address, entry)).collect();
    for (address, entry) in &wanted {
        match served.get(address) {
            None if broken.contains_key(address) => changes.tried_again.push((*entry).clone()),
            None => changes.added.push((*entry).clone()),
            Some(volume) => {
                refused.extend(fixed_volume_keys(&volume.entry, entry));
                if volume.entry != **entry {
                    changes.changed.push((volume.clone(), (*entry).clone()));
                }
            }
        }
    }
    changes.removed =
        served.into_values().filter(|volume| !wanted.contains_key(&volume.entry.address)).collect();
    changes.forgotten = broken.keys().filter(|address| !wanted.contains_key(address)).copied().collect();
    changes
}

fn fixed_volume_keys(ours: &VolumeEntry, wanted: &VolumeEntry) -> Vec<String> {
    let is_same_size = wanted.logical_sector_size.is_none()
        || ours.logical_sector_size.is_none()
        || ours.logical_sector_size == wanted.logical_sector_size;
    let keys = [
        ("data", ours.data == wanted.data, RESTART),
        ("metadata", ours.metadata == wanted.metadata, RESTART),
        ("sector_size", is_same_size, STOP_BOTH),
        ("buffer_count", ours.buffer_count == wanted.buffer_count, RESTART),
        ("durability", ours.mirror.durability == wanted.mirror.durability, STOP_BOTH),
    ];
    let refused = keys.into_iter().filter(|(_, is_same, _)| !is_same);
    let text = |(key, _, cure)| {
        format!("{}: `volume.{key}` cannot change while the daemon runs; {cure}", ours.address)
    };
    refused.map(text).collect()
}

/// Who else serves the addresses that are to be served from now on.
async fn strangers(daemon: &Arc<Daemon>, changes: &VolumeChanges) -> BTreeMap<Address, VolumeError> {
    let entries = changes.added.iter().chain(&changes.tried_again);
    let addresses: Vec<Address> = entries.map(|entry| entry.address).collect();
    let daemon = Arc::clone(daemon);
    tokio::task::spawn_blocking(move || daemon.strangers(&addresses)).await.unwrap_or_default()
}

/// Who else serves, on interfaces that come to those of now, the addresses that are served already.
async fn strangers_on_new(
    daemon: &Arc<Daemon>,
    names: &[String],
    first: usize,
) -> BTreeMap<Address, VolumeError> {
    let addresses: Vec<Address> = daemon.volumes().keys().copied().collect();
    let (daemon, names) = (Arc::clone(daemon), names.to_vec());
    let look = move || daemon.strangers_on(&names, first, &addresses);
    tokio::task::spawn_blocking(look).await.unwrap_or_default()
}

/// Opens every new volume, which locks it and writes nothing.
async fn open_all(
    daemon: &Arc<Daemon>,
    added: &[VolumeEntry],
    refused: &mut Vec<String>,
) -> Vec<(VolumeEntry, OpenedVolume)> {
    let (pair, locks_until, added) = (daemon.config.pair, daemon.locks_until, added.to_vec());
    let open = move |entry: VolumeEntry| match OpenedVolume::open(pair, &entry, locks_until) {
        Ok(opened) => Ok((entry, opened)),
        Err(error) => Err(format!("{}: {error}", entry.address)),
    };
    let all = move || added.into_iter().map(open).collect::<Vec<_>>();
    let results = tokio::task::spawn_blocking(all).await.unwrap_or_default();
    let mut opened = Vec::new();
    for result in results {
        match result {
            Ok(volume) => opened.push(volume),
            Err(error) => refused.push(error),
        }
    }
    opened
}

/// The peer goes on with what it may go on with, without a stall; then this node has the volume no more.
async fn leave_and_stop(daemon: &Arc<Daemon>, volume: &Volume) -> Result<(), String> {
    let (can, _) = daemon.dispensable().await;
    if can.iter().any(|other| other.entry.address == volume.entry.address) {
        // Should it not leave in time, the peer is told when it is removed.
        daemon.leave_quietly(std::slice::from_ref(volume)).await;
    }
    stop_serving(daemon, volume).await
}

/// What of a volume can change while it is served.
fn change(daemon: &Daemon, volume: &Volume, entry: VolumeEntry) {
    let (rate, checksums) = (entry.mirror.resync_rate, entry.mirror.resync_checksums);
    daemon.control(std::slice::from_ref(volume), Control::Resync { rate, checksums });
    if volume.entry.masks != entry.masks {
        let mask = entry.masks.clone();
        daemon.shards[volume.shard].send(Command::OperatorMask { export: volume.export, mask });
    }
    if let Some(volume) = daemon.volumes().get_mut(&entry.address) {
        volume.entry = entry;
    }
}

#[cfg(test)]
mod tests {
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
        for part in
            ["`node` cannot change", "`peer.lease` cannot change", "stop both", "`threads.engine`", "restart"]
        {
            assert!(refused.contains(part), "{part} in {refused}");
        }
    }

    #[test]
    fn of_a_volume_its_pace_and_its_masks_change() {
        let ours = config(EXAMPLE).volumes.remove(0);
        let with = |line: &str| config(&format!("{EXAMPLE}{line}\n")).volumes.remove(0);
        for line in ["resync_rate = \"50M\"", "masks = [\"02:00:00:00:00:01\"]"] {
            assert_eq!(fixed_volume_keys(&ours, &with(line)), Vec::<String>::new());
        }
        let refused = fixed_volume_keys(&ours, &with("durability = \"memory\""));
        assert!(refused.len() == 1 && refused[0].contains("e7.1: `volume.durability`"), "{refused:?}");
    }

    #[test]
    fn interfaces_come_and_go_at_the_end() {
        let names = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(interface_changes(&names(&["a", "lo"]), &names(&["a"])), Ok(()));
        assert_eq!(interface_changes(&names(&["a"]), &names(&["a", "lo"])), Ok(()));
        let moved = interface_changes(&names(&["a", "b"]), &names(&["b"])).expect_err("another first one");
        assert!(moved.contains("at the end"), "{moved}");
        let missing = interface_changes(&names(&["a"]), &names(&["a", "nowhere9"])).expect_err("no such");
        assert!(missing.contains("nowhere9"), "{missing}");
    }
}
