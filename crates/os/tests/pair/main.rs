//! Two shards as a pair: real frames, real disks, a connection between them, and an arbiter in memory.
#![allow(clippy::disallowed_methods, reason = "tests wait for the real world by the real clock")]

mod measure;
mod world;

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use os::EngineKind;
use os::frame_port::PortKind;
use replication::input::Control;
use replication::membership::{Members, NodeNumber};
use replication::output::Event as VolumeEvent;
use replication::volume::{Phase, VolumeStatus};
use world::{Kind, ORDINARY, World};

#[test]
fn what_is_written_through_one_node_is_read_through_the_other() {
    // However busy the machine is, the nodes are to have this out together.
    let patient = Kind { lease: Duration::from_secs(4), ..ORDINARY };
    for kind in [
        patient,
        Kind { port: PortKind::Plain, engine: EngineKind::Threads, ..patient },
        Kind { port: PortKind::Uring, ..patient },
    ] {
        let world = World::paired(kind);
        let mut client = world.client();
        for block in 0..40 {
            let (node, place) = (usize::from(block % 2), u64::from(block));
            client.write(node, place, block + 1);
            assert_eq!(client.read(1 - node, place), block + 1, "block {block} with {kind:?}");
        }
        world.assert_equal_copies();
        world.await_paired();
        let peer = world.nodes[0].statistics().peer.expect("a peer");
        // Of each of its own writes `Replicate` and `Commit`, of each of the other's `Ack`.
        assert!(
            peer.is_connected && peer.messages_sent >= 60 && peer.bytes_received >= 20 * 4096,
            "{peer:?}"
        );
        assert_eq!(world.nodes[0].statistics().buffers_taken, 0);
    }
}

#[test]
fn a_node_that_loses_its_peer_goes_on_alone_and_what_the_other_missed_is_copied_when_it_is_back() {
    // However busy the machine is, the nodes are to have this out together.
    lose_the_peer_and_get_it_back(Kind { lease: Duration::from_secs(2), ..ORDINARY }, 200);
}

#[test]
fn a_pair_is_one_also_with_a_layer_between_its_messages_and_the_wire() {
    lose_the_peer_and_get_it_back(Kind { is_veiled: true, lease: Duration::from_secs(2), ..ORDINARY }, 50);
}

fn lose_the_peer_and_get_it_back(kind: Kind, blocks: u8) {
    let world = World::paired(kind);
    let mut client = world.client();
    client.write(0, 1, 1);
    world.nodes[0].send(os::shard::Command::PeerDisconnect);
    assert!(world.nodes[0].failure().contains("by command"));
    assert!(world.nodes[1].failure().contains("closed"));
    assert_eq!(client.ask(0, 1, None, Duration::from_millis(100)), None, "nobody serves");
    let winner = lab::wait_until("one node to go on alone", Duration::from_secs(10), || {
        Ok((0..2).find(|node| world.nodes[*node].status().phase == Phase::Alone))
    });
    let winner = winner.expect("one goes on");
    let number = [NodeNumber::Zero, NodeNumber::One][winner];
    assert_eq!(world.arbiter.lock().expect("not poisoned").holds.members, Members::Only(number));
    for block in 0..blocks {
        client.write(winner, u64::from(block) * 7, block | 1);
    }
    assert_eq!(client.read(1 - winner, 7), 1, "the winner answers for the loser, too");
    assert!(!world.nodes[1 - winner].status().serving, "the loser is silent");
    world.connect_by_tcp();
    world.await_paired();
    assert_eq!(world.arbiter.lock().expect("not poisoned").holds.members, Members::Both);
    world.assert_equal_copies();
    for block in 0..blocks {
        assert_eq!(client.read(1 - winner, u64::from(block) * 7), block | 1);
    }
}

#[test]
fn a_node_that_leaves_hands_over_at_once_and_comes_back() {
    let world = World::paired(Kind { lease: Duration::from_secs(5), ..ORDINARY });
    let mut client = world.client();
    client.write(0, 1, 1);
    world.nodes[0].control(Control::Leave);
    world.nodes[1].wait_for("the other to go on", |status| status.phase == Phase::Alone && status.serving);
    client.write(1, 1, 2);
    assert!(!world.nodes[0].status().serving, "who has left is silent");
    assert_eq!(client.read(0, 1), 2, "and the other answers for it");
    world.nodes[0].control(Control::Join);
    world.await_paired();
    assert_eq!(client.read(0, 1), 2);
    world.assert_equal_copies();
}

/// Asks both nodes in turn, each request sent once, until `is_over`. How many were lost, and the longest that one took.
fn ask_once_each(
    world: &World,
    client: &mut world::Client,
    is_over: impl Fn(&World) -> bool,
) -> (u32, Duration) {
    let (mut lost, mut longest, mut asked) = (0, Duration::ZERO, 0);
    let mut after = 0;
    while after < 40 {
        let (node, fill) = (usize::from(asked % 2), (asked % 3 == 0).then_some(asked));
        let start = std::time::Instant::now();
        // Each block has a content of its own: the same write once more is a duplicate, with others in between one that is late.
        let tag = client.send(node, u64::from(asked), fill);
        client.port.flush().expect("sent");
        // Who has just ceased to stand in for the other answers from its own address what it had taken at the other's.
        let answer = client.answer(None, tag, Duration::from_secs(2));
        lost += u32::from(answer.is_none());
        longest = longest.max(start.elapsed());
        asked = asked.wrapping_add(1);
        after += u32::from(is_over(world));
    }
    (lost, longest)
}

#[test]
fn a_request_that_is_sent_once_while_a_node_leaves_or_comes_back_is_answered() {
    let world = World::paired(Kind { lease: Duration::from_secs(5), ..ORDINARY });
    let mut client = world.client();
    let mut rounds = Vec::new();
    // On a machine that stands still for half a second a frame is too old when it may be answered.
    while rounds.len() < 6 {
        world.nodes[0].control(Control::Leave);
        let has_left = |world: &World| world.nodes[1].status().phase == Phase::Alone;
        let leaving = ask_once_each(&world, &mut client, has_left);
        world.nodes[0].control(Control::Join);
        let is_back = |world: &World| world.nodes.iter().all(|node| node.status().serving);
        let returning = ask_once_each(&world, &mut client, is_back);
        world.await_paired();
        println!("leaving: lost and longest {leaving:?}; returning: {returning:?}");
        rounds.push((leaving.0, returning.0));
        if rounds.last() == Some(&(0, 0)) {
            world.assert_equal_copies();
            return;
        }
    }
    panic!("requests were lost each time a node left or came back: {rounds:?}");
}

#[test]
fn a_volume_that_one_node_has_no_more_is_served_by_the_other_until_it_is_added_again() {
    let mut world = World::paired(Kind { lease: Duration::from_secs(5), ..ORDINARY });
    let mut client = world.client();
    for (index, value) in [(0, 1), (1, 51), (0, 101)] {
        client.write(index, 1, value);
        let gone = world.nodes[index].remove();
        client.write(1 - index, 1, value + 1);
        world.nodes[1 - index].wait_for("the other to go on", |status| status.phase == Phase::Alone);
        assert_eq!(client.read(index, 1), value + 1, "the other answers for it");
        world.nodes[index].add_again();
        assert_ne!(world.nodes[index].export, gone, "a number is not given out twice");
        world.await_paired();
        world.assert_equal_copies();
        assert_eq!(client.read(index, 1), value + 1);
    }
    for node in &world.nodes {
        node.remove();
    }
    assert_eq!(client.ask(0, 1, None, Duration::from_millis(200)), None, "nobody has it");
    assert_eq!(client.ask(1, 1, None, Duration::from_millis(200)), None, "nobody has it");
    world.nodes.iter().for_each(|node| assert_eq!(node.statistics().buffers_taken, 0));
    world.nodes.iter_mut().for_each(world::Node::add_again);
    world.await_paired();
    assert_eq!(client.read(0, 1), 102);
}

#[test]
fn a_node_that_died_comes_back_with_what_it_had_and_takes_what_it_missed() {
    let mut world = World::paired(ORDINARY);
    let mut client = world.client();
    for dying in [0, 1] {
        for block in 0..50u8 {
            client.write(usize::from(block % 2), u64::from(block) * 300, block + 1);
        }
        world.kill(dying);
        for block in 0..50u8 {
            // The first of them wait until the other one goes on.
            client.write(dying, u64::from(block) * 311, block + 101);
        }
        world.restart(ORDINARY, dying);
        world.connect_by_tcp();
        world.await_paired();
        world.assert_equal_copies();
        for block in 1..50u8 {
            assert_eq!(client.read(dying, u64::from(block) * 311), block + 101);
            assert_eq!(client.read(dying, u64::from(block) * 300), block + 1);
        }
    }
}

#[test]
fn both_nodes_that_died_go_on_with_what_was_answered() {
    let mut world = World::paired(ORDINARY);
    let mut client = world.client();
    for block in 0..50u8 {
        client.write(usize::from(block % 2), u64::from(block) * 300, block + 1);
    }
    world.kill(0);
    world.kill(1);
    world.restart(ORDINARY, 0);
    world.restart(ORDINARY, 1);
    world.connect_by_tcp();
    world.await_paired();
    world.assert_equal_copies();
    for block in 0..50u8 {
        assert_eq!(client.read(usize::from(block % 2), u64::from(block) * 300), block + 1);
    }
}

#[test]
fn a_node_that_stood_still_beyond_its_lease_does_not_send_the_answers_it_had_made() {
    let world = World::paired(Kind { stands_still: true, ..ORDINARY });
    let mut client = world.client();
    let before = world.nodes[0].statistics().frames_unsent;
    // The other one has it that the lease has run out, and goes on. On a busy machine an answer may just be late.
    let goes_on = || {
        let is_alone = |status: &VolumeStatus| status.phase == Phase::Alone && status.serving;
        let look = || Ok(Some(world.nodes[1].status()).filter(is_alone));
        lab::wait_until("the other to go on", Duration::from_secs(5), look).is_ok()
    };
    let is_held_up =
        |client: &mut world::Client| client.ask(0, 1, None, Duration::from_millis(400)).is_none();
    let stands_still = (0..2000).any(|_| is_held_up(&mut client) && goes_on());
    assert!(stands_still, "the pipe is full");
    client.write(1, 1, 77);
    world.go_on();
    let after = world.nodes[0].statistics().frames_unsent;
    assert!(after > before, "what it had made is dropped");
    assert!(world.nodes[0].failure().contains("lease"), "and then it notices");
    world.await_paired();
    assert_eq!(client.read(0, 1), 77);
    world.assert_equal_copies();
}

#[test]
fn a_volume_grows_when_both_nodes_have_room() {
    let world = World::paired(ORDINARY);
    let mut client = world.client();
    client.write(0, 1, 1);
    let bytes = 256 << 20;
    let sectors = bytes / 512;
    for node in &world.nodes {
        std::fs::OpenOptions::new()
            .write(true)
            .open(&node.data)
            .expect("a file")
            .set_len(bytes)
            .expect("longer");
        os::metadata_file::MetadataFile::extend(&node.meta, sectors).expect("longer");
        node.send(os::shard::Command::RefreshDisks);
    }
    world.nodes[1].control(Control::Resize { sectors });
    let grown = |event: &VolumeEvent| *event == VolumeEvent::Resized { sectors };
    for (index, node) in world.nodes.iter().enumerate() {
        let look = || {
            // The nodes part and meet again with the new size.
            if index == 0 && node.failures.try_recv().is_ok() {
                world.connect();
            }
            Ok(node.volume_events.lock().expect("not poisoned").iter().any(grown).then_some(()))
        };
        lab::wait_until("a larger volume", Duration::from_secs(20), look)
            .unwrap_or_else(|error| panic!("{error}: {:?}", node.volume_events));
    }
    world.await_paired();
    let last = bytes / 4096 - 1;
    client.write(0, last, 9);
    assert_eq!(client.read(1, last), 9);
    assert_eq!(client.read(1, 1), 1);
    world.assert_equal_copies();
}

#[test]
fn garbage_from_the_peer_ends_the_session_and_the_next_one_is_as_good_as_any() {
    let world = World::new(ORDINARY);
    for garbage in [&b"SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3\r\n"[..], &[0; 100], &[0xff; 100_000]] {
        let (near, mut far) = UnixStream::pair().expect("a connection");
        world.nodes[0].connect(near.try_into().expect("a stream"));
        // It may be closed before all of it is there.
        let _ = far.write_all(garbage);
        let failure = world.nodes[0].failure();
        assert!(failure.contains("no message begins") && !failure.contains('\n'), "{failure}");
    }
    world.connect();
    world.await_paired();
    world.client().write(0, 1, 1);
    assert_eq!(world.nodes[0].statistics().buffers_taken, 0);
}

#[test]
fn a_new_connection_takes_the_place_of_the_old_one() {
    let world = World::paired(ORDINARY);
    let mut client = world.client();
    client.write(0, 1, 1);
    world.connect();
    assert!(world.nodes[0].failure().contains("another connection"));
    world.await_paired();
    assert_eq!(client.read(1, 1), 1);
    world.assert_equal_copies();
}
