//! Requests through both engines, on real files, beside an oracle: what every read must see and the file must hold.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;

use block::{BufferName, Lba, RequestId, SectorCount};
use proptest::prelude::*;

use super::*;
use crate::buffer_pool::Room;
use crate::disk::{DiskOptions, ReadCache};
use crate::disk_engine::EngineKind;
use crate::sys::memory::Memory;

const EXPORT: ExportId = ExportId(0);
const NOW: Instant = Instant::from_nanos(1);
const REQUESTS_MAX: usize = 128;
const BUFFER_BYTES: usize = 8192;

/// The disks of a shard with one disk of so many bytes, all zero.
struct Bench {
    disks: Disks,
    pool: BufferPool,
    file: tempfile::NamedTempFile,
}

impl Bench {
    fn new(kind: EngineKind, bytes: usize) -> Self {
        Self::with_options(kind, bytes, DiskOptions::default())
    }

    fn with_options(kind: EngineKind, bytes: usize, options: DiskOptions) -> Self {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        file.write_all(&vec![0; bytes]).expect("its bytes");
        let pool = BufferPool::new(Room { count: REQUESTS_MAX, bytes: BUFFER_BYTES }).expect("memory");
        let mut disks = Disks::new(DiskEngine::new(kind, pool.region()).expect("an engine"), REQUESTS_MAX);
        let options = DiskOptions { path: file.path().to_owned(), ..options };
        disks.add(EXPORT, Disk::open(&options).expect("a disk"));
        Self { disks, pool, file }
    }

    fn read(&mut self, slot: u32, range: LbaRange) {
        let request =
            BlockRequest { id: RequestId(slot), export: EXPORT, operation: Operation::Read { range } };
        assert_eq!(self.disks.start(NOW, request, None, &mut self.pool), None);
    }

    /// Writes `bytes` out of a buffer of the pool, which the caller gives back.
    fn write(&mut self, slot: u32, range: LbaRange, durable: bool, bytes: &[u8]) -> u32 {
        let buffer = self.pool.take().expect("a buffer");
        let memory = self.pool.slice(buffer, 0, bytes.len());
        memory.copy_from(bytes);
        self.write_from(slot, range, durable, memory);
        buffer
    }

    fn write_from(&mut self, slot: u32, range: LbaRange, durable: bool, memory: IoSlice) {
        let length = u32::try_from(memory.length()).expect("small");
        let data = BufferSlice { buffer: BufferName(0), offset: 0, length };
        let operation = Operation::Write { range, data, durable };
        let request = BlockRequest { id: RequestId(slot), export: EXPORT, operation };
        assert_eq!(self.disks.start(NOW, request, Some(memory), &mut self.pool), None);
    }

    /// Waits for so many requests: how each ended, and what those read that did.
    fn finish(&mut self, count: usize) -> BTreeMap<u32, Result<Vec<u8>, BlockError>> {
        let mut ended = BTreeMap::new();
        while ended.len() < count {
            self.disks.submit().expect("submitted");
            let Some(completion) = self.disks.completed(NOW, &mut self.pool) else {
                self.disks.wait(None).expect("a wait");
                continue;
            };
            let bytes = completion.result.map(|read| read.map_or_else(Vec::new, |slice| self.take(slice)));
            assert!(ended.insert(completion.id.0, bytes).is_none(), "completed twice");
        }
        assert_eq!(self.disks.in_flight(), 0);
        ended
    }

    fn take(&mut self, slice: BufferSlice) -> Vec<u8> {
        let Place::Pool(buffer) = Place::of(slice.buffer) else { panic!("not from the pool") };
        let bytes = self.pool.slice(buffer, slice.offset as usize, slice.length as usize).look().to_vec();
        self.pool.give(buffer);
        bytes
    }

    fn bytes(&self) -> Vec<u8> {
        std::fs::read(self.file.path()).expect("the file")
    }
}

fn range(start: u64, sectors: u16) -> LbaRange {
    LbaRange::new(Lba(start), SectorCount(sectors)).expect("a range")
}

const ENGINES: [EngineKind; 2] = [EngineKind::Uring, EngineKind::Threads];

/// One request of a round: it begins so many sectors behind the one before, in the order of the disk.
#[derive(Clone, Copy, Debug)]
struct Drawn {
    gap: u64,
    sectors: u16,
    work: Work,
    fill: u8,
    /// Requests come in the order of these.
    turn: u32,
}

fn drawn() -> impl Strategy<Value = Drawn> {
    let gap = prop_oneof![4 => Just(0), 1 => 1..4u64];
    let work = prop_oneof![2 => Just(Work::Read), 1 => Just(Work::Write), 3 => Just(Work::DurableWrite)];
    (gap, 1..=16u16, work, any::<u8>(), any::<u32>()).prop_map(|(gap, sectors, work, fill, turn)| Drawn {
        gap,
        sectors,
        work,
        fill,
        turn,
    })
}

/// Carries out a round, started in two parts, and holds it against the oracle.
fn round(bench: &mut Bench, oracle: &mut [u8], drawn: &[Drawn]) {
    let mut sector = 0;
    let mut requests: Vec<(Drawn, LbaRange)> = Vec::new();
    for one in drawn {
        requests.push((*one, range(sector + one.gap, one.sectors)));
        sector += one.gap + u64::from(one.sectors);
    }
    requests.sort_by_key(|(one, _)| one.turn);
    let mut buffers = Vec::new();
    for (slot, (one, range)) in (0..).zip(&requests) {
        if slot as usize == requests.len() / 2 {
            bench.disks.submit().expect("submitted");
        }
        match one.work {
            Work::Read => bench.read(slot, *range),
            Work::Write | Work::DurableWrite => {
                let durable = one.work == Work::DurableWrite;
                buffers.push(bench.write(slot, *range, durable, &vec![one.fill; range.bytes()]));
            }
        }
    }
    let ended = bench.finish(requests.len());
    buffers.into_iter().for_each(|buffer| bench.pool.give(buffer));
    for (slot, (one, range)) in (0..).zip(&requests) {
        let start = usize::try_from(range.start().byte_offset()).expect("small");
        let place = &mut oracle[start..start + range.bytes()];
        let result = ended[&slot].as_deref().expect("no error");
        match one.work {
            Work::Read => assert_eq!(result, place, "a read sees what was written before"),
            Work::Write | Work::DurableWrite => place.fill(one.fill),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn requests_in_any_order_do_what_an_oracle_does(
        rounds in prop::collection::vec(prop::collection::vec(drawn(), 1..64), 1..5),
    ) {
        for kind in ENGINES {
            let mut oracle = vec![0; 64 * 20 * SECTOR_BYTES];
            let mut bench = Bench::new(kind, oracle.len());
            for drawn in &rounds {
                round(&mut bench, &mut oracle, drawn);
            }
            prop_assert!(bench.bytes() == oracle, "the file holds what was written");
            prop_assert_eq!(bench.pool.taken(), 0);
        }
    }
}

#[test]
fn every_write_of_a_deep_queue_completes_once_and_is_there() {
    const WRITES: u32 = 64;
    for kind in ENGINES {
        for (gap, name) in [(8, "neighbours"), (16, "apart")] {
            let mut bench = Bench::new(kind, WRITES as usize * 8192);
            for slot in 0..WRITES {
                let fill = u8::try_from(slot).expect("small") + 1;
                bench.write(slot, range(u64::from(slot) * gap, 8), true, &[fill; 4096]);
            }
            assert!(bench.finish(WRITES as usize).values().all(Result::is_ok));
            let bytes = bench.bytes();
            let there = bytes.chunks(usize::try_from(gap).expect("small") * 512).zip(1..=64);
            for (block, value) in there {
                assert!(block[..4096].iter().all(|byte| *byte == value), "{name}, {kind:?}");
            }
        }
    }
}

#[test]
fn only_the_request_whose_memory_is_bad_fails_of_those_written_together() {
    for kind in ENGINES {
        let mut bench = Bench::new(kind, 64 << 10);
        // Mapped beyond the end of an empty file: the kernel says EFAULT.
        let empty = tempfile::tempfile().expect("a file");
        let gone = Memory::file(&empty, 4096).expect("mapped");
        for slot in 0..8 {
            let place = range(u64::from(slot) * 8, 8);
            if slot == 5 {
                bench.write_from(slot, place, true, gone.slice());
            } else {
                bench.write(slot, place, true, &[7; 4096]);
            }
        }
        for (slot, result) in bench.finish(8) {
            assert_eq!(result.is_err(), slot == 5, "request {slot}, {kind:?}");
        }
        let bytes = bench.bytes();
        assert!(bytes[..5 * 4096].iter().chain(&bytes[6 * 4096..8 * 4096]).all(|byte| *byte == 7));
    }
}

#[test]
fn of_reads_together_those_before_the_end_of_a_cut_file_succeed() {
    for kind in ENGINES {
        let mut bench = Bench::new(kind, 64 << 10);
        let file = File::options().write(true).open(bench.file.path()).expect("the file");
        file.write_all_at(&[3; 5 * 4096], 0).expect("written");
        file.set_len(5 * 4096).expect("cut");
        for slot in 0..8 {
            bench.read(slot, range(u64::from(slot) * 8, 8));
        }
        for (slot, result) in bench.finish(8) {
            let expected = if slot < 5 { Ok(vec![3; 4096]) } else { Err(BlockError::BeyondEnd) };
            assert_eq!(result, expected, "request {slot}, {kind:?}");
        }
        assert_eq!(bench.pool.taken(), 0);
    }
}

#[test]
fn what_is_read_to_be_modified_is_not_left_in_the_page_cache() {
    use block::LogicalSectorSize::{B512, B4096};
    for (sector_size, read_only, may_be_left) in
        [(B4096, false, false), (B4096, true, true), (B512, false, true)]
    {
        let options = DiskOptions {
            read_only,
            read_cache: ReadCache::Page,
            logical_sector_size: Some(sector_size),
            ..DiskOptions::default()
        };
        // The file has just been written, so all of it is there.
        let mut bench = Bench::with_options(EngineKind::Threads, 64 << 10, options);
        let operation = Operation::Read { range: range(8, 8) };
        let request = BlockRequest { id: RequestId(0), export: EXPORT, operation };
        let found = bench.disks.start(NOW, request, None, &mut bench.pool);
        assert_eq!(found.is_some(), may_be_left, "{sector_size:?}, read only: {read_only}");
        bench.finish(usize::from(found.is_none()));
    }
}

#[test]
fn a_request_that_waits_for_a_buffer_is_ready_as_soon_as_there_is_one() {
    for kind in ENGINES {
        let mut bench = Bench::new(kind, 1 << 20);
        let taken: Vec<u32> = std::iter::from_fn(|| bench.pool.take()).collect();
        bench.read(0, range(0, 8));
        bench.read(1, range(8, 8));
        assert!(bench.disks.completed(NOW, &mut bench.pool).is_none());
        assert!(!bench.disks.is_ready(&bench.pool), "{kind:?}: nothing to do, it may sleep");
        bench.pool.give(taken[0]);
        assert!(bench.disks.is_ready(&bench.pool), "{kind:?}: nothing else would wake it");
        assert_eq!(bench.finish(1).into_values().next(), Some(Ok(vec![0; 4096])), "{kind:?}");
        // Its buffer has been given back, and was the only one.
        assert_eq!(bench.finish(1).into_values().next(), Some(Ok(vec![0; 4096])), "{kind:?}");
        assert!(!bench.disks.is_ready(&bench.pool), "{kind:?}");
    }
}
