//! Receiving by `recvmmsg` into memory of our own: works wherever a packet socket may be opened at all.
//!
//! Frames are fetched a batch at a time and wait in `arrived` until they are asked for.

use std::collections::VecDeque;
use std::io;
use std::os::fd::AsFd;

use block::Instant;

use super::slots::{Shape, Slots, prepare};
use super::{FRAME_OFFSET, Received};
use crate::sys::messages::ReceiveSlots;
use crate::sys::packet_socket::PacketSocket;

/// Frames fetched in one call.
const BATCH: usize = 64;

#[derive(Debug)]
pub(super) struct PlainReceiver {
    memory: ReceiveSlots,
    slots: Slots,
    arrived: VecDeque<Received>,
}

impl PlainReceiver {
    pub(super) fn new(socket: &PacketSocket, mtu: u32, ring_bytes: usize) -> io::Result<Self> {
        let shape = Shape::new(mtu, ring_bytes, u32::MAX);
        prepare(socket, ring_bytes)?;
        let memory = ReceiveSlots::new(shape.slots, shape.slot_bytes, FRAME_OFFSET, BATCH)?;
        Ok(Self {
            slots: Slots::new(shape.slots, memory.frame_bytes()),
            memory,
            arrived: VecDeque::with_capacity(BATCH),
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

    fn fetch(&mut self, socket: &PacketSocket) {
        let Self { memory, slots, arrived } = self;
        let mut offered = [0; BATCH];
        let mut count = 0;
        while count < BATCH
            && let Some(slot) = slots.take_free()
        {
            offered[count] = slot;
            count += 1;
        }
        let mut used = 0;
        let fetched = memory.receive(socket.as_fd(), &offered[..count], |frame| {
            used += 1;
            arrived.extend(slots.arrived(frame));
        });
        offered[used..count].iter().rev().for_each(|&slot| slots.give_back(slot));
        // No frames, or the link went down: both mean that there is nothing now.
        if fetched.is_err() || used < count {
            slots.drained();
        }
    }
}
