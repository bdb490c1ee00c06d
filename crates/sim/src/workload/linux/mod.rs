//! The AoE driver of the Linux kernel, as far as a target can tell.
//!
//! It finds targets by Query Config and takes each source address for a target of the volume; cuts requests to what the
//! smallest frame of all ways holds; deals the frames round over targets, and over the interfaces of each; has one
//! estimate of the round trip (`rtt`) and a window for each target (`target`); looks every 100 ms for frames that are
//! older than the estimate allows and sends them again *under a new tag*, to the same target by its next interface; and
//! only after 11 seconds to another one. An answer under a tag that was replaced is not heeded. A request that nobody
//! answered for long enough takes the device down, and everything open fails.

mod rtt;
mod target;

use std::collections::{BTreeMap, VecDeque};

use aoe::ata::{AtaCommand, Identify};
use aoe::limits::{PAYLOAD_OFFSET, SECTORS_PER_FRAME_DEFAULT, sectors_per_frame_raw};
use aoe::wire::ata::{AtaFlags, LbaRegisters};
use aoe::wire::{Head, ata, config, ethernet, header, pad};
use aoe::{Address, AddressPattern, Command, Frame, MacAddress, Tag};
use block::{Duration, Instant, Lba, LbaRange, SECTOR_BYTES, SectorCount};

use super::driver::{DriverOutput, Interface, RequestName};
use super::plan::Ask;
use crate::content::Value;
use crate::host::HostFrame;
use rtt::RoundTrip;
use target::Target;

/// Pause between two looks at the frames under way.
const TICK: Duration = Duration::from_millis(100);
/// Pause between questions who is there: of the driver, and of an operator who waits for the disk.
const DISCOVERY_PAUSE: Duration = Duration::from_secs(60);
const DISCOVERY_PAUSE_ALONE: Duration = Duration::from_secs(1);
/// More frames to one target are not sent whatever it can hold.
const FRAMES_MAX: u16 = 64;
/// A target that lets a frame wait for more whole seconds than this is avoided.
const SCORN_SECONDS: u64 = 10;
/// A tick of the clock that gives the lower half of a tag.
const JIFFY: Duration = Duration::from_millis(4);
/// That half has 16 bits.
const TAG_CLOCK_WRAPS: Duration = Duration::from_millis(4 << 16);

/// How it is configured.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct LinuxOptions {
    /// The volume.
    pub address: Address,
    /// A request that waits for so long takes the device down.
    pub dead: Duration,
    /// The round trip it has got used to, or it begins with the cautious estimate of a fresh driver.
    pub settled: Option<Duration>,
    /// The clock in its tags stands still, so that after a restart it gives out the same tags again. Otherwise it goes on.
    pub tags_repeat: bool,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    Identify,
    /// A read that nobody wants, to see whether a target answers again.
    Probe,
    /// A part of a request.
    Part(RequestName),
}

/// A frame that was sent and not answered.
#[derive(Clone, Copy, Debug)]
struct Flight {
    kind: Kind,
    range: LbaRange,
    value: Option<Value>,
    target: usize,
    port: u8,
    sent: Instant,
    /// How long it waited before that, on this target and on all.
    waited: Duration,
    waited_in_all: Duration,
}

/// A request of the host.
#[derive(Clone, Copy, Debug)]
struct Open {
    name: RequestName,
    ask: Ask,
    /// Sectors put into frames.
    handed_out: u16,
}

/// See the module's text.
#[derive(Debug)]
pub struct Linux {
    options: LinuxOptions,
    interfaces: Vec<Interface>,
    sequence: u32,
    sectors: Option<u64>,
    targets: Vec<Target>,
    /// Where the last frame went.
    last_target: usize,
    round_trip: RoundTrip,
    /// Under way, by tag.
    active: BTreeMap<u32, Flight>,
    /// Waiting to be sent again, under the tags they were sent with last.
    deferred: VecDeque<(u32, Flight)>,
    /// Requests with sectors that are in no frame yet.
    queue: VecDeque<Open>,
    /// Requests that are open, with the sectors not answered.
    left: BTreeMap<RequestName, u16>,
    outputs: VecDeque<DriverOutput>,
    next_tick: Instant,
    next_discovery: Instant,
}

impl Linux {
    /// A driver that was loaded just now.
    ///
    /// # Panics
    /// If there is no interface.
    #[must_use]
    pub fn new(now: Instant, options: LinuxOptions, interfaces: &[Interface]) -> Self {
        assert!(!interfaces.is_empty(), "a host without a network");
        let mut driver = Self {
            options,
            interfaces: interfaces.to_vec(),
            sequence: 0,
            sectors: None,
            targets: Vec::new(),
            last_target: 0,
            round_trip: RoundTrip::new(),
            active: BTreeMap::new(),
            deferred: VecDeque::new(),
            queue: VecDeque::new(),
            left: BTreeMap::new(),
            outputs: VecDeque::new(),
            next_tick: now.after(TICK),
            next_discovery: now,
        };
        driver.discover(now);
        driver
    }

    /// Whether the device is there.
    #[must_use]
    pub const fn is_ready(&self) -> bool {
        self.sectors.is_some()
    }

    /// Takes a request in.
    ///
    /// # Panics
    /// If the device is not there.
    pub fn submit(&mut self, now: Instant, name: RequestName, ask: Ask) {
        assert!(self.is_ready(), "a device is opened when it is there");
        self.queue.push_back(Open { name, ask, handed_out: 0 });
        self.left.insert(name, ask.range.count().0);
        self.work(now);
    }

    /// Takes a frame in.
    pub fn handle_frame(&mut self, now: Instant, port: u8, bytes: &[u8]) {
        let Ok(frame) = Frame::new(bytes) else { return };
        let header = frame.header();
        let ours = header.response
            && header.tag.0 & Tag::USER_SPACE == 0
            && header.error.is_none()
            && header.address == self.options.address.into();
        match header.command {
            Command::QueryConfig if ours => self.configured(now, port, frame),
            Command::Ata if ours => self.answered(now, header.tag, frame),
            _ => {}
        }
        self.work(now);
    }

    /// The time that [`Linux::poll_timeout`] named has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        if now >= self.next_discovery {
            self.discover(now);
        }
        if now >= self.next_tick {
            self.pass_ticks(now);
            self.tick(now);
        }
        self.work(now);
    }

    /// What to do next.
    pub fn poll_output(&mut self) -> Option<DriverOutput> {
        self.outputs.pop_front()
    }

    /// When to call [`Linux::handle_timeout`].
    #[must_use]
    pub fn poll_timeout(&self) -> Instant {
        let idle = self.active.is_empty() && self.deferred.is_empty() && self.queue.is_empty();
        if idle { self.next_discovery } else { self.next_discovery.min(self.next_tick) }
    }

    fn pass_ticks(&mut self, now: Instant) {
        while self.next_tick <= now {
            self.next_tick = self.next_tick.after(TICK);
        }
    }

    fn discover(&mut self, now: Instant) {
        let pause = if self.is_ready() { DISCOVERY_PAUSE } else { DISCOVERY_PAUSE_ALONE };
        self.next_discovery = now.after(pause);
        for Interface { port, mac, .. } in self.interfaces.clone() {
            let mut bytes =
                self.head(mac, MacAddress::BROADCAST, AddressPattern::EVERY, Command::QueryConfig, 0);
            config::Request::Read.emit(&mut bytes);
            self.outputs.push_back(DriverOutput::Send(HostFrame { port, bytes }));
        }
    }

    /// Somebody says what he can hold.
    fn configured(&mut self, now: Instant, port: u8, frame: Frame<'_>) {
        let Some(repr) = config::View::new(frame).ok().and_then(|view| config::Repr::parse(view).ok()) else {
            return;
        };
        let Some(interface) = self.interfaces.iter().find(|interface| interface.port == port) else { return };
        let frames = u32::from(repr.buffer_count.min(FRAMES_MAX));
        let fits = sectors_per_frame_raw(interface.mtu as usize);
        let sectors = match fits.min(SectorCount(u16::from(repr.sector_count))) {
            SectorCount(0) => SECTORS_PER_FRAME_DEFAULT,
            some => some,
        };
        let mac = frame.ethernet().source;
        let index = self.targets.iter().position(|target| target.mac == mac).unwrap_or_else(|| {
            self.targets.push(Target::new(mac, frames));
            self.targets.len() - 1
        });
        self.targets[index].set_frames(frames);
        self.targets[index].heard(port, u32::try_from(sectors.bytes()).expect("a frame is short"));
        if !self.is_ready() {
            self.round_trip = RoundTrip::new();
            let identify = Flight {
                kind: Kind::Identify,
                range: LbaRange::default(),
                value: None,
                target: index,
                port,
                sent: now,
                waited: Duration::ZERO,
                waited_in_all: Duration::ZERO,
            };
            if let Some(target) = self.free_target() {
                self.send(now, Flight { target, ..identify });
            }
        }
    }

    /// An answer to a frame that is waited for, or was sent again meanwhile.
    fn answered(&mut self, now: Instant, tag: Tag, frame: Frame<'_>) {
        let Ok(view) = ata::View::new(frame) else { return };
        let flight = if let Some(flight) = self.active.remove(&tag.0) {
            self.round_trip.measured(now.since(flight.sent));
            let target = &mut self.targets[flight.target];
            target.answered();
            target.under_way -= 1;
            target.probes -= u32::from(flight.kind == Kind::Probe);
            flight
        } else if let Some(index) = self.deferred.iter().position(|(deferred, _)| *deferred == tag.0) {
            let (_, flight) = self.deferred.remove(index).expect("just found");
            self.round_trip.measured(now.since(flight.sent));
            flight
        } else {
            // The driver measures by the clock in the tag, which wraps; the frame was sent at least a timeout ago.
            self.round_trip.measured(self.round_trip.timeout().min(TAG_CLOCK_WRAPS));
            return;
        };
        self.reputation(now, flight.target);
        let reply = ata::Reply::parse(view);
        let Kind::Part(request) = flight.kind else {
            if flight.kind == Kind::Identify && !reply.status.is_failure() {
                self.identified(view.payload());
            }
            return;
        };
        let data = view.sectors(flight.range.count());
        if reply.status.is_failure() || (flight.value.is_none() && data.is_none()) {
            self.fail(request);
            return;
        }
        let values = match (flight.value, data) {
            (None, Some(data)) => Some(Value::of_all(flight.range.start(), data).collect()),
            _ => None,
        };
        self.finished(request, flight.range, values);
    }

    fn finished(&mut self, request: RequestName, part: LbaRange, values: Option<Vec<Value>>) {
        let Some(left) = self.left.get_mut(&request) else { return };
        *left -= part.count().0;
        if *left == 0 {
            self.left.remove(&request);
        }
        self.outputs.push_back(DriverOutput::Answered { request, part, values });
    }

    fn identified(&mut self, payload: &[u8]) {
        let Some(identify) = payload.get(..SECTOR_BYTES).and_then(|page| Identify::parse(page).ok()) else {
            return;
        };
        if self.sectors.is_none()
            && let Some(settled) = self.options.settled
        {
            self.round_trip = RoundTrip::settled(settled);
        }
        self.sectors = Some(identify.sectors);
    }

    /// A target has answered: it is trusted a little more, and tried again until it is wholly.
    fn reputation(&mut self, now: Instant, target: usize) {
        let taint = self.targets[target].taint;
        if taint == 0 {
            return;
        }
        self.targets[target].taint -= 1;
        if taint > 1 && self.targets[target].probes == 0 && self.untainted() > 0 {
            self.probe(now, target);
        }
    }

    fn fail(&mut self, request: RequestName) {
        self.left.remove(&request);
        self.queue.retain(|open| open.name != request);
        let of_it = |flight: &Flight| flight.kind == Kind::Part(request);
        for flight in self.active.values().filter(|flight| of_it(flight)) {
            self.targets[flight.target].under_way -= 1;
        }
        self.active.retain(|_, flight| !of_it(flight));
        self.deferred.retain(|(_, flight)| !of_it(flight));
        self.outputs.push_back(DriverOutput::Failed { request });
    }

    /// Sends what there is and the windows allow.
    fn work(&mut self, now: Instant) {
        while let Some(open) = self.queue.front().copied() {
            let Some(target) = self.free_target() else { return };
            let left = open.ask.range.count().0 - open.handed_out;
            let count = SectorCount(left.min(self.sectors_per_frame()));
            let start = Lba(open.ask.range.start().0 + u64::from(open.handed_out));
            let range = LbaRange::new(start, count).expect("a part of a range");
            if count.0 == left {
                self.queue.pop_front();
            } else {
                self.queue[0].handed_out += count.0;
            }
            self.send(
                now,
                Flight {
                    kind: Kind::Part(open.name),
                    range,
                    value: open.ask.value,
                    target,
                    port: 0,
                    sent: now,
                    waited: Duration::ZERO,
                    waited_in_all: Duration::ZERO,
                },
            );
        }
    }

    /// Sectors that a frame holds by every way there is.
    fn sectors_per_frame(&self) -> u16 {
        let bytes = self.targets.iter().flat_map(|target| &target.reaches).map(|reach| reach.bytes).min();
        let sectors = bytes.unwrap_or(0) as usize / SECTOR_BYTES;
        u16::try_from(sectors).expect("a frame is short").max(1)
    }

    /// The next target with room; one of bad reputation only if all are.
    fn free_target(&mut self) -> Option<usize> {
        let count = self.targets.len();
        let tainted_too = self.untainted() == 0;
        let found = (1..=count).map(|step| (self.last_target + step) % count).find(|&index| {
            let target = &self.targets[index];
            target.has_room() && !target.reaches.is_empty() && (tainted_too || target.taint == 0)
        })?;
        self.last_target = found;
        Some(found)
    }

    fn untainted(&self) -> usize {
        self.targets.iter().filter(|target| target.taint == 0).count()
    }

    /// Sends a frame under a new tag.
    fn send(&mut self, now: Instant, mut flight: Flight) {
        let target = &mut self.targets[flight.target];
        let Some(port) = target.rotate() else { return };
        target.under_way += 1;
        target.probes += u32::from(flight.kind == Kind::Probe);
        let destination = target.mac;
        self.sequence = (self.sequence + 1) & 0x7fff;
        let jiffies = if self.options.tags_repeat {
            0
        } else {
            (u128::from(now.as_nanos()) / JIFFY.as_nanos()) & 0xffff
        };
        let tag = self.sequence << 16 | u32::try_from(jiffies).expect("sixteen bits");
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

    fn head(
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
    fn tick(&mut self, now: Instant) {
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
    fn resend(&mut self, now: Instant) {
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

    fn probe(&mut self, now: Instant, target: usize) {
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

    /// The device is dead: everything open fails, and somebody begins to look for it anew.
    fn down(&mut self) {
        self.sectors = None;
        self.active.clear();
        self.deferred.clear();
        self.queue.clear();
        self.targets.clear();
        self.next_discovery = self.next_tick;
        let open: Vec<RequestName> = self.left.keys().copied().collect();
        for request in open {
            self.fail(request);
        }
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

#[cfg(test)]
mod tests;
