//! A wire of its own for each test, and the frames that go over it.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::time::{Duration, Instant};

use lab::{Namespace, network};
use os::frame_port::{FrameFilter, FramePort, Payload, PortKind, PortOptions, Received, TransmitFrame};
use os::{Interface, clock};

/// The kinds every port test runs for.
pub(crate) const KINDS: [PortKind; 4] = [PortKind::Ring, PortKind::Uring, PortKind::Plain, PortKind::Xdp];

/// The address the target in these tests has.
pub(crate) const ADDRESS: (u16, u8) = (7, 1);

/// The interfaces `near` and `far` and the wire between them, in a namespace that goes with this value.
pub(crate) struct Wire {
    pub(crate) namespace: Namespace,
}

impl Wire {
    pub(crate) fn new(mtu: u32) -> Self {
        let namespace = Namespace::new().expect("these tests make network namespaces: run them as root");
        network::wire((&namespace, "near"), (&namespace, "far"), mtu).expect("wire");
        let wire = Self { namespace };
        // The kernel finds out a moment after the ends came up.
        wire.wait_until("near", |near| near.has_carrier);
        wire.wait_until("far", |far| far.has_carrier);
        wire
    }

    /// Opens a port on one end.
    pub(crate) fn port(&self, interface: &str, kind: PortKind, filter: FrameFilter) -> FramePort {
        self.port_with(PortOptions { kind, ring_bytes: 4 << 20, ..PortOptions::new(interface, filter) })
    }

    /// Opens a port as told.
    pub(crate) fn port_with(&self, options: PortOptions) -> FramePort {
        let port = self.namespace.enter(|| Ok(FramePort::open(&options)));
        port.expect("namespace").unwrap_or_else(|error| panic!("{error}"))
    }

    /// A sender on `near` and a receiver of requests to [`ADDRESS`] on `far`.
    pub(crate) fn ports(&self, kind: PortKind) -> (FramePort, FramePort) {
        (self.port("near", kind, FrameFilter::Responses), self.port("far", kind, requests()))
    }

    /// Waits until an interface is as wanted.
    pub(crate) fn wait_until(&self, interface: &str, wanted: fn(&Interface) -> bool) {
        let look = || self.namespace.enter(|| Ok(Interface::named(interface).ok().filter(&wanted)));
        lab::wait_until("the interface as wanted", Duration::from_secs(10), look).expect("interface");
    }

    /// Changes something with `ip link`.
    pub(crate) fn set(&self, arguments: &str) {
        let words = ["link", "set"].into_iter().chain(arguments.split_whitespace());
        self.namespace.program("ip").args(words).run().expect("ip link set");
    }
}

/// What a target with that one address receives.
pub(crate) fn requests() -> FrameFilter {
    FrameFilter::Requests { addresses: vec![ADDRESS] }
}

/// A request of `length` bytes to [`ADDRESS`], its payload filled with `fill`.
pub(crate) fn request(to: &FramePort, length: usize, fill: u8) -> Vec<u8> {
    frame(to.interface().mac, 0, ADDRESS, length, fill)
}

/// An AoE frame of `length` bytes, its payload filled with `fill`.
pub(crate) fn frame(destination: [u8; 6], flags: u8, address: (u16, u8), length: usize, fill: u8) -> Vec<u8> {
    let mut frame = vec![0; length];
    frame[..6].copy_from_slice(&destination);
    frame[6..12].copy_from_slice(&[2, 0, 0, 0, 0, 1]);
    frame[12..14].copy_from_slice(&0x88a2u16.to_be_bytes());
    frame[14] = 0x10 | flags;
    frame[16..18].copy_from_slice(&address.0.to_be_bytes());
    frame[18] = address.1;
    frame[23] = fill;
    frame[36.min(length)..].fill(fill);
    frame
}

/// Adds a frame to those to be sent.
pub(crate) fn queue(port: &mut FramePort, frame: &[u8]) {
    let head = &frame[..frame.len().min(60)];
    let payload = (frame.len() > 60).then(|| Payload::of(&frame[60..]));
    port.queue(TransmitFrame { head, payload }).expect("room in the queue");
}

/// Sends one frame.
pub(crate) fn send(port: &mut FramePort, frame: &[u8]) {
    queue(port, frame);
    assert_eq!(port.flush().expect("frame is sent"), 1);
}

/// Sends frames until the receiver's are stamped when they come, which the kernel begins a moment after it was asked.
pub(crate) fn await_stamps(sender: &mut FramePort, receiver: &mut FramePort) {
    let deadline = Instant::now() + Duration::from_secs(10);
    let probe = frame(receiver.interface().mac, 0, ADDRESS, 60, 0);
    while Instant::now() < deadline {
        send(sender, &probe);
        let sent = clock::now();
        std::thread::sleep(Duration::from_millis(2));
        let received = receive(receiver);
        receiver.release(received.slot);
        if received.received <= sent.after(Duration::from_millis(1)) {
            return;
        }
    }
    panic!("the kernel does not stamp frames");
}

/// The next frame; waits for it.
pub(crate) fn receive(port: &mut FramePort) -> Received {
    let deadline = Instant::now() + Duration::from_secs(10);
    while Instant::now() < deadline {
        if let Some(received) = port.receive() {
            return received;
        }
        port.wait(Some(Duration::from_millis(100)));
    }
    panic!("no frame came within ten seconds: {:?}", port.statistics());
}

/// The fill of the next frame, which is released.
pub(crate) fn receive_fill(port: &mut FramePort) -> u8 {
    let received = receive(port);
    let fill = port.frame(received.slot)[23];
    port.release(received.slot);
    fill
}
