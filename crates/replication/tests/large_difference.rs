//! Two nodes meet that differ in very much, while one of them serves alone: no input does more than a little, nothing but a little
//! is on its way at a time, and whoever writes hardly notices.
#![cfg(test)]

mod common;

use std::collections::VecDeque;

use block::{
    BlockRequest, BufferName, BufferSlice, Completion, Duration, ExportId, Instant, Lba, LbaRange, Operation,
    RequestId, SectorCount,
};
use replication::bitmap::Bitmap;
use replication::engine::{Engine, EngineConfig};
use replication::identity::{FormatIdentity, PairIdentity, VolumeIdentity};
use replication::input::{ArbiterAnswer, Input, MetadataId};
use replication::limits::{BITMAP_BLOCKS_AT_ONCE, LEASE, Limits};
use replication::membership::{Epoch, Members, Membership, NodeNumber};
use replication::message::{Message, VolumeMessage};
use replication::meta::activity_log::{RING_BYTES, replay};
use replication::meta::layout::{BITS_PER_BLOCK, HOT_EXTENTS_MIN, Layout, SECTORS_PER_BIT};
use replication::meta::record::Sequence;
use replication::meta::superblock::Superblock;
use replication::meta::{Findings, Opened};
use replication::output::{Event, Outcome, Output};
use replication::start::VolumeConfig;
use replication::version::VersionRange;
use replication::volume::Phase;

const VOLUME: ExportId = ExportId(0);
const SERVER: Membership = Membership { epoch: Epoch(2), members: Members::Only(NodeNumber::Zero) };
/// An input says so much at most besides a portion of runs.
const OUTPUTS_AT_ONCE: usize = 100;
/// A write takes so many turns at most, of which it needs some when the nodes are together: it waits for what is under way when they
/// meet, never for a difference.
const WRITE_TURNS_MAX: u64 = 40;

/// One engine, what it asked of its disk and its metadata, and what it has said.
struct Node {
    engine: Engine,
    at_disk: VecDeque<Completion>,
    at_metadata: VecDeque<MetadataId>,
    said: VecDeque<(Message, Option<BufferSlice>)>,
    written: u64,
    copies_said: u64,
    /// What it lacked, and what its peer lacked, when they met.
    met: Option<(u64, u64)>,
    outputs_at_once: usize,
}

impl Node {
    fn new(now: Instant, opened: Opened) -> Self {
        let config = EngineConfig {
            node: opened.superblock.node,
            pair: PairIdentity(3),
            incarnation: 1,
            lease: LEASE,
            limits: Limits { volumes: 1, ..Limits::DEFAULT },
            first_disk_slot: 4096,
            versions: VersionRange::ALL,
        };
        let mut engine = Engine::new(now, config);
        engine.add_volume(now, VOLUME, opened, VolumeConfig::default());
        let (at_disk, at_metadata, said) = (VecDeque::new(), VecDeque::new(), VecDeque::new());
        let (written, copies_said, outputs_at_once) = (0, 0, 0);
        Self { engine, at_disk, at_metadata, said, written, copies_said, met: None, outputs_at_once }
    }

    fn input(&mut self, now: Instant, input: Input) {
        let mut asked = Vec::new();
        let before = self.out_of_sync();
        self.engine.handle_input(now, input);
        let joined = self.out_of_sync().saturating_sub(before);
        assert!(joined <= u64::from(BITMAP_BLOCKS_AT_ONCE) * BITS_PER_BLOCK, "{joined} blocks at once");
        let mut outputs = 0;
        while let Some(output) = self.engine.poll_output() {
            outputs += 1;
            match output {
                Output::Disk(request) => self.at_disk.push_back(common::done(&request)),
                Output::Send { message, data } => {
                    self.copies_said +=
                        u64::from(matches!(message, Message::Volume(_, VolumeMessage::Copy { .. })));
                    self.said.push_back((message, data));
                }
                Output::Metadata { id, .. } => self.at_metadata.push_back(id),
                Output::Ask { question, expected, .. } => asked.push((question, expected)),
                Output::Completed { outcome, .. } => {
                    assert!(matches!(outcome, Outcome::Done(_)), "{outcome:?}");
                    self.written += 1;
                }
                Output::Event { event: Event::Paired { lacking, peer_lacks, .. }, .. } => {
                    self.met = Some((lacking, peer_lacks));
                }
                Output::Disconnect { reason } => panic!("the session ends: {reason}"),
                _ => {}
            }
        }
        self.outputs_at_once = self.outputs_at_once.max(outputs);
        for (question, expected) in asked {
            let is_held = expected == SERVER;
            let answer = if is_held { ArbiterAnswer::Swapped } else { ArbiterAnswer::Holds(SERVER) };
            self.input(now, Input::Arbiter { volume: VOLUME, question, answer });
        }
    }

    /// What the disk has had since the last turn, and a few records: durable ones are slow.
    fn finish(&mut self, now: Instant) {
        for completion in std::mem::take(&mut self.at_disk) {
            self.input(now, Input::Disk(completion));
        }
        for _ in 0..8 {
            if let Some(id) = self.at_metadata.pop_front() {
                self.input(now, Input::Metadata { id, result: Ok(()) });
            }
        }
    }

    fn write(&mut self, now: Instant, block: u64) {
        let id = RequestId(u32::try_from(self.written % 4000).expect("small"));
        let range = LbaRange::new(Lba(block * SECTORS_PER_BIT), SectorCount(8)).expect("a block");
        let data = BufferSlice { buffer: BufferName(1), offset: 0, length: 4096 };
        let request =
            BlockRequest { id, export: VOLUME, operation: Operation::Write { range, data, durable: true } };
        self.input(now, Input::Request { request, origin: None });
    }

    fn out_of_sync(&self) -> u64 {
        self.engine.status(VOLUME).expect("its volume").out_of_sync
    }

    fn phase(&self) -> Phase {
        self.engine.status(VOLUME).expect("its volume").phase
    }

    fn runs_under_way(&self) -> usize {
        let runs = |message: &Message| match message {
            Message::Volume(_, VolumeMessage::OutOfSync(runs)) => runs.len(),
            _ => 0,
        };
        self.said.iter().map(|(message, _)| runs(message)).sum()
    }
}

fn opened(
    node: NodeNumber,
    membership: Membership,
    sectors: u64,
    missed: impl FnOnce(&mut Bitmap),
) -> Opened {
    let layout = Layout::new(sectors, HOT_EXTENTS_MIN).expect("a size");
    let format = FormatIdentity(1);
    let mut bitmap = Bitmap::new(layout, format);
    missed(&mut bitmap);
    // As if it had been read: nothing is to be written.
    let mut record = Box::new([0; replication::meta::layout::RECORD_BYTES]);
    while let Some(write) = bitmap.poll_write(&mut record) {
        bitmap.handle_written(write.block);
    }
    Opened {
        format,
        superblock: Superblock {
            volume: VolumeIdentity(1),
            pair: PairIdentity(3),
            node,
            layout,
            membership,
            clean: false,
            inconsistent: false,
            disk_lost: false,
        },
        superblock_sequence: Sequence(1),
        small_state: None,
        small_state_sequence: Sequence::NONE,
        log: replay(&vec![0; RING_BYTES], layout, format),
        bitmap,
        torn: Vec::new(),
        findings: Findings::default(),
    }
}

/// Node 0 serves alone and goes on to do so while node 1 comes back; `block` is where its next write is. Ends a while after they have
/// met.
fn meet(nodes: &mut [Node; 2], mut now: Instant, mut block: impl FnMut(u64) -> u64) {
    let turn = Duration::from_micros(100);
    while nodes[0].phase() != Phase::Alone {
        now = now.after(Duration::from_millis(50));
        nodes[0].input(now, Input::Timeout);
        nodes[0].finish(now);
    }
    nodes.iter_mut().for_each(|node| node.input(now, Input::Connected));
    let (mut begun, mut writes, mut met_at) = (0, 0, None);
    for number in 0..200_000 {
        now = now.after(turn);
        if nodes[0].written == writes {
            writes += 1;
            begun = number;
            nodes[0].write(now, block(writes));
        }
        assert!(number - begun <= WRITE_TURNS_MAX, "write {writes} has waited since turn {begun}");
        for index in 0..2 {
            let under_way = nodes[index].runs_under_way();
            assert!(under_way <= Limits::DEFAULT.runs_at_once + 100, "{under_way} runs wait in the stream");
            for _ in 0..nodes[index].said.len() {
                let (message, data) = nodes[index].said.pop_front().expect("counted");
                nodes[1 - index].input(now, Input::Message { message, data });
            }
            if nodes[index].engine.poll_timeout().is_some_and(|due| due <= now) {
                nodes[index].input(now, Input::Timeout);
            }
            nodes[index].finish(now);
        }
        if nodes[0].met.is_some() && nodes[1].met.is_some() {
            let met_at = *met_at.get_or_insert(number);
            if nodes[0].copies_said > 10 && number > met_at + 100 {
                assert!(nodes.iter().all(|node| node.outputs_at_once <= OUTPUTS_AT_ONCE));
                return;
            }
        }
    }
    panic!("they have not met: {:?}", nodes.each_ref().map(Node::phase));
}

#[test]
fn a_node_that_lacks_sixteen_tebibytes_meets_one_that_serves() {
    let begin = Instant::from_nanos(10_000_000_000);
    let sectors = 1 << 35;
    let blank = Membership { epoch: Epoch(0), members: Members::Both };
    let mut nodes = [
        Node::new(begin, opened(NodeNumber::Zero, SERVER, sectors, |_| {})),
        Node::new(begin, opened(NodeNumber::One, blank, sectors, Bitmap::set_all)),
    ];
    let bits = sectors / SECTORS_PER_BIT;
    meet(&mut nodes, begin, |number| number * 7_919_993 % bits);
    assert_eq!(nodes[0].met, Some((0, bits)));
    assert_eq!(nodes[1].met, Some((bits, 0)));
}

#[test]
fn nodes_meet_whose_bitmaps_have_as_many_runs_as_they_can() {
    let begin = Instant::from_nanos(10_000_000_000);
    // 8 GiB, half of it every other block of either node's: a million runs at node 0 after both are joined.
    let sectors = 1 << 24;
    let bits = sectors / SECTORS_PER_BIT;
    let set = |bitmap: &mut Bitmap, blocks: &mut dyn Iterator<Item = u64>| {
        for block in blocks {
            bitmap.set(LbaRange::new(Lba(block * SECTORS_PER_BIT), SectorCount(8)).expect("a block"));
        }
    };
    let of_zero = |bitmap: &mut Bitmap| set(bitmap, &mut (0..bits / 2).step_by(2));
    let of_one = |bitmap: &mut Bitmap| set(bitmap, &mut (bits / 2..bits).step_by(2));
    let mut nodes = [
        Node::new(begin, opened(NodeNumber::Zero, SERVER, sectors, of_zero)),
        Node::new(begin, opened(NodeNumber::One, Membership::FIRST, sectors, of_one)),
    ];
    // Where the target has been told that nothing is missing, and where it has not been told yet.
    let mut late = 0;
    meet(&mut nodes, begin, |number| {
        late += 1;
        if number % 2 == 0 { 2 * number + 1 } else { bits - 2 * number - 1 }
    });
    let (lacking, _) = nodes[1].met.expect("they have met");
    assert_eq!(nodes[0].met, Some((0, lacking)), "the target knows all that it lacks");
    assert!(lacking > bits / 2 && lacking <= bits / 2 + late, "{lacking} blocks");
}
