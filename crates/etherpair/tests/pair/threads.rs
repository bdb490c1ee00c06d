//! Two threads at each node: each has volumes and a stream of its own between the nodes.

use std::thread;

use lab::pair::{is_alone, is_whole};
use serde_json::Value;

use crate::assert_equal_copies_of;
use crate::reload::edit;
use crate::world::{PATIENCE, World};

/// Of two addresses that follow each other each is another thread's.
const ADDRESSES: [&str; 2] = ["7.1", "7.2"];

/// With a lease for a busy machine: nodes that part by themselves just before one of them is killed have nobody to go on.
fn use_threads(world: &World, node: usize, count: u32) {
    edit(world, node, "[peer]\n", &format!("[threads]\ncount = {count}\n[peer]\nlease = \"5s\"\n"));
}

/// Waits until both volumes of a node are as wanted.
fn wait_for_both(world: &World, node: usize, what: &str, is_so: impl Fn(&Value) -> bool) {
    world.wait_for(node, what, |_| {
        let status = world.status(node);
        let volumes = status["volumes"].as_array().expect("a list");
        volumes.len() == ADDRESSES.len() && volumes.iter().all(&is_so)
    });
}

/// Waits until both volumes are equal at both nodes, and both streams between these stand.
fn wait_until_whole(world: &World) {
    for node in 0..2 {
        wait_for_both(world, node, "whole", is_whole);
        world.wait_for(node, "two streams", |_| {
            let status = world.status(node);
            let links = status["links"].as_array().expect("a list");
            let shards: Vec<&Value> = links.iter().map(|link| &link["shard"]).collect();
            shards == [0, 1] && links.iter().all(|link| link["connection"] == "Connected")
        });
    }
}

#[test]
fn volumes_of_two_threads_survive_either_node_and_each_thread_has_its_stream() {
    let world = World::new();
    let _witness = world.start_witness();
    (0..2).for_each(|node| use_threads(&world, node, 2));
    let mut nodes = [world.start_node(0), world.start_node(1)];
    for address in ADDRESSES {
        world.does(0, &format!("volume create {address} --size 16M"));
    }
    wait_until_whole(&world);
    for victim in [0, 1] {
        let outputs = thread::scope(|scope| {
            let loads = ADDRESSES.map(|address| {
                let load =
                    format!("{address} -i eth1 --rw randrw --verify --allow-writes --sleep --seconds 8");
                let world = &world;
                scope.spawn(move || world.bench(&load))
            });
            let before = world.status(victim)["volumes"].clone();
            let is_busy = |volume: &Value| {
                let earlier = before.as_array().expect("a list").iter();
                let earlier = earlier.filter(|earlier| earlier["address"] == volume["address"]);
                let writes = |volume: &Value| volume["counters"]["writes"].as_u64();
                earlier.map(writes).all(|earlier| writes(volume) > earlier) && is_whole(volume)
            };
            wait_for_both(&world, victim, "busy and whole", is_busy);
            nodes[victim].kill().expect("it can be killed");
            wait_for_both(&world, 1 - victim, "alone", is_alone);
            nodes[victim] = world.start_node(victim);
            loads.map(|load| load.join().expect("no panic"))
        });
        for output in outputs {
            assert!(output.status.success(), "{output:?}\n{}", world.logs());
        }
        wait_until_whole(&world);
        for address in ADDRESSES {
            assert_equal_copies_of(&world, address);
        }
    }
    for node in &mut nodes {
        assert!(node.terminate(PATIENCE).expect("it ends").success());
    }
}

#[test]
fn nodes_with_different_numbers_of_threads_say_so_and_meet_when_they_are_alike() {
    let world = World::new();
    let _witness = world.start_witness();
    use_threads(&world, 1, 2);
    let mut nodes = [world.start_node(0), world.start_node(1)];
    let cure = "the nodes have different values of `count` in [threads] of their configurations";
    nodes[0].wait_for_line(cure, PATIENCE).expect("a line in the log");
    // Node 1 is the one that connects, and is told why not.
    world.wait_for(1, "told", |_| {
        let status = world.status(1);
        let links = status["links"].as_array().expect("a list");
        links.len() == 2
            && links.iter().all(|link| link["error"].as_str().is_some_and(|error| error.contains(cure)))
    });
    assert_eq!(world.status(0)["links"][0]["connection"], "Connecting");
    assert!(nodes[0].terminate(PATIENCE).expect("it ends").success());
    use_threads(&world, 0, 2);
    nodes[0] = world.start_node(0);
    world.does(0, "volume create 7.1 --size 4M");
    world.does(1, "volume create 7.2 --size 4M");
    wait_until_whole(&world);
}
