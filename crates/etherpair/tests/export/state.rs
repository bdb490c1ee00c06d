//! What AoE clients set survives restarts, kills and full disks, or is never confirmed.

use aoe::MacAddress;

use crate::client::Client;
use crate::world::{PATIENCE, World};

const STRANGER: MacAddress = MacAddress([2, 0, 0, 0, 0, 0x77]);

#[test]
fn the_config_string_survives_a_restart_and_a_kill() {
    let world = World::new();
    world.disk("disk.img", 1 << 20);
    let mut client = world.client();
    let mut server = world.export("7.1 disk.img -i eth1");
    assert_eq!(client.set_config("7.1", b"boot: \xff\n").string, b"boot: \xff\n");
    assert!(server.terminate(PATIENCE).expect("it ends").success());
    let mut server = world.export("7.1 disk.img -i eth1");
    assert_eq!(client.config("7.1").expect("an answer").string, b"boot: \xff\n");
    client.set_config("7.1", b"other");
    server.kill().expect("killed");
    let _server = world.export("7.1 disk.img -i eth1");
    assert_eq!(client.config("7.1").expect("an answer").string, b"other");
}

#[test]
fn mask_and_reservation_survive_a_restart() {
    let world = World::new();
    world.disk("disk.img", 1 << 20);
    let (mut one, mut two) = (world.client(), Client::new(&world.clients, "far2"));
    let mut server = world.export("7.1 disk.img -i eth1 -i eth2");
    one.reserve("7.1", two.mac());
    one.allow("7.1", one.mac());
    assert!(server.terminate(PATIENCE).expect("it ends").success());
    let _server = world.export("7.1 disk.img -i eth1 -i eth2");
    assert_eq!(one.reservation("7.1"), [two.mac()]);
    two.expect_silence("7.1");
    one.allow("7.1", two.mac());
    assert!(two.config("7.1").is_some());
    two.allow("7.1", STRANGER);
    let state = std::fs::read_to_string(world.scratch.join("disk.img.etherpair")).expect("a state file");
    assert!(state.contains(&STRANGER.to_string()) && state.contains(&two.mac().to_string()), "{state}");
}

#[test]
fn a_change_that_cannot_be_stored_is_not_confirmed_and_not_made() {
    let world = World::new();
    world.disk("disk.img", 1 << 20);
    let mut client = world.client();
    let mut server = world.export("7.1 disk.img -i eth1 --state-directory states");
    client.set_config("7.1", b"before");
    let (states, away) = (world.scratch.join("states"), world.scratch.join("away"));
    std::fs::rename(&states, &away).expect("moved away");
    client.expect_not_set("7.1", b"after");
    assert_eq!(client.config("7.1").expect("an answer").string, b"before");
    server.wait_for_line("state file cannot be written", PATIENCE).expect("a line in the log");
    std::fs::rename(&away, &states).expect("brought back");
    assert_eq!(client.set_config("7.1", b"after").string, b"after");
}
