//! The same seed takes the same way: two runs of it have one digest of all that happened.

use crate::finding::{Finding, Property};

/// Whether the second run went the way of the first.
///
/// # Errors
/// If not.
pub fn check(first: u64, second: u64) -> Result<(), Finding> {
    if first == second {
        Ok(())
    } else {
        Err(Finding::new(Property::Repeatable, "it went another way the second time"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_way_is_told() {
        assert_eq!(check(7, 7), Ok(()));
        assert_eq!(check(7, 8).map_err(|finding| finding.property), Err(Property::Repeatable));
    }
}
