//! A volume gets larger: both nodes make room in their files, then the engine of this one is told, and agrees with the peer's.
//! Files grow; a device has to be large enough already. Nothing gets smaller.

use std::fs::OpenOptions;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use admin::peer::PeerRequest;
use aoe::Address;
use block::SECTOR_BYTES;
use os::file::is_device;
use os::metadata_file::MetadataFile;
use os::shard::Command;
use replication::input::Control;
use replication::meta::layout::{HOT_EXTENTS_DEFAULT, Layout};
use replication::volume::Phase;
use serde_json::Value;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, timeout_at};

use super::daemon::Daemon;
use super::peer_control::Peer;
use super::volumes::Volume;

/// The nodes part and meet again.
const PATIENCE: Duration = Duration::from_secs(30);

/// Makes a volume larger at both nodes, or at this one if it serves alone; the peer follows when it is back.
///
/// # Errors
/// Why it keeps its size.
pub(super) async fn resize(daemon: &Arc<Daemon>, volume: Volume, bytes: u64) -> Result<String, String> {
    let address = volume.entry.address;
    if !bytes.is_multiple_of(4096) {
        return Err(format!("{bytes} bytes are not a multiple of 4096; choose another --size"));
    }
    let sectors = bytes / SECTOR_BYTES as u64;
    if sectors <= volume.sectors {
        return Err(format!(
            "{address} has {} bytes already; a volume only grows",
            volume.sectors * SECTOR_BYTES as u64
        ));
    }
    let here = volume.clone();
    daemon
        .blocking(move |_| check_room(&here, sectors))
        .await
        .map_err(|error| format!("{error}; nothing was changed"))?;
    let status = daemon.statuses(std::slice::from_ref(&volume)).await.pop().flatten();
    if status.is_none_or(|status| status.phase != Phase::Alone) {
        let request = PeerRequest::MakeRoom { identity: volume.identity.to_string(), sectors };
        Peer::connect(daemon).await?.ask(&request).await?;
    }
    let _alone = daemon.change_alone().await?;
    if daemon.volumes().get(&address).is_none_or(|now| now.identity != volume.identity) {
        return Err(format!("{address}: was removed meanwhile; see `etherpair volume list`"));
    }
    let here = volume.clone();
    daemon.blocking(move |daemon| make_room(&daemon, &here, sectors)).await?;
    let mut events = daemon.events.subscribe();
    daemon.control(std::slice::from_ref(&volume), Control::Resize { sectors });
    let deadline = Instant::now() + PATIENCE;
    while let Ok(event) = timeout_at(deadline, events.recv()).await {
        let line = match event {
            Ok(line) => line,
            Err(RecvError::Lagged(_)) => continue,
            Err(RecvError::Closed) => break,
        };
        if let Some(outcome) = outcome(address, &line) {
            return outcome;
        }
    }
    Err(format!(
        "{address}: the nodes have not agreed in time; see `etherpair status` and `etherpair events`"
    ))
}

/// What an event says about it.
fn outcome(address: Address, line: &str) -> Option<Result<String, String>> {
    let event: Value = serde_json::from_str(line).ok()?;
    if event["about"] != address.to_string() {
        return None;
    }
    let text = format!("{address}: {}", event["text"].as_str()?);
    match event["event"].as_str()? {
        "resized" => Some(Ok(text)),
        "resize-refused" => Some(Err(text)),
        _ => None,
    }
}

/// The peer asks for it, which is not the one who changes volumes there meanwhile.
///
/// # Errors
/// Why there is no room.
pub(super) async fn make_room_for_peer(
    daemon: &Arc<Daemon>,
    identity: String,
    sectors: u64,
) -> Result<(), String> {
    let _alone = daemon.change_alone().await?;
    let is_it = |volume: &&Volume| volume.identity.to_string() == identity;
    let volume = daemon.volumes().values().find(is_it).cloned();
    let volume = volume.ok_or("there is no such volume; see `etherpair volume list` on both nodes")?;
    daemon.blocking(move |daemon| make_room(&daemon, &volume, sectors)).await
}

/// Refuses what the metadata cannot become long enough for. Data is sparse, and gets its room when it is written. Blocks.
fn check_room(volume: &Volume, sectors: u64) -> Result<(), String> {
    Layout::new(sectors, HOT_EXTENTS_DEFAULT).map_err(|error| error.to_string())?;
    MetadataFile::check_growth(&volume.entry.metadata, sectors).map_err(|error| error.to_string())
}

/// Blocks.
fn make_room(daemon: &Daemon, volume: &Volume, sectors: u64) -> Result<(), String> {
    let path = &volume.entry.data;
    check_room(volume, sectors)?;
    if !is_device(path) {
        let lengthen = || -> io::Result<()> {
            let file = OpenOptions::new().write(true).open(path)?;
            let bytes = sectors * SECTOR_BYTES as u64;
            if file.metadata()?.len() < bytes {
                file.set_len(bytes)?;
                file.sync_all()?;
            }
            Ok(())
        };
        lengthen().map_err(|error| format!("{}: {error}", path.display()))?;
    }
    let extended = MetadataFile::extend(&volume.entry.metadata, sectors).map_err(|error| error.to_string());
    // The shard says to its engine how much room there is, before it hears of what comes next; also if it had seen some that is gone again.
    daemon.shards[volume.shard].send(Command::RefreshDisks);
    extended
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arbiter::Arbiter;
    use crate::config::volume::VolumeEntry;

    #[tokio::test]
    async fn the_peer_waits_for_whoever_changes_volumes_and_finds_what_that_one_has_left() {
        /// Whoever does not wait has long been done.
        const A_WHILE: Duration = Duration::from_millis(300);
        let directory = tempfile::tempdir().expect("a directory");
        let [data, metadata] = ["e7.1.img", "e7.1.meta"].map(|name| directory.path().join(name));
        for path in [&data, &metadata] {
            std::fs::write(path, "").expect("a file");
        }
        let daemon = Daemon::on_stage(Arbiter::None);
        let address = "7.1".parse().expect("an address");
        let volume = daemon.put_on_stage(VolumeEntry::plain(address, data.clone(), metadata));
        let identity = volume.identity.to_string();
        let alone = daemon.change_alone().await.expect("nobody else");
        let mut asked = std::pin::pin!(make_room_for_peer(&daemon, identity.clone(), 1 << 16));
        assert!(tokio::time::timeout(A_WHILE, &mut asked).await.is_err(), "it waits");
        assert_eq!(data.metadata().expect("a file").len(), 0);
        // It is removed, or made anew.
        daemon.volumes().clear();
        drop(alone);
        let refused = asked.await.expect_err("it is gone");
        assert!(refused.contains("no such volume"), "{refused}");
        assert_eq!(data.metadata().expect("a file").len(), 0);
        daemon.put_on_stage(volume.entry);
        assert_eq!(make_room_for_peer(&daemon, identity, 1 << 16).await, Ok(()));
        assert_eq!(data.metadata().expect("a file").len(), 32 << 20);
    }

    #[tokio::test]
    async fn a_size_whose_metadata_does_not_fit_is_refused_at_either_node_before_anything_is_longer() {
        let small = lab::disk::SmallFileSystem::new(4 << 20).expect("run as root");
        let [data, metadata] = ["e7.1.img", "e7.1.meta"].map(|name| small.path().join(name));
        for path in [&data, &metadata] {
            std::fs::write(path, "").expect("a file");
        }
        let daemon = Daemon::on_stage(Arbiter::None);
        let address = "7.1".parse().expect("an address");
        let volume = daemon.put_on_stage(VolumeEntry::plain(address, data.clone(), metadata.clone()));
        let sectors = 1 << 31;
        let identity = volume.identity.to_string();
        let refused = make_room_for_peer(&daemon, identity, sectors).await.expect_err("it does not fit");
        assert!(refused.contains("bytes more, and ") && refused.contains("are free there"), "{refused}");
        // The peer, who is nowhere, is not even asked.
        let refused = resize(&daemon, volume, sectors * SECTOR_BYTES as u64).await.expect_err("nor here");
        assert!(refused.contains("are free there; make room first; nothing was changed"), "{refused}");
        assert_eq!([data, metadata].map(|path| path.metadata().expect("a file").len()), [0; 2]);
    }
}
