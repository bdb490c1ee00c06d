//! The life of a write and the life of a read: rules R1 to R5, each behind its switch.
//!
//! What is left to chance is an [`Action`](crate::world::Action) of the world: a request comes, a message arrives, a disk
//! works. What follows from that at once and with certainty is done here at once, by [`World::follow_up`]: a node that
//! acknowledges or answers late is no different from a slow link or a slow initiator, and the earliest answer is the
//! one that promises most.

use crate::history::Progress;
use crate::link::Message;
use crate::node::{LocalWrite, PendingRead, Phase, RemoteStage, RemoteWrite};
use crate::rules::Rule;
use crate::scope::Scope;
use crate::words::{Kind, RequestId, Sectors, Side, WriteId, WriteSet};
use crate::world::World;

impl World {
    /// Whether a node may take this request now. A write that must wait its turn is not taken: it was as good as not sent.
    #[must_use]
    pub fn may_invoke(&self, scope: &Scope, request: RequestId) -> bool {
        let call = self.history.call(request);
        let sectors = scope.requests[request.index()].sectors;
        let node = &self.nodes[call.at.index()];
        if call.progress != Progress::Waiting || !node.serves() || scope.is_framed(request) {
            return false;
        }
        let Kind::Write = scope.requests[request.index()].kind else {
            let lacking = node.lacks.overlaps(sectors) && scope.rules.has(Rule::ReturningWaitsForSync);
            let busy = !scope.rules.has(Rule::ReadsCheckedWhenSampled)
                && !self.writes_a_read_waits_for(scope, request, call.at).is_empty();
            return !lacking && !busy;
        };
        self.is_its_turn(scope, call.at, sectors)
    }

    /// R1: whether a write of these sectors may be admitted now.
    pub(crate) fn is_its_turn(&self, scope: &Scope, at: Side, sectors: Sectors) -> bool {
        let node = &self.nodes[at.index()];
        let local = node.local.iter().any(|local| local.sectors.overlaps(sectors));
        let unacked =
            |remote: &RemoteWrite| remote.stage < RemoteStage::Acked && remote.sectors.overlaps(sectors);
        let remote = node.remote.iter().any(unacked);
        !(local && scope.rules.has(Rule::WaitForLocal) || remote && scope.rules.has(Rule::WaitForRemote))
    }

    /// An initiator asks: a write is admitted, a read takes its value from the disk.
    pub fn invoke(&mut self, scope: &Scope, request: RequestId) {
        let at = self.history.call(request).at;
        self.history.invoke(request);
        match scope.requests[request.index()].kind {
            Kind::Write => self.admit(scope, WriteId { request, by: at }),
            Kind::Read => {
                let node = &mut self.nodes[at.index()];
                node.reads.push(PendingRead { request, found: None, waits_for: WriteSet::default() });
                node.reads.sort_unstable();
                if scope.reads_are_sampled_at_once() {
                    self.sample(scope, request);
                }
            }
        }
        self.follow_up(scope);
    }

    /// The disk gives a read its value. What is in flight now is what the value may be of.
    pub fn sample(&mut self, scope: &Scope, request: RequestId) {
        let at = self.history.call(request).at;
        let mut waits_for = WriteSet::default();
        if scope.rules.has(Rule::ReadsCheckedWhenSampled) {
            waits_for = self.writes_a_read_waits_for(scope, request, at);
        }
        let node = &mut self.nodes[at.index()];
        let found = node.disk.visible;
        let read = node.reads.iter_mut().find(|read| read.request == request).expect("a read that began");
        (read.found, read.waits_for) = (Some(found), waits_for);
        self.follow_up(scope);
    }

    /// The next message arrives at a node.
    pub fn deliver(&mut self, scope: &Scope, to: Side) {
        let node = &mut self.nodes[to.index()];
        match self.links[to.index()].receive() {
            Message::Replicate(write) => self.receive_remote_write(scope, to, write),
            Message::Ack(write) => {
                node.local.iter_mut().filter(|local| local.id == write).for_each(|local| local.acked = true);
            }
            Message::Commit(write) => {
                node.remember(scope, write, to);
                if node.remote.iter().any(|remote| remote.id == write) {
                    node.peer_has(scope.requests[write.request.index()].sectors);
                    node.forget(write);
                }
            }
            Message::Leave => node.peer_left = true,
            Message::Copy(sector, value) => self.receive_copy(scope, to, sector, value),
            Message::Copied(sector) => node.peer_has(Sectors::one(sector)),
            Message::Member(membership) => {
                (node.membership, node.kept_membership) = (membership, membership);
            }
        }
        self.follow_up(scope);
    }

    /// A sector of a disk write becomes visible; without a cache it is durable, too.
    pub fn show(&mut self, scope: &Scope, at: Side, write: WriteId, sector: usize) {
        if self.nodes[at.index()].disk.show(write, sector) && !scope.cached {
            self.finish(scope, at, write);
        }
    }

    /// The disk of a node has finished a write.
    pub fn finish(&mut self, scope: &Scope, at: Side, write: WriteId) {
        let node = &mut self.nodes[at.index()];
        let finished = node.disk.finish(write);
        node.lacks = node.lacks.without(finished);
        node.mark_durable(write);
        self.follow_up(scope);
    }

    /// Admits a write whose turn it is.
    pub(crate) fn admit(&mut self, scope: &Scope, id: WriteId) {
        let sectors = scope.requests[id.request.index()].sectors;
        let node = &mut self.nodes[id.by.index()];
        node.overtake(scope, id.request);
        let alone = node.phase == Phase::Alone;
        if alone && scope.rules.has(Rule::BitmapSet) {
            node.missed = node.missed.or(sectors);
        }
        node.local.push(LocalWrite { id, sectors, acked: alone, durable: false, alone });
        node.local.sort_unstable();
        node.disk.start(id, sectors);
        if !alone {
            self.send(id.by, Message::Replicate(id));
        }
    }

    /// Sends to the peer, if there is a session to send in.
    pub(crate) fn send(&mut self, from: Side, message: Message) {
        if self.session {
            self.links[from.peer().index()].send(message);
        }
    }

    /// R2, R3, R4: finds the place of a remote write among the local ones.
    fn receive_remote_write(&mut self, scope: &Scope, at: Side, id: WriteId) {
        let sectors = scope.requests[id.request.index()].sectors;
        let node = &mut self.nodes[at.index()];
        node.overtake(scope, id.request);
        let (mut superseded, mut held_by, mut superseded_by) =
            (Sectors::NONE, WriteSet::default(), WriteSet::default());
        for local in node.local.iter().filter(|local| local.sectors.overlaps(sectors)) {
            let concurrent = !local.acked || !scope.rules.has(Rule::AckedIsBefore);
            if concurrent && at == Side::One && scope.rules.has(Rule::TieBreak) {
                superseded = superseded.or(local.sectors.and(sectors));
                if !local.durable && scope.rules.has(Rule::AckAfterSuperseder) {
                    superseded_by.insert(local.id);
                }
            } else if !local.durable && scope.rules.has(Rule::LocalDiskFirst) {
                held_by.insert(local.id);
            }
        }
        let to_apply = sectors.without(superseded);
        let stage = RemoteStage::Held;
        node.remote.push(RemoteWrite { id, sectors, to_apply, held_by, superseded_by, stage });
        node.remote.sort_unstable();
    }

    /// R5: the writes in flight that a read of this request's sectors at this node has to wait for.
    fn writes_a_read_waits_for(&self, scope: &Scope, request: RequestId, at: Side) -> WriteSet {
        let sectors = scope.requests[request.index()].sectors;
        let node = &self.nodes[at.index()];
        let local = node.local.iter().map(|local| (local.id, local.sectors, Rule::ReadsWaitForLocal));
        let remote = node.remote.iter().map(|remote| (remote.id, remote.sectors, Rule::ReadsWaitForRemote));
        let waits =
            |&(_, covered, rule): &(_, Sectors, _)| covered.overlaps(sectors) && scope.rules.has(rule);
        local.chain(remote).filter(waits).map(|(id, ..)| id).collect()
    }

    /// Does everything that follows from what has just happened, until nothing more does.
    pub(crate) fn follow_up(&mut self, scope: &Scope) {
        for side in Side::BOTH {
            self.start_remote_writes(side);
            self.acknowledge(scope, side);
            self.end_local_writes(scope, side);
            self.answer_reads(side);
            if self.nodes[side.index()].is_following() {
                self.nodes[side.index()].trim_log();
            }
        }
    }

    fn start_remote_writes(&mut self, side: Side) {
        let node = &mut self.nodes[side.index()];
        for remote in &mut node.remote {
            if remote.stage == RemoteStage::Held && remote.held_by.is_empty() {
                if remote.to_apply.is_empty() {
                    remote.stage = RemoteStage::Durable;
                } else {
                    remote.stage = RemoteStage::Started;
                    node.disk.start(remote.id, remote.to_apply);
                }
            }
        }
    }

    fn acknowledge(&mut self, scope: &Scope, side: Side) {
        let node = &mut self.nodes[side.index()];
        let mut acked = Vec::new();
        for remote in &mut node.remote {
            if remote.stage == RemoteStage::Durable && remote.superseded_by.is_empty() {
                remote.stage = RemoteStage::Acked;
                acked.push(remote.id);
            }
        }
        if !scope.rules.has(Rule::Commit) {
            acked.iter().for_each(|&write| node.forget(write));
        }
        acked.into_iter().for_each(|write| self.send(side, Message::Ack(write)));
    }

    fn end_local_writes(&mut self, scope: &Scope, side: Side) {
        let node = &self.nodes[side.index()];
        let over = |local: &&LocalWrite| local.acked && local.durable;
        let ended: Vec<LocalWrite> = node.local.iter().filter(over).cloned().collect();
        for local in ended {
            let node = &mut self.nodes[side.index()];
            node.forget(local.id);
            node.remember(scope, local.id, side);
            if !local.alone {
                node.peer_has(local.sectors);
                if scope.rules.has(Rule::Commit) {
                    self.send(side, Message::Commit(local.id));
                }
            }
            self.answer_write(local.id.request);
        }
    }

    fn answer_reads(&mut self, side: Side) {
        let history = &mut self.history;
        self.nodes[side.index()].reads.retain(|read| match read.found {
            Some(content) if read.waits_for.is_empty() => {
                history.complete(read.request, content);
                false
            }
            _ => true,
        });
    }
}
