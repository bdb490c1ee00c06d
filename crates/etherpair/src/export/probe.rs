//! Whether somebody else on the wire serves an address that we are about to serve, or starts to at the same moment.
//!
//! Asks for the configuration of each address on each interface, more than once because frames get lost, and listens for a short
//! while. Where both sides of a race are to be told apart, the question says that a target is starting, and names it: of two that hear each other's questions
//! the one with the lower MAC address goes on and answers the other, as it answers whoever asks later. It goes on
//! listening while its disks are made ready and a while after, because frames get lost. Frames are made and read here;
//! what follows from them is decided in [`super::watch`].

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use aoe::wire::{self, Frame, Head, config, ethernet, header};
use aoe::{Address, Command, MacAddress, Tag};
use os::Interface;
use os::frame_port::{FrameFilter, FramePort, PortError, PortKind, PortOptions, TransmitFrame};

/// Requests that leave together; what is answered to them is taken before the next ones.
const BURST: usize = 64;
/// Room for answers.
const RECEIVE_BYTES: usize = 4 << 20;
/// Of all requests; the bit says that a program and not the kernel's driver asks.
const TAG: Tag = Tag(Tag::USER_SPACE | 0x0065_7031);
/// What a starting target says where nobody looks: a target reads nothing of a read but that it is one. The target's
/// number follows.
const STARTING: &[u8] = b"etherpair starts ";

/// Something that somebody said about one of our addresses.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Heard {
    /// It is served, whatever the answer was.
    Served {
        /// Which.
        address: Address,
        /// By whom.
        mac: MacAddress,
    },
    /// A target of this number is about to serve it, and would like to know of others.
    Starting {
        /// Which.
        address: Address,
        /// Who.
        mac: MacAddress,
        /// Its number.
        number: MacAddress,
    },
}

/// Asks and listens on one interface.
pub(crate) struct Probe {
    port: FramePort,
    interface: Interface,
    addresses: BTreeSet<Address>,
    /// Of all our interfaces: two of them may be on one wire.
    own: BTreeSet<MacAddress>,
    /// Others that may answer: the nodes of a pair.
    expected: BTreeSet<MacAddress>,
}

impl Probe {
    /// Listens there for who speaks of these addresses.
    ///
    /// # Errors
    /// If the interface cannot be listened on.
    pub(crate) fn new(
        addresses: &[Address],
        interface: &Interface,
        interfaces: &[Interface],
    ) -> Result<Self, PortError> {
        let port = FramePort::open(&PortOptions {
            kind: PortKind::Plain,
            ring_bytes: RECEIVE_BYTES,
            send_batch: BURST,
            ..PortOptions::new(&interface.name, FrameFilter::Discovery)
        })?;
        Ok(Self {
            port,
            interface: interface.clone(),
            addresses: addresses.iter().copied().collect(),
            own: interfaces.iter().map(|interface| MacAddress(interface.mac)).collect(),
            expected: BTreeSet::new(),
        })
    }

    /// The same for a node of a pair, of which both may serve: it only asks, and claims nothing.
    pub(crate) fn of_pair(self, nodes: &BTreeSet<MacAddress>) -> Self {
        Self { expected: nodes.clone(), ..self }
    }

    /// Where it listens.
    pub(super) fn interface(&self) -> &str {
        &self.interface.name
    }

    /// Which of several that start is to go on: the one with the lowest.
    pub(super) fn number(&self) -> MacAddress {
        self.own.first().copied().unwrap_or(MacAddress(self.interface.mac))
    }

    /// Asks for each address so often and listens for that long each time; ends at the first thing heard that `on_heard` makes an
    /// error of.
    ///
    /// # Errors
    /// What `on_heard` has made.
    pub(crate) fn ask<E>(
        &mut self,
        (rounds, round_time): (u32, Duration),
        mut on_heard: impl FnMut(&mut Self, Heard) -> Result<(), E>,
    ) -> Result<(), E> {
        let start = Instant::now();
        let addresses: Vec<Address> = self.addresses.iter().copied().collect();
        for round in 1..=rounds {
            for burst in addresses.chunks(BURST) {
                for &address in burst {
                    let starting = self.expected.is_empty().then(|| self.number());
                    self.send(&question(MacAddress(self.interface.mac), starting, address));
                }
                // What is not sent is asked again in the next round.
                let _ = self.port.flush();
                self.port.discard_queued();
                self.hear(&mut on_heard)?;
            }
            let deadline = start + round_time * round;
            while let Some(left) = deadline.checked_duration_since(Instant::now()) {
                self.listen(left, &mut on_heard)?;
            }
        }
        Ok(())
    }

    /// Listens until something comes or the time is over.
    pub(super) fn listen<E>(
        &mut self,
        patience: Duration,
        mut on_heard: impl FnMut(&mut Self, Heard) -> Result<(), E>,
    ) -> Result<(), E> {
        self.port.wait(Some(patience));
        self.hear(&mut on_heard)
    }

    /// Tells one that asked that the address is ours.
    pub(super) fn claim(&mut self, address: Address, asker: MacAddress) {
        let answer = claim(MacAddress(self.interface.mac), address, asker);
        self.send(&answer);
        // If it is lost the other asks again.
        let _ = self.port.flush();
        self.port.discard_queued();
    }

    fn send(&mut self, frame: &[u8]) {
        // A port just flushed has room for a burst.
        let _ = self.port.queue(TransmitFrame { head: frame, payload: None });
    }

    fn hear<E>(&mut self, on_heard: &mut impl FnMut(&mut Self, Heard) -> Result<(), E>) -> Result<(), E> {
        while let Some(received) = self.port.receive() {
            let heard = heard(self.port.frame(received.slot));
            self.port.release(received.slot);
            if let Some(heard @ (Heard::Served { address, mac } | Heard::Starting { address, mac, .. })) =
                heard
                && self.addresses.contains(&address)
                && !self.own.contains(&mac)
                && !self.expected.contains(&mac)
            {
                on_heard(self, heard)?;
            }
        }
        Ok(())
    }
}

/// `starting` is the number of the target that starts, if that is to be told.
fn question(source: MacAddress, starting: Option<MacAddress>, address: Address) -> Vec<u8> {
    let mut frame = vec![0; aoe::limits::FRAME_BYTES_MIN];
    Head {
        ethernet: ethernet::Repr { destination: MacAddress::BROADCAST, source },
        header: header::Repr::request(address.into(), Command::QueryConfig, TAG),
    }
    .emit(&mut frame);
    let string = starting.map_or_else(Vec::new, |number| [STARTING, &number.0].concat());
    let length = config_of(&string).emit(&mut frame);
    wire::pad(&mut frame, length);
    frame
}

fn claim(source: MacAddress, address: Address, asker: MacAddress) -> Vec<u8> {
    let mut frame = vec![0; aoe::limits::FRAME_BYTES_MIN];
    let asked = Head {
        ethernet: ethernet::Repr { destination: MacAddress::BROADCAST, source: asker },
        header: header::Repr::request(address.into(), Command::QueryConfig, TAG),
    };
    asked.reply(source, address).emit(&mut frame);
    let length = config_of(&[]).emit(&mut frame);
    wire::pad(&mut frame, length);
    frame
}

const fn config_of(string: &[u8]) -> config::Repr<'_> {
    let command = config::ConfigCommand::Read;
    config::Repr { buffer_count: 0, firmware: 0, sector_count: 0, version: header::VERSION, command, string }
}

/// Who speaks of which address.
fn heard(bytes: &[u8]) -> Option<Heard> {
    let frame = Frame::new(bytes).ok()?;
    let head = frame.head();
    let address = Address::try_from(head.header.address).ok()?;
    let mac = head.ethernet.source;
    if head.header.response {
        return Some(Heard::Served { address, mac });
    }
    let question = config::Repr::parse(config::View::new(frame).ok()?).ok()?;
    let number = question.string.strip_prefix(STARTING)?.try_into().ok()?;
    Some(Heard::Starting { address, mac, number: MacAddress(number) })
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);
    const THEIRS: MacAddress = MacAddress([2, 0, 0, 0, 0, 9]);

    fn address() -> Address {
        "e7.1".parse().expect("an address")
    }

    #[test]
    fn a_question_names_the_target_that_starts_and_a_claim_the_one_that_answers() {
        let number = MacAddress([2, 0, 0, 0, 0, 0]);
        let question = question(THEIRS, Some(number), address());
        assert_eq!(question.len(), 60);
        assert_eq!(heard(&question), Some(Heard::Starting { address: address(), mac: THEIRS, number }));
        let claim = claim(OURS, address(), THEIRS);
        assert_eq!(claim[..6], THEIRS.0, "to the one that asked");
        assert_eq!(heard(&claim), Some(Heard::Served { address: address(), mac: OURS }));
    }

    #[test]
    fn a_target_takes_a_question_for_an_ordinary_read() {
        let question = question(THEIRS, Some(THEIRS), address());
        let request = config::Request::parse(Frame::new(&question).expect("a frame"));
        assert_eq!(request, Ok(config::Request::Read));
    }

    #[test]
    fn a_node_of_a_pair_only_asks() {
        let question = question(THEIRS, None, address());
        assert_eq!((heard(&question), question.len()), (None, 60));
        let request = config::Request::parse(Frame::new(&question).expect("a frame"));
        assert_eq!(request, Ok(config::Request::Read));
    }

    #[test]
    fn an_initiator_that_asks_starts_nothing() {
        let mut frame = vec![0; 60];
        let ethernet = ethernet::Repr { destination: MacAddress::BROADCAST, source: THEIRS };
        let header = header::Repr::request(address().into(), Command::QueryConfig, TAG);
        Head { ethernet, header }.emit(&mut frame);
        config::Request::Read.emit(&mut frame);
        assert_eq!(heard(&frame), None);
        assert_eq!(heard(&frame[..20]), None);
    }
}
