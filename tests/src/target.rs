//! The target under test: how it is started, and started again after a crash.

use crate::World;
use lab::{Error, Process, Program, Signal, package, workspace_directory};
use std::{
    path::{Path, PathBuf},
    process::ExitStatus,
    sync::OnceLock,
    time::Duration,
};

/// From the start to the first answer; a busy machine takes its time.
const START_LIMIT: Duration = Duration::from_secs(120);

/// Which target to start and how.
#[derive(Debug, Clone)]
pub struct TargetOptions {
    exports: Vec<(String, PathBuf)>,
    extra: Vec<String>,
}

impl TargetOptions {
    /// One export on the storage host's interface.
    pub fn new(address: &str, disk: &Path) -> Self {
        Self { exports: vec![(address.into(), disk.into())], extra: Vec::new() }
    }

    /// One more export of the same process.
    #[must_use]
    pub fn export(mut self, address: &str, disk: &Path) -> Self {
        self.exports.push((address.into(), disk.into()));
        self
    }

    /// Further arguments of `etherpair export`.
    #[must_use]
    pub fn args<'a>(mut self, arguments: impl IntoIterator<Item = &'a str>) -> Self {
        self.extra.extend(arguments.into_iter().map(str::to_owned));
        self
    }

    /// Starts it and waits until it serves.
    pub fn start(self, world: &World) -> Result<Target, Error> {
        let process = self.launch(world)?;
        let mut target = Target { options: self, process };
        target.wait_until_it_serves()?;
        Ok(target)
    }

    fn launch(&self, world: &World) -> Result<Process, Error> {
        let log = world.path(&format!("target-{}", self.exports[0].0));
        self.program(world)?.start(log)
    }

    /// The program as it would be started.
    pub fn program(&self, world: &World) -> Result<Program, Error> {
        if std::env::var_os("TARGET_UNDER_TEST").is_some_and(|name| name == "vblade") {
            package::require(&[package::VBLADE])?;
            let (address, disk) = &self.exports[0];
            let (shelf, slot) = address.split_once('.').unwrap_or((address, "0"));
            return Ok(world.storage.program("vblade").args([shelf, slot, "eth1"]).arg(disk));
        }
        let mut program = world.storage.program(binary()?).arg("export");
        for (address, disk) in &self.exports {
            program = program.arg(address).arg(disk);
        }
        let state = world.path("state");
        Ok(program.args(["-i", "eth1"]).arg("--state-directory").arg(state).args(&self.extra))
    }
}

/// A running target.
#[derive(Debug)]
pub struct Target {
    options: TargetOptions,
    process: Process,
}

impl Target {
    /// Kills it without warning, as a crash would.
    pub fn kill(&mut self) -> Result<(), Error> {
        self.process.kill()
    }

    /// Starts it again with the same arguments.
    pub fn restart(&mut self, world: &World) -> Result<(), Error> {
        self.process = self.options.launch(world)?;
        self.wait_until_it_serves()
    }

    /// Tells it to look at the sizes of its disks again.
    pub fn reread_sizes(&self) -> Result<(), Error> {
        self.process.signal(Signal::HangUp)
    }

    /// Asks it to end, and gives its exit status.
    pub fn terminate(&mut self) -> Result<ExitStatus, Error> {
        self.process.terminate(Duration::from_secs(10))
    }

    /// Fails if it has ended.
    pub fn expect_running(&mut self) -> Result<(), Error> {
        self.process.expect_running()
    }

    /// Its process, for what is not said here.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    fn wait_until_it_serves(&mut self) -> Result<(), Error> {
        let addresses: Vec<String> =
            self.options.exports.iter().map(|(address, _)| format!("e{address}")).collect();
        addresses.iter().try_for_each(|address| self.process.wait_for_line(address, START_LIMIT).map(|_| ()))
    }
}

/// The command under test: what `ETHERPAIR_BIN` names, or else built from this workspace, once.
pub fn binary() -> Result<PathBuf, Error> {
    static BINARY: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    if let Some(path) = std::env::var_os("ETHERPAIR_BIN") {
        return Ok(path.into());
    }
    let built = BINARY.get_or_init(|| build().map_err(|error| error.to_string()));
    built.clone().map_err(|detail| Error::Unexpected { program: "cargo build -p etherpair".into(), detail })
}

fn build() -> Result<PathBuf, Error> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let arguments = ["build", "--quiet", "--package", "etherpair", "--message-format", "short"];
    let limit = Duration::from_secs(900);
    Program::new(cargo).args(arguments).directory(&workspace_directory()).within(limit).run()?;
    Ok(lab::target_directory().join("debug").join("etherpair"))
}
