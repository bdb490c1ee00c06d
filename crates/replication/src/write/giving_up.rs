//! What becomes of writes of this node's own that do not end in the ordinary way: at a freeze, without a peer, or because the
//! peer has sent the same.

use block::{ExportId, LbaRange};

use super::{LocalStage, LocalWrite};
use crate::conflict::Claim;
use crate::engine::Engine;
use crate::message::{Effect, Origin, Token};
use crate::mutation::Mutation;
use crate::output::Outcome;

impl Engine {
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
    pub(super) fn end_dropped(&mut self, token: Token, is_on_disk: bool) {
        let LocalWrite { export, range, origin, overtaken, .. } = *self.local(token);
        let (effect, outcome) = match is_on_disk {
            true if overtaken => (Effect::Overtaken, Outcome::Started),
            true => (Effect::Whole, Outcome::Started),
            false => (Effect::Unknown, Outcome::Doubtful),
        };
        let is_answered = self.mutated(Mutation::DroppedWritesAnswered);
        if !is_on_disk && !self.mutated(Mutation::OvertakenByNothing) {
            // Those that have ended, and those of which a part is at the disk.
            self.doubt_overtaken(export, range);
            self.fail_superseded(export, range);
        }
        self.note_effect(export, range, origin, effect, true);
        self.forget_local(token, if is_answered { Outcome::Done(None) } else { outcome });
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
}
