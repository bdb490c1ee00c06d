//! Interfaces: why a port does not open on one, and being told what happens to it.
#![allow(clippy::disallowed_methods)]

mod common;

use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use common::{KINDS, Wire};
use os::frame_port::{FrameFilter, FramePort, MTU_MIN, PortError, PortKind, PortOptions};
use os::link_monitor::{LinkEvent, LinkMonitor};
use os::{Interface, InterfaceError};

fn refusal(wire: &Wire, interface: &str, kind: PortKind) -> PortError {
    let options = PortOptions { kind, ..PortOptions::new(interface, FrameFilter::All) };
    wire.namespace.enter(|| Ok(FramePort::open(&options))).expect("namespace").expect_err("refused")
}

#[test]
fn a_port_that_cannot_be_opened_says_what_to_do() {
    let wire = Wire::new(1500);
    let error = refusal(&wire, "eth7", PortKind::Ring);
    assert!(matches!(&error, PortError::Interface(InterfaceError::Unknown { .. })), "{error}");
    assert!(error.to_string().contains("far, lo, near"), "{error}");

    wire.set("near down");
    let error = refusal(&wire, "near", PortKind::Ring);
    assert!(matches!(&error, PortError::Down { interface } if interface == "near"), "{error}");
    assert!(error.to_string().contains("ip link set near up"), "{error}");

    wire.set("near up");
    wire.set(&format!("near mtu {}", MTU_MIN - 1));
    let error = refusal(&wire, "near", PortKind::Ring);
    assert!(matches!(error, PortError::MtuTooSmall { mtu: 547, .. }), "{error}");
    wire.set(&format!("near mtu {MTU_MIN}"));
    drop(wire.port("near", PortKind::Ring, FrameFilter::All));
}

#[test]
fn without_privilege_the_capability_is_named() {
    let wire = Wire::new(1500);
    for kind in KINDS {
        let options = PortOptions { kind, ..PortOptions::new("near", FrameFilter::All) };
        let opened = wire.namespace.enter(|| {
            drop_capabilities();
            Ok(FramePort::open(&options))
        });
        let error = opened.expect("namespace").expect_err("no privilege");
        assert!(matches!(error, PortError::NotPermitted { .. }), "{kind}: {error}");
        assert!(error.to_string().contains("CAP_NET_RAW"), "{error}");
    }
}

/// Takes every capability from the calling thread, and from it alone.
fn drop_capabilities() {
    const VERSION_3: u32 = 0x2008_0522;
    let header = [VERSION_3, 0];
    let none = [0u32; 6];
    // SAFETY: the header and the sets have the shape that version 3 has, and are only read.
    let result = unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), none.as_ptr()) };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
}

/// Reads events until one is as wanted; fails after ten seconds.
fn wait_for(monitor: &mut LinkMonitor, what: &str, wanted: impl Fn(&LinkEvent) -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    let mut seen = Vec::new();
    while Instant::now() < deadline {
        monitor.read_events(|event| seen.push(event)).expect("events");
        if seen.iter().any(&wanted) {
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    panic!("{what} was not told; told was {seen:?}");
}

#[test]
fn what_happens_to_a_link_is_told() {
    let wire = Wire::new(1500);
    let mut monitor = wire.namespace.enter(LinkMonitor::open).expect("monitor");
    let is = |event: &LinkEvent, state: fn(&Interface) -> bool| match event {
        LinkEvent::Changed(interface) => interface.name == "far" && state(interface),
        _ => false,
    };
    wire.set("near down");
    wait_for(&mut monitor, "the carrier lost", |event| is(event, |far| far.is_up && !far.has_carrier));
    wire.set("near up");
    wait_for(&mut monitor, "the carrier found", |event| is(event, |far| far.has_carrier));
    wire.set("far mtu 9000");
    wait_for(&mut monitor, "the MTU", |event| is(event, |far| far.mtu == 9000));
    wire.set("far down");
    wait_for(&mut monitor, "the link down", |event| is(event, |far| !far.is_up));
    wire.namespace.program("ip").args(["link", "del", "far"]).run().expect("ip");
    wait_for(
        &mut monitor,
        "the removal",
        |event| matches!(event, LinkEvent::Removed { name, .. } if name == "far"),
    );
}

#[test]
fn an_interface_looks_as_the_kernel_says() {
    let wire = Wire::new(4200);
    let far = wire.namespace.enter(|| Ok(Interface::named("far"))).expect("namespace").expect("far");
    assert_eq!((far.mtu, far.is_up, far.has_carrier), (4200, true, true));
    let text: Vec<String> = far.mac.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(text.join(":"), wire.namespace.mac("far").expect("mac"));
    wire.set("near down");
    wire.wait_until("far", |far| far.is_up && !far.has_carrier);
}

#[test]
fn a_tunnel_is_no_ethernet_whatever_address_it_has() {
    /// From `linux/if_tun.h`: which interface the file is, and what kind of link.
    const TUN_SET_INTERFACE: libc::Ioctl = 0x4004_54ca;
    const TUN_SET_LINK: libc::Ioctl = 0x4004_54cd;
    let wire = Wire::new(1500);
    wire.namespace.program("ip").args(["tuntap", "add", "tun0", "mode", "tun"]).run().expect("a tunnel");
    let looked_at = || wire.namespace.enter(|| Ok(Interface::named("tun0"))).expect("namespace");
    let refused =
        |looked_at| matches!(looked_at, Err(InterfaceError::NotEthernet { name }) if name == "tun0");
    assert!(refused(looked_at()), "it has no address");
    let made = wire.namespace.enter(|| {
        let file = std::fs::File::options().read(true).write(true).open("/dev/net/tun")?;
        // SAFETY: an all-zero request is a valid one.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        request.ifr_name.iter_mut().zip(b"tun0").for_each(|(to, from)| *to = from.cast_signed());
        request.ifr_ifru.ifru_flags = i16::try_from(libc::IFF_TUN).expect("a small number");
        // SAFETY: the first reads one `ifreq`, the second takes a number.
        let results = unsafe {
            [
                libc::ioctl(file.as_raw_fd(), TUN_SET_INTERFACE, &raw mut request),
                libc::ioctl(file.as_raw_fd(), TUN_SET_LINK, libc::c_int::from(libc::ARPHRD_IPGRE)),
            ]
        };
        if results == [0, 0] { Ok(file) } else { Err(std::io::Error::last_os_error()) }
    });
    let _made = made.expect("a tunnel of another kind");
    assert!(refused(looked_at()), "{:?}", looked_at());
}
