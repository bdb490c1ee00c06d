//! The small state on its way to the peer.

use super::WireError;
use super::view::{Body, Bytes, BytesMut, View};
use crate::identity::VolumeIdentity;
use crate::meta::small_state::{ADDRESSES_MAX, CONFIG_STRING_BYTES_MAX, MacBytes, SmallState};

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

/// Longest body.
pub(super) const BYTES_MAX: usize =
    field::LISTS + CONFIG_STRING_BYTES_MAX + 2 * ADDRESSES_MAX * field::MAC_BYTES;

impl Body for Box<SmallState> {
    fn emit(&self, body: &mut [u8]) -> usize {
        assert!(self.config_string.len() <= CONFIG_STRING_BYTES_MAX, "a config string within its limit");
        body[..field::LISTS].fill(0);
        body.put_u128(field::VOLUME, self.volume.0);
        body.put_u64(field::REVISION, self.revision);
        let config_bytes = u16::try_from(self.config_string.len()).expect("just compared");
        body.put_u16(field::CONFIG_BYTES, config_bytes);
        body[field::MASK_COUNT] = u8::try_from(self.mac_mask.len()).expect("a MAC mask within its limit");
        body[field::RESERVATION_COUNT] =
            u8::try_from(self.reservation.len()).expect("a reservation within its limit");
        let mut end = field::LISTS;
        let addresses = self.mac_mask.iter().chain(&self.reservation).map(MacBytes::as_slice);
        for bytes in std::iter::once(self.config_string.as_slice()).chain(addresses) {
            body.put(end..end + bytes.len(), bytes);
            end += bytes.len();
        }
        end
    }

    fn parse(view: View<'_>) -> Result<Self, WireError> {
        let body = view.of_length_min(field::LISTS)?;
        let config_bytes = usize::from(body.u16(field::CONFIG_BYTES));
        if config_bytes > CONFIG_STRING_BYTES_MAX {
            return Err(view.value_error("length of the config string"));
        }
        let config_end = field::LISTS + config_bytes;
        let mask_end = config_end + usize::from(body[field::MASK_COUNT]) * field::MAC_BYTES;
        let end = mask_end + usize::from(body[field::RESERVATION_COUNT]) * field::MAC_BYTES;
        let body = view.of_length(end)?;
        let addresses = |bytes: &[u8]| {
            bytes.chunks_exact(field::MAC_BYTES).map(|mac| mac.array(0..field::MAC_BYTES)).collect()
        };
        Ok(Self::new(SmallState {
            volume: VolumeIdentity(body.u128(field::VOLUME)),
            revision: view.counted(body.u64(field::REVISION), "revision")?,
            config_string: body[field::LISTS..config_end].to_vec(),
            mac_mask: addresses(&body[config_end..mask_end]),
            reservation: addresses(&body[mask_end..end]),
        }))
    }
}
