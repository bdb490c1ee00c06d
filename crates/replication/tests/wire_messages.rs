//! The peer protocol byte for byte, there and back, and every way in which a stream is not what it should be.

mod common;

use block::{BlockError, ExportId, Lba, LbaRange, SectorCount};
use common::{PAIR, VOLUME, small_state};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use replication::durability::Mode;
use replication::identity::{PairIdentity, VolumeIdentity};
use replication::limits::{COUNTED_MAX, DOUBTFUL_PER_MESSAGE, NUMBERS_PER_MESSAGE, RUNS_PER_MESSAGE};
use replication::links::Interfaces;
use replication::membership::{Epoch, Members, Membership, NodeNumber};
use replication::message::{
    Announce, BlockRun, CopyState, DoubtfulWrite, Effect, Handed, Hello, Message, NumberWindow, Offer,
    Origin, Refusal, Token, VolumeMessage,
};
use replication::meta::small_state::SmallState;
use replication::version::{HISTORY, Version, VersionRange};
use replication::wire::{
    BODY_BYTES_MAX, DATA_BYTES_MAX, Data, Decoder, HEADER_BYTES, Kind, MESSAGE_BYTES_MAX, Need, TOLD_BY_PEER,
    WireError, emit,
};

const HELLO: Hello = Hello {
    versions: VersionRange::ALL,
    pair: PAIR,
    node: NodeNumber::One,
    incarnation: 0x1234_5678_9abc_def0,
    lease_milliseconds: 1000,
};
const NO_VERSION: Refusal = Refusal::Version {
    refuser: VersionRange { oldest: 1, newest: 2 },
    other: VersionRange { oldest: 3, newest: 9 },
};
const STOCK: Origin = Origin::Stock { digest: 0xd0d1_d2d3 << 96 };
const SEQUENCED: Origin = Origin::Sequenced { initiator: 0x1111_2222_3333_4444, sequence: 7 };

fn range(start: u64, count: u16) -> LbaRange {
    LbaRange::new(Lba(start), SectorCount(count)).expect("a range")
}

fn window(initiator: u64) -> NumberWindow {
    let words = |first: u64| std::array::from_fn(|word| first + word as u64);
    NumberWindow { initiator, latest: 0x0123_4567, executed: words(0x10), failed: words(0x20) }
}

fn of_volume(message: VolumeMessage) -> Message {
    Message::Volume(ExportId(3), message)
}

/// One of each kind, in the order of their numbers.
fn samples() -> Vec<Message> {
    use VolumeMessage as V;
    let membership = Membership { epoch: Epoch(7), members: Members::Only(NodeNumber::One) };
    let offer = Offer {
        membership,
        copy: CopyState::Inconsistent,
        alone: true,
        forgetful: true,
        lost_memory: true,
        mode: Some(Mode::Async(NodeNumber::One)),
        small_state_revision: 5,
    };
    let announce = Announce { volume: VOLUME, export: ExportId(9), sectors: 588_003 };
    let of_session = [
        Message::Hello(HELLO),
        Message::Goodbye(NO_VERSION),
        Message::Renew { number: 17 },
        Message::Granted { number: 17 },
        Message::Announce(announce),
        Message::LinksDown(Interfaces::of_bits(6)),
    ];
    let token = Token(0x0102_0304_0506_0708);
    let of_volumes = [
        V::OutOfSync(vec![BlockRun { start: 5, count: 1 }, BlockRun { start: 4096, count: 512 }]),
        V::Doubtful(vec![DoubtfulWrite { range: range(80, 8), origin: SEQUENCED, effect: Effect::Nothing }]),
        V::Offer(offer),
        V::Proceed(membership),
        V::Ready,
        V::Replicate { write: token, range: range(0x1_0000_0001, 1), durable: true, origin: Some(STOCK) },
        V::Ack { write: token, follower: Token(2), microseconds: 70_000 },
        V::Commit { follower: Token(2) },
        V::Fetch { read: token, range: range(8, 2) },
        V::Fetched { read: token, result: Ok(()) },
        V::Flush { flush: token },
        V::Flushed { flush: token },
        V::Handed(Handed { port: 1, to_receiver: true, bytes: 60, renewal: 9, after: -250 }),
        V::Copy { copy: token, range: range(16, 1) },
        V::CopyDigest { copy: token, range: range(16, 8), digest: 0x55 },
        V::Copied { copy: token },
        V::CopyYielded { copy: token },
        V::CopyDiffers { copy: token },
        V::Missing { range: range(24, 8) },
        V::Verify { verify: token, range: range(32, 8), digest: 0xaa },
        V::Verified { verify: token, equal: None },
        V::Member(membership),
        V::MemberKnown(membership),
        V::Leave,
        V::DiskFailed,
        V::Resize { sectors: 4096 },
        V::ResizeAnswered { sectors: 4096, agreed: true },
        V::GivenBack,
        V::SmallState(Box::new(small_state(5))),
        V::SmallStateKnown { revision: 5 },
        V::Numbers(vec![window(4)]),
    ];
    of_session.into_iter().chain(of_volumes.map(of_volume)).collect()
}

fn sample(kind: Kind) -> Message {
    let found = samples().into_iter().find(|message| bytes_of(message)[6] == kind.number());
    found.expect("there is one of each")
}

fn data_of(message: &Message) -> Vec<u8> {
    let bytes = match message {
        Message::Volume(_, VolumeMessage::Fetched { result: Ok(()), .. }) => 1024,
        Message::Volume(_, message) => message.data_bytes().unwrap_or(0),
        _ => 0,
    };
    vec![0x5a; bytes]
}

fn head_of(data: &[u8]) -> Data {
    if data.is_empty() { Data::NONE } else { Data::checked(data) }
}

/// The message without its data, out of a buffer that was not empty.
fn bytes_of(message: &Message) -> Vec<u8> {
    bytes_in(Version::NEWEST, message)
}

fn bytes_in(version: Version, message: &Message) -> Vec<u8> {
    let mut bytes = vec![0xee; MESSAGE_BYTES_MAX];
    let length = emit(version, message, head_of(&data_of(message)), &mut bytes);
    bytes.truncate(length);
    bytes
}

/// Hands a stream to a decoder, data in pieces of 700 bytes.
fn decode(decoder: &mut Decoder, mut stream: &[u8]) -> Result<Vec<Message>, WireError> {
    let mut messages = Vec::new();
    loop {
        let wanted = match decoder.need() {
            Need::Head => HEADER_BYTES,
            Need::Body(bytes) => bytes,
            Need::Data(left) => left.min(700),
        };
        let Some((piece, rest)) = stream.split_at_checked(wanted) else { return Ok(messages) };
        stream = rest;
        messages.extend(match decoder.need() {
            Need::Head => decoder.head(piece.try_into().expect("a head"))?,
            Need::Body(_) => decoder.body(piece)?,
            Need::Data(_) => decoder.data(piece)?,
        });
    }
}

/// What one message of a session is read as.
fn read(bytes: &[u8]) -> Result<Vec<Message>, WireError> {
    let mut decoder = in_session();
    decode(&mut decoder, bytes)
}

fn in_session() -> Decoder {
    let mut decoder = Decoder::new(DATA_BYTES_MAX, VersionRange::ALL);
    let hello = decode(&mut decoder, &bytes_of(&Message::Hello(HELLO)));
    assert_eq!(hello, Ok(vec![Message::Hello(HELLO)]));
    decoder
}

/// Gives a changed message the checksum that fits.
fn reseal(bytes: &mut [u8]) {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&bytes[..28]);
    hasher.update(&bytes[HEADER_BYTES..]);
    bytes[28..32].copy_from_slice(&hasher.finalize().to_le_bytes());
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for (index, line) in bytes.chunks(16).enumerate() {
        let line: Vec<String> = line.iter().map(|byte| format!("{byte:02x}")).collect();
        text += &format!("{:04x}: {}\n", index * 16, line.join(" "));
    }
    text
}

#[test]
fn every_message_is_byte_for_byte_what_it_was() {
    let mut text = String::from(
        "# Messages without their data: all as they are in version 1, then those that are others, or new, in a later version.\n",
    );
    for (message, kind) in samples().iter().zip(Kind::ALL).filter(|(_, kind)| kind.since() == Version::V1) {
        text += &format!("\n## {kind}\n{}", hex(&bytes_in(Version::V1, message)));
    }
    for (message, kind) in samples().iter().zip(Kind::ALL) {
        for versions in HISTORY.windows(2).filter(|versions| kind.since() <= versions[1].0) {
            let bytes = bytes_in(versions[1].0, message);
            let is_new = kind.since() == versions[1].0;
            let is_other = || {
                let before = bytes_in(versions[0].0, message);
                bytes[6..28] != before[6..28] || bytes[HEADER_BYTES..] != before[HEADER_BYTES..]
            };
            if is_new || is_other() {
                text += &format!("\n## {kind}, version {}\n{}", versions[1].0, hex(&bytes));
            }
        }
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/messages.txt");
    if std::env::var_os("REWRITE_TESTDATA").is_some() {
        std::fs::write(path, &text).expect("testdata is writable");
    }
    let golden = std::fs::read_to_string(path).expect("testdata/messages.txt; REWRITE_TESTDATA=1 writes it");
    assert_eq!(text, golden, "the protocol changed: that needs a new version, not a new file");
}

#[test]
fn the_samples_are_of_all_kinds() {
    let kinds: Vec<u8> = samples().iter().map(|message| bytes_of(message)[6]).collect();
    let all: Vec<u8> = Kind::ALL.iter().map(|kind| kind.number()).collect();
    assert_eq!(kinds, all);
}

#[test]
fn a_stream_of_every_kind_reads_back_in_order() {
    let mut stream = Vec::new();
    for message in samples() {
        stream.extend(bytes_of(&message));
        stream.extend(data_of(&message));
    }
    let mut decoder = Decoder::new(DATA_BYTES_MAX, VersionRange::ALL);
    assert_eq!(decode(&mut decoder, &stream), Ok(samples()));
    assert_eq!((decoder.need(), decoder.version()), (Need::Head, Some(Version::NEWEST)));
}

#[test]
fn the_messages_of_a_write_have_the_sizes_that_are_documented() {
    let size = |kind: Kind| {
        let message = samples().into_iter().find(|message| bytes_of(message)[6] == kind.number());
        bytes_of(&message.expect("one of each")).len()
    };
    assert_eq!([Kind::Replicate, Kind::Ack, Kind::Commit].map(size), [80, 56, 40]);
    assert_eq!([Kind::Hello, Kind::Renew, Kind::Leave].map(size), [72, 40, 32]);
}

#[test]
fn the_largest_messages_fit() {
    let runs = vec![BlockRun { start: u64::MAX - 1, count: 1 }; RUNS_PER_MESSAGE];
    let write = DoubtfulWrite { range: range(1, 1), origin: STOCK, effect: Effect::Unknown };
    let writes = vec![write; DOUBTFUL_PER_MESSAGE];
    let state = SmallState {
        config_string: vec![1; 1024],
        mac_mask: vec![[2; 6]; 255],
        reservation: vec![[3; 6]; 255],
        ..SmallState::new(VOLUME)
    };
    let largest = [
        VolumeMessage::OutOfSync(runs),
        VolumeMessage::Doubtful(writes),
        VolumeMessage::Numbers(vec![window(u64::MAX); NUMBERS_PER_MESSAGE]),
        VolumeMessage::SmallState(Box::new(state)),
    ];
    for message in largest.map(of_volume) {
        assert_eq!(read(&bytes_of(&message)), Ok(vec![message]));
    }
}

#[test]
fn every_reason_to_end_a_session_arrives() {
    let reasons = [
        NO_VERSION,
        Refusal::Pair,
        Refusal::Node(NodeNumber::One),
        Refusal::Lease(1500),
        Refusal::LeaseExpired,
        Refusal::Resized,
        Refusal::WriteFailed,
    ];
    for reason in reasons {
        let message = Message::Goodbye(reason);
        let mut decoder = Decoder::new(0, VersionRange::ALL);
        assert_eq!(decode(&mut decoder, &bytes_of(&message)), Ok(vec![message]), "also before a Hello");
    }
    let told = read(&bytes_of(&Message::Goodbye(Refusal::Protocol("of our own program"))));
    assert_eq!(told, Ok(vec![Message::Goodbye(Refusal::Protocol(TOLD_BY_PEER))]), "the text stays here");
}

#[test]
fn a_session_is_in_the_newest_version_that_both_speak() {
    let agreed = |ours, oldest, newest| {
        let mut decoder = Decoder::new(0, ours);
        let hello = Message::Hello(Hello { versions: VersionRange { oldest, newest }, ..HELLO });
        decode(&mut decoder, &bytes_of(&hello)).expect("a Hello is read in all versions");
        decoder.version()
    };
    let old = VersionRange::of(Version::V1, Version::V1);
    assert_eq!(agreed(VersionRange::ALL, 1, 2), Some(Version::V2));
    assert_eq!(agreed(VersionRange::ALL, 1, 1), Some(Version::V1));
    assert_eq!(agreed(VersionRange::ALL, 2, 9), Some(Version::NEWEST));
    assert_eq!(agreed(VersionRange::ALL, 6, 9), None);
    assert_eq!(agreed(old, 1, 9), Some(Version::V1));
    assert_eq!(agreed(old, 2, 2), None);
}

/// The same messages there and back in a session with a program of each version; only what that version lacks is lost.
#[test]
fn in_every_version_everything_can_be_said() {
    for (version, _) in HISTORY {
        let mut decoder = Decoder::new(DATA_BYTES_MAX, VersionRange::ALL);
        let versions = VersionRange { oldest: 1, newest: version.number() };
        let hello = Message::Hello(Hello { versions, ..HELLO });
        let mut expected = vec![hello.clone()];
        let mut stream = bytes_in(version, &hello);
        let of_it = samples().into_iter().zip(Kind::ALL).filter(|(_, kind)| kind.since() <= version);
        for (message, _) in of_it.skip(1) {
            stream.extend(bytes_in(version, &message));
            stream.extend(data_of(&message));
            expected.push(match message {
                Message::Volume(export, VolumeMessage::Ack { write, follower, .. })
                    if version == Version::V1 =>
                {
                    Message::Volume(export, VolumeMessage::Ack { write, follower, microseconds: 0 })
                }
                message => message,
            });
        }
        assert_eq!(decode(&mut decoder, &stream), Ok(expected), "version {version}");
    }
}

#[test]
fn a_message_of_another_version_than_was_agreed_ends_the_session() {
    let ack = samples().into_iter().find(|message| bytes_of(message)[6] == Kind::Ack.number());
    let ack = ack.expect("one of each");
    let error = read(&bytes_in(Version::V1, &ack)).expect_err("the session is in the newest version");
    assert_eq!(error, WireError::Version { found: 1, session: Version::NEWEST });
    let mut short = bytes_in(Version::V1, &ack);
    [short[4], short[5]] = Version::NEWEST.number().to_le_bytes();
    reseal(&mut short);
    assert_eq!(read(&short), Err(WireError::BodyLength { kind: Kind::Ack, found: 16 }));
}

#[test]
fn a_kind_that_came_with_a_later_version_ends_a_session_of_an_earlier_one() {
    let mut bytes = bytes_of(&of_volume(VolumeMessage::GivenBack));
    assert_eq!(read(&bytes), Ok(vec![of_volume(VolumeMessage::GivenBack)]));
    let mut decoder = Decoder::new(0, VersionRange::of(Version::V1, Version::V2));
    decode(&mut decoder, &bytes_of(&Message::Hello(HELLO))).expect("a Hello is read in all versions");
    bytes[4] = 2;
    reseal(&mut bytes);
    assert_eq!(decode(&mut decoder, &bytes), Err(WireError::Kind { found: Kind::GivenBack.number() }));
}

#[test]
fn the_hello_of_a_later_program_is_read_and_nothing_after_it_but_goodbye() {
    let later = Message::Hello(Hello { versions: VersionRange { oldest: 90, newest: 91 }, ..HELLO });
    let mut bytes = bytes_of(&later);
    bytes.extend([7; 24]);
    bytes[12] += 24;
    reseal(&mut bytes);
    let mut decoder = Decoder::new(0, VersionRange::ALL);
    assert_eq!(decode(&mut decoder, &bytes), Ok(vec![later]), "what a later version adds is passed over");
    let mut goodbye = decoder.clone();
    let message = Message::Goodbye(Refusal::Pair);
    assert_eq!(decode(&mut goodbye, &bytes_of(&message)), Ok(vec![message]));
    let refused = decode(&mut decoder, &bytes_of(&Message::Renew { number: 1 }));
    assert_eq!(refused, Err(WireError::NoSession { kind: 3 }));
}

#[test]
fn a_session_begins_with_hello() {
    let mut decoder = Decoder::new(0, VersionRange::ALL);
    let error = decode(&mut decoder, &bytes_of(&Message::Renew { number: 1 }));
    assert_eq!(error, Err(WireError::NoSession { kind: 3 }));
    assert_eq!(decode(&mut decoder, &bytes_of(&Message::Hello(HELLO))), error, "and is over after a fault");
}

#[test]
fn each_field_of_a_head_that_cannot_be_is_named() {
    let good = bytes_of(&Message::Renew { number: 1 });
    let with = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        reseal(&mut bytes);
        read(&bytes).expect_err("refused")
    };
    assert_eq!(with(0, b'e'), WireError::Magic { found: *b"eP\r\n" });
    assert_eq!(with(4, 9), WireError::Version { found: 9, session: Version::NEWEST });
    assert_eq!(with(4, 0), WireError::Kind { found: 3 }, "only Hello and Goodbye are of all versions");
    assert_eq!(with(6, 1), WireError::Kind { found: 1 }, "and they always are");
    for found in [15, 50, 51] {
        assert_eq!(with(6, found), WireError::Kind { found });
    }
    assert_eq!(with(6, 32), WireError::BodyLength { kind: Kind::Replicate, found: 8 });
    assert_eq!(with(15, 1), WireError::BodyLength { kind: Kind::Renew, found: (1 << 24) + 8 });
    assert_eq!(with(17, 2), WireError::DataLength { kind: Kind::Renew, found: 512 });
}

#[test]
fn a_bit_that_flips_anywhere_is_noticed() {
    let message = sample(Kind::Replicate);
    let good = bytes_of(&message);
    for bit in 0..good.len() * 8 {
        let mut bytes = good.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        // Of a body that is said to be longer, the decoder waits for the rest: at most one message's length.
        let longer = (12 * 8..16 * 8).contains(&bit);
        bytes.resize(if longer { MESSAGE_BYTES_MAX } else { good.len() }, 0);
        assert!(read(&bytes).is_err(), "bit {bit}");
    }
}

#[test]
fn damaged_data_is_noticed_if_it_was_checked() {
    let message = sample(Kind::Replicate);
    let stream = |data: Data, byte: u8| {
        let mut bytes = vec![0; MESSAGE_BYTES_MAX];
        let length = emit(Version::NEWEST, &message, data, &mut bytes);
        [&bytes[..length], &[byte; 512]].concat()
    };
    let checked = Data::checked(&[1; 512]);
    assert_eq!(read(&stream(checked, 1)), Ok(vec![message.clone()]));
    let error = read(&stream(checked, 2)).expect_err("another byte");
    let crc = |byte: u8| crc32fast::hash(&[byte; 512]);
    assert_eq!(error, WireError::DataChecksum { found: crc(1), computed: crc(2) });
    assert_eq!(read(&stream(Data::unchecked(512), 2)), Ok(vec![message.clone()]));
}

#[test]
fn data_must_be_what_the_message_says_and_no_more_than_there_is_room_for() {
    let mut replicate = bytes_of(&sample(Kind::Replicate));
    replicate[17] = 4;
    reseal(&mut replicate);
    assert_eq!(read(&replicate), Err(WireError::DataLength { kind: Kind::Replicate, found: 1024 }));
    let mut fetched = bytes_of(&sample(Kind::Fetched));
    for found in [0u32, 100, 65_536 * 512, u32::MAX - 511] {
        fetched[16..20].copy_from_slice(&found.to_le_bytes());
        reseal(&mut fetched);
        let found = usize::try_from(found).expect("64 bits");
        assert_eq!(read(&fetched), Err(WireError::DataLength { kind: Kind::Fetched, found }));
    }
    let mut small = Decoder::new(512, VersionRange::ALL);
    decode(&mut small, &bytes_of(&Message::Hello(HELLO))).expect("a Hello");
    let refused = decode(&mut small, &bytes_of(&sample(Kind::Fetched)));
    assert_eq!(refused, Err(WireError::DataTooLong { kind: Kind::Fetched, found: 1024, max: 512 }));
}

#[test]
fn values_that_mean_nothing_are_named() {
    let with = |kind: Kind, at: usize, byte: u8| {
        let mut bytes = bytes_of(&sample(kind));
        bytes[HEADER_BYTES + at] = byte;
        reseal(&mut bytes);
        match read(&bytes).expect_err("refused") {
            WireError::Value { kind: named, what } => {
                assert_eq!(named, kind);
                what
            }
            other => panic!("{other}"),
        }
    };
    assert_eq!(with(Kind::Handed, 1, 2), "whose address it was sent to");
    assert_eq!(with(Kind::Handed, 4, 0), "length of a frame");
    assert_eq!(with(Kind::Handed, 6, 1), "length of a frame");
    assert_eq!(with(Kind::Hello, 0, 0), "range of versions");
    assert_eq!(with(Kind::Hello, 32, 2), "node number");
    assert_eq!(with(Kind::Goodbye, 0, 10), "reason");
    assert_eq!(with(Kind::Doubtful, 11, 0), "origin", "it must be somebody's");
    assert_eq!(with(Kind::Doubtful, 10, 4), "effect of a write");
    assert_eq!(with(Kind::Offer, 8, 3), "membership");
    assert_eq!(with(Kind::Offer, 16, 3), "state of the copy");
    assert_eq!(with(Kind::Offer, 19, 2), "flag of a node that has lost its memory");
    assert_eq!(with(Kind::Offer, 20, 5), "mode");
    assert_eq!(with(Kind::Replicate, 16, 0), "range of sectors", "of none");
    assert_eq!(with(Kind::Replicate, 18, 2), "flag of a durable write");
    assert_eq!(with(Kind::Replicate, 19, 3), "origin");
    assert_eq!(with(Kind::Fetched, 8, 6), "result");
    assert_eq!(with(Kind::Verified, 8, 3), "outcome of a verify");
    assert_eq!(with(Kind::ResizeAnswered, 8, 2), "answer to a resize");
    // The eighth byte of a number nobody has counted up to.
    assert_eq!(with(Kind::Offer, 7, 0x81), "epoch");
    assert_eq!(with(Kind::Proceed, 7, 0x81), "epoch");
    assert_eq!(with(Kind::Offer, 31, 0x81), "revision of the small state");
    assert_eq!(with(Kind::SmallState, 23, 0x81), "revision");
    assert_eq!(with(Kind::OutOfSync, 8, 0), "run of blocks", "of none");
    let mut wraps = bytes_of(&sample(Kind::OutOfSync));
    wraps[HEADER_BYTES..HEADER_BYTES + 8].fill(0xff);
    reseal(&mut wraps);
    assert_eq!(read(&wraps), Err(WireError::Value { kind: Kind::OutOfSync, what: "run of blocks" }));
}

#[test]
fn an_error_says_what_to_do() {
    let error = read(b"GET / HTTP/1.1\r\nHost: node0:4711\r\n").expect_err("somebody else");
    assert_eq!(
        error.to_string(),
        "no message begins where one must (there is [47, 45, 54, 20]); look whether the peer's address and port are \
         those of its etherpair"
    );
}

#[test]
#[should_panic(expected = "the data of this message")]
fn data_of_another_length_is_our_own_fault() {
    emit(Version::NEWEST, &sample(Kind::Replicate), Data::unchecked(1024), &mut [0; MESSAGE_BYTES_MAX]);
}

fn any_range() -> impl Strategy<Value = LbaRange> {
    let count = prop_oneof![9 => 1..64u16, 1 => 1..=u16::MAX];
    (0..u64::MAX - 65_535, count).prop_map(|(start, count)| range(start, count))
}

fn any_origin() -> impl Strategy<Value = Origin> {
    prop_oneof![
        any::<u128>().prop_map(|digest| Origin::Stock { digest }),
        (any::<u64>(), any::<u64>())
            .prop_map(|(initiator, sequence)| Origin::Sequenced { initiator, sequence }),
    ]
}

fn any_node() -> impl Strategy<Value = NodeNumber> {
    prop_oneof![Just(NodeNumber::Zero), Just(NodeNumber::One)]
}

fn any_membership() -> impl Strategy<Value = Membership> {
    let members = prop_oneof![Just(Members::Both), any_node().prop_map(Members::Only)];
    (0..=COUNTED_MAX, members).prop_map(|(epoch, members)| Membership { epoch: Epoch(epoch), members })
}

fn any_result() -> impl Strategy<Value = Result<(), BlockError>> {
    prop_oneof![
        Just(Ok(())),
        Just(Err(BlockError::Medium)),
        Just(Err(BlockError::NoSpace)),
        Just(Err(BlockError::ReadOnly)),
        Just(Err(BlockError::BeyondEnd)),
        Just(Err(BlockError::Gone)),
    ]
}

fn any_hello() -> impl Strategy<Value = Message> {
    let numbers = (1..u16::MAX, any::<u16>(), any::<u128>(), any::<u64>(), any::<u32>());
    (numbers, any_node()).prop_map(|((oldest, more, pair, incarnation, lease_milliseconds), node)| {
        Message::Hello(Hello {
            versions: VersionRange { oldest, newest: oldest.saturating_add(more) },
            pair: PairIdentity(pair),
            node,
            incarnation,
            lease_milliseconds,
        })
    })
}

fn any_of_session() -> impl Strategy<Value = Message> {
    prop_oneof![
        any_hello(),
        any::<[u16; 4]>().prop_map(|numbers| {
            let [refuser, other] =
                [[0, 1], [2, 3]].map(|[at, to]| VersionRange { oldest: numbers[at], newest: numbers[to] });
            Message::Goodbye(Refusal::Version { refuser, other })
        }),
        any::<u32>().prop_map(|lease| Message::Goodbye(Refusal::Lease(lease))),
        any_node().prop_map(|node| Message::Goodbye(Refusal::Node(node))),
        any::<u64>().prop_map(|number| Message::Renew { number }),
        any::<u64>().prop_map(|number| Message::Granted { number }),
        any::<u64>().prop_map(|bits| Message::LinksDown(Interfaces::of_bits(bits))),
        any::<(u128, u32, u64)>().prop_map(|(volume, export, sectors)| Message::Announce(Announce {
            volume: VolumeIdentity(volume),
            export: ExportId(export),
            sectors,
        })),
    ]
}

fn any_of_meeting() -> impl Strategy<Value = VolumeMessage> {
    use VolumeMessage as V;
    let run = (0..u64::MAX / 2, 1..u64::MAX / 2).prop_map(|(start, count)| BlockRun { start, count });
    let effect = prop_oneof![
        Just(Effect::Whole),
        Just(Effect::Overtaken),
        Just(Effect::Nothing),
        Just(Effect::Unknown),
    ];
    let doubtful = (any_range(), any_origin(), effect).prop_map(|(range, origin, effect)| DoubtfulWrite {
        range,
        origin,
        effect,
    });
    let copy = prop_oneof![Just(CopyState::Good), Just(CopyState::Inconsistent), Just(CopyState::Diskless)];
    let mode = prop_oneof![
        Just(None),
        Just(Some(Mode::Stable)),
        Just(Some(Mode::Memory)),
        Just(Some(Mode::Async(NodeNumber::Zero))),
        Just(Some(Mode::Async(NodeNumber::One))),
    ];
    let offer = (any_membership(), copy, any::<[bool; 3]>(), mode, 0..=COUNTED_MAX).prop_map(
        |(membership, copy, [alone, forgetful, lost_memory], mode, small_state_revision)| {
            V::Offer(Offer { membership, copy, alone, forgetful, lost_memory, mode, small_state_revision })
        },
    );
    prop_oneof![
        vec(run, 0..9).prop_map(V::OutOfSync),
        vec(doubtful, 0..9).prop_map(V::Doubtful),
        vec(any::<u64>().prop_map(window), 0..5).prop_map(V::Numbers),
        offer,
        any_membership().prop_map(V::Proceed),
        any_membership().prop_map(V::Member),
        any_membership().prop_map(V::MemberKnown),
        Just(V::Ready),
        Just(V::Leave),
        Just(V::DiskFailed),
        any::<u64>().prop_map(|sectors| V::Resize { sectors }),
        any::<(u64, bool)>().prop_map(|(sectors, agreed)| V::ResizeAnswered { sectors, agreed }),
        any_small_state(),
        any::<u64>().prop_map(|revision| V::SmallStateKnown { revision }),
        any::<(u8, bool, u64, i64)>().prop_map(|(port, to_receiver, renewal, after)| {
            V::Handed(Handed { port, to_receiver, bytes: 60, renewal, after })
        }),
    ]
}

fn any_small_state() -> impl Strategy<Value = VolumeMessage> {
    let addresses = || vec(any::<[u8; 6]>(), 0..=255);
    let numbers = (any::<u128>(), 0..=COUNTED_MAX);
    (numbers, vec(any::<u8>(), 0..=1024), addresses(), addresses()).prop_map(
        |((volume, revision), config_string, mac_mask, reservation)| {
            let volume = VolumeIdentity(volume);
            let state = SmallState { volume, revision, config_string, mac_mask, reservation };
            VolumeMessage::SmallState(Box::new(state))
        },
    )
}

fn any_token() -> impl Strategy<Value = Token> {
    any::<u64>().prop_map(Token)
}

fn any_of_writes() -> impl Strategy<Value = VolumeMessage> {
    use VolumeMessage as V;
    let write = || (any_token(), any_range(), any::<bool>(), option::of(any_origin()));
    prop_oneof![
        write().prop_map(|(write, range, durable, origin)| V::Replicate { write, range, durable, origin }),
        (any_token(), any_token(), any::<u32>()).prop_map(|(write, follower, microseconds)| V::Ack {
            write,
            follower,
            microseconds
        }),
        any_token().prop_map(|follower| V::Commit { follower }),
        (any_token(), any_range()).prop_map(|(read, range)| V::Fetch { read, range }),
        (any_token(), any_result()).prop_map(|(read, result)| V::Fetched { read, result }),
        any_token().prop_map(|flush| V::Flush { flush }),
        any_token().prop_map(|flush| V::Flushed { flush }),
    ]
}

fn any_of_resync() -> impl Strategy<Value = VolumeMessage> {
    use VolumeMessage as V;
    let compared = || (any_token(), any_range(), any::<u128>());
    prop_oneof![
        (any_token(), any_range()).prop_map(|(copy, range)| V::Copy { copy, range }),
        compared().prop_map(|(copy, range, digest)| V::CopyDigest { copy, range, digest }),
        any_token().prop_map(|copy| V::Copied { copy }),
        any_token().prop_map(|copy| V::CopyYielded { copy }),
        any_token().prop_map(|copy| V::CopyDiffers { copy }),
        any_range().prop_map(|range| V::Missing { range }),
        compared().prop_map(|(verify, range, digest)| V::Verify { verify, range, digest }),
        (any_token(), option::of(any::<bool>())).prop_map(|(verify, equal)| V::Verified { verify, equal }),
    ]
}

fn any_message() -> impl Strategy<Value = Message> {
    let of_volume = prop_oneof![any_of_meeting(), any_of_writes(), any_of_resync()];
    prop_oneof![
        any_of_session(),
        (any::<u32>(), of_volume).prop_map(|(export, message)| Message::Volume(ExportId(export), message)),
    ]
}

proptest! {
    #[test]
    fn what_is_emitted_is_parsed(message in any_message(), checked in any::<bool>(), filling in any::<u8>()) {
        let mut data = data_of(&message);
        data.fill(filling);
        let head = if checked { head_of(&data) } else { Data::unchecked(data.len()) };
        let mut bytes = vec![0xee; MESSAGE_BYTES_MAX];
        let length = emit(Version::NEWEST, &message, head, &mut bytes);
        bytes.truncate(length);
        prop_assert!(length - HEADER_BYTES <= BODY_BYTES_MAX);
        bytes.extend(data);
        prop_assert_eq!(read(&bytes), Ok(vec![message]));
    }

    #[test]
    fn no_stream_makes_the_decoder_panic(bytes in vec(any::<u8>(), 0..4096)) {
        prop_assert!(decode(&mut Decoder::new(4096, VersionRange::ALL), &bytes).is_ok() == (bytes.len() < HEADER_BYTES));
    }
}
