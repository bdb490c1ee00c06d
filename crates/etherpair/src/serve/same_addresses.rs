//! Whether both nodes serve each volume at the same address, and the same volume at each address. The nodes pair volumes by their
//! identities and initiators find them by their addresses: where the two do not go together initiators write to two disks that they take
//! for one, and ruin both. So a volume of which the peer says otherwise is not served here any more, and operators are told.
//!
//! It is looked at before volumes come to be served, at a start or a reload, so that the node that has just been told something wrong gives
//! way and the other one serves on; and when the nodes have met or a volume was made, for what could not be looked at before: then it may be
//! both that give way.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use admin::peer::{PeerRequest, Served};
use aoe::Address;
use replication::identity::VolumeIdentity;
use serde_json::json;
use tokio::time::{sleep, timeout};

use super::daemon::Daemon;
use super::error::VolumeError;
use super::events::{Report, Severity};
use super::peer_control::Peer;
use super::remove::stop_serving;
use super::volumes::{Volume, parse_address};

/// A peer that takes longer to say what it serves is as good as none.
const PATIENCE: Duration = Duration::from_secs(2);
/// How soon a peer is asked again that did not answer, though a connection stands: a busy one soon, an older one, which never says it, in vain.
const AGAIN: Duration = Duration::from_secs(5);
/// Volumes told at once, in a line that is not too long.
const PAGE_VOLUMES: usize = 512;

/// What the peer says of a volume that this node serves.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Difference {
    /// Where it is served here.
    address: String,
    /// Which volume.
    identity: String,
    /// Where the peer serves it, if elsewhere.
    peer_address: Option<String>,
    /// What the peer serves at this address, if something else.
    peer_identity: Option<String>,
}

impl Difference {
    fn text(&self) -> String {
        let Self { address, identity, peer_address, peer_identity } = self;
        let there = match (peer_address, peer_identity) {
            (Some(elsewhere), Some(other)) => format!("it at {elsewhere}, and volume {other} at {address}"),
            (Some(elsewhere), None) => format!("it at {elsewhere}"),
            (None, other) => format!("volume {} there", other.as_deref().unwrap_or_default()),
        };
        format!(
            "volume {identity} is {address} here, and the peer serves {there}: initiators would take two disks for one and ruin both, so \
             this node does not serve it. See where the files of two volumes were swapped, or another volume was made at this address, put \
             that right, then `etherpair reload` there and after that here"
        )
    }
}

/// A volume is not what it is at the peer.
pub(super) fn differ(difference: &Difference) -> Report {
    let Difference { address, identity, peer_address, peer_identity } = difference;
    let details =
        json!({ "identity": identity, "peer_address": peer_address, "peer_identity": peer_identity });
    Report::new(address, Severity::Error, "addresses-differ", difference.text(), details)
}

/// What of a volume here is not as it is among those of the peer.
fn compare(ours: &Served, theirs: &[Served]) -> Option<Difference> {
    let elsewhere = theirs.iter().find(|volume| volume.identity == ours.identity);
    let elsewhere = elsewhere.filter(|volume| volume.address != ours.address);
    let other = theirs.iter().find(|volume| volume.address == ours.address);
    let other = other.filter(|volume| volume.identity != ours.identity);
    (elsewhere.is_some() || other.is_some()).then(|| Difference {
        address: ours.address.clone(),
        identity: ours.identity.clone(),
        peer_address: elsewhere.map(|volume| volume.address.clone()),
        peer_identity: other.map(|volume| volume.identity.clone()),
    })
}

/// What is served here, a few volumes beyond an address.
pub(super) fn served(daemon: &Daemon, after: Option<&str>) -> Result<Vec<Served>, String> {
    let after = after.map(parse_address).transpose()?;
    let volumes = daemon.volumes();
    let beyond = volumes.values().filter(|volume| after.is_none_or(|after| volume.entry.address > after));
    Ok(beyond.take(PAGE_VOLUMES).map(of).collect())
}

fn of(volume: &Volume) -> Served {
    Served { address: volume.entry.address.to_string(), identity: volume.identity.to_string() }
}

async fn ask(daemon: &Daemon) -> Result<Vec<Served>, String> {
    let mut peer = Peer::connect(daemon).await?;
    let mut all: BTreeMap<Address, Served> = BTreeMap::new();
    loop {
        let after = all.keys().next_back().map(ToString::to_string);
        let page: Vec<Served> = peer.ask_for(&PeerRequest::Served { after }).await?;
        let before = all.len();
        for volume in page {
            all.insert(parse_address(&volume.address)?, volume);
        }
        if all.len() == before {
            return Ok(all.into_values().collect());
        }
    }
}

/// While this lives nothing comes to be served here that the peer serves otherwise.
pub(super) struct Known<'a>(&'a Daemon);

impl Drop for Known<'_> {
    fn drop(&mut self) {
        self.0.at_peer().clear();
    }
}

/// Asks what the peer serves, before volumes come to be served here, if any do.
pub(super) async fn known(daemon: &Daemon, any: bool) -> Known<'_> {
    // Of a peer that does not answer nothing is known: it is looked at again when the nodes have met.
    if any && let Ok(Ok(theirs)) = timeout(PATIENCE, ask(daemon)).await {
        *daemon.at_peer() = theirs;
    }
    Known(daemon)
}

/// Refuses to serve a volume that the peer, as far as is known, serves otherwise; which is told.
pub(super) fn refuse_different(
    daemon: &Daemon,
    address: Address,
    identity: VolumeIdentity,
) -> Result<(), VolumeError> {
    let ours = Served { address: address.to_string(), identity: identity.to_string() };
    let Some(difference) = compare(&ours, &daemon.at_peer()) else { return Ok(()) };
    daemon.report(differ(&difference));
    Err(VolumeError::AddressesDiffer(difference.text()))
}

/// Looks whenever the nodes have met or a volume has come to be served here, for as long as there is a daemon.
pub(super) fn follow(daemon: &Arc<Daemon>) {
    let daemon = Arc::clone(daemon);
    let mut met = daemon.links.met.subscribe();
    tokio::spawn(async move {
        let mut is_open = false;
        loop {
            tokio::select! {
                changed = met.changed() => if changed.is_err() { return },
                () = daemon.volume_added.notified() => {}
                () = sleep(AGAIN), if is_open => {}
            }
            let looked = look(&daemon).await;
            is_open = looked.is_err();
            if let Err(error) = looked {
                tracing::debug!(
                    "nobody knows whether the peer serves the same volumes at the same addresses: {error}"
                );
            }
        }
    });
}

async fn look(daemon: &Arc<Daemon>) -> Result<(), String> {
    if differences(daemon).await?.is_empty() {
        return Ok(());
    }
    let _alone = daemon.change_alone().await?;
    // That may have taken long, and one of the nodes is as the other by now.
    for (volume, difference) in differences(daemon).await? {
        daemon.report(differ(&difference));
        let stopped = stop_serving(daemon, &volume).await;
        stopped.unwrap_or_else(|error| tracing::error!("{error}"));
        daemon.not_served(volume.entry, Some(volume.identity), &difference.text());
    }
    Ok(())
}

/// What is served here of which the peer says otherwise now.
async fn differences(daemon: &Daemon) -> Result<Vec<(Volume, Difference)>, String> {
    let asked = timeout(PATIENCE, ask(daemon)).await;
    let theirs = asked.unwrap_or_else(|_| Err("it does not answer".to_owned()))?;
    let differs = |volume: &Volume| compare(&of(volume), &theirs).map(|found| (volume.clone(), found));
    Ok(daemon.volumes().values().filter_map(differs).collect())
}

/// One for tests of what is told.
#[cfg(test)]
pub(super) fn one() -> Difference {
    let peer_address = Some("e7.2".to_owned());
    Difference { address: "e7.1".to_owned(), identity: "a1".to_owned(), peer_address, peer_identity: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn served(address: &str, identity: &str) -> Served {
        Served { address: address.to_owned(), identity: identity.to_owned() }
    }

    #[test]
    fn a_volume_is_one_volume_at_one_address() {
        let ours = served("e7.1", "a1");
        for same in [&[][..], &[served("e7.1", "a1"), served("e7.2", "b2")], &[served("e7.2", "b2")]] {
            assert_eq!(compare(&ours, same), None, "{same:?}");
        }
        let told = |theirs: &[Served]| {
            let difference = compare(&ours, theirs).expect("it differs");
            (difference.peer_address.clone(), difference.peer_identity.clone(), difference.text())
        };
        let (elsewhere, other, text) = told(&[served("e7.1", "b2"), served("e7.2", "a1")]);
        assert_eq!((elsewhere.as_deref(), other.as_deref()), (Some("e7.2"), Some("b2")));
        assert!(text.contains("serves it at e7.2, and volume b2 at e7.1:"), "{text}");
        let (elsewhere, other, text) = told(&[served("e7.1", "b2")]);
        assert_eq!((elsewhere.as_deref(), other.as_deref()), (None, Some("b2")));
        assert!(text.contains("the peer serves volume b2 there:"), "{text}");
        let (elsewhere, other, text) = told(&[served("e7.2", "a1")]);
        assert_eq!((elsewhere.as_deref(), other.as_deref()), (Some("e7.2"), None));
        assert!(text.contains("serves it at e7.2:"), "{text}");
    }
}
