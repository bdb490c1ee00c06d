//! Disks with volatile caches, for nodes whose power can be cut at any moment: what was not made durable by then is lost, kept or torn,
//! sector by sector.
//!
//! A disk is a loop device over a file that is served to the kernel by FUSE, mounted in a namespace that goes with its holder. Everything
//! is answered late, so that there is always something at risk; what was written is durable when a flush that came after its answer is
//! answered. All disks are behind one lock, so that a moment is the same for all. It shares no code with the project, and decides nothing
//! about what must have survived.

use crate::random::Random;
use lab::{Error, Process, Program, Scratch, disk::LoopDevice};
use std::{
    fs::File,
    io::{self, Read, Write},
    os::fd::{AsRawFd, OwnedFd},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

const SECTOR_BYTES: usize = 512;
/// Requests that a disk works on at the same time.
const QUEUE_DEPTH: usize = 8;
/// A request takes up to so long.
const LATENCY_MAX_MICROSECONDS: u64 = 2000;
const PATIENCE: Duration = Duration::from_secs(120);
const O_DSYNC: u64 = 0o10_000;
/// More than the largest request, with its head.
const REQUEST_BYTES_MAX: usize = 2 << 20;

/// Some disks.
#[derive(Debug)]
pub struct Rack {
    // Before the file systems below them.
    devices: Vec<LoopDevice>,
    disks: Arc<Mutex<Vec<VolatileDisk>>>,
    _holder: Process,
}

/// A disk as it is at a moment.
#[derive(Debug, Clone)]
pub struct VolatileDisk {
    /// What reads see.
    current: Vec<u8>,
    /// What no loss of power takes away.
    durable: Vec<u8>,
    /// What was written since and may be lost, sector by sector, in order.
    at_risk: Vec<Sector>,
    writes: u64,
}

#[derive(Debug, Clone)]
struct Sector {
    write: u64,
    offset: usize,
    data: Vec<u8>,
}

/// How much of what is at risk is there after the power has gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Survival {
    /// All of it: the cache was written back just now.
    All,
    /// Nothing.
    Nothing,
    /// Of each write, by chance, all, nothing, or some of its sectors: the order in which a disk empties its cache is its own.
    Chance,
}

impl Rack {
    /// Blank disks of these sizes. What it needs is kept in `scratch`.
    pub fn new(scratch: &Scratch, sizes: &[usize]) -> Result<Self, Error> {
        let system = |action: &str| {
            let action = action.to_owned();
            move |source| Error::System { action, source }
        };
        let disks: Vec<VolatileDisk> = sizes.iter().map(|size| VolatileDisk::new(vec![0; *size])).collect();
        let disks = Arc::new(Mutex::new(disks));
        let (mut mounts, mut inherited, mut servers) = (String::new(), Vec::new(), Vec::new());
        let path = |number: usize| scratch.join(format!("volatile{number}"));
        for number in 0..sizes.len() {
            File::create(path(number)).map_err(system("make a file to mount over"))?;
            let device = File::options().read(true).write(true).open("/dev/fuse");
            let device = device.map_err(system("open /dev/fuse"))?;
            let copy: OwnedFd = device.try_clone().map_err(system("share /dev/fuse"))?.into();
            mounts += &mount_command(copy.as_raw_fd(), &path(number));
            inherited.push(copy);
            servers.push(device);
        }
        let script = format!("set -e\n{mounts}echo mounted\nexec sleep infinity");
        let holder = Program::new("unshare").args(["--mount", "sh", "-c", &script]);
        let holder = inherited.into_iter().fold(holder, Program::inherit);
        let mut holder = holder.start(scratch.join("rack.log"))?;
        holder.wait_for_line("mounted", PATIENCE)?;
        // Not before: the kernel refuses requests to those who ask before there is a mount.
        for (number, device) in servers.into_iter().enumerate() {
            for thread in 0..QUEUE_DEPTH {
                let device = device.try_clone().map_err(system("share /dev/fuse"))?;
                let random = Random::new((number * QUEUE_DEPTH + thread) as u64);
                let mut server = Server { device, disks: Arc::clone(&disks), number, random };
                // It ends when nobody has the disk mounted any more.
                thread::spawn(move || while server.serve_one().is_ok() {});
            }
        }
        let root = PathBuf::from(format!("/proc/{}/root", holder.id()));
        let seen = |number: usize| root.join(path(number).strip_prefix("/").unwrap_or(&path(number)));
        let devices = (0..sizes.len()).map(|number| LoopDevice::new(&seen(number), 512));
        let devices = devices.collect::<Result<_, _>>()?;
        Ok(Self { devices, disks, _holder: holder })
    }

    /// A disk as a node sees it: a block device with a volatile cache.
    pub fn device(&self, number: usize) -> &Path {
        self.devices[number].path()
    }

    /// All disks as they are at one moment.
    pub fn moment(&self) -> Vec<VolatileDisk> {
        lock(&self.disks).clone()
    }
}

fn mount_command(descriptor: i32, path: &Path) -> String {
    let options = format!("fd={descriptor},rootmode=100000,user_id=0,group_id=0,allow_other");
    format!("mount -i -t fuse -o {options} volatile {}\n", path.display())
}

impl VolatileDisk {
    fn new(content: Vec<u8>) -> Self {
        Self { current: content.clone(), durable: content, at_risk: Vec::new(), writes: 0 }
    }

    /// How many sectors may be lost.
    pub fn sectors_at_risk(&self) -> usize {
        self.at_risk.len()
    }

    /// What is on it when the power comes back.
    pub fn after_loss(&self, survival: Survival, random: &mut Random) -> Vec<u8> {
        let mut image = self.durable.clone();
        let (mut write, mut fate) = (u64::MAX, 0);
        for sector in &self.at_risk {
            if sector.write != write {
                (write, fate) = (sector.write, random.below(3));
            }
            let survives = match survival {
                Survival::All => true,
                Survival::Nothing => false,
                Survival::Chance => fate == 0 || fate == 2 && random.below(2) == 0,
            };
            if survives {
                image[sector.offset..][..SECTOR_BYTES].copy_from_slice(&sector.data);
            }
        }
        image
    }

    /// From now on reads see it. The number of the write.
    fn write(&mut self, offset: usize, data: &[u8]) -> u64 {
        self.writes += 1;
        self.current[offset..][..data.len()].copy_from_slice(data);
        let offsets = (offset..).step_by(SECTOR_BYTES);
        let sectors = offsets.zip(data.chunks(SECTOR_BYTES));
        let write = self.writes;
        self.at_risk.extend(sectors.map(|(offset, data)| Sector { write, offset, data: data.into() }));
        write
    }

    /// Makes one write durable; what was written to its sectors before is out of the world.
    fn keep(&mut self, write: u64) {
        let (kept, others): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.at_risk).into_iter().partition(|sector| sector.write == write);
        for sector in &kept {
            self.durable[sector.offset..][..SECTOR_BYTES].copy_from_slice(&sector.data);
        }
        let is_replaced =
            |old: &Sector| old.write < write && kept.iter().any(|sector| sector.offset == old.offset);
        self.at_risk = others.into_iter().filter(|sector| !is_replaced(sector)).collect();
    }

    /// Makes everything durable that was written before `write`, and it.
    fn flush(&mut self, write: u64) {
        let (kept, others): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.at_risk).into_iter().partition(|sector| sector.write <= write);
        for sector in kept {
            self.durable[sector.offset..][..SECTOR_BYTES].copy_from_slice(&sector.data);
        }
        self.at_risk = others;
    }
}

fn lock(disks: &Mutex<Vec<VolatileDisk>>) -> MutexGuard<'_, Vec<VolatileDisk>> {
    disks.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One of the threads that answer the kernel's requests for a disk.
struct Server {
    device: File,
    disks: Arc<Mutex<Vec<VolatileDisk>>>,
    number: usize,
    random: Random,
}

impl Server {
    fn serve_one(&mut self) -> io::Result<()> {
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
        const NOT_SUPPORTED: i32 = 95;
        const UNKNOWN: i32 = 38;
        match operation {
            26 => Answer::Data(introduction(body)),
            // Attributes, asked for or set.
            3 | 4 => Answer::Data(attributes(lock(&self.disks)[self.number].current.len())),
            // Open: past the page cache, and writes beside each other.
            14 => Answer::Data([0, 0, 0b100_0001, 0].map(u32::to_le_bytes).concat()),
            15 => {
                self.take_time();
                let (offset, size) = (place(body, 8, 8), place(body, 16, 4));
                let disk = &lock(&self.disks)[self.number].current;
                Answer::Data(disk[offset.min(disk.len())..(offset + size).min(disk.len())].to_vec())
            }
            16 => self.write(body),
            20 => {
                let last = lock(&self.disks)[self.number].writes;
                self.take_time();
                lock(&self.disks)[self.number].flush(last);
                Answer::Data(Vec::new())
            }
            17 => Answer::Data(vec![0; 80]),
            // Release, flush at the end of a descriptor, the end.
            18 | 25 | 38 => Answer::Data(Vec::new()),
            // Forget, interrupt.
            2 | 36 | 42 => Answer::None,
            43 => Answer::Error(NOT_SUPPORTED),
            _ => Answer::Error(UNKNOWN),
        }
    }

    fn write(&mut self, body: &[u8]) -> Answer {
        const OUT_OF_SPACE: i32 = 28;
        let (offset, size, flags) = (place(body, 8, 8), place(body, 16, 4), number_at(body, 32, 4));
        let data = &body[40..40 + size];
        if offset % SECTOR_BYTES != 0 || size % SECTOR_BYTES != 0 {
            return Answer::Error(NOT_WHOLE_SECTORS);
        }
        if offset + size > lock(&self.disks)[self.number].current.len() {
            return Answer::Error(OUT_OF_SPACE);
        }
        let write = lock(&self.disks)[self.number].write(offset, data);
        self.take_time();
        if flags & O_DSYNC != 0 {
            lock(&self.disks)[self.number].keep(write);
        }
        Answer::Data([place_u32(size), 0].map(u32::to_le_bytes).concat())
    }

    fn take_time(&mut self) {
        thread::sleep(Duration::from_micros(self.random.below(LATENCY_MAX_MICROSECONDS)));
    }
}

const NOT_WHOLE_SECTORS: i32 = 22;

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

#[cfg(test)]
mod tests {
    use super::*;

    fn disk() -> VolatileDisk {
        let mut disk = VolatileDisk::new(vec![0; 8192]);
        let first = disk.write(0, &[1; 4096]);
        disk.flush(first);
        disk.write(0, &[2; 4096]);
        disk.write(4096, &[3; 4096]);
        disk
    }

    #[test]
    fn what_was_flushed_is_never_lost_and_the_rest_may_be() {
        let mut random = Random::new(1);
        let nothing = disk().after_loss(Survival::Nothing, &mut random);
        assert_eq!((nothing[0], nothing[4096]), (1, 0));
        let all = disk().after_loss(Survival::All, &mut random);
        assert_eq!(all, disk().current);
    }

    #[test]
    fn by_chance_writes_survive_whole_or_torn_between_sectors() {
        let mut random = Random::new(1);
        let images: Vec<Vec<u8>> =
            (0..50).map(|_| disk().after_loss(Survival::Chance, &mut random)).collect();
        let torn = |image: &Vec<u8>| image[..4096].contains(&1) && image[..4096].contains(&2);
        assert!(images.iter().any(torn));
        assert!(images.iter().any(|image| image[4096..].iter().all(|byte| *byte == 3)));
        assert!(images.iter().any(|image| image[4096..].iter().all(|byte| *byte == 0)));
        assert!(images.iter().all(|image| image.chunks(SECTOR_BYTES).all(|s| s.iter().all(|b| *b == s[0]))));
    }

    #[test]
    fn a_durable_write_is_kept_alone_and_takes_older_ones_of_its_sectors_with_it() {
        let mut disk = disk();
        let last = disk.write(512, &[4; 512]);
        disk.keep(last);
        assert_eq!(disk.sectors_at_risk(), 15);
        let mut random = Random::new(1);
        let all = disk.after_loss(Survival::All, &mut random);
        assert_eq!((all[0], all[512], all[1024], all[4096]), (2, 4, 2, 3));
        let nothing = disk.after_loss(Survival::Nothing, &mut random);
        assert_eq!((nothing[0], nothing[512], nothing[1024], nothing[4096]), (1, 4, 1, 0));
    }
}
