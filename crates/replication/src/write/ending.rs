//! How a write of this node's own ends: at the disk, at the peer, in the bitmap; and who is answered.

use block::{BlockError, ExportId, Operation, RequestId};

use super::{LocalStage, LocalWrite, extents_of};
use crate::bitmap::Tickets;
use crate::durability::Durability;
use crate::engine::{DiskWork, Engine, Written, index};
use crate::message::{BlockRun, Refusal, Token, VolumeMessage};
use crate::mutation::Mutation;
use crate::output::{Outcome, Output};
use crate::volume::Phase;

impl Engine {
    pub(crate) fn local_at_disk(&mut self, token: Token, result: Written) {
        let write = self.local(token);
        let export = write.export;
        if write.dropped {
            let durable = write.durable;
            self.end_dropped(token, result.is_ok());
            return match result {
                Err(error) if durable => self.dropped_write_failed(export, error),
                _ => {}
            };
        }
        if let Err(error) = result {
            return self.local_failed(token, error);
        }
        let range = write.range;
        if self.must_write_through(token) {
            return self.write_through(token);
        }
        if self.mutated(Mutation::HereBeforeOver) {
            self.volume_mut(export).here_now(range);
        }
        self.local_is_over_here(token);
    }

    /// The peer says that this node lacks these blocks. What it had acknowledged before, it has lost with them.
    pub(crate) fn locals_in_vain(&mut self, export: ExportId, run: BlockRun) {
        let locals = self.locals.values_mut();
        for local in locals.filter(|local| local.export == export && run.touches(local.range)) {
            local.in_vain |= local.acked_at.is_some();
        }
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

    /// The disk could not write it. When the peer has let go of it, too, the initiator is told.
    pub(crate) fn fail_local(&mut self, token: Token, error: BlockError) {
        self.local_mut(token).fail(error);
        self.local_is_over_here(token);
    }

    /// The same where the peer's writes are concerned, which are not on this disk and must not be answered: both nodes begin anew with
    /// what it has.
    pub(crate) fn fail_and_part(&mut self, token: Token, error: BlockError) {
        self.local_mut(token).fail(error);
        self.refuse(Refusal::WriteFailed);
    }

    fn local_is_over_here(&mut self, token: Token) {
        let (now, releases_twice) = (self.now, self.mutated(Mutation::ReleasesTwice));
        let write = self.local_mut(token);
        write.on_disk = true;
        let is_first = write.times.on_disk.replace(now).is_none();
        let (export, range, admitted, acked_at) = (write.export, write.range, write.admitted, write.acked_at);
        // One that is written through has been here before, and nobody waits for it since: the peer sends no more.
        if is_first || releases_twice {
            self.release_remotes_of_local(export, range, admitted, acked_at);
        }
        self.finish_local(token);
        if self.locals.find(token).is_some() {
            self.answer_ahead(token);
        }
    }

    /// The answer leaves before the peer has the write; says to which request.
    pub(crate) fn answered_ahead(&mut self, token: Token) -> Option<RequestId> {
        let write = self.local_mut(token);
        write.answered_ahead = true;
        write.request.take()
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

    /// It is not over before these bits are durable.
    pub(crate) fn ends_when_noted(&mut self, token: Token, tickets: Tickets) {
        let write = self.local_mut(token);
        write.tickets = tickets;
        let export = write.export;
        self.volume_mut(export).promised.push(token);
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
        let LocalWrite { export, range, follower, admitted, failed, in_vain, .. } = *write;
        let is_acked = write.acked_at.is_some() || self.mutated(Mutation::AckNotAwaited);
        let is_noted = self.volume(export).disk.bitmap.is_durable(write.tickets)
            || self.mutated(Mutation::BitsNotAwaited);
        if !is_acked || !write.on_disk || !is_noted {
            return;
        }
        if let Some(follower) = follower {
            if failed.is_none() && !in_vain {
                let is_late = self.mutated(Mutation::HereBeforeOver);
                let volume = self.volume_mut(export);
                if !is_late {
                    volume.here_now(range);
                }
                volume.both_have(range);
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
        let Some(id) = write.request else { return };
        if self.may_be_slow(write.times.total(self.now)) {
            let spent = Box::new(write.times.spent(self.now));
            self.push(Output::Spent { id, spent });
        }
        self.complete(write.export, id, outcome);
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
}
