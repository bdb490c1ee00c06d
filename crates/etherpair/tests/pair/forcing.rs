//! A node is forced that was told to leave.

use serde_json::json;

use crate::world::World;
use crate::{assert_equal_copies, pair};

#[test]
fn a_node_that_was_told_to_leave_is_not_forced_before_it_joins() {
    let world = World::new();
    let (_witness, mut nodes) = pair(&world);
    let load = "7.1 -i eth1 --rw randrw --verify --allow-writes --requests 200 --answer-timeout 150";
    world.does(1, "leave");
    assert!(world.bench(load).status.success());
    nodes[0].kill().expect("it can be killed");
    world.wait_for(1, "frozen", |volume| volume["phase"] == "Frozen");
    let before = world.volume(1);
    let refused = world.command(1, "promote 7.1 --force --yes").output().expect("it ends");
    assert_eq!(refused.status.code(), Some(86), "{refused:?}");
    assert!(
        refused.stderr.contains("was told to leave") && refused.stderr.contains("etherpair join"),
        "{refused:?}"
    );
    assert_eq!(world.volume(1)["epoch"], before["epoch"], "nothing was done");
    // So the other one, which has served since, goes on where it was.
    nodes[0] = world.start_node(0);
    world.wait_for(0, "alone", |volume| volume["phase"] == "Alone" && volume["serving"] == true);
    assert!(world.bench(load).status.success());
    nodes[0].kill().expect("it can be killed");
    world.wait_for(1, "frozen", |volume| volume["phase"] == "Frozen");
    world.does(1, "join");
    assert_eq!(world.volume(1)["phase"], "Frozen");
    world.does(1, "promote 7.1 --force --yes");
    world.wait_for(1, "alone", |volume| volume["phase"] == "Alone" && volume["serving"] == true);
    assert_eq!(world.volume(1)["members"], json!([1]));
    assert!(world.bench(load).status.success());
    nodes[0] = world.start_node(0);
    world.wait_for_in_sync();
    assert_equal_copies(&world);
}
