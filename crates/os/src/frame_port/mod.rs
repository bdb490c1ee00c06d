//! A frame port: AoE frames of one interface in and out, many at a time.
//!
//! Received frames stay in slots that the caller names by number and releases in any order; sent frames are queued and
//! flushed. The payload of a received ATA frame lies on a 512-byte boundary, so that it can go to a disk from where it
//! is. What a frame means is not decided here.

mod error;
mod filter;
mod plain;
mod ring;
mod slots;
mod timestamp;
mod transmit;
mod uring;

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use block::Instant;

pub use error::{MTU_MIN, PortError, SendError};
pub use filter::{EXACT_ADDRESSES_MAX, FrameFilter};
pub use transmit::{FRAME_HEAD_BYTES_MAX, Payload, QueueFull, TransmitFrame};

use crate::interface::Interface;
use crate::sys::packet_socket::{self, PacketSocket};
use crate::sys::xdp_ring::XdpRing;
use plain::PlainReceiver;
use ring::RingReceiver;
use transmit::Transmit;
use uring::UringReceiver;

/// The Ethernet type of AoE.
pub const ETHERTYPE: u16 = 0x88a2;

/// Frames of every type, as they come from the card; see [`filter`].
const EVERY_TYPE: u16 = 3;

const ETHERNET_HEADER_BYTES: u32 = 14;

/// Where in a received ATA frame the payload begins.
const PAYLOAD_OFFSET: u32 = 36;

/// Where in a slot a frame begins: its payload then lies on a sector boundary.
const FRAME_OFFSET: u32 = 512 - PAYLOAD_OFFSET;

/// Bytes to be sent that the kernel may hold for us. The usual 208 KiB are twenty frames of 8 KiB.
const SEND_BUFFER_BYTES: usize = 4 << 20;

/// How frames get from the kernel to us.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PortKind {
    /// A ring shared with the kernel: least processor time.
    Ring,
    /// A private io_uring: no held slot holds up the others.
    Uring,
    /// One system call a batch: needs nothing but the socket.
    Plain,
    /// A ring, and short frames sent through AF_XDP if the kernel and the interface have it to spare.
    Xdp,
}

impl fmt::Display for PortKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Ring => "ring",
            Self::Uring => "io_uring",
            Self::Plain => "plain",
            Self::Xdp => "xdp",
        })
    }
}

/// What to open.
#[derive(Clone, Debug)]
pub struct PortOptions {
    /// Name of the interface.
    pub interface: String,
    /// How to receive.
    pub kind: PortKind,
    /// What to receive.
    pub filter: FrameFilter,
    /// Memory for received frames, in bytes.
    pub ring_bytes: usize,
    /// Frames that can be queued before a flush.
    pub send_batch: usize,
    /// Make room for no longer frames than of this MTU, whatever the interface has.
    pub mtu_max: u32,
    /// Where a shard has a peer: to answer from an address of the pair's ([`node::virtual_mac`]), and not from the
    /// interface's. Some hypervisors let a guest send from its own address alone.
    pub virtual_mac: bool,
    /// Addresses besides the interface's own that frames are received at; for a shard with a peer it adds them itself.
    pub addresses: Vec<[u8; 6]>,
    /// Hand frames straight to the card. They then pass by traffic control and are not seen by captures on this
    /// machine.
    pub bypass_queue: bool,
}

impl PortOptions {
    /// A ring of 4 MiB and 64 frames a flush. A larger ring loses frames later when the thread is held up, but each
    /// frame costs more, because the slots leave the cache before they come round again (`docs/measurements.md`).
    #[must_use]
    pub fn new(interface: &str, filter: FrameFilter) -> Self {
        Self {
            interface: interface.to_owned(),
            kind: PortKind::Ring,
            filter,
            ring_bytes: 4 << 20,
            send_batch: 64,
            mtu_max: u32::MAX,
            virtual_mac: true,
            addresses: Vec::new(),
            bypass_queue: true,
        }
    }
}

/// A frame that came in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Received {
    /// Where it lies until released.
    pub slot: u32,
    /// Its bytes.
    pub length: u32,
    /// When the kernel received it. For a moment after the first port of the machine that is not a ring was opened it is
    /// the moment when the frame was fetched: the kernel begins to stamp a little after it was asked to.
    pub received: Instant,
}

/// What has gone through a port since it was opened.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct PortStatistics {
    /// Frames that passed the filter.
    pub received: u64,
    /// Frames that passed the filter and were lost because no slot was free.
    pub lost: u64,
    /// Frames longer than the MTU was when the port was opened; thrown away.
    pub truncated: u64,
    /// Frames sent.
    pub sent: u64,
    /// Of these, those that went through AF_XDP.
    pub sent_through_xdp: u64,
}

/// An open port. Not shared: each shard opens its own, several on one interface if need be.
#[derive(Debug)]
pub struct FramePort {
    // The receiver goes first, so that no ring is unmapped under a live socket's hands by surprise.
    receiver: Receiver,
    transmit: Transmit,
    socket: PacketSocket,
    interface: Interface,
    addresses: Vec<[u8; 6]>,
    kind: PortKind,
    statistics: PortStatistics,
}

#[derive(Debug)]
enum Receiver {
    Ring(RingReceiver),
    Uring(Box<UringReceiver>),
    Plain(PlainReceiver),
}

impl FramePort {
    /// Opens a port; frames that come from then on are received.
    pub fn open(options: &PortOptions) -> Result<Self, PortError> {
        let mut interface = Interface::named(&options.interface)?;
        check(&interface)?;
        interface.mtu = interface.mtu.min(options.mtu_max);
        let failed = |step| {
            let interface = interface.name.clone();
            move |source: io::Error| match source.kind() {
                io::ErrorKind::PermissionDenied => PortError::NotPermitted { interface },
                _ => PortError::Socket { interface, step, source },
            }
        };
        let socket = PacketSocket::open().map_err(failed("opening a packet socket"))?;
        let program = options.filter.program(&options.addresses);
        socket.attach_filter(&program).map_err(failed("installing the filter"))?;
        socket
            .set_packet(libc::PACKET_QDISC_BYPASS, 1 as libc::c_int)
            .map_err(failed("bypassing the qdisc"))?;
        socket.reserve_buffer(libc::SO_SNDBUFFORCE, libc::SO_SNDBUF, SEND_BUFFER_BYTES);
        let receiver = Receiver::new(&socket, &interface, options)?;
        let xdp = match options.kind {
            PortKind::Xdp => open_xdp(&interface),
            PortKind::Ring | PortKind::Uring | PortKind::Plain => None,
        };
        let ethertype = if options.addresses.is_empty() { ETHERTYPE } else { EVERY_TYPE };
        socket.bind(interface.index, ethertype).map_err(failed("binding to the interface"))?;
        for address in &options.addresses {
            socket.add_address(interface.index, *address).map_err(failed("adding an address"))?;
        }
        Ok(Self {
            receiver,
            kind: if xdp.is_none() && options.kind == PortKind::Xdp { PortKind::Ring } else { options.kind },
            transmit: Transmit::new(options.send_batch, xdp),
            socket,
            interface,
            addresses: options.addresses.clone(),
            statistics: PortStatistics::default(),
        })
    }

    /// The next frame, in the order they came in.
    pub fn receive(&mut self) -> Option<Received> {
        match &mut self.receiver {
            Receiver::Ring(ring) => ring.receive(),
            Receiver::Uring(uring) => uring.receive(),
            Receiver::Plain(plain) => plain.receive(&self.socket),
        }
    }

    /// When the frame came in that [`Self::receive`] will give next, to merge several ports in order.
    pub fn peek_received(&mut self) -> Option<Instant> {
        match &mut self.receiver {
            Receiver::Ring(ring) => ring.peek(),
            Receiver::Uring(uring) => uring.peek(),
            Receiver::Plain(plain) => plain.peek(&self.socket),
        }
    }

    /// The bytes of a received frame that was not released yet.
    #[must_use]
    pub fn frame(&self, slot: u32) -> &[u8] {
        match &self.receiver {
            Receiver::Ring(ring) => ring.frame(slot),
            Receiver::Uring(uring) => uring.frame(slot),
            Receiver::Plain(plain) => plain.frame(slot),
        }
    }

    /// Gives the slot of a received frame back; slots may be released in any order.
    pub fn release(&mut self, slot: u32) {
        match &mut self.receiver {
            Receiver::Ring(ring) => ring.release(slot),
            Receiver::Uring(uring) => uring.release(slot),
            Receiver::Plain(plain) => plain.release(slot),
        }
    }

    /// How many of [`Self::slots`] cannot be received into because of what was not released. In a ring these are all
    /// from the oldest slot still held on: near the end, frames must be copied out or they are lost.
    #[must_use]
    pub fn slots_held(&self) -> usize {
        match &self.receiver {
            Receiver::Ring(ring) => ring.held(),
            Receiver::Uring(uring) => uring.slots().held(),
            Receiver::Plain(plain) => plain.slots().held(),
        }
    }

    /// Whether a slot may be held for long. In a ring it may not: the kernel fills slots strictly in turn and stops at
    /// the first one held.
    #[must_use]
    pub const fn releases_in_any_order(&self) -> bool {
        match self.receiver {
            Receiver::Ring(_) => false,
            Receiver::Plain(_) | Receiver::Uring(_) => true,
        }
    }

    /// Frames the port has room for.
    #[must_use]
    pub fn slots(&self) -> usize {
        match &self.receiver {
            Receiver::Ring(ring) => ring.slots(),
            Receiver::Uring(uring) => uring.slots().count(),
            Receiver::Plain(plain) => plain.slots().count(),
        }
    }

    /// The memory all received frames lie in, first byte and length, for an io_uring to know. It stays where it is
    /// until the port is dropped.
    #[must_use]
    pub const fn memory(&self) -> (*mut u8, usize) {
        match &self.receiver {
            Receiver::Ring(ring) => ring.region(),
            Receiver::Uring(uring) => uring.region(),
            Receiver::Plain(plain) => plain.region(),
        }
    }

    /// Adds a frame to those to be sent; a short one is filled up with zeros.
    pub fn queue(&mut self, frame: TransmitFrame<'_>) -> Result<(), QueueFull> {
        self.transmit.queue(frame)
    }

    /// Frames queued.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.transmit.queued()
    }

    /// Sends what is queued, in order; never waits. How many frames were sent.
    pub fn flush(&mut self) -> Result<usize, SendError> {
        let result = self.transmit.flush(&self.socket, &self.interface.name);
        let sent = result.as_ref().map_or_else(SendError::sent, |&sent| sent);
        self.statistics.sent += sent as u64;
        result
    }

    /// Throws away what is queued; how many frames that were.
    pub fn discard_queued(&mut self) -> usize {
        self.transmit.discard()
    }

    /// Throws away the oldest of what is queued, so many frames.
    ///
    /// # Panics
    /// If fewer are queued.
    pub fn discard_oldest(&mut self, count: usize) {
        self.transmit.discard_oldest(count);
    }

    /// Changes which frames are received from now on.
    pub fn set_filter(&mut self, filter: &FrameFilter) -> Result<(), PortError> {
        self.socket.attach_filter(&filter.program(&self.addresses)).map_err(|source| PortError::Socket {
            interface: self.interface.name.clone(),
            step: "installing the filter",
            source,
        })
    }

    /// Receives nothing more from now on; what came before can still be fetched. There is no way back.
    pub fn ignore_frames(&mut self) -> Result<(), PortError> {
        self.socket.attach_filter(&filter::nothing()).map_err(|source| PortError::Socket {
            interface: self.interface.name.clone(),
            step: "installing the filter",
            source,
        })
    }

    /// Takes the AF_XDP socket of another port on the same interface, if it has one: the queue has room for one only. The
    /// other one has nothing queued.
    pub fn take_over_xdp(&mut self, other: &mut Self) {
        assert!(other.queued() == 0, "what is queued goes out before");
        // An interface that was removed and made again has the same name and another number.
        if other.interface.index == self.interface.index
            && let Some(xdp) = other.transmit.give_up_xdp()
        {
            self.transmit.use_xdp(xdp, frame_bytes_max(&self.interface));
            self.kind = PortKind::Xdp;
        }
    }

    /// Waits until there is a frame to receive or the time is over; true if there is one. For callers that hold no
    /// slots while they wait: the descriptor of a ring stays readable while the newest slot is held.
    pub fn wait(&mut self, timeout: Option<Duration>) -> bool {
        if self.peek_received().is_some() {
            return true;
        }
        self.clear_wake();
        self.take_error();
        if self.peek_received().is_some() {
            return true;
        }
        let waited = packet_socket::poll(self.as_fd(), libc::POLLIN, timeout);
        waited.is_ok() && self.peek_received().is_some()
    }

    /// Takes the note that the socket keeps of a link that went down, for which its descriptor stays readable.
    pub fn take_error(&mut self) {
        drop(self.socket.take_error());
    }

    /// Makes the descriptor readable only for what is received from now on, where an io_uring port was woken. Not needed for
    /// edge-triggered waiting.
    pub fn clear_wake(&mut self) {
        if let Receiver::Uring(uring) = &self.receiver {
            uring.clear_wake();
        }
    }

    /// Counts of frames; asks the kernel for its own.
    pub fn statistics(&mut self) -> PortStatistics {
        if let Ok((received, lost)) = self.socket.take_statistics() {
            self.statistics.received += u64::from(received);
            self.statistics.lost += u64::from(lost);
        }
        self.statistics.sent_through_xdp = self.transmit.sent_through_xdp();
        self.statistics.truncated = match &self.receiver {
            Receiver::Ring(ring) => ring.truncated(),
            Receiver::Uring(uring) => uring.slots().truncated(),
            Receiver::Plain(plain) => plain.slots().truncated(),
        };
        self.statistics
    }

    /// The interface as it was when the port was opened, with the MTU that there is room for. For a larger one a port is
    /// opened anew.
    #[must_use]
    pub const fn interface(&self) -> &Interface {
        &self.interface
    }

    /// How the port receives.
    #[must_use]
    pub const fn kind(&self) -> PortKind {
        self.kind
    }
}

impl AsFd for FramePort {
    /// The descriptor that becomes readable when frames come. For rings wait edge-triggered, or with a multishot poll:
    /// the level stays high while the newest slot is held. An io_uring port must have been asked for frames before.
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.receiver {
            Receiver::Uring(uring) => uring.descriptor(),
            Receiver::Ring(_) | Receiver::Plain(_) => self.socket.as_fd(),
        }
    }
}

impl Receiver {
    fn new(socket: &PacketSocket, interface: &Interface, options: &PortOptions) -> Result<Self, PortError> {
        let receiver = match options.kind {
            PortKind::Ring | PortKind::Xdp => {
                RingReceiver::new(socket, interface.mtu, options.ring_bytes).map(Self::Ring)
            }
            PortKind::Uring => {
                UringReceiver::new(socket, interface.mtu, options.ring_bytes).map(Box::new).map(Self::Uring)
            }
            PortKind::Plain => PlainReceiver::new(socket, interface.mtu, options.ring_bytes).map(Self::Plain),
        };
        let kind = options.kind;
        receiver.map_err(|source| PortError::KindRefused { interface: interface.name.clone(), kind, source })
    }
}

const fn frame_bytes_max(interface: &Interface) -> usize {
    (ETHERNET_HEADER_BYTES + interface.mtu) as usize
}

/// Without AF_XDP everything works, so it is only told of.
fn open_xdp(interface: &Interface) -> Option<XdpRing> {
    let name = &interface.name;
    match XdpRing::open(interface.index, frame_bytes_max(interface), SEND_BUFFER_BYTES) {
        Ok(xdp) => Some(xdp),
        Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {
            tracing::warn!(
                "{name}: every queue has an AF_XDP socket already: short frames go by system calls"
            );
            None
        }
        Err(error) => {
            tracing::warn!("{name}: the kernel refuses AF_XDP ({error}): short frames go by system calls");
            None
        }
    }
}

fn check(interface: &Interface) -> Result<(), PortError> {
    if !interface.is_up {
        return Err(PortError::Down { interface: interface.name.clone() });
    }
    if interface.mtu < MTU_MIN {
        return Err(PortError::MtuTooSmall { interface: interface.name.clone(), mtu: interface.mtu });
    }
    Ok(())
}

/// Bytes a slot needs for the longest frame, with every slot's payload on a sector boundary.
const fn slot_bytes(mtu: u32) -> u32 {
    (FRAME_OFFSET + ETHERNET_HEADER_BYTES + mtu).next_multiple_of(512)
}
