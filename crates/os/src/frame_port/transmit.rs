//! Frames on their way out: queued one by one, handed to the kernel many at a time.
//!
//! Keeps the order, keeps what the kernel had no room for, and names what went wrong with a single frame. Never waits.

use std::io;
use std::os::fd::AsFd;

use super::SendError;
use crate::sys;
use crate::sys::messages::{HEAD_BYTES_MAX, SendBatch};
use crate::sys::packet_socket::PacketSocket;
use crate::sys::xdp_ring::XdpRing;

/// Longest head of a frame to send: enough for every control reply, so that only disk data is a payload.
pub const FRAME_HEAD_BYTES_MAX: usize = HEAD_BYTES_MAX;

const _: () = assert!(aoe::limits::CONTROL_FRAME_BYTES_MAX <= HEAD_BYTES_MAX, "a control reply is one head");

/// Ethernet's shortest frame without its checksum. Virtual interfaces do not pad, and initiators insist.
const FRAME_BYTES_MIN: usize = 60;

/// Where the bytes are that follow the head of a frame. They must stay where they are, and mean what they mean, until the
/// flush: either the kernel reads them there, or we do when they are queued. If they cannot be read, only their frame is
/// not sent.
#[derive(Clone, Copy, Debug)]
pub struct Payload {
    /// First byte.
    pub address: *const u8,
    /// Bytes.
    pub length: usize,
}

impl Payload {
    /// Bytes that the caller keeps until the next flush.
    #[must_use]
    pub const fn of(bytes: &[u8]) -> Self {
        Self { address: bytes.as_ptr(), length: bytes.len() }
    }
}

/// A frame to be sent.
#[derive(Clone, Copy, Debug)]
pub struct TransmitFrame<'a> {
    /// The frame from its first byte; copied when queued. At most [`FRAME_HEAD_BYTES_MAX`].
    pub head: &'a [u8],
    /// What follows it; copied only where that costs less than having the kernel fetch it.
    pub payload: Option<Payload>,
}

/// There is no room for another frame before a flush.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("as many frames are queued as one flush sends: flush first")]
pub struct QueueFull;

#[derive(Debug)]
pub(super) struct Transmit {
    /// Sent before what is in the batch, so a frame goes here only while nothing is queued there.
    xdp: Option<Box<XdpRing>>,
    batch: SendBatch,
    sent_through_xdp: u64,
}

impl Transmit {
    pub(super) fn new(capacity: usize, xdp: Option<XdpRing>) -> Self {
        Self { xdp: xdp.map(Box::new), batch: SendBatch::new(capacity.max(1)), sent_through_xdp: 0 }
    }

    pub(super) fn queued(&self) -> usize {
        self.batch.queued() + self.xdp.as_ref().map_or(0, |xdp| xdp.queued())
    }

    /// Goes on without AF_XDP; nothing is queued.
    pub(super) fn give_up_xdp(&mut self) -> Option<Box<XdpRing>> {
        self.xdp.take()
    }

    /// Sends frames up to that length through AF_XDP.
    pub(super) fn use_xdp(&mut self, mut xdp: Box<XdpRing>, frame_bytes_max: usize) {
        xdp.set_frame_bytes_max(frame_bytes_max);
        self.xdp = Some(xdp);
    }

    pub(super) const fn sent_through_xdp(&self) -> u64 {
        self.sent_through_xdp
    }

    pub(super) fn queue(&mut self, frame: TransmitFrame<'_>) -> Result<(), QueueFull> {
        let payload =
            frame.payload.map_or((std::ptr::null(), 0), |payload| (payload.address, payload.length));
        let padding = FRAME_BYTES_MIN.saturating_sub(frame.head.len() + payload.1);
        assert!(
            frame.head.len() >= 14 && frame.head.len() <= HEAD_BYTES_MAX,
            "a head of {}",
            frame.head.len()
        );
        assert!(padding == 0 || payload.1 == 0, "a payload of {} bytes belongs into the head", payload.1);
        if self.queued() == self.batch.capacity() {
            return Err(QueueFull);
        }
        let head_bytes = frame.head.len() + padding;
        if self.batch.queued() == 0
            && let Some(xdp) = &mut self.xdp
            && xdp.push(frame.head, head_bytes, payload)
        {
            return Ok(());
        }
        let queued = self.batch.push(frame.head, head_bytes, payload);
        assert!(queued, "there was room");
        Ok(())
    }

    pub(super) fn discard(&mut self) -> usize {
        let queued = self.queued();
        if let Some(xdp) = &mut self.xdp {
            xdp.take_back(|_| ());
        }
        (0..self.batch.queued()).for_each(|_| self.batch.drop_oldest());
        queued
    }

    pub(super) fn discard_oldest(&mut self, count: usize) {
        if let Some(xdp) = &mut self.xdp {
            xdp.take_back(|frame| self.batch.push_first(frame));
        }
        (0..count).for_each(|_| self.batch.drop_oldest());
    }

    /// Sends what waits in the AF_XDP ring; how many frames that were. Whatever it could not send goes by the socket,
    /// which says what is wrong.
    fn flush_xdp(&mut self) -> usize {
        let Some(xdp) = &mut self.xdp else { return 0 };
        if !xdp.wants_call() {
            return 0;
        }
        let mut sent = 0;
        let mut to_pass_over = xdp.slots_without_frame();
        loop {
            let (taken, result) = xdp.send_some();
            sent += taken;
            self.sent_through_xdp += taken as u64;
            if xdp.queued() == 0 && to_pass_over == 0 {
                return sent;
            }
            match result {
                Ok(()) if taken > 0 => {}
                Ok(()) if to_pass_over > 0 => to_pass_over -= 1,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => {
                    xdp.take_back(|frame| self.batch.push_first(frame));
                    // No progress without an error: the interface lost the queue. ENXIO: the interface is gone.
                    if result.map_or_else(|error| error.raw_os_error() == Some(libc::ENXIO), |()| true) {
                        self.xdp = None;
                    }
                    return sent;
                }
            }
        }
    }

    pub(super) fn flush(&mut self, socket: &PacketSocket, interface: &str) -> Result<usize, SendError> {
        let mut sent = self.flush_xdp();
        let mut told_down = false;
        while self.batch.queued() > 0 {
            let error = match self.batch.send_some(socket.as_fd()) {
                Ok(count) => {
                    sent += count;
                    continue;
                }
                Err(error) => error,
            };
            match error.raw_os_error() {
                Some(libc::EINTR) => {}
                Some(libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM) if is_running(socket, interface) => {
                    return Err(SendError::Busy { sent, queued: self.batch.queued() });
                }
                // The socket remembers that the link was down once, and says so once.
                Some(libc::ENETDOWN) if !told_down && is_running(socket, interface) => told_down = true,
                Some(
                    libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM | libc::ENETDOWN | libc::ENXIO | libc::ENODEV,
                ) => {
                    return Err(SendError::LinkDown { sent, dropped: self.discard() });
                }
                code => {
                    self.batch.drop_oldest();
                    return Err(match code {
                        Some(libc::EFAULT) => SendError::Unreadable { sent },
                        Some(libc::EMSGSIZE) => SendError::TooLong { sent },
                        _ => SendError::Other { sent, source: error },
                    });
                }
            }
        }
        Ok(sent)
    }
}

fn is_running(socket: &PacketSocket, interface: &str) -> bool {
    let running: io::Result<bool> = sys::link::is_running(socket.as_fd(), interface);
    running.unwrap_or(false)
}
