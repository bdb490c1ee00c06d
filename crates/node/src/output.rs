//! What a node is told and what it wants done.

use aoe::MacAddress;
use aoe::target::{PortId, PortLink, Slow, SmallState, StateError, Transmit};
use block::{BlockError, BlockRequest, BufferName, BufferSlice, Completion, Duration, ExportId, Instant};
use replication::input::{ArbiterAnswer, Control, MetadataId};
use replication::links::Interfaces;
use replication::membership::Membership;
use replication::message::{Message, Refusal};
use replication::meta::layout::Place;
use replication::output::{Digested, Event, Wish};
use replication::resize::Capacity;
use replication::spent::Spent;

/// What happened. All that is about the peer, metadata, digests, the arbiter and control is for nodes that have a peer.
#[derive(Debug)]
pub enum Input<'a> {
    /// A frame came in; its buffer is ours until [`Output::Release`].
    Frame {
        /// By which interface.
        port: PortId,
        /// When the kernel received it.
        received: Instant,
        /// All of it, from the destination address on.
        frame: &'a [u8],
        /// The memory it stands in.
        buffer: BufferName,
    },
    /// The frame of an [`Output::Arrived`]; its buffer is ours until [`Output::Release`].
    Handed {
        /// As said there.
        port: PortId,
        /// As said there.
        received: Instant,
        /// All of it, from the destination address on.
        frame: &'a [u8],
        /// The memory it stands in, from its beginning on.
        buffer: BufferName,
    },
    /// A disk request ended.
    Completed(Completion),
    /// A [`Output::StoreState`] was carried out, or could not be.
    StateStored {
        /// Whose state.
        export: ExportId,
        /// Whether it is on stable storage.
        result: Result<(), StateError>,
    },
    /// An interface came up, went down or changed.
    PortChanged {
        /// Which interface.
        port: PortId,
        /// Its address and MTU, or `None` while it is down.
        link: Option<PortLink>,
    },
    /// The address that the peer answers from on an interface: this node answers there when it serves alone.
    PeerAddress {
        /// Which interface.
        port: PortId,
        /// What the peer is there.
        mac: MacAddress,
    },
    /// A disk has another size now. The size of a mirrored export stands in its metadata and does not follow
    /// its disk: see [`Input::Capacity`].
    Resized {
        /// Whose disk.
        export: ExportId,
        /// Its new size.
        sectors: u64,
    },
    /// The operator says which initiators are listened to, or leaves that to initiators; at both nodes the same.
    OperatorMask {
        /// Of which export.
        export: ExportId,
        /// At most [`aoe::limits::MAC_MASK_EDITED_MAX`]; nobody: everybody.
        mask: Option<Vec<MacAddress>>,
    },
    /// From now on requests of mirrored exports that take so long are counted, and some told of by [`Output::Slow`]; without, none.
    SlowAfter(Option<Duration>),
    /// The stream to the peer stands; nothing was said on it yet.
    PeerConnected,
    /// The stream to the peer is no more.
    PeerDisconnected,
    /// The peer said something. The data's buffer is ours until [`Output::Release`], or sent as a payload.
    PeerMessage {
        /// What.
        message: Message,
        /// What followed it.
        data: Option<BufferSlice>,
    },
    /// An [`Output::MetadataWrite`] is durable, or failed.
    MetadataWritten {
        /// Which.
        id: MetadataId,
        /// How it went.
        result: Result<(), BlockError>,
    },
    /// The digest that an [`Output::Digest`] asked for.
    Digest {
        /// What it is for.
        of: Digested,
        /// What it is.
        digest: u128,
    },
    /// The arbiter has answered an [`Output::Ask`], or could not be reached.
    ArbiterAnswered {
        /// About which volume.
        volume: ExportId,
        /// Which question.
        question: u64,
        /// What.
        answer: ArbiterAnswer,
    },
    /// How large a mirrored volume could be made at this node, if that has changed.
    Capacity {
        /// Which volume.
        volume: ExportId,
        /// How large.
        capacity: Capacity,
    },
    /// The operator wants something.
    Control {
        /// Of which volume.
        volume: ExportId,
        /// What.
        control: Control,
    },
    /// The time given by [`crate::Node::poll_timeout`] has come.
    Timeout,
}

/// A request that took long, and where its time went.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SlowRequest {
    /// Which, and how long.
    pub request: Slow,
    /// Where the time went once it was handed to the mirror, if that was long.
    pub spent: Option<Spent>,
}

/// What to do, in the order given.
#[derive(Debug)]
pub enum Output {
    /// Give this to the disk of its export. Every range is aligned to the disk's logical sectors.
    Disk(BlockRequest),
    /// Copy these bytes, before any later output is carried out.
    Copy {
        /// From where.
        from: BufferSlice,
        /// To where; as long as `from`.
        to: BufferSlice,
    },
    /// Send this frame, then free its payload's buffer.
    Send(Transmit),
    /// Send this complete frame.
    SendControl {
        /// By which interface.
        port: PortId,
        /// All of it.
        frame: Vec<u8>,
    },
    /// The buffer is not needed any more.
    Release(BufferName),
    /// The peer has handed over a frame: hand it in as [`Input::Handed`], before any later output is carried out.
    Arrived {
        /// By which interface it is taken to have come.
        port: PortId,
        /// When it was received, on this node's clock.
        received: Instant,
        /// All of it.
        frame: BufferSlice,
    },
    /// Make this durable, then say so by [`Input::StateStored`].
    StoreState {
        /// Whose state.
        export: ExportId,
        /// All of it.
        state: SmallState,
    },
    /// Say this to the peer. The data's buffer may be named in a later [`Output::Release`]: it is sent or copied before
    /// any later output is carried out.
    PeerSend {
        /// What.
        message: Message,
        /// What follows it.
        data: Option<BufferSlice>,
    },
    /// End the stream to the peer, and connect anew when it can be reached.
    PeerDisconnect {
        /// Why.
        reason: Refusal,
    },
    /// Write the bytes of [`crate::Node::metadata_record`] at this place, durably, then say [`Input::MetadataWritten`].
    MetadataWrite {
        /// Which write.
        id: MetadataId,
        /// Whose metadata.
        volume: ExportId,
        /// Where.
        place: Place,
    },
    /// Tell the digest of these bytes by [`Input::Digest`], before any later output is carried out.
    Digest {
        /// What it is for.
        of: Digested,
        /// The bytes.
        data: BufferSlice,
    },
    /// Ask the arbiter to put `next` in the place of `expected`, or, if they are equal, whether it holds that.
    Ask {
        /// About which volume.
        volume: ExportId,
        /// Number of the question.
        question: u64,
        /// What it must hold.
        expected: Membership,
        /// What it shall hold.
        next: Membership,
        /// Who wants it.
        wish: Wish,
    },
    /// A request took long.
    Slow(Box<SlowRequest>),
    /// The peer has no link on these interfaces, and on no others: this node answers there at its address, too. For operators.
    PeerLinksDown(Interfaces),
    /// Something an operator wants to know.
    Event {
        /// About which volume.
        volume: ExportId,
        /// What.
        event: Event,
    },
}
