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

mod admission;
mod ending;
mod giving_up;

use block::{BlockError, BufferSlice, EntryId, ExportId, LbaRange, RequestId};

use crate::bitmap::Tickets;
use crate::conflict::Claim;
use crate::durability::Durability;
use crate::engine::Engine;
use crate::message::{Origin, Token};
use crate::meta::layout::EXTENT_SECTORS;
use crate::meta::record::Sequence;
use crate::mutation::Mutation;
use crate::output::{Outcome, Output};
use crate::spent::WriteTimes;

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
    /// The request that it is of, until that is answered.
    pub(crate) request: Option<RequestId>,
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
    /// The peer has lost these sectors since it acknowledged it, and this node lacks them.
    in_vain: bool,
}

impl LocalWrite {
    pub(crate) const fn has_failed(&self) -> bool {
        self.failed.is_some()
    }

    /// The disk has given it back, unwritten.
    pub(crate) const fn fail(&mut self, error: BlockError) {
        (self.failed, self.on_disk) = (Some(error), true);
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
        let durability = volume.durability;
        let is_forgotten = durability == Durability::Memory && self.mutated(Mutation::WishForgotten);
        self.begin_write(id, export, range, data, durable && !is_forgotten, origin);
    }

    /// Takes a write in, to be admitted at once or when its turn comes.
    fn begin_write(
        &mut self,
        id: RequestId,
        export: ExportId,
        range: LbaRange,
        data: BufferSlice,
        durable: bool,
        origin: Option<Origin>,
    ) {
        let arrived = self.next_order();
        let write = LocalWrite {
            export,
            request: Some(id),
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
            in_vain: false,
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
