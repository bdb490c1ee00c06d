//! What happens to volumes and links, in the words of operators: a line for the log, and JSON for `etherpair events`.

mod of_volume;

use replication::membership::Membership;
use replication::output::Event;
use serde::Serialize;
use serde_json::Value;

/// How much it matters.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Severity {
    /// Nothing to do.
    Info,
    /// Somebody should look.
    Warning,
    /// Somebody must look.
    Error,
}

/// Something that an operator wants to know.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Report {
    /// Seconds since 1970, and thousandths.
    pub(crate) time: f64,
    /// How much it matters.
    pub(crate) severity: Severity,
    /// What it is about: an address, `peer`, `arbiter` or the name of an interface.
    pub(crate) about: String,
    /// What happened, in one word that stays the same.
    pub(crate) event: &'static str,
    /// The same for people, with what to do.
    pub(crate) text: String,
    /// Figures; not there if there are none.
    #[serde(skip_serializing_if = "Value::is_null")]
    pub(crate) details: Value,
}

impl Report {
    /// Something that happens now.
    pub(crate) fn new(
        about: &str,
        severity: Severity,
        event: &'static str,
        text: String,
        details: Value,
    ) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "thousandths of a second are shown")]
        let time = (os::clock::unix_time(os::clock::now()) / 1_000_000) as f64 / 1000.0;
        Self { time, severity, about: about.to_owned(), event, text, details }
    }

    /// Something that happened to a volume.
    pub(crate) fn of_volume(address: &str, event: &Event) -> Self {
        let (severity, word, text, details) = of_volume::describe(event);
        Self::new(address, severity, word, text, details)
    }

    /// A volume is configured and not served.
    pub(crate) fn not_served(address: &str, error: &str) -> Self {
        let text = format!("this node does not serve it: {error}");
        Self::new(address, Severity::Error, "not-served", text, Value::Null)
    }

    /// An operator has forced one membership, and the arbiter has granted another.
    pub(crate) fn two_histories(address: &str, forced: Membership, held: Membership) -> Self {
        let text = format!(
            "forced to membership {forced}, but the arbiter has granted {held}: if the other node serves, there are two histories, and \
             its own is lost, since this node goes on in a later epoch; stop the other one at once. If both nodes are connected already, \
             `etherpair volume register` tells the arbiter"
        );
        Self::new(address, Severity::Error, "two-histories", text, Value::Null)
    }

    /// Writes it to the log.
    pub(crate) fn log(&self) {
        let Self { about, text, .. } = self;
        match self.severity {
            Severity::Info => tracing::info!("{about}: {text}"),
            Severity::Warning => tracing::warn!("{about}: {text}"),
            Severity::Error => tracing::error!("{about}: {text}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use admin::peer::AskedArbiter;
    use aoe::MacAddress;
    use aoe::target::{PortId, PortLink, Slow, SlowKind};
    use block::{BlockError, ExportId, Lba, LbaRange, SectorCount};
    use node::SlowRequest;
    use os::peer_link::PeerFailure;
    use replication::durability::Mode;
    use replication::links::Interfaces as Numbers;
    use replication::message::{CopyState, Offer};
    use replication::resize::ResizeError;
    use replication::version::{Version, VersionRange};

    use super::super::interfaces::Interfaces;
    use super::super::peer_links::Links;
    use super::super::peer_port::{self, NoCommonVersion, PeerProgram};
    use super::super::{arbiter_watch, same_addresses, same_arbiter, slow};
    use super::*;
    use crate::arbiter::{ArbiterError, ArbiterState};
    use crate::export::LinkChange;

    fn one_of_each() -> Vec<Event> {
        let range = LbaRange::new(Lba(8), SectorCount(8)).expect("a range");
        let (membership, error) = (Membership::FIRST, BlockError::Medium);
        let offer = Offer {
            membership,
            copy: CopyState::Good,
            alone: true,
            forgetful: false,
            lost_memory: false,
            mode: None,
            small_state_revision: 0,
        };
        vec![
            Event::Frozen,
            Event::Paired { membership, lacking: 1, peer_lacks: 0 },
            Event::Alone(membership),
            Event::InSync(membership),
            Event::ShutOut(membership),
            Event::Forced(membership),
            Event::NotMet { here: offer, peer: offer },
            Event::GivesWay { here: membership, to: membership },
            Event::Removed,
            Event::ResizeRefused(ResizeError::NotLarger { sectors: 8 }),
            Event::DiskFailed(error),
            Event::FlushFailed(error),
            Event::MetadataFailed(error),
            Event::ReadRepaired(range),
            Event::Unreadable(range),
            Event::Differs(range),
            Event::VerifyDone { different: 0 },
            Event::VerifyDone { different: 8 },
            Event::VerifyAborted { compared: 16, different: 8 },
            Event::Resized { sectors: 8 },
            Event::PeerIsLarger { here: 8, peer: 16 },
            Event::ModesDiffer { here: Mode::Stable, peer: Mode::Memory },
            Event::MaskDiffers { hosts: 2 },
        ]
    }

    /// What is told of anything else than by an engine.
    fn others() -> Vec<Report> {
        let (first, second) = (Membership::FIRST, Membership::FIRST);
        let versions = VersionRange { oldest: 1, newest: 2 };
        let address = "10.0.0.2:8802".parse().expect("an address");
        let peer = PeerProgram { version: Version::V4, versions, program: "0.1.0".to_owned() };
        let apart = NoCommonVersion { ours: VersionRange::ALL, theirs: versions, program: String::new() };
        let state = ArbiterState { kind: "witness", ..ArbiterState::default() };
        let link = PortLink { mac: MacAddress([2, 0, 0, 0, 0, 9]), mtu: 9000 };
        let change = |link| LinkChange { port: PortId(0), interface: "no-such0".to_owned(), link };
        let request = Slow {
            export: ExportId(0),
            kind: SlowKind::Flush,
            range: None,
            initiator: link.mac,
            took: Duration::from_secs(2),
            waited: Duration::ZERO,
            answered: true,
            others: 0,
        };
        let asks =
            |witness: &str| AskedArbiter { kind: "witness".to_owned(), identity: Some(witness.to_owned()) };
        let (links, interfaces) = (Links::new(1), Interfaces::default());
        let of_interfaces = [None, Some(link)].map(|link| interfaces.changed(&change(link), None));
        let peer_links = [Numbers::NONE.with(0), Numbers::NONE].map(|down| interfaces.peer_links_down(down));
        let others = vec![
            Report::not_served("e7.1", "no such file"),
            Report::two_histories("e7.1", first, second),
            slow::report("e7.1", &SlowRequest { request, spent: None }),
            peer_port::stands(0, address, &peer),
            links.ended(0, &PeerFailure::Closed).expect("news"),
            links.not_understood(&apart).expect("news"),
            arbiter_watch::silent("e7.1".parse().expect("an address"), &ArbiterError::Nobody, ""),
            arbiter_watch::lost(&state),
            arbiter_watch::back(&state),
            same_arbiter::differ(&asks("a1"), &asks("b2")),
            same_addresses::differ(&same_addresses::one()),
        ];
        others.into_iter().chain(of_interfaces.into_iter().chain(peer_links).flatten()).collect()
    }

    fn words_in(cell: &str) -> BTreeSet<&str> {
        cell.split('`').skip(1).step_by(2).collect()
    }

    #[test]
    fn the_documents_tell_each_event_and_what_is_in_its_details() {
        let text = include_str!("../../../../docs/operating/admin-socket.md");
        let (_, table) = text.split_once("| `event` | `about` |").expect("a table of events");
        let rows = table.lines().filter(|line| line.starts_with("| `"));
        let rows: Vec<Vec<&str>> =
            rows.map(|row| row.split('|').skip(1).take(3).map(str::trim).collect()).collect();
        let reports: Vec<Report> =
            one_of_each().iter().map(|event| Report::of_volume("e7.1", event)).chain(others()).collect();
        let mut told = BTreeSet::new();
        for report in &reports {
            let word = report.event;
            told.insert(word);
            let row = rows.iter().find(|row| words_in(row[0]).contains(word));
            let [_, about, fields] = row.unwrap_or_else(|| panic!("no row for {word}"))[..] else {
                panic!("{word}: three columns")
            };
            let expected = match report.about.as_str() {
                "e7.1" => "volume",
                "no-such0" => "interface",
                other => &format!("`{other}`"),
            };
            assert_eq!(about, expected, "{word}");
            let line = serde_json::to_value(report).expect("texts and numbers");
            let details = line.get("details");
            assert_eq!(details.is_none(), fields.is_empty(), "{word}: {line}");
            let keys = details.and_then(Value::as_object).into_iter().flat_map(|object| object.keys());
            let missing: Vec<&String> = keys.filter(|key| !words_in(fields).contains(key.as_str())).collect();
            assert!(missing.is_empty(), "{word}: {missing:?} in {fields}");
        }
        let documented: BTreeSet<&str> = rows.iter().flat_map(|row| words_in(row[0])).collect();
        assert_eq!(documented, told, "an event that nobody tells, or one that no test looks at");
    }
}
