//! Memory that the kernel reads and writes on our behalf: anonymous pages for buffers, and files mapped read-only.
//!
//! Unsafe because `mmap` is. What leaves here are plain addresses with lengths ([`IoSlice`]): the kernel and the
//! CPU both touch that memory, so it is never handed out as a long-lived Rust reference.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::ptr::NonNull;

use super::large_pages;

/// An address range that the kernel may read or write.
///
/// Whoever makes one owns the memory and keeps it mapped until the last operation on it has completed.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct IoSlice {
    address: *mut u8,
    length: usize,
}

// SAFETY: it is an address and a number; using either is what needs care, and that care is the owner's promise above.
unsafe impl Send for IoSlice {}

// A row of slices is what the kernel calls a vector.
const _: () = assert!(
    size_of::<IoSlice>() == size_of::<libc::iovec>()
        && std::mem::offset_of!(IoSlice, address) == std::mem::offset_of!(libc::iovec, iov_base)
        && std::mem::offset_of!(IoSlice, length) == std::mem::offset_of!(libc::iovec, iov_len)
);

/// The memory of one operation: one range, or several that are filled or written in this order.
///
/// Whoever makes a `Many` keeps the row itself, besides the memory it names, in its place and as it is until the operation
/// has completed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Buffers {
    One(IoSlice),
    Many { first: *const IoSlice, count: u32 },
}

// SAFETY: as for `IoSlice`.
unsafe impl Send for Buffers {}

impl Buffers {
    /// All of a row that stays where it is.
    pub(crate) fn many(row: &[IoSlice]) -> Self {
        Self::Many { first: row.as_ptr(), count: u32::try_from(row.len()).expect("a row is short") }
    }
}

impl IoSlice {
    /// Where it begins.
    pub(crate) const fn address(self) -> *mut u8 {
        self.address
    }

    /// How many bytes.
    pub(crate) const fn length(self) -> usize {
        self.length
    }

    /// No memory at all.
    pub(crate) const fn empty() -> Self {
        Self { address: std::ptr::null_mut(), length: 0 }
    }

    /// The part from `start` on, `length` bytes long.
    ///
    /// # Panics
    /// If that part is not inside.
    pub(crate) fn part(self, start: usize, length: usize) -> Self {
        assert!(start.checked_add(length).is_some_and(|end| end <= self.length), "part outside of its slice");
        Self { address: self.address.wrapping_add(start), length }
    }

    /// The memory of a received frame, which its port keeps until the frame is released.
    pub(crate) const fn received(frame: &[u8]) -> Self {
        Self { address: frame.as_ptr().cast_mut(), length: frame.len() }
    }

    /// Copies the bytes of `from` here; the two must be equally long and not overlap.
    ///
    /// # Panics
    /// If they are not.
    pub(crate) fn copy_from(self, from: &[u8]) {
        assert_eq!(self.length, from.len(), "lengths differ");
        // SAFETY: the destination is mapped and writable by this type's contract and as long as the source; `from` is
        // a live reference, which by Rust's rules nothing else writes, so the two cannot overlap.
        unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), self.address, self.length) }
    }

    /// Copies the bytes of `from`, which may be any other slice of ours.
    ///
    /// # Panics
    /// If the lengths differ.
    pub(crate) fn copy_from_slice(self, from: Self) {
        assert_eq!(self.length, from.length, "lengths differ");
        // SAFETY: both are mapped by this type's contract; `copy` allows overlap.
        unsafe { std::ptr::copy(from.address, self.address, self.length) }
    }

    /// Asks the processor to bring the bytes closer, without waiting for them.
    pub(crate) fn prefetch(self) {
        const LINE_BYTES: usize = 64;
        #[cfg(target_arch = "x86_64")]
        for line in (0..self.length).step_by(LINE_BYTES) {
            use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
            // SAFETY: a prefetch is a hint; it faults at no address whatever.
            unsafe { _mm_prefetch::<_MM_HINT_T1>(self.address.wrapping_add(line).cast_const().cast()) }
        }
    }

    /// The bytes, for a look while nothing writes them: the caller has given this memory to no operation that does.
    pub(crate) const fn look<'a>(self) -> &'a [u8] {
        // SAFETY: mapped and `length` long by this type's contract. Inside this crate only memory that the shard
        // holds for itself at that moment is looked at: a frame just copied or received, a payload queued to be sent.
        unsafe { std::slice::from_raw_parts(self.address, self.length) }
    }
}

/// A mapping, unmapped when dropped.
#[derive(Debug)]
pub(crate) struct Memory {
    address: NonNull<u8>,
    length: usize,
}

// SAFETY: a mapping belongs to the process, not to the thread that made it.
unsafe impl Send for Memory {}

impl Memory {
    /// `length` bytes of zeroed, page-aligned memory that takes up space only once touched, on large pages if it is large.
    ///
    /// # Errors
    /// If the kernel has no room.
    pub(crate) fn anonymous(length: usize) -> io::Result<Self> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let memory = Self::map(length, protection, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1)?;
        large_pages::advise(memory.address.as_ptr(), length);
        Ok(memory)
    }

    /// The first `length` bytes of `file`, read-only and shared with its page cache.
    ///
    /// Touching a page that cannot be read raises a signal, so these bytes are only ever given to the kernel, which
    /// reports `EFAULT` instead.
    ///
    /// # Errors
    /// If the file cannot be mapped.
    pub(crate) fn file(file: &File, length: usize) -> io::Result<Self> {
        Self::map(length, libc::PROT_READ, libc::MAP_SHARED, file.as_raw_fd())
    }

    fn map(length: usize, protection: i32, flags: i32, file: i32) -> io::Result<Self> {
        // SAFETY: a fresh mapping at an address of the kernel's choice changes nothing that exists.
        let address = unsafe { libc::mmap(std::ptr::null_mut(), length, protection, flags, file, 0) };
        if address == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let address = NonNull::new(address.cast()).ok_or_else(|| io::Error::other("mapped at zero"))?;
        Ok(Self { address, length })
    }

    /// All of it.
    pub(crate) const fn slice(&self) -> IoSlice {
        IoSlice { address: self.address.as_ptr(), length: self.length }
    }

    /// Marks which pages of the given part are in memory: one byte a page, lowest bit set if it is.
    ///
    /// # Errors
    /// If the part is not page-aligned or not mapped.
    ///
    /// # Panics
    /// If `resident` is not one byte a page.
    pub(crate) fn residency(&self, part: IoSlice, resident: &mut [u8]) -> io::Result<()> {
        assert_eq!(resident.len(), part.length.div_ceil(PAGE_BYTES), "one byte a page");
        // SAFETY: the vector has a byte for each page of the range, as asserted.
        let result = unsafe { libc::mincore(part.address.cast(), part.length, resident.as_mut_ptr()) };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: this is the mapping made in `map`, and it is unmapped once.
        unsafe { libc::munmap(self.address.as_ptr().cast(), self.length) };
    }
}

/// Bytes in a page of memory on every machine this runs on.
pub(crate) const PAGE_BYTES: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anonymous_memory_is_zeroed_and_holds_what_is_copied_in() {
        let memory = Memory::anonymous(8192).expect("two pages");
        let part = memory.slice().part(4096, 5);
        part.copy_from(b"hello");
        assert_eq!(part.look(), b"hello");
        assert_eq!(memory.slice().part(0, 4).look(), [0; 4]);
    }

    #[test]
    #[should_panic(expected = "part outside of its slice")]
    fn a_part_outside_is_refused() {
        let memory = Memory::anonymous(4096).expect("a page");
        let _ = memory.slice().part(4095, 2);
    }
}
