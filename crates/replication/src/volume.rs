//! One volume as this node sees it: where it stands, what its copy is worth, and what is on disk about it.
//!
//! Holds state and answers questions about it; what happens to it is decided in the files that are named after that.
//!
//! ```text
//!             session lost, lease run out         granted, or already sole
//!   Paired ─────────────────────────────▶ Frozen ────────────────────────▶ Alone
//!     ▲  │ leave                          │ ▲  ▲                             │
//!     │  └───────────▶ Left ──────────────┼─┘  └── disk failed (of Paired) ──┤
//!     │                 peer goes alone   │                                  │
//!     ├────────────── meet ───────────────┘                                  │
//!     └────────────── meet: the other one returns ───────────────────────────┘
//!
//!   Frozen, without a disk ── the peer serves alone and can be reached ──▶ Passing ── session lost ──▶ Frozen
//! ```

use std::collections::VecDeque;

use block::{ExportId, Instant, LbaRange};

use crate::activity_log::ActivityLog;
use crate::bitmap::{Bitmap, Bits};
use crate::conflict::Claim;
use crate::doubt::Doubt;
use crate::durability::{Durability, Unflushed};
use crate::heal::Places;
use crate::identity::FormatIdentity;
use crate::lacking::Telling;
use crate::limits::COPY_SECTORS;
use crate::membership::{Epoch, Members, Membership, NodeNumber};
use crate::message::{CopyState, DoubtfulWrite, NumberWindow, Offer, Token};
use crate::meta::Torn;
use crate::meta::layout::Layout;
use crate::meta::small_state::SmallState;
use crate::meta::superblock::Superblock;
use crate::meta::twin::Turns;
use crate::resize::{Capacity, Growth};
use crate::resync::VerifyStatus;

/// Where a volume stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Phase {
    /// Nothing is served and nothing followed.
    Frozen,
    /// Connected: writes go to both, whoever is a member.
    Paired,
    /// The sole member; the peer is not there, or has left.
    Alone,
    /// Leaving on purpose: follows until the peer goes on alone, but takes no requests.
    Left,
    /// Without a disk of its own: nothing is served here. The peer serves alone, answers at this node's address, too, and gets what
    /// comes here all the same.
    Passing,
}

/// The changes of phase that there are; the drawing above is this table.
const CHANGES: [(Phase, Phase); 11] = [
    (Phase::Frozen, Phase::Paired),
    (Phase::Frozen, Phase::Alone),
    (Phase::Frozen, Phase::Passing),
    (Phase::Paired, Phase::Frozen),
    (Phase::Paired, Phase::Alone),
    (Phase::Paired, Phase::Left),
    (Phase::Left, Phase::Frozen),
    (Phase::Alone, Phase::Paired),
    (Phase::Alone, Phase::Frozen),
    (Phase::Passing, Phase::Frozen),
    (Phase::Left, Phase::Alone),
];

/// What the arbiter was asked and has not answered.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Question {
    /// Its number.
    pub(crate) number: u64,
    /// What it must hold.
    pub(crate) expected: Membership,
    /// What it shall hold.
    pub(crate) next: Membership,
    /// From when on it is asked again.
    pub(crate) given_up_at: Instant,
}

/// How far two nodes that are connected have come with meeting. What every write asks for comes first.
#[derive(Clone, Debug, Default)]
#[repr(C)]
pub(crate) struct Meeting {
    /// What the peer calls the volume, once it has said so.
    pub(crate) peer_export: Option<ExportId>,
    /// This node is to be the source, and waits until what differs is durable and nothing it began alone is in flight.
    pub(crate) settling: bool,
    /// The peer has left, or has no disk any more.
    pub(crate) peer_left: bool,
    /// It has left with all that it was told.
    pub(crate) peer_left_whole: bool,
    /// It has left because an operator wanted that, and may come back in this session and take up what this node offers.
    pub(crate) peer_may_return: bool,
    /// As the source: the target is to be told when it lacks nothing any more, though both are members already.
    pub(crate) owes_in_sync: bool,
    /// As the source: the target is to be told, or was told, that it is a member, and may not know it yet.
    pub(crate) awaits_member_known: bool,
    /// The target has said that it is ready.
    pub(crate) target_is_ready: bool,
    /// As the source: the target is to be told when this node does not answer at its address any more.
    pub(crate) owes_address: bool,
    /// As the target: the source answers at this node's address until it says that it does not.
    pub(crate) address_is_taken: bool,
    /// The target must be ready before the source serves.
    pub(crate) serve_when_ready: bool,
    /// A membership that the peer is known to have durably.
    pub(crate) known_to_peer: Option<Membership>,
    /// What this node has offered, once in a session.
    pub(crate) offered: Option<Offer>,
    /// Instead of an offer this node has said that it leaves.
    pub(crate) has_left: bool,
    /// The peer knows: whatever it says from now on it says to a node that has left.
    pub(crate) leave_is_known: bool,
    /// What the peer has offered, and the out-of-sync blocks that came with it.
    pub(crate) offer: Option<(Offer, Option<Bits>)>,
    /// Out-of-sync blocks that came for an offer or `Proceed` that has not come yet.
    pub(crate) told: Option<Bits>,
    /// How far the peer was told of those that are known here.
    pub(crate) telling: Telling,
    /// What the source has of writes in doubt, for a `Proceed` that has not come yet.
    pub(crate) doubtful: Vec<DoubtfulWrite>,
    /// What the source remembers of numbered writes, likewise.
    pub(crate) numbers: Vec<NumberWindow>,
    /// As the source: in so many blocks of the bitmap is what came with the peer's offer.
    pub(crate) joined: u32,
    /// This node is the source of this pairing.
    pub(crate) is_source: bool,
    /// As the target: `Ready` is to be said when the superblock is durable.
    pub(crate) owes_ready: bool,
    /// A membership that the peer is to be told when it is durable here.
    pub(crate) owes_member: Option<Membership>,
    /// A membership that is to be acknowledged when it is durable here.
    pub(crate) owes_member_known: Option<Membership>,
    /// This node has asked for blocks that it cannot read, or that a verify has found to differ.
    pub(crate) has_asked_for_repair: bool,
    /// It was told that the nodes do not meet by what they have offered.
    pub(crate) is_said_not_met: bool,
    /// The size that the peer was asked to agree to.
    pub(crate) resize_asked: Option<u64>,
}

/// The metadata of the volume: what it shall say and what it says. What every write asks for comes first.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct OnDisk {
    /// Whether the log is to be made blank before it is written (1), or is being made so (0).
    pub(crate) log_blanks: Option<u8>,
    pub(crate) log: ActivityLog,
    /// What the peer lacks, or may lack.
    pub(crate) bitmap: Bitmap,
    pub(crate) superblock_durable: Superblock,
    /// What the superblock shall say, and what it durably says.
    pub(crate) superblock: Superblock,
    pub(crate) format: FormatIdentity,
    pub(crate) superblock_writing: Option<Superblock>,
    pub(crate) superblock_turns: Turns,
    pub(crate) small_state: SmallState,
    pub(crate) small_state_durable: u64,
    pub(crate) small_state_writing: Option<u64>,
    pub(crate) small_state_turns: Turns,
    /// Whether the peer is to have it, too, before whoever set it is told.
    pub(crate) small_state_waits_for_peer: bool,
    pub(crate) small_state_is_told: bool,
    pub(crate) blanks_under_way: u64,
    /// Places that are to be scrambled before anything is written, and how many of these are under way.
    pub(crate) torn: Vec<Torn>,
    pub(crate) scrambles_under_way: u32,
    /// No metadata write has failed.
    pub(crate) is_writable: bool,
    /// Blocks of the bitmap being written.
    pub(crate) bitmap_writes: u32,
}

/// One volume. What every write asks for comes first and close together, through [`OnDisk`] to [`Meeting`]: going round a
/// thousand volumes each line of the cache has to be fetched anew, and these were spread over twenty.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Volume {
    /// Local writes that wait for their turn, in the order they came.
    pub(crate) waiting: VecDeque<Token>,
    /// Writes of both nodes that wait for the activity log: for room in it, or until it is durable.
    pub(crate) waiting_for_log: VecDeque<Claim>,
    pub(crate) export: ExportId,
    /// Own requests under way, of all kinds.
    pub(crate) requests: u32,
    /// Requests that the data disk has.
    pub(crate) at_disk: u32,
    /// Local writes in flight (admitted and not over).
    pub(crate) locals: u32,
    /// Extents that local writes in flight hold in the log, counted with multiplicity.
    pub(crate) local_extents: u32,
    pub(crate) phase: Phase,
    /// What was said last by `Output::Serving`.
    pub(crate) serving: bool,
    /// An operator has asked this node to leave.
    pub(crate) leaving: bool,
    /// What the data disk is worth.
    pub(crate) has_disk: bool,
    /// It has failed, and may be another one when this node begins anew.
    pub(crate) awaits_other_disk: bool,
    pub(crate) durability: Durability,
    pub(crate) counters: Counters,
    /// Blocks that this node lacks: only the peer's copy of them is good.
    pub(crate) lacks: Bits,
    pub(crate) disk: OnDisk,
    pub(crate) meeting: Meeting,
    /// Likewise.
    pub(crate) stands_in: bool,
    /// Likewise.
    pub(crate) hands_over: bool,
    /// Whether the peer could not have gone on by itself when this node froze.
    pub(crate) was_only_good: bool,
    /// Whether this node had all that the peer could have answered, and that had said it would answer no more, when this one froze.
    pub(crate) has_all_answered: bool,
    /// The volume is on its way out of this node: it only ends what it began.
    pub(crate) removing: bool,
    /// When it was added: what was remembered of it before is gone.
    pub(crate) began: Instant,
    /// Requests are refused until then: what this node never heard of is too old by then.
    pub(crate) quiet_until: Instant,
    /// While paired with a peer that was away: it refuses requests until then.
    pub(crate) peer_quiet_until: Instant,
    /// The process has started and met nobody yet: it does not know what it finished a short while ago.
    pub(crate) forgetful: bool,
    /// The process began without a clean end before, and has met nobody yet: its disk may have lost part of what was on its way there.
    pub(crate) began_unclean: bool,
    /// So what was answered from memory may be lost here.
    pub(crate) lost_memory: bool,
    /// Its sole membership was confirmed by the arbiter, or granted, since the process started.
    pub(crate) confirmed: bool,
    /// From when on the peer has surely stopped serving.
    pub(crate) peer_stops_at: Instant,
    pub(crate) question: Option<Question>,
    /// When to ask again after no answer.
    pub(crate) ask_at: Instant,
    /// When to look for a stray grant again.
    pub(crate) look_at: Instant,
    /// A question to make this node the sole member was given up, and may be carried out until then at the latest.
    pub(crate) stray_until: Option<Instant>,
    /// The arbiter holds something that shuts this node out.
    pub(crate) shut_out: bool,
    /// The latest epoch that the arbiter was heard to hold instead of what was expected.
    pub(crate) held: Epoch,
    pub(crate) forced: bool,
    /// What an operator has forced, until that is told.
    pub(crate) forced_to: Option<Membership>,
    /// How large it could be made here.
    pub(crate) capacity: Capacity,
    /// Set while it is on its way to another size.
    pub(crate) growth: Option<Growth>,
    /// The size that was last told upwards.
    pub(crate) sectors_told: u64,
    /// Writes served alone that wait for the bitmap to be durable.
    pub(crate) promised: Vec<Token>,
    /// Writes that were in flight when a session ended, until both nodes know what has become of them.
    pub(crate) doubtful: Vec<Doubt>,
    pub(crate) unflushed: Unflushed,
    /// When what is answered and not on stable storage is flushed, and whether it is being flushed.
    pub(crate) flush_at: Option<Instant>,
    pub(crate) is_flushing: bool,
    /// Bytes answered that the peer has not acknowledged, and writes that wait until that is less (`Async`).
    pub(crate) lag_bytes: u64,
    /// How many writes that is. A volume takes no more places than it leaves free, so that there is always one for another.
    pub(crate) writes_ahead: usize,
    pub(crate) unanswered: VecDeque<Token>,
    pub(crate) resync: crate::resync::Resync,
    /// Where a read that failed on both disks was looked at block by block.
    pub(crate) healing: Places,
}

/// What has happened, counted since the process started.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counters {
    /// Writes of this node's own requests that were finished.
    pub writes: u64,
    /// Reads of this node's own requests that were finished.
    pub reads: u64,
    /// The peer's writes that were followed.
    pub followed: u64,
    /// Writes that waited for their turn (R1).
    pub waited: u64,
    /// Remote writes that were, in whole or in part, superseded by a local one (R2).
    pub superseded: u64,
    /// Remote writes that were held until a local write was on disk (R2, R3).
    pub held: u64,
    /// Reads that waited for writes in flight (R5).
    pub reads_waited: u64,
    /// Reads that went to the peer.
    pub fetched: u64,
    /// Requests dropped because this node may not serve.
    pub dropped: u64,
    /// Blocks copied to the peer.
    pub copied: u64,
    /// Copies that were not applied because newer writes were in flight.
    pub copies_yielded: u64,
    /// Times that the volume froze.
    pub freezes: u64,
}

/// A volume as it is now, for operators and tests.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct VolumeStatus {
    /// Where it stands.
    pub phase: Phase,
    /// Who serves, as far as this node knows, whether or not that is durable here.
    pub membership: Membership,
    /// Whether requests are taken.
    pub serving: bool,
    /// Whether the arbiter has said that the other node goes on.
    pub shut_out: bool,
    /// What this node's copy is worth.
    pub copy: CopyState,
    /// Its size.
    pub sectors: u64,
    /// Blocks that the peer lacks or may lack.
    pub out_of_sync: u64,
    /// Blocks that this node lacks.
    pub lacking: u64,
    /// What the peer's copy was worth when it last offered to meet; `None` if it has not since the nodes are connected.
    pub peer_copy: Option<CopyState>,
    /// A verify of this node's or of the peer's, if one is under way.
    pub verify: Option<VerifyStatus>,
    /// Whether writes are answered from the memory of both nodes: only in memory mode, and only while either node could go on
    /// with what both have there.
    pub answers_from_memory: bool,
    /// Counters.
    pub counters: Counters,
}

impl Meeting {
    /// Whether the peer takes copies: as the target of this pairing when it is ready, otherwise at any time.
    pub(crate) const fn may_copy(&self) -> bool {
        !self.peer_left && (self.target_is_ready || !self.is_source)
    }

    /// Nothing was said yet, but what the peer calls the volume. An offer of the peer's may be on its way, with blocks of which
    /// some have come already: these stay. One that is told though it need not be costs a copy, one that is forgotten data.
    pub(crate) fn begin_anew(&mut self) {
        *self = Self { peer_export: self.peer_export, told: self.told.take(), ..Self::default() };
    }
}

impl OnDisk {
    /// Whether extents in the log are in doubt after a crash: not while the superblock says that nothing is, nor before a
    /// log that could not be replayed has been made blank.
    pub(crate) const fn log_counts(&self) -> bool {
        !self.superblock_durable.clean && self.log_blanks.is_none()
    }
}

impl Volume {
    /// What this node's copy is worth.
    pub(crate) fn copy_state(&self) -> CopyState {
        if !self.has_disk {
            CopyState::Diskless
        } else if self.disk.superblock.inconsistent || self.disk.superblock_durable.inconsistent {
            CopyState::Inconsistent
        } else {
            CopyState::Good
        }
    }

    pub(crate) const fn membership(&self) -> Membership {
        self.disk.superblock.membership
    }

    pub(crate) const fn layout(&self) -> Layout {
        self.disk.superblock.layout
    }

    /// Whether a request could be for these sectors: some of the volume's, and not too many.
    pub(crate) const fn is_request(&self, range: LbaRange) -> bool {
        !range.is_empty()
            && range.count().0 <= COPY_SECTORS
            && range.end().0 <= self.layout().volume_sectors()
    }

    /// Changes the phase, as the drawing allows.
    pub(crate) fn change_phase(&mut self, to: Phase) {
        assert!(CHANGES.contains(&(self.phase, to)), "{:?} does not become {to:?}", self.phase);
        self.phase = to;
    }

    /// Whether the superblock says what it shall say.
    pub(crate) fn is_superblock_durable(&self) -> bool {
        self.disk.superblock == self.disk.superblock_durable
    }

    /// Whether a change of the bitmap is not durable yet.
    pub(crate) fn is_bitmap_durable(&self) -> bool {
        self.disk.bitmap_writes == 0 && !self.disk.bitmap.has_urgent()
    }

    /// Whether this node is the sole member.
    pub(crate) fn is_sole(&self, node: NodeNumber) -> bool {
        self.membership().members == Members::Only(node)
    }

    /// Whether what it has offered still holds; an answer of the arbiter's may have come since.
    pub(crate) fn is_as_offered(&self) -> bool {
        self.meeting.offered.is_none_or(|offer| offer.membership == self.membership())
    }

    /// Whether the peer is here and could not go on by itself, because it is being brought up to date, or does not know yet that it was.
    pub(crate) fn is_only_good(&self, node: NodeNumber) -> bool {
        let is_being_told = self.meeting.owes_in_sync || self.meeting.awaits_member_known;
        self.phase == Phase::Paired && (self.is_sole(node) || is_being_told)
    }

    /// Whether both nodes are here, members, and have nothing to copy, as far as this node knows.
    pub(crate) fn is_whole(&self) -> bool {
        self.phase == Phase::Paired
            && self.membership().members == Members::Both
            && self.disk.bitmap.out_of_sync() == 0
            && self.lacks.out_of_sync() == 0
            && self.copy_state() == CopyState::Good
            && !self.meeting.owes_in_sync
    }

    /// Whether the peer's copy of these sectors is to be read rather than this node's.
    pub(crate) fn lacks(&self, range: LbaRange) -> bool {
        !self.has_disk || self.lacks.out_of_sync() > 0 && self.lacks.touches(range)
    }

    /// Whether new writes of this node's are to wait: a returning peer is to hear of all of them.
    pub(crate) const fn is_settling(&self) -> bool {
        self.meeting.settling
    }

    /// These sectors are on this node's disk as they should be.
    pub(crate) fn here_now(&mut self, range: LbaRange) {
        if self.lacks.out_of_sync() > 0 {
            self.lacks.clear(range);
        }
    }

    /// These sectors are on both disks, and equal.
    pub(crate) fn both_have(&mut self, range: LbaRange) {
        if self.disk.bitmap.out_of_sync() > 0 {
            self.disk.bitmap.clear(range);
        }
    }

    pub(crate) fn status(&self, now: Instant) -> VolumeStatus {
        VolumeStatus {
            phase: self.phase,
            membership: self.membership(),
            serving: self.serving,
            shut_out: self.shut_out,
            copy: self.copy_state(),
            sectors: self.layout().volume_sectors(),
            out_of_sync: self.disk.bitmap.out_of_sync(),
            lacking: self.lacks.out_of_sync(),
            peer_copy: self.meeting.offer.as_ref().map(|(peer, _)| peer.copy),
            verify: self.verify_status(now),
            answers_from_memory: self.durability == Durability::Memory && self.may_cache(),
            counters: self.counters,
        }
    }
}
