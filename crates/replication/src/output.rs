//! What the engine wants done.

use block::{BlockError, BlockRequest, BufferName, BufferSlice, ExportId, Instant, LbaRange, RequestId};

use crate::durability::Mode;
use crate::input::MetadataId;
use crate::links::Interfaces;
use crate::membership::Membership;
use crate::message::{Message, NumberWindow, Offer, Origin, Refusal, Token};
use crate::meta::layout::Place;
use crate::meta::small_state::SmallState;
use crate::resize::ResizeError;
use crate::spent::Spent;

/// What a digest is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Digested {
    /// A copy, at the source.
    Copy(Token),
    /// Sectors that are compared.
    Held(Token),
}

/// How a request ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// Done; for a read the bytes, whose buffer belongs to the receiver now.
    Done(Option<BufferSlice>),
    /// Neither copy could do it.
    Failed(BlockError),
    /// This node may not serve: nobody is to be answered. No disk has anything of it.
    Dropped,
    /// Likewise, and the write is on this disk: it counts as done at a node that goes on with this disk (as with
    /// [`FollowedEnd::Started`]). When the nodes meet instead, `Output::Resolved` says what has become of it.
    Started,
    /// Nobody is to be answered, and nobody knows what this disk or the peer's has of it.
    Doubtful,
}

/// What became of a peer's write that this node has followed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FollowedEnd {
    /// Both have it.
    Finished,
    /// It was on its way to this disk when the session ended, and counts as done at a node that goes on with this disk.
    Started,
    /// It never came so far, or has failed at the disk that counts.
    Dropped,
    /// The session has ended, and nobody knows what this disk has of it.
    Doubtful,
}

/// What has become of a write that was in flight when a session ended, now that the nodes have met.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Resolution {
    /// The disk that counts has it: it was executed, and nothing in doubt overlaps it.
    Executed,
    /// Likewise, but something else that was in flight may have been written over it.
    Overtaken,
    /// The disk that counts has nothing of it: it never was.
    Abandoned,
    /// Nobody knows: its frames are to be dropped for a while.
    Unknown,
}

/// Who wants what the arbiter is asked for. A pair that has no arbiter goes by this.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Wish {
    /// This node. What the other one does, it does not know.
    OfOne,
    /// The other one too: it is there and both are to be members, or it has said that it serves no more.
    OfBoth,
}

/// What to do.
#[derive(Clone, Debug)]
pub enum Output {
    /// Ask the data disk.
    Disk(BlockRequest),
    /// A request of `Input::Request` has ended; its buffer is not needed any more.
    Completed {
        /// Which.
        id: RequestId,
        /// How.
        outcome: Outcome,
    },
    /// Nobody needs this buffer any more.
    Release(BufferName),
    /// Say this to the peer. The data must have been sent or copied before the next input is handed in.
    Send {
        /// What.
        message: Message,
        /// What follows it.
        data: Option<BufferSlice>,
    },
    /// End the session, and begin another one when the peer can be reached.
    Disconnect {
        /// Why.
        reason: Refusal,
    },
    /// Write the record that the engine shows for it at this place, durably; then say `Input::Metadata`.
    Metadata {
        /// Which write.
        id: MetadataId,
        /// Whose metadata.
        volume: ExportId,
        /// Where.
        place: Place,
    },
    /// Tell the digest of these bytes by `Input::Digest`. They are released next.
    Digest {
        /// What it is for.
        of: Digested,
        /// The bytes.
        data: BufferSlice,
    },
    /// Ask the arbiter to put `next` in the place of `expected`, or, if they are equal, whether it holds that.
    Ask {
        /// About which volume.
        volume: ExportId,
        /// Number of the question.
        question: u64,
        /// What it must hold.
        expected: Membership,
        /// What it shall hold.
        next: Membership,
        /// Who wants it.
        wish: Wish,
    },
    /// Whether requests may be taken for this volume. When they may not, all that is queued anywhere is dropped.
    Serving {
        /// Which volume.
        volume: ExportId,
        /// Whether.
        serving: bool,
        /// Whether those that initiators send to the peer's address may be taken, too, because the peer takes none.
        stands_in: bool,
        /// Whether frames that may not be taken here are wanted as [`crate::input::Input::HandOver`].
        hands_over: bool,
    },
    /// The peer has handed over a frame. It is to be taken as soon as this node serves, or stands in if it was sent to the
    /// peer's address.
    Handed {
        /// For which volume.
        volume: ExportId,
        /// By which interface, if there is one of that number.
        port: u8,
        /// Whether it was sent to this node's own address.
        to_receiver: bool,
        /// When it was received, at the latest by what this node knows.
        received: Instant,
        /// All of it.
        frame: BufferSlice,
    },
    /// These storage interfaces of the peer's have no link, and no others: what initiators send to its address there may be taken for
    /// whatever this node serves.
    PeerLinksDown(Interfaces),
    /// The peer's write has come here: remember it (rules D1, D2, D6).
    Followed {
        /// Which volume.
        volume: ExportId,
        /// Names it until `FollowedEnded`.
        write: Token,
        /// Which sectors.
        range: LbaRange,
        /// Whose.
        origin: Origin,
    },
    /// The peer's write is over.
    FollowedEnded {
        /// Which.
        write: Token,
        /// How.
        end: FollowedEnd,
    },
    /// The nodes have met: this is what a write that was in flight when they parted has come to. Counts more than what
    /// was said of it before.
    Resolved {
        /// Which volume.
        volume: ExportId,
        /// Which sectors.
        range: LbaRange,
        /// Whose write.
        origin: Origin,
        /// What it has come to.
        resolution: Resolution,
    },
    /// Send the peer all windows of numbered writes that are remembered, in messages of
    /// [`NUMBERS_PER_MESSAGE`](crate::limits::NUMBERS_PER_MESSAGE), before whatever is to be sent after this. If none are, nothing.
    TellNumbers {
        /// Of which volume.
        volume: ExportId,
        /// What the peer calls it.
        peer: ExportId,
    },
    /// The peer remembers these, and what it has executed counts here as well.
    Numbers {
        /// Of which volume.
        volume: ExportId,
        /// What it remembers.
        windows: Vec<NumberWindow>,
    },
    /// The peer has set this, or both agreed on it.
    SmallState {
        /// Of which volume.
        volume: ExportId,
        /// What.
        state: Box<SmallState>,
    },
    /// The volume is larger from now on, at both nodes: requests for the new sectors may be handed in.
    Resized {
        /// Which volume.
        volume: ExportId,
        /// How many sectors it has.
        sectors: u64,
    },
    /// Where the time of the request went that is completed next, if it took long ([`crate::input::Input::SlowAfter`]).
    Spent {
        /// Which request.
        id: RequestId,
        /// Where.
        spent: Box<Spent>,
    },
    /// Something an operator wants to know.
    Event {
        /// About which volume.
        volume: ExportId,
        /// What.
        event: Event,
    },
}

/// Something an operator wants to know.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Event {
    /// The MAC mask list was changed at the other node and is not what the operator has said at this one.
    MaskDiffers {
        /// How many are on it now.
        hosts: usize,
    },
    /// The peer was lost or its lease not renewed: nothing is served.
    Frozen,
    /// The nodes are connected and both take writes.
    Paired {
        /// Who serves.
        membership: Membership,
        /// Blocks that this node lacks.
        lacking: u64,
        /// Blocks that the peer lacks.
        peer_lacks: u64,
    },
    /// This node serves alone.
    Alone(Membership),
    /// Both copies are equal and both nodes are members.
    InSync(Membership),
    /// The arbiter holds something that shuts this node out until it meets its peer.
    ShutOut(Membership),
    /// Sectors could not be read here; the peer's copy was taken and written back.
    ReadRepaired(LbaRange),
    /// The only good copy of these sectors cannot be read, so the peer does not get them: whoever uses the volume is to
    /// write them again.
    Unreadable(LbaRange),
    /// The data disk failed; requests go to the peer.
    DiskFailed(BlockError),
    /// The only good copy's disk could not be flushed: what was answered in the last second may be lost with the power.
    FlushFailed(BlockError),
    /// The metadata could not be written.
    MetadataFailed(BlockError),
    /// The copies differ in these sectors.
    Differs(LbaRange),
    /// A verify has ended.
    VerifyDone {
        /// Sectors that differed.
        different: u64,
    },
    /// A verify was given up: the nodes have parted, or were not together, or another one was begun.
    VerifyAborted {
        /// Sectors that were done.
        compared: u64,
        /// Those among them that differed.
        different: u64,
    },
    /// An operator forced this node to serve.
    Forced(Membership),
    /// The volume is larger from now on.
    Resized {
        /// How many sectors it has.
        sectors: u64,
    },
    /// The volume keeps its size.
    ResizeRefused(ResizeError),
    /// The peer's volume is larger, and there is no room here to follow it: the nodes do not meet.
    PeerIsLarger {
        /// Sectors of this node's.
        here: u64,
        /// Sectors of the peer's.
        peer: u64,
    },
    /// The nodes are configured to promise different things by an answer: they do not meet.
    ModesDiffer {
        /// What this node promises.
        here: Mode,
        /// What the peer does.
        peer: Mode,
    },
    /// The nodes are connected and do not meet: neither copy can be told to be the one that counts.
    NotMet {
        /// What this node has offered.
        here: Offer,
        /// What the peer has.
        peer: Offer,
    },
    /// Both nodes served alone, because an operator had forced one of them. This one stops; what it has answered since is lost.
    GivesWay {
        /// What this node served in.
        here: Membership,
        /// What the peer serves in.
        to: Membership,
    },
    /// This node has the volume no more: its disk and metadata are needed no longer, and its number means nothing.
    Removed,
}
