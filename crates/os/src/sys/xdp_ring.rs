//! An AF_XDP socket that only sends: frames are copied into memory that the kernel knows, and one call sends them all.
//!
//! Unsafe because two rings of indices and that memory are shared with the kernel. Slot n of the transmit ring always
//! stands for chunk n of the memory. A chunk is written to only while the kernel does not have it: it gets it with the
//! call that sends, and gives it back through the completion ring. The kernel sends nothing but in that call (the socket
//! is bound for copying, and nobody polls it), so slots it was shown but did not take may still be changed.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::{AtomicU32, Ordering};

use super::guarded_copy;
use super::mapping::Mapping;
use super::messages::HEAD_BYTES_MAX;
use super::socket::Socket;

/// Frames under way at a time. A card gives chunks back some time after it was given the frames; a virtual wire at once.
const SLOTS: u32 = 256;

/// Room for a frame; the kernel takes powers of two of at least this.
const CHUNK_BYTES: u32 = 2048;

/// So many frames the kernel takes in one call; it says so by an error if it was shown more.
const FRAMES_A_CALL: u64 = 32;

/// Longest frame: a longer one is not sent any faster than from where it is ("Frame ports" in docs/measurements.md).
const FRAME_BYTES_MAX: usize = 1536;

const _: () = assert!(FRAME_BYTES_MAX <= CHUNK_BYTES as usize && SLOTS.is_power_of_two());
const _: () =
    assert!(FRAME_BYTES_MAX <= HEAD_BYTES_MAX, "what could not be sent fits into the head of a message");

/// The descriptor of no frame: the kernel passes over it, some kernels over one a call, and some tell its end.
const NO_FRAME: libc::xdp_desc = libc::xdp_desc { addr: u64::MAX, len: u32::MAX, options: 0 };

/// The socket, its memory and its rings. Frames are numbered from the first one on, as the kernel does.
pub(crate) struct XdpRing {
    // Before the memory, so that the kernel lets go of it first.
    socket: Socket,
    transmit: Shared,
    completions: Shared,
    memory: Mapping,
    /// Longest frame that goes this way; the kernel does not look at the MTU here.
    frame_bytes_max: usize,
    lengths: Box<[u32]>,
    /// Whether the kernel may still read the chunk.
    lent: Box<[bool]>,
    /// Frames before this one the kernel has taken, or they were taken back.
    first: u64,
    /// Frames before this one the kernel was shown.
    shown: u64,
    /// Frames before this one are written.
    written: u64,
    /// The kernel's reading of `first`.
    consumed: u64,
}

impl XdpRing {
    /// Opens one on the first queue of the interface that nobody else has, for frames up to `frame_bytes_max`. Needs
    /// CAP_NET_RAW.
    pub(crate) fn open(
        interface_index: u32,
        frame_bytes_max: usize,
        send_buffer_bytes: usize,
    ) -> io::Result<Self> {
        guarded_copy::prepare()?;
        let socket = Socket::open(libc::AF_XDP, libc::SOCK_RAW)?;
        socket.reserve_buffer(libc::SO_SNDBUFFORCE, libc::SO_SNDBUF, send_buffer_bytes);
        let memory = Mapping::anonymous(SLOTS as usize * CHUNK_BYTES as usize)?;
        let registration = libc::xdp_umem_reg {
            addr: memory.address().addr() as u64,
            len: memory.length() as u64,
            chunk_size: CHUNK_BYTES,
            headroom: 0,
            flags: 0,
            tx_metadata_len: 0,
        };
        socket.set(libc::SOL_XDP, libc::XDP_UMEM_REG, &registration)?;
        // Nothing is received, but a socket without a fill ring cannot be bound.
        socket.set(libc::SOL_XDP, libc::XDP_UMEM_FILL_RING, &1u32)?;
        socket.set(libc::SOL_XDP, libc::XDP_UMEM_COMPLETION_RING, &SLOTS)?;
        socket.set(libc::SOL_XDP, libc::XDP_TX_RING, &SLOTS)?;
        let nowhere = libc::xdp_ring_offset { producer: 0, consumer: 0, desc: 0, flags: 0 };
        let offsets = libc::xdp_mmap_offsets { rx: nowhere, tx: nowhere, fr: nowhere, cr: nowhere };
        let offsets = socket.get(libc::SOL_XDP, libc::XDP_MMAP_OFFSETS, offsets)?;
        let page = libc::off_t::try_from(libc::XDP_UMEM_PGOFF_COMPLETION_RING).map_err(io::Error::other)?;
        let transmit =
            Shared::map(&socket, libc::XDP_PGOFF_TX_RING, &offsets.tx, size_of::<libc::xdp_desc>())?;
        let completions = Shared::map(&socket, page, &offsets.cr, size_of::<u64>())?;
        bind(&socket, interface_index)?;
        Ok(Self {
            socket,
            transmit,
            completions,
            memory,
            frame_bytes_max: FRAME_BYTES_MAX.min(frame_bytes_max),
            lengths: vec![0; SLOTS as usize].into_boxed_slice(),
            lent: vec![false; SLOTS as usize].into_boxed_slice(),
            first: 0,
            shown: 0,
            written: 0,
            consumed: 0,
        })
    }

    /// Takes frames up to this length from now on, or to that of a chunk if it is less.
    pub(crate) fn set_frame_bytes_max(&mut self, frame_bytes_max: usize) {
        self.frame_bytes_max = FRAME_BYTES_MAX.min(frame_bytes_max);
    }

    /// Frames that are written and not sent.
    pub(crate) fn queued(&self) -> usize {
        usize::try_from(self.written - self.first).expect("at most as many as there are slots")
    }

    /// Whether there is something to send, or something to be taken out of the way.
    pub(crate) fn wants_call(&self) -> bool {
        self.queued() > 0 || self.is_full()
    }

    /// Slots of frames that were taken back, which the kernel may not have passed over yet.
    pub(crate) fn slots_without_frame(&self) -> usize {
        usize::try_from(self.first - self.consumed).expect("at most as many as there are slots")
    }

    /// No slot is free. They may be slots of frames that were taken back.
    fn is_full(&self) -> bool {
        self.written - self.consumed == u64::from(SLOTS)
    }

    /// Adds a frame: `head`, zeros up to `head_bytes`, then the `payload` of so many bytes. False if it is too long, if
    /// there is no room, or if the payload cannot be read.
    pub(crate) fn push(&mut self, head: &[u8], head_bytes: usize, payload: (*const u8, usize)) -> bool {
        assert!(head.len() <= head_bytes, "the head is a part of its bytes");
        let length = head_bytes + payload.1;
        if length > self.frame_bytes_max {
            return false;
        }
        let slot = slot(self.written);
        if self.lent[slot] {
            self.take_completions();
        }
        if self.lent[slot] || self.is_full() {
            return false;
        }
        let chunk = self.chunk(slot);
        // SAFETY: the chunk is ours, for it is not lent; the three parts together are no longer than it, and the head is
        // a reference, so it is not in this memory, which is never lent out. The guard was prepared when this was made.
        unsafe {
            std::ptr::copy_nonoverlapping(head.as_ptr(), chunk, head.len());
            chunk.add(head.len()).write_bytes(0, head_bytes - head.len());
            if payload.1 > 0 && !guarded_copy::copy(payload.0, chunk.add(head_bytes), payload.1) {
                return false;
            }
        }
        let length = u32::try_from(length).expect("shorter than a chunk");
        self.lengths[slot] = length;
        self.describe(
            slot,
            libc::xdp_desc { addr: slot as u64 * u64::from(CHUNK_BYTES), len: length, options: 0 },
        );
        self.written += 1;
        true
    }

    /// Offers frames from the oldest on to the kernel, once; how many it took, and what it says. Nothing taken and no
    /// complaint means that it passed over a slot without a frame, or that the interface has lost the queue.
    pub(crate) fn send_some(&mut self) -> (usize, io::Result<()>) {
        let until = self.written.min(self.shown.max(self.first + FRAMES_A_CALL));
        for number in self.shown..until {
            self.lent[slot(number)] = true;
        }
        self.shown = self.shown.max(until);
        // Release: the frames were written before the kernel sees that they are there.
        self.transmit.producer().store(low(self.shown), Ordering::Release);
        let descriptor = self.socket.as_fd().as_raw_fd();
        // SAFETY: no memory is passed along.
        let result =
            unsafe { libc::sendto(descriptor, std::ptr::null(), 0, libc::MSG_DONTWAIT, std::ptr::null(), 0) };
        let result = if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) };
        let ahead = self.transmit.consumer().load(Ordering::Acquire).wrapping_sub(low(self.consumed));
        assert!(ahead <= SLOTS, "the kernel took {ahead} frames of {SLOTS} slots");
        self.consumed += u64::from(ahead);
        let before = self.first;
        self.first = self.first.max(self.consumed);
        if result.as_ref().is_err_and(|error| error.raw_os_error() == Some(libc::EBUSY))
            && self.first > before
        {
            // The card threw the last frame away: it is sent again by other means.
            self.first -= 1;
        }
        self.take_completions();
        (usize::try_from(self.first - before).expect("at most as many as there are slots"), result)
    }

    /// Takes back the frames that were not sent, the newest first.
    pub(crate) fn take_back(&mut self, mut each: impl FnMut(&[u8])) {
        for number in (self.first..self.written).rev() {
            let slot = slot(number);
            // SAFETY: the chunk was written by `push` up to this length, and nobody writes to it now; the kernel at most
            // reads it.
            let frame = unsafe { std::slice::from_raw_parts(self.chunk(slot), self.lengths[slot] as usize) };
            each(frame);
            if number < self.shown {
                self.describe(slot, NO_FRAME);
                self.lent[slot] = false;
            }
        }
        self.written = self.shown;
        self.first = self.shown;
    }

    /// The kernel tells the chunks it is done with. One that was taken back and sent all the same, which a kernel that
    /// counts late makes possible, is told of as well: by then its slot has no frame, or a whole round has passed.
    fn take_completions(&mut self) {
        let mut next = self.completions.consumer().load(Ordering::Relaxed);
        let end = self.completions.producer().load(Ordering::Acquire);
        while next != end {
            let entry = self.completions.entry::<u64>(slot(u64::from(next)));
            // SAFETY: an entry of the ring, which the kernel filled before it moved the producer on.
            let address = unsafe { entry.read() };
            if address != NO_FRAME.addr {
                let chunk = usize::try_from(address / u64::from(CHUNK_BYTES)).unwrap_or(usize::MAX);
                assert!(chunk < self.lent.len(), "the kernel gives back a chunk at {address}");
                self.lent[chunk] = false;
            }
            next = next.wrapping_add(1);
        }
        // Release: what was read of the ring was read before the kernel may write there again.
        self.completions.consumer().store(next, Ordering::Release);
    }

    fn chunk(&self, slot: usize) -> *mut u8 {
        self.memory.address().wrapping_add(slot * CHUNK_BYTES as usize)
    }

    fn describe(&self, slot: usize, descriptor: libc::xdp_desc) {
        let entry = self.transmit.entry::<libc::xdp_desc>(slot);
        // SAFETY: an entry of the ring; the kernel reads it only inside the call in `send_some`.
        unsafe { entry.write(descriptor) };
    }
}

impl std::fmt::Debug for XdpRing {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "XdpRing({} of {SLOTS})", self.queued())
    }
}

/// A ring of `SLOTS` entries between the kernel and us.
struct Shared {
    mapping: Mapping,
    producer: usize,
    consumer: usize,
    entries: usize,
}

impl Shared {
    fn map(
        socket: &Socket,
        page: libc::off_t,
        offsets: &libc::xdp_ring_offset,
        entry_bytes: usize,
    ) -> io::Result<Self> {
        let offset = |offset: u64| usize::try_from(offset).map_err(io::Error::other);
        let (producer, consumer) = (offset(offsets.producer)?, offset(offsets.consumer)?);
        let entries = offset(offsets.desc)?;
        let length = entries + SLOTS as usize * entry_bytes;
        let fits = producer.is_multiple_of(4) && consumer.is_multiple_of(4) && entries.is_multiple_of(8);
        assert!(
            fits && producer.max(consumer) + 4 <= length,
            "the kernel's ring: {producer} {consumer} {entries}"
        );
        Ok(Self { mapping: Mapping::shared_at(socket.as_fd(), length, page)?, producer, consumer, entries })
    }

    fn producer(&self) -> &AtomicU32 {
        self.index(self.producer)
    }

    fn consumer(&self) -> &AtomicU32 {
        self.index(self.consumer)
    }

    fn index(&self, offset: usize) -> &AtomicU32 {
        // SAFETY: inside the mapping and aligned (asserted when it was mapped), and only ever touched atomically.
        unsafe { AtomicU32::from_ptr(self.mapping.address().add(offset).cast()) }
    }

    /// Where an entry is. `T` is what the ring was mapped for.
    fn entry<T>(&self, slot: usize) -> *mut T {
        let offset = self.entries + slot * size_of::<T>();
        assert!(offset + size_of::<T>() <= self.mapping.length(), "outside the ring");
        self.mapping.address().wrapping_add(offset).cast()
    }
}

/// A queue belongs to one socket on the machine. Which one sends makes no difference to us.
fn bind(socket: &Socket, interface_index: u32) -> io::Result<()> {
    let mut address = libc::sockaddr_xdp {
        sxdp_family: u16::try_from(libc::AF_XDP).map_err(io::Error::other)?,
        // The card's own way to do without copying would take the queue's received frames from everybody else.
        sxdp_flags: libc::XDP_COPY,
        sxdp_ifindex: interface_index,
        sxdp_queue_id: 0,
        sxdp_shared_umem_fd: 0,
    };
    loop {
        match socket.bind(&address) {
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => address.sxdp_queue_id += 1,
            // After the last queue.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) && address.sxdp_queue_id > 0 => {
                return Err(io::Error::from_raw_os_error(libc::EBUSY));
            }
            result => return result,
        }
    }
}

fn slot(number: u64) -> usize {
    usize::try_from(number % u64::from(SLOTS)).expect("fewer slots than addresses")
}

/// A number as the rings have it, without its upper half.
fn low(number: u64) -> u32 {
    u32::try_from(number & u64::from(u32::MAX)).expect("32 bits")
}
