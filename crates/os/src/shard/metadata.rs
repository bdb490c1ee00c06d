//! Records of metadata on their way to their files, for the volumes of one shard.
//!
//! Neighbours that wait together are written together. What is in a record, and when it may be written, is decided by the
//! node, which keeps its bytes until it hears of the end; here they are copied to memory that a disk takes as it is.

use std::collections::VecDeque;
use std::io;
use std::os::fd::RawFd;

use block::{BlockError, ExportId, Instant};
use node::Node;
use replication::input::MetadataId;
use replication::meta::layout::{Place, SMALL_STATE_BYTES};

use super::disks::Disks;
use super::operations::TRIED_FOR;
use crate::clock;
use crate::disk::block_error;
use crate::metadata_file::MetadataFile;
use crate::sys::memory::{IoSlice, Memory};

/// Writes under way at once. A volume that serves has one of its log and eight of its bitmap at most, but for rare moments, one that
/// waits for its bitmap 32.
const WRITES_MAX: u32 = 64;
/// Room for one write: several records that lie beside each other.
const WRITE_BYTES: usize = 32 << 10;

const _: () = assert!(WRITE_BYTES >= SMALL_STATE_BYTES, "the longest record has room");

/// All metadata of a shard.
pub(super) struct MetadataWrites {
    /// By export.
    files: Vec<Option<MetadataFile>>,
    memory: Memory,
    free: Vec<u32>,
    /// Those that have not begun, in the order in which they came.
    waiting: VecDeque<Record>,
    /// By number.
    under_way: Box<[Write]>,
    /// Records that have ended and were not told.
    ended: VecDeque<(MetadataId, Result<(), BlockError>)>,
}

#[derive(Clone, Copy, Debug)]
struct Record {
    id: MetadataId,
    volume: ExportId,
    place: Place,
}

#[derive(Debug, Default)]
struct Write {
    records: Vec<MetadataId>,
    file: RawFd,
    offset: u64,
    length: usize,
    done: usize,
    /// Since when the kernel could not do it just then.
    refused_since: Option<Instant>,
}

impl Write {
    /// Begins at a place of a file, with no records yet.
    const fn begin(&mut self, file: RawFd, offset: u64) {
        (self.file, self.offset) = (file, offset);
        (self.length, self.done, self.refused_since) = (0, 0, None);
    }

    fn may_try_again(&mut self) -> bool {
        let now = clock::now();
        now.since(*self.refused_since.get_or_insert(now)) < TRIED_FOR
    }
}

impl MetadataWrites {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            files: Vec::new(),
            memory: Memory::anonymous(WRITES_MAX as usize * WRITE_BYTES)?,
            free: (0..WRITES_MAX).rev().collect(),
            waiting: VecDeque::with_capacity(WRITES_MAX as usize),
            under_way: (0..WRITES_MAX).map(|_| Write::default()).collect(),
            ended: VecDeque::with_capacity(WRITES_MAX as usize),
        })
    }

    /// The metadata of an export.
    pub(super) fn add(&mut self, volume: ExportId, file: MetadataFile) {
        let index = volume.0 as usize;
        if self.files.len() <= index {
            self.files.resize_with(index + 1, || None);
        }
        self.files[index] = Some(file);
    }

    /// An export is no more, and nothing of it is under way.
    pub(super) fn remove(&mut self, volume: ExportId) {
        if let Some(file) = self.files.get_mut(volume.0 as usize) {
            *file = None;
        }
    }

    /// The metadata of an export, if it has any.
    pub(super) fn file(&self, volume: ExportId) -> Option<&MetadataFile> {
        self.files.get(volume.0 as usize)?.as_ref()
    }

    /// A record is to be written.
    pub(super) fn write(&mut self, id: MetadataId, volume: ExportId, place: Place) {
        self.waiting.push_back(Record { id, volume, place });
    }

    /// Hands what waits to the disks, as far as there is room.
    pub(super) fn start(&mut self, node: &Node, disks: &mut Disks) {
        while let Some(first) = self.waiting.front().copied()
            && let Some(number) = self.free.pop()
        {
            let memory = self.memory.slice().part(number as usize * WRITE_BYTES, WRITE_BYTES);
            let file = self.file(first.volume).expect("a mirrored export has metadata").file_number();
            let write = &mut self.under_way[number as usize];
            write.begin(file, first.place.0);
            write.length = gather(&mut self.waiting, first, node, memory, &mut write.records);
            disks.write_aside(number, write.file, write.offset, memory.part(0, write.length));
        }
    }

    /// The next record that has ended.
    pub(super) fn completed(&mut self, disks: &mut Disks) -> Option<(MetadataId, Result<(), BlockError>)> {
        while self.ended.is_empty()
            && let Some((number, result)) = disks.aside_ended()
        {
            self.finish(number, result, disks);
        }
        self.ended.pop_front()
    }

    fn finish(&mut self, number: u32, result: i32, disks: &mut Disks) {
        let write = &mut self.under_way[number as usize];
        let outcome = match usize::try_from(result) {
            Ok(0) => Err(BlockError::BeyondEnd),
            Ok(moved) => {
                write.done += moved;
                write.refused_since = None;
                Ok(())
            }
            Err(_) if matches!(-result, libc::EINTR | libc::EAGAIN) && write.may_try_again() => Ok(()),
            Err(_) => Err(block_error(-result)),
        };
        if outcome.is_ok() && write.done < write.length {
            let memory = self.memory.slice().part(number as usize * WRITE_BYTES, write.length);
            let rest = memory.part(write.done, write.length - write.done);
            disks.write_aside(number, write.file, write.offset + write.done as u64, rest);
            return;
        }
        self.ended.extend(write.records.drain(..).map(|id| (id, outcome)));
        self.free.push(number);
    }
}

/// Takes the first record and those that follow it on the disk; how many bytes these are.
fn gather(
    waiting: &mut VecDeque<Record>,
    first: Record,
    node: &Node,
    memory: IoSlice,
    records: &mut Vec<MetadataId>,
) -> usize {
    let mut length = 0;
    while let Some(record) = waiting.front().copied() {
        let bytes = node.metadata_record(record.id);
        let is_next = record.volume == first.volume && record.place.0 == first.place.0 + length as u64;
        if !is_next || length + bytes.len() > WRITE_BYTES {
            break;
        }
        memory.part(length, bytes.len()).copy_from(bytes);
        length += bytes.len();
        records.push(record.id);
        waiting.pop_front();
    }
    length
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk_engine::{DiskEngine, EngineKind};

    const RECORD: MetadataId = MetadataId(5);
    const BYTES: i32 = 4096;

    /// A write under way, whose outcome is made up: the engine is never asked to carry it out.
    struct Bench {
        writes: MetadataWrites,
        disks: Disks,
    }

    impl Bench {
        fn new() -> Self {
            let writes = MetadataWrites::new().expect("memory");
            let engine = DiskEngine::new(EngineKind::Uring, writes.memory.slice()).expect("an engine");
            Self { writes, disks: Disks::new(engine, 1) }
        }

        fn begin(&mut self) -> &mut Write {
            let number = self.writes.free.pop().expect("nothing is under way");
            let write = &mut self.writes.under_way[number as usize];
            write.begin(-1, 0);
            write.length = 4096;
            write.records.push(RECORD);
            write
        }

        /// It is the only one, and so always the first.
        fn write(&mut self) -> &mut Write {
            &mut self.writes.under_way[0]
        }

        fn finish(&mut self, result: i32) -> Option<Result<(), BlockError>> {
            self.writes.finish(0, result, &mut self.disks);
            self.writes.ended.pop_front().map(|(id, outcome)| {
                assert_eq!(id, RECORD);
                outcome
            })
        }
    }

    #[test]
    fn a_write_that_the_kernel_can_never_do_just_now_is_an_error_in_the_end() {
        let mut bench = Bench::new();
        for errno in [libc::EAGAIN, libc::EINTR] {
            bench.begin();
            assert_eq!((bench.finish(-errno), bench.finish(-errno)), (None, None), "tried again");
            bench.write().refused_since = Some(clock::now().before(TRIED_FOR));
            assert_eq!(bench.finish(-errno), Some(Err(BlockError::Medium)));
        }
    }

    #[test]
    fn a_write_that_gets_on_is_tried_again_for_as_long_as_one_that_was_never_refused() {
        let mut bench = Bench::new();
        bench.begin().refused_since = Some(clock::now().before(TRIED_FOR));
        assert_eq!(bench.finish(512), None);
        assert_eq!(bench.finish(-libc::EAGAIN), None, "tried again");
        assert_eq!(bench.finish(BYTES - 512), Some(Ok(())));
    }
}
