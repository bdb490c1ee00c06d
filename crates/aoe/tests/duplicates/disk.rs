//! Disks that do their requests in any order, a sector at a time, and may fail half way. A sector that is being
//! written reads now old, now new, until the write has ended: a read that does not wait for it sees that.

use block::{BlockRequest, BufferName, BufferSlice, LbaRange, LogicalSectorSize, Operation, RequestId};

/// A request at a disk.
pub(crate) struct Job {
    id: RequestId,
    export: usize,
    range: Option<LbaRange>,
    /// What to write, or what was read so far.
    values: Vec<u32>,
    buffer: Option<BufferName>,
    /// Sectors done.
    done: usize,
    /// Sectors of a write that were read before it ended, so that it cannot fail to have happened to them.
    seen: u32,
    is_write: bool,
}

/// A request that has ended, with what it read.
pub(crate) struct Done {
    pub(crate) id: RequestId,
    pub(crate) values: Option<Vec<u32>>,
}

impl Job {
    pub(crate) fn new(
        request: BlockRequest,
        export: usize,
        data: impl FnOnce(BufferSlice) -> Vec<u32>,
    ) -> Self {
        let (range, values, buffer, is_write) = match request.operation {
            Operation::Read { range } => (Some(range), Vec::new(), None, false),
            Operation::Write { range, data: slice, durable } => {
                assert!(durable, "an answer promises durability");
                assert_eq!(slice.length as usize, range.bytes());
                (Some(range), data(slice), Some(slice.buffer), true)
            }
            Operation::Flush => (None, Vec::new(), None, false),
        };
        Self { id: request.id, export, range, values, buffer, done: 0, seen: 0, is_write }
    }

    /// Where a write's data lies.
    pub(crate) const fn buffer(&self) -> Option<BufferName> {
        self.buffer
    }

    fn sectors(&self) -> usize {
        self.range.map_or(0, |range| usize::from(range.count().0))
    }
}

pub(crate) struct Disk {
    sectors: Vec<Vec<u32>>,
    logical_sector_size: LogicalSectorSize,
    jobs: Vec<Job>,
    failures: u32,
    reads: u32,
}

impl Disk {
    pub(crate) fn new(exports: usize, logical_sector_size: LogicalSectorSize) -> Self {
        Self {
            sectors: vec![vec![0; 32]; exports],
            logical_sector_size,
            jobs: Vec::new(),
            failures: 0,
            reads: 0,
        }
    }

    pub(crate) const fn is_idle(&self) -> bool {
        self.jobs.is_empty()
    }

    pub(crate) const fn failures(&self) -> u32 {
        self.failures
    }

    /// Takes a request; never two writes to the same sectors of the disk beneath.
    pub(crate) fn start(&mut self, job: Job) {
        let whole = |range: LbaRange| range.widened_to(self.logical_sector_size.sectors());
        for other in self.jobs.iter().filter(|other| other.export == job.export) {
            let (Some(range), Some(of_other)) = (job.range, other.range) else { continue };
            let both_write = job.is_write && other.is_write;
            assert!(!both_write || !whole(range).overlaps(whole(of_other)), "two writes overlap at the disk");
        }
        self.jobs.push(job);
    }

    /// Does one sector of a request.
    pub(crate) fn progress(&mut self, which: u8) {
        if !self.jobs.is_empty() {
            let place = usize::from(which) % self.jobs.len();
            self.advance(place);
        }
    }

    fn advance(&mut self, place: usize) {
        let job = &self.jobs[place];
        let (export, done) = (job.export, job.done);
        let Some(range) = job.range.filter(|_| done < job.sectors()) else { return };
        if !job.is_write {
            let value = self.look(export, range.start().0 + done as u64);
            self.jobs[place].values.push(value);
        }
        self.jobs[place].done += 1;
    }

    /// What a read of a sector finds: what stands there, or what is just being written to it.
    fn look(&mut self, export: usize, sector: u64) -> u32 {
        self.reads += 1;
        let stands = self.sectors[export][usize::try_from(sector).expect("small")];
        let writes = self.jobs.iter_mut().filter(|job| job.is_write && job.export == export);
        for job in writes {
            let range = job.range.expect("a write has a range");
            if range.start().0 <= sector && sector < range.end().0 && !self.reads.is_multiple_of(3) {
                let place = usize::try_from(sector - range.start().0).expect("small");
                job.seen |= 1 << place;
                return job.values[place];
            }
        }
        stands
    }

    /// Ends a request: does what is left of it, or fails it where it stands.
    pub(crate) fn complete(&mut self, which: u8, fail: bool) -> Option<Done> {
        if self.jobs.is_empty() {
            return None;
        }
        let place = usize::from(which) % self.jobs.len();
        while !fail && self.jobs[place].done < self.jobs[place].sectors() {
            self.advance(place);
        }
        self.failures += u32::from(fail);
        let job = self.jobs.remove(place);
        if let (true, Some(range)) = (job.is_write, job.range) {
            let start = usize::try_from(range.start().0).expect("small");
            for (sector, value) in job.values.iter().enumerate() {
                if sector < job.done || job.seen & 1 << sector != 0 {
                    self.sectors[job.export][start + sector] = *value;
                }
            }
        }
        Some(Done { id: job.id, values: (!job.is_write && job.range.is_some()).then_some(job.values) })
    }
}
