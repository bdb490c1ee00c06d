//! Two machines have one mirrored disk mounted at the same time, each through a node of its own, with the kernel's cluster file system
//! (OCFS2): what one writes the other reads, every file is whole on both copies, also when a node is killed under them.
//!
//! The file system's heartbeat is on the mirrored disk as well: a machine whose heartbeat does not get there in time panics, and its
//! emulator ends, which fails the test.
#![allow(clippy::disallowed_methods, reason = "these are tests of the real world")]

use lab::{
    Process, Program,
    guest::{Guest, Job},
    package, wait_until,
};
use std::{collections::BTreeSet, fs, time::Duration};
use tests::{DISCOVER, Pair};

const LIMIT: Duration = Duration::from_secs(120);
/// Rounds of the load that each machine does before something else happens.
const ROUNDS: u64 = 2;

/// The cluster: both machines' names and addresses, and patience for a busy host: two minutes until a machine counts as dead.
const JOIN: &str = r"
hostname guestOWN
mount -t configfs none /sys/kernel/config
mkdir -p /etc/ocfs2
node() { printf 'node:\n\tip_port = 7777\n\tip_address = 10.9.0.%s\n\tnumber = %s\n\tname = guest%s\n\tcluster = lab\n\n' $(($1 + 1)) $1 $1; }
{ printf 'cluster:\n\tnode_count = 2\n\tname = lab\n\n'; node 0; node 1; } > /etc/ocfs2/cluster.conf
ip address add 10.9.0.$((OWN + 1))/24 dev eth1
echo o2cb > /sys/fs/ocfs2/cluster_stack
/usr/sbin/o2cb register-cluster lab
cluster=/sys/kernel/config/cluster/lab
echo 61 > $cluster/heartbeat/dead_threshold
echo 120000 > $cluster/idle_timeout_ms
echo 1 > /proc/sys/kernel/panic_on_oops
";

/// Two slots: as many machines may have it mounted.
const MAKE: &str = "/usr/sbin/mkfs.ocfs2 -q -b 4096 -C 4096 -N 2 -J size=4M /dev/etherd/e7.1";
const MOUNT: &str = "/usr/sbin/mount.ocfs2 /dev/etherd/e7.1 /mnt";

/// Until told to stop: a new file, whose name is the checksum of what is in it; a line at the end of a file that both write, under a lock
/// (this kernel looks where the end is before it has the cluster's lock); and a look at all files of the other machine, which may take them
/// away meanwhile.
const LOAD: &str = r#"set -e
mkdir -p /mnt/OWN
until [ -e /shared/stop ]; do
    round=$(($(cat /shared/rounds) + 1))
    dd if=/dev/urandom of=/tmp/data bs=64k count=3 2> /dev/null
    sum=$(sha256sum < /tmp/data)
    dd if=/tmp/data of=/mnt/OWN/new bs=64k conv=fsync 2> /dev/null
    mv /mnt/OWN/new /mnt/OWN/$round.${sum%% *}
    old=$((round - 4))
    rm -f /mnt/OWN/$old.*
    /usr/bin/flock /mnt/lock sh -c "echo OWN $round >> /mnt/lines"
    for file in /mnt/OTHER/*.*; do
        cat $file > /tmp/copy || continue
        sum=$(sha256sum < /tmp/copy)
        [ ${sum%% *} = ${file##*.} ] || { echo "$file has the checksum $sum"; exit 1; }
    done 2> /tmp/gone
    ls /mnt/OWN > /shared/files
    echo $round > /shared/rounds.new
    mv /shared/rounds.new /shared/rounds
done
umount /mnt
rm /shared/stop
"#;

/// Reads everything, fresh from this machine's node.
const LOOK: &str = r#"set -e
for side in 0 1; do
    for file in /mnt/$side/*; do
        sum=$(sha256sum < $file)
        [ ${sum%% *} = ${file##*.} ] || { echo "$file has the checksum $sum"; exit 1; }
        echo "$side ${file##*/}"
    done
done > /tmp/seen
cat /tmp/seen
cat /mnt/lines > /shared/lines
"#;

/// A pair, and two machines that share its disk.
struct Cluster {
    _witness: Process,
    nodes: [Process; 2],
    guests: [Guest; 2],
    // After who writes in its directory.
    pair: Pair,
}

impl Cluster {
    fn start() -> Self {
        let pair = Pair::new("cluster", true).expect("hosts and wires");
        let witness = pair.start_witness().expect("witness");
        let nodes = [0, 1].map(|node| pair.start_node(node).expect("node"));
        pair.command(0, "volume create 7.1 --size 128M").expect("a volume");
        pair.wait_until_in_sync();
        pair.add_guest_network().expect("a network");
        let guests = [0, 1].map(|node| pair.guest_through(&format!("guest{node}"), node).expect("guest"));
        let mut cluster = Self { _witness: witness, nodes, guests, pair };
        cluster.on_both(&|own| format!("{DISCOVER}{}", JOIN.replace("OWN", &own.to_string())));
        cluster.guests[0].run(MAKE, LIMIT).expect("a file system");
        for guest in &cluster.guests {
            fs::write(guest.shared().join("rounds"), "0").expect("a beginning");
        }
        cluster
    }

    /// Has both machines do something at the same time; what they said.
    fn on_both(&mut self, script: &dyn Fn(usize) -> String) -> [String; 2] {
        let jobs = [0, 1].map(|own| self.guests[own].start_job(&script(own)).expect("an order"));
        self.wait_for(&jobs)
    }

    fn wait_for(&mut self, jobs: &[Job; 2]) -> [String; 2] {
        [0, 1].map(|own| {
            let ended = self.guests[own].wait_for_job(&jobs[own], LIMIT);
            let other = self.guests[1 - own].console();
            ended.unwrap_or_else(|error| {
                panic!("{error}\nthe other's console:\n{other}\n{}", self.pair.logs());
            })
        })
    }

    fn begin_load(&mut self) -> [Job; 2] {
        let jobs = [0, 1].map(|own| {
            let script = LOAD.replace("OWN", &own.to_string()).replace("OTHER", &(1 - own).to_string());
            self.guests[own].start_job(&script).expect("load")
        });
        self.let_it_work(&jobs);
        jobs
    }

    /// Waits until both machines have done some more rounds.
    fn let_it_work(&self, jobs: &[Job; 2]) {
        let goals = [0, 1].map(|own| self.rounds(own) + ROUNDS);
        let worked = wait_until("rounds of both", LIMIT, || {
            let ended = [0, 1].into_iter().any(|own| !self.guests[own].is_running(&jobs[own]));
            let done = [0, 1].into_iter().all(|own| self.rounds(own) >= goals[own]);
            Ok((done || ended).then_some(done))
        });
        if !worked.as_ref().is_ok_and(|done| *done) {
            let said =
                [0, 1].map(|own| self.guests[own].job_output(&jobs[own]) + &self.guests[own].console());
            panic!("{worked:?}\n{}\n{}\n{}", said[0], said[1], self.pair.logs());
        }
    }

    fn rounds(&self, own: usize) -> u64 {
        let text = fs::read_to_string(self.guests[own].shared().join("rounds")).expect("rounds");
        text.trim().parse().expect("a number")
    }

    /// Ends the load, which unmounts, and judges both copies.
    fn end_load(&mut self, jobs: &[Job; 2]) {
        for guest in &self.guests {
            fs::write(guest.shared().join("stop"), "").expect("a word to the guest");
        }
        self.wait_for(jobs);
        self.judge_copies();
    }

    fn judge_copies(&self) {
        self.pair.wait_until_in_sync();
        for node in 0..2 {
            let image = self.pair.image(node);
            let said = Program::new("fsck.ocfs2").args(["-f", "-n"]).arg(&image).run().expect("clean").stdout;
            assert!(said.contains("All passes succeeded"), "{said}");
        }
        assert!(self.pair.copies_are_equal(), "the copies differ\n{}", self.pair.logs());
    }

    /// Mounts at both machines, and has each read all that both have written.
    fn mount_and_look(&mut self) {
        self.on_both(&|_| MOUNT.into());
        let seen = self.on_both(&|_| LOOK.into());
        let mut expected = BTreeSet::new();
        for own in 0..2 {
            let files = fs::read_to_string(self.guests[own].shared().join("files")).expect("files");
            expected.extend(files.lines().map(|name| format!("{own} {name}")));
        }
        for (own, seen) in seen.iter().enumerate() {
            let found: BTreeSet<String> = seen.lines().map(str::to_owned).collect();
            assert_eq!(found, expected, "as seen by guest{own}");
            let lines = fs::read_to_string(self.guests[own].shared().join("lines")).expect("lines");
            for side in 0..2 {
                let written = (1..=self.rounds(side)).map(|round| format!("{side} {round}"));
                let found = lines.lines().filter(|line| line.starts_with(&format!("{side} ")));
                assert!(found.eq(written), "lines of guest{side}, as seen by guest{own}:\n{lines}");
            }
        }
    }

    fn unmount(&mut self) {
        self.on_both(&|_| "umount /mnt".into());
        self.judge_copies();
    }
}

#[test]
fn two_machines_share_a_file_system_through_one_node_each_while_nodes_are_killed() {
    package::require(&[package::OCFS2_TOOLS]).expect("the tools");
    let mut cluster = Cluster::start();
    cluster.on_both(&|_| MOUNT.into());
    let jobs = cluster.begin_load();
    cluster.end_load(&jobs);

    cluster.mount_and_look();
    let jobs = cluster.begin_load();
    for victim in [0, 1] {
        cluster.nodes[victim].kill().expect("it can be killed");
        cluster.pair.wait_until_alone(1 - victim);
        cluster.let_it_work(&jobs);
        cluster.nodes[victim] = cluster.pair.start_node(victim).expect("node");
        cluster.pair.wait_until_in_sync();
        cluster.let_it_work(&jobs);
    }
    cluster.end_load(&jobs);
    cluster.mount_and_look();
    cluster.unmount();
    for guest in &cluster.guests {
        assert!(!guest.console().contains("I/O error"), "{}", guest.console());
    }
}
