//! What a request costs in the target: a frame in and the disk request out, its completion in and the answer out.
//!
//! Depth 32, random 4 KiB requests, the clock going on 10 µs a request, so that the memory of completed writes is as
//! full as 100,000 writes a second make it. A write pays for the digest of its data too; it stands alone below.

use std::hint::black_box;

use aoe::ata::AtaCommand;
use aoe::target::{
    ExportConfig, Identity, Input, Output, PortId, PortLink, SmallState, Target, TargetLimits,
};
use aoe::wire::ata::{AtaFlags, LbaRegisters, Request};
use aoe::wire::{Head, ethernet, header};
use aoe::{Address, Command, Digest, MacAddress, Shelf, Slot, Tag};
use block::{
    BufferName, BufferSlice, Completion, Duration, Instant, Lba, LogicalSectorSize, Operation, RequestId,
};
use criterion::{Criterion, criterion_group, criterion_main};

const OURS: MacAddress = MacAddress([2, 0, 0, 0, 0, 0xaa]);
const CLIENT: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);
const DEPTH: usize = 32;
/// 1 GiB in blocks of 4 KiB.
const BLOCKS: u64 = 1 << 18;

/// A target with its initiator and its disk at depth 32.
struct Load {
    target: Target,
    frame: Vec<u8>,
    exports: u16,
    write: bool,
    now: Instant,
    random: u64,
    at_disk: [Option<(RequestId, bool)>; DEPTH],
    turn: usize,
}

impl Load {
    fn new(exports: u16, write: bool) -> Self {
        let mut target = Target::new(TargetLimits::new(42));
        let now = Instant::from_nanos(1_000_000_000);
        let link = Some(PortLink { mac: OURS, mtu: 9000 });
        target.handle_input(now, Input::PortChanged { port: PortId(0), link }).expect("no frame");
        for shelf in 0..exports {
            let config = ExportConfig {
                address: Address::new(Shelf(shelf), Slot(1)).expect("an address"),
                sectors: BLOCKS * 8,
                logical_sector_size: LogicalSectorSize::B512,
                identity: Identity::new("7.1", "model", "1"),
                read_only: false,
                write_cache: false,
                buffer_count: 64,
                state: SmallState::default(),
                mirror: None,
            };
            target.add_export(now, config).expect("a good config");
        }
        let command = if write { AtaCommand::WriteSectorsExt } else { AtaCommand::ReadSectorsExt };
        let flags = if write { AtaFlags::WRITE | AtaFlags::EXTENDED } else { AtaFlags::EXTENDED };
        let mut frame = vec![0; if write { 36 + 4096 } else { 60 }];
        let address = Address::new(Shelf(0), Slot(1)).expect("an address");
        let header = header::Repr::request(address.into(), Command::Ata, Tag(1));
        Head { ethernet: ethernet::Repr { destination: OURS, source: CLIENT }, header }.emit(&mut frame);
        let lba = LbaRegisters::from_lba48(Lba(0));
        Request { flags, feature: 0, sector_count: 8, command, lba }.emit(&mut frame);
        Self { target, frame, exports, write, now, random: 0x1234_5678, at_disk: [None; DEPTH], turn: 0 }
    }

    fn next_random(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }

    /// One request in, and the oldest one at the disk completed.
    fn request(&mut self) {
        self.now = self.now.after(Duration::from_micros(10));
        let random = self.next_random();
        self.frame[28..34].copy_from_slice(&(random % BLOCKS * 8).to_le_bytes()[..6]);
        let shelf = u16::try_from(random >> 40).unwrap_or(0) % self.exports;
        self.frame[16..18].copy_from_slice(&shelf.to_be_bytes());
        if self.write {
            self.frame[36..44].copy_from_slice(&random.to_le_bytes());
        }
        let input = Input::Frame {
            port: PortId(0),
            received: self.now,
            frame: black_box(&self.frame),
            buffer: BufferName(random),
        };
        self.target.handle_input(self.now, input).expect("a good request");
        self.drain();
        self.turn = (self.turn + 1) % DEPTH;
        let Some((id, is_read)) = self.at_disk[self.turn].take() else { return };
        let payload = BufferSlice { buffer: BufferName(random), offset: 0, length: 4096 };
        let completion = Completion { id, result: Ok(is_read.then_some(payload)) };
        self.target.handle_input(self.now, Input::Completed(completion)).expect("no frame");
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(output) = self.target.poll_output() {
            if let Output::Block(request) = &output {
                let place =
                    if self.at_disk[self.turn].is_none() { self.turn } else { (self.turn + 1) % DEPTH };
                self.at_disk[place] = Some((request.id, matches!(request.operation, Operation::Read { .. })));
            }
            black_box(&output);
        }
    }
}

fn requests(criterion: &mut Criterion) {
    for (name, exports, write) in [
        ("4 KiB read, 1 export", 1, false),
        ("4 KiB read, 1000 exports", 1000, false),
        ("4 KiB write, 1 export", 1, true),
        ("4 KiB write, 1000 exports", 1000, true),
    ] {
        let mut load = Load::new(exports, write);
        for _ in 0..300_000 {
            load.request();
        }
        criterion.bench_function(name, |b| b.iter(|| load.request()));
    }
    let data = vec![7; 4096];
    criterion.bench_function("digest of 4 KiB", |b| b.iter(|| Digest::of(42, black_box(&data))));
}

criterion_group!(benches, requests);
criterion_main!(benches);
