//! What a run may come to, besides what goes wrong: that it was seen shows that it is tried.

use std::fmt;

use crate::counts::{Counts, Kind};

macro_rules! marks {
    ($($(#[$doc:meta])* $mark:ident = $name:literal;)*) => {
        /// Something worth seeing.
        #[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
        pub enum Mark { $($(#[$doc])* $mark,)* }

        impl Mark {
            /// All there are.
            pub const ALL: [Self; [$($name),*].len()] = [$(Self::$mark),*];

            /// Its name in reports.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$mark => $name,)* }
            }
        }
    };
}

marks! {
    /// A node stopped serving.
    Frozen = "frozen";
    /// Nodes met, and their copies were equal.
    PairedEqual = "paired, nothing lacking";
    /// Nodes met, and one lacked something.
    PairedUnequal = "paired, one lacks blocks";
    /// A node served alone.
    Alone = "alone";
    /// Both were members again.
    InSync = "in sync again";
    /// The arbiter had given the volume to the other one.
    ShutOut = "shut out by the arbiter";
    /// Sectors were read from the peer and written back.
    ReadRepaired = "read error healed";
    /// A data disk failed.
    DiskFailed = "disk failed";
    /// A flush of the only good copy failed.
    FlushFailed = "flush failed";
    /// Metadata could not be written.
    MetadataFailed = "metadata failed";
    /// A resync could not read its source.
    Unreadable = "unreadable at the source";
    /// An operator had a node compare the copies, and fix what differs.
    VerifyToFix = "verify to fix";
    /// A verify found something.
    Differs = "verify found a difference";
    /// A verify came to its end.
    VerifyDone = "verify done";
    /// A verify did not.
    VerifyAborted = "verify given up";
    /// An operator forced a node to serve.
    Forced = "forced";
    /// A volume grew.
    Resized = "resized";
    /// A volume could not grow.
    ResizeRefused = "resize refused";
    /// A volume could not follow its peer's.
    PeerIsLarger = "peer is larger";
    /// The nodes are configured to promise different things.
    ModesDiffer = "the nodes have different modes";
    /// Neither copy was known to be the one that counts.
    NotMet = "connected, and not met";
    /// A node stopped because the other one was forced.
    GivesWay = "gave way to a forced one";
    /// A volume was removed.
    Removed = "removed";
    /// The nodes are configured to listen to other initiators each.
    MaskDiffers = "the other node has another MAC mask list";
    /// A node started with a log without room.
    FullLogReplayed = "full log replayed";
    /// Both nodes forgot what was not on a disk.
    MemoriesGone = "memories of both gone";
    /// A node that answers ahead of the other ended.
    LagLookedAt = "lag looked at";
    /// A numbered write was sent to one node first, then to the other.
    NumberMoved = "numbered write moved to the other node";
    /// A stock write came so late that it may take effect twice.
    LateCopy = "late copy allowed";
    /// A copy was in the way of a write at its target.
    CopyYielded = "copy yielded to a write";
    /// A node answered at the address of the other one, which served and had no link there.
    AnsweredForPeer = "answered for a node without a link";
    /// A write that came twice was executed once, and answered twice.
    DuplicateAnswered = "duplicate answered";
}

impl Mark {
    /// Whether it is sure to be seen among so many seeds: not what only stories, or the worlds of two engines, come to.
    #[must_use]
    pub const fn is_drawn_among(self, seeds: u64) -> bool {
        match self {
            Self::Forced | Self::ModesDiffer | Self::GivesWay | Self::Removed | Self::MaskDiffers => false,
            // Some 10,000 seeds come to it 3 to 21 times, mostly once for each node: 3,000 may do without.
            Self::NotMet => seeds >= 30_000,
            _ => true,
        }
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Kind for Mark {
    const KINDS: &'static [Self] = &Self::ALL;

    fn place(self) -> usize {
        self as usize
    }
}

/// How often each was seen.
pub type Marks = Counts<Mark>;
