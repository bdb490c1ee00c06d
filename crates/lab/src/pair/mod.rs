//! A mirrored pair on real wires: two nodes and a witness, each a host of its own, and what can be taken from them.
//!
//! ```text
//!   storage1 ──┬── eth1 node 0 eth0 ──┬── control ── eth0 witness
//!              └── eth1 node 1 eth0 ──┘
//!   storage2 ──┬── eth2 node 0 peer1, peer2 ──┐
//!              └── eth2 node 1 peer1, peer2 ──┘ (two wires)
//! ```
//!
//! Initiators reach both nodes over two storage networks. The nodes reach each other over two wires of their own and the witness over
//! the control network, so that each of these can be lost alone ([`Pair::set_peer_wire_silent`] and its neighbours). Everything goes
//! with its owner, however that ends. The pair decides nothing about what is tested; what the nodes are told to do and what they say
//! is in `watch`.

mod faults;
mod watch;

use crate::{
    Error, Namespace, Process, Program, Scratch,
    network::{MTU_JUMBO, wire},
    package,
};
use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    time::Duration,
};
pub use watch::{is_alone, is_whole};

/// Longer than anything takes on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(180);
/// The storage networks, by the names of their bridges; each node's interface on the first is `eth1`, on the second `eth2`.
pub const STORAGE: [&str; 2] = ["storage1", "storage2"];
/// The wires between the nodes, by each node's interfaces; the stream stands on the first as long as nothing has happened to it.
const PEER_WIRES: [&str; 2] = ["peer1", "peer2"];
/// The identity of the pair.
pub const PAIR: u128 = 0x0123_4567_89ab_cdef_0123_4567_89ab_cdef;
/// Where nobody is. Each node tries it first, so that every pair shows that the next address is tried as well.
const WRONG_PEER_ADDRESS: &str = "10.9.9.9:1";
const PEER_PORT: u16 = 8802;
const WITNESS_PORT: u16 = 8803;

/// The hosts of a pair and their networks.
#[derive(Debug)]
pub struct Pair {
    /// Configurations, images and logs.
    pub scratch: Scratch,
    /// What everybody is plugged into.
    pub switch: Namespace,
    command: PathBuf,
    nodes: [Namespace; 2],
    witness: Namespace,
}

impl Pair {
    /// Builds the hosts and the wires of a pair of `command`, the program `etherpair`. Nothing runs yet. `label` names its
    /// directory while it lives.
    pub fn new(label: &str, command: impl Into<PathBuf>, virtual_macs: bool) -> Result<Self, Error> {
        package::require(&[package::IPROUTE2])?;
        let (scratch, switch, command) = (Scratch::new(label)?, Namespace::new()?, command.into());
        let nodes = [Namespace::new()?, Namespace::new()?];
        let pair = Self { scratch, switch, command, nodes, witness: Namespace::new()? };
        for bridge in STORAGE.into_iter().chain(["control"]) {
            pair.switch.add_bridge(bridge, MTU_JUMBO)?;
        }
        for interface in PEER_WIRES {
            wire((&pair.nodes[0], interface), (&pair.nodes[1], interface), MTU_JUMBO)?;
        }
        for number in 0..2 {
            pair.furnish_node(number, virtual_macs)?;
        }
        pair.plug(&pair.witness, "eth0", "witness", "control", MTU_JUMBO)?;
        set_address(&pair.witness, "eth0", "10.7.0.3/24")?;
        let directory = pair.scratch.join("witness");
        let text = format!(
            "listen = [\"10.7.0.3:{WITNESS_PORT}\"]\ndirectory = \"{}\"\ninsecure = true\n",
            directory.display()
        );
        write(&pair.scratch.join("witness.toml"), &text)?;
        Ok(pair)
    }

    fn furnish_node(&self, number: usize, virtual_macs: bool) -> Result<(), Error> {
        let node = &self.nodes[number];
        for (network, bridge) in STORAGE.into_iter().enumerate() {
            let port = Self::storage_port(number, network);
            self.plug(node, &format!("eth{}", network + 1), &port, bridge, MTU_JUMBO)?;
        }
        self.plug(node, "eth0", &format!("control{number}"), "control", MTU_JUMBO)?;
        set_address(node, "eth0", &format!("10.7.0.{}/24", number + 1))?;
        for (wire, interface) in PEER_WIRES.into_iter().enumerate() {
            set_address(node, interface, &format!("10.8.{wire}.{}/24", number + 1))?;
        }
        let directory = self.directory(number);
        fs::create_dir(&directory).map_err(Error::system(format!("make {}", directory.display())))?;
        write(&self.configuration_file(number), &self.configuration(number, virtual_macs))
    }

    fn plug(
        &self,
        host: &Namespace,
        interface: &str,
        port: &str,
        bridge: &str,
        mtu: u32,
    ) -> Result<(), Error> {
        wire((host, interface), (&self.switch, port), mtu)?;
        self.switch.plug(port, bridge)
    }

    fn configuration(&self, node: usize, virtual_macs: bool) -> String {
        let [own, peer] = [node, 1 - node].map(|node| [0, 1].map(|wire| Self::peer_address(node, wire)));
        let directory = self.directory(node);
        let directory = directory.display();
        format!(
            "pair = \"{PAIR:032x}\"\nnode = {node}\nvolumes_directory = \"{directory}\"\n\
             [storage]\ninterfaces = [\"eth1\", \"eth2\"]\nvirtual_macs = {virtual_macs}\n\
             [peer]\nlisten = [\"{}\", \"{}\"]\n\
             addresses = [\"{WRONG_PEER_ADDRESS}\", \"{}\", \"{}\"]\ninsecure = true\n\
             [arbiter.witness]\naddresses = [\"10.7.0.3:{WITNESS_PORT}\"]\ninsecure = true\n\
             [admin]\nsocket = \"{directory}/socket\"\n",
            own[0], own[1], peer[0], peer[1],
        )
    }

    /// A host beside the nodes: an interface `eth1` on the first of these storage networks (0 and 1), `eth2` on the next. `name`
    /// (at most twelve letters) names its ports at the switch.
    pub fn add_host(&self, name: &str, networks: &[usize], mtu: u32) -> Result<Namespace, Error> {
        let host = Namespace::new()?;
        for (index, network) in (1..).zip(networks) {
            let (interface, port) = (format!("eth{index}"), format!("{name}s{network}"));
            self.plug(&host, &interface, &port, STORAGE[*network], mtu)?;
        }
        Ok(host)
    }

    /// The host of a node.
    pub fn node(&self, node: usize) -> &Namespace {
        &self.nodes[node]
    }

    /// The host of the witness, which may run something else instead. It is 10.7.0.3 on the control network.
    pub fn witness_host(&self) -> &Namespace {
        &self.witness
    }

    /// The address and port at which a node listens for its peer on one of the wires between them (0 and 1).
    pub fn peer_address(node: usize, wire: usize) -> String {
        format!("10.8.{wire}.{}:{PEER_PORT}", node + 1)
    }

    /// The switch's port of a node on one of the storage networks (0 and 1).
    pub fn storage_port(node: usize, network: usize) -> String {
        format!("node{node}s{network}")
    }

    /// Where a node keeps its things.
    pub fn directory(&self, node: usize) -> PathBuf {
        self.scratch.join(format!("node{node}"))
    }

    /// The configuration of a node.
    pub fn configuration_file(&self, node: usize) -> PathBuf {
        self.directory(node).join("node.toml")
    }

    /// A node's copy of volume 7.1.
    pub fn image(&self, node: usize) -> PathBuf {
        self.directory(node).join("e7.1.img")
    }

    /// Starts the witness, and waits until it listens.
    pub fn start_witness(&self) -> Result<Process, Error> {
        let program = self.witness.program(&self.command).args(["witness", "-c"]);
        self.start(program.arg(self.scratch.join("witness.toml")), "witness", "listens on")
    }

    /// Starts a node, and waits until it takes commands.
    pub fn start_node(&self, node: usize) -> Result<Process, Error> {
        let program = self.nodes[node].program(&self.command).args(["serve", "-c"]);
        self.start(program.arg(self.configuration_file(node)), &format!("node{node}"), "is ready")
    }

    fn start(&self, program: Program, name: &str, word: &str) -> Result<Process, Error> {
        let log = self.scratch.join(format!("{name}.log"));
        // The log begins anew; what was said before may be what matters.
        let before = fs::read(&log).unwrap_or_default();
        let earlier = self.scratch.join(format!("{name}.earlier"));
        File::options()
            .create(true)
            .append(true)
            .open(&earlier)
            .and_then(|mut file| file.write_all(&before))
            .map_err(Error::system(format!("keep {}", log.display())))?;
        let mut process = program.start(log)?;
        process.wait_for_line(word, PATIENCE)?;
        Ok(process)
    }

    /// What the daemons have said since the pair was built.
    pub fn logs(&self) -> String {
        let read = |name: &str| fs::read_to_string(self.scratch.join(name)).unwrap_or_default();
        let logs = ["witness", "node0", "node1"];
        let texts = logs.map(|name| {
            format!("== {name}\n{}{}", read(&format!("{name}.earlier")), read(&format!("{name}.log")))
        });
        texts.concat()
    }
}

fn write(path: &Path, text: &str) -> Result<(), Error> {
    fs::write(path, text).map_err(Error::system(format!("write {}", path.display())))
}

fn set_address(host: &Namespace, interface: &str, address: &str) -> Result<(), Error> {
    host.program("ip").args(["address", "add", address, "dev", interface]).run().map(|_| ())
}
