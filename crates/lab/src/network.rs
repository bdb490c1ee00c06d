//! Wires and switches between namespaces: veth pairs, bridges, taps for guests, and what breaks them.
//!
//! Everything here belongs to its namespaces and goes with them. All links are of one MTU end to end: a bridge with a
//! smaller one drops large frames without a word.

use crate::{Error, Namespace, sys};
use std::os::fd::OwnedFd;

/// The largest Ethernet payload on an ordinary wire.
pub const MTU_ORDINARY: u32 = 1500;
/// The customary jumbo payload.
pub const MTU_JUMBO: u32 = 9000;

/// What becomes of the frames that pass one side of a link in one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// All pass.
    None,
    /// So many in a thousand are dropped, chosen at random.
    PerThousand(u16),
    /// None pass, while the link stays up: the fault that a link check does not see.
    All,
    /// All pass but those sent from this address.
    From([u8; 6]),
}

/// A direction, seen from the interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// What the interface sends.
    Sent,
    /// What the interface receives.
    Received,
}

/// Lays a wire: an interface in each of two namespaces (or two in one), both up.
pub fn wire(one: (&Namespace, &str), other: (&Namespace, &str), mtu: u32) -> Result<(), Error> {
    let mtu = mtu.to_string();
    let far = other.0.path();
    let near = ["link", "add", one.1, "mtu", &mtu, "type", "veth", "peer", "name", other.1, "mtu", &mtu];
    one.0.program("ip").args(near).args(["netns", &far]).run()?;
    one.0.set_up(one.1)?;
    other.0.set_up(other.1)
}

impl Namespace {
    /// Makes a switch in this namespace, which passes everything at once and learns nothing from IGMP.
    pub fn add_bridge(&self, name: &str, mtu: u32) -> Result<(), Error> {
        let mtu = mtu.to_string();
        let options = ["type", "bridge", "mcast_snooping", "0", "forward_delay", "0", "stp_state", "0"];
        self.program("ip").args(["link", "add", name, "mtu", &mtu]).args(options).run()?;
        self.set_up(name)
    }

    /// Plugs an interface of this namespace into a bridge of it.
    pub fn plug(&self, interface: &str, bridge: &str) -> Result<(), Error> {
        self.program("ip").args(["link", "set", interface, "master", bridge]).run().map(|_| ())
    }

    /// Makes a tap in this namespace: the wire into a guest. It lives as long as the descriptor.
    pub fn add_tap(&self, name: &str, mtu: u32) -> Result<OwnedFd, Error> {
        let tap = self.enter(|| sys::open_tap(name))?;
        self.set_mtu(name, mtu)?;
        self.set_up(name)?;
        Ok(tap)
    }

    /// Brings an interface up.
    pub fn set_up(&self, interface: &str) -> Result<(), Error> {
        self.program("ip").args(["link", "set", interface, "up"]).run().map(|_| ())
    }

    /// Takes an interface down; on a wire the other end loses its carrier.
    pub fn set_down(&self, interface: &str) -> Result<(), Error> {
        self.program("ip").args(["link", "set", interface, "down"]).run().map(|_| ())
    }

    /// Changes the MTU of an interface.
    pub fn set_mtu(&self, interface: &str, mtu: u32) -> Result<(), Error> {
        self.program("ip").args(["link", "set", interface, "mtu", &mtu.to_string()]).run().map(|_| ())
    }

    /// The MAC address of an interface, as `02:00:00:00:00:01`.
    pub fn mac(&self, interface: &str) -> Result<String, Error> {
        let path = format!("/sys/class/net/{interface}/address");
        Ok(self.program("cat").arg(path).run()?.stdout.trim().to_owned())
    }

    /// Drops what one interface sends or receives, replacing what was said before for that direction.
    ///
    /// What a program sends past the queue (`PACKET_QDISC_BYPASS`) is not seen on its own interface: drop it where the other
    /// end of the wire receives it.
    pub fn set_loss(&self, interface: &str, direction: Direction, loss: Loss) -> Result<(), Error> {
        let side = match direction {
            Direction::Sent => "egress",
            Direction::Received => "ingress",
        };
        // Both fail harmlessly: the first when the queue is there already, the second when there is no filter yet.
        self.program("tc").args(["qdisc", "add", "dev", interface, "clsact"]).output()?;
        self.program("tc").args(["filter", "del", "dev", interface, side]).output()?;
        let Some(program) = loss_filter(loss) else { return Ok(()) };
        let filter = ["filter", "add", "dev", interface, side, "bpf", "direct-action", "bytecode", &program];
        self.program("tc").args(filter).run().map(|_| ())
    }
}

/// The classic BPF program that decides a frame's fate; its return value is a traffic-control verdict.
///
/// Written as BPF because a kernel may lack `netem`, `gact` and `flower`, and BPF is in all of them.
fn loss_filter(loss: Loss) -> Option<String> {
    const DROP: u32 = 2;
    const GO_ON: u32 = u32::MAX;
    // SKF_AD_OFF + SKF_AD_RANDOM: a load from there gives a random number.
    const RANDOM: u32 = 0x1000_u32.wrapping_neg() + 56;
    match loss {
        Loss::None => None,
        Loss::All => Some(format!("1,6 0 0 {DROP}")),
        Loss::PerThousand(number) => {
            let threshold = u64::from(number.min(1000)) * u64::from(u32::MAX) / 1000;
            Some(format!("4,32 0 0 {RANDOM},53 1 0 {threshold},6 0 0 {DROP},6 0 0 {GO_ON}"))
        }
        Loss::From([a, b, c, d, e, f]) => {
            let (first, last) = (u32::from_be_bytes([a, b, c, d]), u16::from_be_bytes([e, f]));
            let compare = format!("32 0 0 6,21 0 3 {first},40 0 0 10,21 0 1 {last}");
            Some(format!("6,{compare},6 0 0 {DROP},6 0 0 {GO_ON}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::wait_until;

    fn pair() -> (Namespace, Namespace) {
        let (left, right) = (Namespace::new().expect("left"), Namespace::new().expect("right"));
        wire((&left, "eth0"), (&right, "eth0"), MTU_JUMBO).expect("wire");
        for (namespace, address) in [(&left, "10.0.0.1/24"), (&right, "10.0.0.2/24")] {
            namespace.program("ip").args(["address", "add", address, "dev", "eth0"]).run().expect("address");
        }
        let mac = right.mac("eth0").expect("mac");
        // A fixed neighbour: the test counts its own frames, not those that ask for addresses.
        let neighbour = ["neighbour", "add", "10.0.0.2", "lladdr", &mac, "dev", "eth0"];
        left.program("ip").args(neighbour).run().expect("neighbour");
        (left, right)
    }

    fn send(from: &Namespace, count: u32) {
        let sent = from.enter(|| {
            let socket = std::net::UdpSocket::bind("0.0.0.0:0")?;
            (0..count).try_for_each(|_| socket.send_to(b"frame", "10.0.0.2:7").map(|_| ()))
        });
        sent.expect("send");
    }

    fn received(namespace: &Namespace) -> u64 {
        let path = "/sys/class/net/eth0/statistics/rx_packets";
        namespace.program("cat").arg(path).run().expect("count").stdout.trim().parse().expect("number")
    }

    #[test]
    fn a_wire_carries_frames_until_one_direction_is_lost() {
        let (left, right) = pair();
        send(&left, 10);
        let before = received(&right);
        assert!(before >= 10, "{before} frames came");
        left.set_loss("eth0", Direction::Sent, Loss::All).expect("loss");
        send(&left, 10);
        assert_eq!(received(&right), before);
        left.set_loss("eth0", Direction::Sent, Loss::PerThousand(500)).expect("loss");
        send(&left, 400);
        let passed = received(&right) - before;
        assert!((100..300).contains(&passed), "{passed} of 400 passed a wire that loses half");
        left.set_loss("eth0", Direction::Sent, Loss::None).expect("no loss");
        let before = received(&right);
        send(&left, 10);
        assert!(received(&right) >= before + 10);
    }

    #[test]
    fn a_filter_against_one_sender_lets_others_pass() {
        let (left, right) = pair();
        let mac = left.mac("eth0").expect("mac");
        let mut sender = [0; 6];
        for (byte, text) in sender.iter_mut().zip(mac.split(':')) {
            *byte = u8::from_str_radix(text, 16).expect("a byte");
        }
        left.set_loss("eth0", Direction::Sent, Loss::From(sender)).expect("loss");
        let before = received(&right);
        send(&left, 10);
        assert_eq!(received(&right), before);
        sender[5] ^= 1;
        left.set_loss("eth0", Direction::Sent, Loss::From(sender)).expect("loss");
        send(&left, 10);
        assert!(received(&right) >= before + 10);
    }

    #[test]
    fn a_tap_in_a_bridge_goes_with_its_descriptor() {
        let namespace = Namespace::new().expect("namespace");
        namespace.add_bridge("br0", MTU_JUMBO).expect("bridge");
        let tap = namespace.add_tap("tap0", MTU_JUMBO).expect("tap");
        namespace.plug("tap0", "br0").expect("plug");
        assert_eq!(namespace.mac("tap0").expect("mac").len(), 17);
        drop(tap);
        // A process that another thread is just starting has its descriptor for a moment.
        let is_gone = || Ok(namespace.mac("tap0").is_err().then_some(()));
        wait_until("the end of tap0", Duration::from_secs(10), is_gone).expect("it goes");
    }
}
