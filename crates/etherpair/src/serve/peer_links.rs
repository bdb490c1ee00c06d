//! The streams to the peer as the control plane knows them: which ones stand and in which version, why others do not, and what
//! of that is news. It connects nothing.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use os::peer_link::PeerFailure;
use serde_json::json;
use tokio::sync::{Notify, Semaphore, watch};

use super::events::{Report, Severity};
use super::peer_port::{NoCommonVersion, PeerPortError, PeerProgram};
use super::status::{LeaseReport, LinkStatus, VersionsStatus, connection_word};
use crate::seldom::Seldom;

/// Connections at once that have not said yet who they are, or carry requests.
const STRANGERS_MAX: usize = 64;

/// The streams to the peer.
#[derive(Debug)]
pub(crate) struct Links {
    links: Mutex<Vec<Link>>,
    /// A stream of that shard has ended.
    pub(crate) changed: Vec<Notify>,
    /// How many streams have come to stand.
    pub(crate) met: watch::Sender<u64>,
    misbehaved: Mutex<Seldom>,
    /// The peer was refused for this, which operators were told.
    refused: Mutex<Option<NoCommonVersion>>,
    /// Room for those who connect.
    pub(crate) places: Arc<Semaphore>,
}

#[derive(Clone, Debug, Default)]
struct Link {
    /// How many streams stand: for a moment two, when a new one takes the place of the old.
    standing: usize,
    address: Option<SocketAddr>,
    error: Option<String>,
    /// Where the last stream was connected to, if it ended because its link carries nothing.
    lost_at: Option<SocketAddr>,
    /// Of the newest stream.
    peer: Option<PeerProgram>,
}

impl Links {
    /// None stands yet.
    pub(crate) fn new(shards: usize) -> Self {
        Self {
            links: Mutex::new(vec![Link::default(); shards]),
            changed: (0..shards).map(|_| Notify::new()).collect(),
            met: watch::Sender::new(0),
            misbehaved: Mutex::default(),
            refused: Mutex::default(),
            places: Arc::new(Semaphore::new(STRANGERS_MAX)),
        }
    }

    /// For operators, with what each shard says of the leases.
    pub(crate) fn status(&self, leases: &[LeaseReport]) -> Vec<LinkStatus> {
        let links = self.links();
        let status = |((shard, link), &lease): ((u32, &Link), &LeaseReport)| LinkStatus {
            shard,
            connection: connection_word(link.standing > 0).to_owned(),
            address: link.address.map(|address| address.to_string()),
            error: link.error.clone(),
            version: link.peer.as_ref().filter(|_| link.standing > 0).map(|peer| peer.version.number()),
            peer_versions: link.peer.as_ref().map(|peer| VersionsStatus::of(peer.versions)),
            peer_program: link.peer.as_ref().map(|peer| peer.program.clone()),
            lease,
        };
        (0..).zip(links.iter()).zip(leases).map(status).collect()
    }

    /// A stream has ended. What to tell, if it is news.
    pub(crate) fn ended(&self, shard: usize, failure: &PeerFailure) -> Option<Report> {
        let mut links = self.links();
        let link = &mut links[shard];
        link.standing = link.standing.saturating_sub(1);
        if link.standing > 0 {
            return None;
        }
        let text = failure.to_string();
        link.error = Some(text.clone());
        link.lost_at = link.address.filter(|_| failure.blames_link());
        self.changed[shard].notify_one();
        let text = format!("the stream {shard} has ended: {text}");
        Some(Report::new("peer", Severity::Warning, "disconnected", text, json!({ "shard": shard })))
    }

    /// A stream stands now.
    pub(crate) fn stands(&self, shard: usize, address: SocketAddr, peer: PeerProgram) {
        let mut links = self.links();
        let standing = links[shard].standing + 1;
        links[shard] =
            Link { standing, address: Some(address), error: None, lost_at: None, peer: Some(peer) };
        *self.refused() = None;
        self.met.send_modify(|met| *met += 1);
    }

    /// A stream did not come about. What to tell, if it is news.
    pub(crate) fn failed(&self, shard: usize, address: SocketAddr, error: &PeerPortError) -> Option<Report> {
        if let PeerPortError::NoCommonVersion(error) = error {
            return self.not_understood(error);
        }
        let mut links = self.links();
        if links[shard].standing == 0 {
            links[shard].error = Some(format!("{address}: {error}"));
        }
        None
    }

    /// The peer was refused, or has refused: there is nothing that both could speak. What to tell, if it is news; the peer
    /// tries again many times a minute.
    pub(crate) fn not_understood(&self, error: &NoCommonVersion) -> Option<Report> {
        for link in self.links().iter_mut().filter(|link| link.standing == 0) {
            link.error = Some(error.to_string());
        }
        if self.refused().replace(error.clone()).as_ref() == Some(error) {
            return None;
        }
        let NoCommonVersion { ours, theirs, program } = error;
        let details = json!({
            "oldest": ours.oldest, "newest": ours.newest, "peer_oldest": theirs.oldest, "peer_newest": theirs.newest,
            "peer_program": program,
        });
        Some(Report::new("peer", Severity::Error, "no-common-version", error.to_string(), details))
    }

    /// Whether the stream of that shard stands.
    pub(crate) fn is_standing(&self, shard: usize) -> bool {
        self.links()[shard].standing > 0
    }

    /// The address over whose link the last stream of that shard was lost, if it ended so.
    pub(crate) fn lost_at(&self, shard: usize) -> Option<SocketAddr> {
        self.links()[shard].lost_at
    }

    /// Somebody who connected is not wanted: a line in the log, but not for each one.
    pub(crate) fn complain(&self, from: SocketAddr, error: &PeerPortError) {
        self.seldom(|more| tracing::warn!("connection from {from} ended: {error}{more}"));
    }

    /// Nobody can connect to an address of this node's just now: the same.
    pub(crate) fn complain_of_listener(&self, address: SocketAddr, error: &io::Error) {
        self.seldom(|more| tracing::warn!("{address}: no connection can be accepted: {error}{more}"));
    }

    fn seldom(&self, write: impl FnOnce(&str)) {
        self.misbehaved.lock().unwrap_or_else(PoisonError::into_inner).write(Instant::now(), write);
    }

    fn links(&self) -> MutexGuard<'_, Vec<Link>> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn refused(&self) -> MutexGuard<'_, Option<NoCommonVersion>> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
