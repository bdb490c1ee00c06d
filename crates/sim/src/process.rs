//! A node: a machine with a clock and disks, and on it a process with the real code, that lives until it is killed.
//!
//! It does what the shell around a node does on a real machine: hands in what happens, carries out what the node says.
//! What has to leave the machine, or takes time, is an [`Effect`] for the world.

use std::collections::VecDeque;

use aoe::Digest;
use aoe::target::{ExportConfig, PortId, PortLink, TargetLimits};
use block::{BlockRequest, BufferSlice, Completion, ExportId, Instant, Operation, RequestId};
use node::{Input, Node, Output, PairConfig};
use replication::input::{ArbiterAnswer, Control, MetadataId};
use replication::membership::Membership;
use replication::meta;
use replication::output::Event;
use replication::start::VolumeConfig;
use replication::volume::VolumeStatus;

use crate::buffers::Buffers;
use crate::clock::Clock;
use crate::disk::{Answer, Ask, Disk, Loss, Ticket};
use crate::fault::FaultCounts;
use crate::peer_link::{Connection, Delivery};
use crate::stream::{self, Received, Stream};

/// The digests that nodes tell each other are made under this number.
const DIGEST_SEED: u64 = 0x5eed;

/// What a node's process is told.
#[derive(Debug)]
pub enum Happening {
    /// A frame came in at a port.
    Frame {
        /// Which.
        port: u8,
        /// All of it.
        bytes: Vec<u8>,
    },
    /// The data disk has answered.
    Disk {
        /// What the node asked.
        id: RequestId,
        /// What it says.
        answer: Answer,
    },
    /// The disk of the metadata has answered.
    Metadata {
        /// What the node asked.
        id: MetadataId,
        /// What it says.
        answer: Answer,
    },
    /// Something comes out of the link to the peer.
    Peer(Delivery),
    /// The arbiter has answered, or the wait for it has ended.
    Arbiter {
        /// About which volume.
        volume: usize,
        /// Which question.
        number: u64,
        /// What.
        answer: ArbiterAnswer,
    },
    /// The operator wants something of every volume.
    Control(Control),
}

/// What the world has to do for a node.
#[derive(Debug)]
pub enum Effect {
    /// Carry a frame.
    Send {
        /// Out of which port.
        port: u8,
        /// All of it.
        bytes: Vec<u8>,
    },
    /// A disk will have done this at that moment.
    DiskDone {
        /// When.
        at: Instant,
        /// Of which volume.
        volume: usize,
        /// What the disk calls it.
        ticket: Ticket,
        /// What the node calls it.
        of: Asked,
    },
    /// Carry bytes to the peer.
    PeerSend {
        /// By which connection.
        connection: Connection,
        /// What.
        bytes: Vec<u8>,
    },
    /// Close a connection.
    PeerClose(Connection),
    /// Ask the arbiter.
    Ask {
        /// About which volume.
        volume: usize,
        /// The node's number for it.
        number: u64,
        /// What it must hold.
        expected: Membership,
        /// What it shall hold.
        next: Membership,
    },
    /// The node tells its operator something.
    Event {
        /// About which volume.
        volume: usize,
        /// What.
        event: Event,
    },
}

/// What a disk was asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Asked {
    /// Something of the data disk.
    Data(RequestId),
    /// A write of metadata.
    Metadata(MetadataId),
}

/// How a machine is made.
#[derive(Clone, Debug)]
pub struct MachineConfig {
    /// Its clock.
    pub clock: Clock,
    /// Its ports.
    pub links: Vec<PortLink>,
    /// What it exports, by volume.
    pub exports: Vec<ExportConfig>,
    /// How much its node holds.
    pub limits: TargetLimits,
    /// The pair it belongs to; each process has another incarnation.
    pub pair: PairConfig,
    /// How it resyncs.
    pub volume_config: VolumeConfig,
}

/// The disks of a volume.
#[derive(Debug)]
pub struct Disks {
    /// Its sectors.
    pub data: Disk,
    /// Its metadata.
    pub metadata: Disk,
}

/// A machine.
#[derive(Debug)]
pub struct Machine {
    config: MachineConfig,
    /// By volume.
    pub disks: Vec<Disks>,
    process: Option<Process>,
    boot: u32,
    paused_until: Option<Instant>,
    /// What happened while it stood still.
    inbox: VecDeque<(Instant, Happening)>,
    timer_missed: bool,
}

#[derive(Debug)]
struct Process {
    node: Node,
    buffers: Buffers,
    exports: Vec<ExportId>,
    stream: Option<Stream>,
    /// Questions to the arbiter that wait for an answer.
    asked: Vec<(usize, u64)>,
}

impl Machine {
    /// A machine without power.
    #[must_use]
    pub const fn new(config: MachineConfig, disks: Vec<Disks>) -> Self {
        Self {
            config,
            disks,
            process: None,
            boot: 0,
            paused_until: None,
            inbox: VecDeque::new(),
            timer_missed: false,
        }
    }

    /// Starts the process.
    ///
    /// # Errors
    /// If the metadata of a volume is lost: then an operator would have to decide.
    ///
    /// # Panics
    /// If one runs already.
    pub fn start(
        &mut self,
        now: Instant,
        counts: &mut FaultCounts,
        effects: &mut Vec<Effect>,
    ) -> Result<(), String> {
        assert!(self.process.is_none(), "one process at a time");
        self.boot += 1;
        let shown = self.config.clock.show(now);
        let pair = PairConfig { incarnation: u64::from(self.boot), ..self.config.pair };
        let mut node = Node::with_peer(shown, self.config.limits, pair);
        let mut exports = Vec::new();
        for (config, disks) in self.config.exports.iter().zip(&mut self.disks) {
            let opened = meta::open(|place, bytes| disks.metadata.read_now(place.0, bytes));
            let opened = opened.map_err(|error| format!("{} does not start: {error}", pair.node))?;
            let added = node.add_mirrored_export(shown, config.clone(), opened, self.config.volume_config);
            exports.push(added.map_err(|error| error.to_string())?);
        }
        let buffers = Buffers::default();
        self.process = Some(Process { node, buffers, exports, stream: None, asked: Vec::new() });
        for (port, link) in (0..).map(PortId).zip(self.config.links.clone()) {
            self.input(now, Input::PortChanged { port, link: Some(link) }, counts, effects);
        }
        Ok(())
    }

    /// Ends the process. What its disks had under way is treated as `loss` says. Tells the connection it had.
    pub fn stop(&mut self, loss: Loss) -> Option<Connection> {
        let process = self.process.take();
        self.paused_until = None;
        self.inbox.clear();
        self.timer_missed = false;
        for Disks { data, metadata } in &mut self.disks {
            // Records of the metadata tell for themselves when they are torn.
            let torn = if loss == Loss::ProcessOnly { loss } else { Loss::Tear };
            data.crash(loss);
            metadata.crash(torn);
        }
        process?.stream.map(|stream| stream.connection)
    }

    /// It stands still until that moment.
    pub const fn pause(&mut self, until: Instant) {
        self.paused_until = Some(until);
    }

    /// It goes on, if the moment has come, with what happened meanwhile.
    pub fn resume(&mut self, now: Instant, counts: &mut FaultCounts, effects: &mut Vec<Effect>) {
        if self.paused_until.is_none_or(|until| until > now) {
            return;
        }
        self.paused_until = None;
        while let Some((at, happening)) = self.inbox.pop_front() {
            self.take(now, at, happening, counts, effects);
        }
        if std::mem::take(&mut self.timer_missed) {
            self.timeout(now, counts, effects);
        }
    }

    /// Something happens to the process of that boot, if it still lives.
    pub fn happen(
        &mut self,
        now: Instant,
        boot: u32,
        happening: Happening,
        counts: &mut FaultCounts,
        effects: &mut Vec<Effect>,
    ) {
        if self.process.is_none() || boot != self.boot {
            return;
        }
        if self.paused_until.is_some() {
            self.inbox.push_back((now, happening));
        } else {
            self.take(now, now, happening, counts, effects);
        }
    }

    /// The node's time has come.
    pub fn timeout(&mut self, now: Instant, counts: &mut FaultCounts, effects: &mut Vec<Effect>) {
        if self.paused_until.is_some() {
            self.timer_missed = true;
        } else if self.poll_timeout().is_some_and(|due| due <= now) {
            self.input(now, Input::Timeout, counts, effects);
        }
    }

    /// When [`Machine::timeout`] is to be called, in the world's time.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.paused_until.is_some() {
            return None;
        }
        let due = self.process.as_ref()?.node.poll_timeout()?;
        Some(self.config.clock.when(due))
    }

    /// Which life of the process this is.
    #[must_use]
    pub const fn boot(&self) -> u32 {
        self.boot
    }

    /// Whether the process lives.
    #[must_use]
    pub const fn is_up(&self) -> bool {
        self.process.is_some()
    }

    /// Whether it stands still.
    #[must_use]
    pub const fn is_paused(&self) -> bool {
        self.paused_until.is_some()
    }

    /// The connection to the peer, as far as the process knows.
    #[must_use]
    pub fn connection(&self) -> Option<Connection> {
        self.process.as_ref()?.stream.as_ref().map(|stream| stream.connection)
    }

    /// How a volume stands here, while the process lives.
    #[must_use]
    pub fn status(&self, volume: usize) -> Option<VolumeStatus> {
        let process = self.process.as_ref()?;
        process.node.volume_status(process.exports[volume])
    }

    /// Buffers that its process uses.
    #[must_use]
    pub fn buffers_in_use(&self) -> usize {
        self.process.as_ref().map_or(0, |process| process.buffers.in_use())
    }

    /// What a disk of a volume answers now, unless a crash came in between.
    pub fn disk_done(
        &mut self,
        volume: usize,
        ticket: Ticket,
        of: Asked,
        counts: &mut FaultCounts,
    ) -> Option<Happening> {
        let Disks { data, metadata } = &mut self.disks[volume];
        Some(match of {
            Asked::Data(id) => Happening::Disk { id, answer: data.finish(ticket, counts)? },
            Asked::Metadata(id) => Happening::Metadata { id, answer: metadata.finish(ticket, counts)? },
        })
    }

    fn take(
        &mut self,
        now: Instant,
        at: Instant,
        happening: Happening,
        counts: &mut FaultCounts,
        effects: &mut Vec<Effect>,
    ) {
        let Some(process) = &mut self.process else { return };
        let input = match happening {
            Happening::Frame { port, bytes } => {
                let (shown, received) = (self.config.clock.show(now), self.config.clock.show(at));
                process.take_frame(shown, received, PortId(port), bytes);
                return self.drain(now, counts, effects);
            }
            Happening::Disk { id, answer } => {
                let result = answer.map(|bytes| bytes.map(|bytes| process.store(bytes)));
                Input::Completed(Completion { id, result })
            }
            Happening::Metadata { id, answer } => Input::MetadataWritten { id, result: answer.map(drop) },
            Happening::Peer(delivery) => return self.take_delivery(now, delivery, counts, effects),
            Happening::Arbiter { volume, number, answer } => {
                let Some(place) = process.asked.iter().position(|asked| *asked == (volume, number)) else {
                    return;
                };
                process.asked.swap_remove(place);
                Input::ArbiterAnswered { volume: process.exports[volume], question: number, answer }
            }
            Happening::Control(control) => {
                for volume in process.exports.clone() {
                    self.input(now, Input::Control { volume, control }, counts, effects);
                }
                return;
            }
        };
        self.input(now, input, counts, effects);
    }

    fn take_delivery(
        &mut self,
        now: Instant,
        delivery: Delivery,
        counts: &mut FaultCounts,
        effects: &mut Vec<Effect>,
    ) {
        let Some(process) = &mut self.process else { return };
        let current = process.stream.as_ref().map(|stream| stream.connection);
        match delivery {
            Delivery::Connected(connection) => {
                process.stream = Some(Stream::new(connection));
                if current.is_some() {
                    self.input(now, Input::PeerDisconnected, counts, effects);
                }
                self.input(now, Input::PeerConnected, counts, effects);
            }
            Delivery::Closed(connection) if current == Some(connection) => {
                process.stream = None;
                self.input(now, Input::PeerDisconnected, counts, effects);
            }
            Delivery::Bytes(connection, bytes) if current == Some(connection) => {
                process.stream.as_mut().expect("it has this connection").push(bytes);
                self.take_messages(now, connection, counts, effects);
            }
            Delivery::Closed(_) | Delivery::Bytes(..) => {}
        }
    }

    fn take_messages(
        &mut self,
        now: Instant,
        connection: Connection,
        counts: &mut FaultCounts,
        effects: &mut Vec<Effect>,
    ) {
        loop {
            let Some(process) = &mut self.process else { return };
            // The node may have ended the connection.
            let Some(stream) = process.stream.as_mut().filter(|stream| stream.connection == connection)
            else {
                return;
            };
            match stream.take_message() {
                Ok(None) => return,
                Ok(Some((message, received))) => {
                    let data = process.receive(received);
                    self.input(now, Input::PeerMessage { message, data }, counts, effects);
                }
                Err(_) => {
                    process.stream = None;
                    effects.push(Effect::PeerClose(connection));
                    return self.input(now, Input::PeerDisconnected, counts, effects);
                }
            }
        }
    }

    fn input(&mut self, now: Instant, input: Input<'_>, counts: &mut FaultCounts, effects: &mut Vec<Effect>) {
        let shown = self.config.clock.show(now);
        let Some(process) = &mut self.process else { return };
        // Whatever is refused is counted by the node.
        let _ = process.node.handle_input(shown, input);
        self.drain(now, counts, effects);
    }

    fn drain(&mut self, now: Instant, counts: &mut FaultCounts, effects: &mut Vec<Effect>) {
        let shown = self.config.clock.show(now);
        let Some(process) = &mut self.process else { return };
        while let Some(output) = process.node.poll_output() {
            match output {
                Output::Disk(request) => {
                    let (volume, ask) = (process.volume(request.export), process.ask(&request));
                    let (ticket, at) = self.disks[volume].data.start(now, ask, counts);
                    effects.push(Effect::DiskDone { at, volume, ticket, of: Asked::Data(request.id) });
                }
                Output::MetadataWrite { id, volume, place } => {
                    let volume = process.volume(volume);
                    let bytes = process.node.metadata_record(id).to_vec();
                    let ask = Ask::Write { offset: place.0, bytes, durable: true };
                    let (ticket, at) = self.disks[volume].metadata.start(now, ask, counts);
                    effects.push(Effect::DiskDone { at, volume, ticket, of: Asked::Metadata(id) });
                }
                Output::Digest { of, data } => {
                    let Digest(digest) = Digest::of(DIGEST_SEED, process.buffers.slice(data));
                    let _ = process.node.handle_input(shown, Input::Digest { of, digest });
                }
                other => process.carry_out(other, effects),
            }
        }
    }
}

impl Process {
    /// What needs no disk.
    fn carry_out(&mut self, output: Output, effects: &mut Vec<Effect>) {
        effects.push(match output {
            Output::Copy { from, to } => return self.buffers.copy(from, to),
            Output::Release(buffer) => return self.buffers.release(buffer),
            Output::Send(transmit) => {
                let mut bytes = transmit.head.bytes().to_vec();
                if let Some(payload) = transmit.payload {
                    bytes.extend_from_slice(self.buffers.slice(payload));
                    self.buffers.release(payload.buffer);
                }
                Effect::Send { port: transmit.port.0, bytes }
            }
            Output::SendControl { port, frame } => Effect::Send { port: port.0, bytes: frame },
            Output::PeerSend { message, data } => {
                let Some(stream) = &self.stream else { return };
                let bytes = stream::bytes(&message, data.map(|data| self.buffers.slice(data)));
                Effect::PeerSend { connection: stream.connection, bytes }
            }
            Output::PeerDisconnect { .. } => {
                let Some(stream) = self.stream.take() else { return };
                Effect::PeerClose(stream.connection)
            }
            Output::Ask { volume, question, expected, next } => {
                let volume = self.volume(volume);
                self.asked.push((volume, question));
                Effect::Ask { volume, number: question, expected, next }
            }
            Output::Event { volume, event } => Effect::Event { volume: self.volume(volume), event },
            Output::StoreState { .. } => {
                unreachable!("the state of a mirrored export stands in its metadata")
            }
            Output::Disk(_) | Output::MetadataWrite { .. } | Output::Digest { .. } => {
                unreachable!("the machine does these")
            }
        });
    }

    fn take_frame(&mut self, now: Instant, received: Instant, port: PortId, bytes: Vec<u8>) {
        let buffer = self.buffers.insert(bytes);
        let input = Input::Frame { port, received, frame: self.buffers.bytes(buffer), buffer };
        // A refused frame is counted by the target.
        let _ = self.node.handle_input(now, input);
    }

    fn store(&mut self, bytes: Vec<u8>) -> BufferSlice {
        let length = u32::try_from(bytes.len()).expect("a short read");
        BufferSlice { buffer: self.buffers.insert(bytes), offset: 0, length }
    }

    fn receive(&mut self, Received { bytes, data }: Received) -> Option<BufferSlice> {
        if data.is_empty() {
            return None;
        }
        let (offset, length) = (u32::try_from(data.start), u32::try_from(data.len()));
        let (offset, length) = (offset.expect("a short message"), length.expect("with short data"));
        Some(BufferSlice { buffer: self.buffers.insert(bytes), offset, length })
    }

    fn volume(&self, export: ExportId) -> usize {
        self.exports.iter().position(|known| *known == export).expect("an export that was added")
    }

    fn ask(&self, request: &BlockRequest) -> Ask {
        match request.operation {
            Operation::Read { range } => {
                Ask::Read { offset: range.start().byte_offset(), length: range.bytes() }
            }
            Operation::Write { range, data, durable } => {
                let bytes = self.buffers.slice(data).to_vec();
                assert!(bytes.len() == range.bytes(), "a write has the bytes of its sectors");
                Ask::Write { offset: range.start().byte_offset(), bytes, durable }
            }
            Operation::Flush => Ask::Flush,
        }
    }
}
