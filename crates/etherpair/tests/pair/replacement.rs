//! A node's disk is lost, or all of the node: what the operator does, and that nothing old or empty ever counts.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::symlink;

use lab::disk::{LoopDevice, SmallFileSystem, resize_image, sparse_image};
use lab::network::MTU_JUMBO;
use lab::pair::{is_alone, is_whole};
use serde_json::json;

use crate::stranger::serve;
use crate::world::World;
use crate::{PATIENCE, assert_equal_copies, pair, under_load};

fn write_something(world: &World) {
    let load = "7.1 -i eth1 --rw randrw --verify --allow-writes --requests 500";
    let output = world.bench(load);
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn a_disk_that_is_lost_with_its_metadata_is_copied_anew() {
    let world = World::new();
    let (_witness, mut nodes) = pair(&world);
    write_something(&world);
    let refused = world.command(1, "volume replace 7.1 --yes").output().expect("it ends");
    assert!(refused.stderr.contains("does not serve it alone"), "{refused:?}");
    for lost in [&["e7.1.img", "e7.1.meta"][..], &["e7.1.meta"], &["e7.1.img"]] {
        under_load(&world, 6, || {
            nodes[1].kill().expect("it can be killed");
            for name in lost {
                fs::remove_file(world.directory(1).join(name)).expect("lost");
            }
            nodes[1] = world.start_node(1);
            assert_eq!(world.status(1)["not_served"][0]["address"], "e7.1", "{lost:?}");
            world.wait_for_alone(0);
            let wrong = world.command(0, "volume replace 7.1 --yes").output().expect("it ends");
            assert!(!wrong.status.success(), "the good one is not replaced: {wrong:?}");
            let said = world.does(1, "volume replace 7.1 --yes");
            assert!(said.contains("e7.1: made anew"), "{said}");
        });
        world.wait_for_in_sync();
        assert_equal_copies(&world);
    }
    let names = fs::read_dir(world.directory(1)).expect("a directory");
    let aside = names.filter(|entry| {
        entry.as_ref().is_ok_and(|entry| entry.file_name().to_string_lossy().contains(".meta.replaced-"))
    });
    assert_eq!(aside.count(), 1, "metadata that was there is put aside");
    a_device_that_fails_while_it_is_served(&world);
}

/// What is wrong with the new disk is told before the volume is stopped, or else the volume stays in sight until it can be made anew.
fn a_device_that_fails_while_it_is_served(world: &World) {
    let small = SmallFileSystem::new(9 << 20).expect("a file system");
    let [image, filler] = ["disk", "filler"].map(|name| small.path().join(name));
    let place = world.directory(1).join("disk");
    let resize = |device: &LoopDevice, bytes: u64| {
        resize_image(&image, bytes).expect("an image");
        device.reread_size().expect("a device");
    };
    sparse_image(&image, 8 << 20).expect("an image");
    let device = LoopDevice::new(&image, 512).expect("a loop device");
    symlink(device.path(), &place).expect("a link");
    world.does(0, &format!("volume create 7.2 --size 8M --peer-data {} --overwrite-peer", place.display()));
    let volume = |node: usize| world.status(node)["volumes"][1].clone();
    world.wait_for(1, "whole", |_| is_whole(&volume(0)) && is_whole(&volume(1)));
    // What is written to it finds no room.
    resize_image(&image, 0).expect("an image");
    io::copy(&mut io::repeat(0), &mut File::create(&filler).expect("a file"))
        .expect_err("a full file system");
    let written = world.bench("7.2 -i eth1 --rw randwrite --allow-writes --requests 200");
    assert!(written.status.success(), "{written:?}");
    world.wait_for(1, "without a disk", |_| volume(1)["disk"] == "Diskless" && is_alone(&volume(0)));
    let refused = |why: &str| {
        let output = world.command(1, "volume replace 7.2 --yes").output().expect("it ends");
        assert!(!output.status.success() && output.stderr.contains(why), "{why}: {output:?}");
    };
    fs::remove_file(&filler).expect("room");
    resize(&device, 4 << 20);
    refused("use a larger device");
    assert_eq!(volume(1)["disk"], "Diskless", "it was not stopped");
    fs::remove_file(&place).expect("a link");
    symlink("/dev/no-such-disk", &place).expect("a link");
    refused("a link to something that is not there");
    assert_eq!(volume(1)["disk"], "Diskless", "it was not stopped");
    fs::remove_file(&place).expect("a link");
    fs::create_dir(&place).expect("no disk at all");
    for _ in 0..2 {
        refused("directory");
        let not_served = &world.status(1)["not_served"][0];
        assert_eq!(not_served["address"], "e7.2", "{}", world.status(1));
        assert!(
            not_served["error"].as_str().is_some_and(|error| error.contains("directory")),
            "{not_served}"
        );
    }
    fs::remove_dir(&place).expect("a directory");
    symlink(device.path(), &place).expect("a link");
    resize(&device, 8 << 20);
    world.does(1, "volume replace 7.2 --yes");
    world.wait_for(1, "whole", |_| is_whole(&volume(0)) && is_whole(&volume(1)));
}

#[test]
fn a_file_that_is_missing_or_empty_never_counts() {
    let world = World::new();
    let (_witness, mut nodes) = pair(&world);
    let every_extent =
        "7.1 -i eth1 --rw write --block-size 1M --depth 1 --allow-writes --requests 64 --seconds 150";
    let output = world.bench(every_extent);
    assert!(output.status.success(), "{output:?}");
    // The file system is not mounted, and an empty file is made in its place.
    nodes[1].kill().expect("it can be killed");
    let (data, kept) = (world.directory(1).join("e7.1.img"), world.scratch.join("kept"));
    fs::rename(&data, &kept).expect("out of sight");
    nodes[1] = world.start_node(1);
    let why = |part: &str| {
        let not_served = &world.status(1)["not_served"][0];
        assert!(not_served["error"].as_str().is_some_and(|error| error.contains(part)), "{not_served}");
    };
    why("look whether its file system is mounted");
    sparse_image(&data, 64 << 20).expect("an image");
    world.reload_leaves_out(1, "e7.1");
    why("it is not the file that was here");
    fs::rename(&kept, &data).expect("mounted");
    world.does(1, "reload");
    world.wait_for_in_sync();
}

#[test]
fn a_new_node_gets_every_volume_and_never_serves_before_it_has_them() {
    let world = World::new();
    let (mut witness, mut nodes) = pair(&world);
    world.does(0, "volume create 7.2 --size 4M");
    write_something(&world);
    nodes[0].kill().expect("it can be killed");
    for name in ["e7.1.img", "e7.1.meta", "e7.1.volume.toml", "e7.2.img", "e7.2.meta", "e7.2.volume.toml"] {
        fs::remove_file(world.directory(0).join(name)).expect("gone with the machine");
    }
    world.wait_for(1, "alone with every volume", |_| {
        let status = world.status(1);
        let volumes = status["volumes"].as_array().expect("a list");
        volumes.iter().all(is_alone)
    });
    nodes[0] = world.start_node(0);
    assert_eq!(world.status(0)["volumes"], json!([]));
    // Made slow on the one that copies, so that the other dies in the middle of it.
    let file = world.directory(1).join("e7.1.volume.toml");
    let text = fs::read_to_string(&file).expect("a description");
    fs::write(&file, format!("{text}resync_rate = \"1M\"\nbuffer_count = 99\n")).expect("slower");
    assert!(!world.command(1, "reload").output().expect("it ends").status.success(), "that takes a restart");
    fs::write(&file, format!("{text}resync_rate = \"1M\"\nresync_checksums = true\nmasks = []\n"))
        .expect("slower");
    world.does(1, "reload");
    let said = world.does(0, "volume replace --all --yes");
    assert!(said.contains("e7.1") && said.contains("e7.2"), "{said}");
    // What is not described here any more is what the peer says of it.
    let description = |name: &str| fs::read_to_string(world.directory(0).join(name)).expect("a description");
    for line in ["resync_rate = \"1048576\"\n", "resync_checksums = true\n", "masks = []\n"] {
        assert!(description("e7.1.volume.toml").contains(line), "{}", description("e7.1.volume.toml"));
    }
    assert!(!description("e7.2.volume.toml").contains("\nresync"), "{}", description("e7.2.volume.toml"));
    world.wait_for(0, "target", |volume| volume["replication"] == "SyncTarget");
    // The only good copy goes away in the middle of it: nobody serves, also after a start, until it is back.
    nodes[1].kill().expect("it can be killed");
    witness.kill().expect("it can be killed");
    nodes[0].kill().expect("it can be killed");
    let _witness = world.start_witness();
    nodes[0] = world.start_node(0);
    let asked = world.bench("7.1 -i eth1 --rw randread --requests 1 --answer-timeout 5");
    assert!(!asked.status.success(), "{asked:?}");
    assert_eq!(world.volume(0)["serving"], false);
    let forced = world.command(0, "promote 7.1 --force --yes").output().expect("it ends");
    assert!(forced.stderr.contains("this copy is not whole") && !forced.status.success(), "{forced:?}");
    fs::write(&file, text).expect("faster again");
    nodes[1] = world.start_node(1);
    world.wait_for_in_sync();
    assert_equal_copies(&world);
    let again = world.does(0, "volume replace --all --yes");
    assert!(again.contains("good copy here already"), "{again}");
    assert!(nodes[1].terminate(PATIENCE).expect("it ends").success());
    write_something(&world);
}

#[test]
fn a_copy_that_can_be_used_is_not_made_anew_nor_one_whose_address_a_stranger_serves() {
    let world = World::new();
    let (_witness, mut nodes) = pair(&world);
    world.does(0, "volume create 7.2 --size 4M");
    write_something(&world);
    assert!(nodes[1].terminate(PATIENCE).expect("it ends").success());
    world.wait_for_alone(0);
    // One volume's copy is lost, and somebody else has taken the addresses of both.
    for name in ["e7.2.img", "e7.2.meta"] {
        fs::remove_file(world.directory(1).join(name)).expect("lost");
    }
    let host = world.add_host("stranger", &[0], MTU_JUMBO).expect("a host");
    let mut strangers = ["7.1", "7.2"].map(|address| serve(&world, &host, address));
    nodes[1] = world.start_node(1);
    let metadata = world.directory(1).join("e7.1.meta");
    let before = fs::read(&metadata).expect("metadata");
    let refused = |arguments: &str, why: &str| {
        let output = world.command(1, arguments).output().expect("it ends");
        assert_eq!(output.status.code(), Some(86), "{output:?}");
        assert!(output.stderr.contains(why), "{why}: {output:?}");
        assert!(fs::read(&metadata).expect("metadata") == before, "nothing was touched");
        assert_eq!(world.status(1)["not_served"][0]["address"], "e7.1", "{}", world.status(1));
        output.stderr
    };
    for address in ["7.1", "7.2"] {
        refused(&format!("volume replace {address} --yes"), "on eth1 answers for this address");
    }
    assert!(!world.directory(1).join("e7.2.img").exists(), "nothing was made");
    strangers.iter_mut().for_each(|stranger| stranger.kill().expect("it can be killed"));
    refused("volume replace 7.1 --yes", "e7.1: this node's copy can be used");
    let told = refused("volume replace --all --yes", "e7.1: this node's copy can be used");
    assert!(told.contains("made anew: e7.2"), "{told}");
    world.does(1, "reload");
    world.wait_for_in_sync();
    world.wait_for(1, "whole", |_| is_whole(&world.status(1)["volumes"][1]));
    assert_equal_copies(&world);
}
