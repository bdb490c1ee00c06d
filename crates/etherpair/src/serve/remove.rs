//! A volume leaves this node, or both: first its shard ends what is under way and closes its files, then what describes it is put
//! aside or deleted.
//!
//! Data is deleted only if that was said, and then before what describes it, so that whatever interrupts it, the same command finds
//! the rest. Otherwise metadata and description are renamed, so that a volume removed by mistake can be put
//! back by hand; under their new names nothing takes them for a volume's. Devices are left as they are.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use admin::RemoveRequest;
use admin::peer::{PeerRequest, PeerVolume};
use aoe::Address;
use os::file::is_device;
use replication::identity::VolumeIdentity;
use replication::input::Control;
use replication::membership::Membership;
use replication::witness::RegisterKey;
use tokio::time::Instant;

use super::daemon::{Broken, Daemon};
use super::files::unused_aside;
use super::peer_control::Peer;
use super::volumes::{Volume, parse_address};
use crate::arbiter::ArbiterError;
use crate::config::volume::{StatedIdentity, VolumeEntry};
use crate::durable_file;

/// How long a disk may take to give back what it was asked.
const PATIENCE: Duration = Duration::from_secs(20);
const INTERVAL: Duration = Duration::from_millis(10);
/// The register may change while its removal is asked for.
const TRIES: usize = 4;

/// What is to be removed from this node: served or not.
struct Found {
    served: Option<Volume>,
    entry: VolumeEntry,
    /// Known of what was opened, or said by what describes it.
    identity: Option<VolumeIdentity>,
}

impl Found {
    /// What an operator has written by hand he takes away by hand; and no data is deleted of which nobody knows whose it is.
    fn may_be_removed(&self, delete_data: bool) -> Result<(), String> {
        file_of(&self.entry)?;
        match (&self.entry.identity, self.identity) {
            (Some(StatedIdentity { identity: stated, place }), Some(identity))
                if delete_data && *stated != identity =>
            {
                Err(format!(
                    "{place}: is {stated}, and {} is the metadata of volume {identity}: nobody knows whose data that is, and none is deleted. Put that \
                     right, then `etherpair reload`; or remove {} without --delete-data",
                    self.entry.metadata.display(),
                    self.entry.address
                ))
            }
            _ => Ok(()),
        }
    }
}

/// Removes a volume from both nodes, or from this one.
///
/// # Errors
/// Why not, and how far it has come.
pub(crate) async fn remove(daemon: &Arc<Daemon>, request: RemoveRequest) -> Result<String, String> {
    let address = parse_address(&request.address)?;
    let found = find(daemon, address)
        .ok_or_else(|| format!("{address}: there is no such volume; see `etherpair volume list`"))?;
    let delete_data = request.delete_data;
    found.may_be_removed(delete_data)?;
    let identity = found.identity;
    let mut was_there = true;
    if !request.here_only {
        let volume = PeerVolume {
            address: address.to_string(),
            identity: identity.map(|id| id.to_string()),
            delete_data,
        };
        let mut peer = Peer::connect(daemon).await.map_err(|error| {
            format!("{error}; nothing was changed. --here-only removes it from this node, and leaves the peer's for later")
        })?;
        peer.ask(&PeerRequest::MayRemove(volume.clone())).await?;
        // An older peer does not say whether it had one.
        was_there = peer.ask_for::<Option<bool>>(&PeerRequest::Remove(volume)).await?.unwrap_or(true);
    }
    let so_far = |error: String| match (request.here_only, was_there) {
        (true, _) => error,
        (false, true) => format!("{error}; the peer has removed its copy already"),
        (false, false) => format!("{error}; the peer knows of no such volume"),
    };
    let _alone = daemon.change_alone().await.map_err(so_far)?;
    let left = remove_here(daemon, address, identity, delete_data).await.map_err(so_far)?;
    let register = match identity {
        _ if request.here_only => String::new(),
        Some(volume) => forget_register(daemon, volume).await,
        None => "; it could not be opened, so the arbiter keeps its register, which does no harm".to_owned(),
    };
    let place = match (request.here_only, was_there) {
        (true, _) => "from this node",
        (false, true) => "from both nodes",
        (false, false) => {
            "from this node; the peer knows of no such volume: if files of an earlier try are left there, they stay"
        }
    };
    Ok(format!("{address}: removed {place}; {left}{register}"))
}

/// Removes it from this node, unless something else has become of it while the peer was asked. What became of its files.
async fn remove_here(
    daemon: &Arc<Daemon>,
    address: Address,
    identity: Option<VolumeIdentity>,
    delete_data: bool,
) -> Result<String, String> {
    match find(daemon, address) {
        Some(now) if now.identity == identity => retire(daemon, now, delete_data).await,
        Some(_) => Err(format!("{address}: is another volume now; see `etherpair volume list`")),
        None => Ok("nothing of it was left here".to_owned()),
    }
}

/// The peer asks whether a volume could be removed here.
pub(super) fn may_remove_for_peer(daemon: &Daemon, volume: &PeerVolume) -> Result<(), String> {
    find_for_peer(daemon, volume)?.map_or(Ok(()), |found| found.may_be_removed(volume.delete_data))
}

/// The peer has a volume removed here. Whether there was one: what is not here is removed already.
pub(super) async fn remove_for_peer(daemon: &Arc<Daemon>, volume: PeerVolume) -> Result<bool, String> {
    let _alone = daemon.change_alone().await?;
    match find_for_peer(daemon, &volume)? {
        Some(found) => retire(daemon, found, volume.delete_data).await.map(|_| true),
        None => Ok(false),
    }
}

/// Has a volume served no more, and its files closed. It stays configured.
///
/// # Errors
/// If its disk does not give back what it was asked.
pub(super) async fn stop_serving(daemon: &Daemon, volume: &Volume) -> Result<(), String> {
    let address = volume.entry.address;
    daemon.control(std::slice::from_ref(volume), Control::Remove);
    let deadline = Instant::now() + PATIENCE;
    while daemon.has(volume) {
        if Instant::now() > deadline {
            return Err(format!(
                "{address}: is served no more, but its disk has not given back what it was asked; try again when it has"
            ));
        }
        tokio::time::sleep(INTERVAL).await;
    }
    Ok(())
}

fn find(daemon: &Daemon, address: Address) -> Option<Found> {
    if let Some(volume) = daemon.volumes().get(&address).cloned() {
        let (entry, identity) = (volume.entry.clone(), Some(volume.identity));
        return Some(Found { served: Some(volume), entry, identity });
    }
    let Broken { entry, identity, .. } = daemon.broken().get(&address)?.clone();
    let identity = identity.or_else(|| entry.identity.as_ref().map(|stated| stated.identity));
    Some(Found { served: None, entry, identity })
}

/// The peer's volume of the same identity. If one of the nodes could never open what it has at that address, and nothing says which volume
/// it is, only the address is known: enough to put things aside, and not to delete anything.
fn find_for_peer(daemon: &Daemon, wanted: &PeerVolume) -> Result<Option<Found>, String> {
    refuse_elsewhere(daemon, wanted)?;
    let Some(found) = wanted.address.parse().ok().and_then(|address| find(daemon, address)) else {
        return Ok(None);
    };
    let address = found.entry.address;
    let unknown = match (found.identity, &wanted.identity) {
        (Some(here), Some(identity)) => return Ok((here.to_string() == *identity).then_some(found)),
        _ if !wanted.delete_data => return Ok(Some(found)),
        (Some(here), None) => {
            format!("{address} is volume {here} here, and nobody knows which one it is at the node that asks")
        }
        (None, _) => format!("nobody knows which volume {address} is here"),
    };
    // What is written by hand has another cure.
    file_of(&found.entry)?;
    Err(format!(
        "{unknown}, where it could never be opened: no data is deleted, and nothing was changed. Where it is to be deleted: `etherpair volume \
         remove {address} --delete-data --here-only`, on each node by itself"
    ))
}

/// Refuses a volume that is another address's here: it would keep it, and lose its register.
fn refuse_elsewhere(daemon: &Daemon, wanted: &PeerVolume) -> Result<(), String> {
    let mut addresses: Vec<Address> = daemon.volumes().keys().copied().collect();
    addresses.extend(daemon.broken().keys());
    let is_it = |found: &Found| found.identity.is_some_and(|here| Some(here.to_string()) == wanted.identity);
    let mut found = addresses.into_iter().filter_map(|address| find(daemon, address)).filter(is_it);
    match found.find(|found| found.entry.address.to_string() != wanted.address) {
        None => Ok(()),
        Some(found) => Err(format!(
            "the volume that is {} at the node that asks is {} here: nothing was changed. See where the files of two volumes were swapped, and put \
             that right; --here-only removes it from one node",
            wanted.address, found.entry.address
        )),
    }
}

/// The file that describes it, which goes with it.
fn file_of(entry: &VolumeEntry) -> Result<&Path, String> {
    entry.file.as_deref().ok_or_else(|| {
        format!(
            "{} stands in node.toml: remove its [[volume]] there on both nodes, then `etherpair reload` on both",
            entry.address
        )
    })
}

/// Removes a volume from this node; what became of its files.
async fn retire(daemon: &Arc<Daemon>, found: Found, delete_data: bool) -> Result<String, String> {
    found.may_be_removed(delete_data)?;
    let Found { served, entry, identity } = found;
    let put = async {
        if let Some(volume) = &served {
            stop_serving(daemon, volume).await?;
        }
        let (entry, suffix) = (entry.clone(), identity.map_or("unopened".to_owned(), |id| id.to_string()));
        daemon.blocking(move |_| put_away(&entry, &suffix, delete_data)).await
    };
    // Another try finds it.
    let left = put.await.inspect_err(|error| daemon.not_served(entry.clone(), identity, error))?;
    daemon.forget_not_served(entry.address);
    Ok(left)
}

/// What is kept loses first what says that there is a volume, so that whatever is interrupted never leaves one without metadata. What is
/// deleted loses that last, so that the rest is found. Blocks.
fn put_away(entry: &VolumeEntry, suffix: &str, delete_data: bool) -> Result<String, String> {
    let file = file_of(entry)?;
    let data = entry.data.display();
    let metadata = Some(entry.metadata.as_path()).filter(|path| !is_device(path));
    if !delete_data {
        for path in [Some(file), metadata].into_iter().flatten() {
            put_aside(path, suffix).map_err(|error| not_put(path, &error))?;
        }
        return Ok(format!("{data} is as it was, the metadata is beside it under another name"));
    }
    let volume = Some(entry.data.as_path()).filter(|path| !is_device(path));
    for path in [volume, metadata, Some(file)].into_iter().flatten() {
        delete(path).map_err(|error| not_put(path, &error))?;
    }
    Ok(match volume {
        Some(_) => format!("{data} is deleted"),
        None => format!("{data} is a device, and is as it was"),
    })
}

fn not_put(path: &Path, error: &io::Error) -> String {
    format!("{}: {error}; it is served no more: mend that, then remove it again", path.display())
}

/// What is not there needs nothing.
fn put_aside(path: &Path, suffix: &str) -> io::Result<()> {
    let renamed = fs::rename(path, unused_aside(path, &format!("removed-{suffix}")));
    or_missing(renamed.and_then(|()| durable_file::sync_directory_of(path)))
}

fn delete(path: &Path) -> io::Result<()> {
    or_missing(durable_file::remove(path))
}

fn or_missing(result: io::Result<()>) -> io::Result<()> {
    result.or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
}

/// Has the arbiter forget the volume; what there is to say about it.
async fn forget_register(daemon: &Daemon, volume: VolumeIdentity) -> String {
    let key = RegisterKey { pair: daemon.config.pair, volume };
    let mut expected = Membership::FIRST;
    for _ in 0..TRIES {
        match daemon.arbiter.remove(key, expected).await {
            Ok(()) | Err(ArbiterError::Nobody | ArbiterError::NoRegister) => return String::new(),
            Err(ArbiterError::Holds(held)) => expected = held,
            Err(error) => {
                return format!("; the arbiter keeps its register, which does no harm ({error})");
            }
        }
    }
    "; the arbiter keeps its register, which does no harm".to_owned()
}

#[cfg(test)]
mod tests {
    use admin::peer::Served;

    use super::super::volumes::tests::made;
    use super::*;
    use crate::arbiter::Arbiter;

    #[test]
    fn what_is_put_aside_is_no_volume_any_more_and_nothing_that_is_missing_matters() {
        let directory = std::env::temp_dir().join(format!("etherpair-remove-{}", std::process::id()));
        fs::create_dir_all(&directory).expect("a directory");
        let path = |name: &str| directory.join(name);
        let text = format!(
            "address = \"7.1\"\ndata = \"{}\"\nmetadata = \"{}\"\n",
            path("e7.1.img").display(),
            path("e7.1.meta").display()
        );
        let file = path("e7.1.volume.toml");
        let entry = VolumeEntry::parse(&file, &text).expect("a volume");
        for name in ["e7.1.volume.toml", "e7.1.meta", "e7.1.img"] {
            fs::write(path(name), name).expect("a file");
        }
        assert!(put_away(&entry, "ff", false).expect("put away").contains("is as it was"));
        let mut left: Vec<_> = fs::read_dir(&directory)
            .expect("a directory")
            .map(|entry| entry.expect("a file").file_name())
            .collect();
        left.sort();
        assert_eq!(left, ["e7.1.img", "e7.1.meta.removed-ff", "e7.1.volume.toml.removed-ff"]);
        // Another one at the same places.
        fs::write(path("e7.1.meta"), "another").expect("a file");
        put_away(&entry, "ff", false).expect("put away");
        let read = |name: &str| fs::read_to_string(path(name)).expect("put aside");
        assert_eq!(
            (read("e7.1.meta.removed-ff"), read("e7.1.meta.removed-ff-2")),
            ("e7.1.meta".into(), "another".into())
        );
        assert!(put_away(&entry, "ff", true).expect("deleted").contains("is deleted"));
        assert!(!path("e7.1.img").exists());
        let by_hand = VolumeEntry { file: None, ..entry };
        let refused = put_away(&by_hand, "ff", true).expect_err("not ours");
        assert!(refused.contains("stands in node.toml"), "{refused}");
        fs::remove_dir_all(&directory).expect("cleaned up");
    }

    #[test]
    fn what_is_left_of_a_deletion_that_was_interrupted_is_found_by_the_next_one() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = |name: &str| directory.path().join(name);
        let (file, names) = (path("e7.1.volume.toml"), ["e7.1.img", "e7.1.meta", "e7.1.volume.toml"]);
        let entry =
            VolumeEntry::plain("7.1".parse().expect("an address"), path("e7.1.img"), path("e7.1.meta"));
        let entry = VolumeEntry { file: Some(file.clone()), ..entry };
        for done in 0..names.len() {
            names.iter().for_each(|name| fs::write(path(name), name).expect("a file"));
            let mut left = done;
            durable_file::watch::set(move |step| {
                let is_next = step == durable_file::Step::Remove;
                let is_over = is_next && left == 0;
                left -= usize::from(is_next && !is_over);
                if is_over { Err(io::Error::other("interrupted")) } else { Ok(()) }
            });
            let stopped = put_away(&entry, "ff", true).expect_err("interrupted");
            assert!(stopped.contains("interrupted; it is served no more"), "{stopped}");
            let there: Vec<_> = names.iter().filter(|name| path(name).exists()).collect();
            assert_eq!(there.len(), names.len() - done);
            assert!(file.exists(), "what is left of {there:?} is described");
            durable_file::watch::set(|_| Ok(()));
            assert!(put_away(&entry, "ff", true).expect("deleted").contains("is deleted"));
            assert!(names.iter().all(|name| !path(name).exists()));
        }
    }

    #[tokio::test]
    async fn a_volume_whose_removal_has_failed_keeps_its_identity_for_the_next_try() {
        let daemon = Daemon::on_stage(Arbiter::None);
        let entry = daemon.config.volumes[0].clone();
        let volume = daemon.put_on_stage(entry.clone());
        daemon.not_served(entry.clone(), Some(volume.identity), &"its disk is slow");
        // The disk has answered, and `reload` has tried once more.
        daemon.volumes().clear();
        daemon.not_served(entry.clone(), None, &"it cannot be opened");
        let found = find(&daemon, entry.address).expect("a volume");
        assert_eq!((found.served.is_none(), found.identity), (true, Some(volume.identity)));
        let wanted =
            |identity| PeerVolume { address: entry.address.to_string(), identity, delete_data: false };
        let found =
            |identity| find_for_peer(&daemon, &wanted(identity)).expect("no data is in danger").is_some();
        assert!(found(Some(volume.identity.to_string())) && !found(Some("f".repeat(32))));
        // Another volume at the same address.
        daemon.not_served(VolumeEntry { metadata: "/srv/another".into(), ..entry.clone() }, None, &"no disk");
        assert_eq!(find(&daemon, entry.address).expect("a volume").identity, None);
    }

    const OURS: VolumeIdentity = VolumeIdentity(0xa1);
    const OTHER: VolumeIdentity = VolumeIdentity(0xb2);

    #[test]
    fn it_is_known_which_volume_is_not_served_if_it_could_be_opened_or_anything_says_so() {
        let directory = tempfile::tempdir().expect("a directory");
        let daemon = Daemon::on_stage(Arbiter::None);
        let plain = made(directory.path(), daemon.config.pair, "7.1", OURS);
        let file = plain.file.clone().expect("a file of its own");
        let identity = |entry: &VolumeEntry| {
            daemon.broken().clear();
            daemon.add_configured(entry.clone()).expect_err("it is not served");
            find(&daemon, entry.address).expect("not served").identity
        };
        let described = plain.clone().of_volume(&file, OTHER);
        assert_eq!(identity(&described), Some(OURS), "whatever is said");
        let removed = |delete| find(&daemon, plain.address).expect("not served").may_be_removed(delete);
        let refused = removed(true).expect_err("whose data is it?");
        assert!(refused.contains(&format!("`identity`: is {OTHER}, and ")), "{refused}");
        assert_eq!(removed(false), Ok(()));
        *daemon.at_peer() = vec![Served { address: "e7.1".to_owned(), identity: OTHER.to_string() }];
        assert_eq!(identity(&plain), Some(OURS), "the peer has another one there");
        fs::remove_file(&plain.metadata).expect("lost");
        assert_eq!(identity(&plain.of_volume(&file, OURS)), Some(OURS), "as it is described");
    }

    #[test]
    fn data_is_deleted_for_the_peer_only_if_both_nodes_know_which_volume_it_is() {
        let daemon = Daemon::on_stage(Arbiter::None);
        let by_hand = daemon.config.volumes[0].clone();
        let entry = VolumeEntry { file: Some("/srv/e7.1.volume.toml".into()), ..by_hand.clone() };
        let found = |known: Option<VolumeIdentity>, asked: Option<VolumeIdentity>, delete_data| {
            daemon.broken().clear();
            daemon.not_served(entry.clone(), known, &"no disk");
            let (address, identity) = (entry.address.to_string(), asked.map(|identity| identity.to_string()));
            find_for_peer(&daemon, &PeerVolume { address, identity, delete_data })
                .map(|found| found.is_some())
        };
        for delete in [false, true] {
            assert_eq!(found(Some(OURS), Some(OURS), delete), Ok(true));
            assert_eq!(found(Some(OURS), Some(OTHER), delete), Ok(false));
        }
        let elsewhere = VolumeEntry { address: "9.9".parse().expect("an address"), ..entry.clone() };
        daemon.put_on_stage(elsewhere);
        let refused =
            found(Some(OURS), Some(VolumeIdentity(7)), false).expect_err("it is at another address");
        assert!(refused.contains("is e9.9 here: nothing was changed"), "{refused}");
        for (known, asked) in [(Some(OURS), None), (None, Some(OURS)), (None, None)] {
            assert_eq!(found(known, asked, false), Ok(true), "it is put aside");
            let refused = found(known, asked, true).expect_err("whose data is it?");
            let cure = format!("`etherpair volume remove {} --delete-data --here-only`", entry.address);
            assert!(refused.contains("nothing was changed") && refused.contains(&cure), "{refused}");
        }
        daemon.broken().clear();
        daemon.not_served(by_hand, Some(OURS), &"no disk");
        let wanted = PeerVolume { address: entry.address.to_string(), identity: None, delete_data: true };
        let refused = may_remove_for_peer(&daemon, &wanted).expect_err("it is not the peer's to remove");
        assert!(refused.contains("stands in node.toml"), "{refused}");
    }
}
