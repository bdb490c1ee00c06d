//! Connecting to the peer: which of its addresses is tried when, and again when a stream has ended.
//!
//! Node 1 connects for each shard's stream; either may connect for a request of the control plane. Addresses are tried in the order
//! of the configuration, each a moment after the one before, so that one behind a dead link holds nothing up. The one whose link lost the
//! last stream comes last. What is said on a connection is `peer_port`'s business.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use replication::membership::NodeNumber;
use replication::wire::preamble::Purpose;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::daemon::Daemon;
use super::peer_port::{PeerPortError, PeerProgram, connected, greet};
use crate::streams::{PeerConnection, connect_peer};

/// How long one address is tried.
const PATIENCE: Duration = Duration::from_millis(500);
/// How much later than one address the next one is tried as well. Who can be reached between two machines in one place answers within a
/// millisecond, and a stream that was lost has to stand again before its lease is over.
const HEAD_START: Duration = Duration::from_millis(50);
/// When no address answers, all are tried again after this time.
const RETRY: Duration = Duration::from_millis(200);
/// After the peer has ended a connection, so that two nodes that do not agree do not spin.
const RETRY_ENDED: Duration = Duration::from_millis(50);

/// A connection on which both have said who they are.
type Greeted = (SocketAddr, PeerConnection, PeerProgram);

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
pub(crate) async fn connect_control(daemon: &Daemon) -> Result<PeerConnection, PeerPortError> {
    let mut last = PeerPortError::Silent;
    let addresses = &daemon.config.peer_addresses;
    let greeted = connect(daemon, addresses, Purpose::Control, |_, error| last = error).await;
    greeted.map(|(_, stream, _)| stream).ok_or(last)
}

async fn keep_stream(daemon: Arc<Daemon>, shard: usize) {
    let number = u32::try_from(shard).expect("few shards");
    let purpose = Purpose::Shard { shard: number, shards: daemon.config.shards };
    loop {
        while daemon.links.is_standing(shard) {
            daemon.links.changed[shard].notified().await;
            sleep(RETRY_ENDED).await;
        }
        let addresses = last_comes(&daemon.config.peer_addresses, daemon.links.lost_at(shard));
        let failed = |address, error| {
            let news = daemon.links.failed(shard, address, &error);
            news.into_iter().for_each(|news| daemon.report(news));
        };
        if let Some((address, stream, peer)) = connect(&daemon, &addresses, purpose, failed).await
            && let Err(error) = connected(&daemon, shard, address, stream, peer)
        {
            failed(address, error);
        }
        if !daemon.links.is_standing(shard) {
            sleep(RETRY).await;
        }
    }
}

/// All addresses in their order, but this one last.
fn last_comes(addresses: &[SocketAddr], lost: Option<SocketAddr>) -> Vec<SocketAddr> {
    let mut addresses = addresses.to_vec();
    addresses.sort_by_key(|address| Some(*address) == lost);
    addresses
}

/// A connection to the first address where the peer answers; `failed` is told what is wrong with others.
async fn connect(
    daemon: &Daemon,
    addresses: &[SocketAddr],
    purpose: Purpose,
    mut failed: impl FnMut(SocketAddr, PeerPortError),
) -> Option<Greeted> {
    let mut opening = JoinSet::new();
    for (left, &address) in (0..addresses.len()).rev().zip(addresses) {
        opening.spawn(open(address));
        // Nothing is opened for longer than that.
        let wait = if left > 0 { HEAD_START } else { 2 * PATIENCE };
        while let Ok(Some(opened)) = timeout(wait, opening.join_next()).await {
            // One at a time is greeted: the peer takes the last for the stream that counts.
            let (address, stream) = opened.expect("it neither panics nor is given up");
            let greeted = match stream {
                Ok(mut stream) => greet(daemon, &mut stream, purpose).await.map(|peer| (stream, peer)),
                Err(error) => Err(error),
            };
            match greeted {
                Ok((stream, peer)) => return Some((address, stream, peer)),
                Err(error) => failed(address, error),
            }
        }
    }
    None
}

async fn open(address: SocketAddr) -> (SocketAddr, Result<PeerConnection, PeerPortError>) {
    let stream = timeout(PATIENCE, connect_peer(address)).await;
    (address, stream.map_err(|_| PeerPortError::Silent).and_then(|stream| Ok(stream?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_that_lost_the_stream_comes_last() {
        let [first, second, third] = ["10.8.0.1:1", "10.8.1.1:1", "10.8.2.1:1"]
            .map(|text| text.parse::<SocketAddr>().expect("an address"));
        let all = [first, second, third];
        assert_eq!(last_comes(&all, None), all);
        assert_eq!(last_comes(&all, Some(first)), [second, third, first]);
        assert_eq!(last_comes(&all, Some(second)), [first, third, second]);
        assert_eq!(last_comes(&all[..1], Some(first)), [first]);
    }
}
