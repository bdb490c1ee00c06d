//! A socket for whole frames, right or wrong, for tests that speak to a target byte by byte.
//!
//! It shares no code with the project's own frame ports and wire formats: a mistake there must not hide itself here.

use crate::{Error, Namespace, sys};
use std::{io, os::fd::OwnedFd, time::Duration};

/// ATA over Ethernet.
const ETHER_TYPE: u16 = 0x88A2;
/// Larger than any frame on our wires.
const FRAME_MAX: usize = 10_000;

/// Sends and receives whole AoE frames on one interface.
#[derive(Debug)]
pub struct FrameSocket {
    socket: OwnedFd,
    mac: [u8; 6],
}

impl FrameSocket {
    /// Opens one on an interface of `namespace`. Receiving gives up after `patience`.
    pub fn open(namespace: &Namespace, interface: &str, patience: Duration) -> Result<Self, Error> {
        let socket = namespace.enter(|| sys::open_packet_socket(interface, ETHER_TYPE, patience))?;
        let text = namespace.mac(interface)?;
        let mut mac = [0; 6];
        for (to, from) in mac.iter_mut().zip(text.split(':')) {
            *to = u8::from_str_radix(from, 16)
                .map_err(|_| Error::Unexpected { program: interface.into(), detail: text.clone() })?;
        }
        Ok(Self { socket, mac })
    }

    /// The MAC address that it sends from.
    pub fn mac(&self) -> [u8; 6] {
        self.mac
    }

    /// An Ethernet header from here to `destination`, with `rest` behind it.
    pub fn frame_to(&self, destination: [u8; 6], rest: &[u8]) -> Vec<u8> {
        [&destination[..], &self.mac, &ETHER_TYPE.to_be_bytes(), rest].concat()
    }

    /// Sends a frame as it stands.
    pub fn send(&self, frame: &[u8]) -> Result<(), Error> {
        sys::send_frame(&self.socket, frame).map_err(Error::system("send a frame"))
    }

    /// The next frame for this interface, or none if patience ran out.
    pub fn receive(&self) -> Result<Option<Vec<u8>>, Error> {
        let mut buffer = vec![0; FRAME_MAX];
        match sys::receive_frame(&self.socket, &mut buffer) {
            Ok(length) => {
                buffer.truncate(length);
                Ok(Some(buffer))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(source) => Err(Error::System { action: "receive a frame".into(), source }),
        }
    }

    /// Sends `request` and gives the first answer with its tag, skipping whatever else comes.
    pub fn exchange(&self, request: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        const TAG: std::ops::Range<usize> = 20..24;
        self.send(request)?;
        while let Some(frame) = self.receive()? {
            let is_response = frame.get(14).is_some_and(|flags| flags & 0x08 != 0);
            if is_response && frame.get(TAG) == request.get(TAG) {
                return Ok(Some(frame));
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network;

    #[test]
    fn a_frame_passes_a_wire_as_it_was_sent() {
        let (left, right) = (Namespace::new().expect("left"), Namespace::new().expect("right"));
        network::wire((&left, "eth0"), (&right, "eth0"), 1500).expect("wire");
        let patience = Duration::from_secs(5);
        let sender = FrameSocket::open(&left, "eth0", patience).expect("sender");
        let receiver = FrameSocket::open(&right, "eth0", patience).expect("receiver");
        let frame = sender.frame_to(receiver.mac(), b"anything");
        sender.send(&frame).expect("send");
        assert_eq!(receiver.receive().expect("receive"), Some(frame));
    }
}
