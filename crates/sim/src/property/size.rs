//! A volume only grows: what a host was let write to is there for good, and in the end both nodes have all of it.

use thiserror::Error;

/// How large a volume is not.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum WrongSize {
    /// Something that was there is not.
    #[error("a node serves {serves} sectors of a volume that had {had} already")]
    Shrunk {
        /// Sectors that it serves.
        serves: u64,
        /// Sectors that were served before.
        had: u64,
    },
    /// One has more than the other, or both less than there was.
    #[error("the nodes have {sizes:?} sectors of a volume of which {had} were served")]
    Unequal {
        /// Sectors at each node.
        sizes: [u64; 2],
        /// Sectors that were served before.
        had: u64,
    },
}

/// How large a volume was, wherever it was served.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Size {
    largest: u64,
}

impl Size {
    /// A node serves so many sectors.
    ///
    /// # Errors
    /// If there were more before.
    pub const fn serves(&mut self, sectors: u64) -> Result<(), WrongSize> {
        if sectors < self.largest {
            return Err(WrongSize::Shrunk { serves: sectors, had: self.largest });
        }
        self.largest = sectors;
        Ok(())
    }

    /// Sectors that were served so far.
    #[must_use]
    pub const fn largest(self) -> u64 {
        self.largest
    }

    /// Everything is put right, and these are the sizes at both nodes.
    ///
    /// # Errors
    /// If they differ, or there were more before.
    pub const fn in_the_end(self, sizes: [u64; 2]) -> Result<(), WrongSize> {
        if sizes[0] == sizes[1] && sizes[0] >= self.largest {
            return Ok(());
        }
        Err(WrongSize::Unequal { sizes, had: self.largest })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_that_gets_smaller_is_found() {
        let mut size = Size::default();
        assert_eq!(size.serves(16), Ok(()));
        assert_eq!(size.serves(24), Ok(()));
        assert_eq!(size.serves(16), Err(WrongSize::Shrunk { serves: 16, had: 24 }));
        assert_eq!(size.in_the_end([16, 16]), Err(WrongSize::Unequal { sizes: [16, 16], had: 24 }));
    }

    #[test]
    fn nodes_of_different_sizes_are_found() {
        let mut size = Size::default();
        assert_eq!(size.serves(16), Ok(()));
        assert_eq!(size.in_the_end([24, 24]), Ok(()));
        assert_eq!(size.in_the_end([16, 24]), Err(WrongSize::Unequal { sizes: [16, 24], had: 16 }));
    }
}
