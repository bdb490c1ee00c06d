//! A volume opened and handed to its shard.
//!
//! Decides who the volume is towards initiators: what IDENTIFY says follows from its address and its identity alone, so that
//! both nodes say the same, whatever their hosts, files and versions.

use std::thread;
use std::time::{Duration, Instant};

use aoe::Address;
use aoe::target::{ExportConfig, Identity};
use block::{ExportId, LogicalSectorSize};
use os::disk::{Disk, DiskError, DiskOptions, ReadCache};
use os::file::was_never_written;
use os::metadata_file::{MetadataError, MetadataFile};
use os::shard::MirroredExport;
use replication::durability::Durability;
use replication::identity::{PairIdentity, VolumeIdentity};
use replication::meta::Opened;

use super::error::VolumeError;
use crate::config::volume::{StatedIdentity, VolumeEntry};
use crate::export::Claims;

/// What IDENTIFY says of every volume.
const MODEL: &str = "etherpair";
/// Firmware of IDENTIFY: of mirrored volumes, not of the program, since two nodes may be of two versions during an upgrade.
const FIRMWARE: &str = "1";
/// The locks of a killed process, and its claims of devices, go when the kernel has ended its last request, on a busy disk seconds after the process itself: who
/// starts at once in its place waits so long for all of them.
pub(crate) const LOCK_PATIENCE_AT_START: Duration = Duration::from_secs(15);
/// Whoever has a lock later than that is most likely there to stay.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);
const LOCK_INTERVAL: Duration = Duration::from_millis(20);

/// Each but the last ones was followed by a write. If power is lost while the very first ones are under way, at a disk much slower than
/// that of the metadata, a new volume may look like one that was written; nothing of it was answered then.
const TRANSACTIONS_OF_A_WRITTEN_VOLUME: u64 = 8;

/// A volume that is served, as the control plane knows it.
#[derive(Clone, Debug)]
pub(crate) struct Volume {
    /// Its name for ever.
    pub(crate) identity: VolumeIdentity,
    /// Which shard has it.
    pub(crate) shard: usize,
    /// Its number there.
    pub(crate) export: ExportId,
    /// As it is configured, or was when it was added.
    pub(crate) entry: VolumeEntry,
    /// 512-byte sectors.
    pub(crate) sectors: u64,
    /// Unit of the disk.
    pub(crate) sector_size: LogicalSectorSize,
    /// When the nodes met last, and how many blocks one of them lacked then.
    pub(crate) met: Option<(Instant, u64)>,
}

/// A volume opened and locked, not yet served.
#[derive(Debug)]
pub(crate) struct OpenedVolume {
    /// Of its address, as far as this process had none.
    pub(crate) claims: Claims,
    pub(crate) identity: VolumeIdentity,
    pub(crate) sectors: u64,
    pub(crate) sector_size: LogicalSectorSize,
    pub(crate) export: Box<MirroredExport>,
}

impl OpenedVolume {
    /// Opens, locks and reads everything; writes nothing.
    ///
    /// Waits for locks until `locks_until`, and a moment in any case. `claims` are of its address.
    ///
    /// # Errors
    /// What cannot be used.
    pub(crate) fn open(
        pair: PairIdentity,
        entry: &VolumeEntry,
        claims: Claims,
        locks_until: Instant,
    ) -> Result<Self, VolumeError> {
        let locks_until = locks_until.max(Instant::now() + LOCK_PATIENCE);
        let disk = DiskOptions {
            path: entry.data.clone(),
            offset: 0,
            length: None,
            read_only: false,
            read_cache: ReadCache::None,
            logical_sector_size: entry.logical_sector_size,
        };
        let disk = patiently(
            locks_until,
            || Disk::open(&disk),
            |error| matches!(error, DiskError::Locked(_) | DiskError::InUse(_)),
        );
        let disk = disk.map_err(|error| match error {
            DiskError::Missing(path) => VolumeError::DiskMissing { address: entry.address, path },
            error => error.into(),
        })?;
        let metadata = patiently(
            locks_until,
            || MetadataFile::open(&entry.metadata).map_err(Box::new),
            |error| matches!(**error, MetadataError::Locked(_) | MetadataError::InUse(_)),
        )?;
        let opened = metadata.read().map_err(Box::new)?;
        for finding in opened.findings.first.iter() {
            tracing::warn!("{}: {}: {finding}", entry.address, entry.metadata.display());
        }
        let superblock = opened.superblock;
        if superblock.pair != pair {
            return Err(VolumeError::OtherPair { found: superblock.pair, expected: pair });
        }
        if let Some(StatedIdentity { identity: stated, place }) = &entry.identity
            && *stated != superblock.volume
        {
            return Err(VolumeError::OtherIdentity {
                place: place.clone(),
                stated: *stated,
                metadata: entry.metadata.clone(),
                found: superblock.volume,
            });
        }
        if is_another(entry, &opened) {
            return Err(VolumeError::OtherDisk { address: entry.address, path: entry.data.clone() });
        }
        let config = ExportConfig {
            address: entry.address,
            sectors: superblock.layout.volume_sectors(),
            logical_sector_size: disk.geometry().logical_sector_size(),
            identity: Identity::new(&serial(entry.address, superblock.volume), MODEL, FIRMWARE),
            read_only: false,
            write_cache: entry.mirror.durability == Durability::Memory,
            buffer_count: entry.buffer_count,
            state: aoe::target::SmallState::default(),
            mirror: None,
        };
        Ok(Self {
            claims,
            identity: superblock.volume,
            sectors: superblock.layout.volume_sectors(),
            sector_size: disk.geometry().logical_sector_size(),
            export: Box::new(MirroredExport { disk, metadata, opened, config, volume: entry.mirror }),
        })
    }
}

/// Whether the data is a file that nobody has ever written to, and the metadata says that the volume was, so long ago that the data must
/// have been there: the file system is not mounted, or it is another disk. Not if all of it is lacking anyhow.
fn is_another(entry: &VolumeEntry, opened: &Opened) -> bool {
    let was_written = opened.log.as_ref().is_ok_and(|log| log.newest.0 >= TRANSACTIONS_OF_A_WRITTEN_VOLUME);
    // In memory mode a loss of power may have taken everything.
    let counts = !opened.superblock.disk_lost && entry.mirror.durability != Durability::Memory;
    was_written && counts && was_never_written(&entry.data)
}

/// The shard of an address; frames are divided by the same rule.
pub(crate) fn shard_of(address: Address, shards: u32) -> u32 {
    (u32::from(address.shelf().0) << 8 | u32::from(address.slot().0)) % shards
}

/// The address for people, and as much of the identity as ATA's twenty characters leave room for.
fn serial(address: Address, volume: VolumeIdentity) -> String {
    const SERIAL_CHARACTERS: usize = 20;
    let mut serial = format!("{address}-{volume}");
    serial.truncate(SERIAL_CHARACTERS);
    serial
}

fn patiently<T, E>(
    deadline: Instant,
    open: impl Fn() -> Result<T, E>,
    is_locked: impl Fn(&E) -> bool,
) -> Result<T, E> {
    loop {
        match open() {
            Err(error) if is_locked(&error) && Instant::now() < deadline => thread::sleep(LOCK_INTERVAL),
            result => return result,
        }
    }
}

/// The address that somebody has named.
///
/// # Errors
/// What is wrong with it.
pub(super) fn parse_address(text: &str) -> Result<Address, String> {
    text.parse().map_err(|error: aoe::AddressError| error.to_string())
}

#[cfg(test)]
pub(super) mod tests {
    use std::path::Path;

    use replication::identity::FormatIdentity;
    use replication::membership::{Membership, NodeNumber};
    use replication::meta::layout::{HOT_EXTENTS_DEFAULT, Layout};
    use replication::meta::{Format, format};

    use super::*;

    /// Data and metadata of a good copy of a volume, as `volume create` makes them, and what describes them.
    pub(in crate::serve) fn made(
        directory: &Path,
        pair: PairIdentity,
        address: &str,
        volume: VolumeIdentity,
    ) -> VolumeEntry {
        let path = |suffix: &str| directory.join(format!("e{address}.{suffix}"));
        let layout = Layout::new(1 << 13, HOT_EXTENTS_DEFAULT).expect("a size");
        std::fs::write(path("img"), vec![0xa5; 4 << 20]).expect("data");
        let fresh = format(Format {
            format: FormatIdentity(1),
            volume,
            pair,
            node: NodeNumber::Zero,
            layout,
            membership: Membership::FIRST,
            good: true,
        });
        MetadataFile::create(&path("meta"), &fresh).expect("metadata");
        let address = address.parse().expect("an address");
        VolumeEntry {
            file: Some(path("volume.toml")),
            ..VolumeEntry::plain(address, path("img"), path("meta"))
        }
    }

    #[test]
    fn the_metadata_of_another_volume_than_is_said_is_not_opened() {
        let directory = tempfile::tempdir().expect("a directory");
        let (pair, one, two) = (PairIdentity(1), VolumeIdentity(0xa1), VolumeIdentity(0xb2));
        let plain = made(directory.path(), pair, "7.1", one);
        let file = plain.file.clone().expect("a file of its own");
        let open = |entry: &VolumeEntry| {
            let opened = OpenedVolume::open(pair, entry, Claims::default(), Instant::now());
            opened.map(|opened| opened.identity).map_err(|error| error.to_string())
        };
        let described = |identity| {
            let text = plain.clone().of_volume(&file, identity).emit();
            VolumeEntry::parse(&file, &text).expect("a volume")
        };
        assert_eq!(open(&plain), Ok(one), "nothing is said, as in older files");
        assert_eq!(open(&described(one)), Ok(one));
        let refused = open(&described(two)).expect_err("another volume");
        let text = described(two).emit();
        let line = 1 + text.lines().position(|line| line.starts_with("identity = ")).expect("the key");
        for part in [
            format!("{}:{line}: `identity`: is {two}", file.display()),
            format!("{} is the metadata of volume {one}", plain.metadata.display()),
            "then `etherpair reload`".to_owned(),
        ] {
            assert!(refused.contains(&part), "{part} in {refused}");
        }
        let place = described(two).identity.expect("said").place;
        assert_eq!(
            plain.of_volume(&file, two).identity.expect("said").place,
            place,
            "before it is written, too"
        );
    }
}
