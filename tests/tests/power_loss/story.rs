//! A volume on disks with volatile caches, which an initiator writes to and keeps a record, and nodes whose power goes.

use lab::{FrameSocket, Process, Signal, network::MTU_JUMBO, pair::PATIENCE, wait_until};
use serde_json::Value;
use std::{
    fs,
    io::ErrorKind,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};
use tests::recorded_writes::{Record, Versions, fault};
use tests::{Pair, Rack, Random, Survival, VolatileDisk};

/// Data and metadata of node 0, then of node 1.
pub(crate) const DISKS: [usize; 4] = [8 << 20, 4 << 20, 8 << 20, 4 << 20];
/// Acknowledged writes from one moment to the next, about.
const DISTANCE: u64 = 100;

/// Everything as it was at a moment.
pub(crate) struct Moment {
    pub(crate) phase: &'static str,
    pub(crate) disks: Vec<VolatileDisk>,
    pub(crate) acknowledged: Versions,
    pub(crate) sent: Versions,
    /// The witness keeps its power.
    pub(crate) witness: Vec<(String, Vec<u8>)>,
}

/// What happens to a pair.
pub(crate) struct Story {
    // The nodes end before their disks do, and all of them before their directory does.
    pub(crate) nodes: [Process; 2],
    pub(crate) rack: Rack,
    pub(crate) record: Arc<Record>,
    pub(crate) random: Random,
    _witness: Process,
    writer: Option<Writer>,
    has_power: [bool; 2],
    pub(crate) pair: Pair,
}

/// The initiator at work.
struct Writer {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<(), lab::Error>>,
}

/// What the environment says of this name, or what is usual.
pub(crate) fn number(name: &str, usual: u64) -> u64 {
    std::env::var(name).map_or(usual, |text| text.parse().expect("a number"))
}

/// The data disk of a node.
pub(crate) const fn data_of(node: usize) -> usize {
    2 * node
}

impl Story {
    /// A volume that is whole, on disks that can lose something.
    pub(crate) fn new(label: &str) -> Self {
        let pair = Pair::new(label, true).expect("hosts and wires");
        let witness = pair.start_witness().expect("witness");
        let rack = Rack::new(&pair.scratch, &DISKS).expect("disks");
        let (record, random) = (Arc::new(Record::default()), Random::new(number("SEED", 1)));
        let nodes = [0, 1].map(|node| pair.start_node(node).expect("node"));
        let device = |number| rack.device(number).display();
        let create = format!(
            "volume create 7.1 --data {} --metadata {} --peer-data {} --peer-metadata {} --overwrite-peer",
            device(0),
            device(1),
            device(2),
            device(3)
        );
        pair.command(0, &create).expect("a volume");
        pair.wait_until_in_sync();
        Self { nodes, rack, record, random, _witness: witness, writer: None, has_power: [true; 2], pair }
    }

    /// Has a node bring its peer up to date at this rate.
    pub(crate) fn set_resync_rate(&self, node: usize, rate: &str) {
        const KEY: &str = "resync_rate";
        let path = self.pair.image(node).with_extension("volume.toml");
        let text = fs::read_to_string(&path).expect("an entry");
        let others: String = text.split_inclusive('\n').filter(|line| !line.starts_with(KEY)).collect();
        fs::write(path, format!("{others}{KEY} = \"{rate}\"\n")).expect("write an entry");
        self.pair.command(node, "reload").expect("a reload");
    }

    /// Has the initiator write from now on.
    pub(crate) fn begin_writing(&mut self) {
        let host = self.pair.add_host("writer", &[0], MTU_JUMBO).expect("a host");
        let socket = FrameSocket::open(&host, "eth1", Duration::from_millis(20)).expect("a socket");
        let (record, stop) = (Arc::clone(&self.record), Arc::new(AtomicBool::new(false)));
        let stopped = Arc::clone(&stop);
        let targets = [0, 1].map(|node| Pair::virtual_mac(node, 0));
        let thread = thread::spawn(move || record.write_until(&stopped, &socket, targets));
        self.writer = Some(Writer { stop, thread });
    }

    pub(crate) fn end_writing(&mut self) {
        let writer = self.writer.take().expect("somebody who writes");
        writer.stop.store(true, Ordering::SeqCst);
        writer.thread.join().expect("the writer's thread").expect("writes");
    }

    /// Lets the writes go on for a while.
    pub(crate) fn go_on(&mut self, phase: &str) {
        let goal = u64::from(self.record.count()) + DISTANCE / 2 + self.random.below(DISTANCE);
        let reached = wait_until("acknowledged writes", PATIENCE, || {
            Ok((u64::from(self.record.count()) >= goal).then_some(()))
        });
        reached.unwrap_or_else(|error| panic!("{phase}: {error}\n{}", self.pair.logs()));
    }

    /// Everything as it is now.
    pub(crate) fn moment(&self, phase: &'static str) -> Moment {
        // In this order: what was acknowledged before the moment must be there, what was sent after it cannot be.
        let acknowledged = self.record.acknowledged();
        let disks = self.rack.moment();
        let sent = self.record.sent();
        let witness = read_directory(&self.pair.scratch.join("witness"));
        Moment { phase, disks, acknowledged, sent, witness }
    }

    /// Everything at a moment at which both copies counted.
    pub(crate) fn whole_moment(&self, phase: &'static str) -> Moment {
        let epochs = || -> [Value; 2] {
            self.pair.wait_until_in_sync();
            [0, 1].map(|node| self.pair.volume(node).expect("a volume")["epoch"].clone())
        };
        let is_undisturbed = || {
            let before = epochs();
            let moment = self.moment(phase);
            Ok((before == epochs()).then_some(moment))
        };
        wait_until("a moment of a pair that stays whole", PATIENCE, is_undisturbed).expect("such a moment")
    }

    /// Takes a node's power, and with it the power of its disks, at one moment at which that loses something, while writes go on; the moment
    /// is given. Nobody hears of the node any more.
    pub(crate) fn cut(&mut self, node: usize, phase: &'static str) -> Moment {
        let disks = [data_of(node), data_of(node) + 1];
        let lose_power = || {
            let acknowledged = self.record.acknowledged();
            Ok(self.rack.lose_power(&disks).then_some(acknowledged))
        };
        let lost = wait_until("a moment with something to lose", PATIENCE, lose_power);
        let acknowledged = lost.unwrap_or_else(|error| panic!("{phase}: {error}\n{}", self.pair.logs()));
        // It never runs again; until nobody hears of it, its connections stand, as if it were silent.
        let stopped = self.nodes[node].signal(Signal::Stop);
        let moment = Moment { acknowledged, ..self.moment(phase) };
        self.has_power[node] = false;
        let silenced = self.set_wires(node);
        // Whatever else is wrong: a process that waits for a disk cannot be ended.
        self.rack.refuse(&disks);
        stopped.and(silenced).expect("a node cut off");
        self.nodes[node].kill().expect("it can be killed");
        moment
    }

    /// Gives a node its power back, with what chance has left on its disks, and starts it.
    pub(crate) fn restore(&mut self, node: usize, survival: Survival) {
        let disks = [data_of(node), data_of(node) + 1];
        self.rack.return_power(&disks, survival, &mut self.random).expect("disks");
        self.has_power[node] = true;
        self.set_wires(node).expect("wires");
        self.nodes[node] = self.pair.start_node(node).expect("node");
    }

    /// Who has no power says nothing: not even that its connections have ended, as the kernel would for a process.
    fn set_wires(&self, node: usize) -> Result<(), lab::Error> {
        let is_silent = !self.has_power[node];
        self.pair.set_peer_link_silent(self.has_power.contains(&false))?;
        self.pair.set_storage_silent(node, is_silent)?;
        self.pair.set_witness_link_silent(node, is_silent)
    }
}

impl Drop for Story {
    fn drop(&mut self) {
        // Wherever it was given up: a process that waits for a disk without power cannot be ended.
        self.rack.refuse(&(0..DISKS.len()).collect::<Vec<_>>());
    }
}

impl Moment {
    /// What is wrong with a node's copy, if it counted at this moment, after a loss of power: it must hold by itself what was acknowledged.
    pub(crate) fn fault(&self, node: usize, random: &mut Random) -> Option<String> {
        Survival::ALL.into_iter().find_map(|survival| {
            let image = self.disks[data_of(node)].after_loss(survival, random);
            let fault = fault(&image, &self.acknowledged, &self.sent)?;
            Some(format!("{}, node {node}, {survival:?} survived: {fault}", self.phase))
        })
    }

    pub(crate) fn sectors_at_risk(&self) -> usize {
        self.disks.iter().map(VolatileDisk::sectors_at_risk).sum()
    }
}

/// The files of a directory, of which one may be put in another's place meanwhile.
fn read_directory(path: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(path).expect("a directory").flatten();
    let content = |entry: fs::DirEntry| match fs::read(entry.path()) {
        Ok(content) => Some((entry.file_name().to_string_lossy().into_owned(), content)),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => panic!("{}: {error}", entry.path().display()),
    };
    entries.filter(|entry| !entry.path().is_dir()).filter_map(content).collect()
}
