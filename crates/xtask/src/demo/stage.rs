//! The machines of the demonstration: two storage nodes, a witness and a hypervisor, each a network namespace.
//!
//! ```text
//!   hypervisor eth0 ──┐                ┌── eth1 storage0 eth0 ──┐
//!                     ├── "storage" ───┤                        ├── "peer" ── eth0 witness
//!                     (a switch)       └── eth1 storage1 eth0 ──┘ (a switch)
//! ```

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lab::network::{MTU_JUMBO, wire};
use lab::{Error, Namespace, Process, Program, Scratch, wait_until};
use serde_json::Value;

/// Longer than anything takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
const PAIR: &str = "5eed0000000000000000000000000001";

pub(super) struct Stage {
    command: PathBuf,
    scratch: Scratch,
    /// Where everything is plugged in.
    switches: Namespace,
    nodes: [Namespace; 2],
    witness: Namespace,
    hypervisor: Namespace,
}

impl Stage {
    pub(super) fn new(command: PathBuf) -> Result<Self, Error> {
        let (scratch, switches) = (Scratch::new("demo")?, Namespace::new()?);
        let nodes = [Namespace::new()?, Namespace::new()?];
        let stage = Self {
            command,
            scratch,
            switches,
            nodes,
            witness: Namespace::new()?,
            hypervisor: Namespace::new()?,
        };
        for switch in ["storage", "peer"] {
            stage.switches.add_bridge(switch, MTU_JUMBO)?;
        }
        stage.plug(&stage.hypervisor, "eth0", "hypervisor", "storage")?;
        stage.plug(&stage.witness, "eth0", "witness", "peer")?;
        set_address(&stage.witness, 3)?;
        for (number, node) in stage.nodes.iter().enumerate() {
            stage.plug(node, "eth1", &format!("node{number}s"), "storage")?;
            stage.plug(node, "eth0", &format!("node{number}p"), "peer")?;
            set_address(node, number + 1)?;
            write(&stage.file(number, "node.toml"), &configuration(&stage.directory(number), number));
        }
        let witness = format!(
            "listen = [\"10.7.0.3:8803\"]\ndirectory = \"{}\"\ninsecure = true\n",
            stage.scratch.join("register").display()
        );
        write(&stage.scratch.join("witness.toml"), &witness);
        Ok(stage)
    }

    fn plug(&self, machine: &Namespace, interface: &str, port: &str, switch: &str) -> Result<(), Error> {
        wire((machine, interface), (&self.switches, port), MTU_JUMBO)?;
        self.switches.plug(port, switch)
    }

    pub(super) fn start_witness(&self) -> Result<Process, Error> {
        let program = self.witness.program(&self.command).args(["witness", "-c"]);
        let program = program.arg(self.scratch.join("witness.toml"));
        let mut witness = program.start(self.scratch.join("witness.log"))?;
        witness.wait_for_line("listens on", PATIENCE)?;
        Ok(witness)
    }

    pub(super) fn start_node(&self, number: usize) -> Result<Process, Error> {
        let program = self.nodes[number].program(&self.command).args(["serve", "-c"]);
        let mut node = program.arg(self.file(number, "node.toml")).start(self.file(number, "log"))?;
        node.wait_for_line("is ready", PATIENCE)?;
        Ok(node)
    }

    /// What a node's daemon answers to a command.
    pub(super) fn command(&self, node: usize, arguments: &str) -> Result<String, Error> {
        let program = Program::new(&self.command).args(arguments.split_whitespace()).arg("--socket");
        Ok(program.arg(self.file(node, "socket")).within(PATIENCE).run()?.stdout)
    }

    /// What a command of the hypervisor says.
    pub(super) fn hypervisor_runs(&self, arguments: &str) -> Result<String, Error> {
        let program = self.hypervisor.program(&self.command).args(arguments.split_whitespace());
        Ok(program.within(PATIENCE).run()?.stdout)
    }

    /// Waits until a node says of its volume what is wanted, and shows what it says on the way whenever that changes.
    pub(super) fn watch(
        &self,
        node: usize,
        what: &str,
        mut show: impl FnMut(&Value),
        is_so: impl Fn(&Value) -> bool,
    ) -> Result<(), Error> {
        wait_until(what, PATIENCE, || {
            let text = self.command(node, "status --json")?;
            let status: Value = serde_json::from_str(&text).map_err(|error| Error::Unexpected {
                program: "etherpair status".into(),
                detail: format!("{error}: {text}"),
            })?;
            let volume = &status["volumes"][0];
            show(volume);
            Ok(is_so(volume).then_some(()))
        })
    }

    /// Waits until both nodes serve equal copies.
    pub(super) fn wait_until_in_sync(&self) -> Result<(), Error> {
        (0..2).try_for_each(|node| self.watch(node, "the pair to be whole", |_| (), is_whole))
    }

    /// Whether the two images hold the same bytes.
    pub(super) fn are_copies_equal(&self) -> bool {
        let read = |node| fs::read(self.file(node, "e7.1.img")).unwrap_or_default();
        let (first, second) = (read(0), read(1));
        !first.is_empty() && first == second
    }

    fn directory(&self, node: usize) -> PathBuf {
        self.scratch.join(format!("storage{node}"))
    }

    fn file(&self, node: usize, name: &str) -> PathBuf {
        self.directory(node).join(name)
    }
}

/// Whether both nodes are members, and nothing is out of sync.
pub(super) fn is_whole(volume: &Value) -> bool {
    volume["replication"] == "Established"
        && volume["members"] == serde_json::json!([0, 1])
        && volume["out_of_sync_bytes"] == 0
        && volume["serving"] == true
}

fn configuration(directory: &Path, node: usize) -> String {
    let (own, peer, directory) = (node + 1, 2 - node, directory.display());
    format!(
        "pair = \"{PAIR}\"\nnode = {node}\nvolumes_directory = \"{directory}\"\n\
         [storage]\ninterfaces = [\"eth1\"]\n\
         [peer]\nlisten = [\"10.7.0.{own}:8802\"]\naddresses = [\"10.7.0.{peer}:8802\"]\ninsecure = true\n\
         [arbiter.witness]\naddresses = [\"10.7.0.3:8803\"]\ninsecure = true\n\
         [admin]\nsocket = \"{directory}/socket\"\n"
    )
}

fn set_address(machine: &Namespace, number: usize) -> Result<(), Error> {
    let address = format!("10.7.0.{number}/24");
    machine.program("ip").args(["address", "add", &address, "dev", "eth0"]).run().map(drop)
}

fn write(path: &Path, text: &str) {
    let directory = path.parent().expect("a file in a directory");
    fs::create_dir_all(directory)
        .and_then(|()| fs::write(path, text))
        .expect("the scratch directory is writable");
}
