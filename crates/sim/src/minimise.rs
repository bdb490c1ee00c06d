//! Makes a failing run small: leaves out what it fails without.

use crate::finding::Property;
use crate::options::Options;
use crate::run::{injections, run_compared};

/// The numbers of injections without which the same property still finds something: first all together, then halves, then one by
/// one.
///
/// A run with fewer injections goes another way. What another property finds there may be something else.
#[must_use]
pub fn minimise(options: &Options, property: Property) -> Vec<u32> {
    let twice = property == Property::Repeatable;
    let is_found = |suppressed: &[u32]| {
        let failure = run_compared(options, suppressed, 0, twice).failure;
        failure.is_some_and(|finding| finding.property == property)
    };
    let all: Vec<u32> = injections(options).iter().map(|injection| injection.number).collect();
    let mut suppressed: Vec<u32> = Vec::new();
    let mut piece = all.len();
    while piece > 0 {
        for numbers in all.chunks(piece) {
            let mut tried = suppressed.clone();
            tried.extend(numbers.iter().filter(|number| !suppressed.contains(number)));
            if tried.len() > suppressed.len() && is_found(&tried) {
                suppressed = tried;
            }
        }
        piece /= 2;
    }
    suppressed.sort_unstable();
    suppressed
}
