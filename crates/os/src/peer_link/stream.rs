//! The connection to the peer as bytes in and bytes out: whatever is to lie between the messages and the wire goes here.
//!
//! It never waits, and it knows nothing of messages.

use std::io;
use std::net::TcpStream;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use crate::sys::memory::IoSlice;
use crate::sys::stream;

/// A connection that stands, and on which nothing but messages is said from now on.
#[derive(Debug)]
pub struct PeerStream {
    descriptor: OwnedFd,
}

impl PeerStream {
    /// A TCP connection, which ends when the other machine has acknowledged nothing for so long since it was sent something the second
    /// time: one that has lost power, or to which the link has gone, says nothing, and TCP alone would go on for a quarter of an
    /// hour. A process that stands still does not end it: its machine acknowledges.
    ///
    /// # Errors
    /// If the kernel does not let it be made ready.
    pub fn over_tcp(stream: TcpStream, silence_max: Duration) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        stream::give_up_after(stream.as_fd(), silence_max)?;
        Ok(Self { descriptor: stream.into() })
    }

    /// Fills these pieces of memory, in order; how many bytes came. None means that the peer says no more.
    pub(crate) fn receive(&self, into: &[IoSlice]) -> io::Result<usize> {
        stream::receive(self.as_fd(), into)
    }

    /// Sends as much of these pieces as there is room for; how many bytes that was.
    pub(crate) fn send(&self, from: &[IoSlice]) -> io::Result<usize> {
        stream::send(self.as_fd(), from)
    }

    /// Says that nothing more will be sent.
    pub(crate) fn end_sending(&self) {
        stream::end_sending(self.as_fd());
    }
}

impl TryFrom<UnixStream> for PeerStream {
    type Error = io::Error;

    /// # Errors
    /// If the kernel does not let it be made ready.
    fn try_from(stream: UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self { descriptor: stream.into() })
    }
}

impl AsFd for PeerStream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

impl AsRawFd for PeerStream {
    fn as_raw_fd(&self) -> RawFd {
        self.descriptor.as_raw_fd()
    }
}
