//! One copy of a volume made anew: the places for it, its metadata, its description.
//!
//! Only a copy that is of no use is made anew, and only while the peer serves alone with a good one: the new metadata says that every
//! block is missing here and that the peer is the sole member, so that nothing of this copy counts before all of it has come from
//! there, whatever happens meanwhile. Metadata that was there in a file is put aside, not deleted; data that stands in a file is written
//! over, and so is whatever devices hold. What can be told to be wrong is told before anything is touched, and a volume that could
//! not be made anew stays configured, with the reason.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use admin::ReplaceRequest;
use admin::peer::Described;
use aoe::Address;
use block::{LogicalSectorSize, SECTOR_BYTES};
use os::disk::{Disk, DiskError, DiskOptions};
use os::file::is_device;
use os::metadata_file::{MetadataError, MetadataFile};
use replication::identity::{FormatIdentity, VolumeIdentity};
use replication::membership::{Epoch, Members, Membership, NodeNumber};
use replication::message::CopyState;
use replication::meta::layout::{HOT_EXTENTS_DEFAULT, Layout};
use replication::meta::{Format, format};
use replication::volume::VolumeStatus;

use super::create::{random_identity, sector_size};
use super::daemon::Daemon;
use super::error::VolumeError;
use super::files;
use super::remove::stop_serving;
use super::volumes::{OpenedVolume, Volume, parse_address};
use crate::config::volume::{StatedIdentity, VolumeEntry};
use crate::durable_file;
use crate::export::Claims;

/// Makes the copy of a volume anew that the peer has described; its address.
///
/// # Errors
/// Why not.
pub(super) async fn make_anew(
    daemon: &Arc<Daemon>,
    request: &ReplaceRequest,
    described: &Described,
) -> Result<String, String> {
    let address = parse_address(&described.address)?;
    if !described.is_sole_and_good {
        return Err(format!(
            "{address}: the peer does not serve it alone with a good copy; nothing was changed, since only then nothing here can be of \
             use: see `etherpair status` on both nodes"
        ));
    }
    let _alone = daemon.change_alone().await?;
    let served = status_here(daemon, described).await;
    if served.is_none() && daemon.volumes().contains_key(&address) {
        return Err(format!("{address}: its thread does not answer; see the log"));
    }
    if served.as_ref().is_some_and(|(_, status)| status.copy != CopyState::Diskless) {
        return Err(format!(
            "{address}: this node's copy can be used, and becomes equal by itself; nothing was changed. If its disk is to be \
             replaced nevertheless, stop this daemon, take the disk away, and start it again"
        ));
    }
    // It may stand in `node.toml` and nowhere else.
    let broken = daemon.broken().get(&address).cloned();
    let configured = served.as_ref().map(|(volume, _)| volume.entry.clone());
    let configured = configured.or_else(|| broken.as_ref().map(|broken| broken.entry.clone()));
    let (asked, told, is_lost) = (request.clone(), described.clone(), served.is_some());
    let anew = daemon.blocking(move |daemon| {
        if let Some(stranger) = daemon.strangers(&[address]).remove(&address) {
            return Err(format!("{address}: {stranger}; nothing was changed"));
        }
        let is_new = configured.is_none();
        let entry = configured.map_or_else(|| new_entry(&daemon, &asked, address, &told.settings), Ok)?;
        if !is_lost && broken.as_ref().is_none_or(|broken| !broken.is_lost) {
            let error = broken.as_ref().map(|broken| broken.error.as_str());
            refuse_usable(&daemon, &entry, error, &told.identity)?;
        }
        let anew = Anew::new(entry, &told).map_err(|error| format!("{address}: {error}"))?;
        if is_new {
            // By now it says which volume it is.
            refuse_clash(&daemon, &anew.entry)?;
        }
        Ok(anew)
    });
    let anew = anew.await?;
    if let Some((_, status)) = &served {
        refuse_newer(&anew.entry.metadata, status.membership, daemon.config.node, anew.epoch)?;
    }
    let outcome = stop_and_make(daemon, served.map(|(volume, _)| volume), anew.clone()).await;
    outcome.inspect_err(|error| {
        if anew.is_configured() {
            daemon.not_served(anew.entry, Some(anew.volume), error);
            if let Some(broken) = daemon.broken().get_mut(&address) {
                broken.is_lost |= is_lost;
            }
        }
    })?;
    Ok(address.to_string())
}

async fn stop_and_make(daemon: &Arc<Daemon>, served: Option<Volume>, anew: Anew) -> Result<(), String> {
    if let Some(volume) = served {
        stop_serving(daemon, &volume).await?;
    }
    daemon
        .blocking(move |daemon| {
            anew.make(&daemon).map_err(|error| format!("{}: {error}", anew.entry.address))
        })
        .await
}

/// How a volume stands here, if it is served.
pub(super) async fn status_here(daemon: &Daemon, described: &Described) -> Option<(Volume, VolumeStatus)> {
    let address: Address = described.address.parse().ok()?;
    let volume = daemon.volumes().get(&address).cloned()?;
    let status = daemon.statuses(std::slice::from_ref(&volume)).await.pop()??;
    Some((volume, status))
}

/// As a file of its own describes it, or as the peer does, in places of this node's.
fn new_entry(
    daemon: &Daemon,
    request: &ReplaceRequest,
    address: Address,
    settings: &str,
) -> Result<VolumeEntry, String> {
    let config = &daemon.config;
    let is_one = request.address.is_some();
    let named = |path: &Option<PathBuf>, suffix: &str| {
        path.clone()
            .filter(|_| is_one)
            .unwrap_or_else(|| config.volumes_directory.join(format!("{address}.{suffix}")))
    };
    let file = config.volume_file(address);
    let entry = match fs::read_to_string(&file) {
        Ok(text) => VolumeEntry::parse(&file, &text).map_err(|error| error.to_string())?,
        Err(_) => VolumeEntry::plain(address, named(&request.data, "img"), named(&request.metadata, "meta"))
            .with_settings(&file, settings)
            .map_err(|error| {
                format!(
                    "the peer says of {address} what this node does not know; upgrade etherpair here: {error}"
                )
            })?,
    };
    refuse_clash(daemon, &entry).map(|()| entry)
}

/// Refuses what would be described here and have something in common with another volume: no start and no reload would read either.
fn refuse_clash(daemon: &Daemon, entry: &VolumeEntry) -> Result<(), String> {
    let clash = daemon.clash_with_configured(entry).or_else(|| daemon.clash_with_made(entry));
    clash.map_or(Ok(()), Err)
}

/// A copy to be made anew, in places that are fit for it as far as can be told without touching them.
#[derive(Clone)]
struct Anew {
    entry: VolumeEntry,
    volume: VolumeIdentity,
    sector_size: LogicalSectorSize,
    layout: Layout,
    epoch: Epoch,
}

impl Anew {
    /// Looks at the places, and waits for their disks. A volume without a disk may still be served from them.
    fn new(mut entry: VolumeEntry, described: &Described) -> Result<Self, String> {
        let volume = u128::from_str_radix(&described.identity, 16).map_err(|error| error.to_string())?;
        let sector_size = sector_size(described.sector_size)
            .ok_or("the peer's sectors are of a size that this node does not know")?;
        let layout =
            Layout::new(described.sectors, HOT_EXTENTS_DEFAULT).map_err(|error| error.to_string())?;
        files::check_places(&entry.data, &entry.metadata)?;
        files::check_room(&entry.data, described.sectors * SECTOR_BYTES as u64)?;
        files::check_room(&entry.metadata, layout.byte_count())?;
        // What is there already is put aside, and keeps its room.
        MetadataFile::check_free(&entry.metadata, layout.byte_count()).map_err(|error| error.to_string())?;
        entry.logical_sector_size = Some(sector_size);
        let (volume, epoch) = (VolumeIdentity(volume), Epoch(described.epoch));
        if let Some(StatedIdentity { identity, place }) = &entry.identity
            && *identity != volume
        {
            return Err(format!(
                "{place}: is {identity}, and the peer has volume {volume} at this address; nothing was changed. If it is to be made anew here, \
                 write that there first, then `etherpair reload`"
            ));
        }
        if let Some(file) = entry.file.clone().filter(|file| !file.exists()) {
            entry = entry.of_volume(&file, volume);
        }
        if epoch > Epoch::LAST {
            return Err(format!("the peer is of epoch {}, which no volume gets to", epoch.0));
        }
        Ok(Self { entry, volume, sector_size, layout, epoch })
    }

    /// Whether it stands in `node.toml` or in a file of its own, so that a reload or a start tries to serve it.
    fn is_configured(&self) -> bool {
        self.entry.file.as_ref().is_none_or(|file| file.exists())
    }

    /// Data, metadata, description, and has it served. Blocks.
    fn make(&self, daemon: &Daemon) -> Result<(), String> {
        let entry = &self.entry;
        let failed = |path: &Path| {
            let path = path.display().to_string();
            move |error: io::Error| format!("{path}: {error}")
        };
        let (node, directory) = (daemon.config.node, &daemon.config.volumes_directory);
        self.refuse_newer_metadata(node)?;
        durable_file::make_directory(directory).map_err(failed(directory))?;
        if !is_device(&entry.data) {
            files::lengthen(&entry.data, self.layout.volume_sectors()).map_err(failed(&entry.data))?;
        }
        // It can be used and nobody has it, before anything is written over.
        let disk = Disk::open(&DiskOptions {
            path: entry.data.clone(),
            logical_sector_size: Some(self.sector_size),
            ..DiskOptions::default()
        });
        let disk = disk.map_err(|error| error.to_string())?;
        files::put_metadata_aside(&entry.metadata).map_err(failed(&entry.metadata))?;
        let fresh = format(Format {
            format: FormatIdentity(random_identity()?),
            volume: self.volume,
            pair: daemon.config.pair,
            node,
            layout: self.layout,
            membership: Membership { epoch: self.epoch, members: Members::Only(node.other()) },
            good: false,
        });
        MetadataFile::overwrite(&entry.metadata, &fresh).map_err(|error| error.to_string())?;
        drop(disk);
        if let Some(file) = entry.file.as_ref().filter(|file| !file.exists()) {
            durable_file::replace(file, entry.emit().as_bytes()).map_err(failed(file))?;
        }
        daemon.add_volume(entry.clone()).map_err(|error| error.to_string())?;
        daemon.broken().remove(&entry.address);
        Ok(())
    }

    /// Metadata that can still be read may know of something that the peer does not.
    fn refuse_newer_metadata(&self, node: NodeNumber) -> Result<(), String> {
        let metadata = &self.entry.metadata;
        let file = match MetadataFile::open(metadata) {
            Ok(file) => file,
            Err(MetadataError::Missing(_) | MetadataError::System { .. }) => return Ok(()),
            Err(error) => return Err(error.to_string()),
        };
        match file.read() {
            Ok(opened) => refuse_newer(metadata, opened.superblock.membership, node, self.epoch),
            Err(_) => Ok(()),
        }
    }
}

fn refuse_newer(metadata: &Path, here: Membership, node: NodeNumber, epoch: Epoch) -> Result<(), String> {
    let is_sole = here.members == Members::Only(node);
    if here.epoch > epoch || here.epoch == epoch && is_sole {
        return Err(format!(
            "{}: knows of membership {here}, and the peer of epoch {} only: this copy may be the newer one; nothing was changed",
            metadata.display(),
            epoch.0
        ));
    }
    Ok(())
}

/// Refuses to write over a copy that could be served if it were not for something else, or that is another volume's. What is wrong with it
/// may only be that its disk or metadata cannot be opened just now: then it is not made anew either.
fn refuse_usable(
    daemon: &Daemon,
    entry: &VolumeEntry,
    broken: Option<&str>,
    volume: &str,
) -> Result<(), String> {
    let (address, metadata) = (entry.address, entry.metadata.display());
    let opened = OpenedVolume::open(daemon.config.pair, entry, Claims::default(), Instant::now());
    let opened = match opened {
        Ok(opened) => opened,
        Err(error) if is_in_use(&error) || matches!(error, VolumeError::OtherIdentity { .. }) => {
            return Err(format!("{address}: {error}; nothing was changed"));
        }
        Err(_) => return Ok(()),
    };
    let superblock = opened.export.opened.superblock;
    let is_good = !superblock.inconsistent && !superblock.disk_lost;
    let is_long_enough = opened.export.disk.geometry().sectors() >= opened.sectors;
    if !is_good || !is_long_enough {
        return Ok(());
    }
    if opened.identity.to_string() != volume {
        return Err(format!(
            "{address}: {metadata} is the metadata of a good copy of volume {}, and the peer has volume {volume} at this address; nothing was \
             changed. If the files of two volumes were swapped, put that right, then `etherpair reload`; if nobody needs this copy any more, put \
             its metadata aside first",
            opened.identity
        ));
    }
    let (why, cure) = match (broken, &entry.file) {
        (Some(error), _) => (error, "Mend that, then".to_owned()),
        (None, Some(file)) if !file.exists() => (
            "nothing describes it here",
            format!("Write its `address`, `data` and `metadata` into {}, then", file.display()),
        ),
        (None, _) => ("this daemon has not read yet what describes it", "Have it read:".to_owned()),
    };
    Err(format!(
        "{address}: this node's copy can be used, and becomes equal by itself as soon as it is served, which it is not only because of this: \
         {why}. {cure} `etherpair reload`; nothing was changed. If it is to be made anew nevertheless, put its metadata {metadata} aside first"
    ))
}

fn is_in_use(error: &VolumeError) -> bool {
    match error {
        VolumeError::Disk(error) => matches!(error, DiskError::Locked(_) | DiskError::InUse(_)),
        VolumeError::Metadata(error) => {
            matches!(**error, MetadataError::Locked(_) | MetadataError::InUse(_))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::volumes::tests::made;
    use super::*;
    use crate::arbiter::Arbiter;

    #[test]
    fn files_of_another_volume_are_not_taken_whether_that_one_is_served_or_not() {
        let directory = tempfile::tempdir().expect("a directory");
        let daemon = Daemon::on_stage_in(directory.path(), Arbiter::None);
        let [served, broken] = ["7.2", "7.3"].map(|address| {
            let path = |suffix: &str| directory.path().join(format!("of-{address}.{suffix}"));
            VolumeEntry::plain(address.parse().expect("an address"), path("img"), path("meta"))
        });
        daemon.put_on_stage(served.clone());
        daemon.not_served(broken.clone(), None, &"no disk");
        let anew = |data: &Path, metadata: &Path| {
            let (data, metadata) = (Some(data.to_owned()), Some(metadata.to_owned()));
            let request = ReplaceRequest { address: Some("7.1".to_owned()), data, metadata };
            new_entry(&daemon, &request, "7.1".parse().expect("an address"), "").map(|entry| entry.address)
        };
        let free = directory.path().join("free");
        for other in [&served, &broken] {
            for (data, metadata) in [(&other.data, &free), (&free, &other.metadata), (&other.metadata, &free)]
            {
                let refused = anew(data, metadata).expect_err("another volume's");
                assert!(refused.contains(&other.address.to_string()), "{refused}");
            }
        }
        let address = anew(&free, &directory.path().join("free.meta")).expect("nobody's");
        assert_eq!(address.to_string(), "e7.1");
    }

    #[tokio::test]
    async fn a_volume_that_is_not_served_at_another_address_is_not_made_anew_at_this_one() {
        let directory = tempfile::tempdir().expect("a directory");
        let daemon = Daemon::on_stage_in(directory.path(), Arbiter::None);
        let (volume, file) = (VolumeIdentity(7), directory.path().join("e7.3.volume.toml"));
        let path = |suffix: &str| directory.path().join(format!("of-7.3.{suffix}"));
        let broken = VolumeEntry::plain("7.3".parse().expect("an address"), path("img"), path("meta"));
        daemon.not_served(broken.of_volume(&file, volume), None, &"no disk");
        let described = Described {
            address: "e7.1".to_owned(),
            identity: volume.to_string(),
            sectors: 8,
            sector_size: 512,
            epoch: 2,
            is_sole_and_good: true,
            settings: String::new(),
        };
        let request = ReplaceRequest { address: Some("7.1".to_owned()), data: None, metadata: None };
        let refused = make_anew(&daemon, &request, &described).await.expect_err("two addresses");
        assert!(refused.contains(&format!("{volume} is e7.3 already")), "{refused}");
        assert_eq!(fs::read_dir(directory.path()).expect("a directory").count(), 0, "nothing is made");
    }

    #[test]
    fn a_good_copy_is_not_written_over_whether_it_is_described_or_not_nor_that_of_another_volume() {
        let directory = tempfile::tempdir().expect("a directory");
        let daemon = Daemon::on_stage(Arbiter::None);
        let (volume, other) = (VolumeIdentity(7), VolumeIdentity(8));
        let entry = made(directory.path(), daemon.config.pair, "7.1", volume);
        let file = entry.file.clone().expect("a file of its own");
        let usable = |entry: &VolumeEntry, broken, volume: VolumeIdentity| {
            refuse_usable(&daemon, entry, broken, &volume.to_string()).expect_err("it can be used")
        };
        let refused = usable(&entry, Some("its address is taken"), volume);
        assert!(refused.contains("only because of this: its address is taken. Mend that"), "{refused}");
        let refused = usable(&entry, None, volume);
        let cure = format!("`metadata` into {}, then `etherpair reload`", file.display());
        assert!(refused.contains("nothing describes it here") && refused.contains(&cure), "{refused}");
        fs::write(&file, entry.emit()).expect("described");
        let refused = usable(&entry, None, volume);
        assert!(refused.contains("Have it read: `etherpair reload`"), "{refused}");
        let refused = usable(&entry, None, other);
        assert!(refused.contains(&format!("a good copy of volume {volume}, and the peer has")), "{refused}");
        let swapped = entry.clone().of_volume(&file, other);
        let refused = usable(&swapped, Some("swapped"), other);
        assert!(refused.contains("`identity`: is ") && refused.contains("nothing was changed"), "{refused}");
        // What is of no use is nobody's.
        fs::remove_file(&entry.data).expect("lost");
        assert_eq!(refuse_usable(&daemon, &entry, None, &volume.to_string()), Ok(()));
    }
}
