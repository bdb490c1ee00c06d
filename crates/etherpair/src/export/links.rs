//! The interfaces that we serve on: up, down, another address or another MTU, as the shards are to be told.
//!
//! A port has room for the frames of the MTU that its interface had when it was opened. If the MTU grows later, frames
//! stay as they are until the next start; a smaller one is followed at once. Reads events, opens nothing anew.

use std::io;
use std::thread;

use aoe::MacAddress;
use aoe::target::{PortId, PortLink};
use os::Interface;
use os::frame_port::MTU_MIN;
use os::link_monitor::{LinkEvent, LinkMonitor};
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
            told: port_link(&opened, opened.mtu),
            opened,
        });
        Ok(Self { events, links: links.collect() })
    }

    /// The interfaces as they were when the ports were opened.
    pub(crate) fn interfaces(&self) -> Vec<Interface> {
        self.links.iter().map(|link| link.opened.clone()).collect()
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
        let opened_mtu = link.opened.mtu;
        if let Some(interface) = interface.filter(|interface| interface.mtu != link.mtu) {
            link.mtu = interface.mtu;
            explain(interface, opened_mtu);
        }
        let told = interface.and_then(|interface| port_link(interface, opened_mtu));
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

/// What initiators reach by this interface, through a port that was opened at `opened_mtu`.
fn port_link(interface: &Interface, opened_mtu: u32) -> Option<PortLink> {
    let usable = interface.has_carrier && interface.mtu >= MTU_MIN;
    usable.then(|| PortLink { mac: MacAddress(interface.mac), mtu: interface.mtu.min(opened_mtu) })
}

fn explain(interface: &Interface, opened_mtu: u32) {
    let Interface { name, mtu, .. } = interface;
    if *mtu < MTU_MIN {
        tracing::warn!("interface {name} has MTU {mtu} now, too small for a sector: nothing is served on it");
    } else if *mtu > opened_mtu {
        tracing::warn!(
            "interface {name} has MTU {mtu} now; frames stay at MTU {opened_mtu} until this command is started again"
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
    fn a_smaller_mtu_is_followed_and_a_larger_one_is_not() {
        let mut links = Links::new(vec![interface(4200, true)]).expect("a monitor");
        let mut mtu_told = |mtu| {
            let changes = links.take(LinkEvent::Changed(interface(mtu, true)));
            changes.first().map(|change| change.link.map(|link| link.mtu))
        };
        assert_eq!(mtu_told(9000), None, "still 4200");
        assert_eq!(mtu_told(1500), Some(Some(1500)));
        assert_eq!(mtu_told(500), Some(None), "no sector fits");
        assert_eq!(mtu_told(9000), Some(Some(4200)));
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
