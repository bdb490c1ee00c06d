//! Ethernet: ports on segments, switches that learn, and what becomes of frames on their way.
//!
//! It decides who gets a frame, how often, when and in which shape. It never looks behind the Ethernet header.

use std::collections::BTreeMap;

use aoe::MacAddress;
use aoe::limits::ETHERNET_BYTES;
use block::{Duration, Instant};

use crate::fault::{Fault, FaultCounts, Injection};
use crate::host::SEGMENTS_MAX;
use crate::random::{MILLION, Random};

/// Something with a port on every segment: a node or a host.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Station(pub u8);

/// A frame that will come in at a station.
#[derive(Debug)]
pub struct Arrival {
    /// When.
    pub at: Instant,
    /// Where.
    pub station: Station,
    /// At which of its ports.
    pub port: u8,
    /// What.
    pub bytes: Vec<u8>,
}

/// How one direction of one port is.
#[derive(Clone, Copy, Debug, Default)]
struct Direction {
    cut: bool,
    loss: u32,
    duplicate: u32,
    corrupt: u32,
    truncate: u32,
    held: u32,
    delay: Duration,
    /// Longer frames do not pass, if it is said.
    bytes_max: Option<usize>,
}

/// Both.
#[derive(Clone, Copy, Debug, Default)]
struct Port {
    out: Direction,
    into: Direction,
    link_down: bool,
}

/// All segments.
#[derive(Debug)]
pub struct Network {
    random: Random,
    latency: Duration,
    segments: usize,
    /// All segments are one: a station has more than one port there.
    joined: bool,
    /// By station, then by segment.
    ports: Vec<[Port; SEGMENTS_MAX]>,
    /// What the switch of each segment has learned: behind which station's port an address is.
    learned: [BTreeMap<[u8; 6], (Station, u8)>; SEGMENTS_MAX],
    /// The longest frames that a station's ports carry, if that was said.
    mtus: Vec<Option<usize>>,
    active: Vec<Injection>,
    healed: bool,
}

impl Network {
    /// A network of so many stations, each with a port on each of the segments.
    #[must_use]
    pub fn new(random: Random, stations: usize, segments: usize, latency: Duration) -> Self {
        assert!((1..=SEGMENTS_MAX).contains(&segments), "one segment or two");
        Self {
            random,
            latency,
            segments,
            joined: false,
            ports: vec![Default::default(); stations],
            learned: Default::default(),
            mtus: vec![None; stations],
            active: Vec::new(),
            healed: false,
        }
    }

    /// The same with one switch for all segments.
    #[must_use]
    pub fn joined(self) -> Self {
        Self { joined: true, ..self }
    }

    /// Something goes wrong from now on.
    pub fn begin(&mut self, injection: Injection) {
        if self.healed {
            return;
        }
        if injection.fault == Fault::SwitchForgets {
            self.learned = Default::default();
            return;
        }
        self.active.push(injection);
        self.apply();
        if injection.fault == Fault::LinkDown {
            self.forget_behind_links_down();
        }
    }

    /// A switch floods what it sent to a port that has no link.
    fn forget_behind_links_down(&mut self) {
        let ports = &self.ports;
        for learned in &mut self.learned {
            learned.retain(|_, (station, port)| !ports[usize::from(station.0)][usize::from(*port)].link_down);
        }
    }

    /// Which ports of a station have no link.
    #[must_use]
    pub fn links_down(&self, station: Station) -> [bool; SEGMENTS_MAX] {
        self.ports[usize::from(station.0)].map(|port| port.link_down)
    }

    /// A station's ports carry frames of that MTU from now on.
    pub fn set_mtu(&mut self, station: Station, mtu: u32) {
        let bytes = mtu as usize + ETHERNET_BYTES;
        self.mtus[usize::from(station.0)] = Some(bytes);
        self.apply();
    }

    /// It is over.
    pub fn end(&mut self, number: u32) {
        self.active.retain(|injection| injection.number != number);
        self.apply();
    }

    /// Everything is well from now on.
    pub fn heal(&mut self) {
        self.healed = true;
        self.active.clear();
        self.apply();
    }

    /// A station sends; tells what comes in where and when, and what went wrong.
    pub fn send(
        &mut self,
        now: Instant,
        from: Station,
        port: u8,
        bytes: Vec<u8>,
        counts: &mut FaultCounts,
        arrivals: &mut Vec<Arrival>,
    ) {
        let segment = usize::from(port);
        if segment >= self.segments || bytes.len() < 14 {
            return;
        }
        let out = self.ports[usize::from(from.0)][segment].out;
        let source = address(&bytes, 6);
        let destination = address(&bytes, 0);
        if self.is_lost(out, counts) {
            return;
        }
        let learned = &mut self.learned[if self.joined { 0 } else { segment }];
        learned.insert(source, (from, port));
        let known = learned.get(&destination).copied();
        match known.filter(|_| !MacAddress(destination).is_multicast()) {
            Some((station, to)) => self.carry(now, out, station, to, bytes, counts, arrivals),
            None => {
                let stations = u8::try_from(self.ports.len()).expect("few stations");
                for station in (0..stations).map(Station) {
                    for to in self.ports_beside(port).filter(|to| (station, *to) != (from, port)) {
                        self.carry(now, out, station, to, bytes.clone(), counts, arrivals);
                    }
                }
            }
        }
    }

    /// The ports that each station has at the switch of one.
    fn ports_beside(&self, port: u8) -> impl Iterator<Item = u8> + use<> {
        let all = 0..u8::try_from(self.segments).expect("one or two");
        if self.joined { all } else { port..port + 1 }
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of a frame on its way")]
    fn carry(
        &mut self,
        now: Instant,
        out: Direction,
        to: Station,
        port: u8,
        mut bytes: Vec<u8>,
        counts: &mut FaultCounts,
        arrivals: &mut Vec<Arrival>,
    ) {
        let into = self.ports[usize::from(to.0)][usize::from(port)].into;
        if self.is_lost(into, counts) {
            return;
        }
        let too_long = |direction: Direction| direction.bytes_max.is_some_and(|max| bytes.len() > max);
        if too_long(out) || too_long(into) {
            counts.add(Fault::MtuChange);
            return;
        }
        if self.happens(out.corrupt, into.corrupt) {
            counts.add(Fault::FrameCorrupt);
            return;
        }
        if self.happens(out.truncate, into.truncate) {
            counts.add(Fault::FrameTruncate);
            let length = self.random.index(bytes.len());
            bytes.truncate(length);
        }
        while self.happens(out.duplicate, into.duplicate) {
            counts.add(Fault::FrameDuplicate);
            let at = now.after(self.delay(out, into, counts));
            arrivals.push(Arrival { at, station: to, port, bytes: bytes.clone() });
        }
        let at = now.after(self.delay(out, into, counts));
        arrivals.push(Arrival { at, station: to, port, bytes });
    }

    fn is_lost(&mut self, direction: Direction, counts: &mut FaultCounts) -> bool {
        if direction.cut {
            counts.add(Fault::PortCut);
            return true;
        }
        let lost = self.random.chance(direction.loss);
        if lost {
            counts.add(Fault::FrameLoss);
        }
        lost
    }

    fn happens(&mut self, out: u32, into: u32) -> bool {
        let rate = out.max(into).min(MILLION / 2);
        self.random.chance(rate)
    }

    fn delay(&mut self, out: Direction, into: Direction, counts: &mut FaultCounts) -> Duration {
        let mut delay = self.random.duration(self.latency / 2, self.latency * 2);
        let slow = out.delay.max(into.delay);
        if slow > Duration::ZERO {
            counts.add(Fault::FrameDelay);
            delay += self.random.tailed(slow);
        }
        if self.happens(out.held, into.held) {
            counts.add(Fault::FrameHeld);
            // A quarter of them for longer than any node remembers.
            let longest = if self.random.below(4) == 0 { 6000 } else { 900 };
            delay += self.random.duration(Duration::from_millis(400), Duration::from_millis(longest));
        }
        delay
    }

    fn apply(&mut self) {
        self.ports.fill(Default::default());
        for (ports, bytes_max) in self.ports.iter_mut().zip(&self.mtus) {
            for port in ports {
                (port.out.bytes_max, port.into.bytes_max) = (*bytes_max, *bytes_max);
            }
        }
        for index in 0..self.active.len() {
            self.apply_one(self.active[index]);
        }
    }

    fn apply_one(&mut self, injection: Injection) {
        let stations = self.ports.len() as u64;
        // Half of the faults hit a node: there are fewer of them than hosts.
        let place = injection.place;
        let is_of_node = place & 1 == 0 || injection.fault == Fault::LinkDown;
        let station = if is_of_node { injection.node as u64 } else { (place >> 8) % stations };
        let segment = (place >> 1 & 1) % self.segments as u64;
        let (out, into) = match (injection.fault, place >> 2 & 3) {
            (Fault::PortCut | Fault::LinkDown, _) => (true, true),
            (Fault::OneWay, 0 | 2) | (_, 2) => (true, false),
            (Fault::OneWay, _) | (_, 3) => (false, true),
            _ => (true, true),
        };
        if injection.fault == Fault::NodeIsolated {
            for port in &mut self.ports[injection.node] {
                (port.out.cut, port.into.cut) = (true, true);
            }
            return;
        }
        let (station, segment) =
            (usize::try_from(station).expect("few"), usize::try_from(segment).expect("few"));
        let port = &mut self.ports[station][segment];
        port.link_down |= injection.fault == Fault::LinkDown;
        if out {
            worsen(&mut port.out, &injection);
        }
        if into {
            worsen(&mut port.into, &injection);
        }
    }
}

fn worsen(direction: &mut Direction, injection: &Injection) {
    let strength = injection.strength;
    match injection.fault {
        Fault::FrameLoss => direction.loss = direction.loss.max(strength / 2),
        Fault::FrameDuplicate => direction.duplicate = direction.duplicate.max(strength / 2),
        Fault::FrameDelay => {
            let mean = Duration::from_micros(u64::from(strength) / 100);
            direction.delay = direction.delay.max(mean);
        }
        Fault::FrameHeld => direction.held = direction.held.max(strength / 8),
        Fault::FrameCorrupt => direction.corrupt = direction.corrupt.max(strength / 4),
        Fault::FrameTruncate => direction.truncate = direction.truncate.max(strength / 4),
        Fault::OneWay | Fault::PortCut | Fault::LinkDown => direction.cut = true,
        other => unreachable!("{other} is no fault of the network"),
    }
}

fn address(bytes: &[u8], at: usize) -> [u8; 6] {
    bytes[at..at + 6].try_into().expect("six bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Instant = Instant::from_nanos(1_000_000_000);

    fn network() -> Network {
        Network::new(Random::new(1, "network"), 3, 1, Duration::from_micros(50))
    }

    fn frame(to: u8, from: u8) -> Vec<u8> {
        let mut bytes = vec![0; 60];
        bytes[..6].copy_from_slice(&if to == 255 { [255; 6] } else { [2, 0, 0, 0, 0, to] });
        bytes[6..12].copy_from_slice(&[2, 0, 0, 0, 0, from]);
        bytes
    }

    fn send(network: &mut Network, to: u8, from: u8) -> Vec<u8> {
        let mut arrivals = Vec::new();
        let mut counts = FaultCounts::default();
        network.send(NOW, Station(from), 0, frame(to, from), &mut counts, &mut arrivals);
        arrivals.iter().map(|arrival| arrival.station.0).collect()
    }

    #[test]
    fn a_switch_floods_until_it_has_learned() {
        let mut network = network();
        assert_eq!(send(&mut network, 2, 0), [1, 2]);
        assert_eq!(send(&mut network, 0, 2), [0]);
        assert_eq!(send(&mut network, 2, 0), [2]);
        assert_eq!(send(&mut network, 255, 0), [1, 2]);
    }

    #[test]
    fn a_station_has_all_its_ports_at_a_switch_that_is_the_only_one() {
        let network = |joined: bool| {
            let network = Network::new(Random::new(1, "network"), 3, 2, Duration::from_micros(50));
            if joined { network.joined() } else { network }
        };
        let reached = |network: &mut Network, to: u8| {
            let mut arrivals = Vec::new();
            network.send(NOW, Station(1), 1, frame(to, 1), &mut FaultCounts::default(), &mut arrivals);
            arrivals.iter().map(|arrival| (arrival.station.0, arrival.port)).collect::<Vec<_>>()
        };
        assert_eq!(reached(&mut network(false), 255), [(0, 1), (2, 1)]);
        let mut one = network(true);
        assert_eq!(reached(&mut one, 255), [(0, 0), (0, 1), (1, 0), (2, 0), (2, 1)]);
        assert_eq!(send(&mut one, 255, 2).len(), 5);
        assert_eq!(reached(&mut one, 2), [(2, 0)]);
    }

    #[test]
    fn nothing_passes_a_port_that_is_cut_until_it_is_whole_again() {
        let mut network = network();
        let injection = Injection {
            number: 4,
            fault: Fault::PortCut,
            at: NOW,
            lasts: Duration::from_secs(1),
            node: 1,
            place: 0,
            strength: 0,
            fixes: false,
        };
        network.begin(injection);
        assert_eq!(send(&mut network, 255, 0), [2]);
        assert_eq!(send(&mut network, 255, 1), []);
        network.end(4);
        assert_eq!(send(&mut network, 255, 0), [1, 2]);
    }
}
