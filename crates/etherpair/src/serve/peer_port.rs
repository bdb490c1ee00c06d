//! The connections between the nodes: what is said first, at both ends, and what becomes of them then.
//!
//! A new stream of the right peer takes the place of the old one. What is no preamble of the
//! peer's costs its connection and one line in the log. What a connection is made of is `streams`' business. Who connects, and where, is
//! decided in `peer_dial`.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use admin::peer::PeerRequestError;
use os::shard::Command;
use replication::identity::PairIdentity;
use replication::membership::NodeNumber;
use replication::version::{Version, VersionRange};
use replication::wire::preamble::{
    PREAMBLE_BYTES, Preamble, PreambleError, PreambleRefusal, ProgramName, Purpose,
};
use serde_json::json;
use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};

use super::daemon::Daemon;
use super::error::ServeError;
use super::events::{Report, Severity};
use super::peer_control;
use crate::durable_file::random;
use crate::streams::{PeerConnection, Stream, accept_peer, into_peer_stream};

/// How long whoever connects may take to say who it is.
const PREAMBLE_PATIENCE: Duration = Duration::from_secs(1);
/// How often an address is tried that this machine does not have.
const LISTEN_AGAIN_AFTER: Duration = Duration::from_secs(2);
/// The kernel gives a stream up whose bytes the other machine has not acknowledged for the fifth part of the lease, counted from when it
/// sends them a second time, 0.2 s after the first. Renewals are sent four times a lease: with a lease of 1 s a dead link is noticed within
/// 0.65 s, and 0.8 s after it has gone a node may ask to go on alone at the earliest. What is between is there to connect by another link.
const SILENT_PART: u32 = 5;

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
    /// It said something else than it was told.
    #[error(
        "it does not say back what it was told, so it does not listen: a recording of an earlier connection, or a faulty program; find out who \
         sends from there"
    )]
    NotConfirmed,
    /// Its preamble is good, and then it asks for nothing that there is.
    #[error(transparent)]
    Request(#[from] PeerRequestError),
    /// It is the peer, and neither understands the other.
    #[error(transparent)]
    NoCommonVersion(#[from] NoCommonVersion),
}

/// The nodes do not understand each other.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error(
    "this node speaks {ours} of the peer protocol, the peer{program} {theirs}, and they have none in common: upgrade etherpair on {older}, or \
     widen `versions` in [peer] if it stands there",
    program = if .program.is_empty() { String::new() } else { format!(" (etherpair {})", .program) },
    older = if theirs.newest < ours.oldest { "the peer" } else { "this node" }
)]
pub(crate) struct NoCommonVersion {
    /// Of this node.
    pub(crate) ours: VersionRange,
    /// Of the peer.
    pub(crate) theirs: VersionRange,
    /// What the peer runs, if it says so.
    pub(crate) program: String,
}

/// What the peer runs, and what is spoken with it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct PeerProgram {
    /// The version of the protocol.
    pub(crate) version: Version,
    /// Which ones it speaks.
    pub(crate) versions: VersionRange,
    /// Its program's own version; empty if it does not say.
    pub(crate) program: String,
}

impl PeerProgram {
    /// What is spoken follows from what both nodes say they could, here as in `Hello`.
    fn of(daemon: &Daemon, said: &Preamble) -> Result<Self, NoCommonVersion> {
        let (ours, theirs, program) = (daemon.config.versions, said.versions, said.program.text());
        match ours.in_common(theirs) {
            Some(version) => Ok(Self { version, versions: theirs, program }),
            None => Err(NoCommonVersion { ours, theirs, program }),
        }
    }

    /// Whether a connection begins with a number that is said back.
    fn confirms(&self) -> bool {
        self.version >= Version::V4
    }
}

/// Listens where the peer connects. An address that this machine does not have, since an interface is broken, is tried again; without
/// any of them the configuration is most likely wrong.
///
/// # Errors
/// If nothing can be listened on, or an address is in use.
pub(crate) async fn listen(daemon: &Arc<Daemon>) -> Result<(), ServeError> {
    let mut absent = Vec::new();
    let refused = |address, error| {
        let place = daemon.config.places.node.of("peer.listen");
        Err(ServeError::Listen { place, address, error })
    };
    for &address in &daemon.config.listen {
        match TcpListener::bind(address).await {
            Ok(listener) => drop(tokio::spawn(accept(listener, address, Arc::clone(daemon)))),
            Err(error) if error.kind() == ErrorKind::AddrNotAvailable => absent.push((address, error)),
            Err(error) => return refused(address, error),
        }
    }
    if absent.len() == daemon.config.listen.len()
        && let Some((address, error)) = absent.pop()
    {
        return refused(address, error);
    }
    for (address, error) in absent {
        tracing::error!(
            "the peer cannot connect to {address}: {error}; see `ip address`. It is tried again until this machine has the address"
        );
        tokio::spawn(listen_later(address, Arc::clone(daemon)));
    }
    Ok(())
}

async fn listen_later(address: SocketAddr, daemon: Arc<Daemon>) {
    loop {
        sleep(LISTEN_AGAIN_AFTER).await;
        match TcpListener::bind(address).await {
            Ok(listener) => {
                tracing::info!("the peer can connect to {address} now");
                return accept(listener, address, daemon).await;
            }
            Err(error) if error.kind() == ErrorKind::AddrNotAvailable => {}
            Err(error) => daemon.links.complain_of_listener(address, &error),
        }
    }
}

/// Says who this node is on a connection that it has made, and hears who the other is.
///
/// # Errors
/// If it is not the peer, or does not want it.
pub(crate) async fn greet(
    daemon: &Daemon,
    stream: &mut impl Stream,
    purpose: Purpose,
) -> Result<PeerProgram, PeerPortError> {
    let said = timeout(PREAMBLE_PATIENCE, async {
        stream.write_all(&preamble(daemon, purpose).emit()).await?;
        hear(stream).await
    });
    let answer = said.await.map_err(|_| PeerPortError::Silent)??;
    check(daemon.config.pair, daemon.config.node, &answer).map_err(PeerPortError::Unwanted)?;
    // A peer that does not look at versions yet accepts what it will not understand.
    let peer = PeerProgram::of(daemon, &answer)?;
    match answer.purpose {
        Purpose::Accepted { nonce } => {
            if peer.confirms() {
                let confirmed = preamble(daemon, Purpose::Confirmed { nonce }).emit();
                timeout(PREAMBLE_PATIENCE, stream.write_all(&confirmed))
                    .await
                    .map_err(|_| PeerPortError::Silent)??;
            }
            Ok(peer)
        }
        Purpose::Refused(refusal) => Err(PeerPortError::Refused(refusal)),
        Purpose::Shard { .. } | Purpose::Control | Purpose::Confirmed { .. } => {
            Err(PreambleError::Field { field: "answer", found: 0 }.into())
        }
    }
}

async fn hear(stream: &mut impl Stream) -> Result<Preamble, PeerPortError> {
    let mut bytes = [0; PREAMBLE_BYTES];
    stream.read_exact(&mut bytes).await?;
    Ok(Preamble::parse(&bytes)?)
}

fn preamble(daemon: &Daemon, purpose: Purpose) -> Preamble {
    let (pair, node, versions) = (daemon.config.pair, daemon.config.node, daemon.config.versions);
    Preamble { pair, node, purpose, versions, program: ProgramName::new(env!("CARGO_PKG_VERSION")) }
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

/// A stream stands: its shard has it from now on.
///
/// # Errors
/// If the kernel does not let it be made ready.
pub(crate) fn connected(
    daemon: &Daemon,
    shard: usize,
    address: SocketAddr,
    stream: PeerConnection,
    peer: PeerProgram,
) -> Result<(), PeerPortError> {
    let stream = into_peer_stream(stream, daemon.config.lease / SILENT_PART)?;
    let report = stands(shard, address, &peer);
    daemon.links.stands(shard, address, peer);
    daemon.shards[shard].send(Command::PeerConnected(stream));
    daemon.report(report);
    Ok(())
}

/// What is told of a stream that stands.
pub(super) fn stands(shard: usize, address: SocketAddr, peer: &PeerProgram) -> Report {
    let PeerProgram { version, versions, program } = peer;
    let text = format!("the stream {shard} stands, to {address}, in version {version} of the peer protocol");
    let details = json!({
        "shard": shard, "version": version.number(), "peer_oldest": versions.oldest, "peer_newest": versions.newest,
        "peer_program": program,
    });
    Report::new("peer", Severity::Info, "connected", text, details)
}

async fn accept(listener: TcpListener, address: SocketAddr, daemon: Arc<Daemon>) {
    loop {
        let (stream, from) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                daemon.links.complain_of_listener(address, &error);
                sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&daemon.links.places).try_acquire_owned() else {
            daemon.links.complain(from, &PeerPortError::Unwanted(PreambleRefusal::Busy));
            continue;
        };
        let daemon = Arc::clone(&daemon);
        tokio::spawn(async move {
            match take_in(&daemon, stream, from).await {
                Ok(()) => {}
                Err(PeerPortError::NoCommonVersion(error)) => {
                    daemon.links.not_understood(&error).into_iter().for_each(|news| daemon.report(news));
                }
                Err(error) => daemon.links.complain(from, &error),
            }
            drop(place);
        });
    }
}

async fn take_in(daemon: &Arc<Daemon>, stream: TcpStream, from: SocketAddr) -> Result<(), PeerPortError> {
    let accepted = timeout(PREAMBLE_PATIENCE, accept_peer(stream)).await;
    let mut stream = accepted.map_err(|_| PeerPortError::Silent)??;
    match welcome(daemon, &mut stream).await? {
        (Some(shard), peer) => connected(daemon, shard, from, stream, peer),
        (None, _) => peer_control::serve_peer(daemon, stream).await,
    }
}

/// Hears who has connected and says who this node is. What the connection is to be: a shard's stream, or one for requests.
///
/// # Errors
/// If it is not the peer, or not wanted.
pub(super) async fn welcome(
    daemon: &Daemon,
    stream: &mut impl Stream,
) -> Result<(Option<usize>, PeerProgram), PeerPortError> {
    let said = timeout(PREAMBLE_PATIENCE, hear(stream)).await.map_err(|_| PeerPortError::Silent)?;
    let wanted = match said {
        Ok(said) => wanted(daemon, &said),
        Err(PeerPortError::Preamble(PreambleError::Version { .. })) => {
            Err(PeerPortError::Unwanted(PreambleRefusal::Version))
        }
        Err(error) => return Err(error),
    };
    let nonce = match &wanted {
        Ok((_, peer)) if peer.confirms() => u64::from_le_bytes(random()?),
        _ => 0,
    };
    let answer = match &wanted {
        Ok(_) => Purpose::Accepted { nonce },
        Err(PeerPortError::Unwanted(refusal)) => Purpose::Refused(*refusal),
        Err(_) => Purpose::Refused(PreambleRefusal::Version),
    };
    let answer = preamble(daemon, answer).emit();
    timeout(PREAMBLE_PATIENCE, stream.write_all(&answer)).await.map_err(|_| PeerPortError::Silent)??;
    let (shard, peer) = wanted?;
    if peer.confirms() {
        let said = timeout(PREAMBLE_PATIENCE, hear(stream)).await.map_err(|_| PeerPortError::Silent)??;
        if said.purpose != (Purpose::Confirmed { nonce }) {
            return Err(PeerPortError::NotConfirmed);
        }
    }
    Ok((shard, peer))
}

fn wanted(daemon: &Daemon, said: &Preamble) -> Result<(Option<usize>, PeerProgram), PeerPortError> {
    check(daemon.config.pair, daemon.config.node, said).map_err(PeerPortError::Unwanted)?;
    let peer = PeerProgram::of(daemon, said)?;
    let shard = wanted_shard(daemon, said).map_err(PeerPortError::Unwanted)?;
    Ok((shard, peer))
}

fn wanted_shard(daemon: &Daemon, said: &Preamble) -> Result<Option<usize>, PreambleRefusal> {
    match said.purpose {
        Purpose::Control => Ok(None),
        Purpose::Shard { .. } if daemon.config.node == NodeNumber::One => Err(PreambleRefusal::Direction),
        Purpose::Shard { shard, shards } if shards == daemon.config.shards && shard < shards => {
            Ok(usize::try_from(shard).ok())
        }
        Purpose::Shard { .. } => Err(PreambleRefusal::Shards),
        Purpose::Accepted { .. } | Purpose::Refused(_) | Purpose::Confirmed { .. } => {
            Err(PreambleRefusal::Version)
        }
    }
}
