//! Receiving through an io_uring: slots are filled in whatever order they were released.
//!
//! A slot that a slow disk holds for long holds up nothing else, unlike in a ring. The io_uring is the port's own and
//! belongs to the thread that first receives; its descriptor is what becomes readable.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use block::Instant;

use super::timestamp::Timestamps;
use super::{FRAME_OFFSET, Received, slot_bytes};
use crate::clock;
use crate::sys::messages::Arrived;
use crate::sys::packet_socket::PacketSocket;
use crate::sys::uring_receive::{SLOTS_MAX, UringSlots};

/// So many slots are left at the kernel when it is given new ones, and so many it has then: enough for what comes
/// between two looks, few enough to stay in the cache. When it runs out, frames wait in the socket's own buffer.
const OFFERED_MIN: usize = 64;
const OFFERED_MAX: usize = 128;

#[derive(Debug)]
pub(super) struct UringReceiver {
    memory: UringSlots,
    /// Length of the frame in each held slot; zero when it is not held.
    lengths: Box<[u32]>,
    held: usize,
    /// Slots that neither we hold nor the kernel has, the one used last at the end.
    stock: Vec<u32>,
    next: Option<Received>,
    timestamps: Timestamps,
    truncated: u64,
}

impl UringReceiver {
    pub(super) fn new(socket: &PacketSocket, mtu: u32, ring_bytes: usize) -> io::Result<Self> {
        let slot = slot_bytes(mtu);
        let slots = u32::try_from(ring_bytes / slot as usize).unwrap_or(u32::MAX).clamp(2, SLOTS_MAX);
        socket.set_socket(libc::SO_TIMESTAMPNS, 1 as libc::c_int)?;
        socket.reserve_buffer(libc::SO_RCVBUFFORCE, libc::SO_RCVBUF, ring_bytes);
        Ok(Self {
            memory: UringSlots::new(socket.as_fd(), slots, slot, FRAME_OFFSET)?,
            lengths: vec![0; slots as usize].into_boxed_slice(),
            held: 0,
            stock: (0..slots).rev().collect(),
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
        let length = self.lengths[slot as usize];
        assert!(length > 0, "slot {slot} is not held");
        self.memory.bytes(slot, length)
    }

    pub(super) fn release(&mut self, slot: u32) {
        assert!(self.lengths[slot as usize] > 0, "slot {slot} is not held");
        self.lengths[slot as usize] = 0;
        self.held -= 1;
        self.stock.push(slot);
    }

    pub(super) const fn held(&self) -> usize {
        self.held
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

    pub(super) fn clear_wake(&self) {
        self.memory.clear_wake();
    }

    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        self.memory.as_fd()
    }

    /// Keeps a few slots at the kernel, those used last: they are still in the cache. The others wait for a burst.
    fn offer(&mut self) {
        let mut offered = self.lengths.len() - self.held - self.stock.len();
        if offered > OFFERED_MIN {
            return;
        }
        while offered < OFFERED_MAX
            && let Some(slot) = self.stock.pop()
        {
            self.memory.offer(slot);
            offered += 1;
        }
    }

    fn advance(&mut self) -> Option<Received> {
        // Receiving ends when the kernel runs out of slots or the link goes down; twice would be neither.
        for _ in 0..2 {
            self.offer();
            if self.held == self.lengths.len() || self.memory.start().is_err() {
                return None;
            }
            while let Some(frame) = self.memory.next() {
                if let Some(received) = self.take(frame) {
                    return Some(received);
                }
            }
            if self.memory.is_receiving() {
                break;
            }
        }
        self.timestamps.drained();
        None
    }

    fn take(&mut self, frame: Arrived) -> Option<Received> {
        let received = match frame.unix_nanos {
            Some(unix_nanos) => self.timestamps.convert(unix_nanos),
            None => clock::now(),
        };
        if frame.length == 0 || frame.length > self.memory.frame_bytes() {
            self.truncated += 1;
            self.stock.push(frame.slot);
            return None;
        }
        self.lengths[frame.slot as usize] = frame.length;
        self.held += 1;
        Some(Received { slot: frame.slot, length: frame.length, received })
    }
}
