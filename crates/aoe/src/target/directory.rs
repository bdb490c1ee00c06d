//! Which export has an address: a table of fixed size with open addressing, and no random hash.

use block::ExportId;

use crate::address::{Address, AddressPattern};

/// Exports by address.
#[derive(Debug)]
pub(crate) struct Directory {
    places: Box<[Option<(AddressPattern, ExportId)>]>,
    len: usize,
}

impl Directory {
    /// Room for `capacity` exports; half of the places stay free, so that a look-up is short.
    pub(crate) fn new(capacity: usize) -> Self {
        Self { places: vec![None; (capacity * 2).next_power_of_two()].into_boxed_slice(), len: 0 }
    }

    /// The export at exactly that address; a wildcard is no address.
    pub(crate) fn find(&self, address: AddressPattern) -> Option<ExportId> {
        self.places[self.place(address)].map(|(_, export)| export)
    }

    /// Enters an export; the caller has seen that its address is free.
    pub(crate) fn insert(&mut self, address: Address, export: ExportId) {
        let address = AddressPattern::from(address);
        self.len += 1;
        assert!(self.len * 2 <= self.places.len(), "more exports than the directory was made for");
        let place = self.place(address);
        assert!(self.places[place].is_none(), "{address} is entered twice");
        self.places[place] = Some((address, export));
    }

    /// Takes an export out; what may have been pushed aside by it is entered anew.
    pub(crate) fn remove(&mut self, address: Address) {
        let mut place = self.place(AddressPattern::from(address));
        assert!(self.places[place].take().is_some(), "{address} is not entered");
        self.len -= 1;
        loop {
            place = (place + 1) & (self.places.len() - 1);
            let Some((address, export)) = self.places[place].take() else { break };
            let new = self.place(address);
            self.places[new] = Some((address, export));
        }
    }

    /// Where `address` stands, or where it would be put.
    fn place(&self, address: AddressPattern) -> usize {
        let key = u32::from(address.shelf.0) << 8 | u32::from(address.slot.0);
        let mut place = (key.wrapping_mul(0x9e37_79b1) >> 12) as usize & (self.places.len() - 1);
        while let Some((other, _)) = self.places[place]
            && other != address
        {
            place = (place + 1) & (self.places.len() - 1);
        }
        place
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::{Shelf, Slot};

    #[test]
    fn a_thousand_exports_are_found_and_removed_in_another_order() {
        let mut directory = Directory::new(1000);
        let address = |n: u16| {
            Address::new(Shelf(n / 7), Slot(u8::try_from(n % 7).expect("small"))).expect("an address")
        };
        for n in 0..1000 {
            directory.insert(address(n), ExportId(u32::from(n)));
        }
        for step in 0..1000u32 {
            let n = u16::try_from(step * 617 % 1000).expect("small");
            assert_eq!(directory.find(address(n).into()), Some(ExportId(u32::from(n))));
            directory.remove(address(n));
            assert_eq!(directory.find(address(n).into()), None);
        }
        assert_eq!(directory.find(AddressPattern::EVERY), None);
        assert_eq!(directory.len, 0);
    }
}
