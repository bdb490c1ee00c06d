//! The configuration is read again, and what can change while the daemon runs is changed: volumes and interfaces come and go,
//! resyncs take another pace, and other initiators are listened to.
//!
//! All of it is looked at before anything is touched: a file that is wrong, a key that takes a restart, a new volume that cannot be
//! opened, a volume that the peer cannot go on with or a new interface that is not there refuse the whole, and everything stays as it
//! was. What then still goes wrong is told with what was done, and keeps nothing else from being done.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use aoe::Address;
use os::shard::Command;
use replication::input::Control;
use tokio::sync::oneshot;

use super::changes::{VolumeChanges, fixed_keys, interface_changes, volume_changes};
use super::daemon::Daemon;
use super::error::VolumeError;
use super::same_addresses;
use super::volumes::{OpenedVolume, Volume};
use super::withdraw::{refuse_needed, withdraw};
use crate::config::node::NodeConfig;
use crate::config::volume::VolumeEntry;

/// Interfaces on which initiators are to be served, wanted of whoever has the ports.
#[derive(Debug)]
pub(crate) struct WantedInterfaces {
    /// By name, in order.
    pub(crate) names: Vec<String>,
    /// Where to say how it went.
    pub(crate) reply: oneshot::Sender<Result<(), String>>,
}

/// A configuration that can be taken on.
struct Agreed {
    config: NodeConfig,
    changes: VolumeChanges,
    /// The new volumes.
    opened: Vec<(VolumeEntry, OpenedVolume)>,
    /// Who else serves what could not be served before.
    strangers: BTreeMap<Address, VolumeError>,
    /// Volumes that neither node is to serve any more.
    unwanted: BTreeSet<Address>,
}

/// Reads the configuration again and does what it says.
///
/// # Errors
/// What is wrong, all at once; then nothing was changed. Or what could not be done, and what was.
pub(crate) async fn reload(daemon: &Arc<Daemon>, path: &Path) -> Result<String, String> {
    let _alone = daemon.change_alone().await?;
    let agreed =
        look(daemon, path).await.map_err(|refused| format!("nothing was changed: {}", refused.join("\n")))?;
    carry_out(daemon, agreed).await
}

/// Reads everything and changes nothing.
async fn look(daemon: &Arc<Daemon>, path: &Path) -> Result<Agreed, Vec<String>> {
    let config = {
        let path = path.to_owned();
        let read = move |_| NodeConfig::read(&path).map_err(|failure| failure.to_string());
        daemon.blocking(read).await.map_err(|error| vec![error])?
    };
    let mut refused = fixed_keys(&daemon.config, &config);
    let interfaces_now = daemon.interfaces().clone();
    let interfaces = config.places.node.of("storage.interfaces");
    let wrong = interface_changes(&interfaces_now, &config.interfaces).into_iter();
    refused.extend(wrong.map(|error| format!("{interfaces}: {error}")));
    let changes = volume_changes(daemon, &config, &mut refused);
    let unwanted = refuse_needed(daemon, &changes.removed, path, &mut refused).await;
    let mut strangers = strangers(daemon, &changes).await;
    for entry in &changes.added {
        let place = config.places.of_volume(entry.address);
        let stranger = strangers.remove(&entry.address);
        refused.extend(stranger.map(|error| format!("{}: {}: {error}", place.of("address"), entry.address)));
    }
    if config.interfaces.len() > interfaces_now.len() && refused.is_empty() {
        let found = strangers_on_new(daemon, &config.interfaces, interfaces_now.len()).await.into_iter();
        refused.extend(found.map(|(address, error)| format!("{interfaces}: {address}: {error}")));
    }
    let opened = open_all(daemon, &config, &changes.added, &mut refused).await;
    if refused.is_empty() {
        Ok(Agreed { config, changes, opened, strangers, unwanted })
    } else {
        Err(refused)
    }
}

async fn carry_out(daemon: &Arc<Daemon>, agreed: Agreed) -> Result<String, String> {
    let Agreed { config, changes, opened, mut strangers, unwanted } = agreed;
    let mut told = Told::default();
    if *daemon.interfaces() != config.interfaces {
        let changed = daemon.change_interfaces(config.interfaces).await;
        told.failed.extend(changed.err().map(|error| format!("the storage interfaces: {error}")));
    }
    daemon.tell_of_slow(config.slow_request);
    let (removed, failed) = withdraw(daemon, changes.removed, &unwanted).await;
    told.removed = removed;
    told.failed.extend(failed);
    told.failed.extend(changes.going);
    for address in changes.forgotten {
        daemon.forget_not_served(address);
    }
    for (volume, entry) in changes.changed {
        change(daemon, &volume, entry);
    }
    let tried_again = changes.tried_again;
    let _known = same_addresses::known(daemon, !opened.is_empty() || !tried_again.is_empty()).await;
    // Disks are asked beside what must not wait for them.
    let served = daemon.blocking(move |daemon| {
        let mut results = Vec::new();
        for (entry, opened) in opened {
            let address = entry.address;
            let identity = opened.identity;
            let served = daemon.serve_volume(entry.clone(), opened);
            let served = served.inspect_err(|error| daemon.not_served(entry, Some(identity), error));
            results.push((address, served));
        }
        for entry in tried_again {
            let address = entry.address;
            let served = match strangers.remove(&address) {
                None => daemon.add_configured(entry),
                Some(error) => {
                    daemon.not_served(entry, None, &error);
                    Err(error)
                }
            };
            results.push((address, served));
        }
        Ok(results)
    });
    for (address, served) in served.await? {
        match served {
            Ok(()) => told.added.push(address),
            Err(error) => told.failed.push(format!("{address} is not served: {error}")),
        }
    }
    told.outcome()
}

/// What was done, for people.
#[derive(Debug, Default)]
struct Told {
    added: Vec<Address>,
    removed: Vec<Address>,
    failed: Vec<String>,
}

impl Told {
    fn outcome(&self) -> Result<String, String> {
        let list = |what: &str, addresses: &[Address]| {
            let names: Vec<String> = addresses.iter().map(ToString::to_string).collect();
            if names.is_empty() { String::new() } else { format!("; {what} {}", names.join(", ")) }
        };
        let (added, removed) = (list("served now:", &self.added), list("removed:", &self.removed));
        if self.failed.is_empty() {
            return Ok(format!("the configuration was read again{added}{removed}"));
        }
        let failed = self.failed.join("\n");
        Err(format!(
            "{failed}\nall else of the configuration was taken on{added}{removed}; mend that, then `etherpair reload`"
        ))
    }
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
    config: &NodeConfig,
    added: &[VolumeEntry],
    refused: &mut Vec<String>,
) -> Vec<(VolumeEntry, OpenedVolume)> {
    let (interfaces, added) = (config.interfaces.clone(), added.to_vec());
    let all = move |daemon: Arc<Daemon>| {
        let open = |entry: VolumeEntry| {
            let result = daemon.open_volume(&entry, &interfaces);
            (entry, result)
        };
        Ok(added.into_iter().map(open).collect::<Vec<_>>())
    };
    let mut opened = Vec::new();
    match daemon.blocking(all).await {
        Ok(results) => {
            for (entry, result) in results {
                match result {
                    Ok(volume) => opened.push((entry, volume)),
                    Err(error) => {
                        let place = config.places.of_volume(entry.address);
                        refused.push(format!("{place}: {}: {error}", entry.address));
                    }
                }
            }
        }
        Err(error) => refused.push(error),
    }
    opened
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
    use crate::arbiter::Arbiter;

    const EXAMPLE: &str = include_str!("../../../../docs/operating/node.toml");

    #[tokio::test(start_paused = true)]
    async fn a_volume_whose_disk_keeps_it_from_going_is_told_of_until_it_is_gone_and_comes_back_after_that() {
        let directory = tempfile::tempdir().expect("a directory");
        let daemon = Daemon::on_stage_with_peer_in(directory.path(), Arbiter::None);
        let path = directory.path().join("node.toml");
        let text = EXAMPLE.replace("/var/lib/etherpair", &directory.path().display().to_string());
        let (without, _) = text.split_once("[[volume]]").expect("a volume");
        let entry = daemon.config.volumes[0].clone();
        let address = entry.address;
        let volume = daemon.put_on_stage(entry);
        // The shard of a daemon on stage never says that it is gone.
        let (gone, failed) =
            withdraw(&daemon, vec![volume.clone()], &BTreeSet::from([volume.entry.address])).await;
        assert!(gone.is_empty() && failed[0].contains("its disk has not given back"), "{failed:?}");
        let changed = format!("{text}durability = \"memory\"\n");
        for wanted in [&text, &changed, without] {
            std::fs::write(&path, wanted).expect("a configuration");
            let told = reload(&daemon, &path).await.expect_err("it is neither served nor gone");
            for part in ["e7.1 is about to go from this node", "try again when it has", "`etherpair reload`"]
            {
                assert!(told.contains(part), "{part} in {told}");
            }
            assert!(!told.contains("nothing was changed"), "{told}");
            let broken = daemon.broken().get(&address).cloned().expect("in sight");
            assert_eq!(broken.identity, Some(volume.identity));
        }
        // It has.
        daemon.volumes().clear();
        std::fs::write(&path, &text).expect("a configuration");
        let told = reload(&daemon, &path).await.expect_err("there is no such disk");
        assert!(told.contains("e7.1 is not served: "), "{told}");
        std::fs::write(&path, without).expect("a configuration");
        assert_eq!(reload(&daemon, &path).await, Ok("the configuration was read again".to_owned()));
        assert!(daemon.broken().is_empty());
    }
}
