//! How much an answer to a write promises: the three modes of a volume, and what follows from them.
//!
//! | mode | a write is answered when | what is lost when |
//! |---|---|---|
//! | `Stable` | both nodes have it on stable storage | nothing, whatever one failure or loss of power |
//! | `Memory` | both nodes' disks have taken it, perhaps into a cache (on stable storage if the request says so) | what no flush had ended for, if *both* nodes lose power before one goes on alone: flushes begin a second after the first write they are for, and take as long as the slower disk; never what a FLUSH was answered for |
//! | `Async` | the serving node has it on stable storage, and the other lacks at most the lag | the lag, if an operator forces the other node to go on without the serving one, or if the serving one loses power in the moment in which a register of the arbiter that names the wrong node is put right (decision 0012, "What does not hold") |
//!
//! In `Memory` mode a node that comes back after losing power waits for its peer, or for an operator: it may lack what was
//! answered. So memory is relied on only while the other node could go on alone with what it has: both are members, both know
//! it durably, neither lacks anything, and nothing that this node asked of the arbiter can still be carried out. At all other times writes go through to stable storage, and a node goes on alone,
//! or meets its peer anew, only when nothing is left in its disk's cache. Whether a process that has ended took the cache with
//! it nobody can tell: that counts as a loss of power, too.
//!
//! A write that is not on stable storage keeps its extents in the activity log on both nodes until a flush: if a node loses
//! power, what it may have lost is found there and copied again. In `Async` mode one node serves and the other only
//! follows; it never goes on by itself, since it may lack what was answered, unless the other one has left, or given its disk up,
//! and has said so behind everything that it had answered; and among equals the serving node's copy counts.
//! It answers ahead only as long as that is so: not while it returns to a peer that served alone.

use std::fmt;

use block::{Duration, ExportId, LbaRange};

use crate::engine::{Engine, index};
use crate::limits::UNFLUSHED_MAX;
use crate::membership::{Members, NodeNumber};
use crate::message::{CopyState, Token};
use crate::mutation::Mutation;
use crate::output::Outcome;
use crate::read::Asker;
use crate::volume::{Phase, Volume};
use crate::write::extents_of;

/// What an answer to a write means.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Durability {
    /// On stable storage of every member.
    #[default]
    Stable,
    /// In the memory of every member's disk at least; flushed when asked for, and every second.
    Memory,
    /// On stable storage of the node that serves; the other has it soon.
    Async {
        /// Which node serves.
        server: NodeNumber,
        /// Answered bytes that the other may lack at most.
        lag_bytes_max: u64,
    },
}

/// The same as nodes tell it each other: it must be alike, or one would not keep what the other has promised.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Mode {
    /// [`Durability::Stable`].
    Stable,
    /// [`Durability::Memory`].
    Memory,
    /// [`Durability::Async`] and which node serves; the lag is that node's own concern.
    Async(NodeNumber),
}

impl fmt::Display for Mode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stable => formatter.write_str("stable"),
            Self::Memory => formatter.write_str("memory"),
            Self::Async(server) => write!(formatter, "async, served by {server}"),
        }
    }
}

impl Durability {
    /// What of it must be alike on both nodes.
    #[must_use]
    pub const fn mode(self) -> Mode {
        match self {
            Self::Stable => Mode::Stable,
            Self::Memory => Mode::Memory,
            Self::Async { server, .. } => Mode::Async(server),
        }
    }
}

/// What is answered but not on stable storage is flushed after this time, whether or not an initiator asks for it.
const FLUSH_INTERVAL: Duration = Duration::from_millis(1000);

/// Extents that stay in the activity log until a flush.
#[derive(Debug, Default)]
pub(crate) struct Unflushed {
    own: Vec<LbaRange>,
    followed: Vec<LbaRange>,
    /// How many of each were ever released: marks are counted from the beginning.
    own_released: u64,
    followed_released: u64,
}

/// How far a flush reaches.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct FlushMark {
    own: u64,
    followed: u64,
}

impl Unflushed {
    /// A flush that begins now reaches so far.
    pub(crate) fn mark(&self) -> FlushMark {
        FlushMark {
            own: self.own_released + self.own.len() as u64,
            followed: self.followed_released + self.followed.len() as u64,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.own.is_empty() && self.followed.is_empty()
    }
}

impl Volume {
    /// A write of this node's is answered, but not on stable storage: its extents stay in the log.
    pub(crate) fn keep_own(&mut self, range: LbaRange) {
        self.unflushed.own.push(range);
    }

    /// The same for a write of the peer's.
    pub(crate) fn keep_followed(&mut self, range: LbaRange) {
        self.unflushed.followed.push(range);
    }

    /// Whether the peer has more writes in this node's memory than an activity log of its own has room for.
    pub(crate) fn has_too_many_followed(&self) -> bool {
        self.unflushed.followed.len() >= UNFLUSHED_MAX
    }

    /// This disk has been flushed: the peer's writes are on stable storage here.
    pub(crate) fn release_followed(&mut self, mark: FlushMark) {
        let count = mark.followed.saturating_sub(self.unflushed.followed_released);
        let count = usize::try_from(count).expect("as many as fit memory").min(self.unflushed.followed.len());
        self.unflushed.followed_released += count as u64;
        for range in self.unflushed.followed.drain(..count) {
            self.disk.log.finish(range);
        }
    }

    /// Both disks have been flushed: this node's writes are on stable storage on both.
    pub(crate) fn release_own(&mut self, mark: FlushMark) {
        let count = mark.own.saturating_sub(self.unflushed.own_released);
        let count = usize::try_from(count).expect("as many as fit memory").min(self.unflushed.own.len());
        self.unflushed.own_released += count as u64;
        for range in self.unflushed.own.drain(..count) {
            self.disk.log.finish(range);
            self.local_extents -= extents_of(range);
        }
    }

    /// Whether this node takes requests in the volume's mode while both nodes are there.
    pub(crate) fn may_serve_paired(&self, node: NodeNumber) -> bool {
        self.server().is_none_or(|server| server == node)
    }

    /// Whether a write may be answered from the memory of both nodes. Not as long as this copy is the only good one: its disk is kept
    /// then though a flush fails. Nor before the peer was told that this one's counts as well.
    pub(crate) fn may_cache(&self) -> bool {
        let is_settled = !self.meeting.awaits_member_known && self.meeting.owes_member_known.is_none();
        self.could_go_on_from_memory() && self.relies_on_memory() && is_settled
    }

    /// Whether either node could go on alone with what both have in memory.
    pub(crate) fn could_go_on_from_memory(&self) -> bool {
        self.is_whole()
            && self.is_superblock_durable()
            && self.meeting.known_to_peer == Some(self.membership())
            && !self.leaving
            && !self.meeting.peer_left
    }

    /// Not while a question of this node's, which it gave up, may still be carried out: that shuts the peer out, and if this node lost
    /// its memory then, the only copy that counts would lack what was in it.
    pub(crate) const fn relies_on_memory(&self) -> bool {
        self.stray_until.is_none()
    }

    /// Which node alone answers, and ahead of the other.
    pub(crate) fn server(&self) -> Option<NodeNumber> {
        match self.durability {
            Durability::Async { server, .. } => Some(server),
            Durability::Stable | Durability::Memory => None,
        }
    }

    /// Whether, if the nodes were lost to each other now, this one's copy would count when they meet (`Async`): it is a
    /// member, knows it durably, and lacks nothing.
    fn counts_among_equals(&self) -> bool {
        self.phase == Phase::Paired
            && self.membership().members == Members::Both
            && self.disk.superblock_durable.membership == self.membership()
            && self.copy_state() == CopyState::Good
    }

    /// Whether a node that serves may do so further: not if it served alone, and the one that answers ahead is a member again.
    pub(crate) fn may_go_on_serving(&self, node: NodeNumber) -> bool {
        self.serving && (self.may_serve_paired(node) || self.is_sole(node))
    }

    /// Whether this node may ask to go on alone when the peer is lost: not if it may lack what was answered.
    pub(crate) fn may_take_over(&self, node: NodeNumber) -> bool {
        let lacks_ahead = !self.may_serve_paired(node) && !self.has_all_answered;
        let lacks_answered = lacks_ahead || self.lost_memory;
        // A sole member lacks nothing: before another node is a member again, this one has noted that.
        let is_sole = self.is_sole(node);
        !lacks_answered || is_sole || self.forced
    }
}

impl Engine {
    /// Whether all that was answered here or can be read here is on stable storage, or soon will be without more being done:
    /// what comes from now on is.
    pub(crate) fn needs_no_memory(&mut self, export: ExportId) -> bool {
        if self.volume(export).durability != Durability::Memory {
            return true;
        }
        if self.mutated(Mutation::UncommittedCounts) {
            self.drop_remotes(export);
        }
        self.keep_uncommitted(export);
        self.volume(export).unflushed.is_empty() && !self.has_uncommitted_in_cache(export)
    }

    /// Flushes in the background what is answered and not on stable storage: in time, or when it fills the log.
    pub(crate) fn flush_in_background(&mut self, export: ExportId) {
        let (now, due) = (self.now, self.now.after(FLUSH_INTERVAL));
        let volume = self.volume_mut(export);
        if volume.unflushed.is_empty() {
            volume.flush_at = None;
            return;
        }
        let is_full = volume.local_extents > volume.layout().hot_extents() / 4;
        let at = *volume.flush_at.get_or_insert(due);
        let is_waited_for = volume.phase == Phase::Frozen || volume.meeting.peer_left;
        if now < at && !is_full && !is_waited_for {
            return self.wake_at(at);
        }
        if volume.is_flushing
            || !matches!(volume.phase, Phase::Paired | Phase::Alone | Phase::Left | Phase::Frozen)
        {
            return;
        }
        volume.is_flushing = true;
        volume.flush_at = None;
        self.begin_flush(export, Asker::Nobody);
    }

    /// In `Async` mode the node that serves answers a write when its disk has it, as long as the peer does not lack too much, and no
    /// more writes than it follows. Whoever stands in for that node does not: what it answers ahead would not count.
    pub(crate) fn answer_ahead(&mut self, token: Token) {
        let write = self.local(token);
        let (export, bytes) = (write.export, write.range.bytes() as u64);
        let may_be_answered = write.on_disk && write.request.is_some() && !write.has_failed();
        let Durability::Async { server, lag_bytes_max } = self.volume(export).durability else { return };
        let serves = server == self.config.node || self.mutated(Mutation::AheadOfTheServer);
        if !may_be_answered || !serves || !self.volume(export).counts_among_equals() {
            return;
        }
        let places = self.config.limits.ahead_max() - self.writes_ahead;
        let volume = self.volume_mut(export);
        if volume.lag_bytes + bytes > lag_bytes_max || volume.writes_ahead >= places {
            return self.keep_unanswered(export, token);
        }
        volume.lag_bytes += bytes;
        volume.writes_ahead += 1;
        self.writes_ahead += 1;
        if let Some(id) = self.answered_ahead(token) {
            self.complete(export, id, Outcome::Done(None));
        }
    }

    /// It may be answered when the peer has caught up. Those that were answered meanwhile, as the peer has them, are forgotten.
    fn keep_unanswered(&mut self, export: ExportId, token: Token) {
        let volume = self.volumes[index(export)].as_mut().expect("just used");
        let is_over = |token| self.locals.find(token).is_none_or(|write| write.acked_at.is_some());
        while volume.unanswered.front().is_some_and(|token| is_over(*token)) {
            volume.unanswered.pop_front();
        }
        volume.unanswered.push_back(token);
    }

    /// The peer has caught up by a write: others that waited for that are answered.
    pub(crate) fn lag_is_less(&mut self, export: ExportId, bytes: u64) {
        self.writes_ahead -= 1;
        let volume = self.volume_mut(export);
        volume.writes_ahead -= 1;
        volume.lag_bytes -= bytes;
        for _ in 0..self.volume(export).unanswered.len() {
            let Some(token) = self.volume_mut(export).unanswered.pop_front() else { return };
            if self.locals.find(token).is_some_and(|write| write.acked_at.is_none()) {
                self.answer_ahead(token);
            }
        }
    }
}
