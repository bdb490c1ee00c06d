//! Receiving through a ring shared with the kernel: no system call while frames are there.
//!
//! The kernel fills the slots strictly in order and stops at the first one that is still held, however many are free
//! behind it. So what counts as held is the whole distance from the oldest held slot to the newest.

use std::io;

use block::Instant;

use super::timestamp::Timestamps;
use super::{FRAME_OFFSET, Received, slot_bytes};
use crate::sys::packet_ring::{PacketRing, RingShape, frame_offset};
use crate::sys::packet_socket::PacketSocket;

/// The kernel allocates the ring in blocks of this size; a slot never crosses the border of two.
const BLOCK_BYTES: u32 = 1 << 20;

/// Bytes the kernel is asked to leave free in front of each frame, so that the payload lies on a sector.
const RESERVE: u32 = FRAME_OFFSET - frame_offset(0);

const _: () = assert!(frame_offset(RESERVE) == FRAME_OFFSET);

#[derive(Debug)]
pub(super) struct RingReceiver {
    ring: PacketRing,
    slots: Box<[Slot]>,
    /// The slot the kernel fills next.
    head: u32,
    /// The oldest slot not given back yet, if `span` is not zero.
    oldest: u32,
    /// Slots from `oldest` to `head`.
    span: u32,
    next: Option<Received>,
    timestamps: Timestamps,
    truncated: u64,
}

/// A frame that was taken out; `length` is zero when the slot is not held.
#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    offset: u32,
    length: u32,
}

impl RingReceiver {
    /// Makes a ring on a socket that is not bound yet.
    pub(super) fn new(socket: &PacketSocket, mtu: u32, ring_bytes: usize) -> io::Result<Self> {
        let blocks = u32::try_from(ring_bytes / BLOCK_BYTES as usize).unwrap_or(u32::MAX).max(1);
        let shape = RingShape { slot_bytes: slot_bytes(mtu), block_bytes: BLOCK_BYTES, blocks };
        let ring = PacketRing::create(socket, shape, RESERVE)?;
        Ok(Self {
            slots: vec![Slot::default(); ring.slots()].into_boxed_slice(),
            ring,
            head: 0,
            oldest: 0,
            span: 0,
            next: None,
            timestamps: Timestamps::new(),
            truncated: 0,
        })
    }

    pub(super) fn receive(&mut self) -> Option<Received> {
        self.next.take().or_else(|| self.advance())
    }

    pub(super) fn peek(&mut self) -> Option<Instant> {
        if self.next.is_none() {
            self.next = self.advance();
        }
        self.next.map(|next| next.received)
    }

    pub(super) fn frame(&self, slot: u32) -> &[u8] {
        let Slot { offset, length } = self.slots[slot as usize];
        assert!(length > 0, "slot {slot} is not held");
        self.ring.bytes(slot, offset, length)
    }

    pub(super) fn release(&mut self, slot: u32) {
        assert!(self.slots[slot as usize].length > 0, "slot {slot} is not held");
        self.slots[slot as usize].length = 0;
        self.ring.give_back(slot);
        while self.span > 0 && self.slots[self.oldest as usize].length == 0 {
            self.oldest = self.after(self.oldest);
            self.span -= 1;
        }
    }

    pub(super) fn held(&self) -> usize {
        self.span as usize
    }

    pub(super) fn slots(&self) -> usize {
        self.slots.len()
    }

    pub(super) const fn region(&self) -> (*mut u8, usize) {
        self.ring.region()
    }

    pub(super) const fn truncated(&self) -> u64 {
        self.truncated
    }

    fn advance(&mut self) -> Option<Received> {
        loop {
            // A head that is held is one that the kernel has gone round to: it waits for us.
            if self.span as usize == self.slots.len() {
                return None;
            }
            let Some(header) = self.ring.header(self.head) else {
                self.timestamps.drained();
                return None;
            };
            let slot = self.head;
            self.head = self.after(slot);
            let received = self.timestamps.convert(header.unix_nanos);
            if header.stored < header.length || header.stored == 0 {
                // Longer than the MTU was when the ring was made: half a frame is no frame.
                self.truncated += 1;
                self.ring.give_back(slot);
                self.skip(slot);
                continue;
            }
            assert!(header.offset == FRAME_OFFSET, "the kernel put a frame at {}", header.offset);
            self.slots[slot as usize] = Slot { offset: header.offset, length: header.length };
            if self.span == 0 {
                self.oldest = slot;
            }
            self.span += 1;
            return Some(Received { slot, length: header.length, received });
        }
    }

    /// Counts a slot that was given back at once.
    fn skip(&mut self, slot: u32) {
        if self.span > 0 {
            self.span += 1;
        } else {
            self.oldest = self.after(slot);
        }
    }

    fn after(&self, slot: u32) -> u32 {
        let next = slot + 1;
        if next as usize == self.slots.len() { 0 } else { next }
    }
}
