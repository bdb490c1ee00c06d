//! The arbiter's register of a volume is made anew, after the arbiter was replaced or a volume was put back.
//!
//! Only a pair that has met knows for sure what the register must hold: both nodes go by the same membership, and neither goes on
//! without the other meanwhile. It need not be whole: without a register it could not become so. And only a pair that asks one arbiter
//! may have it made: of two registers each would let one node go on.

use replication::input::ArbiterAnswer;
use replication::membership::Membership;
use replication::volume::Phase;

use super::daemon::Daemon;
use super::peer_control::Peer;
use super::same_arbiter::refuse_different;
use super::volumes::Volume;
use crate::arbiter::ArbiterError;

/// Makes the registers of these volumes.
///
/// # Errors
/// Why not.
pub(super) async fn register(daemon: &Daemon, volumes: &[Volume]) -> Result<String, String> {
    refuse_different(daemon, &mut Peer::connect(daemon).await?).await?;
    let mut made = Vec::new();
    for volume in volumes {
        make_register(daemon, volume).await.map_err(|error| format!("{}: {error}", volume.entry.address))?;
        made.push(volume.entry.address.to_string());
    }
    Ok(format!("the arbiter has the registers of {}", made.join(", ")))
}

async fn make_register(daemon: &Daemon, volume: &Volume) -> Result<(), String> {
    let key = daemon.key(volume);
    let membership = paired_membership(daemon, volume).await?;
    let held = match daemon.arbiter.create(key, membership).await {
        Ok(()) => return Ok(()),
        Err(ArbiterError::Holds(held)) if held == membership => return Ok(()),
        // The volume was forced while the arbiter was away, and nobody has told it before this daemon ended.
        Err(ArbiterError::Holds(held)) if held.epoch < membership.epoch => held,
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
