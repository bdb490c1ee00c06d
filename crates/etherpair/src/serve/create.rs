//! Makes a volume at both nodes: files and metadata here, then at the peer, then the register at the arbiter, then what describes it
//! here; and only when all of that is durable is it served, first there, then here. So whatever interrupts it once the peer may serve it, this
//! node finds it again.
//!
//! Two new files are equal, since both read as zeros. An image that is there already is taken as it is, and copied to the
//! peer. Nothing that exists is overwritten: neither a file nor what a device holds, but data on a device at the peer and what is on
//! devices for metadata, each if that was said. What was made is removed when the rest cannot be.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use admin::CreateRequest;
use admin::peer::{DataKind, PeerRequest, Plan};
use block::{LogicalSectorSize, SECTOR_BYTES};
use os::disk::{Disk, DiskOptions};
use os::file::is_device;
use os::metadata_file::MetadataFile;
use replication::identity::{FormatIdentity, VolumeIdentity};
use replication::membership::Membership;
use replication::meta::layout::{HOT_EXTENTS_DEFAULT, Layout};
use replication::meta::{Format, format};
use replication::witness::RegisterKey;

use super::changing::Reservation;
use super::daemon::Daemon;
use super::files;
use super::peer_control::Peer;
use super::same_arbiter::refuse_different;
use super::volumes::parse_address;
use crate::arbiter::ArbiterError;
use crate::config::volume::VolumeEntry;
use crate::durable_file;

/// A volume whose files are there; they vanish with this unless it is served, and so does metadata on a device.
pub(super) struct Prepared {
    entry: VolumeEntry,
    sectors: u64,
    /// To be taken away if nothing comes of it.
    made: Vec<PathBuf>,
    /// What describes it is there.
    is_described: bool,
    /// The peer serves it, or may: nothing is taken away any more.
    is_at_peer: bool,
    /// Given up after what was made is taken away, so that nobody meets it.
    _reservation: Reservation,
}

impl Drop for Prepared {
    fn drop(&mut self) {
        for path in self.made.iter().filter(|_| !self.is_at_peer) {
            // What is left is named when the next try meets it.
            if is_device(path) {
                let _ = MetadataFile::erase(path);
            } else {
                let _ = durable_file::remove(path);
            }
        }
    }
}

impl Prepared {
    /// Writes what describes it, durably. Blocks.
    fn described(mut self) -> Result<Self, String> {
        let file = self.entry.file.clone().expect("a volume that is made has a file of its own");
        refuse_described(&file)?;
        // Goes first, should it have to: what is described is there.
        self.made.insert(0, file.clone());
        durable_file::replace(&file, self.entry.emit().as_bytes())
            .map_err(|error| format!("{}: {error}", file.display()))?;
        self.is_described = true;
        Ok(self)
    }

    /// Has it served, and keeps everything. Blocks.
    fn serve(self, daemon: &Daemon) -> Result<VolumeEntry, String> {
        let mut prepared = if self.is_described { self } else { self.described()? };
        let entry = prepared.entry.clone();
        if let Err(error) = daemon.add_volume(entry.clone()) {
            let error = error.to_string();
            prepared.is_not_served(daemon, &error);
            return Err(error);
        }
        prepared.made.clear();
        tracing::info!("{}: made, {} sectors", entry.address, prepared.sectors);
        Ok(entry)
    }

    /// What the peer has is a volume of this node's as well, whether it is served here or not.
    fn is_not_served(&self, daemon: &Daemon, error: &String) {
        if self.is_at_peer {
            let identity = self.entry.identity.as_ref().map(|stated| stated.identity);
            daemon.not_served(self.entry.clone(), identity, error);
        }
    }
}

/// Makes a volume at both nodes.
///
/// # Errors
/// What is wrong and what to do; what was made until then is removed.
pub(crate) async fn create(daemon: &Arc<Daemon>, request: CreateRequest) -> Result<String, String> {
    let address = parse_address(&request.address)?;
    let identity = VolumeIdentity(random_identity()?);
    let (data, bytes) = (request.data.clone(), request.bytes);
    let (image, sectors) = daemon.blocking(move |_| size_of(data.as_deref(), bytes)).await?;
    let plan = Plan {
        address: address.to_string(),
        identity: identity.to_string(),
        sectors,
        sector_size: None,
        data: request.data,
        metadata: request.metadata,
        data_kind: if image { DataKind::Image } else { DataKind::New },
        overwrite_metadata: request.overwrite_metadata,
    };
    let at_this_node = plan.clone();
    let here = daemon.blocking(move |daemon| prepare(&daemon, &at_this_node)).await?;
    // What is at the peer's own disk is not known here.
    let is_copied = image || request.peer_data.is_some();
    let copy = DataKind::Copy { overwrite: request.overwrite_peer };
    let peer_plan = Plan {
        sector_size: here.entry.logical_sector_size.map(LogicalSectorSize::bytes),
        data: request.peer_data,
        metadata: request.peer_metadata,
        data_kind: if is_copied { copy } else { DataKind::New },
        ..plan
    };
    let mut peer = Peer::connect(daemon).await?;
    refuse_different(daemon, &mut peer).await.map_err(|error| format!("{address}: {error}"))?;
    peer.ask(&PeerRequest::Prepare(peer_plan)).await?;
    let here = with_register(daemon, identity, make_at_both(daemon, &mut peer, here)).await?;
    let entry = activate(daemon, here).await.map_err(|error| {
        format!("{address}: the peer serves it, and this node does not: {error}; mend that, then `etherpair reload`")
    })?;
    let copied = if is_copied { "; its content is being copied to the peer" } else { "" };
    Ok(format!("{address}: made, {} and {} here{copied}", entry.data.display(), entry.metadata.display()))
}

/// Why a volume is not made at both nodes.
enum NotMade {
    /// At neither.
    Anywhere(String),
    /// Nobody knows whether the peer has it.
    AsFarAsKnown(String),
}

/// Does it with a register of the arbiter's for the volume, which is taken back if neither node has that.
async fn with_register(
    daemon: &Daemon,
    volume: VolumeIdentity,
    work: impl Future<Output = Result<Prepared, NotMade>>,
) -> Result<Prepared, String> {
    let key = RegisterKey { pair: daemon.config.pair, volume };
    match daemon.arbiter.create(key, Membership::FIRST).await {
        Ok(()) | Err(ArbiterError::Nobody) => {}
        Err(error) => return Err(error.to_string()),
    }
    match work.await {
        Ok(here) => Ok(here),
        Err(NotMade::AsFarAsKnown(error)) => Err(error),
        Err(NotMade::Anywhere(error)) => {
            if daemon.arbiter.remove(key, Membership::FIRST).await.is_err() {
                tracing::warn!(
                    "the arbiter keeps a register of {volume}, which was not made; it does no harm"
                );
            }
            Err(error)
        }
    }
}

/// Describes it here, then has the peer make and serve it.
async fn make_at_both(daemon: &Arc<Daemon>, peer: &mut Peer, here: Prepared) -> Result<Prepared, NotMade> {
    let mut here = daemon.blocking(move |_| here.described()).await.map_err(NotMade::Anywhere)?;
    here.is_at_peer = true;
    match peer.decides(&PeerRequest::Activate).await {
        Ok(Ok(_)) => Ok(here),
        Ok(Err(refused)) => {
            here.is_at_peer = false;
            let undo = move |_| {
                drop(here);
                Ok(())
            };
            let _ = daemon.blocking(undo).await;
            Err(NotMade::Anywhere(format!("{refused}; it is not made here")))
        }
        Err(error) => {
            let address = here.entry.address;
            let text = format!(
                "{error}: nobody knows whether the peer has made it, and what was made here is kept. If `etherpair volume list` there \
                 names {address}, `etherpair reload` here serves it; if not, `etherpair volume remove {address} --here-only` here takes it \
                 away"
            );
            here.is_not_served(daemon, &text);
            Err(NotMade::AsFarAsKnown(text))
        }
    }
}

pub(super) fn random_identity() -> Result<u128, String> {
    durable_file::random().map(u128::from_le_bytes).map_err(|error| error.to_string())
}

/// Whether what is to be its data is there already, and how many sectors the volume has. Blocks.
fn size_of(data: Option<&Path>, bytes: Option<u64>) -> Result<(bool, u64), String> {
    data.map_or(Ok(()), files::check_device_is_there)?;
    let image = data.filter(|path| path.exists());
    Ok((image.is_some(), sectors(image, bytes)?))
}

fn sectors(image: Option<&Path>, bytes: Option<u64>) -> Result<u64, String> {
    let unit = SECTOR_BYTES as u64;
    match (image, bytes) {
        (Some(path), given) => {
            let options = DiskOptions { path: path.to_owned(), ..DiskOptions::default() };
            let disk = Disk::open(&options).map_err(|error| error.to_string())?;
            let sectors = disk.geometry().sectors();
            match given {
                Some(bytes) if bytes != sectors * unit => Err(format!(
                    "{}: exists and has {} bytes, not {bytes}; leave --size out to take it as it is",
                    path.display(),
                    sectors * unit
                )),
                _ => Ok(sectors),
            }
        }
        (None, Some(bytes)) if bytes > 0 && bytes.is_multiple_of(4096) => Ok(bytes / unit),
        (None, Some(bytes)) => {
            Err(format!("{bytes} bytes are not a multiple of 4096; choose another --size"))
        }
        (None, None) => Err("a new volume needs a --size".to_owned()),
    }
}

/// Makes the files of a volume at this node. Blocks.
pub(super) fn prepare(daemon: &Arc<Daemon>, plan: &Plan) -> Result<Prepared, String> {
    let config = &daemon.config;
    let address = parse_address(&plan.address)?;
    let volume = u128::from_str_radix(&plan.identity, 16).map_err(|error| error.to_string())?;
    let directory = &config.volumes_directory;
    let named = |path: &Option<PathBuf>, suffix: &str| {
        path.clone().unwrap_or_else(|| directory.join(format!("{address}.{suffix}")))
    };
    let (data, metadata) = (named(&plan.data, "img"), named(&plan.metadata, "meta"));
    let file = config.volume_file(address);
    let mut entry = VolumeEntry::plain(address, data, metadata).of_volume(&file, VolumeIdentity(volume));
    entry.file = Some(file.clone());
    let reservation = daemon.reserve(&entry)?;
    refuse_described(&file)?;
    if let Some(stranger) = daemon.strangers(&[address]).remove(&address) {
        return Err(format!("{address}: {stranger}"));
    }
    files::check_places(&entry.data, &entry.metadata)?;
    let layout = Layout::new(plan.sectors, HOT_EXTENTS_DEFAULT).map_err(|error| error.to_string())?;
    durable_file::make_directory(directory).map_err(|error| format!("{}: {error}", directory.display()))?;
    let mut prepared = Prepared {
        entry: entry.clone(),
        sectors: plan.sectors,
        made: Vec::new(),
        is_described: false,
        is_at_peer: false,
        _reservation: reservation,
    };
    make_data(&entry.data, plan, &mut prepared.made)?;
    let options = DiskOptions {
        path: entry.data.clone(),
        logical_sector_size: plan.sector_size.and_then(sector_size),
        ..DiskOptions::default()
    };
    let disk = Disk::open(&options).map_err(|error| error.to_string())?;
    let geometry = disk.geometry();
    if geometry.sectors() < plan.sectors {
        return Err(format!(
            "{}: has {} sectors, {} are needed",
            entry.data.display(),
            geometry.sectors(),
            plan.sectors
        ));
    }
    entry.logical_sector_size = Some(geometry.logical_sector_size());
    prepared.entry = entry;
    let fresh = format(Format {
        format: FormatIdentity(random_identity()?),
        volume: VolumeIdentity(volume),
        pair: config.pair,
        node: config.node,
        layout,
        membership: Membership::FIRST,
        good: !matches!(plan.data_kind, DataKind::Copy { .. }),
    });
    let make = if plan.overwrite_metadata { MetadataFile::overwrite } else { MetadataFile::create };
    make(&prepared.entry.metadata, &fresh).map_err(|error| error.to_string())?;
    prepared.made.push(prepared.entry.metadata.clone());
    Ok(prepared)
}

fn refuse_described(file: &Path) -> Result<(), String> {
    if file.exists() {
        return Err(format!("{} exists already; remove it if no volume needs it", file.display()));
    }
    Ok(())
}

pub(super) fn sector_size(bytes: usize) -> Option<LogicalSectorSize> {
    [LogicalSectorSize::B512, LogicalSectorSize::B4096].into_iter().find(|size| size.bytes() == bytes)
}

/// Makes the data file, if it is to be made.
fn make_data(path: &Path, plan: &Plan, made: &mut Vec<PathBuf>) -> Result<(), String> {
    let exists = path.exists();
    match plan.data_kind {
        DataKind::Image => return Ok(()),
        DataKind::Copy { overwrite: true } if is_device(path) => return Ok(()),
        DataKind::Copy { overwrite: false } if is_device(path) => {
            return Err(format!(
                "{}: a device, whose content would be overwritten; say --overwrite-peer if it may be",
                path.display()
            ));
        }
        _ if exists => {
            return Err(format!("{}: exists already; remove it, or name another file", path.display()));
        }
        _ => {}
    }
    files::make(path, plan.sectors).map_err(|error| format!("{}: {error}", path.display()))?;
    made.push(path.to_owned());
    Ok(())
}

/// Has a volume served whose files were made. Nobody takes its description for one of a volume that is to be served before that is so, or
/// all of it is gone again, or it is told that it is not.
pub(super) async fn activate(daemon: &Arc<Daemon>, prepared: Prepared) -> Result<VolumeEntry, String> {
    let _alone = match daemon.change_alone().await {
        Ok(alone) => alone,
        Err(error) => {
            prepared.is_not_served(daemon, &error);
            return Err(error);
        }
    };
    daemon.blocking(move |daemon| prepared.serve(&daemon)).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arbiter::Arbiter;

    #[tokio::test]
    async fn what_the_peer_may_have_is_described_here_before_and_kept_in_sight_after() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = |suffix: &str| directory.path().join(format!("e7.9.{suffix}"));
        std::fs::write(path("img"), vec![0xa5; 1 << 20]).expect("an image");
        let daemon = Daemon::on_stage_in(directory.path(), Arbiter::None);
        let plan = Plan {
            address: "e7.9".to_owned(),
            identity: VolumeIdentity(7).to_string(),
            sectors: 1 << 11,
            sector_size: None,
            data: None,
            metadata: None,
            data_kind: DataKind::Image,
            overwrite_metadata: false,
        };
        let described = || {
            let plan = plan.clone();
            daemon.blocking(move |daemon| prepare(&daemon, &plan)?.described())
        };
        let there = || ["img", "meta", "volume.toml"].map(|suffix| path(suffix).exists());
        let prepared = described().await.expect("made");
        assert_eq!(there(), [true; 3], "before the peer is told to serve it");
        drop(prepared);
        assert_eq!(there(), [true, false, false], "the peer has refused");
        let mut prepared = described().await.expect("made");
        prepared.is_at_peer = true;
        // The shard of a daemon on stage mirrors nothing.
        let error = activate(&daemon, prepared).await.expect_err("it cannot be served");
        assert_eq!(there(), [true; 3]);
        let address = parse_address("7.9").expect("an address");
        let broken = daemon.broken().get(&address).cloned().expect("in sight");
        assert_eq!((broken.error, broken.identity), (error, Some(VolumeIdentity(7))));
    }
}
