//! Named runs: one story each, told by injections at fixed times instead of chance.

use block::{Duration, Instant, LogicalSectorSize};

use replication::durability::Durability;
use replication::membership::NodeNumber;

use crate::fault::{Fault, Injection};
use crate::options::{Options, VOLUMES_MAX};
use crate::run::{BEGIN, Report, run_with};

/// A story.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// Its name.
    pub name: &'static str,
    /// What happens: kind, node, when and for how long in milliseconds.
    pub steps: &'static [Step],
    /// What an answer to a write means.
    pub durability: Durability,
    /// What it means for a second volume, if there is one.
    pub second: Option<Durability>,
    /// Hosts have switched the write cache off.
    pub written_through: bool,
    /// Whether a resync compares before it copies.
    pub resync_checksums: bool,
}

/// One thing that happens in a story.
#[derive(Clone, Copy, Debug)]
pub struct Step(pub Fault, pub usize, pub u64, pub u64);

/// One in which nothing happens.
pub(crate) const STORY: Scenario = Scenario {
    name: "nothing-goes-wrong",
    steps: &[],
    durability: Durability::Stable,
    second: None,
    written_through: false,
    resync_checksums: false,
};
/// The mode in which only node 1 answers, and before node 0 has what it answered.
pub(crate) const AHEAD: Durability = Durability::Async { server: NodeNumber::One, lag_bytes_max: 1 << 19 };

/// Every story.
pub const ALL: &[Scenario] = &[
    STORY,
    Scenario { name: "peer-link-cut", steps: &[Step(Fault::PeerCut, 0, 2000, 4000)], ..STORY },
    Scenario { name: "peer-link-cut-for-a-moment", steps: &[Step(Fault::PeerCut, 0, 2000, 300)], ..STORY },
    Scenario { name: "peer-link-reset", steps: &[Step(Fault::PeerReset, 0, 2000, 0)], ..STORY },
    Scenario { name: "node-0-killed", steps: &[Step(Fault::Kill, 0, 2000, 5000)], ..STORY },
    Scenario { name: "node-1-killed", steps: &[Step(Fault::Kill, 1, 2000, 5000)], ..STORY },
    Scenario { name: "node-1-killed-and-soon-back", steps: &[Step(Fault::Kill, 1, 2000, 100)], ..STORY },
    Scenario { name: "node-0-loses-power", steps: &[Step(Fault::PowerLoss, 0, 2000, 5000)], ..STORY },
    Scenario {
        name: "node-1-loses-power-and-soon-has-it-back",
        steps: &[Step(Fault::PowerLoss, 1, 2000, 200)],
        ..STORY
    },
    Scenario { name: "both-lose-power", steps: &[Step(Fault::PowerLossBoth, 0, 3000, 1000)], ..STORY },
    Scenario {
        name: "the-survivor-loses-power-too",
        steps: &[Step(Fault::Kill, 0, 2000, 6000), Step(Fault::PowerLoss, 1, 6000, 1000)],
        ..STORY
    },
    Scenario {
        name: "one-after-the-other",
        steps: &[
            Step(Fault::Kill, 0, 2000, 1500),
            Step(Fault::Kill, 1, 7000, 1500),
            Step(Fault::Kill, 0, 12_000, 1500),
        ],
        ..STORY
    },
    Scenario { name: "planned-leave", steps: &[Step(Fault::Leave, 1, 2000, 5000)], ..STORY },
    Scenario {
        name: "leave-while-the-other-is-killed",
        steps: &[Step(Fault::Leave, 1, 2000, 3000), Step(Fault::Kill, 0, 2001, 3000)],
        ..STORY
    },
    Scenario { name: "pause-within-the-lease", steps: &[Step(Fault::Pause, 0, 2000, 300)], ..STORY },
    Scenario { name: "pause-beyond-the-lease", steps: &[Step(Fault::Pause, 0, 2000, 5000)], ..STORY },
    Scenario {
        name: "both-pause-one-after-the-other",
        steps: &[Step(Fault::Pause, 0, 2000, 3000), Step(Fault::Pause, 1, 4000, 3000)],
        ..STORY
    },
    Scenario {
        name: "arbiter-race",
        steps: &[Step(Fault::PeerCut, 0, 2000, 8000), Step(Fault::ArbiterSlow, 0, 1000, 6000)],
        ..STORY
    },
    Scenario {
        name: "arbiter-grants-and-its-answer-is-lost",
        steps: &[Step(Fault::ArbiterDeaf, 0, 1000, 4500), Step(Fault::PeerCut, 0, 2000, 8000)],
        ..STORY
    },
    Scenario {
        name: "arbiter-down-at-the-failover",
        steps: &[Step(Fault::ArbiterDown, 0, 1000, 6000), Step(Fault::Kill, 1, 2000, 8000)],
        ..STORY
    },
    Scenario { name: "node-isolated", steps: &[Step(Fault::NodeIsolated, 1, 2000, 5000)], ..STORY },
    Scenario {
        name: "crash-of-the-target-of-a-resync",
        steps: &[Step(Fault::Kill, 1, 2000, 3000), Step(Fault::PowerLoss, 1, 5150, 1000)],
        ..STORY
    },
    Scenario {
        name: "crash-of-the-source-of-a-resync",
        steps: &[Step(Fault::Kill, 1, 2000, 3000), Step(Fault::PowerLoss, 0, 5150, 1000)],
        ..STORY
    },
    Scenario {
        name: "read-error-healed",
        steps: &[Step(Fault::ReadError, 0, 2000, 0), Step(Fault::ReadError, 1, 4000, 0)],
        ..STORY
    },
    Scenario { name: "disk-fails", steps: &[Step(Fault::WriteError, 1, 2000, 500)], ..STORY },
    Scenario { name: "disk-of-node-0-fails", steps: &[Step(Fault::WriteError, 0, 2000, 500)], ..STORY },
    Scenario { name: "disk-hangs", steps: &[Step(Fault::DiskHang, 0, 2000, 4000)], ..STORY },
    Scenario {
        name: "frames-held-for-long",
        steps: &[Step(Fault::FrameHeld, 0, 1000, 6000), Step(Fault::Kill, 1, 3000, 3000)],
        ..STORY
    },
    Scenario { name: "peer-link-flaps", steps: &[Step(Fault::PeerFlap, 0, 2000, 4000)], ..STORY },
    Scenario { name: "verify-under-load", steps: &[Step(Fault::Verify, 0, 2000, 0)], ..STORY },
    // What was under way at a killed node stands in a cache, where a resync finds it equal.
    Scenario {
        name: "killed-with-writes-in-a-cache",
        steps: &[
            Step(Fault::DiskSlow, 0, 4000, 9000),
            Step(Fault::Kill, 0, 5000, 100),
            Step(Fault::Kill, 0, 8000, 100),
            Step(Fault::Kill, 0, 11_000, 100),
        ],
        resync_checksums: true,
        ..STORY
    },
    // The server's copy counts when it is back, also of what was being written when the power failed.
    Scenario {
        name: "server-loses-power",
        steps: &[Step(Fault::DiskHang, 1, 4900, 200), Step(Fault::PowerLoss, 1, 5000, 1000)],
        durability: AHEAD,
        ..STORY
    },
    // A node without a disk answered a repeated write from memory though its peer had executed another one since.
    Scenario {
        name: "metadata-is-full",
        steps: &[Step(Fault::MetadataFull, 1, 2000, 1500), Step(Fault::Kill, 0, 2500, 500)],
        ..STORY
    },
    Scenario {
        name: "one-volume-from-memory",
        steps: &[
            Step(Fault::PeerCut, 0, 1000, 3000),
            Step(Fault::Kill, 1, 7000, 3000),
            Step(Fault::Flush, 0, 9000, 0),
        ],
        second: Some(Durability::Memory),
        ..STORY
    },
    Scenario {
        name: "one-volume-ahead",
        steps: &[
            Step(Fault::PeerCut, 0, 1000, 3000),
            Step(Fault::PowerLoss, 1, 7000, 1000),
            Step(Fault::PowerLossBoth, 0, 12_000, 1000),
        ],
        second: Some(AHEAD),
        ..STORY
    },
    // Whatever a node has answered from memory, it is lost with both only.
    Scenario {
        name: "memories-of-both-gone",
        steps: &[
            Step(Fault::PowerLossBoth, 0, 3000, 1000),
            Step(Fault::Kill, 0, 8000, 1500),
            Step(Fault::PowerLoss, 1, 8500, 1500),
        ],
        durability: Durability::Memory,
        ..STORY
    },
    // Not what was to be on stable storage.
    Scenario {
        name: "memories-of-both-gone-and-nothing-in-them",
        steps: &[Step(Fault::PowerLossBoth, 0, 3000, 1000), Step(Fault::PowerLossBoth, 0, 9000, 500)],
        durability: Durability::Memory,
        written_through: true,
        ..STORY
    },
    // The source of a resync had answered from memory what its target could not go on with.
    Scenario {
        name: "source-of-a-resync-loses-its-memory",
        steps: &[
            Step(Fault::Kill, 1, 2000, 3000),
            Step(Fault::ArbiterDown, 0, 4900, 3000),
            Step(Fault::PowerLoss, 0, 6500, 1000),
        ],
        durability: Durability::Memory,
        ..STORY
    },
    // The one that stays had answered from memory what nobody else was there any more to go on with.
    Scenario {
        name: "left-with-a-memory-and-lost-it",
        steps: &[
            Step(Fault::Leave, 1, 3000, 5000),
            Step(Fault::PowerLoss, 0, 3100, 1000),
            Step(Fault::Leave, 0, 12_000, 2000),
            Step(Fault::PowerLoss, 1, 12_050, 1000),
        ],
        durability: Durability::Memory,
        ..STORY
    },
    // What comes to the follower of one volume at its address, which it answers at for the other, the server answers.
    Scenario {
        name: "one-volume-ahead-of-two",
        steps: &[Step(Fault::Kill, 0, 2000, 3000), Step(Fault::Leave, 0, 8000, 2000)],
        second: Some(AHEAD),
        ..STORY
    },
    // Its requests go on at the other node, and the other volume's at both.
    Scenario {
        name: "disk-of-one-volume-of-two-fails",
        steps: &[Step(Fault::WriteError, 1, 2000, 500)],
        second: Some(Durability::Stable),
        ..STORY
    },
];

impl Scenario {
    /// Tells the story.
    #[must_use]
    pub fn run(&self, lines_max: usize) -> Report {
        run_with(&self.options(), self.injections(), lines_max)
    }

    /// The world in which it happens.
    pub(crate) fn options(&self) -> Options {
        Options {
            period: Duration::from_secs(16),
            requests: 600,
            volumes: vec![256; 1 + usize::from(self.second.is_some())],
            logical_sector_size: LogicalSectorSize::B512,
            durability: [self.durability, self.second.unwrap_or(self.durability)],
            written_through: [self.written_through; VOLUMES_MAX],
            resync_checksums: self.resync_checksums,
            flushes: 8,
            clock_rates: [40, -60],
            stock_hosts: 2,
            own_hosts: 1,
            ..Options::new(1)
        }
    }

    /// What happens in it.
    pub(crate) fn injections(&self) -> Vec<Injection> {
        let injections = (1..).zip(self.steps).map(|(number, &Step(fault, node, at, lasts))| Injection {
            number,
            fault,
            at: after(BEGIN, at),
            lasts: Duration::from_millis(lasts),
            node,
            place: 4,
            strength: 300_000,
        });
        injections.collect()
    }
}

fn after(begin: Instant, milliseconds: u64) -> Instant {
    begin.after(Duration::from_millis(milliseconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_story_ends_well() {
        for scenario in ALL {
            let report = scenario.run(0);
            assert_eq!(report.failure, None, "{}", scenario.name);
        }
    }
}
