//! What a request costs in the engine of the mirror: a replicated write in both engines and in each alone, and a read.
//!
//! 64 requests are outstanding, and no two overlap; disks, link and arbiter do as they are told, in no time. One request of
//! 4 KiB goes round the volumes every microsecond of virtual time, so leases are renewed 4 times in a million requests.

use std::collections::VecDeque;
use std::hint::black_box;

use block::{
    BlockRequest, BufferName, BufferSlice, Completion, Duration, ExportId, Instant, Lba, LbaRange, Operation,
    RequestId, SectorCount,
};
use criterion::{Criterion, criterion_group, criterion_main};
use replication::engine::{Engine, EngineConfig};
use replication::identity::{FormatIdentity, PairIdentity, VolumeIdentity};
use replication::input::{ArbiterAnswer, Input};
use replication::limits::{LEASE, Limits};
use replication::membership::{Membership, NodeNumber};
use replication::message::{Message, Origin, Token, VolumeMessage};
use replication::meta::layout::{EXTENT_SECTORS, Layout, RECORD_BYTES};
use replication::meta::{Format, Opened, format, open};
use replication::output::{Outcome, Output};
use replication::start::VolumeConfig;
use replication::version::VersionRange;

const DEPTH: usize = 64;
const EXTENTS: u64 = 64;
const HOT_EXTENTS: u32 = 256;
const PAGES_PER_EXTENT: u64 = EXTENT_SECTORS / 8;
const ORIGIN: Option<Origin> = Some(Origin::Stock { digest: 7 << 100 });

/// One engine and what it has said that is not answered yet.
struct Node {
    engine: Engine,
    at_disk: VecDeque<(RequestId, bool)>,
    said: VecDeque<(Message, Option<BufferSlice>)>,
    /// Volumes that are served, requests that were answered.
    serving: u32,
    done: u64,
}

impl Node {
    fn new(now: Instant, node: NodeNumber, volumes: u32) -> Self {
        let config = EngineConfig {
            node,
            pair: PairIdentity(3),
            incarnation: 1,
            lease: LEASE,
            limits: Limits { volumes: volumes as usize, ..Limits::DEFAULT },
            first_disk_slot: 4096,
            versions: VersionRange::ALL,
        };
        let mut engine = Engine::new(now, config);
        for volume in 0..volumes {
            engine.add_volume(now, ExportId(volume), fresh(node, volume), VolumeConfig::default());
        }
        Self { engine, at_disk: VecDeque::new(), said: VecDeque::new(), serving: 0, done: 0 }
    }

    /// What is asked of the metadata and of the arbiter is done at once.
    fn input(&mut self, now: Instant, input: Input) {
        self.engine.handle_input(now, input);
        while let Some(output) = self.engine.poll_output() {
            match output {
                Output::Disk(request) => {
                    let is_read = matches!(request.operation, Operation::Read { .. });
                    self.at_disk.push_back((request.id, is_read));
                }
                Output::Send { message, data } => self.said.push_back((message, data)),
                Output::Completed { outcome, .. } => {
                    assert!(matches!(outcome, Outcome::Done(_)), "nothing goes wrong here");
                    self.done += 1;
                }
                Output::Metadata { id, .. } => {
                    self.engine.handle_input(now, Input::Metadata { id, result: Ok(()) })
                }
                Output::Ask { volume, question, .. } => {
                    let answer = ArbiterAnswer::Swapped;
                    self.engine.handle_input(now, Input::Arbiter { volume, question, answer });
                }
                Output::Serving { serving: true, .. } => self.serving += 1,
                Output::Serving { .. } | Output::Disconnect { .. } => unreachable!("nothing goes wrong here"),
                other => _ = black_box(other),
            }
        }
    }

    /// The disk has done the oldest of what it was asked, if it was asked for more than `left`.
    fn finish_disk(&mut self, now: Instant, left: usize) {
        if self.at_disk.len() > left
            && let Some((id, is_read)) = self.at_disk.pop_front()
        {
            let result = Ok(is_read.then_some(page_of(id.0.into())));
            self.input(now, Input::Disk(Completion { id, result }));
        }
    }
}

fn fresh(node: NodeNumber, volume: u32) -> Opened {
    let layout = Layout::new(EXTENTS * EXTENT_SECTORS, HOT_EXTENTS).expect("a size");
    let fresh = format(Format {
        format: FormatIdentity(u128::from(volume)),
        volume: VolumeIdentity(u128::from(volume)),
        pair: PairIdentity(3),
        node,
        layout,
        membership: Membership::FIRST,
        good: true,
    });
    let records = fresh.superblock_records();
    let opened = open(|place, into| {
        match records.iter().find(|(at, _)| *at == place && into.len() == RECORD_BYTES) {
            Some((_, record)) => into.copy_from_slice(record),
            None => into.fill(0),
        }
        Ok(())
    });
    opened.expect("fresh metadata")
}

fn page_of(name: u64) -> BufferSlice {
    BufferSlice { buffer: BufferName(name), offset: 0, length: 4096 }
}

/// Two nodes that serve, with time and the requests.
struct Load {
    nodes: [Node; 2],
    now: Instant,
    volumes: u32,
    /// How much of each volume is written, and hot.
    extents: u64,
    turn: u64,
}

impl Load {
    /// Every extent that is going to be written is hot.
    fn new(volumes: u32, extents: u64) -> Self {
        let now = Instant::from_nanos(1_000_000_000);
        let nodes = [NodeNumber::Zero, NodeNumber::One].map(|node| Node::new(now, node, volumes));
        let mut load = Self { nodes, now, volumes, extents, turn: 0 };
        for index in 0..2 {
            load.input(index, Input::Connected);
        }
        while load.nodes.iter().any(|node| node.serving < volumes) {
            load.now = load.now.after(Duration::from_millis(100));
            for index in 0..2 {
                load.input(index, Input::Timeout);
            }
            load.converse();
        }
        for turn in 0..u64::from(volumes) * extents {
            load.write_at(turn / u64::from(volumes) * PAGES_PER_EXTENT + turn % DEPTH as u64);
        }
        (0..100_000).for_each(|_| load.write());
        load.rest();
        load
    }

    fn input(&mut self, index: usize, input: Input) {
        self.nodes[index].input(self.now, input);
    }

    /// Everything that was said is heard.
    fn converse(&mut self) {
        while self.nodes.iter().any(|node| !node.said.is_empty()) {
            for index in 0..2 {
                while let Some((message, data)) = self.nodes[index].said.pop_front() {
                    self.input(1 - index, Input::Message { message, data });
                }
            }
        }
    }

    /// All that is under way is over.
    fn rest(&mut self) {
        while self.nodes.iter().any(|node| !node.at_disk.is_empty()) {
            let now = self.now;
            self.nodes.iter_mut().for_each(|node| node.finish_disk(now, 0));
            self.converse();
        }
    }

    fn next(&mut self) -> (ExportId, u64) {
        self.turn += 1;
        self.now = self.now.after(Duration::from_micros(1));
        let volume = u32::try_from(self.turn % u64::from(self.volumes)).expect("fewer volumes");
        (ExportId(volume), self.turn * 7919 % (self.extents * PAGES_PER_EXTENT))
    }

    fn request(&mut self, export: ExportId, page: u64, is_write: bool) {
        let range = LbaRange::new(Lba(page * 8), SectorCount(8)).expect("within the volume");
        let operation = match is_write {
            true => Operation::Write { range, data: page_of(self.turn), durable: true },
            false => Operation::Read { range },
        };
        let (slot, generation) = (self.turn % 4096, self.turn / 4096 % (1 << 16));
        let id = RequestId(u32::try_from(generation << 16 | slot).expect("32 bits"));
        let request = BlockRequest { id, export, operation };
        self.input(0, Input::Request { request, origin: ORIGIN.filter(|_| is_write) });
    }

    /// A write begins at node 0, and the oldest one under way is over at both.
    fn write(&mut self) {
        let (export, page) = self.next();
        self.write_in(export, page);
    }

    fn write_at(&mut self, page: u64) {
        let (export, _) = self.next();
        self.write_in(export, page);
    }

    fn write_in(&mut self, export: ExportId, page: u64) {
        self.request(export, page, true);
        self.converse();
        for index in 0..2 {
            let now = self.now;
            self.nodes[index].finish_disk(now, DEPTH);
        }
        self.converse();
    }

    /// A read begins at node 0, and the oldest one ends.
    fn read(&mut self) {
        let (export, page) = self.next();
        self.request(export, page, false);
        let now = self.now;
        self.nodes[0].finish_disk(now, DEPTH);
        self.converse();
    }

    /// As `write`, but what node 1 says is known in advance.
    fn coordinate(&mut self) {
        let (export, page) = self.next();
        self.request(export, page, true);
        let now = self.now;
        self.nodes[0].finish_disk(now, DEPTH);
        for _ in 0..self.nodes[0].said.len() {
            let (message, _) = self.nodes[0].said.pop_front().expect("counted");
            let answer = match message {
                Message::Volume(_, VolumeMessage::Replicate { write, .. }) => {
                    let message = VolumeMessage::Ack { write, follower: Token(self.turn), microseconds: 0 };
                    Message::Volume(export, message)
                }
                Message::Renew { number } => Message::Granted { number },
                other => {
                    black_box(other);
                    continue;
                }
            };
            self.input(0, Input::Message { message: answer, data: None });
        }
    }

    /// Node 1's part of a write, of which node 0's part is known in advance.
    fn follow(&mut self) {
        let (export, page) = self.next();
        let range = LbaRange::new(Lba(page * 8), SectorCount(8)).expect("within the volume");
        let write = Token(self.turn);
        let message = VolumeMessage::Replicate { write, range, durable: true, origin: ORIGIN };
        let message = Message::Volume(export, message);
        self.input(1, Input::Message { message, data: Some(page_of(self.turn)) });
        let now = self.now;
        self.nodes[1].finish_disk(now, DEPTH);
        while let Some((message, _)) = self.nodes[1].said.pop_front() {
            let answer = match message {
                Message::Volume(export, VolumeMessage::Ack { follower, .. }) => {
                    Message::Volume(export, VolumeMessage::Commit { follower })
                }
                Message::Renew { number } => Message::Granted { number },
                other => {
                    black_box(other);
                    continue;
                }
            };
            self.input(1, Input::Message { message: answer, data: None });
        }
    }
}

type Step = fn(&mut Load);

const STEPS: [(&str, Step); 4] = [
    ("replicated write, both engines", Load::write),
    ("replicated write, the coordinator alone", Load::coordinate),
    ("replicated write, the follower alone", Load::follow),
    ("local read", Load::read),
];

fn requests(criterion: &mut Criterion) {
    for (volumes, extents) in [(1, EXTENTS), (1000, 1), (1000, EXTENTS)] {
        let title = format!("64 outstanding, volumes {volumes}, hot extents {extents}");
        let mut group = criterion.benchmark_group(title);
        for (name, step) in STEPS {
            let mut load = None;
            group.bench_function(name, |b| {
                let load = load.get_or_insert_with(|| Load::new(volumes, extents));
                b.iter(|| step(load));
            });
        }
        group.finish();
    }
}

criterion_group!(benches, requests);
criterion_main!(benches);
