//! What all tasks of a node know, and what is done with what its shards say.
//!
//! Shards are asked by queues and answer by queues; a question to the arbiter is a task of its own, so that nothing here waits
//! for anything else.

mod asking;
#[cfg(test)]
mod stage;
mod standing;

use std::collections::BTreeMap;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use admin::RequestError;
use admin::peer::Served;
use aoe::Address;
use block::ExportId;
use os::Interface;
use os::shard::{Command, Event, ShardHandle};
use replication::identity::VolumeIdentity;
use replication::input::Control;
use replication::output::Event as VolumeEvent;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::{Notify, broadcast, oneshot};

use self::asking::Asked;
use super::changing::Changing;
use super::error::VolumeError;
use super::events::Report;
use super::interfaces::Interfaces;
use super::look::{Stranger, strangers};
use super::peer_links::Links;
use super::reload::WantedInterfaces;
use super::same_addresses::refuse_different;
use super::slow;
use super::volumes::{LOCK_PATIENCE_AT_START, OpenedVolume, Volume, shard_of};
use crate::arbiter::Arbiter;
use crate::config::node::NodeConfig;
use crate::config::volume::VolumeEntry;
use crate::seldom::Seldom;

/// A shard that does not answer within this time is left out.
const PATIENCE: Duration = Duration::from_secs(2);
/// Events that a slow listener may be behind.
const EVENTS_BEHIND: usize = 4096;

/// A volume that is configured and not served.
#[derive(Clone, Debug)]
pub(crate) struct Broken {
    /// As it is configured.
    pub(super) entry: VolumeEntry,
    /// Unless it was never opened.
    pub(super) identity: Option<VolumeIdentity>,
    /// Why it is not served.
    pub(super) error: String,
    /// Its disk had failed while it was served: whatever its metadata says, this copy counts no more.
    pub(super) is_lost: bool,
}

/// A node of a pair, as all its tasks know it.
pub(crate) struct Daemon {
    /// As it was when the daemon started, without volumes; interfaces may have come and gone since.
    pub(crate) config: NodeConfig,
    /// Those who serve.
    pub(crate) shards: Vec<ShardHandle>,
    /// Who decides.
    pub(crate) arbiter: Arbiter,
    /// The streams to the peer.
    pub(crate) links: Links,
    /// The interfaces to the initiators.
    pub(crate) storage: Interfaces,
    /// What happens, as JSON lines.
    pub(crate) events: broadcast::Sender<Arc<str>>,
    volumes: Mutex<BTreeMap<Address, Volume>>,
    /// A volume has come to be served.
    pub(super) volume_added: Notify,
    /// What the peer serves, as long as that is looked at before anything comes to be served here.
    at_peer: Mutex<Vec<Served>>,
    /// Volumes that are configured and cannot be served.
    broken: Mutex<BTreeMap<Address, Broken>>,
    pub(super) changing: Changing,
    /// Where interfaces are asked for.
    interfaces_wanted: UnboundedSender<WantedInterfaces>,
    interfaces: Mutex<Vec<String>>,
    leaving: Mutex<bool>,
    /// Which arbiter the peer asks, if it is another one than this node.
    peers_arbiter: Mutex<Option<String>>,
    unasked: Mutex<Seldom>,
    not_understood: Mutex<Seldom>,
    /// Until when another process may still be ending, whose locks are in the way.
    pub(crate) locks_until: Instant,
}

impl Daemon {
    /// A node without volumes.
    pub(crate) fn new(
        config: NodeConfig,
        shards: Vec<ShardHandle>,
        arbiter: Arbiter,
        interfaces_wanted: UnboundedSender<WantedInterfaces>,
    ) -> Self {
        let interfaces = Mutex::new(config.interfaces.clone());
        let links = Links::new(shards.len());
        let events = broadcast::Sender::new(EVENTS_BEHIND);
        Self {
            config,
            shards,
            arbiter,
            links,
            storage: Interfaces::default(),
            events,
            volumes: Mutex::default(),
            volume_added: Notify::new(),
            at_peer: Mutex::default(),
            broken: Mutex::default(),
            changing: Changing::default(),
            interfaces_wanted,
            interfaces,
            leaving: Mutex::default(),
            peers_arbiter: Mutex::default(),
            unasked: Mutex::default(),
            not_understood: Mutex::default(),
            locks_until: Instant::now() + LOCK_PATIENCE_AT_START,
        }
    }

    /// All volumes.
    pub(crate) fn volumes(&self) -> MutexGuard<'_, BTreeMap<Address, Volume>> {
        self.volumes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Interfaces on which initiators are served now.
    pub(crate) fn interfaces(&self) -> MutexGuard<'_, Vec<String>> {
        self.interfaces.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has initiators served on these interfaces.
    ///
    /// # Errors
    /// Why it stays as it was.
    pub(crate) async fn change_interfaces(&self, names: Vec<String>) -> Result<(), String> {
        let (reply, outcome) = oneshot::channel();
        // Whoever has the ports lives as long as the daemon.
        let _ = self.interfaces_wanted.send(WantedInterfaces { names, reply });
        outcome.await.unwrap_or_else(|_| Err("the daemon ends".to_owned()))
    }

    /// Has a volume served.
    ///
    /// # Errors
    /// If it cannot be opened, or the shard refuses it.
    pub(crate) fn add_volume(&self, entry: VolumeEntry) -> Result<(), VolumeError> {
        let interfaces = self.interfaces().clone();
        let opened = self.open_volume(&entry, &interfaces)?;
        self.serve_volume(entry, opened)
    }

    /// Opens a volume that is to be served on these interfaces. Blocks.
    ///
    /// # Errors
    /// If it cannot be opened, or another process serves its address there.
    pub(super) fn open_volume(
        &self,
        entry: &VolumeEntry,
        interfaces: &[String],
    ) -> Result<OpenedVolume, VolumeError> {
        let claims = self.claim(entry.address, interfaces)?;
        OpenedVolume::open(self.config.pair, entry, claims, self.locks_until)
    }

    /// Has a configured volume served; one that cannot be is told of, and no reason not to serve the others.
    ///
    /// # Errors
    /// Why it is not served.
    pub(crate) fn add_configured(&self, entry: VolumeEntry) -> Result<(), VolumeError> {
        let interfaces = self.interfaces().clone();
        let (mut identity, address) = (None, entry.address);
        let opened = self.open_volume(&entry, &interfaces);
        let served = opened.and_then(|opened| {
            identity = Some(opened.identity);
            self.serve_volume(entry.clone(), opened)
        });
        match served {
            Ok(()) => {
                self.broken().remove(&address);
                Ok(())
            }
            Err(error) => {
                let identity = identity.or_else(|| error.found());
                self.not_served(entry, identity, &error);
                Err(error)
            }
        }
    }

    /// A volume that was not served is not configured any more.
    pub(super) fn forget_not_served(&self, address: Address) {
        self.broken().remove(&address);
        self.give_up_claims(address);
    }

    /// A configured volume is not served, which is told. `identity` is what is known of it now.
    pub(super) fn not_served(
        &self,
        entry: VolumeEntry,
        identity: Option<VolumeIdentity>,
        error: &impl ToString,
    ) {
        let (about, error) = (entry.address.to_string(), error.to_string());
        let report = Report::not_served(&about, &error);
        let mut broken = self.broken();
        let before = broken.get(&entry.address).filter(|before| before.entry.metadata == entry.metadata);
        let (identity, is_lost) =
            (identity.or_else(|| before?.identity), before.is_some_and(|before| before.is_lost));
        broken.insert(entry.address, Broken { entry, identity, error, is_lost });
        drop(broken);
        self.report(report);
    }

    /// Who else serves these addresses. Waits for a moment whether anybody answers.
    pub(crate) fn strangers(&self, addresses: &[Address]) -> BTreeMap<Address, VolumeError> {
        let names = self.interfaces().clone();
        self.strangers_on(&names, 0, addresses)
    }

    /// The same on other interfaces than those of now, or on the last of them only, from that number on.
    pub(super) fn strangers_on(
        &self,
        names: &[String],
        first: usize,
        addresses: &[Address],
    ) -> BTreeMap<Address, VolumeError> {
        let interfaces: Vec<Interface> =
            names.iter().filter_map(|name| Interface::named(name).ok()).collect();
        let found = strangers(&self.config, &interfaces, first, addresses).into_iter();
        found
            .map(|(address, Stranger { interface, mac })| (address, VolumeError::Stranger { interface, mac }))
            .collect()
    }

    /// Volumes that are configured and cannot be served, and why.
    pub(crate) fn broken(&self) -> MutexGuard<'_, BTreeMap<Address, Broken>> {
        self.broken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has an opened volume served.
    ///
    /// # Errors
    /// If it is served at another address already, here or at the peer, or the shard refuses it.
    pub(crate) fn serve_volume(&self, entry: VolumeEntry, opened: OpenedVolume) -> Result<(), VolumeError> {
        let OpenedVolume { claims, identity, sectors, sector_size, export } = opened;
        let shard = usize::try_from(shard_of(entry.address, self.config.shards)).expect("few shards");
        let (reply, outcome) = channel();
        refuse_different(self, entry.address, identity)?;
        // Held until the volume is known, so that what the shard says of it finds it. All has been read: the shard waits for nothing.
        let mut volumes = self.volumes();
        if let Some(other) = volumes.values().find(|volume| volume.identity == identity) {
            return Err(served_at_another(&entry, other));
        }
        self.shards[shard].send(Command::AddMirroredExport { export, reply });
        let export = outcome.recv().map_err(|_| VolumeError::Lost)?.map_err(Box::new)?;
        self.shards[shard].send(Command::OperatorMask { export, mask: entry.masks.clone() });
        let address = entry.address;
        let volume = Volume { identity, shard, export, entry, sectors, sector_size, met: None };
        volumes.insert(address, volume);
        drop(volumes);
        self.volume_added.notify_one();
        self.claims().add(claims);
        Ok(())
    }

    /// Takes in what a shard says.
    ///
    /// # Errors
    /// The shard has ended.
    pub(crate) fn handle_event(self: &Arc<Self>, shard: usize, event: Event) -> Result<(), String> {
        match event {
            Event::Volume { volume, event } => self.volume_event(shard, volume, &event),
            Event::Ask { volume, question, expected, next, wish } => {
                self.ask(shard, volume, question, Asked { expected, next, wish });
            }
            Event::PeerFailed(failure) => {
                if let Some(report) = self.links.ended(shard, &failure) {
                    self.report(report);
                }
            }
            Event::Slow(slow) => {
                if let Some(volume) = self.find(shard, slow.request.export) {
                    self.report(slow::report(&volume.entry.address.to_string(), &slow));
                }
            }
            // All shards hear the same. Without addresses of the pair's own there is none to answer at.
            Event::PeerLinksDown(down) if shard == 0 && self.config.virtual_macs => {
                self.storage.peer_links_down(down).into_iter().for_each(|report| self.report(report));
            }
            Event::PeerLinksDown(_) => {}
            Event::RefreshFailed { error, .. } => tracing::error!("{error}"),
            Event::Failed(error) => return Err(error.to_string()),
            // The engine keeps what clients set in the metadata, and the size as well.
            Event::StoreState { .. } | Event::Resized { .. } => {}
        }
        Ok(())
    }

    /// Tells whoever wants to know, and the log.
    pub(crate) fn report(&self, report: Report) {
        report.log();
        let line = serde_json::to_string(&report).expect("texts and numbers");
        // Nobody may be listening.
        let _ = self.events.send(line.into());
    }

    /// Wants something of these volumes.
    pub(crate) fn control(&self, volumes: &[Volume], control: Control) {
        for volume in volumes {
            self.shards[volume.shard].send(Command::Control { volume: volume.export, control });
        }
        match control {
            Control::Leave => *self.leaving() = true,
            Control::Join => *self.leaving() = false,
            _ => {}
        }
    }

    /// Something was said at the socket for commands that is no request: a line in the log, but not for each one.
    pub(crate) fn complain_of_command(&self, error: &RequestError) {
        let mut not_understood = self.not_understood.lock().unwrap_or_else(PoisonError::into_inner);
        not_understood.write(Instant::now(), |more| {
            tracing::warn!("socket {}: {error}{more}", self.config.socket.display());
        });
    }

    /// Requests that take longer than this are told of from now on.
    pub(crate) fn tell_of_slow(&self, after: Duration) {
        for shard in &self.shards {
            shard.send(Command::SlowAfter(after));
        }
    }

    /// Whether this very volume is still served.
    pub(super) fn has(&self, volume: &Volume) -> bool {
        let volumes = self.volumes();
        volumes
            .get(&volume.entry.address)
            .is_some_and(|now| (now.shard, now.export) == (volume.shard, volume.export))
    }

    /// Work that waits for disks, beside the tasks that must not.
    ///
    /// # Errors
    /// What the work says.
    pub(super) async fn blocking<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(Arc<Self>) -> Result<T, String> + Send + 'static,
    ) -> Result<T, String> {
        let daemon = Arc::clone(self);
        tokio::task::spawn_blocking(move || work(daemon)).await.map_err(|error| error.to_string())?
    }

    /// Which arbiter the peer asks, if it is another one than this node.
    pub(super) fn peers_arbiter(&self) -> MutexGuard<'_, Option<String>> {
        self.peers_arbiter.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the peer is known to serve now.
    pub(super) fn at_peer(&self) -> MutexGuard<'_, Vec<Served>> {
        self.at_peer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether an operator has asked this node to leave.
    pub(super) fn leaving(&self) -> MutexGuard<'_, bool> {
        self.leaving.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, shard: usize, export: ExportId) -> Option<Volume> {
        let volumes = self.volumes();
        volumes.values().find(|volume| volume.shard == shard && volume.export == export).cloned()
    }

    fn volume_event(self: &Arc<Self>, shard: usize, export: ExportId, event: &VolumeEvent) {
        let volume = {
            let mut volumes = self.volumes();
            let found = volumes.values_mut().find(|volume| volume.shard == shard && volume.export == export);
            let Some(volume) = found else { return };
            match event {
                VolumeEvent::Paired { lacking, peer_lacks, .. } => {
                    volume.met = Some((Instant::now(), (*lacking).max(*peer_lacks)));
                }
                VolumeEvent::Resized { sectors } => volume.sectors = *sectors,
                _ => {}
            }
            let volume = volume.clone();
            if *event == VolumeEvent::Removed {
                volumes.remove(&volume.entry.address);
            }
            volume
        };
        if *event == VolumeEvent::Removed {
            self.give_up_claims(volume.entry.address);
        }
        self.report(Report::of_volume(&volume.entry.address.to_string(), event));
        if let VolumeEvent::Forced(forced) = event {
            self.tell_forced(volume, *forced);
        }
    }
}

fn served_at_another(entry: &VolumeEntry, other: &Volume) -> VolumeError {
    VolumeError::ServedAtAnother {
        address: entry.address,
        metadata: entry.metadata.clone(),
        identity: other.identity,
        other: other.entry.address,
        other_data: other.entry.data.clone(),
        other_metadata: other.entry.metadata.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::volumes::tests::made;
    use super::*;

    #[test]
    fn a_volume_that_is_served_is_not_served_at_another_address_as_well() {
        let directory = tempfile::tempdir().expect("a directory");
        let daemon = Daemon::on_stage(Arbiter::None);
        let served = made(directory.path(), daemon.config.pair, "7.1", VolumeIdentity(7));
        let served = daemon.put_on_stage(served);
        let copy = made(directory.path(), daemon.config.pair, "7.2", served.identity);
        let error = daemon.add_volume(copy.clone()).expect_err("it is served").to_string();
        for path in [&copy.metadata, &served.entry.data, &served.entry.metadata] {
            assert!(error.contains(&path.display().to_string()), "{error}");
        }
        for part in ["served at e7.1 already", "made for e7.2", "`etherpair reload`"] {
            assert!(error.contains(part), "{part} in {error}");
        }
        assert_eq!(daemon.volumes().len(), 1);
    }
}
