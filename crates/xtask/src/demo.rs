//! `cargo xtask demo`: one disk on raw Ethernet, from nothing to a verified load with a crash in the middle.
//!
//! Two network namespaces stand for two machines, a veth pair for the cable. Nothing outside of them is touched.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use lab::network::{MTU_JUMBO, wire};
use lab::{Error, Namespace, Process, Program, Scratch, disk, package, workspace_directory};

const ADDRESS: &str = "7.1";
const DISK_BYTES: u64 = 256 << 20;
/// A release build from nothing, on two slow cores.
const BUILD_LIMIT: Duration = Duration::from_secs(1200);
const START_LIMIT: Duration = Duration::from_secs(20);
const LOAD_LIMIT: Duration = Duration::from_secs(60);

pub(crate) fn run() -> Result<(), String> {
    show().map_err(|error| error.to_string())
}

fn show() -> Result<(), Error> {
    package::require(&[package::IPROUTE2])?;
    let command = build()?;
    let begun = Instant::now();
    let scratch = Scratch::new("demo")?;
    let image = scratch.join("disk.img");
    say("a disk image of 256 MiB, filled so that every read is a real one");
    disk::filled_image(&image, DISK_BYTES)?;

    say("two network namespaces, \"storage\" and \"hypervisor\", and a cable with MTU 9000 between them");
    let (storage, hypervisor) = (Namespace::new()?, Namespace::new()?);
    wire((&storage, "eth1"), (&hypervisor, "eth0"), MTU_JUMBO)?;
    let stage = Stage { command, storage, hypervisor, image, scratch };

    say(&format!("storage:    etherpair export {ADDRESS} disk.img -i eth1"));
    let mut target = stage.export()?;
    say("hypervisor: etherpair discover -i eth0");
    stage.hypervisor_runs(&["discover", "-i", "eth0"])?;

    for (story, arguments) in [
        ("random reads, 4 KiB, 32 at a time", "--rw randread --depth 32 --seconds 4"),
        ("the same, one at a time: what a request takes", "--rw randread --depth 1 --seconds 3"),
        (
            "random writes, each durable before it is acknowledged",
            "--rw randwrite --depth 32 --seconds 4 --allow-writes",
        ),
        ("sequential reads, 1 MiB", "--rw read --block-size 1m --depth 4 --seconds 3"),
    ] {
        say(&format!("hypervisor: {story}\n            etherpair bench {ADDRESS} -i eth0 {arguments}"));
        stage.load(arguments)?;
    }
    stage.crash_under_load(&mut target)?;

    say(&format!(
        "done in {} s; namespaces, processes and the image are gone with this command",
        begun.elapsed().as_secs()
    ));
    target.terminate(Duration::from_secs(10))?;
    Ok(())
}

struct Stage {
    command: PathBuf,
    storage: Namespace,
    hypervisor: Namespace,
    image: PathBuf,
    scratch: Scratch,
}

impl Stage {
    fn export(&self) -> Result<Process, Error> {
        let program = self.storage.program(&self.command).args(["export", ADDRESS]).arg(&self.image);
        let mut target = program.args(["-i", "eth1"]).start(self.scratch.join("export.log"))?;
        let line = target.wait_for_line(&format!("e{ADDRESS}"), START_LIMIT)?;
        println!("            {line}");
        Ok(target)
    }

    fn hypervisor_runs(&self, arguments: &[&str]) -> Result<(), Error> {
        let output = self.hypervisor.program(&self.command).args(arguments).within(LOAD_LIMIT).run()?;
        print_indented(&output.stdout);
        Ok(())
    }

    fn bench(&self, arguments: &str) -> Program {
        let program = self.hypervisor.program(&self.command).args(["bench", ADDRESS, "-i", "eth0"]);
        program.args(arguments.split_whitespace()).within(LOAD_LIMIT)
    }

    fn load(&self, arguments: &str) -> Result<(), Error> {
        print_indented(&self.bench(arguments).run()?.stdout);
        Ok(())
    }

    /// A verified load keeps running while the target is killed and started again.
    fn crash_under_load(&self, target: &mut Process) -> Result<(), Error> {
        say("storage:    kill -9 in the middle of verified writes and reads, then start again");
        let load = "--rw randrw --depth 16 --seconds 8 --verify --allow-writes --size 64m";
        let report = thread::scope(|scope| {
            let running = scope.spawn(|| self.bench(load).run());
            thread::sleep(Duration::from_secs(3));
            let crash = target.kill().and_then(|()| self.export());
            let report = running.join().map_err(|_| Error::Unexpected {
                program: "etherpair bench".into(),
                detail: "its thread panicked".into(),
            })?;
            *target = crash?;
            report
        })?;
        print_indented(&report.stdout);
        say("            every read returned what was written last; the initiator only saw a pause");
        Ok(())
    }
}

/// The command, built as it is released.
pub(crate) fn build() -> Result<PathBuf, Error> {
    say("building etherpair (release)");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let directory = workspace_directory();
    Program::new(cargo)
        .args(["build", "--release", "--package", "etherpair"])
        .directory(&directory)
        .within(BUILD_LIMIT)
        .run()?;
    Ok(release_command(&directory))
}

fn release_command(workspace: &Path) -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace.join("target"), PathBuf::from);
    target.join("release").join("etherpair")
}

fn say(text: &str) {
    println!("\n{text}");
    // A closed standard output is no reason to stop.
    let _ = std::io::stdout().flush();
}

fn print_indented(text: &str) {
    for line in text.lines() {
        println!("            {line}");
    }
}
