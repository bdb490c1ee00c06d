//! The aligned buffers of one shard: made once, taken and given back, never grown.

use std::io;

use crate::sys::memory::{IoSlice, Memory};

/// Buffers of equal size in one region, the last one given back taken first (its bytes are still in the CPU's cache).
pub(crate) struct BufferPool {
    memory: Memory,
    buffer_bytes: usize,
    unused: Vec<u32>,
    count: usize,
}

impl BufferPool {
    /// `count` buffers of `buffer_bytes`, each aligned to 4096 bytes if its size is.
    pub(crate) fn new(count: usize, buffer_bytes: usize) -> io::Result<Self> {
        assert!(buffer_bytes.is_multiple_of(512), "buffers hold whole sectors");
        let memory = Memory::anonymous(count * buffer_bytes)?;
        let count_u32 = u32::try_from(count).map_err(|_| io::Error::other("too many buffers"))?;
        Ok(Self { memory, buffer_bytes, unused: (0..count_u32).rev().collect(), count })
    }

    /// All buffers, to be registered with the kernel.
    pub(crate) const fn region(&self) -> IoSlice {
        self.memory.slice()
    }

    pub(crate) const fn buffer_bytes(&self) -> usize {
        self.buffer_bytes
    }

    /// Buffers that are taken.
    pub(crate) const fn taken(&self) -> usize {
        self.count - self.unused.len()
    }

    /// Buffers that are free.
    pub(crate) const fn free(&self) -> usize {
        self.unused.len()
    }

    /// A buffer, if one is free.
    pub(crate) fn take(&mut self) -> Option<u32> {
        self.unused.pop()
    }

    /// Gives a buffer back.
    pub(crate) fn give(&mut self, buffer: u32) {
        assert!(
            (buffer as usize) < self.count && self.unused.len() < self.count,
            "a taken buffer is given back once"
        );
        debug_assert!(!self.unused.contains(&buffer), "a taken buffer is given back once");
        self.unused.push(buffer);
    }

    /// A part of a buffer.
    pub(crate) fn slice(&self, buffer: u32, offset: usize, length: usize) -> IoSlice {
        assert!(offset + length <= self.buffer_bytes, "part outside of its buffer");
        self.memory.slice().part(buffer as usize * self.buffer_bytes + offset, length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_run_out_and_come_back() {
        let mut pool = BufferPool::new(2, 4096).expect("memory");
        let first = pool.take().expect("one");
        let second = pool.take().expect("another");
        assert_ne!(first, second);
        assert_eq!(pool.take(), None);
        assert_eq!(pool.taken(), 2);
        pool.give(second);
        assert_eq!(pool.take(), Some(second));
    }
}
