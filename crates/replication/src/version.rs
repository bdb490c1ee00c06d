//! The versions of the peer protocol, and which one two nodes speak.
//!
//! Each node says in [`crate::message::Hello`] which versions it speaks; the session is in the newest that both do. Heads, `Hello` and
//! `Goodbye` keep their shape in all versions (a later one may only add to their end), so that nodes of any two versions
//! understand why they do not understand each other. A program speaks every version of [`HISTORY`]; a node may be told to speak
//! fewer. What a developer does who changes the protocol stands in `docs/peer-protocol.md`.

use std::fmt;

/// A version of the protocol that this program speaks.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Version {
    /// The first.
    V1,
    /// An acknowledgement tells how long the write was at its follower.
    V2,
    /// A node that came back is told when it alone answers at its address again.
    V3,
    /// A connection begins with a number that is said back.
    V4,
    /// A node tells which of its storage interfaces have no link.
    V5,
}

/// Every version this program speaks with what came with it, oldest first.
pub const HISTORY: [(Version, &str); 5] = [
    (
        Version::V1,
        "writes, reads, resync, verify, leases, membership, growth and small state of many volumes in one stream",
    ),
    (Version::V2, "`Ack` tells how long the write was at its follower"),
    (Version::V3, "`GivenBack` tells a node that came back when its address is its own again"),
    (
        Version::V4,
        "whoever connects says back a number that it was told, so that no recorded connection is taken for a new one",
    ),
    (Version::V5, "`LinksDown` tells where the other node answers in this one's stead"),
];

impl Version {
    /// The oldest this program speaks.
    pub const OLDEST: Self = HISTORY[0].0;
    /// The newest.
    pub const NEWEST: Self = HISTORY[HISTORY.len() - 1].0;

    /// The number in a head.
    #[must_use]
    pub const fn number(self) -> u16 {
        match self {
            Self::V1 => 1,
            Self::V2 => 2,
            Self::V3 => 3,
            Self::V4 => 4,
            Self::V5 => 5,
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.number().fmt(formatter)
    }
}

/// The versions that a node speaks, all from the oldest to the newest. A peer's may be of later programs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct VersionRange {
    /// The first of them.
    pub oldest: u16,
    /// The last.
    pub newest: u16,
}

impl VersionRange {
    /// Everything that this program speaks.
    pub const ALL: Self = Self::of(Version::OLDEST, Version::NEWEST);
    /// What a node speaks that was not told otherwise: before version 4 a connection is not confirmed, so that a recorded one opens one.
    pub const USUAL: Self = Self::of(Version::V4, Version::NEWEST);

    /// From one version to another.
    #[must_use]
    pub const fn of(oldest: Version, newest: Version) -> Self {
        Self { oldest: oldest.number(), newest: newest.number() }
    }

    /// Whether there is a version in it, and one that has a number.
    #[must_use]
    pub const fn is_range(self) -> bool {
        self.oldest > 0 && self.oldest <= self.newest
    }

    /// Whether all of the other's versions are in it.
    #[must_use]
    pub const fn includes(self, other: Self) -> bool {
        self.oldest <= other.oldest && other.newest <= self.newest
    }

    /// What is spoken with a peer that speaks `peer`: the newest version in common that this program knows, if there is one.
    #[must_use]
    pub fn in_common(self, peer: Self) -> Option<Version> {
        let both = self.oldest.max(peer.oldest)..=self.newest.min(peer.newest);
        HISTORY.iter().rev().map(|(version, _)| *version).find(|version| both.contains(&version.number()))
    }
}

impl fmt::Display for VersionRange {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { oldest, newest } = self;
        if oldest == newest {
            write!(formatter, "version {oldest}")
        } else {
            write!(formatter, "versions {oldest} to {newest}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn range(oldest: u16, newest: u16) -> VersionRange {
        VersionRange { oldest, newest }
    }

    #[test]
    fn what_is_spoken_is_the_newest_that_both_speak_and_this_program_knows() {
        let all = VersionRange::ALL;
        assert_eq!(all.in_common(all), Some(Version::NEWEST));
        assert_eq!(all.in_common(range(1, 1)), Some(Version::V1));
        assert_eq!(all.in_common(range(2, 2)), Some(Version::V2));
        assert_eq!(all.in_common(range(2, 9)), Some(Version::NEWEST), "of a later program");
        assert_eq!(range(1, 1).in_common(all), Some(Version::V1));
        assert_eq!(range(1, 1).in_common(range(2, 2)), None);
        assert_eq!(all.in_common(range(6, 9)), None);
        assert_eq!(range(1, 9).in_common(range(6, 9)), None, "nobody speaks what he does not know");
    }

    #[test]
    fn a_range_has_a_version() {
        assert!(VersionRange::ALL.is_range() && range(4, 4).is_range());
        assert!(!range(0, 1).is_range() && !range(3, 2).is_range());
    }
}
