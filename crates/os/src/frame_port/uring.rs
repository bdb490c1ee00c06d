//! Receiving through an io_uring: slots are filled in whatever order they were released.
//!
//! A slot that a slow disk holds for long holds up nothing else, unlike in a ring. The io_uring is the port's own and
//! belongs to the thread that first receives; its descriptor is what becomes readable.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use block::Instant;

use super::slots::{Shape, Slots, prepare};
use super::{FRAME_OFFSET, Received};
use crate::sys::packet_socket::PacketSocket;
use crate::sys::uring_receive::{SLOTS_MAX, UringSlots};

/// So many slots are left at the kernel when it is given new ones, and so many it has then: enough for what comes
/// between two looks, few enough to stay in the cache. When it runs out, frames wait in the socket's own buffer.
const OFFERED_MIN: usize = 64;
const OFFERED_MAX: usize = 128;

#[derive(Debug)]
pub(super) struct UringReceiver {
    memory: UringSlots,
    slots: Slots,
    next: Option<Received>,
}

impl UringReceiver {
    pub(super) fn new(socket: &PacketSocket, mtu: u32, ring_bytes: usize) -> io::Result<Self> {
        let shape = Shape::new(mtu, ring_bytes, SLOTS_MAX);
        prepare(socket, ring_bytes)?;
        let memory = UringSlots::new(socket.as_fd(), shape.slots, shape.slot_bytes, FRAME_OFFSET)?;
        Ok(Self { slots: Slots::new(shape.slots, memory.frame_bytes()), memory, next: None })
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
        self.memory.bytes(slot, self.slots.length(slot))
    }

    pub(super) fn release(&mut self, slot: u32) {
        self.slots.release(slot);
    }

    pub(super) const fn slots(&self) -> &Slots {
        &self.slots
    }

    pub(super) const fn region(&self) -> (*mut u8, usize) {
        self.memory.region()
    }

    pub(super) fn clear_wake(&self) {
        self.memory.clear_wake();
    }

    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        self.memory.as_fd()
    }

    /// Keeps a few slots at the kernel, those used last: they are still in the cache. The others wait for a burst.
    fn offer(&mut self) {
        let mut offered = self.slots.at_the_kernel();
        if offered > OFFERED_MIN {
            return;
        }
        while offered < OFFERED_MAX
            && let Some(slot) = self.slots.take_free()
        {
            self.memory.offer(slot);
            offered += 1;
        }
    }

    fn advance(&mut self) -> Option<Received> {
        // Receiving ends when the kernel runs out of slots or the link goes down; twice would be neither.
        for _ in 0..2 {
            self.offer();
            if self.slots.held() == self.slots.count() || self.memory.start().is_err() {
                return None;
            }
            while let Some(frame) = self.memory.next() {
                if let Some(received) = self.slots.arrived(frame) {
                    return Some(received);
                }
            }
            if self.memory.is_receiving() {
                break;
            }
        }
        self.slots.drained();
        None
    }
}
