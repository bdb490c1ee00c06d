//! Records of metadata on their way to their files, for the volumes of one shard.
//!
//! Neighbours that wait together are written together. What is in a record, and when it may be written, is decided by the
//! node, which keeps its bytes until it hears of the end; here they are copied to memory that a disk takes as it is.

use std::collections::VecDeque;
use std::io;
use std::os::fd::RawFd;

use block::{BlockError, ExportId};
use node::Node;
use replication::input::MetadataId;
use replication::meta::layout::{Place, SMALL_STATE_BYTES};

use super::disks::Disks;
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
            (write.file, write.offset, write.done) = (file, first.place.0, 0);
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
                Ok(())
            }
            Err(_) if matches!(-result, libc::EINTR | libc::EAGAIN) => Ok(()),
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
