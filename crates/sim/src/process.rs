//! A node's process: the real code, its memory, its end of the connection to the peer, and what it is told and wants.
//!
//! It does what the shell around a node does on a real machine. What has to leave the machine, or takes time, is an
//! [`Effect`] for the world; what the disks are asked goes through the [`crate::machine`].

use aoe::target::PortId;
use block::{BlockRequest, BufferSlice, ExportId, Instant, Operation, RequestId};
use node::{Input, Node, Output, SlowRequest};
use replication::input::{ArbiterAnswer, Control, MetadataId};
use replication::membership::Membership;
use replication::output::Event;
use replication::spent::Spent;

use crate::buffers::Buffers;
use crate::disk::{Answer, Ask, Ticket};
use crate::peer_link::{Connection, Delivery};
use crate::stream::{Received, Stream};

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
    /// A port has a link or not.
    Link {
        /// Which.
        port: u8,
        /// Whether.
        down: bool,
    },
    /// The operator wants something of every volume.
    Control(Control),
    /// The operator wants something of one.
    ControlOf(usize, Control),
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
    /// A frame that the peer has handed over comes to the node.
    Arrived {
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

#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) node: Node,
    pub(crate) buffers: Buffers,
    pub(crate) exports: Vec<ExportId>,
    pub(crate) stream: Option<Stream>,
    /// Questions to the arbiter that wait for an answer.
    pub(crate) asked: Vec<(usize, u64)>,
}

impl Process {
    /// What needs no disk.
    pub(crate) fn carry_out(&mut self, output: Output, effects: &mut Vec<Effect>) {
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
                let bytes = stream.bytes(&message, data.map(|data| self.buffers.slice(data)));
                Effect::PeerSend { connection: stream.connection, bytes }
            }
            Output::PeerDisconnect { .. } => {
                let Some(stream) = self.stream.take() else { return };
                Effect::PeerClose(stream.connection)
            }
            Output::Ask { volume, question, expected, next, .. } => {
                let volume = self.volume(volume);
                self.asked.push((volume, question));
                Effect::Ask { volume, number: question, expected, next }
            }
            Output::Slow(slow) => return assert_parts_fit(&slow),
            Output::PeerLinksDown(_) => return,
            Output::Event { volume, event } => Effect::Event { volume: self.volume(volume), event },
            Output::StoreState { .. } => {
                unreachable!("the state of a mirrored export stands in its metadata")
            }
            Output::Disk(_)
            | Output::MetadataWrite { .. }
            | Output::Digest { .. }
            | Output::Arrived { .. } => {
                unreachable!("the machine does these")
            }
        });
    }

    pub(crate) fn take_frame(&mut self, now: Instant, received: Instant, port: PortId, bytes: Vec<u8>) {
        let buffer = self.buffers.insert(bytes);
        let input = Input::Frame { port, received, frame: self.buffers.bytes(buffer), buffer };
        // A refused frame is counted by the target.
        let _ = self.node.handle_input(now, input);
    }

    pub(crate) fn store(&mut self, bytes: Vec<u8>) -> BufferSlice {
        let length = u32::try_from(bytes.len()).expect("a short read");
        BufferSlice { buffer: self.buffers.insert(bytes), offset: 0, length }
    }

    pub(crate) fn receive(&mut self, Received { bytes, data }: Received) -> Option<BufferSlice> {
        if data.is_empty() {
            return None;
        }
        let (offset, length) = (u32::try_from(data.start), u32::try_from(data.len()));
        let (offset, length) = (offset.expect("a short message"), length.expect("with short data"));
        Some(BufferSlice { buffer: self.buffers.insert(bytes), offset, length })
    }

    pub(crate) fn volume(&self, export: ExportId) -> usize {
        self.exports.iter().position(|known| *known == export).expect("an export that was added")
    }

    pub(crate) fn ask(&self, request: &BlockRequest) -> Ask {
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

/// What is told of where the time of a request went is no more than it took.
fn assert_parts_fit(SlowRequest { request, spent }: &SlowRequest) {
    let Spent { waiting, log, disk, peer, bitmap, .. } = spent.unwrap_or_default();
    let parts = request.waited + waiting + log + disk.max(peer) + bitmap;
    assert!(parts <= request.took, "{parts:?} of {request:?}: {spent:?}");
}
