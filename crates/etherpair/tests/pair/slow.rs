//! Requests that take long are told of, with where their time went.

use std::thread;
use std::time::{Duration, Instant};

use lab::{Signal, wait_until};
use serde_json::Value;

use crate::reload::edit;
use crate::world::{PATIENCE, World};
use crate::{pair, told_at_most_since};

#[test]
fn a_peer_that_stands_still_is_named_as_where_the_time_went() {
    let world = World::new();
    for node in 0..2 {
        // So that it is not given up meanwhile.
        edit(&world, node, "[peer]\n", "[peer]\nlease = \"10s\"\n");
        // A disk that is told of as slow would keep the peer from being told of for five seconds: so long few disks take.
        edit(&world, node, "[storage]\n", "[storage]\nslow_request = \"2s\"\n");
    }
    let begun = Instant::now();
    let (_witness, nodes) = pair(&world);
    let events = world.command(0, "events").start(world.scratch.join("events")).expect("a command");
    let load = "7.1 -i eth1 --rw randwrite --depth 32 --verify --allow-writes --requests 8000";
    let output = thread::scope(|scope| {
        let load = scope.spawn(|| world.bench(load));
        world.wait_for(0, "busy", |volume| volume["counters"]["writes"].as_u64() > Some(5));
        nodes[1].signal(Signal::Stop).expect("it can be stopped");
        // What is waited for is the moment itself: it is told of what took two seconds and more. Of so many requests under way some are
        // at node 0.
        thread::sleep(Duration::from_secs(4));
        nodes[1].signal(Signal::Continue).expect("it can go on");
        load.join().expect("no panic")
    });
    assert!(output.status.success(), "{output:?}\n{}", world.logs());
    world.wait_for(0, "a slow request", |volume| volume["counters"]["slow"].as_u64() > Some(0));
    assert!(world.does(0, "status").contains("slow requests; see the log"));
    // A disk that was slow as well, long before, may have been told of first.
    let slow = wait_until("an event that names the peer", PATIENCE, || {
        let slow = slow_requests(&world);
        Ok(slow.iter().any(is_the_peer_s).then_some(slow))
    });
    let slow = slow.unwrap_or_else(|error| panic!("{error}: {:?}\n{}", slow_requests(&world), world.logs()));
    assert!(slow.len() <= told_at_most_since(begun), "not one for each: {slow:?}");
    assert!(world.logs().contains(" s for the peer"), "{}", world.logs());
    drop(events);

    // Another opinion of what is slow, while it runs: then every request is.
    edit(&world, 0, "slow_request = \"2s\"", "slow_request = \"1ms\"");
    world.does(0, "reload");
    let before = world.volume(0)["counters"]["slow"].as_u64();
    let load = "7.1 -i eth1 --rw randwrite --depth 64 --verify --allow-writes --requests 500";
    assert!(world.bench(load).status.success());
    world.wait_for(0, "more", |volume| volume["counters"]["slow"].as_u64() > before);
    for mut node in nodes {
        assert!(node.terminate(PATIENCE).expect("it ends").success());
    }
}

/// What was told of slow requests, as far as the lines are whole.
fn slow_requests(world: &World) -> Vec<Value> {
    let told = std::fs::read_to_string(world.scratch.join("events")).expect("events");
    let whole = told.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    let lines = whole.map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    lines.filter(|line| line["event"] == "slow-request").collect()
}

/// Whether that request waited for the peer, and less for the disk here.
fn is_the_peer_s(slow: &Value) -> bool {
    let [peer, disk] = ["peer_milliseconds", "disk_milliseconds"].map(|part| slow["details"][part].as_u64());
    peer > Some(1900) && disk < peer
}
