//! What can go wrong: kinds of faults, and the numbered injections that a seed plans before its run begins.
//!
//! The plan is drawn whole and first, so any injection of it can be left out and the others stay as they are: that is how
//! a failing run is made small.

use std::fmt;
use std::str::FromStr;

use block::{Duration, Instant};

use crate::counts::{Counts, Kind};
use crate::random::Random;

macro_rules! faults {
    ($($(#[$doc:meta])* $fault:ident = $name:literal, $lasts:expr;)*) => {
        /// A kind of fault.
        #[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
        pub enum Fault { $($(#[$doc])* $fault,)* }

        impl Fault {
            /// Every kind.
            pub const ALL: [Self; [$($name),*].len()] = [$(Self::$fault),*];

            /// Its name on the command line and in reports.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$fault => $name,)* }
            }

            /// From how many to how many milliseconds one lasts.
            const fn lasts(self) -> (u64, u64) {
                match self { $(Self::$fault => $lasts,)* }
            }
        }
    };
}

faults! {
    /// Frames of a port are lost at some rate.
    FrameLoss = "frame-loss", (200, 5000);
    /// Frames come twice or thrice.
    FrameDuplicate = "frame-duplicate", (200, 5000);
    /// Frames take long, each another time: they overtake each other.
    FrameDelay = "frame-delay", (200, 3000);
    /// Some frames are held for seconds: longer than a fail-over.
    FrameHeld = "frame-held", (500, 5000);
    /// Frames are damaged on the wire: the card sees it and drops them.
    FrameCorrupt = "frame-corrupt", (200, 5000);
    /// Frames are cut short by something that makes a good checksum for what is left.
    FrameTruncate = "frame-truncate", (200, 5000);
    /// Nothing leaves a port, or nothing comes in.
    OneWay = "one-way", (50, 6000);
    /// A port is cut off both ways.
    PortCut = "port-cut", (50, 6000);
    /// A port of a node loses its link: it is cut off both ways, and the node sees it.
    LinkDown = "link-down", (50, 6000);
    /// Switches forget where everybody is, and learn it anew.
    SwitchForgets = "switch-forgets", (0, 0);
    /// The link between the nodes carries nothing; what was sent waits.
    PeerCut = "peer-cut", (10, 8000);
    /// The same in one direction.
    PeerOneWay = "peer-one-way", (10, 8000);
    /// The connection between the nodes is reset.
    PeerReset = "peer-reset", (0, 0);
    /// The link between the nodes comes and goes.
    PeerFlap = "peer-flap", (100, 4000);
    /// The link between the nodes is slow.
    PeerSlow = "peer-slow", (100, 5000);
    /// A byte between the nodes is another one.
    PeerCorrupt = "peer-corrupt", (0, 0);
    /// A node reaches nobody: no host, no peer, no arbiter.
    NodeIsolated = "node-isolated", (100, 8000);
    /// A node's process is killed and started again.
    Kill = "kill", (50, 8000);
    /// A node loses power and gets it back.
    PowerLoss = "power-loss", (200, 10_000);
    /// Both nodes lose power at once.
    PowerLossBoth = "power-loss-both", (200, 6000);
    /// A node stands still, and goes on as if nothing had been.
    Pause = "pause", (10, 5000);
    /// A disk takes ten to a thousand times as long.
    DiskSlow = "disk-slow", (100, 4000);
    /// A disk does nothing for a while, then all of it.
    DiskHang = "disk-hang", (100, 6000);
    /// A sector cannot be read until it is written.
    ReadError = "read-error", (0, 0);
    /// Writes of a disk fail.
    WriteError = "write-error", (1, 200);
    /// Flushes and durable writes of a disk fail.
    FlushError = "flush-error", (1, 2000);
    /// The metadata cannot be written: no space.
    MetadataFull = "metadata-full", (1, 2000);
    /// A node's process is killed, and meanwhile its metadata is silently damaged where that can be repaired.
    MetadataDamage = "metadata-damage", (50, 3000);
    /// A node's disks are replaced by empty ones, with metadata made anew.
    DiskReplaced = "disk-replaced", (100, 4000);
    /// A node's interfaces carry only shorter frames for a while.
    MtuChange = "mtu-change", (100, 6000);
    /// The arbiter is not there.
    ArbiterDown = "arbiter-down", (100, 8000);
    /// The arbiter answers late.
    ArbiterSlow = "arbiter-slow", (100, 6000);
    /// The arbiter does what it is asked, and its answer is lost.
    ArbiterDeaf = "arbiter-answer-lost", (100, 6000);
    /// One node cannot reach the arbiter.
    ArbiterCut = "arbiter-cut", (100, 10_000);
    /// A host dies with requests open, and comes back.
    HostCrash = "host-crash", (100, 4000);
    /// An operator has a node leave and come back.
    Leave = "leave", (100, 6000);
    /// An operator ends a node in good order, and starts it again.
    Restart = "restart", (100, 6000);
    /// An operator has the copies compared while they are used.
    Verify = "verify", (0, 0);
    /// An operator has a volume made larger, sometimes by more than there is room for.
    Grow = "grow", (0, 0);
    /// Operators set the config string, the reservation or the MAC mask list, at one node or at both at once.
    SetState = "set-state", (0, 0);
    /// Somebody asks both nodes to flush.
    Flush = "flush", (0, 0);
    /// An operator forces a node that does not serve to do so, whatever that loses.
    Force = "force", (0, 0);
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|fault| fault.name() == name);
        found.ok_or_else(|| {
            let names: Vec<&str> = Self::ALL.iter().map(|fault| fault.name()).collect();
            format!("there is no fault of that name; there are: {}", names.join(", "))
        })
    }
}

impl Fault {
    /// Whether seeds draw it. Where an operator forces a node, what hosts see is no longer judged: that is for stories.
    #[must_use]
    pub fn is_drawn(self) -> bool {
        self != Self::Force
    }

    /// Whether it is drawn apart from the others, so that these stay as they were without it.
    #[must_use]
    pub fn is_drawn_apart(self) -> bool {
        matches!(self, Self::Restart | Self::Grow | Self::LinkDown)
    }
}

impl Kind for Fault {
    const KINDS: &'static [Self] = &Self::ALL;

    fn place(self) -> usize {
        self as usize
    }
}

/// How often each kind happened.
pub type FaultCounts = Counts<Fault>;

/// One thing that goes wrong: what, when, where, how badly.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Injection {
    /// Its number in the plan.
    pub number: u32,
    /// What.
    pub fault: Fault,
    /// From when.
    pub at: Instant,
    /// For how long.
    pub lasts: Duration,
    /// Which node.
    pub node: usize,
    /// Which host, port and direction, as a number to be divided.
    pub place: u64,
    /// How badly, in millionths.
    pub strength: u32,
    /// Whether a verify is to fix what differs.
    pub fixes: bool,
}

impl Injection {
    /// When it is over.
    #[must_use]
    pub fn end(&self) -> Instant {
        self.at.after(self.lasts)
    }
}

impl fmt::Display for Injection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = self.at.as_nanos() / 1_000_000;
        let Self { number, fault, lasts, node, strength, .. } = self;
        write!(f, "[{number}] {fault} at {at} ms for {} ms, node {node}, {strength} ppm", lasts.as_millis())
    }
}

/// Draws what goes wrong between two moments.
#[must_use]
pub fn plan(
    random: &mut Random,
    kinds: &[Fault],
    count: u32,
    begin: Instant,
    period: Duration,
) -> Vec<Injection> {
    if kinds.is_empty() {
        return Vec::new();
    }
    let mut injections: Vec<Injection> = (0..count).map(|_| draw(random, kinds, begin, period)).collect();
    injections.sort_by_key(|injection| injection.at);
    for (number, injection) in (1..).zip(&mut injections) {
        injection.number = number;
    }
    injections
}

fn draw(random: &mut Random, kinds: &[Fault], begin: Instant, period: Duration) -> Injection {
    let fault = kinds[random.index(kinds.len())];
    let (shortest, longest) = fault.lasts();
    // Short ones are as likely as long ones: each power of two has its share.
    let longest = (shortest + 1) << random.below(u64::from((longest + 1).ilog2()) + 1);
    let lasts = random.between(shortest, longest.clamp(shortest, fault.lasts().1));
    Injection {
        number: 0,
        fault,
        at: begin.after(random.duration(Duration::ZERO, period)),
        lasts: Duration::from_millis(lasts),
        node: random.index(2),
        place: random.any(),
        strength: random.small(1000, 600_000),
        fixes: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_found_by_its_name() {
        for fault in Fault::ALL {
            assert_eq!(fault.name().parse(), Ok(fault));
        }
        assert!("nonsense".parse::<Fault>().is_err());
    }

    #[test]
    fn a_plan_is_numbered_in_the_order_of_time() {
        let mut random = Random::new(1, "test");
        let begin = Instant::from_nanos(10_000_000_000);
        let plan = plan(&mut random, &Fault::ALL, 30, begin, Duration::from_secs(20));
        assert_eq!(plan.len(), 30);
        assert!(plan.windows(2).all(|pair| pair[0].at <= pair[1].at && pair[0].number < pair[1].number));
        assert!(plan.iter().all(|injection| injection.at >= begin));
    }
}
