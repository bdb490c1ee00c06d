//! The superblock: what the volume is, where the rest of the metadata lies, who serves, what this copy is worth, and
//! whether this node went down cleanly. It is written when one of these changes, which is seldom.

use super::layout::{EXTENT_SECTORS, Layout, RECORD_BYTES, SECTORS_PER_BIT};
use super::record::{self, Expected, Flaw, HEADER_BYTES, Kind, Label, RecordError, Sequence, array};
use super::twin::{self, Side, Twin, TwinError};
use super::version::Version;
use crate::identity::{FormatIdentity, PairIdentity, VolumeIdentity};
use crate::membership::{Epoch, Members, Membership, NodeNumber};

mod field {
    use std::ops::Range;

    pub(super) const VOLUME: Range<usize> = 0..16;
    pub(super) const PAIR: Range<usize> = 16..32;
    pub(super) const VOLUME_SECTORS: Range<usize> = 32..40;
    pub(super) const EPOCH: Range<usize> = 40..48;
    pub(super) const EXTENT_SECTORS: Range<usize> = 48..52;
    pub(super) const HOT_EXTENTS: Range<usize> = 52..56;
    pub(super) const SECTORS_PER_BIT: Range<usize> = 56..60;
    pub(super) const NODE: usize = 60;
    pub(super) const MEMBERS: usize = 61;
    pub(super) const CLEAN: usize = 62;
    pub(super) const COPY: usize = 63;
    pub(super) const END: usize = 64;
}

/// What a superblock says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Superblock {
    /// Which volume.
    pub volume: VolumeIdentity,
    /// Which pair of nodes keeps it.
    pub pair: PairIdentity,
    /// Which of the two this is.
    pub node: NodeNumber,
    /// Size of the volume and of its activity log; the places of everything follow from them.
    pub layout: Layout,
    /// Who serves, as far as this node knows.
    pub membership: Membership,
    /// Whether nothing was in flight when this was written: then no extent is in doubt.
    pub clean: bool,
    /// Whether this copy lacks blocks that only the peer has. It was never whole, or a resync has begun to put newer blocks
    /// among its older ones: as it is it was never the volume's content, and this node must never serve it alone.
    pub inconsistent: bool,
    /// Whether the data disk had failed when this was written, and the peer had gone on alone. What is found in its place later may be
    /// another disk: this copy is inconsistent and lacks every block, whatever the bitmap says.
    pub disk_lost: bool,
}

/// A superblock that was read, and of which formatting it is.
pub type Found = (FormatIdentity, Superblock);

impl Superblock {
    /// Writes the record with that sequence number.
    pub fn emit(&self, slot: &mut [u8; RECORD_BYTES], format: FormatIdentity, sequence: Sequence) {
        let payload = &mut slot[HEADER_BYTES..];
        payload[..field::END].fill(0);
        payload[field::VOLUME].copy_from_slice(&self.volume.0.to_le_bytes());
        payload[field::PAIR].copy_from_slice(&self.pair.0.to_le_bytes());
        payload[field::VOLUME_SECTORS].copy_from_slice(&self.layout.volume_sectors().to_le_bytes());
        payload[field::EPOCH].copy_from_slice(&self.membership.epoch.0.to_le_bytes());
        payload[field::EXTENT_SECTORS].copy_from_slice(&EXTENT_SECTORS.to_le_bytes()[..4]);
        payload[field::HOT_EXTENTS].copy_from_slice(&self.layout.hot_extents().to_le_bytes());
        payload[field::SECTORS_PER_BIT].copy_from_slice(&SECTORS_PER_BIT.to_le_bytes()[..4]);
        payload[field::NODE] = self.node.number();
        payload[field::MEMBERS] = members_number(self.membership.members);
        payload[field::CLEAN] = u8::from(self.clean);
        payload[field::COPY] = u8::from(self.inconsistent) | u8::from(self.disk_lost) << 1;
        let place = Layout::superblock(Side::of(sequence));
        record::seal(slot, &Label { kind: Kind::Superblock, place, format, sequence }, field::END);
    }

    /// Reads one side.
    ///
    /// # Errors
    /// What is wrong with the record.
    pub fn parse(slot: &[u8], side: Side) -> Result<(Sequence, Found), RecordError> {
        let expected = Expected { kind: Kind::Superblock, place: Layout::superblock(side), format: None };
        let record = record::open(slot, &expected)?;
        let superblock = match record.version {
            Version::V1 => Self::parse_v1(record.payload),
        };
        let superblock = superblock.map_err(|flaw| expected.flawed(flaw))?;
        if Side::of(record.sequence) != side {
            return Err(expected.flawed(Flaw::OutOfRow { found: record.sequence }));
        }
        Ok((record.sequence, (record.format, superblock)))
    }

    /// Reads both sides and decides which holds.
    ///
    /// # Errors
    /// If neither can be used, or a later version wrote one.
    pub fn read(zero: &[u8], one: &[u8]) -> Result<Twin<Found>, TwinError> {
        let (zero, one) = (Self::parse(zero, Side::Zero), Self::parse(one, Side::One));
        if let (Ok((_, (zero, _))), Ok((_, (one, _)))) = (&zero, &one)
            && zero != one
        {
            return Err(TwinError::TwoFormats { zero: *zero, one: *one });
        }
        let twin = twin::choose(zero, one)?;
        if twin.newest.is_none() { Err(TwinError::NoMetadata) } else { Ok(twin) }
    }

    fn parse_v1(payload: &[u8]) -> Result<Self, Flaw> {
        if payload.len() != field::END {
            return Err(Flaw::Length { found: u32::try_from(payload.len()).unwrap_or(u32::MAX) });
        }
        let word = |field| u32::from_le_bytes(array(payload, field));
        let long = |field| u64::from_le_bytes(array(payload, field));
        let identity = |field| u128::from_le_bytes(array(payload, field));
        if u64::from(word(field::EXTENT_SECTORS)) != EXTENT_SECTORS {
            return Err(Flaw::Value { what: "extent size" });
        }
        if u64::from(word(field::SECTORS_PER_BIT)) != SECTORS_PER_BIT {
            return Err(Flaw::Value { what: "bitmap granularity" });
        }
        let layout = Layout::new(long(field::VOLUME_SECTORS), word(field::HOT_EXTENTS))
            .map_err(|_| Flaw::Value { what: "volume size or number of hot extents" })?;
        let node =
            NodeNumber::from_number(payload[field::NODE]).ok_or(Flaw::Value { what: "node number" })?;
        let epoch = Epoch(long(field::EPOCH));
        if epoch > Epoch::LAST {
            return Err(Flaw::Value { what: "epoch" });
        }
        let members = members_from(payload[field::MEMBERS]).ok_or(Flaw::Value { what: "membership" })?;
        let clean = match payload[field::CLEAN] {
            0 => false,
            1 => true,
            _ => return Err(Flaw::Value { what: "clean-shutdown flag" }),
        };
        let copy = payload[field::COPY];
        if copy > 3 {
            return Err(Flaw::Value { what: "state of the copy" });
        }
        Ok(Self {
            volume: VolumeIdentity(identity(field::VOLUME)),
            pair: PairIdentity(identity(field::PAIR)),
            node,
            layout,
            membership: Membership { epoch, members },
            clean,
            inconsistent: copy & 1 != 0,
            disk_lost: copy & 2 != 0,
        })
    }
}

const fn members_number(members: Members) -> u8 {
    match members {
        Members::Both => 0,
        Members::Only(NodeNumber::Zero) => 1,
        Members::Only(NodeNumber::One) => 2,
    }
}

const fn members_from(number: u8) -> Option<Members> {
    match number {
        0 => Some(Members::Both),
        1 => Some(Members::Only(NodeNumber::Zero)),
        2 => Some(Members::Only(NodeNumber::One)),
        _ => None,
    }
}

const _: () = {
    assert!(EXTENT_SECTORS <= u32::MAX as u64, "stored in four bytes, as is the smaller SECTORS_PER_BIT");
    assert!(HEADER_BYTES + field::END <= 512, "one sector: a disk that writes sectors whole never tears it");
};
