//! What the engine says of a volume: how much it matters, the word that stays the same, the text, and figures.

use block::{BlockError, LbaRange};
use replication::durability::Mode;
use replication::membership::Membership;
use replication::message::{CopyState, Offer};
use replication::output::Event;
use serde_json::{Value, json};

use super::Severity::{self, Error, Info, Warning};

type Told = (Severity, &'static str, String, Value);

pub(super) fn describe(event: &Event) -> Told {
    match event {
        Event::Frozen => plain(
            Warning,
            "frozen",
            "frozen: the peer is lost or this node leaves, and nothing is served until it is clear who goes on",
        ),
        Event::Paired { membership, lacking, peer_lacks } => paired(membership, *lacking, *peer_lacks),
        Event::Alone(membership) => of_epoch(Warning, "alone", membership, |epoch| {
            format!("this node serves alone, epoch {epoch}; bring the other one back soon")
        }),
        Event::InSync(membership) => of_epoch(Info, "in-sync", membership, |epoch| {
            format!("both copies are equal and both nodes serve, epoch {epoch}")
        }),
        Event::ShutOut(membership) => of_epoch(Warning, "shut-out", membership, |epoch| {
            format!("the other node went on alone (epoch {epoch}); this one waits until it meets it")
        }),
        Event::Forced(membership) => of_epoch(Warning, "forced", membership, |epoch| {
            format!("forced to serve alone by an operator, epoch {epoch}")
        }),
        Event::NotMet { here, peer } => not_met(here, peer),
        Event::GivesWay { here, to } => gives_way(here, to),
        Event::ReadRepaired(range) => of_sectors(Warning, "read-repaired", *range, |range| {
            format!(
                "sectors {range} could not be read here; the peer's copy was taken and written back: see to the disk"
            )
        }),
        Event::Unreadable(range) => of_sectors(Error, "unreadable", *range, |range| {
            format!(
                "{range} cannot be read here, and the peer lacks it: see to the disk, and have it written again"
            )
        }),
        Event::Differs(range) => of_sectors(Error, "differs", *range, |range| {
            format!("the two copies differ in {range}; see both disks")
        }),
        Event::DiskFailed(error) => disk_failed(*error),
        Event::FlushFailed(error) => plain(
            Error,
            "flush-failed",
            &format!("the disk of the only good copy could not be flushed ({error}): see to it at once"),
        ),
        Event::MetadataFailed(error) => plain(
            Error,
            "metadata-failed",
            &format!(
                "the metadata cannot be written ({error}); if the other node has a good copy it goes on; if this one was the last to serve, \
                 keep the metadata: mend its disk, then start this daemon anew"
            ),
        ),
        Event::VerifyDone { different } => verify_done(*different),
        Event::VerifyAborted { compared, different } => verify_aborted(*compared, *different),
        Event::Resized { sectors } => {
            (Info, "resized", format!("the volume has {sectors} sectors now"), json!({ "sectors": sectors }))
        }
        Event::ResizeRefused(error) => plain(Warning, "resize-refused", &error.to_string()),
        Event::PeerIsLarger { here, peer } => peer_is_larger(*here, *peer),
        Event::MaskDiffers { hosts } => mask_differs(*hosts),
        Event::ModesDiffer { here, peer } => modes_differ(*here, *peer),
        Event::Removed => {
            plain(Info, "removed", "this node has the volume no more, and answers nobody for it")
        }
    }
}

/// Without figures.
fn plain(severity: Severity, word: &'static str, text: &str) -> Told {
    (severity, word, text.to_owned(), Value::Null)
}

fn of_epoch(
    severity: Severity,
    word: &'static str,
    membership: &Membership,
    text: impl Fn(u64) -> String,
) -> Told {
    let epoch = membership.epoch.0;
    (severity, word, text(epoch), json!({ "epoch": epoch }))
}

fn of_sectors(
    severity: Severity,
    word: &'static str,
    range: LbaRange,
    text: impl Fn(String) -> String,
) -> Told {
    let details = json!({ "first": range.start().0, "count": range.count().0 });
    (severity, word, text(format!("{range:?}")), details)
}

fn paired(membership: &Membership, lacking: u64, peer_lacks: u64) -> Told {
    let text = match (lacking, peer_lacks) {
        (0, 0) => "connected to the peer, both copies are equal".to_owned(),
        (0, _) => format!("connected to the peer, which lacks {peer_lacks} blocks of 4 KiB: SyncSource"),
        (_, _) => format!("connected to the peer; this node lacks {lacking} blocks of 4 KiB: SyncTarget"),
    };
    let details =
        json!({ "epoch": membership.epoch.0, "lacking_blocks": lacking, "peer_lacks_blocks": peer_lacks });
    (Info, "paired", text, details)
}

/// The nodes are connected and stay apart.
fn not_met(here: &Offer, peer: &Offer) -> Told {
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
    (Error, "not-met", text, details)
}

fn gives_way(here: &Membership, to: &Membership) -> Told {
    let text = format!(
        "both nodes served alone, because one of them was forced to: this one stops, and what was written here since epoch {} is lost; the \
         other one goes on in epoch {}",
        here.epoch, to.epoch
    );
    (Error, "gives-way", text, json!({ "epoch": here.epoch.0, "to_epoch": to.epoch.0 }))
}

fn disk_failed(error: BlockError) -> Told {
    let (what, cure) = match error {
        BlockError::NoSpace => ("is full", "make room, then start this daemon anew"),
        _ => ("has failed", "replace the disk"),
    };
    let text = format!("the disk {what} ({error}); if the other node has a good copy it goes on: {cure}");
    plain(Error, "disk-failed", &text)
}

fn verify_done(different: u64) -> Told {
    let details = json!({ "different_sectors": different });
    match different {
        0 => (Info, "verify-done", "verified: the two copies are equal".to_owned(), details),
        _ => {
            let text = format!("verified: the two copies differ in {different} sectors");
            (Error, "verify-done", text, details)
        }
    }
}

fn verify_aborted(compared: u64, different: u64) -> Told {
    let text = format!(
        "comparing was given up after {compared} sectors, of which {different} differ: the nodes have parted, or were told to begin anew; \
         tell them to `volume verify` again when both are in sync"
    );
    let details = json!({ "compared_sectors": compared, "different_sectors": different });
    (Warning, "verify-aborted", text, details)
}

fn peer_is_larger(here: u64, peer: u64) -> Told {
    let text = format!(
        "the peer's volume has {peer} sectors, this one {here}, and there is no room here for more: make the disk and its metadata larger"
    );
    (Error, "peer-is-larger", text, json!({ "here": here, "peer": peer }))
}

fn mask_differs(hosts: usize) -> Told {
    let text = format!(
        "the MAC mask list was changed at the other node and has {hosts} initiators now, not those of `masks` here: the other node's \
         configuration says something else, or lets initiators change the list; make `masks` alike on both and `reload`"
    );
    (Warning, "masks-differ", text, json!({ "initiators": hosts }))
}

fn modes_differ(here: Mode, peer: Mode) -> Told {
    let text = format!(
        "`durability` is {here} on this node and {peer} on the other: neither would keep what the other promises, so they do not meet; make \
         it alike in both configurations and restart the daemon that was wrong"
    );
    (Error, "modes-differ", text, json!({ "here": here.to_string(), "peer": peer.to_string() }))
}
