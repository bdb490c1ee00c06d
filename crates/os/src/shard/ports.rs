//! The ports of a shard, and what is left of those that were opened anew because their interface's MTU grew.
//!
//! A port that was replaced receives nothing more. Its memory stays until the last of its slots is released: a disk may
//! still be reading a write from there. So a slot is named by its port, by how often that had been replaced, and by its
//! number. What frames mean is not decided here.

use std::ops::{Index, IndexMut};
use std::os::fd::{AsFd, AsRawFd, RawFd};

use aoe::MacAddress;
use node::{PairConfig, virtual_mac};

use super::place::Place;
use crate::frame_port::{FramePort, PortError, PortKind, PortOptions, PortStatistics};

/// Every port holds frames of this MTU, or of the one it was first opened at if that is larger, as soon as its interface
/// has it. Buffers are made for it at the start; 9,216 is what switches call jumbo.
pub const MTU_GROWTH_MAX: u32 = 9216;

pub(super) struct Ports {
    ports: Vec<Port>,
    retired: Vec<Retired>,
    /// By index, which generation comes next where a port was closed.
    closed: Vec<u16>,
    mtu_max: u32,
    /// Of ports that are gone.
    past: PortStatistics,
}

struct Port {
    open: FramePort,
    options: PortOptions,
    virtual_macs: Option<VirtualMacs>,
    generation: u16,
}

/// The addresses of the two nodes on one interface.
#[derive(Clone, Copy)]
struct VirtualMacs {
    own: MacAddress,
    peer: MacAddress,
}

impl VirtualMacs {
    fn new(pair: &PairConfig, index: usize) -> Self {
        let mac = |node| virtual_mac(pair.pair, node, super::port_id(index));
        Self { own: mac(pair.node), peer: mac(pair.node.other()) }
    }
}

impl Port {
    fn open(
        mut options: PortOptions,
        index: usize,
        pair: Option<&PairConfig>,
        generation: u16,
    ) -> Result<Self, PortError> {
        let virtual_macs = pair.filter(|_| options.virtual_mac).map(|pair| VirtualMacs::new(pair, index));
        options.addresses.extend(virtual_macs.iter().flat_map(|macs| [macs.own.0, macs.peer.0]));
        Ok(Self { open: FramePort::open(&options)?, options, virtual_macs, generation })
    }
}

struct Retired {
    open: FramePort,
    index: u8,
    generation: u16,
}

impl Ports {
    pub(super) fn open(options: Vec<PortOptions>, pair: Option<&PairConfig>) -> Result<Self, PortError> {
        let open = |(options, index)| Port::open(options, index, pair, 0);
        let ports = options.into_iter().zip(0..).map(open).collect::<Result<Vec<_>, PortError>>()?;
        let mtus = ports.iter().map(|port| port.open.interface().mtu);
        let mtu_max = mtus.max().unwrap_or(0).max(MTU_GROWTH_MAX);
        Ok(Self { ports, retired: Vec::new(), closed: Vec::new(), mtu_max, past: PortStatistics::default() })
    }

    pub(super) const fn len(&self) -> usize {
        self.ports.len()
    }

    /// The address to answer from: this node's own in the pair, or else that of the interface.
    pub(super) fn mac(&self, index: usize, interface: MacAddress) -> MacAddress {
        self.ports[index].virtual_macs.map_or(interface, |macs| macs.own)
    }

    /// The peer's address on the same wire, if it has one of its own.
    pub(super) fn peer_mac(&self, index: usize) -> Option<MacAddress> {
        self.ports[index].virtual_macs.map(|macs| macs.peer)
    }

    /// Longest frames that a port can ever hold, without their Ethernet headers.
    pub(super) const fn mtu_max(&self) -> u32 {
        self.mtu_max
    }

    /// Most frames that a port takes before a flush.
    pub(super) fn send_batch(&self) -> usize {
        self.ports.iter().map(|port| port.options.send_batch).max().unwrap_or(1)
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut FramePort> {
        self.ports.iter_mut().map(|port| &mut port.open)
    }

    pub(super) fn descriptors(&self) -> impl Iterator<Item = RawFd> {
        self.ports.iter().map(|port| port.open.as_fd().as_raw_fd())
    }

    /// The port whose next frame is the oldest.
    pub(super) fn oldest(&mut self) -> Option<usize> {
        if let [port] = self.ports.as_mut_slice() {
            return port.open.peek_received().map(|_| 0);
        }
        let times = self.iter_mut().enumerate();
        times.filter_map(|(index, port)| Some((port.peek_received()?, index))).min().map(|(_, index)| index)
    }

    /// What a slot of the port is called.
    pub(super) fn place(&self, index: usize, slot: u32) -> Place {
        let port = u8::try_from(index).expect("a shard has few ports");
        Place::Slot { port, generation: self.ports[index].generation, slot }
    }

    /// The port, of now or of before, that has the slots of this generation.
    pub(super) fn holder(&mut self, index: u8, generation: u16) -> &mut FramePort {
        let is_open = self.ports.get(usize::from(index)).is_some_and(|port| port.generation == generation);
        if is_open {
            return &mut self.ports[usize::from(index)].open;
        }
        let is_it = |retired: &&mut Retired| (retired.index, retired.generation) == (index, generation);
        let retired = self.retired.iter_mut().find(is_it);
        &mut retired.expect("a port lives as long as its slots are held").open
    }

    /// Gives a slot back.
    pub(super) fn release(&mut self, index: u8, generation: u16, slot: u32) {
        self.holder(index, generation).release(slot);
        if !self.retired.is_empty() {
            self.bury();
        }
    }

    /// Opens a second port beside this one, with room for the frames that its interface has now.
    pub(super) fn open_anew(&self, index: usize) -> Result<FramePort, PortError> {
        let options = self.ports[index].options.clone();
        let kind = match options.kind {
            // The first port has the queue, and hands it on.
            PortKind::Xdp => PortKind::Ring,
            kind => kind,
        };
        FramePort::open(&PortOptions { mtu_max: self.mtu_max, kind, ..options })
    }

    /// Opens one more port, after all that there are; its index.
    pub(super) fn open_next(
        &mut self,
        options: PortOptions,
        pair: Option<&PairConfig>,
    ) -> Result<usize, PortError> {
        let index = self.ports.len();
        let generation = self.closed.get(index).copied().unwrap_or(0);
        let options = PortOptions { mtu_max: options.mtu_max.min(self.mtu_max), ..options };
        self.ports.push(Port::open(options, index, pair, generation)?);
        Ok(index)
    }

    /// Closes the last port, which has nothing left to receive or to send. Its memory stays as long as its slots are held.
    pub(super) fn close_last(&mut self) {
        let Some(Port { open, generation, .. }) = self.ports.pop() else { return };
        let index = self.ports.len();
        self.closed.resize(self.closed.len().max(index + 1), 0);
        self.closed[index] =
            generation.checked_add(1).expect("an interface is not added and removed 65,536 times");
        self.retired.push(Retired {
            open,
            index: u8::try_from(index).expect("a shard has few ports"),
            generation,
        });
        self.bury();
    }

    /// Puts the second port in the place of the first, which has nothing left to receive or to send.
    pub(super) fn replace(&mut self, index: usize, mut open: FramePort) {
        let port = &mut self.ports[index];
        open.take_over_xdp(&mut port.open);
        let generation = port.generation;
        port.generation = generation.checked_add(1).expect("an MTU grows at most 9,216 times");
        let open = std::mem::replace(&mut port.open, open);
        let index = u8::try_from(index).expect("a shard has few ports");
        self.retired.push(Retired { open, index, generation });
        self.bury();
    }

    fn bury(&mut self) {
        let past = &mut self.past;
        self.retired.retain_mut(|retired| {
            let is_held = retired.open.slots_held() > 0;
            if !is_held {
                add(past, retired.open.statistics());
            }
            is_held
        });
    }

    /// Of all ports since the start.
    pub(super) fn statistics(&mut self) -> PortStatistics {
        let mut sum = self.past;
        let retired = self.retired.iter_mut().map(|retired| &mut retired.open);
        self.ports.iter_mut().map(|port| &mut port.open).chain(retired).for_each(|port| {
            add(&mut sum, port.statistics());
        });
        sum
    }
}

fn add(sum: &mut PortStatistics, more: PortStatistics) {
    sum.received += more.received;
    sum.lost += more.lost;
    sum.truncated += more.truncated;
    sum.sent += more.sent;
    sum.sent_through_xdp += more.sent_through_xdp;
}

impl Index<usize> for Ports {
    type Output = FramePort;

    fn index(&self, index: usize) -> &FramePort {
        &self.ports[index].open
    }
}

impl IndexMut<usize> for Ports {
    fn index_mut(&mut self, index: usize) -> &mut FramePort {
        &mut self.ports[index].open
    }
}
