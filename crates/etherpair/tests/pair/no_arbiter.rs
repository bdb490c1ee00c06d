//! A pair with nobody to decide: it stands still when the nodes lose each other, and goes by what both of them want.

use std::fs;

use serde_json::json;

use crate::assert_equal_copies;
use crate::reload::edit;
use crate::world::World;

const WITNESS: &str = "[arbiter.witness]\naddresses = [\"10.7.0.3:8803\"]\ninsecure = true\n";

#[test]
fn a_pair_without_an_arbiter_leaves_freezes_is_forced_and_becomes_whole_again() {
    let world = World::new();
    (0..2).for_each(|node| edit(&world, node, WITNESS, "[arbiter]\nnone = true\n"));
    let mut nodes = [world.start_node(0), world.start_node(1)];
    world.does(0, "volume create 7.1 --size 16M");
    world.wait_for_in_sync();
    let loads = || {
        let load = world.bench("7.1 -i eth1 --rw randrw --verify --allow-writes --requests 500");
        assert!(load.status.success(), "{load:?}\n{}", world.logs());
    };

    let said = world.does(1, "leave");
    assert!(said.contains("the peer goes on alone"), "{said}");
    world.wait_for(0, "alone", |volume| volume["phase"] == "Alone" && volume["members"] == json!([0]));
    loads();
    world.does(1, "join");
    world.wait_for_in_sync();
    assert_eq!(world.volume(1)["members"], json!([0, 1]));

    let (file, elsewhere) =
        (world.directory(1).join("e7.1.volume.toml"), world.directory(1).join("elsewhere"));
    fs::rename(&file, &elsewhere).expect("moved");
    world.does(1, "reload");
    world.wait_for_alone(0);
    fs::rename(&elsewhere, &file).expect("moved back");
    world.does(1, "reload");
    world.wait_for_in_sync();

    nodes[0].kill().expect("it can be killed");
    world.wait_for(1, "frozen", |volume| volume["phase"] == "Frozen" && volume["serving"] == false);
    world.does(1, "promote 7.1 --force --yes");
    world.wait_for_alone(1);
    loads();
    nodes[0] = world.start_node(0);
    world.wait_for_in_sync();
    assert_eq!(world.volume(0)["members"], json!([0, 1]));
    assert_equal_copies(&world);
}
