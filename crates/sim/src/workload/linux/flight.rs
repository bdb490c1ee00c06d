//! Frames under way: how one is sent, when it counts as lost, and where it is sent then.

use aoe::ata::AtaCommand;
use aoe::limits::PAYLOAD_OFFSET;
use aoe::wire::ata::{AtaFlags, LbaRegisters};
use aoe::wire::{Head, ata, ethernet, header, pad};
use aoe::{AddressPattern, Command, MacAddress, Tag};
use block::{Duration, Instant, Lba, LbaRange, SectorCount};

use super::{Linux, SCORN_SECONDS};
use crate::content::Value;
use crate::host::HostFrame;
use crate::workload::driver::{DriverOutput, RequestName};

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    Identify,
    /// A read that nobody wants, to see whether a target answers again.
    Probe,
    /// A part of a request.
    Part(RequestName),
}

/// A frame that was sent and not answered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flight {
    pub(super) kind: Kind,
    pub(super) range: LbaRange,
    pub(super) value: Option<Value>,
    pub(super) target: usize,
    pub(super) port: u8,
    pub(super) sent: Instant,
    /// How long it waited before that, on this target and on all.
    pub(super) waited: Duration,
    pub(super) waited_in_all: Duration,
}

impl Linux {
    /// Sends a frame under a new tag.
    pub(super) fn send(&mut self, now: Instant, mut flight: Flight) {
        let target = &mut self.targets[flight.target];
        let Some(port) = target.rotate() else { return };
        target.under_way += 1;
        target.probes += u32::from(flight.kind == Kind::Probe);
        let destination = target.mac;
        self.sequence = (self.sequence + 1) & 0x7fff;
        let tag = self.sequence << 16 | u32::from(self.jiffies(now));
        let source = self.interfaces.iter().find(|interface| interface.port == port).expect("our own").mac;
        let address = self.options.address.into();
        let mut bytes = self.head(source, destination, address, Command::Ata, tag);
        request(&flight).emit(&mut bytes);
        match (flight.value, flight.kind) {
            (Some(value), _) => {
                bytes.resize(PAYLOAD_OFFSET + flight.range.bytes(), 0);
                value.fill(flight.range.start(), &mut bytes[PAYLOAD_OFFSET..]);
            }
            // Zeros as long as the answer: a path that carries only short frames does not pass.
            (None, Kind::Probe) => bytes.resize(PAYLOAD_OFFSET + flight.range.bytes(), 0),
            (None, _) => {}
        }
        if self.active.is_empty() && self.deferred.is_empty() {
            self.pass_ticks(now);
        }
        (flight.port, flight.sent) = (port, now);
        self.active.insert(tag, flight);
        self.outputs.push_back(DriverOutput::Send(HostFrame { port, bytes }));
    }

    pub(super) fn head(
        &self,
        source: MacAddress,
        destination: MacAddress,
        address: AddressPattern,
        command: Command,
        tag: u32,
    ) -> Vec<u8> {
        let mut bytes = vec![0; 60];
        let ethernet = ethernet::Repr { destination, source };
        let length =
            Head { ethernet, header: header::Repr::request(address, command, Tag(tag)) }.emit(&mut bytes);
        pad(&mut bytes, length);
        bytes
    }

    /// Looks for frames that were not answered in time.
    pub(super) fn tick(&mut self, now: Instant) {
        let timeout = self.round_trip.timeout();
        let old = |flight: &Flight| now.since(flight.sent) >= timeout;
        let mut expired: Vec<(u32, Flight)> = self
            .active
            .iter()
            .filter(|(_, flight)| old(flight))
            .map(|(tag, flight)| (*tag, *flight))
            .collect();
        expired.sort_by_key(|(_, flight)| flight.sent);
        for (tag, flight) in expired {
            let since = now.since(flight.sent);
            if flight.kind != Kind::Probe && flight.waited_in_all + since > self.options.dead {
                self.down();
                return;
            }
            let patience = SCORN_SECONDS.min(self.options.dead.as_secs() / self.targets.len().max(1) as u64);
            self.active.remove(&tag);
            let target = &mut self.targets[flight.target];
            if (flight.waited + since).as_secs() > patience {
                target.scorn();
            }
            target.expired();
            target.under_way -= 1;
            if flight.kind == Kind::Probe {
                target.probes -= 1;
            } else {
                target.lost(flight.port);
            }
            self.deferred.push_back((tag, flight));
        }
        self.resend(now);
    }

    /// Sends again what waits for that, where the windows allow.
    pub(super) fn resend(&mut self, now: Instant) {
        for _ in 0..self.deferred.len() {
            let Some((tag, mut flight)) = self.deferred.pop_front() else { return };
            let taint = self.targets[flight.target].taint;
            if flight.kind == Kind::Probe {
                if taint == 0 || self.untainted() == 0 {
                    continue; // nothing to try any more
                }
                if now.since(flight.sent) < self.round_trip.timeout() * taint {
                    self.deferred.push_back((tag, flight));
                    continue;
                }
            } else if taint > 0
                && let Some(other) = self.free_target()
                && other != flight.target
            {
                let scorned = flight.target;
                (flight.target, flight.waited) = (other, Duration::ZERO);
                flight.waited_in_all += now.since(flight.sent);
                if self.targets[scorned].probes == 0 && self.untainted() > 0 {
                    self.probe(now, scorned);
                }
                self.send(now, flight);
                continue;
            }
            if !self.targets[flight.target].has_room() {
                self.deferred.push_back((tag, flight));
                continue;
            }
            let since = now.since(flight.sent);
            flight.waited += since;
            flight.waited_in_all += since;
            self.send(now, flight);
        }
    }

    pub(super) fn probe(&mut self, now: Instant, target: usize) {
        let range = LbaRange::new(Lba(0), SectorCount(self.sectors_per_frame())).expect("the first sectors");
        self.send(
            now,
            Flight {
                kind: Kind::Probe,
                range,
                value: None,
                target,
                port: 0,
                sent: now,
                waited: Duration::ZERO,
                waited_in_all: Duration::ZERO,
            },
        );
    }
}

fn request(flight: &Flight) -> ata::Request {
    let sector_count = u8::try_from(flight.range.count().0).expect("a frame has few sectors");
    match flight.kind {
        Kind::Identify => ata::Request {
            flags: AtaFlags::NONE,
            feature: 0,
            sector_count: 1,
            command: AtaCommand::IdentifyDevice,
            lba: LbaRegisters([0, 0, 0, 0xa0, 0, 0]),
        },
        Kind::Probe | Kind::Part(_) => {
            let (command, flags) = match flight.value {
                Some(_) => (AtaCommand::WriteSectorsExt, AtaFlags::EXTENDED | AtaFlags::WRITE),
                None => (AtaCommand::ReadSectorsExt, AtaFlags::EXTENDED),
            };
            let lba = LbaRegisters::from_lba48(flight.range.start());
            ata::Request { flags, feature: 0, sector_count, command, lba }
        }
    }
}
