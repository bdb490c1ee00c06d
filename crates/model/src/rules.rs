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

    /// The holder of a lease counts it from when it sent the renewal.
    HolderCountsFromSending,
    /// The granter counts from when it answered (or else from when it received the renewal).
    GranterCountsFromAnswering,
    /// The granter waits longer than the lease, by as much as the clocks may drift meanwhile.
    LeaseMargin,
    /// The holder's clock goes on while its machine is suspended.
    ClockCountsSuspend,

    /// A node goes on alone only when the lease it granted has run out, so that its peer has stopped serving.
    LeaseWait,
    /// The lease is looked at when a read has its value, right before the answer leaves, not when the read begins.
    LeaseCheckedAfterWork,
    /// The arbiter says yes to one node only.
    ExclusiveArbiter,
    /// The new epoch is durable before the first answer given alone.
    EpochBeforeAnswers,
    /// An answer of the arbiter to a question that was given up, because the peer came back meanwhile, is not heeded.
    AbandonedGrantsIgnored,
    /// A frozen node waits for its own disk before it meets its peer or serves alone.
    DrainFirst,
    /// The activity log is durable before a write leaves or is applied.
    LogFirst,
    /// When two members meet after both had stopped, one copy is taken for what is in either activity log.
    OneCopyWins,
    /// That copy is the one of the newer membership, then that of the node that has not lost power, then node 0's (or else node 0's).
    RememberingCopyWins,
    /// A node that leaves on purpose first finishes the requests it has taken.
    LeaverSettles,
    /// The sole member marks in the bitmap what it writes.
    BitmapSet,
    /// The bitmap survives a power loss of the sole member.
    BitmapKept,
    /// What is in the activity log of a returning node is resynced too.
    ReturningGivesUp,
    /// A returning node serves no read of a sector that it lacks.
    ReturningWaitsForSync,
    /// A returning node becomes a member only when it lacks nothing.
    MemberWhenInSync,
    /// A sector is copied to a returning node when no write to it is in flight at the source.
    CopyWaitsForWrites,
    /// The target lets a copy go where it has a newer write.
    CopyYields,

    /// D1: a write that is in flight at this node is not executed again.
    InFlightOnce,
    /// D1: nor is one that is in flight at the peer, as far as this node knows.
    InFlightAtBoth,
    /// D1, D2: a frame that has waited for another write's end is judged once more when its turn comes.
    JudgedInTurn,
    /// D2: a write finished within the window is not executed again, and dropped if something overlapping came since.
    FinishedRemembered,
    /// D2: both nodes remember a finished write, not only its coordinator.
    FinishedAtBoth,
    /// D2: an answer arrives within the difference of the windows of D2 and D3, or never. (A demand on the network.)
    AnswersInTime,
    /// D3: a frame older than the window is dropped when its turn comes.
    OldFramesDropped,
    /// D4: overlapping writes are admitted in the order received.
    ReceiveOrder,
    /// D5: what was queued while a node did not serve is dropped before it serves.
    QueueDroppedAfterFreeze,
    /// D6: a write with an identity is executed once.
    Identity,
    /// D6: the identity travels inside the replicated write, so that both nodes know it.
    IdentityReplicated,
    /// D2, D6: what is on its way to the disk at a freeze counts as executed for whoever goes on with that disk.
    StartedIsExecuted,
    /// D2: nodes that meet tell each other which writes they remember.
    MemoryShared,
    /// D2: a node that lost power goes on alone only when what it might have remembered is too old to matter.
    ForgetfulWaits,
    /// D2: when nodes meet, the frames of writes that were in flight at the one whose copy does not count are dropped for a while.
    DoubtfulDropped,
    /// D1, D6: the sole member finishes what it has in flight before it takes its peer back.
    SoleSettlesFirst,
    /// D6: the identity is as durable as the data. (The engine does not keep this one: decision 0013.)
    IdentityKept,
    /// D6: nodes that meet tell each other which identities they remember, the source always, the target if it is a member.
    NumbersShared,
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
