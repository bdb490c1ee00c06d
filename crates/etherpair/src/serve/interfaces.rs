//! The storage interfaces as operators see them: which are up, and under which addresses initiators find this node there. It says what
//! of that is news, and follows nothing itself.

use std::sync::{Mutex, MutexGuard, PoisonError};

use aoe::MacAddress;
use os::Interface;
use replication::links::Interfaces as Numbers;
use serde_json::json;

use super::events::{Report, Severity};
use super::status::InterfaceStatus;
use crate::export::LinkChange;

/// The interfaces in the order of their ports.
#[derive(Debug, Default)]
pub(crate) struct Interfaces(Mutex<Vec<InterfaceStatus>>);

impl Interfaces {
    /// What has become of an interface, where initiators see this node as `virtual_mac` if there is one. What to tell.
    pub(crate) fn changed(&self, change: &LinkChange, virtual_mac: Option<MacAddress>) -> Report {
        let LinkChange { port, interface: name, link } = change;
        // One that is down has an address and an MTU all the same, if it is there.
        let found = Interface::named(name).ok();
        let mac = link.map(|link| link.mac).or(found.as_ref().map(|found| MacAddress(found.mac)));
        let index = usize::from(port.0);
        let mut interfaces = self.interfaces();
        let status = InterfaceStatus {
            name: name.clone(),
            up: link.is_some(),
            mac: mac.map(|mac| mac.to_string()),
            virtual_mac: virtual_mac.map(|mac| mac.to_string()),
            mtu: link.map(|link| link.mtu).or(found.map(|found| found.mtu)),
            answers_for_peer: interfaces.get(index).is_some_and(|before| before.answers_for_peer),
        };
        let report = match link {
            Some(link) => {
                let details = json!({ "mtu": link.mtu, "mac": link.mac.to_string() });
                Report::new(name, Severity::Info, "interface-up", format!("up, MTU {}", link.mtu), details)
            }
            None => {
                let text =
                    "down; this node serves nobody there: look at the interface, its cable and its switch";
                Report::new(name, Severity::Warning, "interface-down", text.to_owned(), json!(null))
            }
        };
        if index < interfaces.len() {
            interfaces[index] = status;
        } else {
            interfaces.push(status);
        }
        report
    }

    /// The other node has no link on these, and on no others; this one answers at its address there, if nodes have addresses of their own.
    /// What to tell.
    pub(crate) fn peer_links_down(&self, down: Numbers, answers: bool) -> Vec<Report> {
        let mut reports = Vec::new();
        for (number, status) in (0..).zip(self.interfaces().iter_mut()) {
            let answers_for_peer = answers && down.contains(number);
            if answers_for_peer == status.answers_for_peer {
                continue;
            }
            status.answers_for_peer = answers_for_peer;
            let (severity, event, text) = if answers_for_peer {
                (
                    Severity::Warning,
                    "peer-interface-down",
                    "down at the other node; this one answers for it there: look at the other node's interface, its cable and its switch",
                )
            } else {
                (Severity::Info, "peer-interface-up", "this node answers for the other one there no more")
            };
            reports.push(Report::new(&status.name, severity, event, text.to_owned(), json!(null)));
        }
        reports
    }

    /// Only so many are served on any more.
    pub(crate) fn truncate(&self, count: usize) {
        self.interfaces().truncate(count);
    }

    /// For operators.
    pub(crate) fn status(&self) -> Vec<InterfaceStatus> {
        self.interfaces().clone()
    }

    fn interfaces(&self) -> MutexGuard<'_, Vec<InterfaceStatus>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aoe::target::{PortId, PortLink};

    #[test]
    fn what_becomes_of_an_interface_is_told_and_shown_until_it_is_served_on_no_more() {
        let interfaces = Interfaces::default();
        let (mac, seen) = (MacAddress([2, 0, 0, 0, 0, 9]), MacAddress([2, 0, 0, 0, 0, 1]));
        let change =
            |port, link| LinkChange { port: PortId(port), interface: format!("no-such{port}"), link };
        let up = Some(PortLink { mac, mtu: 9000 });
        for (port, link, event) in [
            (0, up, "interface-up"),
            (1, up, "interface-up"),
            (0, None, "interface-down"),
            (0, up, "interface-up"),
        ] {
            let report = interfaces.changed(&change(port, link), Some(seen));
            assert_eq!((report.event, report.about), (event, format!("no-such{port}")));
            assert_eq!(interfaces.status()[usize::from(port)].up, link.is_some());
        }
        let status = interfaces.status();
        assert_eq!(status.len(), 2);
        assert_eq!(status[1].mac.as_deref(), Some("02:00:00:00:00:09"));
        assert_eq!(status[1].virtual_mac.as_deref(), Some("02:00:00:00:00:01"));
        assert_eq!(status[1].mtu, Some(9000));
        interfaces.truncate(1);
        assert_eq!(interfaces.status(), status[..1]);
    }

    #[test]
    fn where_the_other_node_has_no_link_is_told_once_and_shown_until_it_has_one() {
        let interfaces = Interfaces::default();
        for port in 0..2 {
            let link = Some(PortLink { mac: MacAddress([2, 0, 0, 0, 0, port]), mtu: 9000 });
            let change = LinkChange { port: PortId(port), interface: format!("no-such{port}"), link };
            interfaces.changed(&change, None);
        }
        let told = |down, answers| {
            let reports = interfaces.peer_links_down(down, answers);
            reports.into_iter().map(|report| (report.about, report.event)).collect::<Vec<_>>()
        };
        let second = Numbers::NONE.with(1);
        let name = || "no-such1".to_owned();
        assert_eq!(told(second, true), [(name(), "peer-interface-down")]);
        assert_eq!(told(second.with(9), true), [], "known, and one that is not served on here");
        let change = LinkChange { port: PortId(1), interface: name(), link: None };
        interfaces.changed(&change, None);
        assert_eq!(
            interfaces.status().iter().map(|status| status.answers_for_peer).collect::<Vec<_>>(),
            [false, true]
        );
        assert_eq!(told(Numbers::NONE, true), [(name(), "peer-interface-up")]);
        assert_eq!(told(second, false), [], "nodes have no addresses of their own");
    }
}
