//! The versions of the peer protocol, and which one two nodes speak.
//!
//! Each node says in [`Hello`] which versions it speaks; the session is in the newest that both do. Heads, `Hello` and
//! `Goodbye` keep their shape in all versions (a later one may only add to their end), so that nodes of any two versions
//! understand why they do not understand each other.

use std::fmt;

use crate::message::Hello;

/// A version of the protocol.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Version {
    /// The first.
    V1,
}

/// Every version this program speaks with what came with it, oldest first.
pub const HISTORY: [(Version, &str); 1] = [(
    Version::V1,
    "writes, reads, resync, verify, leases, membership, growth and small state of many volumes in one stream",
)];

impl Version {
    /// The oldest this program speaks: [`Hello::version_min`].
    pub const OLDEST: Self = HISTORY[0].0;
    /// The newest: [`Hello::version_max`].
    pub const NEWEST: Self = HISTORY[HISTORY.len() - 1].0;

    /// The number in a head.
    #[must_use]
    pub const fn number(self) -> u16 {
        match self {
            Self::V1 => 1,
        }
    }

    /// What is spoken with a peer that sent this: the newest version in common, if there is one.
    #[must_use]
    pub fn in_common(hello: &Hello) -> Option<Self> {
        let spoken = hello.version_min..=hello.version_max;
        HISTORY.iter().rev().map(|(version, _)| *version).find(|version| spoken.contains(&version.number()))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.number().fmt(formatter)
    }
}
