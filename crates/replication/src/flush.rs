//! FLUSH: what was answered before is made durable on both nodes. Only volumes with a write cache need it.

use block::{ExportId, Operation, RequestId};

use crate::durability::FlushMark;
use crate::engine::{DiskWork, Engine, Written};
use crate::limits::Limits;
use crate::message::{Refusal, Token, VolumeMessage};
use crate::mutation::Mutation;
use crate::output::{Event, Outcome, Output};
use crate::read::Asker;
use crate::volume::Phase;

const TOO_MANY_FLUSHES: &str = "more flushes than a node may have under way";

/// A flush.
#[derive(Debug)]
pub(crate) struct Flush {
    export: ExportId,
    asker: Asker,
    waits_for_disk: bool,
    waits_for_peer: bool,
    mark: FlushMark,
    dropped: bool,
}

impl Engine {
    pub(crate) fn request_flush(&mut self, id: RequestId, export: ExportId) {
        let volume = self.volume_mut(export);
        if !volume.serving {
            volume.counters.dropped += 1;
            return self.push(Output::Completed { id, outcome: Outcome::Dropped });
        }
        volume.requests += 1;
        self.begin_flush(export, Asker::Request(id));
    }

    /// The peer wants what it was acknowledged to be durable here.
    pub(crate) fn handle_flush(&mut self, export: ExportId, flush: Token) {
        let Limits { requests, volumes, .. } = self.config.limits;
        if self.flushes_for_peer >= requests + volumes {
            return self.refuse(Refusal::Protocol(TOO_MANY_FLUSHES));
        }
        if matches!(self.volume(export).phase, Phase::Paired | Phase::Alone | Phase::Left) {
            self.begin_flush(export, Asker::Peer(flush));
        }
    }

    pub(crate) fn begin_flush(&mut self, export: ExportId, asker: Asker) {
        let volume = self.volume(export);
        let (phase, peer_left) = (volume.phase, volume.meeting.peer_left);
        let waits_for_peer = match asker {
            Asker::Request(_) if self.mutated(Mutation::FlushOfOneDisk) => false,
            // Before this node goes on alone its own disk is to have everything.
            Asker::Nobody if peer_left => false,
            Asker::Request(_) | Asker::Nobody => phase == Phase::Paired,
            Asker::Peer(_) => false,
        };
        let mark = self.volume(export).unflushed.mark();
        let flush = Flush { export, asker, waits_for_disk: true, waits_for_peer, mark, dropped: false };
        let Some(token) = self.flushes.insert(flush) else {
            return self.refuse(Refusal::Protocol(TOO_MANY_FLUSHES));
        };
        self.flushes_for_peer += usize::from(matches!(asker, Asker::Peer(_)));
        if waits_for_peer {
            self.say(export, VolumeMessage::Flush { flush: token }, None);
        }
        self.ask_disk(export, DiskWork::Flush(token), Operation::Flush);
    }

    pub(crate) fn flushed_at_disk(&mut self, token: Token, result: Written) {
        let flush = self.flushes.find_mut(token).expect("a flush under way");
        flush.waits_for_disk = false;
        let (export, dropped, mark) = (flush.export, flush.dropped, flush.mark);
        let is_only_copy = self.is_only_copy(export);
        // Also after a failure: no later flush makes good what this one has lost.
        self.volume_mut(export).release_followed(mark);
        let volume = self.volume(export);
        match result {
            Ok(()) if dropped => self.end_flush(token, Outcome::Dropped),
            Ok(()) => self.finish_flush(token),
            Err(_) if dropped && (!volume.has_disk || self.mutated(Mutation::DroppedFlushBelieved)) => {
                self.end_flush(token, Outcome::Dropped);
            }
            // What the disk has lost cannot be told: it is not asked again.
            Err(error) if !is_only_copy => {
                self.volume_mut(export).release_own(mark);
                self.end_flush(token, Outcome::Dropped);
                self.disk_failed(export, error);
            }
            Err(error) => {
                self.event(export, Event::FlushFailed(error));
                self.volume_mut(export).release_own(mark);
                self.end_flush(token, if dropped { Outcome::Dropped } else { Outcome::Failed(error) });
            }
        }
    }

    pub(crate) fn handle_flushed(&mut self, token: Token) {
        if let Some(flush) = self.flushes.find_mut(token) {
            flush.waits_for_peer = false;
            self.finish_flush(token);
        }
    }

    fn finish_flush(&mut self, token: Token) {
        let flush = self.flushes.find(token).expect("a flush under way");
        if !flush.waits_for_disk && !flush.waits_for_peer {
            self.end_flush(token, Outcome::Done(None));
        }
    }

    fn end_flush(&mut self, token: Token, outcome: Outcome) {
        let Flush { export, asker, mark, .. } = self.flushes.remove(token).expect("a flush under way");
        if outcome == Outcome::Done(None) {
            self.volume_mut(export).release_own(mark);
        }
        self.attend(export);
        self.flushes_for_peer -= usize::from(matches!(asker, Asker::Peer(_)));
        match asker {
            Asker::Nobody => self.volume_mut(export).is_flushing = false,
            Asker::Request(id) => self.complete(export, id, outcome),
            Asker::Peer(flush) if outcome == Outcome::Done(None) => {
                self.say(export, VolumeMessage::Flushed { flush }, None);
            }
            // There is no word for it: the peer is to ask again.
            Asker::Peer(_)
                if matches!(outcome, Outcome::Failed(_)) && !self.mutated(Mutation::FlushUnanswered) =>
            {
                self.refuse(Refusal::WriteFailed);
            }
            Asker::Peer(_) => {}
        }
    }

    /// The peer is gone: what waits for it alone is over.
    pub(crate) fn flush_without_peer(&mut self, export: ExportId) {
        let tokens = self.flushes_of(export);
        for token in tokens.iter().copied() {
            self.handle_flushed(token);
        }
        self.give_back(tokens);
    }

    /// The peer is about to be gone: what this node flushes by itself does not wait for it.
    pub(crate) fn flush_here_alone(&mut self, export: ExportId) {
        let tokens = self.flushes_of(export);
        for token in tokens.iter().copied() {
            if self.flushes.find(token).is_some_and(|flush| flush.asker == Asker::Nobody) {
                self.handle_flushed(token);
            }
        }
        self.give_back(tokens);
    }

    pub(crate) fn drop_flushes(&mut self, export: ExportId) {
        let tokens = self.flushes_of(export);
        self.drop_those_flushes(tokens);
    }

    /// What the peer has asked for is not wanted any more.
    pub(crate) fn drop_asked_by_peer(&mut self, export: ExportId) {
        self.drop_reads_of_peer(export);
        let mut tokens = self.token_list();
        let is_one = |flush: &Flush| flush.export == export && matches!(flush.asker, Asker::Peer(_));
        self.flushes.list(&mut tokens, is_one);
        self.drop_those_flushes(tokens);
    }

    fn drop_those_flushes(&mut self, tokens: Vec<Token>) {
        for token in tokens.iter().copied() {
            let flush = self.flushes.find_mut(token).expect("just listed");
            flush.dropped = true;
            if !flush.waits_for_disk {
                self.end_flush(token, Outcome::Dropped);
            }
        }
        self.give_back(tokens);
    }

    /// In a list that is to be given back.
    fn flushes_of(&mut self, export: ExportId) -> Vec<Token> {
        let mut tokens = self.token_list();
        self.flushes.list(&mut tokens, |flush| flush.export == export);
        tokens
    }
}
