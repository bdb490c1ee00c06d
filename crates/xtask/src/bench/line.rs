//! The lines of the comparison: what is done, who takes part, and what we must reach.

use lab::Error;

use super::contestant::Contestant;
use super::measure::{self, Measurement};
use super::stage::Stage;

/// What is done to the disk.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Work {
    RandomRead,
    RandomWrite,
    Read,
    Write,
}

impl Work {
    /// Its name for `etherpair bench --rw` and `fio --rw`, which agree.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::RandomRead => "randread",
            Self::RandomWrite => "randwrite",
            Self::Read => "read",
            Self::Write => "write",
        }
    }

    pub(super) const fn writes(self) -> bool {
        matches!(self, Self::RandomWrite | Self::Write)
    }
}

/// A thing we must reach.
#[derive(Clone, Copy, Debug)]
pub(super) enum Goal {
    /// At least so much of the rate of another.
    Rate(Contestant, f64),
    /// At most so many microseconds of processor time a request.
    Cpu(f64),
    /// At most so much of the processor time a request of another.
    CpuRatio(Contestant, f64),
    /// At most so many microseconds of latency more than another.
    Added(Contestant, f64),
}

/// A line.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line {
    pub(super) name: &'static str,
    pub(super) work: Work,
    pub(super) block: &'static str,
    pub(super) depth: u32,
    /// Reads come from the page cache.
    pub(super) cached: bool,
    pub(super) contestants: &'static [Contestant],
    pub(super) goals: &'static [Goal],
}

impl Line {
    /// Each contestant once; none for one that is not to be had.
    pub(super) fn measure(&self, stage: &Stage) -> Result<Vec<Option<Measurement>>, Error> {
        stage.cache(self.cached)?;
        self.contestants.iter().map(|&contestant| measure::once(self, contestant, stage)).collect()
    }
}

use Contestant::{
    Etherpair, EtherpairBusy, EtherpairCached, Fio, Ggaoed, GgaoedCached, QemuNbd, QemuNbdSync, Vblade,
    VbladeCached, VbladeSync,
};

const READERS: &[Contestant] = &[Fio, Vblade, Ggaoed, QemuNbd, Etherpair];
const WRITERS: &[Contestant] = &[Fio, VbladeSync, Ggaoed, QemuNbdSync, Etherpair];
const CACHED: &[Contestant] = &[VbladeCached, GgaoedCached, EtherpairCached];

/// All of them.
pub(super) fn all() -> Vec<Line> {
    vec![
        Line {
            name: "4 KiB random read, depth 32",
            work: Work::RandomRead,
            block: "4k",
            depth: 32,
            cached: false,
            contestants: READERS,
            goals: &[Goal::Rate(Fio, 0.9), Goal::Rate(Vblade, 4.5), Goal::Rate(Ggaoed, 1.0), Goal::Cpu(5.0)],
        },
        Line {
            name: "4 KiB random read, depth 128",
            work: Work::RandomRead,
            block: "4k",
            depth: 128,
            cached: false,
            contestants: READERS,
            goals: &[Goal::Rate(Fio, 1.0), Goal::Rate(Ggaoed, 1.0)],
        },
        Line {
            name: "4 KiB random durable write, depth 32",
            work: Work::RandomWrite,
            block: "4k",
            depth: 32,
            cached: false,
            contestants: WRITERS,
            goals: &[Goal::Rate(Fio, 0.9), Goal::Rate(VbladeSync, 5.0)],
        },
        Line {
            name: "4 KiB random read, depth 1",
            work: Work::RandomRead,
            block: "4k",
            depth: 1,
            cached: false,
            contestants: &[Fio, Vblade, Ggaoed, QemuNbd, Etherpair, EtherpairBusy],
            goals: &[Goal::Added(Fio, 40.0), Goal::Rate(Vblade, 1.2)],
        },
        Line {
            name: "4 KiB random durable write, depth 1",
            work: Work::RandomWrite,
            block: "4k",
            depth: 1,
            cached: false,
            contestants: &[Fio, VbladeSync, Ggaoed, QemuNbdSync, Etherpair, EtherpairBusy],
            goals: &[Goal::Added(Fio, 40.0), Goal::Rate(VbladeSync, 1.2)],
        },
        Line {
            name: "4 KiB random read from memory, depth 32",
            work: Work::RandomRead,
            block: "4k",
            depth: 32,
            cached: true,
            contestants: CACHED,
            goals: &[Goal::Rate(VbladeCached, 1.25), Goal::CpuRatio(VbladeCached, 0.7)],
        },
        Line {
            name: "1 KiB random read from memory, depth 128",
            work: Work::RandomRead,
            block: "1k",
            depth: 128,
            cached: true,
            contestants: CACHED,
            goals: &[Goal::Rate(VbladeCached, 1.25), Goal::CpuRatio(VbladeCached, 0.7)],
        },
        Line {
            name: "1 MiB sequential read, depth 4",
            work: Work::Read,
            block: "1m",
            depth: 4,
            cached: false,
            contestants: READERS,
            goals: &[Goal::Rate(Fio, 0.9)],
        },
        Line {
            name: "1 MiB sequential durable write, depth 4",
            work: Work::Write,
            block: "1m",
            depth: 4,
            cached: false,
            contestants: WRITERS,
            goals: &[Goal::Rate(Fio, 0.9)],
        },
    ]
}
