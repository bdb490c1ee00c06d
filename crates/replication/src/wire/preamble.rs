//! What is said first on every connection between two nodes, before it becomes a shard's stream of messages or carries
//! requests of the control plane.
//!
//! ```text
//!   0      4         5      6      7        8       24       28        32      60     64
//!   ┌──────┬─────────┬──────┬──────┬────────┬───────┬────────┬─────────┬───────┬──────┐
//!   │magic │ version │ kind │ node │ reason │ pair  │ shard  │ shards  │ zero  │ CRC  │
//!   └──────┴─────────┴──────┴──────┴────────┴───────┴────────┴─────────┴───────┴──────┘
//! ```
//!
//! Whoever connects says it first; the answer has the same shape. It decides who speaks and about what, and nothing else:
//! versions of the messages themselves are agreed upon by `Hello`.

use thiserror::Error;

use crate::identity::PairIdentity;
use crate::membership::NodeNumber;

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
    Accepted,
    /// Answer: it is not, and the connection ends.
    Refused(PreambleRefusal),
}

/// Why a connection is not wanted.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum PreambleRefusal {
    /// It speaks another version of this.
    #[error("the nodes speak different versions; upgrade the older one")]
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
        bytes[field::KIND] = match self.purpose {
            Purpose::Shard { shard, shards } => {
                bytes[field::SHARD].copy_from_slice(&shard.to_le_bytes());
                bytes[field::SHARDS].copy_from_slice(&shards.to_le_bytes());
                1
            }
            Purpose::Control => 2,
            Purpose::Accepted => 3,
            Purpose::Refused(refusal) => {
                let place = PreambleRefusal::ALL.iter().position(|known| *known == refusal);
                let number = place.and_then(|place| u8::try_from(place + 1).ok());
                bytes[field::REASON] = number.expect("all are listed");
                4
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
            3 => Purpose::Accepted,
            4 => {
                let found = bytes[field::REASON];
                let place = usize::from(found).checked_sub(1);
                let refusal = place.and_then(|place| PreambleRefusal::ALL.get(place));
                Purpose::Refused(*refusal.ok_or(PreambleError::Field { field: "reason", found })?)
            }
            found => return Err(PreambleError::Field { field: "kind", found }),
        };
        let pair = u128::from_le_bytes(*bytes[field::PAIR].first_chunk().expect("within the preamble"));
        Ok(Self { pair: PairIdentity(pair), node, purpose })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn preamble(purpose: Purpose) -> Preamble {
        Preamble { pair: PairIdentity(0xab), node: NodeNumber::One, purpose }
    }

    #[test]
    fn every_preamble_means_the_same_after_the_wire() {
        let purposes = [Purpose::Shard { shard: 1, shards: 3 }, Purpose::Control, Purpose::Accepted];
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
