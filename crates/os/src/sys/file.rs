//! System calls on files that the standard library does not have: durable writes at a place, what direct I/O
//! demands, the size of a block device, locks, event counters and waiting for several descriptors.
//!
//! Unsafe because each is a raw system call with addresses or an out-parameter.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use block::Duration;

use super::memory::Buffers;
use crate::disk_engine::{Action, DiskOperation};

/// Performs one operation now. Returns bytes moved or the negated error number, as io_uring does.
pub(crate) fn perform(operation: &DiskOperation) -> i32 {
    let DiskOperation { file, offset, action, .. } = *operation;
    let Ok(offset) = libc::off_t::try_from(offset) else { return -libc::EINVAL };
    let result = match action {
        Action::Read(data) => with_vector(data, |vector, count| {
            // SAFETY: the vector and the memory it names stay until this operation's result was taken.
            unsafe { libc::preadv(file, vector, count, offset) }
        }),
        Action::Write { data, durable } => with_vector(data, |vector, count| {
            let flags = if durable { libc::RWF_DSYNC } else { 0 };
            // SAFETY: as above.
            unsafe { libc::pwritev2(file, vector, count, offset, flags) }
        }),
        // SAFETY: takes only a descriptor.
        Action::Sync => unsafe { libc::fdatasync(file) as isize },
    };
    if result < 0 {
        return -io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO);
    }
    i32::try_from(result).unwrap_or(i32::MAX)
}

fn with_vector<R>(data: Buffers, call: impl FnOnce(*const libc::iovec, libc::c_int) -> R) -> R {
    match data {
        Buffers::One(slice) => call((&raw const slice).cast(), 1),
        Buffers::Many { first, count } => {
            call(first.cast(), libc::c_int::try_from(count).expect("a row is short"))
        }
    }
}

/// Whether anything was ever written to a file, where the file system knows; elsewhere all of it counts as written.
pub(crate) fn was_written(file: &File) -> bool {
    // SAFETY: takes only a descriptor and numbers.
    let first = unsafe { libc::lseek(file.as_raw_fd(), 0, libc::SEEK_DATA) };
    first >= 0 || io::Error::last_os_error().raw_os_error() != Some(libc::ENXIO)
}

/// What direct I/O on a file demands, in bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct DirectAlignment {
    pub(crate) memory: u32,
    pub(crate) offset: u32,
}

/// What direct I/O demands here, or `None` if the file system cannot do it.
pub(crate) fn direct_alignment(file: &File) -> io::Result<Option<DirectAlignment>> {
    // SAFETY: all-zero is a valid value of this plain structure.
    let mut status: libc::statx = unsafe { std::mem::zeroed() };
    // SAFETY: the path is a literal, the out-parameter is ours.
    let result = unsafe {
        libc::statx(
            file.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            libc::STATX_DIOALIGN,
            &raw mut status,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    if status.stx_mask & libc::STATX_DIOALIGN == 0 {
        // A kernel before 6.1 does not say; the logical block size is always enough.
        return Ok(Some(DirectAlignment { memory: 4096, offset: logical_block_size(file).unwrap_or(4096) }));
    }
    if status.stx_dio_offset_align == 0 {
        return Ok(None);
    }
    Ok(Some(DirectAlignment { memory: status.stx_dio_mem_align, offset: status.stx_dio_offset_align }))
}

/// Whether a regular file has no data from there to its end: it reads as zeros. `false` if that is not known.
pub(crate) fn is_hole_from(file: &File, offset: u64) -> bool {
    let Ok(offset) = libc::off_t::try_from(offset) else { return false };
    // SAFETY: takes no addresses. It moves the file's position, which nobody here uses.
    let data = unsafe { libc::lseek(file.as_raw_fd(), offset, libc::SEEK_DATA) };
    data < 0 && io::Error::last_os_error().raw_os_error() == Some(libc::ENXIO)
}

/// Bytes that the file system of a path has free for everybody; `None` if it does not say how large it is.
pub(crate) fn free_bytes(path: &Path) -> io::Result<Option<u64>> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: all-zero is a valid value of this plain structure.
    let mut found: libc::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY: the path ends with a zero, the out-parameter is ours.
    if unsafe { libc::statvfs(path.as_ptr(), &raw mut found) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok((found.f_blocks > 0).then(|| found.f_bavail.saturating_mul(found.f_frsize)))
}

/// Size of a block device in bytes.
pub(crate) fn block_device_bytes(device: &File) -> io::Result<u64> {
    const BLKGETSIZE64: libc::Ioctl = 0x8008_1272;
    let mut bytes = 0u64;
    // SAFETY: this call writes one u64 to the given address.
    let result = unsafe { libc::ioctl(device.as_raw_fd(), BLKGETSIZE64, &raw mut bytes) };
    if result == 0 { Ok(bytes) } else { Err(io::Error::last_os_error()) }
}

/// Logical block size of a block device in bytes; `None` for anything else.
pub(crate) fn logical_block_size(device: &File) -> Option<u32> {
    const BLKSSZGET: libc::Ioctl = 0x1268;
    let mut bytes = 0i32;
    // SAFETY: this call writes one int to the given address.
    let result = unsafe { libc::ioctl(device.as_raw_fd(), BLKSSZGET, &raw mut bytes) };
    if result == 0 { u32::try_from(bytes).ok() } else { None }
}

/// Locks the whole file against other openers that lock it too: for us alone, or shared with other readers.
/// Returns `false` if somebody else holds it.
pub(crate) fn try_lock(file: &File, exclusive: bool) -> io::Result<bool> {
    let kind = if exclusive { libc::LOCK_EX } else { libc::LOCK_SH };
    // SAFETY: takes only a descriptor and flags.
    if unsafe { libc::flock(file.as_raw_fd(), kind | libc::LOCK_NB) } == 0 {
        return Ok(true);
    }
    let error = io::Error::last_os_error();
    if error.kind() == io::ErrorKind::WouldBlock { Ok(false) } else { Err(error) }
}

/// Gives a lock back at once. Closing the file does not while a process that was just forked has it open as well.
pub(crate) fn unlock(file: &File) -> io::Result<()> {
    // SAFETY: takes only a descriptor and flags.
    if unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_UN) } == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// A counter that another thread can make readable to end a sleep.
#[derive(Debug)]
pub(crate) struct EventFd(OwnedFd);

impl EventFd {
    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY: takes no addresses.
        let file = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if file < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: a fresh descriptor that nobody else owns.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(file) }))
    }

    /// Makes it readable.
    pub(crate) fn signal(&self) {
        let one = 1u64;
        // SAFETY: eight bytes of a live variable. It fails only when the counter is full, and then it is readable.
        unsafe { libc::write(self.0.as_raw_fd(), (&raw const one).cast(), 8) };
    }

    /// Makes it unreadable; whether it was readable.
    pub(crate) fn clear(&self) -> bool {
        let mut count = 0u64;
        // SAFETY: eight bytes of a live variable. It fails only when there is nothing to clear.
        unsafe { libc::read(self.0.as_raw_fd(), (&raw mut count).cast(), 8) > 0 }
    }
}

impl AsRawFd for EventFd {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// Sleeps until one of `files` (at most 64) is readable or `timeout` has passed.
pub(crate) fn poll_readable(files: &[RawFd], timeout: Option<Duration>) -> io::Result<()> {
    let mut set = [libc::pollfd { fd: -1, events: libc::POLLIN, revents: 0 }; 64];
    assert!(files.len() <= set.len(), "a shard has few descriptors");
    for (entry, file) in set.iter_mut().zip(files) {
        entry.fd = *file;
    }
    let timespec = timeout.map(|t| libc::timespec {
        tv_sec: libc::time_t::try_from(t.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: i64::from(t.subsec_nanos()),
    });
    let timespec = timespec.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: the set has as many entries as we say, the timeout is null or live, there is no signal mask.
    let result =
        unsafe { libc::ppoll(set.as_mut_ptr(), files.len() as libc::nfds_t, timespec, std::ptr::null()) };
    if result >= 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    if error.kind() == io::ErrorKind::Interrupted { Ok(()) } else { Err(error) }
}
