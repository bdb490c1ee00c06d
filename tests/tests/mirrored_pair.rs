//! The Linux kernel's own initiator on a mirrored pair, while nodes, wires and the witness fail one after the other: no I/O error,
//! no lost and no old byte, a clean file system, equal copies, and no request that waits longer than it must.
#![allow(clippy::disallowed_methods, reason = "these are tests of the real world")]

use lab::{
    Error, Process, Program, Signal,
    guest::{Guest, Job},
    wait_until,
};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    time::{Duration, Instant},
};
use tests::{DISCOVER, MIB, Pair, use_grown};

const LIMIT: Duration = Duration::from_secs(120);
/// What the loss of one part may cost a request.
const STALL_MAX: Duration = Duration::from_secs(3);
/// Two nodes that have both just started answer nothing for so long: what was sent to them before may still be under way.
const QUIET_OF_BOTH: Duration = Duration::from_secs(2);
/// Linux' driver looks for another target when a request has waited for more than ten seconds.
const STOCK_DRIVER_WAITS: Duration = Duration::from_secs(10);
/// Answers that a node may have been about to send when it was stopped: a turn's. The initiator has sent those requests again since
/// and takes no answer to the old tags.
const ANSWERS_UNDER_WAY_MAX: u64 = 64;

/// Until told to stop: files into the file system in the first half of the disk, and beside it rounds of fio, each of which
/// writes the same blocks with another seed and reads all of them back. `randrw` with writes only, because fio compares no seeds with
/// `randwrite`, and old blocks would pass. Between its rounds it asks nothing, so one more fio, the watch, asks for one block after the
/// other all the time. Then the file system is judged.
const LOAD: &str = r"set -e
disk=/dev/etherd/e7.1
/usr/bin/fio --name=watch --filename=$disk --allow_mounted_write=1 --offset=80m --size=1m --ioengine=psync --direct=1 --thread --rw=randrw \
    --bs=4k --rate_iops=50 --time_based --runtime=1h --exec_prerun='touch /shared/NUMBER.watched' \
    --output-format=json --output=/shared/NUMBER.watch &
watch=$!
mount -t ext4 $disk /mnt
rm -f /tmp/sum.*
(
    set -e
    file=0
    until [ -e /shared/stop ]; do
        file=$(((file + 1) % 8))
        dd if=/dev/urandom of=/tmp/data bs=64k count=3 2> /dev/null
        begun=$(cut -d' ' -f1 /proc/uptime)
        dd if=/tmp/data of=/mnt/file.$file bs=64k conv=fsync 2> /dev/null
        echo $begun $(cut -d' ' -f1 /proc/uptime) >> /shared/NUMBER.files
        sha256sum < /tmp/data > /tmp/sum.$file
        sleep 0.1
    done
) &
files=$!
round=0
until [ -e /shared/stop ]; do
    round=$((round + 1))
    for phase in write read; do
        option=--do_verify=0
        [ $phase = write ] || option=--verify_only
        /usr/bin/fio --name=work --filename=$disk --allow_mounted_write=1 --offset=64m --size=4m --ioengine=libaio --direct=1 --thread --rw=randrw \
            --rwmixwrite=100 --bs=4k --iodepth=16 --rate_iops=1000 --randseed=$((NUMBER * 1000 + round)) --verify=crc32c \
            --verify_fatal=1 $option --output-format=json --output=/shared/NUMBER.$phase.$round
    done
done
wait $files
kill $watch
wait $watch || true
umount /mnt
mount -t ext4 $disk /mnt
for sum in /tmp/sum.*; do
    sha256sum < /mnt/file.${sum##*.} | cmp - $sum
done
umount /mnt
e2fsck -f -n $disk
rm /shared/stop
";

/// The disks that the driver has, and what it says of the targets of ours.
const TARGETS: &str = "set -e
[ \"$(echo /sys/block/etherd*)\" = '/sys/block/etherd!e7.1' ]
[ -d /sys/kernel/debug/aoe ] || mount -t debugfs debug /sys/kernel/debug
cat /sys/kernel/debug/aoe/e7.1
";

/// A pair in service, and a guest that has its disk.
struct Service {
    witness: Process,
    nodes: [Process; 2],
    guest: Guest,
    virtual_macs: bool,
    rounds: u32,
    // After who writes in its directory.
    pair: Pair,
}

/// A target as Linux' driver knows it: its address, and the interface that it answers on.
type Responder = (String, String);

/// A load under way.
struct Load {
    number: u32,
    job: Job,
    begun: Instant,
}

/// How it was for the initiator. The driver gives a target that does not answer a request or two and no more, so that any of these may be the
/// only one to notice.
#[derive(Debug)]
struct Experience {
    writes: u64,
    reads: u64,
    longest_write: Duration,
    longest_read: Duration,
    /// Of the watch. Where nobody serves, it waits for no less.
    longest_watched: Duration,
    /// Of a whole file, with what the guest takes for it.
    longest_file: Duration,
}

impl Service {
    fn start(label: &str, virtual_macs: bool) -> Self {
        let pair = Pair::new(label, virtual_macs).expect("hosts and wires");
        let witness = pair.start_witness().expect("witness");
        let nodes = [0, 1].map(|node| pair.start_node(node).expect("node"));
        pair.command(0, "volume create 7.1 --size 96M").expect("a volume");
        pair.wait_until_in_sync();
        let mut guest = pair.guest("guest").expect("guest");
        let make = "mkfs.ext4 -q -E lazy_itable_init=0,lazy_journal_init=0 /dev/etherd/e7.1 48M";
        guest.run(&format!("{DISCOVER}{make}"), LIMIT).expect("a disk and its file system");
        let mut service = Self { witness, nodes, guest, virtual_macs, rounds: 0, pair };
        service.wait_for_the_targets();
        service
    }

    /// The driver sees one disk, whose targets are both nodes, each at an address of its own on each of the two networks. Until it has
    /// heard from all of them. How many requests each has answered.
    fn wait_for_the_targets(&mut self) -> BTreeMap<Responder, u64> {
        let places = [(0, 0), (0, 1), (1, 0), (1, 1)];
        let expected = BTreeSet::from(places.map(|(node, network)| self.responder(node, network)));
        let mut said = String::new();
        let seen = wait_until("both nodes among the driver's targets", LIMIT, || {
            said = self.guest.run(TARGETS, LIMIT)?;
            let seen = responders(&said);
            Ok(expected.iter().eq(seen.keys()).then_some(seen))
        });
        seen.unwrap_or_else(|error| panic!("{error}\nnot {expected:?} but\n{said}"))
    }

    /// How the driver sees a node on one of the storage networks.
    fn responder(&self, node: usize, network: usize) -> Responder {
        let mac = if self.virtual_macs {
            Pair::virtual_mac(node, network).map(|byte| format!("{byte:02x}")).concat()
        } else {
            let mac = self.pair.node(node).mac(&format!("eth{}", network + 1)).expect("an interface");
            mac.replace(':', "")
        };
        (mac, format!("eth{network}"))
    }

    fn begin_load(&mut self) -> Load {
        self.rounds += 1;
        let script = LOAD.replace("NUMBER", &self.rounds.to_string());
        let job = self.guest.start_job(&script).expect("load");
        let load = Load { number: self.rounds, job, begun: Instant::now() };
        let watched = self.guest.shared().join(format!("{}.watched", load.number));
        wait_until("the watch", LIMIT, || Ok(watched.exists().then_some(()))).expect("fio");
        self.let_it_work(&load);
        load
    }

    /// Waits until the initiator has sent so many more frames that requests were answered.
    fn let_it_work(&self, load: &Load) {
        self.let_it_send(load, 500);
    }

    fn let_it_send(&self, load: &Load, frames: u64) {
        let before = self.pair.frames_from("guest").expect("count");
        let worked = wait_until("the load to go on", LIMIT, || {
            let sent = self.pair.frames_from("guest")? - before;
            Ok((sent > frames || !self.guest.is_running(&load.job)).then_some(()))
        });
        if worked.is_err() || !self.guest.is_running(&load.job) {
            panic!("{}\n{}\n{}", self.guest.job_output(&load.job), self.guest.console(), self.pair.logs());
        }
    }

    /// Lets the load work on in the healed pair, ends it, and judges.
    fn end_load(&mut self, name: &str, load: Load) -> Experience {
        self.pair.wait_until_in_sync();
        self.let_it_work(&load);
        fs::write(self.guest.shared().join("stop"), "").expect("a word to the guest");
        let ended = self.guest.wait_for_job(&load.job, LIMIT);
        let said = ended.unwrap_or_else(|error| panic!("{name}: {error}\n{}", self.pair.logs()));
        assert!(said.contains("e2fsck") && !said.contains("FIXED"), "{said}");
        let console = self.guest.console();
        assert!(!console.contains("I/O error"), "{name}: an I/O error reached the initiator:\n{console}");
        self.pair.wait_until_in_sync();
        assert!(self.pair.copies_are_equal(), "{name}: the copies differ\n{}", self.pair.logs());
        let experience = self.experience(load.number);
        println!("{name}: {experience:?}, {} s", load.begun.elapsed().as_secs());
        experience
    }

    fn experience(&self, number: u32) -> Experience {
        let files = fs::read_to_string(self.guest.shared().join(format!("{number}.files"))).expect("files");
        let mut sum = Experience {
            writes: 0,
            reads: 0,
            longest_write: Duration::ZERO,
            longest_read: Duration::ZERO,
            longest_watched: self.longest_watched(number),
            longest_file: files.lines().map(lasted).max().expect("a file"),
        };
        for round in 1.. {
            let reports = ["write", "read"].map(|phase| {
                fs::read_to_string(self.guest.shared().join(format!("{number}.{phase}.{round}"))).ok()
            });
            let [Some(writes), Some(reads)] = reports else { break };
            let (count, longest) = figures(&writes, "write");
            (sum.writes, sum.longest_write) = (sum.writes + count, sum.longest_write.max(longest));
            let (count, longest) = figures(&reads, "read");
            (sum.reads, sum.longest_read) = (sum.reads + count, sum.longest_read.max(longest));
        }
        assert!(sum.writes > 0 && sum.reads > 0, "{sum:?}");
        sum
    }

    fn longest_watched(&self, number: u32) -> Duration {
        let path = self.guest.shared().join(format!("{number}.watch"));
        let report = fs::read_to_string(path).expect("the watch's report");
        let directions = ["write", "read"].map(|direction| figures(&report, direction));
        assert!(directions.iter().all(|(count, _)| *count > 0), "it has asked: {report}");
        directions[0].1.max(directions[1].1)
    }

    /// The longest that a request or a file of a load that goes on has taken until now.
    fn longest_so_far(&self, load: &Load) -> Duration {
        let (shared, number) = (self.guest.shared(), load.number);
        let files = fs::read_to_string(shared.join(format!("{number}.files"))).unwrap_or_default();
        let lines = files.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
        let mut longest = lines.map(lasted).max().unwrap_or_default();
        let report = |phase: &str, round: u32| shared.join(format!("{number}.{phase}.{round}"));
        // A report is whole when fio has begun the next one.
        for round in 1.. {
            for (phase, next) in [("write", report("read", round)), ("read", report("write", round + 1))] {
                if !next.exists() {
                    return longest;
                }
                let whole = fs::read_to_string(report(phase, round)).expect("a report");
                longest = longest.max(figures(&whole, phase).1);
            }
        }
        unreachable!("a load ends before that many rounds");
    }

    /// Lets the load go on once one of the nodes serves alone; which one. The other one serves nothing all the time.
    fn let_one_go_on(&self, load: &Load) -> usize {
        let winner = self.pair.wait_for_winner();
        self.assert_silent(1 - winner);
        self.let_it_work(load);
        self.assert_silent(1 - winner);
        winner
    }

    fn assert_silent(&self, node: usize) {
        let volume = self.pair.volume(node).expect("a volume");
        assert_eq!(volume["serving"], false, "{volume}\n{}", self.pair.logs());
    }

    /// Waits until a node knows that it does not reach the witness.
    fn wait_until_witness_is_lost(&self, node: usize) {
        let knows = || Ok((self.pair.status(node)?["arbiter"]["reachable"] == false).then_some(()));
        let what = format!("node {node} to miss the witness");
        self.pair.wait_for_pair(&what, LIMIT, knows).expect("a node that looks");
    }

    /// Waits until a node's peer answers at its address on one of the storage networks.
    fn wait_until_answered_for(&self, node: usize, network: usize) {
        let answers = || {
            let status = self.pair.status(1 - node)?;
            Ok((status["interfaces"][network]["answers_for_peer"] == true).then_some(()))
        };
        let what = format!("somebody to answer for node {node}");
        self.pair.wait_for_pair(&what, LIMIT, answers).expect("a node that stands in");
    }

    /// How many frames both nodes have sent to initiators.
    fn answers(&self) -> u64 {
        [0, 1].map(|node| self.pair.frames_sent(node).expect("count")).iter().sum()
    }

    fn kill(&mut self, node: usize) {
        self.nodes[node].kill().expect("it can be killed");
    }

    fn restart(&mut self, node: usize) {
        self.nodes[node] = self.pair.start_node(node).expect("node");
    }
}

/// From the first of two moments in seconds to the second.
fn lasted(moments: &str) -> Duration {
    let moments: Vec<f64> = moments.split(' ').map(|moment| moment.parse().expect("seconds")).collect();
    let [begun, ended] = moments[..] else { panic!("two moments, not {moments:?}") };
    Duration::from_secs_f64((ended - begun).max(0.0))
}

/// What the driver says of its targets: an address before a colon, figures, and the interfaces in a line of their own.
fn responders(said: &str) -> BTreeMap<Responder, u64> {
    let mut found = BTreeMap::new();
    let (mut mac, mut answered) = (String::new(), 0);
    for line in said.lines() {
        let (name, figure) = line.split_once(':').unwrap_or((line, ""));
        match name.strip_prefix('\t') {
            None => mac = name.into(),
            Some("r" | "w") => answered += figure.parse::<u64>().expect("a number"),
            Some(interfaces) if figure.is_empty() => {
                found.insert((std::mem::take(&mut mac), interfaces.into()), std::mem::take(&mut answered));
            }
            Some(_) => {}
        }
    }
    found
}

/// How many requests a report of fio is about, and the longest of them.
fn figures(report: &str, direction: &str) -> (u64, Duration) {
    // What fio has to remark stands before.
    let begin = report.find('{').unwrap_or_default();
    let report: Value = serde_json::from_str(&report[begin..]).expect("a report");
    assert_eq!(report["jobs"][0]["error"], 0, "{report}");
    let part = &report["jobs"][0][direction];
    let number = |value: &Value| value.as_u64().expect("a number");
    (number(&part["total_ios"]), Duration::from_nanos(number(&part["lat_ns"]["max"])))
}

impl Experience {
    /// A file is some requests one after the other: none of them took longer.
    fn longest(&self) -> Duration {
        [self.longest_write, self.longest_read, self.longest_watched, self.longest_file]
            .into_iter()
            .max()
            .expect("four")
    }

    fn assert_short(&self) {
        self.assert_at_most(STALL_MAX);
    }

    fn assert_at_most(&self, limit: Duration) {
        assert!(self.longest() <= limit, "no request may wait for longer than {limit:?}: {self:?}");
    }
}

#[test]
fn the_kernel_s_initiator_does_not_notice_what_fails() {
    let mut service = Service::start("mirror", true);
    either_node_killed(&mut service);
    one_wire_between_the_nodes_lost(&mut service);
    peer_link_cut(&mut service);
    node_cut_off_from_peer_and_witness(&mut service);
    node_stopped(&mut service);
    storage_interface_down_and_node_left(&mut service);
    witness_away(&mut service);
    witness_away_and_then_the_peer_link(&mut service);
    both_nodes_killed(&mut service);
    storage_interfaces_down(&mut service);
    volume_grown(&mut service);
    let answered = service.wait_for_the_targets();
    assert!(answered.values().all(|count| *count > 0), "all of them were used: {answered:?}");
    for node in 0..2 {
        Program::new("e2fsck").args(["-f", "-n"]).arg(service.pair.image(node)).run().expect("clean");
    }
}

fn either_node_killed(service: &mut Service) {
    let load = service.begin_load();
    for victim in [0, 1] {
        service.kill(victim);
        service.pair.wait_until_alone(1 - victim);
        service.let_it_work(&load);
        service.restart(victim);
        service.pair.wait_until_in_sync();
        service.let_it_work(&load);
    }
    service.end_load("node 0 killed and back, then node 1", load).assert_short();
}

/// The nodes have another wire, and connect over it before one of them would go on alone; a busy machine may be later, and then one
/// does.
fn one_wire_between_the_nodes_lost(service: &mut Service) {
    let load = service.begin_load();
    let wire = service.pair.wait_until_connected().expect("a stream");
    service.pair.set_peer_wire_silent(wire, true).expect("silence");
    service.pair.wait_until_connected_over(1 - wire).expect("the other wire");
    service.pair.wait_until_in_sync();
    service.let_it_work(&load);
    service.pair.set_peer_wire_silent(wire, false).expect("there again");
    service.pair.set_peer_wire_up(1 - wire, false).expect("cut");
    service.pair.wait_until_connected_over(wire).expect("the first wire");
    service.pair.wait_until_in_sync();
    service.let_it_work(&load);
    service.pair.set_peer_wire_up(1 - wire, true).expect("there again");
    service.end_load("one wire between the nodes silent, then the other pulled", load).assert_short();
}

/// In one direction only, and altogether. Neither node can do without what the other one says: the session ends, and exactly one goes on.
fn peer_link_cut(service: &mut Service) {
    type Cut = fn(&Pair, bool) -> Result<(), Error>;
    let cuts: [Cut; 3] = [
        |pair, cut| pair.set_deaf_to_peer(0, cut),
        |pair, cut| pair.set_deaf_to_peer(1, cut),
        |pair, cut| pair.set_peer_link_up(!cut),
    ];
    let load = service.begin_load();
    for set_cut in cuts {
        set_cut(&service.pair, true).expect("cut");
        service.let_one_go_on(&load);
        set_cut(&service.pair, false).expect("there again");
        service.pair.wait_until_in_sync();
        service.let_it_work(&load);
    }
    service.end_load("peer link silent for node 0, for node 1, then pulled", load).assert_short();
}

/// The other one goes on, whether the node still hears what it is told, is still heard, or neither. One that is heard may be granted what
/// it asks for and not hear that, and then nobody goes on: here it has noticed that the witness says nothing, and asks nothing.
fn node_cut_off_from_peer_and_witness(service: &mut Service) {
    let load = service.begin_load();
    service.pair.set_witness_link_silent(0, true).expect("silence");
    service.pair.set_peer_link_silent(true).expect("silence");
    assert_eq!(service.let_one_go_on(&load), 1);
    service.pair.set_witness_link_silent(0, false).expect("there again");
    service.pair.set_peer_link_silent(false).expect("there again");
    service.pair.wait_until_in_sync();
    service.pair.set_unheard_by_witness(1, true).expect("silence");
    service.pair.set_deaf_to_peer(0, true).expect("silence");
    assert_eq!(service.let_one_go_on(&load), 0);
    service.pair.set_unheard_by_witness(1, false).expect("there again");
    service.pair.set_deaf_to_peer(0, false).expect("there again");
    service.pair.wait_until_in_sync();
    service.pair.set_deaf_to_witness(0, true).expect("silence");
    service.wait_until_witness_is_lost(0);
    service.pair.set_deaf_to_peer(0, true).expect("silence");
    assert_eq!(service.let_one_go_on(&load), 1);
    service.pair.set_deaf_to_witness(0, false).expect("there again");
    service.pair.set_deaf_to_peer(0, false).expect("there again");
    service
        .end_load("node 0 cut off from peer and witness, node 1 unheard by both, node 0 deaf to both", load)
        .assert_short();
}

/// The stopped node must not answer with old data when it goes on: it is kept from its peer then, and has to be silent.
fn node_stopped(service: &mut Service) {
    let load = service.begin_load();
    service.nodes[0].signal(Signal::Stop).expect("stop");
    let stopped = Instant::now();
    service.pair.wait_until_alone(1);
    let sent = service.pair.frames_sent(0).expect("count");
    service.let_it_work(&load);
    service.pair.set_peer_link_silent(true).expect("silence");
    std::thread::sleep(Duration::from_secs(10).saturating_sub(stopped.elapsed()));
    service.nodes[0].signal(Signal::Continue).expect("continue");
    service.pair.wait_for(0, "frozen", |volume| volume["serving"] == false);
    service.let_it_work(&load);
    let answered = service.pair.frames_sent(0).expect("count") - sent;
    assert!(answered <= ANSWERS_UNDER_WAY_MAX, "{answered} answers with what it had");
    service.pair.set_peer_link_silent(false).expect("there again");
    service.end_load("node 0 stopped for 10 s", load).assert_short();
}

fn witness_away(service: &mut Service) {
    let load = service.begin_load();
    service.witness.kill().expect("it can be killed");
    service.let_it_work(&load);
    service.witness = service.pair.start_witness().expect("witness");
    service.end_load("witness away", load).assert_short();
}

/// Nobody may go on then, whoever asks: as soon as the witness is back one of them does.
fn witness_away_and_then_the_peer_link(service: &mut Service) {
    let load = service.begin_load();
    service.witness.kill().expect("it can be killed");
    (0..2).for_each(|node| service.wait_until_witness_is_lost(node));
    service.let_it_work(&load);
    let begun = Instant::now();
    service.pair.set_peer_link_silent(true).expect("silence");
    for node in 0..2 {
        service
            .pair
            .wait_for(node, "frozen", |volume| volume["phase"] == "Frozen" && volume["serving"] == false);
    }
    let (frozen, answered) = (Instant::now(), service.answers());
    service.let_it_send(&load, 100);
    assert_eq!(service.answers(), answered, "what is asked again is answered by nobody");
    let silent = frozen.elapsed();
    service.witness = service.pair.start_witness().expect("witness");
    let away = begun.elapsed();
    service.let_one_go_on(&load);
    service.pair.set_peer_link_silent(false).expect("there again");
    let experience = service.end_load("witness away, then peer link silent", load);
    assert!(
        experience.longest_watched >= silent,
        "the watch sees that nobody answers for {silent:?}: {experience:?}"
    );
    experience.assert_at_most(away + STALL_MAX);
}

/// Nobody is there to answer for a while; it must be as if the requests had only taken long. From when both are there again it may not take
/// longer than any other loss: the time that they were away is nobody's to shorten, and two seconds of quiet are in the rest.
fn both_nodes_killed(service: &mut Service) {
    let load = service.begin_load();
    let begun = Instant::now();
    service.kill(0);
    service.kill(1);
    service.restart(0);
    service.restart(1);
    let away = begun.elapsed();
    service.pair.wait_until_in_sync();
    let experience = service.end_load(&format!("both nodes killed at once, away for {away:?}"), load);
    assert!(
        experience.longest_watched >= QUIET_OF_BOTH,
        "the watch sees that nobody answers: {experience:?}"
    );
    experience.assert_at_most(away + STALL_MAX);
}

/// Both nodes serve, and one answers at the other's address where that has no link; when the node leaves, it does so for the whole of it.
fn storage_interface_down_and_node_left(service: &mut Service) {
    let load = service.begin_load();
    let port = Pair::storage_port(1, 0);
    service.pair.switch.set_down(&port).expect("down");
    service.pair.command(1, "leave").expect("it leaves");
    service.pair.wait_until_alone(0);
    service.let_it_work(&load);
    service.pair.switch.set_up(&port).expect("up");
    service.pair.command(1, "join").expect("it joins");
    service.end_load("a storage interface of node 1 down, and node 1 left", load).assert_short();
}

/// The other node answers at the address whose link has gone, for as long as it has: one of each node at once, then both of one.
fn storage_interfaces_down(service: &mut Service) {
    let load = service.begin_load();
    for lost in [[(1, 0), (0, 1)], [(0, 0), (0, 1)]] {
        for (node, network) in lost {
            service.pair.set_storage_link_up(node, network, false).expect("down");
        }
        for (node, network) in lost {
            service.wait_until_answered_for(node, network);
        }
        let before = service.wait_for_the_targets();
        service.let_it_work(&load);
        let since = service.wait_for_the_targets();
        for (node, network) in lost {
            let at = service.responder(node, network);
            assert!(since[&at] > before[&at], "somebody answers at {at:?}: {before:?}, then {since:?}");
        }
        for (node, network) in lost {
            service.pair.set_storage_link_up(node, network, true).expect("up");
        }
        service.let_it_work(&load);
    }
    let what = "a storage interface of each node down, then both of node 0";
    service.end_load(what, load).assert_short();
}

/// The disk gets larger while it is in use, and Linux sees that when it is told to look.
fn volume_grown(service: &mut Service) {
    let load = service.begin_load();
    service.pair.command(0, "volume resize 7.1 --size 128M").expect("it grows");
    // What was lost when the nodes parted is sent again first: told to look, the driver begins with a timeout of 16 s.
    service.let_it_work(&load);
    service.guest.run(&use_grown(128 * MIB), LIMIT).expect("the new size, and data at the new end");
    service.let_it_work(&load);
    // How long it takes is up to the file systems that the copies are in.
    service.end_load("the volume grown", load);
}

/// The same without the pair's own addresses: the initiator turns to the other node by itself, after 11 s.
#[test]
fn without_virtual_addresses_the_kernel_s_initiator_waits_longer() {
    let mut service = Service::start("mirror-stock", false);
    let load = service.begin_load();
    service.kill(0);
    service.pair.wait_until_alone(1);
    // Nothing else ends their waiting: node 0 stays away so long.
    let waited = wait_until("requests that waited for the driver", LIMIT, || {
        Ok((service.longest_so_far(&load) > STOCK_DRIVER_WAITS).then_some(()))
    });
    waited.unwrap_or_else(|error| panic!("{error}\n{}\n{}", service.guest.console(), service.pair.logs()));
    service.restart(0);
    let experience = service.end_load("node 0 killed, without virtual addresses", load);
    assert!(experience.longest() > STOCK_DRIVER_WAITS, "{experience:?}");
}
