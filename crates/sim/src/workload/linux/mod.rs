//! The AoE driver of the Linux kernel, as far as a target can tell.
//!
//! It finds targets by Query Config and takes each source address for a target of the volume; cuts requests to what the
//! smallest frame of all ways holds; deals the frames round over targets, and over the interfaces of each; has one
//! estimate of the round trip (`rtt`) and a window for each target (`target`); looks every 100 ms for frames that are
//! older than the estimate allows and sends them again *under a new tag*, to the same target by its next interface; and
//! only after 11 seconds to another one. An answer under a tag that was replaced is not heeded. A request that nobody
//! answered for long enough takes the device down, and everything open fails.

mod flight;
mod rtt;
mod target;

use std::collections::{BTreeMap, VecDeque};

use aoe::ata::Identify;
use aoe::limits::{SECTORS_PER_FRAME_DEFAULT, sectors_per_frame_raw};
use aoe::wire::{ata, config};
use aoe::{Address, AddressPattern, Command, Frame, MacAddress, Tag};
use block::{Duration, Instant, Lba, LbaRange, SECTOR_BYTES, SectorCount};

use super::driver::{DriverOutput, Interface, RequestName};
use super::plan::Ask;
use crate::content::Value;
use crate::host::HostFrame;
use flight::{Flight, Kind};
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

    /// Sectors that it had when it was found: the driver does not look anew while a device is open.
    #[must_use]
    pub fn sectors(&self) -> u64 {
        self.sectors.unwrap_or_default()
    }

    /// How long it waits for an answer before it sends a frame again: after disks that took seconds, a minute and more.
    #[must_use]
    pub fn resends_after(&self) -> Duration {
        self.round_trip.timeout()
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

    /// The lower half of a tag.
    fn jiffies(&self, now: Instant) -> u16 {
        if self.options.tags_repeat {
            return 0;
        }
        let ticks = u128::from(now.as_nanos()) / JIFFY.as_nanos();
        u16::try_from(ticks & 0xffff).expect("sixteen bits")
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
            // The driver measures by the clock in the tag.
            let elapsed = self.jiffies(now).wrapping_sub(tag_clock(tag));
            self.round_trip.measured(JIFFY * (u32::from(elapsed) + 1));
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

fn tag_clock(Tag(tag): Tag) -> u16 {
    u16::try_from(tag & 0xffff).expect("sixteen bits")
}

#[cfg(test)]
mod tests;
