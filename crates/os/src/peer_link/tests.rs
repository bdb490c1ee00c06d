//! The stream against whatever comes out of the other end of a socket pair.

use std::io::{Error, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;

use block::{ExportId, Lba, LbaRange, SectorCount};
use proptest::prelude::*;
use replication::identity::PairIdentity;
use replication::membership::NodeNumber;
use replication::message::{Hello, Origin, Token, VolumeMessage};
use replication::version::{Version, VersionRange};
use replication::wire::{self, Data, MESSAGE_BYTES_MAX, WireError};

use super::*;
use crate::buffer_pool::Room;
use crate::disk_engine::{DiskEngine, EngineKind};
use crate::sys::memory::Memory;

const DATA_BYTES_MAX: usize = 16 << 10;

fn pool() -> BufferPool {
    BufferPool::with_peer(Room { count: 4, bytes: 8192 }, 4, Room { count: 4, bytes: DATA_BYTES_MAX })
        .expect("memory")
}

fn link() -> (PeerLink, UnixStream) {
    let (near, far) = UnixStream::pair().expect("a connection");
    (
        PeerLink::new(near.try_into().expect("a stream"), DATA_BYTES_MAX, VersionRange::ALL).expect("a link"),
        far,
    )
}

/// A layer that leaves nothing where it was and as it was: records of at most 1000 bytes, their length in front, each byte turned over. An
/// empty one is the last.
#[derive(Debug, Default)]
struct Records(Vec<u8>);

impl Layer for Records {
    fn open(&mut self, wire: &[u8], plain: &mut Vec<u8>) -> io::Result<()> {
        self.0.extend_from_slice(wire);
        while let Some((length, rest)) = self.0.split_first_chunk() {
            let length = usize::from(u16::from_be_bytes(*length));
            if length > 1000 {
                return Err(ErrorKind::InvalidData.into());
            }
            let Some(record) = rest.get(..length) else { break };
            plain.extend(record.iter().map(|byte| !byte));
            self.0.drain(..2 + length);
        }
        Ok(())
    }

    fn seal(&mut self, plain: &[u8], wire: &mut Vec<u8>) -> io::Result<()> {
        for record in plain.chunks(1000) {
            wire.extend(u16::try_from(record.len()).map_err(Error::other)?.to_be_bytes());
            wire.extend(record.iter().map(|byte| !byte));
        }
        Ok(())
    }

    fn end(&mut self, wire: &mut Vec<u8>) {
        wire.extend([0; 2]);
    }
}

fn layered_link() -> (PeerLink, UnixStream) {
    let (mut link, far) = link();
    let (stream, _) = UnixStream::pair().expect("a connection");
    let plain = std::mem::replace(&mut link.stream, stream.try_into().expect("a stream"));
    link.stream = plain.with_layer(Box::<Records>::default()).expect("memory");
    (link, far)
}

fn sealed(bytes: &[u8]) -> Vec<u8> {
    let mut wire = Vec::new();
    Records::default().seal(bytes, &mut wire).expect("short records");
    wire
}

fn opened(wire: &[u8]) -> Vec<u8> {
    let (mut layer, mut plain) = (Records::default(), Vec::new());
    layer.open(wire, &mut plain).expect("records");
    assert!(layer.0.is_empty(), "whole ones");
    plain
}

fn hello() -> Message {
    Message::Hello(Hello {
        versions: VersionRange::ALL,
        pair: PairIdentity(5),
        node: NodeNumber::One,
        incarnation: 9,
        lease_milliseconds: 1000,
    })
}

fn write(sectors: u16) -> Message {
    let range = LbaRange::new(Lba(8), SectorCount(sectors)).expect("a range");
    let origin = Origin::Stock { digest: 77 };
    let write = VolumeMessage::Replicate { write: Token(3), range, durable: true, origin: Some(origin) };
    Message::Volume(ExportId(1), write)
}

fn ack(number: u64) -> Message {
    Message::Volume(
        ExportId(1),
        VolumeMessage::Ack { write: Token(number), follower: Token(1), microseconds: 0 },
    )
}

fn bytes_of(message: &Message, data: &[u8]) -> Vec<u8> {
    bytes_in(Version::NEWEST, message, data)
}

fn bytes_in(version: Version, message: &Message, data: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; MESSAGE_BYTES_MAX];
    let described = if data.is_empty() { Data::NONE } else { Data::checked(data) };
    let length = wire::emit(version, message, described, &mut bytes);
    bytes.truncate(length);
    bytes.extend_from_slice(data);
    bytes
}

/// Everything that is there now, and how it ended, if it did.
fn receive_all(link: &mut PeerLink, pool: &mut BufferPool) -> (Vec<(Message, Vec<u8>)>, Option<PeerFailure>) {
    let mut messages = Vec::new();
    loop {
        link.begin_turn();
        match link.receive(pool) {
            Ok(Received::Message(message, data)) => {
                let bytes = data.map(|(buffer, length)| {
                    let bytes = pool.slice(buffer, 0, length).look().to_vec();
                    pool.give(buffer);
                    bytes
                });
                messages.push((message, bytes.unwrap_or_default()));
            }
            Ok(Received::Nothing | Received::NoBuffer) => return (messages, None),
            Err(failure) => return (messages, Some(failure)),
        }
    }
}

/// What a link makes of these bytes, after which the peer closes.
fn failure_after(bytes: &[u8]) -> PeerFailure {
    let (mut link, mut far) = link();
    far.write_all(bytes).expect("sent");
    drop(far);
    let mut pool = pool();
    let failure = (0..1000).find_map(|_| receive_all(&mut link, &mut pool).1);
    link.close().into_iter().for_each(|buffer| pool.give(buffer));
    assert_eq!(pool.taken(), 0);
    failure.expect("the stream has ended")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn messages_arrive_whole_however_their_bytes_are_cut(
        sizes in prop::collection::vec(0..=32u16, 1..40),
        cuts in prop::collection::vec(1..20_000usize, 1..20),
        with_layer in any::<bool>(),
    ) {
        let mut sent = vec![(hello(), Vec::new())];
        for (size, fill) in sizes.iter().zip(1u8..) {
            sent.push(match *size {
                0 => (ack(u64::from(fill)), Vec::new()),
                sectors => (write(sectors), vec![fill; usize::from(sectors) * 512]),
            });
        }
        let bytes: Vec<u8> = sent.iter().flat_map(|(message, data)| bytes_of(message, data)).collect();
        let bytes = if with_layer { sealed(&bytes) } else { bytes };
        let (mut link, mut far) = if with_layer { layered_link() } else { link() };
        let mut pool = pool();
        let (mut left, mut received) = (bytes.as_slice(), Vec::new());
        for cut in cuts.iter().cycle() {
            let (piece, rest) = left.split_at((*cut).min(left.len()));
            far.write_all(piece).expect("sent");
            left = rest;
            let (messages, failure) = receive_all(&mut link, &mut pool);
            prop_assert!(failure.is_none(), "{failure:?}");
            received.extend(messages);
            if left.is_empty() {
                break;
            }
        }
        prop_assert_eq!(received, sent);
        prop_assert_eq!(pool.taken(), 0);
    }
}

#[test]
fn what_is_no_message_ends_the_stream_with_one_line_that_says_why() {
    let hello = bytes_of(&hello(), &[]);
    assert!(matches!(
        failure_after(b"GET / HTTP/1.1\r\nHost: disk.example.org\r\n\r\n"),
        PeerFailure::Garbage(WireError::Magic { .. })
    ));
    let too_long = [hello.clone(), bytes_of(&write(64), &[1; 64 * 512])].concat();
    assert!(matches!(failure_after(&too_long), PeerFailure::Garbage(WireError::DataTooLong { .. })));
    let mut damaged = [hello.clone(), bytes_of(&write(8), &[1; 4096])].concat();
    *damaged.last_mut().expect("bytes") ^= 1;
    let failure = failure_after(&damaged);
    assert!(matches!(failure, PeerFailure::Garbage(WireError::DataChecksum { .. })));
    assert!(!failure.to_string().contains('\n'));
}

#[test]
fn an_end_between_messages_is_told_from_one_inside() {
    let message = [bytes_of(&hello(), &[]), bytes_of(&write(8), &[1; 4096])].concat();
    assert!(matches!(failure_after(&message), PeerFailure::Closed));
    for length in [1, 31, 40, 71, 80, 104, 2000, message.len() - 1] {
        assert!(matches!(failure_after(&message[..length]), PeerFailure::Truncated), "{length} bytes");
    }
}

#[test]
fn arbitrary_bytes_end_the_stream_and_nothing_else() {
    let mut random = 1u64;
    for _ in 0..200 {
        let mut bytes =
            [bytes_of(&hello(), &[]), bytes_of(&write(4), &[9; 2048]), bytes_of(&ack(1), &[])].concat();
        for _ in 0..3 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let place = usize::try_from(random >> 33).expect("31 bits") % bytes.len();
            bytes[place] ^= 1 << (random % 8);
        }
        failure_after(&bytes);
    }
}

#[test]
fn without_a_buffer_the_stream_waits() {
    let ((mut link, mut far), mut pool) = (link(), pool());
    far.write_all(&bytes_of(&hello(), &[])).expect("sent");
    for fill in 0..9 {
        far.write_all(&bytes_of(&write(8), &[fill; 4096])).expect("sent");
    }
    let mut buffers = Vec::new();
    link.begin_turn();
    while let Received::Message(_, data) = link.receive(&mut pool).expect("messages") {
        buffers.extend(data.map(|(buffer, _)| buffer));
    }
    assert!(link.is_stalled() && buffers.len() == 8, "{} buffers", buffers.len());
    pool.give(buffers.pop().expect("one"));
    let received = link.receive(&mut pool).expect("the last");
    assert!(matches!(received, Received::Message(_, Some(_))) && !link.is_stalled());
}

fn engine() -> (Memory, DiskEngine) {
    let memory = Memory::anonymous(4096).expect("memory");
    let engine = DiskEngine::new(EngineKind::Uring, memory.slice()).expect("io_uring");
    (memory, engine)
}

/// As a shard that goes to sleep does.
fn flush_by(engine: &mut DiskEngine, link: &mut PeerLink) {
    match link.hand_over() {
        Some((socket, pieces)) => {
            assert!(engine.send(socket, pieces), "this kernel can");
            let sent = engine.take_sent().expect("the kernel takes it");
            link.was_sent(sent);
        }
        None => link.flush(),
    }
}

#[test]
fn what_the_kernel_has_no_room_for_is_kept_and_no_buffer_is_held_for_it() {
    keeps_what_there_is_no_room_for(PeerLink::flush);
}

#[test]
fn what_the_kernel_has_no_room_for_is_kept_as_well_if_somebody_else_sends() {
    let (_memory, mut engine) = engine();
    keeps_what_there_is_no_room_for(|link| flush_by(&mut engine, link));
}

fn keeps_what_there_is_no_room_for(mut flush: impl FnMut(&mut PeerLink)) {
    let (mut link, mut far) = link();
    let memory = Memory::anonymous(1 << 16).expect("memory");
    // From then on both speak the newest version.
    far.write_all(&bytes_of(&hello(), &[])).expect("room");
    assert_eq!(receive_all(&mut link, &mut pool()).0.len(), 1);
    let mut sent = bytes_of(&hello(), &[]);
    link.send(&hello(), None);
    for number in 0..300u64 {
        let fill = u8::try_from(number % 251).expect("a byte");
        let data = memory.slice().part(usize::try_from(number % 8).expect("small") * 8192, 8192);
        data.copy_from(&[fill; 8192]);
        let name = BufferName(number);
        link.send(&write(16), Some((name, data)));
        sent.extend(bytes_of(&write(16), &[fill; 8192]));
        assert!(link.holds(name) && link.take_done().is_none(), "its bytes are to be sent");
        flush(&mut link);
        assert_eq!(link.take_done(), Some(name));
        assert!(!link.holds(name));
    }
    assert!(link.is_blocked() && link.failure.is_none());
    let reader = std::thread::spawn(move || {
        let mut received = Vec::new();
        far.read_to_end(&mut received).expect("everything");
        received
    });
    while link.is_blocked() {
        flush(&mut link);
        std::thread::yield_now();
    }
    // Nothing is in its way now.
    link.send(&ack(1), None);
    sent.extend(bytes_of(&ack(1), &[]));
    flush(&mut link);
    link.close();
    let mut statistics = PeerStatistics::default();
    link.add_to(&mut statistics);
    assert_eq!((statistics.bytes_sent, statistics.bytes_unsent), (sent.len() as u64, 0));
    let received = reader.join().expect("a reader");
    assert!(received == sent, "{} bytes of {}", received.len(), sent.len());
}

#[test]
fn what_a_layer_has_taken_and_the_kernel_had_no_room_for_goes_when_there_is_room() {
    let (mut link, mut far) = layered_link();
    let memory = Memory::anonymous(8192).expect("memory");
    let mut sent = Vec::new();
    // Sealed bytes are the first that find no room.
    while !link.is_blocked() {
        link.send(&write(16), Some((BufferName(1), memory.slice())));
        sent.extend(bytes_in(Version::OLDEST, &write(16), &[0; 8192]));
        link.flush();
    }
    assert!(link.sender.unsent() == 0 && link.stream.unsent() > 0);
    let mut statistics = PeerStatistics::default();
    link.add_to(&mut statistics);
    assert_eq!(statistics.bytes_unsent, link.stream.unsent());
    far.set_nonblocking(true).expect("it never waits");
    let (mut wire, mut piece) = (Vec::new(), [0; 4096]);
    while let Ok(count) = far.read(&mut piece) {
        wire.extend_from_slice(&piece[..count]);
        link.flush();
    }
    assert!(!link.is_blocked());
    assert!(opened(&wire) == sent, "{} bytes of {}", opened(&wire).len(), sent.len());
    link.close();
    let mut last = Vec::new();
    far.read_to_end(&mut last).expect("the end");
    assert_eq!(last, [0; 2]);
}

#[test]
fn bytes_that_a_layer_does_not_know_end_the_stream() {
    let (mut link, mut far) = layered_link();
    far.write_all(&sealed(&bytes_of(&hello(), &[]))).expect("sent");
    far.write_all(&[0xff; 40]).expect("sent");
    let failure = receive_all(&mut link, &mut pool()).1.expect("it has ended");
    assert!(
        matches!(&failure, PeerFailure::Lost(error) if error.kind() == ErrorKind::InvalidData),
        "{failure}"
    );
}

#[test]
fn what_a_layer_knew_before_the_session_began_is_the_first_to_be_heard() {
    let (near, _far) = UnixStream::pair().expect("a connection");
    let stream = PeerStream::try_from(near).expect("a stream");
    let stream = stream.with_layer(Box::new(Records(sealed(&bytes_of(&hello(), &[]))))).expect("memory");
    let mut link = PeerLink::new(stream, DATA_BYTES_MAX, VersionRange::ALL).expect("a link");
    assert_eq!(receive_all(&mut link, &mut pool()).0, [(hello(), Vec::new())]);
}

#[test]
fn commits_may_wait_until_something_else_is_queued() {
    let (mut link, _far) = link();
    let commit = Message::Volume(ExportId(1), VolumeMessage::Commit { follower: Token(1) });
    assert!(!link.has_only_commits(), "nothing waits");
    link.send(&commit, None);
    link.send(&commit, None);
    assert!(link.has_only_commits());
    link.send(&ack(1), None);
    link.send(&commit, None);
    assert!(!link.has_only_commits(), "the acknowledgement is waited for");
    link.flush();
    assert!(!link.has_only_commits());
    link.send(&commit, None);
    assert!(link.has_only_commits());
}

#[test]
fn a_peer_that_is_gone_is_noticed_when_something_is_sent() {
    let (_memory, mut engine) = engine();
    for mut flush in [
        Box::new(PeerLink::flush) as Box<dyn FnMut(&mut PeerLink)>,
        Box::new(|link| flush_by(&mut engine, link)),
    ] {
        let (mut link, far) = link();
        drop(far);
        link.send(&hello(), None);
        flush(&mut link);
        assert!(link.is_blocked(), "it is looked at soon");
        assert!(link.hand_over().is_none(), "nothing is sent any more");
        assert!(matches!(link.receive(&mut pool()), Err(PeerFailure::Lost(_))));
    }
}

#[test]
fn what_a_layer_is_to_seal_is_not_handed_over() {
    let (mut link, _far) = layered_link();
    link.send(&hello(), None);
    assert!(link.hand_over().is_none());
}
