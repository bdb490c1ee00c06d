//! The connection to the peer as bytes in and bytes out: whatever is to lie between the messages and the wire goes here, as a
//! [`Layer`]. Without one the kernel takes bytes from where they lie and puts them where they are to stay.
//!
//! It never waits, and it knows nothing of messages.

use std::io;
use std::net::TcpStream;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::layer::{Layer, Layered};
use crate::sys::memory::IoSlice;
use crate::sys::stream;

/// A connection that stands, and on which nothing but messages is said from now on.
#[derive(Debug)]
pub struct PeerStream {
    descriptor: OwnedFd,
    layer: Option<Box<Layered>>,
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
        Ok(Self { descriptor: stream.into(), layer: None })
    }

    /// The same with a layer between, which has agreed with that of the peer already.
    ///
    /// # Errors
    /// If there is no memory, or the layer knows already that the connection is of no use.
    pub fn with_layer(self, layer: Box<dyn Layer>) -> io::Result<Self> {
        Ok(Self { layer: Some(Box::new(Layered::new(layer)?)), ..self })
    }

    /// Fills these pieces of memory, in order; how many bytes came. None means that the peer says no more.
    pub(crate) fn receive(&mut self, into: &[IoSlice]) -> io::Result<usize> {
        let socket = self.descriptor.as_fd();
        match &mut self.layer {
            None => stream::receive(socket, into),
            Some(layer) => layer.receive(socket, into),
        }
    }

    /// Whether bytes go to the kernel as they are.
    pub(crate) const fn is_plain(&self) -> bool {
        self.layer.is_none()
    }

    /// Sends as much of these pieces as there is room for; how many bytes that was.
    pub(crate) fn send(&mut self, from: &[IoSlice]) -> io::Result<usize> {
        let socket = self.descriptor.as_fd();
        match &mut self.layer {
            None => stream::send(socket, from),
            Some(layer) => layer.send(socket, from),
        }
    }

    /// Sends what a layer has made of bytes that it took before; it fails with `WouldBlock` until all of that has gone.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        let socket = self.descriptor.as_fd();
        self.layer.as_mut().map_or(Ok(()), |layer| layer.flush(socket))
    }

    /// Bytes that a layer has taken and the kernel had no room for.
    pub(crate) fn unsent(&self) -> usize {
        self.layer.as_ref().map_or(0, |layer| layer.unsent())
    }

    /// Says that nothing more will be sent.
    pub(crate) fn end_sending(&mut self) {
        let socket = self.descriptor.as_fd();
        if let Some(layer) = &mut self.layer {
            layer.end(socket);
        }
        stream::end_sending(socket);
    }
}

impl TryFrom<UnixStream> for PeerStream {
    type Error = io::Error;

    /// # Errors
    /// If the kernel does not let it be made ready.
    fn try_from(stream: UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self { descriptor: stream.into(), layer: None })
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
