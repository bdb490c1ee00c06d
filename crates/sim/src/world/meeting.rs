//! The nodes reach for each other and for the arbiter, as their shells do.

use replication::input::ArbiterAnswer;

use super::{ARBITER_PATIENCE, CONNECT_PAUSE, Event, NODES, World};
use crate::arbiter::Question;
use crate::peer_link::Delivery;
use crate::process::Happening;

impl World {
    pub(super) fn ask(&mut self, question: Question) {
        let Question { node, boot, volume, number, .. } = question;
        if let Some(at) = self.arbiter.ask(self.now, node, &mut self.counts) {
            self.queue.schedule(at, Event::Question(Box::new(question)));
        }
        let happening = Box::new(Happening::Arbiter { volume, number, answer: ArbiterAnswer::Unreachable });
        self.queue.schedule(self.now.after(ARBITER_PATIENCE), Event::Later { node, boot, happening });
    }

    pub(super) fn arbiter_decides(&mut self, question: &Question) {
        let Question { node, boot, volume, number, expected, next } = *question;
        let Some((at, answer)) = self.arbiter.decide(self.now, question, &mut self.counts) else { return };
        self.trace.say(
            self.now,
            format_args!("arbiter: node {node} wants {next:?} after {expected:?}: {answer:?}"),
        );
        let happening = Box::new(Happening::Arbiter { volume, number, answer });
        self.queue.schedule(at, Event::Later { node, boot, happening });
    }

    /// The shells of the nodes look after their connection.
    pub(super) fn connect(&mut self) {
        self.queue.schedule(self.now.after(CONNECT_PAUSE), Event::Connect);
        for node in 0..NODES {
            let connection = self.machines[node].connection();
            if !self.peer.is_stuck(node) || connection.is_none() {
                self.stuck_since[node] = None;
                continue;
            }
            let since = *self.stuck_since[node].get_or_insert(self.now);
            if self.now.since(since) > self.patience
                && let Some(connection) = connection
            {
                self.stuck_since[node] = None;
                let boot = self.machines[node].boot();
                self.tell(node, boot, Happening::Peer(Delivery::Closed(connection)));
            }
        }
        let ready = self.machines.iter().all(|machine| machine.is_up() && !machine.is_paused());
        let wanted = self.machines.iter().any(|machine| machine.connection().is_none());
        if ready && wanted && self.now >= self.connecting_until {
            self.peer.connect(self.now, &mut self.deliveries);
            let last = self.deliveries.iter().map(|(at, ..)| *at).max();
            self.connecting_until = last.unwrap_or(self.now);
            self.deliver();
        }
    }
}
