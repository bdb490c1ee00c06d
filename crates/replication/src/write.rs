//! The life of a write of this node's own, as its coordinator.
//!
//! ```text
//!   asked ─ R1 ─▶ Waiting ─ its turn ─▶ Logging ─ extents durable in the log, R1 ─▶ InFlight ─ acked, on disk, bits durable ─▶ over
//!                    └───────── extents hot already ────────────────────────────────▲
//! ```
//!
//! Until it is in flight no rule knows it but R1: it is on no disk and told to nobody, and a freeze drops it.
//!
//! Sends `Replicate` and writes to the disk at the same moment. It is over, and answered, when the peer has acknowledged it,
//! this disk has it, and, for what is written alone, the bitmap says durably that the peer lacks it.

use block::{BlockError, BufferSlice, EntryId, ExportId, LbaRange, Operation, RequestId};

use crate::activity_log::Begun;
use crate::bitmap::Tickets;
use crate::conflict::Claim;
use crate::durability::Durability;
use crate::engine::{DiskWork, Engine, Written, index};
use crate::message::{Effect, Origin, Token, VolumeMessage};
use crate::meta::layout::EXTENT_SECTORS;
use crate::meta::record::Sequence;
use crate::mutation::Mutation;
use crate::output::{Outcome, Output};
use crate::spent::WriteTimes;
use crate::volume::Phase;

/// Who is told when it is over.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Asker {
    /// A request of this node's.
    Request(RequestId),
    /// The peer, which has no disk; the buffer is ours.
    Peer(Token),
    /// Nobody any more, or nobody ever.
    Nobody,
}

impl Asker {
    pub(crate) const fn is_request(self) -> bool {
        matches!(self, Self::Request(_))
    }
}

/// How far a local write has come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum LocalStage {
    /// Not in flight: something is in its way.
    Waiting,
    /// Not in flight, but it has room in the log: its extents must be durable there first.
    Logging(Sequence),
    /// Sent and at the disk.
    InFlight,
}

/// A write of this node's own.
#[derive(Debug)]
pub(crate) struct LocalWrite {
    pub(crate) export: ExportId,
    pub(crate) asker: Asker,
    pub(crate) range: LbaRange,
    data: BufferSlice,
    durable: bool,
    pub(crate) origin: Option<Origin>,
    /// It was answered before the peer had it; the buffer went with the answer.
    answered_ahead: bool,
    claim: Option<EntryId>,
    pub(crate) stage: LocalStage,
    pub(crate) times: WriteTimes,
    /// When it came and when it was admitted, in the order of what happens.
    pub(crate) arrived: u64,
    admitted: u64,
    /// When the peer's acknowledgement came; at once where there is no peer.
    pub(crate) acked_at: Option<u64>,
    follower: Option<Token>,
    pub(crate) on_disk: bool,
    /// A write of the peer's that came while this one was in flight is ordered after it.
    overtaken: bool,
    tickets: Tickets,
    /// Nobody is to be answered: the node froze meanwhile.
    dropped: bool,
    /// The disk could not write it, and the peer cannot go on without this node.
    failed: Option<BlockError>,
}

impl LocalWrite {
    pub(crate) const fn has_failed(&self) -> bool {
        self.failed.is_some()
    }

    pub(crate) const fn is_answered_ahead(&self) -> bool {
        self.answered_ahead
    }
}

impl Engine {
    pub(crate) fn request_write(
        &mut self,
        id: RequestId,
        export: ExportId,
        range: LbaRange,
        data: BufferSlice,
        durable: bool,
        origin: Option<Origin>,
    ) {
        let volume = self.volume_mut(export);
        if !volume.serving {
            volume.counters.dropped += 1;
            return self.push(Output::Completed { id, outcome: Outcome::Dropped });
        }
        volume.requests += 1;
        let (phase, durability) = (volume.phase, volume.durability);
        let is_forgotten = durability == Durability::Memory && self.mutated(Mutation::WishForgotten);
        let durable = durable && !is_forgotten;
        match phase {
            Phase::Passing => self.forward(export, id, range, data, durable, origin),
            _ => self.begin_write(export, Asker::Request(id), range, data, durable, origin),
        }
    }

    /// Takes a write in, to be admitted at once or when its turn comes.
    pub(crate) fn begin_write(
        &mut self,
        export: ExportId,
        asker: Asker,
        range: LbaRange,
        data: BufferSlice,
        durable: bool,
        origin: Option<Origin>,
    ) {
        let arrived = self.next_order();
        let write = LocalWrite {
            export,
            asker,
            range,
            data,
            durable,
            origin,
            answered_ahead: false,
            claim: None,
            stage: LocalStage::Waiting,
            times: WriteTimes::new(self.now),
            arrived,
            admitted: 0,
            acked_at: None,
            follower: None,
            on_disk: false,
            overtaken: false,
            tickets: Tickets::default(),
            dropped: false,
            failed: None,
        };
        let token = self.locals.insert(write).expect("no more requests than their limit");
        let claim = self.claims.insert(export, range, Claim::Local(token)).expect("a claim for each request");
        self.local_mut(token).claim = Some(claim);
        if !self.try_admit(token) {
            let volume = self.volume_mut(export);
            volume.waiting.push_back(token);
            volume.counters.waited += 1;
        }
    }

    /// Something is over: those that waited are looked at again, in the order they came.
    pub(crate) fn admit_waiting(&mut self, export: ExportId) {
        for _ in 0..self.volume(export).waiting.len() {
            let token = self.volume_mut(export).waiting.pop_front().expect("counted");
            if self.locals.find(token).is_some() && !self.try_admit(token) {
                self.volume_mut(export).waiting.push_back(token);
            }
        }
    }

    /// Admits a write if it is its turn and there is room in the log.
    fn try_admit(&mut self, token: Token) -> bool {
        let write = self.locals.find(token).expect("a write that waits");
        let (export, range, arrived) = (write.export, write.range, write.arrived);
        let extents = extents_of(range);
        let volume = self.volume(export);
        // Half of the log is left to the peer's writes: if both nodes' own filled it, each would wait for the other.
        let has_room = volume.local_extents + extents <= volume.layout().hot_extents() / 2
            || self.mutated(Mutation::WholeLogTaken);
        if volume.is_settling() && !self.mutated(Mutation::SettlingSkipped)
            || !has_room
            || !volume.disk.log_counts()
            || self.must_wait(export, range, arrived)
        {
            return false;
        }
        let volume = self.volume_mut(export);
        let begun = volume.disk.log.begin(range);
        if begun == Begun::Full {
            return false;
        }
        volume.local_extents += extents;
        volume.locals += 1;
        let admitted = self.next_order();
        let now = self.now;
        let write = self.local_mut(token);
        (write.admitted, write.times.admitted) = (admitted, Some(now));
        match begun {
            Begun::After(_) if self.mutated(Mutation::LogNotAwaited) => {
                self.attend(export);
                self.start_local(token);
            }
            Begun::After(sequence) => {
                self.local_mut(token).stage = LocalStage::Logging(sequence);
                self.volume_mut(export).waiting_for_log.push_back(Claim::Local(token));
                self.attend(export);
            }
            Begun::Ready | Begun::Full => self.start_local(token),
        }
        true
    }

    /// The log is durable up to some transaction: what waited for it starts.
    pub(crate) fn start_logged(&mut self, export: ExportId) {
        for _ in 0..self.volume(export).waiting_for_log.len() {
            let claim = self.volume_mut(export).waiting_for_log.pop_front().expect("counted");
            let started = match claim {
                Claim::Local(token) => self.start_logged_local(token),
                Claim::Remote(token) => self.start_logged_remote(token),
                Claim::Held | Claim::Read(_) => unreachable!("only writes are logged"),
            };
            if !started {
                self.volume_mut(export).waiting_for_log.push_back(claim);
            }
        }
    }

    fn start_logged_local(&mut self, token: Token) -> bool {
        let Some(write) = self.locals.find(token) else { return true };
        let LocalStage::Logging(sequence) = write.stage else { return true };
        let (export, range, arrived) = (write.export, write.range, write.arrived);
        // R1 again: a write of the peer's, or a copy, may have come since, and this one was not in flight.
        let is_in_the_way =
            self.must_wait(export, range, arrived) && !self.mutated(Mutation::LoggingInFlight);
        let starts = self.volume(export).disk.log.is_durable(sequence) && !is_in_the_way;
        if starts {
            self.start_local(token);
        }
        starts
    }

    /// To the peer, if it is there, and to the disk, at the same moment.
    fn start_local(&mut self, token: Token) {
        let now = self.next_order();
        let LocalWrite { export, range, data, durable, origin, .. } = *self.local(token);
        let volume = self.volume(export);
        // What only one node has in memory is not safe there.
        let may_cache = || {
            volume.may_cache() || volume.phase == Phase::Paired && self.mutated(Mutation::CachedWhileNotWhole)
        };
        let durable = durable || volume.durability == Durability::Memory && !may_cache();
        let was_in_flight = self.is_local_in_flight(self.local(token));
        let write = self.local_mut(token);
        write.durable = durable;
        if !was_in_flight {
            write.admitted = now;
        }
        if self.volume(export).phase == Phase::Alone {
            let tickets = if self.mutated(Mutation::BitsNotSet) {
                Tickets::default()
            } else {
                self.volume_mut(export).disk.bitmap.set(range)
            };
            let time = self.now;
            let write = self.local_mut(token);
            (write.acked_at, write.tickets, write.times.acked) = (Some(now), tickets, Some(time));
            if !tickets.is_empty() {
                self.volume_mut(export).promised.push(token);
                self.attend(export);
            }
        } else {
            self.say(export, VolumeMessage::Replicate { write: token, range, durable, origin }, Some(data));
        }
        let time = self.now;
        let write = self.local_mut(token);
        (write.stage, write.times.started) = (LocalStage::InFlight, Some(time));
        self.ask_disk(export, DiskWork::Local(token), Operation::Write { range, data, durable });
    }

    pub(crate) fn local_at_disk(&mut self, token: Token, result: Written) {
        let write = self.local(token);
        let export = write.export;
        if write.dropped {
            return self.end_dropped(token, result.is_ok());
        }
        if let Err(error) = result {
            return self.local_failed(token, error);
        }
        let range = write.range;
        if self.must_write_through(token) {
            return self.write_through(token);
        }
        self.volume_mut(export).here_now(range);
        self.local_is_over_here(token);
    }

    /// Whether the peer has gone since a write was given to the disk's cache.
    fn must_write_through(&self, token: Token) -> bool {
        let write = self.local(token);
        let volume = self.volume(write.export);
        !write.durable
            && !write.has_failed()
            && volume.durability == Durability::Memory
            && (volume.phase == Phase::Alone || volume.meeting.peer_left)
            && !self.mutated(Mutation::NotWrittenThrough)
    }

    /// The peer is about to be gone: what waits only for it is to be durable here first.
    pub(crate) fn write_all_through(&mut self, export: ExportId) {
        let waits = |write: &LocalWrite| write.export == export && write.on_disk;
        let mut tokens = self.token_list();
        self.locals.list(&mut tokens, |write| waits(write));
        for token in tokens.iter().copied() {
            if self.must_write_through(token) {
                self.write_through(token);
            }
        }
        self.give_back(tokens);
    }

    /// What the disk has in its cache is written once more: nobody else has it any more.
    fn write_through(&mut self, token: Token) {
        let write = self.local_mut(token);
        (write.durable, write.on_disk) = (true, false);
        let LocalWrite { export, range, data, .. } = *write;
        self.ask_disk(export, DiskWork::Local(token), Operation::Write { range, data, durable: true });
    }

    /// The peer has sent a write that waits here as well, sent to both nodes by its initiator: it is executed once. (Two that
    /// have set out already are superseded one by the other, with nothing in between.)
    pub(crate) fn yield_to_copy(
        &mut self,
        export: ExportId,
        range: LbaRange,
        durable: bool,
        origin: Option<Origin>,
    ) {
        if origin.is_none() || self.mutated(Mutation::CopiesExecuted) {
            return;
        }
        let waiting = self.claims.overlapping(export, range).find_map(|(_, other, claim)| {
            let Claim::Local(token) = claim else { return None };
            let local = self.locals.find(token)?;
            let is_copy = other == range && local.origin == origin && local.stage != LocalStage::InFlight;
            // What is asked to be on stable storage is not answered by one that is only in memory.
            (is_copy && (durable || !local.durable)).then_some(token)
        });
        if let Some(token) = waiting {
            self.forget_local(token, Outcome::Dropped);
        }
    }

    /// A write of the peer's comes after these.
    pub(crate) fn overtake(&mut self, tokens: &[Token]) {
        for token in tokens {
            self.local_mut(*token).overtaken = true;
        }
    }

    /// A write that nobody is to be answered will not touch the disk any more.
    fn end_dropped(&mut self, token: Token, is_on_disk: bool) {
        let LocalWrite { export, range, origin, overtaken, .. } = *self.local(token);
        let (effect, outcome) = match is_on_disk {
            true if overtaken => (Effect::Overtaken, Outcome::Started),
            true => (Effect::Whole, Outcome::Started),
            false => (Effect::Unknown, Outcome::Doubtful),
        };
        let is_answered = self.mutated(Mutation::DroppedWritesAnswered);
        self.note_effect(export, range, origin, effect, true);
        self.forget_local(token, if is_answered { Outcome::Done(None) } else { outcome });
    }

    /// The disk could not write it. When the peer has let go of it, too, the initiator is told.
    pub(crate) fn fail_local(&mut self, token: Token, error: BlockError) {
        self.local_mut(token).failed = Some(error);
        self.local_is_over_here(token);
    }

    fn local_is_over_here(&mut self, token: Token) {
        let now = self.now;
        let write = self.local_mut(token);
        (write.on_disk, write.times.on_disk) = (true, Some(now));
        let (export, range, admitted, acked_at) = (write.export, write.range, write.admitted, write.acked_at);
        self.release_remotes_of_local(export, range, admitted, acked_at);
        self.finish_local(token);
        if self.locals.find(token).is_some() {
            self.answer_ahead(token);
        }
    }

    /// The answer leaves before the peer has the write; says whose it is.
    pub(crate) fn answered_ahead(&mut self, token: Token) -> Asker {
        let write = self.local_mut(token);
        write.answered_ahead = true;
        std::mem::replace(&mut write.asker, Asker::Nobody)
    }

    /// The follower has it.
    pub(crate) fn handle_ack(&mut self, token: Token, follower: Token, microseconds: u32) {
        let (now, time) = (self.next_order(), self.now);
        // One that was given up at a freeze, or by a peer that is mistaken, finds nothing.
        let Some(write) = self.locals.find_mut(token) else { return };
        if write.stage == LocalStage::InFlight && write.acked_at.is_none() && !write.dropped {
            (write.acked_at, write.follower) = (Some(now), Some(follower));
            (write.times.acked, write.times.at_peer_microseconds) = (Some(time), microseconds);
            self.finish_local(token);
        }
    }

    /// Bits of the bitmap have become durable: what waited for them may be over.
    pub(crate) fn settle_promises(&mut self, export: ExportId) {
        let promised = std::mem::take(&mut self.volume_mut(export).promised);
        for token in &promised {
            self.finish_local(*token);
        }
        let (locals, volume) = (&self.locals, self.volumes[index(export)].as_mut().expect("just used"));
        volume.promised = promised;
        volume.promised.retain(|token| locals.find(*token).is_some());
    }

    /// It is over when both nodes have it, and, for what is written alone, the bitmap says so.
    pub(crate) fn finish_local(&mut self, token: Token) {
        let Some(write) = self.locals.find(token) else { return };
        let LocalWrite { export, range, follower, admitted, failed, .. } = *write;
        let is_acked = write.acked_at.is_some() || self.mutated(Mutation::AckNotAwaited);
        let is_noted = self.volume(export).disk.bitmap.is_durable(write.tickets)
            || self.mutated(Mutation::BitsNotAwaited);
        if !is_acked || !write.on_disk || !is_noted {
            return;
        }
        if let Some(follower) = follower {
            if failed.is_none() {
                self.volume_mut(export).both_have(range);
            }
            self.say(export, VolumeMessage::Commit { follower }, None);
        }
        self.volume_mut(export).counters.writes += 1;
        self.forget_local(token, failed.map_or(Outcome::Done(None), Outcome::Failed));
        self.release_reads(export, range, admitted);
    }

    /// Takes a write that is not at the disk, or not any more, out of everything and answers it.
    pub(crate) fn forget_local(&mut self, token: Token, outcome: Outcome) {
        let write = self.locals.remove(token).expect("a write that is not over");
        self.claims.remove(write.claim.expect("claimed when it came"));
        self.outdate_copies(write.export, write.range);
        let is_flushed = matches!(outcome, Outcome::Done(_)) || !self.mutated(Mutation::DroppedIntoCache);
        let volume = self.volume_mut(write.export);
        // What was dropped may be in the disk's cache as well, where reads find it.
        let is_cached = !write.durable && outcome != Outcome::Dropped && is_flushed;
        match write.stage {
            LocalStage::Waiting => {}
            _ if is_cached => {
                volume.locals -= 1;
                volume.keep_own(write.range);
                self.attend(write.export);
            }
            _ => {
                volume.disk.log.finish(write.range);
                volume.local_extents -= extents_of(write.range);
                volume.locals -= 1;
            }
        }
        if write.answered_ahead {
            self.lag_is_less(write.export, write.range.bytes() as u64);
        }
        let volume = self.volume(write.export);
        if !volume.waiting.is_empty() || !volume.waiting_for_log.is_empty() || volume.is_settling() {
            self.attend(write.export);
        }
        match write.asker {
            Asker::Nobody => {}
            Asker::Request(id) => {
                if self.may_be_slow(write.times.total(self.now)) {
                    let spent = Box::new(write.times.spent(self.now));
                    self.push(Output::Spent { id, spent });
                }
                self.complete(write.export, id, outcome);
            }
            Asker::Peer(write_token) => {
                self.push(Output::Release(write.data.buffer));
                let result = match outcome {
                    Outcome::Done(_) => Ok(()),
                    Outcome::Failed(error) => Err(error),
                    Outcome::Dropped | Outcome::Started | Outcome::Doubtful => return,
                };
                self.say(write.export, VolumeMessage::Forwarded { write: write_token, result }, None);
            }
        }
    }

    /// Answers a request from above.
    pub(crate) fn complete(&mut self, export: ExportId, id: RequestId, outcome: Outcome) {
        let volume = self.volume_mut(export);
        volume.requests -= 1;
        volume.counters.dropped += u64::from(!matches!(outcome, Outcome::Done(_) | Outcome::Failed(_)));
        if volume.requests == 0 && volume.leaving {
            self.attend(export);
        }
        self.push(Output::Completed { id, outcome });
    }

    /// The node freezes: what has not been at the disk is dropped at once, the rest when the disk has had it. Nobody knows
    /// whether the peer has what was sent, so it counts as out of sync.
    pub(crate) fn drop_locals(&mut self, export: ExportId) {
        let mut tokens = self.token_list();
        self.locals.list(&mut tokens, |write| write.export == export);
        for token in tokens.iter().copied() {
            let write = self.local_mut(token);
            if write.stage != LocalStage::InFlight {
                self.forget_local(token, Outcome::Dropped);
                continue;
            }
            write.dropped = true;
            let (range, on_disk, has_failed) = (write.range, write.on_disk, write.has_failed());
            if !self.mutated(Mutation::LocalDoubtsDropped) {
                self.doubt(export, range);
            }
            if on_disk {
                self.end_dropped(token, !has_failed);
            }
        }
        self.give_back(tokens);
    }

    /// The peer is gone for good, and this node has gone on alone without a freeze: writes that it has not acknowledged
    /// need not be.
    pub(crate) fn go_on_without_acks(&mut self, export: ExportId) {
        let (now, time) = (self.next_order(), self.now);
        let mut tokens = self.token_list();
        self.locals.list(&mut tokens, |write| write.export == export);
        for token in tokens.iter().copied() {
            let write = self.local(token);
            if write.stage != LocalStage::InFlight || self.mutated(Mutation::LeaverNotNoted) {
                continue;
            }
            let range = write.range;
            let tickets = self.volume_mut(export).disk.bitmap.set(range);
            let write = self.local_mut(token);
            write.acked_at = write.acked_at.or(Some(now));
            write.times.acked = write.times.acked.or(Some(time));
            (write.tickets, write.follower) = (tickets, None);
            self.volume_mut(export).promised.push(token);
        }
        self.give_back(tokens);
        self.attend(export);
    }

    pub(crate) fn local(&self, token: Token) -> &LocalWrite {
        self.locals.find(token).expect("a write under way")
    }

    fn local_mut(&mut self, token: Token) -> &mut LocalWrite {
        self.locals.find_mut(token).expect("a write under way")
    }
}

/// How many extents a range touches.
pub(crate) fn extents_of(range: LbaRange) -> u32 {
    let first = range.start().0 / EXTENT_SECTORS;
    u32::try_from((range.end().0 - 1) / EXTENT_SECTORS - first + 1).expect("a few")
}
