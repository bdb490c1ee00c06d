//! Requests that take long are told of, with where their time went.

use std::thread;
use std::time::Duration;

use lab::Signal;
use serde_json::Value;

use crate::pair;
use crate::reload::edit;
use crate::world::{PATIENCE, World};

#[test]
fn a_peer_that_stands_still_is_named_as_where_the_time_went() {
    let world = World::new();
    for node in 0..2 {
        // So that it is not given up meanwhile.
        edit(&world, node, "[peer]\n", "[peer]\nlease = \"10s\"\n");
    }
    let (_witness, nodes) = pair(&world);
    let events = world.command(0, "events").start(world.scratch.join("events")).expect("a command");
    let load =
        "7.1 -i eth1 --rw randwrite --depth 32 --verify --allow-writes --requests 8000 --answer-timeout 150";
    let output = thread::scope(|scope| {
        let load = scope.spawn(|| world.bench(load));
        world.wait_for(0, "busy", |volume| volume["counters"]["writes"].as_u64() > Some(5));
        nodes[1].signal(Signal::Stop).expect("it can be stopped");
        // What is waited for is the moment itself: it is told of what took a second and more. Of so many requests under way some are at
        // node 0.
        thread::sleep(Duration::from_secs(4));
        nodes[1].signal(Signal::Continue).expect("it can go on");
        load.join().expect("no panic")
    });
    assert!(output.status.success(), "{output:?}\n{}", world.logs());
    world.wait_for(0, "a slow request", |volume| volume["counters"]["slow"].as_u64() > Some(0));
    assert!(world.does(0, "status").contains("slow requests; see the log"));
    let told = std::fs::read_to_string(world.scratch.join("events")).expect("events");
    let lines = told.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let slow: Vec<Value> = lines.filter(|line| line["event"] == "slow-request").collect();
    assert!((1..4).contains(&slow.len()), "not one for each: {slow:?}");
    let details = &slow[0]["details"];
    assert!(details["peer_milliseconds"].as_u64() > Some(900), "{details}");
    assert!(details["disk_milliseconds"].as_u64() < details["peer_milliseconds"].as_u64(), "{details}");
    assert!(world.logs().contains(" s for the peer"), "{}", world.logs());
    drop(events);

    // Another opinion of what is slow, while it runs: then every request is.
    edit(&world, 0, "[storage]\n", "[storage]\nslow_request = \"1ms\"\n");
    world.does(0, "reload");
    let before = world.volume(0)["counters"]["slow"].as_u64();
    let load =
        "7.1 -i eth1 --rw randwrite --depth 64 --verify --allow-writes --requests 500 --answer-timeout 150";
    assert!(world.bench(load).status.success());
    world.wait_for(0, "more", |volume| volume["counters"]["slow"].as_u64() > before);
    for mut node in nodes {
        assert!(node.terminate(PATIENCE).expect("it ends").success());
    }
}
