//! Two engines, two disks, a link, an arbiter and a few clients, on one clock and driven by one seed.
//!
//! The small world that the engine grows up in: messages and requests are values, sectors are numbers, and there is no AoE.
//! What is left to chance is in which order things happen, and what goes wrong when. `disk`, `link` and `clients` are what
//! the engines talk to; `faults` is what goes wrong; `checks` is what must hold all the time, and when all is repaired.

mod checks;
mod clients;
mod daemon;
pub(crate) mod disk;
mod faults;
mod growth;
mod link;
mod removal;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use block::{BlockError, BufferName, BufferSlice, Completion, Duration, ExportId, Instant, Operation};
use replication::durability::Durability;
use replication::engine::{Engine, EngineConfig};
use replication::identity::{FormatIdentity, PairIdentity, VolumeIdentity};
use replication::input::{ArbiterAnswer, Input};
use replication::limits::Limits;
use replication::membership::{Membership, NodeNumber};
use replication::meta::layout::{Layout, Place};
use replication::meta::{Format, Opened, format, open};
use replication::mutation::Mutation;
use replication::output::{Digested, Event, FollowedEnd, Output};
use replication::resync::ResyncRate;
use replication::start::VolumeConfig;
use replication::version::{Version, VersionRange};
use replication::volume::VolumeStatus;

use crate::oracle;
use clients::Client;
use disk::{AtDisk, AtMetadata, Sectors};
use faults::Mine;
use link::{End, Link};

pub(crate) const VOLUME: ExportId = ExportId(3);
pub(crate) const EXTENT: u64 = 8192;
const LEASE: Duration = Duration::from_millis(1000);
/// Of every plan but those that say otherwise.
pub(crate) const LIMITS: Limits =
    Limits { requests: 256, followed: 512, copies: 8, volumes: 4, ..Limits::DEFAULT };
/// A question that was given up is not carried out later than this: the engine is told ten seconds, by clocks that differ.
const QUESTION_LIFE: u64 = 9_000_000_000;
/// Thousandths by which a clock may go wrong: two at the ends of this differ by just less than the margin of a lease.
const CLOCK_ERROR: u64 = 24;

/// What may happen besides the good things.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Faults {
    pub(crate) cuts: bool,
    /// A cut is noticed by one node earlier than by the other, and what was on its way may still arrive.
    pub(crate) one_sided: bool,
    pub(crate) crashes: bool,
    /// A node, or both, lose power right after a certain thing was said.
    pub(crate) mines: bool,
    pub(crate) pauses: bool,
    /// One disk, one direction of the link, or one kind of record, stands still for a while.
    pub(crate) stalls: bool,
    pub(crate) arbiter: bool,
    pub(crate) read_errors: bool,
    pub(crate) write_errors: bool,
    pub(crate) leaves: bool,
    /// One node at a time loses power, and not before the pair is whole again; writes are answered from memory.
    pub(crate) single_losses: bool,
    pub(crate) verifies: bool,
    pub(crate) settings: bool,
    pub(crate) resizes: bool,
    pub(crate) removals: bool,
    /// A resync is told to go at another rate.
    pub(crate) rates: bool,
}

/// What a world is made of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) steps: u32,
    pub(crate) sectors: u64,
    pub(crate) clients: usize,
    pub(crate) faults: Faults,
    pub(crate) durability: Durability,
    pub(crate) resync_rate: ResyncRate,
    pub(crate) limits: Limits,
    /// A mistake that both engines make.
    #[allow(dead_code, reason = "none is made without the feature")]
    pub(crate) mutation: Option<Mutation>,
}

/// What can stand still.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Stage {
    /// What the node is to hear.
    Link,
    /// Reads and flushes.
    Disk,
    Write,
    Superblock,
    Log,
    /// The first block of the bitmap: the first 31 extents.
    FirstBitmap,
    Bitmap,
    /// The node's questions on their way to the arbiter.
    Question,
    /// The arbiter's answers on their way to the node.
    Answer,
}

pub(crate) const STAGES: [Stage; 9] = [
    Stage::Link,
    Stage::Disk,
    Stage::Write,
    Stage::Superblock,
    Stage::Log,
    Stage::FirstBitmap,
    Stage::Bitmap,
    Stage::Question,
    Stage::Answer,
];

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

    /// A place in something of that length.
    pub(crate) fn pick(&mut self, length: usize) -> usize {
        usize::try_from(self.below(length as u64)).expect("small")
    }
}

pub(crate) struct Node {
    /// Sectors that requests may name, and for which the disk has room.
    size: u64,
    room: u64,
    engine: Option<Engine>,
    pub(crate) serving: bool,
    /// It answers at its peer's address, too.
    stands_in: bool,
    /// What comes here goes to the other node.
    pub(crate) hands_over: bool,
    /// Its first two processes are of a program that speaks only these versions.
    older: Option<VersionRange>,
    /// Runs of blocks that it tells its peer at once when they meet: few, as in a volume with very many.
    runs_at_once: usize,
    paused: bool,
    pub(crate) sectors: Sectors,
    pub(crate) metadata: Vec<u8>,
    pub(crate) at_disk: Vec<AtDisk>,
    pub(crate) at_metadata: Vec<AtMetadata>,
    buffers: BTreeMap<u64, Vec<u64>>,
    digests: VecDeque<(Digested, u128)>,
    incarnation: u64,
    leaving: bool,
    /// What the volume is called there: another name each time it is added.
    volume: ExportId,
    is_removed: bool,
    /// What its clock shows when the world's shows nothing, and by how many thousandths it is fast.
    clock: (u64, i64),
    /// The writes that this process has heard of, by the digest of their content.
    known: BTreeSet<u128>,
    /// Writes of the other node's of which it was told that they were executed, and nothing else since.
    pub(crate) executed: BTreeSet<u128>,
    /// What it was forced to, as long as the arbiter does not know.
    to_tell: Option<Membership>,
    /// Whether it has served since it began.
    has_served: bool,
    followed: BTreeMap<u64, u128>,
    /// Until when each stage stands still.
    stalled: [u64; STAGES.len()],
}

/// What the arbiter was asked, by whom and when.
#[derive(Clone, Copy, Debug)]
struct Question {
    asker: usize,
    number: u64,
    expected: Membership,
    next: Membership,
    asked_at: u64,
}

pub(crate) struct World {
    pub(crate) chance: Chance,
    now: u64,
    pub(crate) nodes: [Node; 2],
    link: Link,
    pub(crate) arbiter: Membership,
    pub(crate) arbiter_is_up: bool,
    questions: Vec<Question>,
    answers: Vec<(usize, u64, ArbiterAnswer)>,
    clients: Vec<Client>,
    next_buffer: u64,
    pub(crate) next_value: u64,
    pub(crate) tick: u64,
    pub(crate) history: Vec<oracle::Operation>,
    pub(crate) trace: bool,
    pub(crate) calm: bool,
    /// Clients have no more wishes.
    pub(crate) closed: bool,
    /// Time passes only as fast as things happen.
    pub(crate) is_busy: bool,
    /// Writes that clients were told to have failed.
    failed: BTreeSet<u128>,
    /// Clients have sent a write to both nodes.
    pub(crate) sends_twice: bool,
    /// Clients want what they write on stable storage, in memory mode, too.
    pub(crate) writes_through: bool,
    pub(crate) grants_are_lost: bool,
    /// An operator has forced a node beside one that serves: for a while both do.
    pub(crate) is_forced: bool,
    pub(crate) finished: u64,
    #[allow(dead_code, reason = "of use with the feature only")]
    plan: Plan,
    faults: Faults,
    sectors: u64,
    /// What disks get when they grow is not zeros.
    is_dirty: bool,
    /// Blocks that a node's disk has lost at some time.
    lost: BTreeSet<(usize, u64)>,
    /// Sectors of which a disk holds something wrong.
    wrong: BTreeSet<u64>,
    /// What each node has said of its verifies.
    pub(crate) verified: [Vec<Event>; 2],
    /// How often a node has said that the volume is larger.
    pub(crate) grown: u64,
    /// Writes that were answered a short while ago, and until when a frame that asks for the same may come.
    answered: VecDeque<(u64, u128)>,
    mine: Option<Mine>,
    is_poking: bool,
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
    Node {
        size: sectors,
        room: sectors,
        engine: None,
        serving: false,
        stands_in: false,
        hands_over: false,
        older: None,
        runs_at_once: LIMITS.runs_at_once,
        paused: false,
        sectors: Sectors::default(),
        metadata,
        at_disk: Vec::new(),
        at_metadata: Vec::new(),
        buffers: BTreeMap::new(),
        digests: VecDeque::new(),
        incarnation: 0,
        leaving: false,
        volume: VOLUME,
        is_removed: false,
        clock: (0, 0),
        known: BTreeSet::new(),
        executed: BTreeSet::new(),
        to_tell: None,
        has_served: false,
        followed: BTreeMap::new(),
        stalled: [0; STAGES.len()],
    }
}

impl World {
    pub(crate) fn new(seed: u64, plan: Plan) -> Self {
        let Plan { sectors, faults, .. } = plan;
        let mut world = Self {
            chance: Chance(seed),
            now: 10_000_000_000,
            nodes: [fresh(0, sectors), fresh(1, sectors)],
            link: Link { ends: [End::default(), End::default()], is_up: true },
            arbiter: Membership::FIRST,
            arbiter_is_up: true,
            questions: Vec::new(),
            answers: Vec::new(),
            clients: (0..plan.clients).map(|_| Client::default()).collect(),
            next_buffer: 0,
            next_value: 1,
            tick: 0,
            history: Vec::new(),
            trace: false,
            calm: false,
            closed: false,
            is_busy: false,
            failed: BTreeSet::new(),
            sends_twice: false,
            writes_through: false,
            grants_are_lost: false,
            is_forced: false,
            finished: 0,
            plan,
            faults,
            sectors,
            is_dirty: seed.is_multiple_of(2),
            lost: BTreeSet::new(),
            wrong: BTreeSet::new(),
            verified: [Vec::new(), Vec::new()],
            grown: 0,
            answered: VecDeque::new(),
            mine: None,
            is_poking: false,
        };
        for index in 0..2 {
            let rate = i64::try_from(world.chance.below(2 * CLOCK_ERROR + 1)).expect("small");
            world.nodes[index].clock = (world.chance.below(1_000_000_000_000), rate - CLOCK_ERROR as i64);
        }
        // Half of the pairs are being upgraded, from one version or another.
        for (node, half) in world.nodes.iter_mut().zip([1, 3]) {
            if seed / half % 2 == 1 {
                node.runs_at_once = 1 + (seed / 6 % 2) as usize;
            }
        }
        if let Some(older) = [None, None, Some(Version::V1), Some(Version::V2)][(seed / 2 % 4) as usize] {
            world.nodes[(seed / 8 % 2) as usize].older = Some(VersionRange::of(Version::OLDEST, older));
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
    pub(crate) fn clock(&self, index: usize) -> Instant {
        let (offset, rate) = self.nodes[index].clock;
        let thousandths = 1000u64.saturating_add_signed(rate);
        Instant::from_nanos(offset + self.now / 1000 * thousandths)
    }

    /// A node has power.
    pub(crate) fn start(&mut self, index: usize) {
        let now = self.clock(index);
        let node = &mut self.nodes[index];
        node.incarnation += 1;
        node.leaving = false;
        let versions = node.older.filter(|_| node.incarnation <= 2).unwrap_or(VersionRange::ALL);
        let opened = open_metadata(&node.metadata);
        let mut engine = Engine::new(
            now,
            EngineConfig {
                node: node_number(index),
                pair: PairIdentity(2),
                incarnation: node.incarnation,
                lease: LEASE,
                limits: Limits { runs_at_once: node.runs_at_once, ..self.plan.limits },
                first_disk_slot: 1000,
                versions,
            },
        );
        #[cfg(feature = "mutations")]
        if let Some(mutation) = self.plan.mutation {
            engine.mutate(mutation);
        }
        let config = self.volume_config(index);
        self.nodes[index].volume = VOLUME;
        self.nodes[index].is_removed = false;
        engine.add_volume(now, VOLUME, opened, config);
        self.nodes[index].size = engine.status(VOLUME).expect("just added").sectors;
        self.nodes[index].engine = Some(engine);
        self.say(|| format!("node {index} starts"));
        self.input(index, Input::Timeout);
    }

    fn volume_config(&mut self, index: usize) -> VolumeConfig {
        let Plan { durability, resync_rate, .. } = self.plan;
        let resync_checksums = self.chance.one_in(2);
        let capacity = self.capacity(index);
        VolumeConfig { durability, resync_rate, resync_checksums, capacity }
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
            let is_struck = self.strikes(index, &output);
            self.output(index, output);
            if is_struck {
                self.explode(index);
            }
        }
        self.check_exclusion();
    }

    fn output(&mut self, index: usize, output: Output) {
        if self.trace {
            let text = format!("node {index} -> {output:?}");
            self.say(|| text);
        }
        match output {
            Output::Disk(request) => {
                self.nodes[index].at_disk.push(AtDisk { request, found: None, landed: false });
            }
            Output::Completed { id, outcome } => self.completed(index, id, outcome),
            Output::Release(buffer) => {
                self.nodes[index].buffers.remove(&buffer.0).expect("a buffer is released once");
            }
            Output::Send { message, data } => self.send(index, message, data),
            Output::Disconnect { reason } => self.hang_up(index, reason),
            Output::Metadata { id, place, .. } => {
                let bytes =
                    self.nodes[index].engine.as_ref().expect("it has just said so").record(id).to_vec();
                self.nodes[index].at_metadata.push(AtMetadata { id, place, bytes });
            }
            Output::Digest { of, data } => {
                let digest = self.content(index, data).iter().fold(7u128, |digest, value| {
                    digest.wrapping_mul(0x1_0000_01b3).wrapping_add(u128::from(*value))
                });
                self.nodes[index].digests.push_back((of, digest));
            }
            Output::Ask { question, expected, next, .. } => {
                let asked_at = self.now;
                self.questions.push(Question { asker: index, number: question, expected, next, asked_at });
            }
            Output::Serving { serving, stands_in, hands_over, .. } => {
                self.nodes[index].hands_over = hands_over;
                self.serve(index, serving, stands_in);
            }
            Output::Followed { write, origin, .. } => {
                let digest = clients::digest_of(origin);
                self.nodes[index].known.insert(digest);
                self.nodes[index].followed.insert(write.0, digest);
            }
            Output::FollowedEnded { write, end } => {
                let digest = self.nodes[index].followed.remove(&write.0).expect("it ends once");
                if end == FollowedEnd::Dropped {
                    self.nodes[index].known.remove(&digest);
                }
                let counts = matches!(end, FollowedEnd::Finished | FollowedEnd::Started);
                if counts {
                    self.nodes[index].executed.insert(digest);
                }
                assert!(
                    !counts || !self.failed.contains(&digest),
                    "memory: node {index} takes {digest:x} for executed, which has failed"
                );
            }
            Output::Resolved { range, origin, resolution, .. } => {
                self.check_resolution(index, range, clients::digest_of(origin), resolution);
            }
            Output::Resized { volume, sectors } => self.note_growth(index, volume, sectors),
            Output::Event { event: Event::Removed, .. } => self.note_removal(index),
            Output::Event { event, .. } => {
                if let Event::Forced(forced) = event {
                    self.note_force(index, forced);
                }
                self.check_event(index, event);
            }
            Output::SmallState { .. }
            | Output::Spent { .. }
            | Output::PeerLinksDown(_)
            | Output::TellNumbers { .. }
            | Output::Numbers { .. } => {}
            Output::Handed { .. } => unreachable!("nobody here hands over a frame"),
        }
    }

    pub(crate) fn status(&self, index: usize) -> Option<VolumeStatus> {
        let node = &self.nodes[index];
        node.engine.as_ref().and_then(|engine| engine.status(node.volume))
    }

    /// Whether the arbiter was asked something by this node that it has not answered.
    pub(crate) fn asks(&self, index: usize) -> bool {
        self.questions.iter().any(|question| question.asker == index)
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

    /// One thing happens.
    pub(crate) fn step(&mut self) {
        self.tick += 1;
        self.now += self.chance.below(100_000);
        if !self.is_busy && (self.is_idle() && self.chance.one_in(3) || self.chance.one_in(300)) {
            self.wait();
        }
        for index in 0..2 {
            let due = self.due(index).is_some_and(|due| due <= self.clock(index));
            let is_late = self.faults.stalls && self.chance.one_in(4);
            if !self.nodes[index].paused && due && !is_late {
                self.input(index, Input::Timeout);
            }
        }
        (0..2).for_each(|index| self.tell_forced(index));
        if !self.calm && self.chance.one_in(60) {
            self.fault();
        }
        let index = self.chance.pick(2);
        match self.chance.below(10) {
            0..=2 => self.deliver(index),
            3..=4 => self.disk(index),
            5 => self.metadata(index),
            6 => self.arbiter(),
            7 => self.connect(),
            _ => self.client(),
        }
    }

    fn due(&self, index: usize) -> Option<Instant> {
        self.nodes[index].engine.as_ref().and_then(Engine::poll_timeout)
    }

    /// Nothing happens for a while: until a timer is due, or for as long as it happens to be.
    fn wait(&mut self) {
        // A lease survives that, unless something is wrong as well.
        let for_long = self.chance.below(if self.is_peaceful() { 40_000_000 } else { 400_000_000 });
        let until_due = (0..2).filter_map(|index| {
            let left = self.due(index)?.as_nanos().saturating_sub(self.clock(index).as_nanos());
            Some(left / 1000u64.saturating_add_signed(self.nodes[index].clock.1) * 1000 + 1000)
        });
        let until_due = until_due.min().unwrap_or(for_long).min(for_long);
        self.now += if self.chance.one_in(2) { until_due } else { for_long };
    }

    /// Whether nothing is under way that could go on.
    fn is_idle(&self) -> bool {
        (0..2).all(|index| {
            let node = &self.nodes[index];
            let moves = |stage| !self.is_stalled(stage, index);
            let hears = moves(Stage::Link) && !self.link.ends[index].inbox.is_empty();
            let works = node.at_disk.iter().any(|at_disk| moves(at_disk.stage()));
            let notes = node.at_metadata.iter().any(|record| moves(stage_of(record.place)));
            !self.is_running(index) || !hears && !works && !notes
        })
    }

    pub(crate) fn is_running(&self, index: usize) -> bool {
        self.nodes[index].engine.is_some() && !self.nodes[index].paused
    }

    /// The disk looks at a request, or completes one; in any order.
    pub(crate) fn disk(&mut self, index: usize) {
        if !self.is_running(index) {
            return;
        }
        let moving: Vec<usize> = (0..self.nodes[index].at_disk.len())
            .filter(|at| !self.is_stalled(self.nodes[index].at_disk[*at].stage(), index))
            .collect();
        if moving.is_empty() {
            return;
        }
        let chosen = moving[self.chance.pick(moving.len())];
        self.reach(index, chosen);
        if self.chance.one_in(4) {
            return;
        }
        let AtDisk { request, found, landed } = self.nodes[index].at_disk.swap_remove(chosen);
        let result = match request.operation {
            Operation::Read { .. } => {
                found.map_or(Err(BlockError::Medium), |values| Ok(Some(self.buffer(index, values))))
            }
            Operation::Write { range, data, durable } => {
                if landed && durable {
                    let values = self.content(index, data);
                    self.nodes[index].sectors.settle(range, &values);
                }
                if landed { Ok(None) } else { Err(BlockError::Medium) }
            }
            Operation::Flush if self.nodes[index].sectors.refuses_flushes => {
                self.nodes[index].sectors.fail_flush();
                Err(BlockError::Medium)
            }
            Operation::Flush => {
                self.nodes[index].sectors.flush();
                Ok(None)
            }
        };
        self.input(index, Input::Disk(Completion { id: request.id, result }));
    }

    /// A read takes its value, a write shows: at some moment before either is complete.
    pub(crate) fn reach(&mut self, index: usize, chosen: usize) {
        let AtDisk { request, found, landed } = &self.nodes[index].at_disk[chosen];
        match request.operation {
            Operation::Read { range } if found.is_none() => {
                self.spoil(index, range);
                let node = &mut self.nodes[index];
                let mut bad = node.sectors.unreadable.range(range.start().0..range.end().0);
                if bad.next().is_none() {
                    node.at_disk[chosen].found = Some(node.sectors.read(range));
                }
            }
            Operation::Write { range, data, .. } if !landed => {
                if self.faults.write_errors && !self.calm && self.chance.one_in(400) {
                    return;
                }
                if self.nodes[index].sectors.refuses_writes {
                    return;
                }
                let values = self.content(index, data);
                self.nodes[index].sectors.land(range, &values);
                self.nodes[index].at_disk[chosen].landed = true;
            }
            Operation::Read { .. } | Operation::Write { .. } | Operation::Flush => {}
        }
    }

    pub(crate) fn metadata(&mut self, index: usize) {
        if !self.is_running(index) {
            return;
        }
        let moving: Vec<usize> = (0..self.nodes[index].at_metadata.len())
            .filter(|at| !self.is_stalled(stage_of(self.nodes[index].at_metadata[*at].place), index))
            .collect();
        if moving.is_empty() {
            return;
        }
        let chosen = moving[self.chance.pick(moving.len())];
        let AtMetadata { id, place, bytes } = self.nodes[index].at_metadata.swap_remove(chosen);
        let at = usize::try_from(place.0).expect("small");
        self.nodes[index].metadata[at..at + bytes.len()].copy_from_slice(&bytes);
        self.input(index, Input::Metadata { id, result: Ok(()) });
    }

    /// None of the records that are under way can be written.
    pub(crate) fn fail_metadata(&mut self, index: usize) {
        for AtMetadata { id, .. } in std::mem::take(&mut self.nodes[index].at_metadata) {
            self.input(index, Input::Metadata { id, result: Err(BlockError::Medium) });
        }
    }

    fn arbiter(&mut self) {
        self.questions.retain(|question| question.asked_at + QUESTION_LIFE > self.now);
        if self.chance.one_in(2) {
            let heard = self.answers.iter().position(|answer| !self.is_stalled(Stage::Answer, answer.0));
            if let Some(heard) = heard {
                let (index, question, answer) = self.answers.remove(heard);
                return self.answer_question(index, question, answer);
            }
        }
        let waiting: Vec<usize> = (0..self.questions.len())
            .filter(|at| !self.is_stalled(Stage::Question, self.questions[*at].asker))
            .collect();
        if waiting.is_empty() {
            return;
        }
        let chosen = waiting[self.chance.pick(waiting.len())];
        let Question { asker, number, expected, next, .. } = self.questions.swap_remove(chosen);
        let answer = if !self.arbiter_is_up {
            ArbiterAnswer::Unreachable
        } else if self.arbiter == expected {
            self.arbiter = next;
            ArbiterAnswer::Swapped
        } else {
            ArbiterAnswer::Holds(self.arbiter)
        };
        self.say(|| format!("arbiter: node {asker} {expected} -> {next}: {answer:?}"));
        self.answers.push((asker, number, answer));
    }

    fn answer_question(&mut self, index: usize, question: u64, answer: ArbiterAnswer) {
        let is_lost = self.faults.arbiter && !self.calm && self.chance.one_in(4);
        let answer = match is_lost {
            true if self.chance.one_in(2) => return,
            true => ArbiterAnswer::Unreachable,
            false => answer,
        };
        if self.is_running(index) {
            self.input(index, Input::Arbiter { volume: self.nodes[index].volume, question, answer });
        }
    }
}

/// Which kind of record lies there.
fn stage_of(place: Place) -> Stage {
    const KIB: u64 = 1024;
    match place.0 {
        at if at >= 2056 * KIB => Stage::Bitmap,
        at if at >= 2048 * KIB => Stage::FirstBitmap,
        at if (64 * KIB..576 * KIB).contains(&at) => Stage::Log,
        _ => Stage::Superblock,
    }
}

pub(crate) fn open_metadata(metadata: &[u8]) -> Opened {
    open(|place, bytes| {
        let at = usize::try_from(place.0).expect("small");
        bytes.copy_from_slice(&metadata[at..at + bytes.len()]);
        Ok(())
    })
    .expect("metadata that the engine has written")
}
