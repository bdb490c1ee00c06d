//! The one shape of every record, and what can be wrong with one.
//!
//! ```text
//!   0      8         10     11     12       16      24               40         48        52       60       64
//!   ┌──────┬─────────┬──────┬──────┬────────┬───────┬────────────────┬──────────┬─────────┬────────┬────────┬─────────┐
//!   │magic │ version │ kind │ zero │ length │ place │ format identity│ sequence │ CRC of  │ zero   │ CRC of │ payload │
//!   │      │         │      │      │        │       │                │          │ payload │        │ header │         │
//!   └──────┴─────────┴──────┴──────┴────────┴───────┴────────────────┴──────────┴─────────┴────────┴────────┴─────────┘
//! ```
//!
//! All numbers little-endian. The header says where the record belongs (a misdirected one is recognised), whose it is (a
//! foreign one), and which in the row it is (a stale one). Two checksums, so that a header is trusted before the length it
//! gives is. CRC-32 is enough here: a record is at most 8 KiB, at which length it finds every burst of up to 32 bits and
//! passes one in 2³² of arbitrary damage, and nothing decides by it alone what a user's data is.

use std::fmt;

use thiserror::Error;

use super::layout::{Place, RECORD_BYTES, SMALL_STATE_BYTES};
use super::version::Version;
use crate::identity::FormatIdentity;
use crate::limits::COUNTED_MAX;

/// Bytes before the payload.
pub const HEADER_BYTES: usize = 64;

/// First bytes of every record. The line ends break where a tool treats it as text.
const MAGIC: [u8; 8] = *b"EPmeta\r\n";

mod field {
    use std::ops::Range;

    pub(super) const MAGIC: Range<usize> = 0..8;
    pub(super) const VERSION: Range<usize> = 8..10;
    pub(super) const KIND: usize = 10;
    pub(super) const LENGTH: Range<usize> = 12..16;
    pub(super) const PLACE: Range<usize> = 16..24;
    pub(super) const FORMAT: Range<usize> = 24..40;
    pub(super) const SEQUENCE: Range<usize> = 40..48;
    pub(super) const PAYLOAD_CRC: Range<usize> = 48..52;
    pub(super) const HEADER_CRC: Range<usize> = 60..64;
}

/// What a record is.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Kind {
    /// What the volume is, and who serves it.
    Superblock,
    /// One step of the activity log.
    Transaction,
    /// 32,256 bits of the bitmap.
    BitmapBlock,
    /// What AoE clients have set.
    SmallState,
}

impl Kind {
    /// The number in the header.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Superblock => 1,
            Self::Transaction => 2,
            Self::BitmapBlock => 3,
            Self::SmallState => 4,
        }
    }

    /// Bytes of its place.
    #[must_use]
    pub const fn bytes(self) -> usize {
        match self {
            Self::Superblock | Self::Transaction | Self::BitmapBlock => RECORD_BYTES,
            Self::SmallState => SMALL_STATE_BYTES,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Superblock => "superblock",
            Self::Transaction => "activity-log transaction",
            Self::BitmapBlock => "bitmap block",
            Self::SmallState => "small state",
        })
    }
}

/// How many records of its row were written before this one, and this one. The first is 1.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Sequence(pub u64);

impl Sequence {
    /// Nothing was written yet.
    pub const NONE: Self = Self(0);
    /// The last that is read; no row gets so far.
    pub const LAST: Self = Self(COUNTED_MAX);

    /// The one after this.
    ///
    /// # Panics
    /// After 2⁶⁴ − 1 records. One that is read and claims to come after [`Sequence::LAST`] is refused, so nobody comes here from disk.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.checked_add(1).expect("sequence numbers do not run out"))
    }
}

impl fmt::Display for Sequence {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// What the header of a record says besides lengths and checksums.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Label {
    /// What it is.
    pub kind: Kind,
    /// Where it belongs.
    pub place: Place,
    /// Whose it is.
    pub format: FormatIdentity,
    /// Which in the row.
    pub sequence: Sequence,
}

/// A record that was read and is what it should be.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Record<'a> {
    /// By which version the payload is to be read.
    pub version: Version,
    /// Whose it is.
    pub format: FormatIdentity,
    /// Which in the row.
    pub sequence: Sequence,
    /// What it holds.
    pub payload: &'a [u8],
}

/// What a reader expects at a place.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Expected {
    /// What should be there.
    pub kind: Kind,
    /// Where it is read from.
    pub place: Place,
    /// Whose it should be; `None` for a superblock, which is read to learn this.
    pub format: Option<FormatIdentity>,
}

impl Expected {
    /// This place does not hold what it should.
    #[must_use]
    pub const fn flawed(self, flaw: Flaw) -> RecordError {
        RecordError { kind: self.kind, place: self.place, flaw }
    }
}

/// A record that is not used.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[error("{kind} at {place}: {flaw}")]
pub struct RecordError {
    /// What should be there.
    pub kind: Kind,
    /// Where.
    pub place: Place,
    /// What is wrong.
    pub flaw: Flaw,
}

/// What is wrong with a record.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum Flaw {
    /// Nothing but zeros.
    #[error(
        "never written; if this is a volume's metadata, it was overwritten with zeros: make new metadata and resync"
    )]
    Blank,
    /// The file ends too early.
    #[error(
        "only {bytes} bytes are left in the file; restore the end of the metadata, or make it anew and resync"
    )]
    CutShort {
        /// How many there are.
        bytes: usize,
    },
    /// Something else stands there.
    #[error(
        "no record (it begins with {found:02x?}); look whether this is the metadata of the volume, or something wrote over it"
    )]
    NotARecord {
        /// The first bytes.
        found: [u8; 8],
    },
    /// Torn or rotten.
    #[error(
        "the header is torn or damaged (checksum {found:08x}, not {computed:08x}); the copy before it is used, or resync"
    )]
    HeaderChecksum {
        /// What it says.
        found: u32,
        /// What it is.
        computed: u32,
    },
    /// A later program's.
    #[error("format version {found}, this program knows 1 to {known}; use the newer etherpair that wrote it", known = Version::CURRENT)]
    UnknownVersion {
        /// What it says.
        found: u16,
    },
    /// A record of another kind.
    #[error(
        "a record of kind {found} lies there, written to the wrong place; suspect the disk, make new metadata and resync"
    )]
    OtherKind {
        /// What it says.
        found: u8,
    },
    /// A record that belongs elsewhere: a misdirected write, or a copied part of the disk.
    #[error(
        "the record {sequence} of {found} lies there, written to the wrong place; suspect the disk, make new metadata and resync"
    )]
    Misdirected {
        /// Where it belongs.
        found: Place,
        /// Which it is.
        sequence: Sequence,
    },
    /// Another volume's, another node's, or from before the metadata was made anew.
    #[error(
        "it belongs to the metadata {found}, not to this; look whether the right file or disk is in its place"
    )]
    Foreign {
        /// Whose it is.
        found: FormatIdentity,
    },
    /// Longer than its place, or shorter than its kind.
    #[error("{found} bytes of payload do not fit a record of this kind; make new metadata and resync")]
    Length {
        /// What it says.
        found: u32,
    },
    /// Torn or rotten.
    #[error(
        "the payload is torn or damaged (checksum {found:08x}, not {computed:08x}); the copy before it is used, or resync"
    )]
    PayloadChecksum {
        /// What it says.
        found: u32,
        /// What it is.
        computed: u32,
    },
    /// A sequence number that is never written there: each one has its place.
    #[error("sequence number {found} is never written at this place; make new metadata and resync")]
    OutOfRow {
        /// What it says.
        found: Sequence,
    },
    /// The checksums fit and the meaning does not: a fault of the program that wrote it.
    #[error("its {what} is out of range; the program that wrote it was faulty: make new metadata and resync")]
    Value {
        /// Which value.
        what: &'static str,
    },
}

/// Makes `slot` a record: its payload is the `length` bytes from [`HEADER_BYTES`] on, which stand there already. What
/// follows them in the slot is made zero.
///
/// # Panics
/// If the payload does not fit.
pub fn seal(slot: &mut [u8], label: &Label, length: usize) {
    let (header, payload) = slot.split_at_mut(HEADER_BYTES);
    payload[length..].fill(0);
    let length_field = u32::try_from(length).expect("a record is a few KiB");
    header.fill(0);
    header[field::MAGIC].copy_from_slice(&MAGIC);
    header[field::VERSION].copy_from_slice(&Version::CURRENT.number().to_le_bytes());
    header[field::KIND] = label.kind.number();
    header[field::LENGTH].copy_from_slice(&length_field.to_le_bytes());
    header[field::PLACE].copy_from_slice(&label.place.0.to_le_bytes());
    header[field::FORMAT].copy_from_slice(&label.format.0.to_le_bytes());
    header[field::SEQUENCE].copy_from_slice(&label.sequence.0.to_le_bytes());
    header[field::PAYLOAD_CRC].copy_from_slice(&crc32fast::hash(&payload[..length]).to_le_bytes());
    let header_crc = crc32fast::hash(&header[..field::HEADER_CRC.start]);
    header[field::HEADER_CRC].copy_from_slice(&header_crc.to_le_bytes());
}

/// Makes of `slot` what no record is, nor becomes with any sectors of another one: not zeros, which records have, too. Before a torn
/// place is written again it is made this. Otherwise a second torn write could supply what the first one lacked, and something would
/// come back that was never found.
pub fn scramble(slot: &mut [u8], place: Place, format: FormatIdentity) {
    let [low, high] = [format.0.to_le_bytes(), format.0.to_be_bytes()].map(|bytes| array::<8>(&bytes, 0..8));
    let seed = u64::from_le_bytes(low) ^ u64::from_be_bytes(high) ^ place.0;
    for (word, step) in slot.chunks_mut(8).zip(1..) {
        let mut mixed = 0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(step).wrapping_add(seed);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word.copy_from_slice(&(mixed ^ (mixed >> 31)).to_le_bytes()[..word.len()]);
    }
}

/// Reads the record in `slot`, which was read from `expected.place`.
///
/// # Errors
/// The first thing that is wrong with it.
pub fn open<'a>(slot: &'a [u8], expected: &Expected) -> Result<Record<'a>, RecordError> {
    look(slot, expected).map_err(|flaw| expected.flawed(flaw))
}

fn look<'a>(slot: &'a [u8], expected: &Expected) -> Result<Record<'a>, Flaw> {
    if slot.len() < expected.kind.bytes() {
        return Err(Flaw::CutShort { bytes: slot.len() });
    }
    let (header, payload) = slot.split_at(HEADER_BYTES);
    check_header(slot, header)?;
    let number = u16::from_le_bytes(array(header, field::VERSION));
    let version = Version::from_number(number).ok_or(Flaw::UnknownVersion { found: number })?;
    let sequence = Sequence(u64::from_le_bytes(array(header, field::SEQUENCE)));
    let format = check_label(header, expected, sequence)?;
    let length = u32::from_le_bytes(array(header, field::LENGTH));
    let payload = usize::try_from(length)
        .ok()
        .and_then(|end| payload.get(..end))
        .ok_or(Flaw::Length { found: length })?;
    let found = u32::from_le_bytes(array(header, field::PAYLOAD_CRC));
    let computed = crc32fast::hash(payload);
    if found != computed {
        return Err(Flaw::PayloadChecksum { found, computed });
    }
    if sequence == Sequence::NONE || sequence > Sequence::LAST {
        return Err(Flaw::OutOfRow { found: sequence });
    }
    Ok(Record { version, format, sequence, payload })
}

fn check_header(slot: &[u8], header: &[u8]) -> Result<(), Flaw> {
    let magic: [u8; 8] = array(header, field::MAGIC);
    if magic != MAGIC {
        return Err(if is_blank(slot) { Flaw::Blank } else { Flaw::NotARecord { found: magic } });
    }
    let found = u32::from_le_bytes(array(header, field::HEADER_CRC));
    let computed = crc32fast::hash(&header[..field::HEADER_CRC.start]);
    if found == computed { Ok(()) } else { Err(Flaw::HeaderChecksum { found, computed }) }
}

fn check_label(header: &[u8], expected: &Expected, sequence: Sequence) -> Result<FormatIdentity, Flaw> {
    let format = FormatIdentity(u128::from_le_bytes(array(header, field::FORMAT)));
    // Whose before where: a foreign record says nothing of our disk's faults.
    if expected.format.is_some_and(|ours| ours != format) {
        return Err(Flaw::Foreign { found: format });
    }
    let place = Place(u64::from_le_bytes(array(header, field::PLACE)));
    if place != expected.place {
        return Err(Flaw::Misdirected { found: place, sequence });
    }
    if header[field::KIND] != expected.kind.number() {
        return Err(Flaw::OtherKind { found: header[field::KIND] });
    }
    Ok(format)
}

/// Whether there is nothing but zeros.
fn is_blank(slot: &[u8]) -> bool {
    slot.chunks(64).all(|chunk| chunk.iter().fold(0, |all, byte| all | byte) == 0)
}

/// The bytes of a field.
pub(super) fn array<const N: usize>(bytes: &[u8], field: std::ops::Range<usize>) -> [u8; N] {
    bytes[field].try_into().expect("a field is as long as its type")
}
