//! Two hosts, two interfaces, two disks and a wire between, driven by steps that a property test makes up.
//!
//! The wire may lose, copy, delay and reorder frames; a receive queue may be read late; a disk does its requests in
//! any order and a sector at a time. What is taken for granted is what the design takes for granted: no duplicate of a
//! request reaches an interface more than a second after the request was first answered.

use std::collections::{BTreeMap, VecDeque};

use aoe::ata::AtaCommand;
use aoe::limits::{DUPLICATE_WINDOW, RESENT_AFTER_MIN};
use aoe::target::{
    ExportConfig, Identity, Input, Output, PortId, PortLink, Refusal, SmallState, Target, TargetLimits,
};
use aoe::wire::ata::{AtaFlags, LbaRegisters};
use aoe::wire::{Head, ata, ethernet, header};
use aoe::{Address, Command, MacAddress, Shelf, Slot, Tag};
use block::{
    BlockError, BufferName, Completion, Duration, ExportId, Instant, Lba, LbaRange, LogicalSectorSize,
    SectorCount,
};

use crate::disk::{Disk, Done, Job};
use crate::oracle::{Operation, is_linearizable};

/// Sectors of each disk: few, so that everything overlaps.
pub(crate) const SECTORS: u64 = 20;
const EXPORTS: u8 = 2;

/// Something that happens. Numbers choose among what there is at that moment.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// A host sends a new request.
    Issue { host: u8, export: u8, write: bool, lba: u8, count: u8, value: u8, port: u8 },
    /// A host sends an unanswered request again, under the same tag or a new one.
    Retransmit { which: u8, new_tag: bool, port: u8 },
    /// The wire brings a frame to its interface.
    Arrive(u8),
    /// The target reads the next frame of an interface.
    Handle(u8),
    /// A disk does one sector of a request.
    Progress(u8),
    /// A disk ends a request, maybe with an error before it is done.
    Complete { which: u8, fail: bool },
    /// An answer reaches its host, or is lost.
    Answer { which: u8, lost: bool },
    /// Time passes.
    Pass { milliseconds: u16 },
}

/// How the world is made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    /// Each write writes other bytes than all others, or one of three values.
    pub(crate) distinct_values: bool,
    pub(crate) logical_sector_size: LogicalSectorSize,
    pub(crate) outstanding_max: usize,
    /// Sectors that hosts use.
    pub(crate) sectors: u64,
    /// How much longer time takes to pass.
    pub(crate) slow: u16,
}

struct Request {
    host: u8,
    export: u8,
    write: bool,
    lba: u64,
    count: u8,
    value: u32,
    started: u64,
    /// When the first answer reached the host, and whether it was a success.
    ended: Option<(u64, bool)>,
    values_read: Vec<u32>,
    /// When the target first answered any frame of it.
    answered: Option<Instant>,
    executions: u32,
}

struct Packet {
    request: usize,
    tag: u32,
    port: u8,
}

struct Queued {
    packet: Packet,
    received: Instant,
}

struct Reply {
    request: usize,
    success: bool,
    values: Vec<u32>,
}

#[derive(Default)]
struct TagCount {
    /// By which port, and when it was received.
    taken: Vec<(u8, Instant)>,
    answered: usize,
}

pub(crate) struct World {
    options: Options,
    target: Target,
    exports: Vec<ExportId>,
    now: Instant,
    events: u64,
    requests: Vec<Request>,
    tags: Vec<(usize, TagCount)>,
    wire: Vec<Packet>,
    queues: [VecDeque<Queued>; 2],
    disk: Disk,
    replies: Vec<Reply>,
    /// Bytes of frames and of what was read, until the target lets go of them.
    buffers: BTreeMap<BufferName, (Vec<u8>, Option<usize>)>,
    buffers_made: u64,
}

/// A host has an address an interface.
fn host_mac(host: u8, port: u8) -> MacAddress {
    MacAddress([2, 0, 0, 1, port, host])
}

fn target_mac(port: u8) -> MacAddress {
    MacAddress([2, 0, 0, 0, 1, port])
}

fn pick(number: u8, length: usize) -> Option<usize> {
    (length > 0).then(|| usize::from(number) % length)
}

impl World {
    pub(crate) fn new(options: Options) -> Self {
        let limits = TargetLimits {
            outstanding_max: options.outstanding_max,
            write_history_max: 256,
            export_max: 4,
            followed_max: 64,
            digest_seed: 42,
        };
        let mut target = Target::new(limits);
        let now = Instant::from_nanos(5_000_000_000);
        for port in 0..2 {
            let link = Some(PortLink { mac: target_mac(port), mtu: 9000 });
            let input = Input::PortChanged { port: PortId(port), link };
            target.handle_input(now, input).expect("no frame");
        }
        let exports = (0..EXPORTS).map(|slot| {
            let config = ExportConfig {
                address: Address::new(Shelf(7), Slot(slot)).expect("an address"),
                sectors: SECTORS.next_multiple_of(8),
                logical_sector_size: options.logical_sector_size,
                identity: Identity::new("7", "model", "1"),
                read_only: false,
                write_cache: false,
                buffer_count: 16,
                state: SmallState::default(),
                mirror: None,
            };
            target.add_export(now, config).expect("a good config")
        });
        let exports = exports.collect();
        Self {
            options,
            target,
            exports,
            now,
            events: 0,
            requests: Vec::new(),
            tags: Vec::new(),
            wire: Vec::new(),
            queues: [VecDeque::new(), VecDeque::new()],
            disk: Disk::new(usize::from(EXPORTS), options.logical_sector_size),
            replies: Vec::new(),
            buffers: BTreeMap::new(),
            buffers_made: 0,
        }
    }

    pub(crate) fn step(&mut self, step: &Step) {
        self.events += 1;
        match *step {
            Step::Issue { host, export, write, lba, count, value, port } => {
                let lba = u64::from(lba) % self.options.sectors;
                let count = 1 + count % 4.min(u8::try_from(self.options.sectors - lba).expect("small"));
                self.issue(host, export % EXPORTS, write, lba, count, value, port % 2);
            }
            Step::Retransmit { which, new_tag, port } => self.retransmit(which, new_tag, port % 2),
            Step::Arrive(which) => self.arrive(which),
            Step::Handle(port) => self.handle(port % 2),
            Step::Progress(which) => self.disk.progress(which),
            Step::Complete { which, fail } => self.complete(which, fail),
            Step::Answer { which, lost } => self.answer(which, lost),
            Step::Pass { milliseconds } => self.pass(milliseconds.saturating_mul(self.options.slow)),
        }
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of a step")]
    fn issue(&mut self, host: u8, export: u8, write: bool, lba: u64, count: u8, value: u8, port: u8) {
        let distinct = u32::try_from(self.requests.len() + 1).expect("a short run");
        self.requests.push(Request {
            host: host % 2,
            export,
            write,
            lba,
            count,
            value: if self.options.distinct_values { distinct } else { 1 + u32::from(value % 3) },
            started: self.events,
            ended: None,
            values_read: Vec::new(),
            answered: None,
            executions: 0,
        });
        self.transmit(self.requests.len() - 1, None, port);
    }

    fn transmit(&mut self, request: usize, tag: Option<u32>, port: u8) {
        let tag = tag.unwrap_or_else(|| {
            self.tags.push((request, TagCount::default()));
            u32::try_from(self.tags.len() - 1).expect("a short run")
        });
        self.wire.push(Packet { request, tag, port });
    }

    fn retransmit(&mut self, which: u8, new_tag: bool, port: u8) {
        let waiting = |(index, request): (usize, &Request)| request.ended.is_none().then_some(index);
        let waiting: Vec<usize> = self.requests.iter().enumerate().filter_map(waiting).collect();
        let Some(place) = pick(which, waiting.len()) else { return };
        let request = waiting[place];
        let last = self.tags.iter().rposition(|(of, _)| *of == request).expect("it was sent once");
        let tag = (!new_tag).then(|| u32::try_from(last).expect("a short run"));
        self.transmit(request, tag, port);
    }

    fn arrive(&mut self, which: u8) {
        let Some(place) = pick(which, self.wire.len()) else { return };
        let packet = self.wire.remove(place);
        let answered = self.requests[packet.request].answered;
        if answered.is_some_and(|answered| self.now.since(answered) > DUPLICATE_WINDOW) {
            return;
        }
        self.queues[usize::from(packet.port)].push_back(Queued { packet, received: self.now });
    }

    fn handle(&mut self, port: u8) {
        let Some(Queued { packet, received }) = self.queues[usize::from(port)].pop_front() else { return };
        let frame = self.frame(&packet);
        let buffer = self.buffer(frame.clone(), Some(packet.request));
        let input = Input::Frame { port: PortId(port), received, frame: &frame, buffer };
        match self.target.handle_input(self.now, input) {
            Ok(()) => {
                self.tags[packet.tag as usize].1.taken.push((port, received));
            }
            Err(Refusal::Stale | Refusal::Superseded | Refusal::TooManyOutstanding) => {}
            Err(refusal) => panic!("a good request was refused: {refusal}"),
        }
        self.drain();
    }

    fn frame(&self, packet: &Packet) -> Vec<u8> {
        let Request { host, export, write, lba, count, value, .. } = self.requests[packet.request];
        let address = Address::new(Shelf(7), Slot(export)).expect("an address");
        let head = Head {
            ethernet: ethernet::Repr {
                destination: target_mac(packet.port),
                source: host_mac(host, packet.port),
            },
            header: header::Repr::request(address.into(), Command::Ata, Tag(packet.tag)),
        };
        let (command, flags) = if write {
            (AtaCommand::WriteSectorsExt, AtaFlags::WRITE | AtaFlags::EXTENDED)
        } else {
            (AtaCommand::ReadSectorsExt, AtaFlags::EXTENDED)
        };
        let lba = LbaRegisters::from_lba48(Lba(lba));
        let mut frame = vec![0; 60];
        head.emit(&mut frame);
        ata::Request { flags, feature: 0, sector_count: count, command, lba }.emit(&mut frame);
        if write {
            frame.truncate(36);
            frame.extend(value.to_le_bytes().repeat(usize::from(count) * 128));
        }
        frame
    }

    fn buffer(&mut self, bytes: Vec<u8>, request: Option<usize>) -> BufferName {
        self.buffers_made += 1;
        let name = BufferName(self.buffers_made);
        self.buffers.insert(name, (bytes, request));
        name
    }

    fn drain(&mut self) {
        while let Some(output) = self.target.poll_output() {
            match output {
                Output::Block(request) => {
                    let export = self.exports.iter().position(|id| *id == request.export).expect("ours");
                    let job = Job::new(request, export, |slice| {
                        self.data(slice.buffer, slice.offset, slice.length)
                    });
                    if let Some(buffer) = job.buffer() {
                        let (_, of) = &self.buffers[&buffer];
                        self.requests[of.expect("a frame's buffer")].executions += 1;
                    }
                    self.disk.start(job);
                }
                Output::Send(transmit) => {
                    let values = transmit.payload.map(|slice| {
                        let values = self.data(slice.buffer, slice.offset, slice.length);
                        self.release(slice.buffer);
                        values
                    });
                    self.sent(transmit.port.0, transmit.head.bytes(), values.unwrap_or_default());
                }
                Output::Release(buffer) => self.release(buffer),
                Output::SendControl { .. }
                | Output::StoreState { .. }
                | Output::MirrorBlock { .. }
                | Output::Returned { .. } => {
                    panic!("nobody asked for {output:?}")
                }
            }
        }
    }

    /// One value for each sector in a piece of a buffer that must still be there.
    fn data(&self, buffer: BufferName, offset: u32, length: u32) -> Vec<u32> {
        let (bytes, _) = self.buffers.get(&buffer).expect("the buffer was not released yet");
        let bytes = &bytes[offset as usize..(offset + length) as usize];
        let first = |sector: &[u8]| u32::from_le_bytes([sector[0], sector[1], sector[2], sector[3]]);
        bytes.chunks(512).map(first).collect()
    }

    fn release(&mut self, buffer: BufferName) {
        assert!(self.buffers.remove(&buffer).is_some(), "{buffer:?} is released twice");
    }

    /// The target sends an answer.
    fn sent(&mut self, port: u8, bytes: &[u8], values: Vec<u32>) {
        let tag = u32::from_be_bytes([bytes[20], bytes[21], bytes[22], bytes[23]]);
        let (request, count) = &mut self.tags[tag as usize];
        // The answer to a frame that is answered at once is sent before the frame counts as taken.
        count.answered += 1;
        let ports = &count.taken;
        assert!(ports.is_empty() || count.answered > ports.len() || ports.iter().any(|(of, _)| *of == port));
        let success = bytes[27] == 0x40;
        self.replies.push(Reply { request: *request, success, values });
        self.requests[*request].answered.get_or_insert(self.now);
    }

    fn complete(&mut self, which: u8, fail: bool) {
        let Some(Done { id, values }) = self.disk.complete(which, fail) else { return };
        let result = if fail {
            Err(BlockError::Medium)
        } else {
            Ok(values.map(|values| {
                let bytes: Vec<u8> =
                    values.iter().flat_map(|value| value.to_le_bytes().repeat(128)).collect();
                let length = u32::try_from(bytes.len()).expect("small");
                block::BufferSlice { buffer: self.buffer(bytes, None), offset: 0, length }
            }))
        };
        self.target.handle_input(self.now, Input::Completed(Completion { id, result })).expect("no frame");
        self.drain();
    }

    fn answer(&mut self, which: u8, lost: bool) {
        let Some(place) = pick(which, self.replies.len()) else { return };
        let Reply { request, success, values } = self.replies.remove(place);
        let request = &mut self.requests[request];
        if !lost && request.ended.is_none() {
            request.ended = Some((self.events, success));
            request.values_read = values;
        }
    }

    /// Whether the answer to a request, by its place in the order of issue, has reached its host.
    pub(crate) fn has_answer(&self, request: usize) -> bool {
        self.requests[request].ended.is_some()
    }

    fn pass(&mut self, milliseconds: u16) {
        self.now = self.now.after(Duration::from_millis(milliseconds.into()));
        if self.target.poll_timeout().is_some_and(|due| due <= self.now) {
            self.target.handle_input(self.now, Input::Timeout).expect("no frame");
            while self.target.poll_output().is_some() {}
        }
    }

    /// Lets everything come to rest, reads the disks, and looks at what everybody saw.
    pub(crate) fn finish(mut self) {
        self.settle();
        self.pass(5000);
        for export in 0..EXPORTS {
            for lba in (0..SECTORS).step_by(4) {
                self.events += 1;
                self.issue(0, export, false, lba, 4, 0, 0);
                self.settle();
            }
        }
        assert_eq!(self.target.outstanding(), 0, "requests are left over");
        assert!(self.buffers.is_empty(), "buffers are left over: {:?}", self.buffers.keys());
        for export in 0..EXPORTS {
            for sector in 0..SECTORS {
                self.check_sector(export, sector);
            }
        }
        self.check_answers();
    }

    fn settle(&mut self) {
        loop {
            self.events += 1;
            if !self.wire.is_empty() {
                self.arrive(0);
            } else if let Some(port) = (0..2).find(|port| !self.queues[usize::from(*port)].is_empty()) {
                self.handle(port);
            } else if !self.disk.is_idle() {
                self.complete(0, false);
            } else if !self.replies.is_empty() {
                self.answer(0, false);
            } else {
                return;
            }
        }
    }

    /// Every frame that was taken is answered under its own tag, but for writes that grew too old while they waited, and those that
    /// the same interface has asked for again since; and every write that was answered well was executed, once where
    /// no other has the same bytes.
    fn check_answers(&self) {
        let dropped: u64 = self
            .exports
            .iter()
            .map(|id| self.target.export(*id).expect("served").statistics().stale_dropped)
            .sum();
        let mut silent = 0;
        for (tag, (request, count)) in self.tags.iter().enumerate() {
            assert!(count.answered <= count.taken.len(), "tag {tag} is answered more often than asked");
            let unanswered = count.answered < count.taken.len();
            assert!(
                !unanswered
                    || self.is_asked_again(*request, count)
                    || (self.requests[*request].write && dropped > 0),
                "tag {tag} is not answered"
            );
            silent += u64::from(unanswered);
        }
        assert!(silent > 0 || dropped == 0, "a write that was dropped was answered");
        for request in self.requests.iter().filter(|request| request.write && self.options.distinct_values) {
            let failed = request.answered.is_some() && !matches!(request.ended, Some((_, true)));
            assert!(
                request.executions <= 1 || failed || self.disk.failures() > 0,
                "a write is executed twice"
            );
            if let Some((_, true)) = request.ended {
                assert!(request.executions > 0, "a write is acknowledged and was not executed");
            }
        }
    }

    /// Whether a frame of `count` was followed by one for the same from the same interface, so late that it was sent again.
    fn is_asked_again(&self, request: usize, count: &TagCount) -> bool {
        let what = |of: usize| {
            let Request { host, export, write, lba, count, value, .. } = self.requests[of];
            (host, export, write, lba, count, if write { value } else { 0 })
        };
        let mut later =
            self.tags.iter().filter(|(of, _)| what(*of) == what(request)).flat_map(|(_, of)| &of.taken);
        later.any(|(port, received)| {
            count.taken.iter().any(|(of, earlier)| of == port && received.since(*earlier) >= RESENT_AFTER_MIN)
        })
    }

    fn check_sector(&self, export: u8, sector: u64) {
        let touches = |request: &&Request| {
            let range = LbaRange::new(Lba(request.lba), SectorCount(request.count.into())).expect("small");
            request.export == export && range.start().0 <= sector && sector < range.end().0
        };
        let seen = |request: &Request| match (request.write, request.ended) {
            (true, Some((end, true))) => Some((Some(end), request.value)),
            (true, _) => Some((None, request.value)),
            (false, Some((end, true))) => {
                let place = usize::try_from(sector - request.lba).expect("small");
                Some((Some(end), request.values_read[place]))
            }
            (false, _) => None,
        };
        let operations: Vec<Operation> = self
            .requests
            .iter()
            .filter(touches)
            .filter_map(|request| {
                let (end, value) = seen(request)?;
                Some(Operation { start: request.started, end, value, is_write: request.write })
            })
            .collect();
        assert!(
            is_linearizable(&operations),
            "old data came back to sector {sector} of {export}: {operations:#?}"
        );
    }
}
