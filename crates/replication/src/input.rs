//! What the engine is told.

use block::{BlockError, BlockRequest, BufferSlice, Completion, Duration, ExportId, Instant};

use crate::links::Interfaces;
use crate::membership::{Epoch, Membership};
use crate::message::{Message, Origin};
use crate::meta::small_state::SmallState;
use crate::resize::Capacity;
use crate::resync::ResyncRate;

/// Names a write to the metadata until it is completed.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct MetadataId(pub u32);

/// What became of a question to the arbiter.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ArbiterAnswer {
    /// The register held what was expected and holds what was wanted.
    Swapped,
    /// The register holds something else.
    Holds(Membership),
    /// Nothing was heard in time; the question may still be carried out.
    Unreachable,
}

/// What the operator wants.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Control {
    /// Leave on purpose: the peer goes on alone without a stall.
    Leave,
    /// Come back after a `Leave`.
    Join,
    /// Serve alone although the copy may be stale; what that may lose was said and confirmed.
    Force {
        /// What the arbiter holds is of this epoch, as far as the operator's node knows; the forced one is a later one.
        held: Epoch,
    },
    /// The same has turned out after a node was forced, while it serves alone: it goes on in a later epoch.
    Surpass {
        /// Of what the arbiter holds.
        held: Epoch,
    },
    /// Compare the two copies, and resync what differs if `fix`.
    Verify {
        /// Whether to resync what differs.
        fix: bool,
    },
    /// Make the volume larger, at both nodes if there are two.
    Resize {
        /// How many sectors it is to have.
        sectors: u64,
    },
    /// From now on a resync goes so fast, and sends checksums first or not.
    Resync {
        /// How fast.
        rate: ResyncRate,
        /// Whether checksums go first.
        checksums: bool,
    },
    /// Have the volume no more: stop serving it, end what is under way, then say [`crate::output::Event::Removed`].
    Remove,
}

/// What happened.
#[derive(Clone, Debug)]
pub enum Input {
    /// A request of this node's own target, or of anything else above.
    Request {
        /// What is wanted. Ids of at most [`crate::limits::Limits::requests`] slots.
        request: BlockRequest,
        /// Whose write it is.
        origin: Option<Origin>,
    },
    /// The data disk has done what an [`crate::output::Output::Disk`] asked.
    Disk(Completion),
    /// A metadata write is durable, or failed.
    Metadata {
        /// Which.
        id: MetadataId,
        /// How it went.
        result: Result<(), BlockError>,
    },
    /// The stream to the peer stands; nothing was said on it yet.
    Connected,
    /// The stream to the peer is no more.
    Disconnected,
    /// The peer said something. The data is the engine's until it is named in a `Release`.
    Message {
        /// What.
        message: Message,
        /// What followed it.
        data: Option<BufferSlice>,
    },
    /// The digest of a buffer, asked for by [`crate::output::Output::Digest`].
    Digest {
        /// What it is for.
        of: crate::output::Digested,
        /// What it is.
        digest: u128,
    },
    /// The arbiter answered.
    Arbiter {
        /// About which volume.
        volume: ExportId,
        /// Which question.
        question: u64,
        /// What.
        answer: ArbiterAnswer,
    },
    /// AoE clients have set this.
    SmallState {
        /// Of which volume.
        volume: ExportId,
        /// What; its revision is not looked at.
        state: Box<SmallState>,
    },
    /// How large a volume could be made at this node, if that has changed.
    Capacity {
        /// Which volume.
        volume: ExportId,
        /// How large.
        capacity: Capacity,
    },
    /// The operator wants something.
    Control {
        /// Of which volume.
        volume: ExportId,
        /// What.
        control: Control,
    },
    /// From now on [`crate::output::Output::Spent`] is given for requests that take so long, and for some that take less; without, for none.
    SlowAfter(Option<Duration>),
    /// These storage interfaces of this node have no link from now on, and no others.
    LinksDown(Interfaces),
    /// A frame has come for a volume whose frames are handed over ([`crate::output::Output::Serving`]).
    HandOver {
        /// For which volume.
        volume: ExportId,
        /// By which interface.
        port: u8,
        /// Whether it was sent to the peer's address, not to this node's.
        to_receiver: bool,
        /// When it was received.
        received: Instant,
        /// All of it. It is the engine's until it is named in a `Release`.
        frame: BufferSlice,
    },
    /// The time given by `poll_timeout` has come.
    Timeout,
}
