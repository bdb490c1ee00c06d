//! The command by which a finding is seen again.

use std::fmt;

use crate::fault::Fault;
use crate::finding::Property;
use crate::mistake::Mistake;

/// What has to be the same.
#[derive(Clone, Copy, Debug)]
pub struct Replay<'a> {
    /// The seed.
    pub seed: u64,
    /// Kinds of faults that were left out.
    pub without: &'a [Fault],
    /// Injections that were left out, by their numbers.
    pub suppressed: &'a [u32],
    /// The mistake that the nodes made.
    pub mistake: Mistake,
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
        if let Some(mistake) = self.mistake.name() {
            write!(f, " --mistake {mistake}")?;
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
        Replay { seed: 5, without, suppressed, mistake: Mistake::default(), found_by }.to_string()
    }

    #[test]
    fn what_is_found_only_by_running_twice_is_run_twice_again() {
        assert_eq!(replay(Property::Lag), "cargo xtask sim --seed 5 --without kill,flush,3,7 --trace");
        let twice = replay(Property::Repeatable);
        assert_eq!(twice, "cargo xtask sim --seed 5 --without kill,flush,3,7 --twice --trace");
    }

    #[cfg(feature = "mutations")]
    #[test]
    fn the_mistake_is_told() {
        let mistake = replication::mutation::Mutation::BothSupersede.into();
        let replay = Replay { seed: 5, without: &[], suppressed: &[], mistake, found_by: Property::Lag };
        assert_eq!(replay.to_string(), "cargo xtask sim --seed 5 --mistake BothSupersede --trace");
    }
}
