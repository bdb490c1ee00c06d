//! The 32 bytes that begin every message, and the kinds there are.
//!
//! ```text
//!   0      4         6      7       8        12            16            20         24     28          32
//!   ┌──────┬─────────┬──────┬───────┬────────┬─────────────┬─────────────┬──────────┬──────┬───────────┬──────┬──────┐
//!   │magic │ version │ kind │ flags │ volume │ length of   │ length of   │ CRC of   │ zero │ CRC of    │ body │ data │
//!   │      │         │      │       │        │ the body    │ the data    │ the data │      │ 0-27,body │      │      │
//!   └──────┴─────────┴──────┴───────┴────────┴─────────────┴─────────────┴──────────┴──────┴───────────┴──────┴──────┘
//! ```
//!
//! It keeps this shape in all versions. Body and data are refused by their lengths before a byte of them is read.

use std::fmt;
use std::ops::Range;

use super::view::{Bytes, BytesMut};
use super::{BODY_BYTES_MAX, WireError};
use crate::version::Version;

/// Bytes of a head.
pub const HEADER_BYTES: usize = 32;

/// First bytes of every message. The line end breaks where something treats it as text.
const MAGIC: [u8; 4] = *b"EP\r\n";
/// In the place of the version where the shape is that of all versions.
const ALL_VERSIONS: u16 = 0;
/// The data has a checksum.
const DATA_CHECKED: u8 = 1;

mod field {
    use std::ops::Range;

    pub(super) const MAGIC: Range<usize> = 0..4;
    pub(super) const VERSION: Range<usize> = 4..6;
    pub(super) const KIND: usize = 6;
    pub(super) const FLAGS: usize = 7;
    pub(super) const VOLUME: Range<usize> = 8..12;
    pub(super) const BODY_LENGTH: Range<usize> = 12..16;
    pub(super) const DATA_LENGTH: Range<usize> = 16..20;
    pub(super) const DATA_CRC: Range<usize> = 20..24;
    pub(super) const CRC: Range<usize> = 28..32;
}

/// Defines the kinds once: name and number. 50 and 51 were meant for writes of a node without a disk, which none has ever sent; they are
/// not given to another kind.
macro_rules! kinds {
    ($($name:ident = $number:literal),* $(,)?) => {
        /// What a message is: the variants of [`crate::message::Message`] and of its
        /// [`VolumeMessage`](crate::message::VolumeMessage).
        #[derive(Clone, Copy, Debug, Eq, PartialEq)]
        pub enum Kind { $(#[doc = concat!("Number ", $number, ".")] $name),* }

        impl Kind {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The number in the head.
            #[must_use]
            pub const fn number(self) -> u8 {
                match self { $(Self::$name => $number),* }
            }

            /// The kind with that number.
            #[must_use]
            pub const fn from_number(number: u8) -> Option<Self> {
                match number { $($number => Some(Self::$name),)* _ => None }
            }
        }
    };
}

kinds! {
    Hello = 1, Goodbye = 2, Renew = 3, Granted = 4, Announce = 5, LinksDown = 6,
    OutOfSync = 16, Doubtful = 17, Offer = 18, Proceed = 19, Ready = 20,
    Replicate = 32, Ack = 33, Commit = 34,
    Fetch = 48, Fetched = 49, Flush = 52, Flushed = 53, Handed = 54,
    Copy = 64, CopyDigest = 65, Copied = 66, CopyYielded = 67, CopyDiffers = 68, Missing = 69, Verify = 70,
    Verified = 71,
    Member = 80, MemberKnown = 81, Leave = 82, DiskFailed = 83, Resize = 84, ResizeAnswered = 85,
    GivenBack = 86,
    SmallState = 96, SmallStateKnown = 97, Numbers = 98,
}

impl Kind {
    /// Whether its shape is the same in all versions.
    #[must_use]
    pub const fn is_of_all_versions(self) -> bool {
        matches!(self, Self::Hello | Self::Goodbye)
    }

    /// The first version that has it.
    #[must_use]
    pub const fn since(self) -> Version {
        match self {
            Self::GivenBack => Version::V3,
            Self::LinksDown => Version::V5,
            _ => Version::V1,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, formatter)
    }
}

/// The data of a message as its head describes it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Data {
    /// How many bytes.
    pub bytes: u32,
    /// Their CRC-32, if they are checked.
    pub crc: Option<u32>,
}

impl Data {
    /// None follows.
    pub const NONE: Self = Self { bytes: 0, crc: None };

    /// These bytes follow, and the receiver checks that they are the same.
    ///
    /// # Panics
    /// If they are more than a range can have.
    #[must_use]
    pub fn checked(bytes: &[u8]) -> Self {
        Self { crc: Some(crc32fast::hash(bytes)), ..Self::unchecked(bytes.len()) }
    }

    /// So many bytes follow, and nothing but TCP's checksum guards them.
    ///
    /// # Panics
    /// If they are more than a range can have.
    #[must_use]
    pub fn unchecked(bytes: usize) -> Self {
        Self { bytes: u32::try_from(bytes).expect("no more than a range of sectors has"), crc: None }
    }
}

/// The head of a message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Header {
    /// What the message is.
    pub kind: Kind,
    /// What the receiver calls the volume; 0 where it is about none.
    pub volume: u32,
    /// Bytes of the body.
    pub body_bytes: usize,
    /// What follows the body.
    pub data: Data,
    /// Checksum of the head without this, and of the body.
    crc: u32,
    /// What of it goes before the body's.
    seed: u32,
}

impl Header {
    /// Writes the head of a message of a session of that version, whose body stands behind it already.
    ///
    /// # Panics
    /// If the body is longer than [`BODY_BYTES_MAX`], or `message` shorter, or if that version does not have the kind.
    pub fn emit(
        version: Version,
        kind: Kind,
        volume: u32,
        body_bytes: usize,
        data: Data,
        message: &mut [u8],
    ) -> usize {
        assert!(body_bytes <= BODY_BYTES_MAX, "lists are bounded when they are made");
        assert!(kind.since() <= version, "version {version} has no {kind}");
        let end = HEADER_BYTES + body_bytes;
        let version = if kind.is_of_all_versions() { ALL_VERSIONS } else { version.number() };
        let head = &mut message[..HEADER_BYTES];
        head.fill(0);
        head[field::MAGIC].copy_from_slice(&MAGIC);
        head.put_u16(field::VERSION, version);
        head[field::KIND] = kind.number();
        head[field::FLAGS] = if data.crc.is_some() { DATA_CHECKED } else { 0 };
        head.put_u32(field::VOLUME, volume);
        head.put_u32(field::BODY_LENGTH, u32::try_from(body_bytes).expect("just compared"));
        head.put_u32(field::DATA_LENGTH, data.bytes);
        head.put_u32(field::DATA_CRC, data.crc.unwrap_or(0));
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&message[..field::CRC.start]);
        hasher.update(&message[HEADER_BYTES..end]);
        message.put_u32(field::CRC, hasher.finalize());
        end
    }

    /// Reads a head in a session of that version, or in one that has not agreed on any.
    ///
    /// # Errors
    /// What cannot stand in a head.
    pub fn parse(head: &[u8; HEADER_BYTES], session: Option<Version>) -> Result<Self, WireError> {
        if head[field::MAGIC] != MAGIC {
            return Err(WireError::Magic { found: [head[0], head[1], head[2], head[3]] });
        }
        let kind = parse_kind(head, session)?;
        let body_bytes = length(head, field::BODY_LENGTH);
        if body_bytes > BODY_BYTES_MAX {
            return Err(WireError::BodyLength { kind, found: body_bytes });
        }
        let checked = head[field::FLAGS] & DATA_CHECKED != 0;
        let crc = checked.then(|| head.u32(field::DATA_CRC));
        Ok(Self {
            kind,
            volume: head.u32(field::VOLUME),
            body_bytes,
            data: Data { bytes: head.u32(field::DATA_LENGTH), crc },
            crc: head.u32(field::CRC),
            seed: crc32fast::hash(&head[..field::CRC.start]),
        })
    }

    /// Whether head and body arrived as they were sent.
    ///
    /// # Errors
    /// [`WireError::Checksum`] if not.
    pub fn check(&self, body: &[u8]) -> Result<(), WireError> {
        let mut hasher = crc32fast::Hasher::new_with_initial(self.seed);
        hasher.update(body);
        let computed = hasher.finalize();
        if computed == self.crc { Ok(()) } else { Err(WireError::Checksum { found: self.crc, computed }) }
    }
}

/// Version before kind: of a later version's kinds nothing is known.
fn parse_kind(head: &[u8; HEADER_BYTES], session: Option<Version>) -> Result<Kind, WireError> {
    let (found, number) = (head.u16(field::VERSION), head[field::KIND]);
    let kind = Kind::from_number(number);
    if found == ALL_VERSIONS {
        let kind = kind.filter(|kind| kind.is_of_all_versions());
        return kind.ok_or(WireError::Kind { found: number });
    }
    match session {
        None => Err(WireError::NoSession { kind: number }),
        Some(version) if version.number() != found => Err(WireError::Version { found, session: version }),
        Some(version) => {
            let is_its = |kind: &Kind| !kind.is_of_all_versions() && kind.since() <= version;
            kind.filter(is_its).ok_or(WireError::Kind { found: number })
        }
    }
}

fn length(head: &[u8], field: Range<usize>) -> usize {
    usize::try_from(head.u32(field)).unwrap_or(usize::MAX)
}
