//! The arbiter: one compare-and-swap register that says who are the members.
//!
//! It is asked through a network of its own, which may keep a question for any time and may lose the answer: then the
//! register has changed and nobody knows. It never looks at the nodes.

use crate::words::Side;

/// Who are the members of a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Members {
    /// Both nodes: what one acknowledges is on both.
    Both,
    /// One node alone: the other copy is stale until it is in sync again.
    Only(Side),
}

/// A membership: each change counts the epoch up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Membership {
    /// The number of the membership.
    pub epoch: u8,
    /// The members.
    pub members: Members,
}

impl Membership {
    /// The membership that a new pair begins with.
    pub const FIRST: Self = Self { epoch: 0, members: Members::Both };

    /// The membership after this one, with these members.
    #[must_use]
    pub fn next(self, members: Members) -> Self {
        Self { epoch: self.epoch + 1, members }
    }
}

/// Where the question of one node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Question {
    /// It asks nothing.
    None,
    /// Under way: from both members at this membership to the node alone.
    Asked(Membership),
    /// Under way, and the node will not hear or not heed the answer.
    Abandoned(Membership),
    /// Answered: the node is the sole member from the membership after this one.
    Granted(Membership),
    /// Answered: the membership is not what the node believed.
    Refused,
}

/// Compare-and-swap, and the same question asked twice is answered alike. Whether it was granted.
pub fn swap(register: &mut Membership, expected: Membership, members: Members) -> bool {
    if *register == expected {
        *register = expected.next(members);
    }
    *register == expected.next(members)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_of_two_who_ask_is_granted_and_may_ask_again() {
        let mut register = Membership::FIRST;
        assert!(swap(&mut register, Membership::FIRST, Members::Only(Side::One)));
        assert!(!swap(&mut register, Membership::FIRST, Members::Only(Side::Zero)));
        assert!(swap(&mut register, Membership::FIRST, Members::Only(Side::One)));
        assert_eq!(register, Membership { epoch: 1, members: Members::Only(Side::One) });
    }
}
