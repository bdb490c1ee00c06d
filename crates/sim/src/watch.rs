//! Who looks on while a world goes its way: the properties that are asked at every step, and marks of what was seen.
//!
//! The first violation is kept; what comes after it may be its consequence.

use aoe::wire::Frame;
use block::Instant;
use replication::membership::NodeNumber;
use replication::output::Event;
use replication::volume::{Phase, VolumeStatus};

use crate::exchange::Body;
use crate::finding::{Finding, Property};
use crate::history::History;
use crate::machine::Machine;
use crate::mark::{Mark, Marks};
use crate::property::answered_once::AnsweredOnce;
use crate::property::lease::Lease;
use crate::property::one_history::{OneHistory, Serving};
use crate::property::size::Size;

/// See the module's text.
#[derive(Debug, Default)]
pub struct Watch {
    violation: Option<Finding>,
    /// An operator may have forced a node to serve: nothing that is said here counts.
    is_forced: bool,
    answered: AnsweredOnce,
    /// By volume.
    leases: Vec<Lease>,
    histories: Vec<OneHistory>,
    sizes: Vec<Size>,
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
    pub const fn violation(&self) -> Option<&Finding> {
        self.violation.as_ref()
    }

    /// What was seen.
    #[must_use]
    pub fn marks(&self) -> Marks {
        let mut marks = self.marks.clone();
        marks.add_many(Mark::NumberMoved, self.answered.numbers_moved());
        marks
    }

    /// What a process has counted in its life is to be seen, too.
    pub fn counted(&mut self, machine: &Machine) {
        machine.count(&mut self.marks);
    }

    /// Something is wrong.
    pub fn violated(&mut self, what: Finding) {
        if !self.is_forced {
            self.violation.get_or_insert(what);
        }
    }

    /// Something was seen.
    pub fn mark(&mut self, what: Mark) {
        self.marks.add(what);
    }

    /// A frame came to a node.
    pub fn came(&mut self, now: Instant, node: usize, bytes: &[u8]) {
        self.answered.came(now, node, bytes);
    }

    /// A node sends a frame about a volume.
    pub fn sent(&mut self, now: Instant, node: usize, volume: usize, bytes: &[u8], history: &History) {
        if let Err(error) = self.answered.sent(node, bytes, history) {
            self.violated(Finding::new(Property::AnsweredOnce, error));
        }
        if !is_answer(bytes) {
            return;
        }
        let answered = self.leases.get(volume).map(|lease| lease.answered(number(node), now));
        if let Some(Err(error)) = answered {
            self.violated(Finding::new(Property::Lease, error));
        }
    }

    /// A node told its operator something.
    pub fn told(&mut self, event: &Event) {
        self.mark(match event {
            Event::Frozen => Mark::Frozen,
            Event::Paired { lacking: 0, peer_lacks: 0, .. } => Mark::PairedEqual,
            Event::Paired { .. } => Mark::PairedUnequal,
            Event::Alone(_) => Mark::Alone,
            Event::InSync(_) => Mark::InSync,
            Event::ShutOut(_) => Mark::ShutOut,
            Event::ReadRepaired(_) => Mark::ReadRepaired,
            Event::DiskFailed(_) => Mark::DiskFailed,
            Event::MetadataFailed(_) => Mark::MetadataFailed,
            Event::Differs(_) => Mark::Differs,
            Event::VerifyDone { .. } => Mark::VerifyDone,
            Event::VerifyAborted { .. } => Mark::VerifyAborted,
            Event::FlushFailed(_) => Mark::FlushFailed,
            Event::Unreadable(_) => Mark::Unreadable,
            Event::Forced(_) => Mark::Forced,
            Event::Resized { .. } => Mark::Resized,
            Event::ResizeRefused(_) => Mark::ResizeRefused,
            Event::PeerIsLarger { .. } => Mark::PeerIsLarger,
            Event::ModesDiffer { .. } => Mark::ModesDiffer,
            Event::NotMet { .. } => Mark::NotMet,
            Event::GivesWay { .. } => Mark::GivesWay,
            Event::Removed => Mark::Removed,
            Event::MaskDiffers { .. } => Mark::MaskDiffers,
        });
    }

    /// How large a volume was wherever it was served.
    #[must_use]
    pub fn size(&self, volume: usize) -> Size {
        self.sizes.get(volume).copied().unwrap_or_default()
    }

    /// Something has happened at a node.
    pub fn look(&mut self, now: Instant, machines: &[Machine; 2]) {
        let volumes = machines[0].disks.len();
        self.leases.resize_with(volumes, Lease::default);
        self.histories.resize_with(volumes, OneHistory::default);
        self.sizes.resize_with(volumes, Size::default);
        for volume in 0..volumes {
            let statuses = [0, 1].map(|node: usize| serving(&machines[node], volume));
            let told = (0..2).filter(|node| statuses[*node].is_some());
            for sectors in told.filter_map(|node| machines[node].sectors_told(volume)) {
                if let Err(error) = self.sizes[volume].serves(sectors) {
                    self.violated(Finding::new(Property::Size, error));
                }
            }
            let serving = statuses.map(|status| {
                status.map(|status| Serving {
                    membership: status.membership,
                    alone: status.phase == Phase::Alone,
                })
            });
            let alone = serving.iter().position(|serving| serving.is_some_and(|serving| serving.alone));
            match alone {
                Some(node) => self.leases[volume].serves_alone(now, number(node)),
                None => self.leases[volume].ended(),
            }
            if let Err(error) = self.histories[volume].check(now, serving) {
                self.violated(Finding::new(Property::OneHistory, error));
            }
        }
    }
}

/// How a node stands that serves a volume. One that stands still answers nobody.
fn serving(machine: &Machine, volume: usize) -> Option<VolumeStatus> {
    let status = machine.status(volume).filter(|_| !machine.is_paused());
    status.filter(|status| status.serving)
}

/// Whether a frame answers an ATA command, or a write with a number.
fn is_answer(bytes: &[u8]) -> bool {
    let body = Frame::new(bytes).ok().filter(|frame| frame.header().response).and_then(Body::new);
    body.is_some_and(|body| body.is_of_sectors())
}

const fn number(node: usize) -> NodeNumber {
    if node == 0 { NodeNumber::Zero } else { NodeNumber::One }
}

#[cfg(test)]
mod tests {
    use block::Duration;

    use super::*;
    use crate::exchange::tests::{NODE, numbered_answer, numbered_write};

    #[test]
    fn a_numbered_write_that_is_answered_beyond_the_lease_is_found() {
        let history = History::new(Duration::ZERO);
        let now = Instant::from_nanos(5);
        let mut lease = Lease::default();
        lease.serves_alone(now, NodeNumber::Zero);
        let mut watch = Watch { leases: vec![lease], ..Watch::default() };
        for node in 0..2 {
            watch.came(now, node, &numbered_write(NODE, 1));
        }
        watch.sent(now, 0, 0, &numbered_answer(), &history);
        assert_eq!(watch.violation(), None);
        watch.sent(now, 1, 0, &numbered_answer(), &history);
        assert!(watch.violation().is_some_and(|violation| violation.text.contains("its peer serves alone")));
    }
}
