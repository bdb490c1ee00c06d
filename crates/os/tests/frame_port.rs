//! Frame ports over a pair of virtual interfaces, each test in a network namespace of its own.
#![allow(clippy::disallowed_methods, clippy::expect_used)]

mod common;

use common::{KINDS, frame, pair, port, receive, send};
use os::frame_port::FrameFilter;

#[test]
fn a_frame_comes_through_whole_and_its_payload_lies_on_a_sector() {
    pair(9000);
    for kind in KINDS {
        let mut sender = port("near", kind, FrameFilter::Responses);
        let mut receiver = port("far", kind, FrameFilter::Requests { addresses: vec![(7, 1)] });
        for length in [60, 548, 1060, 4132, 8228, 9014] {
            let sent = frame(receiver.interface().mac, 0, (7, 1), length, 0xa5);
            send(&mut sender, &sent);
            let received = receive(&mut receiver);
            let bytes = receiver.frame(received.slot);
            assert_eq!(bytes, sent, "{kind}, {length} bytes");
            assert_eq!(bytes.as_ptr().addr() % 512, 512 - 36, "{kind}, {length} bytes");
            receiver.release(received.slot);
        }
    }
}
