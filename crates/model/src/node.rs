//! What one node keeps: the writes in flight that it knows, its unanswered reads, its disk.
//!
//! Only data and questions about it. What happens when is decided in `mirror`.

use crate::disk::Disk;
use crate::words::{Image, RequestId, Sectors, WriteId, WriteSet};

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
}

impl Node {
    /// A node that has done nothing yet, with this content on its disk.
    #[must_use]
    pub fn new(content: Image) -> Self {
        Self { disk: Disk::new(content), local: Vec::new(), remote: Vec::new(), reads: Vec::new() }
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
