//! Our own initiator: `etherpair discover` and `etherpair bench`, against our target and against another one.

use lab::{
    Output, Program,
    network::{Direction, Loss},
    package,
};
use serde_json::Value;
use std::time::Duration;
use tests::{MIB, TargetOptions, World, binary};

const LIMIT: Duration = Duration::from_secs(180);

fn client(world: &World, arguments: &str) -> Output {
    let program = world.client.program(binary().expect("built")).args(arguments.split_whitespace());
    program.within(LIMIT).output().expect("it ends")
}

fn report(output: &Output) -> Value {
    assert!(output.status.success(), "{}\n{}", output.stdout, output.stderr);
    serde_json::from_str(&output.stdout).expect("JSON")
}

#[test]
fn discover_tells_who_answers() {
    let world = World::new("discover").expect("world");
    let (one, other) =
        (world.sparse_image("one", 64 * MIB).expect("image"), world.sparse_image("other", MIB));
    let options = TargetOptions::new("7.1", &one).export("8.2", &other.expect("image"));
    let _target = options.start(&world).expect("target");
    let text = client(&world, "discover -i eth0").stdout;
    assert!(text.contains("7.1") && text.contains("8.2") && text.contains("etherpair"), "{text}");
    let found = client(&world, "discover -i eth0 --json");
    let told = format!("{}{}", found.stdout, found.stderr);
    assert!(told.contains(&(64 * MIB).to_string()), "the size in bytes:\n{told}");
    assert!(told.contains(&world.storage.mac("eth1").expect("mac")), "the MAC of its interface:\n{told}");
    assert_eq!(client(&world, "discover 9.9 -i eth0").status.code(), Some(60), "nobody answers for 9.9");
}

#[test]
fn verified_load_finds_every_byte_right_while_frames_are_lost() {
    let world = World::new("bench-loss").expect("world");
    let image = world.sparse_image("disk", 64 * MIB).expect("image");
    let mut target = TargetOptions::new("7.1", &image).start(&world).expect("target");
    for direction in [Direction::Sent, Direction::Received] {
        world.switch.set_loss("storage", direction, Loss::PerThousand(10)).expect("loss");
    }
    let load = "bench 7.1 -i eth0 --rw randrw --depth 16 --seconds 5 --verify --allow-writes --size 16m --sleep --json \
                --retransmit-after 10";
    let report = report(&client(&world, load));
    assert!(report["retransmissions"].as_u64() > Some(10), "some had to be sent again: {report}");
    assert_eq!(report["failed"].as_u64(), Some(0), "{report}");
    target.expect_running().expect("the target still runs");
}

#[test]
fn the_load_generator_drives_another_target_too() {
    package::require(&[package::VBLADE]).expect("vblade");
    let world = World::new("bench-vblade").expect("world");
    let image = world.sparse_image("disk", 64 * MIB).expect("image");
    let vblade: Program = world.storage.program("vblade").args(["7", "1", "eth1"]).arg(&image);
    let mut vblade = vblade.start(world.path("vblade")).expect("start");
    vblade.wait_for_line("e7.1", LIMIT).expect("it serves");
    let load = "bench 7.1 -i eth0 --rw randrw --block-size 16k --depth 8 --seconds 2 --verify --allow-writes --sleep --json";
    let report = report(&client(&world, load));
    assert_eq!(report["failed"].as_u64(), Some(0), "{report}");
    assert!(report["read"]["requests"].as_u64() > Some(100), "{report}");
}
