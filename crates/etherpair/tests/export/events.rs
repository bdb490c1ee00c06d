//! What happens while disks are served: new sizes, links that come and go, other targets, signals.

use std::fs::OpenOptions;
use std::time::Duration;

use lab::disk::LoopDevice;
use lab::{Process, Program, Signal};

use crate::world::{PATIENCE, World, pattern};

const MIB: u64 = 1 << 20;

fn send_signal(process: &Process, name: &str) {
    Program::new("kill").args([format!("-{name}"), process.id().to_string()]).run().expect("kill");
}

fn resize(world: &World, bytes: u64) {
    let file = OpenOptions::new().write(true).open(world.scratch.join("disk.img")).expect("the disk");
    file.set_len(bytes).expect("resized");
}

#[test]
fn a_new_size_is_seen_at_sighup_and_advertised() {
    let world = World::new();
    world.disk("disk.img", MIB);
    let mut server = world.export("7.1 disk.img -i eth1");
    let mut client = world.client();
    assert_eq!(client.identify("7.1").sectors, 2048);
    resize(&world, 2 * MIB);
    client.forget_received();
    server.signal(Signal::HangUp).expect("signal");
    server.wait_for_line("resized e7.1 disk.img 2.0 MiB", PATIENCE).expect("told");
    client.advertisement("7.1");
    assert_eq!(client.identify("7.1").sectors, 4096);
    client.write("7.1", 4095, &pattern(1, 1));
    assert_eq!(client.read("7.1", 4095, 1), pattern(1, 1));
    resize(&world, 1000);
    server.signal(Signal::HangUp).expect("signal");
    server.wait_for_line("served with its old size", PATIENCE).expect("told");
    assert_eq!(client.identify("7.1").sectors, 4096);
}

#[test]
fn a_link_that_comes_back_is_advertised_with_its_new_mtu() {
    let world = World::new();
    world.disk("disk.img", MIB);
    let mut server = world.export("7.1 disk.img -i eth1");
    let mut client = world.client();
    assert_eq!(client.config("7.1").expect("an answer").sectors, 16);
    world.target.set_down("eth1").expect("down");
    server.wait_for_line("link eth1 down", PATIENCE).expect("told");
    client.forget_received();
    world.target.set_up("eth1").expect("up");
    assert_eq!(client.advertisement("7.1").sectors, 16);
    client.forget_received();
    world.target.set_mtu("eth1", 1500).expect("MTU");
    assert_eq!(client.advertisement("7.1").sectors, 2);
    client.write("7.1", 0, &pattern(1, 2));
    assert_eq!(client.read("7.1", 0, 2), pattern(1, 2));
}

fn set_mtu(world: &World, mtu: u32) {
    world.clients.set_mtu("far1", mtu).expect("MTU");
    world.target.set_mtu("eth1", mtu).expect("MTU");
}

/// A load on e7.1 that checks what it reads and ends with a failure if a request is lost.
fn load(world: &World, arguments: &str) -> Process {
    let program = world.clients.program(env!("CARGO_BIN_EXE_etherpair"));
    let program = program.args("bench 7.1 -i far1 --rw randrw --verify --allow-writes --json".split(' '));
    program.args(arguments.split(' ')).start(world.scratch.join("load")).expect("it starts")
}

#[test]
fn a_larger_mtu_is_used_at_once_and_under_load() {
    for port in ["ring", "uring", "plain", "xdp"] {
        let world = World::new();
        world.disk("disk.img", 8 * MIB);
        set_mtu(&world, 1500);
        let mut server = world.export(&format!("7.1 disk.img -i eth1 --port {port}"));
        let mut client = world.client();
        assert_eq!(client.config("7.1").expect("an answer").sectors, 2);
        let mut small = load(&world, "--seconds 2");
        std::thread::sleep(Duration::from_millis(700));
        client.forget_received();
        set_mtu(&world, 9000);
        assert_eq!(client.advertisement("7.1").sectors, 16, "{port}");
        let told = "link eth1 up (MTU 9000, 16 sectors a frame)";
        server.wait_for_line(told, PATIENCE).expect("told");
        let status = small.wait(PATIENCE).expect("it ends");
        assert!(status.success(), "{port}: {}", small.output());
        let mut large = load(&world, "--seconds 0.5 --block-size 8k");
        assert!(large.wait(PATIENCE).expect("it ends").success(), "{port}: {}", large.output());
        let mut client = world.client();
        client.write("7.1", 3, &pattern(1, 16));
        assert!(client.read("7.1", 3, 16) == pattern(1, 16), "{port}: in one frame");
        server.terminate(PATIENCE).expect("it ends");
        let output = server.output();
        assert!(!output.contains("stay at"), "{output}");
    }
}

#[test]
fn an_mtu_beyond_jumbo_frames_is_used_as_far_as_there_is_room() {
    let world = World::new();
    world.disk("disk.img", MIB);
    set_mtu(&world, 1500);
    let mut server = world.export("7.1 disk.img -i eth1");
    let mut client = world.client();
    assert_eq!(client.config("7.1").expect("an answer").sectors, 2);
    client.forget_received();
    set_mtu(&world, 20_000);
    assert_eq!(client.advertisement("7.1").sectors, 16);
    server.wait_for_line("frames stay at MTU 9216", PATIENCE).expect("a line in the log");
    server.wait_for_line("link eth1 up (MTU 9216, 16 sectors a frame)", PATIENCE).expect("told");
    assert_eq!(client.config("7.1").expect("an answer").sectors, 16);
    assert!(server.terminate(PATIENCE).expect("it ends").success());
    let _server = world.export("7.1 disk.img -i eth1");
    assert_eq!(client.config("7.1").expect("an answer").sectors, 32);
}

#[test]
fn an_interface_that_is_removed_disturbs_nobody_else() {
    for port in ["ring", "uring", "plain", "xdp"] {
        let world = World::new();
        world.disk("disk.img", MIB);
        let mut server = world.export(&format!("7.1 disk.img -i eth1 -i eth2 --port {port}"));
        world.target.program("ip").args(["link", "del", "eth2"]).run().expect("removed");
        server.wait_for_line("interface eth2 was removed", PATIENCE).expect("a line in the log");
        let mut client = world.client();
        client.write("7.1", 0, &pattern(1, 8));
        assert!(client.read("7.1", 0, 8) == pattern(1, 8));
        let before = server.cpu_time().expect("its time");
        std::thread::sleep(Duration::from_millis(500));
        let used = server.cpu_time().expect("its time") - before;
        assert!(
            used < Duration::from_millis(100),
            "it used {used:?} of 500 ms for nothing with the {port} port"
        );
    }
}

#[test]
fn a_block_device_that_grew_is_seen_at_sighup() {
    let world = World::new();
    let image = world.disk("disk.img", MIB);
    let device = LoopDevice::new(&image, 512).expect("a loop device");
    let path = device.path().display();
    let mut server = world.export(&format!("7.1 {path} -i eth1 --state-directory states"));
    let mut client = world.client();
    assert_eq!(client.identify("7.1").sectors, 2048);
    resize(&world, 4 * MIB);
    device.reread_size().expect("a new size");
    server.signal(Signal::HangUp).expect("signal");
    server.wait_for_line("resized e7.1", PATIENCE).expect("told");
    assert_eq!(client.identify("7.1").sectors, 8192);
}

#[test]
fn a_second_target_for_an_address_is_refused_unless_forced() {
    let world = World::new();
    world.disk("disk.img", MIB);
    world.disk("other.img", MIB);
    let _server = world.export("7.1 disk.img -i eth1");
    let mac = world.target.mac("eth1").expect("a MAC");
    let other_host = |arguments: &str| other_host(&world, arguments);
    let refused = other_host("7.2 disk2.img 7.1 other.img -i far1");
    world.disk("disk2.img", MIB);
    let refused = refused.within(PATIENCE).output().expect("it ends");
    assert_eq!(refused.status.code(), Some(32), "{refused:?}");
    assert!(refused.stderr.contains("e7.1") && refused.stderr.contains(&mac), "{refused:?}");
    assert!(!world.scratch.join("other.img.etherpair").exists(), "refused, and yet something was made");
    let here = world.refused("7.1 other.img -i eth1");
    assert_eq!(here.status.code(), Some(32), "{here:?}");
    assert!(here.stderr.contains("another process of this machine"), "{here:?}");
    let mut forced =
        other_host("7.1 other.img -i far1 --force").start(world.scratch.join("forced")).expect("starts");
    forced.wait_for_line("serving e7.1", PATIENCE).expect("it serves");
}

/// The program on the clients' host, which has disks of its own.
fn other_host(world: &World, arguments: &str) -> Program {
    let program = world.clients.program(env!("CARGO_BIN_EXE_etherpair")).directory(world.scratch.path());
    program.arg("export").args(arguments.split_whitespace())
}

#[test]
fn of_two_targets_that_start_together_one_serves_and_the_other_is_refused_with_its_mac() {
    let world = World::new();
    world.disk("disk.img", MIB);
    world.disk("other.img", MIB);
    let macs = [world.target.mac("eth1").expect("a MAC"), world.clients.mac("far1").expect("a MAC")];
    for apart in [0, 50, 130, 220, 310, 390] {
        let one = world.program("7.1 disk.img -i eth1").start(world.scratch.join("one")).expect("starts");
        std::thread::sleep(Duration::from_millis(apart));
        let two =
            other_host(&world, "7.1 other.img -i far1").start(world.scratch.join("two")).expect("starts");
        let mut serving = Vec::new();
        for (mut process, winner) in [(one, &macs[1]), (two, &macs[0])] {
            if process.wait_for_line("serving e7.1", PATIENCE).is_ok() {
                serving.push(process);
                continue;
            }
            assert_eq!(process.wait(PATIENCE).expect("it ends").code(), Some(32), "{}", process.output());
            assert!(process.output().contains(winner), "{}", process.output());
        }
        assert_eq!(serving.len(), 1, "{apart} ms apart");
        assert!(!serving[0].output().contains("too"), "{}", serving[0].output());
    }
}

#[test]
fn a_target_that_was_forced_beside_one_just_started_is_named_in_its_log() {
    let world = World::new();
    world.disk("disk.img", MIB);
    world.disk("other.img", MIB);
    let mac = world.clients.mac("far1").expect("a MAC");
    for apart in [0, 20, 50, 80] {
        // On a busy machine the other one may come when the first has ceased to look: then both begin anew.
        let seen = (0..5).find_map(|_| {
            let mut server = world.export("7.1 disk.img -i eth1");
            std::thread::sleep(Duration::from_millis(apart));
            let mut forced = other_host(&world, "7.1 other.img -i far1 --force")
                .start(world.scratch.join("forced"))
                .expect("starts");
            forced.wait_for_line("serving e7.1", PATIENCE).expect("it serves");
            server.wait_for_line("e7.1 is served on eth1 by", Duration::from_secs(11)).ok()
        });
        let line = seen.expect("a line in the log");
        assert!(line.contains(&mac), "{line}");
    }
}

#[test]
fn sigterm_and_sigint_end_in_order_with_the_statistics() {
    for signal in [Signal::Terminate, Signal::Interrupt] {
        let world = World::new();
        world.disk("disk.img", MIB);
        let mut server = world.export("7.1 disk.img -i eth1");
        let mut client = world.client();
        client.write("7.1", 0, &pattern(1, 8));
        client.read("7.1", 0, 8);
        server.signal(signal).expect("signal");
        assert_eq!(server.wait(PATIENCE).expect("it ends").code(), Some(0));
        let output = server.output();
        assert!(output.contains("statistics 1 reads (4.0 KiB), 1 writes (4.0 KiB)"), "{output}");
        assert!(output.ends_with("stopped\n"), "{output}");
    }
}

#[test]
fn json_lines_tell_what_happens() {
    let world = World::new();
    world.disk("disk.img", MIB);
    let mut server =
        world.program("7.1 disk.img -i eth1 --json").start(world.scratch.join("log")).expect("it starts");
    let serving = server.wait_for_line("\"serving\"", PATIENCE).expect("it serves");
    let serving: serde_json::Value = serde_json::from_str(&serving).expect("JSON");
    assert_eq!(serving["address"], "e7.1");
    assert_eq!(serving["bytes"], MIB);
    assert_eq!(serving["interfaces"][0]["sectors_per_frame"], 16);
    world.client().read("7.1", 0, 8);
    send_signal(&server, "USR1");
    let statistics = server.wait_for_line("\"statistics\"", PATIENCE).expect("statistics");
    let statistics: serde_json::Value = serde_json::from_str(&statistics).expect("JSON");
    assert_eq!((&statistics["reads"], &statistics["bytes_read"]), (&1.into(), &4096.into()));
    server.expect_running().expect("it goes on");
    server.terminate(PATIENCE).expect("it ends");
    assert!(server.output().ends_with("{\"event\":\"stopped\"}\n"), "{}", server.output());
}
