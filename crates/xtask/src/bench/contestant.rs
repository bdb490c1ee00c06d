//! Who takes part: how each target is started, and how it is loaded.

use std::fs;
use std::time::Duration;

use lab::{Error, Process, wait_until};

use super::stage::{CLIENT_INTERFACE, Stage, TARGET_INTERFACE, TARGET_IP};

/// Frames that each target may have outstanding: more than the greatest depth, so that none is held back.
const BUFFERS: &str = "256";
const START_LIMIT: Duration = Duration::from_secs(20);

/// A target, or fio on the file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Contestant {
    /// fio with `io_uring` on the file itself: what the disk and the kernel give.
    Fio,
    /// vblade with O_DIRECT.
    Vblade,
    /// vblade with O_DIRECT and O_SYNC.
    VbladeSync,
    /// vblade through the page cache.
    VbladeCached,
    /// ggaoed with direct input and output; its writes are not durable.
    Ggaoed,
    /// ggaoed through the page cache.
    GgaoedCached,
    /// qemu-nbd with O_DIRECT and `io_uring`.
    QemuNbd,
    /// qemu-nbd, durable.
    QemuNbdSync,
    /// Ours.
    Etherpair,
    /// Ours, looking for frames a while before it sleeps.
    EtherpairBusy,
    /// Ours, from memory.
    EtherpairCached,
}

impl Contestant {
    /// Its name in the tables.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Fio => "fio on the file",
            Self::Vblade => "vblade -d",
            Self::VbladeSync => "vblade -d -s",
            Self::VbladeCached => "vblade",
            Self::Ggaoed => "ggaoed",
            Self::GgaoedCached => "ggaoed, buffered",
            Self::QemuNbd => "qemu-nbd",
            Self::QemuNbdSync => "qemu-nbd, directsync",
            Self::Etherpair => "**etherpair**",
            Self::EtherpairBusy => "**etherpair --busy-poll 100**",
            Self::EtherpairCached => "**etherpair --read-cache page**",
        }
    }

    pub(super) const fn is_ours(self) -> bool {
        matches!(self, Self::Etherpair | Self::EtherpairBusy | Self::EtherpairCached)
    }

    pub(super) const fn is_nbd(self) -> bool {
        matches!(self, Self::QemuNbd | Self::QemuNbdSync)
    }

    /// Its address, if it speaks AoE.
    pub(super) const fn address(self) -> &'static str {
        match self {
            Self::Ggaoed | Self::GgaoedCached => "7.2",
            _ => "7.1",
        }
    }

    /// Starts it and waits until it serves. None if it is not to be had, or needs no process.
    pub(super) fn start(self, stage: &Stage) -> Result<Option<Process>, Error> {
        let program = match self {
            Self::Fio => return Ok(None),
            Self::Vblade => vblade(stage, &["-d"]),
            Self::VbladeSync => vblade(stage, &["-d", "-s"]),
            Self::VbladeCached => vblade(stage, &[]),
            Self::Ggaoed | Self::GgaoedCached => {
                let Some(program) = &stage.ggaoed else {
                    return Ok(None);
                };
                let config = ggaoed_config(stage, self == Self::Ggaoed)?;
                stage.target(program).args(["-n", "-c", &config])
            }
            Self::QemuNbd => qemu_nbd(stage, "none"),
            Self::QemuNbdSync => qemu_nbd(stage, "directsync"),
            Self::Etherpair => etherpair(stage, &[]),
            Self::EtherpairBusy => etherpair(stage, &["--busy-poll", "100"]),
            Self::EtherpairCached => etherpair(stage, &["--read-cache", "page"]),
        };
        let mut process = stage.start(program, "target")?;
        wait_until(&format!("an answer of {}", self.name()), START_LIMIT, || {
            process.expect_running()?;
            Ok(self.answers(stage)?.then_some(()))
        })?;
        Ok(Some(process))
    }

    fn answers(self, stage: &Stage) -> Result<bool, Error> {
        let question = if self.is_nbd() {
            stage.client("qemu-nbd").args(["--list", "--bind", TARGET_IP])
        } else {
            let arguments = ["discover", self.address(), "-i", CLIENT_INTERFACE, "--timeout", "50"];
            stage.client(&stage.command).args(arguments)
        };
        Ok(question.output()?.status.success())
    }
}

fn vblade(stage: &Stage, options: &[&str]) -> lab::Program {
    let program = stage.target("vblade").args(["-b", BUFFERS]).args(options);
    program.args(["7", "1", TARGET_INTERFACE]).arg(&stage.image)
}

fn qemu_nbd(stage: &Stage, cache: &str) -> lab::Program {
    let options = ["--format=raw", "--aio=io_uring", "--persistent", "--export-name=disk", "--shared=4"];
    let program = stage.target("qemu-nbd").args(options).arg(format!("--cache={cache}"));
    program.arg(&stage.image)
}

fn etherpair(stage: &Stage, options: &[&str]) -> lab::Program {
    let program = stage.target(&stage.command).args(["export", "7.1"]).arg(&stage.image);
    let program = program.args(["-i", TARGET_INTERFACE, "--buffer-count", BUFFERS, "--state-directory"]);
    program.arg(stage.scratch.path()).args(options)
}

fn ggaoed_config(stage: &Stage, direct: bool) -> Result<String, Error> {
    let directory = stage.scratch.path().display();
    let text = format!(
        "[defaults]\nqueue-length = {BUFFERS}\ninterfaces = {TARGET_INTERFACE}\ndirect-io = {direct}\n\
         ring-buffer-size = 16384\npid-file = {directory}/ggaoed.pid\ncontrol-socket = {directory}/ggaoed.sock\n\
         state-directory = {directory}\n[disk]\npath = {}\nshelf = 7\nslot = 2\n",
        stage.image.display()
    );
    let path = stage.scratch.join("ggaoed.conf");
    fs::write(&path, text).map_err(|source| Error::System { action: "write ggaoed.conf".into(), source })?;
    Ok(path.display().to_string())
}
