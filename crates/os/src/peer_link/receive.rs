//! What comes from the peer: bytes become messages, and their data goes where it is to stay.
//!
//! ```text
//!            ┌── read ahead: heads, bodies, small data ──┐
//!   stream ──┤                                           ├──▶ decoder ──▶ message
//!            └── the rest of the data ──▶ pool buffer ───┘
//! ```
//!
//! One call fills the buffer of the data that is awaited and, behind it, the read-ahead. So long data is never copied, and
//! short messages come many at a time.

use std::io;

use replication::message::Message;
use replication::version::{Version, VersionRange};
use replication::wire::{Decoder, HEADER_BYTES, MESSAGE_BYTES_MAX, Need};

use super::{PeerFailure, PeerStream};
use crate::buffer_pool::BufferPool;
use crate::sys::memory::{IoSlice, Memory};

/// Bytes that may be read ahead. What lies there of a message's data is copied, which for 4 KiB costs less than a system
/// call.
const AHEAD_BYTES: usize = 32 << 10;

const _: () = assert!(AHEAD_BYTES >= 2 * MESSAGE_BYTES_MAX, "the longest message has room");

/// What a look at the stream has brought.
#[derive(Debug)]
pub(crate) enum Received {
    /// A message, with the buffer of its data and how many bytes these are.
    Message(Message, Option<(u32, usize)>),
    /// Nothing more for now.
    Nothing,
    /// There is more, and no buffer for it.
    NoBuffer,
}

pub(super) struct Receiver {
    decoder: Decoder,
    ahead: Memory,
    start: usize,
    end: usize,
    data: Option<Incoming>,
    /// The last call brought less than there was room for: until the next turn there is nothing.
    is_drained: bool,
    pub(super) bytes: u64,
}

/// Data on its way into a buffer.
#[derive(Clone, Copy, Debug)]
struct Incoming {
    buffer: u32,
    length: usize,
    filled: usize,
}

impl Receiver {
    /// At the beginning of a stream whose messages have at most so much data, to a node that speaks these versions.
    pub(super) fn new(data_bytes_max: usize, versions: VersionRange) -> io::Result<Self> {
        Ok(Self {
            decoder: Decoder::new(data_bytes_max, versions),
            ahead: Memory::anonymous(AHEAD_BYTES)?,
            start: 0,
            end: 0,
            data: None,
            is_drained: false,
            bytes: 0,
        })
    }

    /// What is spoken on this stream, once the peer has said what it speaks.
    pub(super) const fn version(&self) -> Option<Version> {
        self.decoder.version()
    }

    /// A new turn: there may be more.
    pub(super) const fn begin_turn(&mut self) {
        self.is_drained = false;
    }

    /// The buffer that is being filled; it is the caller's when the stream has ended.
    pub(super) fn take_buffer(&mut self) -> Option<u32> {
        self.data.take().map(|data| data.buffer)
    }

    /// The next message.
    pub(super) fn next(
        &mut self,
        stream: &mut PeerStream,
        pool: &mut BufferPool,
    ) -> Result<Received, PeerFailure> {
        loop {
            let message = match self.decoder.need() {
                Need::Head => match self.take_ahead(HEADER_BYTES) {
                    Some(head) => self.decoder.head(head.look().try_into().expect("as long as a head"))?,
                    None if self.fill(stream, IoSlice::empty())?.is_some() => continue,
                    None => return Ok(Received::Nothing),
                },
                Need::Body(length) => match self.take_ahead(length) {
                    Some(body) => self.decoder.body(body.look())?,
                    None if self.fill(stream, IoSlice::empty())?.is_some() => continue,
                    None => return Ok(Received::Nothing),
                },
                Need::Data(left) => {
                    let Some(data) = self.data.or_else(|| begin(left, pool)) else {
                        return Ok(Received::NoBuffer);
                    };
                    self.data = Some(data);
                    match self.take_data(stream, pool, data)? {
                        Some(message) => message,
                        None => return Ok(Received::Nothing),
                    }
                }
            };
            if let Some(message) = message {
                let data = self.data.take().map(|data| (data.buffer, data.length));
                return Ok(Received::Message(message, data));
            }
        }
    }

    /// Brings more of the data, and the message if that was all of it. `None` if there is nothing for now.
    fn take_data(
        &mut self,
        stream: &mut PeerStream,
        pool: &BufferPool,
        data: Incoming,
    ) -> Result<Option<Option<Message>>, PeerFailure> {
        let rest = pool.slice(data.buffer, data.filled, data.length - data.filled);
        let ahead = self.end - self.start;
        let piece = if ahead > 0 {
            let piece = rest.part(0, rest.length().min(ahead));
            let from = self.take_ahead(piece.length()).expect("no more than is there");
            piece.copy_from_slice(from);
            piece
        } else {
            match self.fill(stream, rest)? {
                Some(count) => rest.part(0, rest.length().min(count)),
                None => return Ok(None),
            }
        };
        self.data = Some(Incoming { filled: data.filled + piece.length(), ..data });
        Ok(Some(self.decoder.data(piece.look())?))
    }

    /// So many bytes that were read ahead, if they are there. They stay where they are until the next [`Self::fill`].
    fn take_ahead(&mut self, length: usize) -> Option<IoSlice> {
        if self.end - self.start < length {
            return None;
        }
        self.start += length;
        Some(self.ahead.slice().part(self.start - length, length))
    }

    /// Reads once: first into `rest`, for which nothing may have been read ahead, then ahead. How many bytes came, unless
    /// there are none for now.
    fn fill(&mut self, stream: &mut PeerStream, rest: IoSlice) -> Result<Option<usize>, PeerFailure> {
        if self.is_drained {
            return Ok(None);
        }
        self.compact();
        let room = self.ahead.slice().part(self.end, AHEAD_BYTES - self.end);
        let (both, one) = ([rest, room], [room]);
        let pieces: &[IoSlice] = if rest.length() > 0 { &both } else { &one };
        match stream.receive(pieces) {
            Ok(0) if self.is_between_messages() => Err(PeerFailure::Closed),
            Ok(0) => Err(PeerFailure::Truncated),
            Ok(count) => {
                self.is_drained = count < rest.length() + room.length();
                self.end += count.saturating_sub(rest.length());
                self.bytes += count as u64;
                Ok(Some(count))
            }
            Err(error) if is_for_later(&error) => {
                self.is_drained = true;
                Ok(None)
            }
            Err(error) => Err(PeerFailure::Lost(error)),
        }
    }

    /// Moves what was read ahead to the beginning of its memory.
    fn compact(&mut self) {
        let length = self.end - self.start;
        if length > 0 && self.start > 0 {
            let all = self.ahead.slice();
            all.part(0, length).copy_from_slice(all.part(self.start, length));
        }
        (self.start, self.end) = (0, length);
    }

    fn is_between_messages(&self) -> bool {
        self.start == self.end && self.decoder.need() == Need::Head
    }
}

fn begin(length: usize, pool: &mut BufferPool) -> Option<Incoming> {
    Some(Incoming { buffer: pool.take_for_peer(length)?, length, filled: 0 })
}

/// Whether it may work at another time.
pub(super) fn is_for_later(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}
