//! The connections between the nodes: who connects, what is said first, and which ones stand.
//!
//! Node 1 connects to node 0 for each shard's stream, trying node 0's addresses in turn; either may connect to the other
//! for a request of the control plane. A new stream of the right peer takes the place of the old one. What is no preamble of the
//! peer's costs its connection and one line in the log. Streams go to their shards as they are: the place for a layer that
//! authenticates and encrypts is between here and there.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use os::peer_link::{PeerFailure, PeerStream};
use os::shard::Command;
use replication::identity::PairIdentity;
use replication::membership::NodeNumber;
use replication::wire::preamble::{PREAMBLE_BYTES, Preamble, PreambleError, PreambleRefusal, Purpose};
use serde_json::json;
use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore};
use tokio::time::timeout;

use super::daemon::Daemon;
use super::error::ServeError;
use super::events::{Report, Severity};
use super::peer_control;
use super::status::LinkStatus;
use crate::seldom::Seldom;

/// How long one address is tried.
const CONNECT_PATIENCE: Duration = Duration::from_millis(500);
/// How long whoever connects may take to say who it is.
const PREAMBLE_PATIENCE: Duration = Duration::from_secs(1);
/// When no address answers, all are tried again after this time.
const RETRY: Duration = Duration::from_millis(200);
/// After the peer has ended a connection, so that two nodes that do not agree do not spin.
const RETRY_ENDED: Duration = Duration::from_millis(50);
/// Connections at once that have not said yet who they are, or carry requests.
const STRANGERS_MAX: usize = 64;

/// Why a connection did not come about.
#[derive(Debug, Error)]
pub(crate) enum PeerPortError {
    /// The network.
    #[error("{0}")]
    Stream(#[from] io::Error),
    /// Nobody answers.
    #[error("no answer in time")]
    Silent,
    /// Something else is there.
    #[error(transparent)]
    Preamble(#[from] PreambleError),
    /// The peer does not want it.
    #[error("the peer refuses: {0}")]
    Refused(PreambleRefusal),
    /// We do not want it.
    #[error("refused: {0}")]
    Unwanted(PreambleRefusal),
}

/// The streams to the peer, as the control plane knows them.
#[derive(Debug)]
pub(crate) struct Links {
    links: Mutex<Vec<Link>>,
    changed: Vec<Notify>,
    misbehaved: Mutex<Seldom>,
    places: Arc<Semaphore>,
}

#[derive(Clone, Debug, Default)]
struct Link {
    /// How many streams stand: for a moment two, when a new one takes the place of the old.
    standing: usize,
    address: Option<SocketAddr>,
    error: Option<String>,
}

impl Links {
    /// None stands yet.
    pub(crate) fn new(shards: usize) -> Self {
        Self {
            links: Mutex::new(vec![Link::default(); shards]),
            changed: (0..shards).map(|_| Notify::new()).collect(),
            misbehaved: Mutex::default(),
            places: Arc::new(Semaphore::new(STRANGERS_MAX)),
        }
    }

    /// For operators.
    pub(crate) fn status(&self) -> Vec<LinkStatus> {
        let links = self.links();
        let status = |(shard, link): (u32, &Link)| LinkStatus {
            shard,
            connection: if link.standing > 0 { "Connected" } else { "Connecting" }.to_owned(),
            address: link.address.map(|address| address.to_string()),
            error: link.error.clone(),
        };
        (0..).zip(links.iter()).map(status).collect()
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
        self.changed[shard].notify_one();
        let text = format!("the stream {shard} has ended: {text}");
        Some(Report::new("peer", Severity::Warning, "disconnected", text, json!({ "shard": shard })))
    }

    fn stands(&self, shard: usize, address: SocketAddr) {
        let mut links = self.links();
        let standing = links[shard].standing + 1;
        links[shard] = Link { standing, address: Some(address), error: None };
    }

    fn failed(&self, shard: usize, address: SocketAddr, error: &PeerPortError) {
        let mut links = self.links();
        if links[shard].standing == 0 {
            links[shard].error = Some(format!("{address}: {error}"));
        }
    }

    fn is_standing(&self, shard: usize) -> bool {
        self.links()[shard].standing > 0
    }

    fn links(&self) -> MutexGuard<'_, Vec<Link>> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn complain(&self, from: SocketAddr, error: &PeerPortError) {
        let mut misbehaved = self.misbehaved.lock().unwrap_or_else(PoisonError::into_inner);
        misbehaved
            .write(Instant::now(), |more| tracing::warn!("connection from {from} ended: {error}{more}"));
    }
}

/// Listens where the peer connects.
///
/// # Errors
/// If an address cannot be listened on.
pub(crate) async fn listen(daemon: &Arc<Daemon>) -> Result<(), ServeError> {
    for &address in &daemon.config.listen {
        let listener = TcpListener::bind(address).await;
        let listener = listener.map_err(|error| ServeError::Listen { address, error })?;
        tokio::spawn(accept(listener, Arc::clone(daemon)));
    }
    Ok(())
}

/// Keeps the streams to the peer, if it is this node that connects.
pub(crate) fn dial(daemon: &Arc<Daemon>) {
    if daemon.config.node == NodeNumber::One {
        for shard in 0..daemon.shards.len() {
            tokio::spawn(keep_stream(Arc::clone(daemon), shard));
        }
    }
}

/// Connects to the peer for requests of the control plane.
///
/// # Errors
/// What went wrong at the last of its addresses.
pub(crate) async fn connect_control(daemon: &Daemon) -> Result<TcpStream, PeerPortError> {
    let mut last = PeerPortError::Silent;
    for &address in &daemon.config.peer_addresses {
        match connect(daemon, address, Purpose::Control).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

async fn keep_stream(daemon: Arc<Daemon>, shard: usize) {
    let number = u32::try_from(shard).expect("few shards");
    let purpose = Purpose::Shard { shard: number, shards: daemon.config.shards };
    loop {
        while daemon.links.is_standing(shard) {
            daemon.links.changed[shard].notified().await;
            tokio::time::sleep(RETRY_ENDED).await;
        }
        for &address in &daemon.config.peer_addresses {
            match connect(&daemon, address, purpose).await.and_then(into_peer_stream) {
                Ok(stream) => {
                    connected(&daemon, shard, address, stream);
                    break;
                }
                Err(error) => daemon.links.failed(shard, address, &error),
            }
        }
        if !daemon.links.is_standing(shard) {
            tokio::time::sleep(RETRY).await;
        }
    }
}

async fn connect(daemon: &Daemon, address: SocketAddr, purpose: Purpose) -> Result<TcpStream, PeerPortError> {
    let stream = timeout(CONNECT_PATIENCE, TcpStream::connect(address)).await;
    let mut stream = stream.map_err(|_| PeerPortError::Silent)??;
    let said = timeout(PREAMBLE_PATIENCE, async {
        stream.write_all(&preamble(daemon, purpose).emit()).await?;
        hear(&mut stream).await
    });
    let answer = said.await.map_err(|_| PeerPortError::Silent)??;
    check(daemon.config.pair, daemon.config.node, &answer).map_err(PeerPortError::Unwanted)?;
    match answer.purpose {
        Purpose::Accepted => Ok(stream),
        Purpose::Refused(refusal) => Err(PeerPortError::Refused(refusal)),
        Purpose::Shard { .. } | Purpose::Control => {
            Err(PreambleError::Field { field: "answer", found: 0 }.into())
        }
    }
}

async fn hear(stream: &mut TcpStream) -> Result<Preamble, PeerPortError> {
    let mut bytes = [0; PREAMBLE_BYTES];
    stream.read_exact(&mut bytes).await?;
    Ok(Preamble::parse(&bytes)?)
}

fn preamble(daemon: &Daemon, purpose: Purpose) -> Preamble {
    Preamble { pair: daemon.config.pair, node: daemon.config.node, purpose }
}

/// Whether the speaker is the peer.
fn check(pair: PairIdentity, node: NodeNumber, said: &Preamble) -> Result<(), PreambleRefusal> {
    if said.pair != pair {
        Err(PreambleRefusal::Pair)
    } else if said.node == node {
        Err(PreambleRefusal::Node)
    } else {
        Ok(())
    }
}

fn into_peer_stream(stream: TcpStream) -> Result<PeerStream, PeerPortError> {
    Ok(PeerStream::try_from(stream.into_std()?)?)
}

fn connected(daemon: &Daemon, shard: usize, address: SocketAddr, stream: PeerStream) {
    daemon.links.stands(shard, address);
    daemon.shards[shard].send(Command::PeerConnected(stream));
    let text = format!("the stream {shard} stands, to {address}");
    daemon.report(Report::new("peer", Severity::Info, "connected", text, json!({ "shard": shard })));
}

async fn accept(listener: TcpListener, daemon: Arc<Daemon>) {
    loop {
        let (stream, from) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                daemon.links.complain(daemon.config.listen[0], &error.into());
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&daemon.links.places).try_acquire_owned() else {
            daemon.links.complain(from, &PeerPortError::Unwanted(PreambleRefusal::Busy));
            continue;
        };
        let daemon = Arc::clone(&daemon);
        tokio::spawn(async move {
            if let Err(error) = welcome(&daemon, stream, from).await {
                daemon.links.complain(from, &error);
            }
            drop(place);
        });
    }
}

async fn welcome(daemon: &Arc<Daemon>, mut stream: TcpStream, from: SocketAddr) -> Result<(), PeerPortError> {
    stream.set_nodelay(true)?;
    let said = timeout(PREAMBLE_PATIENCE, hear(&mut stream)).await.map_err(|_| PeerPortError::Silent)?;
    let wanted = match said {
        Ok(said) => wanted(daemon, &said),
        Err(PeerPortError::Preamble(PreambleError::Version { .. })) => Err(PreambleRefusal::Version),
        Err(error) => return Err(error),
    };
    let answer = wanted.map_or_else(Purpose::Refused, |_| Purpose::Accepted);
    let answer = preamble(daemon, answer).emit();
    timeout(PREAMBLE_PATIENCE, stream.write_all(&answer)).await.map_err(|_| PeerPortError::Silent)??;
    match wanted.map_err(PeerPortError::Unwanted)? {
        Some(shard) => connected(daemon, shard, from, into_peer_stream(stream)?),
        None => peer_control::serve_peer(daemon, stream).await,
    }
    Ok(())
}

/// What a connection is to be: a shard's stream, or one for requests.
fn wanted(daemon: &Daemon, said: &Preamble) -> Result<Option<usize>, PreambleRefusal> {
    check(daemon.config.pair, daemon.config.node, said)?;
    match said.purpose {
        Purpose::Control => Ok(None),
        Purpose::Shard { .. } if daemon.config.node == NodeNumber::One => Err(PreambleRefusal::Direction),
        Purpose::Shard { shard, shards } if shards == daemon.config.shards && shard < shards => {
            Ok(usize::try_from(shard).ok())
        }
        Purpose::Shard { .. } => Err(PreambleRefusal::Shards),
        Purpose::Accepted | Purpose::Refused(_) => Err(PreambleRefusal::Version),
    }
}
