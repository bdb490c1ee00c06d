//! Whether somebody on the wire answers for an address that we are about to serve.
//!
//! Asks for the configuration of each address on each interface, more than once because frames get lost, and listens
//! for less than half a second. Two targets that start within that time do not see each other; an initiator then finds
//! two, and says so.

use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};

use aoe::wire::{self, Frame, Head, config, ethernet, header};
use aoe::{Address, Command, MacAddress, Tag};
use os::Interface;
use os::frame_port::{FrameFilter, FramePort, PortError, PortKind, PortOptions, TransmitFrame};

use super::error::ExportError;

/// How often each address is asked for.
const ROUNDS: u32 = 3;
/// From one round to the next, and after the last.
const ROUND: Duration = Duration::from_millis(120);
/// Requests that leave together; what is answered to them is taken before the next ones.
const BURST: usize = 64;
/// Room for answers.
const RECEIVE_BYTES: usize = 4 << 20;
/// Of all requests; the bit says that a program and not the kernel's driver asks.
const TAG: Tag = Tag(Tag::USER_SPACE | 0x0065_7031);

/// Asks on all interfaces at once.
///
/// # Errors
/// [`ExportError::Served`] names the first that answers.
pub(crate) fn expect_silence(addresses: &[Address], interfaces: &[Interface]) -> Result<(), ExportError> {
    thread::scope(|scope| {
        let probes: Vec<_> =
            interfaces.iter().map(|interface| scope.spawn(|| probe(addresses, interface))).collect();
        probes.into_iter().try_for_each(|probe| probe.join().expect("a probe does not panic"))
    })
}

fn probe(addresses: &[Address], interface: &Interface) -> Result<(), ExportError> {
    let mut port = open(interface)?;
    let wanted: BTreeSet<Address> = addresses.iter().copied().collect();
    let start = Instant::now();
    for round in 1..=ROUNDS {
        for burst in addresses.chunks(BURST) {
            for &address in burst {
                let request = request(interface, address);
                // A port just opened has room for a burst.
                let _ = port.queue(TransmitFrame { head: &request, payload: None });
            }
            // What is not sent is asked again in the next round.
            let _ = port.flush();
            port.discard_queued();
            take_answers(&mut port, &wanted, interface)?;
        }
        let deadline = start + ROUND * round;
        while let Some(left) = deadline.checked_duration_since(Instant::now()) {
            port.wait(Some(left));
            take_answers(&mut port, &wanted, interface)?;
        }
    }
    Ok(())
}

fn open(interface: &Interface) -> Result<FramePort, PortError> {
    FramePort::open(&PortOptions {
        kind: PortKind::Plain,
        ring_bytes: RECEIVE_BYTES,
        send_batch: BURST,
        ..PortOptions::new(&interface.name, FrameFilter::Responses)
    })
}

fn request(interface: &Interface, address: Address) -> Vec<u8> {
    let mut frame = vec![0; aoe::limits::FRAME_BYTES_MIN];
    let source = MacAddress(interface.mac);
    Head {
        ethernet: ethernet::Repr { destination: MacAddress::BROADCAST, source },
        header: header::Repr::request(address.into(), Command::QueryConfig, TAG),
    }
    .emit(&mut frame);
    let length = config::Request::Read.emit(&mut frame);
    wire::pad(&mut frame, length);
    frame
}

fn take_answers(
    port: &mut FramePort,
    wanted: &BTreeSet<Address>,
    interface: &Interface,
) -> Result<(), ExportError> {
    while let Some(received) = port.receive() {
        let answer = answer(port.frame(received.slot)).filter(|(address, _)| wanted.contains(address));
        port.release(received.slot);
        if let Some((address, mac)) = answer {
            return Err(ExportError::Served { address, interface: interface.name.clone(), mac });
        }
    }
    Ok(())
}

/// Who speaks for which address; whatever it says, it serves it.
fn answer(bytes: &[u8]) -> Option<(Address, MacAddress)> {
    let head = Frame::new(bytes).ok()?.head();
    let address = Address::try_from(head.header.address).ok()?;
    head.header.response.then_some((address, head.ethernet.source))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_names_its_sender_and_a_request_does_not() {
        let interface = Interface {
            name: "eth1".to_owned(),
            index: 1,
            mac: [2, 0, 0, 0, 0, 1],
            mtu: 1500,
            is_up: true,
            has_carrier: true,
        };
        let address: Address = "e7.1".parse().expect("an address");
        let mut frame = request(&interface, address);
        assert_eq!(frame.len(), 60);
        assert_eq!(answer(&frame), None);
        let head = Frame::new(&frame).expect("a frame").head();
        head.reply(MacAddress([2, 0, 0, 0, 0, 9]), address).emit(&mut frame);
        assert_eq!(answer(&frame), Some((address, MacAddress([2, 0, 0, 0, 0, 9]))));
    }
}
