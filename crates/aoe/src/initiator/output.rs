//! What an initiator is told and what it gives out. No payload byte is in either: frames are looked at where they lie,
//! and outputs say which bytes to copy or to send.

use block::{BufferName, BufferSlice, Duration, LbaRange, RequestId};
use thiserror::Error;

use super::head::RequestHead;
use super::rtt::TimeoutBounds;
use crate::address::Address;
use crate::ata::{ErrorRegister, Status};
use crate::mac::MacAddress;
use crate::target::PortId;
use crate::wire::WireError;
use crate::wire::header::AoeError;

/// How an initiator behaves.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Options {
    /// The volume.
    pub address: Address,
    /// Frames under way at a time, over all targets.
    pub frames_max: usize,
    /// Requests accepted at a time.
    pub requests_max: usize,
    /// Bounds of the wait before a frame is sent again.
    pub retransmit_timeout: TimeoutBounds,
    /// A request without an answer fails after so long.
    pub answer_timeout: Duration,
    /// A number that other initiators on the same interfaces do not have, and that this one had not before.
    pub seed: u32,
    /// The name under which writes are numbered, if they are to be: drawn at random, never used before. They are sent as
    /// sequenced writes when all targets know them. Then `answer_timeout` is at most
    /// [`crate::limits::SEQUENCED_PATIENCE_MAX`], and frames need [`RequestHead::seal`].
    pub sequenced: Option<u64>,
}

impl Options {
    /// What suits most networks.
    #[must_use]
    pub const fn new(address: Address, seed: u32) -> Self {
        Self {
            address,
            frames_max: 256,
            requests_max: 256,
            retransmit_timeout: TimeoutBounds { min: Duration::from_millis(20), max: Duration::from_secs(5) },
            answer_timeout: Duration::from_secs(180),
            seed,
            sequenced: None,
        }
    }
}

/// What is asked of the volume.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ask {
    /// Read sectors.
    Read(LbaRange),
    /// Write sectors.
    Write {
        /// Which.
        range: LbaRange,
        /// Their bytes. They stay as they are until the request ends: any part may be sent again.
        data: BufferSlice,
    },
    /// Make durable what was written, at every target.
    Flush,
}

/// What happened.
#[derive(Clone, Copy, Debug)]
pub enum Input<'a> {
    /// Somebody wants something.
    Submit {
        /// Names it until it ends.
        id: RequestId,
        /// What.
        ask: Ask,
    },
    /// A frame came in. The memory it lies in is needed until the outputs have been drained.
    Frame {
        /// By which interface.
        port: PortId,
        /// All of it from the Ethernet header on.
        frame: &'a [u8],
        /// Where it lies.
        buffer: BufferName,
    },
    /// The moment that [`super::Initiator::poll_timeout`] named has come.
    Timeout,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Output {
    /// Send a frame. Its payload must have been taken over by the network before the next input: that may be the answer
    /// to an earlier copy, which ends the request, and then its memory is somebody else's.
    Send {
        /// By which interface.
        port: PortId,
        /// Its first bytes; of a sequenced write they want its payload's checksum: see [`RequestHead::seal`].
        head: RequestHead,
        /// The sectors behind them, of a write.
        payload: Option<BufferSlice>,
    },
    /// Copy sectors that were read to where they are wanted.
    Data {
        /// Who wants them.
        id: RequestId,
        /// Where in the request they belong, in bytes.
        offset: u32,
        /// Where they lie now, in the frame that was handed in last.
        data: BufferSlice,
    },
    /// A request has ended; its name is free.
    Completed {
        /// Which.
        id: RequestId,
        /// How.
        result: Result<(), RequestError>,
    },
    /// The volume was found, or has another size than before.
    Sized {
        /// Its sectors.
        sectors: u64,
    },
    /// Somebody answers for the address with another disk; it is not used.
    Rejected {
        /// Who.
        mac: MacAddress,
    },
}

/// Why a request failed.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum RequestError {
    /// The disk could not do it.
    #[error("the disk answers with status {status}, error {error}")]
    Ata {
        /// Its status.
        status: Status,
        /// And its error register.
        error: ErrorRegister,
    },
    /// Nobody did it in time.
    #[error("no answer in time{}", refusal(*.refused))]
    NoAnswer {
        /// The last refusal there was, if any. A target that refuses may do so for a while only: a host that reserved
        /// the disk lets go of it.
        refused: Option<AoeError>,
    },
}

fn refusal(refused: Option<AoeError>) -> String {
    refused.map_or_else(String::new, |error| format!("; the target refuses: {error}"))
}

/// Why an input was not taken. Nothing has changed but counters.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum Error {
    /// The sender of a frame is at fault.
    #[error("a frame cannot be read: {0}")]
    Frame(#[from] WireError),
    /// A target answered a read with less than was asked for.
    #[error("a target answered a read of {wanted} bytes with {length}")]
    ShortAnswer {
        /// Bytes asked for.
        wanted: usize,
        /// Bytes that came.
        length: usize,
    },
    /// No target was found yet.
    #[error("nobody serves {0} yet: wait until its size is told")]
    NotFound(Address),
    /// The sectors are not there.
    #[error("sectors {range} lie beyond the end of the volume, which has {sectors}")]
    BeyondEnd {
        /// What was asked for.
        range: LbaRange,
        /// What there is.
        sectors: u64,
    },
    /// Nothing was asked for.
    #[error("a request for no sectors at all")]
    Empty,
    /// As many requests are open as were agreed on.
    #[error("{0} requests are open, which is all there is room for: wait until one ends")]
    Full(usize),
}

/// What has happened so far.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Statistics {
    /// Frames of data sent, copies included.
    pub frames_sent: u64,
    /// Frames sent again.
    pub retransmissions: u64,
    /// Frames of sequenced writes, copies not included.
    pub sequenced: u64,
    /// Answers that nobody waited for any more: late, double, or from before a fail-over.
    pub late_answers: u64,
    /// Answers with an AoE error.
    pub refusals: u64,
    /// Answers that could not be read or were too short.
    pub malformed: u64,
    /// How often a window was made smaller.
    pub window_reductions: u64,
}
