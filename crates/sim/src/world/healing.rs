//! Everything is put right: what was broken works, what was down has power, and hosts ask nothing new.

use std::mem::take;

use block::Duration;
use replication::input::Control;

use super::{Event, NODES, World};
use crate::disk::Loss;

impl World {
    /// Everything that was wrong is put right, and nothing goes wrong any more.
    pub fn heal(&mut self) {
        self.trace.say(self.now, format_args!("everything is put right"));
        self.healed = true;
        self.network.heal();
        for node in 0..NODES {
            self.set_mtu(node, self.rules.mtu);
            self.look_at_links(node);
        }
        self.arbiter.heal();
        self.peer.heal(self.now, &mut self.deliveries);
        self.deliver();
        for node in 0..NODES {
            for disks in &mut self.machines[node].disks {
                disks.data.heal();
                disks.metadata.heal();
            }
            self.repair(node);
            self.control(node, Control::Join);
            if self.machines[node].is_paused() {
                self.machines[node].pause(self.now);
                self.queue.schedule(self.now, Event::Resume { node });
            }
            if !self.machines[node].is_up() {
                self.queue.schedule(self.now, Event::Start { node });
            }
        }
    }

    pub(super) fn repair(&mut self, node: usize) {
        if take(&mut self.broken[node]) && self.machines[node].is_up() {
            self.stop_for(node, Loss::ProcessOnly, Duration::ZERO);
        }
    }

    /// A node ends, and nobody starts it again.
    pub(crate) fn lose_node(&mut self, node: usize, loss: Loss) {
        self.trace.say(self.now, format_args!("node {node} is lost"));
        self.stop(node, loss);
    }

    /// A node that was lost is there again.
    pub(crate) fn start_node(&mut self, node: usize) {
        self.queue.schedule(self.now, Event::Start { node });
    }

    /// Each host asks so many more.
    pub(crate) fn ask_more(&mut self, requests: u32) {
        for host in 0..self.hosts.len() {
            self.hosts[host].host.ask_more(requests);
            self.after_host(host);
        }
    }

    /// Whether hosts have asked everything, and everything was answered.
    pub(crate) fn is_all_answered(&self) -> bool {
        self.hosts.iter().all(|place| place.host.is_done())
    }

    /// How long a host may wait before it sends again.
    pub(crate) fn resends_after(&self) -> Duration {
        self.hosts.iter().map(|place| place.host.resends_after()).max().unwrap_or(Duration::ZERO)
    }

    /// Requests that ended with an error so far.
    pub(crate) fn failed(&self) -> u32 {
        self.hosts.iter().map(|place| place.host.failed()).sum()
    }

    /// Hosts ask nothing new.
    pub fn finish(&mut self) {
        for place in &mut self.hosts {
            place.host.finish();
        }
    }
}
