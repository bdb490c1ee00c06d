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
use crate::sys::packet_socket::PacketSocket;
use crate::sys::uring_receive::{SLOTS_MAX, UringSlots};

#[derive(Debug)]
pub(super) struct UringReceiver {
    memory: UringSlots,
    /// Length of the frame in each held slot; zero when it is not held.
    lengths: Box<[u32]>,
    held: usize,
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
        self.memory.give_back(slot);
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

    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        self.memory.as_fd()
    }

    fn advance(&mut self) -> Option<Received> {
        if self.held == self.lengths.len() || self.memory.start().is_err() {
            return None;
        }
        loop {
            let Some(frame) = self.memory.next() else {
                self.timestamps.drained();
                return None;
            };
            let received = match frame.unix_nanos {
                Some(unix_nanos) => self.timestamps.convert(unix_nanos),
                None => clock::now(),
            };
            if frame.length == 0 || frame.length > self.memory.frame_bytes() {
                self.truncated += 1;
                self.memory.give_back(frame.slot);
                continue;
            }
            self.lengths[frame.slot as usize] = frame.length;
            self.held += 1;
            return Some(Received { slot: frame.slot, length: frame.length, received });
        }
    }
}
