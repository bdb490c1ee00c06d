//! What happens to volumes and links, in the words of operators: a line for the log, and JSON for `etherpair events`.

use replication::message::{CopyState, Offer};
use replication::output::Event;
use serde::Serialize;
use serde_json::{Value, json};

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
    /// Figures.
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
        let (severity, word, text, details) = describe(event);
        Self::new(address, severity, word, text, details)
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

/// The nodes are connected and stay apart.
fn not_met(here: &Offer, peer: &Offer) -> (Severity, &'static str, String, Value) {
    let told = |offer: &Offer| {
        let worth = match offer.copy {
            CopyState::Good => "a good copy",
            CopyState::Inconsistent => "a copy that lacks blocks",
            CopyState::Diskless => "no disk",
        };
        let how = if offer.alone { ", and serves" } else { "" };
        format!("{worth}, epoch {} of {}{how}", offer.membership.epoch, offer.membership.members)
    };
    let cure = match (here.copy, peer.copy) {
        (CopyState::Diskless, CopyState::Diskless) => {
            "start the daemon of the node whose disk still works again, or replace the disks"
        }
        _ if here.alone || peer.alone => {
            "the one that does not serve was forced: force it again to have its copy count, or replace its disk to have that of the one \
             that serves"
        }
        _ => "have one of them serve by `promote --force`, which says what that may lose",
    };
    let text = format!(
        "the nodes are connected and do not meet, since neither copy is known to be the newer good one: here {}; at the other node {}; {cure}",
        told(here),
        told(peer)
    );
    let details = json!({ "epoch": here.membership.epoch.0, "peer_epoch": peer.membership.epoch.0 });
    (Severity::Error, "not-met", text, details)
}

fn describe(event: &Event) -> (Severity, &'static str, String, Value) {
    use Severity::{Error, Info, Warning};
    match event {
        Event::Frozen => {
            let text = "frozen: the peer is lost or this node leaves, and nothing is served until it is clear who goes on";
            (Warning, "frozen", text.to_owned(), Value::Null)
        }
        Event::Paired { membership, lacking, peer_lacks } => {
            let text = match (lacking, peer_lacks) {
                (0, 0) => "connected to the peer, both copies are equal".to_owned(),
                (0, _) => {
                    format!("connected to the peer, which lacks {peer_lacks} blocks of 4 KiB: SyncSource")
                }
                (_, _) => {
                    format!("connected to the peer; this node lacks {lacking} blocks of 4 KiB: SyncTarget")
                }
            };
            let details = json!({ "epoch": membership.epoch.0, "lacking_blocks": lacking, "peer_lacks_blocks": peer_lacks });
            (Info, "paired", text, details)
        }
        Event::Alone(membership) => {
            let text =
                format!("this node serves alone, epoch {}; bring the other one back soon", membership.epoch);
            (Warning, "alone", text, json!({ "epoch": membership.epoch.0 }))
        }
        Event::InSync(membership) => {
            let text = format!("both copies are equal and both nodes serve, epoch {}", membership.epoch);
            (Info, "in-sync", text, json!({ "epoch": membership.epoch.0 }))
        }
        Event::ShutOut(membership) => {
            let text = format!(
                "the other node went on alone (epoch {}); this one waits until it meets it",
                membership.epoch
            );
            (Warning, "shut-out", text, json!({ "epoch": membership.epoch.0 }))
        }
        Event::ReadRepaired(range) => {
            let text = format!(
                "sectors {range:?} could not be read here; the peer's copy was taken and written back: see to the disk"
            );
            (Warning, "read-repaired", text, json!({ "first": range.start().0, "count": range.count().0 }))
        }
        Event::Unreadable(range) => {
            let details = json!({ "first": range.start().0, "count": range.count().0 });
            (
                Error,
                "unreadable",
                format!(
                    "{range:?} cannot be read here, and the peer lacks it: see to the disk, and have it written again"
                ),
                details,
            )
        }
        Event::DiskFailed(error) => (
            Error,
            "disk-failed",
            format!("the disk has failed ({error}); the peer goes on: replace the disk"),
            Value::Null,
        ),
        Event::FlushFailed(error) => {
            let text =
                format!("the disk of the only good copy could not be flushed ({error}): see to it at once");
            (Error, "flush-failed", text, Value::Null)
        }
        Event::MetadataFailed(error) => (
            Error,
            "metadata-failed",
            format!("the metadata cannot be written ({error}): see to its disk"),
            Value::Null,
        ),
        Event::Differs(range) => {
            let details = json!({ "first": range.start().0, "count": range.count().0 });
            (Error, "differs", format!("the two copies differ in {range:?}; see both disks"), details)
        }
        Event::VerifyDone { different: 0 } => (
            Info,
            "verify-done",
            "verified: the two copies are equal".to_owned(),
            json!({ "different_sectors": 0 }),
        ),
        Event::VerifyDone { different } => {
            let text = format!("verified: the two copies differ in {different} sectors");
            (Error, "verify-done", text, json!({ "different_sectors": different }))
        }
        Event::VerifyAborted { compared, different } => {
            let text = format!(
                "comparing was given up after {compared} sectors, of which {different} differ: the nodes have parted, or were told to begin \
                 anew; tell them to `volume verify` again when both are in sync"
            );
            (
                Warning,
                "verify-aborted",
                text,
                json!({ "compared_sectors": compared, "different_sectors": different }),
            )
        }
        Event::Forced(membership) => {
            let text = format!("forced to serve alone by an operator, epoch {}", membership.epoch);
            (Warning, "forced", text, json!({ "epoch": membership.epoch.0 }))
        }
        Event::Resized { sectors } => {
            (Info, "resized", format!("the volume has {sectors} sectors now"), json!({ "sectors": sectors }))
        }
        Event::MaskDiffers { hosts } => {
            let text = format!(
                "the MAC mask list was changed at the other node and has {hosts} initiators now, not those of `masks` here: the other node's \
                 configuration says something else, or lets initiators change the list; make `masks` alike on both and `reload`"
            );
            (Warning, "masks-differ", text, json!({ "initiators": hosts }))
        }
        Event::ModesDiffer { here, peer } => {
            let text = format!(
                "`durability` is {here} on this node and {peer} on the other: neither would keep what the other promises, so they do not \
                 meet; make it alike in both configurations and restart the daemon that was wrong"
            );
            (Error, "modes-differ", text, json!({ "here": here.to_string(), "peer": peer.to_string() }))
        }
        Event::NotMet { here, peer } => not_met(here, peer),
        Event::GivesWay { here, to } => {
            let text = format!(
                "both nodes served alone, because one of them was forced to: this one stops, and what was written here since epoch {} is lost; the \
                 other one goes on in epoch {}",
                here.epoch, to.epoch
            );
            (Error, "gives-way", text, json!({ "epoch": here.epoch.0, "to_epoch": to.epoch.0 }))
        }
        Event::Removed => (
            Info,
            "removed",
            "this node has the volume no more, and answers nobody for it".to_owned(),
            Value::Null,
        ),
        Event::ResizeRefused(error) => (Warning, "resize-refused", error.to_string(), Value::Null),
        Event::PeerIsLarger { here, peer } => {
            let text = format!(
                "the peer's volume has {peer} sectors, this one {here}, and there is no room here for more: make the disk and its \
                 metadata larger"
            );
            (Error, "peer-is-larger", text, json!({ "here": here, "peer": peer }))
        }
    }
}

#[cfg(test)]
mod tests {
    use block::{BlockError, Lba, LbaRange, SectorCount};
    use replication::durability::Mode;
    use replication::membership::Membership;
    use replication::resize::ResizeError;

    use super::*;

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

    #[test]
    fn the_documents_tell_each_event_and_what_is_in_its_details() {
        let text = include_str!("../../../../docs/operating/admin-socket.md");
        for event in one_of_each() {
            let (_, word, _, details) = describe(&event);
            let named = format!("`{word}`");
            let row = text.lines().find(|line| {
                line.starts_with("| `") && line.split('|').nth(1).is_some_and(|cell| cell.contains(&named))
            });
            let row = row.unwrap_or_else(|| panic!("no row for {word}"));
            let fields = row.split('|').nth(3).expect("a column of details");
            let told: Vec<&String> =
                details.as_object().into_iter().flat_map(|object| object.keys()).collect();
            assert!(
                told.iter().all(|key| fields.contains(&format!("`{key}`"))),
                "{word}: {told:?} in {fields}"
            );
            assert_eq!(told.is_empty(), fields.trim().is_empty(), "{word}");
        }
    }
}
