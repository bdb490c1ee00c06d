//! The stage: two nodes, a witness and a client, each in a namespace, on a storage switch and a peer switch.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lab::network::{MTU_JUMBO, wire};
use lab::{Namespace, Output, Process, Program, Scratch, wait_until};
use serde_json::Value;

/// Longer than anything takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
const PAIR: &str = "0123456789abcdef0123456789abcdef";
const PEER_PORT: u16 = 8802;
const WITNESS_PORT: u16 = 8803;

pub(crate) struct World {
    pub(crate) scratch: Scratch,
    /// Everything that is plugged into it.
    switches: Namespace,
    nodes: [Namespace; 2],
    witness: Namespace,
    pub(crate) client: Namespace,
}

impl World {
    pub(crate) fn new() -> Self {
        let scratch = Scratch::new("pair").expect("a scratch directory");
        let make = || Namespace::new().expect("run as root");
        let world =
            Self { scratch, switches: make(), nodes: [make(), make()], witness: make(), client: make() };
        let switches = &world.switches;
        for bridge in ["storage", "peer"] {
            switches.add_bridge(bridge, MTU_JUMBO).expect("a switch");
        }
        let plug = |namespace: &Namespace, interface: &str, port: &str, bridge: &str| {
            wire((namespace, interface), (switches, port), MTU_JUMBO).expect("a wire");
            switches.plug(port, bridge).expect("plugged");
        };
        for (number, node) in world.nodes.iter().enumerate() {
            plug(node, "eth1", &format!("s{number}"), "storage");
            plug(node, "eth0", &format!("p{number}"), "peer");
            set_address(node, address(number));
        }
        plug(&world.witness, "eth0", "pw", "peer");
        set_address(&world.witness, address(2));
        plug(&world.client, "eth1", "sc", "storage");
        for number in 0..2 {
            fs::create_dir(world.directory(number)).expect("a directory");
            fs::write(world.config(number), config(&world.directory(number), number))
                .expect("a configuration");
        }
        let witness = format!(
            "listen = [\"{}:{WITNESS_PORT}\"]\ndirectory = \"{}\"\ninsecure = true\n",
            address(2),
            world.scratch.join("witness").display()
        );
        fs::write(world.scratch.join("witness.toml"), witness).expect("a configuration");
        world
    }

    pub(crate) fn directory(&self, node: usize) -> PathBuf {
        self.scratch.join(format!("node{node}"))
    }

    pub(crate) fn config(&self, node: usize) -> PathBuf {
        self.directory(node).join("node.toml")
    }

    pub(crate) fn start_witness(&self) -> Process {
        let program = self.witness.program(env!("CARGO_BIN_EXE_etherpair")).args(["witness", "-c"]);
        let program = program.arg(self.scratch.join("witness.toml"));
        let mut process = program.start(self.scratch.join("witness.log")).expect("it starts");
        process.wait_for_line("listens on", PATIENCE).expect("it listens");
        process
    }

    pub(crate) fn start_node(&self, node: usize) -> Process {
        let program = self.nodes[node].program(env!("CARGO_BIN_EXE_etherpair")).args(["serve", "-c"]);
        let program = program.arg(self.config(node));
        let log = self.scratch.join(format!("node{node}.log"));
        let mut process = program.start(log).expect("it starts");
        process.wait_for_line("is ready", PATIENCE).expect("it is ready");
        process
    }

    /// A command for the daemon of a node.
    pub(crate) fn command(&self, node: usize, arguments: &str) -> Program {
        let program = self.nodes[node].program(env!("CARGO_BIN_EXE_etherpair"));
        let socket = self.directory(node).join("socket");
        program.args(arguments.split_whitespace()).arg("--socket").arg(socket).within(PATIENCE)
    }

    /// A command that must succeed; what it says.
    pub(crate) fn does(&self, node: usize, arguments: &str) -> String {
        let output = self.command(node, arguments).output().expect("it ends");
        assert!(output.status.success(), "{arguments}: {output:?}\n{}", self.logs());
        output.stdout
    }

    pub(crate) fn status(&self, node: usize) -> Value {
        serde_json::from_str(&self.does(node, "status --json")).expect("JSON")
    }

    /// What a node says of its only volume.
    pub(crate) fn volume(&self, node: usize) -> Value {
        self.status(node)["volumes"][0].clone()
    }

    /// Waits until the only volume of a node is as wanted.
    pub(crate) fn wait_for(&self, node: usize, what: &str, is_so: impl Fn(&Value) -> bool) {
        let mut last = Value::Null;
        let found = wait_until(what, PATIENCE, || {
            last = self.volume(node);
            Ok(is_so(&last).then_some(()))
        });
        found.unwrap_or_else(|error| panic!("{error}: {last}\n{}", self.logs()));
    }

    /// Waits until the only volume of either node is as wanted.
    pub(crate) fn wait_for_any(&self, what: &str, mut is_so: impl FnMut(usize, &Value) -> bool) {
        let found = wait_until(what, PATIENCE, || {
            Ok((0..2).any(|node| is_so(node, &self.volume(node))).then_some(()))
        });
        found.unwrap_or_else(|error| panic!("{error}\n{}", self.logs()));
    }

    /// Waits until both nodes serve equal copies.
    pub(crate) fn wait_for_in_sync(&self) {
        for node in 0..2 {
            self.wait_for(node, "in sync", |volume| {
                let is_whole =
                    volume["replication"] == "Established" && volume["members"] == serde_json::json!([0, 1]);
                is_whole && volume["serving"] == true && volume["out_of_sync_bytes"] == 0
            });
        }
    }

    pub(crate) fn bench(&self, arguments: &str) -> Output {
        let program = self.client.program(env!("CARGO_BIN_EXE_etherpair"));
        program
            .args(["bench"])
            .args(arguments.split_whitespace())
            .arg("--json")
            .within(PATIENCE)
            .output()
            .expect("it ends")
    }

    /// Takes a node off the network of nodes and witness, or puts it there again.
    pub(crate) fn isolate(&self, node: usize, isolated: bool) {
        let port = format!("p{node}");
        let done = if isolated { self.switches.set_down(&port) } else { self.switches.set_up(&port) };
        done.expect("a port of the switch");
    }

    /// Lets nothing pass between the nodes, who both reach the witness, or everything again.
    pub(crate) fn part(&self, parted: bool) {
        let verb = if parted { "add" } else { "del" };
        for node in 0..2 {
            let other = format!("{}/32", address(1 - node));
            self.nodes[node].program("ip").args(["route", verb, "blackhole", &other]).run().expect("a route");
        }
    }

    /// Says something at the peer port of a node and goes.
    pub(crate) fn send_to_peer_port(&self, node: usize, bytes: &[u8]) {
        let address = (address(node), PEER_PORT);
        let said = self.witness.enter(|| TcpStream::connect(address)?.write_all(bytes));
        said.expect("it listens");
    }

    /// Says something at the socket of a node's daemon, and waits for an answer or the end.
    pub(crate) fn send_to_socket(&self, node: usize, bytes: &[u8]) {
        let mut stream = UnixStream::connect(self.directory(node).join("socket")).expect("it listens");
        stream.write_all(bytes).expect("it listens");
        stream.shutdown(Shutdown::Write).expect("it listens");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        assert!(answer.contains("refused"), "{answer}");
    }

    pub(crate) fn logs(&self) -> String {
        let read = |name: &str| fs::read_to_string(self.scratch.join(name)).unwrap_or_default();
        ["witness.log", "node0.log", "node1.log"].map(|name| format!("== {name}\n{}", read(name))).concat()
    }
}

fn address(number: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 7, 0, u8::try_from(number + 1).expect("few machines"))
}

fn set_address(namespace: &Namespace, address: Ipv4Addr) {
    let address = format!("{address}/24");
    namespace.program("ip").args(["address", "add", &address, "dev", "eth0"]).run().expect("an address");
}

fn config(directory: &Path, node: usize) -> String {
    let directory = directory.display();
    format!(
        "pair = \"{PAIR}\"\nnode = {node}\nvolumes_directory = \"{directory}\"\n\
         [storage]\ninterfaces = [\"eth1\"]\n\
         [peer]\nlisten = [\"{}:{PEER_PORT}\"]\naddresses = [\"10.9.9.9:1\", \"{}:{PEER_PORT}\"]\ninsecure = true\n\
         [arbiter.witness]\naddresses = [\"{}:{WITNESS_PORT}\"]\ninsecure = true\n\
         [admin]\nsocket = \"{directory}/socket\"\n",
        address(node),
        address(1 - node),
        address(2)
    )
}
