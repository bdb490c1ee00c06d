//! Who looks on while a world goes its way: the properties that are asked at every step, and marks of what was seen.
//!
//! The first violation is kept; what comes after it may be its consequence.

use std::collections::BTreeMap;

use block::Instant;
use replication::membership::NodeNumber;
use replication::output::Event;
use replication::volume::Phase;

use crate::history::History;
use crate::machine::Machine;
use crate::property::answered_once::AnsweredOnce;
use crate::property::lease::Lease;
use crate::property::one_history::{OneHistory, Serving};

/// Things that were seen, and how often.
pub type Marks = BTreeMap<&'static str, u64>;

/// See the module's text.
#[derive(Debug, Default)]
pub struct Watch {
    violation: Option<String>,
    /// An operator may have forced a node to serve: nothing that is said here counts.
    is_forced: bool,
    answered: AnsweredOnce,
    /// By volume.
    leases: Vec<Lease>,
    histories: Vec<OneHistory>,
    marks: Marks,
}

impl Watch {
    /// Somebody who looks on; where nodes are forced only to count what was seen.
    #[must_use]
    pub fn new(is_forced: bool) -> Self {
        Self { is_forced, ..Self::default() }
    }

    /// The first thing that was wrong.
    #[must_use]
    pub fn violation(&self) -> Option<&str> {
        self.violation.as_deref()
    }

    /// What was seen.
    #[must_use]
    pub const fn marks(&self) -> &Marks {
        &self.marks
    }

    /// Something is wrong.
    pub fn violated(&mut self, what: impl ToString) {
        if !self.is_forced {
            self.violation.get_or_insert_with(|| what.to_string());
        }
    }

    /// Something was seen.
    pub fn mark(&mut self, what: &'static str) {
        *self.marks.entry(what).or_default() += 1;
    }

    /// A frame came to a node.
    pub fn came(&mut self, now: Instant, node: usize, bytes: &[u8]) {
        self.answered.came(now, node, bytes);
    }

    /// A node sends a frame about a volume.
    pub fn sent(
        &mut self,
        now: Instant,
        node: usize,
        machine: &Machine,
        volume: usize,
        bytes: &[u8],
        history: &History,
    ) {
        if let Err(error) = self.answered.sent(node, bytes, history) {
            self.violated(error);
        }
        if !is_answer(bytes) {
            return;
        }
        // A node without a disk answers with what its peer said.
        if machine.status(volume).is_some_and(|status| status.phase == Phase::Passing) {
            return;
        }
        let answered = self.leases.get(volume).map(|lease| lease.answered(number(node), now));
        if let Some(Err(error)) = answered {
            self.violated(error);
        }
    }

    /// A node told its operator something.
    pub fn told(&mut self, event: &Event) {
        self.mark(match event {
            Event::Frozen => "frozen",
            Event::Paired { lacking: 0, peer_lacks: 0, .. } => "paired, nothing lacking",
            Event::Paired { .. } => "paired, one lacks blocks",
            Event::Alone(_) => "alone",
            Event::InSync(_) => "in sync again",
            Event::ShutOut(_) => "shut out by the arbiter",
            Event::ReadRepaired(_) => "read error healed",
            Event::DiskFailed(_) => "disk failed",
            Event::MetadataFailed(_) => "metadata failed",
            Event::Differs(_) => "verify found a difference",
            Event::VerifyDone { .. } => "verify done",
            Event::VerifyAborted { .. } => "verify given up",
            Event::FlushFailed(_) => "flush failed",
            Event::Unreadable(_) => "unreadable at the source",
            Event::Forced(_) => "forced",
            Event::Resized { .. } => "resized",
            Event::ResizeRefused(_) => "resize refused",
            Event::PeerIsLarger { .. } => "peer is larger",
            Event::Removed => "removed",
            Event::MaskDiffers { .. } => "the other node has another MAC mask list",
        });
    }

    /// Something has happened at a node.
    pub fn look(&mut self, now: Instant, machines: &[Machine; 2]) {
        let volumes = machines[0].disks.len();
        self.leases.resize_with(volumes, Lease::default);
        self.histories.resize_with(volumes, OneHistory::default);
        for volume in 0..volumes {
            let serving = [0, 1].map(|node: usize| serving(&machines[node], volume));
            let alone = serving.iter().position(|serving| serving.is_some_and(|serving| serving.alone));
            match alone {
                Some(node) => self.leases[volume].serves_alone(now, number(node)),
                None => self.leases[volume].ended(),
            }
            if let Err(error) = self.histories[volume].check(now, serving) {
                self.violated(error);
            }
        }
    }
}

/// Whether a node serves a volume. One that stands still answers nobody.
fn serving(machine: &Machine, volume: usize) -> Option<Serving> {
    if machine.is_paused() {
        return None;
    }
    let status = machine.status(volume)?;
    // Without a disk a node is but a way to its peer.
    if !status.serving || status.phase == Phase::Passing {
        return None;
    }
    Some(Serving { membership: status.membership, alone: status.phase == Phase::Alone })
}

/// Whether a frame answers an ATA command.
fn is_answer(bytes: &[u8]) -> bool {
    const RESPONSE: u8 = 0x08;
    const ATA: u8 = 0;
    bytes.get(14..20).is_some_and(|head| head[0] & RESPONSE != 0 && head[5] == ATA)
}

const fn number(node: usize) -> NodeNumber {
    if node == 0 { NodeNumber::Zero } else { NodeNumber::One }
}
