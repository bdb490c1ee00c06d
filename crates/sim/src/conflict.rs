//! Two engines that get as many conflicting requests as possible from both sides, with nothing going wrong.
//!
//! No node, no frame, no fault: what is tried is the order in which two engines, two disks and a link can do things, fast
//! enough for millions of writes. The link keeps the order of messages; a disk does its requests in any order and a sector at a
//! time. After each round of requests everything comes to rest, the two copies are compared, and what was read is judged
//! together with them.

use std::collections::{BTreeMap, VecDeque};

use block::{
    BlockRequest, BufferName, BufferSlice, Completion, Duration, ExportId, Instant, Lba, LbaRange, Operation,
    RequestId, SECTOR_BYTES,
};
use replication::engine::{Engine, EngineConfig};
use replication::identity::{FormatIdentity, PairIdentity, VolumeIdentity};
use replication::input::{ArbiterAnswer, Input, MetadataId};
use replication::limits::{LEASE, Limits};
use replication::membership::{Membership, NodeNumber};
use replication::message::{Message, Origin, Refusal};
use replication::meta::layout::{Layout, Place};
use replication::meta::{Format, format, open};
use replication::output::{Outcome, Output};
use replication::start::VolumeConfig;
use replication::version::VersionRange;
use replication::volume::Counters;
use thiserror::Error;

use crate::content::Value;
use crate::history::{Action, History, OperationId};
use crate::oracle::{self, Violation};
use crate::workload::plan::{Ask, Plan, PlanOptions};

const VOLUME: ExportId = ExportId(0);
/// Few, so that nearly every request meets another.
const SECTORS: u64 = 48;
/// Requests open at a time at each node.
const DEPTH: usize = 24;
const ROUND_REQUESTS: u32 = 2_000;
const FIRST_DISK_SLOT: u16 = 100;
/// Steps without a request coming to its end after which something is stuck.
const STUCK_STEPS: u32 = 100_000;

/// What came of it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Report {
    /// Requests of both nodes.
    pub writes: u64,
    /// And reads.
    pub reads: u64,
    /// Times that all came to rest, and everything was compared.
    pub rounds: u64,
    /// Of both nodes: writes that waited for their turn, were superseded, were held; reads that waited.
    pub waited: u64,
    /// See there.
    pub superseded: u64,
    /// See there.
    pub held: u64,
    /// See there.
    pub reads_waited: u64,
}

/// What must not happen.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum Failure {
    /// The nodes parted.
    #[error("node {node} ended the session: {reason}")]
    Reconnect {
        /// Who.
        node: usize,
        /// Why.
        reason: Refusal,
    },
    /// A request was not done.
    #[error("a request at node {node} ended as {outcome:?}")]
    NotDone {
        /// Where.
        node: usize,
        /// How.
        outcome: Outcome,
    },
    /// A read that no correct disk could have answered, or a copy that holds what it should not.
    #[error("{0}")]
    Illegal(#[from] Violation),
    /// The copies differ.
    #[error("sector {sector} holds {zero} on node 0 and {one} on node 1")]
    Unequal {
        /// Where.
        sector: u64,
        /// What node 0 holds.
        zero: Value,
        /// What node 1 holds.
        one: Value,
    },
    /// Nothing comes to an end any more.
    #[error("{open} requests are open and none ends")]
    Stuck {
        /// How many.
        open: usize,
    },
}

/// Has `writes` conflicting writes done, and about half as many reads.
///
/// # Errors
/// What went wrong, at the end of its round.
pub fn run(seed: u64, writes: u64) -> Result<Report, Failure> {
    let mut pair = Pair::new(seed);
    pair.connect()?;
    while pair.report.writes < writes {
        pair.round()?;
    }
    for counters in pair.counters() {
        pair.report.waited += counters.waited;
        pair.report.superseded += counters.superseded;
        pair.report.held += counters.held;
        pair.report.reads_waited += counters.reads_waited;
    }
    Ok(pair.report)
}

struct Open {
    id: RequestId,
    operation: OperationId,
    ask: Ask,
}

struct Node {
    engine: Engine,
    plan: Plan,
    serving: bool,
    sectors: Vec<Value>,
    metadata: Vec<u8>,
    at_disk: Vec<BlockRequest>,
    at_metadata: VecDeque<(MetadataId, Place, Vec<u8>)>,
    buffers: BTreeMap<BufferName, Vec<Value>>,
    /// What the peer has sent and did not arrive yet.
    arriving: VecDeque<(Message, Option<Vec<Value>>)>,
    open: Vec<Option<Open>>,
    asked: u32,
}

struct Pair {
    random: fastrand::Rng,
    now: Instant,
    nodes: [Node; 2],
    named: u64,
    history: History,
    arbiter: Membership,
    /// Requests of this round that were not asked yet.
    left: u32,
    ended: u64,
    report: Report,
}

fn node(index: usize, now: Instant, seed: u64) -> Node {
    let number = [NodeNumber::Zero, NodeNumber::One][index];
    let fresh = format(Format {
        format: FormatIdentity(7 + index as u128),
        volume: VolumeIdentity(1),
        pair: PairIdentity(2),
        node: number,
        layout: Layout::new(SECTORS, 64).expect("a small volume"),
        membership: Membership::FIRST,
        good: true,
    });
    let mut metadata = vec![0; usize::try_from(fresh.byte_count()).expect("small")];
    for (Place(place), record) in fresh.superblock_records() {
        let at = usize::try_from(place).expect("small");
        metadata[at..at + record.len()].copy_from_slice(&record);
    }
    let opened = open(|Place(place), bytes| {
        let at = usize::try_from(place).expect("small");
        bytes.copy_from_slice(&metadata[at..at + bytes.len()]);
        Ok(())
    });
    let config = EngineConfig {
        node: number,
        pair: PairIdentity(2),
        incarnation: 1 + index as u64,
        lease: LEASE,
        limits: Limits { requests: DEPTH, followed: 128, copies: 8, volumes: 1, ..Limits::DEFAULT },
        first_disk_slot: FIRST_DISK_SLOT,
        versions: VersionRange::ALL,
    };
    let mut engine = Engine::new(now, config);
    engine.add_volume(now, VOLUME, opened.expect("metadata just made"), VolumeConfig::default());
    let plan = PlanOptions {
        sectors: SECTORS,
        spots: vec![4, 20],
        hot: 220,
        writes: 170,
        repeats: 30,
        flushes: 0,
        pauses: 0,
        think: Duration::ZERO,
        pause: Duration::ZERO,
    };
    Node {
        engine,
        plan: Plan::new(plan, u16::try_from(index).expect("0 or 1"), seed ^ index as u64),
        serving: false,
        sectors: vec![Value::INITIAL; usize::try_from(SECTORS).expect("few")],
        metadata,
        at_disk: Vec::new(),
        at_metadata: VecDeque::new(),
        buffers: BTreeMap::new(),
        arriving: VecDeque::new(),
        open: (0..DEPTH).map(|_| None).collect(),
        asked: 0,
    }
}

impl Node {
    fn content(&self, data: BufferSlice) -> Vec<Value> {
        let first = data.offset as usize / SECTOR_BYTES;
        self.buffers[&data.buffer][first..][..data.length as usize / SECTOR_BYTES].to_vec()
    }

    fn is_quiet(&self) -> bool {
        self.at_disk.is_empty()
            && self.at_metadata.is_empty()
            && self.arriving.is_empty()
            && self.open.iter().all(Option::is_none)
    }
}

impl Pair {
    fn new(seed: u64) -> Self {
        let now = Instant::from_nanos(10_000_000_000);
        Self {
            random: fastrand::Rng::with_seed(seed),
            now,
            nodes: [node(0, now, seed), node(1, now, seed)],
            named: 0,
            history: History::new(Duration::ZERO),
            arbiter: Membership::FIRST,
            left: 0,
            ended: 0,
            report: Report::default(),
        }
    }

    fn connect(&mut self) -> Result<(), Failure> {
        for node in [0, 1] {
            self.input(node, Input::Connected)?;
        }
        for _ in 0..STUCK_STEPS {
            if self.nodes.iter().all(|node| node.serving) {
                return Ok(());
            }
            // Two nodes that may have forgotten what they did serve nothing for a while.
            self.now = self.now.after(Duration::from_millis(1));
            self.step()?;
        }
        Err(Failure::Stuck { open: 0 })
    }

    fn counters(&self) -> [Counters; 2] {
        [0, 1].map(|node| self.nodes[node].engine.status(VOLUME).expect("a volume").counters)
    }

    /// Requests until there are enough, then none until all have ended.
    fn round(&mut self) -> Result<(), Failure> {
        self.left = ROUND_REQUESTS;
        let (mut ended, mut since) = (self.ended, 0);
        while self.left > 0 || !self.nodes.iter().all(Node::is_quiet) {
            self.step()?;
            since = if self.ended == ended { since + 1 } else { 0 };
            ended = self.ended;
            if since > STUCK_STEPS {
                let open = self.nodes.iter().flat_map(|node| &node.open).flatten().count();
                return Err(Failure::Stuck { open });
            }
        }
        self.report.rounds += 1;
        let pairs = self.nodes[0].sectors.iter().zip(&self.nodes[1].sectors);
        if let Some((sector, (&zero, &one))) = (0..).zip(pairs).find(|(_, (zero, one))| zero != one) {
            return Err(Failure::Unequal { sector, zero, one });
        }
        let found: Vec<(Lba, Value)> = (0..).map(Lba).zip(self.nodes[0].sectors.iter().copied()).collect();
        oracle::check_with(&self.history, &found, crate::history::Moment::END)?;
        self.history.settle(self.nodes[0].sectors.clone());
        Ok(())
    }

    /// One thing happens.
    fn step(&mut self) -> Result<(), Failure> {
        self.now = self.now.after(Duration::from_nanos(self.random.u64(..20_000)));
        for node in [0, 1] {
            if self.nodes[node].engine.poll_timeout().is_some_and(|due| due <= self.now) {
                self.input(node, Input::Timeout)?;
            }
        }
        let node = self.random.usize(..2);
        match self.random.u8(..8) {
            0..=2 => self.deliver(node),
            3 | 4 => self.disk(node),
            5 => self.metadata(node),
            _ => self.ask(node),
        }
    }

    fn input(&mut self, node: usize, input: Input) -> Result<(), Failure> {
        self.nodes[node].engine.handle_input(self.now, input);
        while let Some(output) = self.nodes[node].engine.poll_output() {
            self.output(node, output)?;
        }
        Ok(())
    }

    fn output(&mut self, index: usize, output: Output) -> Result<(), Failure> {
        let node = &mut self.nodes[index];
        match output {
            Output::Disk(request) => node.at_disk.push(request),
            Output::Completed { id, outcome } => return self.completed(index, id, outcome),
            Output::Release(buffer) => {
                node.buffers.remove(&buffer).expect("a buffer is released once");
            }
            Output::Send { message, data } => {
                let data = data.map(|data| node.content(data));
                self.nodes[1 - index].arriving.push_back((message, data));
            }
            Output::Disconnect { reason } => return Err(Failure::Reconnect { node: index, reason }),
            Output::Metadata { id, place, .. } => {
                let bytes = node.engine.record(id).to_vec();
                node.at_metadata.push_back((id, place, bytes));
            }
            Output::Ask { volume, question, expected, next, .. } => {
                let swapped = self.arbiter == expected;
                self.arbiter = if swapped { next } else { self.arbiter };
                let answer =
                    if swapped { ArbiterAnswer::Swapped } else { ArbiterAnswer::Holds(self.arbiter) };
                return self.input(index, Input::Arbiter { volume, question, answer });
            }
            Output::Serving { serving, .. } => node.serving = serving,
            Output::Resized { .. } => unreachable!("nobody makes the volume larger"),
            Output::Digest { .. } => unreachable!("digests are for resync and verify"),
            Output::Handed { .. } => unreachable!("frames are the node's business"),
            Output::Followed { .. }
            | Output::FollowedEnded { .. }
            | Output::Resolved { .. }
            | Output::TellNumbers { .. }
            | Output::Numbers { .. }
            | Output::SmallState { .. }
            | Output::Spent { .. }
            | Output::PeerLinksDown(_)
            | Output::Event { .. } => {}
        }
        Ok(())
    }

    fn buffer(&mut self, node: usize, values: Vec<Value>) -> BufferSlice {
        self.named += 1;
        let length = u32::try_from(values.len() * SECTOR_BYTES).expect("short");
        self.nodes[node].buffers.insert(BufferName(self.named), values);
        BufferSlice { buffer: BufferName(self.named), offset: 0, length }
    }

    fn deliver(&mut self, node: usize) -> Result<(), Failure> {
        let Some((message, data)) = self.nodes[node].arriving.pop_front() else { return Ok(()) };
        let data = data.map(|values| self.buffer(node, values));
        self.input(node, Input::Message { message, data })
    }

    /// The disk ends one of its requests, or writes one sector of it.
    fn disk(&mut self, index: usize) -> Result<(), Failure> {
        let node = &mut self.nodes[index];
        if node.at_disk.is_empty() {
            return Ok(());
        }
        let chosen = self.random.usize(..node.at_disk.len());
        let request = node.at_disk[chosen];
        let data = match request.operation {
            Operation::Read { range } => {
                let values = node.sectors[bounds(range)].to_vec();
                Some(self.buffer(index, values))
            }
            Operation::Write { range, data, .. } => {
                let values = node.content(data);
                if self.random.u8(..4) == 0 {
                    let sector = self.random.usize(..values.len());
                    node.sectors[bounds(range)][sector] = values[sector];
                    return Ok(());
                }
                node.sectors[bounds(range)].copy_from_slice(&values);
                None
            }
            Operation::Flush => None,
        };
        self.nodes[index].at_disk.swap_remove(chosen);
        self.input(index, Input::Disk(Completion { id: request.id, result: Ok(data) }))
    }

    fn metadata(&mut self, index: usize) -> Result<(), Failure> {
        let node = &mut self.nodes[index];
        let Some((id, Place(place), bytes)) = node.at_metadata.pop_front() else { return Ok(()) };
        let at = usize::try_from(place).expect("small");
        node.metadata[at..at + bytes.len()].copy_from_slice(&bytes);
        self.input(index, Input::Metadata { id, result: Ok(()) })
    }

    fn ask(&mut self, index: usize) -> Result<(), Failure> {
        let node = &mut self.nodes[index];
        let Some(slot) = node.open.iter().position(Option::is_none) else { return Ok(()) };
        if self.left == 0 {
            return Ok(());
        }
        self.left -= 1;
        node.asked += 1;
        let id = RequestId((node.asked & 0xffff) << 16 | u32::try_from(slot).expect("few slots"));
        let ask = node.plan.ask();
        let initiator = u16::try_from(index).expect("0 or 1");
        let action = ask.value.map_or(Action::Read, |value| Action::Write { value, sequenced: true });
        let operation = self.history.call(self.now, initiator, action, ask.range);
        node.open[slot] = Some(Open { id, operation, ask });
        let sequence = u64::from(node.asked);
        let (operation, origin) = if let Some(value) = ask.value {
            let data = self.buffer(index, vec![value; usize::from(ask.range.count().0)]);
            let origin = Origin::Sequenced { initiator: u64::from(initiator), sequence };
            (Operation::Write { range: ask.range, data, durable: true }, Some(origin))
        } else {
            (Operation::Read { range: ask.range }, None)
        };
        let request = BlockRequest { id, export: VOLUME, operation };
        self.input(index, Input::Request { request, origin })
    }

    fn completed(&mut self, index: usize, id: RequestId, outcome: Outcome) -> Result<(), Failure> {
        let Outcome::Done(data) = outcome else { return Err(Failure::NotDone { node: index, outcome }) };
        let node = &mut self.nodes[index];
        let open = node.open[id.slot()].take().expect("a request ends once");
        assert!(open.id == id, "a request ends under its own name");
        self.ended += 1;
        let Ask { range, value } = open.ask;
        if let Some(value) = value {
            self.report.writes += 1;
            node.plan.wrote(range, value);
            self.history.written(self.now, open.operation, range);
        } else {
            self.report.reads += 1;
            let data = data.expect("a read has bytes");
            let values = node.content(data);
            node.buffers.remove(&data.buffer);
            self.history.read(self.now, open.operation, range, values);
        }
        Ok(())
    }
}

fn bounds(range: LbaRange) -> std::ops::Range<usize> {
    let index = |lba: Lba| usize::try_from(lba.0).expect("a small volume");
    index(range.start())..index(range.end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conflicting_writes_from_both_sides_are_done_without_parting_and_leave_equal_copies() {
        for seed in 0..4 {
            let report = run(seed, 2_000).unwrap_or_else(|failure| panic!("seed {seed}: {failure}"));
            assert!(
                report.waited > 100 && report.superseded > 10,
                "seed {seed}: hardly any conflict: {report:?}"
            );
        }
    }

    #[test]
    fn the_same_seed_goes_the_same_way() {
        assert_eq!(run(3, 1_000), run(3, 1_000));
    }

    #[test]
    fn a_copy_that_was_changed_behind_the_engines_back_is_found() {
        let mut pair = Pair::new(1);
        pair.connect().expect("nothing goes wrong");
        pair.round().expect("nothing goes wrong");
        pair.nodes[1].sectors.fill(Value::INITIAL);
        assert!(pair.round().is_err(), "an empty disk");
    }
}
