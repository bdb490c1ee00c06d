//! What is said first on every connection between two nodes, before it becomes a shard's stream of messages or carries
//! requests of the control plane.
//!
//! ```text
//!   0      4       5      6      7        8      24      28       32       34       36        60    64
//!   ┌──────┬───────┬──────┬──────┬────────┬──────┬───────┬────────┬────────┬────────┬─────────┬─────┐
//!   │magic │ shape │ kind │ node │ reason │ pair │ shard │ shards │ oldest │ newest │ program │ CRC │
//!   └──────┴───────┴──────┴──────┴────────┴──────┴───────┴────────┴────────┴────────┴─────────┴─────┘
//! ```
//!
//! Whoever connects says it first; the answer has the same shape, and where both nodes speak version 4 a number in the place of the shards,
//! which whoever connects says back before anything else ([`Purpose::Confirmed`]). So what was recorded of an earlier
//! connection opens none. It decides who speaks, about what and in which versions of the
//! protocol it could, so that two nodes that do not understand each other know why before a stream stands. The version of a stream
//! is agreed upon by its `Hello`, from the same ranges.

use thiserror::Error;

use crate::identity::PairIdentity;
use crate::membership::NodeNumber;
use crate::version::{Version, VersionRange};

/// Bytes of a preamble.
pub const PREAMBLE_BYTES: usize = 64;

const MAGIC: [u8; 4] = *b"EPp\n";
const VERSION: u8 = 1;

mod field {
    use std::ops::Range;

    pub(super) const MAGIC: Range<usize> = 0..4;
    pub(super) const VERSION: usize = 4;
    pub(super) const KIND: usize = 5;
    pub(super) const NODE: usize = 6;
    pub(super) const REASON: usize = 7;
    pub(super) const PAIR: Range<usize> = 8..24;
    pub(super) const SHARD: Range<usize> = 24..28;
    pub(super) const SHARDS: Range<usize> = 28..32;
    pub(super) const NONCE: Range<usize> = 24..32;
    pub(super) const OLDEST: Range<usize> = 32..34;
    pub(super) const NEWEST: Range<usize> = 34..36;
    pub(super) const PROGRAM: Range<usize> = 36..60;
    pub(super) const CRC: Range<usize> = 60..64;
}

/// What a connection is for, or what is answered.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Purpose {
    /// The messages of one shard.
    Shard {
        /// Which.
        shard: u32,
        /// Of how many: both nodes spread their volumes alike.
        shards: u32,
    },
    /// Requests of the control plane.
    Control,
    /// Answer: what follows is what was wanted.
    Accepted {
        /// What whoever connects has to say back, if both nodes speak version 4.
        nonce: u64,
    },
    /// Answer: it is not, and the connection ends.
    Refused(PreambleRefusal),
    /// What the answer said, back: whoever connects has heard it.
    Confirmed {
        /// The number of the answer.
        nonce: u64,
    },
}

/// Why a connection is not wanted.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum PreambleRefusal {
    /// The nodes have no version in common.
    #[error("the nodes have no version of the peer protocol in common; upgrade etherpair on the older one")]
    Version,
    /// It is another pair's.
    #[error("the nodes have different values of `pair` in their configurations")]
    Pair,
    /// Both are the same node.
    #[error(
        "both nodes have the same value of `node` in their configurations, or an address leads to the node itself"
    )]
    Node,
    /// They spread their volumes differently.
    #[error("the nodes have different values of `count` in [threads] of their configurations")]
    Shards,
    /// Node 1 connects, node 0 is connected to.
    #[error("streams are opened by node 1 only; its program is faulty: upgrade it")]
    Direction,
    /// Too much is going on.
    #[error("the peer has too many connections open; see its log")]
    Busy,
}

impl PreambleRefusal {
    const ALL: [Self; 6] = [Self::Version, Self::Pair, Self::Node, Self::Shards, Self::Direction, Self::Busy];
}

/// What is said first on a connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Preamble {
    /// Of which pair the speaker is.
    pub pair: PairIdentity,
    /// Which node it is.
    pub node: NodeNumber,
    /// What for.
    pub purpose: Purpose,
    /// Versions of the peer protocol that it speaks.
    pub versions: VersionRange,
    /// Its program's version, for operators; nothing more follows from it.
    pub program: ProgramName,
}

/// A program's version as its node says it: at most 24 printable characters of ASCII.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct ProgramName([u8; field::PROGRAM.end - field::PROGRAM.start]);

impl ProgramName {
    /// The beginning of the text, as far as there is room for it.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let mut name = Self::default();
        for (byte, known) in name.0.iter_mut().zip(text.bytes()) {
            *byte = known;
        }
        name
    }

    /// What can be shown of it; nothing if it is not told.
    #[must_use]
    pub fn text(&self) -> String {
        let shown = self.0.iter().take_while(|byte| byte.is_ascii_graphic());
        shown.map(|byte| char::from(*byte)).collect()
    }
}

/// Why bytes are no preamble.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum PreambleError {
    /// Something else is at the other end.
    #[error(
        "it does not begin like a node (there is {found:02x?}): what is at the other end is no etherpair, or the address and port \
         are another service's"
    )]
    Magic {
        /// What there is.
        found: [u8; 4],
    },
    /// Torn apart on the way.
    #[error("the first message arrived damaged (checksum {found:08x}, not {computed:08x}); test the network")]
    Checksum {
        /// What it says.
        found: u32,
        /// What it is.
        computed: u32,
    },
    /// Another version.
    #[error(
        "the other end speaks version {found} of the peer port, this program {VERSION}: upgrade the older one"
    )]
    Version {
        /// Which.
        found: u8,
    },
    /// A value that has no meaning.
    #[error(
        "the first message says {found} for its {field}, which means nothing: upgrade the program at the other end"
    )]
    Field {
        /// Of which field.
        field: &'static str,
        /// What was found.
        found: u8,
    },
}

impl Preamble {
    /// Its bytes.
    #[must_use]
    pub fn emit(&self) -> [u8; PREAMBLE_BYTES] {
        let mut bytes = [0; PREAMBLE_BYTES];
        bytes[field::MAGIC].copy_from_slice(&MAGIC);
        bytes[field::VERSION] = VERSION;
        bytes[field::NODE] = self.node.number();
        bytes[field::PAIR].copy_from_slice(&self.pair.0.to_le_bytes());
        bytes[field::OLDEST].copy_from_slice(&self.versions.oldest.to_le_bytes());
        bytes[field::NEWEST].copy_from_slice(&self.versions.newest.to_le_bytes());
        bytes[field::PROGRAM].copy_from_slice(&self.program.0);
        bytes[field::KIND] = match self.purpose {
            Purpose::Shard { shard, shards } => {
                bytes[field::SHARD].copy_from_slice(&shard.to_le_bytes());
                bytes[field::SHARDS].copy_from_slice(&shards.to_le_bytes());
                1
            }
            Purpose::Control => 2,
            Purpose::Accepted { nonce } => {
                bytes[field::NONCE].copy_from_slice(&nonce.to_le_bytes());
                3
            }
            Purpose::Refused(refusal) => {
                let place = PreambleRefusal::ALL.iter().position(|known| *known == refusal);
                let number = place.and_then(|place| u8::try_from(place + 1).ok());
                bytes[field::REASON] = number.expect("all are listed");
                4
            }
            Purpose::Confirmed { nonce } => {
                bytes[field::NONCE].copy_from_slice(&nonce.to_le_bytes());
                5
            }
        };
        let crc = crc32fast::hash(&bytes[..field::CRC.start]);
        bytes[field::CRC].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// What the bytes mean.
    ///
    /// # Errors
    /// [`PreambleError`] says what is wrong with them.
    pub fn parse(bytes: &[u8; PREAMBLE_BYTES]) -> Result<Self, PreambleError> {
        let u32_at = |range: std::ops::Range<usize>| {
            u32::from_le_bytes(*bytes[range].first_chunk().expect("within the preamble"))
        };
        if bytes[field::MAGIC] != MAGIC {
            return Err(PreambleError::Magic { found: *bytes.first_chunk().expect("64 bytes") });
        }
        let (found, computed) = (u32_at(field::CRC), crc32fast::hash(&bytes[..field::CRC.start]));
        if found != computed {
            return Err(PreambleError::Checksum { found, computed });
        }
        if bytes[field::VERSION] != VERSION {
            return Err(PreambleError::Version { found: bytes[field::VERSION] });
        }
        let node = bytes[field::NODE];
        let node =
            NodeNumber::from_number(node).ok_or(PreambleError::Field { field: "node", found: node })?;
        let purpose = match bytes[field::KIND] {
            1 => Purpose::Shard { shard: u32_at(field::SHARD), shards: u32_at(field::SHARDS) },
            2 => Purpose::Control,
            3 => Purpose::Accepted { nonce: nonce(bytes) },
            4 => {
                let found = bytes[field::REASON];
                let place = usize::from(found).checked_sub(1);
                let refusal = place.and_then(|place| PreambleRefusal::ALL.get(place));
                Purpose::Refused(*refusal.ok_or(PreambleError::Field { field: "reason", found })?)
            }
            5 => Purpose::Confirmed { nonce: nonce(bytes) },
            found => return Err(PreambleError::Field { field: "kind", found }),
        };
        let pair = u128::from_le_bytes(*bytes[field::PAIR].first_chunk().expect("within the preamble"));
        let program = ProgramName(*bytes[field::PROGRAM].first_chunk().expect("within the preamble"));
        Ok(Self { pair: PairIdentity(pair), node, purpose, versions: versions(bytes)?, program })
    }
}

const fn nonce(bytes: &[u8; PREAMBLE_BYTES]) -> u64 {
    let (_, from_here) = bytes.split_at(field::NONCE.start);
    u64::from_le_bytes(*from_here.first_chunk().expect("within the preamble"))
}

/// Programs that did not say it yet speak the first version and no other.
fn versions(bytes: &[u8; PREAMBLE_BYTES]) -> Result<VersionRange, PreambleError> {
    let u16_at = |range: std::ops::Range<usize>| {
        u16::from_le_bytes(*bytes[range].first_chunk().expect("within the preamble"))
    };
    let said = VersionRange { oldest: u16_at(field::OLDEST), newest: u16_at(field::NEWEST) };
    match said {
        VersionRange { oldest: 0, newest: 0 } => Ok(VersionRange::of(Version::V1, Version::V1)),
        said if said.is_range() => Ok(said),
        _ => Err(PreambleError::Field { field: "oldest version", found: bytes[field::OLDEST.start] }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn preamble(purpose: Purpose) -> Preamble {
        let program = ProgramName::new("1.2.3-rc.4");
        let versions = VersionRange { oldest: 2, newest: 0x0105 };
        Preamble { pair: PairIdentity(0xab), node: NodeNumber::One, purpose, versions, program }
    }

    #[test]
    fn who_says_no_versions_speaks_the_first() {
        let mut bytes = preamble(Purpose::Control).emit();
        bytes[field::OLDEST.start..field::PROGRAM.end].fill(0);
        reseal(&mut bytes);
        let said = Preamble::parse(&bytes).expect("a preamble");
        assert_eq!(said.versions, VersionRange { oldest: 1, newest: 1 });
        assert_eq!(said.program.text(), "");
        bytes[field::NEWEST.start] = 1;
        reseal(&mut bytes);
        let error = Preamble::parse(&bytes).expect_err("from nothing to 1");
        assert_eq!(error, PreambleError::Field { field: "oldest version", found: 0 });
    }

    #[test]
    fn a_program_is_shown_as_far_as_it_can_be() {
        assert_eq!(preamble(Purpose::Control).program.text(), "1.2.3-rc.4");
        assert_eq!(ProgramName::new("1.0\nerror: all is lost").text(), "1.0");
        assert_eq!(ProgramName::new(&"9".repeat(40)).text(), "9".repeat(24));
    }

    fn reseal(bytes: &mut [u8; PREAMBLE_BYTES]) {
        let crc = crc32fast::hash(&bytes[..field::CRC.start]);
        bytes[field::CRC].copy_from_slice(&crc.to_le_bytes());
    }

    #[test]
    fn every_preamble_means_the_same_after_the_wire() {
        let nonce = 0x0102_0304_0506_0708;
        let purposes = [
            Purpose::Shard { shard: 1, shards: 3 },
            Purpose::Control,
            Purpose::Accepted { nonce },
            Purpose::Confirmed { nonce },
        ];
        let refusals = PreambleRefusal::ALL.map(Purpose::Refused);
        for purpose in purposes.into_iter().chain(refusals) {
            assert_eq!(Preamble::parse(&preamble(purpose).emit()), Ok(preamble(purpose)));
        }
    }

    #[test]
    fn the_bytes_are_those_of_the_document() {
        let bytes = preamble(Purpose::Shard { shard: 1, shards: 3 }).emit();
        assert_eq!(bytes[..9], *b"EPp\n\x01\x01\x01\x00\xab");
        assert_eq!((bytes[24], bytes[28]), (1, 3));
        assert_eq!(bytes[32..46], *b"\x02\x00\x05\x011.2.3-rc.4");
        let bytes = preamble(Purpose::Confirmed { nonce: 0x0102 }).emit();
        assert_eq!((bytes[5], &bytes[24..32]), (5, &b"\x02\x01\0\0\0\0\0\0"[..]));
    }

    #[test]
    fn a_changed_byte_anywhere_is_noticed() {
        let whole = preamble(Purpose::Control).emit();
        for index in 0..whole.len() {
            let mut bytes = whole;
            bytes[index] ^= 0x20;
            assert!(Preamble::parse(&bytes).is_err(), "byte {index}");
        }
    }
}
