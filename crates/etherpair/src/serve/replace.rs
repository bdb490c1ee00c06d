//! A node gets its copy of a volume anew: its disk was replaced, or its metadata is lost, or all of the node was.
//!
//! Only a copy that is of no use is made anew, and only while the peer serves alone with a good one: the new metadata says that every
//! block is missing here and that the peer is the sole member, so that nothing of this copy counts before all of it has come from
//! there, whatever happens meanwhile. Metadata that was there in a file is put aside, not deleted; data that stands in a file is written
//! over, and so is whatever devices hold. What can be told to be wrong is told before anything is touched, and a volume that could
//! not be made anew stays configured, with the reason.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use admin::ReplaceRequest;
use admin::peer::{Described, PeerRequest};
use aoe::Address;
use block::{LogicalSectorSize, SECTOR_BYTES};
use os::disk::{Disk, DiskOptions};
use os::file::is_device;
use os::metadata_file::{MetadataError, MetadataFile};
use replication::identity::{FormatIdentity, VolumeIdentity};
use replication::membership::{Epoch, Members, Membership, NodeNumber};
use replication::message::CopyState;
use replication::meta::layout::{HOT_EXTENTS_DEFAULT, Layout};
use replication::meta::{Format, format};
use replication::volume::{Phase, VolumeStatus};

use super::create::{random_identity, sector_size};
use super::daemon::Daemon;
use super::files;
use super::peer_control::Peer;
use super::remove::stop_serving;
use super::volumes::{Volume, parse_address};
use crate::config::volume::VolumeEntry;
use crate::durable_file;

/// Volumes described at once: with the longest lists of initiators they fit in a line.
const PAGE_VOLUMES: usize = 8;

/// Makes the copy of a volume anew, or those of all that are not served here.
///
/// # Errors
/// Why not; of several, how far it has come.
pub(crate) async fn replace(daemon: &Arc<Daemon>, request: ReplaceRequest) -> Result<String, String> {
    let wanted = request.address.as_deref().map(parse_address).transpose()?;
    let mut peer = Peer::connect(daemon).await?;
    let mut made = Vec::new();
    let outcome = match wanted {
        Some(address) => replace_named(daemon, &mut peer, &request, address, &mut made).await,
        None => replace_all(daemon, &mut peer, &request, &mut made).await,
    };
    outcome.map_err(|error| {
        let before =
            if made.is_empty() { String::new() } else { format!("; made anew: {}", made.join(", ")) };
        format!("{error}{before}")
    })?;
    if made.is_empty() {
        return Ok("every volume of the peer's has a good copy here already".to_owned());
    }
    Ok(format!(
        "{}: made anew; all of it is being copied from the peer, see `etherpair status`",
        made.join(", ")
    ))
}

async fn replace_named(
    daemon: &Arc<Daemon>,
    peer: &mut Peer,
    request: &ReplaceRequest,
    address: Address,
    made: &mut Vec<String>,
) -> Result<(), String> {
    let describe = PeerRequest::Describe { address: Some(address.to_string()), after: None };
    let described: Vec<Described> = peer.ask_for(&describe).await?;
    let described = described.first().ok_or_else(|| not_served_there(&address.to_string()))?;
    made.push(replace_one(daemon, request, described).await?);
    Ok(())
}

async fn replace_all(
    daemon: &Arc<Daemon>,
    peer: &mut Peer,
    request: &ReplaceRequest,
    made: &mut Vec<String>,
) -> Result<(), String> {
    let mut last = None;
    loop {
        let after = last.map_or_else(String::new, |address: Address| address.to_string());
        let page = peer.ask_for(&PeerRequest::Describe { address: None, after: Some(after) }).await?;
        let page = beyond(page, &mut last)?;
        if page.is_empty() {
            return if last.is_some() { Ok(()) } else { Err(not_served_there("any volume")) };
        }
        for described in page {
            if !is_served_well(daemon, &described).await {
                made.push(replace_one(daemon, request, &described).await?);
            }
        }
    }
}

fn not_served_there(which: &str) -> String {
    format!("the peer does not serve {which}; only it could say what is to be made anew")
}

/// What was not told before, up to a new last address: a peer of an older version tells everything each time.
fn beyond(page: Vec<Described>, last: &mut Option<Address>) -> Result<Vec<Described>, String> {
    let before = *last;
    let mut new = Vec::new();
    for described in page {
        let address = parse_address(&described.address)?;
        if before.is_none_or(|before| address > before) {
            *last = (*last).max(Some(address));
            new.push(described);
        }
    }
    Ok(new)
}

/// What is here of the volumes that the peer asks for: of one, of a few after an address, or of all.
pub(super) async fn describe(
    daemon: &Daemon,
    address: Option<&str>,
    after: Option<&str>,
) -> Result<Vec<Described>, String> {
    let volumes: Vec<Volume> = match (address, after) {
        (Some(address), _) => daemon.volumes().get(&parse_address(address)?).cloned().into_iter().collect(),
        (None, Some("")) => page(&daemon.volumes(), None),
        (None, Some(after)) => page(&daemon.volumes(), Some(parse_address(after)?)),
        (None, None) => daemon.volumes().values().cloned().collect(),
    };
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

/// The next few beyond an address.
fn page<T: Clone>(volumes: &BTreeMap<Address, T>, after: Option<Address>) -> Vec<T> {
    let from = after.map_or(Bound::Unbounded, Bound::Excluded);
    volumes.range((from, Bound::Unbounded)).take(PAGE_VOLUMES).map(|(_, volume)| volume.clone()).collect()
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
    let configured = served.as_ref().map(|(volume, _)| volume.entry.clone());
    let configured = configured.or_else(|| daemon.broken().get(&address).map(|broken| broken.entry.clone()));
    let (asked, told) = (request.clone(), described.clone());
    let anew = daemon.blocking(move |daemon| {
        let entry = configured.map_or_else(|| new_entry(&daemon, &asked, address, &told.settings), Ok)?;
        Anew::new(entry, &told).map_err(|error| format!("{address}: {error}"))
    });
    let anew = anew.await?;
    if let Some((_, status)) = &served {
        refuse_newer(&anew.entry.metadata, status.membership, daemon.config.node, anew.epoch)?;
    }
    let outcome = stop_and_make(daemon, served.map(|(volume, _)| volume), anew.clone()).await;
    outcome.inspect_err(|error| {
        if anew.is_configured() {
            daemon.not_served(anew.entry, Some(anew.volume), error);
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
        entry.logical_sector_size = Some(sector_size);
        let (volume, epoch) = (VolumeIdentity(volume), Epoch(described.epoch));
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
        fs::create_dir_all(directory).map_err(failed(directory))?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use admin::LINE_BYTES_MAX;
    use aoe::limits::MAC_MASK_EDITED_MAX;

    /// With everything in it that may be.
    fn described(address: Address) -> Described {
        let mask = vec!["\"02:00:00:00:00:01\""; MAC_MASK_EDITED_MAX].join(", ");
        Described {
            address: address.to_string(),
            identity: "f".repeat(32),
            sectors: u64::MAX,
            sector_size: 4096,
            epoch: u64::MAX,
            is_sole_and_good: false,
            settings: format!(
                "buffer_count = 65535\ndurability = \"async\"\nasync_server = 1\nasync_lag = \"1073741824\"\nresync_rate = \"{}\"\n\
                 resync_checksums = true\nmasks = [{mask}]\n",
                u64::MAX
            ),
        }
    }

    fn volumes() -> BTreeMap<Address, Described> {
        let addresses = (0..1000_u16).map(|number| format!("{}.{}", 7 + number / 250, number % 250));
        let addresses = addresses.map(|address| parse_address(&address).expect("an address"));
        addresses.map(|address| (address, described(address))).collect()
    }

    #[test]
    fn a_thousand_volumes_with_full_lists_are_told_a_few_at_a_time_in_lines_that_fit() {
        let (all, mut last, mut told) = (volumes(), None, Vec::new());
        loop {
            let answer = page(&all, last);
            let line = serde_json::to_string(&Ok::<_, String>(&answer)).expect("texts and numbers");
            assert!(line.len() < LINE_BYTES_MAX, "{}", line.len());
            let new = beyond(answer, &mut last).expect("addresses");
            if new.is_empty() {
                break;
            }
            told.extend(new);
        }
        assert!(told.iter().eq(all.values()), "{} of {}", told.len(), all.len());
    }

    #[test]
    fn an_older_peer_that_tells_everything_each_time_is_believed_once() {
        let (all, mut last) = (volumes(), None);
        let told = |last: &mut _| beyond(all.values().cloned().collect(), last).expect("addresses");
        assert!(told(&mut last).iter().eq(all.values()));
        assert_eq!(told(&mut last), []);
    }
}
