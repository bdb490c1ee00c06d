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
pub(crate) struct Interfaces(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    status: Vec<InterfaceStatus>,
    /// Where this node answers for the other one if it can.
    peer_down: Numbers,
}

impl Known {
    /// Finds out anew where this node answers for the other one. What to tell.
    fn look_again(&mut self) -> Vec<Report> {
        let mut reports = Vec::new();
        for (number, status) in (0..).zip(&mut self.status) {
            let answers_for_peer = status.up && self.peer_down.contains(number);
            if answers_for_peer != status.answers_for_peer {
                status.answers_for_peer = answers_for_peer;
                reports.push(of_peer(&status.name, answers_for_peer));
            }
        }
        reports
    }
}

fn of_peer(interface: &str, is_down: bool) -> Report {
    let (severity, event, text) = if is_down {
        (
            Severity::Warning,
            "peer-interface-down",
            "down at the other node; this one answers for it there what both serve: look at the other node's interface, its cable and its \
             switch",
        )
    } else {
        (
            Severity::Info,
            "peer-interface-up",
            "this node does not answer for the other one there any more: it is up there again, or down here as well, or the nodes do not talk",
        )
    };
    Report::new(interface, severity, event, text.to_owned(), json!(null))
}

impl Interfaces {
    /// What has become of an interface, where initiators see this node as `virtual_mac` if there is one. What to tell.
    pub(crate) fn changed(&self, change: &LinkChange, virtual_mac: Option<MacAddress>) -> Vec<Report> {
        let LinkChange { port, interface: name, link } = change;
        // One that is down has an address and an MTU all the same, if it is there.
        let found = Interface::named(name).ok();
        let mac = link.map(|link| link.mac).or(found.as_ref().map(|found| MacAddress(found.mac)));
        let mut known = self.known();
        let index = usize::from(port.0);
        let status = InterfaceStatus {
            name: name.clone(),
            up: link.is_some(),
            mac: mac.map(|mac| mac.to_string()),
            virtual_mac: virtual_mac.map(|mac| mac.to_string()),
            mtu: link.map(|link| link.mtu).or(found.map(|found| found.mtu)),
            answers_for_peer: known.status.get(index).is_some_and(|before| before.answers_for_peer),
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
        if index < known.status.len() {
            known.status[index] = status;
        } else {
            known.status.push(status);
        }
        std::iter::once(report).chain(known.look_again()).collect()
    }

    /// The other node has no link on these, and on no others; this one answers at its address there. What to tell.
    pub(crate) fn peer_links_down(&self, down: Numbers) -> Vec<Report> {
        let mut known = self.known();
        known.peer_down = down;
        known.look_again()
    }

    /// Only so many are served on any more.
    pub(crate) fn truncate(&self, count: usize) {
        self.known().status.truncate(count);
    }

    /// For operators.
    pub(crate) fn status(&self) -> Vec<InterfaceStatus> {
        self.known().status.clone()
    }

    fn known(&self) -> MutexGuard<'_, Known> {
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
            let reports = interfaces.changed(&change(port, link), Some(seen));
            let told: Vec<_> = reports.iter().map(|report| (report.event, report.about.as_str())).collect();
            assert_eq!(told, [(event, format!("no-such{port}").as_str())]);
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
    fn where_this_node_answers_for_the_other_one_is_told_once_and_shown() {
        let interfaces = Interfaces::default();
        let changed = |port: u8, up: bool| {
            let link = up.then_some(PortLink { mac: MacAddress([2, 0, 0, 0, 0, port]), mtu: 9000 });
            interfaces
                .changed(&LinkChange { port: PortId(port), interface: format!("no-such{port}"), link }, None)
        };
        let words = |reports: Vec<Report>| {
            reports.into_iter().map(|report| format!("{} {}", report.about, report.event)).collect::<Vec<_>>()
        };
        (0..2).for_each(|port| drop(changed(port, true)));
        let second = Numbers::NONE.with(1);
        assert_eq!(words(interfaces.peer_links_down(second)), ["no-such1 peer-interface-down"]);
        assert_eq!(
            words(interfaces.peer_links_down(second.with(2))),
            [""; 0],
            "known, and one that is not served on here"
        );
        assert_eq!(
            words(changed(2, true)),
            ["no-such2 interface-up", "no-such2 peer-interface-down"],
            "and now it is"
        );
        assert_eq!(
            words(changed(1, false)),
            ["no-such1 interface-down", "no-such1 peer-interface-up"],
            "by nobody"
        );
        let shown: Vec<bool> = interfaces.status().iter().map(|status| status.answers_for_peer).collect();
        assert_eq!(shown, [false, false, true]);
        assert_eq!(words(interfaces.peer_links_down(Numbers::NONE)), ["no-such2 peer-interface-up"]);
    }
}
