//! What a target is told and what it gives out. No payload byte is in either: frames are looked at where they lie,
//! and answers say which buffer to send.

use block::{
    BlockRequest, BufferName, BufferSlice, Completion, Duration, ExportId, Instant, LbaRange, RequestId,
};
use thiserror::Error;

use super::export::SmallState;
use super::numbers::NumberWindow;
use super::port::{PortId, PortLink};
use crate::digest::Digest;
use crate::mac::MacAddress;
pub use crate::wire::ata::ReplyHead;

/// What happened.
#[derive(Clone, Debug)]
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
    /// The other node of a pair has got a frame for an export that this one serves. It may have been received before this one
    /// began to; what it asks for was answered by neither, unless this one knows of it.
    Handed {
        /// Which interface it counts as received by.
        port: PortId,
        /// When it was received.
        received: Instant,
        /// All of it, from the destination address on.
        frame: &'a [u8],
        /// The memory it stands in.
        buffer: BufferName,
    },
    /// An interface came up, changed, or went down (`None`).
    PortChanged {
        /// Which.
        port: PortId,
        /// What it is now.
        link: Option<PortLink>,
    },
    /// The address that the other node of a pair answers from on an interface. Frames sent there are answered for the
    /// exports that it does not serve any more ([`MirrorInput::StandsIn`]).
    PeerAddress {
        /// Which interface.
        port: PortId,
        /// What the other node is there.
        mac: MacAddress,
    },
    /// Whether the other node of a pair has no link on an interface: then this one answers at its address there, too, whatever it
    /// serves.
    PeerLinkDown {
        /// Which interface.
        port: PortId,
        /// Whether.
        down: bool,
    },
    /// An export has another size.
    Resized {
        /// Which.
        export: ExportId,
        /// Its 512-byte sectors now.
        sectors: u64,
    },
    /// Both nodes of a pair have this state on stable storage: it was set by a client of either.
    StateAgreed {
        /// Whose state.
        export: ExportId,
        /// What it is.
        state: &'a SmallState,
    },
    /// From now on requests that take so long are counted, and some of them given by [`super::Target::take_slow`]; without, none.
    SlowAfter(Option<Duration>),
    /// The operator says who is to be listened to, or leaves that to clients.
    OperatorMask {
        /// Of which export.
        export: ExportId,
        /// At most [`crate::limits::MAC_MASK_EDITED_MAX`]; nobody: everybody.
        mask: Option<Vec<MacAddress>>,
    },
    /// Which numbered writes to an export the other node of a pair remembers: what it has executed was executed.
    NumbersTold {
        /// Which export.
        export: ExportId,
        /// Of one initiator.
        window: &'a NumberWindow,
    },
    /// What comes from the other node of a pair, and whether this one may serve.
    Mirror(MirrorInput),
    /// The moment that [`super::Target::poll_timeout`] named has come.
    Timeout,
}

/// What happened to an export that another node holds as well. The writes which come by the other node count for
/// duplicates like those which come by this one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum MirrorInput {
    /// Whether requests may be taken. What waits when they may not any more is given back; what was handed out is answered
    /// if it is completed, and not if it is ended by [`MirrorInput::Dropped`]. Frames received before the export serves
    /// again are not looked at.
    Serving {
        /// Which export.
        export: ExportId,
        /// Whether.
        serving: bool,
    },
    /// The number of the membership under which the export is served, which answers to sequenced writes carry.
    Epoch {
        /// Which export.
        export: ExportId,
        /// The number.
        epoch: u64,
    },
    /// Whether this node answers for the other one, too, because that one takes no requests.
    StandsIn {
        /// Which export.
        export: ExportId,
        /// Whether.
        stands_in: bool,
    },
    /// A request of an [`Output::MirrorBlock`] has ended, and nobody is to be answered.
    Dropped {
        /// Which.
        id: RequestId,
        /// What is known of it.
        end: MirrorEnd,
    },
    /// A write that was taken by the other node is about to be done here.
    Followed {
        /// Which export.
        export: ExportId,
        /// Names it until [`MirrorInput::FollowedEnded`].
        write: FollowedWrite,
        /// Which sectors, at most 256.
        range: LbaRange,
        /// Whose.
        origin: Origin,
    },
    /// That write has ended.
    FollowedEnded {
        /// Which.
        write: FollowedWrite,
        /// How.
        end: MirrorEnd,
    },
    /// The nodes agree on what became of a write that was under way when they parted. Counts more than whatever was
    /// said of the same write before.
    Resolved {
        /// Which export.
        export: ExportId,
        /// Which sectors.
        range: LbaRange,
        /// Whose.
        origin: Origin,
        /// What.
        end: MirrorEnd,
    },
}

/// Names a write of the other node.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct FollowedWrite(pub u64);

/// How a write ended that nobody here answers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum MirrorEnd {
    /// It took effect, or counts so at the node that goes on with this disk: a frame of it is answered.
    Executed,
    /// It took effect, and something that overlaps it may have done so later: a frame of it is dropped, unless it has a number.
    Overtaken,
    /// Nobody knows: frames of it are dropped as long as there may be any.
    Doubtful,
    /// It took no effect: a frame of it is a new write.
    Abandoned,
}

/// Which write of an initiator this is.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Origin {
    /// Known by what it says.
    Stock {
        /// What, under the seed of the export's [`super::Mirror`].
        digest: Digest,
    },
    /// Known by its number (rule D6).
    Sequenced {
        /// Whose; drawn at random when the initiator started.
        initiator: u64,
        /// Its writes, counted from 1.
        sequence: u64,
    },
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
    /// Ask the two disks of an export that another node holds as well.
    MirrorBlock {
        /// What is wanted.
        request: BlockRequest,
        /// Whose write it is; the other node is told.
        origin: Option<Origin>,
    },
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
    /// The frame of a request that waited for others when its export ceased to be served. Nothing has come of it: the other node
    /// may take it as if the network had brought it there. Its buffer is released by whoever carries this out.
    Returned {
        /// Which export.
        export: ExportId,
        /// The interface that it came in by.
        port: PortId,
        /// Whether it was sent to the other node's address.
        to_peer: bool,
        /// When.
        received: Instant,
        /// All of it.
        frame: BufferSlice,
    },
    /// Make durable, then say [`Input::StateStored`], or [`Input::StateAgreed`] if another node holds the disk as well.
    /// Until then nothing has changed and nobody was answered.
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
