//! The peer link: in each direction an ordered, reliable stream of messages, any time under way.

use crate::arbiter::Membership;
use crate::words::{Value, WriteId};

/// What one node tells the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Message {
    /// Apply this write; it carries its data.
    Replicate(WriteId),
    /// The write is durable here, as far as it is not superseded.
    Ack(WriteId),
    /// The write is durable on both nodes: reads need not wait for it any more.
    Commit(WriteId),
    /// The sender serves no more: the receiver is to become the sole member.
    Leave,
    /// What the receiver lacks: the content of a sector.
    Copy(usize, Value),
    /// The sender has this sector now.
    Copied(usize),
    /// The receiver is a member again.
    Member(Membership),
}

/// Messages under way to one node, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Link {
    messages: Vec<Message>,
}

impl Link {
    /// Sends a message.
    pub fn send(&mut self, message: Message) {
        self.messages.push(message);
    }

    /// The message that arrives next.
    #[must_use]
    pub fn first(&self) -> Option<Message> {
        self.messages.first().copied()
    }

    /// The next message arrives.
    pub fn receive(&mut self) -> Message {
        assert!(!self.is_empty(), "only a message under way arrives");
        self.messages.remove(0)
    }

    /// The stream is broken: nothing of it arrives any more.
    pub fn clear(&mut self) {
        self.messages.clear();
    }

    /// Whether nothing is under way.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }
}
