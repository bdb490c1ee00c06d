//! Storage interfaces that have no link: the peer answers there at this node's address.
//!
//! Both nodes serve, and initiators go on sending to the address that has no way to its node any more: for ever, or for eleven
//! seconds. Each node therefore says which of its interfaces have no link, at the beginning of a session and whenever that
//! changes; the other one answers at its address there, until it hears otherwise or the session ends.
//!
//! ```text
//!   link lost: takes nothing there any more
//!     │ ─── LinksDown {eth2} ──▶ │  answers at the sender's address on eth2 for all that it serves
//!   link back: answers at its own address again
//!     │ ─── LinksDown {} ──────▶ │  ceases, and for a while hands over what switches still send to it
//! ```
//!
//! Nothing depends on the order of these: each node knows which writes the other one has taken, so a frame that reaches both, or
//! one and a copy of it the other, counts as one write that was sent to either.

use crate::engine::Engine;
use crate::message::{Message, Refusal};
use crate::output::Output;

/// Some of a node's storage interfaces, by their numbers; they are the same wires at both nodes.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Interfaces(u64);

impl Interfaces {
    /// None of them.
    pub const NONE: Self = Self(0);

    /// Those whose bits are set.
    #[must_use]
    pub const fn of_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// A bit for each.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// These, and another one; nothing changes for a number that has no bit.
    #[must_use]
    pub const fn with(self, number: u8) -> Self {
        Self(self.0 | bit(number))
    }

    /// These but for one.
    #[must_use]
    pub const fn without(self, number: u8) -> Self {
        Self(self.0 & !bit(number))
    }

    /// Whether one is among them.
    #[must_use]
    pub const fn contains(self, number: u8) -> bool {
        self.0 & bit(number) != 0
    }

    /// Those that are among these or others, but not among both.
    pub fn differing(self, others: Self) -> impl Iterator<Item = u8> {
        let changed = Self(self.0 ^ others.0);
        (0..64).filter(move |number| changed.contains(*number))
    }
}

const fn bit(number: u8) -> u64 {
    if number < 64 { 1 << number } else { 0 }
}

/// Which interfaces have no link.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Links {
    down: Interfaces,
    /// By what the peer has said in this session.
    peer_down: Interfaces,
}

impl Engine {
    /// These of this node's have no link from now on, and no others.
    pub(crate) fn handle_links_down(&mut self, down: Interfaces) {
        if self.links.down != down {
            self.links.down = down;
            self.say_links_down();
        }
    }

    /// The peer takes none to be down before it is told.
    pub(crate) fn introduce_links(&mut self) {
        if self.links.down != Interfaces::NONE {
            self.say_links_down();
        }
    }

    fn say_links_down(&mut self) {
        if self.session.tells_of_links() {
            let message = Message::LinksDown(self.links.down);
            self.push(Output::Send { message, data: None });
        }
    }

    pub(crate) fn handle_peer_links_down(&mut self, down: Interfaces) -> Result<(), Refusal> {
        self.must_be_up()?;
        self.set_peer_links_down(down);
        Ok(())
    }

    /// Whoever cannot say any more that a link is back has none down.
    pub(crate) fn forget_peer_links(&mut self) {
        self.set_peer_links_down(Interfaces::NONE);
    }

    fn set_peer_links_down(&mut self, down: Interfaces) {
        if self.links.peer_down != down {
            self.links.peer_down = down;
            self.push(Output::PeerLinksDown(down));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interfaces_are_told_apart_by_their_numbers() {
        let some = Interfaces::NONE.with(0).with(63);
        assert!(some.contains(0) && some.contains(63) && !some.contains(1));
        assert_eq!(some.bits(), 1 | 1 << 63);
        assert_eq!(some.with(64), some, "there is no such interface");
        assert!(!some.contains(64));
        assert_eq!(some.without(63), Interfaces::of_bits(1));
        assert_eq!(some.differing(Interfaces::of_bits(3)).collect::<Vec<_>>(), [1, 63]);
    }
}
