//! The address of a network interface: six bytes, written `68:a3:c4:f4:84:1e`.
//! Decides nothing about who may talk; that is the MAC mask list of [`crate::wire::mac_mask`].

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// A MAC address.
#[derive(Clone, Copy, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct MacAddress(pub [u8; Self::BYTES]);

/// Why a text is no MAC address.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error("`{text}` is not a MAC address; write six hexadecimal bytes with colons, like 02:00:5e:10:00:01")]
pub struct MacAddressError {
    /// The text.
    pub text: String,
}

impl MacAddress {
    /// Bytes in an address.
    pub const BYTES: usize = 6;

    /// Everybody on the wire.
    pub const BROADCAST: Self = Self([0xff; Self::BYTES]);

    /// Whether more than one host may take frames sent to it (broadcast included).
    #[must_use]
    pub const fn is_multicast(self) -> bool {
        self.0[0] & 0x01 != 0
    }

    /// Whether it was given by software, not burnt into a card.
    #[must_use]
    pub const fn is_locally_administered(self) -> bool {
        self.0[0] & 0x02 != 0
    }

    /// The address in the first six of `bytes`.
    ///
    /// # Panics
    /// If there are fewer; callers have checked the frame's length.
    pub(crate) fn from_slice(bytes: &[u8]) -> Self {
        let mut address = [0; Self::BYTES];
        address.copy_from_slice(&bytes[..Self::BYTES]);
        Self(address)
    }
}

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for MacAddress {
    type Err = MacAddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refused = || MacAddressError { text: text.to_owned() };
        let mut bytes = [0; Self::BYTES];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let part = parts.next().ok_or_else(refused)?;
            let hexadecimal = part.bytes().all(|digit| digit.is_ascii_hexdigit());
            if part.len() != 2 || !hexadecimal {
                return Err(refused());
            }
            *byte = u8::from_str_radix(part, 16).map_err(|_| refused())?;
        }
        if parts.next().is_some() {
            return Err(refused());
        }
        Ok(Self(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_bytes_agree_both_ways() {
        let address = MacAddress([0x68, 0xa3, 0xc4, 0xf4, 0x84, 0x1e]);
        assert_eq!(address.to_string(), "68:a3:c4:f4:84:1e");
        assert_eq!("68:A3:c4:f4:84:1e".parse(), Ok(address));
    }

    #[test]
    fn a_text_that_is_no_address_is_named_in_the_error() {
        for text in
            ["", "68:a3:c4:f4:84", "68:a3:c4:f4:84:1e:00", "6:a3:c4:f4:84:1e", "+8:a3:c4:f4:84:1e", "é"]
        {
            let error = text.parse::<MacAddress>().expect_err("not an address");
            assert_eq!(error, MacAddressError { text: text.to_owned() });
        }
    }

    #[test]
    fn broadcast_is_multicast_and_a_card_is_not() {
        assert!(MacAddress::BROADCAST.is_multicast());
        assert!(!MacAddress([0x20, 0xcf, 0x30, 0x02, 0xb0, 0x52]).is_multicast());
        assert!(MacAddress([0x02, 0, 0, 0, 0, 1]).is_locally_administered());
    }
}
