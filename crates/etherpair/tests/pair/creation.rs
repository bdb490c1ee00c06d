//! A volume is made of an image, and the node that makes it ends in the middle: the image is never written over, and the volume becomes
//! whole; nor is it by `volume replace`.

use std::fs;
use std::time::Instant;

use crate::assert_equal_copies;
use crate::world::{PATIENCE, World};

#[test]
fn whoever_makes_a_volume_of_an_image_and_ends_when_the_peer_has_it_finds_it_again() {
    let world = World::new();
    let _witness = world.start_witness();
    let mut nodes = [world.start_node(0), world.start_node(1)];
    let image = world.directory(0).join("e7.1.img");
    let content: Vec<u8> = (0..=250).cycle().take(4 << 20).collect();
    fs::write(&image, &content).expect("an image");
    let create = format!("volume create 7.1 --data {}", image.display());
    let there = world.directory(1).join("e7.1.volume.toml");
    // This program may be too slow for a moment so short: then it is made, taken away, and made once more.
    for turn in 1.. {
        assert!(turn < 20, "the command is always quicker");
        let mut making = world.command(0, &create).start(world.scratch.join("making")).expect("a command");
        // The peer serves it in this moment.
        let begun = Instant::now();
        while !there.exists() {
            assert!(begun.elapsed() < PATIENCE, "{}", world.logs());
            std::thread::yield_now();
        }
        nodes[0].kill().expect("it can be killed");
        let is_made = making.wait(PATIENCE).expect("it ends").success();
        nodes[0] = world.start_node(0);
        if !is_made {
            break;
        }
        world.wait_for_in_sync();
        world.does(0, "volume remove 7.1 --delete-data --yes");
        fs::write(&image, &content).expect("an image");
    }
    world.wait_for_in_sync();
    assert!(fs::read(&image).expect("an image") == content, "the image was written over");
    assert_equal_copies(&world);
    // Nor is a good copy that nothing describes any more.
    let elsewhere = world.directory(1).join("elsewhere");
    nodes[1].kill().expect("it can be killed");
    fs::rename(&there, &elsewhere).expect("moved");
    nodes[1] = world.start_node(1);
    world.wait_for_alone(0);
    let refused = world.command(1, "volume replace 7.1 --yes").output().expect("it ends");
    for part in ["e7.1: this node's copy can be used", "nothing describes it here", "nothing was changed"] {
        assert!(refused.stderr.contains(part), "{part} in {refused:?}");
    }
    fs::rename(&elsewhere, &there).expect("moved back");
    world.does(1, "reload");
    world.wait_for_in_sync();
}
