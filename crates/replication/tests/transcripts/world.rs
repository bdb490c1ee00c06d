//! Two engines, two disks, a link and an arbiter in virtual time, where everything takes as long as it is told to: the same
//! script gives the same story. A sector holds one letter.

use std::collections::BTreeMap;

use block::{
    BlockError, BlockRequest, BufferName, BufferSlice, Completion, Duration, ExportId, Instant, Lba,
    LbaRange, Operation, RequestId, SectorCount,
};
use replication::durability::Durability;
use replication::engine::{Engine, EngineConfig};
use replication::identity::{FormatIdentity, PairIdentity, VolumeIdentity};
use replication::input::{ArbiterAnswer, Control, Input, MetadataId};
use replication::limits::{LEASE, Limits};
use replication::membership::{Membership, NodeNumber};
use replication::message::{Message, Origin};
use replication::meta::layout::{Layout, Place};
use replication::meta::{Format, Opened, format, open};
use replication::output::{Digested, Outcome, Output};
use replication::start::VolumeConfig;
use replication::version::VersionRange;
use replication::volume::VolumeStatus;

use crate::words::Words;

pub(crate) const VOLUME: ExportId = ExportId(0);
pub(crate) const FORMAT: FormatIdentity = FormatIdentity(50);
/// Eight blocks of eight sectors.
const SECTORS: u64 = 64;
const MICROSECOND: u64 = 1000;

pub(crate) fn layout() -> Layout {
    Layout::new(SECTORS, 64).expect("a small volume")
}

/// How long things take, in microseconds: of each node's disk, its metadata, the link to it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Latency {
    pub(crate) disk: [u64; 2],
    pub(crate) metadata: [u64; 2],
    pub(crate) link_to: [u64; 2],
}

#[derive(Debug)]
enum Event {
    Disk(BlockRequest),
    Metadata(MetadataId, Place, Vec<u8>),
    Hear(Message, Option<String>),
    Answer(u64, Membership, Membership),
    Digest(Digested, u128),
    Disconnected,
}

#[derive(Debug)]
struct Node {
    engine: Option<Engine>,
    incarnation: u64,
    sectors: Vec<char>,
    unreadable: Option<u64>,
    metadata: Vec<u8>,
    buffers: BTreeMap<u64, String>,
    /// When the last message on its way to this node is heard: the link keeps the order.
    last_heard: u64,
}

pub(crate) struct World {
    now: u64,
    begun: u64,
    events: BTreeMap<(u64, u64), (usize, Event)>,
    nodes: [Node; 2],
    connected: bool,
    arbiter: Membership,
    pub(crate) latency: Latency,
    pub(crate) config: VolumeConfig,
    /// What each node speaks when it is started.
    pub(crate) versions: [VersionRange; 2],
    counter: u64,
    words: Words,
    text: String,
    is_quiet: bool,
    /// Whether renewals of leases are written down.
    pub(crate) leases: bool,
}

fn number(index: usize) -> NodeNumber {
    [NodeNumber::Zero, NodeNumber::One][index]
}

fn fresh_node(index: usize) -> Node {
    let records = format(Format {
        format: FORMAT,
        volume: VolumeIdentity(1),
        pair: PairIdentity(2),
        node: number(index),
        layout: layout(),
        membership: Membership::FIRST,
        good: true,
    });
    let mut metadata = vec![0; usize::try_from(records.byte_count()).expect("small")];
    for (place, record) in records.superblock_records() {
        put(&mut metadata, place, &record);
    }
    let sectors = vec!['.'; usize::try_from(SECTORS).expect("small")];
    let (unreadable, buffers) = (None, BTreeMap::new());
    Node { engine: None, incarnation: 0, sectors, unreadable, metadata, buffers, last_heard: 0 }
}

fn put(metadata: &mut [u8], place: Place, bytes: &[u8]) {
    let at = usize::try_from(place.0).expect("small");
    metadata[at..at + bytes.len()].copy_from_slice(bytes);
}

fn opened(metadata: &[u8]) -> Opened {
    let opened = open(|place, bytes| {
        let at = usize::try_from(place.0).expect("small");
        bytes.copy_from_slice(&metadata[at..at + bytes.len()]);
        Ok(())
    });
    opened.expect("metadata that the engine has written")
}

fn bounds(range: LbaRange) -> std::ops::Range<usize> {
    let at = |lba: Lba| usize::try_from(lba.0).expect("small");
    at(range.start())..at(range.end())
}

fn sectors(start: u64, count: u16) -> LbaRange {
    LbaRange::new(Lba(start), SectorCount(count)).expect("a range of the volume")
}

/// What the script says.
impl World {
    /// Two nodes that have met and serve, with `config` for the volume. What has happened until then is not told.
    pub(crate) fn new(title: &str, config: VolumeConfig) -> Self {
        let mut world = Self {
            now: 10_000_000_000,
            begun: 0,
            events: BTreeMap::new(),
            nodes: [fresh_node(0), fresh_node(1)],
            connected: false,
            arbiter: Membership::FIRST,
            latency: Latency { disk: [100, 100], metadata: [60, 60], link_to: [20, 20] },
            config,
            versions: [VersionRange::ALL; 2],
            counter: 0,
            words: Words::default(),
            text: format!("# {title}\n"),
            is_quiet: true,
            leases: false,
        };
        world.start(0);
        world.start(1);
        world.connect();
        world.run_until(|world| [0, 1].iter().all(|index| world.status(*index).serving));
        // Until nobody looks any more for what was asked before the start.
        world.run_for(13_000_000);
        world.run();
        // Until nothing can be left of what was asked of the arbiter before they started.
        world.run_for(12_000_000);
        world.is_quiet = false;
        world.begun = world.now;
        world
    }

    /// What happens meanwhile is not told.
    pub(crate) fn quietly(&mut self, work: impl FnOnce(&mut Self)) {
        self.is_quiet = true;
        work(self);
        self.is_quiet = false;
        self.begun = self.now;
    }

    /// The only extent gets into both nodes' activity logs.
    pub(crate) fn warm(&mut self) {
        self.quietly(|world| {
            world.write(0, 56, 8, 'Z');
            world.write(1, 48, 8, 'Y');
            world.run();
        });
        self.words = Words::default();
    }

    /// Why what comes next is so.
    pub(crate) fn why(&mut self, comment: &str) {
        self.text.push('\n');
        for line in comment.lines() {
            self.line(&format!("# {}", line.trim()));
        }
    }

    /// A client's write of one letter to all these sectors.
    pub(crate) fn write(&mut self, node: usize, start: u64, count: u16, letter: char) -> RequestId {
        let range = sectors(start, count);
        let data = self.buffer(node, letter.to_string().repeat(usize::from(count)));
        let origin = Origin::Stock { digest: u128::from(u32::from(letter)) };
        let durable = self.config.durability != Durability::Memory;
        self.request(node, Operation::Write { range, data, durable }, Some(origin))
    }

    pub(crate) fn read(&mut self, node: usize, start: u64, count: u16) -> RequestId {
        self.request(node, Operation::Read { range: sectors(start, count) }, None)
    }

    pub(crate) fn flush(&mut self, node: usize) -> RequestId {
        self.request(node, Operation::Flush, None)
    }

    fn request(&mut self, node: usize, operation: Operation, origin: Option<Origin>) -> RequestId {
        self.counter += 1;
        let id = self.words.request(node);
        let request = BlockRequest { id, export: VOLUME, operation };
        self.input(node, Input::Request { request, origin });
        id
    }

    pub(crate) fn control(&mut self, node: usize, control: Control) {
        self.input(node, Input::Control { volume: VOLUME, control });
    }

    /// Both nodes tell of requests that take so long.
    pub(crate) fn tell_of_slow(&mut self, after: Duration) {
        for node in 0..2 {
            self.input_as(node, Some("is to tell of slow requests"), Input::SlowAfter(Some(after)));
        }
    }

    /// The process starts and finds what its disks hold.
    pub(crate) fn start(&mut self, node: usize) {
        let now = self.clock();
        let config = EngineConfig {
            node: number(node),
            pair: PairIdentity(2),
            incarnation: self.nodes[node].incarnation,
            lease: LEASE,
            limits: Limits { requests: 64, followed: 64, copies: 4, volumes: 1, runs_at_once: 64 },
            first_disk_slot: 1000,
            versions: self.versions[node],
        };
        let mut engine = Engine::new(now, config);
        engine.add_volume(now, VOLUME, opened(&self.nodes[node].metadata), self.config);
        self.nodes[node].engine = Some(engine);
        self.input_as(node, Some("starts"), Input::Timeout);
    }

    /// Whatever its disks have not confirmed is lost. Its peer is not told.
    pub(crate) fn lose_power(&mut self, node: usize) {
        self.event_line(node, "loses power");
        self.nodes[node].engine = None;
        self.nodes[node].incarnation += 1;
        self.nodes[node].buffers.clear();
        self.connected = false;
        self.events.retain(|_, (of, event)| *of != node && !matches!(event, Event::Hear(..)));
    }

    /// The stream between the nodes stands.
    pub(crate) fn connect(&mut self) {
        self.connected = true;
        for node in 0..2 {
            self.nodes[node].last_heard = self.now;
            self.input(node, Input::Connected);
        }
    }

    /// Sectors that node's disk cannot read until they are written again.
    pub(crate) fn spoil(&mut self, node: usize, sector: u64) {
        self.event_line(node, &format!("can no longer read sector {sector}"));
        self.nodes[node].unreadable = Some(sector);
    }

    /// A sector of node's disk that is not any more what was written.
    pub(crate) fn rot(&mut self, node: usize, sector: usize) {
        self.event_line(node, &format!("has a sector {sector} that nobody wrote"));
        self.nodes[node].sectors[sector] = '?';
    }

    /// Everything under way ends.
    pub(crate) fn run(&mut self) {
        while !self.events.is_empty() {
            self.step();
        }
    }

    /// What happens in the next so many microseconds.
    pub(crate) fn run_for(&mut self, microseconds: u64) {
        let end = self.now + microseconds * MICROSECOND;
        while self.next_at().is_some_and(|at| at <= end) {
            self.step();
        }
        self.now = end;
    }

    pub(crate) fn run_until(&mut self, mut is_reached: impl FnMut(&Self) -> bool) {
        for _ in 0..100_000 {
            if is_reached(self) {
                return;
            }
            self.step();
        }
        panic!("never reached:\n{}", self.text);
    }

    /// Until a line that contains this is written.
    pub(crate) fn run_until_told(&mut self, what: &str) {
        let length = self.text.len();
        self.run_until(|world| world.text[length..].contains(what));
    }

    pub(crate) fn status(&self, node: usize) -> VolumeStatus {
        let engine = self.nodes[node].engine.as_ref().expect("it runs");
        engine.status(VOLUME).expect("its only volume")
    }

    /// Where both stand, and what their disks hold.
    pub(crate) fn tell(&mut self) {
        self.text.push('\n');
        for node in 0..2 {
            let content: String = self.nodes[node].sectors.iter().collect();
            let standing = match self.nodes[node].engine {
                Some(_) => self.words.status(&self.status(node)),
                None => "without power".to_owned(),
            };
            self.line(&format!("= node {node}: {standing}; disk {}", self.words.content(&content)));
        }
    }

    /// The whole story.
    pub(crate) fn into_text(self) -> String {
        self.text
    }
}

/// What follows.
impl World {
    fn clock(&self) -> Instant {
        Instant::from_nanos(self.now)
    }

    fn next_at(&self) -> Option<u64> {
        let event = self.events.first_key_value().map(|((at, _), _)| *at);
        let due = self.nodes.iter().filter_map(|node| node.engine.as_ref()?.poll_timeout());
        due.map(Instant::as_nanos).chain(event).min().map(|at| at.max(self.now))
    }

    fn step(&mut self) {
        let at = self.next_at().expect("something is to happen");
        self.now = at;
        for node in 0..2 {
            let due = self.nodes[node].engine.as_ref().and_then(Engine::poll_timeout);
            if due.is_some_and(|due| due.as_nanos() <= at) {
                return self.input(node, Input::Timeout);
            }
        }
        let (_, (node, event)) = self.events.pop_first().expect("no timeout, so an event");
        self.happen(node, event);
    }

    fn happen(&mut self, node: usize, event: Event) {
        let input = match event {
            Event::Disk(request) => {
                let result = self.disk(node, request.operation);
                Input::Disk(Completion { id: request.id, result })
            }
            Event::Metadata(id, place, bytes) => {
                put(&mut self.nodes[node].metadata, place, &bytes);
                Input::Metadata { id, result: Ok(()) }
            }
            Event::Hear(message, data) => {
                let data = data.map(|content| self.buffer(node, content));
                Input::Message { message, data }
            }
            Event::Answer(question, expected, next) => {
                let answer = if self.arbiter == expected {
                    self.arbiter = next;
                    ArbiterAnswer::Swapped
                } else {
                    ArbiterAnswer::Holds(self.arbiter)
                };
                Input::Arbiter { volume: VOLUME, question, answer }
            }
            Event::Digest(of, digest) => Input::Digest { of, digest },
            Event::Disconnected => Input::Disconnected,
        };
        self.input(node, input);
    }

    fn disk(&mut self, node: usize, operation: Operation) -> Result<Option<BufferSlice>, BlockError> {
        match operation {
            Operation::Read { range } => {
                if self.nodes[node].unreadable.is_some_and(|sector| bounds(range).contains(&at(sector))) {
                    return Err(BlockError::Medium);
                }
                let content = self.nodes[node].sectors[bounds(range)].iter().collect();
                Ok(Some(self.buffer(node, content)))
            }
            Operation::Write { range, data, .. } => {
                let content: Vec<char> = self.content(node, data).chars().collect();
                let node = &mut self.nodes[node];
                node.sectors[bounds(range)].copy_from_slice(&content);
                node.unreadable = node.unreadable.filter(|sector| !bounds(range).contains(&at(*sector)));
                Ok(None)
            }
            Operation::Flush => Ok(None),
        }
    }

    fn input(&mut self, node: usize, input: Input) {
        self.input_as(node, None, input);
    }

    fn input_as(&mut self, node: usize, what: Option<&str>, input: Input) {
        if self.nodes[node].engine.is_none() {
            return;
        }
        let content = match &input {
            Input::Message { data: Some(data), .. } => Some(self.content(node, *data)),
            Input::Disk(Completion { result: Ok(Some(data)), .. }) => Some(self.content(node, *data)),
            Input::Request {
                request: BlockRequest { operation: Operation::Write { data, .. }, .. }, ..
            } => Some(self.content(node, *data)),
            _ => None,
        };
        let heading = self.words.input(node, &input, content.as_deref(), self.leases);
        let heading = what.map(str::to_owned).or(heading);
        let now = self.clock();
        let mut lines = Vec::new();
        self.nodes[node].engine.as_mut().expect("it runs").handle_input(now, input);
        while let Some(output) = self.nodes[node].engine.as_mut().and_then(Engine::poll_output) {
            lines.extend(self.output(node, output));
        }
        let Some(heading) = heading.or_else(|| (!lines.is_empty()).then(|| "time passes".to_owned())) else {
            return;
        };
        self.event_line(node, &heading);
        for line in lines {
            self.line(&format!("{:18}-> {line}", ""));
        }
    }

    /// Does it, or has it done later; says what it is.
    fn output(&mut self, node: usize, output: Output) -> Option<String> {
        let content = match &output {
            Output::Send { data: Some(data), .. } | Output::Digest { data, .. } => {
                Some(self.content(node, *data))
            }
            Output::Completed { outcome: Outcome::Done(Some(data)), .. } => Some(self.content(node, *data)),
            Output::Disk(BlockRequest { operation: Operation::Write { data, .. }, .. }) => {
                Some(self.content(node, *data))
            }
            _ => None,
        };
        let record = match &output {
            Output::Metadata { id, .. } => {
                Some(self.nodes[node].engine.as_ref().expect("it runs").record(*id).to_vec())
            }
            _ => None,
        };
        let line = self.words.output(node, &output, content.as_deref(), record.as_deref(), self.leases);
        self.carry_out(node, output, content, record);
        line
    }

    fn carry_out(&mut self, node: usize, output: Output, content: Option<String>, record: Option<Vec<u8>>) {
        let Latency { disk, metadata, link_to } = self.latency;
        match output {
            Output::Disk(request) => self.later(node, disk[node], Event::Disk(request)),
            Output::Metadata { id, place, .. } => {
                let bytes = record.expect("just taken");
                self.later(node, metadata[node], Event::Metadata(id, place, bytes));
            }
            Output::Send { message, .. } if self.connected => {
                let peer = 1 - node;
                let heard = (self.now + link_to[peer] * MICROSECOND).max(self.nodes[peer].last_heard);
                self.nodes[peer].last_heard = heard;
                self.later(peer, (heard - self.now) / MICROSECOND, Event::Hear(message, content));
            }
            Output::Disconnect { .. } => self.disconnect(node),
            Output::Ask { question, expected, next, .. } => {
                self.later(node, 1000, Event::Answer(question, expected, next));
            }
            Output::Digest { of, .. } => {
                let digest = content.expect("just taken").chars().fold(7, |digest: u128, letter| {
                    digest.wrapping_mul(0x1_0000_01b3).wrapping_add(u128::from(u32::from(letter)))
                });
                self.later(node, 0, Event::Digest(of, digest));
            }
            Output::Release(buffer) => _ = self.nodes[node].buffers.remove(&buffer.0),
            _ => {}
        }
    }

    /// One end closes the connection; the other hears of it if the link is whole.
    fn disconnect(&mut self, node: usize) {
        self.later(node, 0, Event::Disconnected);
        if std::mem::take(&mut self.connected) {
            self.later(1 - node, self.latency.link_to[1 - node], Event::Disconnected);
        }
    }

    fn later(&mut self, node: usize, microseconds: u64, event: Event) {
        self.counter += 1;
        self.events.insert((self.now + microseconds * MICROSECOND, self.counter), (node, event));
    }

    fn buffer(&mut self, node: usize, content: String) -> BufferSlice {
        self.counter += 1;
        let length = u32::try_from(content.len() * 512).expect("small");
        self.nodes[node].buffers.insert(self.counter, content);
        BufferSlice { buffer: BufferName(self.counter), offset: 0, length }
    }

    fn content(&self, node: usize, data: BufferSlice) -> String {
        let (first, count) = (data.offset as usize / 512, data.length as usize / 512);
        self.nodes[node].buffers[&data.buffer.0][first..first + count].to_owned()
    }

    fn event_line(&mut self, node: usize, what: &str) {
        let since = Duration::from_nanos(self.now.saturating_sub(self.begun));
        let milliseconds = since.as_secs_f64() * 1000.0;
        self.line(&format!("{milliseconds:>9.3} node {node}  {what}"));
    }

    fn line(&mut self, line: &str) {
        if !self.is_quiet {
            self.text.push_str(line);
            self.text.push('\n');
        }
    }
}

fn at(sector: u64) -> usize {
    usize::try_from(sector).expect("small")
}
