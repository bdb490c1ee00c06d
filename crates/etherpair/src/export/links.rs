//! The interfaces that we serve on: up, down, another address or another MTU, as the shards are to be told.
//!
//! A change of the MTU is followed at once, up to what a shard has buffers for: a jumbo frame, or what the interface had
//! at the start if that was more. Reads events; shards open their ports anew themselves.

use std::io;
use std::thread;

use aoe::MacAddress;
use aoe::target::{PortId, PortLink};
use os::Interface;
use os::frame_port::MTU_MIN;
use os::link_monitor::{LinkEvent, LinkMonitor};
use os::shard::MTU_GROWTH_MAX;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// Follows all interfaces.
#[derive(Debug)]
pub(crate) struct Links {
    events: UnboundedReceiver<LinkEvent>,
    links: Vec<Link>,
}

/// What became of an interface.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct LinkChange {
    /// Its number in every shard.
    pub(crate) port: PortId,
    /// Its name.
    pub(crate) interface: String,
    /// What initiators reach there; `None`: nobody.
    pub(crate) link: Option<PortLink>,
}

#[derive(Debug)]
struct Link {
    /// As it was when the ports were opened.
    opened: Interface,
    /// Its MTU when it was last looked at.
    mtu: u32,
    /// What the shards were told last.
    told: Option<PortLink>,
}

impl Links {
    /// Follows these interfaces; to be made before the ports, so that no change is missed.
    ///
    /// # Errors
    /// If the kernel tells nothing about links.
    pub(crate) fn new(interfaces: Vec<Interface>) -> io::Result<Self> {
        let monitor = LinkMonitor::open()?;
        let (sender, events) = unbounded_channel();
        thread::Builder::new().name("links".to_owned()).spawn(move || follow(monitor, &sender))?;
        let links = interfaces.into_iter().map(|opened| Link {
            mtu: opened.mtu,
            told: port_link(&opened, mtu_limit(&opened)),
            opened,
        });
        Ok(Self { events, links: links.collect() })
    }

    /// The interfaces as they were when the ports were opened.
    pub(crate) fn interfaces(&self) -> Vec<Interface> {
        self.links.iter().map(|link| link.opened.clone()).collect()
    }

    /// Follows one more interface, whose port has just been opened; what is to be told of it.
    pub(crate) fn add(&mut self, opened: Interface) -> LinkChange {
        let told = port_link(&opened, mtu_limit(&opened));
        self.links.push(Link { mtu: opened.mtu, told, opened });
        let index = self.links.len() - 1;
        self.look_again(index);
        self.links[index].change(index)
    }

    /// Follows the last interface no more; its name.
    ///
    /// # Panics
    /// If there is none.
    pub(crate) fn remove_last(&mut self) -> String {
        self.links.pop().expect("an interface to be followed no more").opened.name
    }

    /// What is to be told of all interfaces just now. A port takes its link for present until told otherwise.
    pub(crate) fn now(&mut self) -> Vec<LinkChange> {
        for index in 0..self.links.len() {
            self.look_again(index);
        }
        let changes = self.links.iter().enumerate().map(|(index, link)| link.change(index));
        changes.collect()
    }

    /// Waits for an event and gives the changes that it brings. A link that went away and came back makes two events.
    pub(crate) async fn changed(&mut self) -> Vec<LinkChange> {
        match self.events.recv().await {
            Some(event) => self.take(event),
            // The thread has said why it ended; there is no more to come.
            None => std::future::pending().await,
        }
    }

    fn take(&mut self, event: LinkEvent) -> Vec<LinkChange> {
        match event {
            LinkEvent::Changed(interface) => {
                let index = self.links.iter().position(|link| link.opened.index == interface.index);
                index.and_then(|index| self.note(index, Some(&interface))).into_iter().collect()
            }
            LinkEvent::Removed { name, index } => {
                let index = self.links.iter().position(|link| link.opened.index == index);
                index.map_or_else(Vec::new, |index| {
                    tracing::error!("interface {name} was removed: start again when there is a new one");
                    self.note(index, None).into_iter().collect()
                })
            }
            // Events were lost, so what they said is looked up.
            LinkEvent::Overrun => (0..self.links.len()).filter_map(|index| self.look_again(index)).collect(),
        }
    }

    fn look_again(&mut self, index: usize) -> Option<LinkChange> {
        let opened = &self.links[index].opened;
        let interface = opened.refreshed().ok().filter(|interface| interface.index == opened.index);
        self.note(index, interface.as_ref())
    }

    fn note(&mut self, index: usize, interface: Option<&Interface>) -> Option<LinkChange> {
        let link = &mut self.links[index];
        let limit = mtu_limit(&link.opened);
        if let Some(interface) = interface.filter(|interface| interface.mtu != link.mtu) {
            link.mtu = interface.mtu;
            explain(interface, limit);
        }
        let told = interface.and_then(|interface| port_link(interface, limit));
        if told == link.told {
            return None;
        }
        link.told = told;
        Some(link.change(index))
    }
}

/// Hands on every event until nobody listens. A thread, because it is the one thing here that waits in the kernel.
fn follow(mut monitor: LinkMonitor, events: &UnboundedSender<LinkEvent>) {
    while !events.is_closed() {
        let told = monitor.wait().and_then(|()| {
            monitor.read_events(|event| {
                // Checked above; the last events may go nowhere.
                let _ = events.send(event);
            })
        });
        if let Err(error) = told {
            tracing::error!("changes of the interfaces are not noticed any more: {error}");
            return;
        }
    }
}

impl Link {
    fn change(&self, index: usize) -> LinkChange {
        let port = PortId(u8::try_from(index).expect("a plan has few interfaces"));
        LinkChange { port, interface: self.opened.name.clone(), link: self.told }
    }
}

/// The longest frames that a port on this interface can have until the next start.
fn mtu_limit(opened: &Interface) -> u32 {
    opened.mtu.max(MTU_GROWTH_MAX)
}

/// What initiators reach by this interface.
fn port_link(interface: &Interface, mtu_limit: u32) -> Option<PortLink> {
    let usable = interface.has_carrier && interface.mtu >= MTU_MIN;
    usable.then(|| PortLink { mac: MacAddress(interface.mac), mtu: interface.mtu.min(mtu_limit) })
}

fn explain(interface: &Interface, mtu_limit: u32) {
    let Interface { name, mtu, .. } = interface;
    if *mtu < MTU_MIN {
        tracing::warn!("interface {name} has MTU {mtu} now, too small for a sector: nothing is served on it");
    } else if *mtu > mtu_limit {
        tracing::warn!(
            "interface {name} has MTU {mtu} now; frames stay at MTU {mtu_limit} until this command is started again"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interface(mtu: u32, has_carrier: bool) -> Interface {
        Interface {
            name: "eth1".to_owned(),
            index: 3,
            mac: [2, 0, 0, 0, 0, 9],
            mtu,
            is_up: true,
            has_carrier,
        }
    }

    #[test]
    fn a_flap_is_two_changes_and_news_of_nothing_is_none() {
        let mut links = Links::new(vec![interface(9000, true)]).expect("a monitor");
        let link = Some(PortLink { mac: MacAddress([2, 0, 0, 0, 0, 9]), mtu: 9000 });
        let events = [(9000, true), (9000, false), (9000, true), (9000, true)]
            .map(|(mtu, carrier)| LinkEvent::Changed(interface(mtu, carrier)));
        let told: Vec<_> =
            events.into_iter().flat_map(|event| links.take(event)).map(|change| change.link).collect();
        assert_eq!(told, [None, link]);
    }

    #[test]
    fn an_mtu_is_followed_up_to_jumbo_frames_or_to_what_it_was_at_the_start() {
        let told = |opened: u32, mtus: &[u32]| {
            let mut links = Links::new(vec![interface(opened, true)]).expect("a monitor");
            let events = mtus.iter().map(|&mtu| LinkEvent::Changed(interface(mtu, true)));
            let changes = events.flat_map(|event| links.take(event)).map(|change| change.link);
            changes.map(|link| link.map(|link| link.mtu)).collect::<Vec<_>>()
        };
        assert_eq!(told(4200, &[9000, 1500]), [Some(9000), Some(1500)]);
        assert_eq!(told(4200, &[500, 4200]), [None, Some(4200)], "no sector fits 500");
        assert_eq!(told(1500, &[20_000, 30_000]), [Some(9216)], "further on a restart is needed");
        assert_eq!(told(20_000, &[1500, 30_000]), [Some(1500), Some(20_000)]);
    }

    #[test]
    fn a_removed_interface_is_down_and_others_do_not_matter() {
        let mut links = Links::new(vec![interface(1500, true)]).expect("a monitor");
        let removed = |index| LinkEvent::Removed { name: "eth1".to_owned(), index };
        assert_eq!(links.take(removed(4)), []);
        assert_eq!(links.take(removed(3)).len(), 1);
        assert_eq!(links.take(LinkEvent::Changed(Interface { index: 4, ..interface(1500, true) })), []);
    }
}
