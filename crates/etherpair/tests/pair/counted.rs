//! What a node counts of its requests, with frames that come twice.

use lab::FrameSocket;
use serde_json::Value;

use crate::world::{PATIENCE, World};
use crate::{pair, virtual_mac};

/// A write of one sector at 8 with a tag, as the Linux driver would send it.
fn write(tag: u8, content: u8) -> Vec<u8> {
    let head = vec![0x10, 0, 0, 7, 1, 0, 0x80, 0, 0, tag];
    let (flags, count, command, lba) = (0x41, 1, 0x34, [8, 0, 0, 0, 0, 0]);
    [head, vec![flags, 0, count, command], lba.to_vec(), vec![0, 0], vec![content; 512]].concat()
}

fn counter(volume: &Value, name: &str) -> u64 {
    volume["counters"][name].as_u64().expect("a number")
}

#[test]
fn a_write_that_comes_twice_is_answered_twice_executed_once_and_counted() {
    let world = World::new();
    let (_witness, _nodes) = pair(&world);
    let socket = FrameSocket::open(&world.client, "eth1", PATIENCE).expect("a socket");
    let mac = virtual_mac(&world, 0);
    let counted = || {
        let volume = world.volume(0);
        ["writes", "bytes_written", "duplicates_suppressed"].map(|name| counter(&volume, name))
    };
    // The second one has other content, and is none of the first.
    for (number, content) in [(1, 0x11), (2, 0x22)] {
        let [writes, bytes, duplicates] = counted();
        let frames = [number, 100 + number].map(|tag| socket.frame_to(mac, &write(tag, content)));
        frames.iter().for_each(|frame| socket.send(frame).expect("a wire"));
        for _ in &frames {
            let answer = loop {
                let frame = socket.receive().expect("a wire").expect("both are answered");
                if frame[14] & 0x08 != 0 && frame[19] == 0 {
                    break frame;
                }
            };
            assert_eq!(answer[14] & 0x04, 0, "no error: {answer:x?}");
            assert_eq!(answer[27] & 0x01, 0, "written: {answer:x?}");
        }
        assert_eq!(counted(), [writes + 1, bytes + 512, duplicates + 1], "{}", world.logs());
    }
}
