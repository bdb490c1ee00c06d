//! A pair as its operators meet it: two `etherpair serve` and an `etherpair witness` in network namespaces, a client that loads
//! the volume through both nodes and checks what it reads. Run as root.
#![allow(clippy::disallowed_methods, reason = "tests wait for the real world by the real clock")]

mod addresses;
mod counted;
mod creation;
mod cut;
mod forcing;
mod foreign;
mod garbage;
mod install;
mod latency;
mod links;
mod masks;
mod new_witness;
mod no_arbiter;
mod reload;
mod removal;
mod replacement;
mod replayed;
mod slow;
mod start;
mod stranger;
mod threads;
mod two_arbiters;
mod upgrade;
mod with_etcd;
mod witness;
mod world;

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use lab::disk::LoopDevice;
use lab::network::MTU_JUMBO;
use lab::{FrameSocket, Process, Signal, wait_until};
use serde_json::json;
use world::{PATIENCE, World};

/// A pair with one volume, in sync.
fn pair(world: &World) -> (Process, [Process; 2]) {
    let witness = world.start_witness();
    let nodes = [world.start_node(0), world.start_node(1)];
    let said = world.does(0, "volume create 7.1 --size 64M");
    assert!(said.contains("e7.1: made"), "{said}");
    world.wait_for_in_sync();
    (witness, nodes)
}

/// A device of 4 MiB, full of one byte.
fn disk(world: &World, name: &str, byte: u8) -> LoopDevice {
    let image = world.scratch.join(name);
    fs::write(&image, vec![byte; 4 << 20]).expect("an image");
    LoopDevice::new(&image, 512).expect("a loop device")
}

fn assert_equal_copies(world: &World) {
    assert_equal_copies_of(world, "7.1");
}

fn assert_equal_copies_of(world: &World, address: &str) {
    let name = format!("e{address}.img");
    let copies = [0, 1].map(|node| fs::read(world.directory(node).join(&name)).expect("a copy"));
    assert!(copies[0].iter().any(|byte| *byte != 0), "something was written");
    assert!(copies[0] == copies[1], "the copies differ");
}

#[test]
fn a_volume_is_made_served_by_both_and_survives_either_node() {
    let world = World::new();
    let (_witness, mut nodes) = pair(&world);
    let warned = world.logs().matches("neither authenticated nor encrypted").count();
    assert_eq!(warned, 3, "by the witness and both nodes: {}", world.logs());
    for victim in [0, 1] {
        let load = "7.1 -i eth1 --rw randrw --depth 16 --verify --allow-writes --seconds 8";
        let output = thread::scope(|scope| {
            let load = scope.spawn(|| world.bench(load));
            thread::sleep(Duration::from_secs(2));
            nodes[victim].kill().expect("it can be killed");
            world.wait_for_alone(1 - victim);
            nodes[victim] = world.start_node(victim);
            load.join().expect("no panic")
        });
        assert!(output.status.success(), "{output:?}\n{}", world.logs());
        let report: serde_json::Value = serde_json::from_str(&output.stdout).expect("a report");
        assert_eq!(report["failed"], 0, "{report}");
        world.wait_for_in_sync();
        assert_equal_copies(&world);
    }
    for node in &mut nodes {
        let status = node.terminate(PATIENCE).expect("it ends");
        assert!(status.success(), "{status:?}");
    }
}

#[test]
fn a_node_leaves_and_comes_back_and_the_other_one_serves_meanwhile() {
    let world = World::new();
    let (_witness, mut nodes) = pair(&world);
    let said = world.does(1, "leave");
    assert!(said.contains("the peer goes on alone"), "{said}");
    world.wait_for(0, "alone", |volume| volume["phase"] == "Alone" && volume["members"] == json!([0]));
    assert_eq!(world.status(1)["leaving"], true);
    assert!(world.bench("7.1 -i eth1 --rw randrw --verify --allow-writes --requests 500").status.success());
    world.does(1, "join");
    world.wait_for_in_sync();
    assert_equal_copies(&world);
    // SIGTERM leaves likewise, and a start comes back.
    assert!(nodes[0].terminate(PATIENCE).expect("it ends").success());
    world.wait_for(1, "alone", |volume| volume["phase"] == "Alone");
    nodes[0] = world.start_node(0);
    world.wait_for_in_sync();
}

#[test]
fn a_node_that_is_needed_does_not_leave_and_a_frozen_one_can_be_forced() {
    let world = World::new();
    let (mut witness, mut nodes) = pair(&world);
    let _events = world.command(1, "events").start(world.scratch.join("events")).expect("a command");
    let lease = |status: &serde_json::Value| status["links"][0]["lease"]["held_milliseconds"].as_u64();
    let is_held = || Ok(lease(&world.status(1)).is_some_and(|held| (1..=1000).contains(&held)).then_some(()));
    wait_until("a lease", PATIENCE, is_held).expect("a lease");
    assert_eq!(world.volume(1)["needs_lease"], true);
    // Without witness and peer nothing is served until an operator decides.
    witness.kill().expect("it can be killed");
    nodes[0].kill().expect("it can be killed");
    world.wait_for(1, "frozen", |volume| volume["phase"] == "Frozen" && volume["serving"] == false);
    assert_eq!(lease(&world.status(1)), None, "{}", world.status(1));
    world.wait_for_event("arbiter-lost");
    let refused = world.command(1, "promote 7.1 --yes").output().expect("it ends");
    assert!(!refused.status.success(), "without --force: {refused:?}");
    for (how, risk) in [("", "two histories"), (" --inconsistent", "blocks that are known to be old")] {
        let unsaid = world.command(1, &format!("promote 7.1 --force{how}")).output().expect("it ends");
        assert_eq!(unsaid.status.code(), Some(86), "{unsaid:?}");
        assert!(
            unsaid.stderr.contains(risk) && unsaid.stderr.contains("Type 7.1 to go on"),
            "{how}: {unsaid:?}"
        );
    }
    assert_eq!(world.volume(1)["phase"], "Frozen", "nothing was done");
    let forced = world.command(1, "promote 7.1 --force --yes").output().expect("it ends");
    assert!(forced.status.success() && forced.stderr.contains("two histories"), "{forced:?}");
    assert!(!forced.stderr.contains("known to be old"), "only of what was asked for: {forced:?}");
    world.wait_for_alone(1);
    assert_eq!(world.volume(1)["needs_lease"], false);
    assert!(world.does(1, "status").contains("serving alone, without a lease"));
    assert!(world.bench("7.1 -i eth1 --rw randrw --verify --allow-writes --requests 200").status.success());
    let refused = world.command(1, "leave").output().expect("it ends");
    assert_eq!(refused.status.code(), Some(86), "{refused:?}");
    assert!(refused.stderr.contains("e7.1 cannot be left to the peer"), "{refused:?}");
    // The witness hears of it when it is back, and the pair becomes whole.
    let _witness = world.start_witness();
    nodes[0] = world.start_node(0);
    world.wait_for_in_sync();
    world.wait_for_event("arbiter-back");
    assert_equal_copies(&world);
}

#[test]
fn an_image_is_taken_as_it_is_and_what_was_made_is_there_after_both_have_died() {
    let world = World::new();
    let _witness = world.start_witness();
    let mut nodes = [world.start_node(0), world.start_node(1)];
    let image = world.directory(1).join("old.img");
    let content: Vec<u8> = (0..8_u32 << 20).map(|index| (index >> 9).to_le_bytes()[0] ^ 0x5a).collect();
    fs::write(&image, &content).expect("an image");
    let refused = world.command(0, "volume create 7.1").output().expect("it ends");
    assert!(refused.stderr.contains("--size"), "{refused:?}");
    let devices = [disk(&world, "metadata0", 0x53), disk(&world, "metadata1", 0)];
    let names = devices.each_ref().map(|device| device.path().display());
    let create = |more: &str| {
        let arguments =
            format!("volume create 7.2 --data {} --metadata {} {more}", image.display(), names[1]);
        world.command(1, &arguments).output().expect("it ends")
    };
    let refused = |more: &str, why: &str| {
        let output = create(more);
        assert!(!output.status.success() && output.stderr.contains(why), "{why}: {output:?}");
    };
    refused("--peer-data /dev/no-such-disk", "at the peer: /dev/no-such-disk: there is no such device");
    refused("--peer-metadata /dev/no-such-disk", "at the peer: /dev/no-such-disk: there is no such device");
    refused(&format!("--peer-metadata {}", names[0]), "something is on the device already");
    let mounted =
        File::options().read(true).custom_flags(libc::O_EXCL).open(devices[0].path()).expect("nobody has it");
    let overwrite = format!("--peer-metadata {} --overwrite-metadata", names[0]);
    refused(&overwrite, &format!("at the peer: {}: in use: mounted", names[0]));
    drop(mounted);
    let same = format!("volume create 7.2 --data {0} --metadata {0}", image.display());
    let same = world.command(1, &same).output().expect("it ends");
    assert!(same.stderr.contains("data and metadata are the same"), "{same:?}");
    assert!(!Path::new("/dev/no-such-disk").exists());
    let made = create(&overwrite);
    assert!(made.status.success(), "{made:?}");
    world.wait_for_in_sync();
    assert_eq!(fs::read(world.directory(0).join("e7.2.img")).expect("the copy"), content);
    let twice = world.command(0, "volume create 7.2 --size 4M").output().expect("it ends");
    assert_eq!(twice.status.code(), Some(86), "{twice:?}");
    nodes.iter_mut().for_each(|node| node.kill().expect("it can be killed"));
    let _nodes = [world.start_node(0), world.start_node(1)];
    world.wait_for_in_sync();
    assert_eq!(world.volume(0)["identity"], world.volume(1)["identity"]);
    verify(&world, "volume verify 7.2", 0, "the two copies are equal");
    assert!(fs::read(&image).expect("the image") == content, "nothing was changed");
    // The disk of one holds something wrong; the other one is told to fix it.
    let images = [world.directory(0).join("e7.2.img"), image];
    for node in 0..2 {
        let damaged = OpenOptions::new().write(true).open(&images[1 - node]).expect("an image");
        damaged.write_all_at(b"wrong", (3 << 20) + 700).expect("damaged");
        damaged.sync_all().expect("on its disk");
        verify(&world, "volume verify 7.2", 1 - node, "the two copies differ in 256 sectors");
        verify(&world, "volume verify 7.2 --fix", node, "the two copies differ in 256 sectors");
        world.wait_for_in_sync();
        let are_right = images.iter().all(|image| fs::read(image).expect("an image") == content);
        assert!(are_right, "node {node} fixes what differs: {}", world.logs());
    }
}

/// Has a node compare its copies, and waits until it says what came of it.
fn verify(world: &World, command: &str, node: usize, outcome: &str) {
    let outcome = format!("verified: {outcome}");
    let said = || world.logs().matches(&outcome).count();
    let before = said();
    world.does(node, command);
    world.wait_for(node, &outcome, |_| said() > before);
}

#[test]
fn a_volume_grows_under_load_and_initiators_see_it() {
    let world = World::new();
    let (_witness, _nodes) = pair(&world);
    let virtual_macs = [0, 1].map(|node| virtual_mac(&world, node));
    // A host that hears only what is said to everybody.
    let listener = world.add_host("listener", &[0], MTU_JUMBO).expect("a host");
    let listen = |patience| FrameSocket::open(&listener, "eth1", patience).expect("a socket");
    // What was told when the nodes began to serve has been repeated for the last time, two seconds after the time before.
    let earlier = listen(Duration::from_secs(3));
    while earlier.receive().expect("a wire").is_some() {}
    let socket = listen(PATIENCE);
    let output = thread::scope(|scope| {
        let load = scope.spawn(|| world.bench("7.1 -i eth1 --rw randrw --verify --allow-writes --seconds 4"));
        world.wait_for(1, "busy", |volume| volume["counters"]["followed"].as_u64() > Some(0));
        let said = world.does(1, "volume resize 7.1 --size 96M");
        assert!(said.contains("196608 sectors"), "{said}");
        load.join().expect("no panic")
    });
    assert!(output.status.success(), "{output:?}\n{}", world.logs());
    let mut told_by = BTreeSet::new();
    while told_by.len() < 2 {
        let frame = socket.receive().expect("a wire").expect("both nodes say that the volume has changed");
        if is_advertisement(&frame, [0, 7, 1]) {
            told_by.insert(<[u8; 6]>::try_from(&frame[6..12]).expect("an address"));
        }
    }
    assert_eq!(told_by, virtual_macs.into());
    world.wait_for_in_sync();
    // A node may hear of it from its thread a moment after the other one has said that it is done.
    for node in 0..2 {
        world.wait_for(node, "larger", |volume| volume["bytes"] == 96 << 20);
    }
    let beyond = "7.1 -i eth1 --rw randrw --verify --allow-writes --requests 300 --offset 64M --size 32M";
    let load = world.bench(beyond);
    assert!(load.status.success(), "the new part is there: {load:?}\n{}", world.logs());
    assert_equal_copies(&world);
    let refused = world.command(0, "volume resize 7.1 --size 32M").output().expect("it ends");
    assert!(refused.stderr.contains("only grows"), "{refused:?}");
}

/// The address of the pair's that initiators see a node under, on the first storage network.
fn virtual_mac(world: &World, node: usize) -> [u8; 6] {
    let text = world.status(node)["interfaces"][0]["virtual_mac"].as_str().expect("an address").to_owned();
    let bytes = text.split(':').map(|byte| u8::from_str_radix(byte, 16).expect("hexadecimal digits"));
    bytes.collect::<Vec<u8>>().try_into().expect("six bytes")
}

/// Whether it is an answer to a question for the configuration that nobody has asked: to everybody, and with tag 0.
fn is_advertisement(frame: &[u8], [shelf_high, shelf_low, slot]: [u8; 3]) -> bool {
    let (flags, command) = (frame[14], frame[19]);
    let is_answer = flags & 0x0c == 0x08 && command == 1 && frame[20..24] == [0; 4];
    is_answer && frame[..6] == [0xff; 6] && frame[16..19] == [shelf_high, shelf_low, slot]
}

/// So many lines or events there may be since then of something that is told of at most once in five seconds.
fn told_at_most_since(begun: Instant) -> usize {
    let intervals = begun.elapsed().as_secs() / 5 + 1;
    usize::try_from(intervals).expect("a test's time")
}

/// Loads the volume through both nodes while `disturb` runs; every request must end well with the right data.
fn under_load(world: &World, seconds: u32, disturb: impl FnOnce()) {
    let load =
        format!("7.1 -i eth1 --rw randrw --size 8M --depth 16 --verify --allow-writes --seconds {seconds}");
    let output = thread::scope(|scope| {
        let load = scope.spawn(|| world.bench(&load));
        thread::sleep(Duration::from_secs(1));
        disturb();
        load.join().expect("no panic")
    });
    assert!(output.status.success(), "{output:?}\n{}", world.logs());
}

#[test]
fn whatever_link_is_cut_exactly_one_node_goes_on() {
    let world = World::new();
    let (_witness, _nodes) = pair(&world);
    for victim in [0, 1] {
        under_load(&world, 6, || {
            world.isolate(victim, true);
            world.wait_for_alone(1 - victim);
            assert_eq!(world.volume(victim)["serving"], false, "{}", world.logs());
            world.isolate(victim, false);
        });
        world.wait_for_in_sync();
        assert_equal_copies(&world);
    }
    under_load(&world, 8, || {
        world.part(true);
        let alone = world.wait_for_winner().expect("one of them");
        thread::sleep(Duration::from_secs(1));
        assert_eq!(world.volume(1 - alone)["serving"], false, "{}", world.logs());
        world.part(false);
    });
    world.wait_for_in_sync();
    assert_equal_copies(&world);
}

#[test]
fn a_node_that_was_stopped_for_a_while_answers_nothing_old() {
    let world = World::new();
    let (_witness, nodes) = pair(&world);
    for victim in &nodes {
        under_load(&world, 8, || {
            victim.signal(Signal::Stop).expect("it can be stopped");
            thread::sleep(Duration::from_secs(4));
            victim.signal(Signal::Continue).expect("it can go on");
        });
        world.wait_for_in_sync();
        assert_equal_copies(&world);
    }
}

#[test]
fn a_volume_that_cannot_be_opened_does_not_keep_the_others_from_being_served() {
    let world = World::new();
    let (_witness, mut nodes) = pair(&world);
    world.does(0, "volume create 7.2 --size 4M");
    assert!(nodes[1].terminate(PATIENCE).expect("it ends").success());
    let metadata = world.directory(1).join("e7.2.meta");
    fs::rename(&metadata, world.directory(1).join("elsewhere")).expect("moved");
    nodes[1] = world.start_node(1);
    world.wait_for_in_sync();
    let status = world.status(1);
    assert_eq!(status["not_served"][0]["address"], "e7.2", "{status}");
    let listed = world.does(1, "volume list");
    assert!(listed.contains("e7.2 NOT served by this node: ") && listed.contains("e7.2.meta"), "{listed}");
    fs::rename(world.directory(1).join("elsewhere"), &metadata).expect("moved back");
    // Who has it open, a killed daemon say, is waited for; all else goes on meanwhile.
    let held = File::open(&metadata).expect("metadata");
    held.lock().expect("a lock");
    thread::scope(|scope| {
        let reload = scope.spawn(|| world.command(1, "reload").output().expect("it ends"));
        let mut answered = 0;
        while !reload.is_finished() && answered < 20 {
            assert_eq!(world.status(1)["not_served"][0]["address"], "e7.2");
            answered += 1;
        }
        assert!(answered > 0, "nobody was answered meanwhile: {}", world.logs());
        drop(held);
    });
    // On a slow machine the first one has given up.
    world.does(1, "reload");
    world.wait_for(1, "served", |_| world.status(1)["volumes"][1]["serving"] == true);
    assert_eq!(world.status(1)["not_served"], json!([]));
}
