//! `etherpair discover` and `etherpair bench` on real wires: against our own target, against vblade, over a lossy link,
//! and against a disk that forgets. Run as root.
#![allow(clippy::disallowed_methods, reason = "tests wait for the real world by the real clock")]

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use lab::network::{Direction, Loss, MTU_JUMBO, MTU_ORDINARY, wire};
use lab::{Namespace, Output, Process, Scratch, Signal, package, wait_until};
use serde_json::Value;

/// Longer than a start takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(180);
const DISK_BYTES: u64 = 32 << 20;

/// A target's host and a client's, with two wires: `eth1` to `far1` with large frames, `eth2` to `far2` with small ones.
struct World {
    scratch: Scratch,
    target: Namespace,
    client: Namespace,
}

impl World {
    fn new() -> Self {
        let scratch = Scratch::new("load").expect("a scratch directory");
        let (target, client) = (Namespace::new().expect("namespace"), Namespace::new().expect("namespace"));
        wire((&target, "eth1"), (&client, "far1"), MTU_JUMBO).expect("wire");
        wire((&target, "eth2"), (&client, "far2"), MTU_ORDINARY).expect("wire");
        Self { scratch, target, client }
    }

    fn disk(&self, name: &str) -> PathBuf {
        let path = self.scratch.join(name);
        lab::disk::sparse_image(&path, DISK_BYTES).expect("a disk image");
        path
    }

    fn export(&self, address: &str, interfaces: &[&str]) -> Process {
        let program = self.target.program(env!("CARGO_BIN_EXE_etherpair")).args(["export", address]);
        let program = program.arg(self.disk(&format!("{address}.img"))).args(interfaces);
        let mut process = program.start(self.scratch.join(format!("{address}.log"))).expect("it starts");
        process.wait_for_line(&format!("serving e{address} "), PATIENCE).expect("it serves");
        process
    }

    fn vblade(&self, slot: &str, options: &[&str]) -> Process {
        package::require(&[package::VBLADE]).expect("vblade");
        let program = self.target.program("vblade").args(options).args(["9", slot, "eth1"]);
        let program = program.arg(self.disk(&format!("vblade{slot}.img")));
        let process = program.start(self.scratch.join(format!("vblade{slot}.log"))).expect("it starts");
        wait_until("vblade", PATIENCE, || {
            Ok(self.runs(&format!("discover 9.{slot} -i far1 --timeout 100")).status.success().then_some(()))
        })
        .expect("vblade answers");
        process
    }

    fn runs(&self, arguments: &str) -> Output {
        let program = self.client.program(env!("CARGO_BIN_EXE_etherpair"));
        program.args(arguments.split_whitespace()).within(PATIENCE).output().expect("it ends")
    }

    /// Runs a load that must end well, and gives its report.
    fn loads(&self, arguments: &str) -> Value {
        let output = self.runs(&format!("bench {arguments} --json"));
        assert!(output.status.success(), "{arguments}: {output:?}");
        serde_json::from_str(&output.stdout).expect("a report")
    }

    fn refuses(&self, arguments: &str, code: i32, words: &str) {
        let output = self.runs(arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments}: {output:?}");
        assert!(output.stderr.contains(words) && output.stderr.lines().count() == 1, "{}", output.stderr);
    }
}

fn number(value: &Value) -> u64 {
    value.as_u64().expect("a number")
}

#[test]
fn discover_shows_every_target_on_every_interface() {
    let world = World::new();
    let _ours = world.export("7.1", &["-i", "eth1", "-i", "eth2"]);
    let _theirs = world.vblade("4", &[]);
    let table = world.runs("discover -i far1 -i far2");
    assert!(table.status.success(), "{table:?}");
    assert!(table.stdout.contains("e7.1") && table.stdout.contains("e9.4"), "{}", table.stdout);
    let output = world.runs("discover -i far1 -i far2 --json");
    let rows: Vec<Value> = serde_json::from_str(&output.stdout).expect("an array");
    let found: Vec<(&str, &str, u64)> = rows
        .iter()
        .map(|row| {
            let text = |name: &str| row[name].as_str().expect("text");
            (text("address"), text("interface"), number(&row["sectors_per_frame"]))
        })
        .collect();
    assert_eq!(found, [("e7.1", "far1", 16), ("e7.1", "far2", 2), ("e9.4", "far1", 17)]);
    assert!(rows.iter().all(|row| row["bytes"] == DISK_BYTES), "{rows:?}");
    world.refuses("discover 7.2 -i far1 --timeout 200", 60, "nobody answers on far1");
    world.refuses("discover -i nonesuch", 20, "no interface nonesuch");
}

#[test]
fn a_verified_load_of_every_shape_finds_nothing_wrong_with_our_target() {
    let world = World::new();
    let _target = world.export("7.1", &["-i", "eth1", "-i", "eth2"]);
    for shape in [
        "-i far1 --rw randrw --block-size 4k --depth 32",
        "-i far1 --rw rw --mix 30 --block-size 72k --depth 4",
        "-i far1 -i far2 --rw randrw --block-size 512 --depth 8 --offset 1m --size 1m",
        "-i far2 --rw randrw --block-size 5k --depth 16 --sleep",
        "-i far1 --rw randrw --port plain --rate 1000",
        "-i far1 --rw randrw --port uring",
    ] {
        let report = world.loads(&format!("7.1 {shape} --verify --allow-writes --requests 300 --seconds 50"));
        assert_eq!(number(&report["requests_in_all"]), 300, "{shape}");
        assert_eq!(number(&report["failed"]), 0, "{shape}");
        assert!(number(&report["verified"]["sectors_checked"]) > 0, "{shape}");
    }
}

#[test]
fn vblade_is_driven_as_well_and_its_small_window_is_kept_to() {
    let world = World::new();
    let _target = world.vblade("1", &["-b", "4"]);
    let report = world
        .loads("9.1 -i far1 --rw randrw --depth 64 --verify --allow-writes --requests 1000 --seconds 50");
    assert_eq!(number(&report["targets"][0]["buffer_count"]), 4);
    assert!(number(&report["targets"][0]["window"]) <= 4);
    assert_eq!(number(&report["sectors_per_frame"]), 16, "17 fit, and would split every block");
}

#[test]
fn lost_frames_are_sent_again_and_every_request_ends_well() {
    let world = World::new();
    let _target = world.export("7.1", &["-i", "eth1"]);
    // Where each end receives: what a program sends past the queue, no filter on its own side sees.
    for (end, interface) in [(&world.target, "eth1"), (&world.client, "far1")] {
        end.set_loss(interface, Direction::Received, Loss::PerThousand(50)).expect("loss");
    }
    let report = world.loads(
        "7.1 -i far1 --rw randrw --depth 16 --verify --allow-writes --requests 600 --seconds 50 --retransmit-after 5",
    );
    assert_eq!(number(&report["requests_in_all"]), 600);
    // Of 600 questions and as many answers 60 are lost on average; ten or fewer in one run of 10^15.
    assert!(number(&report["retransmissions"]) > 10, "{report}");
}

#[test]
fn data_that_goes_back_in_time_is_found() {
    let world = World::new();
    let _target = world.export("7.1", &["-i", "eth1"]);
    let image = world.scratch.join("7.1.img");
    world
        .loads("7.1 -i far1 --rw write --block-size 64k --verify --allow-writes --requests 512 --seconds 50");
    world.loads("7.1 -i far1 --rw read --block-size 64k --verify --requests 512 --seconds 50");
    // Two sectors change places: whole, but not where they belong.
    let mut bytes = fs::read(&image).expect("the image");
    let (one, other) = bytes.split_at_mut(8192);
    one[4096..4608].swap_with_slice(&mut other[..512]);
    fs::write(&image, &bytes).expect("the image can be written");
    let wrong = "bench 7.1 -i far1 --rw read --block-size 64k --verify --requests 512 --seconds 50";
    world.refuses(wrong, 61, "2 damaged or misplaced; first at sector 8");
}

#[test]
fn what_cannot_be_loaded_is_refused_with_its_exit_code() {
    let world = World::new();
    let mut target = world.export("7.1", &["-i", "eth1"]);
    world.refuses("bench 7.1 -i far1 --rw write", 63, "--allow-writes");
    world.refuses("bench 7.1 -i far1 --size 1g", 63, "e7.1 has 32.0 MiB");
    world.refuses("bench 7.1 -i far1 --block-size 1000", 2, "--block-size 1000");
    world.refuses("bench 4095.1 -i far1", 30, "4095");
    world.refuses("bench 7.2 -i far1 --answer-timeout 1", 60, "nobody answers for e7.2 on far1");
    target.kill().expect("it can be killed");
    world.refuses("bench 7.1 -i far1 --answer-timeout 1", 60, "nobody answers for e7.1");
}

#[test]
fn a_target_that_dies_under_load_fails_the_requests_in_time() {
    let world = World::new();
    let mut target = world.export("7.1", &["-i", "eth1"]);
    let started = target.cpu_time().expect("it runs");
    let output = std::thread::scope(|scope| {
        let load = scope.spawn(|| world.runs("bench 7.1 -i far1 --seconds 30 --answer-timeout 2"));
        let loaded = started + Duration::from_millis(50);
        wait_until("frames", PATIENCE, || Ok((target.cpu_time()? > loaded).then_some(()))).expect("a load");
        target.kill().expect("it can be killed");
        load.join().expect("no panic")
    });
    assert_eq!(output.status.code(), Some(62), "{output:?}");
    assert!(output.stderr.contains("no answer in time"), "{}", output.stderr);
}

/// A command of the client's that is interrupted once `is_time`; what it printed.
fn interrupted(
    world: &World,
    arguments: &str,
    signal: Signal,
    is_time: impl FnMut() -> Result<Option<()>, lab::Error>,
) -> String {
    let program = world.client.program(env!("CARGO_BIN_EXE_etherpair")).args(arguments.split_whitespace());
    let mut process = program.start(world.scratch.join("interrupted.log")).expect("it starts");
    let status = format!("/proc/{}/status", process.id());
    let catches_sigint = || {
        let status = fs::read_to_string(&status).unwrap_or_default();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"))?;
        let caught = u64::from_str_radix(caught.trim(), 16).expect("a set of signals");
        (caught >> (libc::SIGINT - 1) & 1 == 1).then_some(())
    };
    wait_until("a handler", PATIENCE, || Ok(catches_sigint())).expect("it listens for signals");
    wait_until("its frames", PATIENCE, is_time).expect("it works");
    process.signal(signal).expect("a signal");
    let status = process.wait(Duration::from_secs(10)).expect("it ends long before its time");
    assert_eq!(status.code(), Some(64), "{arguments}: {}", process.output());
    process.output()
}

/// A moment that comes by itself.
fn after(delay: Duration) -> impl FnMut() -> Result<Option<()>, lab::Error> {
    let begin = Instant::now();
    move || Ok((begin.elapsed() > delay).then_some(()))
}

#[test]
fn a_load_that_is_interrupted_reports_what_it_has_measured() {
    let world = World::new();
    let target = world.export("7.1", &["-i", "eth1"]);
    for (options, signal) in [
        ("", Signal::Interrupt),
        ("--sleep --rate 500", Signal::Terminate),
        ("--requests 100000000", Signal::Interrupt),
    ] {
        let from = target.cpu_time().expect("its time");
        let arguments = format!("bench 7.1 -i far1 --seconds 60 {options}");
        let output = interrupted(&world, &arguments, signal, || {
            Ok((target.cpu_time()? > from + Duration::from_millis(50)).then_some(()))
        });
        assert!(output.contains("read:") && output.contains("failed requests 0"), "{arguments}: {output}");
        assert!(output.contains("interrupted after"), "{arguments}: {output}");
    }
}

#[test]
fn what_is_interrupted_before_it_found_anything_says_so_too() {
    let world = World::new();
    let nobody = "bench 7.9 -i far1 --answer-timeout 60";
    let output = interrupted(&world, nobody, Signal::Interrupt, after(Duration::from_millis(100)));
    assert_eq!(output, "etherpair: interrupted after 0.0 s, before the load was done\n");
}

#[test]
fn a_search_that_is_interrupted_shows_who_was_found() {
    let world = World::new();
    let _target = world.export("7.1", &["-i", "eth1"]);
    let search = "discover -i far1 --timeout 60000";
    let output = interrupted(&world, search, Signal::Interrupt, after(Duration::from_secs(2)));
    assert!(output.contains("e7.1") && output.contains("there may be others"), "{output}");
}
