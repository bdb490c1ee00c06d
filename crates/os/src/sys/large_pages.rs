//! Large memory on large pages: the tables that every request looks into at random, the buffers.
//!
//! With small pages most looks miss the processor's page tables' cache, and each first touch of 4 KiB costs a fault. The
//! kernel is only asked; where it has no large pages to give, or is set to give none, nothing changes.
//!
//! Unsafe because an allocator and `madvise` are.

use std::alloc::{GlobalAlloc, Layout, System};

use super::memory::PAGE_BYTES;

/// Memory smaller than this would be mostly the unused rest of a page of 2 MiB.
const LARGE_BYTES: usize = 4 << 20;

/// The system's allocator, with large pages for large memory. For a process whose large memory are a shard's tables.
#[derive(Clone, Copy, Debug, Default)]
pub struct LargePageAllocator;

// SAFETY: everything is left to the system's allocator; the advice changes no byte.
unsafe impl GlobalAlloc for LargePageAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps the rules of the same method.
        let address = unsafe { System.alloc(layout) };
        advise(address, layout.size());
        address
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps the rules of the same method.
        let address = unsafe { System.alloc_zeroed(layout) };
        advise(address, layout.size());
        address
    }

    unsafe fn realloc(&self, address: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: the caller keeps the rules of the same method.
        let address = unsafe { System.realloc(address, layout, new_size) };
        advise(address, new_size);
        address
    }

    unsafe fn dealloc(&self, address: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the rules of the same method.
        unsafe { System.dealloc(address, layout) }
    }
}

/// Asks for large pages for the whole pages of memory of ours, if it is large.
pub(crate) fn advise(address: *mut u8, length: usize) {
    if length < LARGE_BYTES || address.is_null() {
        return;
    }
    let skipped = address.align_offset(PAGE_BYTES);
    let whole = (length - skipped) / PAGE_BYTES * PAGE_BYTES;
    // SAFETY: whole pages inside live memory; the advice leaves their bytes as they are. It fails on kernels without large
    // pages, and then things are as they were.
    unsafe { libc::madvise(address.wrapping_add(skipped).cast(), whole, libc::MADV_HUGEPAGE) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_memory_keeps_its_bytes_and_grows() {
        let layout = Layout::from_size_align(LARGE_BYTES + 5, 64).expect("a layout");
        // SAFETY: used, grown and freed as the allocator's contract says, inside its bounds.
        unsafe {
            let address = LargePageAllocator.alloc_zeroed(layout);
            assert_eq!(*address.add(LARGE_BYTES), 0);
            *address.add(LARGE_BYTES) = 7;
            let grown = LargePageAllocator.realloc(address, layout, 3 * LARGE_BYTES);
            assert_eq!(*grown.add(LARGE_BYTES), 7);
            let layout = Layout::from_size_align(3 * LARGE_BYTES, 64).expect("a layout");
            LargePageAllocator.dealloc(grown, layout);
        }
    }
}
