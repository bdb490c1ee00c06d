//! What one node is told of two volumes is swapped: the nodes would pair them by their identities, and initiators find each at the address
//! of the other.

use std::fs;

use lab::pair::{is_alone, is_whole};
use lab::wait_until;
use serde_json::Value;

use crate::assert_equal_copies_of;
use crate::world::{PATIENCE, World};

const ADDRESSES: [&str; 2] = ["7.1", "7.2"];

/// What describes the volumes at node 1.
fn descriptions(world: &World) -> [String; 2] {
    let file = |address| world.directory(1).join(format!("e{address}.volume.toml"));
    ADDRESSES.map(|address| fs::read_to_string(file(address)).expect("a description"))
}

fn describe(world: &World, texts: &[String; 2]) {
    for (address, text) in ADDRESSES.iter().zip(texts) {
        let file = world.directory(1).join(format!("e{address}.volume.toml"));
        fs::write(file, text).expect("a description");
    }
}

/// Each with the files of the other one, and which volume it is if that is said.
fn swapped([first, second]: &[String; 2], is_said: bool) -> [String; 2] {
    let of = |text: &str, key: &str| {
        let line = text.lines().find(|line| line.starts_with(key)).expect("a key").to_owned();
        line + "\n"
    };
    [(first, second), (second, first)].map(|(own, other)| {
        let identity = if is_said { of(own, "identity") } else { String::new() };
        of(own, "address") + &identity + &of(other, "data") + &of(other, "metadata")
    })
}

/// Why a node does not serve its volumes.
fn errors(world: &World, node: usize) -> Vec<String> {
    let status = world.status(node);
    let not_served = status["not_served"].as_array().expect("a list");
    not_served.iter().map(|volume| volume["error"].as_str().expect("text").to_owned()).collect()
}

fn wait_for_both(world: &World, node: usize, what: &str, is_so: fn(&Value) -> bool) {
    let both = || {
        let status = world.status(node);
        let volumes = status["volumes"].as_array().expect("a list");
        Ok((volumes.len() == 2 && volumes.iter().all(is_so)).then_some(()))
    };
    world.wait_for_pair(what, PATIENCE, both).expect("both");
}

#[test]
fn volumes_whose_files_were_swapped_at_one_node_are_served_by_the_other_and_by_neither_at_two_addresses() {
    let world = World::new();
    let _witness = world.start_witness();
    let mut nodes = [world.start_node(0), world.start_node(1)];
    for address in ADDRESSES {
        world.does(0, &format!("volume create {address} --size 4M"));
    }
    (0..2).for_each(|node| wait_for_both(&world, node, "whole", is_whole));
    let right = descriptions(&world);
    nodes[1].kill().expect("it can be killed");
    wait_for_both(&world, 0, "alone", is_alone);
    for address in ADDRESSES {
        let load = format!("{address} -i eth1 --rw randrw --verify --allow-writes --requests 100");
        assert!(world.bench(&load).status.success());
    }

    // At a start, and at a reload; said or not.
    describe(&world, &swapped(&right, false));
    nodes[1] = world.start_node(1);
    let told = errors(&world, 1);
    for (error, there) in told.iter().zip(["at e7.2, and volume ", "at e7.1, and volume "]) {
        assert!(error.contains(&format!("the peer serves it {there}")), "{told:?}");
    }
    assert_eq!(told.len(), 2, "{told:?}");
    describe(&world, &swapped(&right, true));
    let said = world.reload_leaves_out(1, "e7.2");
    for part in ["e7.1.volume.toml:2: `identity`: is ", "e7.2.meta is the metadata of volume "] {
        assert!(said.contains(part), "{part} in {said}");
    }
    wait_for_both(&world, 0, "served by the other one", is_alone);

    // Where nobody could be asked, it is told when they meet.
    assert!(nodes[1].terminate(PATIENCE).expect("it ends").success());
    world.part(true);
    describe(&world, &swapped(&right, false));
    nodes[1] = world.start_node(1);
    assert_eq!(errors(&world, 1), Vec::<String>::new());
    world.part(false);
    let gives_way = || {
        let not_served = [0, 1].map(|node| errors(&world, node));
        let both = not_served.into_iter().find(|errors| errors.len() == 2);
        Ok(both.filter(|errors| errors.iter().all(|error| error.contains("initiators would take two disks"))))
    };
    wait_until("one of them to give way", PATIENCE, gives_way).expect("it is seen");

    describe(&world, &right);
    assert!(nodes[1].terminate(PATIENCE).expect("it ends").success());
    nodes[1] = world.start_node(1);
    world.does(0, "reload");
    (0..2).for_each(|node| wait_for_both(&world, node, "whole", is_whole));
    ADDRESSES.iter().for_each(|address| assert_equal_copies_of(&world, address));
}
