//! The receive ring that a packet socket shares with the kernel (`TPACKET_V2`).
//!
//! Unsafe because the kernel and we take turns on the same memory. The turn is the slot's status word: while it says
//! `TP_STATUS_USER` the kernel only waits, and only then is a slice of the slot lent out. The slots are filled strictly
//! in order. Nothing here decides what to do with a frame.

use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU32, Ordering};

use super::mapping::Mapping;
use super::packet_socket::PacketSocket;

/// Where the frame begins in its slot when `reserve` bytes are asked for: the kernel puts the network header at
/// `align16(header + 16) + reserve`, and the 14 bytes of Ethernet header before it.
pub(crate) const fn frame_offset(reserve: u32) -> u32 {
    (RING_HEADER_BYTES + 16).next_multiple_of(16) + reserve - 14
}

/// What the kernel wrote about the frame in a slot.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SlotHeader {
    /// Bytes the frame had on the wire.
    pub(crate) length: u32,
    /// Bytes of it that found room in the slot.
    pub(crate) stored: u32,
    /// Where they begin.
    pub(crate) offset: u32,
    /// Wall clock at reception, nanoseconds since 1970.
    pub(crate) unix_nanos: u64,
}

/// How the ring is cut up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RingShape {
    /// Bytes a slot, a multiple of 16.
    pub(crate) slot_bytes: u32,
    /// Bytes a block of slots, a multiple of the page; a slot never crosses from one block into the next.
    pub(crate) block_bytes: u32,
    /// Blocks.
    pub(crate) blocks: u32,
}

impl RingShape {
    /// Slots in one block.
    pub(crate) const fn slots_per_block(&self) -> u32 {
        self.block_bytes / self.slot_bytes
    }

    /// Slots in the ring.
    pub(crate) const fn slots(&self) -> u32 {
        self.slots_per_block() * self.blocks
    }
}

/// The mapped ring. The socket it belongs to must outlive it in the sense that closing it stops the kernel's writing,
/// not in the sense of memory: the mapping keeps the pages alive.
#[derive(Debug)]
pub(crate) struct PacketRing {
    mapping: Mapping,
    /// Where each slot begins.
    offsets: Box<[u32]>,
    slot_bytes: u32,
}

impl PacketRing {
    /// Asks the kernel for a ring on a socket that is not bound yet and maps it.
    pub(crate) fn create(socket: &PacketSocket, shape: RingShape, reserve: u32) -> io::Result<Self> {
        assert!(shape.slots() > 0 && shape.slot_bytes > frame_offset(reserve), "{shape:?} holds no frame");
        socket.set_packet(libc::PACKET_VERSION, 1 as libc::c_int)?; // TPACKET_V2
        socket.set_packet(libc::PACKET_RESERVE, reserve)?;
        let request = libc::tpacket_req {
            tp_block_size: shape.block_bytes,
            tp_block_nr: shape.blocks,
            tp_frame_size: shape.slot_bytes,
            tp_frame_nr: shape.slots(),
        };
        socket.set_packet(libc::PACKET_RX_RING, request)?;
        let length = shape.block_bytes as usize * shape.blocks as usize;
        let mapping = Mapping::shared(socket.as_fd(), length)?;
        let per_block = shape.slots_per_block();
        let offset_of = |slot| (slot / per_block) * shape.block_bytes + (slot % per_block) * shape.slot_bytes;
        Ok(Self {
            mapping,
            offsets: (0..shape.slots()).map(offset_of).collect(),
            slot_bytes: shape.slot_bytes,
        })
    }

    /// Slots in the ring.
    pub(crate) fn slots(&self) -> usize {
        self.offsets.len()
    }

    /// The whole ring, to be registered with an io_uring.
    pub(crate) const fn region(&self) -> (*mut u8, usize) {
        (self.mapping.address(), self.mapping.length())
    }

    fn status(&self, slot: u32) -> &AtomicU32 {
        let offset = self.offsets[slot as usize] as usize;
        // SAFETY: every offset lies a whole slot inside the mapping and is 16-aligned; the status is the first word of
        // the slot and is only ever touched atomically, by the kernel too.
        unsafe { AtomicU32::from_ptr(self.mapping.address().add(offset).cast()) }
    }

    /// True if the slot is ours.
    pub(crate) fn is_ours(&self, slot: u32) -> bool {
        self.status(slot).load(Ordering::Acquire) & libc::TP_STATUS_USER != 0
    }

    /// The header of the frame in `slot`, if the slot is ours.
    pub(crate) fn header(&self, slot: u32) -> Option<SlotHeader> {
        if !self.is_ours(slot) {
            return None;
        }
        let offset = self.offsets[slot as usize] as usize;
        // SAFETY: as in `status`, a header's length lies inside the slot; the kernel wrote it before it handed the slot
        // over (Acquire above) and does not write again until it is given back, which takes `&mut self`.
        let header = unsafe { self.mapping.address().add(offset).cast::<libc::tpacket2_hdr>().read() };
        assert!(
            u32::from(header.tp_mac) + header.tp_snaplen <= self.slot_bytes,
            "the kernel wrote {} bytes at {} into a slot of {}",
            header.tp_snaplen,
            header.tp_mac,
            self.slot_bytes
        );
        Some(SlotHeader {
            length: header.tp_len,
            stored: header.tp_snaplen,
            offset: u32::from(header.tp_mac),
            unix_nanos: u64::from(header.tp_sec) * 1_000_000_000 + u64::from(header.tp_nsec),
        })
    }

    /// `length` bytes at `offset` of a slot that is ours.
    pub(crate) fn bytes(&self, slot: u32, offset: u32, length: u32) -> &[u8] {
        assert!(self.is_ours(slot), "slot {slot} was given back");
        assert!(offset >= RING_HEADER_BYTES && offset + length <= self.slot_bytes, "outside the slot");
        let start = self.offsets[slot as usize] as usize + offset as usize;
        // SAFETY: inside the slot (asserted), initialised (the mapping came zeroed), and not written to by the kernel while
        // the slot is ours; giving it back takes `&mut self`, so it cannot happen during the borrow.
        unsafe { std::slice::from_raw_parts(self.mapping.address().add(start), length as usize) }
    }

    /// Gives a slot back to the kernel; in any order.
    #[expect(clippy::needless_pass_by_ref_mut, reason = "no slice of the slot may be lent out meanwhile")]
    pub(crate) fn give_back(&mut self, slot: u32) {
        // Release: what we read of the slot was read before the kernel may write to it again.
        self.status(slot).store(libc::TP_STATUS_KERNEL, Ordering::Release);
    }
}

/// What the kernel puts in front of a frame: its header and the sender's link address.
#[expect(clippy::cast_possible_truncation, reason = "52")]
const RING_HEADER_BYTES: u32 = libc::TPACKET2_HDRLEN as u32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_without_reserve_puts_a_frame_at_66() {
        assert_eq!(frame_offset(0), 66);
        assert_eq!(frame_offset(410) + 36, 512);
    }
}
