//! Frame ports over a virtual wire.
#![allow(clippy::disallowed_methods)]

mod common;

use common::{
    ADDRESS, KINDS, Wire, await_stamps, frame, queue, receive, receive_fill, request, requests, send,
};
use os::clock;
use os::frame_port::{FrameFilter, Payload, PortKind, PortOptions, QueueFull, SendError, TransmitFrame};
use std::fs::File;
use std::io::Read;
use std::time::Duration;

#[test]
fn a_frame_comes_through_whole_and_its_payload_lies_on_a_sector() {
    let wire = Wire::new(9000);
    for kind in KINDS {
        let (mut sender, mut receiver) = wire.ports(kind);
        for length in [60, 548, 1060, 4132, 8228, 9014] {
            let sent = request(&receiver, length, 0xa5);
            send(&mut sender, &sent);
            let received = receive(&mut receiver);
            assert_eq!(received.length as usize, length);
            let bytes = receiver.frame(received.slot);
            assert_eq!(bytes, sent, "{kind}, {length} bytes");
            assert_eq!(bytes[36..].as_ptr().addr() % 512, 0, "{kind}, {length} bytes");
            let (memory, memory_bytes) = receiver.memory();
            let offset = bytes.as_ptr().addr() - memory.addr();
            assert!(offset + bytes.len() <= memory_bytes, "{kind}: outside the memory it tells of");
            receiver.release(received.slot);
        }
        let statistics = (sender.statistics(), receiver.statistics());
        assert_eq!((statistics.0.sent, statistics.1.received, statistics.1.lost), (6, 6, 0), "{kind}");
    }
}

#[test]
fn the_longest_control_reply_is_one_head() {
    let wire = Wire::new(9000);
    for kind in KINDS {
        let (mut sender, mut receiver) = wire.ports(kind);
        let sent = [60, aoe::limits::CONTROL_FRAME_BYTES_MAX, 60].map(|length| request(&receiver, length, 7));
        for frame in &sent {
            sender.queue(TransmitFrame { head: frame, payload: None }).expect("room in the queue");
        }
        assert_eq!(sender.flush().expect("sent"), sent.len(), "{kind}");
        for frame in &sent {
            let received = receive(&mut receiver);
            assert!(receiver.frame(received.slot) == frame, "{kind}, {} bytes", frame.len());
            receiver.release(received.slot);
        }
    }
}

#[test]
fn what_is_shorter_than_ethernet_allows_is_filled_up_with_zeros() {
    let wire = Wire::new(1500);
    let (mut sender, mut receiver) = wire.ports(PortKind::Ring);
    let long = request(&receiver, 60, 0xff);
    send(&mut sender, &long); // leaves its bytes in the queue's memory
    receive_fill(&mut receiver);
    for length in [24, 26, 32, 36, 59] {
        let short = request(&receiver, length, 0xff);
        send(&mut sender, &short);
        let received = receive(&mut receiver);
        let bytes = receiver.frame(received.slot);
        assert_eq!(bytes.len(), 60);
        assert_eq!(bytes[..length], short);
        assert!(bytes[length..].iter().all(|&byte| byte == 0), "{length}: {bytes:?}");
        receiver.release(received.slot);
    }
}

#[test]
fn frames_of_other_hosts_vlans_addresses_and_directions_never_arrive() {
    let wire = Wire::new(9000);
    for kind in KINDS {
        let (mut sender, mut receiver) = wire.ports(kind);
        let own = receiver.interface().mac;
        let tagged = |vlan: u16, fill| -> Vec<u8> {
            let mut tagged = request(&receiver, 548, fill);
            let [high, low] = vlan.to_be_bytes();
            tagged.splice(12..12, [0x81, 0x00, high, low]);
            tagged
        };
        let unwanted = [
            frame([2, 0, 0, 0, 0, 0x99], 0, ADDRESS, 60, 1),
            tagged(42, 2),
            frame(own, 0x08, ADDRESS, 60, 3),
            frame(own, 0, (7, 2), 60, 4),
            frame(own, 0, (8, 1), 60, 5),
        ];
        let wanted = [
            request(&receiver, 60, 101),
            frame([0xff; 6], 0, ADDRESS, 60, 102),
            frame(own, 0, (0xffff, 0xff), 60, 103),
            frame(own, 0, (0xffff, 1), 60, 104),
            frame(own, 0, (7, 0xff), 60, 105),
            tagged(0xe000, 106), // a priority, and no VLAN
        ];
        for frame in unwanted.iter().chain(&wanted) {
            queue(&mut sender, frame);
        }
        assert_eq!(sender.flush().expect("sent"), 11);
        let fills: Vec<u8> = wanted.iter().map(|_| receive_fill(&mut receiver)).collect();
        assert_eq!(fills, [101, 102, 103, 104, 105, 106], "{kind}");
        assert_eq!(receiver.receive(), None, "{kind}");
        assert_eq!(receiver.statistics().received, 6, "{kind}: the kernel drops the others");
    }
}

#[test]
fn a_port_with_further_addresses_receives_there_and_still_nothing_of_other_hosts_and_vlans() {
    const FURTHER: [u8; 6] = [2, 0x11, 0x22, 0x33, 0, 1];
    let wire = Wire::new(9000);
    for kind in KINDS {
        let mut sender = wire.port("near", kind, FrameFilter::Responses);
        let addresses = vec![FURTHER, [2, 0x11, 0x22, 0x33, 0, 0]];
        let options = PortOptions { kind, addresses, ..PortOptions::new("far", requests()) };
        let mut receiver = wire.port_with(options);
        let own = receiver.interface().mac;
        let tagged = |vlan: u16, fill| -> Vec<u8> {
            let mut tagged = frame(FURTHER, 0, ADDRESS, 548, fill);
            let [high, low] = vlan.to_be_bytes();
            tagged.splice(12..12, [0x81, 0x00, high, low]);
            tagged
        };
        let mut other_type = frame(FURTHER, 0, ADDRESS, 60, 7);
        other_type[12..14].copy_from_slice(&[0x88, 0xb5]);
        let unwanted = [
            frame([2, 0x11, 0x22, 0x33, 0, 9], 0, ADDRESS, 60, 1),
            frame([2, 0x11, 0x22, 0x34, 0, 1], 0, ADDRESS, 60, 2),
            tagged(42, 3),
            frame(FURTHER, 0x08, ADDRESS, 60, 4),
            frame(FURTHER, 0, (7, 2), 60, 5),
            other_type,
        ];
        let wanted = [
            frame(FURTHER, 0, ADDRESS, 60, 101),
            frame([2, 0x11, 0x22, 0x33, 0, 0], 0, ADDRESS, 8228, 102),
            frame(own, 0, ADDRESS, 60, 103),
            frame([0xff; 6], 0, ADDRESS, 60, 104),
            tagged(0xe000, 105), // a priority, and no VLAN
        ];
        for frame in unwanted.iter().chain(&wanted) {
            queue(&mut sender, frame);
        }
        assert_eq!(sender.flush().expect("sent"), 11);
        let fills: Vec<u8> = wanted.iter().map(|_| receive_fill(&mut receiver)).collect();
        assert_eq!(fills, [101, 102, 103, 104, 105], "{kind}");
        assert_eq!(receiver.receive(), None, "{kind}");
    }
}

#[test]
fn shards_on_one_interface_share_its_addresses_out() {
    let wire = Wire::new(1500);
    let mut sender = wire.port("near", PortKind::Plain, FrameFilter::Responses);
    let mut shards: Vec<_> = (0..2)
        .map(|remainder| wire.port("far", PortKind::Ring, FrameFilter::Shard { shards: 2, remainder }))
        .collect();
    let own = shards[0].interface().mac;
    for slot in 0..6 {
        send(&mut sender, &frame(own, 0, (7, slot), 60, slot));
    }
    send(&mut sender, &frame(own, 0, (0xffff, 0xff), 60, 9));
    for (shard, expected) in shards.iter_mut().zip([[0, 2, 4, 9], [1, 3, 5, 9]]) {
        let fills: Vec<u8> = expected.iter().map(|_| receive_fill(shard)).collect();
        assert_eq!(fills, expected);
        assert_eq!(shard.receive(), None);
    }
}

#[test]
fn a_filter_can_be_changed_while_the_port_is_open() {
    let wire = Wire::new(1500);
    let (mut sender, mut receiver) = wire.ports(PortKind::Ring);
    let own = receiver.interface().mac;
    receiver.set_filter(&FrameFilter::Requests { addresses: vec![(7, 2)] }).expect("filter");
    send(&mut sender, &frame(own, 0, (7, 1), 60, 1));
    send(&mut sender, &frame(own, 0, (7, 2), 60, 2));
    assert_eq!(receive_fill(&mut receiver), 2);
}

#[test]
fn a_full_ring_loses_frames_says_so_and_goes_on_when_released() {
    let wire = Wire::new(9000);
    for kind in KINDS {
        let mut sender = wire.port("near", PortKind::Plain, FrameFilter::Responses);
        let options = PortOptions { kind, ring_bytes: 1 << 20, ..PortOptions::new("far", requests()) };
        let mut receiver = wire.port_with(options);
        let sent = request(&receiver, 8228, 7);
        let mut held = Vec::new();
        // Sent one by one and far more than there is room for anywhere.
        for _ in 0..4 * receiver.slots() {
            send(&mut sender, &sent);
            held.extend(receiver.receive());
        }
        assert_eq!(receiver.slots_held(), receiver.slots(), "{kind}");
        assert_eq!(held.len(), receiver.slots(), "{kind}");
        assert!(receiver.statistics().lost > 0, "{kind}: {:?}", receiver.statistics());
        for received in held.drain(..) {
            assert_eq!(receiver.frame(received.slot)[36..], sent[36..], "{kind}: written to while held");
            receiver.release(received.slot);
        }
        while let Some(received) = receiver.receive() {
            receiver.release(received.slot);
        }
        assert_eq!(receiver.slots_held(), 0, "{kind}");
        send(&mut sender, &request(&receiver, 60, 8));
        assert_eq!(receive_fill(&mut receiver), 8, "{kind}");
    }
}

#[test]
fn one_slot_held_for_long_stops_a_ring_after_a_round_and_the_other_kinds_never() {
    let wire = Wire::new(9000);
    for kind in KINDS {
        let mut sender = wire.port("near", PortKind::Plain, FrameFilter::Responses);
        let options = PortOptions { kind, ring_bytes: 1 << 20, ..PortOptions::new("far", requests()) };
        let mut receiver = wire.port_with(options);
        let slots = receiver.slots();
        send(&mut sender, &request(&receiver, 60, 0xee));
        let held = receive(&mut receiver);
        let mut passed = 0;
        for _ in 0..3 * slots {
            send(&mut sender, &request(&receiver, 60, 1));
            if let Some(received) = receiver.receive() {
                passed += 1;
                receiver.release(received.slot);
            }
        }
        let all_held = receiver.slots_held() == slots;
        match kind {
            PortKind::Ring | PortKind::Xdp => assert!(passed == slots - 1 && all_held, "{passed} of {slots}"),
            _ => assert!(passed == 3 * slots && receiver.slots_held() == 1, "{kind}: {passed}"),
        }
        assert_eq!(receiver.frame(held.slot)[23], 0xee, "{kind}");
        receiver.release(held.slot);
        assert_eq!(receiver.slots_held(), 0, "{kind}");
        send(&mut sender, &request(&receiver, 60, 2));
        assert_eq!(receive_fill(&mut receiver), 2, "{kind}");
    }
}

#[test]
fn slots_released_in_any_order_are_all_used_again() {
    let wire = Wire::new(1500);
    for kind in KINDS {
        let mut sender = wire.port("near", PortKind::Plain, FrameFilter::Responses);
        let mut receiver = wire.port("far", kind, requests());
        let mut held: Vec<u32> = Vec::new();
        for (turn, fill) in (0..=250u8).cycle().take(4096).enumerate() {
            send(&mut sender, &request(&receiver, 60, fill));
            let received = receive(&mut receiver);
            assert_eq!(receiver.frame(received.slot)[23], fill, "{kind}, turn {turn}");
            held.push(received.slot);
            if held.len() > 40 {
                // A fixed walk through the held ones, forward and back.
                let index = turn * 7 % held.len();
                receiver.release(held.swap_remove(index));
            }
        }
        held.drain(..).rev().for_each(|slot| receiver.release(slot));
        assert_eq!(receiver.slots_held(), 0, "{kind}");
        assert_eq!(receiver.statistics().lost, 0, "{kind}");
    }
}

#[test]
fn a_frame_longer_than_the_mtu_was_is_counted_and_never_shown() {
    for kind in KINDS {
        let wire = Wire::new(1500);
        let mut receiver = wire.port("far", kind, requests());
        wire.set("near mtu 9000");
        wire.set("far mtu 9000");
        let mut sender = wire.port("near", kind, FrameFilter::Responses);
        send(&mut sender, &request(&receiver, 8228, 1));
        send(&mut sender, &request(&receiver, 1060, 2));
        assert_eq!(receive_fill(&mut receiver), 2, "{kind}");
        assert_eq!(receiver.statistics().truncated, 1, "{kind}");
        assert_eq!(receiver.slots_held(), 0, "{kind}");
    }
}

#[test]
fn frames_are_stamped_with_the_moment_they_came_and_in_order() {
    let wire = Wire::new(1500);
    for kind in KINDS {
        let (mut sender, mut receiver) = wire.ports(kind);
        await_stamps(&mut sender, &mut receiver);
        let mut last = clock::now();
        for fill in 1..100 {
            let before = clock::now();
            send(&mut sender, &request(&receiver, 60, fill));
            let received = receive(&mut receiver);
            receiver.release(received.slot);
            let slack = Duration::from_micros(100); // reading two clocks is not one act
            assert!(received.received >= last, "{kind}");
            assert!(received.received.after(slack) >= before, "{kind}: before it was sent");
            assert!(received.received <= clock::now().after(slack), "{kind}: in the future");
            last = received.received;
        }
    }
}

#[test]
fn two_ports_are_merged_in_the_order_frames_came() {
    let wire = Wire::new(1500);
    for kind in KINDS {
        let (mut near, mut far) =
            (wire.port("near", kind, FrameFilter::All), wire.port("far", kind, FrameFilter::All));
        let (near_mac, far_mac) = (near.interface().mac, far.interface().mac);
        await_stamps(&mut near, &mut far);
        await_stamps(&mut far, &mut near);
        for fill in 1..=20 {
            if fill % 3 == 0 {
                send(&mut near, &frame(far_mac, 0, ADDRESS, 60, fill));
            } else {
                send(&mut far, &frame(near_mac, 0, ADDRESS, 60, fill));
            }
        }
        let merged: Vec<u8> = (1..=20)
            .map(|_| match (near.peek_received(), far.peek_received()) {
                (Some(one), Some(other)) if other < one => receive_fill(&mut far),
                (Some(_), _) => receive_fill(&mut near),
                _ => receive_fill(&mut far),
            })
            .collect();
        assert_eq!(merged, (1..=20).collect::<Vec<u8>>(), "{kind}");
    }
}

#[test]
fn more_than_one_call_can_send_goes_out_in_order() {
    let wire = Wire::new(1500);
    for kind in KINDS {
        let (mut sender, mut receiver) = wire.ports(kind);
        for round in 0..5 {
            let first = round * 50;
            (first..first + 50).for_each(|fill| queue(&mut sender, &request(&receiver, 60, fill)));
            assert_eq!(sender.flush().expect("sent"), 50, "{kind}");
            let fills: Vec<u8> = (0..50).map(|_| receive_fill(&mut receiver)).collect();
            assert_eq!(fills, (first..first + 50).collect::<Vec<u8>>(), "{kind}");
        }
        assert_eq!(sender.flush().expect("nothing to send"), 0, "{kind}");
    }
}

#[test]
fn a_queue_takes_as_many_frames_as_it_was_made_for() {
    let wire = Wire::new(1500);
    for kind in KINDS {
        let options = PortOptions { kind, send_batch: 3, ..PortOptions::new("near", FrameFilter::All) };
        let mut port = wire.port_with(options);
        let head = frame([0xff; 6], 0, ADDRESS, 60, 0);
        let frame = TransmitFrame { head: &head, payload: None };
        (0..3).for_each(|_| port.queue(frame).expect("room"));
        assert_eq!(port.queue(frame), Err(QueueFull), "{kind}");
        assert_eq!(port.queued(), 3, "{kind}");
        assert_eq!(port.discard_queued(), 3, "{kind}");
        assert_eq!(port.flush().expect("nothing to send"), 0, "{kind}");
    }
}

#[test]
fn a_payload_that_cannot_be_read_costs_its_own_frame_only() {
    let wire = Wire::new(9000);
    let (mut sender, mut receiver) = wire.ports(PortKind::Xdp);
    let frames = [1, 2, 3].map(|fill| request(&receiver, 60, fill));
    queue(&mut sender, &frames[0]);
    // A page that is not there, as when a mapped file was cut short.
    let payload = Some(Payload { address: std::ptr::without_provenance(64), length: 4096 });
    sender.queue(TransmitFrame { head: &frames[1], payload }).expect("room");
    queue(&mut sender, &frames[2]);
    let error = sender.flush().expect_err("one cannot be read");
    assert!(matches!(error, SendError::Unreadable { sent: 1 }), "{error:?}");
    assert_eq!(sender.flush().expect("the last one"), 1);
    assert_eq!((receive_fill(&mut receiver), receive_fill(&mut receiver)), (1, 3));
}

#[test]
fn a_frame_longer_than_the_mtu_costs_itself_only() {
    let wire = Wire::new(1500);
    let (mut sender, mut receiver) = wire.ports(PortKind::Xdp);
    let frames = [(60, 1), (8228, 2), (60, 3)].map(|(length, fill)| request(&receiver, length, fill));
    frames.iter().for_each(|frame| queue(&mut sender, frame));
    let error = sender.flush().expect_err("one is too long");
    assert!(matches!(error, SendError::TooLong { sent: 1 }), "{error:?}");
    assert_eq!(sender.flush().expect("the last one"), 1);
    assert_eq!((receive_fill(&mut receiver), receive_fill(&mut receiver)), (1, 3));
}

#[test]
fn what_the_card_has_no_room_for_stays_queued_and_goes_out_later_in_order() {
    for kind in [PortKind::Ring, PortKind::Xdp] {
        fill_a_tap_and_empty_it(kind);
    }
}

fn fill_a_tap_and_empty_it(kind: PortKind) {
    let wire = Wire::new(1500);
    let tap = wire.namespace.add_tap("tap0", 1500).expect("tap");
    wire.wait_until("tap0", |tap| tap.has_carrier);
    let mut tap = File::from(tap);
    let mut port = wire.port_with(PortOptions { kind, ..PortOptions::new("tap0", FrameFilter::All) });
    // Nobody reads the tap, so at some point there is no room.
    let mut counts = 0u32..;
    let mut queued = 0;
    let mut sent = 0;
    while sent == queued {
        for count in counts.by_ref().take(64) {
            let mut frame = frame([0xff; 6], 0, ADDRESS, 60, 0);
            frame[20..24].copy_from_slice(&count.to_be_bytes());
            queue(&mut port, &frame);
            queued += 1;
        }
        match port.flush() {
            Ok(count) => sent += count,
            Err(SendError::Busy { sent: some, queued: rest }) => {
                sent += some;
                assert_eq!(sent + rest, queued);
            }
            Err(error) => panic!("{error:?}"),
        }
        assert!(queued < 100_000, "the tap takes everything");
    }
    // Room for one frame after another, and nothing is lost or changes places.
    let mut bytes = [0; 2048];
    for expected in 0..queued {
        let length = tap.read(&mut bytes).expect("a frame");
        let tag = &bytes[length - 60..][20..24];
        assert_eq!(tag, u32::try_from(expected).expect("few").to_be_bytes(), "{kind}");
        sent += port.flush().unwrap_or_else(|error| error.sent());
    }
    assert_eq!((sent, port.queued()), (queued, 0), "{kind}");
}

#[test]
fn a_link_that_goes_down_and_up_again_is_survived() {
    let wire = Wire::new(1500);
    for kind in KINDS {
        let (mut sender, mut receiver) = wire.ports(kind);
        assert_eq!(receiver.receive(), None);
        wire.set("near down");
        queue(&mut sender, &request(&receiver, 60, 1));
        queue(&mut sender, &request(&receiver, 60, 2));
        let error = sender.flush().expect_err("the link is down");
        assert!(matches!(error, SendError::LinkDown { sent: 0, dropped: 2 }), "{kind}: {error:?}");
        assert_eq!(receiver.receive(), None);
        wire.set("near up");
        wire.set("far down");
        wire.wait_until("near", |near| near.is_up && !near.has_carrier);
        assert_eq!(receiver.receive(), None);
        queue(&mut sender, &request(&receiver, 60, 3));
        let error = sender.flush().expect_err("no carrier");
        assert!(matches!(error, SendError::LinkDown { sent: 0, dropped: 1 }), "{kind}: {error:?}");
        wire.set("far up");
        wire.wait_until("near", |near| near.has_carrier);
        send(&mut sender, &request(&receiver, 60, 4));
        assert_eq!(receive_fill(&mut receiver), 4, "{kind}");
    }
}

#[test]
fn the_largest_mtu_there_is_works_too() {
    let wire = Wire::new(1500);
    for kind in KINDS {
        let mut port = wire.port("lo", kind, requests());
        assert_eq!(port.interface().mtu, 65536);
        let sent = request(&port, 36 + 127 * 512, 5);
        send(&mut port, &sent);
        let received = receive(&mut port);
        assert_eq!(port.frame(received.slot), sent, "{kind}");
        port.release(received.slot);
    }
}

#[test]
fn waiting_ends_with_a_frame_or_with_the_time() {
    let wire = Wire::new(1500);
    for kind in KINDS {
        let (mut sender, mut receiver) = wire.ports(kind);
        for fill in 0..50 {
            assert!(!receiver.wait(Some(Duration::ZERO)), "{kind}: nothing was sent");
            let frame = request(&receiver, 60, fill);
            std::thread::scope(|scope| {
                scope.spawn(|| send(&mut sender, &frame));
                assert!(receiver.wait(Some(Duration::from_secs(10))), "{kind}");
            });
            assert_eq!(receive_fill(&mut receiver), fill, "{kind}");
        }
    }
}
