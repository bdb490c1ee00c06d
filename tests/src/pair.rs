//! A mirrored pair on real wires: two nodes and a witness, each a host of its own, and what can be taken from them.
//!
//! Initiators reach both nodes over two storage networks. The nodes reach each other over a wire of their own and the witness over
//! a third network, so that each of these can be lost alone.

use crate::binary;
use lab::{
    Error, Namespace, Process, Program, Scratch,
    guest::Guest,
    network::{Direction, Loss, MTU_JUMBO, wire},
    package, wait_until,
};
use serde_json::Value;
use std::{
    fs::{self, File},
    io::Write,
    path::PathBuf,
    time::Duration,
};

/// The identity of the pair under test.
const PAIR: &str = "0123456789abcdef0123456789abcdef";
/// Longer than anything takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// The two storage networks; each node's interface on the first is `eth1`, on the second `eth2`.
const STORAGE: [&str; 2] = ["storage1", "storage2"];

/// The hosts of a pair and their networks.
#[derive(Debug)]
pub struct Pair {
    /// Configurations, images and logs.
    pub scratch: Scratch,
    /// What everybody is plugged into.
    pub switch: Namespace,
    nodes: [Namespace; 2],
    witness: Namespace,
}

impl Pair {
    /// Builds the hosts and the wires. Nothing runs yet. `label` names its directory while it lives.
    pub fn new(label: &str, virtual_macs: bool) -> Result<Self, Error> {
        package::require(&[package::IPROUTE2])?;
        let (scratch, switch) = (Scratch::new(label)?, Namespace::new()?);
        let nodes = [Namespace::new()?, Namespace::new()?];
        let pair = Self { scratch, switch, nodes, witness: Namespace::new()? };
        for bridge in STORAGE.into_iter().chain(["control"]) {
            pair.switch.add_bridge(bridge, MTU_JUMBO)?;
        }
        for (number, node) in pair.nodes.iter().enumerate() {
            for (index, bridge) in STORAGE.into_iter().enumerate() {
                pair.plug(node, &format!("eth{}", index + 1), &Self::storage_port(number, index), bridge)?;
            }
            pair.plug(node, "eth0", &format!("control{number}"), "control")?;
            set_address(node, "eth0", &format!("10.7.0.{}/24", number + 1))?;
        }
        wire((&pair.nodes[0], "peer"), (&pair.nodes[1], "peer"), MTU_JUMBO)?;
        pair.plug(&pair.witness, "eth0", "witness", "control")?;
        set_address(&pair.witness, "eth0", "10.7.0.3/24")?;
        for (number, node) in pair.nodes.iter().enumerate() {
            set_address(node, "peer", &format!("10.8.0.{}/24", number + 1))?;
            fs::create_dir(pair.directory(number)).expect("make a directory");
            let text = pair.configuration(number, virtual_macs);
            fs::write(pair.directory(number).join("node.toml"), text).expect("write a configuration");
        }
        let directory = pair.scratch.join("witness");
        let text = format!(
            "listen = [\"10.7.0.3:8803\"]\ndirectory = \"{}\"\ninsecure = true\n",
            directory.display()
        );
        fs::write(pair.scratch.join("witness.toml"), text).expect("write a configuration");
        Ok(pair)
    }

    fn plug(&self, host: &Namespace, interface: &str, port: &str, bridge: &str) -> Result<(), Error> {
        wire((host, interface), (&self.switch, port), MTU_JUMBO)?;
        self.switch.plug(port, bridge)
    }

    fn configuration(&self, node: usize, virtual_macs: bool) -> String {
        let (own, peer) = (node + 1, 2 - node);
        let directory = self.directory(node);
        let directory = directory.display();
        format!(
            "pair = \"{PAIR}\"\nnode = {node}\nvolumes_directory = \"{directory}\"\n\
             [storage]\ninterfaces = [\"eth1\", \"eth2\"]\nvirtual_macs = {virtual_macs}\n\
             [peer]\nlisten = [\"10.8.0.{own}:8802\"]\naddresses = [\"10.8.0.{peer}:8802\"]\ninsecure = true\n\
             [arbiter.witness]\naddresses = [\"10.7.0.3:8803\"]\ninsecure = true\n\
             [admin]\nsocket = \"{directory}/socket\"\n"
        )
    }

    /// The switch's port of a node on one of the storage networks (0 and 1).
    pub fn storage_port(node: usize, network: usize) -> String {
        format!("node{node}s{network}")
    }

    /// Starts the witness, and waits until it listens.
    pub fn start_witness(&self) -> Result<Process, Error> {
        let program = self.witness.program(binary()?).args(["witness", "-c"]);
        let mut process =
            program.arg(self.scratch.join("witness.toml")).start(self.scratch.join("witness.log"))?;
        process.wait_for_line("listens on", PATIENCE)?;
        Ok(process)
    }

    /// Starts a node, and waits until it takes commands.
    pub fn start_node(&self, node: usize) -> Result<Process, Error> {
        let program = self.nodes[node].program(binary()?).args(["serve", "-c"]);
        let program = program.arg(self.directory(node).join("node.toml"));
        let log = self.scratch.join(format!("node{node}.log"));
        // The log begins anew; what was said before may be what matters.
        let before = fs::read(&log).unwrap_or_default();
        let mut earlier =
            File::options().create(true).append(true).open(self.scratch.join(format!("node{node}.earlier")));
        let kept = earlier.as_mut().map(|file| file.write_all(&before));
        kept.expect("open a log").expect("write a log");
        let mut process = program.start(log)?;
        process.wait_for_line("is ready", PATIENCE)?;
        Ok(process)
    }

    /// Gives the daemon of a node a command, which must succeed; what it said.
    pub fn command(&self, node: usize, arguments: &str) -> Result<String, Error> {
        let program = Program::new(binary()?).args(arguments.split_whitespace()).arg("--socket");
        Ok(program.arg(self.directory(node).join("socket")).within(PATIENCE).run()?.stdout)
    }

    /// What a node says of its only volume.
    pub fn volume(&self, node: usize) -> Result<Value, Error> {
        let text = self.command(node, "status --json")?;
        let status: Value = serde_json::from_str(&text).map_err(|error| Error::Unexpected {
            program: "etherpair status".into(),
            detail: format!("{error}: {text}"),
        })?;
        Ok(status["volumes"][0].clone())
    }

    /// Waits until the only volume of a node is as wanted.
    pub fn wait_for(&self, node: usize, what: &str, is_so: impl Fn(&Value) -> bool) {
        let mut last = Value::Null;
        let found = wait_until(&format!("node {node} {what}"), PATIENCE, || {
            last = self.volume(node)?;
            Ok(is_so(&last).then_some(()))
        });
        found.unwrap_or_else(|error| panic!("{error}\nlast it said {last}\n{}", self.logs()));
    }

    /// Waits until a node serves alone.
    pub fn wait_until_alone(&self, node: usize) {
        self.wait_for(node, "alone", |volume| volume["phase"] == "Alone" && volume["serving"] == true);
    }

    /// Waits until both nodes are members and serve equal copies.
    pub fn wait_until_in_sync(&self) {
        for node in 0..2 {
            self.wait_for(node, "in sync", |volume| {
                let is_member = volume["members"] == serde_json::json!([0, 1]);
                let is_whole = volume["replication"] == "Established" && volume["out_of_sync_bytes"] == 0;
                is_member && is_whole && volume["serving"] == true
            });
        }
    }

    /// Which node serves alone, once one of them does.
    pub fn wait_for_winner(&self) -> usize {
        let found = wait_until("one of the nodes alone", PATIENCE, || {
            for node in 0..2 {
                let volume = self.volume(node)?;
                if volume["phase"] == "Alone" && volume["serving"] == true {
                    return Ok(Some(node));
                }
            }
            Ok(None)
        });
        found.unwrap_or_else(|error| panic!("{error}\n{}", self.logs()))
    }

    /// Where a node keeps its things.
    fn directory(&self, node: usize) -> PathBuf {
        self.scratch.join(format!("node{node}"))
    }

    /// Whether the data of both copies are equal, byte for byte.
    pub fn copies_are_equal(&self) -> bool {
        let [first, second] = [0, 1].map(|node| fs::read(self.image(node)).expect("read a copy"));
        first == second
    }

    /// A node's copy of the only volume.
    pub fn image(&self, node: usize) -> PathBuf {
        self.directory(node).join("e7.1.img")
    }

    /// Has the wire between the nodes swallow everything, or pass it again. Both keep their carrier.
    pub fn set_peer_link_silent(&self, silent: bool) -> Result<(), Error> {
        let loss = if silent { Loss::All } else { Loss::None };
        self.nodes.iter().try_for_each(|node| node.set_loss("peer", Direction::Received, loss))
    }

    /// Pulls the wire between the nodes, or plugs it in again.
    pub fn set_peer_link_up(&self, up: bool) -> Result<(), Error> {
        if up { self.nodes[0].set_up("peer") } else { self.nodes[0].set_down("peer") }
    }

    /// How many frames a node has sent on its storage interfaces.
    pub fn frames_sent(&self, node: usize) -> Result<u64, Error> {
        let count = |interface| counter(&self.nodes[node], interface, "tx_packets");
        Ok(count("eth1")? + count("eth2")?)
    }

    /// How many frames a guest with two cards has sent.
    pub fn frames_from(&self, guest: &str) -> Result<u64, Error> {
        let count = |card| counter(&self.switch, &format!("{guest}{card}"), "rx_packets");
        Ok(count(0)? + count(1)?)
    }

    /// Switches on a guest with a card on each storage network and the kernel's AoE initiator loaded.
    pub fn guest(&self, name: &str) -> Result<Guest, Error> {
        let [first, second] = STORAGE;
        let options = crate::world::initiator(name)?.plug(&self.switch, first)?.plug(&self.switch, second)?;
        options.start(&self.scratch)
    }

    /// What the daemons have said.
    pub fn logs(&self) -> String {
        let read = |name: &str| fs::read_to_string(self.scratch.join(name)).unwrap_or_default();
        let names = ["witness.log", "node0.earlier", "node0.log", "node1.earlier", "node1.log"];
        names.map(|name| format!("== {name}\n{}", read(name))).concat()
    }
}

fn set_address(host: &Namespace, interface: &str, address: &str) -> Result<(), Error> {
    host.program("ip").args(["address", "add", address, "dev", interface]).run().map(|_| ())
}

fn counter(host: &Namespace, interface: &str, name: &str) -> Result<u64, Error> {
    let path = format!("/sys/class/net/{interface}/statistics/{name}");
    let text = host.program("cat").arg(&path).run()?.stdout;
    text.trim().parse().map_err(|_| Error::Unexpected { program: path, detail: text })
}
