//! Frames on their way out: queued one by one, handed to the kernel many at a time.
//!
//! Keeps the order, keeps what the kernel had no room for, and names what went wrong with a single frame. Never waits.

use std::io;
use std::os::fd::AsFd;

use super::SendError;
use crate::sys;
use crate::sys::messages::{HEAD_BYTES_MAX, SendBatch};
use crate::sys::packet_socket::PacketSocket;

/// Longest head of a frame to send: enough for every control reply, so that only disk data is a payload.
pub const FRAME_HEAD_BYTES_MAX: usize = HEAD_BYTES_MAX;

/// Ethernet's shortest frame without its checksum. Virtual interfaces do not pad, and initiators insist.
const FRAME_BYTES_MIN: usize = 60;

/// Where the bytes are that follow the head of a frame. The kernel reads them in `flush`, so they must stay where
/// they are, and mean what they mean, until then; nothing else ever looks at them.
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
    /// What follows it; not copied.
    pub payload: Option<Payload>,
}

/// There is no room for another frame before a flush.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("as many frames are queued as one flush sends: flush first")]
pub struct QueueFull;

#[derive(Debug)]
pub(super) struct Transmit {
    batch: SendBatch,
}

impl Transmit {
    pub(super) fn new(capacity: usize) -> Self {
        Self { batch: SendBatch::new(capacity.max(1)) }
    }

    pub(super) fn queued(&self) -> usize {
        self.batch.queued()
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
        if self.batch.push(frame.head, frame.head.len() + padding, payload) { Ok(()) } else { Err(QueueFull) }
    }

    pub(super) fn discard(&mut self) -> usize {
        let queued = self.batch.queued();
        (0..queued).for_each(|_| self.batch.drop_oldest());
        queued
    }

    pub(super) fn flush(&mut self, socket: &PacketSocket, interface: &str) -> Result<usize, SendError> {
        let mut sent = 0;
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
