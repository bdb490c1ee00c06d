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
        let reports = volumes.iter().zip(&statuses).filter_map(|(volume, status)| {
            let target = targets.get(&volume.entry.address).copied();
            Some(VolumeReport::new(self.config.node, volume, status.as_ref()?, target))
        });
        let mute =
            volumes.iter().zip(&statuses).filter(|(volume, status)| status.is_none() && self.has(volume));
        let mute = mute.map(|(volume, _)| NotServed {
            address: volume.entry.address.to_string(),
            error: "its thread does not answer; see the log".to_owned(),
        });
        let not_served: Vec<NotServed> = self
            .broken()
            .iter()
            .map(|(address, (_, error))| NotServed { address: address.to_string(), error: error.clone() })
            .chain(mute)
            .collect();
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
                address: arbiter.address,
                error: arbiter.error,
            },
            volumes: reports.collect(),
            not_served,
        }
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
