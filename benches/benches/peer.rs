//! What a replicated write costs as bytes: its messages made and read, and its data checked.

use std::hint::black_box;

use block::{ExportId, Lba, LbaRange, SectorCount};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use replication::identity::PairIdentity;
use replication::membership::NodeNumber;
use replication::message::{Hello, Message, Origin, Token, VolumeMessage};
use replication::version::{Version, VersionRange};
use replication::wire::{Data, Decoder, HEADER_BYTES, MESSAGE_BYTES_MAX, Need, emit};

const DATA: [u8; 4096] = [0x5a; 4096];

fn messages() -> [(&'static str, Message, Data); 3] {
    let range = LbaRange::new(Lba(4096), SectorCount(8)).expect("a page");
    let origin = Some(Origin::Stock { digest: 7 << 100 });
    let replicate = VolumeMessage::Replicate { write: Token(1), range, durable: true, origin };
    let ack = VolumeMessage::Ack { write: Token(1), follower: Token(2), microseconds: 60 };
    let commit = VolumeMessage::Commit { follower: Token(2) };
    let of_volume = |message| Message::Volume(ExportId(3), message);
    [
        ("Replicate", of_volume(replicate), Data::unchecked(DATA.len())),
        ("Ack", of_volume(ack), Data::NONE),
        ("Commit", of_volume(commit), Data::NONE),
    ]
}

fn emitted(message: &Message, data: Data) -> Vec<u8> {
    let mut bytes = vec![0; MESSAGE_BYTES_MAX];
    let length = emit(Version::NEWEST, message, data, &mut bytes);
    bytes.truncate(length);
    bytes
}

/// A decoder in the middle of a session.
fn decoder() -> Decoder {
    let hello = Message::Hello(Hello {
        versions: VersionRange::ALL,
        pair: PairIdentity(1),
        node: NodeNumber::One,
        incarnation: 2,
        lease_milliseconds: 1000,
    });
    let mut decoder = Decoder::new(128 << 10, VersionRange::ALL);
    assert!(read(&mut decoder, &emitted(&hello, Data::NONE)).is_some());
    decoder
}

fn read(decoder: &mut Decoder, bytes: &[u8]) -> Option<Message> {
    let (head, body) = bytes.split_first_chunk::<HEADER_BYTES>().expect("a whole message");
    decoder.head(head).expect("good");
    match decoder.body(body).expect("good") {
        None => match decoder.need() {
            Need::Data(_) => decoder.data(&DATA).expect("good"),
            Need::Head | Need::Body(_) => unreachable!("the body is read"),
        },
        message => message,
    }
}

fn hot(criterion: &mut Criterion) {
    let mut out = [0; MESSAGE_BYTES_MAX];
    for (name, message, data) in messages() {
        criterion.bench_function(&format!("emit {name}"), |b| {
            b.iter(|| emit(Version::NEWEST, black_box(&message), data, &mut out));
        });
        let bytes = emitted(&message, data);
        let mut decoder = decoder();
        criterion.bench_function(&format!("parse {name}"), |b| {
            b.iter(|| read(&mut decoder, black_box(&bytes)).expect("a message"));
        });
    }
}

fn checked(criterion: &mut Criterion) {
    let (_, message, _) = &messages()[0];
    let mut group = criterion.benchmark_group("Replicate of 4 KiB, its data checked");
    group.throughput(Throughput::Bytes(DATA.len() as u64));
    let mut out = [0; MESSAGE_BYTES_MAX];
    group.bench_function("emit", |b| {
        b.iter(|| emit(Version::NEWEST, black_box(message), Data::checked(black_box(&DATA)), &mut out));
    });
    let bytes = emitted(message, Data::checked(&DATA));
    let mut decoder = decoder();
    group.bench_function("parse", |b| {
        b.iter(|| read(&mut decoder, black_box(&bytes)).expect("a message"));
    });
    group.finish();
}

criterion_group!(benches, hot, checked);
criterion_main!(benches);
