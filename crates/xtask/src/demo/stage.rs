//! The machines of the demonstration: the laboratory's pair and a hypervisor, each a network namespace.

use std::path::PathBuf;

use lab::network::MTU_JUMBO;
use lab::pair::{PATIENCE, Pair};
use lab::{Error, Namespace};
use serde_json::Value;

pub(super) struct Stage {
    command: PathBuf,
    pub(super) pair: Pair,
    hypervisor: Namespace,
}

impl Stage {
    pub(super) fn new(command: PathBuf) -> Result<Self, Error> {
        let pair = Pair::new("demo", &command, true)?;
        let hypervisor = pair.add_host("hypervisor", &[0], MTU_JUMBO)?;
        Ok(Self { command, pair, hypervisor })
    }

    /// What a command of the hypervisor says.
    pub(super) fn hypervisor_runs(&self, arguments: &str) -> Result<String, Error> {
        let program = self.hypervisor.program(&self.command).args(arguments.split_whitespace());
        Ok(program.within(PATIENCE).run()?.stdout)
    }

    /// Waits until a node says of its volume what is wanted, and shows what it says on the way whenever it looks.
    pub(super) fn watch(
        &self,
        node: usize,
        what: &str,
        mut show: impl FnMut(&Value),
        is_so: impl Fn(&Value) -> bool,
    ) -> Result<(), Error> {
        self.pair.wait_for_pair(what, PATIENCE, || {
            let volume = self.pair.volume(node)?;
            show(&volume);
            Ok(is_so(&volume).then_some(()))
        })
    }
}
