//! The disks of a shard and the operations on their way to and from them.
//!
//! It turns a request of the node into operations of the engine and their results into completions: finds a buffer,
//! copies where the kernel cannot take the memory as it is, goes on after short transfers, names what went wrong.

use std::collections::VecDeque;
use std::io;

use block::{BlockError, BlockRequest, BufferSlice, Completion, Duration, ExportId, Instant, LbaRange};
use block::{Operation, RequestId, SECTOR_BYTES};

use super::group_commit::GroupCommit;
use super::place::Place;
use crate::buffer_pool::BufferPool;
use crate::disk::{Disk, block_error};
use crate::disk_engine::{Action, DiskEngine, DiskOperation, DiskResult};
use crate::sys::memory::IoSlice;

/// With so few reads under way, the wake-up of a sleeping thread is a good part of what one takes. With more, the
/// processor has better things to do than to look for their end.
const AWAITED_MAX: usize = 2;

/// All disks of one shard.
pub(super) struct Disks {
    engine: DiskEngine,
    /// By export; `None` once removed.
    disks: Vec<Option<Disk>>,
    /// By export.
    groups: Vec<GroupCommit>,
    /// By the request's slot: a request has one operation at a time. Its token is the request's own number.
    operations: Box<[Option<Running>]>,
    /// Reads under way.
    reading: usize,
    /// Writes and flushes under way.
    writing: usize,
    /// Requests that wait for a buffer.
    starved: VecDeque<(BlockRequest, Option<IoSlice>)>,
    /// Writes that a shared flush has completed, not yet handed on.
    ready: VecDeque<Completion>,
}

/// An operation on its way.
#[derive(Clone, Copy)]
struct Running {
    id: RequestId,
    export: ExportId,
    kind: Kind,
    /// In bytes, in the file.
    offset: u64,
    data: Option<IoSlice>,
    /// Bytes done by earlier, short transfers.
    done: usize,
}

#[derive(Clone, Copy)]
enum Kind {
    Read {
        buffer: u32,
    },
    Write {
        durability: Durability,
        bounce: Option<u32>,
    },
    Flush,
    /// The flush that a group of writes of this disk shares.
    GroupFlush,
}

/// How a write becomes durable.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Durability {
    /// By a later flush of the initiator, or in its own time.
    Cached,
    /// By a flush of its own.
    Own,
    /// By the flush of its group.
    Group,
}

impl Disks {
    pub(super) fn new(engine: DiskEngine, outstanding_max: usize) -> Self {
        Self {
            engine,
            disks: Vec::new(),
            groups: Vec::new(),
            operations: vec![None; outstanding_max].into_boxed_slice(),
            reading: 0,
            writing: 0,
            starved: VecDeque::with_capacity(outstanding_max),
            ready: VecDeque::with_capacity(outstanding_max),
        }
    }

    pub(super) fn add(&mut self, export: ExportId, disk: Disk) {
        let index = export.0 as usize;
        if self.disks.len() <= index {
            self.disks.resize_with(index + 1, || None);
            self.groups.resize_with(index + 1, GroupCommit::default);
        }
        self.disks[index] = Some(disk);
    }

    pub(super) fn disk_mut(&mut self, export: ExportId) -> Option<&mut Disk> {
        self.disks.get_mut(export.0 as usize)?.as_mut()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (ExportId, &mut Disk)> {
        (0..).map(ExportId).zip(&mut self.disks).filter_map(|(export, disk)| Some((export, disk.as_mut()?)))
    }

    /// Starts a request. The completion comes back at once if no disk is needed, otherwise from [`Disks::completed`].
    /// `data` is the memory of a write.
    pub(super) fn start(
        &mut self,
        now: Instant,
        request: BlockRequest,
        data: Option<IoSlice>,
        pool: &mut BufferPool,
    ) -> Option<Completion> {
        let BlockRequest { id, export, operation } = request;
        let Some(disk) = self.disks.get_mut(export.0 as usize).and_then(Option::as_mut) else {
            return Some(Completion { id, result: Err(BlockError::Gone) });
        };
        let running = match operation {
            Operation::Read { range } => {
                if let Some(found) = find_cached(disk, now, export, range) {
                    return Some(Completion { id, result: Ok(Some(found)) });
                }
                let Some(buffer) = pool.take() else {
                    self.starved.push_back((request, None));
                    return None;
                };
                let data = pool.slice(buffer, 0, range.bytes());
                let kind = Kind::Read { buffer };
                let offset = disk.byte_offset(range.start());
                Running { id, export, kind, offset, data: Some(data), done: 0 }
            }
            Operation::Write { range, durable, .. } => {
                let data = data.expect("a write comes with its memory");
                assert_eq!(data.length(), range.bytes(), "a write's memory is as long as its range");
                let (data, bounce) = if disk.aligned(data.address()) {
                    (data, None)
                } else if let Some((copy, buffer)) = bounce(data, pool) {
                    (copy, Some(buffer))
                } else {
                    self.starved.push_back((request, Some(data)));
                    return None;
                };
                let durability = match durable {
                    false => Durability::Cached,
                    true if self.groups[export.0 as usize].begin() => Durability::Group,
                    true => Durability::Own,
                };
                let kind = Kind::Write { durability, bounce };
                let offset = disk.byte_offset(range.start());
                Running { id, export, kind, offset, data: Some(data), done: 0 }
            }
            Operation::Flush => Running { id, export, kind: Kind::Flush, offset: 0, data: None, done: 0 },
        };
        self.queue(running);
        None
    }

    /// Starts what is queued.
    pub(super) fn submit(&mut self) -> io::Result<()> {
        self.engine.submit()
    }

    /// The next completion.
    pub(super) fn completed(&mut self, now: Instant, pool: &mut BufferPool) -> Option<Completion> {
        if let Some(completion) = self.ready.pop_front() {
            return Some(completion);
        }
        if !self.starved.is_empty()
            && pool.free() > 0
            && let Some((request, data)) = self.starved.pop_front()
            && let Some(completion) = self.start(now, request, data, pool)
        {
            return Some(completion);
        }
        loop {
            let result = self.engine.completed()?;
            if let Some(completion) = self.finish(result, pool).or_else(|| self.ready.pop_front()) {
                return Some(completion);
            }
        }
    }

    /// Requests that have not been handed on as completed, and flushes.
    pub(super) fn in_flight(&self) -> usize {
        self.engine.in_flight() + self.ready.len()
    }

    /// Whether the end of what is under way comes soon and without a thread of the kernel's that would have to run on
    /// our core: a few reads. A durable write ends in such a thread.
    pub(super) const fn ends_soon(&self) -> bool {
        self.writing == 0 && self.reading <= AWAITED_MAX
    }

    pub(super) fn arm(&mut self, files: &[i32]) {
        self.engine.arm(files);
    }

    pub(super) fn disarm(&mut self, file: i32) {
        self.engine.disarm(file);
    }

    pub(super) fn may_be_readable(&self, file: i32) -> bool {
        self.engine.may_be_readable(file)
    }

    pub(super) fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        self.engine.wait(timeout)
    }

    const fn under_way(&mut self, kind: Kind) -> &mut usize {
        match kind {
            Kind::Read { .. } => &mut self.reading,
            Kind::Write { .. } | Kind::Flush | Kind::GroupFlush => &mut self.writing,
        }
    }

    fn queue(&mut self, running: Running) {
        let disk = self.disks[running.export.0 as usize].as_ref().expect("the disk of a running operation");
        let action = match (running.kind, running.data) {
            (Kind::Read { .. }, Some(data)) => Action::Read(rest(data, running.done)),
            (Kind::Write { durability, .. }, Some(data)) => {
                Action::Write { data: rest(data, running.done), durable: durability == Durability::Own }
            }
            (Kind::Flush | Kind::GroupFlush, _) => Action::Sync,
            (Kind::Read { .. } | Kind::Write { .. }, None) => unreachable!("reads and writes have memory"),
        };
        let operation = DiskOperation {
            token: running.id.0,
            file: disk.file_number(),
            offset: running.offset + running.done as u64,
            action,
        };
        let slot = &mut self.operations[running.id.slot()];
        assert!(slot.is_none(), "a request has one operation at a time");
        *slot = Some(running);
        *self.under_way(running.kind) += 1;
        self.engine.queue(operation);
    }

    /// What a result means; `None` if the operation goes on.
    fn finish(&mut self, result: DiskResult, pool: &mut BufferPool) -> Option<Completion> {
        let mut running = self.operations[RequestId(result.token).slot()]
            .take()
            .expect("a result belongs to a running operation");
        *self.under_way(running.kind) -= 1;
        let length = running.data.map_or(0, IoSlice::length);
        let outcome = match usize::try_from(result.result) {
            Err(_) if matches!(-result.result, libc::EINTR | libc::EAGAIN) => {
                self.queue(running);
                return None;
            }
            Err(_) => Err(block_error(-result.result)),
            Ok(moved) if running.done + moved >= length => Ok(()),
            Ok(0) => Err(BlockError::BeyondEnd),
            Ok(moved) => {
                running.done += moved;
                self.queue(running);
                return None;
            }
        };
        self.complete(running, outcome, pool)
    }

    fn complete(
        &mut self,
        running: Running,
        outcome: Result<(), BlockError>,
        pool: &mut BufferPool,
    ) -> Option<Completion> {
        let Running { id, export, .. } = running;
        let result = match (running.kind, outcome) {
            (Kind::Read { buffer }, Ok(())) => Ok(Some(self.read(&running, buffer))),
            (Kind::Read { buffer }, Err(error)) => {
                pool.give(buffer);
                Err(error)
            }
            (Kind::Write { durability, bounce }, outcome) => {
                if let Some(buffer) = bounce {
                    pool.give(buffer);
                }
                let group = &mut self.groups[export.0 as usize];
                match (durability, outcome) {
                    (Durability::Group, Ok(())) => {
                        group.written(id);
                        self.flush_group(export);
                        return None;
                    }
                    (Durability::Group | Durability::Own, outcome) => {
                        group.end();
                        outcome.map(|()| None)
                    }
                    (Durability::Cached, outcome) => outcome.map(|()| None),
                }
            }
            (Kind::Flush, outcome) => outcome.map(|()| None),
            (Kind::GroupFlush, outcome) => {
                while let Some(id) = self.groups[export.0 as usize].flushed() {
                    self.ready.push_back(Completion { id, result: outcome.map(|()| None) });
                }
                self.flush_group(export);
                return None;
            }
        };
        Some(Completion { id, result })
    }

    /// The bytes of a read that has succeeded.
    fn read(&mut self, running: &Running, buffer: u32) -> BufferSlice {
        let length = running.data.map_or(0, IoSlice::length);
        if let Some(cache) = self.disk_mut(running.export).and_then(Disk::cache) {
            cache.note_read(running.offset, length);
        }
        let length = u32::try_from(length).expect("a request is small");
        let name = Place::Pool(buffer).name().expect("pool buffers have names");
        BufferSlice { buffer: name, offset: 0, length }
    }

    /// Starts the flush that a disk's written writes wait for, if none is under way. It goes by the name of the first of
    /// them, which has no operation of its own any more.
    fn flush_group(&mut self, export: ExportId) {
        if let Some(id) = self.groups[export.0 as usize].next_flush() {
            self.queue(Running { id, export, kind: Kind::GroupFlush, offset: 0, data: None, done: 0 });
        }
    }
}

fn rest(data: IoSlice, done: usize) -> IoSlice {
    data.part(done, data.length() - done)
}

fn bounce(data: IoSlice, pool: &mut BufferPool) -> Option<(IoSlice, u32)> {
    let buffer = pool.take()?;
    let copy = pool.slice(buffer, 0, data.length());
    copy.copy_from_slice(data);
    Some((copy, buffer))
}

/// The sectors in the page cache, named, if they are there.
fn find_cached(disk: &mut Disk, now: Instant, export: ExportId, range: LbaRange) -> Option<BufferSlice> {
    let offset = disk.byte_offset(range.start());
    // The reply is copied from there in a moment, together with those of the whole turn: begin to fetch now, so that the
    // copies need not each wait for their own bytes ("What a request costs" in docs/measurements.md).
    disk.cache()?.find(now, offset, range.bytes())?.prefetch();
    let buffer = Place::Cached { export, file_sector: offset / SECTOR_BYTES as u64 }.name()?;
    Some(BufferSlice { buffer, offset: 0, length: u32::try_from(range.bytes()).ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::DiskOptions;
    use crate::disk_engine::EngineKind;
    use block::{BufferName, Lba, SectorCount};
    use std::io::Write;

    const EXPORT: ExportId = ExportId(0);
    const REQUESTS: u32 = 64;

    fn disks(kind: EngineKind, file: &tempfile::NamedTempFile) -> (Disks, BufferPool) {
        let pool = BufferPool::new(128, 4096).expect("memory");
        let mut disks = Disks::new(DiskEngine::new(kind, pool.region()).expect("an engine"), 128);
        let options = DiskOptions { path: file.path().to_owned(), ..DiskOptions::default() };
        disks.add(EXPORT, Disk::open(&options).expect("a disk"));
        (disks, pool)
    }

    fn write(slot: u32, data: BufferSlice) -> BlockRequest {
        let range = LbaRange::new(Lba(u64::from(slot) * 8), SectorCount(8)).expect("a range");
        let operation = Operation::Write { range, data, durable: true };
        BlockRequest { id: RequestId(slot), export: EXPORT, operation }
    }

    #[test]
    fn every_write_of_a_deep_queue_completes_once_and_is_there() {
        for kind in [EngineKind::Uring, EngineKind::Threads] {
            let mut file = tempfile::NamedTempFile::new().expect("a file");
            file.write_all(&vec![0; REQUESTS as usize * 4096]).expect("its bytes");
            let (mut disks, mut pool) = disks(kind, &file);
            let now = Instant::from_nanos(1);
            for slot in 0..REQUESTS {
                let buffer = pool.take().expect("a buffer");
                let memory = pool.slice(buffer, 0, 4096);
                memory.copy_from(&[u8::try_from(slot).expect("small") + 1; 4096]);
                let data = BufferSlice { buffer: BufferName(u64::from(buffer)), offset: 0, length: 4096 };
                assert_eq!(disks.start(now, write(slot, data), Some(memory), &mut pool), None);
            }
            let mut done = vec![false; REQUESTS as usize];
            while done.contains(&false) {
                disks.submit().expect("submitted");
                let Some(completion) = disks.completed(now, &mut pool) else {
                    disks.wait(None).expect("a wait");
                    continue;
                };
                assert_eq!(completion.result, Ok(None));
                assert!(!std::mem::replace(&mut done[completion.id.slot()], true), "completed twice");
            }
            assert_eq!((disks.in_flight(), disks.writing), (0, 0));
            let bytes = std::fs::read(file.path()).expect("the file");
            assert!(
                bytes.chunks(4096).zip(1..).all(|(block, value)| block.iter().all(|byte| *byte == value))
            );
        }
    }
}
