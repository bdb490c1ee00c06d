//! Two nodes whose disks, link and arbiter do at once what they are asked. Nothing goes wrong but what the story says.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;

use aoe::ata::AtaCommand;
use aoe::target::{ExportConfig, Identity, PortId, PortLink, SmallState, TargetLimits};
use aoe::wire::ata::{AtaFlags, LbaRegisters};
use aoe::wire::{Head, ata, ethernet, header, sequenced};
use aoe::{Address, Command, MacAddress, Shelf, Slot, Tag};
use block::{
    BlockRequest, BufferName, BufferSlice, Completion, ExportId, Instant, Lba, LogicalSectorSize, Operation,
};
use node::{Input, Node, Output, PairConfig};
use replication::identity::{FormatIdentity, PairIdentity, VolumeIdentity};
use replication::input::{ArbiterAnswer, Control};
use replication::limits::{LEASE, Limits};
use replication::membership::{Membership, NodeNumber};
use replication::message::{Message, VolumeMessage};
use replication::meta::layout::{HOT_EXTENTS_MIN, Layout};
use replication::meta::{Format, format, open};
use replication::mutation::Mutation;
use replication::output::Event;
use replication::start::VolumeConfig;
use replication::version::VersionRange;

const SECTORS: u64 = 64;
/// Where everybody writes: two sectors.
const LBA: Lba = Lba(8);
const COUNT: u8 = 2;
const PORT: PortId = PortId(0);
const PAIR: PairIdentity = PairIdentity(7);
const VOLUME: VolumeIdentity = VolumeIdentity(1);
const NUMBERS: [NodeNumber; 2] = [NodeNumber::Zero, NodeNumber::One];

/// A request, as it comes out of the network.
#[derive(Clone, Copy)]
pub(crate) struct Frame {
    host: u8,
    tag: u32,
    /// Of a sequenced write.
    number: Option<u64>,
    /// Of a write.
    content: Option<char>,
}

impl Frame {
    pub(crate) const fn stock(tag: u32, content: char) -> Self {
        Self { host: 1, tag, number: None, content: Some(content) }
    }

    #[allow(dead_code, reason = "only one of the two tests that share this reads")]
    pub(crate) const fn read(tag: u32) -> Self {
        Self { host: 1, tag, number: None, content: None }
    }

    pub(crate) const fn numbered(tag: u32, number: u64, content: char) -> Self {
        Self { host: 9, tag, number: Some(number), content: Some(content) }
    }

    /// Another host's.
    pub(crate) const fn of(self, host: u8) -> Self {
        Self { host, ..self }
    }

    /// The same write under another tag.
    pub(crate) const fn again(self, tag: u32) -> Self {
        Self { tag, ..self }
    }

    fn bytes(self, node: usize) -> Vec<u8> {
        let command = if self.number.is_some() { sequenced::COMMAND } else { Command::Ata };
        let address = Address::new(Shelf(7), Slot(1)).expect("an address");
        let head = Head {
            ethernet: ethernet::Repr {
                destination: mac(node),
                source: MacAddress([2, 0, 0, 0, 1, self.host]),
            },
            header: header::Repr::request(address.into(), command, Tag(self.tag)),
        };
        let (flags, command) = match self.content {
            Some(_) => (AtaFlags::WRITE | AtaFlags::EXTENDED, AtaCommand::WriteSectorsExt),
            None => (AtaFlags::EXTENDED, AtaCommand::ReadSectorsExt),
        };
        let lba = LbaRegisters::from_lba48(LBA);
        let registers = ata::Request { flags, feature: 0, sector_count: COUNT, command, lba };
        let mut frame = vec![0; 60];
        head.emit(&mut frame);
        let Some(content) = self.content else {
            registers.emit(&mut frame);
            return frame;
        };
        let data = vec![u8::try_from(content).expect("ASCII"); usize::from(COUNT) * 512];
        if let Some(sequence) = self.number {
            let (checksum, initiator) = (sequenced::checksum(&data), u64::from(self.host));
            sequenced::Request::Write { checksum, initiator, sequence, registers }.emit(&mut frame);
        } else {
            registers.emit(&mut frame);
            frame.truncate(36);
        }
        frame.extend_from_slice(&data);
        frame
    }

    fn text(self) -> String {
        let Self { host, tag, number, content } = self;
        let number = number.map_or(String::new(), |number| format!("number {number}, "));
        match content {
            Some(content) => format!("from host {host}, tag {tag}: write {number}{LBA}+{COUNT} {content}"),
            None => format!("from host {host}, tag {tag}: read {LBA}+{COUNT}"),
        }
    }
}

fn mac(node: usize) -> MacAddress {
    MacAddress([2, 0, 0, 0, 0, u8::try_from(node).expect("two nodes")])
}

/// A node, what is on its disks, and what it is about to hear.
struct Side {
    node: Option<Node>,
    #[allow(dead_code, reason = "none is made without the feature")]
    mistake: Option<Mutation>,
    export: ExportId,
    incarnation: u64,
    sectors: BTreeMap<u64, Vec<u8>>,
    metadata: Vec<u8>,
    buffers: BTreeMap<u64, Vec<u8>>,
    done: VecDeque<Done>,
}

/// What a node is to be told.
enum Done {
    Disk(Completion),
    Metadata(replication::input::MetadataId),
    Connected,
    Disconnected,
    Said(Message, Option<Vec<u8>>),
    Arbiter(u64, ArbiterAnswer),
}

pub(crate) struct World {
    now: Instant,
    begin: Instant,
    sides: [Side; 2],
    arbiter: Membership,
    /// What the nodes say to each other is lost.
    is_silent: bool,
    next_buffer: u64,
    text: String,
}

impl World {
    /// A pair that has met and serves.
    pub(crate) fn new(title: &str, mistake: Option<Mutation>) -> Self {
        let begin = Instant::default().after(block::Duration::from_secs(100));
        let mut world = Self {
            now: begin,
            begin,
            sides: [side(0, mistake), side(1, mistake)],
            arbiter: Membership::FIRST,
            is_silent: false,
            next_buffer: 0,
            text: String::new(),
        };
        world.start(0);
        world.start(1);
        world.passes(5000);
        (world.begin, world.text) = (world.now, format!("# {title}\n"));
        world
    }

    /// Why, in words.
    pub(crate) fn note(&mut self, text: &str) {
        writeln!(self.text, "\n# {text}").expect("a string takes everything");
    }

    pub(crate) fn told(self) -> String {
        self.text
    }

    fn line(&mut self, what: std::fmt::Arguments<'_>) {
        let milliseconds = self.now.since(self.begin).as_millis();
        writeln!(self.text, "{milliseconds:>7} ms  {what}").expect("a string takes everything");
    }

    fn effect(&mut self, node: usize, what: std::fmt::Arguments<'_>) {
        writeln!(self.text, "            node {node} -> {what}").expect("a string takes everything");
    }

    /// A frame comes to a node.
    pub(crate) fn arrives(&mut self, node: usize, frame: Frame) {
        self.comes(node, frame);
        self.settle();
    }

    /// These come to a node before its disk has ended anything, and then its operator has it leave.
    #[allow(dead_code, reason = "only one of the two tests that share this has a node leave")]
    pub(crate) fn leaves_amid(&mut self, node: usize, frames: &[Frame]) {
        frames.iter().for_each(|frame| self.comes(node, *frame));
        self.control(node, Control::Leave);
    }

    /// The operator of a node wants something.
    pub(crate) fn control(&mut self, node: usize, control: Control) {
        self.line(format_args!("node {node}'s operator: {control:?}"));
        let volume = self.sides[node].export;
        self.tell(node, Input::Control { volume, control });
        self.settle();
    }

    fn comes(&mut self, node: usize, frame: Frame) {
        self.line(format_args!("node {node} <- {}", frame.text()));
        let buffer = self.buffer(node, frame.bytes(node));
        let now = self.now;
        let side = &mut self.sides[node];
        let bytes = side.buffers[&buffer.0].clone();
        let running = side.node.as_mut().expect("it runs");
        let input = Input::Frame { port: PORT, received: now, frame: &bytes, buffer };
        if let Err(refused) = running.handle_input(now, input) {
            self.effect(node, format_args!("{refused}"));
        }
    }

    /// Both disks hold that.
    pub(crate) fn stands(&mut self, content: char) {
        for side in &self.sides {
            for sector in LBA.0..LBA.0 + u64::from(COUNT) {
                assert_eq!(side.sectors[&sector], vec![u8::try_from(content).expect("ASCII"); 512]);
            }
        }
        self.line(format_args!("both disks hold {content}"));
    }

    /// What the nodes say to each other is lost from now on, and neither has noticed it.
    pub(crate) fn falls_silent(&mut self) {
        self.line(format_args!("the link between the nodes falls silent"));
        self.is_silent = true;
    }

    /// Both nodes notice that the link is gone, and are connected again before either asks the arbiter.
    pub(crate) fn parts_and_is_back(&mut self) {
        self.line(format_args!("the link breaks, and is back"));
        for done in [|| Done::Disconnected, || Done::Connected] {
            self.sides.iter_mut().for_each(|side| side.done.push_back(done()));
            self.settle();
            self.is_silent = false;
        }
    }

    /// The process ends at once.
    pub(crate) fn kill(&mut self, node: usize) {
        self.line(format_args!("node {node} is killed"));
        let side = &mut self.sides[node];
        side.node = None;
        side.buffers.clear();
        side.done.clear();
        self.sides[1 - node].done.push_back(Done::Disconnected);
        self.settle();
    }

    /// A new process begins with what is on the disks.
    pub(crate) fn start(&mut self, node: usize) {
        self.line(format_args!("node {node} starts"));
        let now = self.now;
        self.sides[node].start(now, node);
        if self.sides.iter().all(|side| side.node.is_some()) {
            self.sides.iter_mut().for_each(|side| side.done.push_back(Done::Connected));
        }
        self.settle();
    }

    /// Time passes, and whoever waits for a moment is told when it has come.
    pub(crate) fn passes(&mut self, milliseconds: u64) {
        let end = self.now.after(block::Duration::from_millis(milliseconds));
        loop {
            let due = self.sides.iter().filter_map(|side| side.node.as_ref()?.poll_timeout()).min();
            let Some(due) = due.filter(|due| *due <= end) else { break };
            self.now = self.now.max(due);
            for node in 0..2 {
                self.tell(node, Input::Timeout);
            }
            self.settle();
        }
        self.now = end;
    }

    fn tell(&mut self, node: usize, input: Input<'_>) {
        let now = self.now;
        if let Some(running) = &mut self.sides[node].node {
            running.handle_input(now, input).expect("only frames are refused");
        }
    }

    /// Until nobody has anything to say or to do.
    fn settle(&mut self) {
        while (0..2).any(|node| self.acts(node) | self.hears(node)) {}
    }

    fn acts(&mut self, node: usize) -> bool {
        let output = self.sides[node].node.as_mut().and_then(Node::poll_output);
        output.map(|output| self.carry_out(node, output)).is_some()
    }

    fn hears(&mut self, node: usize) -> bool {
        let Some(done) = self.sides[node].done.pop_front() else { return false };
        let volume = self.sides[node].export;
        let input = match done {
            Done::Disk(completion) => Input::Completed(completion),
            Done::Metadata(id) => Input::MetadataWritten { id, result: Ok(()) },
            Done::Connected => Input::PeerConnected,
            Done::Disconnected => Input::PeerDisconnected,
            Done::Arbiter(question, answer) => Input::ArbiterAnswered { volume, question, answer },
            Done::Said(message, data) => {
                let data = data.map(|bytes| {
                    let length = u32::try_from(bytes.len()).expect("short");
                    BufferSlice { buffer: self.buffer(node, bytes), offset: 0, length }
                });
                Input::PeerMessage { message, data }
            }
        };
        self.tell(node, input);
        true
    }

    fn carry_out(&mut self, node: usize, output: Output) {
        match output {
            Output::Disk(request) => self.disk(node, &request),
            Output::Send(transmit) => {
                let bytes = transmit.head.bytes();
                let tag = u32::from_be_bytes([bytes[20], bytes[21], bytes[22], bytes[23]]);
                let status = if bytes[19] == 0 { bytes[27] } else { bytes[51] };
                assert_eq!(status, 0x40, "no errors in these stories");
                let source = if bytes[6..12] == mac(node).0 { "" } else { " from the other one's address" };
                match transmit.payload {
                    None => self.effect(node, format_args!("answers tag {tag}{source}")),
                    Some(BufferSlice { buffer, offset, .. }) => {
                        let read = self.sides[node].buffers.remove(&buffer.0).expect("once");
                        let content = char::from(read[offset as usize]);
                        self.effect(node, format_args!("answers tag {tag}{source}: {content}"));
                    }
                }
            }
            Output::Arrived { port, received, frame: BufferSlice { buffer, length, .. } } => {
                self.effect(node, format_args!("takes what the other one has handed over"));
                let bytes = self.sides[node].buffers[&buffer.0][..length as usize].to_vec();
                self.tell(node, Input::Handed { port, received, frame: &bytes, buffer });
            }
            Output::Release(buffer) => _ = self.sides[node].buffers.remove(&buffer.0).expect("once"),
            Output::PeerSend { message, data } => self.say(node, message, data),
            Output::MetadataWrite { id, place, .. } => {
                let side = &mut self.sides[node];
                let record = side.node.as_ref().expect("it runs").metadata_record(id);
                let at = usize::try_from(place.0).expect("small");
                side.metadata[at..at + record.len()].copy_from_slice(record);
                side.done.push_back(Done::Metadata(id));
            }
            Output::Ask { question, expected, next, .. } => {
                let answer = if self.arbiter == expected {
                    self.arbiter = next;
                    ArbiterAnswer::Swapped
                } else {
                    ArbiterAnswer::Holds(self.arbiter)
                };
                self.sides[node].done.push_back(Done::Arbiter(question, answer));
            }
            Output::Event { event: Event::Paired { lacking, .. }, .. } => {
                self.effect(node, format_args!("has met the other one, lacks {lacking} blocks"));
            }
            Output::Event { event: Event::Alone(_), .. } => {
                self.effect(node, format_args!("serves alone"));
            }
            Output::Event { .. } | Output::SendControl { .. } => {}
            other => unreachable!("not in these stories: {other:?}"),
        }
    }

    fn disk(&mut self, node: usize, request: &BlockRequest) {
        let result = match request.operation {
            Operation::Write { range, data, .. } => {
                let side = &mut self.sides[node];
                let start = data.offset as usize;
                let bytes = side.buffers[&data.buffer.0][start..start + data.length as usize].to_vec();
                let content = char::from(bytes[0]);
                for (sector, bytes) in (range.start().0..).zip(bytes.chunks_exact(512)) {
                    side.sectors.insert(sector, bytes.to_vec());
                }
                if range.start() == LBA {
                    self.effect(node, format_args!("disk: write {range} {content}"));
                } else {
                    self.effect(node, format_args!("disk: write {range}, a copy"));
                }
                None
            }
            Operation::Read { range } => {
                let zeros = vec![0; 512];
                let sectors = &self.sides[node].sectors;
                let bytes: Vec<u8> = (range.start().0..range.end().0)
                    .flat_map(|sector| sectors.get(&sector).unwrap_or(&zeros).clone())
                    .collect();
                let length = u32::try_from(bytes.len()).expect("short");
                Some(BufferSlice { buffer: self.buffer(node, bytes), offset: 0, length })
            }
            Operation::Flush => None,
        };
        self.sides[node].done.push_back(Done::Disk(Completion { id: request.id, result: Ok(result) }));
    }

    fn say(&mut self, node: usize, message: Message, data: Option<BufferSlice>) {
        let data = data.map(|data| {
            let start = data.offset as usize;
            self.sides[node].buffers[&data.buffer.0][start..start + data.length as usize].to_vec()
        });
        match &message {
            Message::Volume(_, VolumeMessage::Replicate { range, .. }) => {
                self.effect(node, format_args!("tells the other one: Replicate {range}"));
            }
            Message::Volume(_, VolumeMessage::Numbers(windows)) => {
                for window in windows {
                    let executed: u32 = window.executed.iter().map(|word| word.count_ones()).sum();
                    self.effect(
                        node,
                        format_args!(
                            "tells the other one: Numbers, initiator {}: latest {}, executed {executed}",
                            window.initiator, window.latest
                        ),
                    );
                }
            }
            Message::Volume(_, VolumeMessage::Handed(_)) => {
                self.effect(node, format_args!("hands a frame to the other one"));
            }
            Message::Volume(_, VolumeMessage::Leave) => {
                self.effect(node, format_args!("tells the other one: Leave"));
            }
            _ => {}
        }
        let other = &mut self.sides[1 - node];
        if other.node.is_some() && !self.is_silent {
            other.done.push_back(Done::Said(message, data));
        }
    }

    fn buffer(&mut self, node: usize, bytes: Vec<u8>) -> BufferName {
        self.next_buffer += 1;
        let name = BufferName(self.next_buffer);
        self.sides[node].buffers.insert(name.0, bytes);
        name
    }
}

impl Side {
    fn start(&mut self, now: Instant, number: usize) {
        self.incarnation += 1;
        let limits = TargetLimits {
            outstanding_max: 16,
            write_history_max: 64,
            export_max: 1,
            followed_max: 32,
            digest_seed: self.incarnation,
        };
        let pair = PairConfig {
            node: NUMBERS[number],
            pair: PAIR,
            incarnation: self.incarnation,
            lease: LEASE,
            limits: Limits { requests: 16, followed: 32, copies: 4, volumes: 1, runs_at_once: 64 },
            versions: VersionRange::ALL,
        };
        let mut node = Node::with_peer(now, limits, pair);
        #[cfg(feature = "mutations")]
        if let Some(mistake) = self.mistake {
            node.mutate(mistake);
        }
        let metadata = &self.metadata;
        let opened = open(|place, bytes| {
            let at = usize::try_from(place.0).expect("small");
            bytes.copy_from_slice(&metadata[at..at + bytes.len()]);
            Ok(())
        });
        let config = ExportConfig {
            address: Address::new(Shelf(7), Slot(1)).expect("an address"),
            sectors: SECTORS,
            logical_sector_size: LogicalSectorSize::B512,
            identity: Identity::new("story", "told", "1"),
            read_only: false,
            write_cache: false,
            buffer_count: 16,
            state: SmallState::default(),
            mirror: None,
        };
        let opened = opened.expect("metadata that the node has written");
        let added = node.add_mirrored_export(now, config, opened, VolumeConfig::default());
        self.export = added.expect("there is room");
        let link = Some(PortLink { mac: mac(number), mtu: 9000 });
        for input in
            [Input::PortChanged { port: PORT, link }, Input::PeerAddress { port: PORT, mac: mac(1 - number) }]
        {
            node.handle_input(now, input).expect("only frames are refused");
        }
        self.node = Some(node);
    }
}

fn side(number: usize, mistake: Option<Mutation>) -> Side {
    let records = format(Format {
        format: FormatIdentity(50 + number as u128),
        volume: VOLUME,
        pair: PAIR,
        node: NUMBERS[number],
        layout: Layout::new(SECTORS, HOT_EXTENTS_MIN).expect("a small volume"),
        membership: Membership::FIRST,
        good: true,
    });
    let mut metadata = vec![0; usize::try_from(records.byte_count()).expect("small")];
    for (place, record) in records.superblock_records() {
        let at = usize::try_from(place.0).expect("small");
        metadata[at..at + record.len()].copy_from_slice(&record);
    }
    Side {
        node: None,
        mistake,
        export: ExportId(0),
        incarnation: 0,
        sectors: BTreeMap::new(),
        metadata,
        buffers: BTreeMap::new(),
        done: VecDeque::new(),
    }
}
