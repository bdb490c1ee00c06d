//! The stage: a namespace for the target, one for its clients, wires between them, and a directory for disks and logs.

use std::path::{Path, PathBuf};
use std::time::Duration;

use lab::network::{MTU_JUMBO, wire};
use lab::{Namespace, Output, Process, Program, Scratch};

use crate::client::Client;

/// Longer than a start takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(180);

/// Two hosts and the wires `eth1` and `eth2` between them; the client's ends are `far1` and `far2`.
pub(crate) struct World {
    pub(crate) scratch: Scratch,
    pub(crate) target: Namespace,
    pub(crate) clients: Namespace,
}

impl World {
    pub(crate) fn new() -> Self {
        let scratch = Scratch::new("export").expect("a scratch directory");
        let (target, clients) = (Namespace::new().expect("namespace"), Namespace::new().expect("namespace"));
        wire((&target, "eth1"), (&clients, "far1"), MTU_JUMBO).expect("wire");
        wire((&target, "eth2"), (&clients, "far2"), MTU_JUMBO).expect("wire");
        Self { scratch, target, clients }
    }

    /// Makes a disk that reads as zeros, and gives its path.
    pub(crate) fn disk(&self, name: &str, bytes: u64) -> PathBuf {
        let path = self.scratch.join(name);
        lab::disk::sparse_image(&path, bytes).expect("a disk image");
        path
    }

    /// The program with these arguments, where the disks are.
    pub(crate) fn program(&self, arguments: &str) -> Program {
        let program = self.target.program(env!("CARGO_BIN_EXE_etherpair"));
        program.directory(self.scratch.path()).arg("export").args(arguments.split_whitespace())
    }

    /// Starts an export and waits until the last address of `arguments` is served.
    pub(crate) fn export(&self, arguments: &str) -> Process {
        let mut process = self.program(arguments).start(self.scratch.join("log")).expect("it starts");
        let pairs = arguments.split_whitespace().take_while(|word| !word.starts_with('-'));
        let last = pairs.step_by(2).last().expect("an address");
        process.wait_for_line(&format!("serving e{last} "), PATIENCE).expect("it serves");
        process
    }

    /// Runs an export that must not start.
    pub(crate) fn refused(&self, arguments: &str) -> Output {
        let output = self.program(arguments).within(PATIENCE).output().expect("it ends");
        assert!(!output.status.success(), "it was not refused: {output:?}");
        output
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(&self.clients, "far1")
    }
}

/// `sectors` sectors that tell where they are and which writing it was.
pub(crate) fn pattern(seed: u8, sectors: usize) -> Vec<u8> {
    let byte = |index: usize| (index / 512 * 7 + index % 251).to_le_bytes()[0] ^ seed;
    (0..sectors * 512).map(byte).collect()
}

pub(crate) fn bytes_of(path: &Path) -> Vec<u8> {
    std::fs::read(path).expect("the disk image")
}
