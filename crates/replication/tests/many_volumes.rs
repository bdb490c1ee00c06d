//! A node comes back to a shard of many volumes: more of them have something to copy than there is room for copies.
#![cfg(test)]

mod common;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use block::{BufferSlice, Completion, Duration, ExportId, Instant};
use replication::engine::{Engine, EngineConfig};
use replication::identity::{FormatIdentity, PairIdentity, VolumeIdentity};
use replication::input::{ArbiterAnswer, Input};
use replication::limits::{LEASE, Limits};
use replication::membership::{Epoch, Members, Membership, NodeNumber};
use replication::message::{Message, VolumeMessage};
use replication::meta::layout::{EXTENT_SECTORS, HOT_EXTENTS_MIN, Layout};
use replication::meta::{Format, Opened};
use replication::output::{Event, Output};
use replication::start::VolumeConfig;
use replication::version::VersionRange;

const VOLUMES: u32 = 30;
const COPIES: usize = 16;

/// One engine, what it asked of its disk, and what it has said.
struct Node {
    engine: Engine,
    at_disk: VecDeque<Completion>,
    said: VecDeque<(Message, Option<BufferSlice>)>,
    copies_said: BTreeMap<ExportId, u32>,
    in_sync: BTreeSet<ExportId>,
}

impl Node {
    fn new(now: Instant, node: NodeNumber) -> Self {
        let config = EngineConfig {
            node,
            pair: PairIdentity(3),
            incarnation: 1,
            lease: LEASE,
            limits: Limits { copies: COPIES, volumes: VOLUMES as usize, ..Limits::DEFAULT },
            first_disk_slot: 4096,
            versions: VersionRange::ALL,
        };
        let mut engine = Engine::new(now, config);
        for volume in 0..VOLUMES {
            engine.add_volume(now, ExportId(volume), lacking(node, volume), VolumeConfig::default());
        }
        Self {
            engine,
            at_disk: VecDeque::new(),
            said: VecDeque::new(),
            copies_said: BTreeMap::new(),
            in_sync: BTreeSet::new(),
        }
    }

    fn input(&mut self, now: Instant, input: Input) {
        self.engine.handle_input(now, input);
        while let Some(output) = self.engine.poll_output() {
            match output {
                Output::Disk(request) => self.at_disk.push_back(common::done(&request)),
                Output::Send { message, data } => {
                    if let Message::Volume(export, VolumeMessage::Copy { .. }) = message {
                        *self.copies_said.entry(export).or_default() += 1;
                    }
                    self.said.push_back((message, data));
                }
                Output::Metadata { id, .. } => {
                    self.engine.handle_input(now, Input::Metadata { id, result: Ok(()) });
                }
                Output::Ask { volume, question, .. } => {
                    let answer = ArbiterAnswer::Swapped;
                    self.engine.handle_input(now, Input::Arbiter { volume, question, answer });
                }
                Output::Digest { of, .. } => self.engine.handle_input(now, Input::Digest { of, digest: 1 }),
                Output::Event { volume, event: Event::InSync(_) } => _ = self.in_sync.insert(volume),
                Output::Disconnect { reason } => panic!("the session ends: {reason}"),
                _ => {}
            }
        }
    }

    fn finish_one(&mut self, now: Instant) {
        if let Some(completion) = self.at_disk.pop_front() {
            self.input(now, Input::Disk(completion));
        }
    }
}

/// Metadata of a pair of which node 0 serves alone, and node 1 lacks everything.
fn lacking(node: NodeNumber, volume: u32) -> Opened {
    let layout = Layout::new(EXTENT_SECTORS, HOT_EXTENTS_MIN).expect("a size");
    common::fresh(Format {
        format: FormatIdentity(u128::from(volume) + 1),
        volume: VolumeIdentity(u128::from(volume)),
        pair: PairIdentity(3),
        node,
        layout,
        membership: Membership { epoch: Epoch(2), members: Members::Only(NodeNumber::Zero) },
        good: node == NodeNumber::Zero,
    })
}

#[test]
fn every_volume_gets_its_share_of_the_copies_and_in_sync() {
    let mut now = Instant::from_nanos(10_000_000_000);
    let mut nodes = [NodeNumber::Zero, NodeNumber::One].map(|node| Node::new(now, node));
    nodes.iter_mut().for_each(|node| node.input(now, Input::Connected));
    let mut shares = None;
    for _ in 0..100_000 {
        if nodes.iter().all(|node| node.in_sync.len() == VOLUMES as usize) {
            break;
        }
        now = now.after(Duration::from_micros(100));
        for index in 0..2 {
            nodes[index].input(now, Input::Timeout);
            nodes[index].finish_one(now);
            while let Some((message, data)) = nodes[index].said.pop_front() {
                nodes[1 - index].input(now, Input::Message { message, data });
            }
        }
        if shares.is_none() && !nodes[0].in_sync.is_empty() {
            shares = Some(nodes[0].copies_said.clone());
        }
    }
    assert_eq!(nodes.map(|node| node.in_sync.len()), [VOLUMES as usize; 2]);
    let shares = shares.expect("one was the first");
    assert!(shares.len() == VOLUMES as usize, "{} volumes had none when the first was done", shares.len());
}
