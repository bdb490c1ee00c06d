//! What goes to the peer: the messages of a turn, heads from here and data from where it lies, in one system call.
//!
//! Data that is queued belongs to its buffer: whoever frees that asks [`Sender::holds`] first. What the kernel has no room
//! for is copied when the turn's messages are handed to it, so that no buffer is held for longer.

use std::collections::VecDeque;
use std::io;

use block::BufferName;
use replication::message::{Message, VolumeMessage};
use replication::version::Version;
use replication::wire::{self, Data, MESSAGE_BYTES_MAX};

use super::receive::is_for_later;
use super::{PeerFailure, PeerStream};
use crate::sys::memory::IoSlice;
use crate::sys::stream::PIECES_MAX;

/// Heads and bodies of the messages that are queued.
const HEADS_BYTES: usize = 64 << 10;
/// Messages queued before they are handed to the kernel in between; each has at most two pieces.
const QUEUED_MAX: usize = PIECES_MAX / 2;
/// Room for a message without a list.
const SHORT_BYTES: usize = 256;
/// Bytes that wait for room in the kernel: more than all that two nodes may have under way with each other. Whoever takes none
/// of so many is as good as dead; the lease runs out soon.
const UNSENT_MAX: usize = 64 << 20;
/// Memory kept for them when there are none.
const UNSENT_KEPT: usize = 4 << 20;

const _: () = assert!(HEADS_BYTES >= 2 * MESSAGE_BYTES_MAX, "more than the longest message");

pub(super) struct Sender {
    heads: Box<[u8]>,
    /// How much of it is used.
    heads_used: usize,
    queue: Vec<Piece>,
    /// The queue as the kernel is told of it; empty in between.
    pieces: Vec<IoSlice>,
    /// Buffers of the data in the queue.
    held: Vec<BufferName>,
    /// Those of them that nobody else needs any more.
    done: Vec<BufferName>,
    /// Messages in the queue that are not commits.
    pressing: usize,
    /// What the kernel had no room for.
    unsent: VecDeque<u8>,
    pub(super) messages: u64,
    pub(super) bytes: u64,
}

#[derive(Clone, Copy, Debug)]
enum Piece {
    /// A part of the heads.
    Heads {
        start: usize,
        end: usize,
    },
    Data(IoSlice),
}

impl Sender {
    pub(super) fn new() -> Self {
        Self {
            heads: vec![0; HEADS_BYTES].into_boxed_slice(),
            heads_used: 0,
            queue: Vec::with_capacity(PIECES_MAX),
            pieces: Vec::with_capacity(PIECES_MAX),
            held: Vec::with_capacity(QUEUED_MAX),
            done: Vec::with_capacity(QUEUED_MAX),
            pressing: 0,
            unsent: VecDeque::new(),
            messages: 0,
            bytes: 0,
        }
    }

    /// Whether the queue is to be handed to the kernel before the next message.
    pub(super) fn is_full(&self) -> bool {
        self.queue.len() + 2 > PIECES_MAX || self.heads_used + MESSAGE_BYTES_MAX > HEADS_BYTES
    }

    /// Queues a message of that version, unless the queue is full.
    pub(super) fn queue(&mut self, version: Version, message: &Message, data: Option<(BufferName, IoSlice)>) {
        let described = data.map_or(Data::NONE, |(_, data)| Data::checked(data.look()));
        let start = self.heads_used;
        let end =
            start + wire::emit(version, message, described, &mut self.heads[start..start + room(message)]);
        self.heads_used = end;
        match self.queue.last_mut() {
            Some(Piece::Heads { end: before, .. }) => *before = end,
            _ => self.queue.push(Piece::Heads { start, end }),
        }
        if let Some((name, data)) = data {
            self.queue.push(Piece::Data(data));
            self.held.push(name);
        }
        self.messages += 1;
        let is_commit = matches!(message, Message::Volume(_, VolumeMessage::Commit { .. }));
        self.pressing += usize::from(!is_commit);
    }

    /// Whether commits are queued and nothing else.
    pub(super) const fn has_only_commits(&self) -> bool {
        self.pressing == 0 && !self.queue.is_empty()
    }

    /// Whether something else than commits is queued.
    pub(super) const fn is_pressing(&self) -> bool {
        self.pressing > 0
    }

    /// Whether a message with data is queued.
    pub(super) const fn has_data_queued(&self) -> bool {
        !self.held.is_empty()
    }

    /// Whether a buffer that somebody frees is still needed here. It is given out by [`Self::take_done`] then.
    pub(super) fn holds(&mut self, name: BufferName) -> bool {
        let holds = self.held.contains(&name);
        if holds {
            self.done.push(name);
        }
        holds
    }

    /// A buffer that was freed while it was needed, and is needed no more.
    pub(super) fn take_done(&mut self) -> Option<BufferName> {
        if self.held.is_empty() { self.done.pop() } else { None }
    }

    /// Bytes that wait for room in the kernel.
    pub(super) fn unsent(&self) -> usize {
        self.unsent.len()
    }

    /// Hands everything to the kernel, or keeps a copy of what it has no room for.
    pub(super) fn flush(&mut self, stream: &mut PeerStream) -> Result<(), PeerFailure> {
        let result = send_layered(stream)
            .and_then(|()| self.send_unsent(stream))
            .and_then(|()| self.send_queue(stream));
        self.forget_queue();
        result
    }

    /// The queue, for somebody else to send as [`PeerStream::send`] would; then [`Self::was_sent`] is to be told. None if something
    /// else has to go before, or something between the messages and the wire.
    pub(super) fn hand_over(&mut self, stream: &PeerStream) -> Option<&[IoSlice]> {
        if self.queue.is_empty() || !self.unsent.is_empty() || !stream.is_plain() {
            return None;
        }
        self.pieces = self.take_pieces();
        Some(&self.pieces)
    }

    /// What was handed over has gone as a whole, if nothing else is said, or as far as there was room.
    pub(super) fn was_sent(&mut self, sent: Option<io::Result<usize>>) -> Result<(), PeerFailure> {
        let mut pieces = std::mem::take(&mut self.pieces);
        let count = match sent {
            None => Ok(pieces.iter().map(|piece| piece.length()).sum()),
            Some(Err(error)) if is_for_later(&error) => Ok(0),
            Some(sent) => sent.map_err(PeerFailure::Lost),
        };
        let result = count.and_then(|count| {
            self.bytes += count as u64;
            self.keep(after(&mut pieces, count))
        });
        pieces.clear();
        self.pieces = pieces;
        self.forget_queue();
        result
    }

    /// The queue is of no more use.
    pub(super) fn forget_queue(&mut self) {
        self.queue.clear();
        self.held.clear();
        self.heads_used = 0;
        self.pressing = 0;
    }

    fn send_unsent(&mut self, stream: &mut PeerStream) -> Result<(), PeerFailure> {
        while !self.unsent.is_empty() {
            let (first, second) = self.unsent.as_slices();
            let pieces = [IoSlice::received(first), IoSlice::received(second)];
            let Some(count) = send(stream, &pieces)? else { return Ok(()) };
            self.bytes += count as u64;
            self.unsent.drain(..count);
        }
        if self.unsent.capacity() > UNSENT_KEPT {
            self.unsent = VecDeque::new();
        }
        Ok(())
    }

    fn send_queue(&mut self, stream: &mut PeerStream) -> Result<(), PeerFailure> {
        let mut pieces = self.take_pieces();
        let result = self.send_pieces(stream, &mut pieces);
        pieces.clear();
        self.pieces = pieces;
        result
    }

    fn send_pieces(&mut self, stream: &mut PeerStream, pieces: &mut [IoSlice]) -> Result<(), PeerFailure> {
        let mut left = pieces;
        while self.unsent.is_empty() && !left.is_empty() {
            let Some(count) = send(stream, left)? else { break };
            self.bytes += count as u64;
            left = after(left, count);
        }
        self.keep(left)
    }

    /// Copies what the kernel has no room for.
    fn keep(&mut self, pieces: &[IoSlice]) -> Result<(), PeerFailure> {
        for slice in pieces {
            self.unsent.extend(slice.look());
        }
        match self.unsent.len() {
            unsent if unsent > UNSENT_MAX => Err(PeerFailure::NotTaken { unsent }),
            _ => Ok(()),
        }
    }

    /// The queue as the kernel is told of it.
    fn take_pieces(&mut self) -> Vec<IoSlice> {
        let mut pieces = std::mem::take(&mut self.pieces);
        pieces.clear();
        pieces.extend(self.queue.iter().map(|piece| self.memory(*piece)));
        pieces
    }

    fn memory(&self, piece: Piece) -> IoSlice {
        match piece {
            Piece::Heads { start, end } => IoSlice::received(&self.heads[start..end]),
            Piece::Data(data) => data,
        }
    }
}

/// What is left of the pieces behind so many bytes.
fn after(pieces: &mut [IoSlice], mut count: usize) -> &mut [IoSlice] {
    let mut whole = 0;
    for piece in pieces.iter() {
        if count < piece.length() {
            break;
        }
        count -= piece.length();
        whole += 1;
    }
    let left = &mut pieces[whole..];
    if let Some(first) = left.first_mut() {
        *first = first.part(count, first.length() - count);
    }
    left
}

/// Sends what a layer has kept, as far as there is room.
fn send_layered(stream: &mut PeerStream) -> Result<(), PeerFailure> {
    match stream.flush() {
        Err(error) if !is_for_later(&error) => Err(PeerFailure::Lost(error)),
        _ => Ok(()),
    }
}

/// How many bytes went, unless there is no room for now.
fn send(stream: &mut PeerStream, pieces: &[IoSlice]) -> Result<Option<usize>, PeerFailure> {
    match stream.send(pieces) {
        Ok(count) => Ok(Some(count)),
        Err(error) if is_for_later(&error) => Ok(None),
        Err(error) => Err(PeerFailure::Lost(error)),
    }
}

/// Bytes that a message has at most without its data: only those with lists are long.
const fn room(message: &Message) -> usize {
    match message {
        Message::Volume(
            _,
            VolumeMessage::OutOfSync(_)
            | VolumeMessage::Doubtful(_)
            | VolumeMessage::Numbers(_)
            | VolumeMessage::SmallState(_),
        )
        | Message::Goodbye(_) => MESSAGE_BYTES_MAX,
        _ => SHORT_BYTES,
    }
}
