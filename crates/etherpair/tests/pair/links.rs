//! Two wires between the nodes: while one of them carries, no node goes on alone.

use crate::reload::edit;
use crate::world::World;
use crate::{assert_equal_copies, pair, under_load};

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
