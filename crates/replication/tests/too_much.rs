//! What a peer says that no peer of ours would: too much, about too much, or of what is not there. Each time the session ends and says
//! why, and never more is kept of it than the limits allow.
#![cfg(test)]

mod common;

use block::{BufferName, BufferSlice, ExportId, Instant, Lba, LbaRange, SectorCount};
use replication::durability::Mode;
use replication::engine::{Engine, EngineConfig};
use replication::identity::{FormatIdentity, PairIdentity, VolumeIdentity};
use replication::input::Input;
use replication::limits::{
    DOUBTFUL_MAX, DOUBTFUL_PER_MESSAGE, LEASE, Limits, RUNS_PER_MESSAGE, UNFLUSHED_MAX,
};
use replication::membership::{Membership, NodeNumber};
use replication::message::{
    Announce, BlockRun, CopyState, DoubtfulWrite, Effect, Hello, Message, Offer, Origin, Refusal, Token,
    VolumeMessage,
};
use replication::meta::layout::{EXTENT_SECTORS, HOT_EXTENTS_MIN, Layout};
use replication::meta::{Format, Opened};
use replication::output::{Event, Output};
use replication::resize::Capacity;
use replication::start::VolumeConfig;
use replication::version::VersionRange;

const PAIR: PairIdentity = PairIdentity(3);
const VOLUME: VolumeIdentity = VolumeIdentity(5);
const EXPORT: ExportId = ExportId(0);
const LIMITS: Limits = Limits { requests: 8, followed: 24, copies: 4, volumes: 2, runs_at_once: 100 };
const BLOCKS: u64 = EXTENT_SECTORS / 8;

/// Node 1, whose peer is the test.
struct Node {
    engine: Engine,
    now: Instant,
    /// Its disk answers nothing.
    is_stalled: bool,
    /// The names of the peer's writes that it has acknowledged.
    acked: Vec<Token>,
    ended: Option<Refusal>,
    /// What each of two nodes promises that do not meet.
    modes: Option<(Mode, Mode)>,
}

impl Node {
    /// One that has got a hello and the name of its volume.
    fn connected() -> Self {
        let now = Instant::from_nanos(10_000_000_000);
        let config = EngineConfig {
            node: NodeNumber::One,
            pair: PAIR,
            incarnation: 1,
            lease: LEASE,
            limits: LIMITS,
            first_disk_slot: 100,
            versions: VersionRange::ALL,
        };
        let mut engine = Engine::new(now, config);
        engine.add_volume(now, EXPORT, opened(), VolumeConfig::default());
        let mut node = Self { engine, now, is_stalled: false, acked: Vec::new(), ended: None, modes: None };
        node.input(Input::Connected);
        let hello = Hello {
            versions: VersionRange::ALL,
            pair: PAIR,
            node: NodeNumber::Zero,
            incarnation: 2,
            lease_milliseconds: u32::try_from(LEASE.as_millis()).expect("a second"),
        };
        node.hears(Message::Hello(hello), None);
        node.hears(
            Message::Announce(Announce { volume: VOLUME, export: EXPORT, sectors: EXTENT_SECTORS }),
            None,
        );
        node
    }

    /// One that is paired, as the target of an equal.
    fn paired() -> Self {
        let mut node = Self::connected();
        node.is_told(VolumeMessage::Offer(Offer {
            membership: Membership::FIRST,
            copy: CopyState::Good,
            alone: false,
            forgetful: true,
            lost_memory: false,
            mode: None,
            small_state_revision: 0,
        }));
        node.is_told(VolumeMessage::Proceed(Membership::FIRST));
        assert_eq!(node.ended, None);
        node
    }

    fn input(&mut self, input: Input) {
        self.engine.handle_input(self.now, input);
        while let Some(output) = self.engine.poll_output() {
            match output {
                Output::Disk(request) if !self.is_stalled => {
                    self.engine.handle_input(self.now, Input::Disk(common::done(&request)));
                }
                Output::Metadata { id, .. } => {
                    self.engine.handle_input(self.now, Input::Metadata { id, result: Ok(()) });
                }
                Output::Send { message: Message::Volume(_, VolumeMessage::Ack { follower, .. }), .. } => {
                    self.acked.push(follower);
                }
                Output::Disconnect { reason } => self.ended = Some(reason),
                Output::Event { event: Event::ModesDiffer { here, peer }, .. } => {
                    self.modes = Some((here, peer))
                }
                _ => {}
            }
        }
    }

    fn hears(&mut self, message: Message, data: Option<BufferSlice>) {
        self.input(Input::Message { message, data });
    }

    fn is_told(&mut self, message: VolumeMessage) {
        self.hears(Message::Volume(EXPORT, message), None);
    }

    /// Whether all of this is heard, and nothing of it is too much.
    fn takes(&mut self, messages: impl IntoIterator<Item = VolumeMessage>) -> bool {
        messages.into_iter().for_each(|message| self.is_told(message));
        self.ended.is_none()
    }

    /// A write of the peer's that is in memory here, and over.
    fn follows(&mut self, write: u64) {
        let replicate = VolumeMessage::Replicate {
            write: Token(write),
            range: sectors(0, 8),
            durable: false,
            origin: None,
        };
        self.hears(Message::Volume(EXPORT, replicate), Some(buffer(sectors(0, 8))));
        if let Some(follower) = self.acked.pop() {
            self.is_told(VolumeMessage::Commit { follower });
        }
    }
}

fn sectors(start: u64, count: u16) -> LbaRange {
    LbaRange::new(Lba(start), SectorCount(count)).expect("a range")
}

fn buffer(range: LbaRange) -> BufferSlice {
    let length = u32::try_from(range.bytes()).expect("small");
    BufferSlice { buffer: BufferName(1), offset: 0, length }
}

/// Metadata of node 1 of two that are equal.
fn opened() -> Opened {
    common::fresh(Format {
        format: FormatIdentity(7),
        volume: VOLUME,
        pair: PAIR,
        node: NodeNumber::One,
        layout: Layout::new(EXTENT_SECTORS, HOT_EXTENTS_MIN).expect("a size"),
        membership: Membership::FIRST,
        good: true,
    })
}

fn runs(start: u64, count: u64) -> VolumeMessage {
    VolumeMessage::OutOfSync(vec![BlockRun { start, count }; RUNS_PER_MESSAGE])
}

fn doubtful(range: LbaRange, count: usize) -> VolumeMessage {
    let origin = Origin::Sequenced { initiator: 1, sequence: 1 };
    VolumeMessage::Doubtful(vec![DoubtfulWrite { range, origin, effect: Effect::Whole }; count])
}

#[test]
fn runs_of_none_and_beyond_the_volume_end_the_session() {
    assert!(Node::connected().takes([runs(0, BLOCKS), runs(BLOCKS - 1, 1)]));
    let none = Refusal::Protocol("out-of-sync blocks beyond the volume, or a run of none");
    for (start, count) in [(5, 0), (BLOCKS, 0), (BLOCKS - 1, 2), (u64::MAX, 1)] {
        let mut node = Node::connected();
        node.is_told(runs(start, count));
        assert_eq!(node.ended, Some(none), "{start} {count}");
    }
}

#[test]
fn more_writes_in_doubt_than_two_nodes_have_end_the_session() {
    let mut node = Node::connected();
    let left = DOUBTFUL_MAX % DOUBTFUL_PER_MESSAGE;
    let full =
        (0..DOUBTFUL_MAX / DOUBTFUL_PER_MESSAGE).map(|_| doubtful(sectors(8, 8), DOUBTFUL_PER_MESSAGE));
    assert!(node.takes(full.chain([doubtful(sectors(8, 8), left)])));
    node.is_told(doubtful(sectors(8, 8), 1));
    assert_eq!(node.ended, Some(Refusal::Protocol("more writes in doubt than two nodes can have under way")));
}

#[test]
fn writes_in_doubt_that_were_never_requests_end_the_session() {
    for range in [sectors(EXTENT_SECTORS - 1, 2), sectors(0, 257)] {
        let mut node = Node::connected();
        node.is_told(doubtful(range, 1));
        assert_eq!(node.ended, Some(Refusal::Protocol("writes in doubt beyond the volume, or too long")));
    }
}

#[test]
fn more_reads_and_flushes_than_the_peer_may_have_end_the_session() {
    let read = |read| VolumeMessage::Fetch { read: Token(read), range: sectors(0, 8) };
    let flush = |flush| VolumeMessage::Flush { flush: Token(flush) };
    let reads = LIMITS.followed as u64;
    let flushes = (LIMITS.requests + LIMITS.volumes) as u64;
    let mut node = Node::paired();
    assert!(node.takes((0..2 * reads).map(read)), "those that are answered do not count");
    assert!(node.takes((0..2 * flushes).map(flush)));
    node.is_stalled = true;
    assert!(node.takes((0..reads).map(read)) && node.takes((0..flushes).map(flush)));
    node.is_told(flush(flushes));
    assert_eq!(node.ended, Some(Refusal::Protocol("more flushes than a node may have under way")));
    let mut node = Node::paired();
    node.is_stalled = true;
    assert!(node.takes((0..reads).map(read)));
    node.is_told(read(reads));
    assert_eq!(node.ended, Some(Refusal::Protocol("more reads than a node may have under way")));
}

#[test]
fn more_writes_in_memory_than_an_activity_log_holds_end_the_session() {
    let mut node = Node::paired();
    for write in 0..UNFLUSHED_MAX as u64 {
        node.follows(write);
    }
    assert_eq!(node.ended, None);
    node.follows(0);
    assert_eq!(
        node.ended,
        Some(Refusal::Protocol("more writes in memory than an activity log has room for"))
    );
}

#[test]
fn another_size_of_a_volume_that_has_been_spoken_of_ends_the_session() {
    let larger = 64 * EXTENT_SECTORS;
    let mut node = Node::connected();
    let capacity = Capacity { sectors: larger, zeros: true };
    node.input(Input::Capacity { volume: EXPORT, capacity });
    node.is_told(runs(0, BLOCKS));
    node.hears(Message::Announce(Announce { volume: VOLUME, export: EXPORT, sectors: larger }), None);
    assert_eq!(node.ended, Some(Refusal::Resized));
    // To take this in would mix blocks of both sizes.
    node.is_told(VolumeMessage::Offer(Offer {
        membership: Membership::FIRST,
        copy: CopyState::Inconsistent,
        alone: false,
        forgetful: false,
        lost_memory: false,
        mode: None,
        small_state_revision: 0,
    }));
}

#[test]
fn a_peer_that_promises_something_else_is_not_met() {
    let mut node = Node::connected();
    node.is_told(VolumeMessage::Offer(Offer {
        membership: Membership::FIRST,
        copy: CopyState::Good,
        alone: false,
        forgetful: false,
        lost_memory: false,
        mode: Some(Mode::Memory),
        small_state_revision: 0,
    }));
    assert_eq!((node.modes, node.ended), (Some((Mode::Stable, Mode::Memory)), None));
}
