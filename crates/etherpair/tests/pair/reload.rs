//! A configuration is read again while the daemons run: what can change does, what cannot is refused as a whole.

use std::fs;

use lab::Namespace;
use lab::network::MTU_JUMBO;
use serde_json::json;

use crate::world::World;
use crate::{assert_equal_copies, pair, under_load};

pub(crate) fn edit(world: &World, node: usize, from: &str, to: &str) {
    let path = world.configuration_file(node);
    let text = fs::read_to_string(&path).expect("a configuration");
    assert!(text.contains(from), "{from} in {text}");
    fs::write(&path, text.replace(from, to)).expect("a configuration");
}

/// Whether an initiator on the second network is answered.
fn is_answered(world: &World, host: &Namespace) -> bool {
    let program = host.program(env!("CARGO_BIN_EXE_etherpair"));
    let arguments = "bench 7.1 -i eth1 --rw randread --requests 50 --answer-timeout 1";
    let program = program.args(arguments.split_whitespace()).within(crate::world::PATIENCE);
    let is_answered = program.output().expect("it ends").status.success();
    assert_eq!(world.status(0)["not_served"], json!([]));
    is_answered
}

#[test]
fn interfaces_come_and_go_under_load() {
    let world = World::new();
    let (_witness, _nodes) = pair(&world);
    let second = world.add_host("second", &[1], MTU_JUMBO).expect("a host");
    assert!(is_answered(&world, &second));
    under_load(&world, 5, || {
        for _ in 0..2 {
            for node in 0..2 {
                edit(&world, node, "\"eth1\", \"eth2\"", "\"eth1\"");
                world.does(node, "reload");
            }
            assert!(!is_answered(&world, &second), "nobody is served there");
            for node in 0..2 {
                edit(&world, node, "\"eth1\"", "\"eth1\", \"eth2\"");
                world.does(node, "reload");
            }
            assert!(is_answered(&world, &second), "{}", world.logs());
        }
    });
    world.wait_for_in_sync();
    assert_equal_copies(&world);
}

#[test]
fn what_cannot_change_while_the_daemon_runs_refuses_the_whole() {
    let world = World::new();
    let (_witness, _nodes) = pair(&world);
    let second = world.add_host("second", &[1], MTU_JUMBO).expect("a host");
    let refused = |wanted: &[&str]| {
        let output = world.command(0, "reload").output().expect("it ends");
        assert_eq!(output.status.code(), Some(86), "{output:?}");
        for part in wanted {
            assert!(output.stderr.contains(part), "{part} in {}", output.stderr);
        }
        assert!(is_answered(&world, &second), "nothing was changed");
    };
    edit(&world, 0, "\"eth1\", \"eth2\"", "\"eth1\"");
    edit(&world, 0, "[peer]\n", "[peer]\nlease = \"2s\"\n");
    refused(&["nothing was changed", "`peer.lease` cannot change", "stop both daemons"]);
    edit(&world, 0, "[peer]\nlease = \"2s\"\n", "[peer]\nleese = 1\n");
    refused(&["`peer.leese`: there is no such key"]);
    edit(&world, 0, "leese = 1\n", "");
    edit(&world, 0, "\"eth1\"", "\"eth2\"");
    refused(&["`storage.interfaces`", "at the end of the list"]);
    edit(&world, 0, "\"eth2\"", "\"eth1\", \"eth2\", \"eth9\"");
    refused(&["eth9"]);
    edit(&world, 0, ", \"eth9\"", "");
    fs::write(
        world.directory(0).join("e7.9.volume.toml"),
        "address = \"7.9\"\ndata = \"/nowhere\"\nmetadata = \"/nowhere.meta\"\n",
    )
    .expect("a volume that is not there");
    refused(&["e7.9", "/nowhere"]);
}

#[test]
fn a_volume_that_is_not_configured_any_more_is_the_others_until_it_is_again() {
    let world = World::new();
    let (_witness, _nodes) = pair(&world);
    let file = world.directory(0).join("e7.1.volume.toml");
    let text = fs::read_to_string(&file).expect("a description");
    under_load(&world, 5, || {
        fs::remove_file(&file).expect("removed");
        let said = world.does(0, "reload");
        assert!(said.contains("removed: e7.1"), "{said}");
        assert_eq!(world.status(0)["volumes"], json!([]));
        world.wait_for(1, "alone", |volume| volume["phase"] == "Alone" && volume["serving"] == true);
        fs::write(&file, &text).expect("put back");
        let said = world.does(0, "reload");
        assert!(said.contains("served now: e7.1"), "{said}");
    });
    world.wait_for_in_sync();
    assert_equal_copies(&world);
}

#[test]
fn a_resync_goes_faster_when_it_may() {
    let world = World::new();
    let (_witness, mut nodes) = pair(&world);
    nodes[1].kill().expect("it can be killed");
    let file = world.directory(0).join("e7.1.volume.toml");
    let text = fs::read_to_string(&file).expect("a description");
    fs::write(&file, format!("{text}resync_rate = \"128k\"\n")).expect("slower");
    world.does(0, "reload");
    world.wait_for(0, "alone", |volume| volume["phase"] == "Alone" && volume["serving"] == true);
    // Sixteen MiB at least, at 128 KiB a second.
    assert!(
        world
            .bench("7.1 -i eth1 --rw randwrite --block-size 64k --verify --allow-writes --requests 400")
            .status
            .success()
    );
    nodes[1] = world.start_node(1);
    world.wait_for(0, "source", |volume| volume["replication"] == "SyncSource");
    assert!(world.volume(0)["out_of_sync_bytes"].as_u64().is_some_and(|bytes| bytes > 8 << 20));
    fs::write(&file, text).expect("faster again");
    let before = std::time::Instant::now();
    world.does(0, "reload");
    world.wait_for_in_sync();
    assert!(before.elapsed().as_secs() < 50, "it would have taken two minutes");
    assert_equal_copies(&world);
}
