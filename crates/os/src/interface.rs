//! The network interfaces of this machine: which there are, their addresses, MTU and state.
//!
//! Listing is pnet's, in the namespace of the caller. Changes are told by [`crate::link_monitor`], not here.

use std::io;
use std::os::fd::AsFd;

use crate::sys;
use crate::sys::packet_socket::PacketSocket;

/// A network interface as it is now.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Interface {
    /// The name the operator knows.
    pub name: String,
    /// The kernel's number for it.
    pub index: u32,
    /// Its Ethernet address; all zero on the loopback.
    pub mac: [u8; 6],
    /// Largest number of bytes that follow the Ethernet header of a frame.
    pub mtu: u32,
    /// Set up by the operator (`ip link set ... up`).
    pub is_up: bool,
    /// Up, and the other end of the cable is there.
    pub has_carrier: bool,
}

/// Why an interface could not be looked at.
#[derive(Debug, thiserror::Error)]
pub enum InterfaceError {
    /// There is none of that name.
    #[error("no interface {name}: this machine has {present}")]
    Unknown {
        /// What was asked for.
        name: String,
        /// The names there are.
        present: String,
    },
    /// It is not Ethernet, so AoE cannot be spoken on it.
    #[error(
        "interface {name} has no Ethernet address: AoE needs Ethernet (not a tunnel or a point-to-point link)"
    )]
    NotEthernet {
        /// The interface.
        name: String,
    },
    /// The kernel did not tell.
    #[error("interface {name}: the kernel did not tell its kind and MTU ({source}); is it being removed?")]
    Unreadable {
        /// The interface.
        name: String,
        /// What the kernel said.
        source: io::Error,
    },
}

impl Interface {
    /// Every Ethernet-like interface, the loopback among them, by name.
    #[must_use]
    pub fn list() -> Vec<Self> {
        let mut interfaces: Vec<Self> =
            pnet_datalink::interfaces().iter().filter_map(|found| look_at(found).ok()).collect();
        interfaces.sort_by(|one, two| one.name.cmp(&two.name));
        interfaces
    }

    /// The interface of that name.
    pub fn named(name: &str) -> Result<Self, InterfaceError> {
        let all = pnet_datalink::interfaces();
        let Some(found) = all.iter().find(|interface| interface.name == name) else {
            let mut names: Vec<&str> = all.iter().map(|interface| interface.name.as_str()).collect();
            names.sort_unstable();
            return Err(InterfaceError::Unknown { name: name.to_owned(), present: names.join(", ") });
        };
        look_at(found)
    }

    /// The same interface as it is now.
    pub fn refreshed(&self) -> Result<Self, InterfaceError> {
        Self::named(&self.name)
    }
}

fn look_at(found: &pnet_datalink::NetworkInterface) -> Result<Interface, InterfaceError> {
    let name = found.name.clone();
    let Some(mac) = found.mac else {
        return Err(InterfaceError::NotEthernet { name });
    };
    let (hardware, mtu) = match hardware_and_mtu(&name) {
        Ok(both) => both,
        Err(source) => return Err(InterfaceError::Unreadable { name, source }),
    };
    // Tunnels have addresses as well, of another kind.
    if ![libc::ARPHRD_ETHER, libc::ARPHRD_LOOPBACK].contains(&hardware) {
        return Err(InterfaceError::NotEthernet { name });
    }
    let has = |flag: libc::c_int| found.flags & flag.cast_unsigned() != 0;
    let is_up = has(libc::IFF_UP);
    let has_carrier = is_up && has(libc::IFF_RUNNING);
    Ok(Interface { name, index: found.index, mac: mac.octets(), mtu, is_up, has_carrier })
}

fn hardware_and_mtu(name: &str) -> io::Result<(libc::sa_family_t, u32)> {
    let socket = PacketSocket::for_questions()?;
    Ok((sys::link::hardware_type(socket.as_fd(), name)?, sys::link::mtu(socket.as_fd(), name)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_machine_has_a_loopback() {
        let loopback = Interface::named("lo").expect("lo");
        assert_eq!(loopback.mac, [0; 6]);
        assert!(loopback.mtu >= 1500);
        assert!(Interface::list().contains(&loopback));
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_known_ones() {
        let error = Interface::named("nonesuch0").expect_err("no such interface");
        let text = error.to_string();
        assert!(text.contains("nonesuch0") && text.contains("lo"), "{text}");
    }
}
