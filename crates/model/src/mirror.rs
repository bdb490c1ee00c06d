//! The life of a write and the life of a read: rules R1 to R5, each behind its switch.
//!
//! What is left to chance is an [`Action`](crate::world::Action) of the world: a request comes, a message arrives, a disk
//! works. What follows from that at once and with certainty is done here at once, by [`World::follow_up`]: a node that
//! acknowledges or answers late is no different from a slow link or a slow initiator, and the earliest answer is the
//! one that promises most.

use crate::history::Progress;
use crate::link::Message;
use crate::node::{LocalWrite, PendingRead, RemoteStage, RemoteWrite};
use crate::rules::Rule;
use crate::scope::Scope;
use crate::words::{Image, Kind, RequestId, Sectors, Side, WriteId, WriteSet};
use crate::world::World;

impl World {
    /// Whether a node may take this request now. A write that must wait its turn is not taken: it was as good as not sent.
    #[must_use]
    pub fn may_invoke(&self, scope: &Scope, request: RequestId) -> bool {
        let call = self.history.call(request);
        if call.progress != Progress::Waiting {
            return false;
        }
        let Kind::Write = scope.requests[request.index()].kind else {
            return scope.rules.has(Rule::ReadsCheckedWhenSampled)
                || self.writes_a_read_waits_for(scope, request, call.at).is_empty();
        };
        let sectors = scope.requests[request.index()].sectors;
        let node = &self.nodes[call.at.index()];
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
                let at_once = scope.rules.has(Rule::ReadsCheckedWhenSampled);
                let found = at_once.then(|| self.nodes[at.index()].disk.visible);
                let waits_for = if at_once {
                    self.writes_a_read_waits_for(scope, request, at)
                } else {
                    WriteSet::default()
                };
                let node = &mut self.nodes[at.index()];
                node.reads.push(PendingRead { request, found, waits_for });
                node.reads.sort_unstable();
            }
        }
        self.follow_up(scope);
    }

    /// The disk gives a read its value, some time after the read began.
    pub fn sample(&mut self, scope: &Scope, request: RequestId) {
        let node = &mut self.nodes[self.history.call(request).at.index()];
        let found = node.disk.visible;
        let read = node.reads.iter_mut().find(|read| read.request == request);
        read.expect("only a read that began takes a value").found = Some(found);
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
            Message::Commit(write) => node.forget(write),
        }
        self.follow_up(scope);
    }

    /// The disk of a node has finished a write.
    pub fn finish(&mut self, scope: &Scope, at: Side, write: WriteId) {
        let node = &mut self.nodes[at.index()];
        node.disk.finish(write);
        node.mark_durable(write);
        self.follow_up(scope);
    }

    fn admit(&mut self, scope: &Scope, id: WriteId) {
        let sectors = scope.requests[id.request.index()].sectors;
        let node = &mut self.nodes[id.by.index()];
        node.local.push(LocalWrite { id, sectors, acked: false, durable: false });
        node.local.sort_unstable();
        node.disk.start(id, sectors);
        self.links[id.by.peer().index()].send(Message::Replicate(id));
    }

    /// R2, R3, R4: finds the place of a remote write among the local ones.
    fn receive_remote_write(&mut self, scope: &Scope, at: Side, id: WriteId) {
        let sectors = scope.requests[id.request.index()].sectors;
        let node = &mut self.nodes[at.index()];
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
    fn follow_up(&mut self, scope: &Scope) {
        for side in Side::BOTH {
            self.start_remote_writes(side);
            self.acknowledge(scope, side);
            self.end_local_writes(scope, side);
            self.answer_reads(side);
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
        for remote in &mut node.remote {
            if remote.stage == RemoteStage::Durable && remote.superseded_by.is_empty() {
                remote.stage = RemoteStage::Acked;
                self.links[side.peer().index()].send(Message::Ack(remote.id));
            }
        }
        if !scope.rules.has(Rule::Commit) {
            let acked = |remote: &&RemoteWrite| remote.stage == RemoteStage::Acked;
            let ended: Vec<WriteId> = node.remote.iter().filter(acked).map(|remote| remote.id).collect();
            ended.into_iter().for_each(|write| node.forget(write));
        }
    }

    fn end_local_writes(&mut self, scope: &Scope, side: Side) {
        let node = &mut self.nodes[side.index()];
        let over = |local: &&LocalWrite| local.acked && local.durable;
        let ended: Vec<WriteId> = node.local.iter().filter(over).map(|local| local.id).collect();
        for write in ended {
            node.forget(write);
            self.history.complete(write.request, Image::default());
            if scope.rules.has(Rule::Commit) {
                self.links[side.peer().index()].send(Message::Commit(write));
            }
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
