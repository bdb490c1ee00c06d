//! Many frames in one system call: `sendmmsg` and `recvmmsg` with their arrays kept from call to call.
//!
//! Unsafe because the arrays hold pointers into each other and to memory lent by others. The arrays are boxed once and
//! never move. A payload to be sent is only ever read, and only by the kernel: an address that has gone bad costs
//! EFAULT, not memory safety.

use std::io;
use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use super::clock;
use super::mapping::Mapping;

/// The head of a frame, copied in at once: headers, or a whole control reply.
pub(crate) const HEAD_BYTES_MAX: usize = 2112;

/// Frames waiting to be sent, in order.
pub(crate) struct SendBatch {
    messages: Box<[libc::mmsghdr]>,
    parts: Box<[[libc::iovec; 2]]>,
    heads: Box<[[u8; HEAD_BYTES_MAX]]>,
    /// Index of the oldest frame, and number of frames; the arrays are used round and round.
    first: usize,
    queued: usize,
}

// SAFETY: the pointers inside lead to the boxes of the same value, and to payloads that the kernel alone reads.
unsafe impl Send for SendBatch {}

impl SendBatch {
    pub(crate) fn new(capacity: usize) -> Self {
        let no_part = libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 };
        let mut heads = vec![[0; HEAD_BYTES_MAX]; capacity].into_boxed_slice();
        let mut parts = vec![[no_part; 2]; capacity].into_boxed_slice();
        let messages = (0..capacity).map(|index| {
            parts[index][0].iov_base = heads[index].as_mut_ptr().cast();
            message(parts[index].as_mut_ptr(), 1)
        });
        let messages = messages.collect();
        Self { messages, parts, heads, first: 0, queued: 0 }
    }

    pub(crate) const fn queued(&self) -> usize {
        self.queued
    }

    pub(crate) fn capacity(&self) -> usize {
        self.messages.len()
    }

    /// Adds a frame: `head`, zeros up to `head_bytes`, then the `payload` of so many bytes. False if there is no room.
    pub(crate) fn push(&mut self, head: &[u8], head_bytes: usize, payload: (*const u8, usize)) -> bool {
        if self.queued == self.capacity() {
            return false;
        }
        let index = (self.first + self.queued) % self.capacity();
        self.put(index, head, head_bytes, payload);
        self.queued += 1;
        true
    }

    /// Puts a whole frame before all others.
    pub(crate) fn push_first(&mut self, frame: &[u8]) {
        assert!(self.queued < self.capacity(), "room for what was queued before");
        self.first = (self.first + self.capacity() - 1) % self.capacity();
        self.put(self.first, frame, frame.len(), (ptr::null(), 0));
        self.queued += 1;
    }

    fn put(&mut self, index: usize, head: &[u8], head_bytes: usize, payload: (*const u8, usize)) {
        self.heads[index][..head.len()].copy_from_slice(head);
        self.heads[index][head.len()..head_bytes].fill(0);
        self.parts[index][0].iov_len = head_bytes;
        self.parts[index][1] = libc::iovec { iov_base: payload.0.cast_mut().cast(), iov_len: payload.1 };
        self.messages[index].msg_hdr.msg_iovlen = if payload.1 == 0 { 1 } else { 2 };
    }

    /// Takes the oldest frame out unsent.
    pub(crate) fn drop_oldest(&mut self) {
        assert!(self.queued > 0, "nothing is queued");
        self.advance(1);
    }

    /// Offers the frames from the oldest on to the kernel, once; how many it took. Fails only if it took none.
    pub(crate) fn send_some(&mut self, socket: BorrowedFd<'_>) -> io::Result<usize> {
        let run = self.queued.min(self.capacity() - self.first);
        let messages = &mut self.messages[self.first..self.first + run];
        let count = libc::c_uint::try_from(run).unwrap_or(libc::c_uint::MAX);
        // SAFETY: each message points to parts in our own box, whose heads are ours too; the kernel reads them, and the
        // payloads, during the call only, and writes to `msg_len`.
        let sent = unsafe {
            libc::sendmmsg(socket.as_raw_fd(), messages.as_mut_ptr(), count, libc::MSG_DONTWAIT as _)
        };
        let Ok(sent) = usize::try_from(sent) else {
            return Err(io::Error::last_os_error());
        };
        self.advance(sent);
        Ok(sent)
    }

    fn advance(&mut self, count: usize) {
        self.queued -= count;
        self.first = if self.queued == 0 { 0 } else { (self.first + count) % self.capacity() };
    }
}

/// A frame that `recvmmsg` put into a slot.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrived {
    pub(crate) slot: u32,
    /// Bytes of the frame on the wire; more than a slot holds if it was cut.
    pub(crate) length: u32,
    /// Wall clock at reception, nanoseconds since 1970; none if the kernel did not say.
    pub(crate) unix_nanos: Option<u64>,
}

/// Slots of our own memory that frames are received into, many in one call.
pub(crate) struct ReceiveSlots {
    memory: Mapping,
    slot_bytes: u32,
    /// Where in a slot the frame begins.
    frame_offset: u32,
    slots: u32,
    messages: Box<[libc::mmsghdr]>,
    parts: Box<[libc::iovec]>,
    controls: Box<[Control]>,
}

// SAFETY: the pointers inside lead to boxes and memory of the same value.
unsafe impl Send for ReceiveSlots {}

/// Room for one timestamp message, aligned as control messages are.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Control([u8; 64]);

impl ReceiveSlots {
    pub(crate) fn new(slots: u32, slot_bytes: u32, frame_offset: u32, batch: usize) -> io::Result<Self> {
        assert!(slots > 0 && batch > 0 && frame_offset < slot_bytes, "no room for a frame");
        let memory = Mapping::anonymous(slots as usize * slot_bytes as usize)?;
        let no_part = libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 };
        let mut parts = vec![no_part; batch].into_boxed_slice();
        let mut controls = vec![Control([0; 64]); batch].into_boxed_slice();
        let messages = (0..batch).map(|index| {
            let mut message = message(&raw mut parts[index], 1);
            message.msg_hdr.msg_control = (&raw mut controls[index]).cast();
            message
        });
        let messages = messages.collect();
        Ok(Self { memory, slot_bytes, frame_offset, slots, messages, parts, controls })
    }

    pub(crate) fn batch(&self) -> usize {
        self.messages.len()
    }

    /// Longest frame that finds room in a slot.
    pub(crate) const fn frame_bytes(&self) -> u32 {
        self.slot_bytes - self.frame_offset
    }

    pub(crate) const fn region(&self) -> (*mut u8, usize) {
        (self.memory.address(), self.memory.length())
    }

    /// The first `length` bytes of the frame in a slot.
    pub(crate) fn bytes(&self, slot: u32, length: u32) -> &[u8] {
        assert!(slot < self.slots && self.frame_offset + length <= self.slot_bytes, "outside the slot");
        let start = slot as usize * self.slot_bytes as usize + self.frame_offset as usize;
        // SAFETY: inside the memory (asserted), initialised (it came zeroed), and written to only by `receive`, which
        // takes `&mut self`.
        unsafe { std::slice::from_raw_parts(self.memory.address().add(start), length as usize) }
    }

    /// Receives into as many of the `free` slots as there are frames and room in a batch; `arrived` is told in order.
    pub(crate) fn receive(
        &mut self,
        socket: BorrowedFd<'_>,
        free: &[u32],
        mut arrived: impl FnMut(Arrived),
    ) -> io::Result<()> {
        let count = free.len().min(self.batch());
        for (index, &slot) in free[..count].iter().enumerate() {
            assert!(slot < self.slots, "no slot {slot}");
            let start = slot as usize * self.slot_bytes as usize + self.frame_offset as usize;
            self.parts[index].iov_base = self.memory.address().wrapping_add(start).cast();
            self.parts[index].iov_len = (self.slot_bytes - self.frame_offset) as usize;
            self.messages[index].msg_hdr.msg_controllen = size_of::<Control>();
        }
        // MSG_TRUNC: the true length of a frame that did not fit.
        let flags = libc::MSG_DONTWAIT | libc::MSG_TRUNC;
        let limit = libc::c_uint::try_from(count).unwrap_or(libc::c_uint::MAX);
        // SAFETY: the messages point to parts inside our memory, each of a different slot, and to our control boxes; no
        // slice of the memory is lent out, for that would borrow `self`.
        let received = unsafe {
            libc::recvmmsg(socket.as_raw_fd(), self.messages.as_mut_ptr(), limit, flags as _, ptr::null_mut())
        };
        let Ok(received) = usize::try_from(received) else {
            return Err(io::Error::last_os_error());
        };
        for (message, &slot) in self.messages[..received].iter().zip(free) {
            let unix_nanos = timestamp(&message.msg_hdr);
            arrived(Arrived { slot, length: message.msg_len, unix_nanos });
        }
        Ok(())
    }
}

impl std::fmt::Debug for ReceiveSlots {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { slots, slot_bytes, controls, .. } = self;
        write!(formatter, "ReceiveSlots({slots} of {slot_bytes} bytes, {} a call)", controls.len())
    }
}

impl std::fmt::Debug for SendBatch {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "SendBatch({} of {})", self.queued, self.capacity())
    }
}

fn message(parts: *mut libc::iovec, count: usize) -> libc::mmsghdr {
    // SAFETY: an all-zero message header is a valid one.
    let mut message: libc::mmsghdr = unsafe { mem::zeroed() };
    message.msg_hdr.msg_iov = parts;
    message.msg_hdr.msg_iovlen = count as _;
    message
}

fn timestamp(header: &libc::msghdr) -> Option<u64> {
    // SAFETY: `header` was filled by the kernel just now; its control buffer is ours and as long as it says.
    let mut control = unsafe { libc::CMSG_FIRSTHDR(header) };
    while !control.is_null() {
        // SAFETY: not null, so the kernel wrote a whole control header there.
        let found = unsafe { &*control };
        if found.cmsg_level == libc::SOL_SOCKET && found.cmsg_type == libc::SCM_TIMESTAMPNS {
            // SAFETY: a message of this type carries a timespec, perhaps not aligned.
            let time = unsafe { libc::CMSG_DATA(control).cast::<libc::timespec>().read_unaligned() };
            return Some(clock::nanos(&time));
        }
        // SAFETY: both come from the same header.
        control = unsafe { libc::CMSG_NXTHDR(header, control) };
    }
    None
}
