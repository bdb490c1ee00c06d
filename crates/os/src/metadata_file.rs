//! The metadata of a mirrored volume as a file or block device: made, opened, locked and read at start.
//!
//! What is in it is decided by [`replication::meta`]. It is written, once a shard has it, by the shard's disk engine.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::ops::Range;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::{FileExt, FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use block::BlockError;
use replication::meta::layout::{HOT_EXTENTS_DEFAULT, Layout, Place};
use replication::meta::{self, Fresh, OpenError, Opened};
use thiserror::Error;

use crate::disk::block_error;
use crate::file::{is_device, sync_directory_of};
use crate::sys::file::{block_device_bytes, direct_alignment, free_bytes, try_lock};

/// Direct writes are of whole records, which begin at multiples of this and lie in memory that does.
const DIRECT_UNIT: u32 = 4096;
/// Zeros written, or looked for, at once.
const ZEROS_BYTES: usize = 1 << 20;
/// Where partition tables, file systems, LVM and md leave the marks that they are known by, and where both superblocks lie.
const MARKS_BYTES: u64 = 2 << 20;

/// Why metadata cannot be made or used.
#[derive(Debug, Error)]
pub enum MetadataError {
    /// No such file.
    #[error("{path}: no such file; make the volume's metadata, or say where it is", path = .0.display())]
    Missing(PathBuf),
    /// Nothing is overwritten.
    #[error(
        "{path}: exists already; remove it (on a device: say --overwrite-metadata) only if no volume needs it, since without \
         its metadata all of a volume is resynced",
        path = .0.display()
    )]
    Exists(PathBuf),
    /// A device that is not empty.
    #[error(
        "{path}: something is on the device already, which metadata would overwrite; look at it with `lsblk -f {path}`, name \
         another device, or say --overwrite-metadata if nobody needs it",
        path = .0.display()
    )]
    NotBlank(PathBuf),
    /// A directory, a pipe or the like.
    #[error("{path}: neither a regular file nor a block device", path = .0.display())]
    NotAFile(PathBuf),
    /// The kernel refuses.
    #[error("{path}: permission denied; run as root, or give the file to the user that serves it", path = .0.display())]
    Permission(PathBuf),
    /// Somebody else uses it.
    #[error("{path}: in use by another process (it holds the lock); stop that one first", path = .0.display())]
    Locked(PathBuf),
    /// The kernel itself uses the device, or has given it to somebody else.
    #[error(
        "{path}: in use: mounted, swapped to, or part of LVM or md; see `lsblk {path}` and `findmnt`, free it, or name another device",
        path = .0.display()
    )]
    InUse(PathBuf),
    /// The device has no room for it.
    #[error("{path}: the device has {found} bytes, the metadata needs {needed}; use a larger one", path = path.display())]
    TooSmall {
        /// Which device.
        path: PathBuf,
        /// What it has.
        found: u64,
        /// What is needed.
        needed: u64,
    },
    /// The file system has no room for it.
    #[error("{path}: the metadata needs {needed} bytes more, and {free} are free there; make room first", path = path.display())]
    NoRoom {
        /// Which file.
        path: PathBuf,
        /// What is needed.
        needed: u64,
        /// What there is.
        free: u64,
    },
    /// It says nothing that can be gone on with.
    #[error("{path}: {error}", path = path.display())]
    Open {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        error: OpenError,
    },
    /// Anything else the kernel says.
    #[error("{path}: {error}", path = path.display())]
    System {
        /// Which file.
        path: PathBuf,
        /// What the kernel said.
        error: io::Error,
    },
}

/// Open metadata, locked for this process alone.
#[derive(Debug)]
pub struct MetadataFile {
    path: PathBuf,
    /// Read at start.
    file: File,
    /// For writes; as `file` where the file system has no direct I/O.
    direct: Option<File>,
}

impl MetadataFile {
    /// Makes the metadata of a volume: a new file as long as it has to be, or on a block device that holds nothing yet. It is
    /// durable, its name included, when this returns; if it fails half-way there is no metadata.
    ///
    /// # Errors
    /// [`MetadataError`] names the file, what is wrong and the cure.
    pub fn create(path: &Path, fresh: &Fresh) -> Result<(), MetadataError> {
        if is_device(path) {
            let device = Self::open_for(path, fresh)?;
            if device.read().is_ok() {
                return Err(MetadataError::Exists(path.to_owned()));
            }
            let system = |error| MetadataError::System { path: path.to_owned(), error };
            if !is_blank(&device.file).map_err(system)? {
                return Err(MetadataError::NotBlank(path.to_owned()));
            }
            return fill(&device.file, fresh).map_err(system);
        }
        Self::create_file(path, fresh)
    }

    /// The same, and a block device loses what it holds.
    ///
    /// # Errors
    /// As [`MetadataFile::create`].
    pub fn overwrite(path: &Path, fresh: &Fresh) -> Result<(), MetadataError> {
        if is_device(path) {
            let device = Self::open_for(path, fresh)?;
            // What was there is gone before anything new is: half of one and half of the other would be read as something.
            let filled = erase(&device.file).and_then(|()| fill(&device.file, fresh));
            return filled.map_err(|error| MetadataError::System { path: path.to_owned(), error });
        }
        Self::create_file(path, fresh)
    }

    /// A block device that metadata was made on holds nothing any more.
    ///
    /// # Errors
    /// As [`MetadataFile::create`].
    pub fn erase(path: &Path) -> Result<(), MetadataError> {
        let device = Self::open(path)?;
        erase(&device.file).map_err(|error| MetadataError::System { path: path.to_owned(), error })
    }

    /// A device that is large enough.
    fn open_for(path: &Path, fresh: &Fresh) -> Result<Self, MetadataError> {
        let device = Self::open(path)?;
        let found = byte_count(&device.file)
            .map_err(|error| MetadataError::System { path: path.to_owned(), error })?;
        let needed = fresh.byte_count();
        if found < needed {
            return Err(MetadataError::TooSmall { path: path.to_owned(), found, needed });
        }
        Ok(device)
    }

    fn create_file(path: &Path, fresh: &Fresh) -> Result<(), MetadataError> {
        let system = |error| MetadataError::System { path: path.to_owned(), error };
        // What it says of a volume only its owner reads.
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
        let file = file.map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => MetadataError::Exists(path.to_owned()),
            io::ErrorKind::PermissionDenied => MetadataError::Permission(path.to_owned()),
            _ => system(error),
        })?;
        let filled = Self::check_free(path, fresh.byte_count())
            .and_then(|()| fill(&file, fresh).and_then(|()| sync_directory_of(path)).map_err(system));
        // What is there is of no use, and stands in the way of the next try.
        filled.inspect_err(|_| drop(std::fs::remove_file(path)))
    }

    /// Refuses a file system that has not so many bytes free as far as it says: who filled it, and gave them back then, would have others
    /// fail meanwhile. Of a device this says nothing.
    ///
    /// # Errors
    /// [`MetadataError::NoRoom`].
    pub fn check_free(path: &Path, needed: u64) -> Result<(), MetadataError> {
        if is_device(path) {
            return Ok(());
        }
        let directory = path.parent().unwrap_or(path);
        match free_bytes(path).or_else(|_| free_bytes(directory)) {
            Ok(Some(free)) if free < needed => {
                Err(MetadataError::NoRoom { path: path.to_owned(), needed, free })
            }
            _ => Ok(()),
        }
    }

    /// Opens and locks metadata, and has the kernel write out what a crashed process may have left in its cache. A device is ours alone
    /// as long as this lives: it cannot be mounted, nor be made part of anything.
    ///
    /// # Errors
    /// As [`MetadataFile::create`].
    pub fn open(path: &Path) -> Result<Self, MetadataError> {
        let system = |error| MetadataError::System { path: path.to_owned(), error };
        let file = open(path, 0)?;
        let kind = file.metadata().map_err(system)?.file_type();
        if !kind.is_file() && !kind.is_block_device() {
            return Err(MetadataError::NotAFile(path.to_owned()));
        }
        let lock = |file: &File| match try_lock(file, true).map_err(system)? {
            true => Ok(()),
            false => Err(MetadataError::Locked(path.to_owned())),
        };
        // It is claimed below, by the descriptor that it is written by.
        if kind.is_block_device() {
            lock(&file)?;
        }
        let alignment = direct_alignment(&file).map_err(system)?;
        let is_possible =
            alignment.is_some_and(|found| found.memory <= DIRECT_UNIT && found.offset <= DIRECT_UNIT);
        let claim = if kind.is_block_device() { libc::O_EXCL } else { 0 };
        let flags = claim | if is_possible { libc::O_DIRECT } else { 0 };
        let again = (flags != 0).then(|| open(path, flags));
        let direct = match again.transpose() {
            Err(error @ MetadataError::InUse(_)) => return Err(error),
            // Some file systems say that they have direct I/O, and then refuse it.
            opened => opened.ok().flatten(),
        };
        let opened = Self { path: path.to_owned(), file, direct };
        // The lock belongs to the open file, which the kernel keeps as long as a request of it is under way: on the one that is
        // written it outlasts the last write of a process that was killed.
        if kind.is_file() {
            lock(opened.written())?;
        }
        opened.file.sync_all().map_err(system)?;
        Ok(opened)
    }

    /// Reads all that a node begins with.
    ///
    /// # Errors
    /// [`MetadataError::Open`] if it cannot be gone on with; what can be done without is among the findings.
    pub fn read(&self) -> Result<Opened, MetadataError> {
        meta::open(|place, into| self.read_at(place, into))
            .map_err(|error| MetadataError::Open { path: self.path.clone(), error })
    }

    /// Makes metadata that is in use, or not, longer: long enough for a volume of so many sectors. What is there stays, also what comes
    /// there meanwhile because somebody else has made it longer. A block device has to be large enough already. If there is no room the
    /// file is as long as before.
    ///
    /// # Errors
    /// As [`MetadataFile::create`].
    pub fn extend(path: &Path, volume_sectors: u64) -> Result<(), MetadataError> {
        let (file, needed) = Self::open_to_grow(path, volume_sectors)?;
        lengthen(&file, needed).map_err(|error| MetadataError::System { path: path.to_owned(), error })
    }

    /// Whether that can be done, as far as can be told without doing it.
    ///
    /// # Errors
    /// As [`MetadataFile::create`].
    pub fn check_growth(path: &Path, volume_sectors: u64) -> Result<(), MetadataError> {
        Self::open_to_grow(path, volume_sectors).map(drop)
    }

    /// Where there is room for it, and how long it is to become.
    fn open_to_grow(path: &Path, volume_sectors: u64) -> Result<(File, u64), MetadataError> {
        let system = |error| MetadataError::System { path: path.to_owned(), error };
        let layout = Layout::new(volume_sectors, HOT_EXTENTS_DEFAULT);
        let needed = layout.map_err(|error| system(io::Error::other(error)))?.byte_count();
        let file = open_to_extend(path)?;
        let found = byte_count(&file).map_err(system)?;
        if found < needed {
            if !file.metadata().map_err(system)?.is_file() {
                return Err(MetadataError::TooSmall { path: path.to_owned(), found, needed });
            }
            Self::check_free(path, needed - found)?;
        }
        Ok((file, needed))
    }

    /// Sectors of the largest volume that this has room for.
    pub(crate) fn capacity(&self) -> u64 {
        Layout::volume_sectors_within(byte_count(&self.file).unwrap_or(0))
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The descriptor to write by, durably: whole records from aligned memory.
    pub(crate) fn file_number(&self) -> RawFd {
        self.written().as_raw_fd()
    }

    fn written(&self) -> &File {
        self.direct.as_ref().unwrap_or(&self.file)
    }

    fn read_at(&self, place: Place, into: &mut [u8]) -> Result<(), BlockError> {
        self.file.read_exact_at(into, place.0).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => BlockError::BeyondEnd,
            _ => block_error(error.raw_os_error().unwrap_or(libc::EIO)),
        })
    }
}

fn open(path: &Path, flags: i32) -> Result<File, MetadataError> {
    let flags = libc::O_CLOEXEC | libc::O_NONBLOCK | flags;
    OpenOptions::new().read(true).write(true).custom_flags(flags).open(path).map_err(|error| {
        match error.kind() {
            io::ErrorKind::NotFound => MetadataError::Missing(path.to_owned()),
            io::ErrorKind::PermissionDenied => MetadataError::Permission(path.to_owned()),
            io::ErrorKind::IsADirectory => MetadataError::NotAFile(path.to_owned()),
            io::ErrorKind::ResourceBusy => MetadataError::InUse(path.to_owned()),
            _ => MetadataError::System { path: path.to_owned(), error },
        }
    })
}

/// Whatever is written by it goes behind everything that is there in that moment.
fn open_to_extend(path: &Path) -> Result<File, MetadataError> {
    open(path, libc::O_APPEND)
}

/// Zeros at the end until it is so long, durably. If that fails all of them go again: a file system that is full makes others fail.
fn lengthen(file: &File, needed: u64) -> io::Result<()> {
    let (before, mut ours) = (byte_count(file)?, 0);
    let mut grow = || -> io::Result<()> {
        loop {
            let found = byte_count(file)?;
            if found >= needed {
                // Whoever has made it so long may not have made that durable yet.
                return file.sync_all();
            }
            ours += append_zeros(file, needed - found)?;
        }
    };
    grow().inspect_err(|_| {
        // What is wrong is told by what failed first.
        let _ = take_back(file, before, ours);
    })
}

/// Makes it as long as before, unless somebody else has made it longer as well.
fn take_back(file: &File, before: u64, ours: u64) -> io::Result<()> {
    if ours > 0 && byte_count(file)? == before + ours { file.set_len(before) } else { Ok(()) }
}

/// Some zeros at the end, not more than these; how many.
fn append_zeros(mut file: &File, bytes: u64) -> io::Result<u64> {
    let length = usize::try_from(bytes).map_or(ZEROS_BYTES, |bytes| bytes.min(ZEROS_BYTES));
    match file.write(&vec![0; length]) {
        Ok(0) => Err(io::ErrorKind::WriteZero.into()),
        Ok(written) => Ok(written as u64),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(0),
        Err(error) => Err(error),
    }
}

/// Whether nothing is known by its marks on a device that is large enough to have them.
fn is_blank(device: &File) -> io::Result<bool> {
    let mut bytes = vec![0; ZEROS_BYTES];
    for at in (0..MARKS_BYTES).step_by(ZEROS_BYTES) {
        device.read_exact_at(&mut bytes, at)?;
        if bytes.iter().any(|byte| *byte != 0) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Nothing is known by its marks any more.
fn erase(device: &File) -> io::Result<()> {
    write_zeros(device, 0..MARKS_BYTES)?;
    device.sync_all()
}

fn fill(file: &File, fresh: &Fresh) -> io::Result<()> {
    write_zeros(file, 0..fresh.byte_count())?;
    for (place, record) in fresh.bitmap_records() {
        file.write_all_at(&record, place.0)?;
    }
    file.sync_all()?;
    for (place, record) in fresh.superblock_records() {
        file.write_all_at(&record, place.0)?;
    }
    file.sync_all()
}

/// Zeros are written, not left out: no later write then needs room that the file system may not have, nor its journal.
fn write_zeros(file: &File, bytes: Range<u64>) -> io::Result<()> {
    let zeros = vec![0; ZEROS_BYTES];
    for at in bytes.clone().step_by(ZEROS_BYTES) {
        let length = usize::try_from(bytes.end - at).map_or(ZEROS_BYTES, |left| left.min(ZEROS_BYTES));
        file.write_all_at(&zeros[..length], at)?;
    }
    Ok(())
}

fn byte_count(file: &File) -> io::Result<u64> {
    let metadata = file.metadata()?;
    if metadata.file_type().is_block_device() { block_device_bytes(file) } else { Ok(metadata.len()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use replication::identity::{FormatIdentity, PairIdentity, VolumeIdentity};
    use replication::membership::{Members, Membership, NodeNumber};
    use std::os::unix::fs::PermissionsExt;

    fn fresh() -> Fresh {
        meta::format(format())
    }

    fn format() -> meta::Format {
        meta::Format {
            format: FormatIdentity(1),
            volume: VolumeIdentity(2),
            pair: PairIdentity(3),
            node: NodeNumber::One,
            layout: Layout::new(1 << 16, HOT_EXTENTS_DEFAULT).expect("a size"),
            membership: Membership { epoch: replication::membership::Epoch::FIRST, members: Members::Both },
            good: true,
        }
    }

    #[test]
    fn what_was_made_is_found_as_long_as_it_has_to_be_and_is_never_made_twice() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("volume.meta");
        MetadataFile::create(&path, &fresh()).expect("made");
        let file = path.metadata().expect("a file");
        assert_eq!((file.len(), file.permissions().mode() & 0o777), (fresh().byte_count(), 0o600));
        let error = MetadataFile::create(&path, &fresh()).expect_err("there is one");
        assert!(matches!(error, MetadataError::Exists(_)), "{error}");
        let opened = MetadataFile::open(&path).expect("opened").read().expect("metadata");
        assert_eq!(opened.superblock, fresh().superblock());
        assert_eq!(opened.findings.count, 0);
    }

    #[test]
    fn longer_metadata_has_room_for_a_larger_volume_and_says_what_it_said() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("volume.meta");
        MetadataFile::create(&path, &fresh()).expect("made");
        let file = MetadataFile::open(&path).expect("opened");
        let before = file.capacity();
        assert!((1 << 16..1 << 24).contains(&before), "{before}");
        MetadataFile::extend(&path, 1 << 24).expect("longer");
        MetadataFile::extend(&path, 1 << 20).expect("long enough");
        assert!(file.capacity() >= 1 << 24, "{}", file.capacity());
        assert_eq!(file.read().expect("metadata").superblock, fresh().superblock());
    }

    #[test]
    fn who_makes_it_longer_and_is_late_writes_over_nothing() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("volume.meta");
        MetadataFile::create(&path, &fresh()).expect("made");
        let late = open_to_extend(&path).expect("opened");
        let before = byte_count(&late).expect("a length");
        MetadataFile::extend(&path, 1 << 24).expect("longer");
        let record = [0xa5; 4096];
        let shard = MetadataFile::open(&path).expect("opened");
        shard.file.write_all_at(&record, before).expect("written");
        let longer = byte_count(&late).expect("a length");
        append_zeros(&late, longer - before).expect("longer than it has to be");
        let (mut found, mut first) = ([0; 4096], [0; 1]);
        shard.file.read_exact_at(&mut found, before).expect("it is there");
        assert!(found == record, "the record was written over");
        shard.file.read_exact_at(&mut first, longer).expect("it is longer");
        assert_eq!(shard.read().expect("metadata").superblock, fresh().superblock());
    }

    #[test]
    fn what_does_not_fit_leaves_a_file_system_as_it_was() {
        /// With 16 MiB of metadata.
        const LARGE: u64 = 1 << 30;
        let small = lab::disk::SmallFileSystem::new(8 << 20).expect("run as root");
        let (path, other) = (small.path().join("volume.meta"), small.path().join("other.meta"));
        MetadataFile::create(&path, &fresh()).expect("it fits");
        let free = || free_bytes(&path).expect("a file system").expect("of a size");
        let (length, before) = (fresh().byte_count(), free());
        for refused in [MetadataFile::check_growth(&path, LARGE), MetadataFile::extend(&path, LARGE)]
            .map(Result::unwrap_err)
        {
            let MetadataError::NoRoom { needed, free, .. } = refused else { panic!("{refused}") };
            assert!(needed > 8 << 20 && free == before, "{refused}");
        }
        let layout = Layout::new(LARGE, HOT_EXTENTS_DEFAULT).expect("a size");
        let large = meta::format(meta::Format { layout, ..format() });
        let refused = MetadataFile::create(&other, &large).expect_err("too long");
        assert!(matches!(refused, MetadataError::NoRoom { .. }) && !other.exists(), "{refused}");
        // Nobody has seen before that it does not fit: a quota, or somebody else was faster.
        let file = open_to_extend(&path).expect("opened");
        let error = lengthen(&file, 16 << 20).expect_err("no room");
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert_eq!((byte_count(&file).expect("a length"), free()), (length, before));
        MetadataFile::extend(&path, 1 << 20).expect("that much fits");
    }

    #[test]
    fn what_somebody_else_has_added_is_not_taken_back() {
        let file = tempfile::tempfile().expect("a file");
        file.set_len(8192).expect("room");
        take_back(&file, 2048, 4096).expect("as long as before");
        assert_eq!(byte_count(&file).expect("a length"), 8192);
        take_back(&file, 4096, 4096).expect("as long as before");
        assert_eq!(byte_count(&file).expect("a length"), 4096);
    }

    #[test]
    fn a_device_that_holds_something_is_overwritten_only_if_that_was_said() {
        let image = tempfile::NamedTempFile::new().expect("a file");
        image.as_file().set_len(8 << 20).expect("room");
        let device = lab::disk::LoopDevice::new(image.path(), 512).expect("run as root");
        let path = device.path();
        let file = OpenOptions::new().write(true).open(path).expect("a device");
        // As a file system, an LVM volume or md leaves it.
        for place in [0, 1080, 4096, 65536, (1 << 20) + 512] {
            file.write_all_at(&[0x53], place).expect("room");
            let error = MetadataFile::create(path, &fresh()).expect_err("something is there");
            assert!(matches!(error, MetadataError::NotBlank(_)), "{error}");
            file.write_all_at(&[0], place).expect("room");
        }
        MetadataFile::create(path, &fresh()).expect("nothing is there");
        let error = MetadataFile::create(path, &fresh()).expect_err("a volume's");
        assert!(matches!(error, MetadataError::Exists(_)), "{error}");
        let other = meta::format(meta::Format { volume: VolumeIdentity(9), ..format() });
        MetadataFile::overwrite(path, &other).expect("said");
        let opened = MetadataFile::open(path).expect("opened").read().expect("metadata");
        assert_eq!((opened.superblock.volume, opened.findings.count), (VolumeIdentity(9), 0));
        MetadataFile::erase(path).expect("a device");
        MetadataFile::create(path, &fresh()).expect("nothing is there any more");
        image.as_file().set_len(1 << 20).expect("shorter");
        device.reread_size().expect("a size");
        let error = MetadataFile::overwrite(path, &other).expect_err("no room");
        assert!(matches!(error, MetadataError::TooSmall { .. }), "{error}");
    }

    #[test]
    fn a_device_is_ours_alone() {
        let image = tempfile::NamedTempFile::new().expect("a file");
        image.as_file().set_len(8 << 20).expect("room");
        let device = lab::disk::LoopDevice::new(image.path(), 512).expect("run as root");
        // As the kernel holds what is mounted.
        let claim = || OpenOptions::new().read(true).custom_flags(libc::O_EXCL).open(device.path());
        let mounted = claim().expect("nobody else has it");
        for error in [
            MetadataFile::create(device.path(), &fresh()).expect_err("in use"),
            MetadataFile::overwrite(device.path(), &fresh()).expect_err("in use"),
        ] {
            assert!(
                matches!(error, MetadataError::InUse(_)) && error.to_string().contains("mounted"),
                "{error}"
            );
        }
        drop(mounted);
        MetadataFile::create(device.path(), &fresh()).expect("free again");
        let opened = MetadataFile::open(device.path()).expect("free again");
        assert_eq!(claim().map_err(|error| error.kind()).err(), Some(io::ErrorKind::ResourceBusy));
        MetadataFile::extend(device.path(), 1 << 16).expect("while it is in use");
        drop(opened);
        claim().expect("given back");
    }

    #[test]
    fn metadata_belongs_to_one_process_at_a_time() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("volume.meta");
        MetadataFile::create(&path, &fresh()).expect("made");
        let first = MetadataFile::open(&path).expect("free");
        let error = MetadataFile::open(&path).expect_err("locked");
        assert!(matches!(error, MetadataError::Locked(_)), "{error}");
        drop(first);
        MetadataFile::open(&path).expect("free again");
    }

    #[test]
    fn metadata_is_locked_until_the_last_write_of_its_process_has_ended() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("volume.meta");
        MetadataFile::create(&path, &fresh()).expect("made");
        let killed = MetadataFile::open(&path).expect("free");
        // As the kernel keeps it for a write that is under way.
        let under_way = killed.written().try_clone().expect("a descriptor");
        drop(killed);
        let error = MetadataFile::open(&path).expect_err("locked");
        assert!(matches!(error, MetadataError::Locked(_)), "{error}");
        drop(under_way);
        MetadataFile::open(&path).expect("free again");
    }

    #[test]
    fn what_is_missing_no_file_or_no_metadata_is_refused_by_name() {
        let directory = tempfile::tempdir().expect("a directory");
        let missing = MetadataFile::open(&directory.path().join("nothing")).expect_err("missing");
        assert!(matches!(missing, MetadataError::Missing(_)), "{missing}");
        let error = MetadataFile::open(directory.path()).expect_err("a directory");
        assert!(matches!(error, MetadataError::NotAFile(_)), "{error}");
        let empty = directory.path().join("empty");
        std::fs::write(&empty, [0; 8192]).expect("a file");
        let error = MetadataFile::open(&empty).expect("a file").read().expect_err("zeros");
        assert!(matches!(error, MetadataError::Open { .. }), "{error}");
    }
}
