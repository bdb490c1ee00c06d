//! After healing both disks hold the same, byte by byte.

use block::{Lba, SECTOR_BYTES};
use thiserror::Error;

use super::Replica;
use crate::content::Value;

/// A sector in which they differ.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[error("sector {sector} holds {} on node 0 and {} on node 1", .values[0], .values[1])]
pub struct Unequal {
    /// Which.
    pub sector: Lba,
    /// What each node holds there.
    pub values: [Value; 2],
}

/// Compares two copies in these sectors.
///
/// # Errors
/// The first in which they differ.
pub fn check(replicas: [&dyn Replica; 2], sectors: impl IntoIterator<Item = Lba>) -> Result<(), Unequal> {
    sectors.into_iter().try_for_each(|sector| difference(replicas, sector).map_or(Ok(()), Err))
}

/// How two copies differ in a sector, if they do.
#[must_use]
pub fn difference(replicas: [&dyn Replica; 2], sector: Lba) -> Option<Unequal> {
    let bytes = replicas.map(|replica| {
        let mut bytes = [0; SECTOR_BYTES];
        replica.read(sector, &mut bytes);
        bytes
    });
    let [zero, one] = &bytes;
    (zero != one).then(|| Unequal { sector, values: bytes.each_ref().map(|bytes| Value::of(sector, bytes)) })
}

#[cfg(test)]
mod tests {
    use super::super::Sectors;
    use super::*;

    #[test]
    fn a_byte_that_differs_is_found() {
        let zero = Sectors(vec![[0; SECTOR_BYTES]; 3]);
        let mut one = Sectors(vec![[0; SECTOR_BYTES]; 3]);
        let all = || (0..3).map(Lba);
        assert_eq!(check([&zero, &one], all()), Ok(()));
        one.0[2][511] = 1;
        let error = check([&zero, &one], all()).expect_err("they differ");
        assert_eq!(
            error.to_string(),
            "sector 2 holds the initial content on node 0 and mangled bytes on node 1"
        );
    }
}
