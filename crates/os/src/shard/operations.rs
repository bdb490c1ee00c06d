//! Requests on their way through the engine: neighbours together (`merge`), durable writes with shared flushes
//! (`group_commit`).
//!
//! It goes on after short transfers and tries one by one what has failed together, so that an error ends only the request
//! that it belongs to. It knows nothing of buffers and caches; that is [`super::disks`]'s.

use std::collections::VecDeque;
use std::io;
use std::os::fd::RawFd;

use block::{BlockError, Duration, ExportId, Instant, RequestId};

use super::group_commit::GroupCommit;
use super::merge::{Lane, Merger, Run, Waiting, Work};
use crate::clock;
use crate::disk::block_error;
use crate::disk_engine::{Action, DiskEngine, DiskOperation, DiskResult};
use crate::sys::memory::{Buffers, IoSlice};

/// With so few reads under way, the wake-up of a sleeping thread is a good part of what one takes. With more, the
/// processor has better things to do than to look for their end.
const AWAITED_MAX: usize = 2;

/// For how long a request is tried again that the kernel says it cannot do just now; so long it waits for a disk's answer itself. After
/// that it is an error.
pub(super) const TRIED_FOR: Duration = Duration::from_secs(30);

/// Tokens from here on name the flush that a group of writes shares, by export.
const GROUP_FLUSH: u32 = 1 << 31;
/// Tokens from here on name a write of somebody else's; below, the slot of a request.
const ASIDE: u32 = 1 << 30;

/// What to do for a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Task {
    /// Something that has neighbours.
    Transfer(Work),
    /// Make durable what was written.
    Flush,
}

/// A request on its way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Running {
    pub(super) id: RequestId,
    pub(super) export: ExportId,
    pub(super) task: Task,
    /// In bytes, in the file.
    pub(super) offset: u64,
    pub(super) data: IoSlice,
    /// The pool's buffer that goes with it.
    pub(super) buffer: Option<u32>,
}

/// All requests under way. An operation goes by the slot of its first request.
pub(super) struct Operations {
    engine: DiskEngine,
    /// By export.
    files: Vec<RawFd>,
    /// By export.
    groups: Vec<GroupCommit>,
    /// By the request's slot, as many as were ever used at a time.
    entries: Vec<Option<Entry>>,
    merger: Merger,
    /// Requests so far that shared an operation.
    merged: u64,
    /// Reading operations given to the engine.
    reading: usize,
    /// Writing and flushing operations given to the engine.
    writing: usize,
    /// Operations that have ended.
    ended: VecDeque<Ended>,
    /// What is left of the one whose requests are being taken.
    ending: Option<Ended>,
    /// Writes of others that have ended.
    aside: VecDeque<DiskResult>,
    /// What has failed for good, and was not told.
    lost: Option<ExportId>,
}

/// How an operation has ended, from the request in this slot on.
#[derive(Clone, Copy, Debug)]
struct Ended {
    slot: usize,
    outcome: Result<(), BlockError>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    running: Running,
    /// Bytes done by earlier, short transfers.
    done: usize,
    /// The slot of the request that follows in the same operation.
    next: Option<usize>,
    /// If it is the first of several: their buffers' row.
    row: Option<u32>,
    /// If it is the first or the only one: bytes that the operation is to move.
    bytes: usize,
    /// Whether its write is made durable by the flush of a group.
    grouped: bool,
    /// Since when the kernel could not do it just then.
    refused_since: Option<Instant>,
}

impl Operations {
    pub(super) fn new(engine: DiskEngine, outstanding_max: usize) -> Self {
        Self {
            engine,
            files: Vec::new(),
            groups: Vec::new(),
            entries: vec![None; outstanding_max],
            merger: Merger::new(outstanding_max),
            merged: 0,
            reading: 0,
            writing: 0,
            ended: VecDeque::with_capacity(outstanding_max),
            ending: None,
            aside: VecDeque::new(),
            lost: None,
        }
    }

    /// The file of an export, opened direct or not.
    pub(super) fn add(&mut self, export: ExportId, file: RawFd, is_direct: bool) {
        let count = self.files.len().max(export.0 as usize + 1);
        self.files.resize(count, -1);
        self.groups.resize_with(count, || GroupCommit::new(true));
        self.files[export.0 as usize] = file;
        self.groups[export.0 as usize] = GroupCommit::new(is_direct);
    }

    /// Takes a request; [`Operations::submit`] starts it.
    pub(super) fn start(&mut self, running: Running) {
        let Running { id, export, task, offset, data, .. } = running;
        let entry = Entry {
            running,
            done: 0,
            next: None,
            row: None,
            bytes: data.length(),
            grouped: false,
            refused_since: None,
        };
        if id.slot() >= self.entries.len() {
            self.entries.resize(id.slot() + 1, None);
        }
        let place = &mut self.entries[id.slot()];
        assert!(place.is_none(), "a request's slot is used again only after its completion");
        *place = Some(entry);
        match task {
            Task::Transfer(work) => {
                self.merger.push(Waiting { slot: id.slot(), lane: Lane { export, work }, offset, data });
            }
            Task::Flush if self.groups[export.0 as usize].takes_flushes() => {
                self.groups[export.0 as usize].begin();
                self.wait_for_flush(export, id);
            }
            Task::Flush => self.begin(id.slot(), Action::Sync),
        }
    }

    /// Has something written durably that is no request; what comes of it is told by [`Operations::aside_ended`].
    pub(super) fn write_aside(&mut self, number: u32, file: RawFd, offset: u64, data: IoSlice) {
        assert!(number < ASIDE, "few of them are under way");
        self.writing += 1;
        let action = Action::Write { data: Buffers::One(data), durable: true };
        self.engine.queue(DiskOperation { token: ASIDE + number, file, offset, action });
    }

    /// The next write that is no request and has ended: its number, and bytes moved or the negated error number. Those are
    /// found while [`Operations::ended`] looks for others.
    pub(super) fn aside_ended(&mut self) -> Option<(u32, i32)> {
        let DiskResult { token, result } = self.aside.pop_front()?;
        Some((token - ASIDE, result))
    }

    /// Starts what waits.
    pub(super) fn submit(&mut self) -> io::Result<()> {
        self.begin_waiting();
        self.engine.submit()
    }

    /// The next request that has ended.
    pub(super) fn ended(&mut self) -> Option<(Running, Result<(), BlockError>)> {
        let Ended { slot, outcome } = loop {
            if let Some(ended) = self.ending.take().or_else(|| self.ended.pop_front()) {
                break ended;
            }
            let result = self.engine.completed()?;
            self.finish(result);
        };
        let entry = self.entries[slot].take().expect("a request ends once");
        self.ending = entry.next.map(|slot| Ended { slot, outcome });
        Some((entry.running, outcome))
    }

    /// Whether [`Operations::ended`] has one without the engine.
    pub(super) fn has_ended(&self) -> bool {
        self.ending.is_some() || !self.ended.is_empty()
    }

    /// Whether the engine has something for [`Operations::ended`].
    pub(super) fn has_completed(&mut self) -> bool {
        self.engine.has_completed()
    }

    /// An export of which nothing becomes durable any more, once.
    pub(super) const fn take_lost(&mut self) -> Option<ExportId> {
        self.lost.take()
    }

    /// Whether the next request to be taken ended together with the one that was.
    pub(super) const fn is_ending(&self) -> bool {
        self.ending.is_some()
    }

    /// Operations that have not ended or whose requests have not all been taken, and requests that wait.
    pub(super) fn in_flight(&self) -> usize {
        self.merger.waiting()
            + self.engine.in_flight()
            + self.ended.len()
            + self.aside.len()
            + usize::from(self.ending.is_some())
    }

    pub(super) const fn requests_merged(&self) -> u64 {
        self.merged
    }

    /// Whether the end of what is under way, or about to be, comes soon and without a thread of the kernel's that would have to run on
    /// our core: a few reads. A durable write ends in such a thread.
    pub(super) fn ends_soon(&self) -> bool {
        self.writing == 0 && self.reading + self.merger.waiting() <= AWAITED_MAX && !self.merger.has_writes()
    }

    /// As [`DiskEngine::send`].
    pub(super) fn send(&mut self, socket: RawFd, pieces: &[IoSlice]) -> bool {
        self.engine.send(socket, pieces)
    }

    /// As [`DiskEngine::take_sent`].
    pub(super) fn take_sent(&mut self) -> io::Result<Option<io::Result<usize>>> {
        self.engine.take_sent()
    }

    pub(super) fn arm(&mut self, files: &[RawFd]) {
        self.engine.arm(files);
    }

    pub(super) fn disarm(&mut self, file: RawFd) {
        self.engine.disarm(file);
    }

    pub(super) fn may_be_readable(&self, file: RawFd) -> bool {
        self.engine.may_be_readable(file)
    }

    pub(super) fn take_failed(&mut self, file: RawFd) -> bool {
        self.engine.take_failed(file)
    }

    pub(super) fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        self.begin_waiting();
        self.engine.wait(timeout)
    }

    /// Hands what waits to the engine, neighbours together.
    fn begin_waiting(&mut self) {
        while let Some(run) = self.merger.next_run() {
            let slot = self.merger.member(run.first).slot;
            match run.row {
                Some(row) => {
                    self.join(run, row);
                    let buffers = self.merger.buffers(run, row);
                    self.transfer(slot, buffers);
                }
                None => self.transfer_alone(slot),
            }
        }
    }

    /// Makes the requests of a run one operation.
    fn join(&mut self, run: Run, row: u32) {
        self.merged += run.count as u64;
        let (mut next, mut bytes) = (None, 0);
        for index in (run.first..run.first + run.count).rev() {
            let Waiting { slot, data, .. } = self.merger.member(index);
            bytes += data.length();
            let entry = self.entry(slot);
            (entry.next, entry.bytes) = (next, bytes);
            next = Some(slot);
        }
        self.entry(self.merger.member(run.first).slot).row = Some(row);
    }

    fn transfer_alone(&mut self, slot: usize) {
        let entry = self.entry(slot);
        let data = entry.running.data;
        let rest = data.part(entry.done, data.length() - entry.done);
        self.transfer(slot, Buffers::One(rest));
    }

    fn transfer(&mut self, slot: usize, data: Buffers) {
        let Running { export, task, .. } = self.entry(slot).running;
        let action = match task {
            Task::Transfer(Work::Read) => Action::Read(data),
            Task::Transfer(Work::Write) => Action::Write { data, durable: false },
            Task::Transfer(Work::DurableWrite) => {
                let joins = self.groups[export.0 as usize].begin();
                let entry = self.entry(slot);
                // What it has written for a group becomes durable by a flush only, even if it goes on alone.
                let grouped = joins || (entry.grouped && entry.done > 0);
                entry.grouped = grouped;
                Action::Write { data, durable: !grouped }
            }
            Task::Flush => unreachable!("a flush moves nothing"),
        };
        self.begin(slot, action);
    }

    fn begin(&mut self, slot: usize, action: Action) {
        let Entry { running: Running { export, offset, task, .. }, done, .. } = *self.entry(slot);
        *self.under_way(task) += 1;
        self.engine.queue(DiskOperation {
            token: u32::try_from(slot).expect("slots have 16 bits"),
            file: self.files[export.0 as usize],
            offset: offset + done as u64,
            action,
        });
    }

    const fn under_way(&mut self, task: Task) -> &mut usize {
        match task {
            Task::Transfer(Work::Read) => &mut self.reading,
            Task::Transfer(Work::Write | Work::DurableWrite) | Task::Flush => &mut self.writing,
        }
    }

    fn entry(&mut self, slot: usize) -> &mut Entry {
        self.entries[slot].as_mut().expect("a request under way")
    }

    fn finish(&mut self, DiskResult { token, result }: DiskResult) {
        if let Some(export) = token.checked_sub(GROUP_FLUSH) {
            self.finish_group_flush(ExportId(export), result);
            return;
        }
        if token >= ASIDE {
            self.writing -= 1;
            self.aside.push_back(DiskResult { token, result });
            return;
        }
        let slot = token as usize;
        let entry = self.entry(slot);
        let (task, bytes, row) = (entry.running.task, entry.bytes, entry.row.take());
        *self.under_way(task) -= 1;
        if let Some(row) = row {
            self.merger.give_back(row);
        }
        let outcome = match usize::try_from(result) {
            Ok(moved) if moved >= bytes => Ok(()),
            _ if row.is_some() => return self.retry_one_by_one(slot),
            Err(_) if matches!(-result, libc::EINTR | libc::EAGAIN) && self.may_try_again(slot) => {
                return self.retry(slot, 0);
            }
            Err(_) => Err(block_error(-result)),
            Ok(0) => Err(BlockError::BeyondEnd),
            Ok(moved) => return self.retry(slot, moved),
        };
        self.moved(slot, outcome);
    }

    fn may_try_again(&mut self, slot: usize) -> bool {
        let now = clock::now();
        let since = *self.entry(slot).refused_since.get_or_insert(now);
        now.since(since) < TRIED_FOR
    }

    /// Goes on with a request that was alone in its operation, after `moved` bytes.
    fn retry(&mut self, slot: usize, moved: usize) {
        let entry = self.entry(slot);
        entry.done += moved;
        entry.bytes -= moved;
        if moved > 0 {
            entry.refused_since = None;
        }
        self.leave_group(slot);
        match self.entry(slot).running.task {
            Task::Transfer(_) => self.transfer_alone(slot),
            Task::Flush => self.begin(slot, Action::Sync),
        }
    }

    /// The operation has failed, or has moved less than it should: whose fault it is shows when each goes alone.
    fn retry_one_by_one(&mut self, first: usize) {
        self.leave_group(first);
        let mut next = Some(first);
        while let Some(slot) = next {
            let entry = self.entry(slot);
            next = entry.next.take();
            entry.bytes = entry.running.data.length();
            self.transfer_alone(slot);
        }
    }

    /// An operation has done what it should, or never will.
    fn moved(&mut self, first: usize, outcome: Result<(), BlockError>) {
        let Entry { grouped, running: Running { id, export, .. }, .. } = *self.entry(first);
        if grouped && outcome.is_ok() {
            self.wait_for_flush(export, id);
        } else {
            self.leave_group(first);
            self.ended.push_back(Ended { slot: first, outcome });
        }
    }

    /// If the operation is a durable write: its disk has one less under way.
    fn leave_group(&mut self, first: usize) {
        let Running { export, task, .. } = self.entry(first).running;
        if task == Task::Transfer(Work::DurableWrite) {
            self.groups[export.0 as usize].end();
        }
    }

    /// The request, and those in one operation with it, have ended with the next flush of their disk.
    fn wait_for_flush(&mut self, export: ExportId, id: RequestId) {
        let group = &mut self.groups[export.0 as usize];
        group.written(id);
        match group.lost() {
            Some(error) => self.fail_group(export, error),
            None => self.flush_group(export),
        }
    }

    /// Starts the flush that a disk's written writes wait for, if none is under way.
    fn flush_group(&mut self, export: ExportId) {
        if self.groups[export.0 as usize].starts_flush() {
            self.sync_group(export);
        }
    }

    fn sync_group(&mut self, export: ExportId) {
        let (token, file) = (GROUP_FLUSH + export.0, self.files[export.0 as usize]);
        self.writing += 1;
        self.engine.queue(DiskOperation { token, file, offset: 0, action: Action::Sync });
    }

    fn finish_group_flush(&mut self, export: ExportId, result: i32) {
        self.writing -= 1;
        let group = &mut self.groups[export.0 as usize];
        match -result {
            libc::EINTR | libc::EAGAIN if group.may_try_again(clock::now(), TRIED_FOR) => {
                self.sync_group(export)
            }
            errno if errno > 0 => self.fail_group(export, block_error(errno)),
            _ => {
                self.end_group(export, Ok(()));
                self.flush_group(export);
            }
        }
    }

    fn fail_group(&mut self, export: ExportId, error: BlockError) {
        let group = &mut self.groups[export.0 as usize];
        let was_lost = group.lost().is_some();
        group.failed(error);
        if !was_lost && group.lost().is_some() {
            self.lost = Some(export);
        }
        self.end_group(export, Err(error));
    }

    /// What waited for the flush that has ended has ended itself.
    fn end_group(&mut self, export: ExportId, outcome: Result<(), BlockError>) {
        while let Some(id) = self.groups[export.0 as usize].flushed() {
            self.ended.push_back(Ended { slot: id.slot(), outcome });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk_engine::EngineKind;
    use crate::sys::memory::Memory;

    const EXPORT: ExportId = ExportId(0);
    const BYTES: usize = 4096;

    /// So many durable writes that are under way, each alone. The engine is never asked to carry them out: what becomes of
    /// them is made up.
    fn under_way(memory: &Memory, writes: u32) -> Operations {
        let mut operations = operations(memory, writes, true);
        (0..writes).for_each(|slot| start_write(&mut operations, memory, slot));
        operations.begin_waiting();
        operations
    }

    fn operations(memory: &Memory, requests: u32, is_direct: bool) -> Operations {
        let engine = DiskEngine::new(EngineKind::Uring, memory.slice()).expect("an engine");
        let mut operations = Operations::new(engine, requests as usize);
        operations.add(EXPORT, -1, is_direct);
        operations
    }

    fn start_write(operations: &mut Operations, memory: &Memory, slot: u32) {
        let (task, data) = (Task::Transfer(Work::DurableWrite), memory.slice());
        let offset = u64::from(slot) * 2 * BYTES as u64;
        operations.start(Running { id: RequestId(slot), export: EXPORT, task, offset, data, buffer: None });
    }

    fn start_flush(operations: &mut Operations, slot: u32) {
        let data = IoSlice::empty();
        let id = RequestId(slot);
        operations.start(Running { id, export: EXPORT, task: Task::Flush, offset: 0, data, buffer: None });
    }

    fn outcomes(operations: &mut Operations) -> Vec<(u32, Result<(), BlockError>)> {
        let told = |ended: Ended| (u32::try_from(ended.slot).expect("small"), ended.outcome);
        let mut outcomes: Vec<_> = operations.ended.drain(..).map(told).collect();
        outcomes.sort_unstable_by_key(|(slot, _)| *slot);
        outcomes
    }

    fn ended(operations: &mut Operations) -> Vec<u32> {
        operations.ended.drain(..).map(|ended| u32::try_from(ended.slot).expect("small")).collect()
    }

    #[test]
    fn a_write_of_a_group_that_came_back_short_waits_for_a_flush_though_the_group_is_gone() {
        let memory = Memory::anonymous(BYTES).expect("memory");
        let mut operations = under_way(&memory, 5);
        let result = |token, bytes: usize| DiskResult { token, result: i32::try_from(bytes).expect("small") };
        assert!(operations.entry(4).grouped);
        for slot in 0..4 {
            operations.finish(result(slot, BYTES));
        }
        assert_eq!(ended(&mut operations), [0, 1, 2, 3]);
        operations.finish(result(4, 512));
        operations.finish(result(4, BYTES - 512));
        assert_eq!(ended(&mut operations), [0u32; 0], "its first part is not durable");
        operations.finish(result(GROUP_FLUSH + EXPORT.0, 0));
        assert_eq!(ended(&mut operations), [4]);
    }

    #[test]
    fn through_the_page_cache_nothing_is_durable_any_more_after_a_flush_that_has_failed() {
        let memory = Memory::anonymous(BYTES).expect("memory");
        let mut operations = operations(&memory, 8, false);
        let written = |token| DiskResult { token, result: i32::try_from(BYTES).expect("small") };
        let flushed = |result| DiskResult { token: GROUP_FLUSH + EXPORT.0, result };
        let lost = Err(BlockError::Medium);
        (0..3).for_each(|slot| start_write(&mut operations, &memory, slot));
        operations.begin_waiting();
        operations.finish(written(0));
        // Behind the flush that is under way wait a write that has ended since, and a flush that a client has asked for; another
        // write is still on its way.
        operations.finish(written(1));
        start_flush(&mut operations, 3);
        operations.finish(flushed(-libc::EIO));
        assert_eq!(outcomes(&mut operations), [(0, lost), (1, lost), (3, lost)]);
        assert_eq!((operations.take_lost(), operations.take_lost()), (Some(EXPORT), None));
        // The kernel would say that all is well.
        operations.finish(written(2));
        start_flush(&mut operations, 4);
        assert_eq!(outcomes(&mut operations), [(2, lost), (4, lost)]);
        assert_eq!(operations.take_lost(), None);
        // It was opened anew.
        operations.add(EXPORT, -1, false);
        start_flush(&mut operations, 5);
        operations.finish(flushed(0));
        assert_eq!(outcomes(&mut operations), [(5, Ok(()))]);
    }

    #[test]
    fn without_the_page_cache_a_flush_that_has_failed_is_tried_again_by_the_next_write() {
        let memory = Memory::anonymous(BYTES).expect("memory");
        let mut operations = under_way(&memory, 8);
        let written = |token| DiskResult { token, result: i32::try_from(BYTES).expect("small") };
        let flushed = |result| DiskResult { token: GROUP_FLUSH + EXPORT.0, result };
        [4, 5].into_iter().for_each(|slot| operations.finish(written(slot)));
        operations.finish(flushed(-libc::EIO));
        let lost = Err(BlockError::Medium);
        assert_eq!(outcomes(&mut operations), [(4, lost), (5, lost)], "whether it was for both nobody knows");
        operations.finish(written(6));
        operations.finish(flushed(0));
        assert_eq!((outcomes(&mut operations), operations.take_lost()), (vec![(6, Ok(()))], None));
    }

    #[test]
    fn what_the_kernel_can_never_do_just_now_is_an_error_in_the_end() {
        let memory = Memory::anonymous(BYTES).expect("memory");
        let mut operations = under_way(&memory, 1);
        let refused = DiskResult { token: 0, result: -libc::EAGAIN };
        operations.finish(refused);
        operations.finish(refused);
        assert_eq!(outcomes(&mut operations), []);
        operations.entry(0).refused_since = Some(clock::now().before(TRIED_FOR));
        operations.finish(refused);
        assert_eq!(outcomes(&mut operations), [(0, Err(BlockError::Medium))]);
    }

    #[test]
    fn a_flush_that_the_kernel_can_never_do_just_now_fails_in_the_end() {
        let memory = Memory::anonymous(BYTES).expect("memory");
        let mut operations = under_way(&memory, 6);
        let written = |token| DiskResult { token, result: i32::try_from(BYTES).expect("small") };
        let flush = |result| DiskResult { token: GROUP_FLUSH + EXPORT.0, result };
        let refused = flush(-libc::EAGAIN);
        operations.finish(written(4));
        assert!(operations.groups[0].may_try_again(clock::now().before(TRIED_FOR / 2), TRIED_FOR));
        operations.finish(refused);
        assert_eq!(outcomes(&mut operations), [], "tried again");
        operations.finish(written(5));
        operations.finish(flush(0));
        assert_eq!(outcomes(&mut operations), [(4, Ok(()))]);
        operations.groups[0].may_try_again(clock::now().before(TRIED_FOR), TRIED_FOR);
        operations.finish(refused);
        assert_eq!(outcomes(&mut operations), [(5, Err(BlockError::Medium))]);
    }
}
