//! What the peer can go on with alone, and volumes that are left to it: all of them, or some while the node stays.

use std::time::{Duration, Instant};

use aoe::Address;
use os::shard::Command;
use replication::input::Control;
use replication::membership::Members;
use replication::volume::{Phase, VolumeStatus};

use super::daemon::Daemon;
use super::volumes::Volume;

impl Daemon {
    /// Which volumes the peer can go on with alone, and the addresses of those it cannot: a sole member is needed, and so is
    /// whoever has what the peer lacks. A volume that is frozen already needs nothing.
    pub(crate) async fn dispensable(&self) -> (Vec<Volume>, Vec<Address>) {
        let volumes: Vec<Volume> = self.volumes().values().cloned().collect();
        self.dispensable_of(volumes).await
    }

    /// The same of these.
    pub(super) async fn dispensable_of(&self, volumes: Vec<Volume>) -> (Vec<Volume>, Vec<Address>) {
        let statuses = self.statuses(&volumes).await;
        let (mut can, mut cannot) = (Vec::new(), Vec::new());
        for (volume, status) in volumes.into_iter().zip(statuses) {
            let is_sole =
                |status: &VolumeStatus| status.membership.members == Members::Only(self.config.node);
            match status {
                // Its thread does not answer: nobody knows.
                None if self.has(&volume) => cannot.push(volume.entry.address),
                Some(status) if status.phase == Phase::Alone => cannot.push(volume.entry.address),
                Some(status)
                    if status.phase == Phase::Paired && (is_sole(&status) || status.out_of_sync > 0) =>
                {
                    cannot.push(volume.entry.address);
                }
                _ => can.push(volume),
            }
        }
        (can, cannot)
    }

    /// Asks volumes to leave, and waits until none depends on this node any more, but not for ever. The addresses of those
    /// that still do.
    pub(crate) async fn leave(&self, volumes: &[Volume]) -> Vec<Address> {
        self.control(volumes, Control::Leave);
        self.left(volumes).await
    }

    /// The same for volumes that are to go, while the node stays. What has not left in time stays, too.
    pub(super) async fn leave_or_stay(&self, volumes: &[Volume]) -> Vec<Address> {
        let control = |volume: &Volume, control| {
            self.shards[volume.shard].send(Command::Control { volume: volume.export, control });
        };
        volumes.iter().for_each(|volume| control(volume, Control::Leave));
        let staying = self.left(volumes).await;
        let stays = |volume: &&Volume| staying.contains(&volume.entry.address);
        volumes.iter().filter(stays).for_each(|volume| control(volume, Control::Join));
        staying
    }

    async fn left(&self, volumes: &[Volume]) -> Vec<Address> {
        /// A round trip to the peer and one to the arbiter; and a volume that was not served for long waits until nothing that
        /// was asked of the arbiter before can still be carried out (`replication::limits::QUESTION_LIFE`).
        const PATIENCE: Duration = Duration::from_secs(15);
        let depends = |status: &VolumeStatus| !matches!(status.phase, Phase::Frozen | Phase::Passing);
        let deadline = Instant::now() + PATIENCE;
        loop {
            let statuses = self.statuses(volumes).await;
            let staying: Vec<Address> = volumes
                .iter()
                .zip(&statuses)
                .filter(|(volume, status)| status.as_ref().map_or_else(|| self.has(volume), depends))
                .map(|(volume, _)| volume.entry.address)
                .collect();
            if staying.is_empty() || Instant::now() > deadline {
                return staying;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}
