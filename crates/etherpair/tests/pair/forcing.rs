//! A node is forced: one that was told to leave, and one whose peer was granted something.

use lab::wait_until;
use serde_json::json;

use crate::world::{PATIENCE, World};
use crate::{assert_equal_copies, pair};

#[test]
fn a_node_that_was_told_to_leave_is_not_forced_before_it_joins() {
    let world = World::new();
    let (_witness, mut nodes) = pair(&world);
    let load = "7.1 -i eth1 --rw randrw --verify --allow-writes --requests 200";
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
    world.wait_for_alone(0);
    assert!(world.bench(load).status.success());
    nodes[0].kill().expect("it can be killed");
    world.wait_for(1, "frozen", |volume| volume["phase"] == "Frozen");
    world.does(1, "join");
    assert_eq!(world.volume(1)["phase"], "Frozen");
    world.does(1, "promote 7.1 --force --yes");
    world.wait_for_alone(1);
    assert_eq!(world.volume(1)["members"], json!([1]));
    assert!(world.bench(load).status.success());
    nodes[0] = world.start_node(0);
    world.wait_for_in_sync();
    assert_equal_copies(&world);
}

/// Whether or not the witness can be asked when an operator decides, it lets nobody go on afterwards by what it had granted before.
#[test]
fn what_the_other_node_was_granted_does_not_count_after_a_force() {
    let world = World::new();
    let (mut witness, mut nodes) = pair(&world);
    let load = "7.1 -i eth1 --rw randrw --verify --allow-writes --requests 200";
    for is_asked in [true, false] {
        let log = |word: &str| world.logs().matches(word).count();
        let known = log("the arbiter knows of membership");
        nodes[1].kill().expect("it can be killed");
        world.wait_for_alone(0);
        let granted = world.volume(0)["epoch"].as_u64().expect("a number");
        nodes[0].kill().expect("it can be killed");
        if !is_asked {
            witness.kill().expect("it can be killed");
        }
        nodes[1] = world.start_node(1);
        world.wait_for(1, "frozen", |volume| volume["phase"] == "Frozen");
        world.does(1, "promote 7.1 --force --yes");
        world.wait_for_alone(1);
        if !is_asked {
            witness = world.start_witness();
        }
        let is_known = || Ok((log("the arbiter knows of membership") > known).then_some(()));
        wait_until("the witness to know", PATIENCE, is_known).expect("it is told");
        world.wait_for(1, "a later epoch", |volume| volume["epoch"].as_u64() > Some(granted));
        assert!(world.bench(load).status.success());
        // Alone, the one that was granted something has nothing to go by.
        nodes[1].kill().expect("it can be killed");
        let shut_out = log("the other node went on alone");
        nodes[0] = world.start_node(0);
        let is_told = || Ok((log("the other node went on alone") > shut_out).then_some(()));
        wait_until("node 0 to be shut out", PATIENCE, is_told).expect("it is told");
        assert_eq!(world.volume(0)["phase"], "Frozen");
        nodes[1] = world.start_node(1);
        world.wait_for_in_sync();
        assert_equal_copies(&world);
        assert!(world.bench(load).status.success());
    }
}
