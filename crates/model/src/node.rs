//! What one node keeps: the writes in flight that it knows, its unanswered reads, its disk.
//!
//! Only data and questions about it. What happens when is decided in `mirror`.

use crate::arbiter::{Membership, Question};
use crate::disk::Disk;
use crate::initiator::Finished;
use crate::words::{Image, RequestId, RequestSet, Sectors, WriteId, WriteSet};

/// A write in flight at its coordinator: admitted, and not yet both acknowledged by the peer and durable here.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LocalWrite {
    /// Its name.
    pub id: WriteId,
    /// What it covers.
    pub sectors: Sectors,
    /// The peer's acknowledgement has come.
    pub acked: bool,
    /// The local disk has finished it.
    pub durable: bool,
    /// It is not the peer's concern: the node was the sole member, or became it meanwhile.
    pub alone: bool,
}

/// How far a remote write has come at the follower.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RemoteStage {
    /// Waits for local writes that are ordered before it.
    Held,
    /// Given to the local disk.
    Started,
    /// Durable here, as far as it is not superseded.
    Durable,
    /// Acknowledged to its coordinator; its commit has not come.
    Acked,
}

/// A write of the peer that is in flight as far as this node knows.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RemoteWrite {
    /// Its name.
    pub id: WriteId,
    /// What it covers.
    pub sectors: Sectors,
    /// What of it is not superseded.
    pub to_apply: Sectors,
    /// Local writes ordered before it that the local disk has not finished.
    pub held_by: WriteSet,
    /// Local writes that supersede part of it and that the local disk has not finished.
    pub superseded_by: WriteSet,
    /// How far it has come.
    pub stage: RemoteStage,
}

impl RemoteWrite {
    /// Whether it, or what stands for it, will be on the disk if the node only waits for that.
    #[must_use]
    pub fn is_on_its_way(&self) -> bool {
        self.stage > RemoteStage::Held && self.superseded_by.is_empty()
    }
}

/// A read without an answer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PendingRead {
    /// The request.
    pub request: RequestId,
    /// What the disk gave, once it did.
    pub found: Option<Image>,
    /// The writes whose end it waits for.
    pub waits_for: WriteSet,
}

/// What a node does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Without power.
    Down,
    /// Up and silent: it serves nothing.
    Frozen,
    /// Connected to its peer and serving, as a member, or as source or target of a resync.
    Paired,
    /// Serving as the sole member, without its peer.
    Alone,
    /// Left on purpose: it serves nothing but still follows.
    Left,
}

/// One node.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Node {
    /// Its copy of the volume.
    pub disk: Disk,
    /// Its own writes in flight, ordered by name.
    pub local: Vec<LocalWrite>,
    /// The peer's writes in flight, ordered by name.
    pub remote: Vec<RemoteWrite>,
    /// Its unanswered reads, ordered by request.
    pub reads: Vec<PendingRead>,
    /// What it does.
    pub phase: Phase,
    /// The membership as it knows it.
    pub membership: Membership,
    /// The membership as its metadata has it.
    pub kept_membership: Membership,
    /// The activity log: the sectors in which a write may be unfinished.
    pub log: Sectors,
    /// The bitmap: the sectors that the peer may have missed.
    pub missed: Sectors,
    /// The sectors that this node itself may have missed, as it was told when it returned.
    pub lacks: Sectors,
    /// The sectors that are being copied to the peer.
    pub copying: Sectors,
    /// The peer has said that it leaves.
    pub peer_left: bool,
    /// Its question to the arbiter.
    pub question: Question,
    /// Writes of stock initiators that it remembers by their content, for a while.
    pub finished: Vec<Finished>,
    /// Writes of sequenced initiators that were executed.
    pub executed: RequestSet,
    /// Those that were on their way to its disk when it froze, by either kind.
    pub started: RequestSet,
    /// It has lost power, and with it what it remembered of initiators, and has not served since.
    pub forgetful: bool,
}

impl Node {
    /// A node that has done nothing yet, with this content on its disk.
    #[must_use]
    pub fn new(content: Image) -> Self {
        Self {
            disk: Disk::new(content),
            local: Vec::new(),
            remote: Vec::new(),
            reads: Vec::new(),
            phase: Phase::Paired,
            membership: Membership::FIRST,
            kept_membership: Membership::FIRST,
            log: Sectors::NONE,
            missed: Sectors::NONE,
            lacks: Sectors::NONE,
            copying: Sectors::NONE,
            peer_left: false,
            question: Question::None,
            finished: Vec::new(),
            executed: RequestSet::default(),
            started: RequestSet::default(),
            forgetful: false,
        }
    }

    /// Whether it may take and answer requests.
    #[must_use]
    pub fn serves(&self) -> bool {
        matches!(self.phase, Phase::Paired | Phase::Alone)
    }

    /// Whether it takes part in the writes of both.
    #[must_use]
    pub fn is_following(&self) -> bool {
        matches!(self.phase, Phase::Paired | Phase::Left)
    }

    /// Keeps in the activity log exactly what must be there.
    pub fn trim_log(&mut self) {
        let local = self.local.iter().filter(|local| !local.alone).map(|local| local.sectors);
        let applying =
            |remote: &&RemoteWrite| matches!(remote.stage, RemoteStage::Started | RemoteStage::Durable);
        let remote = self.remote.iter().filter(applying).map(|remote| remote.to_apply);
        self.log = local.chain(remote).fold(Sectors::NONE, Sectors::or);
    }

    /// Forgets all writes in flight. What the disk was given it will still finish, and the log keeps their sectors.
    pub fn drop_writes(&mut self) {
        self.local.clear();
        self.remote.clear();
        self.copying = Sectors::NONE;
    }

    /// The peer has these sectors now.
    pub fn peer_has(&mut self, sectors: Sectors) {
        self.missed = self.missed.without(sectors);
        self.copying = self.copying.without(sectors);
    }

    /// Whether the node has no write in flight and no disk work.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.local.is_empty() && self.remote.is_empty() && self.disk.is_idle()
    }

    /// The local disk has finished this write: nothing waits for that any more.
    pub fn mark_durable(&mut self, write: WriteId) {
        for local in self.local.iter_mut().filter(|local| local.id == write) {
            local.durable = true;
        }
        for remote in &mut self.remote {
            remote.held_by.remove(write);
            remote.superseded_by.remove(write);
            if remote.id == write {
                remote.stage = RemoteStage::Durable;
            }
        }
    }

    /// The write is not in flight any more as far as this node knows: no read waits for it.
    pub fn forget(&mut self, write: WriteId) {
        self.local.retain(|local| local.id != write);
        self.remote.retain(|remote| remote.id != write);
        for read in &mut self.reads {
            read.waits_for.remove(write);
        }
    }
}
