//! The power of both nodes goes at the same moment, again and again: no acknowledged write is lost, on either side, and the copies become
//! equal.
//!
//! Data and metadata of both nodes are on disks with volatile caches ([`Rack`]). While writes go on through both nodes, one is killed, the
//! other goes on alone, the first is back and resynced, all disks are looked at many times; each time makes disks as they may be after a
//! loss of power at that moment: what was made durable is there, of the rest what chance leaves, torn between any two sectors. Then, for
//! each of these moments, two nodes are started with what was left.
//!
//! `MOMENTS=n` asks for more of them in each phase, `SEED=n` for other chances.
#![allow(clippy::disallowed_methods, reason = "these are tests of the real world")]

use lab::{FrameSocket, Process, network::MTU_JUMBO, pair::PATIENCE, wait_until};
use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};
use tests::recorded_writes::{Record, Versions};
use tests::{Pair, Rack, Random, Survival, VolatileDisk, recorded_writes};

/// Data and metadata of node 0, then of node 1.
const DISKS: [usize; 4] = [8 << 20, 4 << 20, 8 << 20, 4 << 20];
/// Acknowledged writes from one moment to the next, about.
const DISTANCE: u64 = 100;
/// Moments in the test command, for each phase of the story.
const MOMENTS: u64 = 2;
/// Restarts beside each other: most of their time they wait until what initiators may have sent before is too old.
const SIDE_BY_SIDE: usize = 4;
const SURVIVALS: [Survival; 4] = [Survival::Chance, Survival::Nothing, Survival::Chance, Survival::All];

/// Everything as it was at a moment.
struct Moment {
    phase: &'static str,
    disks: Vec<VolatileDisk>,
    acknowledged: Versions,
    sent: Versions,
    /// The witness keeps its power.
    witness: Vec<(String, Vec<u8>)>,
}

struct Story {
    pair: Pair,
    // The nodes end before their disks do.
    nodes: [Process; 2],
    rack: Rack,
    record: Arc<Record>,
    random: Random,
    moments: Vec<Moment>,
}

fn number(name: &str, usual: u64) -> u64 {
    std::env::var(name).map_or(usual, |text| text.parse().expect("a number"))
}

impl Story {
    /// A volume that is whole, on disks that can lose something.
    fn new(pair: Pair) -> Self {
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
        Self { pair, rack, nodes, record, random, moments: Vec::new() }
    }

    /// Has it all happen while writes go on.
    fn tell(&mut self) {
        let host = self.pair.add_host("writer", &[0], MTU_JUMBO).expect("a host");
        let socket = FrameSocket::open(&host, "eth1", Duration::from_millis(20)).expect("a socket");
        let (record, stop) = (Arc::clone(&self.record), Arc::new(AtomicBool::new(false)));
        let stopped = Arc::clone(&stop);
        let targets = [0, 1].map(|node| Pair::virtual_mac(node, 0));
        let writer = thread::spawn(move || record.write_until(&stopped, &socket, targets));
        self.phase("both serve");
        for victim in [1, 0] {
            self.nodes[victim].kill().expect("it can be killed");
            self.phase("one is lost, the other alone");
            self.nodes[victim] = self.pair.start_node(victim).expect("node");
            self.phase("one is back");
            self.pair.wait_until_in_sync();
            self.phase("both serve again");
        }
        stop.store(true, Ordering::SeqCst);
        writer.join().expect("the writer's thread").expect("writes");
        self.nodes.iter_mut().for_each(|node| node.kill().expect("it can be killed"));
    }

    /// Lets the writes go on, and looks at everything some times.
    fn phase(&mut self, phase: &'static str) {
        for _ in 0..number("MOMENTS", MOMENTS) {
            let goal = u64::from(self.record.count()) + DISTANCE / 2 + self.random.below(DISTANCE);
            let reached = wait_until("acknowledged writes", PATIENCE, || {
                Ok((u64::from(self.record.count()) >= goal).then_some(()))
            });
            reached.unwrap_or_else(|error| panic!("{phase}: {error}\n{}", self.pair.logs()));
            // In this order: what was acknowledged before the moment must be there, what was sent after it cannot be.
            let acknowledged = self.record.acknowledged();
            let disks = self.rack.moment();
            let sent = self.record.sent();
            let witness = read_directory(&self.pair.scratch.join("witness"));
            self.moments.push(Moment { phase, disks, acknowledged, sent, witness });
        }
    }

    /// What each node is told of the volume; the disks are those of the rack.
    fn entries(&self) -> [String; 2] {
        let path = |node| self.pair.image(node).with_extension("volume.toml");
        [0, 1].map(|node| fs::read_to_string(path(node)).expect("an entry"))
    }
}

/// Hosts on which nodes are started after a loss of power.
struct Afterwards<'a> {
    pair: Pair,
    story: &'a Story,
}

impl Afterwards<'_> {
    /// Where a disk of the rack is here.
    fn file(&self, disk: usize) -> PathBuf {
        let image = self.pair.image(disk / 2);
        if disk.is_multiple_of(2) { image } else { image.with_extension("meta") }
    }

    fn furnish(&self) {
        for (node, mut text) in self.story.entries().into_iter().enumerate() {
            for disk in 0..DISKS.len() {
                let quoted = |path: &Path| format!("\"{}\"", path.display());
                text = text.replace(&quoted(self.story.rack.device(disk)), &quoted(&self.file(disk)));
            }
            fs::write(self.pair.image(node).with_extension("volume.toml"), text).expect("write an entry");
        }
    }

    /// Starts nodes with what a loss of power at this moment has left, and looks at both copies.
    fn restart_from(&self, moment: &Moment, survival: Survival, random: &mut Random) {
        let witness = self.pair.scratch.join("witness");
        // None of the first loss.
        let _ = fs::remove_dir_all(&witness);
        fs::create_dir(&witness).expect("make");
        for (name, bytes) in &moment.witness {
            fs::write(witness.join(name), bytes).expect("write");
        }
        for (number, disk) in moment.disks.iter().enumerate() {
            let bytes = disk.after_loss(survival, random);
            fs::write(self.file(number), bytes).expect("write a disk");
        }
        let _witness = self.pair.start_witness().expect("witness");
        let first = usize::from(random.below(2) == 0);
        let _nodes = [first, 1 - first].map(|node| self.pair.start_node(node).expect("node"));
        self.pair.wait_until_in_sync();
        assert!(self.pair.copies_are_equal(), "{}: the copies differ\n{}", moment.phase, self.pair.logs());
        let image = fs::read(self.pair.image(0)).expect("read a copy");
        if let Some(fault) = recorded_writes::fault(&image, &moment.acknowledged, &moment.sent) {
            panic!("{}, {survival:?}: {fault}\n{}", moment.phase, self.pair.logs());
        }
    }
}

fn read_directory(path: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(path).expect("a directory").flatten();
    let files = entries.filter(|entry| entry.path().is_file());
    let content = |entry: &fs::DirEntry| fs::read(entry.path()).expect("read");
    files.map(|entry| (entry.file_name().to_string_lossy().into_owned(), content(&entry))).collect()
}

#[test]
fn no_acknowledged_write_is_lost_when_both_nodes_lose_power_at_any_moment() {
    let pair = Pair::new("power", true).expect("hosts and wires");
    let witness = pair.start_witness().expect("witness");
    let mut story = Story::new(pair);
    story.tell();
    drop(witness);
    let moments = std::mem::take(&mut story.moments);
    let at_risk: usize =
        moments.iter().flat_map(|moment| &moment.disks).map(VolatileDisk::sectors_at_risk).sum();
    thread::scope(|scope| {
        for first in 0..SIDE_BY_SIDE {
            let (story, moments) = (&story, &moments);
            scope.spawn(move || {
                let pair = Pair::new(&format!("power{first}"), true).expect("hosts and wires");
                let afterwards = Afterwards { pair, story };
                afterwards.furnish();
                for (index, moment) in moments.iter().enumerate().skip(first).step_by(SIDE_BY_SIDE) {
                    let mut random = Random::new(number("SEED", 1) * 1000 + index as u64);
                    afterwards.restart_from(moment, SURVIVALS[index % SURVIVALS.len()], &mut random);
                }
            });
        }
    });
    let (count, written) = (moments.len(), story.record.count());
    println!("{count} losses of power, {written} writes acknowledged, {at_risk} sectors were at risk");
    assert!(at_risk > 0, "nothing was ever at risk");
}
