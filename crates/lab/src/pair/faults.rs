//! What can be taken from a pair: wires cut or made to swallow everything, and how much passed them. The daemons themselves are
//! killed and stopped through their [`crate::Process`].

use super::{PEER_WIRES, Pair};
use crate::{
    Error, Namespace,
    network::{Direction, Loss},
};

impl Pair {
    /// Has one of the wires between the nodes (0 and 1) swallow everything, or pass it again. Both ends keep their carrier.
    pub fn set_peer_wire_silent(&self, wire: usize, silent: bool) -> Result<(), Error> {
        let interface = PEER_WIRES[wire];
        self.nodes.iter().try_for_each(|node| node.set_loss(interface, Direction::Received, loss(silent)))
    }

    /// Pulls one of the wires between the nodes (0 and 1), or plugs it in again.
    pub fn set_peer_wire_up(&self, wire: usize, up: bool) -> Result<(), Error> {
        let interface = PEER_WIRES[wire];
        if up { self.nodes[0].set_up(interface) } else { self.nodes[0].set_down(interface) }
    }

    /// Has all that is between the nodes swallow everything, or pass it again.
    pub fn set_peer_link_silent(&self, silent: bool) -> Result<(), Error> {
        (0..PEER_WIRES.len()).try_for_each(|wire| self.set_peer_wire_silent(wire, silent))
    }

    /// Pulls all wires between the nodes, or plugs them in again.
    pub fn set_peer_link_up(&self, up: bool) -> Result<(), Error> {
        (0..PEER_WIRES.len()).try_for_each(|wire| self.set_peer_wire_up(wire, up))
    }

    /// Has the control network swallow what a node says to the witness, or pass it again.
    pub fn set_witness_link_silent(&self, node: usize, silent: bool) -> Result<(), Error> {
        self.switch.set_loss(&format!("control{node}"), Direction::Received, loss(silent))
    }

    /// Pulls a node's wire to one of the storage networks (0 and 1) at the switch, or plugs it in again.
    pub fn set_storage_link_up(&self, node: usize, network: usize, up: bool) -> Result<(), Error> {
        let port = Self::storage_port(node, network);
        if up { self.switch.set_up(&port) } else { self.switch.set_down(&port) }
    }

    /// Has both storage networks swallow what a node says and what is said to it, or pass it again. Both ends keep their carrier.
    pub fn set_storage_silent(&self, node: usize, silent: bool) -> Result<(), Error> {
        for network in 0..2 {
            let port = Self::storage_port(node, network);
            self.switch.set_loss(&port, Direction::Received, loss(silent))?;
            self.switch.set_loss(&port, Direction::Sent, loss(silent))?;
        }
        Ok(())
    }

    /// How many frames a node has sent on its storage interfaces.
    pub fn frames_sent(&self, node: usize) -> Result<u64, Error> {
        let count = |interface| counter(&self.nodes[node], interface, "tx_packets");
        Ok(count("eth1")? + count("eth2")?)
    }

    /// How many frames a guest with two cards has sent.
    pub fn frames_from(&self, guest: &str) -> Result<u64, Error> {
        let count = |card| counter(&self.switch, &format!("{guest}{card}"), "rx_packets");
        Ok(count(0)? + count(1)?)
    }
}

fn loss(silent: bool) -> Loss {
    if silent { Loss::All } else { Loss::None }
}

fn counter(host: &Namespace, interface: &str, name: &str) -> Result<u64, Error> {
    let path = format!("/sys/class/net/{interface}/statistics/{name}");
    let text = host.program("cat").arg(&path).run()?.stdout;
    text.trim().parse().map_err(|_| Error::Unexpected { program: path, detail: text })
}
