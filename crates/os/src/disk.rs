//! The disk behind one export: a regular file or a block device, opened, checked and locked.
//!
//! It decides how the file is used (direct or through the page cache) and what a result of the kernel means. It never
//! does the I/O of a request itself; that is the engine's.

use std::fs::{File, FileType, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use block::{BlockError, Geometry, GeometryError, LogicalSectorSize, SECTOR_BYTES};
use thiserror::Error;

use crate::page_cache::PageCache;
use crate::sys::file::{
    block_device_bytes, direct_alignment, is_hole_from, logical_block_size, try_lock, unlock,
};

/// Whether reads are served from memory where they can be.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum ReadCache {
    /// Direct I/O: every read comes from the disk.
    #[default]
    None,
    /// Through the kernel's page cache: for an image that many initiators read.
    Page,
}

/// How to open a disk.
#[derive(Clone, Debug, Default)]
pub struct DiskOptions {
    /// The file or block device.
    pub path: PathBuf,
    /// First byte of the volume in the file.
    pub offset: u64,
    /// Bytes of the volume; all that follow `offset` if not given.
    pub length: Option<u64>,
    /// Never write.
    pub read_only: bool,
    /// Serve reads from memory?
    pub read_cache: ReadCache,
    /// Unit of the disk; found out if not given.
    pub logical_sector_size: Option<LogicalSectorSize>,
}

/// Why a disk cannot be exported.
#[derive(Debug, Error)]
pub enum DiskError {
    /// No such file.
    #[error("{path}: no such file; make one with `truncate -s 10G {path}`", path = .0.display())]
    Missing(PathBuf),
    /// A directory, a pipe or the like.
    #[error("{path}: neither a regular file nor a block device", path = .0.display())]
    NotADisk(PathBuf),
    /// The kernel refuses.
    #[error("{path}: permission denied; run as root, or export it with --read-only", path = .0.display())]
    Permission(PathBuf),
    /// Somebody else exports or uses it.
    #[error("{path}: in use by another process (it holds the lock); stop that one first", path = .0.display())]
    Locked(PathBuf),
    /// The kernel itself uses the device, or has given it to somebody else.
    #[error(
        "{path}: in use: mounted, swapped to, or part of LVM or md; see `lsblk {path}` and `findmnt`, free it, or name another device",
        path = .0.display()
    )]
    InUse(PathBuf),
    /// Its size is not one of a disk.
    #[error("{path}: {error}", path = path.display())]
    Geometry {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        error: GeometryError,
    },
    /// `--offset` or `--length` reach beyond it.
    #[error(
        "{path}: --offset {offset} and --length {length} reach beyond its {bytes} bytes",
        path = path.display()
    )]
    BeyondEnd {
        /// Which file.
        path: PathBuf,
        /// First byte asked for.
        offset: u64,
        /// Bytes asked for.
        length: u64,
        /// Bytes there.
        bytes: u64,
    },
    /// `--offset` splits a sector.
    #[error("{path}: --offset {offset} is not a multiple of the sector size, {unit} bytes", path = path.display())]
    OffsetUnaligned {
        /// Which file.
        path: PathBuf,
        /// First byte asked for.
        offset: u64,
        /// Size of a sector.
        unit: usize,
    },
    /// The disk cannot do sectors as small as asked for.
    #[error("{path}: its disk has sectors of {disk} bytes; use --sector-size {disk}", path = path.display())]
    SectorTooSmall {
        /// Which file.
        path: PathBuf,
        /// What the disk needs.
        disk: u32,
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

/// An open disk.
#[derive(Debug)]
pub struct Disk {
    path: PathBuf,
    file: File,
    offset: u64,
    /// As asked for; `None` follows the file's size.
    length: Option<u64>,
    geometry: Geometry,
    read_only: bool,
    direct: bool,
    memory_alignment: usize,
    cache: Option<PageCache>,
}

impl Disk {
    /// Opens, checks and locks the disk. A device that may be written is ours alone as long as this lives: it cannot be mounted, nor
    /// be made part of anything.
    ///
    /// # Errors
    /// [`DiskError`] names the file, what is wrong and the cure.
    pub fn open(options: &DiskOptions) -> Result<Self, DiskError> {
        let path = &options.path;
        let system = |error| DiskError::System { path: path.clone(), error };
        let file = open(path, options.read_only, 0)?;
        let kind = kind(path, &file)?;
        if !try_lock(&file, !options.read_only).map_err(system)? {
            return Err(DiskError::Locked(path.clone()));
        }
        let alignment = match options.read_cache {
            ReadCache::None => direct_alignment(&file).map_err(system)?,
            ReadCache::Page => None,
        };
        // What is only read may be somebody else's.
        let is_claimed = kind.is_block_device() && !options.read_only;
        let (file, direct) = reopen(path, file, options.read_only, is_claimed, alignment.is_some())?;
        if !direct && options.read_cache == ReadCache::None {
            tracing::warn!(
                "{}: no direct I/O on this file system, so its page cache is used",
                path.display()
            );
        }
        if !options.read_only {
            // A process that was killed may have left writes in a cache. Whoever reads them is to find them again after a
            // loss of power, too.
            file.sync_data().map_err(system)?;
        }
        let unit = sector_size(options, &file, alignment.map_or(512, |a| a.offset))?;
        let geometry = geometry(path, &file, options, unit)?;
        let mut disk = Self {
            path: path.clone(),
            file,
            offset: options.offset,
            length: options.length,
            geometry,
            read_only: options.read_only,
            direct,
            memory_alignment: alignment.map_or(1, |a| a.memory.max(1) as usize),
            cache: None,
        };
        if options.read_cache == ReadCache::Page {
            disk.cache = Some(disk.map_cache().map_err(system)?);
        }
        Ok(disk)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its size and unit.
    #[must_use]
    pub const fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// Whether it is never written.
    #[must_use]
    pub const fn read_only(&self) -> bool {
        self.read_only
    }

    /// Whether the page cache is bypassed.
    #[must_use]
    pub const fn direct(&self) -> bool {
        self.direct
    }

    /// Looks at the size of the file again; returns the new one if it has changed.
    ///
    /// # Errors
    /// If the file is now no disk any more (empty, a broken size); the old geometry stays.
    pub fn refresh(&mut self) -> Result<Option<Geometry>, DiskError> {
        let options = DiskOptions {
            path: self.path.clone(),
            offset: self.offset,
            length: self.length,
            ..DiskOptions::default()
        };
        let new = geometry(&self.path, &self.file, &options, self.geometry.logical_sector_size())?;
        if new == self.geometry {
            return Ok(None);
        }
        self.geometry = new;
        if self.cache.is_some() {
            let system = |error| DiskError::System { path: self.path.clone(), error };
            self.cache = Some(self.map_cache().map_err(system)?);
        }
        Ok(Some(new))
    }

    /// Whether everything from this sector on is known to read as zeros: a part of the file that was never written.
    pub(crate) fn is_zero_from(&self, lba: block::Lba) -> bool {
        let is_file = self.file.metadata().is_ok_and(|metadata| metadata.is_file());
        is_file && is_hole_from(&self.file, self.byte_offset(lba))
    }

    pub(crate) fn file_number(&self) -> RawFd {
        self.file.as_raw_fd()
    }

    /// The byte of the file at which the given sector begins.
    pub(crate) const fn byte_offset(&self, lba: block::Lba) -> u64 {
        self.offset + lba.byte_offset()
    }

    /// Whether the kernel takes direct I/O from or to this address.
    pub(crate) fn aligned(&self, address: *const u8) -> bool {
        (address as usize).is_multiple_of(self.memory_alignment)
    }

    pub(crate) const fn cache(&mut self) -> Option<&mut PageCache> {
        self.cache.as_mut()
    }

    fn map_cache(&self) -> io::Result<PageCache> {
        PageCache::new(&self.file, self.offset + self.geometry.sectors() * SECTOR_BYTES as u64)
    }
}

/// What a negated error number of the kernel means for the initiator.
pub(crate) fn block_error(errno: i32) -> BlockError {
    match errno {
        libc::ENOSPC | libc::EDQUOT | libc::EFBIG => BlockError::NoSpace,
        libc::EROFS | libc::EPERM | libc::EBADF => BlockError::ReadOnly,
        libc::ENODEV | libc::ENXIO | libc::ESHUTDOWN => BlockError::Gone,
        _ => BlockError::Medium,
    }
}

fn open(path: &Path, read_only: bool, flags: i32) -> Result<File, DiskError> {
    OpenOptions::new()
        .read(true)
        .write(!read_only)
        .custom_flags(libc::O_CLOEXEC | libc::O_NONBLOCK | flags)
        .open(path)
        .map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => DiskError::Missing(path.to_owned()),
            io::ErrorKind::PermissionDenied => DiskError::Permission(path.to_owned()),
            io::ErrorKind::IsADirectory => DiskError::NotADisk(path.to_owned()),
            io::ErrorKind::ResourceBusy => DiskError::InUse(path.to_owned()),
            _ => DiskError::System { path: path.to_owned(), error },
        })
}

fn kind(path: &Path, file: &File) -> Result<FileType, DiskError> {
    let kind =
        file.metadata().map_err(|error| DiskError::System { path: path.to_owned(), error })?.file_type();
    if kind.is_file() || kind.is_block_device() {
        Ok(kind)
    } else {
        Err(DiskError::NotADisk(path.to_owned()))
    }
}

/// The locked file again, as it is to be used: claimed for us if it is a device to be written, and direct if the file system has
/// that; whether it has.
fn reopen(
    path: &Path,
    file: File,
    read_only: bool,
    is_claimed: bool,
    is_direct: bool,
) -> Result<(File, bool), DiskError> {
    let flags = if is_claimed { libc::O_EXCL } else { 0 } | if is_direct { libc::O_DIRECT } else { 0 };
    if flags == 0 {
        return Ok((file, false));
    }
    match open(path, read_only, flags) {
        // The lock belongs to the open file: take it on the new one while the old one still holds it shared, so that nobody slips
        // in between.
        Ok(new) => Ok((relock(path, file, new, !read_only)?, is_direct)),
        Err(DiskError::System { error, .. }) if error.raw_os_error() == Some(libc::EINVAL) && is_direct => {
            reopen(path, file, read_only, is_claimed, false)
        }
        Err(error) => Err(error),
    }
}

fn relock(path: &Path, old: File, new: File, exclusive: bool) -> Result<File, DiskError> {
    let system = |error| DiskError::System { path: path.to_owned(), error };
    // Two open files of one process conflict like those of two processes, so step down to shared first.
    let shared = try_lock(&old, false).map_err(system)? && try_lock(&new, false).map_err(system)?;
    unlock(&old).map_err(system)?;
    drop(old);
    if shared && try_lock(&new, exclusive).map_err(system)? {
        Ok(new)
    } else {
        Err(DiskError::Locked(path.to_owned()))
    }
}

fn sector_size(options: &DiskOptions, file: &File, direct_unit: u32) -> Result<LogicalSectorSize, DiskError> {
    let needed = direct_unit.max(logical_block_size(file).unwrap_or(512));
    let disk = if needed > 512 { LogicalSectorSize::B4096 } else { LogicalSectorSize::B512 };
    match options.logical_sector_size {
        Some(asked) if asked.bytes() < disk.bytes() => {
            Err(DiskError::SectorTooSmall { path: options.path.clone(), disk: needed })
        }
        Some(asked) => Ok(asked),
        None => Ok(disk),
    }
}

fn geometry(
    path: &Path,
    file: &File,
    options: &DiskOptions,
    unit: LogicalSectorSize,
) -> Result<Geometry, DiskError> {
    let system = |error| DiskError::System { path: path.to_owned(), error };
    let metadata = file.metadata().map_err(system)?;
    let bytes = if metadata.file_type().is_block_device() {
        block_device_bytes(file).map_err(system)?
    } else {
        metadata.len()
    };
    let offset = options.offset;
    if !offset.is_multiple_of(unit.bytes() as u64) {
        return Err(DiskError::OffsetUnaligned { path: path.to_owned(), offset, unit: unit.bytes() });
    }
    let rest = bytes.saturating_sub(offset);
    let length = options.length.unwrap_or(rest);
    if length > rest || (offset > 0 && rest == 0) {
        return Err(DiskError::BeyondEnd { path: path.to_owned(), offset, length, bytes });
    }
    Geometry::from_bytes(length, unit).map_err(|error| DiskError::Geometry { path: path.to_owned(), error })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn image(bytes: usize) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        file.write_all(&vec![0; bytes]).expect("its bytes");
        file
    }

    fn options(path: &Path) -> DiskOptions {
        DiskOptions { path: path.to_owned(), ..DiskOptions::default() }
    }

    #[test]
    fn a_missing_an_empty_and_an_uneven_file_are_refused_by_name() {
        let missing = Disk::open(&options(Path::new("/nonexistent/disk.img"))).expect_err("missing");
        assert!(matches!(missing, DiskError::Missing(_)));
        let empty = image(0);
        let error = Disk::open(&options(empty.path())).expect_err("empty");
        assert!(matches!(error, DiskError::Geometry { error: GeometryError::Empty, .. }));
        let uneven = image(1000);
        let error = Disk::open(&options(uneven.path())).expect_err("uneven");
        assert!(error.to_string().contains("not a multiple of 512"), "{error}");
        let directory = tempfile::tempdir().expect("a directory");
        let error = Disk::open(&options(directory.path())).expect_err("a directory");
        assert!(matches!(error, DiskError::NotADisk(_)));
    }

    #[test]
    fn a_disk_is_exported_once_for_writing_and_often_for_reading() {
        let file = image(4096);
        let first = Disk::open(&options(file.path())).expect("first");
        let second = Disk::open(&options(file.path())).expect_err("locked");
        assert!(matches!(second, DiskError::Locked(_)), "{second}");
        drop(first);
        let read_only = DiskOptions { read_only: true, ..options(file.path()) };
        let _first = Disk::open(&read_only).expect("first reader");
        let _second = Disk::open(&read_only).expect("second reader");
        assert!(matches!(Disk::open(&options(file.path())), Err(DiskError::Locked(_))));
    }

    #[test]
    fn a_lock_moves_to_a_new_descriptor_while_the_old_one_is_open_elsewhere() {
        let file = image(4096);
        let open = || OpenOptions::new().read(true).write(true).open(file.path()).expect("there");
        let (old, new) = (open(), open());
        assert!(try_lock(&old, true).expect("a lock"));
        // As a process has it between fork and exec.
        let elsewhere = old.try_clone().expect("a descriptor");
        let new = relock(file.path(), old, new, true).expect("nobody else wants it");
        assert!(!try_lock(&elsewhere, false).expect("an answer"), "it is ours");
        drop(new);
    }

    #[test]
    fn a_device_that_is_written_is_ours_alone() {
        let file = image(1 << 20);
        let device = lab::disk::LoopDevice::new(file.path(), 512).expect("run as root");
        let device = device.path();
        // As the kernel holds what is mounted.
        let claim = || OpenOptions::new().read(true).custom_flags(libc::O_EXCL).open(device);
        let mounted = claim().expect("nobody else has it");
        let error = Disk::open(&options(device)).expect_err("in use");
        assert!(matches!(error, DiskError::InUse(_)) && error.to_string().contains("mounted"), "{error}");
        let reader = DiskOptions { read_only: true, ..options(device) };
        drop(Disk::open(&reader).expect("what is mounted may be read"));
        drop(mounted);
        for read_cache in [ReadCache::None, ReadCache::Page] {
            let disk = Disk::open(&DiskOptions { read_cache, ..options(device) }).expect("free again");
            assert_eq!(claim().map_err(|error| error.kind()).err(), Some(io::ErrorKind::ResourceBusy));
            let second = Disk::open(&options(device)).expect_err("locked");
            assert!(matches!(second, DiskError::Locked(_)), "{second}");
            drop(disk);
        }
        claim().expect("given back");
    }

    #[test]
    fn offset_and_length_select_a_part() {
        let file = image(16384);
        let part = DiskOptions { offset: 4096, length: Some(8192), ..options(file.path()) };
        let disk = Disk::open(&part).expect("a part");
        assert_eq!(disk.geometry().sectors(), 16);
        assert_eq!(disk.byte_offset(block::Lba(1)), 4608);
        drop(disk);
        let beyond = DiskOptions { offset: 4096, length: Some(16384), ..options(file.path()) };
        assert!(matches!(Disk::open(&beyond), Err(DiskError::BeyondEnd { bytes: 16384, .. })));
        let split = DiskOptions { offset: 100, ..options(file.path()) };
        assert!(matches!(Disk::open(&split), Err(DiskError::OffsetUnaligned { .. })));
    }

    #[test]
    fn what_was_never_written_is_known_to_be_zero() {
        let file = image(1 << 20);
        file.as_file().set_len(2 << 20).expect("longer");
        let disk = Disk::open(&options(file.path())).expect("a disk");
        assert!(disk.is_zero_from(block::Lba(2048)));
        assert!(!disk.is_zero_from(block::Lba(2047)));
    }

    #[test]
    fn a_grown_file_is_noticed() {
        let mut file = image(4096);
        let mut disk = Disk::open(&options(file.path())).expect("a disk");
        assert!(disk.refresh().expect("still a disk").is_none());
        file.write_all(&[0; 4096]).expect("more");
        let new = disk.refresh().expect("still a disk").expect("grown");
        assert_eq!(new.sectors(), 16);
        file.as_file().set_len(0).expect("emptied");
        assert!(disk.refresh().is_err());
        assert_eq!(disk.geometry().sectors(), 16);
    }
}
