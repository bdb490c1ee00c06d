//! Which initiators are listened to, as the configurations of the nodes say: with frames of initiators that are on the list and
//! that are not, and of one that would like to change it.

use std::fs;
use std::time::Duration;

use lab::network::MTU_JUMBO;
use lab::{FrameSocket, Namespace, wait_until};
use serde_json::json;

use crate::pair;
use crate::world::{PATIENCE, World};

/// The head of a request for 7.1, with a tag.
fn request(command: u8) -> Vec<u8> {
    vec![0x10, 0, 0, 7, 1, command, 0x80, 0, 0, 9]
}

/// A question for the configuration.
fn question() -> Vec<u8> {
    [request(1), vec![0; 8]].concat()
}

fn socket(host: &Namespace) -> FrameSocket {
    FrameSocket::open(host, "eth1", Duration::from_millis(500)).expect("a socket")
}

/// What a broadcast request is answered, by whoever is first and soon.
fn ask(host: &Namespace, request: &[u8]) -> Option<Vec<u8>> {
    let socket = socket(host);
    socket.exchange(&socket.frame_to([0xff; 6], request)).expect("a wire")
}

/// What one is answered that must be, on a busy machine as well: a node that was held up does not send an answer that is too old.
fn answer(host: &Namespace, request: &[u8]) -> Vec<u8> {
    wait_until("an answer", PATIENCE, || Ok(ask(host, request))).expect("an answer")
}

/// Whether it is met with silence.
fn is_ignored(host: &Namespace) -> bool {
    ask(host, &question()).is_none()
}

fn assert_listened_to(host: &Namespace) {
    answer(host, &question());
}

/// What the command for MAC masks is answered: its error.
fn edit_over_the_wire(host: &Namespace, add: [u8; 6]) -> u8 {
    let edit = [request(2), vec![0, 1, 0, 1, 0, 1], add.to_vec()].concat();
    answer(host, &edit)[26]
}

fn text(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

#[test]
fn the_masks_of_the_configuration_hold_at_both_nodes_whatever_initiators_say() {
    let world = World::new();
    let (_witness, mut nodes) = pair(&world);
    let stranger = world.add_host("stranger", &[0], MTU_JUMBO).expect("a host");
    let [ours, theirs] = [&world.client, &stranger].map(|host| text(socket(host).mac()));
    let files = [0, 1].map(|node| world.directory(node).join("e7.1.volume.toml"));
    let plain = files.clone().map(|file| fs::read_to_string(file).expect("a description"));
    let configure = |node: usize, line: &str| {
        fs::write(&files[node], format!("{}{line}", plain[node])).expect("a description");
        world.does(node, "reload");
    };
    let wait_for_masks = |masks: &[&str]| {
        for node in 0..2 {
            world.wait_for(node, "masks", |volume| volume["masks"] == json!(masks));
        }
    };
    [&world.client, &stranger].into_iter().for_each(assert_listened_to);
    let only_ours = format!("masks = [\"{ours}\"]\n");
    configure(0, &only_ours);
    wait_for_masks(&[&ours]);
    configure(1, &only_ours);
    assert_listened_to(&world.client);
    assert!(is_ignored(&stranger), "it is not on the list");
    assert_eq!(edit_over_the_wire(&world.client, socket(&stranger).mac()), 1, "refused");
    wait_for_masks(&[&ours]);
    let load = "7.1 -i eth1 --rw randrw --verify --allow-writes --requests 300";
    assert!(world.bench(load).status.success());

    // One configuration is changed: that counts on both, and the other node says that its own is another one.
    configure(0, &format!("masks = [\"{ours}\", \"{theirs}\"]\n"));
    wait_for_masks(&[&ours, &theirs]);
    assert_listened_to(&stranger);
    world.wait_for(1, "told", |_| world.logs().contains("the MAC mask list was changed at the other node"));
    assert!(!world.does(1, "status").is_empty());

    // What a node is configured to have it sets when it starts.
    configure(0, &only_ours);
    wait_for_masks(&[&ours]);
    nodes[1].kill().expect("it can be killed");
    world.wait_for_alone(0);
    configure(0, "masks = []\n");
    world.wait_for(0, "masks", |volume| volume["masks"] == json!([]));
    assert_eq!(edit_over_the_wire(&stranger, socket(&stranger).mac()), 1, "an empty list is kept, too");
    nodes[1] = world.start_node(1);
    world.wait_for_in_sync();
    wait_for_masks(&[&ours]);

    // Without the key the list is left to initiators as it is.
    for node in 0..2 {
        configure(node, "");
    }
    wait_for_masks(&[&ours]);
    assert_eq!(edit_over_the_wire(&world.client, socket(&stranger).mac()), 0);
    wait_for_masks(&[&ours, &theirs]);
    for node in &mut nodes {
        assert!(node.terminate(PATIENCE).expect("it ends").success());
    }
}
