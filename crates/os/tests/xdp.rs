//! Short frames sent through AF_XDP: over a virtual wire that has a queue or two, until the wire is gone.
#![allow(clippy::disallowed_methods)]

mod common;

use std::os::fd::AsFd;
use std::time::Duration;

use common::{ADDRESS, Wire, frame, queue, receive, receive_fill, request, requests, send};
use lab::{Namespace, network};
use os::frame_port::{FrameFilter, FramePort, Payload, PortKind, PortOptions, SendError, TransmitFrame};

fn xdp(wire: &Wire, interface: &str) -> FramePort {
    wire.port(interface, PortKind::Xdp, FrameFilter::Responses)
}

#[test]
fn short_frames_go_through_af_xdp_long_ones_by_the_socket_and_all_in_order() {
    let wire = Wire::new(9000);
    let (mut sender, mut receiver) = wire.ports(PortKind::Xdp);
    assert_eq!(sender.kind(), PortKind::Xdp);
    let batches: [(&[usize], u64); 4] = [
        (&[60, 548, 1060, 1536], 4),
        (&[1537, 9014], 0),
        (&[60, 60, 4132, 60, 1060, 8228], 2),
        (&[4132, 60], 0),
    ];
    let mut through_xdp = 0;
    for (lengths, more) in batches {
        let frames: Vec<_> =
            (1..).zip(lengths).map(|(fill, &length)| request(&receiver, length, fill)).collect();
        frames.iter().for_each(|frame| queue(&mut sender, frame));
        assert_eq!(sender.queued(), lengths.len());
        assert_eq!(sender.flush().expect("sent"), lengths.len());
        for sent in &frames {
            let received = receive(&mut receiver);
            assert_eq!(receiver.frame(received.slot), sent);
            receiver.release(received.slot);
        }
        through_xdp += more;
        assert_eq!(sender.statistics().sent_through_xdp, through_xdp, "{lengths:?}");
    }
}

#[test]
fn a_queue_belongs_to_one_port_and_the_others_do_without() {
    let wire = Wire::new(1500);
    let mut first = xdp(&wire, "near");
    let mut second = xdp(&wire, "near");
    let mut receiver = wire.port("far", PortKind::Ring, requests());
    assert_eq!((first.kind(), second.kind()), (PortKind::Xdp, PortKind::Ring));
    for sender in [&mut first, &mut second] {
        send(sender, &request(&receiver, 60, 1));
        assert_eq!(receive_fill(&mut receiver), 1);
    }
    drop(first);
    // The kernel gives a queue free a moment after its socket was closed.
    let again = || Ok((xdp(&wire, "near").kind() == PortKind::Xdp).then_some(()));
    lab::wait_until("the queue to be free", Duration::from_secs(10), again).expect("free again");
}

#[test]
fn shards_on_one_interface_take_a_queue_each() {
    let namespace = Namespace::new().expect("these tests make network namespaces: run them as root");
    let add = "link add near mtu 1500 numtxqueues 2 numrxqueues 2 type veth peer name far mtu 1500";
    namespace.program("ip").args(add.split(' ')).run().expect("a wire with two queues");
    let wire = Wire { namespace };
    wire.set("near up");
    wire.set("far up");
    wire.wait_until("near", |near| near.has_carrier);
    let mut receiver = wire.port("far", PortKind::Ring, requests());
    let mut ports = [xdp(&wire, "near"), xdp(&wire, "near"), xdp(&wire, "near")];
    assert_eq!(ports.each_ref().map(FramePort::kind), [PortKind::Xdp, PortKind::Xdp, PortKind::Ring]);
    for sender in &mut ports {
        send(sender, &request(&receiver, 60, 7));
        assert_eq!(receive_fill(&mut receiver), 7);
    }
}

#[test]
fn frames_that_found_no_link_are_never_sent_later_and_af_xdp_is_used_again() {
    let wire = Wire::new(1500);
    let (mut sender, mut receiver) = wire.ports(PortKind::Xdp);
    for flaps in 0..3 {
        wire.set("near down");
        // More than there are slots.
        for _ in 0..20 {
            (0..32).for_each(|_| queue(&mut sender, &request(&receiver, 60, 1)));
            let error = sender.flush().expect_err("the link is down");
            assert!(matches!(error, SendError::LinkDown { sent: 0, dropped: 32 }), "{error:?}");
        }
        wire.set("near up");
        wire.wait_until("near", |near| near.has_carrier);
        let before = sender.statistics().sent_through_xdp;
        // The first may still find all slots taken by what was not sent.
        send(&mut sender, &request(&receiver, 60, 2));
        send(&mut sender, &request(&receiver, 60, 3));
        assert_eq!((receive_fill(&mut receiver), receive_fill(&mut receiver)), (2, 3), "flap {flaps}");
        assert!(sender.statistics().sent_through_xdp > before, "flap {flaps}");
        assert_eq!(receiver.receive(), None);
    }
}

#[test]
fn a_port_opened_anew_for_a_larger_mtu_takes_the_queue_over() {
    let wire = Wire::new(600);
    let mut receiver = wire.port_with(PortOptions { mtu_max: 9000, ..PortOptions::new("far", requests()) });
    let mut first = xdp(&wire, "near");
    send(&mut first, &request(&receiver, 60, 1));
    assert_eq!(receive_fill(&mut receiver), 1);
    drop(receiver);
    wire.set("near mtu 9000");
    wire.set("far mtu 9000");
    let mut receiver = wire.port("far", PortKind::Ring, requests());
    let mut second = wire.port("near", PortKind::Ring, FrameFilter::Responses);
    second.take_over_xdp(&mut first);
    assert_eq!(second.kind(), PortKind::Xdp);
    for (sender, through_xdp) in [(&mut second, 1), (&mut first, 1)] {
        send(sender, &request(&receiver, 1060, 2));
        assert_eq!(receive_fill(&mut receiver), 2);
        assert_eq!(sender.statistics().sent_through_xdp, through_xdp);
    }
}

#[test]
fn discarded_frames_are_never_sent() {
    let wire = Wire::new(1500);
    let (mut sender, mut receiver) = wire.ports(PortKind::Xdp);
    for _ in 0..100 {
        (0..7).for_each(|_| queue(&mut sender, &request(&receiver, 1060, 1)));
        assert_eq!(sender.discard_queued(), 7);
        send(&mut sender, &request(&receiver, 1060, 2));
        assert_eq!(receive_fill(&mut receiver), 2);
        assert_eq!(receiver.receive(), None);
    }
    assert_eq!(sender.statistics().sent_through_xdp, 100);
}

#[test]
fn of_frames_whose_oldest_are_discarded_the_others_are_sent_in_order() {
    let wire = Wire::new(9000);
    let (mut sender, mut receiver) = wire.ports(PortKind::Xdp);
    // The first three wait for AF_XDP, the others for the socket.
    for discarded in [2, 4, 0, 5, 1] {
        for (fill, length) in (1..).zip([60, 1060, 60, 4132, 60]) {
            queue(&mut sender, &request(&receiver, length, fill));
        }
        sender.discard_oldest(discarded);
        assert_eq!(sender.flush().expect("sent"), 5 - discarded);
        for fill in (1..6).skip(discarded) {
            assert_eq!(receive_fill(&mut receiver), fill, "of those after {discarded}");
        }
        assert_eq!(receiver.receive(), None);
    }
}

#[test]
fn an_interface_that_is_removed_costs_frames_and_nothing_else() {
    let wire = Wire::new(1500);
    let (mut sender, receiver) = wire.ports(PortKind::Xdp);
    send(&mut sender, &request(&receiver, 60, 1));
    let lost = request(&receiver, 60, 2);
    drop(receiver);
    wire.namespace.program("ip").args(["link", "delete", "near"]).run().expect("deleted");
    for _ in 0..3 {
        (0..2).for_each(|_| queue(&mut sender, &lost));
        let error = sender.flush().expect_err("there is no interface");
        assert!(matches!(error, SendError::LinkDown { sent: 0, dropped: 2 }), "{error:?}");
        assert_eq!(sender.queued(), 0);
    }
    // The same name is another interface.
    network::wire((&wire.namespace, "near"), (&wire.namespace, "far"), 1500).expect("wire");
    wire.wait_until("near", |near| near.has_carrier);
    let (mut sender, mut receiver) = wire.ports(PortKind::Xdp);
    assert_eq!(sender.kind(), PortKind::Xdp);
    send(&mut sender, &request(&receiver, 60, 3));
    assert_eq!(receive_fill(&mut receiver), 3);
}

#[test]
fn a_frame_longer_than_a_shrunken_mtu_costs_itself_only() {
    let wire = Wire::new(1500);
    let (mut sender, mut receiver) = wire.ports(PortKind::Xdp);
    wire.set("near mtu 600");
    wire.set("far mtu 600");
    for (length, fill) in [(60, 1), (1060, 2), (60, 3)] {
        queue(&mut sender, &request(&receiver, length, fill));
    }
    let error = sender.flush().expect_err("one is too long");
    assert!(matches!(error, SendError::TooLong { sent: 1 }), "{error:?}");
    assert_eq!(sender.flush().expect("the last one"), 1);
    assert_eq!((receive_fill(&mut receiver), receive_fill(&mut receiver)), (1, 3));
}

#[test]
fn a_short_payload_that_is_gone_costs_its_own_frame_only() {
    let wire = Wire::new(1500);
    let (mut sender, mut receiver) = wire.ports(PortKind::Xdp);
    let frames = [1, 2, 3].map(|fill| request(&receiver, 60, fill));
    let file = tempfile::tempfile().expect("a file");
    file.set_len(8192).expect("long enough");
    // SAFETY: a fresh mapping at an address of the kernel's choice.
    let mapped = unsafe {
        let file = std::os::fd::AsRawFd::as_raw_fd(&file.as_fd());
        libc::mmap(std::ptr::null_mut(), 8192, libc::PROT_READ, libc::MAP_SHARED, file, 0)
    };
    assert_ne!(mapped, libc::MAP_FAILED);
    let lost = Payload { address: mapped.cast::<u8>().wrapping_add(4096), length: 1024 };
    send(&mut sender, &frames[0]);
    sender.queue(TransmitFrame { head: &frames[1], payload: Some(lost) }).expect("room");
    assert_eq!(sender.flush().expect("the page is there"), 1);
    file.set_len(4096).expect("cut");
    sender.queue(TransmitFrame { head: &frames[1], payload: Some(lost) }).expect("room");
    queue(&mut sender, &frames[2]);
    let error = sender.flush().expect_err("the page is gone");
    assert!(matches!(error, SendError::Unreadable { sent: 0 }), "{error:?}");
    assert_eq!(sender.flush().expect("the last one"), 1);
    let fills: Vec<u8> = (0..3).map(|_| receive_fill(&mut receiver)).collect();
    assert_eq!(fills, [1, 2, 3]);
}

#[test]
fn a_short_frame_that_follows_another_is_not_filled_up_with_its_bytes() {
    let wire = Wire::new(1500);
    let (mut sender, mut receiver) = wire.ports(PortKind::Xdp);
    for _ in 0..300 {
        send(&mut sender, &frame(receiver.interface().mac, 0, ADDRESS, 1060, 0xff));
        receive_fill(&mut receiver);
    }
    for length in [24, 36, 59] {
        send(&mut sender, &request(&receiver, length, 0xff));
        let received = receive(&mut receiver);
        assert!(receiver.frame(received.slot)[length..].iter().all(|&byte| byte == 0), "{length}");
        assert_eq!(received.length, 60);
        receiver.release(received.slot);
    }
}

#[test]
fn an_own_send_batch_larger_than_the_slots_is_sent_whole() {
    let wire = Wire::new(1500);
    let options = PortOptions {
        kind: PortKind::Xdp,
        send_batch: 600,
        ..PortOptions::new("near", FrameFilter::Responses)
    };
    let mut sender = wire.port_with(options);
    let mut receiver = wire.port("far", PortKind::Ring, requests());
    for _ in 0..3 {
        for count in 0..600u16 {
            let mut frame = request(&receiver, 60, 0);
            frame[20..22].copy_from_slice(&count.to_be_bytes());
            queue(&mut sender, &frame);
        }
        assert_eq!(sender.flush().expect("sent"), 600);
        for count in 0..600u16 {
            let received = receive(&mut receiver);
            assert_eq!(receiver.frame(received.slot)[20..22], count.to_be_bytes());
            receiver.release(received.slot);
        }
    }
}
