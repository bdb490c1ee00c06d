//! Somebody who is not of the pair serves an address of the pair's, on the same wire.

use std::fs;

use lab::network::MTU_JUMBO;
use lab::{FrameSocket, Namespace, Process};

use crate::reload::edit;
use crate::world::{PATIENCE, World, bench};
use crate::{assert_equal_copies, pair};

/// A server of an image on the host's storage network, which asks nobody.
pub(crate) fn serve(world: &World, host: &Namespace, address: &str) -> Process {
    let image = world.scratch.join(format!("stranger-{address}"));
    fs::write(&image, vec![0x5a; 1 << 20]).expect("an image");
    let program = host.program(env!("CARGO_BIN_EXE_etherpair"));
    let program = program.args(["export", address]).arg(image).args(["-i", "eth1", "--force"]);
    let mut process =
        program.start(world.scratch.join(format!("stranger-{address}.log"))).expect("a process");
    process.wait_for_line("serving", PATIENCE).expect("it serves");
    process
}

#[test]
fn an_address_that_a_stranger_serves_is_not_served_and_the_stranger_is_named() {
    let world = World::new();
    let (_witness, mut nodes) = pair(&world);
    let host = world.add_host("stranger", &[0], MTU_JUMBO).expect("a host");
    let socket = FrameSocket::open(&host, "eth1", PATIENCE).expect("a socket");
    let mac = socket.mac().map(|byte| format!("{byte:02x}")).join(":");
    drop(socket);

    // Made anew.
    let mut stranger = serve(&world, &host, "7.2");
    let refused = world.command(0, "volume create 7.2 --size 4M").output().expect("it ends");
    assert!(refused.stderr.contains(&format!("{mac} on eth1 answers for this address")), "{refused:?}");
    assert!(!world.directory(0).join("e7.2.img").exists(), "nothing is left");
    stranger.kill().expect("it can be killed");
    world.does(0, "volume create 7.2 --size 4M");

    // Served when the daemon starts: the other volumes are, and so is this one by the other node.
    assert!(nodes[1].terminate(PATIENCE).expect("it ends").success());
    let mut stranger = serve(&world, &host, "7.1");
    nodes[1] = world.start_node(1);
    let status = world.status(1);
    assert_eq!(status["not_served"][0]["address"], "e7.1", "{status}");
    let error = status["not_served"][0]["error"].as_str().expect("an error");
    for part in [&mac, "eth1", "Stop that server", "etherpair reload"] {
        assert!(error.contains(part), "{part} in {error}");
    }
    world.wait_for(1, "serves the other", |volume| volume["address"] == "e7.2" && volume["serving"] == true);
    assert_eq!(world.volume(0)["serving"], true);
    let said = world.reload_leaves_out(1, "e7.1");
    assert!(said.contains(&mac), "it is looked again: {said}");
    assert_eq!(world.status(1)["not_served"][0]["address"], "e7.1");
    stranger.kill().expect("it can be killed");
    let said = world.does(1, "reload");
    assert!(said.contains("served now: e7.1"), "{said}");
    world.wait_for_in_sync();
    assert_eq!(world.status(1)["not_served"], serde_json::json!([]), "{}", world.logs());

    // The peer is no stranger, whether both serve or one stands in for the other.
    nodes[0].kill().expect("it can be killed");
    world.wait_for_alone(1);
    nodes[0] = world.start_node(0);
    world.wait_for_in_sync();
    let second = world.add_host("second", &[1], MTU_JUMBO).expect("a host");
    let load = bench(&second, "7.1 -i eth1 --rw randrw --verify --allow-writes --requests 200");
    assert!(load.status.success(), "{load:?}\n{}", world.logs());
    assert_equal_copies(&world);
}

#[test]
fn an_interface_behind_which_a_stranger_serves_an_address_of_ours_does_not_come() {
    let world = World::new();
    let (_witness, _nodes) = pair(&world);
    let host = world.add_host("stranger", &[1], MTU_JUMBO).expect("a host");
    for node in 0..2 {
        edit(&world, node, "\"eth1\", \"eth2\"", "\"eth1\"");
        world.does(node, "reload");
    }
    let mut stranger = serve(&world, &host, "7.1");
    edit(&world, 0, "\"eth1\"", "\"eth1\", \"eth2\"");
    let refused = world.command(0, "reload").output().expect("it ends");
    assert_eq!(refused.status.code(), Some(86), "{refused:?}");
    for part in ["`storage.interfaces`", "e7.1", "on eth2 answers for this address"] {
        assert!(refused.stderr.contains(part), "{part} in {}", refused.stderr);
    }
    assert_eq!(world.volume(0)["serving"], true, "it is served where it was");
    stranger.kill().expect("it can be killed");
    world.does(0, "reload");
    // The peer is no stranger there, either.
    edit(&world, 1, "\"eth1\"", "\"eth1\", \"eth2\"");
    world.does(1, "reload");
    world.wait_for_in_sync();
}
