//! A volume is removed: from both nodes, from one, with its data or without, and put back by hand.

use std::fs;
use std::thread;

use serde_json::json;

use crate::world::World;
use crate::{assert_equal_copies, pair};

fn names(world: &World, node: usize) -> Vec<String> {
    let entries = fs::read_dir(world.directory(node)).expect("a directory");
    let mut names: Vec<String> =
        entries.map(|entry| entry.expect("a file").file_name().to_string_lossy().into_owned()).collect();
    names.retain(|name| name.starts_with("e7."));
    names.sort();
    names
}

#[test]
fn a_removed_volume_answers_nobody_and_what_is_left_can_be_put_back() {
    let world = World::new();
    let (_witness, _nodes) = pair(&world);
    assert!(world.bench("7.1 -i eth1 --rw randrw --verify --allow-writes --requests 200").status.success());
    let unsaid = world.command(0, "volume remove 7.1").output().expect("it ends");
    assert!(!unsaid.status.success() && unsaid.stderr.contains("Type 7.1 to go on"), "{unsaid:?}");
    // Under load: what is asked is not answered, and nothing else goes wrong. So many failures end a load, all at once.
    let reads = || [0, 1].map(|node| world.volume(node)["counters"]["reads"].as_u64());
    let before = reads();
    let (removed, load) = thread::scope(|scope| {
        let load = "7.1 -i eth1 --rw randread --depth 1000 --seconds 150 --answer-timeout 5";
        let load = scope.spawn(|| world.bench(load));
        world.wait_for(1, "busy", |_| reads() != before);
        (world.does(1, "volume remove 7.1 --yes"), load.join().expect("no panic"))
    });
    assert!(removed.contains("e7.1: removed from both nodes"), "{removed}");
    assert_eq!(load.status.code(), Some(62), "{load:?}\n{}", world.logs());
    assert!(load.stderr.contains("no answer in time"), "{load:?}");
    for node in 0..2 {
        assert_eq!(world.status(node)["volumes"], json!([]));
        let names = names(&world, node);
        assert!(
            names.len() == 3 && names[0] == "e7.1.img" && names[1].starts_with("e7.1.meta.removed-"),
            "{names:?}"
        );
    }
    let asked = world.bench("7.1 -i eth1 --rw randread --requests 1 --answer-timeout 1");
    assert!(!asked.status.success(), "nobody answers: {asked:?}");
    // By mistake, it turns out.
    for node in 0..2 {
        for name in names(&world, node).iter().skip(1) {
            let (before, _) = name.split_once(".removed-").expect("put aside");
            fs::rename(world.directory(node).join(name), world.directory(node).join(before))
                .expect("put back");
        }
        world.does(node, "reload");
    }
    // Where one node had become the only member before it, too, removed the volume, the pair needs its register to be whole again.
    for node in 0..2 {
        world.wait_for(node, "met", |volume| volume["phase"] == "Paired");
    }
    world.does(0, "volume register 7.1");
    world.wait_for_in_sync();
    assert_equal_copies(&world);
    // And for good; then the address is free again.
    world.does(0, "volume remove 7.1 --yes --delete-data");
    (0..2).for_each(|node| assert_eq!(names(&world, node), Vec::<String>::new()));
    world.does(1, "volume create 7.1 --size 4M");
    world.wait_for_in_sync();
    assert!(world.bench("7.1 -i eth1 --rw randrw --verify --allow-writes --requests 100").status.success());
}

#[test]
fn without_its_peer_a_node_removes_a_volume_only_if_that_was_said() {
    let world = World::new();
    let (_witness, mut nodes) = pair(&world);
    nodes[1].kill().expect("it can be killed");
    let refused = world.command(0, "volume remove 7.1 --yes").output().expect("it ends");
    assert!(
        refused.stderr.contains("nothing was changed") && refused.stderr.contains("--here-only"),
        "{refused:?}"
    );
    world.wait_for_alone(0);
    nodes[1] = world.start_node(1);
    world.wait_for_in_sync();
    // The one that keeps it goes on alone, at once; and removes it later.
    world.does(0, "volume remove 7.1 --yes --here-only");
    assert_eq!(world.status(0)["volumes"], json!([]));
    world.wait_for_alone(1);
    assert!(world.bench("7.1 -i eth1 --rw randrw --verify --allow-writes --requests 100").status.success());
    let said = world.does(1, "volume remove 7.1 --yes");
    assert!(said.contains("removed from this node; the peer knows of no such volume"), "{said}");
    assert_eq!(world.status(1)["volumes"], json!([]));
}
