//! The replication stream of one shard: messages in, messages out, on a connection that somebody else has made.
//!
//! Read in this order: [`PeerStream`] (bytes in, bytes out, and where a [`Layer`] goes between), `receive` (bytes become messages, and
//! data goes where it is to stay), `send` (the messages of a turn leave together), [`PeerFailure`]. What a message means is not decided
//! here, nor when to connect.

mod failure;
mod layer;
mod receive;
mod send;
mod stream;

use std::io;
use std::os::fd::{AsRawFd, RawFd};

use block::BufferName;
use replication::message::Message;
use replication::version::{Version, VersionRange};

pub use failure::PeerFailure;
pub use layer::Layer;
pub(crate) use receive::Received;
pub use stream::PeerStream;

use crate::buffer_pool::BufferPool;
use crate::sys::memory::IoSlice;
use receive::Receiver;
use send::Sender;

/// What has gone over the connections to the peer since the shard was started.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct PeerStatistics {
    /// Whether a connection stands now.
    pub is_connected: bool,
    /// Messages sent.
    pub messages_sent: u64,
    /// Bytes of them that the kernel has taken.
    pub bytes_sent: u64,
    /// Bytes that wait for room in the kernel now.
    pub bytes_unsent: usize,
    /// Messages received.
    pub messages_received: u64,
    /// Bytes received.
    pub bytes_received: u64,
}

/// One connection.
pub(crate) struct PeerLink {
    stream: PeerStream,
    receiver: Receiver,
    sender: Sender,
    messages_received: u64,
    /// There is no buffer for what comes next.
    is_stalled: bool,
    failure: Option<PeerFailure>,
}

impl PeerLink {
    /// At the beginning of a stream whose messages have at most so much data, to a node that speaks these versions.
    pub(crate) fn new(stream: PeerStream, data_bytes_max: usize, versions: VersionRange) -> io::Result<Self> {
        Ok(Self {
            stream,
            receiver: Receiver::new(data_bytes_max, versions)?,
            sender: Sender::new(),
            messages_received: 0,
            is_stalled: false,
            failure: None,
        })
    }

    /// A new turn begins: the stream is looked at again.
    pub(crate) const fn begin_turn(&mut self) {
        self.receiver.begin_turn();
    }

    /// The next message, its data in a buffer of the pool.
    ///
    /// # Errors
    /// The connection is of no more use.
    pub(crate) fn receive(&mut self, pool: &mut BufferPool) -> Result<Received, PeerFailure> {
        if let Some(failure) = self.failure.take() {
            return Err(failure);
        }
        let received = self.receiver.next(&mut self.stream, pool)?;
        self.is_stalled = matches!(received, Received::NoBuffer);
        self.messages_received += u64::from(matches!(received, Received::Message(..)));
        Ok(received)
    }

    /// Queues a message. Its data must stay as it is until the next flush, or until [`PeerLink::holds`] says so.
    pub(crate) fn send(&mut self, message: &Message, data: Option<(BufferName, IoSlice)>) {
        if self.sender.is_full() {
            self.flush();
        }
        if self.failure.is_none() {
            // Before there is one, nothing is said but what is the same in all versions.
            let version = self.receiver.version().unwrap_or(Version::OLDEST);
            self.sender.queue(version, message, data);
        }
    }

    /// Hands to the kernel what is queued. What goes wrong is told by the next [`PeerLink::receive`].
    pub(crate) fn flush(&mut self) {
        if self.failure.is_none() {
            self.failure = self.sender.flush(&mut self.stream).err();
        }
        if self.failure.is_some() {
            self.sender.forget_queue();
        }
    }

    /// What is queued, and by which socket to send it, for somebody else to do what [`PeerLink::flush`] would; then
    /// [`PeerLink::was_sent`] is to be told, before anything else. Not always possible.
    pub(crate) fn hand_over(&mut self) -> Option<(RawFd, &[IoSlice])> {
        if self.failure.is_some() {
            return None;
        }
        let socket = self.stream.as_raw_fd();
        self.sender.hand_over(&self.stream).map(|pieces| (socket, pieces))
    }

    /// What was handed over has gone as a whole, if nothing else is said, or as far as there was room.
    pub(crate) fn was_sent(&mut self, sent: Option<io::Result<usize>>) {
        self.failure = self.sender.was_sent(sent).err();
    }

    /// Whether a message with data is queued.
    pub(crate) const fn has_data_queued(&self) -> bool {
        self.sender.has_data_queued()
    }

    /// Whether commits are queued and nothing else: they may wait a little for what is sent next.
    pub(crate) const fn has_only_commits(&self) -> bool {
        self.sender.has_only_commits()
    }

    /// Whether something else than commits is queued.
    pub(crate) const fn is_pressing(&self) -> bool {
        self.sender.is_pressing()
    }

    /// Whether a buffer that somebody frees is queued here. It comes back by [`PeerLink::take_done`] then.
    pub(crate) fn holds(&mut self, name: BufferName) -> bool {
        self.sender.holds(name)
    }

    /// A buffer that is not queued any more.
    pub(crate) fn take_done(&mut self) -> Option<BufferName> {
        self.sender.take_done()
    }

    /// Whether it is to be looked at soon, though nothing has come: there is something that the kernel had no room for, or a
    /// flush has failed.
    pub(crate) fn is_blocked(&self) -> bool {
        self.unsent() > 0 || self.failure.is_some()
    }

    /// Whether what comes next has to wait for a buffer.
    pub(crate) const fn is_stalled(&self) -> bool {
        self.is_stalled
    }

    /// Sends what there is room for and closes. The buffer that was being filled is the caller's.
    pub(crate) fn close(&mut self) -> Option<u32> {
        self.flush();
        self.stream.end_sending();
        self.receiver.take_buffer()
    }

    /// Adds what this connection has carried.
    pub(crate) fn add_to(&self, sum: &mut PeerStatistics) {
        sum.messages_sent += self.sender.messages;
        sum.bytes_sent += self.sender.bytes;
        sum.bytes_unsent += self.unsent();
        sum.messages_received += self.messages_received;
        sum.bytes_received += self.receiver.bytes;
    }

    fn unsent(&self) -> usize {
        self.sender.unsent() + self.stream.unsent()
    }
}

impl AsRawFd for PeerLink {
    fn as_raw_fd(&self) -> RawFd {
        self.stream.as_raw_fd()
    }
}

#[cfg(test)]
mod tests;
