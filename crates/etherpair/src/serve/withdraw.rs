//! Volumes that are not configured any more go from here, and their files stay: what the peer can go on with is left to it, and what
//! it cannot is not given up, unless it is not to be served there either.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use admin::peer::PeerRequest;
use aoe::Address;
use tokio::time::timeout;

use super::daemon::Daemon;
use super::peer_control::Peer;
use super::remove::stop_serving;
use super::volumes::Volume;

/// A peer that takes longer to say what it is to serve is as good as none.
const PATIENCE: Duration = Duration::from_secs(5);

/// Whether a volume is to be served here, whether it is or not.
pub(super) fn is_configured(daemon: &Daemon, address: &str) -> bool {
    address.parse().is_ok_and(|address: Address| {
        daemon.volumes().contains_key(&address) || daemon.broken().contains_key(&address)
    })
}

/// Refuses to give up what the peer is to have and cannot go on with. What the peer is not to have: nobody needs it any more.
pub(super) async fn refuse_needed(
    daemon: &Daemon,
    removed: &[Volume],
    node_file: &Path,
    refused: &mut Vec<String>,
) -> BTreeSet<Address> {
    let (_, needed) = daemon.dispensable_of(removed.to_vec()).await;
    let (mut unwanted, mut peer) = (BTreeSet::new(), None);
    for volume in removed.iter().filter(|volume| needed.contains(&volume.entry.address)) {
        let address = volume.entry.address;
        let why = match peer_has(daemon, &mut peer, address).await {
            Ok(false) => {
                unwanted.insert(address);
                continue;
            }
            Ok(true) => "its copy is not up to date".to_owned(),
            Err(error) => error,
        };
        let file = volume.entry.file.as_deref().unwrap_or(node_file).display();
        let give_up = match &volume.entry.file {
            Some(_) => format!("`etherpair volume remove {address} --here-only`"),
            None => "restart this daemon".to_owned(),
        };
        refused.push(format!(
            "{file}: {address} is not there any more, but only this node can serve it, the peer cannot go on: {why}; put it back, and \
             take it out when `etherpair status` says Established, or at the peer first. To give it up all the same: {give_up}"
        ));
    }
    unwanted
}

/// Whether the peer is to serve it. Why nobody knows is asked for once.
async fn peer_has(
    daemon: &Daemon,
    peer: &mut Option<Result<Peer, String>>,
    address: Address,
) -> Result<bool, String> {
    let ask = async {
        if peer.is_none() {
            *peer = Some(Peer::connect(daemon).await);
        }
        let connection = peer.as_mut().expect("just made").as_mut().map_err(|error| error.clone())?;
        connection.ask_for(&PeerRequest::IsConfigured { address: address.to_string() }).await
    };
    let answer = timeout(PATIENCE, ask).await.unwrap_or_else(|_| Err("it does not answer".to_owned()));
    answer.inspect_err(|error| *peer = Some(Err(error.clone())))
}

/// Has volumes served here no more: which are not, and why others still are. The peer goes on without a stall.
pub(super) async fn withdraw(
    daemon: &Daemon,
    removed: Vec<Volume>,
    unwanted: &BTreeSet<Address>,
) -> (Vec<Address>, Vec<String>) {
    let (mut gone, mut failed) = (Vec::new(), Vec::new());
    let left: Vec<Volume> =
        removed.iter().filter(|volume| !unwanted.contains(&volume.entry.address)).cloned().collect();
    let staying = daemon.leave_or_stay(&left).await;
    for volume in removed {
        let address = volume.entry.address;
        if staying.contains(&address) {
            failed.push(format!(
                "{address} was not left to the peer in time, and goes on being served: is the peer there, and does the arbiter answer?"
            ));
            continue;
        }
        match stop_serving(daemon, &volume).await {
            Ok(()) => gone.push(address),
            Err(error) => {
                // Whether it is put back or not, it is told of until it is gone.
                daemon.not_served(volume.entry, Some(volume.identity), &error);
                failed.push(error);
            }
        }
    }
    (gone, failed)
}
