//! Every limit of the engine, with its reason. What is on disk has its limits in [`crate::meta::layout`].

use block::Duration;

use crate::meta::layout::HOT_EXTENTS_MAX;

/// How long a lease lasts. With a peer that died this is the larger part of the stall, since what is granted has to run
/// out; with a peer that is alive it must outlast the longest hiccup of a busy node.
pub const LEASE: Duration = Duration::from_millis(1000);
/// Clocks may differ in rate by this much: 1/`LEASE_MARGIN` of the lease is waited longer. Crystals are 10,000 times better.
pub const LEASE_MARGIN: u32 = 20;
/// A lease is renewed so often while it lasts: three renewals may be late.
pub const LEASE_RENEWALS: u32 = 4;
/// How long an answer of the arbiter is waited for before it is asked again.
pub const ARBITER_RETRY: Duration = Duration::from_millis(500);
/// A frame that an initiator sent before it got its answer may be taken this long after: a second on the wire, a second in
/// a queue, and what an answer takes. A node that may have forgotten, or never heard, serves nothing for so long.
pub const MEMORY_WINDOW: Duration = Duration::from_millis(3000);
/// Two nodes that have both been started since they answered anything wait less: nobody has anything under way. A second on the
/// wire, half a second with the node that hands a frame over ([`HANDED_AGE_MAX`]), and as much again to spare.
pub const MEMORY_WINDOW_OF_BOTH: Duration = Duration::from_millis(2000);
/// In sessions before version 3, which cannot say when, a node answers for so long for a peer that has come back and is quiet:
/// not for the whole window above, even if this clock is slow, so that never both answer at one address.
pub const PEER_QUIET: Duration = MEMORY_WINDOW.saturating_sub(Duration::from_millis(150));
/// A question that nobody answers, not even to say that there is no answer, is asked again after this time.
pub const ARBITER_PATIENCE: Duration = Duration::from_millis(2000);
/// A question that was given up may still be carried out for so long: whoever carries it closes the connection before.
pub const QUESTION_LIFE: Duration = Duration::from_secs(10);
/// A copy that was in the way of a write is tried again after this time.
pub const COPY_RETRY: Duration = Duration::from_millis(5);
/// What the only good disk could not write over sectors that it cannot read either is not tried again before.
pub const UNWRITABLE_RETRY: Duration = Duration::from_secs(1);
/// Sectors in one copy of a resync: 128 KiB, the most that an interval table's entry may have.
pub const COPY_SECTORS: u16 = 256;
/// Runs of blocks in one message: keeps a message below 8 KiB.
pub const RUNS_PER_MESSAGE: usize = 500;
/// Blocks of the bitmap that a meeting joins at once, for half a TiB of a volume: some milliseconds where each has to be looked
/// through. Between two such steps whatever else has happened is looked after.
pub const BITMAP_BLOCKS_AT_ONCE: u32 = 4096;
/// Doubtful writes in one message: keeps it below 8 KiB.
pub const DOUBTFUL_PER_MESSAGE: usize = 150;
/// Writes in doubt that a node keeps of a volume with which it goes on alone: as many as may be in flight, and it may lose its peer again
/// before that was told.
pub const DOUBTFUL_KEPT_MAX: usize = 16_384;
/// Writes in doubt of a volume that a node takes from its peer: what that one has kept, and what both had in flight, whatever their limits.
pub const DOUBTFUL_MAX: usize = 65_536;
/// Writes in memory of a volume that the peer has under way here: no activity log of its has room for more.
pub const UNFLUSHED_MAX: usize = HOT_EXTENTS_MAX as usize;
/// Words of 64 numbers in the memory of an initiator of sequenced writes.
pub const NUMBER_WORDS: usize = 16;
/// Memories of initiators in one message: keeps it below 8 KiB.
pub const NUMBERS_PER_MESSAGE: usize = 29;
/// Initiators of a volume that a node tells its peer of: as many as a target remembers.
pub const NUMBERS_MAX: usize = 1024;

/// Epochs, revisions and the numbers of records are counted from 1, and none comes near this: at a million a second in 290,000 years. A larger
/// one is refused wherever it comes from, from disk or from the peer: so whoever counts on never comes to the end.
pub const COUNTED_MAX: u64 = 1 << 63;

/// The longest frame that is handed over; no network card has longer ones.
pub const HANDED_BYTES_MAX: u32 = 16 << 10;
/// A frame that is handed over came at most so long ago: what takes longer is dropped, and the initiator sends it again.
pub const HANDED_AGE_MAX: Duration = Duration::from_millis(500);
/// For so long after a peer that has come back answers at its own address frames that a switch still sends here go there.
pub const HAND_BACK: Duration = Duration::from_secs(1);

/// How much one engine holds at a time; all of it is reserved at once.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Requests from above, reads and writes: slots of their ids are below this.
    pub requests: usize,
    /// Writes, reads and copies that the peer has under way here, of each so many. A peer that sends more breaks the protocol.
    pub followed: usize,
    /// Copies of a resync under way at once, over all volumes.
    pub copies: usize,
    /// Volumes.
    pub volumes: usize,
    /// Runs of blocks that are on their way to the peer at once, when nodes meet.
    pub runs_at_once: usize,
}

impl Limits {
    /// Enough for a shard with the target's usual limits. The runs are 128 KiB: a renewal of the lease waits behind them for a
    /// hundredth of a second on a link of 100 Mbit/s.
    pub const DEFAULT: Self = Self {
        requests: 4096,
        followed: 8192,
        copies: 64,
        volumes: 4096,
        runs_at_once: 16 * RUNS_PER_MESSAGE,
    };

    /// Writes that are answered ahead of the peer at a time, over all volumes: with as many as requests may come it still follows all.
    #[must_use]
    pub const fn ahead_max(&self) -> usize {
        self.followed.saturating_sub(self.requests)
    }
}

const _: () = {
    assert!(
        MEMORY_WINDOW.as_millis() - PEER_QUIET.as_millis()
            >= MEMORY_WINDOW.as_millis() / LEASE_MARGIN as u128,
        "clocks may differ by the margin"
    );
    assert!(
        MEMORY_WINDOW_OF_BOTH.as_millis() >= 1000 + HANDED_AGE_MAX.as_millis()
            && MEMORY_WINDOW_OF_BOTH.as_millis() <= MEMORY_WINDOW.as_millis(),
        "no frame is older"
    );
    assert!(
        LEASE.as_millis() * (1 + LEASE_MARGIN as u128) / (LEASE_MARGIN as u128) + 1000 < 3000,
        "a stall is short"
    );
    assert!(Limits::DEFAULT.requests + Limits::DEFAULT.followed < 65_536, "slots of request ids");
};
