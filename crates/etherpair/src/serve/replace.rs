//! A node gets its copies anew, because a disk was replaced, or metadata is lost, or all of the node was: which ones is decided here, by
//! what the peer says of its volumes. How one is made is [`anew`](super::anew)'s business.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use admin::ReplaceRequest;
use admin::peer::{Described, PeerRequest};
use aoe::Address;
use replication::membership::Members;
use replication::message::CopyState;
use replication::volume::Phase;

use super::anew::{make_anew, status_here};
use super::daemon::Daemon;
use super::peer_control::Peer;
use super::volumes::{Volume, parse_address};

/// Volumes described at once: with the longest lists of initiators they fit in a line.
const PAGE_VOLUMES: usize = 8;

/// Makes the copy of a volume anew, or those of all that are not served here.
///
/// # Errors
/// Why not; of several, how far it has come.
pub(crate) async fn replace(daemon: &Arc<Daemon>, request: ReplaceRequest) -> Result<String, String> {
    let wanted = request.address.as_deref().map(parse_address).transpose()?;
    let mut peer = Peer::connect(daemon).await?;
    let mut made = Vec::new();
    let outcome = match wanted {
        Some(address) => replace_named(daemon, &mut peer, &request, address, &mut made).await,
        None => replace_all(daemon, &mut peer, &request, &mut made).await,
    };
    outcome.map_err(|error| {
        let before =
            if made.is_empty() { String::new() } else { format!("; made anew: {}", made.join(", ")) };
        format!("{error}{before}")
    })?;
    if made.is_empty() {
        return Ok("every volume of the peer's has a good copy here already".to_owned());
    }
    Ok(format!(
        "{}: made anew; all of it is being copied from the peer, see `etherpair status`",
        made.join(", ")
    ))
}

async fn replace_named(
    daemon: &Arc<Daemon>,
    peer: &mut Peer,
    request: &ReplaceRequest,
    address: Address,
    made: &mut Vec<String>,
) -> Result<(), String> {
    let describe = PeerRequest::Describe { address: Some(address.to_string()), after: None };
    let described: Vec<Described> = peer.ask_for(&describe).await?;
    let described = described.first().ok_or_else(|| not_served_there(&address.to_string()))?;
    made.push(make_anew(daemon, request, described).await?);
    Ok(())
}

async fn replace_all(
    daemon: &Arc<Daemon>,
    peer: &mut Peer,
    request: &ReplaceRequest,
    made: &mut Vec<String>,
) -> Result<(), String> {
    let (mut last, mut failed) = (None, Vec::new());
    loop {
        let after = last.map_or_else(String::new, |address: Address| address.to_string());
        let page = peer.ask_for(&PeerRequest::Describe { address: None, after: Some(after) }).await?;
        let page = beyond(page, &mut last)?;
        if page.is_empty() {
            return match last {
                None => Err(not_served_there("any volume")),
                Some(_) if failed.is_empty() => Ok(()),
                Some(_) => Err(failed.join("\n")),
            };
        }
        for described in page {
            if !is_served_well(daemon, &described).await {
                match make_anew(daemon, request, &described).await {
                    Ok(address) => made.push(address),
                    // The others are no less lacking for it.
                    Err(error) => failed.push(error),
                }
            }
        }
    }
}

fn not_served_there(which: &str) -> String {
    format!("the peer does not serve {which}; only it could say what is to be made anew")
}

/// What was not told before, up to a new last address: a peer of an older version tells everything each time.
fn beyond(page: Vec<Described>, last: &mut Option<Address>) -> Result<Vec<Described>, String> {
    let before = *last;
    let mut new = Vec::new();
    for described in page {
        let address = parse_address(&described.address)?;
        if before.is_none_or(|before| address > before) {
            *last = (*last).max(Some(address));
            new.push(described);
        }
    }
    Ok(new)
}

/// What is here of the volumes that the peer asks for: of one, of a few after an address, or of all.
pub(super) async fn describe(
    daemon: &Daemon,
    address: Option<&str>,
    after: Option<&str>,
) -> Result<Vec<Described>, String> {
    let volumes: Vec<Volume> = match (address, after) {
        (Some(address), _) => daemon.volumes().get(&parse_address(address)?).cloned().into_iter().collect(),
        (None, Some("")) => page(&daemon.volumes(), None),
        (None, Some(after)) => page(&daemon.volumes(), Some(parse_address(after)?)),
        (None, None) => daemon.volumes().values().cloned().collect(),
    };
    let statuses = daemon.statuses(&volumes).await;
    let described = volumes.iter().zip(statuses).map(|(volume, status)| {
        let status = status.ok_or("a thread does not answer; see the log")?;
        Ok(Described {
            address: volume.entry.address.to_string(),
            identity: volume.identity.to_string(),
            sectors: status.sectors,
            sector_size: volume.sector_size.bytes(),
            epoch: status.membership.epoch.0,
            is_sole_and_good: status.phase == Phase::Alone
                && status.membership.members == Members::Only(daemon.config.node)
                && status.copy == CopyState::Good
                && status.lacking == 0,
            settings: volume.entry.settings(),
        })
    });
    described.collect()
}

/// The next few beyond an address.
fn page<T: Clone>(volumes: &BTreeMap<Address, T>, after: Option<Address>) -> Vec<T> {
    let from = after.map_or(Bound::Unbounded, Bound::Excluded);
    volumes.range((from, Bound::Unbounded)).take(PAGE_VOLUMES).map(|(_, volume)| volume.clone()).collect()
}

async fn is_served_well(daemon: &Daemon, described: &Described) -> bool {
    match status_here(daemon, described).await {
        Some((_, status)) => status.copy != CopyState::Diskless,
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use admin::LINE_BYTES_MAX;
    use aoe::limits::MAC_MASK_EDITED_MAX;

    /// With everything in it that may be.
    fn described(address: Address) -> Described {
        let mask = vec!["\"02:00:00:00:00:01\""; MAC_MASK_EDITED_MAX].join(", ");
        Described {
            address: address.to_string(),
            identity: "f".repeat(32),
            sectors: u64::MAX,
            sector_size: 4096,
            epoch: u64::MAX,
            is_sole_and_good: false,
            settings: format!(
                "buffer_count = 65535\ndurability = \"async\"\nasync_server = 1\nasync_lag = \"1073741824\"\nresync_rate = \"{}\"\n\
                 resync_checksums = true\nmasks = [{mask}]\n",
                u64::MAX
            ),
        }
    }

    fn volumes() -> BTreeMap<Address, Described> {
        let addresses = (0..1000_u16).map(|number| format!("{}.{}", 7 + number / 250, number % 250));
        let addresses = addresses.map(|address| parse_address(&address).expect("an address"));
        addresses.map(|address| (address, described(address))).collect()
    }

    #[test]
    fn a_thousand_volumes_with_full_lists_are_told_a_few_at_a_time_in_lines_that_fit() {
        let (all, mut last, mut told) = (volumes(), None, Vec::new());
        loop {
            let answer = page(&all, last);
            let line = serde_json::to_string(&Ok::<_, String>(&answer)).expect("texts and numbers");
            assert!(line.len() < LINE_BYTES_MAX, "{}", line.len());
            let new = beyond(answer, &mut last).expect("addresses");
            if new.is_empty() {
                break;
            }
            told.extend(new);
        }
        assert!(told.iter().eq(all.values()), "{} of {}", told.len(), all.len());
    }

    #[test]
    fn an_older_peer_that_tells_everything_each_time_is_believed_once() {
        let (all, mut last) = (volumes(), None);
        let told = |last: &mut _| beyond(all.values().cloned().collect(), last).expect("addresses");
        assert!(told(&mut last).iter().eq(all.values()));
        assert_eq!(told(&mut last), []);
    }
}
