//! What the bookkeeping of a mirrored volume costs: the activity log, the bitmap, and loading the metadata of 16 TiB.

use std::hint::black_box;

use block::{Lba, LbaRange, SectorCount};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use replication::activity_log::{ActivityLog, Begun};
use replication::bitmap::Bitmap;
use replication::identity::{FormatIdentity, PairIdentity, VolumeIdentity};
use replication::membership::{Membership, NodeNumber};
use replication::meta::activity_log::{RING_BYTES, replay};
use replication::meta::bitmap::{PAIR_BYTES, WORDS_PER_BLOCK, emit};
use replication::meta::layout::{
    BITS_PER_BLOCK, EXTENT_SECTORS, HOT_EXTENTS_DEFAULT, Layout, RECORD_BYTES, SECTORS_PER_BIT,
};
use replication::meta::record::Sequence;
use replication::meta::{Format, Fresh, format, open};

const FORMAT: FormatIdentity = FormatIdentity(1);

fn sixteen_tebibytes() -> Layout {
    Layout::new(1 << 35, HOT_EXTENTS_DEFAULT).expect("16 TiB is a size")
}

fn page(number: u64) -> LbaRange {
    LbaRange::new(Lba(number * 8), SectorCount(8)).expect("within the volume")
}

fn activity_log(criterion: &mut Criterion) {
    let mut record = Box::new([0; RECORD_BYTES]);
    let mut log = ActivityLog::new(sixteen_tebibytes(), FORMAT);
    let pages_per_extent = EXTENT_SECTORS / 8;
    for extent in 0..u64::from(HOT_EXTENTS_DEFAULT) {
        let range = page(extent * pages_per_extent);
        log.begin(range);
        log.finish(range);
        while let Some((sequence, _)) = log.poll_transaction(&mut record) {
            log.handle_durable(sequence);
        }
    }
    let mut number = 0u64;
    criterion.bench_function("activity log: a write of 4 KiB in a hot extent, 4,096 of them in turn", |b| {
        b.iter(|| {
            number = (number + 1) % u64::from(HOT_EXTENTS_DEFAULT);
            let range = page(number * pages_per_extent);
            assert!(log.begin(black_box(range)) == Begun::Ready);
            log.finish(range)
        });
    });
    let mut number = 1 << 20;
    criterion.bench_function("activity log: a miss, alone, with its transaction made", |b| {
        b.iter(|| {
            number = (1 << 20) + (number + 1) % (1 << 20);
            let range = page(number * pages_per_extent);
            log.begin(black_box(range));
            let (sequence, _) = log.poll_transaction(&mut record).expect("a change");
            log.handle_durable(sequence);
            log.finish(range)
        });
    });
    criterion.bench_function("activity log: 64 misses that share a transaction", |b| {
        b.iter(|| {
            number = (1 << 20) + (number + 64) % (1 << 20);
            (0..64).for_each(|step| _ = log.begin(page((number + step) * pages_per_extent)));
            let (sequence, _) = log.poll_transaction(&mut record).expect("changes");
            log.handle_durable(sequence);
            (0..64).for_each(|step| _ = log.finish(page((number + step) * pages_per_extent)));
        });
    });
}

fn bitmap(criterion: &mut Criterion) {
    let layout = sixteen_tebibytes();
    let mut record = Box::new([0; RECORD_BYTES]);
    let mut bitmap = Bitmap::new(layout, FORMAT);
    let mut number = 0u64;
    // 1 GiB of pages, so that the words do not all lie in the first cache.
    criterion.bench_function("bitmap: set and clear 4 KiB", |b| {
        b.iter(|| {
            number = (number + 7919) % (1 << 18);
            let tickets = bitmap.set(black_box(page(number)));
            bitmap.clear(page(number));
            tickets
        });
    });
    while let Some(write) = bitmap.poll_write(&mut record) {
        bitmap.handle_written(write.block);
    }
    criterion.bench_function("bitmap: set 4 KiB, make its block, have it durable", |b| {
        b.iter(|| {
            number = (number + 1) % (1 << 18);
            let tickets = bitmap.set(black_box(page(number)));
            while let Some(write) = bitmap.poll_write(&mut record) {
                bitmap.handle_written(write.block);
            }
            bitmap.clear(page(number));
            bitmap.is_durable(tickets)
        });
    });
    iterate(criterion, layout);
}

fn iterate(criterion: &mut Criterion, layout: Layout) {
    let mut bitmap = Bitmap::new(layout, FORMAT);
    criterion.bench_function("bitmap: find that 16 TiB are in sync", |b| {
        b.iter(|| bitmap.next_out_of_sync(black_box(Lba(0)), SectorCount(256)));
    });
    for number in (0..1 << 17).step_by(2) {
        bitmap.set(page(number));
    }
    let mut group = criterion.benchmark_group("bitmap");
    group.throughput(Throughput::Elements(1 << 16));
    group.bench_function("iterate over 65,536 runs of 4 KiB", |b| {
        b.iter(|| {
            let (mut cursor, mut runs) = (Lba(0), 0u32);
            while let Some(run) = bitmap.next_out_of_sync(cursor, SectorCount(256)) {
                (cursor, runs) = (run.end(), runs + 1);
            }
            assert!(runs == 1 << 16);
        });
    });
    group.finish();
}

/// Every block of the bitmap read, checked and taken into memory, as at a start.
fn load(criterion: &mut Criterion) {
    let layout = sixteen_tebibytes();
    let mut group = criterion.benchmark_group("load 16 TiB");
    group.sample_size(10);
    let blank = vec![0; PAIR_BYTES];
    group.bench_function("133,153 bitmap blocks never written", |b| {
        b.iter(|| {
            let mut bitmap = Bitmap::new(layout, FORMAT);
            for block in 0..layout.bitmap_blocks() {
                bitmap.load(block, black_box(&blank)).expect("blank");
            }
            bitmap.out_of_sync()
        });
    });
    group.bench_function("all of fresh metadata, by meta::open from memory", |b| {
        let fresh = fresh(layout).superblock_records();
        b.iter(|| {
            let opened = open(|place, into| {
                let record = fresh.iter().find(|(at, _)| *at == place && into.len() == RECORD_BYTES);
                match record {
                    Some((_, record)) => into.copy_from_slice(record),
                    None => into.fill(0),
                }
                Ok(())
            });
            opened.expect("metadata").bitmap.out_of_sync()
        });
    });
    group.finish();
    let mut group = criterion.benchmark_group("load");
    group.throughput(Throughput::Elements(128));
    let small = Layout::new(128 * BITS_PER_BLOCK * SECTORS_PER_BIT, HOT_EXTENTS_DEFAULT).expect("16 GiB");
    let pairs = written_pairs(small);
    group.bench_function("128 bitmap blocks with every other bit set, both slots written", |b| {
        b.iter_batched_ref(
            || Bitmap::new(small, FORMAT),
            |bitmap| {
                for (pair, block) in pairs.chunks_exact(PAIR_BYTES).zip(0..) {
                    bitmap.load(block, black_box(pair)).expect("good");
                }
            },
            BatchSize::LargeInput,
        );
    });
    let ring = vec![0; RING_BYTES];
    group.bench_function("replay a blank ring of 128 transactions", |b| {
        b.iter(|| replay(black_box(&ring), layout, FORMAT).expect("blank"));
    });
    group.finish();
}

fn fresh(layout: Layout) -> Fresh {
    format(Format {
        format: FORMAT,
        volume: VolumeIdentity(2),
        pair: PairIdentity(3),
        node: NodeNumber::Zero,
        layout,
        membership: Membership::FIRST,
        good: true,
    })
}

fn written_pairs(layout: Layout) -> Vec<u8> {
    let words = [0x5555_5555_5555_5555; WORDS_PER_BLOCK];
    let mut bytes = Vec::new();
    for block in 0..128 {
        for sequence in [Sequence(2), Sequence(3)] {
            let mut record = [0; RECORD_BYTES];
            emit(&mut record, layout, FORMAT, block, sequence, &words);
            bytes.extend_from_slice(&record);
        }
    }
    bytes
}

criterion_group!(benches, activity_log, bitmap, load);
criterion_main!(benches);
