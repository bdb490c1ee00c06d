//! Whether another process of this machine serves an address on an interface already.
//!
//! A packet socket is not shown what another socket of the same machine sends on the same interface, so the wire cannot
//! tell. A name in the abstract namespace of sockets can: it exists once in a network namespace, needs no file, and
//! goes with its process however that ends.

use std::collections::BTreeSet;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use aoe::{Address, MacAddress};
use os::Interface;

use super::error::ExportError;

/// The addresses that this process serves, as other processes of the machine see it, until dropped.
#[derive(Debug, Default)]
pub(crate) struct Claims(Vec<Claim>);

/// An address on an interface.
#[derive(Debug)]
struct Claim {
    address: Address,
    interface: String,
    #[expect(dead_code, reason = "held, not used")]
    socket: UnixDatagram,
}

impl Claims {
    /// Claims each address on each interface.
    ///
    /// # Errors
    /// If another process has claimed one of them and `force` is not given.
    pub(crate) fn new(
        addresses: &[Address],
        interfaces: &[Interface],
        force: bool,
    ) -> Result<Self, ExportError> {
        let mut claims = Vec::with_capacity(addresses.len() * interfaces.len());
        for interface in interfaces {
            for &address in addresses {
                match claim(address, &interface.name) {
                    Ok(socket) => claims.push(Claim { address, interface: interface.name.clone(), socket }),
                    Err(error) if error.kind() == io::ErrorKind::AddrInUse && force => {}
                    Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                        let (interface, mac) = (interface.name.clone(), MacAddress(interface.mac));
                        return Err(ExportError::ServedHere { address, interface, mac });
                    }
                    Err(error) => return Err(ExportError::System { what: "claiming an address", error }),
                }
            }
        }
        Ok(Self(claims))
    }

    /// Holds these as well.
    pub(crate) fn add(&mut self, more: Self) {
        self.0.extend(more.0);
    }

    /// Whether an address is claimed anywhere.
    pub(crate) fn include(&self, address: Address) -> bool {
        self.0.iter().any(|claim| claim.address == address)
    }

    /// Every address that is claimed, once.
    pub(crate) fn addresses(&self) -> Vec<Address> {
        let addresses: BTreeSet<Address> = self.0.iter().map(|claim| claim.address).collect();
        addresses.into_iter().collect()
    }

    /// Nothing is served on an interface any more.
    pub(crate) fn give_up_interface(&mut self, interface: &str) {
        self.0.retain(|claim| claim.interface != interface);
    }

    /// An address is not served any more.
    pub(crate) fn give_up_address(&mut self, address: Address) {
        self.0.retain(|claim| claim.address != address);
    }
}

fn claim(address: Address, interface: &str) -> io::Result<UnixDatagram> {
    let name = format!("etherpair/{interface}/{address}");
    UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(name)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_claimed_once_an_interface_and_is_free_again_afterwards() {
        let interface = |name: &str| Interface {
            name: name.to_owned(),
            index: 1,
            mac: [2, 0, 0, 0, 0, 1],
            mtu: 1500,
            is_up: true,
            has_carrier: true,
        };
        let addresses = ["e60001.9".parse().expect("an address")];
        let one = [interface("claim-test-1")];
        let first = Claims::new(&addresses, &one, false).expect("free");
        let error = Claims::new(&addresses, &one, false).expect_err("taken");
        assert!(error.to_string().contains("e60001.9") && error.to_string().contains("--force"), "{error}");
        Claims::new(&addresses, &one, true).expect("forced");
        Claims::new(&addresses, &[interface("claim-test-2")], false).expect("another interface");
        drop(first);
        let mut claims = Claims::new(&addresses, &one, false).expect("free again");
        assert!(claims.include(addresses[0]));
        claims.give_up_address(addresses[0]);
        assert!(!claims.include(addresses[0]));
        let mut claims = Claims::new(&addresses, &one, false).expect("free again");
        claims.give_up_interface("claim-test-1");
        Claims::new(&addresses, &one, false).expect("free again");
    }
}
