//! A daemon for tests, whose only shard has no ports and no exports: asked about a volume, it knows of none.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use aoe::target::TargetLimits;
use block::{ExportId, LogicalSectorSize};
use node::PairConfig;
use os::EngineKind;
use os::shard::{ShardHandle, ShardOptions};
use replication::identity::VolumeIdentity;
use replication::limits::Limits;
use tokio::sync::mpsc::unbounded_channel;

use super::Daemon;
use crate::arbiter::Arbiter;
use crate::config::node::NodeConfig;
use crate::config::volume::VolumeEntry;
use crate::serve::volumes::Volume;

const EXAMPLE: &str = include_str!("../../../../../docs/operating/node.toml");

impl Daemon {
    /// One that has no volumes.
    pub(in crate::serve) fn on_stage(arbiter: Arbiter) -> Arc<Self> {
        Self::on_stage_in(Path::new("/nonexistent"), arbiter)
    }

    /// The same with a directory for them.
    pub(in crate::serve) fn on_stage_in(volumes: &Path, arbiter: Arbiter) -> Arc<Self> {
        Self::with_shard(volumes, arbiter, |_| None)
    }

    /// The same whose shard understands what is said to one of a pair.
    pub(in crate::serve) fn on_stage_with_peer_in(volumes: &Path, arbiter: Arbiter) -> Arc<Self> {
        Self::with_shard(volumes, arbiter, |config| {
            let NodeConfig { node, pair, lease, versions, .. } = *config;
            Some(PairConfig { node, pair, incarnation: 1, lease, limits: Limits::DEFAULT, versions })
        })
    }

    fn with_shard(
        volumes: &Path,
        arbiter: Arbiter,
        pair: impl FnOnce(&NodeConfig) -> Option<PairConfig>,
    ) -> Arc<Self> {
        let config = NodeConfig::parse(Path::new("node.toml"), EXAMPLE).expect("the example");
        let options = ShardOptions {
            name: "shard".to_owned(),
            ports: Vec::new(),
            limits: TargetLimits { outstanding_max: 16, ..TargetLimits::new(1) },
            engine: EngineKind::Threads,
            busy_poll: Duration::ZERO,
            cpu: None,
            pcap: None,
            pair: pair(&config),
        };
        let shard = ShardHandle::start(options, |_| ()).expect("a shard");
        let (interfaces_wanted, _) = unbounded_channel();
        let config = NodeConfig { shards: 1, volumes_directory: volumes.to_owned(), ..config };
        Arc::new(Self::new(config, vec![shard], arbiter, interfaces_wanted))
    }

    /// One more volume, of which the shard knows nothing.
    pub(in crate::serve) fn put_on_stage(&self, entry: VolumeEntry) -> Volume {
        let volume = Volume {
            identity: VolumeIdentity(7),
            shard: 0,
            export: ExportId(0),
            entry,
            sectors: 8,
            sector_size: LogicalSectorSize::B512,
            met: None,
        };
        self.volumes().insert(volume.entry.address, volume.clone());
        volume
    }
}
