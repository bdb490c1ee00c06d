//! The stage: the laboratory's pair, and a client on the first storage network. What does not come in time fails the test.

use std::fs;
use std::io::{Error, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::ops::Deref;
use std::os::unix::net::UnixStream;

use lab::network::MTU_JUMBO;
pub(crate) use lab::pair::PATIENCE;
use lab::pair::Pair;
use lab::{Namespace, Output, Process, Program};
use replication::identity::PairIdentity;
use replication::membership::NodeNumber;
use replication::version::VersionRange;
use replication::wire::preamble::{PREAMBLE_BYTES, Preamble, ProgramName, Purpose};
use serde_json::Value;

/// How long a load looks for its volume and waits for a request. Half a minute was seen on a busy machine: files that get longer take as
/// long as their file system needs to note it.
const ANSWER_TIMEOUT: &str = "--answer-timeout 150";

pub(crate) struct World {
    pair: Pair,
    pub(crate) client: Namespace,
}

impl World {
    pub(crate) fn new() -> Self {
        let pair = Pair::new("pair", env!("CARGO_BIN_EXE_etherpair"), true).expect("run as root");
        let client = pair.add_host("client", &[0], MTU_JUMBO).expect("a client");
        Self { pair, client }
    }

    pub(crate) fn start_witness(&self) -> Process {
        self.pair.start_witness().expect("it listens")
    }

    pub(crate) fn start_node(&self, node: usize) -> Process {
        self.pair.start_node(node).expect("it is ready")
    }

    /// A command for the daemon of a node.
    pub(crate) fn command(&self, node: usize, arguments: &str) -> Program {
        self.command_program(node, arguments)
    }

    /// A command that must succeed; what it says.
    pub(crate) fn does(&self, node: usize, arguments: &str) -> String {
        let output = self.command(node, arguments).output().expect("it ends");
        assert!(output.status.success(), "{arguments}: {output:?}\n{}", self.logs());
        output.stdout
    }

    /// Has a node read its configuration again, of which a volume cannot be served: what it says of that, and that it has not done all.
    pub(crate) fn reload_leaves_out(&self, node: usize, address: &str) -> String {
        let output = self.command(node, "reload").output().expect("it ends");
        assert_eq!(output.status.code(), Some(86), "{output:?}\n{}", self.logs());
        for part in [&format!("{address} is not served: "), "all else of the configuration was taken on"] {
            assert!(output.stderr.contains(part), "{part} in {}", output.stderr);
        }
        output.stderr
    }

    pub(crate) fn status(&self, node: usize) -> Value {
        self.pair.status(node).expect("JSON")
    }

    /// What a node says of its only volume.
    pub(crate) fn volume(&self, node: usize) -> Value {
        self.pair.volume(node).expect("JSON")
    }

    /// Waits until the only volume of a node is as wanted.
    pub(crate) fn wait_for(&self, node: usize, what: &str, is_so: impl Fn(&Value) -> bool) {
        self.pair.wait_for(node, what, is_so).expect("a node that gets there");
    }

    /// Waits until the command `events`, which writes into `events`, has told of this.
    pub(crate) fn wait_for_event(&self, event: &str) {
        let word = format!("\"event\":\"{event}\"");
        let told =
            || Ok(fs::read_to_string(self.scratch.join("events")).ok().filter(|text| text.contains(&word)));
        self.wait_for_pair(event, PATIENCE, told).expect("it is told");
    }

    /// Waits until both nodes serve equal copies.
    pub(crate) fn wait_for_in_sync(&self) {
        self.wait_until_in_sync().expect("a pair that becomes whole");
    }

    /// Waits until a node serves alone.
    pub(crate) fn wait_for_alone(&self, node: usize) {
        self.wait_until_alone(node).expect("a node that goes on alone");
    }

    /// A load of the client's.
    pub(crate) fn bench(&self, arguments: &str) -> Output {
        bench(&self.client, arguments)
    }

    /// Takes a node off its peer and the witness, or gives it both again.
    pub(crate) fn isolate(&self, node: usize, isolated: bool) {
        self.set_witness_link_silent(node, isolated).expect("a port of the switch");
        self.set_peer_link_silent(isolated).expect("wires");
    }

    /// Pulls the wires between the nodes, who both reach the witness, or plugs it in again.
    pub(crate) fn part(&self, parted: bool) {
        self.set_peer_link_up(!parted).expect("wires");
    }

    /// Says something at the peer port of a node and goes.
    pub(crate) fn send_to_peer_port(&self, node: usize, bytes: &[u8]) {
        let address = Pair::peer_address(node, 0);
        let said = self.node(1 - node).enter(|| TcpStream::connect(address)?.write_all(bytes));
        said.expect("it listens");
    }

    /// Says something to the control plane of a node as its peer would; what is answered to it until the end.
    pub(crate) fn send_as_peer(&self, node: usize, bytes: &[u8]) -> String {
        let preamble = |purpose| Preamble {
            pair: PairIdentity(lab::pair::PAIR),
            node: [NodeNumber::One, NodeNumber::Zero][node],
            purpose,
            versions: VersionRange::USUAL,
            program: ProgramName::new("test"),
        };
        let address = Pair::peer_address(node, 0);
        let answer = self.node(1 - node).enter(|| {
            let mut stream = TcpStream::connect(address)?;
            stream.write_all(&preamble(Purpose::Control).emit())?;
            let mut accepted = [0; PREAMBLE_BYTES];
            stream.read_exact(&mut accepted)?;
            let Ok(Preamble { purpose: Purpose::Accepted { nonce }, .. }) = Preamble::parse(&accepted) else {
                return Err(Error::other("it accepts its peer"));
            };
            stream.write_all(&preamble(Purpose::Confirmed { nonce }).emit())?;
            // A daemon that has read enough ends the conversation before all was said.
            let _ = stream.write_all(bytes);
            let _ = stream.shutdown(Shutdown::Write);
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer);
            Ok(answer)
        });
        String::from_utf8(answer.expect("it listens")).expect("text")
    }

    /// Says something at the socket of a node's daemon; what is answered to it until the end.
    pub(crate) fn send_to_socket(&self, node: usize, bytes: &[u8]) -> String {
        let mut stream = UnixStream::connect(self.directory(node).join("socket")).expect("it listens");
        // A daemon that has read enough ends the conversation before all was said.
        let _ = stream.write_all(bytes);
        let _ = stream.shutdown(Shutdown::Write);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8(answer).expect("text")
    }
}

impl Deref for World {
    type Target = Pair;

    fn deref(&self) -> &Pair {
        &self.pair
    }
}

/// A load from some host, as patient as it must be unless the arguments say otherwise.
pub(crate) fn bench(host: &Namespace, arguments: &str) -> Output {
    let patience = if arguments.contains("--answer-timeout") { "" } else { ANSWER_TIMEOUT };
    let arguments = format!("bench {arguments} {patience} --json");
    let program = host.program(env!("CARGO_BIN_EXE_etherpair")).args(arguments.split_whitespace());
    program.within(PATIENCE).output().expect("it ends")
}
