//! What the nodes want is carried out: frames and bytes go on their way, disks are waited for, what is told is looked at.

use std::mem::take;

use replication::membership::{Members, NodeNumber};
use replication::output::Event as Told;

use super::hosts::volume_of;
use super::{Event, World, glimpse};
use crate::arbiter::Question;
use crate::build::node_address;
use crate::machine::Machine;
use crate::mark::Mark;
use crate::network::Station;
use crate::process::{Effect, Happening};

impl World {
    pub(super) fn tell(&mut self, node: usize, boot: u32, happening: Happening) {
        self.machines[node].happen(self.now, boot, happening, &mut self.counts, &mut self.effects);
        self.carry_out(node);
    }

    /// Does what the node wants, and has it called when it wants.
    pub(super) fn carry_out(&mut self, node: usize) {
        let boot = self.machines[node].boot();
        let mut effects = take(&mut self.effects);
        for effect in effects.drain(..) {
            match effect {
                Effect::Send { port, bytes } => {
                    if self.trace.is_read_whole() {
                        self.trace.say(self.now, format_args!("  node {node} -> {}", glimpse::of(&bytes)));
                    }
                    if let Some(volume) = volume_of(&bytes).filter(|volume| *volume < self.histories.len()) {
                        if self.stands_in_beside(node, port, volume, &bytes) {
                            self.watch.mark(Mark::AnsweredForPeer);
                        }
                        let history = &self.histories[volume];
                        self.watch.sent(self.now, node, volume, &bytes, history);
                    }
                    self.carry(Station(u8::try_from(node).expect("two nodes")), port, bytes);
                }
                Effect::Arrived { bytes } => self.frame_came(node, &bytes),
                Effect::DiskDone { at, volume, ticket, of } => {
                    self.queue.schedule(at, Event::DiskDone { node, boot, volume, ticket, of });
                }
                Effect::PeerSend { connection, bytes } => {
                    let (peer, deliveries) = (&mut self.peer, &mut self.deliveries);
                    peer.send(self.now, node, connection, bytes, &mut self.counts, deliveries);
                }
                Effect::PeerClose(connection) => {
                    self.trace.say(self.now, format_args!("node {node} closes {connection:?}"));
                    self.peer.close(self.now, node, connection, &mut self.deliveries);
                }
                Effect::Ask { volume, number, expected, next } => {
                    self.ask(Question { node, boot, volume, number, expected, next });
                }
                Effect::Event { volume, event } => {
                    self.trace.say(self.now, format_args!("node {node} volume {volume}: {event:?}"));
                    if matches!(event, Told::DiskFailed(_) | Told::MetadataFailed(_)) {
                        self.broken[node] = true;
                        // A slow disk may have failed at something from before everything was put right.
                        if self.healed {
                            self.queue.schedule(self.now, Event::Repair { node });
                        }
                    }
                    self.watch.told(&event);
                    let number = [NodeNumber::Zero, NodeNumber::One][node];
                    let counts_alone = match event {
                        Told::Alone(_) => true,
                        // It was granted to go on alone, and has met the other one before it did.
                        Told::Paired { membership, .. } => membership.members == Members::Only(number),
                        _ => false,
                    };
                    if counts_alone {
                        // The other one would have put right what is torn here, and counts no more.
                        self.machines[node].disks[volume].data.forgive_torn();
                    }
                    if let Told::Paired { lacking: 1.., .. } = event {
                        self.histories[volume].target_met(self.now, node);
                    }
                    // It may also be a sector that cannot be read at one node.
                    if matches!(event, Told::Differs(_)) {
                        self.examine_differences(volume);
                    }
                }
            }
        }
        self.effects = effects;
        self.deliver();
        self.watch.look(self.now, &self.machines);
        self.watch_memories();
        if let Some(due) = self.machines[node].poll_timeout() {
            let due = due.max(self.now);
            if self.timers[node].is_none_or(|scheduled| due < scheduled) {
                self.timers[node] = Some(due);
                self.queue.schedule(due, Event::Timer { node });
            }
        }
    }

    /// Whether a frame is an answer from the other node's address while both serve.
    fn stands_in_beside(&self, node: usize, port: u8, volume: usize, frame: &[u8]) -> bool {
        let other = u8::try_from(1 - node).expect("two nodes");
        let serves = |machine: &Machine| machine.status(volume).is_some_and(|status| status.serving);
        let is_to_one = frame[0] & 1 == 0;
        is_to_one && frame[6..12] == node_address(other, port).0 && self.machines.iter().all(serves)
    }

    pub(super) fn deliver(&mut self) {
        for (at, node, delivery) in self.deliveries.drain(..) {
            let boot = self.machines[node].boot();
            self.queue.schedule(at, Event::Delivery { node, boot, delivery });
        }
    }

    pub(super) fn carry(&mut self, from: Station, port: u8, bytes: Vec<u8>) {
        self.network.send(self.now, from, port, bytes, &mut self.counts, &mut self.arrivals);
        for arrival in self.arrivals.drain(..) {
            self.queue.schedule(arrival.at, Event::Frame(arrival));
        }
    }
}
