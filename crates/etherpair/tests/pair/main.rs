//! A pair as its operators meet it: two `etherpair serve` and an `etherpair witness` in network namespaces, a client that loads
//! the volume through both nodes and checks what it reads. Run as root.
#![allow(clippy::disallowed_methods, reason = "tests wait for the real world by the real clock")]

mod world;

use std::fs;
use std::thread;
use std::time::Duration;

use lab::Process;
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

fn assert_equal_copies(world: &World) {
    let copies = [0, 1].map(|node| fs::read(world.directory(node).join("e7.1.img")).expect("a copy"));
    assert!(copies[0].iter().any(|byte| *byte != 0), "something was written");
    assert!(copies[0] == copies[1], "the copies differ");
}

#[test]
fn a_volume_is_made_served_by_both_and_survives_either_node() {
    let world = World::new();
    let (_witness, mut nodes) = pair(&world);
    for victim in [0, 1] {
        let load =
            "7.1 -i eth1 --rw randrw --depth 16 --verify --allow-writes --seconds 8 --answer-timeout 30";
        let output = thread::scope(|scope| {
            let load = scope.spawn(|| world.bench(load));
            thread::sleep(Duration::from_secs(2));
            nodes[victim].kill().expect("it can be killed");
            world.wait_for(1 - victim, "alone", |volume| {
                volume["phase"] == "Alone" && volume["serving"] == true
            });
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
