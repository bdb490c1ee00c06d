//! From admission to answer: starting what may start, and what follows from a completion.

use block::{
    BlockError, BlockRequest, BufferSlice, Completion, ExportId, Instant, LbaRange, Operation, RequestId,
};

use super::Target;
use super::ata::failed;
use super::duplicate::WriteIdentity;
use super::duplicate::{Ending, is_stale};
use super::numbers::Known;
use super::output::{Output, ReplyHead, Transmit};
use super::outstanding::{Answer, Finished, Request, Sequenced, Work};
use super::port::PortId;
use super::sector_sequence::Sequence;
use crate::wire::Head;
use crate::wire::ata::Reply;
use crate::wire::sequenced;

/// Why a request that waited is not executed when its turn comes.
enum Obstacle {
    /// The write is too old (rule D3), or its export is gone: silence.
    Silence,
    /// The other node has executed it meanwhile, or is about to: it will be answered when it is sent again.
    DoneByPeer,
    /// The export was made smaller meanwhile.
    BeyondEnd,
}

/// What became of a request that was taken in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Admitted {
    /// The disk is asked.
    Started,
    /// It waits for earlier writes.
    Waits,
}

impl Target {
    /// Takes a request in. The caller has seen that there is room.
    #[inline]
    pub(super) fn admit(&mut self, request: Request, ordered: Option<LbaRange>) -> Admitted {
        match self.outstanding.admit(request, ordered) {
            Some(id) => {
                self.start(id);
                Admitted::Started
            }
            None => {
                self.export_mut(request.export).statistics.waited += 1;
                Admitted::Waits
            }
        }
    }

    /// A disk has done what it was asked.
    pub(super) fn completed(&mut self, now: Instant, completion: Completion) {
        let Completion { id, result } = completion;
        let finished = self.outstanding.finish(id);
        let request = &finished.request;
        if let Some(export) = self.exports.find_mut(request.export) {
            let latency = match request.work {
                Work::Read { .. } => &mut export.latency_of_reads,
                Work::Write { .. } | Work::Flush => &mut export.latency_of_writes,
            };
            latency.record(now.since(request.began));
        }
        self.note_time(now, request, true);
        match request.work {
            Work::Write { identity, data, sequence, .. } => {
                let ending = if result.is_err() { Ending::Failed } else { Ending::Executed };
                self.remember(now, now, identity, sequence, Some(ending));
                self.push(Output::Release(data.buffer));
                self.answer_all(finished, result.err());
            }
            Work::Read { range, .. } => self.answer_read(request, range, result),
            Work::Flush => self.answer_all(finished, result.err()),
        }
        if result.is_err() {
            self.count_error(request);
        }
        self.start_ready(now);
    }

    /// Answers a request and the duplicates that joined it.
    fn answer_all(&mut self, mut finished: Finished, error: Option<BlockError>) {
        let export = finished.request.export;
        let mut next = Some(finished.request.answer);
        while let Some(answer) = next {
            self.answer(export, &answer, error);
            next = self.outstanding.next_duplicate(&mut finished);
        }
    }

    fn answer(&mut self, export: ExportId, answer: &Answer, error: Option<BlockError>) {
        if !self.may_answer(export) {
            return;
        }
        let reply = match error {
            None => Reply::success(&answer.request),
            Some(error) => failed(&answer.request, error),
        };
        self.send(&Answer { head: self.head_of(export, answer.port, answer.head), ..*answer }, reply);
    }

    /// Its head: it leaves from the other node's address only as long as this node stands in for that. A switch takes the source of a
    /// frame for the place where its address is, and would send the other node's frames here.
    #[inline]
    pub(super) fn head_of(&self, export: ExportId, port: PortId, mut head: Head) -> Head {
        let is_peers = self.ports.peer(port) == Some(head.ethernet.source);
        if is_peers
            && !self.exports.find(export).is_some_and(|export| self.answers_for_peer(export, port))
            && let Some(link) = self.ports.link(port)
        {
            head.ethernet.source = link.mac;
        }
        head
    }

    #[inline]
    fn answer_read(
        &mut self,
        request: &Request,
        range: LbaRange,
        result: Result<Option<BufferSlice>, BlockError>,
    ) {
        let payload = match result {
            Ok(payload) => payload.expect("a read completes with its bytes"),
            Err(error) => return self.answer(request.export, &request.answer, Some(error)),
        };
        assert_eq!(payload.length as usize, range.bytes(), "a read completes with all its bytes");
        let Answer { port, request: registers, .. } = &request.answer;
        if !self.may_answer(request.export) || self.ports.link(*port).is_none() {
            return self.push(Output::Release(payload.buffer));
        }
        let head = self.head_of(request.export, *port, request.answer.head);
        let head = ReplyHead::new(&head, &Reply::success(registers), range.count());
        self.push(Output::Send(Transmit { port: *port, head, payload: Some(payload) }));
    }

    /// Sends an answer without data, if its interface is still up.
    pub(super) fn send(&mut self, answer: &Answer, reply: Reply) {
        if self.ports.link(answer.port).is_some() {
            let head = match answer.sequenced {
                None => ReplyHead::new(&answer.head, &reply, block::SectorCount(0)),
                Some(Sequenced { export, initiator }) => {
                    let epoch = self.exports.find(export).map_or(0, |export| export.epoch);
                    let reply = sequenced::Reply::Write { initiator, epoch, registers: reply };
                    ReplyHead::sequenced(&answer.head, &reply)
                }
            };
            self.push(Output::Send(Transmit { port: answer.port, head, payload: None }));
        }
    }

    /// An admitted write has ended; a stock one is remembered by its content, one with a number by that unless in doubt.
    pub(super) fn remember(
        &mut self,
        now: Instant,
        since: Instant,
        identity: WriteIdentity,
        sequence: Sequence,
        ending: Option<Ending>,
    ) {
        let has_number = self.remember_number(now, &identity, ending);
        match ending {
            Some(ending) if !has_number || ending == Ending::Doubtful => {
                self.history.complete(now, since, identity, sequence, ending);
            }
            _ => self.history.abandon(identity.export, identity.range),
        }
    }

    /// The part of that which is about a write's number. Whether it has one.
    #[inline]
    pub(super) fn remember_number(
        &mut self,
        now: Instant,
        identity: &WriteIdentity,
        ending: Option<Ending>,
    ) -> bool {
        let Some(number) = identity.number() else { return false };
        let known = match ending {
            Some(Ending::Executed | Ending::Overtaken) => Some(Known::Executed),
            Some(Ending::Failed) => Some(Known::Failed),
            Some(Ending::Doubtful) | None => None,
        };
        self.numbers.end(now, number, known);
        true
    }

    /// An admitted write was dropped before the disk saw it.
    pub(super) fn forget(&mut self, now: Instant, identity: WriteIdentity) {
        self.remember(now, now, identity, Sequence::default(), None);
    }

    /// Whether the export is still there. Whoever keeps it equal with another node's ends a request by
    /// [`super::MirrorInput::Dropped`] if nobody is to be answered; one that it completes is answered, also while it takes
    /// no more of them.
    #[inline]
    fn may_answer(&self, export: ExportId) -> bool {
        self.exports.find(export).is_some()
    }

    fn count_error(&mut self, request: &Request) {
        let Some(export) = self.exports.find_mut(request.export) else { return };
        match request.work {
            Work::Read { .. } => export.statistics.read_errors += 1,
            Work::Write { .. } | Work::Flush => export.statistics.write_errors += 1,
        }
    }

    /// Starts, or drops, everything that waited for what has just ended.
    #[inline]
    pub(super) fn start_ready(&mut self, now: Instant) {
        while let Some(id) = self.outstanding.next_ready() {
            match self.obstacle(now, id) {
                None => {
                    self.outstanding.note_start(now, id);
                    if let Work::Read { frame, .. } = self.outstanding.request(id).work {
                        self.push(Output::Release(frame.buffer));
                    }
                    self.start(id);
                }
                Some(obstacle) => self.give_up(now, id, &obstacle),
            }
        }
    }

    #[inline]
    fn start(&mut self, id: RequestId) {
        let request = self.outstanding.request(id);
        let operation = match request.work {
            Work::Read { range, .. } => Operation::Read { range },
            Work::Write { identity, data, durable, .. } => {
                Operation::Write { range: identity.range, data, durable }
            }
            Work::Flush => Operation::Flush,
        };
        let (export, origin) = (request.export, request.work.origin());
        let request = BlockRequest { id, export, operation };
        let is_mirrored = self.exports.find(export).is_some_and(|export| export.config.mirror.is_some());
        self.push(if is_mirrored { Output::MirrorBlock { request, origin } } else { Output::Block(request) });
    }

    /// Time has passed since the request was admitted: what may have changed is looked at again. A read that waited
    /// long is still worth its answer, and brings nothing old back.
    fn obstacle(&self, now: Instant, id: RequestId) -> Option<Obstacle> {
        let request = self.outstanding.request(id);
        let Some(export) = self.exports.find(request.export) else { return Some(Obstacle::Silence) };
        let (range, stale) = match request.work {
            Work::Read { range, .. } => (range, false),
            Work::Write { identity, .. } => (identity.range, is_stale(now, request.received)),
            Work::Flush => return None,
        };
        if stale {
            return Some(Obstacle::Silence);
        }
        // The frames that joined it were not looked at when they came, so all since the first of them counts.
        let is_done = |identity| self.is_done_by_peer(now, &identity, request.began);
        if request.work.identity().is_some_and(is_done) {
            return Some(Obstacle::DoneByPeer);
        }
        (range.end().0 > export.config.sectors).then_some(Obstacle::BeyondEnd)
    }

    /// Ends a request that no disk has seen.
    fn give_up(&mut self, now: Instant, id: RequestId, obstacle: &Obstacle) {
        let mut finished = self.outstanding.finish(id);
        let Request { export, work, .. } = finished.request;
        if let Work::Write { identity, .. } = work {
            self.forget(now, identity);
        }
        if let Some(frame) = work.frame() {
            self.push(Output::Release(frame.buffer));
        }
        match obstacle {
            Obstacle::BeyondEnd => {
                self.answer_all(finished, Some(BlockError::BeyondEnd));
                self.export_mut(export).statistics.aborted += 1;
            }
            Obstacle::DoneByPeer => self.drop_all(finished),
            Obstacle::Silence => {
                while self.outstanding.next_duplicate(&mut finished).is_some() {}
                if let Some(export) = self.exports.find_mut(export) {
                    export.statistics.stale_dropped += 1;
                }
            }
        }
    }
}
