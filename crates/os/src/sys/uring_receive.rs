//! Receiving through an io_uring of its own: one `recvmsg` that goes on for ever, into buffers the kernel picks.
//!
//! Unsafe because the kernel writes into our memory whenever it likes, but only into slots that were given to it; a slot
//! is lent out as a slice only between its completion and the moment it is given back.

use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::types::{BufRingEntry, CancelBuilder, Fd};
use io_uring::{IoUring, cqueue, opcode};

use super::clock;
use super::mapping::Mapping;
use super::messages::Arrived;

/// What the kernel writes in front of a frame: four words about it, then one timestamp message.
const RESULT_BYTES: u32 = 16;
const CONTROL_BYTES: u32 = 32;
const PREFIX_BYTES: u32 = RESULT_BYTES + CONTROL_BYTES;

const BUFFER_GROUP: u16 = 0;
const ENTRY_BYTES: usize = size_of::<BufRingEntry>();

/// A number of a buffer is 16 bits wide, and their ring a power of two of at most this.
pub(crate) const SLOTS_MAX: u32 = 1 << 15;

/// The io_uring, the memory it receives into, and whose turn it is on each slot.
pub(crate) struct UringSlots {
    // Dropped first: nothing is received any more when the memory goes.
    uring: IoUring,
    /// Counts up when the kernel has something for us. Polling the io_uring itself would not do: with deferred work it
    /// wakes nobody who is not waiting inside it.
    wake: OwnedFd,
    socket: RawFd,
    memory: Mapping,
    offers: Mapping,
    offers_mask: u16,
    tail: u16,
    slot_bytes: u32,
    frame_offset: u32,
    /// Slots the kernel may not write to: never given to it, or come back with a frame.
    ours: Box<[bool]>,
    message: Box<libc::msghdr>,
    enabled: bool,
    armed: bool,
}

// SAFETY: the pointers inside lead to boxes and memory of the same value. The io_uring is enabled, and so bound to its
// thread, at first use.
unsafe impl Send for UringSlots {}

impl UringSlots {
    /// Slots for frames that begin at `frame_offset` in each, all of them ours at first. The socket must stay open as long as this lives.
    pub(crate) fn new(
        socket: BorrowedFd<'_>,
        slots: u32,
        slot_bytes: u32,
        frame_offset: u32,
    ) -> io::Result<Self> {
        assert!(slots > 0 && slots <= SLOTS_MAX && frame_offset >= PREFIX_BYTES, "{slots} slots");
        let ring_slots = slots.next_power_of_two();
        let uring = IoUring::builder()
            .setup_cqsize((2 * ring_slots).max(64))
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_taskrun_flag()
            .setup_r_disabled()
            .build(8)?;
        let wake = open_wake()?;
        uring.submitter().register_eventfd(wake.as_raw_fd())?;
        let memory = Mapping::anonymous(slots as usize * slot_bytes as usize)?;
        let offers = Mapping::anonymous((ring_slots as usize * ENTRY_BYTES).next_multiple_of(4096))?;
        let entries = u16::try_from(ring_slots).map_err(io::Error::other)?;
        // SAFETY: `offers` is page aligned, long enough for the entries, and lives as long as the ring.
        unsafe {
            uring.submitter().register_buf_ring_with_flags(
                offers.address().addr() as u64,
                entries,
                BUFFER_GROUP,
                0,
            )?;
        }
        // SAFETY: an all-zero message header is a valid one.
        let mut message: Box<libc::msghdr> = Box::new(unsafe { mem::zeroed() });
        message.msg_controllen = CONTROL_BYTES as usize;
        Ok(Self {
            uring,
            wake,
            socket: socket.as_raw_fd(),
            memory,
            offers,
            offers_mask: entries - 1,
            tail: 0,
            slot_bytes,
            frame_offset,
            ours: vec![true; slots as usize].into_boxed_slice(),
            message,
            enabled: false,
            armed: false,
        })
    }

    /// Longest frame that finds room in a slot.
    pub(crate) const fn frame_bytes(&self) -> u32 {
        self.slot_bytes - self.frame_offset
    }

    pub(crate) const fn region(&self) -> (*mut u8, usize) {
        (self.memory.address(), self.memory.length())
    }

    /// Binds the io_uring to the calling thread, the only one that may use it from now on, and starts receiving.
    pub(crate) fn start(&mut self) -> io::Result<()> {
        if !self.enabled {
            self.uring.submitter().register_enable_rings()?;
            self.enabled = true;
        }
        if self.armed {
            return Ok(());
        }
        // MSG_TRUNC: the true length of a frame that did not fit.
        let entry = opcode::RecvMsgMulti::new(Fd(self.socket), &raw const *self.message, BUFFER_GROUP)
            .flags(libc::MSG_TRUNC.cast_unsigned())
            .build();
        // SAFETY: the message header is boxed and lives as long as the ring; buffers come from the group.
        unsafe { self.uring.submission().push(&entry).map_err(io::Error::other)? };
        self.uring.submit()?;
        self.armed = true;
        Ok(())
    }

    /// False if receiving came to an end and must be started again.
    pub(crate) const fn is_receiving(&self) -> bool {
        self.armed
    }

    /// Forgets that the kernel had something for us, so that [`Self::as_fd`] becomes readable anew.
    pub(crate) fn clear_wake(&self) {
        let mut count = 0u64;
        // SAFETY: `count` is writable for its length. That there was nothing to forget is fine.
        unsafe { libc::read(self.wake.as_raw_fd(), (&raw mut count).cast(), size_of::<u64>()) };
    }

    /// The next frame that came, without a system call; or after one if the kernel has work waiting for us.
    pub(crate) fn next(&mut self) -> Option<Arrived> {
        loop {
            let Some(entry) = self.uring.completion().next() else {
                if !self.uring.submission().taskrun() || self.uring.submit().is_err() {
                    return None;
                }
                if self.uring.completion().is_empty() {
                    return None;
                }
                continue;
            };
            // Out of slots, or the link went down: armed again when there is something to receive into.
            self.armed &= cqueue::more(entry.flags());
            if let Some(slot) = cqueue::buffer_select(entry.flags()) {
                return Some(self.arrived(slot.into(), entry.result()));
            }
            if !self.armed {
                return None;
            }
        }
    }

    fn arrived(&mut self, slot: u32, result: i32) -> Arrived {
        assert!(!self.ours[slot as usize], "the kernel filled slot {slot}, which is not its own");
        self.ours[slot as usize] = true;
        if u32::try_from(result).unwrap_or(0) < PREFIX_BYTES {
            return Arrived { slot, length: 0, unix_nanos: None };
        }
        let prefix = self.slice(slot, self.frame_offset - PREFIX_BYTES, PREFIX_BYTES);
        let word =
            |at: usize| u32::from_ne_bytes([prefix[at], prefix[at + 1], prefix[at + 2], prefix[at + 3]]);
        let (control_bytes, length) = (word(4), word(8));
        let control = &prefix[RESULT_BYTES as usize..];
        let unix_nanos = (control_bytes == CONTROL_BYTES).then(|| timestamp(control)).flatten();
        Arrived { slot, length, unix_nanos }
    }

    /// The first `length` bytes of the frame in a slot that is ours.
    pub(crate) fn bytes(&self, slot: u32, length: u32) -> &[u8] {
        self.slice(slot, self.frame_offset, length)
    }

    fn slice(&self, slot: u32, offset: u32, length: u32) -> &[u8] {
        assert!(self.ours[slot as usize], "slot {slot} is the kernel's");
        assert!(offset + length <= self.slot_bytes, "outside the slot");
        let start = slot as usize * self.slot_bytes as usize + offset as usize;
        // SAFETY: inside the slot (asserted), initialised (the memory came zeroed), and not the kernel's to write to: the
        // slot is ours, and giving it back takes `&mut self`.
        unsafe { std::slice::from_raw_parts(self.memory.address().add(start), length as usize) }
    }

    /// Gives the kernel a slot to receive into; the first given is the first filled.
    pub(crate) fn offer(&mut self, slot: u32) {
        assert!(self.ours[slot as usize], "slot {slot} is the kernel's already");
        self.ours[slot as usize] = false;
        let offset = slot as usize * self.slot_bytes as usize + (self.frame_offset - PREFIX_BYTES) as usize;
        let address = self.memory.address().wrapping_add(offset).addr() as u64;
        let base: *mut BufRingEntry = self.offers.address().cast();
        // SAFETY: the index lies inside the ring of offers; the kernel does not read beyond the tail, so this entry is
        // ours to write. Field by field, because the kernel's tail shares the first entry.
        unsafe {
            let entry = base.add(usize::from(self.tail & self.offers_mask));
            (*entry).set_addr(address);
            (*entry).set_len(self.slot_bytes - (self.frame_offset - PREFIX_BYTES));
            (*entry).set_bid(u16::try_from(slot).unwrap_or(u16::MAX));
        }
        self.tail = self.tail.wrapping_add(1);
        // SAFETY: the tail lies in the first entry of the ring and is 2-aligned; the kernel only reads it.
        let tail = unsafe { AtomicU16::from_ptr(BufRingEntry::tail(base).cast_mut()) };
        tail.store(self.tail, Ordering::Release);
    }
}

impl Drop for UringSlots {
    fn drop(&mut self) {
        if self.enabled {
            // Nothing may be received into memory that is about to go. An error means that nothing was going on.
            drop(self.uring.submitter().register_sync_cancel(None, CancelBuilder::any()));
        }
    }
}

impl AsFd for UringSlots {
    /// Readable when a frame came.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }
}

impl std::fmt::Debug for UringSlots {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "UringSlots({} of {} bytes)", self.ours.len(), self.slot_bytes)
    }
}

fn open_wake() -> io::Result<OwnedFd> {
    // SAFETY: takes no pointers.
    let descriptor = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: just opened, and nobody else knows the number.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

fn timestamp(control: &[u8]) -> Option<u64> {
    assert!(control.len() >= CONTROL_BYTES as usize, "a control message of {} bytes", control.len());
    // SAFETY: long enough for a control header (asserted), perhaps not aligned.
    let header = unsafe { ptr::read_unaligned(control.as_ptr().cast::<libc::cmsghdr>()) };
    if header.cmsg_level != libc::SOL_SOCKET || header.cmsg_type != libc::SCM_TIMESTAMPNS {
        return None;
    }
    // SAFETY: long enough for a header and the timespec behind it (asserted), perhaps not aligned.
    let time = unsafe { ptr::read_unaligned(control.as_ptr().add(size_of::<libc::cmsghdr>()).cast()) };
    Some(clock::nanos(&time))
}
