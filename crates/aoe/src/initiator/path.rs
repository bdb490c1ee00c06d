//! The ways to a volume: its targets, each by one or several of our interfaces, and which way the next frame takes.
//!
//! Frames go round over the targets that have room in their window, and over the interfaces of each. An interface on
//! which a target has not answered several frames running is passed over while there is another way, and asked from
//! time to time whether it works again.

use block::{Duration, Instant, SectorCount};

use super::retransmit::{KINDS, Kind};
use super::rtt::{RoundTrip, TimeoutBounds};
use super::window::Window;
use super::{PORTS_MAX, TARGETS_MAX};
use crate::mac::MacAddress;
use crate::target::PortId;

/// So many frames running without an answer make an interface suspect.
const SILENT_FRAMES: u8 = 3;

/// One who serves the volume.
#[derive(Debug)]
pub(crate) struct TargetPath {
    pub(crate) mac: MacAddress,
    pub(crate) window: Window,
    pub(crate) sectors_per_frame: SectorCount,
    round_trips: [RoundTrip; KINDS],
    ports: [PortReach; PORTS_MAX],
    next_port: usize,
}

/// What is known of a target by one interface.
#[derive(Clone, Copy, Debug, Default)]
struct PortReach {
    /// It was heard there.
    known: bool,
    /// Frames running that it did not answer there.
    silent: u8,
}

impl PortReach {
    const fn is_suspect(self) -> bool {
        self.silent >= SILENT_FRAMES
    }
}

impl TargetPath {
    fn new(mac: MacAddress, buffer_count: u16, sectors_per_frame: SectorCount) -> Self {
        Self {
            mac,
            window: Window::new(buffer_count),
            sectors_per_frame,
            round_trips: [RoundTrip::default(); KINDS],
            ports: [PortReach::default(); PORTS_MAX],
            next_port: 0,
        }
    }

    /// It answered something by `port`.
    pub(crate) fn heard(&mut self, port: PortId) {
        if let Some(reach) = self.ports.get_mut(usize::from(port.0)) {
            reach.silent = 0;
        }
    }

    /// A frame under way was answered; `round_trip` if it was sent once.
    pub(crate) fn answered(&mut self, port: PortId, kind: Kind, round_trip: Option<Duration>) {
        self.window.answered();
        self.ports[usize::from(port.0)].silent = 0;
        if let Some(round_trip) = round_trip {
            self.round_trips[kind as usize].measured(round_trip);
        }
    }

    /// A frame under way was not answered in time. Whether the window became smaller.
    pub(crate) fn expired(&mut self, now: Instant, port: PortId, kind: Kind, sent: Instant) -> bool {
        let reach = &mut self.ports[usize::from(port.0)];
        reach.silent = reach.silent.saturating_add(1);
        self.round_trips[kind as usize].expired(now, sent);
        self.window.expired(now, sent)
    }

    pub(crate) fn timeout(&self, kind: Kind, bounds: TimeoutBounds) -> Duration {
        self.round_trips[kind as usize].timeout(bounds)
    }

    pub(crate) fn smoothed(&self, kind: Kind) -> Option<Duration> {
        self.round_trips[kind as usize].smoothed()
    }

    /// Whether every interface is suspect.
    pub(crate) fn is_silent(&self) -> bool {
        !self.ports.iter().any(|reach| reach.known && !reach.is_suspect())
    }

    /// Whether some interface is suspect.
    pub(crate) fn has_suspect(&self) -> bool {
        self.ports.iter().any(|reach| reach.known && reach.is_suspect())
    }

    /// The interface for the next frame: round and round, a suspect one only if there is no other.
    pub(crate) fn next_port(&mut self) -> PortId {
        let silent = self.is_silent();
        for step in 0..PORTS_MAX {
            let index = (self.next_port + step) % PORTS_MAX;
            let reach = self.ports[index];
            if reach.known && (silent || !reach.is_suspect()) {
                self.next_port = (index + 1) % PORTS_MAX;
                return PortId(u8::try_from(index).expect("few ports"));
            }
        }
        unreachable!("a target is heard by a port before it is sent anything")
    }
}

/// All targets of a volume.
#[derive(Debug, Default)]
pub(crate) struct Paths {
    targets: Vec<TargetPath>,
    next_target: usize,
}

impl Paths {
    pub(crate) fn targets(&self) -> &[TargetPath] {
        &self.targets
    }

    pub(crate) fn target(&mut self, index: u8) -> &mut TargetPath {
        &mut self.targets[usize::from(index)]
    }

    pub(crate) fn indices(&self) -> impl Iterator<Item = u8> + use<> {
        0..u8::try_from(self.targets.len()).expect("few targets")
    }

    /// The target of that address.
    pub(crate) fn index_of(&self, mac: MacAddress) -> Option<u8> {
        self.indices().zip(&self.targets).find(|(_, target)| target.mac == mac).map(|(index, _)| index)
    }

    /// Takes a target in, or notes what it says now. False if there are as many as can be.
    pub(crate) fn join(
        &mut self,
        mac: MacAddress,
        port: PortId,
        buffer_count: u16,
        sectors_per_frame: SectorCount,
    ) -> bool {
        if usize::from(port.0) >= PORTS_MAX {
            return false;
        }
        let index = match self.targets.iter().position(|target| target.mac == mac) {
            Some(index) => index,
            None if self.targets.len() < TARGETS_MAX => {
                self.targets.push(TargetPath::new(mac, buffer_count, sectors_per_frame));
                self.targets.len() - 1
            }
            None => return false,
        };
        let target = &mut self.targets[index];
        target.window.set_limit(buffer_count);
        target.sectors_per_frame = target.sectors_per_frame.min(sectors_per_frame);
        target.ports[usize::from(port.0)] = PortReach { known: true, silent: 0 };
        true
    }

    /// Sectors a frame that every target takes by every interface, so that a frame can be sent again any way.
    pub(crate) fn sectors_per_frame(&self) -> SectorCount {
        let counts = self.targets.iter().map(|target| target.sectors_per_frame);
        counts.min().unwrap_or_default()
    }

    /// The next target with room in its window; one that is silent only if all are.
    pub(crate) fn next_target(&mut self) -> Option<u8> {
        let all_silent = self.targets.iter().all(TargetPath::is_silent);
        let count = self.targets.len();
        let found = (0..count).map(|step| (self.next_target + step) % count).find(|&index| {
            let target = &self.targets[index];
            target.window.has_room() && (all_silent || !target.is_silent())
        })?;
        self.next_target = (found + 1) % count;
        Some(u8::try_from(found).expect("few targets"))
    }

    /// Some other target that answers.
    pub(crate) fn other_than(&self, silent: u8) -> Option<u8> {
        self.indices().find(|&index| index != silent && !self.targets[usize::from(index)].is_silent())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: [MacAddress; 2] = [MacAddress([2, 0, 0, 0, 0, 1]), MacAddress([2, 0, 0, 0, 0, 2])];

    fn at(nanoseconds: u64) -> Instant {
        Instant::from_nanos(nanoseconds)
    }

    fn two_by_two() -> Paths {
        let mut paths = Paths::default();
        for mac in MAC {
            for port in [PortId(0), PortId(1)] {
                assert!(paths.join(mac, port, 8, SectorCount(16)));
            }
        }
        paths
    }

    #[test]
    fn frames_go_round_over_targets_and_interfaces() {
        let mut paths = two_by_two();
        let ways: Vec<(u8, u8)> = (0..4)
            .map(|_| {
                let target = paths.next_target().expect("room");
                (target, paths.target(target).next_port().0)
            })
            .collect();
        assert_eq!(ways, [(0, 0), (1, 0), (0, 1), (1, 1)]);
    }

    #[test]
    fn an_interface_without_answers_is_passed_over_until_the_target_is_heard_there() {
        let mut paths = two_by_two();
        for sent in 0..SILENT_FRAMES {
            paths.target(0).window.sent();
            paths.target(0).expired(at(u64::from(sent)), PortId(1), Kind::Read, at(0));
        }
        assert!(paths.targets()[0].has_suspect() && !paths.targets()[0].is_silent());
        assert_eq!([paths.target(0).next_port(), paths.target(0).next_port()], [PortId(0); 2]);
        paths.join(MAC[0], PortId(1), 8, SectorCount(16));
        assert_eq!(paths.target(0).next_port(), PortId(1));
    }

    #[test]
    fn a_silent_target_is_used_only_if_all_are_silent() {
        let mut paths = two_by_two();
        let silence = |paths: &mut Paths, target| {
            for port in [PortId(0), PortId(1)] {
                for _ in 0..SILENT_FRAMES {
                    paths.target(target).window.sent();
                    paths.target(target).expired(at(0), port, Kind::Read, at(0));
                }
            }
        };
        silence(&mut paths, 0);
        assert_eq!([paths.next_target(), paths.next_target()], [Some(1); 2]);
        assert_eq!((paths.other_than(0), paths.other_than(1)), (Some(1), None));
        silence(&mut paths, 1);
        assert!(paths.next_target().is_some());
    }

    #[test]
    fn the_smallest_frame_of_all_ways_counts() {
        let mut paths = two_by_two();
        paths.join(MAC[1], PortId(2), 8, SectorCount(2));
        assert_eq!(paths.sectors_per_frame(), SectorCount(2));
    }
}
