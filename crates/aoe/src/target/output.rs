//! What a target is told and what it gives out. No payload byte is in either: frames are looked at where they lie,
//! and answers say which buffer to send.

use block::{BlockRequest, BufferName, BufferSlice, Completion, ExportId, Instant};
use thiserror::Error;

use super::export::SmallState;
use super::port::{PortId, PortLink};
pub use crate::wire::ata::ReplyHead;

/// What happened.
#[derive(Clone, Copy, Debug)]
pub enum Input<'a> {
    /// A frame came in.
    Frame {
        /// By which interface.
        port: PortId,
        /// When the kernel got it.
        received: Instant,
        /// All of it from the Ethernet header on.
        frame: &'a [u8],
        /// Where it lies; named in exactly one [`Output::Release`].
        buffer: BufferName,
    },
    /// A disk has done what an [`Output::Block`] asked.
    Completed(Completion),
    /// An [`Output::StoreState`] is durable, or could not be made so.
    StateStored {
        /// Whose state.
        export: ExportId,
        /// How it went.
        result: Result<(), StateError>,
    },
    /// An interface came up, changed, or went down (`None`).
    PortChanged {
        /// Which.
        port: PortId,
        /// What it is now.
        link: Option<PortLink>,
    },
    /// An export has another size.
    Resized {
        /// Which.
        export: ExportId,
        /// Its 512-byte sectors now.
        sectors: u64,
    },
    /// The moment that [`super::Target::poll_timeout`] named has come.
    Timeout,
}

/// The small state of an export could not be made durable.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[error("the state file could not be written; see the log for its path and free space or permissions there")]
pub struct StateError;

/// What to do.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Output {
    /// Ask a disk.
    Block(BlockRequest),
    /// Send an answer to an ATA command.
    Send(Transmit),
    /// Send a frame that is no answer of the hot path: to another command, a refusal, or an advertisement.
    SendControl {
        /// By which interface.
        port: PortId,
        /// The frame, padded.
        frame: Vec<u8>,
    },
    /// Nobody needs the bytes of this buffer any more: one for each frame that came in, and one for what was read
    /// for an answer that has nowhere to go.
    Release(BufferName),
    /// Make durable, then say [`Input::StateStored`]. Until then nothing has changed and nobody was answered.
    StoreState {
        /// Whose state.
        export: ExportId,
        /// What it shall be.
        state: SmallState,
    },
}

/// A frame to send.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Transmit {
    /// By which interface.
    pub port: PortId,
    /// Headers; padded to a whole frame if there is no payload.
    pub head: ReplyHead,
    /// What follows. Whoever sends it frees its buffer afterwards.
    pub payload: Option<BufferSlice>,
}
