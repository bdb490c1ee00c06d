//! Two wires between the nodes: while one of them carries, no node goes on alone.

use lab::pair::Pair;

use crate::reload::edit;
use crate::world::World;
use crate::{PATIENCE, assert_equal_copies, pair, under_load};

#[test]
fn a_wire_between_the_nodes_is_lost_and_the_stream_comes_back_over_the_other() {
    let world = World::new();
    for node in 0..2 {
        // So that a busy machine has connected the nodes anew before the lease is over.
        edit(&world, node, "[peer]\n", "[peer]\nlease = \"3s\"\n");
    }
    let (_witness, _nodes) = pair(&world);
    let stands_over = |wire| world.wait_until_connected_over(wire).expect("a wire that carries");
    let wire = world.wait_until_connected().expect("a stream");
    let epochs = [0, 1].map(|node| world.volume(node)["epoch"].clone());
    under_load(&world, 5, || {
        world.set_peer_wire_silent(wire, true).expect("a wire");
        stands_over(1 - wire);
        world.wait_for_in_sync();
        world.set_peer_wire_silent(wire, false).expect("a wire");
        world.set_peer_wire_up(1 - wire, false).expect("a wire");
        stands_over(wire);
        world.wait_for_in_sync();
    });
    for (node, epoch) in epochs.iter().enumerate() {
        assert_eq!(world.volume(node)["epoch"], *epoch, "a node went on alone:\n{}", world.logs());
    }
    assert_equal_copies(&world);
}

#[test]
fn a_node_starts_without_one_of_its_peer_addresses_and_listens_there_when_it_has_it() {
    let world = World::new();
    edit(&world, 1, "[peer]\nlisten = [", "[peer]\nlisten = [\"10.9.9.9:8802\", ");
    let (_witness, mut nodes) = pair(&world);
    nodes[1].wait_for_line("the peer cannot connect to 10.9.9.9:8802", PATIENCE).expect("a line in the log");
    world
        .node(1)
        .program("ip")
        .args(["address", "add", "10.9.9.9/32", "dev", "lo"])
        .run()
        .expect("an address");
    nodes[1].wait_for_line("the peer can connect to 10.9.9.9:8802 now", PATIENCE).expect("it listens");
    assert!(nodes[1].terminate(PATIENCE).expect("it ends").success());
    // Without any of them nobody could connect: most likely they are another machine's.
    let [first, second] = [0, 1].map(|wire| Pair::peer_address(1, wire));
    edit(&world, 1, &format!("\"10.9.9.9:8802\", \"{first}\", \"{second}\""), "\"10.9.9.8:8802\"");
    let program = world.node(1).program(env!("CARGO_BIN_EXE_etherpair")).args(["serve", "-c"]);
    let refused = program.arg(world.configuration_file(1)).within(PATIENCE).output().expect("it ends");
    assert!(refused.stderr.contains("10.9.9.8:8802"), "{refused:?}");
    assert_eq!(refused.status.code(), Some(82), "{refused:?}");
}
