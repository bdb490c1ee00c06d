//! What happens to the network interfaces of this machine: up, down, MTU, gone. Told by the kernel, not polled for.
//!
//! Every change comes as an event of its own, so that a link that went down and up between two looks is noticed. What
//! follows from an event (advertise, open a port anew) is not decided here.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};

use crate::interface::Interface;
use crate::sys;

/// Something happened to an interface.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum LinkEvent {
    /// It is like this now; perhaps it was before.
    Changed(Interface),
    /// It is gone.
    Removed {
        /// The name it had.
        name: String,
        /// The number it had.
        index: u32,
    },
    /// More happened than the kernel could keep for us: look at every interface again.
    Overrun,
}

/// A subscription to the changes in the network namespace it was made in.
#[derive(Debug)]
pub struct LinkMonitor {
    socket: File,
    buffer: Box<[u8]>,
}

/// The kernel cuts a message that does not fit; it never makes one longer than this.
const MESSAGES_BYTES: usize = 32 << 10;

impl LinkMonitor {
    /// Subscribes; what happens from now on is told.
    pub fn open() -> io::Result<Self> {
        let socket = File::from(sys::link::open_notifications()?);
        Ok(Self { socket, buffer: vec![0; MESSAGES_BYTES].into_boxed_slice() })
    }

    /// Calls `on_event` for everything that happened since the last call; never waits.
    pub fn read_events(&mut self, mut on_event: impl FnMut(LinkEvent)) -> io::Result<()> {
        loop {
            let length = match self.socket.read(&mut self.buffer) {
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                    on_event(LinkEvent::Overrun);
                    continue;
                }
                Err(error) => return Err(error),
            };
            Fields { bytes: &self.buffer[..length], header: MESSAGE_HEADER }
                .filter_map(|(kind, body)| event(kind, body))
                .for_each(&mut on_event);
        }
    }

    /// Waits until there is something to read: for a thread that does nothing else.
    pub fn wait(&self) -> io::Result<()> {
        sys::packet_socket::poll(self.socket.as_fd(), libc::POLLIN, None).map(drop)
    }
}

impl AsFd for LinkMonitor {
    /// Readable when something happened.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Lengths and places in the kernel's messages. A message and an attribute have one shape: length, kind, body.
#[derive(Clone, Copy)]
struct Header {
    length_bytes: usize,
    kind_at: usize,
    body_at: usize,
}

const MESSAGE_HEADER: Header = Header { length_bytes: 4, kind_at: 4, body_at: 16 };
const ATTRIBUTE_HEADER: Header = Header { length_bytes: 2, kind_at: 2, body_at: 4 };

/// Family and type, then index, flags and a mask of four bytes each.
const LINK_INDEX: usize = 4;
const LINK_FLAGS: usize = 8;
const LINK_ATTRIBUTES: usize = 16;

struct Fields<'a> {
    bytes: &'a [u8],
    header: Header,
}

impl<'a> Iterator for Fields<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let Header { length_bytes, kind_at, body_at } = self.header;
        let length = match length_bytes {
            2 => usize::from(read_u16(self.bytes, 0)?),
            _ => read_u32(self.bytes, 0)? as usize,
        };
        let kind = read_u16(self.bytes, kind_at)?;
        let body = self.bytes.get(body_at..length)?;
        self.bytes = self.bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, body))
    }
}

fn event(kind: u16, body: &[u8]) -> Option<LinkEvent> {
    let index = read_u32(body, LINK_INDEX)?;
    let flags = read_u32(body, LINK_FLAGS)?;
    let (mut name, mut mtu, mut mac) = (None, None, None);
    let attributes = body.get(LINK_ATTRIBUTES..)?;
    for (kind, value) in (Fields { bytes: attributes, header: ATTRIBUTE_HEADER }) {
        match kind {
            libc::IFLA_IFNAME => name = value.split(|&byte| byte == 0).next(),
            libc::IFLA_MTU => mtu = read_u32(value, 0),
            libc::IFLA_ADDRESS => mac = <[u8; 6]>::try_from(value).ok(),
            _ => {}
        }
    }
    let name = String::from_utf8_lossy(name?).into_owned();
    match kind {
        libc::RTM_DELLINK => Some(LinkEvent::Removed { name, index }),
        libc::RTM_NEWLINK => {
            let has = |flag: libc::c_int| flags & flag.cast_unsigned() != 0;
            let is_up = has(libc::IFF_UP);
            let has_carrier = is_up && has(libc::IFF_RUNNING);
            Some(LinkEvent::Changed(Interface { name, index, mac: mac?, mtu: mtu?, is_up, has_carrier }))
        }
        _ => None,
    }
}

fn read_u16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn read_u32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let length = u16::try_from(4 + value.len()).expect("short");
        let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn message(kind: u16, flags: u32) -> Vec<u8> {
        let mut body = vec![0; 16];
        body[4..8].copy_from_slice(&3u32.to_ne_bytes());
        body[8..12].copy_from_slice(&flags.to_ne_bytes());
        body.extend(attribute(libc::IFLA_IFNAME, b"eth1\0"));
        body.extend(attribute(libc::IFLA_ADDRESS, &[2, 0, 0, 0, 0, 9]));
        body.extend(attribute(libc::IFLA_MTU, &9000u32.to_ne_bytes()));
        let length = u32::try_from(16 + body.len()).expect("short");
        let mut bytes = vec![0; 16];
        bytes[..4].copy_from_slice(&length.to_ne_bytes());
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        bytes.extend(body);
        bytes
    }

    fn events(bytes: &[u8]) -> Vec<LinkEvent> {
        Fields { bytes, header: MESSAGE_HEADER }.filter_map(|(kind, body)| event(kind, body)).collect()
    }

    #[test]
    fn every_message_of_a_read_is_told() {
        let up = u32::try_from(libc::IFF_UP | libc::IFF_RUNNING).expect("flags");
        let bytes = [message(libc::RTM_NEWLINK, up), message(libc::RTM_DELLINK, 0)].concat();
        let interface = Interface {
            name: "eth1".to_owned(),
            index: 3,
            mac: [2, 0, 0, 0, 0, 9],
            mtu: 9000,
            is_up: true,
            has_carrier: true,
        };
        let removed = LinkEvent::Removed { name: "eth1".to_owned(), index: 3 };
        assert_eq!(events(&bytes), [LinkEvent::Changed(interface), removed]);
    }

    #[test]
    fn a_message_cut_anywhere_is_left_out_and_nothing_breaks() {
        let bytes = message(libc::RTM_NEWLINK, 0);
        for length in 0..bytes.len() {
            assert_eq!(events(&bytes[..length]), [], "cut at {length}");
        }
    }

    #[test]
    fn lengths_that_lie_end_the_reading() {
        for length in [0u32, 3, 15, 16, u32::MAX] {
            let mut bytes = message(libc::RTM_NEWLINK, 0);
            bytes[..4].copy_from_slice(&length.to_ne_bytes());
            assert_eq!(events(&bytes), [], "length {length}");
        }
    }
}
