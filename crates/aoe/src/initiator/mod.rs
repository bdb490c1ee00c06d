//! The initiator: block requests in, AoE frames out, with whatever target answers for a volume.
//!
//! One value drives one volume through all its targets and all our interfaces. It finds the targets ([`Discovery`]),
//! cuts requests into frames that every way can carry, keeps no more of them under way than a target can hold
//! (`window`), sends again what was not answered in time (`rtt`, `retransmit`) under the same tag (`tag`), and takes each
//! answer once. An ATA error fails the request; an AoE error only leaves the frame to be sent again. It reads no clock and
//! sees no payload; after construction nothing is allocated but for discovery.
//!
//! A write is sent again only to the target it went to first: through another node a late copy could overtake a later
//! write. That is otherwise if all targets know sequenced writes (`sequenced`) and we were told to use them. Whoever submits overlapping requests at the same time gets them in any order.
//!
//! Read in this order: `output`, [`Initiator`], `request`, `retransmit`, `path`.

mod answer;
mod discovery;
mod head;
mod output;
mod path;
mod request;
mod retransmit;
mod rtt;
mod sequenced;
mod tag;
mod window;

use std::collections::VecDeque;
use std::num::NonZeroU64;

use block::{Duration, Instant, LbaRange, RequestId, SectorCount};

pub use crate::target::{PortId, PortLink};
pub use discovery::{Discovery, DiscoveryOutput, RESPONDERS_MAX, Responder};
pub use head::RequestHead;
pub use output::{Ask, Error, Input, Options, Output, RequestError, Statistics};
pub use rtt::{TIMEOUT_INITIAL, TimeoutBounds};

use crate::ata::Identify;
use crate::limits;
use crate::mac::MacAddress;
use crate::wire::sequenced::PAYLOAD_OFFSET;
use head::Route;
use path::{Paths, TargetPath};
use request::{Active, Requests};
use retransmit::{Flight, Flights, Kind, Part};
use sequenced::Numbering;

/// More targets of one volume are not used.
pub const TARGETS_MAX: usize = 8;
/// Interfaces with higher numbers are not used.
pub const PORTS_MAX: usize = 8;

/// Pause between questions whether a silent interface works again.
const PROBE_PAUSE: Duration = Duration::from_secs(1);

const ALL_KINDS: [Kind; retransmit::KINDS] = [Kind::Read, Kind::Write, Kind::Flush];

/// How it stands with one target.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TargetStatus {
    /// Which.
    pub mac: MacAddress,
    /// Frames that may be under way to it now.
    pub window: u32,
    /// Frames that are.
    pub in_flight: u32,
    /// Smoothed round trip of a read and of a write.
    pub round_trip: [Option<Duration>; 2],
    /// It has not answered for a while, whatever the interface.
    pub silent: bool,
}

/// See the module's text.
#[derive(Debug)]
pub struct Initiator {
    options: Options,
    ports: Vec<(PortId, PortLink)>,
    discovery: Discovery,
    volume: Option<Identify>,
    /// Since when it has the size that it has.
    sized: Instant,
    paths: Paths,
    requests: Requests,
    flights: Flights,
    numbering: Numbering,
    outputs: VecDeque<Output>,
    /// The moment of the last input: when what [`Initiator::poll_output`] gives out counts as sent.
    now: Instant,
    next_sweep: Instant,
    next_probe: Instant,
    statistics: Statistics,
}

impl Initiator {
    /// An initiator that begins to look for its volume on these interfaces.
    ///
    /// # Panics
    /// If there is no interface, or no room for a frame or a request.
    #[must_use]
    pub fn new(now: Instant, options: Options, ports: &[(PortId, PortLink)]) -> Self {
        assert!(!ports.is_empty() && options.requests_max > 0, "nothing to do or no way to do it");
        let patient = options.sequenced.is_none() || options.answer_timeout <= limits::SEQUENCED_PATIENCE_MAX;
        assert!(patient, "a sequenced write is given up in time");
        Self {
            discovery: Discovery::new(now, options.address.into(), ports, options.seed),
            ports: ports.to_vec(),
            volume: None,
            sized: now,
            paths: Paths::default(),
            requests: Requests::new(options.requests_max),
            flights: Flights::new(options.frames_max, options.seed),
            numbering: Numbering::new(options.sequenced),
            outputs: VecDeque::with_capacity(16),
            now,
            next_sweep: now,
            next_probe: now,
            statistics: Statistics::default(),
            options,
        }
    }

    /// Takes in what happened. Then drain [`Initiator::poll_output`].
    ///
    /// # Errors
    /// What was not taken, and why; see [`Error`].
    pub fn handle_input(&mut self, now: Instant, input: Input<'_>) -> Result<(), Error> {
        self.now = now;
        match input {
            Input::Submit { id, ask } => self.submit(id, ask),
            Input::Frame { port, frame, buffer } => self.receive(port, frame, buffer),
            Input::Timeout => {
                self.expire();
                Ok(())
            }
        }
    }

    /// What to do next; none when there is nothing.
    pub fn poll_output(&mut self) -> Option<Output> {
        if let Some(output) = self.outputs.pop_front() {
            return Some(output);
        }
        self.next_copy().or_else(|| self.next_part())
    }

    /// When to send [`Input::Timeout`].
    #[must_use]
    pub fn poll_timeout(&self) -> Instant {
        let mut earliest = self.discovery.poll_timeout();
        if let Some(due) = self.numbering.poll_timeout() {
            earliest = earliest.min(due);
        }
        if !self.requests.is_empty() {
            earliest = earliest.min(self.next_sweep);
        }
        if self.flights.is_empty() {
            return earliest;
        }
        for (index, target) in self.paths.indices().zip(self.paths.targets()) {
            if target.has_suspect() {
                earliest = earliest.min(self.next_probe);
            }
            for kind in ALL_KINDS {
                if let Some(sent) = self.flights.oldest(index, kind) {
                    let timeout = target.timeout(kind, self.options.retransmit_timeout);
                    earliest = earliest.min(sent.after(timeout));
                }
            }
        }
        earliest
    }

    /// What the volume says of itself, once a target was found.
    #[must_use]
    pub const fn volume(&self) -> Option<&Identify> {
        self.volume.as_ref()
    }

    /// Sectors that a frame carries, by any way.
    #[must_use]
    pub fn sectors_per_frame(&self) -> SectorCount {
        self.paths.sectors_per_frame()
    }

    /// Everybody who answered for the address.
    pub fn responders(&self) -> impl ExactSizeIterator<Item = &Responder> {
        self.discovery.responders()
    }

    /// The targets in use.
    pub fn targets(&self) -> impl Iterator<Item = TargetStatus> + '_ {
        self.paths.targets().iter().map(|target| TargetStatus {
            mac: target.mac,
            window: target.window.size(),
            in_flight: target.window.in_flight(),
            round_trip: [target.smoothed(Kind::Read), target.smoothed(Kind::Write)],
            silent: target.is_silent(),
        })
    }

    /// Counters.
    #[must_use]
    pub const fn statistics(&self) -> Statistics {
        self.statistics
    }

    fn submit(&mut self, id: RequestId, ask: Ask) -> Result<(), Error> {
        let sectors = self.volume.as_ref().ok_or(Error::NotFound(self.options.address))?.sectors;
        let (kind, range, data) = match ask {
            Ask::Read(range) => (Kind::Read, range, None),
            Ask::Write { range, data } => {
                assert!(data.length as usize == range.bytes(), "a write has the bytes of its sectors");
                (Kind::Write, range, Some(data))
            }
            Ask::Flush => (Kind::Flush, LbaRange::default(), None),
        };
        let units = match kind {
            Kind::Flush => self.paths.targets().len(),
            Kind::Read | Kind::Write => usize::from(range.count().0),
        };
        let units = u32::try_from(units).expect("a range has less than 2^16 sectors");
        if units == 0 {
            return Err(Error::Empty);
        }
        if range.end().0 > sectors {
            return Err(Error::BeyondEnd { range, sectors });
        }
        if self.requests.is_empty() {
            self.next_sweep = self.now.after(self.sweep_pause());
        }
        let request = Active {
            id,
            kind,
            range,
            data,
            submitted: self.now,
            refused: None,
            units,
            handed_out: 0,
            answered: 0,
        };
        if self.requests.insert(request) { Ok(()) } else { Err(Error::Full(self.requests.capacity())) }
    }

    /// A frame that waits to be sent again, of a target with room.
    fn next_copy(&mut self) -> Option<Output> {
        for index in self.paths.indices() {
            if !self.paths.target(index).window.has_room() {
                continue;
            }
            let Some(flight) = self.flights.waiting(index) else {
                continue;
            };
            self.flights.take_waiting(index);
            let target = self.paths.target(index);
            target.window.sent();
            let port = target.next_port();
            self.flights.send_again(self.now, flight, index, port);
            self.statistics.retransmissions += 1;
            return Some(self.emit(*self.flights.flight(flight)));
        }
        None
    }

    /// The next frame of the first request that has any, if there is room for it.
    fn next_part(&mut self) -> Option<Output> {
        let (request, active) = self.requests.first_unsent()?;
        if !self.flights.has_room() {
            return None;
        }
        let (target, range, units) = if active.kind == Kind::Flush {
            let target = u8::try_from(active.handed_out).expect("few targets");
            if !self.paths.target(target).window.has_room() {
                return None;
            }
            (target, active.range, 1)
        } else {
            let range = active.next_range(self.paths.sectors_per_frame());
            (self.paths.next_target()?, range, u32::from(range.count().0))
        };
        let sequence = if active.kind == Kind::Write && self.numbering.is_on() {
            if !self.numbering.has_room() {
                return None;
            }
            self.statistics.sequenced += 1;
            NonZeroU64::new(self.numbering.next())
        } else {
            None
        };
        self.requests.hand_out(units);
        let path = self.paths.target(target);
        path.window.sent();
        let port = path.next_port();
        let (index, _) =
            self.flights.send(self.now, Part { request, kind: active.kind, range, sequence, target, port });
        Some(self.emit(*self.flights.flight(index)))
    }

    fn emit(&mut self, flight: Flight) -> Output {
        self.statistics.frames_sent += 1;
        let Flight { tag, range, port, .. } = flight;
        let route = Route {
            source: self.link(port).mac,
            destination: self.paths.target(flight.target).mac,
            address: self.options.address.into(),
        };
        let (head, payload) = match flight.kind {
            Kind::Read => (RequestHead::read(route, tag, range), None),
            Kind::Write => {
                let payload = self.requests.request(flight.request).payload(range);
                let numbers =
                    flight.sequence.and_then(|sequence| Some([self.numbering.name()?, sequence.get()]));
                let head = match numbers {
                    Some(numbers) => RequestHead::sequenced_write(route, tag, range, numbers),
                    None => RequestHead::write(route, tag, range),
                };
                (head, payload)
            }
            Kind::Flush => (RequestHead::flush(route, tag), None),
        };
        Output::Send { port, head, payload }
    }

    fn link(&self, port: PortId) -> PortLink {
        let found = self.ports.iter().find(|(known, _)| *known == port);
        found.expect("targets are heard on our own interfaces").1
    }

    /// Whatever is due at this moment.
    fn expire(&mut self) {
        self.discovery.handle_timeout(self.now);
        for index in self.paths.indices() {
            for kind in ALL_KINDS {
                self.expire_kind(index, kind);
            }
            if self.paths.target(index).is_silent()
                && let Some(other) = self.paths.other_than(index)
            {
                self.flights.move_waiting(index, other);
            }
        }
        if self.now >= self.next_probe && self.paths.targets().iter().any(TargetPath::has_suspect) {
            self.next_probe = self.now.after(PROBE_PAUSE);
            self.discovery.query(self.now);
        }
        self.drain_discovery();
        self.ask_for_numbers();
        self.sweep();
    }

    /// Asks targets whether they know sequenced writes.
    fn ask_for_numbers(&mut self) {
        let Some(name) = self.numbering.name() else { return };
        while let Some(target) = self.numbering.next_question(self.now) {
            let path = self.paths.target(target);
            let (destination, port) = (path.mac, path.next_port());
            let route =
                Route { source: self.link(port).mac, destination, address: self.options.address.into() };
            let head = RequestHead::query_sequenced(route, tag::capability(self.options.seed, target), name);
            self.outputs.push_back(Output::Send { port, head, payload: None });
        }
    }

    fn expire_kind(&mut self, target: u8, kind: Kind) {
        let timeout = self.paths.target(target).timeout(kind, self.options.retransmit_timeout);
        while let Some(flight) = self.flights.expire(self.now, target, kind, timeout) {
            let reduced = self.paths.target(target).expired(self.now, flight.port, kind, flight.sent);
            self.statistics.window_reductions += u64::from(reduced);
        }
    }

    /// Fails the requests that were open for too long.
    fn sweep(&mut self) {
        if self.now < self.next_sweep {
            return;
        }
        self.next_sweep = self.now.after(self.sweep_pause());
        let moment = self.now.before(self.options.answer_timeout);
        if moment == Instant::default() {
            return; // the clock is younger than that
        }
        while let Some(index) = self.requests.submitted_before(moment) {
            let refused = self.requests.request(index).refused;
            self.end(index, Err(RequestError::NoAnswer { refused }));
        }
    }

    fn sweep_pause(&self) -> Duration {
        self.options.answer_timeout / 8
    }

    /// Ends a request, and whatever of it is under way.
    fn end(&mut self, index: u32, result: Result<(), RequestError>) {
        if result.is_err() {
            while let Some(flight) = self.flights.any_of(index) {
                let Flight { target, sequence, .. } = *self.flights.flight(flight);
                if let Some(sequence) = sequence {
                    self.numbering.end(sequence.get());
                }
                if self.flights.remove(flight) {
                    self.paths.target(target).window.forgotten();
                }
            }
        }
        let Active { id, .. } = self.requests.remove(index);
        self.outputs.push_back(Output::Completed { id, result });
    }

    fn drain_discovery(&mut self) {
        while let Some(output) = self.discovery.poll_output() {
            match output {
                DiscoveryOutput::Send { port, frame } => {
                    self.outputs.push_back(Output::Send { port, head: frame, payload: None });
                }
                DiscoveryOutput::Found(index) => self.found(index),
            }
        }
    }

    /// Takes in a target that has identified itself, unless it is another disk.
    fn found(&mut self, index: usize) {
        let Some(responder) = self.discovery.responder(index) else {
            return;
        };
        let Responder { mac, port, buffer_count, identify: Some(identify), .. } = *responder else {
            return;
        };
        let longer =
            if self.options.sequenced.is_some() { PAYLOAD_OFFSET - limits::PAYLOAD_OFFSET } else { 0 };
        let fits = limits::sectors_per_frame((self.link(port).mtu as usize).saturating_sub(longer));
        let sectors_per_frame = whole_units(fits.min(responder.sectors_per_frame));
        let known = self.paths.targets().iter().any(|target| target.mac == mac);
        let same_disk = self.volume.is_none_or(|volume| {
            volume.serial == identify.serial && (known || volume.sectors == identify.sectors)
        });
        if !same_disk
            || sectors_per_frame.0 == 0
            || !self.paths.join(mac, port, buffer_count, sectors_per_frame)
        {
            self.outputs.push_back(Output::Rejected { mac });
            return;
        }
        if let Some(target) = self.paths.index_of(mac) {
            self.numbering.found(self.now, target);
        }
        let asked = self.discovery.asked(index);
        let is_stale = |volume: Identify| {
            volume.sectors > identify.sectors && asked.is_none_or(|asked| asked <= self.sized)
        };
        // One target may say late how large the volume was, when another one has said already how large it is.
        if self.volume.is_some_and(is_stale) {
            return;
        }
        if self.volume.is_none_or(|volume| volume.sectors != identify.sectors) {
            self.sized = self.now;
            self.outputs.push_back(Output::Sized { sectors: identify.sectors });
        }
        self.volume = Some(identify);
    }
}

/// Rounded down so that large frames begin at 4 KiB blocks; see [`limits::SECTORS_PER_FRAME_UNIT`].
const fn whole_units(count: SectorCount) -> SectorCount {
    let unit = limits::SECTORS_PER_FRAME_UNIT;
    if count.0 < unit { count } else { SectorCount(count.0 - count.0 % unit) }
}
