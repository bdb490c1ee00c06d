//! Disks with volatile caches, for nodes whose power can be cut at any moment: what was not made durable by then is lost, kept or torn,
//! sector by sector.
//!
//! A disk is a loop device over a file that is served to the kernel by FUSE, mounted in a namespace that goes with its holder. Everything
//! is answered late, so that there is always something at risk; what was written is durable when a flush that came after its answer is
//! answered. All disks are behind one lock, so that a moment is the same for all. It shares no code with the project, and decides nothing
//! about what must have survived.
//!
//! Either the disks are looked at as they are at a moment, and others are made of that elsewhere; or the power of some of them goes and
//! comes back where they are:
//!
//! ```text
//!   on ──lose_power──▶ lost: nothing is answered ──refuse──▶ refused: their machine is ended ──return_power──▶ on
//! ```

mod content;
mod disk;
mod server;

use crate::random::Random;
use content::Content;
pub use disk::{Survival, VolatileDisk};
use lab::{Error, Process, Program, Scratch, disk::LoopDevice};
use server::Server;
use std::{
    fs::File,
    os::fd::{AsRawFd, OwnedFd},
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

/// Requests that a disk works on at the same time.
const QUEUE_DEPTH: usize = 8;
const PATIENCE: Duration = Duration::from_secs(120);

/// Some disks.
#[derive(Debug)]
pub struct Rack {
    // Before the file systems below them.
    devices: Vec<LoopDevice>,
    bays: Arc<Bays>,
    _holder: Process,
}

/// All disks, and what waits for their power.
#[derive(Debug)]
struct Bays {
    bays: Mutex<Vec<Bay>>,
    changed: Condvar,
}

#[derive(Debug)]
struct Bay {
    disk: VolatileDisk,
    power: Power,
    /// Whether it says that it has flushed, and has not.
    lies: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Power {
    On,
    Lost,
    Refused,
}

impl Rack {
    /// Blank disks of these sizes. What it needs is kept in `scratch`.
    pub fn new(scratch: &Scratch, sizes: &[usize]) -> Result<Self, Error> {
        let system = |action: &str| {
            let action = action.to_owned();
            move |source| Error::System { action, source }
        };
        let bays = Arc::new(Bays::new(sizes));
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
                let mut server = Server::new(device, Arc::clone(&bays), number, random);
                // It ends when nobody has the disk mounted any more.
                thread::spawn(move || while server.serve_one().is_ok() {});
            }
        }
        let root = PathBuf::from(format!("/proc/{}/root", holder.id()));
        let seen = |number: usize| root.join(path(number).strip_prefix("/").unwrap_or(&path(number)));
        let devices = (0..sizes.len()).map(|number| LoopDevice::new(&seen(number), 512));
        let devices = devices.collect::<Result<_, _>>()?;
        Ok(Self { devices, bays, _holder: holder })
    }

    /// A disk as a node sees it: a block device with a volatile cache.
    pub fn device(&self, number: usize) -> &Path {
        self.devices[number].path()
    }

    /// All disks as they are at one moment.
    pub fn moment(&self) -> Vec<VolatileDisk> {
        self.bays.lock().iter().map(|bay| bay.disk.clone()).collect()
    }

    /// From now on a disk answers flushes and durable writes, and keeps nothing for them.
    pub fn have_lie(&self, number: usize) {
        self.bays.lock()[number].lies = true;
    }

    /// The power of these disks goes, if the first of them would lose something now: they answer nothing from now on, and stay as they
    /// are. Whether it has gone.
    pub fn lose_power(&self, disks: &[usize]) -> bool {
        let mut bays = self.bays.lock();
        let is_time = bays[disks[0]].disk.sectors_at_risk() > 0;
        if is_time {
            disks.iter().for_each(|number| bays[*number].power = Power::Lost);
        }
        is_time
    }

    /// Refuses everything to who still waits for these disks, so that their machine's processes can be ended. They must not run any more,
    /// or somebody could hear what they make of it.
    pub fn refuse(&self, disks: &[usize]) {
        self.bays.set_power(disks, Power::Refused);
    }

    /// The power of these disks is back, when the processes that used them have ended.
    pub fn return_power(
        &self,
        disks: &[usize],
        survival: Survival,
        random: &mut Random,
    ) -> Result<(), Error> {
        for number in disks {
            // What the kernel remembers of a disk went with its machine; and what it still wants to write is refused.
            Program::new("blockdev").arg("--flushbufs").arg(self.device(*number)).run()?;
            let disk = &mut self.bays.lock()[*number].disk;
            *disk = VolatileDisk::new(disk.left(survival, random));
        }
        self.bays.set_power(disks, Power::On);
        Ok(())
    }
}

impl Bays {
    fn new(sizes: &[usize]) -> Self {
        let disk = |size: &usize| VolatileDisk::new(Content::blank(*size));
        let bay = |size| Bay { disk: disk(size), power: Power::On, lies: false };
        Self { bays: Mutex::new(sizes.iter().map(bay).collect()), changed: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Bay>> {
        self.bays.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_power(&self, disks: &[usize], power: Power) {
        let mut bays = self.lock();
        disks.iter().for_each(|number| bays[*number].power = power);
        self.changed.notify_all();
    }

    /// The disks while this one has power; none if it is refused. Who comes when its power is lost waits for what becomes of it.
    fn powered(&self, number: usize) -> Option<MutexGuard<'_, Vec<Bay>>> {
        let is_lost = |bays: &mut Vec<Bay>| bays[number].power == Power::Lost;
        let bays = self.changed.wait_while(self.lock(), is_lost).unwrap_or_else(PoisonError::into_inner);
        (bays[number].power == Power::On).then_some(bays)
    }
}

fn mount_command(descriptor: i32, path: &Path) -> String {
    let options = format!("fd={descriptor},rootmode=100000,user_id=0,group_id=0,allow_other");
    format!("mount -i -t fuse -o {options} volatile {}\n", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{FileExt, OpenOptionsExt};

    const DISK: &[usize] = &[0];

    #[repr(align(4096))]
    struct Page([u8; 4096]);

    #[test]
    fn what_was_not_flushed_goes_with_the_power_and_the_page_cache_with_it() {
        let scratch = Scratch::new("rack-test").expect("scratch");
        let rack = Rack::new(&scratch, &[1 << 20]).expect("a rack");
        let open = |flags| {
            let options = File::options().read(true).write(true).custom_flags(flags).open(rack.device(0));
            options.expect("a device")
        };
        let (direct, cached) = (open(libc::O_DIRECT), open(0));
        let write = |byte| direct.write_all_at(&Page([byte; 4096]).0, 0).expect("a write");
        let read = || {
            let mut bytes = [0; 4096];
            cached.read_exact_at(&mut bytes, 0).expect("a read");
            bytes[0]
        };
        let lose_power = || {
            assert!(rack.lose_power(DISK));
            thread::scope(|scope| {
                let flush = scope.spawn(|| direct.sync_all());
                rack.refuse(DISK);
                assert!(flush.join().expect("a thread").is_err());
            });
            rack.return_power(DISK, Survival::Nothing, &mut Random::new(1)).expect("power");
        };
        write(1);
        direct.sync_all().expect("a flush");
        assert!(!rack.lose_power(DISK), "nothing to lose");
        write(2);
        assert_eq!(read(), 2);
        lose_power();
        assert_eq!(read(), 1);
        rack.have_lie(0);
        write(3);
        direct.sync_all().expect("what is said to be one");
        lose_power();
        assert_eq!(read(), 1);
    }
}
