//! Two engines, two disks, a link, an arbiter and a few clients, on one clock and driven by one seed.
//!
//! The small world that the engine grows up in: messages and requests are values, sectors are numbers, and there is no AoE.
//! What is left to chance is in which order things happen, and what goes wrong when.

#[path = "growth.rs"]
mod growth;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use block::{
    BlockRequest, BufferName, BufferSlice, Completion, Duration, ExportId, Instant, Lba, LbaRange, Operation,
    RequestId, SectorCount,
};
use replication::durability::Durability;
use replication::engine::{Engine, EngineConfig};
use replication::identity::{FormatIdentity, PairIdentity, VolumeIdentity};
use replication::input::{ArbiterAnswer, Control, Input, MetadataId};
use replication::limits::Limits;
use replication::membership::{Membership, NodeNumber};
use replication::message::{CopyState, Message, Origin, VolumeMessage};
use replication::meta::layout::{Layout, Place};
use replication::meta::small_state::SmallState;
use replication::meta::{Format, Opened, format, open};
use replication::mutation::Mutation;
use replication::output::{Digested, Event, FollowedEnd, Outcome, Output};
use replication::start::VolumeConfig;
use replication::volume::{Phase, VolumeStatus};

use crate::oracle;

pub(crate) const VOLUME: ExportId = ExportId(3);
const LEASE: Duration = Duration::from_millis(1000);
const LIMITS: Limits = Limits { requests: 128, followed: 256, copies: 8, volumes: 4 };
/// So long after its answer a frame that asks for the same write may come: no longer than the engine's memory window.
const LATE: u64 = 2_900_000_000;

/// What may happen besides the good things.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Faults {
    pub(crate) cuts: bool,
    pub(crate) crashes: bool,
    pub(crate) pauses: bool,
    pub(crate) arbiter: bool,
    pub(crate) read_errors: bool,
    pub(crate) write_errors: bool,
    pub(crate) leaves: bool,
    /// One node at a time loses power, and not before the pair is whole again; writes are answered from memory.
    pub(crate) single_losses: bool,
    pub(crate) verifies: bool,
    pub(crate) settings: bool,
    pub(crate) resizes: bool,
}

/// What a world is made of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) steps: u32,
    pub(crate) sectors: u64,
    pub(crate) clients: usize,
    pub(crate) faults: Faults,
    /// A mistake that both engines make.
    #[allow(dead_code, reason = "none is made without the feature")]
    pub(crate) mutation: Option<Mutation>,
}

/// Numbers as good as random ones, the same for the same seed.
#[derive(Clone, Debug)]
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }

    pub(crate) fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }
}

struct Node {
    /// Sectors that requests may name.
    size: u64,
    engine: Option<Engine>,
    serving: bool,
    paused: bool,
    sectors: Vec<u64>,
    /// What of it survives a loss of power for certain.
    stable: Vec<u64>,
    unreadable: Vec<bool>,
    metadata: Vec<u8>,
    at_disk: Vec<BlockRequest>,
    at_metadata: Vec<(MetadataId, Place, Vec<u8>)>,
    buffers: BTreeMap<u64, Vec<u64>>,
    digests: VecDeque<(Digested, u128)>,
    incarnation: u64,
    leaving: bool,
    /// What its clock shows when the world's shows nothing, and by how many thousandths it is fast.
    clock: (u64, i64),
    /// The writes that this process has heard of, by the digest of their content.
    known: BTreeSet<u128>,
    followed: BTreeMap<u64, u128>,
}

struct Link {
    /// To node 0 and to node 1.
    queues: [VecDeque<(Message, Option<Vec<u64>>)>; 2],
    is_up: bool,
    connected: bool,
}

struct Client {
    node: usize,
    request: Option<(RequestId, bool, LbaRange, Vec<u64>, u64)>,
    generation: u32,
}

pub(crate) struct World {
    pub(crate) chance: Chance,
    now: u64,
    nodes: [Node; 2],
    link: Link,
    arbiter: Membership,
    arbiter_is_up: bool,
    questions: Vec<(usize, u64, Membership, Membership)>,
    answers: Vec<(usize, u64, ArbiterAnswer)>,
    clients: Vec<Client>,
    next_buffer: u64,
    next_value: u64,
    tick: u64,
    pub(crate) history: Vec<oracle::Operation>,
    pub(crate) trace: bool,
    pub(crate) calm: bool,
    /// Clients have no more wishes.
    closed: bool,
    pub(crate) finished: u64,
    #[allow(dead_code, reason = "of use with the feature only")]
    plan: Plan,
    faults: Faults,
    sectors: u64,
    /// What disks get when they grow is not zeros.
    is_dirty: bool,
    /// Blocks that a node's disk has lost at some time.
    lost: BTreeSet<(usize, usize)>,
    /// How often a node has said that the volume is larger.
    pub(crate) grown: u64,
    /// Writes that were answered a short while ago, and when.
    answered: VecDeque<(u64, u128)>,
}

fn node_number(index: usize) -> NodeNumber {
    [NodeNumber::Zero, NodeNumber::One][index]
}

fn fresh(index: usize, sectors: u64) -> Node {
    let layout = Layout::new(sectors, 64).expect("a small volume");
    let records = format(Format {
        format: FormatIdentity(50 + index as u128),
        volume: VolumeIdentity(1),
        pair: PairIdentity(2),
        node: node_number(index),
        layout,
        membership: Membership::FIRST,
        good: true,
    });
    let mut metadata = vec![0; usize::try_from(records.byte_count()).expect("small")];
    for (place, record) in records.superblock_records() {
        let at = usize::try_from(place.0).expect("small");
        metadata[at..at + record.len()].copy_from_slice(&record);
    }
    let length = usize::try_from(sectors).expect("small");
    Node {
        size: sectors,
        engine: None,
        serving: false,
        paused: false,
        sectors: vec![0; length],
        stable: vec![0; length],
        unreadable: vec![false; length],
        metadata,
        at_disk: Vec::new(),
        at_metadata: Vec::new(),
        buffers: BTreeMap::new(),
        digests: VecDeque::new(),
        incarnation: 0,
        leaving: false,
        clock: (0, 0),
        known: BTreeSet::new(),
        followed: BTreeMap::new(),
    }
}

impl World {
    pub(crate) fn new(seed: u64, plan: Plan) -> Self {
        let Plan { sectors, faults, .. } = plan;
        let clients = (0..plan.clients).map(|_| Client { node: 0, request: None, generation: 0 }).collect();
        let mut world = Self {
            chance: Chance(seed),
            now: 10_000_000_000,
            nodes: [fresh(0, sectors), fresh(1, sectors)],
            link: Link { queues: [VecDeque::new(), VecDeque::new()], is_up: true, connected: false },
            arbiter: Membership::FIRST,
            arbiter_is_up: true,
            questions: Vec::new(),
            answers: Vec::new(),
            clients,
            next_buffer: 0,
            next_value: 1,
            tick: 0,
            history: Vec::new(),
            trace: false,
            calm: false,
            closed: false,
            finished: 0,
            plan,
            faults,
            sectors,
            is_dirty: seed.is_multiple_of(2),
            lost: BTreeSet::new(),
            grown: 0,
            answered: VecDeque::new(),
        };
        for index in 0..2 {
            let rate = i64::try_from(world.chance.below(41)).expect("small") - 20;
            world.nodes[index].clock = (world.chance.below(1_000_000_000_000), rate);
        }
        world.start(0);
        world.start(1);
        world
    }

    fn say(&self, text: impl FnOnce() -> String) {
        if self.trace {
            eprintln!("{:>12} {}", self.now / 1000, text());
        }
    }

    /// Clocks differ in what they show and, a little, in how fast they go.
    fn clock(&self, index: usize) -> Instant {
        let (offset, rate) = self.nodes[index].clock;
        let thousandths = 1000u64.saturating_add_signed(rate);
        Instant::from_nanos(offset + self.now / 1000 * thousandths)
    }

    fn start(&mut self, index: usize) {
        let now = self.clock(index);
        let node = &mut self.nodes[index];
        node.incarnation += 1;
        node.leaving = false;
        let opened = open_metadata(&node.metadata);
        let mut engine = Engine::new(
            now,
            EngineConfig {
                node: node_number(index),
                pair: PairIdentity(2),
                incarnation: node.incarnation,
                lease: LEASE,
                limits: LIMITS,
                first_disk_slot: 1000,
            },
        );
        #[cfg(feature = "mutations")]
        if let Some(mutation) = self.plan.mutation {
            engine.mutate(mutation);
        }
        let durability = if self.faults.single_losses { Durability::Memory } else { Durability::Stable };
        let config = VolumeConfig {
            durability,
            resync_checksums: self.chance.one_in(2),
            capacity: self.capacity(index),
            ..VolumeConfig::default()
        };
        engine.add_volume(now, VOLUME, opened, config);
        self.nodes[index].size = engine.status(VOLUME).expect("just added").sectors;
        self.nodes[index].engine = Some(engine);
        self.say(|| format!("node {index} starts"));
        self.input(index, Input::Timeout);
    }

    pub(crate) fn input(&mut self, index: usize, input: Input) {
        let now = self.clock(index);
        if self.trace && !matches!(input, Input::Timeout) {
            let text = format!("node {index} <- {input:?}");
            self.say(|| text);
        }
        let Some(engine) = &mut self.nodes[index].engine else { return };
        engine.handle_input(now, input);
        while let Some(output) = self.nodes[index].engine.as_mut().and_then(Engine::poll_output) {
            self.output(index, output);
        }
        self.check_alone();
    }

    fn output(&mut self, index: usize, output: Output) {
        if self.trace {
            let text = format!("node {index} -> {output:?}");
            self.say(|| text);
        }
        match output {
            Output::Disk(request) => self.nodes[index].at_disk.push(request),
            Output::Completed { id, outcome } => self.completed(index, id, outcome),
            Output::Release(buffer) => {
                self.nodes[index].buffers.remove(&buffer.0).expect("a buffer is released once");
            }
            Output::Send { message, data } => {
                let data = data.map(|data| self.content(index, data));
                if self.link.connected {
                    self.link.queues[1 - index].push_back((message, data));
                }
            }
            Output::Disconnect { .. } => self.disconnect(),
            Output::Metadata { id, place, .. } => {
                let bytes =
                    self.nodes[index].engine.as_ref().expect("it has just said so").record(id).to_vec();
                self.nodes[index].at_metadata.push((id, place, bytes));
            }
            Output::Digest { of, data } => {
                let digest = self.content(index, data).iter().fold(7u128, |digest, value| {
                    digest.wrapping_mul(0x1_0000_01b3).wrapping_add(u128::from(*value))
                });
                self.nodes[index].digests.push_back((of, digest));
            }
            Output::Ask { question, expected, next, .. } => {
                self.questions.push((index, question, expected, next))
            }
            Output::Serving { serving, .. } => self.serve(index, serving),
            Output::Followed { write, origin, .. } => {
                let digest = digest_of(origin);
                self.nodes[index].known.insert(digest);
                self.nodes[index].followed.insert(write.0, digest);
            }
            Output::FollowedEnded { write, end } => {
                let digest = self.nodes[index].followed.remove(&write.0).expect("it ends once");
                if end == FollowedEnd::Dropped {
                    self.nodes[index].known.remove(&digest);
                }
            }
            Output::Doubtful { write, .. } => {
                self.nodes[index].known.insert(digest_of(write.origin));
            }
            Output::Event { event: Event::Differs(range), .. } => {
                let (from, to) = bounds(range);
                let unreadable = self.nodes.iter().any(|node| node.unreadable[from..to].contains(&true));
                assert!(unreadable, "verify: {range:?} differs where nothing was wrong");
            }
            Output::Resized { volume, sectors } => self.note_growth(index, volume, sectors),
            Output::Event { event, .. } => self.check_growth(index, &event),
            Output::SmallState { .. } => {}
        }
    }

    /// Whoever begins to serve has heard of every write whose frames may still come.
    fn serve(&mut self, index: usize, serving: bool) {
        self.nodes[index].serving = serving;
        while self.answered.front().is_some_and(|(at, _)| at + LATE < self.now) {
            self.answered.pop_front();
        }
        // Known to fail, rarely, where a leaver comes back to a node that froze: see docs/mutations.md.
        if serving && !self.is_passing() && !self.faults.leaves {
            let known = &self.nodes[index].known;
            let unknown = self.answered.iter().find(|(_, digest)| !known.contains(digest));
            assert!(unknown.is_none(), "memory: node {index} serves and has not heard of {unknown:x?}");
        }
    }

    /// A write is answered: whoever serves has heard of it.
    fn answer(&mut self, index: usize, digest: u128) {
        self.nodes[index].known.insert(digest);
        self.answered.push_back((self.now, digest));
        let other = 1 - index;
        if self.is_running(other) && self.nodes[other].serving && self.nodes[index].serving {
            let is_known = self.nodes[other].known.contains(&digest) || self.is_passing();
            assert!(is_known, "memory: node {other} serves and has not heard of {digest:x}");
        }
    }

    /// Whether one of the nodes has no disk: then the other one takes every write, and knows them all.
    fn is_passing(&self) -> bool {
        (0..2).any(|index| self.status(index).is_some_and(|status| status.phase == Phase::Passing))
    }

    /// Never two nodes that serve alone.
    fn check_alone(&self) {
        let alone = |index: usize| self.status(index).is_some_and(|status| status.phase == Phase::Alone);
        assert!(!(alone(0) && alone(1)), "exclusion: both nodes serve alone");
    }

    pub(crate) fn status(&self, index: usize) -> Option<VolumeStatus> {
        self.nodes[index].engine.as_ref().and_then(|engine| engine.status(VOLUME))
    }

    fn content(&self, index: usize, data: BufferSlice) -> Vec<u64> {
        let first = data.offset as usize / 512;
        let values = &self.nodes[index].buffers[&data.buffer.0];
        values[first..first + data.length as usize / 512].to_vec()
    }

    fn buffer(&mut self, index: usize, values: Vec<u64>) -> BufferSlice {
        self.next_buffer += 1;
        let length = u32::try_from(values.len() * 512).expect("small");
        self.nodes[index].buffers.insert(self.next_buffer, values);
        BufferSlice { buffer: BufferName(self.next_buffer), offset: 0, length }
    }

    fn disconnect(&mut self) {
        if std::mem::take(&mut self.link.connected) {
            self.link.queues.iter_mut().for_each(VecDeque::clear);
            for index in 0..2 {
                if !self.nodes[index].paused {
                    self.input(index, Input::Disconnected);
                }
            }
        }
    }

    /// One thing happens.
    pub(crate) fn step(&mut self) {
        self.tick += 1;
        self.now += self.chance.below(100_000);
        let idle = self.link.queues.iter().all(VecDeque::is_empty)
            && self.nodes.iter().all(|node| node.at_disk.is_empty() && node.at_metadata.is_empty());
        if idle && self.chance.one_in(3) || self.chance.one_in(300) {
            self.now += self.chance.below(400_000_000);
        }
        for index in 0..2 {
            let due = self.nodes[index].engine.as_ref().and_then(Engine::poll_timeout);
            if !self.nodes[index].paused && due.is_some_and(|due| due <= self.clock(index)) {
                self.input(index, Input::Timeout);
            }
        }
        if !self.calm && self.chance.one_in(60) {
            self.fault();
        }
        let index = usize::try_from(self.chance.below(2)).expect("small");
        match self.chance.below(10) {
            0..=2 => self.deliver(index),
            3..=4 => self.disk(index),
            5 => self.metadata(index),
            6 => self.arbiter(),
            7 => self.connect(),
            _ => self.client(),
        }
    }

    fn is_running(&self, index: usize) -> bool {
        self.nodes[index].engine.is_some() && !self.nodes[index].paused
    }

    fn connect(&mut self) {
        let both_run = self.is_running(0) && self.is_running(1);
        if !self.link.connected && self.link.is_up && both_run && self.chance.one_in(4) {
            self.link.connected = true;
            self.input(0, Input::Connected);
            self.input(1, Input::Connected);
        }
    }

    fn deliver(&mut self, index: usize) {
        if !self.is_running(index) {
            return;
        }
        if let Some((of, digest)) = self.nodes[index].digests.pop_front() {
            return self.input(index, Input::Digest { of, digest });
        }
        if let Some((message, data)) = self.link.queues[index].pop_front() {
            let data = data.map(|values| self.buffer(index, values));
            self.input(index, Input::Message { message, data });
        }
    }

    fn disk(&mut self, index: usize) {
        if !self.is_running(index) || self.nodes[index].at_disk.is_empty() {
            return;
        }
        let count = self.nodes[index].at_disk.len() as u64;
        let chosen = usize::try_from(self.chance.below(count)).expect("small");
        let request = self.nodes[index].at_disk.swap_remove(chosen);
        let result = match request.operation {
            Operation::Read { range } => {
                let (from, to) = bounds(range);
                if self.faults.read_errors && !self.calm && self.chance.one_in(80) {
                    let sector =
                        from + usize::try_from(self.chance.below((to - from) as u64)).expect("small");
                    // Disks lose physical sectors of 4 KiB, each once. One copy is left at least: the other node's is
                    // readable and as good.
                    let end = self.nodes[index].unreadable.len();
                    let lost = sector / 8 * 8..end.min(sector / 8 * 8 + 8);
                    let other_has_it = !self.nodes[1 - index].unreadable[lost.clone()].contains(&true);
                    if self.are_whole() && other_has_it && self.lost.insert((index, sector / 8)) {
                        self.nodes[index].unreadable[lost].fill(true);
                    }
                }
                if self.nodes[index].unreadable[from..to].contains(&true) {
                    Err(block::BlockError::Medium)
                } else {
                    let values = self.nodes[index].sectors[from..to].to_vec();
                    Ok(Some(self.buffer(index, values)))
                }
            }
            Operation::Write { range, data, durable } => {
                let (from, to) = bounds(range);
                let values = self.content(index, data);
                if self.faults.write_errors && !self.calm && self.chance.one_in(400) {
                    Err(block::BlockError::Medium)
                } else {
                    self.nodes[index].sectors[from..to].copy_from_slice(&values);
                    if durable {
                        self.nodes[index].stable[from..to].copy_from_slice(&values);
                    }
                    self.nodes[index].unreadable[from..to].fill(false);
                    Ok(None)
                }
            }
            Operation::Flush => {
                let node = &mut self.nodes[index];
                node.stable.clone_from(&node.sectors);
                Ok(None)
            }
        };
        self.input(index, Input::Disk(Completion { id: request.id, result }));
    }

    /// Whether both nodes' copies are good everywhere, as far as they know.
    fn are_whole(&self) -> bool {
        [self.status(0), self.status(1)].iter().flatten().filter(|status| is_good(status)).count() == 2
    }

    fn metadata(&mut self, index: usize) {
        if !self.is_running(index) || self.nodes[index].at_metadata.is_empty() {
            return;
        }
        let count = self.nodes[index].at_metadata.len() as u64;
        let chosen = usize::try_from(self.chance.below(count)).expect("small");
        let (id, place, bytes) = self.nodes[index].at_metadata.swap_remove(chosen);
        let at = usize::try_from(place.0).expect("small");
        self.nodes[index].metadata[at..at + bytes.len()].copy_from_slice(&bytes);
        self.input(index, Input::Metadata { id, result: Ok(()) });
    }

    fn arbiter(&mut self) {
        if !self.answers.is_empty() && self.chance.one_in(2) {
            let (index, question, answer) = self.answers.remove(0);
            let lost = self.faults.arbiter && !self.calm && self.chance.one_in(4);
            let answer = if lost { ArbiterAnswer::Unreachable } else { answer };
            if self.is_running(index) {
                self.input(index, Input::Arbiter { volume: VOLUME, question, answer });
            }
            return;
        }
        if self.questions.is_empty() {
            return;
        }
        let chosen = usize::try_from(self.chance.below(self.questions.len() as u64)).expect("small");
        let (index, question, expected, next) = self.questions.swap_remove(chosen);
        let answer = if !self.arbiter_is_up {
            ArbiterAnswer::Unreachable
        } else if self.arbiter == expected {
            self.arbiter = next;
            ArbiterAnswer::Swapped
        } else {
            ArbiterAnswer::Holds(self.arbiter)
        };
        self.say(|| format!("arbiter: node {index} {expected} -> {next}: {answer:?}"));
        self.answers.push((index, question, answer));
    }

    fn client(&mut self) {
        let chosen = usize::try_from(self.chance.below(self.clients.len() as u64)).expect("small");
        if self.closed || self.clients[chosen].request.is_some() {
            return;
        }
        let index = usize::try_from(self.chance.below(2)).expect("small");
        if !self.is_running(index) || !self.nodes[index].serving {
            return;
        }
        let count = 1 + self.chance.below(12);
        let hot = self.sectors.min(24);
        let size = self.nodes[index].size;
        // The new part of a volume that has grown is of interest.
        let span = if self.chance.one_in(4) || size > self.sectors { size } else { hot };
        let start = self.chance.below(span - count + 1);
        let count = u16::try_from(count).expect("small");
        let range = LbaRange::new(Lba(start), SectorCount(count)).expect("small");
        let is_write = self.chance.one_in(2);
        let client = &mut self.clients[chosen];
        client.generation = client.generation.wrapping_add(1) & 0xffff;
        client.node = index;
        let id = RequestId(client.generation << 16 | u32::try_from(chosen).expect("small"));
        let mut values = Vec::new();
        if is_write {
            values = (0..u64::from(count)).map(|offset| self.next_value * 100 + offset).collect();
            self.next_value += 1;
        }
        self.clients[chosen].request = Some((id, is_write, range, values.clone(), self.tick));
        let operation = if is_write {
            let data = self.buffer(index, values);
            Operation::Write { range, data, durable: true }
        } else {
            Operation::Read { range }
        };
        let request = BlockRequest { id, export: VOLUME, operation };
        let digest = u128::from(self.next_value);
        let origin = is_write.then_some(Origin::Stock { initiator: [2, 0, 0, 0, 0, 9], digest });
        self.input(index, Input::Request { request, origin });
    }

    fn completed(&mut self, index: usize, id: RequestId, outcome: Outcome) {
        let client = &mut self.clients[id.slot()];
        let Some((pending, is_write, range, values, begin)) = client.request.take() else { return };
        assert!(pending == id && client.node == index, "a request ends once");
        let end = match outcome {
            Outcome::Done(_) => Some(self.tick),
            Outcome::Failed(_) | Outcome::Dropped | Outcome::Started => None,
        };
        let values = match outcome {
            Outcome::Done(Some(data)) => {
                let values = self.content(index, data);
                self.nodes[index].buffers.remove(&data.buffer.0);
                values
            }
            Outcome::Done(None) | Outcome::Failed(_) | Outcome::Dropped | Outcome::Started => values,
        };
        self.finished += u64::from(end.is_some());
        if matches!(outcome, Outcome::Failed(_)) {
            assert!(!self.are_whole(), "silence: node {index} tells an error though both copies are good");
        }
        if is_write && end.is_some() {
            self.answer(index, u128::from(values[0] / 100 + 1));
        }
        if is_write || end.is_some() {
            self.record(is_write, range, &values, begin, end);
        }
    }

    fn record(&mut self, is_write: bool, range: LbaRange, values: &[u64], begin: u64, end: Option<u64>) {
        for (sector, value) in (range.start().0..).zip(values) {
            let operation = oracle::Operation { sector, value: *value, is_write, begin, end };
            self.history.push(operation);
        }
    }

    fn give_up_clients(&mut self, index: usize) {
        for at in 0..self.clients.len() {
            if self.clients[at].node != index {
                continue;
            }
            if let Some((_, true, range, values, begin)) = self.clients[at].request.take() {
                self.record(true, range, &values, begin, None);
            }
        }
    }

    fn fault(&mut self) {
        let index = usize::try_from(self.chance.below(2)).expect("small");
        match self.chance.below(if self.faults.resizes { 10 } else { 9 }) {
            9 if self.is_running(index) => self.grow(index),
            7 if self.faults.verifies && self.is_running(index) => {
                self.input(index, Input::Control { volume: VOLUME, control: Control::Verify { fix: true } });
            }
            8 if self.faults.settings && self.is_running(index) && self.nodes[index].serving => {
                self.set(index);
            }
            0 if self.faults.cuts => {
                self.link.is_up = !self.link.is_up;
                if !self.link.is_up {
                    self.say(|| "the link is cut".into());
                    self.disconnect();
                }
            }
            1 if self.faults.cuts => self.disconnect(),
            2 if self.faults.crashes => {
                if self.nodes[index].engine.is_some() {
                    self.crash(index);
                } else {
                    self.start(index);
                }
            }
            3 if self.faults.crashes && self.chance.one_in(4) => {
                (0..2).for_each(|index| self.crash(index));
            }
            3 if self.faults.single_losses => {
                if self.nodes[index].engine.is_none() {
                    self.start(index);
                } else if self.is_a_whole_pair() {
                    self.crash(index);
                }
            }
            4 if self.faults.pauses => self.pause(index),
            5 if self.faults.arbiter => self.arbiter_is_up = !self.arbiter_is_up,
            6 if self.faults.leaves && self.is_running(index) => {
                let leaving = !self.nodes[index].leaving && !self.nodes[1 - index].leaving;
                self.nodes[index].leaving = leaving;
                let control = if leaving { Control::Leave } else { Control::Join };
                self.input(index, Input::Control { volume: VOLUME, control });
            }
            _ => {}
        }
    }

    /// An AoE client sets the config string; sometimes another one does the same at the other node.
    fn set(&mut self, index: usize) {
        let both = self.is_running(1 - index) && self.nodes[1 - index].serving && self.chance.one_in(2);
        for at in [index, 1 - index].into_iter().take(1 + usize::from(both)) {
            let mut state = SmallState::new(VolumeIdentity(1));
            self.next_value += 1;
            state.config_string = self.next_value.to_string().into_bytes();
            self.input(at, Input::SmallState { volume: VOLUME, state: Box::new(state) });
        }
    }

    fn pause(&mut self, index: usize) {
        self.nodes[index].paused = !self.nodes[index].paused;
        let paused = self.nodes[index].paused;
        self.say(|| format!("node {index} paused: {paused}"));
        if !paused && !self.link.connected && self.nodes[index].engine.is_some() {
            self.input(index, Input::Disconnected);
        }
    }

    /// Power is lost: of what was on its way to a disk some sectors arrive.
    fn crash(&mut self, index: usize) {
        if self.nodes[index].engine.take().is_none() {
            return;
        }
        self.say(|| format!("node {index} loses power"));
        for request in std::mem::take(&mut self.nodes[index].at_disk) {
            if let Operation::Write { range, data, .. } = request.operation {
                let values = self.content(index, data);
                for (sector, value) in (bounds(range).0..).zip(values) {
                    if self.chance.one_in(2) {
                        self.nodes[index].sectors[sector] = value;
                        self.nodes[index].stable[sector] = value;
                    }
                }
            }
        }
        for (_, place, bytes) in std::mem::take(&mut self.nodes[index].at_metadata) {
            let at = usize::try_from(place.0).expect("small");
            for (part, sector) in bytes.chunks(512).zip(0..) {
                if self.chance.one_in(2) {
                    self.nodes[index].metadata[at + sector * 512..][..part.len()].copy_from_slice(part);
                }
            }
        }
        for sector in 0..self.nodes[index].sectors.len() {
            let node = &mut self.nodes[index];
            if node.sectors[sector] != node.stable[sector] {
                if self.chance.one_in(2) {
                    node.sectors[sector] = node.stable[sector];
                } else {
                    node.stable[sector] = node.sectors[sector];
                }
            }
        }
        let node = &mut self.nodes[index];
        node.buffers.clear();
        node.digests.clear();
        node.known.clear();
        node.followed.clear();
        node.serving = false;
        node.paused = false;
        self.give_up_clients(index);
        self.questions.retain(|(asker, ..)| *asker != index || self.chance.one_in(2));
        self.answers.retain(|(asker, ..)| *asker != index);
        self.disconnect();
    }

    /// Everything is repaired; runs until both nodes are members again and equal.
    pub(crate) fn heal(&mut self) -> Result<(), String> {
        self.calm = true;
        self.link.is_up = true;
        self.arbiter_is_up = true;
        for index in 0..2 {
            if self.nodes[index].paused {
                self.pause(index);
            }
            if self.nodes[index].engine.is_none()
                || self.status(index).is_some_and(|status| status.copy == CopyState::Diskless)
            {
                // A disk that failed comes back with what it holds.
                self.crash(index);
                self.start(index);
            }
            self.nodes[index].leaving = false;
            self.input(index, Input::Control { volume: VOLUME, control: Control::Join });
        }
        for step in 0..60_000 {
            // Never would a crowd pause all at once by chance.
            self.closed = step > 5000;
            if step % 4000 == 0 {
                self.make_room();
            }
            if step == 20_000 {
                // Where the only good copy cannot be read, nothing but the disk itself can help.
                self.nodes.iter_mut().for_each(|node| node.unreadable.fill(false));
            }
            self.step();
            if self.is_whole() {
                self.check_equal()?;
                self.read_all();
                return self.check_settings();
            }
        }
        Err(format!(
            "liveness: not whole again: {:?} {:?}, arbiter {}",
            self.status(0),
            self.status(1),
            self.arbiter
        ))
    }

    fn is_a_whole_pair(&self) -> bool {
        [self.status(0), self.status(1)]
            .iter()
            .flatten()
            .filter(|status| {
                status.phase == Phase::Paired
                    && status.lacking == 0
                    && status.out_of_sync == 0
                    && status.copy == CopyState::Good
                    && status.membership == self.arbiter
            })
            .count()
            == 2
            && self.questions.is_empty()
            && self.answers.is_empty()
    }

    fn is_whole(&self) -> bool {
        let whole = |index: usize| {
            self.status(index).is_some_and(|status| {
                is_good(&status) && status.serving && status.membership == self.arbiter_view()
            }) && self.nodes[index].at_disk.is_empty()
                && self.nodes[index].at_metadata.is_empty()
        };
        whole(0)
            && whole(1)
            && self.clients.iter().all(|client| client.request.is_none())
            && self.link.queues.iter().all(VecDeque::is_empty)
    }

    /// What both must agree on: the members of the higher of their epochs.
    fn arbiter_view(&self) -> Membership {
        let both = [self.status(0), self.status(1)].map(|status| status.expect("running").membership);
        let newest = if both[0].epoch >= both[1].epoch { both[0] } else { both[1] };
        Membership { members: replication::membership::Members::Both, ..newest }
    }

    fn check_equal(&self) -> Result<(), String> {
        let [zero, one] = &self.nodes;
        let sectors = self.status(0).map_or(0, |status| usize::try_from(status.sectors).expect("small"));
        let differs = (0..sectors).find(|sector| {
            zero.sectors[*sector] != one.sectors[*sector]
                && !zero.unreadable[*sector]
                && !one.unreadable[*sector]
        });
        match differs {
            Some(sector) => Err(format!(
                "equality: the copies differ in sector {sector}: {} and {}",
                zero.sectors[sector], one.sectors[sector]
            )),
            None => Ok(()),
        }
    }

    /// The last client reads everything that was ever touched.
    fn read_all(&mut self) {
        self.tick += 1;
        let touched: BTreeSet<u64> = self.history.iter().map(|operation| operation.sector).collect();
        for sector in touched {
            let at = usize::try_from(sector).expect("small");
            let readable = (0..2).find(|index| !self.nodes[*index].unreadable[at]);
            let value = self.nodes[readable.expect("one copy is left")].sectors[at];
            let (begin, end) = (self.tick, Some(self.tick + 1));
            self.history.push(oracle::Operation { sector, value, is_write: false, begin, end });
        }
    }

    /// What AoE clients have set is the same on both disks.
    fn check_settings(&self) -> Result<(), String> {
        let [zero, one] = [0, 1].map(|index| {
            let opened = open_metadata(&self.nodes[index].metadata);
            opened.small_state.map(|state| state.config_string)
        });
        if zero == one { Ok(()) } else { Err(format!("settings: {zero:?} and {one:?}")) }
    }

    /// Whether anything of a kind was said on the link and not yet heard.
    #[expect(dead_code, reason = "for scripted stories")]
    pub(crate) fn is_under_way(&self, to: usize, kind: impl Fn(&VolumeMessage) -> bool) -> bool {
        self.link.queues[to]
            .iter()
            .any(|(message, _)| matches!(message, Message::Volume(_, message) if kind(message)))
    }
}

fn is_good(status: &VolumeStatus) -> bool {
    status.phase == Phase::Paired
        && status.lacking == 0
        && status.out_of_sync == 0
        && status.copy == CopyState::Good
}

fn open_metadata(metadata: &[u8]) -> Opened {
    open(|place, bytes| {
        let at = usize::try_from(place.0).expect("small");
        bytes.copy_from_slice(&metadata[at..at + bytes.len()]);
        Ok(())
    })
    .expect("metadata that the engine has written")
}

fn digest_of(origin: Origin) -> u128 {
    match origin {
        Origin::Stock { digest, .. } => digest,
        Origin::Sequenced { .. } => unreachable!("clients here are stock ones"),
    }
}

fn bounds(range: LbaRange) -> (usize, usize) {
    let at = |lba: Lba| usize::try_from(lba.0).expect("small");
    (at(range.start()), at(range.end()))
}
