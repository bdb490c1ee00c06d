//! A mistake that the nodes of a world make on purpose, to find out whether anybody would notice.
//!
//! The mistakes are those of `replication::mutation`, by their names there. Without the feature `mutations` there is none.

use node::Node;
#[cfg(feature = "mutations")]
use replication::mutation::Mutation;

/// Which mistake every node makes, if any.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Mistake {
    #[cfg(feature = "mutations")]
    chosen: Option<Mutation>,
}

#[cfg(not(feature = "mutations"))]
impl Mistake {
    /// What it is called.
    #[must_use]
    pub const fn name(self) -> Option<String> {
        None
    }

    pub(crate) const fn plant(self, _: &mut Node) {}
}

#[cfg(feature = "mutations")]
impl Mistake {
    /// All there are.
    pub fn all() -> impl Iterator<Item = Self> {
        Mutation::ALL.iter().copied().map(Into::into)
    }

    /// What it is called.
    #[must_use]
    pub fn name(self) -> Option<String> {
        self.chosen.map(|mutation| format!("{mutation:?}"))
    }

    /// What is wrong with it, in words.
    #[must_use]
    pub fn text(self) -> &'static str {
        self.chosen.map_or("no mistake", Mutation::mistake)
    }

    /// A node makes it from now on; to be called before anything else.
    pub(crate) fn plant(self, node: &mut Node) {
        if let Some(mutation) = self.chosen {
            node.mutate(mutation);
        }
    }
}

#[cfg(feature = "mutations")]
impl From<Mutation> for Mistake {
    fn from(mutation: Mutation) -> Self {
        Self { chosen: Some(mutation) }
    }
}

#[cfg(feature = "mutations")]
impl std::str::FromStr for Mistake {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let mut nearest: Option<(usize, String)> = None;
        for mistake in Self::all() {
            let known = mistake.name().unwrap_or_default();
            if known == name {
                return Ok(mistake);
            }
            let distance = strsim::damerau_levenshtein(&known, name);
            if nearest.as_ref().is_none_or(|(least, _)| distance < *least) {
                nearest = Some((distance, known));
            }
        }
        let (_, known) = nearest.unwrap_or_default();
        Err(format!("there is no such mistake; did you mean `{known}`? `--mistakes` tells all of them"))
    }
}

#[cfg(all(test, feature = "mutations"))]
mod tests {
    use super::*;

    #[test]
    fn every_mistake_is_found_by_its_name_and_an_unknown_one_is_told_the_nearest() {
        for mistake in Mistake::all() {
            assert_eq!(mistake.name().expect("it is one").parse(), Ok(mistake));
        }
        let error = "readspasslocals".parse::<Mistake>().expect_err("names are exact");
        assert!(error.contains("did you mean `ReadsPassLocals`?"), "{error}");
    }
}
