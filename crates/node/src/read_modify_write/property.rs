//! Small writes that come at once, in any order of what the disk does: none undoes what another one has written.

use super::*;
use proptest::prelude::*;

const SECTORS: usize = 40;
const SLOTS: usize = 8;
const EXPORT: ExportId = ExportId(0);

#[derive(Clone, Debug)]
enum Event {
    Write { start: u8, count: u8 },
    Complete { which: u8, fails: bool },
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        (any::<u8>(), 1..20u8).prop_map(|(start, count)| Event::Write { start, count }),
        (any::<u8>(), prop::bool::weighted(0.05)).prop_map(|(which, fails)| Event::Complete { which, fails }),
    ]
}

/// A disk of 4096-byte sectors beneath the machine, and what each sector of 512 bytes should hold.
struct World {
    machine: ReadModifyWrite,
    disk: [u32; SECTORS],
    expected: [u32; SECTORS],
    /// What was asked of the disk, with the values to write.
    at_disk: Vec<(BlockRequest, Vec<u32>)>,
    /// Writes by slot: their sectors and their value.
    writes: [Option<(LbaRange, u32)>; SLOTS],
    value: u32,
}

impl World {
    fn new() -> Self {
        let mut machine = ReadModifyWrite::new();
        machine.add_export(EXPORT, LogicalSectorSize::B4096);
        Self {
            machine,
            disk: [0; SECTORS],
            expected: [0; SECTORS],
            at_disk: Vec::new(),
            writes: [None; SLOTS],
            value: 0,
        }
    }

    fn write(&mut self, start: u8, count: u8) {
        let start = usize::from(start) % SECTORS;
        let count = usize::from(count).min(SECTORS - start);
        let range = LbaRange::new(Lba(start as u64), SectorCount(u16::try_from(count).expect("small")));
        let range = range.expect("small");
        let overlaps = self.writes.iter().flatten().any(|(other, _)| other.overlaps(range));
        let Some(slot) = self.writes.iter().position(Option::is_none).filter(|_| !overlaps) else { return };
        self.value += 1;
        self.writes[slot] = Some((range, self.value));
        let id = RequestId(u32::try_from(slot).expect("small") | self.value << 16);
        let length = u32::try_from(range.bytes()).expect("small");
        let data = BufferSlice { buffer: BufferName(u64::from(self.value)), offset: 0, length };
        let operation = Operation::Write { range, data, durable: true };
        if let Some(request) = self.machine.begin(BlockRequest { id, export: EXPORT, operation }) {
            self.ask(request, vec![self.value; count]);
        }
    }

    fn ask(&mut self, request: BlockRequest, values: Vec<u32>) {
        if let Some(range) = range_of(&request) {
            assert_eq!(range, range.widened_to(8), "the disk is asked for whole sectors");
        }
        self.at_disk.push((request, values));
    }

    fn complete(&mut self, which: u8, fails: bool) {
        if self.at_disk.is_empty() {
            return;
        }
        let (request, values) = self.at_disk.swap_remove(usize::from(which) % self.at_disk.len());
        let range = range_of(&request).expect("no flush was asked for");
        let start = usize::try_from(range.start().0).expect("small");
        let sectors = start..start + usize::from(range.count().0);
        let id = request.id;
        let result = match request.operation {
            _ if fails => Err(block::BlockError::Medium),
            Operation::Write { .. } => {
                self.disk[sectors.clone()].copy_from_slice(&values);
                Ok(None)
            }
            _ => {
                let length = u32::try_from(range.bytes()).expect("small");
                Ok(Some(BufferSlice { buffer: BufferName(0), offset: 0, length }))
            }
        };
        match self.machine.complete(Completion { id, result }) {
            Step::Done(completion) | Step::DoneAndRelease(completion, _) => self.done(completion),
            Step::Modify { to, write, .. } => {
                let mut values = self.disk[sectors].to_vec();
                let (_, value) = self.writes[id.slot()].expect("under way");
                let first = to.offset as usize / SECTOR_BYTES;
                values[first..first + to.length as usize / SECTOR_BYTES].fill(value);
                self.ask(write, values);
            }
        }
        while let Some(request) = self.machine.next_ready() {
            self.ask(request, Vec::new());
        }
    }

    fn done(&mut self, completion: Completion) {
        let (range, value) = self.writes[completion.id.slot()].take().expect("it is completed once");
        if completion.result.is_ok() {
            let start = usize::try_from(range.start().0).expect("small");
            self.expected[start..start + usize::from(range.count().0)].fill(value);
        }
    }
}

const fn range_of(request: &BlockRequest) -> Option<LbaRange> {
    match request.operation {
        Operation::Read { range } | Operation::Write { range, .. } => Some(range),
        Operation::Flush => None,
    }
}

proptest! {
    #[test]
    fn no_small_write_undoes_another(events in prop::collection::vec(event(), 1..200)) {
        let mut world = World::new();
        for event in events {
            match event {
                Event::Write { start, count } => world.write(start, count),
                Event::Complete { which, fails } => world.complete(which, fails),
            }
        }
        while !world.at_disk.is_empty() {
            world.complete(0, false);
        }
        prop_assert!(world.writes.iter().all(Option::is_none), "a write is stuck");
        prop_assert_eq!(world.disk, world.expected);
        prop_assert!(world.machine.parts.as_ref().expect("made").is_empty());
    }
}
