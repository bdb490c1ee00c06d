//! Frames come to nodes and hosts, and hosts are called when they want to be.

use block::Duration;

use super::{Event, NODES, World, glimpse};
use crate::network::{Arrival, Station};
use crate::process::Happening;

impl World {
    pub(super) fn frame_arrives(&mut self, Arrival { station, port, bytes, .. }: Arrival) {
        self.trace.note(&[1, u64::from(station.0), u64::from(port)]);
        self.trace.note_bytes(&bytes);
        let station = usize::from(station.0);
        if station < NODES {
            if self.machines[station].is_up() {
                if self.trace.is_read_whole() {
                    self.trace.say(self.now, format_args!("  node {station} <- {}", glimpse::of(&bytes)));
                }
                self.frame_came(station, &bytes);
            }
            let boot = self.machines[station].boot();
            return self.tell(station, boot, Happening::Frame { port, bytes });
        }
        // Operators do not wait for answers.
        let Some(place) = self.hosts.get_mut(station - NODES) else { return };
        let mac = place.host.mac(port).0;
        if bytes.len() >= 14 && (bytes[..6] == mac || bytes[..6] == [0xff; 6]) {
            place.host.handle_frame(self.now, port, &bytes, &mut self.histories[place.volume]);
            self.after_host(station - NODES);
        }
    }

    /// A frame is about to be looked at by a node.
    pub(super) fn frame_came(&mut self, node: usize, bytes: &[u8]) {
        if let Some(history) = volume_of(bytes).and_then(|volume| self.histories.get_mut(volume)) {
            history.frame_reached_node(self.now, node, bytes);
        }
        self.watch.came(self.now, node, bytes);
    }

    pub(super) fn host_timeout(&mut self, host: usize) {
        let place = &mut self.hosts[host];
        if place.due.is_none_or(|due| due > self.now) {
            return;
        }
        place.due = None;
        place.host.handle_timeout(self.now, &mut self.histories[place.volume]);
        self.after_host(host);
    }

    pub(super) fn after_host(&mut self, host: usize) {
        let station = Station(u8::try_from(NODES + host).expect("few hosts"));
        while let Some(frame) = self.hosts[host].host.poll_frame() {
            self.carry(station, frame.port, frame.bytes);
        }
        let place = &mut self.hosts[host];
        if let Some(due) = place.host.poll_timeout() {
            let due = due.max(self.now.after(Duration::from_nanos(1)));
            if place.due.is_none_or(|scheduled| due < scheduled) {
                place.due = Some(due);
                self.queue.schedule(due, Event::Host(host));
            }
        }
    }
}

/// Which volume a frame is about: its slot is its number.
pub(super) fn volume_of(bytes: &[u8]) -> Option<usize> {
    const SLOT: usize = 18;
    bytes.get(SLOT).copied().map(usize::from)
}
