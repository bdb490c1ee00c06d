//! The slots of receive memory of our own: which hold a frame that was not released, which may be received into.
//!
//! Shared by the receivers that fill slots in any order. Between the two states a slot is with the kernel; how it gets
//! there and back is the receiver's business. Frames that did not fit are counted and never shown.

use std::io;

use super::timestamp::Timestamps;
use super::{Received, slot_bytes};
use crate::clock;
use crate::sys::messages::Arrived;
use crate::sys::packet_socket::PacketSocket;

/// How much memory a receiver needs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub(super) slots: u32,
    pub(super) slot_bytes: u32,
}

impl Shape {
    /// As many slots as `ring_bytes` has room for, but at least two and at most `slots_max`.
    pub(super) fn new(mtu: u32, ring_bytes: usize, slots_max: u32) -> Self {
        let slot_bytes = slot_bytes(mtu);
        let slots = u32::try_from(ring_bytes / slot_bytes as usize).unwrap_or(u32::MAX);
        Self { slots: slots.clamp(2, slots_max), slot_bytes }
    }
}

/// Asks the kernel to say when each frame came, and to keep `ring_bytes` of them while all slots are in use.
pub(super) fn prepare(socket: &PacketSocket, ring_bytes: usize) -> io::Result<()> {
    socket.set_socket(libc::SO_TIMESTAMPNS, 1 as libc::c_int)?;
    socket.reserve_buffer(libc::SO_RCVBUFFORCE, libc::SO_RCVBUF, ring_bytes);
    Ok(())
}

#[derive(Debug)]
pub(super) struct Slots {
    /// Length of the frame in each held slot; zero when it is not held.
    lengths: Box<[u32]>,
    held: usize,
    /// Slots that neither we hold nor the kernel has. The one used last, still in the cache, is at the end and taken first.
    free: Vec<u32>,
    /// Longest frame that finds room in a slot.
    frame_bytes: u32,
    timestamps: Timestamps,
    truncated: u64,
}

impl Slots {
    /// All free.
    pub(super) fn new(count: u32, frame_bytes: u32) -> Self {
        Self {
            lengths: vec![0; count as usize].into_boxed_slice(),
            held: 0,
            free: (0..count).rev().collect(),
            frame_bytes,
            timestamps: Timestamps::new(),
            truncated: 0,
        }
    }

    /// A slot to receive into.
    pub(super) fn take_free(&mut self) -> Option<u32> {
        self.free.pop()
    }

    /// Gives a slot back that was not received into after all.
    pub(super) fn give_back(&mut self, slot: u32) {
        self.free.push(slot);
    }

    /// The kernel has filled a slot. It is held from now on, or free again if the frame is not whole.
    pub(super) fn arrived(&mut self, frame: Arrived) -> Option<Received> {
        let received = match frame.unix_nanos {
            Some(unix_nanos) => self.timestamps.convert(unix_nanos),
            None => clock::now(),
        };
        if frame.length == 0 || frame.length > self.frame_bytes {
            self.truncated += 1;
            self.free.push(frame.slot);
            return None;
        }
        self.lengths[frame.slot as usize] = frame.length;
        self.held += 1;
        Some(Received { slot: frame.slot, length: frame.length, received })
    }

    /// The socket was found empty.
    pub(super) fn drained(&mut self) {
        self.timestamps.drained();
    }

    /// Length of the frame in a held slot.
    pub(super) fn length(&self, slot: u32) -> u32 {
        let length = self.lengths[slot as usize];
        assert!(length > 0, "slot {slot} is not held");
        length
    }

    /// The frame in a slot is needed no more.
    pub(super) fn release(&mut self, slot: u32) {
        assert!(self.lengths[slot as usize] > 0, "slot {slot} is not held");
        self.lengths[slot as usize] = 0;
        self.held -= 1;
        self.free.push(slot);
    }

    /// Slots with a frame.
    pub(super) const fn held(&self) -> usize {
        self.held
    }

    /// Slots that the kernel may fill now.
    pub(super) fn at_the_kernel(&self) -> usize {
        self.lengths.len() - self.held - self.free.len()
    }

    /// All slots.
    pub(super) fn count(&self) -> usize {
        self.lengths.len()
    }

    /// Frames that were not whole.
    pub(super) const fn truncated(&self) -> u64 {
        self.truncated
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_goes_to_the_kernel_comes_back_full_and_is_free_again() {
        let mut slots = Slots::new(2, 1000);
        let (first, second) = (slots.take_free().expect("free"), slots.take_free().expect("free"));
        assert_eq!((slots.take_free(), slots.at_the_kernel()), (None, 2));
        let frame = |slot, length| Arrived { slot, length, unix_nanos: None };
        let received = slots.arrived(frame(second, 1000)).expect("it fits");
        assert_eq!((received.slot, slots.length(second), slots.held()), (second, 1000, 1));
        assert!(slots.arrived(frame(first, 1001)).is_none(), "it was cut");
        assert_eq!((slots.truncated(), slots.held(), slots.at_the_kernel()), (1, 1, 0));
        slots.release(second);
        assert_eq!(
            (slots.take_free(), slots.take_free()),
            (Some(second), Some(first)),
            "the last one used first"
        );
    }

    #[test]
    fn there_are_never_fewer_than_two_slots_nor_more_than_can_be_numbered() {
        assert_eq!(Shape::new(9000, 0, 100).slots, 2);
        assert_eq!(Shape::new(9000, usize::MAX, 100).slots, 100);
        assert_eq!(Shape::new(1500, 20_480, 100).slots, 10, "2048 bytes each");
    }
}
