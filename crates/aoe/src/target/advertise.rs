//! Telling initiators about an export without being asked: a config answer with tag 0, to everybody or, where a MAC
//! mask list says who is listened to, to each of those.
//!
//! An export is advertised when it begins to serve or is resized, and all are when an interface comes up or changes. Frames get
//! lost and switches learn slowly after a link came up, so each advertisement is repeated twice and then no more.

use block::{Duration, ExportId, Instant};

use super::Target;
use super::config::OwnedConfig;
use super::export::Export;
use super::port::PortId;
use crate::address::AddressPattern;
use crate::mac::MacAddress;
use crate::wire::config::ConfigCommand;
use crate::wire::header::{self, Command, Tag};
use crate::wire::{Head, ethernet};

/// When an advertisement is repeated, counted from the one before: soon for a lost frame, later for a switch port
/// that did not forward yet.
const REPEATS: [Duration; 2] = [Duration::from_millis(250), Duration::from_secs(2)];

/// Exports advertised at one go. The rest is due at once again, so that requests come in between.
const EXPORTS_AT_ONCE: usize = 64;

/// When an export is advertised next, if at all.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Advertisement {
    due: Option<Instant>,
    sent: usize,
}

impl Advertisement {
    const fn first(now: Instant) -> Self {
        Self { due: Some(now), sent: 0 }
    }

    /// One was sent.
    fn advance(&mut self, now: Instant) {
        self.due = REPEATS.get(self.sent).map(|pause| now.after(*pause));
        self.sent += 1;
    }
}

impl Target {
    /// Has `id` advertised from `now` on.
    pub(super) fn schedule_advertisement(&mut self, now: Instant, id: ExportId) {
        let export = self.exports.find_mut(id).expect("an export that exists is advertised");
        if !export.is_serving() {
            return;
        }
        export.advertisement = Advertisement::first(now);
        self.advertise_at = Some(self.advertise_at.map_or(now, |due| due.min(now)));
    }

    /// Has every export advertised from `now` on.
    pub(super) fn schedule_all_advertisements(&mut self, now: Instant) {
        for export in self.exports.iter_mut().filter(|export| export.is_serving()) {
            export.advertisement = Advertisement::first(now);
            self.advertise_at = Some(now);
        }
    }

    /// Sends what is due.
    pub(super) fn advertise(&mut self, now: Instant) {
        if self.advertise_at.is_none_or(|due| due > now) {
            return;
        }
        let mut budget = EXPORTS_AT_ONCE;
        let mut next: Option<Instant> = None;
        for id in self.exports.names() {
            let Some(due) = self.exports.find(id).and_then(|export| export.advertisement.due) else {
                continue;
            };
            if due <= now && budget > 0 && self.advertise_export(id) {
                budget -= 1;
                self.exports.find_mut(id).expect("just found").advertisement.advance(now);
            }
            let due = self.exports.find(id).and_then(|export| export.advertisement.due);
            next = [next, due].into_iter().flatten().min();
        }
        self.advertise_at = next;
    }

    /// Advertises an export on every interface, unless there is no room for so many frames now.
    fn advertise_export(&mut self, id: ExportId) -> bool {
        let export = self.exports.find(id).expect("an export that exists is advertised");
        let everybody = [MacAddress::BROADCAST];
        let receivers = match export.state().mac_mask.as_slice() {
            [] => &everybody,
            listed => listed,
        };
        // Each interface speaks as itself, and as the other node if this one answers for it: so switches learn where that
        // address is now.
        let needed = 2 * receivers.len() * self.ports.linked().count();
        // Who has no place even in an empty queue is not told, and has to ask.
        if self.output_room() < needed.min(self.outputs_unowed_max) {
            return false;
        }
        let frames: Vec<(PortId, Head, OwnedConfig)> = self
            .ports
            .linked()
            .flat_map(|(port, link)| {
                let peer = self.ports.peer(port).filter(|_| self.answers_for_peer(export, port));
                let sources = std::iter::once(link.mac).chain(peer);
                sources.flat_map(move |source| receivers.iter().map(move |to| (port, link, source, *to)))
            })
            .map(|(port, link, source, receiver)| {
                let argument = OwnedConfig::new(export, link, ConfigCommand::Read);
                (port, unsolicited(export, source, receiver), argument)
            })
            .collect();
        for (port, head, argument) in frames {
            // It fails where the queue is full, and where the MTU is too small for the config string: nobody could use
            // the export there.
            let _ = self.send_control(port, &head, |frame| argument.emit(frame));
        }
        true
    }
}

/// The head of an answer that nobody asked for.
fn unsolicited(export: &Export, source: MacAddress, receiver: MacAddress) -> Head {
    let address = export.address();
    let asked = header::Repr::request(AddressPattern::from(address), Command::QueryConfig, Tag(0));
    Head { ethernet: ethernet::Repr { destination: receiver, source }, header: asked.reply(address) }
}
