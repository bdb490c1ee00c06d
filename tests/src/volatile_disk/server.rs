//! A disk as it is served to the kernel by FUSE: the one file of a file system.

use super::{Bay, Bays, disk::SECTOR_BYTES};
use crate::random::Random;
use std::{
    collections::BTreeSet,
    fs::File,
    io::{self, Read, Write},
    sync::Arc,
    thread,
    time::Duration,
};

/// A request takes up to so long.
const LATENCY_MAX_MICROSECONDS: u64 = 2000;
const O_DSYNC: u64 = 0o10_000;
/// More than the largest request, with its head.
const REQUEST_BYTES_MAX: usize = 2 << 20;
const INPUT_OUTPUT: i32 = 5;
const NOT_WHOLE_SECTORS: i32 = 22;
const OUT_OF_SPACE: i32 = 28;
const UNKNOWN: i32 = 38;
const NOT_SUPPORTED: i32 = 95;

/// One of the threads that answer the kernel's requests for a disk.
pub(super) struct Server {
    device: File,
    bays: Arc<Bays>,
    number: usize,
    random: Random,
}

impl Server {
    pub(super) fn new(device: File, bays: Arc<Bays>, number: usize, random: Random) -> Self {
        Self { device, bays, number, random }
    }

    /// Serves the next request; an error is the end of the mount.
    pub(super) fn serve_one(&mut self) -> io::Result<()> {
        let mut request = vec![0; REQUEST_BYTES_MAX];
        let length = match self.device.read(&mut request) {
            Ok(length) => length,
            // The request was taken back before it was read.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            Err(error) => return Err(error),
        };
        let (head, body) = request[..length].split_at(40);
        let (error, answer) = match self.answer(number_at(head, 4, 4), body) {
            Answer::Data(data) => (0, data),
            Answer::Error(error) => (error, Vec::new()),
            Answer::None => return Ok(()),
        };
        let length = u32::try_from(16 + answer.len()).map_err(io::Error::other)?;
        let reply = [&length.to_le_bytes()[..], &(-error).to_le_bytes(), &head[8..16], &answer].concat();
        match self.device.write_all(&reply) {
            // Nobody waits for it any more.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result,
        }
    }

    fn answer(&mut self, operation: u64, body: &[u8]) -> Answer {
        match operation {
            26 => Answer::Data(introduction(body)),
            // Attributes, asked for or set.
            3 | 4 => Answer::Data(attributes(self.size())),
            // Open: past the page cache, and writes beside each other.
            14 => Answer::Data([0, 0, 0b100_0001, 0].map(u32::to_le_bytes).concat()),
            15 => self.read(body),
            16 => self.write(body),
            20 => self.flush(),
            17 => Answer::Data(vec![0; 80]),
            // Release, flush at the end of a descriptor, the end.
            18 | 25 | 38 => Answer::Data(Vec::new()),
            // Forget, interrupt.
            2 | 36 | 42 => Answer::None,
            43 => Answer::Error(NOT_SUPPORTED),
            _ => Answer::Error(UNKNOWN),
        }
    }

    fn size(&self) -> usize {
        self.bays.lock()[self.number].disk.length()
    }

    /// Does something with the disk when it has power; an error if its machine has lost it.
    fn with_power(&self, action: impl FnOnce(&mut Bay) -> Vec<u8>) -> Answer {
        match self.bays.powered(self.number) {
            Some(mut bays) => Answer::Data(action(&mut bays[self.number])),
            None => Answer::Error(INPUT_OUTPUT),
        }
    }

    fn read(&mut self, body: &[u8]) -> Answer {
        let (offset, size) = (place(body, 8, 8), place(body, 16, 4));
        self.take_time();
        self.with_power(|bay| bay.disk.read(offset, size))
    }

    fn write(&mut self, body: &[u8]) -> Answer {
        let (offset, size, flags) = (place(body, 8, 8), place(body, 16, 4), number_at(body, 32, 4));
        let data = &body[40..40 + size];
        if offset % SECTOR_BYTES != 0 || size % SECTOR_BYTES != 0 {
            return Answer::Error(NOT_WHOLE_SECTORS);
        }
        if offset + size > self.size() {
            return Answer::Error(OUT_OF_SPACE);
        }
        let Some(mut bays) = self.bays.powered(self.number) else { return Answer::Error(INPUT_OUTPUT) };
        let write = bays[self.number].disk.write(offset, data);
        drop(bays);
        self.take_time();
        self.with_power(|bay| {
            if flags & O_DSYNC != 0 && !bay.lies {
                bay.disk.keep(&BTreeSet::from([write]));
            }
            bay.disk.answered(write);
            [place_u32(size), 0].map(u32::to_le_bytes).concat()
        })
    }

    fn flush(&mut self) -> Answer {
        let Some(bays) = self.bays.powered(self.number) else { return Answer::Error(INPUT_OUTPUT) };
        let covered = bays[self.number].disk.covered();
        drop(bays);
        self.take_time();
        self.with_power(|bay| {
            if !bay.lies {
                bay.disk.keep(&covered);
            }
            Vec::new()
        })
    }

    fn take_time(&mut self) {
        thread::sleep(Duration::from_micros(self.random.below(LATENCY_MAX_MICROSECONDS)));
    }
}

enum Answer {
    Data(Vec<u8>),
    Error(i32),
    None,
}

/// Protocol 7.31: asynchronous reads, large writes, requests of up to a mebibyte.
fn introduction(body: &[u8]) -> Vec<u8> {
    const FLAGS: u32 = 1 | 1 << 5 | 1 << 22;
    let read_ahead = u32::try_from(number_at(body, 8, 4)).unwrap_or(0);
    let head = [7, 31, read_ahead, FLAGS].map(u32::to_le_bytes).concat();
    let queues = [64_u16, 48].map(u16::to_le_bytes).concat();
    let sizes = [1_u32 << 20, 1].map(u32::to_le_bytes).concat();
    let pages = [256_u16, 0].map(u16::to_le_bytes).concat();
    [head, queues, sizes, pages, vec![0; 32]].concat()
}

/// A regular file of this size.
fn attributes(size: usize) -> Vec<u8> {
    const FILE: u32 = 0o100_600;
    let size = size as u64;
    let long = [1, size, size / 512, 0, 0, 0].map(u64::to_le_bytes).concat();
    let short = [0, 0, 0, FILE, 1, 0, 0, 0, 4096, 0].map(u32::to_le_bytes).concat();
    [vec![0; 16], long, short].concat()
}

/// A number of so many bytes, the last one the highest.
fn number_at(bytes: &[u8], at: usize, length: usize) -> u64 {
    bytes[at..at + length].iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

fn place(bytes: &[u8], at: usize, length: usize) -> usize {
    usize::try_from(number_at(bytes, at, length)).unwrap_or(usize::MAX / 2)
}

fn place_u32(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
