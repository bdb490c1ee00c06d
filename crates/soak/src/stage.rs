//! The pair and its initiators while they run: how a fault is done and undone, and how everything comes to rest.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::thread;
use std::time::Duration;

use aoe::{Address, Shelf, Slot};
use block::SECTOR_BYTES;
use lab::network::{MTU_JUMBO, MTU_ORDINARY};
use lab::pair::{PATIENCE, Pair};
use lab::{Error, Process, Signal, wait_until};
use os::clock;

use crate::fault::{Fault, FirstBack, Plan};
use crate::initiator::{Habits, Worker};
use crate::record::{self, Entry, Event};

/// The size of the volume.
pub(crate) const BYTES: u64 = 16 << 20;
/// How fast node 1 brings node 0 up to date: so slowly that node 0 serves long before it has everything. Node 0 copies as fast as it
/// may, as by default.
const SLOW: &str = "resync_rate = \"2M\"\n";
/// All of it may have to be copied beside the load, by a program without optimisation on a busy machine.
const HEALING: Duration = Duration::from_secs(240);
/// A node that is asked to end leaves first.
const END_LIMIT: Duration = Duration::from_secs(30);

/// What an initiator's host is like.
struct Host {
    name: &'static str,
    networks: &'static [usize],
    mtu: u32,
    sequenced: bool,
}

/// One on both networks, one on each alone, of which the first has short frames, and one that numbers nothing, as stock initiators.
const HOSTS: [Host; 4] = [
    Host { name: "both", networks: &[0, 1], mtu: MTU_JUMBO, sequenced: true },
    Host { name: "first", networks: &[0], mtu: MTU_ORDINARY, sequenced: true },
    Host { name: "second", networks: &[1], mtu: MTU_JUMBO, sequenced: true },
    Host { name: "stock", networks: &[0, 1], mtu: MTU_JUMBO, sequenced: false },
];

/// Everything that runs.
#[derive(Debug)]
pub(crate) struct Stage {
    witness: Process,
    nodes: [Process; 2],
    workers: Vec<Worker>,
    starts: Vec<Entry>,
    // After who writes in its directory.
    pub(crate) pair: Pair,
}

impl Stage {
    /// Builds the pair with a volume, and initiators that rest.
    pub(crate) fn build(command: &Path, seed: u64, requests_per_second: u32) -> Result<Self, Error> {
        let pair = Pair::new("soak", command, true)?;
        let witness = pair.start_witness()?;
        let mut nodes = [pair.start_node(0)?, pair.start_node(1)?];
        pair.command(0, &format!("volume create 7.1 --size {BYTES}"))?;
        pair.wait_until_in_sync()?;
        nodes[1].kill()?;
        append(&pair.directory(1).join("e7.1.volume.toml"), SLOW)?;
        nodes[1] = pair.start_node(1)?;
        pair.wait_until_in_sync()?;
        let address = Address::new(Shelf(7), Slot(1)).expect("an address of a volume");
        let mut workers = Vec::new();
        for (number, host) in (1..).zip(&HOSTS) {
            let namespace = pair.add_host(host.name, host.networks, host.mtu)?;
            let interfaces = (1..=host.networks.len()).map(|index| format!("eth{index}")).collect();
            let habits = Habits {
                number,
                interfaces,
                address,
                sectors: BYTES / SECTOR_BYTES as u64,
                sequenced: host.sequenced,
                seed,
                requests_per_second,
            };
            workers.push(Worker::start(namespace, habits));
        }
        let all_ready = || Ok(workers.iter().all(Worker::is_ready).then_some(()));
        wait_until("the initiators to find both nodes", PATIENCE, all_ready)?;
        Ok(Self { witness, nodes, workers, starts: Vec::new(), pair })
    }

    /// Has the initiators work.
    pub(crate) fn work(&self) {
        self.workers.iter().for_each(Worker::work);
    }

    /// Waits until each initiator has had so many more answers.
    pub(crate) fn let_work(&self, answers: u64) -> Result<(), Error> {
        let before: Vec<u64> = self.workers.iter().map(Worker::completed).collect();
        self.pair.wait_for_pair("answers to every initiator", PATIENCE, || {
            let mut both = self.workers.iter().zip(&before);
            Ok(both.all(|(worker, before)| worker.completed() >= before + answers).then_some(()))
        })
    }

    /// Waits until the pair is whole.
    pub(crate) fn heal(&self) -> Result<(), Error> {
        self.pair.wait_until_in_sync_within(HEALING)
    }

    /// Brings everything to rest; what was written down since the last time, none if something does not come to rest.
    pub(crate) fn rest(&mut self) -> Option<Vec<Entry>> {
        self.workers.iter().for_each(Worker::rest);
        let patience = PATIENCE * 2;
        let notes: Option<Vec<Vec<Entry>>> =
            self.workers.iter().map(|worker| worker.notes(patience)).collect();
        Some(record::merge(notes?.into_iter().chain([std::mem::take(&mut self.starts)])))
    }

    /// Ends the initiators where they are; what they have written down since the last time.
    pub(crate) fn end(&mut self) -> Vec<Entry> {
        self.workers.iter().for_each(Worker::end);
        let notes = self.workers.iter().filter_map(|worker| worker.notes(Duration::from_secs(5)));
        record::merge(notes.chain([std::mem::take(&mut self.starts)]))
    }

    /// Asks the daemons to end, which must succeed.
    pub(crate) fn close(mut self) -> Result<(), Error> {
        for node in 0..2 {
            self.terminate(node)?;
        }
        self.witness.terminate(END_LIMIT).map(drop)
    }

    /// Does what is planned, and undoes it. The pair is not whole yet then, but nothing keeps it from becoming so.
    pub(crate) fn carry_out(&mut self, plan: &Plan) -> Result<(), Error> {
        let pause = || thread::sleep(plan.lasts);
        let gap = || thread::sleep(plan.gap);
        match plan.fault {
            Fault::Kill { node } => self.kill_for(node, plan.lasts),
            Fault::KillBoth { first_back } => {
                self.nodes[0].kill()?;
                self.nodes[1].kill()?;
                pause();
                self.start(first_back)?;
                gap();
                self.start(1 - first_back)
            }
            Fault::KillReturning { node } => {
                self.kill_for(node, plan.lasts)?;
                gap();
                self.kill_for(node, plan.gap)
            }
            Fault::KillInTurn { first } => {
                self.kill_for(first, plan.lasts)?;
                gap();
                self.kill_for(1 - first, plan.gap)
            }
            Fault::Stop { node } => {
                self.nodes[node].signal(Signal::Stop)?;
                pause();
                self.nodes[node].signal(Signal::Continue)
            }
            Fault::Witness => {
                self.witness.kill()?;
                pause();
                self.start_witness()
            }
            Fault::WitnessAndKill { node } => {
                self.witness.kill()?;
                self.nodes[node].kill()?;
                pause();
                self.start_witness()?;
                gap();
                self.start(node)
            }
            Fault::WitnessThenPeerLink { first_back } => {
                self.witness.kill()?;
                gap();
                self.pair.set_peer_link_silent(true)?;
                pause();
                match first_back {
                    FirstBack::Witness => {
                        self.start_witness()?;
                        gap();
                        self.pair.set_peer_link_silent(false)
                    }
                    FirstBack::PeerLink => {
                        self.pair.set_peer_link_silent(false)?;
                        gap();
                        self.start_witness()
                    }
                }
            }
            Fault::Leave { node } => {
                self.pair.command(node, "leave")?;
                pause();
                self.pair.command(node, "join").map(drop)
            }
            Fault::Restart { node } => {
                self.terminate(node)?;
                pause();
                self.start(node)
            }
            _ => {
                self.set_cut(plan.fault, true)?;
                pause();
                self.set_cut(plan.fault, false)
            }
        }
    }

    /// Cuts wires, or mends them.
    fn set_cut(&self, fault: Fault, cut: bool) -> Result<(), Error> {
        let pair = &self.pair;
        match fault {
            Fault::PeerLinkPulled => pair.set_peer_link_up(!cut),
            Fault::PeerLinkSilent => pair.set_peer_link_silent(cut),
            Fault::DeafToPeer { node } => pair.set_deaf_to_peer(node, cut),
            Fault::Deaf { node } => {
                pair.set_deaf_to_witness(node, cut)?;
                pair.set_deaf_to_peer(node, cut)
            }
            Fault::Unheard { node } => {
                pair.set_unheard_by_witness(node, cut)?;
                pair.set_deaf_to_peer(1 - node, cut)
            }
            Fault::Isolated { node } => {
                pair.set_witness_link_silent(node, cut)?;
                pair.set_peer_link_silent(cut)
            }
            Fault::CutOff { node } => {
                pair.set_storage_silent(node, cut)?;
                pair.set_witness_link_silent(node, cut)?;
                pair.set_peer_link_silent(cut)
            }
            Fault::NoInitiators { node } => pair.set_storage_silent(node, cut),
            Fault::StorageLink { node, network } => pair.set_storage_link_up(node, network, !cut),
            _ => unreachable!("the other faults cut nothing"),
        }
    }

    fn kill_for(&mut self, node: usize, time: Duration) -> Result<(), Error> {
        self.nodes[node].kill()?;
        thread::sleep(time);
        self.start(node)
    }

    fn terminate(&mut self, node: usize) -> Result<(), Error> {
        let status = self.nodes[node].terminate(END_LIMIT)?;
        if status.success() {
            return Ok(());
        }
        let detail = format!("it was asked to end, and ended with {status}\n{}", self.nodes[node].output());
        Err(Error::Unexpected { program: format!("node {node}"), detail })
    }

    fn start(&mut self, node: usize) -> Result<(), Error> {
        self.starts.push(Entry { at: clock::now(), initiator: 0, request: 0, event: Event::Forgot });
        self.nodes[node] = self.pair.start_node(node)?;
        Ok(())
    }

    fn start_witness(&mut self) -> Result<(), Error> {
        self.witness = self.pair.start_witness()?;
        Ok(())
    }

    /// Fails if a daemon has ended by itself.
    pub(crate) fn expect_running(&mut self) -> Result<(), Error> {
        self.witness.expect_running()?;
        self.nodes.iter_mut().try_for_each(Process::expect_running)
    }
}

fn append(path: &Path, text: &str) -> Result<(), Error> {
    let written =
        OpenOptions::new().append(true).open(path).and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|source| Error::System { action: format!("append to {}", path.display()), source })
}
