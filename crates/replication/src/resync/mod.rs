//! Making the copies equal again while both nodes serve.
//!
//! The source goes through the out-of-sync blocks and sends them, a few at a time; the target writes what no write is in
//! flight for and says so, and the source clears the bits. A block whose sectors are being written is left for later on
//! either side: a copy is older than every write. Nothing is decided here about who is the source.

mod pace;
mod source;
mod target;
pub(crate) mod verify;

use block::{EntryId, ExportId, Instant, Lba, LbaRange};

use crate::heal::Places;
use crate::message::Token;

pub(crate) use pace::Pace;
pub use pace::ResyncRate;
pub use verify::VerifyStatus;

/// The smallest copy.
const ONE_BLOCK: u16 = 8;
const _: () = assert!(ONE_BLOCK as u64 == crate::meta::layout::SECTORS_PER_BIT);

/// How far a resync has come on the source's side.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Resync {
    /// Where the search for out-of-sync blocks goes on.
    pub(crate) cursor: Lba,
    /// Copies under way.
    pub(crate) copies: u32,
    pub(crate) pace: Pace,
    /// So many copies are of one block each: something among them could not be read.
    pub(crate) singly: u64,
    /// Blocks that could not be read, of which the operator has been told.
    pub(crate) unreadable: Places,
    /// As who asked for copies: none are written before then, because the last one could not be.
    pub(crate) no_copies_until: Instant,
    /// Send a checksum first, and data only where it differs.
    pub(crate) checksums: bool,
    /// An online verify, if one is under way.
    pub(crate) verify: Option<verify::Progress>,
    /// One of the peer's, as far as it is seen here.
    pub(crate) peer_verify: Option<verify::PeerProgress>,
}

impl Resync {
    pub(crate) fn new(rate: ResyncRate, checksums: bool) -> Self {
        Self {
            cursor: Lba(0),
            copies: 0,
            pace: Pace::new(rate),
            singly: 0,
            unreadable: Places::default(),
            no_copies_until: Instant::from_nanos(0),
            checksums,
            verify: None,
            peer_verify: None,
        }
    }

    /// Goes so fast from now on.
    pub(crate) fn set_pace(&mut self, rate: ResyncRate, checksums: bool) {
        self.pace = Pace::new(rate);
        self.checksums = checksums;
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum CopyStage {
    /// The source reads it.
    Reading,
    /// Its digest is being made.
    Digesting,
    /// The target has been told.
    Sent,
    /// Given up while the disk had it.
    Dropped,
}

/// A copy at the source.
#[derive(Debug)]
pub(crate) struct CopyOut {
    pub(crate) export: ExportId,
    pub(crate) range: LbaRange,
    pub(crate) stage: CopyStage,
    /// A write to the sectors has ended since the disk was asked for them: what it gives may be older.
    pub(crate) is_outdated: bool,
    /// Whether the target is asked by checksum whether it needs the data.
    pub(crate) by_digest: bool,
    /// The target lacks sectors of it since, whatever the copy does.
    pub(crate) in_vain: bool,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum CopyInWork {
    /// Sectors of the source, on their way to the disk.
    Write,
    /// The target's own, to be compared with the source's digest.
    Compare {
        /// The source's.
        digest: u128,
    },
    /// Sectors of this node's, for an online verify that it has begun.
    VerifyOwn,
    /// The same for the peer's verify.
    VerifyForPeer {
        /// The peer's.
        digest: u128,
    },
}

/// Something at the target, or on either side of a verify, that holds its sectors.
#[derive(Debug)]
pub(crate) struct CopyIn {
    pub(crate) export: ExportId,
    /// The peer's name for it.
    pub(crate) peer: Token,
    pub(crate) range: LbaRange,
    pub(crate) work: CopyInWork,
    pub(crate) data: Option<block::BufferSlice>,
    pub(crate) claim: Option<EntryId>,
    /// When it began to hold its sectors, in the order of what happens.
    pub(crate) order: u64,
    pub(crate) at_disk: bool,
    pub(crate) dropped: bool,
    /// The source has said since that this node lacks sectors of it.
    pub(crate) in_vain: bool,
}
