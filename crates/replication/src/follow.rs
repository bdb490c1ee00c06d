//! The life of a write of the peer's, which this node follows.
//!
//! ```text
//!   Replicate ─▶ Held ─ what it comes after is on disk, its extents are in the log ─▶ Applying ─▶ OnDisk
//!                                                                                                 │
//!                over ◀─ Commit ── Acked ◀─ its superseders are on disk (R4) ─────────────────────┘
//! ```
//!
//! What it meets is counted once, when it comes ([`Engine::meet`]). A write that is superseded as a whole is never applied.

use block::{BlockError, BufferSlice, EntryId, ExportId, Instant, LbaRange, Operation};

use crate::activity_log::Begun;
use crate::conflict::Claim;
use crate::durability::Durability;
use crate::engine::{DiskWork, Engine, Written};
use crate::membership::NodeNumber;
use crate::message::{BlockRun, Effect, Origin, Refusal, Token, VolumeMessage};
use crate::meta::record::Sequence;
use crate::mutation::Mutation;
use crate::output::{FollowedEnd, Output};
use crate::volume::{OnDisk, Phase, Volume};

/// How far a remote write has come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum RemoteStage {
    Held,
    Applying,
    OnDisk,
    Acked,
}

/// Whether the extents of a remote write are in the log.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Logged {
    /// There was no room yet.
    No,
    /// When this transaction is durable.
    Pending(Sequence),
    Yes,
    /// Nothing is applied, nothing need be logged.
    NotNeeded,
}

/// A write of the peer's.
#[derive(Debug)]
pub(crate) struct RemoteWrite {
    pub(crate) export: ExportId,
    /// The coordinator's name for it.
    write: Token,
    pub(crate) range: LbaRange,
    data: Option<BufferSlice>,
    pub(crate) durable: bool,
    pub(crate) origin: Option<Origin>,
    came: Instant,
    claim: Option<EntryId>,
    stage: RemoteStage,
    logged: Logged,
    /// When it came, in the order of what happens.
    pub(crate) order: u64,
    pub(crate) held_by: u32,
    pub(crate) superseded_by: u32,
    /// It was held or superseded by something when it came.
    is_behind: bool,
    /// Something else that was under way supersedes it, in whole or in part.
    superseded: bool,
    /// What of it is applied, if not all.
    pieces: Option<Vec<LbaRange>>,
    pieces_at_disk: u32,
    /// The node froze meanwhile.
    dropped: bool,
    /// A piece of it failed at the disk since.
    failed: bool,
    /// Its coordinator's disk could not write these sectors: what is on this one counts for nothing.
    revoked: bool,
    /// A later write of this node's to these sectors has failed at its disk: the coordinator's commit does not say that both have the same.
    in_vain: bool,
}

impl RemoteWrite {
    pub(crate) fn is_acked(&self) -> bool {
        self.stage == RemoteStage::Acked
    }

    pub(crate) const fn is_dropped(&self) -> bool {
        self.dropped
    }

    pub(crate) const fn on_disk(&self) -> bool {
        matches!(self.stage, RemoteStage::OnDisk | RemoteStage::Acked)
    }
}

impl Engine {
    pub(crate) fn handle_replicate(
        &mut self,
        export: ExportId,
        write: Token,
        range: LbaRange,
        durable: bool,
        origin: Option<Origin>,
        data: BufferSlice,
    ) {
        if !matches!(self.volume(export).phase, Phase::Paired | Phase::Left) {
            // Sent before the peer heard that this volume is not followed any more.
            return self.push(Output::Release(data.buffer));
        }
        if self.volume(export).has_too_many_followed() {
            self.push(Output::Release(data.buffer));
            return self.refuse(Refusal::Protocol("more writes in memory than an activity log has room for"));
        }
        if self.has_failed_under(export, range) && !self.mutated(Mutation::FailedSupersedes) {
            self.push(Output::Release(data.buffer));
            return self.refuse(Refusal::WriteFailed);
        }
        self.yield_to_copy(export, range, durable, origin);
        let volume = self.volume(export);
        let durable =
            durable || volume.durability == Durability::Memory && !self.may_follow_from_memory(volume);
        let mut met = self.meet(export, range);
        self.overtake(&met.overtaken);
        let (held_by, superseded_by) = (met.held_by, met.superseded_by);
        let is_superseded = !met.superseded.is_empty();
        let pieces = is_superseded.then(|| self.pieces_of(range, &mut met.superseded));
        self.met(met);
        let counters = &mut self.volume_mut(export).counters;
        counters.followed += 1;
        counters.held += u64::from(held_by > 0);
        counters.superseded += u64::from(pieces.is_some());
        let logged = if pieces.as_ref().is_some_and(Vec::is_empty) { Logged::NotNeeded } else { Logged::No };
        let order = self.next_order();
        let (data, claim, stage) = (Some(data), None, RemoteStage::Held);
        let is_behind = held_by > 0 || superseded_by > 0;
        #[rustfmt::skip]
        let remote = RemoteWrite {
            export, write, range, data, durable, origin, came: self.now, claim, stage, logged, order, held_by, superseded_by,
            superseded: pieces.is_some(), pieces, is_behind, pieces_at_disk: 0, dropped: false, failed: false,
            revoked: false, in_vain: false,
        };
        let Some(token) = self.remotes.insert(remote) else {
            self.push(Output::Release(data.expect("just put there").buffer));
            return self.refuse(Refusal::Protocol("more writes than a node may have in flight"));
        };
        let claim = self.claims.insert(export, range, Claim::Remote(token)).expect("a claim for each write");
        self.remote_mut(token).claim = Some(claim);
        self.remotes_behind += usize::from(is_behind);
        if let Some(origin) = origin {
            self.push(Output::Followed { volume: export, write: token, range, origin });
        }
        if !self.log_remote(token) {
            self.volume_mut(export).waiting_for_log.push_back(Claim::Remote(token));
            self.attend(export);
        }
        self.advance_remote(token);
    }

    /// Whether a write that the peer would answer from both memories may stay in this node's. The peer may not know yet what this node
    /// has heard of the arbiter since, and that only this copy counts if both lose each other now.
    fn may_follow_from_memory(&self, volume: &Volume) -> bool {
        self.mutated(Mutation::CachedBesideStray)
            || volume.relies_on_memory() && (volume.may_cache() || self.mutated(Mutation::CachedUntold))
    }

    /// Puts the extents of a remote write into the log; says whether they are durable there.
    fn log_remote(&mut self, token: Token) -> bool {
        let remote = self.remote(token);
        let (export, range, logged) = (remote.export, remote.range, remote.logged);
        let disk = &mut self.volume_mut(export).disk;
        let Some(logged) = remote_logged(disk, logged, range) else { return false };
        self.remote_mut(token).logged = logged;
        matches!(logged, Logged::Yes | Logged::NotNeeded)
    }

    pub(crate) fn start_logged_remote(&mut self, token: Token) -> bool {
        if self.remotes.find(token).is_none() {
            return true;
        }
        let is_logged = self.log_remote(token);
        if is_logged {
            self.advance_remote(token);
        }
        is_logged
    }

    /// Whatever a remote write may do next.
    pub(crate) fn advance_remote(&mut self, token: Token) {
        let remote = self.remote(token);
        match remote.stage {
            RemoteStage::Held if remote.held_by == 0 || self.mutated(self.impatience()) => {
                match remote.logged {
                    Logged::Yes => self.apply(token),
                    Logged::NotNeeded => self.remote_is_on_disk(token),
                    Logged::Pending(_) if self.mutated(Mutation::RemoteLogNotAwaited) => self.apply(token),
                    Logged::No | Logged::Pending(_) => {}
                }
            }
            RemoteStage::OnDisk
                if remote.superseded_by == 0 || self.mutated(Mutation::SupersededAckedEarly) =>
            {
                self.acknowledge(token)
            }
            RemoteStage::Held | RemoteStage::Applying | RemoteStage::OnDisk | RemoteStage::Acked => {}
        }
    }

    /// Not to wait for the writes that a remote one comes after.
    fn impatience(&self) -> Mutation {
        match self.config.node {
            NodeNumber::Zero => Mutation::NodeZeroDoesNotWait,
            NodeNumber::One => Mutation::NodeOneDoesNotWait,
        }
    }

    fn apply(&mut self, token: Token) {
        let remote = self.remote_mut(token);
        remote.stage = RemoteStage::Applying;
        let (export, range, durable) = (remote.export, remote.range, remote.durable);
        let data = remote.data.expect("kept until it is on disk");
        let taken = remote.pieces.take();
        let pieces = taken.as_deref().unwrap_or(std::slice::from_ref(&range));
        remote.pieces_at_disk = u32::try_from(pieces.len()).expect("a few");
        for piece in pieces {
            let offset = usize::try_from(piece.start().0 - range.start().0).expect("within the write")
                * block::SECTOR_BYTES;
            let data = BufferSlice {
                offset: data.offset + u32::try_from(offset).expect("within the buffer"),
                length: u32::try_from(piece.bytes()).expect("within the buffer"),
                ..data
            };
            self.ask_disk(export, DiskWork::Remote(token), Operation::Write { range: *piece, data, durable });
        }
        if self.mutated(Mutation::AckBeforeDisk) {
            self.say_acknowledged(token);
        }
    }

    pub(crate) fn remote_at_disk(&mut self, token: Token, result: Written) {
        let remote = self.remote_mut(token);
        remote.pieces_at_disk -= 1;
        remote.failed |= result.is_err();
        let (export, is_last, dropped) = (remote.export, remote.pieces_at_disk == 0, remote.dropped);
        let (range, order, durable) = (remote.range, remote.order, remote.durable);
        match result {
            Err(error) if !dropped => self.remote_failed(export, range, error),
            Err(error) if durable => self.dropped_write_failed(export, error),
            _ => {}
        }
        if !is_last {
            return;
        }
        if self.remote(token).dropped {
            // A peer that has left may be back already, and its writes wait for those of before.
            self.release_remotes(export, range, order);
            self.end_dropped_remote(token)
        } else {
            self.remote_is_on_disk(token)
        }
    }

    /// A write of the peer's failed at this disk. Freezes the volume, and with it drops the write. The only good disk is not given up for
    /// it, as it is not for one of this node's own: the nodes part, and whoever wants the write asks again.
    fn remote_failed(&mut self, export: ExportId, range: LbaRange, error: BlockError) {
        let is_only_good = self.is_only_good(export, Some(range));
        if !is_only_good || self.mutated(Mutation::OnlyDiskGivenUp) {
            return self.disk_failed(export, error);
        }
        self.peer_lacks(export, range);
        self.refuse(Refusal::WriteFailed);
    }

    fn remote_is_on_disk(&mut self, token: Token) {
        let remote = self.remote_mut(token);
        remote.stage = RemoteStage::OnDisk;
        let (export, range, order) = (remote.export, remote.range, remote.order);
        let data = remote.data.take().expect("kept until now");
        self.push(Output::Release(data.buffer));
        self.release_remotes(export, range, order);
        self.advance_remote(token);
    }

    fn acknowledge(&mut self, token: Token) {
        let remote = self.remote_mut(token);
        remote.stage = RemoteStage::Acked;
        let export = remote.export;
        self.say_acknowledged(token);
        let volume = self.volume(export);
        if !volume.waiting.is_empty() || !volume.waiting_for_log.is_empty() || volume.meeting.peer_left {
            self.attend(export);
        }
    }

    /// Whether writes that the peer, which has left, may have answered ahead are still on their way to this disk.
    pub(crate) fn awaits_what_was_answered_ahead(&self, export: ExportId) -> bool {
        let is_follower = self.volume(export).server() == Some(self.config.node.other());
        let is_under_way =
            || self.remotes.iter().any(|(_, remote)| remote.export == export && !remote.is_acked());
        is_follower && is_under_way() && !self.mutated(Mutation::LeftWithoutAhead)
    }

    /// Nobody will say what has become of the peer's writes that it has not committed. What is at this disk is to be on stable storage
    /// before this node goes on alone, and counts as executed only then: as long as both are members the other copy may count, and
    /// nobody is answered, and nobody reads, what that one may not have.
    pub(crate) fn keep_uncommitted(&mut self, export: ExportId) {
        let mut tokens = self.token_list();
        self.remotes.list(&mut tokens, |remote| {
            let is_there = matches!(remote.stage, RemoteStage::OnDisk | RemoteStage::Acked);
            remote.export == export && is_there && !remote.durable
        });
        for token in tokens.iter().copied() {
            let remote = self.remote_mut(token);
            remote.durable = true;
            let logged = std::mem::replace(&mut remote.logged, Logged::NotNeeded);
            let range = remote.range;
            if matches!(logged, Logged::Pending(_) | Logged::Yes) {
                self.volume_mut(export).keep_followed(range);
            }
        }
        self.give_back(tokens);
    }

    /// Whether some of them are still to come to this disk's cache.
    pub(crate) fn has_uncommitted_in_cache(&self, export: ExportId) -> bool {
        let is_there = |remote: &RemoteWrite| !remote.durable && remote.stage != RemoteStage::Held;
        self.remotes.iter().any(|(_, remote)| remote.export == export && is_there(remote))
    }

    fn say_acknowledged(&mut self, token: Token) {
        let RemoteWrite { export, write, came, .. } = *self.remote(token);
        let microseconds = u32::try_from(self.now.since(came).as_micros()).unwrap_or(u32::MAX);
        self.say(export, VolumeMessage::Ack { write, follower: token, microseconds }, None);
    }

    /// The coordinator says that this node lacks these blocks. Whatever is under way to them has failed at its disk, which holds
    /// the only copy that counts; the commit that comes next only ends it.
    pub(crate) fn revoke_remotes(&mut self, export: ExportId, run: BlockRun) {
        let mut tokens = self.token_list();
        self.remotes.list(&mut tokens, |remote| remote.export == export && run.touches(remote.range));
        for token in tokens.iter().copied() {
            self.remote_mut(token).revoked = true;
        }
        self.give_back(tokens);
    }

    /// A write of this node's own has failed at its disk, the only one that counts. It came after those of the peer's that were
    /// acknowledged: when their commits come, what is there is not theirs any more.
    pub(crate) fn commits_in_vain(&mut self, export: ExportId, range: LbaRange) {
        let remotes = self.remotes.values_mut();
        for remote in remotes.filter(|remote| remote.export == export && remote.range.overlaps(range)) {
            remote.in_vain |= remote.is_acked();
        }
    }

    /// A write of this node's own has failed at its disk, the only one that counts. Remote ones that it superseded were not applied
    /// there, and it did not happen: nobody knows what is there of them. Says whether there are any.
    pub(crate) fn fail_superseded(&mut self, export: ExportId, range: LbaRange) -> bool {
        if self.mutated(Mutation::FailedSupersedes) {
            return false;
        }
        let mut tokens = self.token_list();
        self.remotes.list(&mut tokens, |remote| {
            remote.export == export && remote.superseded && remote.range.overlaps(range)
        });
        for token in tokens.iter().copied() {
            self.remote_mut(token).failed = true;
        }
        let found = !tokens.is_empty();
        self.give_back(tokens);
        found
    }

    /// Both have it, unless it was revoked: then it counts as never done, and is done anew if its initiator sends it once more.
    pub(crate) fn handle_commit(&mut self, token: Token) {
        let Some(remote) = self.remotes.find(token).filter(|remote| remote.is_acked()) else { return };
        let (export, range, revoked) = (remote.export, remote.range, remote.revoked);
        let counts = !revoked || self.mutated(Mutation::RevokedCounts);
        if counts && !remote.in_vain {
            let volume = self.volume_mut(export);
            volume.here_now(range);
            volume.both_have(range);
        }
        let is_forgotten = revoked && !self.mutated(Mutation::RevokedRemembered);
        self.forget_remote(token, if is_forgotten { FollowedEnd::Dropped } else { FollowedEnd::Finished });
    }

    fn forget_remote(&mut self, token: Token, end: FollowedEnd) {
        let remote = self.remotes.remove(token).expect("a write that is not over");
        self.claims.remove(remote.claim.expect("claimed when it came"));
        self.remotes_behind -= usize::from(remote.is_behind);
        self.return_pieces(remote.pieces);
        self.outdate_copies(remote.export, remote.range);
        if let Some(data) = remote.data {
            self.push(Output::Release(data.buffer));
        }
        if matches!(remote.logged, Logged::Pending(_) | Logged::Yes) {
            let volume = self.volume_mut(remote.export);
            if remote.durable || end == FollowedEnd::Dropped {
                volume.disk.log.finish(remote.range);
            } else {
                volume.keep_followed(remote.range);
                self.attend(remote.export);
            }
        }
        if remote.origin.is_some() {
            self.push(Output::FollowedEnded { write: token, end });
        }
        self.release_reads(remote.export, remote.range, remote.order);
        let volume = self.volume(remote.export);
        if !volume.waiting.is_empty() || !volume.waiting_for_log.is_empty() {
            self.attend(remote.export);
        }
    }

    /// The node freezes: nobody knows whether the coordinator has what is not committed, so it counts as out of sync. What is
    /// on its way to this disk counts as done for whoever goes on with it.
    pub(crate) fn drop_remotes(&mut self, export: ExportId) {
        let mut tokens = self.token_list();
        self.remotes.list(&mut tokens, |remote| remote.export == export && !remote.dropped);
        for token in tokens.iter().copied() {
            let remote = self.remote_mut(token);
            remote.dropped = true;
            let (range, stage) = (remote.range, remote.stage);
            if !self.mutated(Mutation::RemoteDoubtsDropped) {
                self.doubt(export, range);
            }
            if stage != RemoteStage::Applying {
                self.end_dropped_remote(token);
            }
        }
        self.give_back(tokens);
    }

    /// A write that is followed no more will not touch the disk any more.
    fn end_dropped_remote(&mut self, token: Token) {
        let RemoteWrite { export, range, origin, stage, superseded, failed, revoked, .. } =
            *self.remote(token);
        let is_revoked = revoked && !self.mutated(Mutation::RevokedRemembered);
        let (effect, end) = match stage {
            RemoteStage::Held => (Effect::Nothing, FollowedEnd::Dropped),
            _ if failed || is_revoked => (Effect::Unknown, FollowedEnd::Doubtful),
            _ if superseded => (Effect::Overtaken, FollowedEnd::Started),
            _ => (Effect::Whole, FollowedEnd::Started),
        };
        self.note_effect(export, range, origin, effect, false);
        self.forget_remote(token, end);
    }

    fn remote(&self, token: Token) -> &RemoteWrite {
        self.remotes.find(token).expect("a write under way")
    }

    fn remote_mut(&mut self, token: Token) -> &mut RemoteWrite {
        self.remotes.find_mut(token).expect("a write under way")
    }
}

/// What the log says to a remote write; nothing if that is still to wait.
fn remote_logged(disk: &mut OnDisk, logged: Logged, range: LbaRange) -> Option<Logged> {
    match logged {
        Logged::Yes | Logged::NotNeeded => Some(logged),
        Logged::Pending(sequence) => Some(if disk.log.is_durable(sequence) { Logged::Yes } else { logged }),
        Logged::No if disk.log_counts() => match disk.log.begin(range) {
            Begun::Ready => Some(Logged::Yes),
            Begun::After(sequence) => Some(Logged::Pending(sequence)),
            Begun::Full => None,
        },
        Logged::No => None,
    }
}
