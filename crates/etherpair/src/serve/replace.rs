//! A node gets its copy of a volume anew: its disk was replaced, or its metadata is lost, or all of the node was.
//!
//! Only a copy that is of no use is made anew, and only while the peer serves alone with a good one: the new metadata says that every
//! block is missing here and that the peer is the sole member, so that nothing of this copy counts before all of it has come from
//! there, whatever happens meanwhile. What was there before is put aside, not deleted; data that stands in a file is written over.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use admin::ReplaceRequest;
use aoe::Address;
use block::SECTOR_BYTES;
use os::disk::{Disk, DiskOptions};
use os::metadata_file::MetadataFile;
use replication::identity::{FormatIdentity, VolumeIdentity};
use replication::membership::{Epoch, Members, Membership};
use replication::message::CopyState;
use replication::meta::layout::{HOT_EXTENTS_DEFAULT, Layout};
use replication::meta::{Format, format};
use replication::volume::{Phase, VolumeStatus};
use serde::{Deserialize, Serialize};

use super::create::{blocking, is_device, random_identity, sector_size};
use super::daemon::Daemon;
use super::peer_control::{Peer, PeerRequest};
use super::remove::{aside, stop_serving};
use super::volumes::Volume;
use crate::config::volume::VolumeEntry;
use crate::durable_file;

/// What a node says of a volume to its peer, which is to get it anew.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Described {
    address: String,
    /// 32 hexadecimal digits.
    identity: String,
    sectors: u64,
    sector_size: usize,
    epoch: u64,
    /// This node serves alone, with a copy that lacks nothing.
    is_sole_and_good: bool,
    /// What both nodes are to say of it alike ([`VolumeEntry::settings`]).
    #[serde(default)]
    settings: String,
}

/// Makes the copy of a volume anew, or those of all that are not served here.
///
/// # Errors
/// Why not; of several, how far it has come.
pub(crate) async fn replace(daemon: &Arc<Daemon>, request: ReplaceRequest) -> Result<String, String> {
    let parse = |text: &str| text.parse::<Address>().map_err(|error| error.to_string());
    let wanted = request.address.as_deref().map(parse).transpose()?.map(|address| address.to_string());
    let mut peer = Peer::connect(daemon).await?;
    let all: Vec<Described> = peer.ask_for(&PeerRequest::Describe { address: wanted.clone() }).await?;
    if all.is_empty() {
        let which = wanted.unwrap_or_else(|| "any volume".to_owned());
        return Err(format!("the peer does not serve {which}; only it could say what is to be made anew"));
    }
    let mut made = Vec::new();
    for described in all {
        if request.address.is_none() && is_served_well(daemon, &described).await {
            continue;
        }
        made.push(replace_one(daemon, &request, &described).await.map_err(|error| {
            let before =
                if made.is_empty() { String::new() } else { format!("; made anew: {}", made.join(", ")) };
            format!("{error}{before}")
        })?);
    }
    if made.is_empty() {
        return Ok("every volume of the peer's has a good copy here already".to_owned());
    }
    Ok(format!(
        "{}: made anew; all of it is being copied from the peer, see `etherpair status`",
        made.join(", ")
    ))
}

/// What is here of the volumes that the peer asks for.
pub(super) async fn describe(daemon: &Daemon, address: Option<&str>) -> Result<Vec<Described>, String> {
    let mut volumes: Vec<Volume> = daemon.volumes().values().cloned().collect();
    volumes.retain(|volume| address.is_none_or(|address| volume.entry.address.to_string() == address));
    let statuses = daemon.statuses(&volumes).await;
    let described = volumes.iter().zip(statuses).map(|(volume, status)| {
        let status = status.ok_or("a thread does not answer; see the log")?;
        Ok(Described {
            address: volume.entry.address.to_string(),
            identity: volume.identity.to_string(),
            sectors: status.sectors,
            sector_size: volume.sector_size.bytes(),
            epoch: status.membership.epoch.0,
            is_sole_and_good: status.phase == Phase::Alone
                && status.membership.members == Members::Only(daemon.config.node)
                && status.copy == CopyState::Good
                && status.lacking == 0,
            settings: volume.entry.settings(),
        })
    });
    described.collect()
}

async fn is_served_well(daemon: &Daemon, described: &Described) -> bool {
    match status_here(daemon, described).await {
        Some((_, status)) => status.copy != CopyState::Diskless,
        None => false,
    }
}

async fn status_here(daemon: &Daemon, described: &Described) -> Option<(Volume, VolumeStatus)> {
    let address: Address = described.address.parse().ok()?;
    let volume = daemon.volumes().get(&address).cloned()?;
    let status = daemon.statuses(std::slice::from_ref(&volume)).await.pop()??;
    Some((volume, status))
}

async fn replace_one(
    daemon: &Arc<Daemon>,
    request: &ReplaceRequest,
    described: &Described,
) -> Result<String, String> {
    let address: Address = described.address.parse().map_err(|error: aoe::AddressError| error.to_string())?;
    if !described.is_sole_and_good {
        return Err(format!(
            "{address}: the peer does not serve it alone with a good copy; nothing was changed, since only then nothing here can be of \\
             use: see `etherpair status` on both nodes"
        ));
    }
    let _alone = daemon.change_alone().await?;
    let mut configured = None;
    if let Some((volume, status)) = status_here(daemon, described).await {
        if status.copy != CopyState::Diskless {
            return Err(format!(
                "{address}: this node's copy can be used, and becomes equal by itself; nothing was changed. If its disk is to be \\
                 replaced nevertheless, stop this daemon, take the disk away, and start it again"
            ));
        }
        stop_serving(daemon, &volume).await?;
        // It may stand in `node.toml` and nowhere else.
        configured = Some(volume.entry);
    }
    let configured = configured.or_else(|| daemon.broken().get(&address).map(|(entry, _)| entry.clone()));
    let entry = match configured {
        Some(entry) => entry,
        None => new_entry(daemon, request, address, &described.settings)?,
    };
    let described = described.clone();
    blocking(daemon, move |daemon| make_anew(&daemon, entry, &described)).await?;
    Ok(address.to_string())
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
    let clash = daemon.volumes().values().find_map(|volume| entry.clash(&volume.entry));
    match clash.or_else(|| daemon.clash_with_made(&entry)) {
        Some(text) => Err(text),
        None => Ok(entry),
    }
}

/// Data, metadata, description, and has it served. Blocks.
fn make_anew(daemon: &Daemon, mut entry: VolumeEntry, described: &Described) -> Result<(), String> {
    let volume =
        VolumeIdentity(u128::from_str_radix(&described.identity, 16).map_err(|error| error.to_string())?);
    let size = sector_size(described.sector_size)
        .ok_or("the peer's sectors are of a size that this node does not know")?;
    refuse_newer(&entry.metadata, described.epoch)?;
    fs::create_dir_all(&daemon.config.volumes_directory).map_err(|error| error.to_string())?;
    let failed = |path: &Path| {
        let path = path.display().to_string();
        move |error: io::Error| format!("{path}: {error}")
    };
    if !is_device(&entry.data) {
        lengthen(&entry.data, described.sectors).map_err(failed(&entry.data))?;
    }
    entry.logical_sector_size = Some(size);
    let options =
        DiskOptions { path: entry.data.clone(), logical_sector_size: Some(size), ..DiskOptions::default() };
    let found = Disk::open(&options).map_err(|error| error.to_string())?.geometry().sectors();
    if found < described.sectors {
        let data = entry.data.display();
        return Err(format!(
            "{data}: has {found} sectors, {} are needed; use a larger device",
            described.sectors
        ));
    }
    put_metadata_aside(&entry.metadata).map_err(failed(&entry.metadata))?;
    let layout = Layout::new(described.sectors, HOT_EXTENTS_DEFAULT).map_err(|error| error.to_string())?;
    let node = daemon.config.node;
    let fresh = format(Format {
        format: FormatIdentity(random_identity()?),
        volume,
        pair: daemon.config.pair,
        node,
        layout,
        membership: Membership { epoch: Epoch(described.epoch), members: Members::Only(node.other()) },
        good: false,
    });
    MetadataFile::create(&entry.metadata, &fresh).map_err(|error| error.to_string())?;
    if let Some(file) = entry.file.as_ref().filter(|file| !file.exists()) {
        durable_file::replace(file, entry.emit().as_bytes()).map_err(failed(file))?;
    }
    let address = entry.address;
    daemon.broken().remove(&address);
    daemon.add_volume(entry).map_err(|error| format!("{address}: {error}"))
}

/// Metadata that can still be read may know of something that the peer does not.
fn refuse_newer(metadata: &Path, epoch: u64) -> Result<(), String> {
    let Ok(file) = MetadataFile::open(metadata) else { return Ok(()) };
    let Ok(opened) = file.read() else { return Ok(()) };
    let (here, node) = (opened.superblock.membership, opened.superblock.node);
    let is_sole = here.members == Members::Only(node);
    if here.epoch.0 > epoch || here.epoch.0 == epoch && is_sole {
        return Err(format!(
            "{}: knows of membership {}, and the peer of epoch {epoch} only: this copy may be the newer one; nothing was changed",
            metadata.display(),
            here
        ));
    }
    Ok(())
}

/// The file as long as the volume; what is in it stays until it is written over.
fn lengthen(path: &Path, sectors: u64) -> io::Result<()> {
    let file: File = OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
    let bytes = sectors * SECTOR_BYTES as u64;
    if file.metadata()?.len() < bytes {
        file.set_len(bytes)?;
    }
    file.sync_all()?;
    durable_file::sync_directory_of(path)
}

fn put_metadata_aside(path: &Path) -> io::Result<()> {
    if is_device(path) {
        // Both superblocks of what a device holds are made unreadable: metadata is made only where there is none.
        let file = OpenOptions::new().write(true).open(path)?;
        io::copy(&mut io::Read::take(io::repeat(0), (1 << 20) + 4096), &mut &file)?;
        return file.sync_all();
    }
    if !path.exists() {
        return Ok(());
    }
    let mut number = 1;
    while aside(path, &format!("replaced-{number}")).exists() {
        number += 1;
    }
    fs::rename(path, aside(path, &format!("replaced-{number}")))?;
    durable_file::sync_directory_of(path)
}
