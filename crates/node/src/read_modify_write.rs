//! Requests smaller than a sector of the disk: AoE speaks 512-byte sectors, some disks only 4096-byte ones.
//!
//! A read is widened and the wanted part handed up. A write is widened to a read, the new bytes are copied into what
//! was read, and that is written. No other write may touch the disk's sectors which that write changes in part
//! meanwhile, so those that share one are done one after the other, in the order in which they came. Writes that share
//! a 512-byte sector never come at once; whoever is above sees to that.

use std::collections::VecDeque;

use block::{
    BlockRequest, BufferName, BufferSlice, Completion, EntryId, ExportId, IntervalTable, Lba, LbaRange,
};
use block::{LogicalSectorSize, Operation, RequestId, SECTOR_BYTES, SectorCount};

/// Requests that can be widened at once before anything grows.
const AT_ONCE_AT_FIRST: usize = 64;

/// What follows a completion of the disk.
#[derive(Debug)]
pub(crate) enum Step {
    /// The request is done.
    Done(Completion),
    /// The request is done, and the buffer it went through is free.
    DoneAndRelease(Completion, BufferName),
    /// Copy the new bytes in, then write.
    Modify { from: BufferSlice, to: BufferSlice, write: BlockRequest },
}

/// The requests that are on their way through a widened one.
#[derive(Debug)]
pub(crate) struct ReadModifyWrite {
    /// By export.
    sector_sizes: Vec<LogicalSectorSize>,
    /// By the request's slot, as far as one was ever widened.
    widened: Vec<Option<Widened>>,
    /// Sectors of the disk that a write changes in part, with its slot; made when the first disk needs it.
    parts: Option<IntervalTable<u32>>,
    /// Writes that wait for no other any more.
    ready: VecDeque<RequestId>,
    writes: u64,
}

#[derive(Clone, Copy, Debug)]
struct Widened {
    export: ExportId,
    wanted: LbaRange,
    whole: LbaRange,
    stage: Stage,
    /// Its sectors in the table: the first and the last are the only ones that can be changed in part.
    parts: [Option<EntryId>; 2],
    /// Place in the order of writes.
    order: u64,
    /// How often an earlier write touches one of those sectors.
    waits_for: u32,
}

#[derive(Clone, Copy, Debug)]
enum Stage {
    /// A read; the wanted part goes up.
    Read,
    /// The read before a write of `data`.
    ReadBeforeWrite { data: BufferSlice, durable: bool },
    /// The write out of `buffer`.
    Write { buffer: BufferName },
}

impl ReadModifyWrite {
    /// Nothing is reserved before a disk with large sectors is there, and little then: it grows with the number of
    /// requests that are widened at once, and keeps what it has.
    pub(crate) const fn new() -> Self {
        Self { sector_sizes: Vec::new(), widened: Vec::new(), parts: None, ready: VecDeque::new(), writes: 0 }
    }

    pub(crate) fn add_export(&mut self, export: ExportId, sector_size: LogicalSectorSize) {
        let index = export.0 as usize;
        if self.sector_sizes.len() <= index {
            self.sector_sizes.resize(index + 1, LogicalSectorSize::B512);
        }
        self.sector_sizes[index] = sector_size;
        if sector_size != LogicalSectorSize::B512 && self.parts.is_none() {
            self.widened = vec![None; AT_ONCE_AT_FIRST];
            self.parts = Some(IntervalTable::new(AT_ONCE_AT_FIRST * 2));
            self.ready.reserve(AT_ONCE_AT_FIRST);
        }
    }

    /// The request to give to the disk for this one, unless it has to wait until [`Self::next_ready`] gives it out.
    #[inline]
    pub(crate) fn begin(&mut self, request: BlockRequest) -> Option<BlockRequest> {
        let unit = self.sector_sizes[request.export.0 as usize].sectors();
        let (wanted, stage) = match request.operation {
            Operation::Flush => return Some(request),
            Operation::Read { range } => (range, Stage::Read),
            Operation::Write { range, data, durable } => (range, Stage::ReadBeforeWrite { data, durable }),
        };
        let whole = wanted.widened_to(unit);
        if whole == wanted {
            return Some(request);
        }
        let slot = request.id.slot();
        if self.widened.len() <= slot {
            self.widened.resize((slot + 1).next_power_of_two(), None);
        }
        assert!(self.widened[slot].is_none(), "a request's name is used again only after its completion");
        let export = request.export;
        let mut widened = Widened { export, wanted, whole, stage, parts: [None; 2], order: 0, waits_for: 0 };
        if let Stage::ReadBeforeWrite { .. } = stage {
            self.enter(&mut widened, request.id, unit);
        }
        self.widened[slot] = Some(widened);
        (widened.waits_for == 0).then_some(widened.first_read(request.id))
    }

    /// The request to give to the disk for one that had to wait.
    #[inline]
    pub(crate) fn next_ready(&mut self) -> Option<BlockRequest> {
        let id = self.ready.pop_front()?;
        Some(self.widened[id.slot()].expect("it waited").first_read(id))
    }

    /// Enters a write's sectors behind those of earlier ones.
    fn enter(&mut self, widened: &mut Widened, id: RequestId, unit: u16) {
        self.writes += 1;
        widened.order = self.writes;
        let table = self.parts.as_mut().expect("made with the export");
        for (place, sector) in widened.parts_of(unit).into_iter().enumerate() {
            let Some(sector) = sector else { continue };
            widened.waits_for += count(table.overlapping(widened.export, sector));
            if table.is_full() {
                table.double();
            }
            let entry = table.insert(widened.export, sector, id.0).expect("there is room");
            widened.parts[place] = Some(entry);
        }
    }

    /// A write has ended: the next one that touches one of its sectors may start.
    fn leave(&mut self, ended: &Widened) {
        let Some(table) = self.parts.as_mut() else { return };
        for entry in ended.parts.into_iter().flatten() {
            let (sector, _) = table.entry(entry).expect("entered until it ends");
            table.remove(entry);
            for (_, _, later) in table.overlapping(ended.export, sector) {
                let id = RequestId(later);
                let Some(other) = &mut self.widened[id.slot()] else { continue };
                if other.order < ended.order {
                    continue;
                }
                other.waits_for -= 1;
                if other.waits_for == 0 {
                    self.ready.push_back(id);
                }
            }
        }
    }

    /// What follows from this completion.
    pub(crate) fn complete(&mut self, completion: Completion) -> Step {
        let id = completion.id;
        let widened = self.widened.get_mut(id.slot()).and_then(Option::take);
        let Some(widened) = widened else { return Step::Done(completion) };
        let is_to_be_written =
            matches!(widened.stage, Stage::ReadBeforeWrite { .. }) && completion.result.is_ok();
        if !is_to_be_written {
            self.leave(&widened);
        }
        match (widened.stage, completion.result) {
            (Stage::Read, Ok(Some(whole))) => {
                Step::Done(Completion { id, result: Ok(Some(widened.part_of(whole))) })
            }
            (Stage::ReadBeforeWrite { data, durable }, Ok(Some(whole))) => {
                self.modify(id, widened, whole, data, durable)
            }
            (Stage::Write { buffer }, result) => Step::DoneAndRelease(Completion { id, result }, buffer),
            (_, Err(error)) => Step::Done(Completion { id, result: Err(error) }),
            (Stage::Read | Stage::ReadBeforeWrite { .. }, Ok(None)) => {
                unreachable!("a read that succeeded names its buffer")
            }
        }
    }

    fn modify(
        &mut self,
        id: RequestId,
        widened: Widened,
        whole: BufferSlice,
        data: BufferSlice,
        durable: bool,
    ) -> Step {
        let stage = Stage::Write { buffer: whole.buffer };
        self.widened[id.slot()] = Some(Widened { stage, ..widened });
        let operation = Operation::Write { range: widened.whole, data: whole, durable };
        let write = BlockRequest { id, export: widened.export, operation };
        Step::Modify { from: data, to: widened.part_of(whole), write }
    }
}

fn count<T>(overlapping: impl Iterator<Item = T>) -> u32 {
    u32::try_from(overlapping.count()).expect("fewer than the requests")
}

impl Widened {
    /// What the disk is asked first.
    const fn first_read(self, id: RequestId) -> BlockRequest {
        BlockRequest { id, export: self.export, operation: Operation::Read { range: self.whole } }
    }

    /// The disk's sectors of `unit` that are wanted in part only.
    fn parts_of(self, unit: u16) -> [Option<LbaRange>; 2] {
        let sector = |lba: u64| LbaRange::new(Lba(lba), SectorCount(unit));
        let (first, last) = (self.whole.start().0, self.whole.end().0 - u64::from(unit));
        let head = self.wanted.start() != self.whole.start() || (first == last);
        let tail = self.wanted.end() != self.whole.end() && first != last;
        [head.then(|| sector(first)).flatten(), tail.then(|| sector(last)).flatten()]
    }

    /// The wanted sectors within the bytes of the whole.
    fn part_of(self, whole: BufferSlice) -> BufferSlice {
        let sectors_before = self.wanted.start().0 - self.whole.start().0;
        let skip = u32::try_from(sectors_before * SECTOR_BYTES as u64).expect("less than a disk sector");
        let length = u32::try_from(self.wanted.bytes()).expect("a request is small");
        BufferSlice { buffer: whole.buffer, offset: whole.offset + skip, length }
    }
}

#[cfg(test)]
mod property;

#[cfg(test)]
mod tests {
    use super::*;
    use block::{BlockError, Lba, SectorCount};

    const EXPORT: ExportId = ExportId(0);
    const ID: RequestId = RequestId(3);

    fn machine() -> ReadModifyWrite {
        let mut machine = ReadModifyWrite::new();
        machine.add_export(EXPORT, LogicalSectorSize::B4096);
        machine
    }

    fn range(start: u64, count: u16) -> LbaRange {
        LbaRange::new(Lba(start), SectorCount(count)).expect("a range within bounds")
    }

    fn request(operation: Operation) -> BlockRequest {
        BlockRequest { id: ID, export: EXPORT, operation }
    }

    fn slice(buffer: u64, offset: u32, length: u32) -> BufferSlice {
        BufferSlice { buffer: BufferName(buffer), offset, length }
    }

    #[test]
    fn an_aligned_request_passes_untouched() {
        let mut machine = machine();
        let aligned = request(Operation::Read { range: range(8, 16) });
        assert_eq!(machine.begin(aligned), Some(aligned));
        let completion = Completion { id: ID, result: Ok(Some(slice(1, 0, 8192))) };
        assert!(matches!(machine.complete(completion), Step::Done(done) if done == completion));
    }

    #[test]
    fn a_small_read_is_widened_and_its_part_handed_up() {
        let mut machine = machine();
        let begun =
            machine.begin(request(Operation::Read { range: range(9, 2) })).expect("a read waits for nothing");
        assert_eq!(begun.operation, Operation::Read { range: range(8, 8) });
        let step = machine.complete(Completion { id: ID, result: Ok(Some(slice(1, 512, 4096))) });
        let Step::Done(completion) = step else { panic!("not done: {step:?}") };
        assert_eq!(completion.result, Ok(Some(slice(1, 1024, 1024))));
    }

    #[test]
    fn a_small_write_reads_modifies_and_writes() {
        let mut machine = machine();
        let data = slice(9, 36, 512);
        let operation = Operation::Write { range: range(15, 1), data, durable: true };
        let begun = machine.begin(request(operation)).expect("nothing is in its way");
        assert_eq!(begun.operation, Operation::Read { range: range(8, 8) });
        let step = machine.complete(Completion { id: ID, result: Ok(Some(slice(1, 0, 4096))) });
        let Step::Modify { from, to, write } = step else { panic!("not modified: {step:?}") };
        assert_eq!((from, to), (data, slice(1, 7 * 512, 512)));
        let expected = Operation::Write { range: range(8, 8), data: slice(1, 0, 4096), durable: true };
        assert_eq!(write, request(expected));
        let step = machine.complete(Completion { id: ID, result: Ok(None) });
        let Step::DoneAndRelease(completion, buffer) = step else { panic!("not done: {step:?}") };
        assert_eq!((completion.result, buffer), (Ok(None), BufferName(1)));
    }

    #[test]
    fn writes_that_share_a_sector_of_the_disk_are_done_one_after_the_other() {
        let mut machine = machine();
        let write = |slot: u32, start, count| {
            let operation =
                Operation::Write { range: range(start, count), data: slice(9, 0, 0), durable: true };
            BlockRequest { id: RequestId(slot), export: EXPORT, operation }
        };
        let read = |slot: u32| Completion { id: RequestId(slot), result: Ok(Some(slice(1, 0, 4096))) };
        let written = |slot: u32| Completion { id: RequestId(slot), result: Ok(None) };
        assert!(machine.begin(write(0, 1, 1)).is_some());
        assert_eq!(machine.begin(write(1, 2, 10)), None);
        assert_eq!(machine.begin(write(2, 12, 1)), None);
        assert!(machine.begin(write(3, 16, 1)).is_some());
        machine.complete(read(0));
        assert_eq!(machine.next_ready(), None);
        machine.complete(written(0));
        assert_eq!(machine.next_ready().map(|request| request.id), Some(RequestId(1)));
        assert_eq!(machine.next_ready(), None);
        machine.complete(read(1));
        machine.complete(written(1));
        assert_eq!(machine.next_ready().map(|request| request.id), Some(RequestId(2)));
    }

    #[test]
    fn an_error_before_the_write_ends_the_request() {
        let mut machine = machine();
        let operation = Operation::Write { range: range(1, 1), data: slice(9, 36, 512), durable: false };
        let _ = machine.begin(request(operation));
        let step = machine.complete(Completion { id: ID, result: Err(BlockError::Medium) });
        assert!(matches!(step, Step::Done(done) if done.result == Err(BlockError::Medium)));
    }
}
