//! Memory from `mmap`. Unsafe because the standard library has no mapping; nothing here reads or writes the memory.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::{self, NonNull};

/// A mapping that lives as long as this value and never moves.
#[derive(Debug)]
pub(crate) struct Mapping {
    address: NonNull<u8>,
    length: usize,
}

// SAFETY: a mapping is plain memory; who may touch it when is decided by the types that own a `Mapping`.
unsafe impl Send for Mapping {}

impl Mapping {
    /// Zeroed private memory, page aligned, taken from the machine when first touched.
    pub(crate) fn anonymous(length: usize) -> io::Result<Self> {
        Self::map(length, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0)
    }

    /// The memory behind a descriptor (a packet ring), shared with the kernel.
    pub(crate) fn shared(descriptor: BorrowedFd<'_>, length: usize) -> io::Result<Self> {
        Self::shared_at(descriptor, length, 0)
    }

    /// The same for a descriptor with several memories, each at an offset of its own.
    pub(crate) fn shared_at(
        descriptor: BorrowedFd<'_>,
        length: usize,
        offset: libc::off_t,
    ) -> io::Result<Self> {
        Self::map(length, libc::MAP_SHARED | libc::MAP_POPULATE, descriptor.as_raw_fd(), offset)
    }

    fn map(
        length: usize,
        flags: libc::c_int,
        descriptor: libc::c_int,
        offset: libc::off_t,
    ) -> io::Result<Self> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: no address is asked for, so no mapping that somebody holds is replaced.
        let address = unsafe { libc::mmap(ptr::null_mut(), length, protection, flags, descriptor, offset) };
        if address == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let address =
            NonNull::new(address.cast()).ok_or_else(|| io::Error::other("mapped at address zero"))?;
        Ok(Self { address, length })
    }

    /// First byte.
    pub(crate) const fn address(&self) -> *mut u8 {
        self.address.as_ptr()
    }

    /// Bytes.
    pub(crate) const fn length(&self) -> usize {
        self.length
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: exactly what `mmap` gave out; the owner is going away, and with it every borrow of the memory.
        let result = unsafe { libc::munmap(self.address.as_ptr().cast(), self.length) };
        assert!(result == 0, "a mapping that was made can be unmade");
    }
}
