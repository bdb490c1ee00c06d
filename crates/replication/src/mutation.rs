//! Deliberate mistakes, to find out whether the tests would notice.
//!
//! Each variant breaks one rule of the engine in one place, where it reads `self.mutated(Mutation::…)`. Without the feature
//! `mutations` that is `false` at compile time, and nothing of this is left. `tests/mutations.rs` shows that each one is
//! caught, and writes `docs/mutations.md`.

macro_rules! mutations {
    ($($(#[doc = $mistake:literal])+ $name:ident,)+) => {
        /// One wrong change to the engine.
        #[derive(Clone, Copy, Debug, Eq, PartialEq)]
        pub enum Mutation {
            $($(#[doc = $mistake])+ $name,)+
        }

        #[cfg(feature = "mutations")]
        impl Mutation {
            /// All there are.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// What is wrong with it, in words.
            #[must_use]
            pub const fn mistake(self) -> &'static str {
                match self {
                    $(Self::$name => concat!($($mistake),+).trim_ascii_start(),)+
                }
            }
        }
    };
}

mutations! {
    /// R1: a local write does not wait for local writes in flight
    OverlappingLocals,
    /// R1: a local write does not wait for remote writes that are not acknowledged
    AheadOfRemotes,
    /// R1: a local write does not wait where sectors are copied or compared
    ThroughCopies,
    /// R2: node 1 applies superseded sectors all the same
    SupersededApplied,
    /// R2: node 0 applies a concurrent remote write without waiting for its own
    NodeZeroDoesNotWait,
    /// R2: both nodes' writes supersede
    BothSupersede,
    /// R2: neither node's writes supersede
    NeitherSupersedes,
    /// R3: node 1 applies a remote write before its own acknowledged one is on disk
    NodeOneDoesNotWait,
    /// R3: an acknowledged write supersedes as well
    AcknowledgedSupersedes,
    /// R4: a superseded write is acknowledged before its superseder is on disk
    SupersededAckedEarly,
    /// R2: a write that waits for its record in the log counts as one in flight
    LoggingInFlight,
    /// R5: reads do not wait for local writes
    ReadsPassLocals,
    /// R5: reads do not wait for remote writes
    ReadsPassRemotes,
    /// R5: reads wait for the acknowledgement of a remote write, not for its commit
    CommitNotAwaited,
    /// A write is over without the peer's acknowledgement
    AckNotAwaited,
    /// The follower acknowledges when it asks its disk, not when that has the write
    AckBeforeDisk,
    /// A local write starts before its extents are in the log on disk
    LogNotAwaited,
    /// A remote write is applied before its extents are in the log on disk
    RemoteLogNotAwaited,
    /// A node's own writes may fill the whole log
    WholeLogTaken,
    /// After a crash the extents in the log are not in doubt
    LogNotReplayed,
    /// A sole member does not note what it writes
    BitsNotSet,
    /// A write served alone is answered before its bits are durable
    BitsNotAwaited,
    /// Unacknowledged writes are not noted when the peer has left
    LeaverNotNoted,
    /// Local writes in flight at a freeze are not in doubt
    LocalDoubtsDropped,
    /// Remote writes in flight at a freeze are not in doubt
    RemoteDoubtsDropped,
    /// A freeze lets reads be answered
    FrozenReadsAnswered,
    /// A write that was dropped is answered when the disk has it
    DroppedWritesAnswered,
    /// What a target lacks is forgotten at a freeze
    LacksForgotten,
    /// A target reads its own copy of blocks it lacks
    LacksNotLookedAt,
    /// What a target lacks is cleared when the copy comes, not when it is on disk
    LacksClearedEarly,
    /// An unreadable sector is an error, though the peer has it
    PeerNotRead,
    /// An unreadable sector is read from the peer but not written back
    ReadNotRepaired,
    /// The holder of a lease counts from the answer
    LeaseFromAnswer,
    /// The granter of a lease waits for no margin
    LeaseWithoutMargin,
    /// A lease that has run out is not noticed
    LeaseNotLookedAt,
    /// A node takes requests before it has a lease
    ServesWithoutLease,
    /// A target of an unequal pair, or its source, takes requests before the target is ready
    ServesBeforeReady,
    /// Requests are taken before the superblock is durable
    ServesBeforeDurable,
    /// The peer's lease is not waited for
    LeaseWaitSkipped,
    /// The arbiter is not asked
    ArbiterNotAsked,
    /// Alone before the epoch is durable
    EpochNotDurable,
    /// Alone before the doubts of the freeze are durable
    DoubtsNotDurable,
    /// Alone while the disk still has dropped writes
    DrainNotAwaitedAlone,
    /// An offer is made while the disk still has dropped writes
    DrainNotAwaited,
    /// A grant is heeded after an offer was made
    AbandonedGrantHeeded,
    /// Where the bitmaps cannot tell what differs, only what they say is copied
    EverythingRuleDropped,
    /// What the peer's offer has in doubt is not joined
    DoubtsNotJoined,
    /// The source proceeds before the joined doubts are durable
    JoinNotDurable,
    /// The source does not tell the target what it lacks
    RunsNotTold,
    /// What is written alone, after the target was told of the blocks around it, the target is not told
    LateNotTold,
    /// A target does not note that its copy is inconsistent
    InconsistencyNotNoted,
    /// Writes are admitted while the source settles
    SettlingSkipped,
    /// The source proceeds with writes in flight that the target will not hear of
    UnsettledProceeds,
    /// A write that waits at one node is executed there though the other one has executed it
    CopiesExecuted,
    /// A target does not heed what the source has of writes in doubt
    TargetKeepsItsEffects,
    /// Nodes that meet do not tell each other which numbered writes they remember
    NumbersNotTold,
    /// A copy is sent while a write to its sectors is in flight
    CopyBesideWrite,
    /// A copy is sent of sectors that a write was in flight for while they were read
    CopyOfBefore,
    /// A copy is written over sectors with a write in flight
    CopyDoesNotYield,
    /// A block is in sync when its copy is sent
    CopyNotAwaited,
    /// The target becomes a member with blocks still out of sync
    PromotedEarly,
    /// The peer is not told that the disk has failed
    DiskFailureNotTold,
    /// A disk that has failed counts again after a new start
    LostDiskForgotten,
    /// What is to be repaired at the peer is offered to it as something in doubt, so that its copy may count
    RepairsTakenForDoubts,
    /// A verify that fixes is done before what it has found is copied
    FixNotAwaited,
    /// The only good disk is given up because it cannot write a copy over sectors that it cannot read
    OnlyDiskGivenUpForCopy,
    /// A commit of the peer's clears the bits of a later write that has failed here
    CommitCountsInVain,
    /// What a node lacks it has as soon as its own write is on its disk, whether the peer has it or not
    HereBeforeOver,
    /// A read is answered with what the peer has revoked meanwhile
    LackedSampled,
    /// A read of which one part is at this node and another at the peer is an error
    MixedReadsGivenUp,
    /// A flush that fails after a freeze counts as done
    DroppedFlushBelieved,
    /// What the peer may not know yet of the arbiter does not keep its writes from staying in memory
    CachedUntold,
    /// An offer does not say that a node was not ended in good order
    UncleanNotTold,
    /// A setting that nobody was answered for counts before that of a node that served alone
    SmallStateUnanswered,
    /// An initiator is told of a failed write that the peer can do
    WriteErrorTold,
    /// A write that has failed at its coordinator's disk, the only one that counts, counts at its follower
    RevokedCounts,
    /// A write that has failed at its coordinator's disk, the only one that counts, is remembered as executed by its follower
    RevokedRemembered,
    /// A copy sent before its source could not write the same sectors brings them in sync
    CopyCountsInVain,
    /// A write that has failed at the only disk that counts supersedes the other node's
    FailedSupersedes,
    /// A node that serves alone does not heed that another one does so in a later epoch
    AnotherIgnored,
    /// A node that has agreed with the arbiter that its peer is a member takes it for told
    MemberTakenForTold,
    /// A flush for the peer that failed at the only good disk is forgotten
    FlushUnanswered,
    /// The only good disk is given up when it could not do a write
    OnlyDiskGivenUp,
    /// A write that failed where only the peer, which has left, can read is an error, and its value is read for a while
    LackedCountedOn,
    /// The only disk there is, since the peer has left, or has lost its own, is given up when it could not do a write
    LeaverCountedOn,
    /// A write that counted as executed because a later one came over it still does when that one has failed after the nodes parted
    OvertakenByNothing,
    /// A node is forced into an epoch in which the arbiter has let the other one serve
    ForcedIntoHeldEpoch,
    /// An answer of the arbiter's to what was asked before a force shuts the forced node out
    ForcedWithQuestion,
    /// The arbiter is told of a force that a loss of power may undo
    ForceToldEarly,
    /// The follower of an async volume goes on, after the server's disk has failed, without what was answered ahead
    LeftWithoutAhead,
    /// A node that goes on alone still has it that it ended cleanly
    AloneAsClean,
    /// A node that has lost what was in its memory does not say so when nodes meet
    LostMemoryNotTold,
    /// A node that has lost what was in its memory notes a clean end
    CleanWithoutMemory,
    /// What two verifies find at once is copied both ways
    FixesCross,
    /// Whoever stands in for the server of an async volume answers ahead of it
    AheadOfTheServer,
    /// A FLUSH is answered when one disk has done it
    FlushOfOneDisk,
    /// Writes are answered from memory while the other node could not go on with it
    CachedWhileNotWhole,
    /// Writes are answered from memory while a question to the arbiter that was given up may still be carried out
    CachedBesideStray,
    /// In memory mode, a write that is to be on stable storage is answered from memory
    WishForgotten,
    /// A node goes on alone, after its peer has left, with answered writes in its disk's cache
    LeftWithCache,
    /// A write in flight when the peer has left is answered from the memory of one node
    NotWrittenThrough,
    /// A write that a freeze has dropped stays in the disk's cache
    DroppedIntoCache,
    /// A node leaves with requests in flight
    LeavesBusy,
    /// A node leaves that has what its peer lacks
    LeavesIndispensable,
    /// A node leaves before its peer has heard that it lacks nothing any more
    LeavesUntold,
    /// A node goes on alone, beside a peer that has left, with an offer that this one may take up
    AloneWithOffer,
    /// A node that has left does not say so again to a peer that offers to meet
    LeavesOnce,
    /// A leave that crosses a membership on its way from the peer is not said again when the peer has gone on
    LeaveNotRepeated,
    /// A node that is to come back offers to meet before its peer knows that it had left
    OffersBeforeLeaveIsKnown,
    /// A flush that fails beside a peer that has left takes nothing away, though the peer has what it was to keep
    LeaverHasNothing,
    /// In memory mode what the peer had under way when its disk failed counts as executed before this node may go on alone
    UncommittedCounts,
    /// A write that is written through is waited for by the same writes of the peer's once more
    ReleasesTwice,
    /// In Async mode a follower does not remember that the other node has stopped with all that it had answered
    AllAnsweredForgotten,
    /// A node leaves before it has said what it has heard of the register
    LeavesBeforeItSays,
    /// A node that is told to leave when it has offered to meet does not go on with that
    LeaverDoesNotProceed,
    /// In memory mode a durable write that fails after a freeze has dropped it takes nothing away
    DroppedWriteBelieved,
    /// The only good disk is given up because a durable write fails that was under way when the session ended
    OnlyGoodForgotten,
    /// A node answers from memory before its peer knows that it is a member
    CachedBeforeMemberKnown,
    /// A node that has left goes on to be read where the other one has revoked what it has
    LeaverKeepsRevoked,
    /// A node without a disk hands nothing over to the one that goes on
    NoWayToPeer,
    /// A leaver is clean before its disk has had everything
    CleanTooEarly,
    /// A leaver is clean although what it has offered may make it go on
    CleanWithOffer,
    /// A node that has forgotten what it finished serves at once
    ForgetfulServes,
    /// A node that has forgotten what it finished serves as soon as if the other had forgotten, too
    ForgetfulServesEarly,
    /// A node that comes back to one that served alone serves at once
    ReturnerServes,
    /// A node that comes back does not wait until its address was given back
    AddressNotAwaited,
    /// A node gives the address of one that comes back to it while it still answers there
    AddressGivenEarly,
    /// A node that comes back waits for its address though the other one has left
    AddressKeptByLeaver,
    /// A verify compares sectors with a write in flight
    VerifyDoesNotYield,
    /// A verify takes all copies for equal
    VerifyBlind,
    /// A verify takes the result of a comparison that was begun by the one before it
    VerifyTakesAnything,
    /// A verify that is to fix what differs notes nothing
    FixForgotten,
    /// Of copies that differ node 0's counts, also where node 1 was told to fix it
    FixTakesNodeZeros,
    /// A verify that is to fix what differs has the peer give up its copy of what cannot be read here
    FixSendsUnreadable,
    /// Hosts do not hear how large a volume is as long as it is on its way to a larger size still
    SizeNotToldWhileGrowing,
    /// Of two small states of one revision both nodes take the other's
    SmallStateTie,
    /// A newer small state is not told to a peer that comes back
    SmallStateNotShared,
}

/// Which mistake an engine makes, if any.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Mutations {
    #[cfg(feature = "mutations")]
    pub(crate) chosen: Option<Mutation>,
}

impl Mutations {
    #[cfg(feature = "mutations")]
    pub(crate) fn has(self, mutation: Mutation) -> bool {
        self.chosen == Some(mutation)
    }

    #[cfg(not(feature = "mutations"))]
    pub(crate) const fn has(self, _: Mutation) -> bool {
        false
    }
}
