//! The Ethernet header: who sends to whom, and that it is AoE. A frame with a VLAN tag is not: the kernel takes the
//! tag off before we see the frame, or the frame belongs to another network.

use super::{Field, WireError, check_length, read_u16};
use crate::limits::ETHERNET_BYTES;
use crate::mac::MacAddress;

/// The type of AoE frames.
pub const ETHER_TYPE: u16 = 0x88a2;

mod field {
    use std::ops::Range;

    pub(super) const DESTINATION: Range<usize> = 0..6;
    pub(super) const SOURCE: Range<usize> = 6..12;
    pub(super) const ETHER_TYPE: Range<usize> = 12..14;
}

/// At least 14 bytes.
#[derive(Clone, Copy, Debug)]
pub struct View<'a>(&'a [u8]);

impl<'a> View<'a> {
    /// Checks the length.
    ///
    /// # Errors
    /// [`WireError::Truncated`].
    pub fn new(bytes: &'a [u8]) -> Result<Self, WireError> {
        check_length(bytes, Field::Ethernet, ETHERNET_BYTES)?;
        Ok(Self(bytes))
    }

    pub(super) const fn checked(bytes: &'a [u8]) -> Self {
        assert!(bytes.len() >= ETHERNET_BYTES, "a frame was checked when it was made");
        Self(bytes)
    }

    /// The type of what follows.
    #[must_use]
    pub fn ether_type(self) -> u16 {
        read_u16(&self.0[field::ETHER_TYPE])
    }

    pub(super) fn check_ether_type(self) -> Result<(), WireError> {
        match self.ether_type() {
            ETHER_TYPE => Ok(()),
            value => Err(WireError::EtherType { value }),
        }
    }
}

/// Who sends to whom.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Repr {
    /// The receiver, or everybody.
    pub destination: MacAddress,
    /// The sender.
    pub source: MacAddress,
}

impl Repr {
    /// Reads the addresses.
    #[must_use]
    pub fn parse(view: View<'_>) -> Self {
        Self {
            destination: MacAddress::from_slice(&view.0[field::DESTINATION]),
            source: MacAddress::from_slice(&view.0[field::SOURCE]),
        }
    }

    /// Writes bytes 0 to 13.
    ///
    /// # Panics
    /// If `frame` is shorter.
    pub fn emit(&self, frame: &mut [u8]) -> usize {
        frame[field::DESTINATION].copy_from_slice(&self.destination.0);
        frame[field::SOURCE].copy_from_slice(&self.source.0);
        frame[field::ETHER_TYPE].copy_from_slice(&ETHER_TYPE.to_be_bytes());
        ETHERNET_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BYTES: [u8; 14] =
        [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x68, 0xa3, 0xc4, 0xf4, 0x84, 0x1e, 0x88, 0xa2];

    #[test]
    fn the_bytes_are_as_in_the_capture() {
        let view = View::new(&BYTES).expect("14 bytes");
        assert_eq!(view.check_ether_type(), Ok(()));
        let repr = Repr::parse(view);
        assert_eq!(repr.destination, MacAddress::BROADCAST);
        assert_eq!(repr.source.to_string(), "68:a3:c4:f4:84:1e");
        let mut emitted = [0; 14];
        assert_eq!(repr.emit(&mut emitted), 14);
        assert_eq!(emitted, BYTES);
    }

    #[test]
    fn a_tagged_frame_is_not_aoe() {
        let mut bytes = BYTES;
        bytes[12..].copy_from_slice(&[0x81, 0x00]);
        let view = View::new(&bytes).expect("14 bytes");
        assert_eq!(view.check_ether_type(), Err(WireError::EtherType { value: 0x8100 }));
    }
}
