//! A network of its own for each test: a namespace that the test's thread alone is in, with a pair of interfaces.

use std::process::Command;
use std::time::{Duration, Instant};

use os::frame_port::{FrameFilter, FramePort, PortKind, PortOptions, Received, TransmitFrame};

/// The kinds every port test runs for.
pub(crate) const KINDS: [PortKind; 3] = [PortKind::Ring, PortKind::Uring, PortKind::Plain];

/// Moves this thread into a fresh network namespace. It goes when the thread ends.
pub(crate) fn own_network() {
    // SAFETY: takes no pointers; changes the namespace of this thread only.
    let result = unsafe { libc::unshare(libc::CLONE_NEWNET) };
    assert!(
        result == 0,
        "{}: these tests make network namespaces; run them as root",
        std::io::Error::last_os_error()
    );
    ip("link set lo up");
}

/// Makes the pair `near` and `far`, up.
pub(crate) fn pair(mtu: u32) {
    own_network();
    ip(&format!("link add near mtu {mtu} type veth peer name far mtu {mtu}"));
    // The kernel's own IPv6 chatter does not matter to the ports, but it does to counters.
    for end in ["near", "far"] {
        ip(&format!("link set {end} addrgenmode none"));
        ip(&format!("link set {end} up"));
    }
}

/// Runs `ip` in this thread's namespace.
pub(crate) fn ip(arguments: &str) {
    let output =
        Command::new("ip").args(arguments.split_whitespace()).output().expect("iproute2 is installed");
    assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Opens a port on one end.
pub(crate) fn port(interface: &str, kind: PortKind, filter: FrameFilter) -> FramePort {
    sized_port(interface, kind, filter, 4 << 20)
}

/// Opens a port with so much memory.
pub(crate) fn sized_port(
    interface: &str,
    kind: PortKind,
    filter: FrameFilter,
    ring_bytes: usize,
) -> FramePort {
    let options = PortOptions { kind, ring_bytes, ..PortOptions::new(interface, filter) };
    FramePort::open(&options).expect("port opens")
}

/// An AoE frame of `length` bytes from `near` to `destination`, its payload filled with `fill`.
pub(crate) fn frame(destination: [u8; 6], flags: u8, address: (u16, u8), length: usize, fill: u8) -> Vec<u8> {
    let mut frame = vec![0; length];
    frame[..6].copy_from_slice(&destination);
    frame[6..12].copy_from_slice(&[2, 0, 0, 0, 0, 1]);
    frame[12..14].copy_from_slice(&0x88a2u16.to_be_bytes());
    frame[14] = 0x10 | flags;
    frame[16..18].copy_from_slice(&address.0.to_be_bytes());
    frame[18] = address.1;
    frame[20..24].copy_from_slice(&u32::from(fill).to_be_bytes());
    frame[36.min(length)..].fill(fill);
    frame
}

/// Sends one frame as it is.
pub(crate) fn send(port: &mut FramePort, frame: &[u8]) {
    let head = &frame[..frame.len().min(60)];
    let payload = (frame.len() > 60).then(|| os::frame_port::Payload::of(&frame[60..]));
    port.queue(TransmitFrame { head, payload }).expect("room in the queue");
    assert_eq!(port.flush().expect("frame is sent"), 1);
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
