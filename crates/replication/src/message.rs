//! What the two nodes say to each other. How it looks as bytes is the business of `wire`.
//!
//! The stream between the nodes is reliable and keeps the order; a session begins with [`Message::Hello`] on both sides and
//! ends with the stream. A [`Token`] names something of its sender's until that is over, and is only ever echoed.

use block::{BlockError, ExportId, LbaRange};

use crate::durability::Mode;
use crate::identity::{PairIdentity, VolumeIdentity};
use crate::limits::NUMBER_WORDS;
use crate::links::Interfaces;
use crate::membership::{Membership, NodeNumber};
use crate::meta::layout::SECTORS_PER_BIT;
use crate::meta::small_state::SmallState;
use crate::version::VersionRange;

/// Names a write, read or copy of the node that gave it out.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Token(pub u64);

/// Which write of an initiator this is, so that it is executed once whichever node it reaches how often.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Origin {
    /// Of a stock initiator: a digest of the content (rules D1, D2).
    Stock {
        /// Seeded alike on both nodes.
        digest: u128,
    },
    /// Of our own initiator (rule D6).
    Sequenced {
        /// Drawn at random when it started.
        initiator: u64,
        /// Its writes, counted from 1.
        sequence: u64,
    },
}

/// How a session begins.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Hello {
    /// Versions of the protocol that the sender speaks.
    pub versions: VersionRange,
    /// Which pair.
    pub pair: PairIdentity,
    /// Which of the two.
    pub node: NodeNumber,
    /// Drawn at random when the node's process started: another number means it forgot what it had in memory.
    pub incarnation: u64,
    /// How long a lease lasts, in milliseconds: both must mean the same.
    pub lease_milliseconds: u32,
}

/// Why a session is refused or ended, told to the peer and to the operator.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// No version in common.
    #[error(
        "the nodes have no version of the peer protocol in common: one speaks {refuser}, the other {other}; upgrade etherpair on the \
         older one"
    )]
    Version {
        /// What the one speaks that refuses.
        refuser: VersionRange,
        /// What the other one does.
        other: VersionRange,
    },
    /// Another pair.
    #[error("the peer belongs to another pair of nodes; check the peer's address and the pair's identity")]
    Pair,
    /// Both have the same number.
    #[error("both nodes are configured as {0}; one must be node 0, the other node 1")]
    Node(NodeNumber),
    /// The leases differ.
    #[error("this node's lease lasts {0} ms, the peer's another time; configure both alike")]
    Lease(u32),
    /// A message that does not fit where it came.
    #[error(
        "the peer sent a message that does not fit the state of the session: {0}; see the versions of both nodes"
    )]
    Protocol(&'static str),
    /// The lease ran out: the session is of no more use.
    #[error("the peer did not renew its lease in time; see its load and the peer link")]
    LeaseExpired,
    /// A volume gets another size, as both have agreed.
    #[error("a volume gets larger: the nodes part for a moment and meet with the new size")]
    Resized,
    /// The arbiter has answered a node after it had offered what held before.
    #[error(
        "the membership of a volume has changed while the nodes met: they part for a moment and meet with what holds now"
    )]
    Changed,
    /// The only good disk could not write what the other node was writing, alone or with this one.
    #[error(
        "the only good disk could not write sectors that the other node was writing: the nodes part for a moment and meet with what is \
         on it; look at the health of the disk of the node that is up to date, and at the space on it"
    )]
    WriteFailed,
}

/// A volume that the sender has, under the name by which messages about it are to be sent to it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Announce {
    /// Which volume.
    pub volume: VolumeIdentity,
    /// What the sender calls it.
    pub export: ExportId,
    /// Its size at the sender.
    pub sectors: u64,
}

/// What a node's copy is worth, as it says when nodes meet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum CopyState {
    /// Whole, but for what the membership and the out-of-sync blocks say.
    Good,
    /// Blocks are lacking that only the peer has: it never serves alone.
    Inconsistent,
    /// There is no usable disk.
    Diskless,
}

/// What a node brings to a meeting; its out-of-sync blocks came before.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Offer {
    /// Who serves, as far as the sender knows.
    pub membership: Membership,
    /// What its copy is worth.
    pub copy: CopyState,
    /// Whether the sender serves alone at this moment.
    pub alone: bool,
    /// Whether it has forgotten which writes it finished a short while ago.
    pub forgetful: bool,
    /// Whether it began without a clean end before, and has met nobody since: what was answered from its memory is lost, and its disk may
    /// have torn what was on its way there.
    pub lost_memory: bool,
    /// How much an answer to a write promises there; an older node does not say.
    pub mode: Option<Mode>,
    /// Revision of its small state.
    pub small_state_revision: u64,
}

/// A run of blocks of 4 KiB.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct BlockRun {
    /// The first block.
    pub start: u64,
    /// How many.
    pub count: u64,
}

impl BlockRun {
    /// The block behind the last one.
    pub(crate) const fn end(self) -> u64 {
        self.start + self.count
    }

    /// Whether some of these sectors are in it.
    pub(crate) const fn touches(self, range: LbaRange) -> bool {
        let (start, end) = (self.start * SECTORS_PER_BIT, (self.start + self.count) * SECTORS_PER_BIT);
        range.start().0 < end && start < range.end().0
    }
}

/// A write that was in flight when a session ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct DoubtfulWrite {
    /// Where.
    pub range: LbaRange,
    /// Which.
    pub origin: Origin,
    /// What the disk has of it.
    pub effect: Effect,
}

/// What a disk has of a write.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Effect {
    /// All of it.
    Whole,
    /// It has taken effect, and a write that was under way together with it is over it, in whole or in part.
    Overtaken,
    /// Nothing.
    Nothing,
    /// Nobody knows.
    Unknown,
}

/// Which writes of one of our own initiators were executed, as far as the sender remembers (rule D6).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct NumberWindow {
    /// Whose.
    pub initiator: u64,
    /// The latest number that came.
    pub latest: u64,
    /// A bit for each of the last numbers up to that, at its place modulo their count, if it was executed.
    pub executed: [u64; NUMBER_WORDS],
    /// Likewise, if it failed.
    pub failed: [u64; NUMBER_WORDS],
}

/// What is said about one volume.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum VolumeMessage {
    /// Blocks that the sender knows to differ, or that may.
    OutOfSync(Vec<BlockRun>),
    /// From the source: what its disk, which counts, has of the writes that were in flight when a session ended.
    Doubtful(Vec<DoubtfulWrite>),
    /// From the source before `Proceed`, from the target after it: which numbered writes the sender remembers.
    Numbers(Vec<NumberWindow>),
    /// Ready to meet.
    Offer(Offer),
    /// From the source: what differs is durably noted; its `OutOfSync`, `Doubtful` and `Numbers` came before. The two are paired
    /// from here on.
    Proceed(Membership),
    /// From the target: that it lacks blocks is durably noted.
    Ready,
    /// Write these sectors (data follows).
    Replicate {
        /// The coordinator's name for it.
        write: Token,
        /// Which sectors.
        range: LbaRange,
        /// Whether it is to be on stable storage before `Ack`.
        durable: bool,
        /// Whose write.
        origin: Option<Origin>,
    },
    /// The follower has it.
    Ack {
        /// The coordinator's name.
        write: Token,
        /// The follower's name, for `Commit`.
        follower: Token,
        /// How long it was at the follower; 0 if that is not told (version 1).
        microseconds: u32,
    },
    /// Both have it: reads need not wait for it any more.
    Commit {
        /// The follower's name.
        follower: Token,
    },
    /// Read these sectors for me.
    Fetch {
        /// The asker's name for it.
        read: Token,
        /// Which sectors.
        range: LbaRange,
    },
    /// What a `Fetch` found (data follows unless it failed).
    Fetched {
        /// The asker's name.
        read: Token,
        /// Why there is no data.
        result: Result<(), BlockError>,
    },
    /// The sectors as they are at the source of a resync (data follows). Older than every write in flight.
    Copy {
        /// The source's name for it.
        copy: Token,
        /// Which sectors, whole blocks.
        range: LbaRange,
    },
    /// A checksum of the sectors instead: send the data only if yours differs.
    CopyDigest {
        /// The source's name for it.
        copy: Token,
        /// Which sectors, whole blocks.
        range: LbaRange,
        /// Seeded alike on both nodes.
        digest: u128,
    },
    /// The target has the sectors of a `Copy` on stable storage, or had them.
    Copied {
        /// The source's name.
        copy: Token,
    },
    /// A write to the sectors is in flight at the target: it did not take the `Copy`, and wants another one later.
    CopyYielded {
        /// The source's name.
        copy: Token,
    },
    /// The target has others than the digest says.
    CopyDiffers {
        /// The source's name.
        copy: Token,
    },
    /// The sender cannot read these sectors: it wants a `Copy`.
    Missing {
        /// Which sectors.
        range: LbaRange,
    },
    /// Online verify: what is the digest of these sectors, while no write to them is in flight?
    Verify {
        /// The asker's name for it.
        verify: Token,
        /// Which sectors.
        range: LbaRange,
        /// The asker's digest.
        digest: u128,
    },
    /// The answer to `Verify`.
    Verified {
        /// The asker's name.
        verify: Token,
        /// Whether they are equal; `None` if a write came in between.
        equal: Option<bool>,
    },
    /// The arbiter says so; the sender has made it durable, or (both are members, in a later epoch than the sender's) will when
    /// the receiver has.
    Member(Membership),
    /// The sender has made the membership durable, too. Or, after a `Leave` of a node that was not paired: that is known, and
    /// whatever was offered before does not count any more.
    MemberKnown(Membership),
    /// The sender serves no more and has finished what it took: go on alone.
    Leave,
    /// The sender's disk has failed, or it has the volume no more: go on alone.
    DiskFailed,
    /// From the source, to a node that came back (since version 3): the sender does not answer at the receiver's address any more,
    /// and will not again while the two are paired.
    GivenBack,
    /// A frame of an initiator has reached the sender, but it is, or soon will be, the receiver who answers it. It follows
    /// the message, and counts as one that the network has delivered late.
    Handed(Handed),
    /// Make durable what was written so far.
    Flush {
        /// The asker's name for it.
        flush: Token,
    },
    /// Done.
    Flushed {
        /// The asker's name.
        flush: Token,
    },
    /// Will you have the volume as large? The sender has room for it.
    Resize {
        /// Sectors it is to have.
        sectors: u64,
    },
    /// The answer to `Resize`. After a yes the asker ends the session, both note the size, and they meet with it.
    ResizeAnswered {
        /// What was asked.
        sectors: u64,
        /// Whether the sender will.
        agreed: bool,
    },
    /// AoE clients have set this; make it durable if it is newer than yours.
    SmallState(Box<SmallState>),
    /// It is durable.
    SmallStateKnown {
        /// Of this state.
        revision: u64,
    },
}

/// What is known of a frame besides its bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Handed {
    /// By which interface it came; both nodes have them in the same order.
    pub port: u8,
    /// Whether it was sent to the receiver's address, and not to the sender's.
    pub to_receiver: bool,
    /// How long it is.
    pub bytes: u32,
    /// The receiver's newest renewal that the sender had seen,
    pub renewal: u64,
    /// and how many nanoseconds after that the frame came, or before.
    pub after: i64,
}

/// One message.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Message {
    /// The first on each side.
    Hello(Hello),
    /// The last: why the sender ends the session.
    Goodbye(Refusal),
    /// Lengthen my lease.
    Renew {
        /// Counted by the sender.
        number: u64,
    },
    /// The lease is lengthened.
    Granted {
        /// The renewal that is answered.
        number: u64,
    },
    /// A volume of the sender's.
    Announce(Announce),
    /// Which of the sender's storage interfaces have no link: these, and no others.
    LinksDown(Interfaces),
    /// About one volume, named as the receiver calls it.
    Volume(ExportId, VolumeMessage),
}

impl VolumeMessage {
    /// Bytes of data that follow the message, as far as it says so itself: an answer to a `Fetch` does not.
    #[must_use]
    pub const fn data_bytes(&self) -> Option<usize> {
        match self {
            Self::Replicate { range, .. } | Self::Copy { range, .. } => Some(range.bytes()),
            Self::Handed(Handed { bytes, .. }) => Some(*bytes as usize),
            _ => None,
        }
    }

    /// The sectors that the message is about.
    #[must_use]
    pub const fn range(&self) -> Option<LbaRange> {
        match self {
            Self::Replicate { range, .. }
            | Self::Copy { range, .. }
            | Self::CopyDigest { range, .. }
            | Self::Fetch { range, .. }
            | Self::Missing { range }
            | Self::Verify { range, .. } => Some(*range),
            _ => None,
        }
    }
}
