//! The aligned buffers of one shard: made once, taken and given back, never grown.

use std::io;

use crate::sys::memory::{IoSlice, Memory};

/// So many buffers of that size.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Room {
    pub(crate) count: usize,
    pub(crate) bytes: usize,
}

/// Buffers in one region, the last one given back taken first (its bytes are still in the CPU's cache).
///
/// A shard with a peer has three kinds. Those for what the peer sends are apart from those for what this node's initiators
/// want, so that neither waits for the other; and what is copied to a peer that was away comes in large pieces.
pub(crate) struct BufferPool {
    memory: Memory,
    own: Class,
    /// For what the peer sends, and for long requests.
    peer: Option<[Class; 2]>,
}

/// Buffers of equal size, numbered from `first` on.
struct Class {
    first: u32,
    room: Room,
    /// Where in the region they begin.
    offset: usize,
    unused: Vec<u32>,
}

impl BufferPool {
    /// `count` buffers of `bytes`, each aligned to 4096 bytes if its size is.
    pub(crate) fn new(own: Room) -> io::Result<Self> {
        let own = Class::new(0, 0, own)?;
        Ok(Self { memory: Memory::anonymous(own.end())?, own, peer: None })
    }

    /// Buffers of three kinds; those for the peer are as large as a node's own.
    pub(crate) fn with_peer(own: Room, for_peer: usize, large: Room) -> io::Result<Self> {
        let own = Class::new(0, 0, own)?;
        let for_peer = Class::new(own.last(), own.end(), Room { count: for_peer, ..own.room })?;
        let large = Class::new(for_peer.last(), for_peer.end(), large)?;
        Ok(Self { memory: Memory::anonymous(large.end())?, own, peer: Some([for_peer, large]) })
    }

    /// All buffers, to be registered with the kernel.
    pub(crate) const fn region(&self) -> IoSlice {
        self.memory.slice()
    }

    /// Size of a node's own buffers.
    pub(crate) const fn buffer_bytes(&self) -> usize {
        self.own.room.bytes
    }

    /// Size of the largest buffers.
    pub(crate) fn buffer_bytes_max(&self) -> usize {
        self.classes().map(|class| class.room.bytes).max().expect("there are a node's own")
    }

    /// Buffers that are taken.
    pub(crate) fn taken(&self) -> usize {
        self.classes().map(|class| class.room.count - class.unused.len()).sum()
    }

    /// A node's own buffers that are free.
    pub(crate) const fn free(&self) -> usize {
        self.own.unused.len()
    }

    /// One of a node's own buffers, if one is free.
    pub(crate) fn take(&mut self) -> Option<u32> {
        self.own.unused.pop()
    }

    /// Whether [`BufferPool::take_for`] has one for so many bytes.
    pub(crate) fn has_for(&self, bytes: usize) -> bool {
        if bytes <= self.own.room.bytes {
            return !self.own.unused.is_empty();
        }
        self.peer.as_ref().is_some_and(|[_, large]| !large.unused.is_empty())
    }

    /// A buffer for a request of so many bytes.
    ///
    /// # Panics
    /// If there are none so large.
    pub(crate) fn take_for(&mut self, bytes: usize) -> Option<u32> {
        if bytes <= self.own.room.bytes {
            return self.own.unused.pop();
        }
        self.take_large(bytes)
    }

    /// A buffer for so many bytes that the peer sends.
    ///
    /// # Panics
    /// As [`BufferPool::take_for`].
    pub(crate) fn take_for_peer(&mut self, bytes: usize) -> Option<u32> {
        if bytes > self.own.room.bytes {
            return self.take_large(bytes);
        }
        let [for_peer, _] = self.peer.as_mut().expect("a shard with a peer");
        for_peer.unused.pop().or_else(|| self.own.unused.pop())
    }

    /// Gives a buffer back.
    pub(crate) fn give(&mut self, buffer: u32) {
        let class = self.class_mut(buffer);
        assert!(class.unused.len() < class.room.count, "a taken buffer is given back once");
        debug_assert!(!class.unused.contains(&buffer), "a taken buffer is given back once");
        class.unused.push(buffer);
    }

    /// A part of a buffer.
    pub(crate) fn slice(&self, buffer: u32, offset: usize, length: usize) -> IoSlice {
        let class = self.class(buffer);
        assert!(offset + length <= class.room.bytes, "part outside of its buffer");
        let index = (buffer - class.first) as usize;
        self.memory.slice().part(class.offset + index * class.room.bytes + offset, length)
    }

    fn take_large(&mut self, bytes: usize) -> Option<u32> {
        let [_, large] = self.peer.as_mut().expect("only what goes over the peer link is so long");
        assert!(bytes <= large.room.bytes, "no request is so long");
        large.unused.pop()
    }

    fn classes(&self) -> impl Iterator<Item = &Class> {
        std::iter::once(&self.own).chain(self.peer.iter().flatten())
    }

    fn class(&self, buffer: u32) -> &Class {
        if buffer < self.own.last() {
            return &self.own;
        }
        let class = self.peer.iter().flatten().find(|class| buffer < class.last());
        class.expect("a buffer of this pool")
    }

    fn class_mut(&mut self, buffer: u32) -> &mut Class {
        if buffer < self.own.last() {
            return &mut self.own;
        }
        let class = self.peer.iter_mut().flatten().find(|class| buffer < class.last());
        class.expect("a buffer of this pool")
    }
}

impl Class {
    fn new(first: u32, offset: usize, room: Room) -> io::Result<Self> {
        assert!(room.bytes.is_multiple_of(512), "buffers hold whole sectors");
        let too_many = |_| io::Error::other("too many buffers");
        let count = u32::try_from(room.count).map_err(too_many)?;
        let end = first.checked_add(count).ok_or_else(|| io::Error::other("too many buffers"))?;
        Ok(Self { first, room, offset, unused: (first..end).rev().collect() })
    }

    /// One more than the highest number.
    fn last(&self) -> u32 {
        self.first + u32::try_from(self.room.count).expect("counted when made")
    }

    const fn end(&self) -> usize {
        self.offset + self.room.count * self.room.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_run_out_and_come_back() {
        let mut pool = BufferPool::new(Room { count: 2, bytes: 4096 }).expect("memory");
        let first = pool.take().expect("one");
        let second = pool.take().expect("another");
        assert_ne!(first, second);
        assert_eq!(pool.take(), None);
        assert_eq!(pool.taken(), 2);
        pool.give(second);
        assert_eq!(pool.take(), Some(second));
    }

    #[test]
    fn what_the_peer_sends_leaves_a_nodes_own_buffers_alone_until_its_own_are_used_up() {
        let own = Room { count: 2, bytes: 4096 };
        let mut pool = BufferPool::with_peer(own, 1, Room { count: 1, bytes: 8192 }).expect("memory");
        let first = pool.take_for_peer(4096).expect("one for the peer");
        assert_eq!(pool.free(), 2);
        let second = pool.take_for_peer(512).expect("one of the others");
        assert_eq!(pool.free(), 1);
        let large = pool.take_for_peer(8192).expect("a large one");
        assert_eq!((pool.take_for(8192), pool.taken()), (None, 3));
        let own = pool.take_for(4096).expect("the last");
        let starts: Vec<_> = [first, second, large, own]
            .map(|buffer| pool.slice(buffer, 0, 512).address() as usize)
            .into_iter()
            .collect();
        assert!((1..4).all(|index| !starts[..index].contains(&starts[index])));
        assert_eq!(pool.slice(large, 4096, 4096).length(), 4096);
        [first, second, large, own].into_iter().for_each(|buffer| pool.give(buffer));
        assert_eq!((pool.taken(), pool.free()), (0, 2));
    }
}
