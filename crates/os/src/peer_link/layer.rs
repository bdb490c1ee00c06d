//! What may lie between the messages and the wire, as something that authenticates and encrypts does: bytes in, bytes out.
//!
//! A [`Layer`] neither reads nor writes, and knows no socket. What is under way because of it stays in [`Layered`]: bytes that were
//! opened before anybody asked for them, and sealed ones that the kernel had no room for.

use std::fmt::{self, Debug, Formatter};
use std::io;
use std::os::fd::BorrowedFd;

use super::receive::is_for_later;
use crate::sys::memory::{IoSlice, Memory};
use crate::sys::stream;

/// Bytes read from the wire at a time.
const READ_BYTES: usize = 64 << 10;
/// Bytes sealed at a time. No more are when the kernel has no room, so that what waits for it is counted where all else is.
const SEALED_BYTES_MAX: usize = 64 << 10;

/// Makes other bytes of those that leave, and the old ones again of those that come.
pub trait Layer: Debug + Send {
    /// Takes bytes of the wire, which may begin and end anywhere, and puts behind `plain` what the peer has said with them.
    ///
    /// # Errors
    /// They are none of the peer's: the connection is of no more use.
    fn open(&mut self, wire: &[u8], plain: &mut Vec<u8>) -> io::Result<()>;

    /// Puts behind `wire` what says these bytes to the peer, and before it whatever the layer has to say itself.
    ///
    /// # Errors
    /// The connection is of no more use.
    fn seal(&mut self, plain: &[u8], wire: &mut Vec<u8>) -> io::Result<()>;

    /// Puts behind `wire` what says that nothing more comes.
    fn end(&mut self, wire: &mut Vec<u8>);
}

/// A layer on one connection.
pub(super) struct Layered {
    layer: Box<dyn Layer>,
    read: Memory,
    /// What was opened, and how much of it was taken.
    plain: Vec<u8>,
    taken: usize,
    /// What is to be sealed, in one piece.
    gathered: Vec<u8>,
    /// What was sealed, and how much of it was sent.
    wire: Vec<u8>,
    sent: usize,
}

impl Layered {
    /// Begins where the layer has agreed with that of the peer. It may have been told more than it needed for that.
    pub(super) fn new(mut layer: Box<dyn Layer>) -> io::Result<Self> {
        let mut plain = Vec::with_capacity(READ_BYTES);
        layer.open(&[], &mut plain)?;
        let (gathered, wire) = (Vec::with_capacity(SEALED_BYTES_MAX), Vec::new());
        Ok(Self { layer, read: Memory::anonymous(READ_BYTES)?, plain, taken: 0, gathered, wire, sent: 0 })
    }

    /// As [`stream::receive`]. If it fills less than there is room for, nothing is left that was opened.
    pub(super) fn receive(&mut self, socket: BorrowedFd<'_>, into: &[IoSlice]) -> io::Result<usize> {
        while self.taken == self.plain.len() {
            self.plain.clear();
            self.taken = 0;
            let count = stream::receive(socket, &[self.read.slice()])?;
            if count == 0 {
                return Ok(0);
            }
            self.layer.open(self.read.slice().part(0, count).look(), &mut self.plain)?;
        }
        let before = self.taken;
        for slice in into {
            let left = &self.plain[self.taken..];
            let length = left.len().min(slice.length());
            slice.part(0, length).copy_from(&left[..length]);
            self.taken += length;
        }
        Ok(self.taken - before)
    }

    /// As [`stream::send`]. What it says was sent may still be here, until [`Self::flush`] has found room for it.
    pub(super) fn send(&mut self, socket: BorrowedFd<'_>, from: &[IoSlice]) -> io::Result<usize> {
        self.flush(socket)?;
        self.gathered.clear();
        for slice in from {
            let length = slice.length().min(SEALED_BYTES_MAX - self.gathered.len());
            self.gathered.extend_from_slice(slice.part(0, length).look());
        }
        self.layer.seal(&self.gathered, &mut self.wire)?;
        match self.flush(socket) {
            Err(error) if !is_for_later(&error) => Err(error),
            _ => Ok(self.gathered.len()),
        }
    }

    /// Sends what was sealed; it fails with `WouldBlock` until all of it has gone.
    pub(super) fn flush(&mut self, socket: BorrowedFd<'_>) -> io::Result<()> {
        while self.sent < self.wire.len() {
            self.sent += stream::send(socket, &[IoSlice::received(&self.wire[self.sent..])])?;
        }
        self.wire.clear();
        self.sent = 0;
        Ok(())
    }

    /// Bytes that were sealed and wait for room in the kernel.
    pub(super) const fn unsent(&self) -> usize {
        self.wire.len() - self.sent
    }

    /// Says as well as it can be said now that nothing more comes.
    pub(super) fn end(&mut self, socket: BorrowedFd<'_>) {
        self.layer.end(&mut self.wire);
        let _ = self.flush(socket);
    }
}

impl Debug for Layered {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        write!(formatter, "Layered({:?}, {} bytes unsent)", self.layer, self.unsent())
    }
}
