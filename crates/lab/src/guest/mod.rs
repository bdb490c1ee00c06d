//! Whole machines: a Debian kernel in an emulated PC, with the host's own programs inside and its wires in our namespaces.
//!
//! A guest is emulated (TCG), so that it behaves the same with and without hardware virtualisation; its kernel comes from
//! the Debian package, its tools from the host's `/usr`, shared read-only. Work is handed in as shell scripts and comes
//! back as exit status and output, through a shared directory: nothing is parsed out of a terminal.
//!
//! The kernel's `aoe` driver looks at the initial network namespace only; that is why it needs a machine of its own.

mod initramfs;
mod ipxe;
mod kernel;

pub use ipxe::{boot_sector, start_ipxe};

use crate::{Error, Namespace, Process, Program, Scratch, Signal, error::tail, package, wait_until};
use std::{
    fs,
    io::Write,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::net::UnixStream,
    },
    path::{Path, PathBuf},
    time::Duration,
};

/// From power-on to the agent: 3 to 5 s on an idle machine, several times that on a busy one.
const BOOT_LIMIT: Duration = Duration::from_secs(90);
/// Without `erms` the kernel copies by words: the emulator carries out `rep movsb` byte by byte, and a page took 13 µs more.
const CPU: &str = "max,la57=off,erms=off";
/// Every guest has these: its disks, wires and shared directories.
const BASE_MODULES: [&str; 5] = ["virtio_pci", "virtio_net", "9pnet_virtio", "9p", "virtio_blk"];

/// A machine before it is switched on.
#[derive(Debug)]
pub struct GuestOptions {
    name: String,
    memory_mebibytes: u32,
    modules: Vec<&'static str>,
    cards: Vec<(OwnedFd, u8)>,
    drives: Vec<String>,
    mtu: u32,
}

/// A running machine. Dropping it switches it off.
#[derive(Debug)]
pub struct Guest {
    process: Process,
    control: UnixStream,
    shared: PathBuf,
    console: PathBuf,
    next_job: u32,
}

/// A script that runs in a guest while the test goes on.
#[derive(Debug)]
pub struct Job {
    number: u32,
    script: String,
}

impl GuestOptions {
    /// A machine with nothing but memory.
    pub fn new(name: &str) -> Self {
        let (modules, cards, drives) = (Vec::new(), Vec::new(), Vec::new());
        Self { name: name.into(), memory_mebibytes: 384, modules, cards, drives, mtu: 9000 }
    }

    /// Its memory.
    #[must_use]
    pub fn memory_mebibytes(mut self, memory: u32) -> Self {
        self.memory_mebibytes = memory;
        self
    }

    /// A module of its kernel to load at start, with all that it needs. Modules are loaded in the order given.
    #[must_use]
    pub fn module(mut self, name: &'static str) -> Self {
        self.modules.push(name);
        self
    }

    /// Plugs it into `bridge` of `switch` with one more card: eth0, eth1 and so on.
    pub fn plug(mut self, switch: &Namespace, bridge: &str) -> Result<Self, Error> {
        let number = u8::try_from(self.cards.len()).unwrap_or(u8::MAX);
        let port = format!("{}{number}", self.name);
        let tap = switch.add_tap(&port, self.mtu)?;
        switch.plug(&port, bridge)?;
        self.cards.push((tap, number));
        Ok(self)
    }

    /// Gives it one more disk: vda, vdb and so on. The emulator writes past the host's page cache (`cache=none`), and tells the guest
    /// that the disk has a cache of its own, which a flush empties.
    #[must_use]
    pub fn disk(mut self, image: &Path) -> Self {
        self.drives.push(format!("file={},cache=none,aio=native", image.display()));
        self
    }

    /// Switches it on, and waits until it takes orders.
    pub fn start(self, scratch: &Scratch) -> Result<Guest, Error> {
        package::require(&[package::QEMU, package::BUSYBOX, package::KMOD])?;
        let kernel = kernel::Kernel::fetch()?;
        let directory = scratch.join(&self.name);
        let (shared, console) = (directory.join("shared"), directory.join("console"));
        fs::create_dir_all(&shared).map_err(Error::system(format!("make {}", shared.display())))?;
        let modules: Vec<&str> = BASE_MODULES.into_iter().chain(self.modules.iter().copied()).collect();
        initramfs::write(&directory.join("initramfs"), &kernel, &modules)?;
        let control = directory.join("control");
        let log = directory.join("qemu");
        let program = self.program(&kernel, &directory);
        let mut process = program.start(log)?;
        let control = connect(&mut process, &control)?;
        let mut guest = Guest { process, control, shared, console, next_job: 0 };
        guest.wait_for_file("ready", "the guest to take orders", BOOT_LIMIT)?;
        Ok(guest)
    }

    fn program(self, kernel: &kernel::Kernel, directory: &Path) -> Program {
        let at = |name: &str| directory.join(name).display().to_string();
        let mut program = Program::new("qemu-system-x86_64")
            .args(["-accel", "tcg,tb-size=256", "-cpu", CPU, "-m", &self.memory_mebibytes.to_string()])
            .args(["-nodefaults", "-display", "none", "-no-reboot"])
            .arg("-kernel")
            .arg(kernel.image())
            .args(["-initrd", &at("initramfs")])
            .args(["-append", "console=ttyS0 quiet panic=-1 no_timer_check mitigations=off audit=0 nokaslr cryptomgr.notests rcupdate.rcu_expedited=1"])
            .args(["-serial", &format!("file:{}", at("console"))])
            .args(["-serial", &format!("unix:{},server=on,wait=off", at("control"))])
            .args([
                "-virtfs",
                "local,path=/usr,mount_tag=usr,security_model=none,readonly=on,multidevs=remap",
            ])
            .args(["-virtfs", &format!("local,path={},mount_tag=shared,security_model=none", at("shared"))]);
        for (number, drive) in self.drives.iter().enumerate() {
            program = attach_disk(program, drive, number);
        }
        let mtu = self.mtu;
        for (tap, number) in self.cards {
            program = attach_card(program, tap, number, mtu);
        }
        program
    }
}

/// Adds a disk to a machine's command line.
fn attach_disk(program: Program, drive: &str, number: usize) -> Program {
    let drive = format!("if=none,id=disk{number},format=raw,{drive}");
    program.args(["-drive", &drive]).args(["-device", &format!("virtio-blk-pci,drive=disk{number}")])
}

/// Adds a network card on `tap` to a machine's command line.
fn attach_card(program: Program, tap: OwnedFd, number: u8, mtu: u32) -> Program {
    let mac = format!("52:54:00:00:{number:02x}:{:02x}", tap.as_raw_fd() & 0xff);
    program
        .args(["-netdev", &format!("tap,id=net{number},fd={}", tap.as_raw_fd())])
        .args(["-device", &format!("virtio-net-pci,netdev=net{number},mac={mac},host_mtu={mtu},romfile=")])
        .inherit(tap)
}

fn connect(process: &mut Process, path: &Path) -> Result<UnixStream, Error> {
    wait_until("the guest's control line", Duration::from_secs(20), || {
        process.expect_running()?;
        Ok(UnixStream::connect(path).ok())
    })
}

impl Guest {
    /// Runs a shell script in the guest to its end, which must be a good one, and gives what it printed.
    pub fn run(&mut self, script: &str, limit: Duration) -> Result<String, Error> {
        let job = self.start_job(script)?;
        self.wait_for_job(&job, limit)
    }

    /// Starts a shell script in the guest.
    pub fn start_job(&mut self, script: &str) -> Result<Job, Error> {
        let number = self.next_job;
        self.next_job += 1;
        let path = self.shared.join(format!("{number}.sh"));
        fs::write(&path, script).map_err(Error::system(format!("write {}", path.display())))?;
        writeln!(self.control, "{number}").map_err(Error::system("give the guest an order"))?;
        Ok(Job { number, script: script.into() })
    }

    /// Waits for the end of a script, which must be a good one, and gives what it printed.
    pub fn wait_for_job(&mut self, job: &Job, limit: Duration) -> Result<String, Error> {
        let name = format!("{}.status", job.number);
        self.wait_for_file(&name, &format!("the end of this script in the guest:\n{}\n", job.script), limit)
            .map_err(|error| self.with_job_output(error, job))?;
        let status =
            fs::read_to_string(self.shared.join(&name)).map_err(Error::system("read a script's status"))?;
        let output = self.job_output(job);
        if status.trim() == "0" {
            return Ok(output);
        }
        let detail =
            format!("exit status {} of this script:\n{}\n{}", status.trim(), job.script, tail(&output, 40));
        Err(Error::Unexpected { program: "the guest".into(), detail: self.with_console(&detail) })
    }

    /// What a script has printed so far.
    pub fn job_output(&self, job: &Job) -> String {
        let bytes = fs::read(self.shared.join(format!("{}.output", job.number))).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Whether a script still runs.
    pub fn is_running(&self, job: &Job) -> bool {
        !self.shared.join(format!("{}.status", job.number)).exists()
    }

    /// The directory that the guest sees as `/shared`.
    pub fn shared(&self) -> &Path {
        &self.shared
    }

    /// Everything its kernel has said so far.
    pub fn console(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.console).unwrap_or_default()).into_owned()
    }

    /// The process id of the emulator.
    pub fn process_id(&self) -> u32 {
        self.process.id()
    }

    /// Pulls its plug.
    pub fn kill(&mut self) -> Result<(), Error> {
        self.process.kill()
    }

    /// Stops or continues the whole machine.
    pub fn signal(&self, signal: Signal) -> Result<(), Error> {
        self.process.signal(signal)
    }

    fn wait_for_file(&mut self, name: &str, expected: &str, limit: Duration) -> Result<(), Error> {
        let path = self.shared.join(name);
        let result = wait_until(expected, limit, || {
            self.process.expect_running()?;
            Ok(path.exists().then_some(()))
        });
        result.map_err(|error| match error {
            Error::Timeout { expected, waited, .. } => {
                Error::Timeout { expected, waited, output: self.with_console("") }
            }
            Error::Exited { program, status, output, .. } => {
                let output = self.with_console(&output);
                Error::Exited { program, status, expected: expected.into(), output }
            }
            other => other,
        })
    }

    fn with_job_output(&self, error: Error, job: &Job) -> Error {
        match error {
            Error::Timeout { expected, waited, output } => {
                let output = format!("{}\n{output}", tail(&self.job_output(job), 40));
                Error::Timeout { expected, waited, output }
            }
            other => other,
        }
    }

    fn with_console(&self, text: &str) -> String {
        format!("{text}\nthe guest's console ends:\n{}", tail(&self.console(), 40))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_runs_scripts_with_the_hosts_tools_and_tells_when_one_fails() {
        let scratch = Scratch::new("guest-test").expect("scratch");
        let switch = Namespace::new().expect("switch");
        switch.add_bridge("br0", 9000).expect("bridge");
        let options = GuestOptions::new("guest").plug(&switch, "br0").expect("plug");
        let mut guest = options.start(&scratch).expect("guest");
        let limit = Duration::from_secs(30);

        let said = guest.run("uname -s; cat /sys/class/net/eth0/mtu; /usr/bin/env true && echo usr", limit);
        assert_eq!(said.expect("script"), "Linux\n9000\nusr\n");
        let error = guest.run("echo oops; exit 3", limit).expect_err("exit 3").to_string();
        assert!(error.contains("exit status 3") && error.contains("oops"), "{error}");
    }
}
