//! Reads from memory: the volume's file is mapped, and pages known to be in the page cache are sent to the wire from
//! there, without a system call and without a copy of our own.
//!
//! What the kernel holds is asked for a region at a time and believed for a while ([`BELIEVED_FOR`]). A page evicted
//! meanwhile costs one page fault, a page that can no longer be read one `EFAULT` and the way through the engine.

use std::fs::File;
use std::io;

use block::{Duration, Instant};

use crate::sys::memory::{IoSlice, Memory, PAGE_BYTES};

/// Bytes whose residency is asked for at once: one word of the map a 256 KiB, 4 to 5 µs of the kernel's time at most.
const REGION_BYTES: usize = 64 * PAGE_BYTES;
/// How long an answer holds. Pages rarely leave the cache sooner unless memory is short, and a region that is read
/// all the time is asked for once a second: under 1 % of a core for 16 GiB.
const BELIEVED_FOR: Duration = Duration::from_secs(1);

/// The mapping of one disk and what is known of it.
#[derive(Debug)]
pub(crate) struct PageCache {
    memory: Memory,
    regions: Vec<Region>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Region {
    /// One bit a page.
    resident: u64,
    asked_at: Option<Instant>,
}

impl PageCache {
    /// Maps the first `bytes` of `file`.
    pub(crate) fn new(file: &File, bytes: u64) -> io::Result<Self> {
        let bytes = usize::try_from(bytes).map_err(|_| io::Error::other("too large to map"))?;
        let memory = Memory::file(file, bytes)?;
        Ok(Self { memory, regions: vec![Region::default(); bytes.div_ceil(REGION_BYTES)] })
    }

    /// The bytes in memory, if all of them are believed to be there.
    pub(crate) fn find(&mut self, now: Instant, offset: u64, length: usize) -> Option<IoSlice> {
        let start = usize::try_from(offset).ok()?;
        let end = start.checked_add(length)?;
        if end > self.memory.slice().length() {
            return None;
        }
        let (first, last) = (start / PAGE_BYTES, (end - 1) / PAGE_BYTES);
        (first..=last)
            .all(|page| self.is_resident(now, page))
            .then(|| self.memory.slice().part(start, length))
    }

    /// The bytes at a place found before.
    pub(crate) fn slice(&self, offset: u64, length: usize) -> IoSlice {
        let start = usize::try_from(offset).expect("found before");
        self.memory.slice().part(start, length)
    }

    /// Remembers that these bytes have just been read through the page cache and are there now.
    pub(crate) fn note_read(&mut self, offset: u64, length: usize) {
        let Ok(start) = usize::try_from(offset) else { return };
        let end = (start + length).min(self.memory.slice().length());
        for page in start / PAGE_BYTES..end.div_ceil(PAGE_BYTES) {
            self.regions[page / 64].resident |= 1 << (page % 64);
        }
    }

    /// Forgets that the page at this byte is there: it could not be read.
    pub(crate) fn forget(&mut self, offset: u64) {
        let Ok(start) = usize::try_from(offset) else { return };
        let page = start / PAGE_BYTES;
        if let Some(region) = self.regions.get_mut(page / 64) {
            region.resident &= !(1 << (page % 64));
        }
    }

    fn is_resident(&mut self, now: Instant, page: usize) -> bool {
        let region = self.regions[page / 64];
        let fresh = region.asked_at.is_some_and(|asked_at| now.since(asked_at) < BELIEVED_FOR);
        let resident = if fresh { region.resident } else { self.ask(now, page / 64) };
        resident & (1 << (page % 64)) != 0
    }

    fn ask(&mut self, now: Instant, region: usize) -> u64 {
        let start = region * REGION_BYTES;
        let whole = self.memory.slice();
        let part = whole.part(start, REGION_BYTES.min(whole.length() - start));
        let mut pages = [0u8; 64];
        let pages = &mut pages[..part.length().div_ceil(PAGE_BYTES)];
        let resident = match self.memory.residency(part, pages) {
            Ok(()) => pages.iter().rev().fold(0, |bits, page| bits << 1 | u64::from(page & 1)),
            Err(_) => 0,
        };
        self.regions[region] = Region { resident, asked_at: Some(now) };
        resident
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn freshly_written_pages_are_found_with_their_bytes() {
        let mut file = tempfile::tempfile().expect("a file");
        let bytes: Vec<u8> = (0..600_000u32).map(|i| u8::try_from(i % 251).expect("small")).collect();
        file.write_all(&bytes).expect("written");
        let mut cache = PageCache::new(&file, 600_000).expect("mapped");
        let now = Instant::from_nanos(1);
        let found = cache.find(now, 262_000, 5000).expect("in memory");
        assert_eq!(found.look(), &bytes[262_000..267_000]);
        assert!(cache.find(now, 599_999, 2).is_none(), "beyond the end");
    }
}
