//! Who is there: asks every target that a pattern of addresses means for its limits and for its IDENTIFY data.
//!
//! A Query Config goes to everybody, a few times at first and then rarely; whoever answers, or announces itself unasked,
//! is asked to identify. One responder is one target on one of our interfaces: a target with two cables is two of them.
//! What to make of the responders is decided elsewhere.

use std::collections::VecDeque;

use block::{Duration, Instant, SectorCount};

use super::head::{RequestHead, Route};
use super::tag;
use crate::address::{Address, AddressPattern};
use crate::ata::Identify;
use crate::limits::FRAME_BYTES_MIN;
use crate::mac::MacAddress;
use crate::target::{PortId, PortLink};
use crate::wire::header::{Command, Tag};
use crate::wire::{Frame, ata, config};

/// Pauses between the first questions; a single frame may be lost.
const QUERY_PAUSES: [Duration; 3] =
    [Duration::from_millis(100), Duration::from_millis(200), Duration::from_millis(700)];
/// Pause between later questions while nobody was found, and while somebody was. The Linux driver takes the latter too.
const QUERY_PAUSE_ALONE: Duration = Duration::from_secs(1);
const QUERY_PAUSE_FOUND: Duration = Duration::from_secs(60);

/// A responder that does not identify itself is asked so often, each time after twice the pause.
const IDENTIFY_ATTEMPTS: u8 = 6;
const IDENTIFY_PAUSE: Duration = Duration::from_millis(100);

/// More responders than this are not kept: a number of the question must fit a tag.
pub const RESPONDERS_MAX: usize = 16_000;

/// A target as one of our interfaces sees it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Responder {
    /// Its volume.
    pub address: Address,
    /// Where it answers from.
    pub mac: MacAddress,
    /// The interface that we hear it on.
    pub port: PortId,
    /// Frames that it can hold.
    pub buffer_count: u16,
    /// A version number of its own.
    pub firmware: u16,
    /// Sectors that it takes in a frame.
    pub sectors_per_frame: SectorCount,
    /// Its config string.
    pub config_string: Vec<u8>,
    /// What it says of its disk, once it has.
    pub identify: Option<Identify>,
}

/// What a discovery gives out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum DiscoveryOutput {
    /// Send this frame.
    Send {
        /// By which interface.
        port: PortId,
        /// All of it.
        frame: RequestHead,
    },
    /// The responder of that index has identified itself, or has other data than before; or it gave no answer for so
    /// long that it will not be asked again (its `identify` is `None`) until it answers another question.
    Found(usize),
}

/// An ongoing search.
#[derive(Debug)]
pub struct Discovery {
    pattern: AddressPattern,
    ports: Vec<(PortId, PortLink)>,
    seed: u32,
    responders: Vec<Entry>,
    queries: usize,
    next_query: Instant,
    outputs: VecDeque<DiscoveryOutput>,
}

#[derive(Debug)]
struct Entry {
    responder: Responder,
    /// While an IDENTIFY is under way.
    asking: Option<Asking>,
    /// Questions to identify itself so far, each with a tag of its own: what is answered to an earlier one may hold no more.
    questions: u32,
    /// When the latest of them was sent first.
    asked: Instant,
}

impl Entry {
    const fn new(now: Instant, responder: Responder) -> Self {
        Self { responder, asking: None, questions: 0, asked: now }
    }
}

#[derive(Clone, Copy, Debug)]
struct Asking {
    attempts: u8,
    again: Instant,
}

impl Discovery {
    /// A search for the volumes that `pattern` means, beginning now; `seed` is different for each initiator.
    #[must_use]
    pub fn new(now: Instant, pattern: AddressPattern, ports: &[(PortId, PortLink)], seed: u32) -> Self {
        let mut discovery = Self {
            pattern,
            ports: ports.to_vec(),
            seed,
            responders: Vec::new(),
            queries: 0,
            next_query: now,
            outputs: VecDeque::new(),
        };
        discovery.handle_timeout(now);
        discovery
    }

    /// Everybody who answered so far, in the order they did.
    pub fn responders(&self) -> impl ExactSizeIterator<Item = &Responder> {
        self.responders.iter().map(|entry| &entry.responder)
    }

    /// The responder of that index.
    #[must_use]
    pub fn responder(&self, index: usize) -> Option<&Responder> {
        self.responders.get(index).map(|entry| &entry.responder)
    }

    /// When the question was sent whose answer this responder's `identify` is, or later.
    pub(super) fn asked(&self, index: usize) -> Option<Instant> {
        self.responders.get(index).map(|entry| entry.asked)
    }

    /// Whether somebody who answered has yet to identify itself.
    #[must_use]
    pub fn is_asking(&self) -> bool {
        self.responders.iter().any(|entry| entry.asking.is_some())
    }

    /// Asks again at once.
    pub fn query(&mut self, now: Instant) {
        self.next_query = now;
        self.handle_timeout(now);
    }

    /// Looks at a frame that came in; one that is no answer to us is passed over. True if it was one.
    pub fn handle_frame(&mut self, now: Instant, port: PortId, frame: Frame<'_>) -> bool {
        let head = frame.head();
        let Ok(address) = Address::try_from(head.header.address) else {
            return false;
        };
        let ours = head.header.response && head.header.error.is_none() && self.pattern.matches(address);
        if !ours || head.ethernet.source.is_multicast() {
            return false;
        }
        match head.header.command {
            Command::QueryConfig => self.configured(now, port, address, frame),
            Command::Ata => self.identified(head.header.tag, frame),
            _ => false,
        }
    }

    /// The moment that [`Discovery::poll_timeout`] named has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        if now >= self.next_query {
            self.broadcast(now);
        }
        for index in 0..self.responders.len() {
            match self.responders[index].asking {
                Some(asking) if now >= asking.again && asking.attempts >= IDENTIFY_ATTEMPTS => {
                    self.responders[index].asking = None;
                    // What it has said before may hold no more.
                    self.responders[index].responder.identify = None;
                    self.outputs.push_back(DiscoveryOutput::Found(index));
                }
                Some(asking) if now >= asking.again => self.send(now, index, asking.attempts),
                _ => {}
            }
        }
    }

    /// What to do next.
    pub fn poll_output(&mut self) -> Option<DiscoveryOutput> {
        self.outputs.pop_front()
    }

    /// When to call [`Discovery::handle_timeout`].
    #[must_use]
    pub fn poll_timeout(&self) -> Instant {
        let asking = self.responders.iter().filter_map(|entry| entry.asking.map(|asking| asking.again));
        asking.min().map_or(self.next_query, |again| again.min(self.next_query))
    }

    fn broadcast(&mut self, now: Instant) {
        let tag = tag::discovery(self.seed, 0);
        for &(port, link) in &self.ports {
            let route = Route { source: link.mac, destination: MacAddress::BROADCAST, address: self.pattern };
            let frame = RequestHead::query_config(route, tag);
            self.outputs.push_back(DiscoveryOutput::Send { port, frame });
        }
        let later = if self.responders.is_empty() { QUERY_PAUSE_ALONE } else { QUERY_PAUSE_FOUND };
        let pause = QUERY_PAUSES.get(self.queries).copied().unwrap_or(later);
        self.queries += 1;
        self.next_query = now.after(pause);
    }

    fn configured(&mut self, now: Instant, port: PortId, address: Address, frame: Frame<'_>) -> bool {
        let Ok(config) = config::View::new(frame).and_then(config::Repr::parse) else {
            return false;
        };
        let mac = frame.ethernet().source;
        let known = self.responders.iter().position(|entry| {
            let responder = &entry.responder;
            responder.mac == mac && responder.port == port && responder.address == address
        });
        let identify = known.and_then(|index| self.responders[index].responder.identify);
        let responder = Responder {
            address,
            mac,
            port,
            buffer_count: config.buffer_count,
            firmware: config.firmware,
            sectors_per_frame: config.sectors_per_command(),
            config_string: config.string.to_vec(),
            identify,
        };
        // An answer to our own question says nothing new, but that one is there again who was given up; one unasked says that
        // something changed, perhaps the size.
        let unasked = frame.header().tag != tag::discovery(self.seed, 0);
        match known {
            Some(index) => {
                let changed = self.responders[index].responder != responder;
                let unknown = responder.identify.is_none();
                self.responders[index].responder = responder;
                let is_asking = self.responders[index].asking.is_some();
                // What is under way may be answered with what was before the change.
                if unasked || (changed || unknown) && !is_asking {
                    self.ask(now, index);
                }
            }
            None if self.responders.len() < RESPONDERS_MAX => {
                self.responders.push(Entry::new(now, responder));
                self.ask(now, self.responders.len() - 1);
            }
            None => return false,
        }
        true
    }

    /// Asks a responder to identify itself, anew if it was asked before.
    fn ask(&mut self, now: Instant, index: usize) {
        let entry = &mut self.responders[index];
        entry.questions = entry.questions.wrapping_add(1);
        entry.asked = now;
        self.send(now, index, 0);
    }

    /// Sends the present question to a responder, once more if it was sent before.
    fn send(&mut self, now: Instant, index: usize, attempts: u8) {
        let tag = self.tag(index);
        let entry = &mut self.responders[index];
        entry.asking =
            Some(Asking { attempts: attempts + 1, again: now.after(IDENTIFY_PAUSE * (1 << attempts)) });
        let Responder { mac, address, port, .. } = entry.responder;
        let Some(&(_, link)) = self.ports.iter().find(|(known, _)| *known == port) else {
            return;
        };
        let route = Route { source: link.mac, destination: mac, address: address.into() };
        let frame = RequestHead::identify(route, tag);
        self.outputs.push_back(DiscoveryOutput::Send { port, frame });
    }

    /// That of the present question to a responder.
    fn tag(&self, index: usize) -> Tag {
        let number = u16::try_from(index + 1).expect("fewer responders than numbers");
        tag::discovery(self.seed.wrapping_add(self.responders[index].questions), number)
    }

    fn identified(&mut self, tag: Tag, frame: Frame<'_>) -> bool {
        let index = usize::from((tag.0 & 0xffff) as u16).wrapping_sub(1);
        if index >= self.responders.len() || tag != self.tag(index) {
            return false;
        }
        let entry = &mut self.responders[index];
        let from_it = frame.ethernet().source == entry.responder.mac;
        if !from_it || entry.asking.is_none() {
            return false;
        }
        let Ok(view) = ata::View::new(frame) else {
            return false;
        };
        let reply = ata::Reply::parse(view);
        let data = view.payload();
        if reply.status.is_failure() {
            entry.responder.identify = None;
        } else if let Ok(identify) = Identify::parse(data) {
            entry.responder.identify = Some(identify);
        } else {
            return false; // damaged; it will be asked again
        }
        entry.asking = None;
        self.outputs.push_back(DiscoveryOutput::Found(index));
        true
    }
}

const _: () =
    assert!(RESPONDERS_MAX < 1 << 14 && FRAME_BYTES_MIN == 60, "a question has a number and one frame");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::{Shelf, Slot};
    use crate::ata::AtaString;
    use crate::wire::Head;
    use block::LogicalSectorSize;

    const OURS: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);
    const THEIRS: MacAddress = MacAddress([2, 0, 0, 0, 0, 9]);
    const PORT: PortId = PortId(0);

    fn at(milliseconds: u64) -> Instant {
        Instant::from_nanos(milliseconds * 1_000_000)
    }

    fn search() -> Discovery {
        Discovery::new(at(0), AddressPattern::EVERY, &[(PORT, PortLink { mac: OURS, mtu: 9000 })], 77)
    }

    fn sent(discovery: &mut Discovery) -> Vec<RequestHead> {
        let outputs = std::iter::from_fn(|| discovery.poll_output());
        outputs
            .filter_map(|output| match output {
                DiscoveryOutput::Send { frame, .. } => Some(frame),
                DiscoveryOutput::Found(_) => None,
            })
            .collect()
    }

    fn answer(question: &RequestHead, fill: impl FnOnce(&mut [u8]) -> usize) -> Vec<u8> {
        let mut bytes = vec![0; 2048];
        let head: Head = Frame::new(question.bytes()).expect("a frame").head();
        head.reply(THEIRS, Address::new(Shelf(7), Slot(1)).expect("valid")).emit(&mut bytes);
        let length = fill(&mut bytes);
        bytes.truncate(length.max(60));
        bytes
    }

    fn config_answer(question: &RequestHead) -> Vec<u8> {
        answer(question, |bytes| {
            config::Repr {
                buffer_count: 64,
                firmware: 3,
                sector_count: 16,
                version: 1,
                command: config::ConfigCommand::Read,
                string: b"rack 4",
            }
            .emit(bytes)
        })
    }

    fn identify_answer(question: &RequestHead, sectors: u64) -> Vec<u8> {
        answer(question, |bytes| {
            let request = ata::Request::parse(
                ata::View::new(Frame::new(question.bytes()).expect("a frame")).expect("an ATA frame"),
            );
            ata::Reply::success(&request).emit(bytes);
            let page: &mut [u8; 512] = (&mut bytes[36..548]).try_into().expect("512 bytes");
            Identify {
                sectors,
                lba48: true,
                serial: AtaString::new("s"),
                firmware: AtaString::new("f"),
                model: AtaString::new("m"),
                physical_sector_size: LogicalSectorSize::B512,
                write_cache: false,
                smart: false,
            }
            .emit(page);
            548
        })
    }

    fn hear(discovery: &mut Discovery, now: Instant, bytes: &[u8]) -> bool {
        discovery.handle_frame(now, PORT, Frame::new(bytes).expect("a frame"))
    }

    #[test]
    fn who_answers_is_asked_to_identify_and_then_found() {
        let mut discovery = search();
        let query = sent(&mut discovery)[0];
        assert!(hear(&mut discovery, at(1), &config_answer(&query)));
        let identify = sent(&mut discovery)[0];
        assert!(discovery.is_asking());
        assert!(hear(&mut discovery, at(2), &identify_answer(&identify, 1000)));
        assert_eq!(discovery.poll_output(), Some(DiscoveryOutput::Found(0)));
        let found = discovery.responder(0).expect("a responder");
        assert_eq!((found.mac, found.buffer_count, found.sectors_per_frame.0), (THEIRS, 64, 16));
        assert_eq!(found.identify.map(|identify| identify.sectors), Some(1000));
        assert!(!discovery.is_asking());
        assert!(!hear(&mut discovery, at(3), &identify_answer(&identify, 1000)), "a second copy");
    }

    #[test]
    fn a_lost_question_is_asked_again_and_at_last_given_up_until_the_responder_answers_another() {
        let mut discovery = search();
        let query = sent(&mut discovery)[0];
        hear(&mut discovery, at(0), &config_answer(&query));
        let mut identifies = 0;
        while discovery.is_asking() {
            let now = discovery.poll_timeout();
            discovery.handle_timeout(now);
            identifies += sent(&mut discovery).iter().filter(|head| head.tag() != query.tag()).count();
        }
        assert_eq!(identifies, usize::from(IDENTIFY_ATTEMPTS));
        assert_eq!(discovery.responder(0).expect("a responder").identify, None);
        let later = discovery.poll_timeout();
        hear(&mut discovery, later, &config_answer(&query));
        let again = sent(&mut discovery)[0];
        assert!(hear(&mut discovery, later, &identify_answer(&again, 1000)), "it is there again");
        assert!(discovery.responder(0).expect("a responder").identify.is_some());
    }

    #[test]
    fn an_announcement_makes_a_known_responder_identify_again() {
        let mut discovery = search();
        let query = sent(&mut discovery)[0];
        hear(&mut discovery, at(1), &config_answer(&query));
        let identify = sent(&mut discovery)[0];
        hear(&mut discovery, at(2), &identify_answer(&identify, 1000));
        hear(&mut discovery, at(3), &config_answer(&query));
        assert!(sent(&mut discovery).is_empty(), "an answer to our own question");
        let mut announcement = config_answer(&query);
        announcement[20..24].fill(0);
        hear(&mut discovery, at(4), &announcement);
        let again = sent(&mut discovery)[0];
        assert!(hear(&mut discovery, at(5), &identify_answer(&again, 2000)));
        let identify = discovery.responder(0).expect("a responder").identify;
        assert_eq!(identify.map(|identify| identify.sectors), Some(2000));
    }

    #[test]
    fn what_answers_a_question_of_before_an_announcement_is_passed_over() {
        let mut discovery = search();
        let query = sent(&mut discovery)[0];
        hear(&mut discovery, at(1), &config_answer(&query));
        let before = sent(&mut discovery)[0];
        let mut announcement = config_answer(&query);
        announcement[20..24].fill(0);
        hear(&mut discovery, at(4), &announcement);
        let after = sent(&mut discovery)[0];
        assert!(!hear(&mut discovery, at(5), &identify_answer(&before, 1000)), "of what was");
        assert!(hear(&mut discovery, at(6), &identify_answer(&after, 2000)));
        assert_eq!(discovery.asked(0), Some(at(4)));
        hear(&mut discovery, at(7), &announcement);
        assert!(!hear(&mut discovery, at(8), &identify_answer(&before, 1000)), "late");
        let identify = discovery.responder(0).expect("a responder").identify;
        assert_eq!(identify.map(|identify| identify.sectors), Some(2000));
    }

    #[test]
    fn what_a_responder_said_before_it_fell_silent_is_not_what_it_says_now() {
        let mut discovery = search();
        let query = sent(&mut discovery)[0];
        hear(&mut discovery, at(1), &config_answer(&query));
        let identify = sent(&mut discovery)[0];
        hear(&mut discovery, at(2), &identify_answer(&identify, 1000));
        let mut announcement = config_answer(&query);
        announcement[20..24].fill(0);
        hear(&mut discovery, at(4), &announcement);
        while discovery.is_asking() {
            let now = discovery.poll_timeout();
            discovery.handle_timeout(now);
        }
        assert_eq!(discovery.responder(0).expect("a responder").identify, None);
    }

    #[test]
    fn requests_and_answers_to_others_are_passed_over() {
        let mut discovery = search();
        let query = sent(&mut discovery)[0];
        assert!(!hear(&mut discovery, at(0), query.bytes()));
        let mut foreign = identify_answer(
            &RequestHead::identify(
                Route { source: OURS, destination: THEIRS, address: AddressPattern::EVERY },
                Tag(5),
            ),
            1,
        );
        assert!(!hear(&mut discovery, at(0), &foreign));
        foreign[18] = 0xff;
        assert!(!hear(&mut discovery, at(0), &foreign));
    }
}
