//! Two targets, what they say to each other, the one disk below them, and the hosts.

use std::collections::{BTreeMap, VecDeque};

use aoe::ata::AtaCommand;
use aoe::limits::DUPLICATE_WINDOW;
use aoe::target::{
    ExportConfig, FollowedWrite, Identity, Input, Mirror, MirrorEnd, MirrorInput, Origin, Output, PortId,
    PortLink, Refusal, SmallState, Target, TargetLimits,
};
use aoe::wire::ata::{AtaFlags, LbaRegisters};
use aoe::wire::{Head, ata, ethernet, header, sequenced};
use aoe::{Address, Command, MacAddress, Shelf, Slot, Tag};
use block::{
    BlockRequest, BufferName, BufferSlice, Completion, Duration, ExportId, Instant, Lba, LbaRange,
    LogicalSectorSize, Operation, RequestId, SectorCount,
};

use crate::oracle::{self, is_linearizable};

pub(crate) const SECTORS: u64 = 8;
const PORT: PortId = PortId(0);

#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// A host sends a new request to a node. Hosts 2 and 3 number their writes.
    Issue {
        host: u8,
        node: u8,
        write: bool,
        lba: u8,
        count: u8,
        value: u8,
    },
    /// A host sends an unanswered request again, to either node.
    Retransmit {
        which: u8,
        node: u8,
    },
    /// The wire brings a frame to its node.
    Arrive(u8),
    /// A node reads the next frame that has arrived.
    Handle(u8),
    /// A node hears the next thing that the other one has said.
    Hear(u8),
    /// Something that is under way takes effect.
    Complete(u8),
    /// An answer reaches its host, or is lost.
    Answer {
        which: u8,
        lost: bool,
    },
    /// The session breaks; of what was under way some has taken effect. Then both nodes serve again.
    Break {
        taken: u8,
        is_doubtful: bool,
    },
    Pass {
        milliseconds: u16,
    },
}

#[derive(Clone, Copy)]
pub(crate) struct Options {
    /// Each write writes other bytes than all others, or one of three values.
    pub(crate) distinct_values: bool,
    pub(crate) write_history_max: usize,
    /// Sectors that hosts use.
    pub(crate) sectors: u64,
}

struct Request {
    host: u8,
    /// Of a write with a number.
    sequence: Option<u64>,
    write: bool,
    range: LbaRange,
    value: u32,
    started: u64,
    ended: Option<u64>,
    values_read: Vec<u32>,
    /// When a node first answered it.
    answered: Option<Instant>,
    /// When it took effect first, by the names given out until then, and whether it was begun anew after that. Frames
    /// that two nodes take at the same time are executed twice, side by side: nothing can come between.
    executed: Option<u64>,
    executed_anew: bool,
}

/// A request that a target has handed out.
#[derive(Clone)]
struct Job {
    request: usize,
    node: usize,
    id: RequestId,
    operation: Operation,
    name: FollowedWrite,
    origin: Option<Origin>,
    /// Writes that take effect before it, by name.
    after: Vec<FollowedWrite>,
    /// The other node has heard of it; this one knows that.
    heard: bool,
    acknowledged: bool,
}

#[derive(Clone, Copy)]
enum Said {
    Followed(FollowedWrite),
    Acknowledged(FollowedWrite),
    Ended(FollowedWrite),
}

/// A frame that waits to be looked at.
#[derive(Clone, Copy)]
struct Queued {
    request: usize,
    received: Instant,
    /// The other node had it first.
    handed: bool,
}

struct Node {
    target: Target,
    export: ExportId,
    queue: VecDeque<Queued>,
    said_to: VecDeque<Said>,
    /// Writes of the other node that have not ended here.
    followed: Vec<FollowedWrite>,
    buffers: BTreeMap<BufferName, (Option<usize>, Vec<u32>)>,
}

pub(crate) struct World {
    options: Options,
    now: Instant,
    events: u64,
    nodes: [Node; 2],
    requests: Vec<Request>,
    wire: Vec<(usize, usize)>,
    jobs: Vec<Job>,
    sectors: [u32; 8],
    replies: Vec<(usize, Vec<u32>)>,
    names: u64,
    sequences: [u64; 4],
}

fn node_mac(node: usize) -> MacAddress {
    MacAddress([2, 0, 0, 0, 1, u8::try_from(node).expect("0 or 1")])
}

fn node(now: Instant, index: usize, write_history_max: usize) -> Node {
    let mut target = Target::new(TargetLimits {
        outstanding_max: 32,
        write_history_max,
        export_max: 1,
        followed_max: 64,
        digest_seed: 42,
    });
    let link = Some(PortLink { mac: node_mac(index), mtu: 9000 });
    target.handle_input(now, Input::PortChanged { port: PORT, link }).expect("no frame");
    let config = ExportConfig {
        address: Address::new(Shelf(7), Slot(1)).expect("an address"),
        sectors: SECTORS,
        logical_sector_size: LogicalSectorSize::B512,
        identity: Identity::new("7", "model", "1"),
        read_only: false,
        write_cache: false,
        buffer_count: 16,
        state: SmallState::default(),
        mirror: Some(Mirror { digest_seed: 7 }),
    };
    let export = target.add_export(now, config).expect("a good config");
    let serving = MirrorInput::Serving { export, serving: true };
    target.handle_input(now, Input::Mirror(serving)).expect("no frame");
    Node {
        target,
        export,
        queue: VecDeque::new(),
        said_to: VecDeque::new(),
        followed: Vec::new(),
        buffers: BTreeMap::new(),
    }
}

impl World {
    pub(crate) fn new(options: Options) -> Self {
        let now = Instant::from_nanos(100_000_000_000);
        Self {
            options,
            now,
            events: 0,
            nodes: [0, 1].map(|index| node(now, index, options.write_history_max)),
            requests: Vec::new(),
            wire: Vec::new(),
            jobs: Vec::new(),
            sectors: [0; 8],
            replies: Vec::new(),
            names: 0,
            sequences: [0; 4],
        }
    }

    pub(crate) fn step(&mut self, step: &Step) {
        self.events += 1;
        match *step {
            Step::Issue { host, node, write, lba, count: of_four, value } => {
                let lba = u64::from(lba) % self.options.sectors;
                let count = 4.min(u16::try_from(self.options.sectors - lba).expect("small"));
                let count = 1 + u16::from(of_four) % count;
                self.issue(host, node.into(), write, lba, count, value);
            }
            Step::Retransmit { which, node } => {
                let waiting: Vec<usize> =
                    (0..self.requests.len()).filter(|index| self.requests[*index].ended.is_none()).collect();
                if let Some(place) = pick(which, waiting.len()) {
                    self.wire.push((waiting[place], node.into()));
                }
            }
            Step::Arrive(which) => self.arrive(which),
            Step::Handle(node) => self.handle(node.into()),
            Step::Hear(node) => self.hear(node.into()),
            Step::Complete(which) => self.complete(which),
            Step::Answer { which, lost } => self.answer(which, lost),
            Step::Break { taken, is_doubtful } => self.break_session(taken, is_doubtful),
            Step::Pass { milliseconds } => self.pass(milliseconds),
        }
    }

    fn issue(&mut self, host: u8, node: usize, write: bool, lba: u64, count: u16, value: u8) {
        let distinct = u32::try_from(self.requests.len() + 1).expect("a short run");
        let sequence = (write && host >= 2).then(|| {
            let latest = &mut self.sequences[usize::from(host)];
            *latest += 1;
            *latest
        });
        self.requests.push(Request {
            host,
            sequence,
            write,
            range: LbaRange::new(Lba(lba), SectorCount(count)).expect("small"),
            value: if self.options.distinct_values { distinct } else { 1 + u32::from(value % 3) },
            started: self.events,
            ended: None,
            values_read: Vec::new(),
            answered: None,
            executed: None,
            executed_anew: false,
        });
        self.wire.push((self.requests.len() - 1, node));
    }

    /// A stock request's frames cease to come some time after its answer; one with a number may come at any time.
    fn arrive(&mut self, which: u8) {
        let Some(place) = pick(which, self.wire.len()) else { return };
        let (request, node) = self.wire.remove(place);
        let Request { answered, sequence, .. } = self.requests[request];
        let is_late = answered.is_some_and(|answered| self.now.since(answered) > DUPLICATE_WINDOW);
        if sequence.is_some() || !is_late {
            self.nodes[node].queue.push_back(Queued { request, received: self.now, handed: false });
        }
    }

    fn handle(&mut self, node: usize) {
        let Some(Queued { request, received, handed }) = self.nodes[node].queue.pop_front() else { return };
        let frame = self.frame(request, node);
        let Request { range, value, .. } = self.requests[request];
        let values = vec![value; usize::from(range.count().0)];
        let buffer = self.buffer(node, Some(request), values);
        let frame = frame.as_slice();
        let input = if handed {
            Input::Handed { port: PORT, received, frame, buffer }
        } else {
            Input::Frame { port: PORT, received, frame, buffer }
        };
        match self.nodes[node].target.handle_input(self.now, input) {
            Ok(())
            | Err(
                Refusal::Stale
                | Refusal::Superseded
                | Refusal::Doubtful
                | Refusal::InFlightAtPeer
                | Refusal::HistoryFull
                | Refusal::NotServing
                | Refusal::TooManyOutstanding,
            ) => {}
            Err(refusal) => panic!("a good request was refused: {refusal}"),
        }
        self.drain(node);
    }

    fn frame(&self, request: usize, node: usize) -> Vec<u8> {
        let Request { host, sequence, write, range, value, .. } = self.requests[request];
        let address = Address::new(Shelf(7), Slot(1)).expect("an address");
        // Each node is reached by an interface of its own.
        let source = MacAddress([2, 0, 0, 1, u8::from(node == 1), host]);
        let tag = Tag(u32::try_from(request).expect("a short run"));
        let command = if sequence.is_some() { sequenced::COMMAND } else { Command::Ata };
        let head = Head {
            ethernet: ethernet::Repr { destination: node_mac(node), source },
            header: header::Repr::request(address.into(), command, tag),
        };
        let (opcode, flags) = if write {
            (AtaCommand::WriteSectorsExt, AtaFlags::WRITE | AtaFlags::EXTENDED)
        } else {
            (AtaCommand::ReadSectorsExt, AtaFlags::EXTENDED)
        };
        let sector_count = u8::try_from(range.count().0).expect("small");
        let lba = LbaRegisters::from_lba48(range.start());
        let registers = ata::Request { flags, feature: 0, sector_count, command: opcode, lba };
        let data = value.to_le_bytes().repeat(usize::from(sector_count) * 128);
        let mut frame = vec![0; 60];
        head.emit(&mut frame);
        if let Some(sequence) = sequence {
            let (checksum, initiator) = (sequenced::checksum(&data), u64::from(host));
            sequenced::Request::Write { checksum, initiator, sequence, registers }.emit(&mut frame);
        } else {
            registers.emit(&mut frame);
            frame.truncate(if write { 36 } else { 60 });
        }
        frame.extend_from_slice(if write { &data } else { &[] });
        frame
    }

    fn buffer(&mut self, node: usize, request: Option<usize>, values: Vec<u32>) -> BufferName {
        self.names += 1;
        let name = BufferName(self.names);
        self.nodes[node].buffers.insert(name, (request, values));
        name
    }

    fn drain(&mut self, node: usize) {
        while let Some(output) = self.nodes[node].target.poll_output() {
            match output {
                Output::MirrorBlock { request, origin } => self.begin(node, request, origin),
                Output::Send(transmit) => {
                    let bytes = transmit.head.bytes();
                    let request = u32::from_be_bytes([bytes[20], bytes[21], bytes[22], bytes[23]]) as usize;
                    let status =
                        if self.requests[request].sequence.is_some() { bytes[51] } else { bytes[27] };
                    assert_eq!(status, 0x40, "request {request} is answered with an error");
                    let values = transmit.payload.map(|slice| self.take(node, slice.buffer).1);
                    self.replies.push((request, values.unwrap_or_default()));
                    self.requests[request].answered.get_or_insert(self.now);
                }
                Output::Release(buffer) => _ = self.take(node, buffer),
                // To its address, as if it had been sent there.
                Output::Returned { received, frame, .. } => {
                    let (request, _) = self.take(node, frame.buffer);
                    let request = request.expect("the buffer of a frame");
                    self.nodes[1 - node].queue.push_back(Queued { request, received, handed: true });
                }
                Output::SendControl { .. } => {}
                other => panic!("nobody asked for {other:?}"),
            }
        }
    }

    fn take(&mut self, node: usize, buffer: BufferName) -> (Option<usize>, Vec<u32>) {
        self.nodes[node].buffers.remove(&buffer).expect("a buffer is released once")
    }

    /// A target has handed a request out. It comes after the writes that its node knows of, as by rule R1.
    fn begin(&mut self, node: usize, block: BlockRequest, origin: Option<Origin>) {
        self.names += 1;
        let name = FollowedWrite(self.names);
        let mut job = Job {
            request: usize::MAX,
            node,
            id: block.id,
            operation: block.operation,
            name,
            origin,
            after: Vec::new(),
            heard: false,
            acknowledged: false,
        };
        if let Operation::Write { range, data, .. } = block.operation {
            job.request = self.nodes[node].buffers[&data.buffer].0.expect("a frame's buffer");
            for other in self.jobs.iter().filter(|other| overlaps(other, range)) {
                let is_known = other.node == node || other.heard;
                assert!(other.node != node, "two writes of one node overlap below its target");
                job.after.extend(is_known.then_some(other.name));
            }
            self.nodes[1 - node].said_to.push_back(Said::Followed(name));
        }
        self.jobs.push(job);
    }

    fn hear(&mut self, node: usize) {
        match self.nodes[node].said_to.pop_front() {
            Some(Said::Followed(name)) => {
                let job = self.jobs.iter_mut().find(|job| job.name == name).expect("it waits for this");
                job.heard = true;
                let job = job.clone();
                self.nodes[node].followed.push(name);
                self.follow(node, &job);
                self.nodes[1 - node].said_to.push_back(Said::Acknowledged(name));
            }
            Some(Said::Acknowledged(name)) => {
                let job = self.jobs.iter_mut().find(|job| job.name == name);
                job.expect("it waits for this").acknowledged = true;
            }
            Some(Said::Ended(name)) => self.end_followed(node, name, MirrorEnd::Executed),
            None => {}
        }
    }

    fn follow(&mut self, node: usize, job: &Job) {
        let Operation::Write { range, .. } = job.operation else { unreachable!("only writes are followed") };
        let origin = job.origin.expect("a write has an origin");
        let export = self.nodes[node].export;
        self.mirror(node, MirrorInput::Followed { export, write: job.name, range, origin });
    }

    fn end_followed(&mut self, node: usize, name: FollowedWrite, end: MirrorEnd) {
        self.nodes[node].followed.retain(|other| *other != name);
        self.mirror(node, MirrorInput::FollowedEnded { write: name, end });
    }

    fn mirror(&mut self, node: usize, input: MirrorInput) {
        self.nodes[node].target.handle_input(self.now, Input::Mirror(input)).expect("no frame");
        self.drain(node);
    }

    /// A read, or a write of which both nodes know and before which nothing is to come, takes effect.
    fn complete(&mut self, which: u8) {
        let may = |job: &&Job| match job.operation {
            Operation::Write { .. } => job.acknowledged && job.after.is_empty(),
            _ => true,
        };
        let names: Vec<FollowedWrite> = self.jobs.iter().filter(may).map(|job| job.name).collect();
        let Some(place) = pick(which, names.len()) else { return };
        let job = self.remove_job(names[place]);
        let result = match job.operation {
            Operation::Read { range } => {
                let values = self.sectors[bounds(range)].to_vec();
                let length = u32::try_from(range.bytes()).expect("small");
                Ok(Some(BufferSlice { buffer: self.buffer(job.node, None, values), offset: 0, length }))
            }
            Operation::Write { .. } => {
                self.take_effect(&job);
                self.nodes[1 - job.node].said_to.push_back(Said::Ended(job.name));
                Ok(None)
            }
            Operation::Flush => unreachable!("nobody flushes"),
        };
        let completion = Completion { id: job.id, result };
        let target = &mut self.nodes[job.node].target;
        target.handle_input(self.now, Input::Completed(completion)).expect("no frame");
        self.drain(job.node);
    }

    fn remove_job(&mut self, name: FollowedWrite) -> Job {
        let place = self.jobs.iter().position(|job| job.name == name).expect("it is under way");
        self.jobs.iter_mut().for_each(|job| job.after.retain(|other| *other != name));
        self.jobs.remove(place)
    }

    fn take_effect(&mut self, job: &Job) {
        let Operation::Write { range, .. } = job.operation else { unreachable!("a write") };
        let request = &mut self.requests[job.request];
        let first = *request.executed.get_or_insert(self.names);
        request.executed_anew |= job.name.0 > first;
        self.sectors[bounds(range)].fill(request.value);
    }

    fn answer(&mut self, which: u8, lost: bool) {
        let Some(place) = pick(which, self.replies.len()) else { return };
        let (request, values) = self.replies.remove(place);
        let request = &mut self.requests[request];
        if !lost && request.ended.is_none() {
            (request.ended, request.values_read) = (Some(self.events), values);
        }
    }

    /// Both nodes freeze, and meet again: what was under way has taken effect or not, and both are told.
    fn break_session(&mut self, taken: u8, is_doubtful: bool) {
        for node in 0..2 {
            let export = self.nodes[node].export;
            self.mirror(node, MirrorInput::Serving { export, serving: false });
            self.nodes[node].said_to.clear();
        }
        let mut resolved = Vec::new();
        for (job, place) in self.jobs.clone().into_iter().zip(0u32..) {
            let is_write = matches!(job.operation, Operation::Write { .. });
            let is_taken = is_write && taken >> (place % 8) & 1 == 1 && self.is_next(job.name);
            if is_taken {
                self.take_effect(&job);
                self.remove_job(job.name);
                self.requests[job.request].answered.get_or_insert(self.now);
            }
            let end = if is_taken { MirrorEnd::Executed } else { MirrorEnd::Abandoned };
            self.mirror(job.node, MirrorInput::Dropped { id: job.id, end });
            if is_write && job.heard {
                self.end_followed(1 - job.node, job.name, end);
            }
            if is_write {
                resolved.push((job, is_taken));
            }
        }
        self.jobs.clear();
        for node in 0..2 {
            // Both have these, and the last word was lost.
            for name in self.nodes[node].followed.clone() {
                self.end_followed(node, name, MirrorEnd::Executed);
            }
        }
        for (job, is_taken) in resolved {
            self.resolve(&job, is_taken, is_doubtful);
        }
        self.pass(1);
        for node in 0..2 {
            let export = self.nodes[node].export;
            self.mirror(node, MirrorInput::Serving { export, serving: true });
        }
    }

    /// Whether nothing is to come before it any more.
    fn is_next(&self, name: FollowedWrite) -> bool {
        self.jobs.iter().any(|job| job.name == name && job.after.is_empty())
    }

    /// Both nodes are told what became of a write. Of one that both had taken the copy that took effect counts.
    fn resolve(&mut self, job: &Job, is_taken: bool, is_doubtful: bool) {
        let Operation::Write { range, .. } = job.operation else { unreachable!("only writes are resolved") };
        let end = match (is_taken, is_doubtful) {
            (true, _) => MirrorEnd::Executed,
            (false, _) if self.requests[job.request].executed.is_some() => return,
            (false, true) => MirrorEnd::Doubtful,
            (false, false) => MirrorEnd::Abandoned,
        };
        let origin = job.origin.expect("a write has an origin");
        for node in 0..2 {
            let export = self.nodes[node].export;
            self.mirror(node, MirrorInput::Resolved { export, range, origin, end });
        }
    }

    fn pass(&mut self, milliseconds: u16) {
        self.now = self.now.after(Duration::from_millis(milliseconds.into()));
    }

    /// Lets everything come to rest, reads the disk by both nodes, and looks at what everybody saw.
    pub(crate) fn finish(mut self) {
        self.settle();
        self.pass(5000);
        for node in 0..2 {
            for lba in (0..SECTORS).step_by(4) {
                self.events += 1;
                self.issue(0, node, false, lba, 4, 0);
                self.settle();
            }
        }
        for node in &self.nodes {
            assert_eq!(node.target.outstanding(), 0, "requests are left over");
            assert!(node.buffers.is_empty(), "buffers are left over: {:?}", node.buffers);
        }
        (0..SECTORS).for_each(|sector| self.check_sector(sector));
        self.check_executions();
    }

    fn settle(&mut self) {
        loop {
            self.events += 1;
            let busy = |node: &usize| !self.nodes[*node].queue.is_empty();
            let spoken_to = |node: &usize| !self.nodes[*node].said_to.is_empty();
            if !self.wire.is_empty() {
                self.arrive(0);
            } else if let Some(node) = (0..2).find(busy) {
                self.handle(node);
            } else if let Some(node) = (0..2).find(spoken_to) {
                self.hear(node);
            } else if !self.jobs.is_empty() {
                self.complete(0);
            } else if !self.replies.is_empty() {
                self.answer(0, false);
            } else {
                return;
            }
        }
    }

    fn check_executions(&self) {
        for request in self.requests.iter().filter(|request| request.write) {
            let is_known = self.options.distinct_values || request.sequence.is_some();
            assert!(!is_known || !request.executed_anew, "a write is executed twice");
            let is_done = request.executed.is_some() || !is_known;
            assert!(request.ended.is_none() || is_done, "a write is acknowledged and was not executed");
        }
    }

    fn check_sector(&self, sector: u64) {
        let touched = |request: &&Request| bounds(request.range).contains(&index(sector));
        let operations: Vec<oracle::Operation> = self
            .requests
            .iter()
            .filter(touched)
            .filter(|request| request.write || request.ended.is_some())
            .map(|request| oracle::Operation {
                start: request.started,
                end: request.ended,
                value: match request.write {
                    true => request.value,
                    false => request.values_read[index(sector) - bounds(request.range).start],
                },
                is_write: request.write,
            })
            .collect();
        assert!(is_linearizable(&operations), "old data came back to sector {sector}: {operations:#?}");
    }
}

fn overlaps(job: &Job, range: LbaRange) -> bool {
    matches!(job.operation, Operation::Write { range: of_other, .. } if of_other.overlaps(range))
}

fn bounds(range: LbaRange) -> std::ops::Range<usize> {
    index(range.start().0)..index(range.end().0)
}

fn index(sector: u64) -> usize {
    usize::try_from(sector).expect("small")
}

fn pick(which: u8, count: usize) -> Option<usize> {
    (count > 0).then(|| usize::from(which) % count)
}
