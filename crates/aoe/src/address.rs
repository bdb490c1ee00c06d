//! Shelf and slot: the address of a volume on the wire, and the pattern of addresses that a request names.
//!
//! [`Address`] is always one that every initiator accepts; [`AddressPattern`] is whatever stood in a frame.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// The major part of an address.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Shelf(pub u16);

impl Shelf {
    /// In a request: every shelf.
    pub const WILDCARD: Self = Self(0xffff);
    /// The Linux driver takes it for a target that was never configured and refuses it.
    pub const UNCONFIGURED: Self = Self(0x0fff);
}

/// The minor part of an address.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Slot(pub u8);

impl Slot {
    /// In a request: every slot.
    pub const WILDCARD: Self = Self(0xff);
}

/// The address of one volume: a shelf other than 4095 and 65535, a slot other than 255.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Address {
    shelf: Shelf,
    slot: Slot,
}

/// Why something is not the address of a volume.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum AddressError {
    /// The shelf is the wildcard or the one that Linux refuses.
    #[error(
        "no volume can have shelf {0}: 65535 means every shelf and Linux refuses 4095; use another from 0 to 65534"
    )]
    Shelf(u16),
    /// The slot is the wildcard.
    #[error("no volume can have slot {0}: it means every slot; use one from 0 to 254")]
    Slot(u8),
    /// Not two numbers with a dot.
    #[error("`{0}` is not an address; write shelf.slot like 7.1 or e7.1, shelf 0 to 65534, slot 0 to 254")]
    Text(String),
}

impl Address {
    /// The address of that shelf and slot.
    ///
    /// # Errors
    /// If the shelf is 4095 or 65535, or the slot 255.
    pub const fn new(shelf: Shelf, slot: Slot) -> Result<Self, AddressError> {
        if shelf.0 == Shelf::WILDCARD.0 || shelf.0 == Shelf::UNCONFIGURED.0 {
            return Err(AddressError::Shelf(shelf.0));
        }
        if slot.0 == Slot::WILDCARD.0 {
            return Err(AddressError::Slot(slot.0));
        }
        Ok(Self { shelf, slot })
    }

    /// The major part.
    #[must_use]
    pub const fn shelf(self) -> Shelf {
        self.shelf
    }

    /// The minor part.
    #[must_use]
    pub const fn slot(self) -> Slot {
        self.slot
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "e{}.{}", self.shelf.0, self.slot.0)
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refused = || AddressError::Text(text.to_owned());
        let (shelf, slot) = text.strip_prefix('e').unwrap_or(text).split_once('.').ok_or_else(refused)?;
        let decimal = |part: &str| !part.is_empty() && part.bytes().all(|digit| digit.is_ascii_digit());
        if !decimal(shelf) || !decimal(slot) {
            return Err(refused());
        }
        let shelf = shelf.parse().map_err(|_| refused())?;
        let slot = slot.parse().map_err(|_| refused())?;
        Self::new(Shelf(shelf), Slot(slot))
    }
}

/// The addresses that a request is for: shelf and slot as they stand in the frame, each maybe the wildcard.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct AddressPattern {
    /// A shelf, or [`Shelf::WILDCARD`].
    pub shelf: Shelf,
    /// A slot, or [`Slot::WILDCARD`].
    pub slot: Slot,
}

impl AddressPattern {
    /// Every volume on the wire.
    pub const EVERY: Self = Self { shelf: Shelf::WILDCARD, slot: Slot::WILDCARD };

    /// Whether `address` is meant. The two wildcards are independent of each other.
    #[must_use]
    pub const fn matches(self, address: Address) -> bool {
        (self.shelf.0 == Shelf::WILDCARD.0 || self.shelf.0 == address.shelf.0)
            && (self.slot.0 == Slot::WILDCARD.0 || self.slot.0 == address.slot.0)
    }

    /// Whether it names one address, with no wildcard.
    #[must_use]
    pub const fn is_exact(self) -> bool {
        self.shelf.0 != Shelf::WILDCARD.0 && self.slot.0 != Slot::WILDCARD.0
    }
}

impl From<Address> for AddressPattern {
    fn from(address: Address) -> Self {
        Self { shelf: address.shelf, slot: address.slot }
    }
}

impl TryFrom<AddressPattern> for Address {
    type Error = AddressError;

    /// The one address meant: how an initiator reads the sender out of a reply.
    fn try_from(pattern: AddressPattern) -> Result<Self, Self::Error> {
        Self::new(pattern.shelf, pattern.slot)
    }
}

impl fmt::Display for AddressPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.shelf {
            Shelf::WILDCARD => write!(f, "e*.")?,
            Shelf(shelf) => write!(f, "e{shelf}.")?,
        }
        match self.slot {
            Slot::WILDCARD => write!(f, "*"),
            Slot(slot) => write!(f, "{slot}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(shelf: u16, slot: u8) -> Address {
        Address::new(Shelf(shelf), Slot(slot)).expect("a valid address")
    }

    #[test]
    fn text_is_read_with_and_without_its_letter() {
        assert_eq!("7.1".parse(), Ok(address(7, 1)));
        assert_eq!("e65534.254".parse(), Ok(address(65_534, 254)));
        assert_eq!(address(7, 1).to_string(), "e7.1");
    }

    #[test]
    fn the_reserved_numbers_are_refused_each_by_its_name() {
        assert_eq!("4095.0".parse::<Address>(), Err(AddressError::Shelf(4095)));
        assert_eq!("e65535.0".parse::<Address>(), Err(AddressError::Shelf(65_535)));
        assert_eq!("0.255".parse::<Address>(), Err(AddressError::Slot(255)));
    }

    #[test]
    fn other_text_is_refused() {
        for text in
            ["", "7", "7.", ".1", "7.1.2", "7.256", "65536.0", "+7.1", "E7.1", "ee7.1", "7.-1", " 7.1"]
        {
            assert_eq!(text.parse::<Address>(), Err(AddressError::Text(text.to_owned())));
        }
    }

    #[test]
    fn the_two_wildcards_are_independent() {
        let every_shelf = AddressPattern { shelf: Shelf::WILDCARD, slot: Slot(7) };
        let every_slot = AddressPattern { shelf: Shelf(5), slot: Slot::WILDCARD };
        assert!(every_shelf.matches(address(1, 7)) && !every_shelf.matches(address(1, 8)));
        assert!(every_slot.matches(address(5, 9)) && !every_slot.matches(address(6, 9)));
        assert!(AddressPattern::EVERY.matches(address(0, 0)));
        assert!(!every_shelf.is_exact() && !every_slot.is_exact());
        assert!(AddressPattern::from(address(5, 9)).is_exact());
        assert_eq!((every_shelf.to_string(), every_slot.to_string()), ("e*.7".into(), "e5.*".into()));
    }
}
