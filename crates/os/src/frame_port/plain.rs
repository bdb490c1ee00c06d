//! Receiving by `recvmmsg` into memory of our own: works wherever a packet socket may be opened at all.
//!
//! Frames are fetched a batch at a time and wait in `arrived` until they are asked for.

use std::collections::VecDeque;
use std::io;
use std::os::fd::AsFd;

use block::Instant;

use super::timestamp::Timestamps;
use super::{FRAME_OFFSET, Received, slot_bytes};
use crate::clock;
use crate::sys::messages::ReceiveSlots;
use crate::sys::packet_socket::PacketSocket;

/// Frames fetched in one call.
const BATCH: usize = 64;

#[derive(Debug)]
pub(super) struct PlainReceiver {
    memory: ReceiveSlots,
    /// Length of the frame in each held slot; zero when it is not held.
    lengths: Box<[u32]>,
    /// Slots to receive into, taken from the end.
    free: Vec<u32>,
    arrived: VecDeque<Received>,
    timestamps: Timestamps,
    truncated: u64,
}

impl PlainReceiver {
    pub(super) fn new(socket: &PacketSocket, mtu: u32, ring_bytes: usize) -> io::Result<Self> {
        let slot = slot_bytes(mtu);
        let slots = u32::try_from(ring_bytes / slot as usize).unwrap_or(u32::MAX).max(2);
        socket.set_socket(libc::SO_TIMESTAMPNS, 1 as libc::c_int)?;
        socket.reserve_buffer(libc::SO_RCVBUFFORCE, libc::SO_RCVBUF, ring_bytes);
        Ok(Self {
            memory: ReceiveSlots::new(slots, slot, FRAME_OFFSET, BATCH)?,
            lengths: vec![0; slots as usize].into_boxed_slice(),
            free: (0..slots).rev().collect(),
            arrived: VecDeque::with_capacity(BATCH),
            timestamps: Timestamps::new(),
            truncated: 0,
        })
    }

    pub(super) fn receive(&mut self, socket: &PacketSocket) -> Option<Received> {
        if self.arrived.is_empty() {
            self.fetch(socket);
        }
        self.arrived.pop_front()
    }

    pub(super) fn peek(&mut self, socket: &PacketSocket) -> Option<Instant> {
        if self.arrived.is_empty() {
            self.fetch(socket);
        }
        self.arrived.front().map(|next| next.received)
    }

    pub(super) fn frame(&self, slot: u32) -> &[u8] {
        let length = self.lengths[slot as usize];
        assert!(length > 0, "slot {slot} is not held");
        self.memory.bytes(slot, length)
    }

    pub(super) fn release(&mut self, slot: u32) {
        assert!(self.lengths[slot as usize] > 0, "slot {slot} is not held");
        self.lengths[slot as usize] = 0;
        self.free.push(slot);
    }

    pub(super) fn held(&self) -> usize {
        self.lengths.len() - self.free.len()
    }

    pub(super) fn slots(&self) -> usize {
        self.lengths.len()
    }

    pub(super) const fn region(&self) -> (*mut u8, usize) {
        self.memory.region()
    }

    pub(super) const fn truncated(&self) -> u64 {
        self.truncated
    }

    fn fetch(&mut self, socket: &PacketSocket) {
        let Self { memory, lengths, free, arrived, timestamps, truncated } = self;
        let first = free.len().saturating_sub(memory.batch());
        let offered = &mut free[first..];
        offered.reverse(); // the slot used last, still in the cache, comes first
        let room = memory.frame_bytes();
        let mut used = 0;
        let fetched = memory.receive(socket.as_fd(), offered, |frame| {
            used += 1;
            let received = match frame.unix_nanos {
                Some(unix_nanos) => timestamps.convert(unix_nanos),
                None => clock::now(),
            };
            let length = if frame.length == 0 || frame.length > room { 0 } else { frame.length };
            lengths[frame.slot as usize] = length;
            arrived.push_back(Received { slot: frame.slot, length, received });
        });
        let full = offered.len() == used;
        offered.reverse();
        free.truncate(free.len() - used);
        // No frames, or the link went down: both mean that there is nothing now.
        if fetched.is_err() || !full {
            timestamps.drained();
        }
        arrived.retain(|frame| {
            if frame.length == 0 {
                *truncated += 1;
                free.push(frame.slot);
            }
            frame.length > 0
        });
    }
}
