//! Named runs: one story each, told by injections at fixed times instead of chance.

use block::{Duration, Instant, LogicalSectorSize};

use replication::durability::Durability;
use replication::membership::NodeNumber;
use replication::meta::layout::EXTENT_SECTORS;

use crate::fault::{Fault, Injection};
use crate::mistake::Mistake;
use crate::options::{Options, VOLUMES_MAX};
use crate::run::{BEGIN, Report, run_with};

/// A story.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// Its name.
    pub name: &'static str,
    /// What happens: kind, node, when and for how long in milliseconds.
    pub steps: &'static [Step],
    /// Sectors of each volume.
    pub sectors: u64,
    /// What an answer to a write means.
    pub durability: Durability,
    /// What it means for a second volume, if there is one.
    pub second: Option<Durability>,
    /// Hosts have switched the write cache off.
    pub written_through: bool,
    /// Whether a resync compares before it copies.
    pub resync_checksums: bool,
    /// Hosts with a stock initiator.
    pub stock_hosts: usize,
    /// Hosts with our own.
    pub own_hosts: usize,
    /// Seeds of the worlds in which it is told: several, where chance decides whether a mistake would show.
    pub worlds: &'static [u64],
}

/// One thing that happens in a story.
#[derive(Clone, Copy, Debug)]
pub struct Step(pub Fault, pub usize, pub u64, pub u64);

/// One in which nothing happens.
pub(crate) const STORY: Scenario = Scenario {
    name: "nothing-goes-wrong",
    steps: &[],
    sectors: 256,
    durability: Durability::Stable,
    second: None,
    written_through: false,
    resync_checksums: false,
    stock_hosts: 2,
    own_hosts: 1,
    worlds: &[1],
};
/// The mode in which only node 1 answers, and before node 0 has what it answered.
pub(crate) const AHEAD: Durability = Durability::Async { server: NodeNumber::One, lag_bytes_max: 1 << 19 };
/// The same with the nodes exchanged.
const AHEAD_AT_ZERO: Durability = Durability::Async { server: NodeNumber::Zero, lag_bytes_max: 1 << 19 };

const fn story(name: &'static str, steps: &'static [Step]) -> Scenario {
    Scenario { name, steps, ..STORY }
}

/// Every story.
pub const ALL: &[Scenario] = &[
    STORY,
    story("peer-link-cut", &[Step(Fault::PeerCut, 0, 2000, 4000)]),
    story("peer-link-cut-for-a-moment", &[Step(Fault::PeerCut, 0, 2000, 300)]),
    story("peer-link-reset", &[Step(Fault::PeerReset, 0, 2000, 0)]),
    story("node-0-killed", &[Step(Fault::Kill, 0, 2000, 5000)]),
    story("node-1-killed", &[Step(Fault::Kill, 1, 2000, 5000)]),
    story("node-1-killed-and-soon-back", &[Step(Fault::Kill, 1, 2000, 100)]),
    story("node-0-loses-power", &[Step(Fault::PowerLoss, 0, 2000, 5000)]),
    story("node-1-loses-power-and-soon-has-it-back", &[Step(Fault::PowerLoss, 1, 2000, 200)]),
    story("both-lose-power", &[Step(Fault::PowerLossBoth, 0, 3000, 1000)]),
    story(
        "the-survivor-loses-power-too",
        &[Step(Fault::Kill, 0, 2000, 6000), Step(Fault::PowerLoss, 1, 6000, 1000)],
    ),
    story(
        "one-after-the-other",
        &[
            Step(Fault::Kill, 0, 2000, 1500),
            Step(Fault::Kill, 1, 7000, 1500),
            Step(Fault::Kill, 0, 12_000, 1500),
        ],
    ),
    story("planned-leave", &[Step(Fault::Leave, 1, 2000, 5000)]),
    story(
        "leave-while-the-other-is-killed",
        &[Step(Fault::Leave, 1, 2000, 3000), Step(Fault::Kill, 0, 2001, 3000)],
    ),
    story("pause-within-the-lease", &[Step(Fault::Pause, 0, 2000, 300)]),
    story("pause-beyond-the-lease", &[Step(Fault::Pause, 0, 2000, 5000)]),
    story(
        "both-pause-one-after-the-other",
        &[Step(Fault::Pause, 0, 2000, 3000), Step(Fault::Pause, 1, 4000, 3000)],
    ),
    story("arbiter-race", &[Step(Fault::PeerCut, 0, 2000, 8000), Step(Fault::ArbiterSlow, 0, 1000, 6000)]),
    story(
        "arbiter-grants-and-its-answer-is-lost",
        &[Step(Fault::ArbiterDeaf, 0, 1000, 4500), Step(Fault::PeerCut, 0, 2000, 8000)],
    ),
    story(
        "arbiter-down-at-the-failover",
        &[Step(Fault::ArbiterDown, 0, 1000, 6000), Step(Fault::Kill, 1, 2000, 8000)],
    ),
    story("storage-link-down", &[Step(Fault::LinkDown, 1, 2000, 6000)]),
    story(
        "storage-link-down-for-a-moment",
        &[
            Step(Fault::LinkDown, 1, 2000, 60),
            Step(Fault::LinkDown, 1, 2200, 60),
            Step(Fault::LinkDown, 1, 2300, 500),
        ],
    ),
    story(
        "storage-link-down-and-the-other-node-killed",
        &[Step(Fault::LinkDown, 1, 2000, 9000), Step(Fault::Kill, 0, 4000, 2000)],
    ),
    story(
        "storage-link-down-and-its-node-killed",
        &[Step(Fault::LinkDown, 1, 2000, 9000), Step(Fault::Kill, 1, 4000, 2000)],
    ),
    story(
        "storage-link-down-while-the-nodes-do-not-talk",
        &[Step(Fault::LinkDown, 1, 2000, 3000), Step(Fault::PeerCut, 0, 2500, 4000)],
    ),
    story("node-isolated", &[Step(Fault::NodeIsolated, 1, 2000, 5000)]),
    story(
        "crash-of-the-target-of-a-resync",
        &[Step(Fault::Kill, 1, 2000, 3000), Step(Fault::PowerLoss, 1, 5150, 1000)],
    ),
    story(
        "crash-of-the-source-of-a-resync",
        &[Step(Fault::Kill, 1, 2000, 3000), Step(Fault::PowerLoss, 0, 5150, 1000)],
    ),
    story("read-error-healed", &[Step(Fault::ReadError, 0, 2000, 0), Step(Fault::ReadError, 1, 4000, 0)]),
    story("disk-fails", &[Step(Fault::WriteError, 1, 2000, 500)]),
    story("disk-of-node-0-fails", &[Step(Fault::WriteError, 0, 2000, 500)]),
    // Nobody answers for so long that the copies that Linux sends of every request would fill a node's table; then answers
    // to the old ones would teach it a round trip of half a minute, and what was dropped would wait for longer than that.
    Scenario {
        stock_hosts: 4,
        own_hosts: 0,
        worlds: &[0, 8, 10, 12, 15, 16, 20, 21],
        ..story(
            "disk-fails-while-the-arbiter-is-away-for-long",
            &[Step(Fault::ArbiterDown, 0, 1000, 14_000), Step(Fault::WriteError, 1, 2000, 500)],
        )
    },
    // It has grown before anybody could ask for anything, and is about to grow again when the second node begins to serve.
    story(
        "grows-twice-before-it-serves",
        &[
            Step(Fault::Kill, 1, 2000, 100),
            Step(Fault::Kill, 0, 2050, 100),
            Step(Fault::Grow, 1, 3000, 0),
            Step(Fault::PeerOneWay, 1, 4100, 400),
            Step(Fault::Grow, 0, 4110, 0),
        ],
    ),
    story("disk-hangs", &[Step(Fault::DiskHang, 0, 2000, 4000)]),
    story("frames-held-for-long", &[Step(Fault::FrameHeld, 0, 1000, 6000), Step(Fault::Kill, 1, 3000, 3000)]),
    story("peer-link-flaps", &[Step(Fault::PeerFlap, 0, 2000, 4000)]),
    story("verify-under-load", &[Step(Fault::Verify, 0, 2000, 0), Step(Fault::Verify, 1, 4000, 0)]),
    // What was under way at a killed node stands in a cache, where a resync finds it equal.
    Scenario {
        resync_checksums: true,
        ..story(
            "killed-with-writes-in-a-cache",
            &[
                Step(Fault::DiskSlow, 0, 4000, 9000),
                Step(Fault::Kill, 0, 5000, 100),
                Step(Fault::Kill, 0, 8000, 100),
                Step(Fault::Kill, 0, 11_000, 100),
            ],
        )
    },
    // The server's copy counts when it is back, also of what was being written when the power failed.
    Scenario {
        durability: AHEAD,
        ..story(
            "server-loses-power",
            &[Step(Fault::DiskHang, 1, 4900, 200), Step(Fault::PowerLoss, 1, 5000, 1000)],
        )
    },
    // A node without a disk answered a repeated write from memory though its peer had executed another one since.
    story("metadata-is-full", &[Step(Fault::MetadataFull, 1, 2000, 1500), Step(Fault::Kill, 0, 2500, 500)]),
    Scenario {
        second: Some(Durability::Memory),
        ..story(
            "one-volume-from-memory",
            &[
                Step(Fault::PeerCut, 0, 1000, 3000),
                Step(Fault::Kill, 1, 7000, 3000),
                Step(Fault::Flush, 0, 9000, 0),
            ],
        )
    },
    Scenario {
        second: Some(AHEAD),
        ..story(
            "one-volume-ahead",
            &[
                Step(Fault::PeerCut, 0, 1000, 3000),
                Step(Fault::PowerLoss, 1, 7000, 1000),
                Step(Fault::PowerLossBoth, 0, 12_000, 1000),
            ],
        )
    },
    // Whatever a node has answered from memory, it is lost with both only.
    Scenario {
        durability: Durability::Memory,
        ..story(
            "memories-of-both-gone",
            &[
                Step(Fault::PowerLossBoth, 0, 15_000, 1000),
                Step(Fault::Kill, 0, 29_000, 1500),
                Step(Fault::PowerLoss, 1, 29_500, 1500),
            ],
        )
    },
    // Not what was to be on stable storage.
    Scenario {
        durability: Durability::Memory,
        written_through: true,
        ..story(
            "memories-of-both-gone-and-nothing-in-them",
            &[Step(Fault::PowerLossBoth, 0, 15_000, 1000), Step(Fault::PowerLossBoth, 0, 18_000, 500)],
        )
    },
    // The source of a resync had answered from memory what its target could not go on with.
    Scenario {
        durability: Durability::Memory,
        ..story(
            "source-of-a-resync-loses-its-memory",
            &[
                Step(Fault::Kill, 1, 15_000, 3000),
                Step(Fault::ArbiterDown, 0, 17_900, 3000),
                Step(Fault::PowerLoss, 0, 19_500, 1000),
            ],
        )
    },
    // The one that stays had answered from memory what nobody else was there any more to go on with.
    Scenario {
        durability: Durability::Memory,
        ..story(
            "left-with-a-memory-and-lost-it",
            &[
                Step(Fault::Leave, 1, 15_000, 5000),
                Step(Fault::PowerLoss, 0, 15_100, 1000),
                Step(Fault::Leave, 0, 31_000, 2000),
                Step(Fault::PowerLoss, 1, 31_050, 1000),
            ],
        )
    },
    // What comes to the follower of one volume at its address, which it answers at for the other, the server answers.
    Scenario {
        second: Some(AHEAD),
        ..story(
            "one-volume-ahead-of-two",
            &[Step(Fault::Kill, 0, 2000, 3000), Step(Fault::Leave, 0, 8000, 2000)],
        )
    },
    // Each answers its own volume from both addresses, and leads switches to itself with what is meant for the other's.
    Scenario {
        durability: AHEAD_AT_ZERO,
        second: Some(AHEAD),
        worlds: &[1, 2, 3, 4],
        ..story("each-volume-ahead-at-another-node", &[Step(Fault::SwitchForgets, 0, 4000, 0)])
    },
    // Its requests go on at the other node, and the other volume's at both.
    Scenario {
        second: Some(Durability::Stable),
        ..story("disk-of-one-volume-of-two-fails", &[Step(Fault::WriteError, 1, 2000, 500)])
    },
    // Extents leave the logs all the time.
    Scenario {
        sectors: 200 * EXTENT_SECTORS,
        worlds: &[1, 2, 3, 4],
        ..story(
            "more-extents-than-the-log-holds",
            &[
                Step(Fault::PowerLoss, 0, 15_000, 1000),
                Step(Fault::Kill, 1, 22_000, 1000),
                Step(Fault::PowerLossBoth, 0, 29_000, 1000),
                Step(Fault::PeerCut, 0, 36_000, 4000),
            ],
        )
    },
];

impl Scenario {
    /// Tells the story in each of its worlds. What came of the first in which it ended badly, or of the last.
    ///
    /// # Panics
    /// If it is told nowhere.
    #[must_use]
    pub fn run(&self, mistake: Mistake, lines_max: usize) -> Report {
        let mut reports = self.worlds.iter().map(|world| {
            let options = Options { mistake, ..self.options(*world) };
            run_with(&options, self.injections(), lines_max)
        });
        let first = reports.next().expect("a story is told somewhere");
        reports.fold(first, |told, next| if told.failure.is_some() { told } else { next })
    }

    /// A world in which it happens.
    pub(crate) fn options(&self, world: u64) -> Options {
        // Four seconds more than the last step takes to come: those about memories wait until nodes rely on them.
        let last = self.steps.iter().map(|step| step.2).max().unwrap_or_default();
        let seconds = (last / 1000 + 4).max(16);
        Options {
            period: Duration::from_secs(seconds),
            requests: u32::try_from(seconds * 600 / 16).expect("a few"),
            volumes: vec![self.sectors; 1 + usize::from(self.second.is_some())],
            logical_sector_size: LogicalSectorSize::B512,
            durability: [self.durability, self.second.unwrap_or(self.durability)],
            written_through: [self.written_through; VOLUMES_MAX],
            resync_checksums: self.resync_checksums,
            // The driver of Linux never asks for one.
            flushes: if self.own_hosts > 0 { 8 } else { 0 },
            clock_rates: [40, -60],
            stock_hosts: self.stock_hosts,
            own_hosts: self.own_hosts,
            ending: None,
            ..Options::new(world)
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
            fixes: number % 2 == 0,
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
    use crate::mark::Mark;

    #[test]
    fn every_story_ends_well() {
        for scenario in ALL {
            let report = scenario.run(Mistake::default(), 0);
            assert_eq!(report.failure, None, "{}", scenario.name);
        }
    }

    #[test]
    fn logs_are_full_where_there_are_more_extents_than_they_hold() {
        let scenario = ALL.iter().find(|scenario| scenario.name == "more-extents-than-the-log-holds");
        let scenario = scenario.expect("told above");
        for world in scenario.worlds {
            let marks = run_with(&scenario.options(*world), scenario.injections(), 0).marks;
            assert!(marks.count(Mark::FullLogReplayed) >= 3, "world {world}: {marks:?}");
        }
    }
}
