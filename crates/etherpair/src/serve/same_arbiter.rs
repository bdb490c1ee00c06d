//! Whether both nodes ask the same arbiter. Two arbiters with a register each would let both nodes go on alone when they lose each
//! other, so no register is made while they differ, and operators are told.
//!
//! Which arbiter it is its own answers say: a witness by the identity that it drew, etcd by its cluster and the prefix of the keys. It
//! decides nothing for a node that serves: what the arbiters hold already they hold.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use admin::peer::{AskedArbiter, PeerRequest};
use serde_json::json;
use tokio::sync::watch::Receiver;
use tokio::time::{Instant, sleep, timeout};

use super::daemon::Daemon;
use super::events::{Report, Severity};
use super::peer_control::Peer;
use crate::arbiter::{ASKED_AGAIN_AFTER, ArbiterState, OPERATOR_PATIENCE};

/// A peer that takes longer to say what it knows is as good as none.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often is asked while one of the nodes has not reached its arbiter yet.
const AGAIN_UNKNOWN: Duration = Duration::from_secs(5);
/// How often a peer is asked that could not say it: most likely it is an older one.
const AGAIN_REFUSED: Duration = Duration::from_secs(60);

/// What is known of the two.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Comparison {
    Same,
    Different,
    /// One of the nodes has not reached its arbiter yet.
    Unknown,
}

fn compare(here: &AskedArbiter, peer: &AskedArbiter) -> Comparison {
    match (&here.identity, &peer.identity) {
        _ if here.kind != peer.kind => Comparison::Different,
        _ if here.kind == "none" => Comparison::Same,
        (Some(here), Some(peer)) if here == peer => Comparison::Same,
        (Some(_), Some(_)) => Comparison::Different,
        _ => Comparison::Unknown,
    }
}

/// For people.
struct Named<'a>(&'a AskedArbiter);

impl fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let AskedArbiter { kind, identity } = self.0;
        match (kind.as_str(), identity) {
            ("none", _) => f.write_str("nobody"),
            (_, Some(identity)) => write!(f, "{kind} {identity}"),
            (_, None) => write!(f, "a {kind} that it has not reached yet"),
        }
    }
}

/// Which arbiter this node asks, as far as it knows.
pub(super) fn asked(daemon: &Daemon) -> AskedArbiter {
    let ArbiterState { kind, identity, .. } = daemon.arbiter.state();
    AskedArbiter { kind: kind.to_owned(), identity }
}

/// Refuses to make a register while the nodes ask different arbiters. Waits a while for a node that has not reached its own yet.
///
/// # Errors
/// Whom both ask, and what to do; or why nobody knows.
pub(super) async fn refuse_different(daemon: &Daemon, peer: &mut Peer) -> Result<(), String> {
    let until = Instant::now() + OPERATOR_PATIENCE;
    loop {
        let theirs = ask(peer).await?;
        let ours = asked(daemon);
        match compare(&ours, &theirs) {
            Comparison::Same => return Ok(()),
            Comparison::Different => {
                return Err(format!("{}; nothing was changed", difference(&ours, &theirs)));
            }
            Comparison::Unknown if Instant::now() < until => sleep(ASKED_AGAIN_AFTER).await,
            Comparison::Unknown => {
                return Err(format!(
                    "nobody knows yet whether both nodes ask the same arbiter: this one asks {}, the peer {}; nothing was changed, see \
                     `arbiter` in `etherpair status` on both nodes",
                    Named(&ours),
                    Named(&theirs)
                ));
            }
        }
    }
}

async fn ask(peer: &mut Peer) -> Result<AskedArbiter, String> {
    let asked = timeout(PATIENCE, peer.ask_for(&PeerRequest::Arbiter)).await;
    let asked = asked.unwrap_or_else(|_| Err("it does not answer".to_owned()));
    asked.map_err(|error| format!("the peer does not say which arbiter it asks: {error}"))
}

fn difference(ours: &AskedArbiter, theirs: &AskedArbiter) -> String {
    format!(
        "the nodes ask different arbiters, this one {}, the peer {}: cut off from each other, both could be told to go on alone. Stop both \
         daemons, make [arbiter] alike in both node.toml, and start them; if the witness was replaced, restart the daemon that knows the \
         old one",
        Named(ours),
        Named(theirs)
    )
}

/// Looks whenever the nodes have met or this one has learned whom it asks, for as long as there is a daemon.
pub(super) fn follow(daemon: &Arc<Daemon>) {
    tokio::spawn(watch(Arc::clone(daemon)));
}

async fn watch(daemon: Arc<Daemon>) {
    let mut states = daemon.arbiter.states();
    let mut met = daemon.links.met.subscribe();
    loop {
        let ours = asked(&daemon);
        let again = look(&daemon, &ours).await;
        tokio::select! {
            _ = met.changed() => {}
            () = sleep(again.unwrap_or_default()), if again.is_some() => {}
            () = another(&mut states, &ours) => {}
        }
    }
}

/// Until this node has learned something new of whom it asks.
async fn another(states: &mut Option<Receiver<ArbiterState>>, known: &AskedArbiter) {
    if let Some(states) = states
        && states.wait_for(|state| state.identity != known.identity).await.is_ok()
    {
        return;
    }
    std::future::pending().await
}

/// The nodes ask two.
pub(super) fn differ(ours: &AskedArbiter, theirs: &AskedArbiter) -> Report {
    let details = json!({
        "kind": ours.kind, "identity": ours.identity, "peer_kind": theirs.kind, "peer_identity": theirs.identity,
    });
    Report::new("arbiter", Severity::Error, "arbiters-differ", difference(ours, theirs), details)
}

/// Asks the peer, and tells operators what is news. How soon to look again, if nothing happens before.
async fn look(daemon: &Daemon, ours: &AskedArbiter) -> Option<Duration> {
    let asked = async { ask(&mut Peer::connect(daemon).await?).await };
    let Ok(theirs) = asked.await else { return Some(AGAIN_REFUSED) };
    let comparison = compare(ours, &theirs);
    let other = (comparison == Comparison::Different).then(|| theirs.clone());
    let before =
        std::mem::replace(&mut *daemon.peers_arbiter(), other.as_ref().map(|other| Named(other).to_string()));
    if let Some(theirs) = other
        && before != Some(Named(&theirs).to_string())
    {
        daemon.report(differ(ours, &theirs));
    }
    (comparison == Comparison::Unknown).then_some(AGAIN_UNKNOWN)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arbiter(kind: &str, identity: Option<&str>) -> AskedArbiter {
        AskedArbiter { kind: kind.to_owned(), identity: identity.map(str::to_owned) }
    }

    #[test]
    fn arbiters_are_the_same_by_their_own_names_and_not_by_where_they_are_asked() {
        let (witness, other) = (arbiter("witness", Some("aa")), arbiter("witness", Some("bb")));
        let (etcd, nobody) = (arbiter("etcd", Some("cluster 7, prefix /a")), arbiter("none", None));
        let prefix = arbiter("etcd", Some("cluster 7, prefix /b"));
        let unknown = arbiter("witness", None);
        for (here, peer, expected) in [
            (&witness, &witness, Comparison::Same),
            (&nobody, &nobody, Comparison::Same),
            (&witness, &other, Comparison::Different),
            (&etcd, &prefix, Comparison::Different),
            (&witness, &nobody, Comparison::Different),
            (&unknown, &etcd, Comparison::Different),
            (&witness, &unknown, Comparison::Unknown),
            (&unknown, &unknown, Comparison::Unknown),
        ] {
            assert_eq!(compare(here, peer), expected, "{here:?} {peer:?}");
            assert_eq!(compare(peer, here), expected, "{here:?} {peer:?}");
        }
        let text = difference(&witness, &prefix);
        assert!(text.contains("this one witness aa, the peer etcd cluster 7, prefix /b:"), "{text}");
        assert_eq!(Named(&unknown).to_string(), "a witness that it has not reached yet");
    }
}
