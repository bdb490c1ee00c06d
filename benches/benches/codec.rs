//! What a frame costs before and after its disk: reading a request, making a reply, naming a write's content.

use std::hint::black_box;

use aoe::ata::{AtaString, Identify};
use aoe::wire::ata::{Reply, ReplyHead, Request, View};
use aoe::{Address, Digest, Frame, Head, MacAddress, Shelf, Slot};
use block::{LogicalSectorSize, SECTOR_BYTES, SectorCount};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

/// READ SECTORS EXT of eight sectors, as the Linux driver sends it.
const READ: [u8; 60] = {
    let mut frame = [0; 60];
    let start = [
        0x68, 0xa3, 0xc4, 0xf4, 0x84, 0x1e, 0x20, 0xcf, 0x30, 0x02, 0xb0, 0x52, 0x88, 0xa2, // Ethernet
        0x10, 0x00, 0x00, 0x07, 0x01, 0x00, 0x00, 0x02, 0xcd, 0x63, // AoE
        0x40, 0x00, 0x08, 0x24, 0x34, 0x12, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, // ATA
    ];
    let mut index = 0;
    while index < start.len() {
        frame[index] = start[index];
        index += 1;
    }
    frame
};

const TARGET: MacAddress = MacAddress([0x68, 0xa3, 0xc4, 0xf4, 0x84, 0x1e]);

fn parse(bytes: &[u8]) -> (Head, Request) {
    let frame = Frame::new(bytes).expect("a frame");
    (frame.head(), Request::parse(View::new(frame).expect("registers")))
}

fn requests_and_replies(criterion: &mut Criterion) {
    let address = Address::new(Shelf(7), Slot(1)).expect("valid");
    criterion.bench_function("parse an ATA read request", |b| b.iter(|| parse(black_box(&READ))));
    let (head, request) = parse(&READ);
    criterion.bench_function("make the head of a read reply", |b| {
        b.iter(|| {
            let (head, request) = black_box((&head, &request));
            ReplyHead::new(&head.reply(TARGET, address), &Reply::success(request), SectorCount(8))
        });
    });
    criterion.bench_function("make a write reply", |b| {
        b.iter(|| {
            let (head, request) = black_box((&head, &request));
            ReplyHead::new(&head.reply(TARGET, address), &Reply::success(request), SectorCount(0))
        });
    });
}

fn identify(criterion: &mut Criterion) {
    let identify = Identify {
        sectors: 1 << 31,
        lba48: true,
        serial: AtaString::new("e7.1"),
        firmware: AtaString::new("0.1.0"),
        model: AtaString::new("etherpair"),
        physical_sector_size: LogicalSectorSize::B4096,
        write_cache: false,
        smart: true,
    };
    let mut page = [0; SECTOR_BYTES];
    criterion.bench_function("write an IDENTIFY page", |b| b.iter(|| black_box(&identify).emit(&mut page)));
    criterion.bench_function("read an IDENTIFY page", |b| b.iter(|| Identify::parse(black_box(&page))));
}

fn digest(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("digest");
    for bytes in [1024, 4096, 8192] {
        let payload = vec![0x5a; bytes];
        group.throughput(Throughput::Bytes(bytes as u64));
        group.bench_function(format!("{bytes} bytes"), |b| b.iter(|| Digest::of(1, black_box(&payload))));
    }
    group.finish();
}

criterion_group!(benches, requests_and_replies, identify, digest);
criterion_main!(benches);
