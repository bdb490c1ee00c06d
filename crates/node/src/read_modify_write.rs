//! Requests smaller than a sector of the disk: AoE speaks 512-byte sectors, some disks only 4096-byte ones.
//!
//! A read is widened and the wanted part handed up. A write is widened to a read, the new bytes are copied into what
//! was read, and that is written. Nothing else may write the widened range meanwhile: the target orders requests by
//! ranges widened the same way, so it never has two of them under way at once.

use block::{BlockRequest, BufferName, BufferSlice, Completion, ExportId, LbaRange, LogicalSectorSize};
use block::{Operation, RequestId, SECTOR_BYTES};

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
    /// By the request's slot.
    widened: Box<[Option<Widened>]>,
}

#[derive(Clone, Copy, Debug)]
struct Widened {
    export: ExportId,
    wanted: LbaRange,
    whole: LbaRange,
    stage: Stage,
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
    pub(crate) fn new(outstanding_max: usize) -> Self {
        Self { sector_sizes: Vec::new(), widened: vec![None; outstanding_max].into_boxed_slice() }
    }

    pub(crate) fn add_export(&mut self, export: ExportId, sector_size: LogicalSectorSize) {
        let index = export.0 as usize;
        if self.sector_sizes.len() <= index {
            self.sector_sizes.resize(index + 1, LogicalSectorSize::B512);
        }
        self.sector_sizes[index] = sector_size;
    }

    /// The request to give to the disk for this one.
    pub(crate) fn begin(&mut self, request: BlockRequest) -> BlockRequest {
        let unit = self.sector_sizes[request.export.0 as usize].sectors();
        let (wanted, stage) = match request.operation {
            Operation::Flush => return request,
            Operation::Read { range } => (range, Stage::Read),
            Operation::Write { range, data, durable } => (range, Stage::ReadBeforeWrite { data, durable }),
        };
        let whole = wanted.widened_to(unit);
        if whole == wanted {
            return request;
        }
        let entry = &mut self.widened[request.id.slot()];
        assert!(entry.is_none(), "a request's name is used again only after its completion");
        *entry = Some(Widened { export: request.export, wanted, whole, stage });
        BlockRequest { operation: Operation::Read { range: whole }, ..request }
    }

    /// What follows from this completion.
    pub(crate) fn complete(&mut self, completion: Completion) -> Step {
        let id = completion.id;
        let Some(widened) = self.widened[id.slot()].take() else { return Step::Done(completion) };
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

impl Widened {
    /// The wanted sectors within the bytes of the whole.
    fn part_of(self, whole: BufferSlice) -> BufferSlice {
        let sectors_before = self.wanted.start().0 - self.whole.start().0;
        let skip = u32::try_from(sectors_before * SECTOR_BYTES as u64).expect("less than a disk sector");
        let length = u32::try_from(self.wanted.bytes()).expect("a request is small");
        BufferSlice { buffer: whole.buffer, offset: whole.offset + skip, length }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use block::{BlockError, Lba, SectorCount};

    const EXPORT: ExportId = ExportId(0);
    const ID: RequestId = RequestId(3);

    fn machine() -> ReadModifyWrite {
        let mut machine = ReadModifyWrite::new(8);
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
        assert_eq!(machine.begin(aligned), aligned);
        let completion = Completion { id: ID, result: Ok(Some(slice(1, 0, 8192))) };
        assert!(matches!(machine.complete(completion), Step::Done(done) if done == completion));
    }

    #[test]
    fn a_small_read_is_widened_and_its_part_handed_up() {
        let mut machine = machine();
        let begun = machine.begin(request(Operation::Read { range: range(9, 2) }));
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
        let begun = machine.begin(request(operation));
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
    fn an_error_before_the_write_ends_the_request() {
        let mut machine = machine();
        let operation = Operation::Write { range: range(1, 1), data: slice(9, 36, 512), durable: false };
        let _ = machine.begin(request(operation));
        let step = machine.complete(Completion { id: ID, result: Err(BlockError::Medium) });
        assert!(matches!(step, Step::Done(done) if done.result == Err(BlockError::Medium)));
    }
}
