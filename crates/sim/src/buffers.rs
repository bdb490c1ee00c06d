//! The memory of a node's process: named buffers, each released once, all gone with the process.

use block::{BufferName, BufferSlice};

/// Buffers by name. Places are used again; names are not.
#[derive(Debug, Default)]
pub(crate) struct Buffers {
    slots: Vec<Slot>,
    free: Vec<u32>,
}

#[derive(Debug, Default)]
struct Slot {
    generation: u32,
    used: bool,
    bytes: Vec<u8>,
}

impl Buffers {
    /// A buffer with these bytes.
    pub(crate) fn insert(&mut self, bytes: Vec<u8>) -> BufferName {
        let name = self.take();
        let (index, _) = split(name);
        self.slots[index].bytes = bytes;
        name
    }

    /// All bytes of a buffer.
    ///
    /// # Panics
    /// If it was released.
    #[must_use]
    pub(crate) fn bytes(&self, name: BufferName) -> &[u8] {
        let (index, generation) = split(name);
        let slot = &self.slots[index];
        assert!(slot.used && slot.generation == generation, "{name:?} is used after its release");
        &slot.bytes
    }

    /// The same, to be changed.
    ///
    /// # Panics
    /// If it was released.
    pub(crate) fn bytes_mut(&mut self, name: BufferName) -> &mut [u8] {
        let (index, generation) = split(name);
        let slot = &mut self.slots[index];
        assert!(slot.used && slot.generation == generation, "{name:?} is used after its release");
        &mut slot.bytes
    }

    /// A piece of a buffer.
    ///
    /// # Panics
    /// If it was released, or is shorter.
    #[must_use]
    pub(crate) fn slice(&self, slice: BufferSlice) -> &[u8] {
        &self.bytes(slice.buffer)[slice.offset as usize..][..slice.length as usize]
    }

    /// Copies between two buffers.
    pub(crate) fn copy(&mut self, from: BufferSlice, to: BufferSlice) {
        let bytes = self.slice(from).to_vec();
        self.bytes_mut(to.buffer)[to.offset as usize..][..bytes.len()].copy_from_slice(&bytes);
    }

    /// Nobody needs it any more.
    ///
    /// # Panics
    /// If that was said before.
    pub(crate) fn release(&mut self, name: BufferName) {
        let (index, generation) = split(name);
        let slot = &mut self.slots[index];
        assert!(slot.used && slot.generation == generation, "{name:?} is released twice");
        slot.used = false;
        slot.generation = slot.generation.wrapping_add(1);
        slot.bytes = Vec::new();
        self.free.push(u32::try_from(index).expect("few buffers"));
    }

    /// Buffers in use.
    #[must_use]
    pub(crate) fn in_use(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    fn take(&mut self) -> BufferName {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            u32::try_from(self.slots.len() - 1).expect("few buffers")
        });
        let slot = &mut self.slots[index as usize];
        slot.used = true;
        BufferName(u64::from(slot.generation) << 32 | u64::from(index))
    }
}

fn split(name: BufferName) -> (usize, u32) {
    let index = usize::try_from(name.0 & 0xffff_ffff).expect("32 bits");
    (index, u32::try_from(name.0 >> 32).expect("32 bits"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "released twice")]
    fn a_second_release_is_noticed_even_after_its_place_is_used_again() {
        let mut buffers = Buffers::default();
        let name = buffers.insert(b"abc".to_vec());
        buffers.release(name);
        assert_ne!(buffers.insert(b"def".to_vec()), name);
        buffers.release(name);
    }
}
