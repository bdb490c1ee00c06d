//! The interfaces of a shard: which are up, as whom we speak there and how much a frame may hold.

use block::SectorCount;

use crate::limits;
use crate::mac::MacAddress;

/// Which interface of the shard.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct PortId(pub u8);

/// An interface that is up.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PortLink {
    /// The address that we answer from.
    pub mac: MacAddress,
    /// Bytes that a frame holds after its Ethernet header.
    pub mtu: u32,
}

impl PortLink {
    /// Sectors told to initiators.
    pub(crate) const fn sectors_offered(self) -> SectorCount {
        limits::sectors_per_frame(self.mtu as usize)
    }

    /// Sectors that a frame can carry. An initiator that reckons for itself may ask for more than was offered.
    pub(crate) const fn sectors_accepted(self) -> SectorCount {
        limits::sectors_per_frame_raw(self.mtu as usize)
    }

    /// Longest frame that can leave here.
    pub(crate) const fn frame_bytes_max(self) -> usize {
        self.mtu as usize + limits::ETHERNET_BYTES
    }
}

/// The other node of a pair on the same wire.
#[derive(Clone, Copy, Debug, Default)]
struct PeerPort {
    mac: Option<MacAddress>,
    /// It has no link, and says so.
    is_down: bool,
}

/// All interfaces.
#[derive(Debug, Default)]
pub(crate) struct Ports {
    links: Vec<Option<PortLink>>,
    /// The other node of a pair.
    peers: Vec<PeerPort>,
}

impl Ports {
    /// The interface, if it is up.
    pub(crate) fn link(&self, port: PortId) -> Option<PortLink> {
        self.links.get(usize::from(port.0)).copied().flatten()
    }

    /// Notes what became of an interface; whether it is up in a way that initiators have not heard of.
    pub(crate) fn change(&mut self, port: PortId, link: Option<PortLink>) -> bool {
        let index = usize::from(port.0);
        if self.links.len() <= index {
            self.links.resize(index + 1, None);
        }
        let changed = self.links[index] != link;
        self.links[index] = link;
        changed && link.is_some()
    }

    /// The other node's address on this interface, if it is known.
    pub(crate) fn peer(&self, port: PortId) -> Option<MacAddress> {
        self.peers.get(usize::from(port.0))?.mac
    }

    /// Whether the other node has no link on this interface.
    pub(crate) fn is_peer_down(&self, port: PortId) -> bool {
        self.peers.get(usize::from(port.0)).is_some_and(|peer| peer.is_down)
    }

    /// Notes the other node's address on an interface.
    pub(crate) fn set_peer(&mut self, port: PortId, mac: MacAddress) {
        self.peer_mut(port).mac = Some(mac);
    }

    /// Notes whether the other node has a link on an interface; whether that is worth telling: its address is answered at here now.
    pub(crate) fn set_peer_down(&mut self, port: PortId, down: bool) -> bool {
        let peer = self.peer_mut(port);
        let begins = down && !peer.is_down;
        peer.is_down = down;
        begins && self.link(port).is_some()
    }

    fn peer_mut(&mut self, port: PortId) -> &mut PeerPort {
        let index = usize::from(port.0);
        if self.peers.len() <= index {
            self.peers.resize(index + 1, PeerPort::default());
        }
        &mut self.peers[index]
    }

    /// Those that are up.
    pub(crate) fn linked(&self) -> impl Iterator<Item = (PortId, PortLink)> + '_ {
        (0..=u8::MAX).map(PortId).zip(&self.links).filter_map(|(port, link)| link.map(|link| (port, link)))
    }

    /// Whether `mac` is one of ours.
    pub(crate) fn is_own(&self, mac: MacAddress) -> bool {
        self.links.iter().flatten().any(|link| link.mac == mac)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_link_that_is_new_or_other_is_worth_telling() {
        let mut ports = Ports::default();
        let link = PortLink { mac: MacAddress([2, 0, 0, 0, 0, 1]), mtu: 1500 };
        assert!(ports.change(PortId(3), Some(link)));
        assert!(!ports.change(PortId(3), Some(link)));
        assert!(ports.change(PortId(3), Some(PortLink { mtu: 9000, ..link })));
        assert!(ports.is_own(link.mac));
        assert!(!ports.change(PortId(3), None));
        assert!(!ports.is_own(link.mac) && ports.linked().next().is_none());
        assert!(ports.change(PortId(3), Some(link)));
        assert_eq!(ports.linked().next(), Some((PortId(3), link)));
    }
}
