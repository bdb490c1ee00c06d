//! The witness is lost and another one takes its place, while not every volume is well.

use std::fs;

use lab::pair::is_whole;

use crate::pair;
use crate::world::World;

#[test]
fn a_register_that_cannot_be_made_keeps_no_other_from_being_made() {
    let world = World::new();
    let (mut witness, mut nodes) = pair(&world);
    for volume in ["7.2", "7.3"] {
        world.does(0, &format!("volume create {volume} --size 4M"));
    }
    let volume = |node: usize, index: usize| world.status(node)["volumes"][index].clone();
    witness.kill().expect("it can be killed");
    nodes.iter_mut().for_each(|node| node.kill().expect("it can be killed"));
    fs::remove_dir_all(world.scratch.join("witness")).expect("lost");
    let _witness = world.start_witness();
    // One volume is served by one node only, another one by the other one only.
    let lost = [world.directory(1).join("e7.1.meta"), world.directory(0).join("e7.3.meta")];
    let put = |is_away: bool| {
        for path in &lost {
            let elsewhere = path.with_extension("elsewhere");
            let (from, to) = if is_away { (path, &elsewhere) } else { (&elsewhere, path) };
            fs::rename(from, to).expect("moved");
        }
    };
    put(true);
    let _nodes = [world.start_node(0), world.start_node(1)];
    world.wait_for(0, "met", |_| volume(0, 1)["phase"] == "Paired");
    let output = world.command(0, "volume register --all").output().expect("it ends");
    assert_eq!(output.status.code(), Some(86), "{output:?}");
    for part in [
        "e7.1: both nodes must be connected",
        "e7.3: skipped, since this node does not serve it: ",
        "the arbiter has the registers of e7.2; ",
    ] {
        assert!(output.stderr.contains(part), "{part} in {}", output.stderr);
    }
    world.wait_for(0, "whole", |_| is_whole(&volume(0, 1)) && is_whole(&volume(1, 0)));
    put(false);
    (0..2).for_each(|node| drop(world.does(node, "reload")));
    let are_met = |_: &_| [0, 2].iter().all(|&index| volume(0, index)["phase"] == "Paired");
    world.wait_for(0, "met", are_met);
    let said = world.does(0, "volume register --all");
    assert!(said.contains("the registers of e7.1, e7.2, e7.3"), "{said}");
    let are_whole = |_: &_| (0..2).all(|node| (0..3).all(|index| is_whole(&volume(node, index))));
    world.wait_for(0, "whole", are_whole);
}
