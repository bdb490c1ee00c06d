//! The command by which a finding is seen again.

use std::fmt;

use crate::fault::Fault;
use crate::finding::Property;

/// What has to be the same.
#[derive(Clone, Copy, Debug)]
pub struct Replay<'a> {
    /// The seed.
    pub seed: u64,
    /// Kinds of faults that were left out.
    pub without: &'a [Fault],
    /// Injections that were left out, by their numbers.
    pub suppressed: &'a [u32],
    /// Who found something.
    pub found_by: Property,
}

impl fmt::Display for Replay<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let faults = self.without.iter().map(ToString::to_string);
        let without: Vec<String> = faults.chain(self.suppressed.iter().map(ToString::to_string)).collect();
        write!(f, "cargo xtask sim --seed {}", self.seed)?;
        if !without.is_empty() {
            write!(f, " --without {}", without.join(","))?;
        }
        // One run alone shows no other way.
        if self.found_by == Property::Repeatable {
            f.write_str(" --twice")?;
        }
        f.write_str(" --trace")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replay(found_by: Property) -> String {
        let (without, suppressed) = (&[Fault::Kill, Fault::Flush][..], &[3, 7][..]);
        Replay { seed: 5, without, suppressed, found_by }.to_string()
    }

    #[test]
    fn what_is_found_only_by_running_twice_is_run_twice_again() {
        assert_eq!(replay(Property::Lag), "cargo xtask sim --seed 5 --without kill,flush,3,7 --trace");
        let twice = replay(Property::Repeatable);
        assert_eq!(twice, "cargo xtask sim --seed 5 --without kill,flush,3,7 --twice --trace");
    }
}
