//! Nodes whose programs speak different versions of the peer protocol: `versions` in [peer] has the daemon of today speak no more
//! than one of yesterday did, or than one of tomorrow will.

use lab::pair::is_alone;
use serde_json::{Value, json};

use crate::reload::edit;
use crate::world::{PATIENCE, World};
use crate::{assert_equal_copies, pair, under_load};

/// What a node speaks that was not told otherwise.
const USUAL: &str = "[peer]\n";
const ANY: &str = "[peer]\nversions = \"1-5\"\n";
const OLDER: &str = "[peer]\nversions = \"1\"\n";

fn link(world: &World, node: usize) -> Value {
    world.status(node)["links"][0].clone()
}

#[test]
fn a_pair_is_upgraded_one_node_after_the_other_under_load() {
    let world = World::new();
    (0..2).for_each(|node| edit(&world, node, USUAL, OLDER));
    let (_witness, mut nodes) = pair(&world);
    let speak = |version: u32| {
        for node in 0..2 {
            assert_eq!(link(&world, node)["version"], version, "{}", world.logs());
            assert_eq!(link(&world, node)["peer_program"], env!("CARGO_PKG_VERSION"));
        }
    };
    speak(1);
    // As long as one of them knows no other.
    for (node, spoken) in [(0, 1), (1, 5)] {
        under_load(&world, 8, || {
            assert!(nodes[node].terminate(PATIENCE).expect("it ends").success());
            edit(&world, node, OLDER, ANY);
            nodes[node] = world.start_node(node);
        });
        world.wait_for_in_sync();
        speak(spoken);
        assert_eq!(world.status(node)["versions"], json!({ "oldest": 1, "newest": 5 }));
        assert_eq!(link(&world, 0)["peer_versions"], json!({ "oldest": 1, "newest": spoken }));
    }
    assert!(world.does(0, "status").contains(", protocol 5 with etherpair "), "{}", world.does(0, "status"));
    assert_equal_copies(&world);
}

#[test]
fn nodes_without_a_common_version_say_so_and_one_of_them_serves_on() {
    let world = World::new();
    edit(&world, 0, USUAL, OLDER);
    edit(&world, 1, USUAL, ANY);
    let (_witness, mut nodes) = pair(&world);
    assert!(nodes[1].terminate(PATIENCE).expect("it ends").success());
    edit(&world, 1, ANY, USUAL);
    nodes[1] = world.start_node(1);
    let cures = [
        "version 1 of the peer protocol, the peer (etherpair 0.1.0) versions 4 to 5",
        "versions 4 to 5 of the peer protocol, the peer (etherpair 0.1.0) version 1",
    ];
    let culprits = ["upgrade etherpair on this node", "upgrade etherpair on the peer"];
    for node in 0..2 {
        world.wait_for(node, "told", |_| {
            let error = link(&world, node)["error"].to_string();
            error.contains(cures[node]) && error.contains(culprits[node])
        });
    }
    assert!(is_alone(&world.volume(0)), "{}", world.volume(0));
    assert_eq!(world.volume(1)["serving"], false);
    let load = world.bench("7.1 -i eth1 --rw randrw --verify --allow-writes --requests 500");
    assert!(load.status.success(), "{load:?}\n{}", world.logs());
    // Node 1 tries again many times meanwhile.
    let lines = world.logs().lines().filter(|line| line.contains("none in common")).count();
    assert_eq!(lines, 2, "one at each node: {}", world.logs());
    assert!(nodes[0].terminate(PATIENCE).expect("it ends").success());
    edit(&world, 0, OLDER, USUAL);
    nodes[0] = world.start_node(0);
    world.wait_for_in_sync();
    assert_eq!(link(&world, 0)["version"], 5);
    assert_eq!(link(&world, 1)["error"], Value::Null);
    assert_equal_copies(&world);
}
