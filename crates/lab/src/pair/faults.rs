//! What can be taken from a pair: wires cut or made to swallow everything, in both directions or in one, and how much passed them. The
//! daemons themselves are killed and stopped through their [`crate::Process`].

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

    /// Has a node hear nothing that its peer says, on any wire, while the peer hears it; or has it hear again.
    pub fn set_deaf_to_peer(&self, node: usize, deaf: bool) -> Result<(), Error> {
        let mut wires = PEER_WIRES.into_iter();
        wires.try_for_each(|interface| self.nodes[node].set_loss(interface, Direction::Received, loss(deaf)))
    }

    /// Has the control network swallow what a node says to the witness and what that answers, or pass it again.
    pub fn set_witness_link_silent(&self, node: usize, silent: bool) -> Result<(), Error> {
        self.set_deaf_to_witness(node, silent)?;
        self.set_unheard_by_witness(node, silent)
    }

    /// The same with what the witness says to a node alone: it hears the node's questions, and does what they ask for.
    pub fn set_deaf_to_witness(&self, node: usize, deaf: bool) -> Result<(), Error> {
        self.switch.set_loss(&format!("control{node}"), Direction::Sent, loss(deaf))
    }

    /// The same with what a node says to the witness alone.
    pub fn set_unheard_by_witness(&self, node: usize, unheard: bool) -> Result<(), Error> {
        self.switch.set_loss(&format!("control{node}"), Direction::Received, loss(unheard))
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::{net::UdpSocket, time::Duration};

    type Cut<'a> = &'a dyn Fn(bool) -> Result<(), Error>;

    /// Longer than a word takes that nothing swallows.
    const PATIENCE: Duration = Duration::from_secs(10);
    /// What was swallowed does not come, however long one waits.
    const IMPATIENCE: Duration = Duration::from_millis(20);

    /// Two hosts, what each is called, and what has the one or the other hear nothing.
    fn one_end_alone_is_deaf(hosts: [&Namespace; 2], addresses: [&str; 2], cuts: [Cut<'_>; 2]) {
        let sockets =
            [0, 1].map(|end| hosts[end].enter(|| UdpSocket::bind(addresses[end])).expect("a socket"));
        let mut word = 0;
        // The next word, and nothing that was said before.
        let mut hears = |end: usize, patience: Duration| {
            word += 1;
            sockets[1 - end].send_to(&[word], addresses[end]).expect("it is sent");
            sockets[end].set_read_timeout(Some(patience)).expect("patience");
            let mut heard = [0];
            sockets[end].recv(&mut heard).is_ok_and(|_| heard == [word])
        };
        assert!(hears(0, PATIENCE) && hears(1, PATIENCE), "{addresses:?} reach each other");
        for (deaf, cut) in cuts.into_iter().enumerate() {
            cut(true).expect("a cut");
            assert!(!hears(deaf, IMPATIENCE), "{} hears nothing", addresses[deaf]);
            assert!(hears(1 - deaf, PATIENCE), "{} is heard", addresses[deaf]);
            cut(false).expect("mended");
            assert!(hears(0, PATIENCE) && hears(1, PATIENCE), "{addresses:?} reach each other again");
        }
    }

    #[test]
    fn a_cut_of_one_direction_leaves_the_other_one() {
        let pair = Pair::new("faults-test", "/nonexistent", true).expect("hosts and wires");
        let [first, second] = &pair.nodes;
        for wire in ["0", "1"] {
            let addresses = ["1", "2"].map(|node| format!("10.8.{wire}.{node}:7"));
            one_end_alone_is_deaf(
                [first, second],
                addresses.each_ref().map(String::as_str),
                [&|deaf| pair.set_deaf_to_peer(0, deaf), &|deaf| pair.set_deaf_to_peer(1, deaf)],
            );
        }
        one_end_alone_is_deaf(
            [second, &pair.witness],
            ["10.7.0.2:7", "10.7.0.3:7"],
            [&|deaf| pair.set_deaf_to_witness(1, deaf), &|deaf| pair.set_unheard_by_witness(1, deaf)],
        );
    }
}
