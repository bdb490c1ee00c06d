//! The small state: what AoE clients have set (config string, MAC mask, reservation) and which volume it is for. Both
//! nodes hold the same; the revision tells which of two is the later one.

use super::layout::{Layout, SMALL_STATE_BYTES};
use super::record::{self, Expected, Flaw, HEADER_BYTES, Kind, Label, Sequence, array};
use super::twin::{self, Read, Side, Twin, TwinError};
use super::version::Version;
use crate::identity::{FormatIdentity, VolumeIdentity};
use crate::limits::COUNTED_MAX;

/// Longest config string: what AoE can carry.
pub const CONFIG_STRING_BYTES_MAX: usize = 1024;
/// Entries of the MAC mask and of the reservation: their counts are one byte in AoE.
pub const ADDRESSES_MAX: usize = 255;

/// An Ethernet address.
pub type MacBytes = [u8; 6];

mod field {
    use std::ops::Range;

    pub(super) const VOLUME: Range<usize> = 0..16;
    pub(super) const REVISION: Range<usize> = 16..24;
    pub(super) const CONFIG_BYTES: Range<usize> = 24..26;
    pub(super) const MASK_COUNT: usize = 26;
    pub(super) const RESERVATION_COUNT: usize = 27;
    pub(super) const LISTS: usize = 32;
    pub(super) const MAC_BYTES: usize = 6;
}

/// What AoE clients have set.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SmallState {
    /// Which volume.
    pub volume: VolumeIdentity,
    /// How many changes there were, on whichever node; at most [`COUNTED_MAX`] where it is read.
    pub revision: u64,
    /// At most [`CONFIG_STRING_BYTES_MAX`] bytes; empty is "not set".
    pub config_string: Vec<u8>,
    /// Who is listened to, at most [`ADDRESSES_MAX`]; empty is everybody.
    pub mac_mask: Vec<MacBytes>,
    /// Who may use the disk, at most [`ADDRESSES_MAX`]; empty is everybody.
    pub reservation: Vec<MacBytes>,
}

impl SmallState {
    /// Nothing set.
    #[must_use]
    pub const fn new(volume: VolumeIdentity) -> Self {
        Self { volume, revision: 0, config_string: Vec::new(), mac_mask: Vec::new(), reservation: Vec::new() }
    }

    /// Writes the record with that sequence number.
    ///
    /// # Panics
    /// If a list or the config string is longer than its maximum: whoever took it from a client has refused that.
    pub fn emit(&self, slot: &mut [u8; SMALL_STATE_BYTES], format: FormatIdentity, sequence: Sequence) {
        assert!(self.config_string.len() <= CONFIG_STRING_BYTES_MAX, "a config string within its limit");
        let config_bytes = u16::try_from(self.config_string.len()).expect("just compared");
        let payload = &mut slot[HEADER_BYTES..];
        payload[..field::LISTS].fill(0);
        payload[field::VOLUME].copy_from_slice(&self.volume.0.to_le_bytes());
        payload[field::REVISION].copy_from_slice(&self.revision.to_le_bytes());
        payload[field::CONFIG_BYTES].copy_from_slice(&config_bytes.to_le_bytes());
        payload[field::MASK_COUNT] = u8::try_from(self.mac_mask.len()).expect("a MAC mask within its limit");
        payload[field::RESERVATION_COUNT] =
            u8::try_from(self.reservation.len()).expect("a reservation within its limit");
        let mut end = field::LISTS;
        let addresses = self.mac_mask.iter().chain(&self.reservation).map(MacBytes::as_slice);
        for bytes in std::iter::once(self.config_string.as_slice()).chain(addresses) {
            payload[end..end + bytes.len()].copy_from_slice(bytes);
            end += bytes.len();
        }
        let place = Layout::small_state(Side::of(sequence));
        record::seal(slot, &Label { kind: Kind::SmallState, place, format, sequence }, end);
    }

    /// Reads one side.
    ///
    /// # Errors
    /// What is wrong with the record.
    pub fn parse(slot: &[u8], side: Side, format: FormatIdentity) -> Read<Self> {
        let expected =
            Expected { kind: Kind::SmallState, place: Layout::small_state(side), format: Some(format) };
        let record = record::open(slot, &expected)?;
        let state = match record.version {
            Version::V1 => Self::parse_v1(record.payload),
        };
        let state = state.map_err(|flaw| expected.flawed(flaw))?;
        if Side::of(record.sequence) != side {
            return Err(expected.flawed(Flaw::OutOfRow { found: record.sequence }));
        }
        Ok((record.sequence, state))
    }

    /// Reads both sides and decides which holds; neither does if nothing was ever set.
    ///
    /// # Errors
    /// If neither can be used, or a later version wrote one.
    pub fn read(zero: &[u8], one: &[u8], format: FormatIdentity) -> Result<Twin<Self>, TwinError> {
        twin::choose(Self::parse(zero, Side::Zero, format), Self::parse(one, Side::One, format))
    }

    fn parse_v1(payload: &[u8]) -> Result<Self, Flaw> {
        let length = Flaw::Length { found: u32::try_from(payload.len()).unwrap_or(u32::MAX) };
        if payload.len() < field::LISTS {
            return Err(length);
        }
        let config_bytes = usize::from(u16::from_le_bytes(array(payload, field::CONFIG_BYTES)));
        if config_bytes > CONFIG_STRING_BYTES_MAX {
            return Err(Flaw::Value { what: "length of the config string" });
        }
        let config_end = field::LISTS + config_bytes;
        let mask_end = config_end + usize::from(payload[field::MASK_COUNT]) * field::MAC_BYTES;
        let end = mask_end + usize::from(payload[field::RESERVATION_COUNT]) * field::MAC_BYTES;
        if payload.len() != end {
            return Err(length);
        }
        let revision = u64::from_le_bytes(array(payload, field::REVISION));
        if revision > COUNTED_MAX {
            return Err(Flaw::Value { what: "revision" });
        }
        Ok(Self {
            volume: VolumeIdentity(u128::from_le_bytes(array(payload, field::VOLUME))),
            revision,
            config_string: payload[field::LISTS..config_end].to_vec(),
            mac_mask: addresses(&payload[config_end..mask_end]),
            reservation: addresses(&payload[mask_end..end]),
        })
    }
}

fn addresses(bytes: &[u8]) -> Vec<MacBytes> {
    bytes.chunks_exact(field::MAC_BYTES).map(|mac| array(mac, 0..field::MAC_BYTES)).collect()
}

const _: () = {
    let largest = field::LISTS + CONFIG_STRING_BYTES_MAX + 2 * ADDRESSES_MAX * field::MAC_BYTES;
    assert!(HEADER_BYTES + largest <= SMALL_STATE_BYTES, "the largest state fits its place");
    assert!(CONFIG_STRING_BYTES_MAX <= u16::MAX as usize && ADDRESSES_MAX <= u8::MAX as usize, "as counted");
};
