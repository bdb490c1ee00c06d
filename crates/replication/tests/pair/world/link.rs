//! The stream between the nodes. It breaks for each side at a moment of its own: what is on its way may still be heard, and
//! whoever has not noticed yet goes on talking to nobody.

use std::collections::VecDeque;

use block::BufferSlice;
use replication::input::Input;
use replication::message::{Message, Refusal, VolumeMessage};

use super::{Stage, World};

/// One node's end of the stream.
#[derive(Debug, Default)]
pub(crate) struct End {
    /// What is to be heard here.
    pub(crate) inbox: VecDeque<(Message, Option<Vec<u64>>)>,
    /// This node believes in a connection.
    pub(crate) is_open: bool,
    /// There is none any more, which this node hears after what is in the inbox.
    pub(crate) is_broken: bool,
}

#[derive(Debug)]
pub(crate) struct Link {
    /// Of node 0 and of node 1.
    pub(crate) ends: [End; 2],
    pub(crate) is_up: bool,
}

impl World {
    pub(crate) const fn link_is_up(&mut self, is_up: bool) {
        self.link.is_up = is_up;
    }

    /// Whether anything of a kind was said and not yet heard.
    pub(crate) fn is_under_way(&self, to: usize, kind: impl Fn(&VolumeMessage) -> bool) -> bool {
        let inbox = self.link.ends[to].inbox.iter();
        inbox
            .map(|(message, _)| message)
            .any(|message| matches!(message, Message::Volume(_, message) if kind(message)))
    }

    /// Puts a message on its way.
    pub(crate) fn send(&mut self, from: usize, message: Message, data: Option<BufferSlice>) {
        let data = data.map(|data| self.content(from, data));
        let [sender, receiver] = [from, 1 - from].map(|index| &self.link.ends[index]);
        let arrives = sender.is_open && !sender.is_broken && receiver.is_open && !receiver.is_broken;
        if arrives && !(self.grants_are_lost && matches!(message, Message::Granted { .. })) {
            self.link.ends[1 - from].inbox.push_back((message, data));
        }
    }

    /// The engine wants no more of this session.
    pub(crate) fn hang_up(&mut self, index: usize, reason: Refusal) {
        assert!(
            matches!(reason, Refusal::LeaseExpired | Refusal::Resized | Refusal::WriteFailed)
                || self.is_back_too_soon(reason),
            "refusal: node {index}: {reason:?}"
        );
        self.break_at(1 - index);
        self.close(index);
    }

    /// The connection is gone; each node hears of it at once or later.
    pub(crate) fn break_link(&mut self) {
        for index in 0..2 {
            self.break_at(index);
        }
        for index in 0..2 {
            if !self.faults.one_sided || self.chance.one_in(3) {
                self.close(index);
            }
        }
    }

    /// Nothing more comes here than a part of what is on its way.
    pub(crate) fn break_at(&mut self, index: usize) {
        let arrives = match self.chance.below(3) {
            0 => u64::MAX,
            1 => 0,
            _ => self.chance.below(20),
        };
        let end = &mut self.link.ends[index];
        if end.is_open && !end.is_broken {
            end.is_broken = true;
            end.inbox.truncate(usize::try_from(arrives).unwrap_or(usize::MAX));
        }
    }

    /// A node hears that its connection is gone.
    pub(crate) fn close(&mut self, index: usize) {
        if self.nodes[index].paused {
            return;
        }
        let end = &mut self.link.ends[index];
        end.inbox.clear();
        end.is_broken = false;
        if std::mem::take(&mut end.is_open) {
            self.input(index, Input::Disconnected);
        }
    }

    /// A node is not there any more.
    pub(crate) fn vanish(&mut self, index: usize) {
        self.link.ends[index] = End::default();
        self.break_at(1 - index);
        if !self.faults.one_sided {
            self.close(1 - index);
        }
    }

    pub(crate) fn connect(&mut self) {
        let both_run = self.is_running(0) && self.is_running(1);
        // A new connection may come before the end of the old one was noticed.
        let is_free = |end: &End| !end.is_open || end.is_broken;
        let are_free = self.link.ends.iter().all(is_free);
        if are_free && self.link.is_up && both_run && self.chance.one_in(4) {
            for index in 0..2 {
                if self.link.ends[index].is_open && self.chance.one_in(2) {
                    self.close(index);
                }
            }
            self.say(|| "the nodes are connected".into());
            self.link.ends = [0, 1].map(|_| End { is_open: true, ..End::default() });
            // Neither is to say anything on the new stream before it has heard of it.
            self.is_poking = true;
            for index in 0..2 {
                self.input(index, Input::Connected);
            }
            self.is_poking = false;
            self.check_exclusion();
        }
    }

    /// Hands in what has come: several messages if there are many.
    pub(crate) fn deliver(&mut self, index: usize) {
        if !self.is_running(index) {
            return;
        }
        if let Some((of, digest)) = self.nodes[index].digests.pop_front() {
            return self.input(index, Input::Digest { of, digest });
        }
        if self.is_stalled(Stage::Link, index) {
            return;
        }
        let burst = self.link.ends[index].inbox.len() as u64 / 4;
        for _ in 0..=self.chance.below(burst + 1) {
            let Some((message, data)) = self.link.ends[index].inbox.pop_front() else { break };
            self.check_message(index, &message);
            let data = data.map(|values| self.buffer(index, values));
            self.input(index, Input::Message { message, data });
        }
        if self.link.ends[index].is_broken && self.link.ends[index].inbox.is_empty() {
            self.close(index);
        }
    }
}
