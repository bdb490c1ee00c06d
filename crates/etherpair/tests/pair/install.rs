//! The page that tells how two nodes and a witness are installed, done as it stands there.
//!
//! Each machine has its network from the laboratory, and directories of its own in the places where it is installed: nothing of the
//! host's is touched.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::PathBuf;

use lab::disk::LoopDevice;
use lab::{Namespace, Process, Program, wait_until, workspace_directory};
use serde_json::Value;

use super::disk;
use super::world::{PATIENCE, World};

const PAGE: &str = include_str!("../../../../docs/operating/pair.md");
const SECTION: &str = "## Install two nodes and a witness\n";
/// What a machine has of its own.
const PLACES: [&str; 4] = ["etc", "run", "usr/local/bin", "var/lib"];
/// Puts these in their places, and the device that the page speaks of in `/dev`. Nobody else sees that.
const AT_HOME: &str = r#"
for place in etc run usr/local/bin var/lib; do mount --bind "$MACHINE/$place" "/$place"; done
mount -t tmpfs none /dev
mknod -m 666 /dev/null c 1 3
mknod -m 666 /dev/urandom c 1 9
mkdir /dev/vg0
[ -z "$DEVICE" ] || mknod /dev/vg0/disk b $DEVICE
cd "$MACHINE/tree"
exec sh -e -c "$1"
"#;

/// One of the machines that the page speaks of.
struct Machine<'a> {
    host: &'a Namespace,
    directory: PathBuf,
    device: Option<LoopDevice>,
}

impl<'a> Machine<'a> {
    fn new(world: &'a World, name: &str, host: &'a Namespace, device: Option<LoopDevice>) -> Self {
        let directory = world.scratch.join(name.replace(' ', "-"));
        for place in PLACES.into_iter().chain(["tree"]) {
            fs::create_dir_all(directory.join(place)).expect("a directory");
        }
        let tree = directory.join("tree");
        symlink(env!("CARGO_BIN_EXE_etherpair"), tree.join("etherpair")).expect("the binary");
        symlink(workspace_directory().join("docs"), tree.join("docs")).expect("the documents");
        Self { host, directory, device }
    }

    fn program(&self, commands: &str) -> Program {
        let number = |device: &LoopDevice| {
            let device = fs::metadata(device.path()).expect("a device").rdev();
            format!("{} {}", libc::major(device), libc::minor(device))
        };
        let program = self.host.program("sh").args(["-e", "-c", AT_HOME, "sh", commands]);
        program
            .env("MACHINE", &self.directory)
            .env("DEVICE", self.device.as_ref().map_or_else(String::new, number))
            .env("PATH", "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .within(PATIENCE)
    }

    fn does(&self, commands: &str) -> String {
        if commands.is_empty() {
            return String::new();
        }
        let output = self.program(commands).output().expect("it ends");
        assert!(output.status.success(), "{commands}\n{output:?}");
        output.stdout
    }

    /// Whether all volumes are served, and both copies of each are equal.
    fn is_whole(&self, count: usize) -> bool {
        let status: Value = serde_json::from_str(&self.does("etherpair status --json")).expect("JSON");
        let volumes = status["volumes"].as_array().expect("a list");
        volumes.len() == count && volumes.iter().all(lab::pair::is_whole)
    }
}

/// The blocks of commands in that part of the page: where each is run, and its lines.
fn blocks() -> Vec<(&'static str, Vec<&'static str>)> {
    let (_, section) = PAGE.split_once(SECTION).expect("the section");
    let (section, _) = section.split_once("\n## ").expect("its end");
    let mut lines = section.lines();
    let mut blocks = Vec::new();
    while let Some(fence) = lines.find(|line| line.trim_start() == "```") {
        let indent = fence.len() - 3;
        let inside = lines.by_ref().take_while(|line| line.trim_start() != "```");
        let inside: Vec<&str> = inside.map(|line| line.get(indent..).unwrap_or_default()).collect();
        match inside[0].strip_prefix("# on ") {
            Some(machine) => blocks.push((machine, inside[1..].to_vec())),
            None => assert_eq!(inside[0], "[Unit]", "a block of commands says where they are given"),
        }
    }
    blocks
}

#[test]
fn two_nodes_and_a_witness_are_installed_by_the_commands_of_the_page_as_they_stand_there() {
    let world = World::new();
    let disks = [("disk0", 0), ("disk1", 1)].map(|(name, byte)| disk(&world, name, byte));
    let [zero, one] = disks.map(Some);
    let machines = [
        ("the witness", world.witness_host(), None),
        ("node 0", world.node(0), zero),
        ("node 1", world.node(1), one),
        ("an initiator", &world.client, None),
    ];
    let machines = machines.map(|(name, host, device)| (name, Machine::new(&world, name, host, device)));
    let machine = |wanted: &str| {
        let found = machines.iter().find(|(name, _)| *name == wanted);
        &found.unwrap_or_else(|| panic!("a machine named {wanted:?}")).1
    };
    let mut daemons: Vec<Process> = Vec::new();
    let mut said = String::new();
    for (place, lines) in blocks() {
        if place == "an initiator" {
            for node in ["node 0", "node 1"].map(machine) {
                let is_whole = || Ok(node.is_whole(2).then_some(()));
                wait_until("two volumes on two nodes", PATIENCE, is_whole).expect("they are served");
            }
        }
        let machine = machine(place);
        let last = lines.last().expect("commands");
        // These go on until they are stopped.
        let ready = match *last {
            "etherpair witness" => Some("listens on"),
            "etherpair serve" => Some("is ready"),
            _ => None,
        };
        let Some(ready) = ready else {
            said += &machine.does(&lines.join("\n"));
            continue;
        };
        said += &machine.does(&lines[..lines.len() - 1].join("\n"));
        let log = machine.directory.join("log");
        let mut daemon = machine.program(&format!("exec {last}")).start(log).expect("it starts");
        daemon.wait_for_line(ready, PATIENCE).expect("it is ready");
        daemons.push(daemon);
    }
    assert_eq!(daemons.len(), 3, "a witness and two nodes");
    let targets = said.lines().filter(|line| line.starts_with("e7.1 ") && line.contains("eth1")).count();
    assert_eq!(targets, 2, "what an initiator sees: {said}");
    let made = machine("node 1").directory.join("var/lib/etherpair/e7.1.img");
    assert_eq!(fs::metadata(made).expect("a new file").len(), 20 << 30);
    let copied = fs::read(world.scratch.join("disk0")).expect("the device's file");
    assert!(copied.iter().all(|byte| *byte == 1), "node 1's device was copied to node 0's");
}
