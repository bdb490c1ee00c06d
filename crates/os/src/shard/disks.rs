//! The disks of a shard and the requests on their way to and from them.
//!
//! It turns a request of the node into one of [`super::operations`] and what comes of it into a completion: looks into the
//! page cache, finds a buffer, copies where the kernel cannot take the memory as it is.

use std::collections::VecDeque;
use std::io;
use std::os::fd::RawFd;

use block::{BlockError, BlockRequest, BufferSlice, Completion, Duration, ExportId, Instant, LbaRange};
use block::{LogicalSectorSize, Operation, SECTOR_BYTES};

use super::merge::Work;
use super::operations::{Operations, Running, Task};
use super::place::Place;
use crate::buffer_pool::BufferPool;
use crate::disk::Disk;
use crate::disk_engine::DiskEngine;
use crate::sys::memory::IoSlice;

/// All disks of one shard.
pub(super) struct Disks {
    /// By export; `None` once removed.
    disks: Vec<Option<Disk>>,
    operations: Operations,
    /// Requests that wait for a buffer.
    starved: VecDeque<(BlockRequest, Option<IoSlice>)>,
}

impl Disks {
    pub(super) fn new(engine: DiskEngine, outstanding_max: usize) -> Self {
        Self {
            disks: Vec::new(),
            operations: Operations::new(engine, outstanding_max),
            starved: VecDeque::with_capacity(outstanding_max),
        }
    }

    pub(super) fn add(&mut self, export: ExportId, disk: Disk) {
        let index = export.0 as usize;
        if self.disks.len() <= index {
            self.disks.resize_with(index + 1, || None);
        }
        self.operations.add(export, disk.file_number(), disk.direct());
        self.disks[index] = Some(disk);
    }

    /// An export is no more, and nothing of it is under way.
    pub(super) fn remove(&mut self, export: ExportId) {
        if let Some(disk) = self.disks.get_mut(export.0 as usize) {
            *disk = None;
        }
    }

    pub(super) fn disk_mut(&mut self, export: ExportId) -> Option<&mut Disk> {
        self.disks.get_mut(export.0 as usize)?.as_mut()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (ExportId, &mut Disk)> {
        (0..).map(ExportId).zip(&mut self.disks).filter_map(|(export, disk)| Some((export, disk.as_mut()?)))
    }

    /// Takes a request, which [`Disks::submit`] starts. The completion comes back at once if no disk is needed, otherwise
    /// from [`Disks::completed`]. `data` is the memory of a write.
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
                let Some(buffer) = pool.take_for(range.bytes()) else {
                    self.starved.push_back((request, None));
                    return None;
                };
                let data = pool.slice(buffer, 0, range.bytes());
                let offset = disk.byte_offset(range.start());
                Running { id, export, task: Task::Transfer(Work::Read), offset, data, buffer: Some(buffer) }
            }
            Operation::Write { range, durable, .. } => {
                let data = data.expect("a write comes with its memory");
                assert_eq!(data.length(), range.bytes(), "a write's memory is as long as its range");
                let (data, buffer) = if disk.aligned(data.address()) {
                    (data, None)
                } else if let Some((copy, buffer)) = bounce(data, pool) {
                    (copy, Some(buffer))
                } else {
                    self.starved.push_back((request, Some(data)));
                    return None;
                };
                let task = Task::Transfer(if durable { Work::DurableWrite } else { Work::Write });
                Running { id, export, task, offset: disk.byte_offset(range.start()), data, buffer }
            }
            Operation::Flush => {
                Running { id, export, task: Task::Flush, offset: 0, data: IoSlice::empty(), buffer: None }
            }
        };
        self.operations.start(running);
        None
    }

    /// As [`Operations::write_aside`].
    pub(super) fn write_aside(&mut self, number: u32, file: RawFd, offset: u64, data: IoSlice) {
        self.operations.write_aside(number, file, offset, data);
    }

    /// As [`Operations::aside_ended`].
    pub(super) fn aside_ended(&mut self) -> Option<(u32, i32)> {
        self.operations.aside_ended()
    }

    /// Starts what waits.
    pub(super) fn submit(&mut self) -> io::Result<()> {
        self.operations.submit()
    }

    /// The next completion.
    pub(super) fn completed(&mut self, now: Instant, pool: &mut BufferPool) -> Option<Completion> {
        while let Some(index) = self.fed(pool) {
            let (request, data) = self.starved.remove(index).expect("just found");
            if let Some(completion) = self.start(now, request, data, pool) {
                return Some(completion);
            }
        }
        let (running, outcome) = self.operations.ended()?;
        self.tell_of_lost();
        Some(self.complete(&running, outcome, pool))
    }

    /// Whether [`Disks::completed`] has something to do, without anything else that would have to happen before.
    pub(super) fn is_ready(&self, pool: &BufferPool) -> bool {
        self.operations.has_ended() || self.fed(pool).is_some()
    }

    /// Whether [`Disks::completed`] has something to do now, as far as is known without asking the kernel.
    pub(super) fn has_completed(&mut self, pool: &BufferPool) -> bool {
        self.is_ready(pool) || self.operations.has_completed()
    }

    /// The first of the requests that wait for a buffer and can have one.
    fn fed(&self, pool: &BufferPool) -> Option<usize> {
        self.starved.iter().position(|(request, _)| match request.operation {
            Operation::Read { range } | Operation::Write { range, .. } => pool.has_for(range.bytes()),
            Operation::Flush => unreachable!("a flush needs no buffer"),
        })
    }

    /// Whether the next completion is of a request that shared its operation with the one handed on last.
    pub(super) const fn is_completing(&self) -> bool {
        self.operations.is_ending()
    }

    /// Operations that have not ended, or not been handed on as completed, and requests that wait.
    pub(super) fn in_flight(&self) -> usize {
        self.operations.in_flight()
    }

    /// Requests so far that shared an operation.
    pub(super) const fn requests_merged(&self) -> u64 {
        self.operations.requests_merged()
    }

    /// Whether the end of what is under way is worth looking for.
    pub(super) fn ends_soon(&self) -> bool {
        self.operations.ends_soon()
    }

    pub(super) fn arm(&mut self, files: &[RawFd]) {
        self.operations.arm(files);
    }

    pub(super) fn disarm(&mut self, file: RawFd) {
        self.operations.disarm(file);
    }

    pub(super) fn may_be_readable(&self, file: RawFd) -> bool {
        self.operations.may_be_readable(file)
    }

    pub(super) fn take_failed(&mut self, file: RawFd) -> bool {
        self.operations.take_failed(file)
    }

    /// As [`DiskEngine::send`]; not while requests wait for a buffer that may be free once the pieces were sent.
    pub(super) fn send(&mut self, socket: RawFd, pieces: &[IoSlice]) -> bool {
        self.starved.is_empty() && self.operations.send(socket, pieces)
    }

    /// As [`DiskEngine::take_sent`].
    pub(super) fn take_sent(&mut self) -> io::Result<Option<io::Result<usize>>> {
        self.operations.take_sent()
    }

    pub(super) fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        self.operations.wait(timeout)
    }

    fn tell_of_lost(&mut self) {
        if let Some(disk) = self.operations.take_lost().and_then(|export| self.disk_mut(export)) {
            tracing::error!(
                "{}: pages of it could not be written, and the kernel does not say which: no write is durable there any more; see \
                 `dmesg` for the disk's fault, mend it, then start this program again",
                disk.path().display()
            );
        }
    }

    fn complete(
        &mut self,
        running: &Running,
        outcome: Result<(), BlockError>,
        pool: &mut BufferPool,
    ) -> Completion {
        let id = running.id;
        match (running.task, running.buffer) {
            (Task::Transfer(Work::Read), Some(buffer)) if outcome.is_ok() => {
                return Completion { id, result: Ok(Some(self.read(running, buffer))) };
            }
            (_, Some(buffer)) => pool.give(buffer),
            (_, None) => {}
        }
        Completion { id, result: outcome.map(|()| None) }
    }

    /// The bytes of a read that has succeeded.
    fn read(&mut self, running: &Running, buffer: u32) -> BufferSlice {
        let length = running.data.length();
        if let Some(cache) = self.disk_mut(running.export).and_then(Disk::cache) {
            cache.note_read(running.offset, length);
        }
        let length = u32::try_from(length).expect("a request is small");
        let name = Place::Pool(buffer).name().expect("pool buffers have names");
        BufferSlice { buffer: name, offset: 0, length }
    }
}

fn bounce(data: IoSlice, pool: &mut BufferPool) -> Option<(IoSlice, u32)> {
    let buffer = pool.take_for(data.length())?;
    let copy = pool.slice(buffer, 0, data.length());
    copy.copy_from_slice(data);
    Some((copy, buffer))
}

/// The sectors in the page cache, named, if they are there and may be left there.
fn find_cached(disk: &mut Disk, now: Instant, export: ExportId, range: LbaRange) -> Option<BufferSlice> {
    // What is read there to be modified and written back needs memory of its own.
    if !disk.read_only() && disk.geometry().logical_sector_size() != LogicalSectorSize::B512 {
        return None;
    }
    let offset = disk.byte_offset(range.start());
    // The reply is copied from there in a moment, together with those of the whole turn: begin to fetch now, so that the
    // copies need not each wait for their own bytes ("What a request costs" in docs/measurements.md).
    disk.cache()?.find(now, offset, range.bytes())?.prefetch();
    let buffer = Place::Cached { export, file_sector: offset / SECTOR_BYTES as u64 }.name()?;
    Some(BufferSlice { buffer, offset: 0, length: u32::try_from(range.bytes()).ok()? })
}

#[cfg(test)]
mod tests;
