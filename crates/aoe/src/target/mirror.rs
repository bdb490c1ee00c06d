//! An export that another node holds as well: when it is served, and which writes the other node has taken.
//!
//! This file decides nothing about the two copies. It keeps frames of a write from being executed twice whichever node
//! they come by (rules D1 and D2 at both), and sees to it that a node which may not serve is silent.

use block::{ExportId, Instant, LbaRange, RequestId};

use super::Target;
use super::advertise::Advertisement;
use super::duplicate::{Ending, WriteIdentity};
use super::followed::Followed;
use super::numbers::{Known, Number, NumberWindow};
use super::output::{FollowedWrite, MirrorEnd, MirrorInput, Origin, Output};
use super::outstanding::{Answer, Finished, Request, Work};
use super::refusal::Refusal;

impl Target {
    pub(super) fn mirror(&mut self, now: Instant, input: MirrorInput) {
        match input {
            MirrorInput::Serving { export, serving: true } => self.begin_to_serve(now, export),
            MirrorInput::Serving { export, serving: false } => self.cease_to_serve(now, export),
            MirrorInput::Epoch { export, epoch } => {
                if let Some(export) = self.exports.find_mut(export) {
                    export.epoch = epoch;
                }
            }
            MirrorInput::StandsIn { export, stands_in } => self.stand_in(now, export, stands_in),
            MirrorInput::Dropped { id, end } => self.dropped(now, id, end),
            MirrorInput::Followed { export, write, range, origin } => {
                self.follow(now, export, write, range, origin);
            }
            MirrorInput::FollowedEnded { write, end } => self.followed_ended(now, write, end),
            MirrorInput::Resolved { export, range, origin, end } => {
                self.resolved(now, WriteIdentity::of(export, range, origin), ending(end));
            }
        }
    }

    /// Whether a write may be executed, or answered from memory, as far as the other node is concerned.
    #[inline]
    pub(super) fn check_followed(&self, now: Instant, identity: &WriteIdentity) -> Result<(), Refusal> {
        let export = self.exports.find(identity.export).expect("a frame was for this export");
        if export.config.mirror.is_none() {
            return Ok(());
        }
        if self.followed.contains(identity) {
            return Err(Refusal::InFlightAtPeer);
        }
        if self.is_blind(now, identity) { Err(Refusal::HistoryFull) } else { Ok(()) }
    }

    /// Whether a write that has waited here since `began` was sent to the other node as well, and executed there or about to be,
    /// or may have been while a memory was full.
    pub(super) fn is_done_by_peer(&self, now: Instant, identity: &WriteIdentity, began: Instant) -> bool {
        let export = self.exports.find(identity.export).expect("a request was for this export");
        if export.config.mirror.is_none() {
            return false;
        }
        if self.is_blind(now, identity) || self.followed.contains(identity) {
            return true;
        }
        match identity.number() {
            Some(number) => matches!(self.numbers.find(number), Known::Executed | Known::Failed),
            None => self.history.remembers(identity, began),
        }
    }

    /// Whether something may have been executed at the other node, and this be it, that there was no room for here.
    fn is_blind(&self, now: Instant, identity: &WriteIdentity) -> bool {
        let is_number_lost = |number: Number| self.numbers.is_blind(now, number.export, number.initiator);
        self.history.is_blind(now) || identity.number().is_some_and(is_number_lost)
    }

    fn begin_to_serve(&mut self, now: Instant, id: ExportId) {
        let Some(export) = self.exports.find_mut(id) else { return };
        export.serving_since.get_or_insert(now);
        self.schedule_advertisement(now, id);
        self.set_operator_mask(id);
    }

    fn cease_to_serve(&mut self, now: Instant, id: ExportId) {
        let Some(export) = self.exports.find_mut(id) else { return };
        assert!(export.config.mirror.is_some(), "an export of one node is served always");
        export.serving_since = None;
        export.advertisement = Advertisement::default();
        export.change = None;
        let mut place = 0;
        while let Some(finished) = self.outstanding.take_waiting(id, &mut place) {
            let request = &finished.request;
            if let Work::Write { identity, .. } = request.work {
                self.forget(now, identity);
            }
            if let Some(output) = self.returned(request) {
                self.push(output);
            }
            self.drop_all(finished);
        }
    }

    /// What becomes of the frame of a request that waited in vain: whoever can hands it over to the other node. Not one that was sent
    /// again since, under a tag that the frame does not have.
    fn returned(&self, request: &Request) -> Option<Output> {
        let frame = request.work.frame()?;
        let Answer { port, received, head, .. } = request.answer;
        let is_latest = matches!(request.work, Work::Read { .. }) || received == request.began;
        let to_peer = self.ports.peer(port) == Some(head.ethernet.source);
        Some(if is_latest {
            Output::Returned { export: request.export, port, to_peer, received, frame }
        } else {
            Output::Release(frame.buffer)
        })
    }

    /// Initiators and switches are told where the other node's address is now.
    fn stand_in(&mut self, now: Instant, id: ExportId, stands_in: bool) {
        let Some(export) = self.exports.find_mut(id) else { return };
        let begins = stands_in && !export.stands_in;
        export.stands_in = stands_in;
        if begins {
            self.schedule_advertisement(now, id);
        }
    }

    /// A request that was handed out has ended without an answer.
    fn dropped(&mut self, now: Instant, id: RequestId, end: MirrorEnd) {
        let finished = self.outstanding.finish(id);
        self.note_time(now, &finished.request, false);
        if let Work::Write { identity, data, sequence, .. } = finished.request.work {
            self.remember(now, now, identity, sequence, ending(end));
            self.push(Output::Release(data.buffer));
        }
        self.drop_all(finished);
        self.start_ready(now);
    }

    /// Nobody who waits for this request is answered.
    pub(super) fn drop_all(&mut self, mut finished: Finished) {
        let mut dropped = 1;
        while self.outstanding.next_duplicate(&mut finished).is_some() {
            dropped += 1;
        }
        if let Some(export) = self.exports.find_mut(finished.request.export) {
            export.statistics.dropped += dropped;
        }
    }

    /// The write counts as admitted here after everything that was; which of two that are under way at the same time
    /// is the later one this node's target cannot know, so that neither is taken for it.
    fn follow(&mut self, now: Instant, id: ExportId, name: FollowedWrite, range: LbaRange, origin: Origin) {
        let identity = WriteIdentity::of(id, range, origin);
        let concurrent = self.outstanding.has_other_unfinished_write(&identity);
        let sequence = self.history.follow(now, id, range);
        if let Some(number) = identity.number()
            && !self.numbers.begin(now, number)
        {
            self.numbers.overlook(now);
        }
        let since = now;
        self.followed.insert(Followed { name, export: id, range, origin, sequence, concurrent, since });
        if let Some(export) = self.exports.find_mut(id) {
            export.statistics.followed += 1;
        }
    }

    fn followed_ended(&mut self, now: Instant, write: FollowedWrite, end: MirrorEnd) {
        let Followed { export, range, origin, sequence, concurrent, since, .. } = self.followed.remove(write);
        let identity = WriteIdentity::of(export, range, origin);
        let ending = match ending(end) {
            Some(Ending::Executed) if concurrent => Some(Ending::Overtaken),
            ending => ending,
        };
        match sequence {
            Some(sequence) => {
                self.history.unfollow();
                self.remember(now, since, identity, sequence, ending);
            }
            None => {
                self.remember_number(now, &identity, ending);
                self.history.overlook(now);
            }
        }
    }

    /// What was remembered of the write was what this node had of it. One that took effect counts as admitted now: nothing
    /// that is not resolved as well came after it.
    fn resolved(&mut self, now: Instant, identity: WriteIdentity, ending: Option<Ending>) {
        let Some(ending) = ending else { return self.never_was(&identity) };
        if let Some(number) = identity.number() {
            self.numbers.forget(number);
            if !self.numbers.begin(now, number) {
                self.numbers.overlook(now);
            }
        }
        match self.history.admit(now, identity.export, identity.range) {
            Some(sequence) => self.remember(now, now, identity, sequence, Some(ending)),
            None => {
                self.remember_number(now, &identity, Some(ending));
                self.history.overlook(now);
            }
        }
    }

    /// What finds no room is not known: no number of an initiator that may be that one is to be trusted for a while.
    pub(super) fn learn_numbers(&mut self, now: Instant, export: ExportId, told: &NumberWindow) {
        if !self.numbers.learn(now, export, told) {
            self.numbers.overlook(now);
        }
    }

    fn never_was(&mut self, identity: &WriteIdentity) {
        if let Some(number) = identity.number() {
            self.numbers.forget(number);
        }
        self.history.forget(identity);
    }
}

/// How such a write is remembered, if at all.
const fn ending(end: MirrorEnd) -> Option<Ending> {
    match end {
        MirrorEnd::Executed => Some(Ending::Executed),
        MirrorEnd::Overtaken => Some(Ending::Overtaken),
        MirrorEnd::Doubtful => Some(Ending::Doubtful),
        MirrorEnd::Abandoned => None,
    }
}
