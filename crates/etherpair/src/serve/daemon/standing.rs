//! How volumes and the node stand, by what the shards say.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

use aoe::Address;
use os::shard::{Command, ExportStatistics, ShardHandle, ShardStatistics};
use replication::volume::VolumeStatus;

use super::super::status::{ArbiterStatus, LeaseReport, NotServed, Status, VersionsStatus, VolumeReport};
use super::super::volumes::Volume;
use super::{Daemon, PATIENCE};

impl Daemon {
    /// How these volumes stand; none of one whose thread does not answer, or that is gone.
    pub(crate) async fn statuses(&self, volumes: &[Volume]) -> Vec<Option<VolumeStatus>> {
        let replies: Vec<_> = volumes
            .iter()
            .map(|volume| {
                let (reply, outcome) = channel();
                self.shards[volume.shard].send(Command::VolumeStatus { volume: volume.export, reply });
                outcome
            })
            .collect();
        answers(replies).await.into_iter().map(Option::flatten).collect()
    }

    /// How the whole node stands.
    pub(crate) async fn status(&self) -> Status {
        let volumes: Vec<Volume> = self.volumes().values().cloned().collect();
        let statuses = self.statuses(&volumes).await;
        let statistics = self.statistics().await;
        let lease = |shard: &Option<ShardStatistics>| shard.as_ref().and_then(|shard| shard.lease);
        let leases: Vec<LeaseReport> = statistics
            .iter()
            .map(|shard| lease(shard).map_or_else(LeaseReport::default, LeaseReport::of))
            .collect();
        let targets: BTreeMap<Address, &ExportStatistics> = statistics
            .iter()
            .flatten()
            .flat_map(|shard| shard.exports.iter().map(|export| (export.address, export)))
            .collect();
        let not_served = self.why_not_served(&volumes, &statuses);
        let served = volumes.iter().zip(&statuses);
        let served = served.filter(|(volume, _)| !not_served.contains_key(&volume.entry.address));
        let reports = served.filter_map(|(volume, status)| {
            let target = targets.get(&volume.entry.address).copied();
            Some(VolumeReport::new(self.config.node, volume, status.as_ref()?, target))
        });
        let arbiter = self.arbiter.state();
        Status {
            format: 1,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pair: self.config.pair.to_string(),
            node: self.config.node.number(),
            versions: VersionsStatus::of(self.config.versions),
            leaving: *self.leaving(),
            lease_milliseconds: u64::try_from(self.config.lease.as_millis()).unwrap_or(u64::MAX),
            links: self.links.status(&leases),
            interfaces: self.storage.status(),
            arbiter: ArbiterStatus {
                kind: arbiter.kind.to_owned(),
                reachable: arbiter.is_reachable,
                identity: arbiter.identity,
                address: arbiter.address,
                error: arbiter.error,
                peer_asks: self.peers_arbiter().clone(),
            },
            volumes: reports.collect(),
            not_served: not_served
                .iter()
                .map(|(address, error)| NotServed { address: address.to_string(), error: error.clone() })
                .collect(),
        }
    }

    /// Volumes that are not served, though their thread may still know of one that is about to go.
    fn why_not_served(
        &self,
        volumes: &[Volume],
        statuses: &[Option<VolumeStatus>],
    ) -> BTreeMap<Address, String> {
        let mut errors: BTreeMap<Address, String> =
            self.broken().iter().map(|(address, broken)| (*address, broken.error.clone())).collect();
        let mute =
            volumes.iter().zip(statuses).filter(|(volume, status)| status.is_none() && self.has(volume));
        for (volume, _) in mute {
            let mute = || "its thread does not answer; see the log".to_owned();
            errors.entry(volume.entry.address).or_insert_with(mute);
        }
        errors
    }

    /// What each shard has counted; none of one that does not answer.
    async fn statistics(&self) -> Vec<Option<ShardStatistics>> {
        let ask = |shard: &ShardHandle| {
            let (reply, outcome) = channel();
            shard.send(Command::Statistics(reply));
            outcome
        };
        let replies: Vec<_> = self.shards.iter().map(ask).collect();
        answers(replies).await
    }
}

/// What shards answer in time; none of one that does not.
async fn answers<T: Send + 'static>(replies: Vec<Receiver<T>>) -> Vec<Option<T>> {
    let count = replies.len();
    let wait = move || {
        let deadline = Instant::now() + PATIENCE;
        let left = || deadline.saturating_duration_since(Instant::now());
        replies.iter().map(|answer| answer.recv_timeout(left()).ok()).collect()
    };
    let told = tokio::task::spawn_blocking(wait).await;
    told.unwrap_or_else(|_| std::iter::repeat_with(|| None).take(count).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arbiter::Arbiter;

    #[tokio::test]
    async fn a_volume_that_is_about_to_go_is_told_once() {
        let daemon = Daemon::on_stage(Arbiter::None);
        let entry = daemon.config.volumes[0].clone();
        let address = entry.address.to_string();
        let told = |error: &str| vec![NotServed { address: address.clone(), error: error.to_owned() }];
        daemon.put_on_stage(entry.clone());
        assert_eq!(daemon.status().await.not_served, told("its thread does not answer; see the log"));
        daemon.not_served(entry, None, &"its disk has not given back what it was asked");
        let status = daemon.status().await;
        assert_eq!(status.not_served, told("its disk has not given back what it was asked"));
        assert!(status.volumes.is_empty());
    }
}
