//! The switchboard: every rule of the mirror protocol, each of which can be turned off.
//!
//! A rule that can be turned off without anything going wrong is folklore. The tests turn each one off and ask for the
//! shortest execution that goes wrong. What a rule does is said here in one line; how, where it is looked up.

/// One rule of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Rule {
    /// R1, first half: a local write waits for local writes in flight that it overlaps.
    WaitForLocal,
    /// R1, second half: a local write waits for remote writes that it overlaps and that are not acknowledged yet.
    WaitForRemote,
    /// R2: of two concurrent writes node 0's is first on both nodes: node 1 does not apply the overlap of the other.
    TieBreak,
    /// R3: a remote write is after, not concurrent with, a local write whose acknowledgement has come.
    AckedIsBefore,
    /// R2 and R3: a remote write that comes after a local one is applied when the local disk has finished that one.
    LocalDiskFirst,
    /// R4: a superseded write is acknowledged only when its superseder is durable on the node that acknowledges.
    AckAfterSuperseder,
    /// R5: a read waits for local writes in flight.
    ReadsWaitForLocal,
    /// R5: a read waits for remote writes in flight.
    ReadsWaitForRemote,
    /// R5: a remote write is in flight until its coordinator's commit has come, not only until it is acknowledged.
    Commit,
    /// R5 is applied to what was in flight when the read took its value from the disk, not when the read began.
    ReadsCheckedWhenSampled,
}

/// Which rules are in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rules {
    off: u64,
}

impl Rules {
    /// Every rule in force.
    #[must_use]
    pub fn all() -> Self {
        Self { off: 0 }
    }

    /// The same rules without this one.
    #[must_use]
    pub fn without(self, rule: Rule) -> Self {
        Self { off: self.off | 1 << rule as u8 }
    }

    /// Whether this rule is in force.
    #[must_use]
    pub fn has(self, rule: Rule) -> bool {
        self.off & (1 << rule as u8) == 0
    }
}
