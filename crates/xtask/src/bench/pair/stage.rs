//! A pair with one volume of a GiB, fully written at both nodes, and an initiator that reaches both.

use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use lab::network::{Direction, Loss, MTU_JUMBO};
use lab::pair::Pair;
use lab::{Error, Namespace, Process, Program};
use serde_json::Value;

use super::super::stage::Stage;

/// More than the first copy of a GiB takes on a busy machine.
pub(super) const COPY_LIMIT: Duration = Duration::from_secs(120);
/// So long after its start a node cannot be left or leave.
const SETTLED: Duration = Duration::from_secs(11);

#[derive(Debug)]
pub(super) struct PairStage<'a> {
    pub(super) nodes: [Process; 2],
    _witness: Process,
    /// What node 0 and node 1 have told as events, as lines of JSON.
    events: [Process; 2],
    started: Instant,
    pub(super) client: Namespace,
    /// An initiator on the second storage network.
    pub(super) watcher: Namespace,
    /// A host beside the nodes, for the single export.
    pub(super) neighbour: Namespace,
    pub(super) pair: Pair,
    /// Another file like `bench.image`.
    pub(super) second_image: PathBuf,
    pub(super) bench: &'a Stage,
}

impl<'a> PairStage<'a> {
    pub(super) fn new(bench: &'a Stage) -> Result<Self, Error> {
        let pair = Pair::new("bench-pair", &bench.command, true)?;
        let client = pair.add_host("client", &[0], MTU_JUMBO)?;
        let watcher = pair.add_host("watcher", &[1], MTU_JUMBO)?;
        let neighbour = pair.add_host("single", &[0], MTU_JUMBO)?;
        let second_image = bench.scratch.join("second.img");
        for path in [&second_image, &pair.image(0)] {
            copy(bench, path)?;
        }
        let witness = pair.start_witness()?;
        let nodes = [pair.start_node(0)?, pair.start_node(1)?];
        let events = [events(&pair, 0)?, events(&pair, 1)?];
        let image = pair.image(0);
        let create = format!("volume create 7.1 --data {} --overwrite-peer", image.display());
        pair.command(0, &create)?;
        pair.wait_until_in_sync_within(COPY_LIMIT)?;
        let started = Instant::now();
        Ok(Self {
            nodes,
            _witness: witness,
            events,
            started,
            client,
            watcher,
            neighbour,
            pair,
            second_image,
            bench,
        })
    }

    /// Starts a node again, and waits until everything is as before.
    pub(super) fn restart(&mut self, node: usize) -> Result<(), Error> {
        self.nodes[node] = self.pair.start_node(node)?;
        self.events[node] = events(&self.pair, node)?;
        self.started = Instant::now();
        self.pair.wait_until_in_sync_within(COPY_LIMIT)
    }

    /// Has a node leave, and waits until the other one serves alone.
    pub(super) fn leave(&self, node: usize) -> Result<(), Error> {
        self.wait_until_settled();
        self.pair.command(node, "leave")?;
        self.pair.wait_until_alone(1 - node)
    }

    /// Waits until what the nodes asked the arbiter before their starts cannot be carried out any more.
    pub(super) fn wait_until_settled(&self) {
        std::thread::sleep(SETTLED.saturating_sub(self.started.elapsed()));
    }

    /// What a node has told of this event last; null if it never has.
    pub(super) fn told(&self, node: usize, event: &str) -> Value {
        let output = self.events[node].output();
        let mut told = output.lines().rev().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        told.find(|value| value["event"] == event).unwrap_or_default()
    }

    /// When that was, in seconds since 1970.
    pub(super) fn told_at(&self, node: usize, event: &str) -> f64 {
        self.told(node, event)["time"].as_f64().unwrap_or(f64::NAN)
    }

    /// Has the second storage network swallow what passes between it and a node, or pass it again.
    pub(super) fn set_second_network_silent(&self, node: usize, silent: bool) -> Result<(), Error> {
        let (port, loss) = (Pair::storage_port(node, 1), if silent { Loss::All } else { Loss::None });
        let switch = &self.pair.switch;
        switch.set_loss(&port, Direction::Received, loss)?;
        switch.set_loss(&port, Direction::Sent, loss)
    }
}

/// The clock of the events.
pub(super) fn unix_time() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

/// A copy of the image whose every block is allocated and written.
fn copy(bench: &Stage, to: &std::path::Path) -> Result<(), Error> {
    let (from, to) = (format!("if={}", bench.image.display()), format!("of={}", to.display()));
    let options = ["bs=1M", "iflag=direct", "oflag=direct", "conv=fsync", "status=none"];
    Program::new("dd").args([from, to]).args(options).run().map(|_| ())
}

fn events(pair: &Pair, node: usize) -> Result<Process, Error> {
    let program = pair.command_program(node, "events");
    program.start(pair.scratch.join(format!("events{node}.log")))
}
