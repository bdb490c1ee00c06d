//! The arbiter's register of a volume is made anew, after the arbiter was replaced or a volume was put back.
//!
//! Only a pair that has met knows for sure what the register must hold: both nodes go by the same membership, and neither goes on
//! without the other meanwhile. It need not be whole: without a register it could not become so. And only a pair that asks one arbiter
//! may have it made: of two registers each would let one node go on.

use replication::input::ArbiterAnswer;
use replication::membership::Membership;
use replication::volume::Phase;

use super::daemon::{Broken, Daemon};
use super::peer_control::Peer;
use super::same_arbiter::refuse_different;
use super::volumes::Volume;
use crate::arbiter::ArbiterError;

/// Makes the register of a volume.
///
/// # Errors
/// Why not.
pub(super) async fn register(daemon: &Daemon, volume: &Volume) -> Result<String, String> {
    let address = volume.entry.address;
    refuse_different(daemon, &mut Peer::connect(daemon).await?).await?;
    make_register(daemon, volume).await.map_err(|error| format!("{address}: {error}"))?;
    Ok(format!("the arbiter has the register of {address}"))
}

/// Makes the registers of all volumes.
///
/// # Errors
/// Which are not made, and why; and which are.
pub(super) async fn register_all(daemon: &Daemon) -> Result<String, String> {
    refuse_different(daemon, &mut Peer::connect(daemon).await?).await?;
    let broken = daemon.broken().clone();
    let volumes: Vec<Volume> = daemon.volumes().values().cloned().collect();
    let (mut made, mut lacking) = (Vec::new(), Vec::new());
    for volume in volumes.iter().filter(|volume| !broken.contains_key(&volume.entry.address)) {
        let address = volume.entry.address;
        match make_register(daemon, volume).await {
            Ok(()) => made.push(address.to_string()),
            Err(error) => lacking.push(format!("{address}: {error}")),
        }
    }
    let skipped = |(address, broken): (_, &Broken)| {
        format!("{address}: skipped, since this node does not serve it: {}", broken.error)
    };
    lacking.extend(broken.iter().map(skipped));
    let made = match made.as_slice() {
        [] => "the arbiter has no more registers than before".to_owned(),
        made => format!("the arbiter has the registers of {}", made.join(", ")),
    };
    if lacking.is_empty() {
        return Ok(made);
    }
    Err(format!("{}\n{made}; mend what is wrong with the others, then try again", lacking.join("\n")))
}

async fn make_register(daemon: &Daemon, volume: &Volume) -> Result<(), String> {
    let key = daemon.key(volume);
    let membership = paired_membership(daemon, volume).await?;
    let held = match daemon.arbiter.create(key, membership).await {
        Ok(()) => return Ok(()),
        Err(ArbiterError::Holds(held)) if held == membership => return Ok(()),
        // The volume was forced while the arbiter was away, and nobody has told it before this daemon ended. It may have been forced into
        // the epoch that the other node was granted: then nobody goes by that any more, since both go by this one.
        Err(ArbiterError::Holds(held)) if held.epoch <= membership.epoch => held,
        Err(error) => return Err(error.to_string()),
    };
    // The arbiter may have taken long to say so, and one of the nodes may go on alone by now.
    if paired_membership(daemon, volume).await? != membership {
        return Err("its membership has changed meanwhile; try again".to_owned());
    }
    match daemon.arbiter.ask(key, held, membership).await {
        Ok(ArbiterAnswer::Swapped) => Ok(()),
        Ok(answer) => Err(format!("the arbiter says {answer:?}; try again")),
        Err(error) => Err(error.to_string()),
    }
}

/// What both nodes go by.
async fn paired_membership(daemon: &Daemon, volume: &Volume) -> Result<Membership, String> {
    let status = daemon.statuses(std::slice::from_ref(volume)).await.pop().flatten();
    let paired = status.filter(|status| status.phase == Phase::Paired);
    paired
        .map(|status| status.membership)
        .ok_or_else(|| "both nodes must be connected; see `etherpair status`".to_owned())
}
