//! Makes a failing run small: leaves out what it fails without.

use crate::options::Options;
use crate::run::{injections, run};

/// The numbers of injections that a failing run fails without: first all together, then halves, then one by one.
///
/// A run with fewer injections goes another way, and may fail in another one; any failure is worth as much.
#[must_use]
pub fn minimise(options: &Options) -> Vec<u32> {
    let all: Vec<u32> = injections(options).iter().map(|injection| injection.number).collect();
    let mut suppressed: Vec<u32> = Vec::new();
    let mut piece = all.len();
    while piece > 0 {
        for numbers in all.chunks(piece) {
            let mut tried = suppressed.clone();
            tried.extend(numbers.iter().filter(|number| !suppressed.contains(number)));
            if tried.len() > suppressed.len() && run(options, &tried, 0).failure.is_some() {
                suppressed = tried;
            }
        }
        piece /= 2;
    }
    suppressed.sort_unstable();
    suppressed
}
