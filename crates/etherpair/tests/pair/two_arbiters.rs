//! The nodes of a pair are made to ask two arbiters, as a move from one to another does that was not finished.

use std::fs;

use lab::{Process, wait_until};
use serde_json::json;

use crate::reload::edit;
use crate::world::{PATIENCE, World};
use crate::{assert_equal_copies, pair};

const FIRST: &str = "10.7.0.3:8803";
const SECOND: &str = "10.7.0.3:8804";

/// Another witness on the host of the first.
fn start_second(world: &World) -> Process {
    let (file, directory) = (world.scratch.join("second.toml"), world.scratch.join("second"));
    let text = format!("listen = [\"{SECOND}\"]\ndirectory = \"{}\"\ninsecure = true\n", directory.display());
    fs::write(&file, text).expect("a configuration");
    let program = world.witness_host().program(env!("CARGO_BIN_EXE_etherpair"));
    let program = program.args(["witness", "-c"]).arg(file);
    let mut process = program.start(world.scratch.join("second.log")).expect("it starts");
    process.wait_for_line("listens on", PATIENCE).expect("it listens");
    process
}

fn refused(world: &World, node: usize, arguments: &str) {
    let output = world.command(node, arguments).output().expect("it ends");
    assert_eq!(output.status.code(), Some(86), "{arguments}: {output:?}");
    for part in
        ["the nodes ask different arbiters, this one witness ", "Stop both daemons", "nothing was changed"]
    {
        assert!(output.stderr.contains(part), "{part} in {}", output.stderr);
    }
}

#[test]
fn no_register_is_made_while_the_nodes_ask_different_arbiters_and_after_that_one_of_them_goes_on() {
    let world = World::new();
    let (_witness, mut nodes) = pair(&world);
    let _second = start_second(&world);
    let _events = world.command(1, "events").start(world.scratch.join("events")).expect("a command");
    edit(&world, 0, FIRST, SECOND);
    let running = world.command(0, "reload").output().expect("it ends");
    assert!(
        running.stderr.contains("`arbiter`") && running.stderr.contains("stop both daemons"),
        "{running:?}"
    );
    assert!(nodes[0].terminate(PATIENCE).expect("it ends").success());
    world.wait_for(1, "alone", |volume| volume["phase"] == "Alone");
    nodes[0] = world.start_node(0);
    (0..2).for_each(|node| world.wait_for(node, "met", |volume| volume["phase"] == "Paired"));

    for node in 0..2 {
        let told = || {
            let arbiter = world.status(node)["arbiter"].clone();
            Ok(arbiter["peer_asks"].as_str().is_some_and(|asked| asked.starts_with("witness ")).then_some(()))
        };
        wait_until("what the peer asks", PATIENCE, told).expect("it is told");
        assert!(world.does(node, "status").contains("THE PEER ASKS ANOTHER ONE"));
        refused(&world, node, "volume register --all");
        refused(&world, node, "volume create 7.2 --size 4M");
        assert!(!world.directory(node).join("e7.2.img").exists(), "nothing is left");
    }
    world.wait_for_event("arbiters-differ");
    // Only one of them can be told to go on.
    world.part(true);
    world.wait_for_alone(1);
    assert_eq!(world.volume(0)["serving"], false, "{}", world.logs());
    world.part(false);
    (0..2).for_each(|node| world.wait_for(node, "met", |volume| volume["phase"] == "Paired"));

    // As it is to be done.
    nodes.iter_mut().for_each(|node| assert!(node.terminate(PATIENCE).expect("it ends").success()));
    edit(&world, 1, FIRST, SECOND);
    let mut nodes = [world.start_node(0), world.start_node(1)];
    (0..2).for_each(|node| world.wait_for(node, "met", |volume| volume["phase"] == "Paired"));
    world.does(0, "volume register --all");
    world.wait_for_in_sync();
    let both = [0, 1].map(|node| world.status(node)["arbiter"].clone());
    assert_eq!((&both[0]["identity"], &both[0]["peer_asks"]), (&both[1]["identity"], &json!(null)));
    assert!(world.bench("7.1 -i eth1 --rw randrw --verify --allow-writes --requests 200").status.success());
    assert_equal_copies(&world);
    nodes[0].kill().expect("it can be killed");
    world.wait_for_alone(1);
}
