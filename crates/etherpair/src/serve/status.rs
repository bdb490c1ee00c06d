//! How a node stands, in DRBD's words: what `etherpair status` shows and `--json` gives. The names of fields never change
//! their meaning; `docs/operating/pair.md` explains them. Which word fits is decided in `words`, what people see in `text`.

mod text;
mod words;

use std::time::{Duration, Instant};

use aoe::target::Latency;
use block::SECTOR_BYTES;
use os::shard::ExportStatistics;
use replication::lease::LeaseStatus;
use replication::membership::{Members, NodeNumber};
use replication::resync::VerifyStatus;
use replication::version::VersionRange;
use replication::volume::{Phase, VolumeStatus};
use serde::{Deserialize, Serialize};

pub(crate) use self::words::connection_word;
use self::words::{disk_word, durability_word, peer_disk_word, replication_word};
use super::volumes::Volume;

/// Bytes of a block of the bitmap.
const BLOCK_BYTES: u64 = 4096;

/// How a node stands.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Status {
    /// 1; another number when a field changes its meaning.
    pub(crate) format: u32,
    /// The program's version.
    pub(crate) version: String,
    /// Which pair.
    pub(crate) pair: String,
    /// Which of its nodes.
    pub(crate) node: u8,
    /// Versions of the peer protocol that this node speaks.
    #[serde(default)]
    pub(crate) versions: VersionsStatus,
    /// Whether an operator has asked this node to leave.
    pub(crate) leaving: bool,
    /// How long a lease lasts when it is granted; how long one still does is told of each link.
    pub(crate) lease_milliseconds: u64,
    /// The streams to the peer, one a thread.
    pub(crate) links: Vec<LinkStatus>,
    /// Where initiators are served.
    #[serde(default)]
    pub(crate) interfaces: Vec<InterfaceStatus>,
    /// Who is asked when the peer is lost.
    pub(crate) arbiter: ArbiterStatus,
    /// By address.
    pub(crate) volumes: Vec<VolumeReport>,
    /// Volumes that are configured and that this node cannot serve.
    pub(crate) not_served: Vec<NotServed>,
}

/// Versions of the peer protocol.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(crate) struct VersionsStatus {
    /// The first.
    pub(crate) oldest: u16,
    /// The last.
    pub(crate) newest: u16,
}

impl VersionsStatus {
    /// For operators.
    pub(crate) const fn of(VersionRange { oldest, newest }: VersionRange) -> Self {
        Self { oldest, newest }
    }
}

/// A volume whose disk or metadata cannot be used.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct NotServed {
    /// Its AoE address.
    pub(crate) address: String,
    /// What is wrong and what to do.
    pub(crate) error: String,
}

/// A stream to the peer.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(crate) struct LinkStatus {
    /// Of which thread.
    pub(crate) shard: u32,
    /// `Connected` or `Connecting`.
    pub(crate) connection: String,
    /// Where the peer is, or was last.
    pub(crate) address: Option<String>,
    /// Why it is not connected.
    pub(crate) error: Option<String>,
    /// In which version of the peer protocol they talk, while they are connected.
    #[serde(default)]
    pub(crate) version: Option<u16>,
    /// What the peer could speak when they were last connected.
    #[serde(default)]
    pub(crate) peer_versions: Option<VersionsStatus>,
    /// What the peer runs; empty if it does not say.
    #[serde(default)]
    pub(crate) peer_program: Option<String>,
    /// How long this thread's volumes may be served together with the peer.
    #[serde(default)]
    pub(crate) lease: LeaseReport,
}

/// How long leases still last. Each is renewed four times before it ends.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(crate) struct LeaseReport {
    /// This node's from the peer; none: it holds none.
    pub(crate) held_milliseconds: Option<u64>,
    /// The peer's from this node, and the margin that it is given; none: it surely has none.
    pub(crate) granted_milliseconds: Option<u64>,
}

impl LeaseReport {
    /// For operators.
    pub(crate) fn of(LeaseStatus { held, granted }: LeaseStatus) -> Self {
        let milliseconds = |left: Duration| u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
        Self { held_milliseconds: held.map(milliseconds), granted_milliseconds: granted.map(milliseconds) }
    }
}

/// An interface on which initiators are served.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(crate) struct InterfaceStatus {
    /// Its name.
    pub(crate) name: String,
    /// Whether anybody can be served there.
    pub(crate) up: bool,
    /// Its own address, if it is there.
    pub(crate) mac: Option<String>,
    /// The address under which initiators see this node there, unless it is the interface's own.
    pub(crate) virtual_mac: Option<String>,
    /// The longest frames that go there.
    pub(crate) mtu: Option<u32>,
    /// Whether this node answers there at the other one's address, too, because that one has no link there.
    #[serde(default)]
    pub(crate) answers_for_peer: bool,
}

/// The arbiter.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct ArbiterStatus {
    /// `witness`, `etcd` or `none`.
    pub(crate) kind: String,
    /// Which one it is, as its own answers say; none if it was not reached yet.
    #[serde(default)]
    pub(crate) identity: Option<String>,
    /// Whether it can be reached now.
    pub(crate) reachable: bool,
    /// Where it is, or was last.
    pub(crate) address: Option<String>,
    /// Why it cannot be reached.
    pub(crate) error: Option<String>,
    /// Which one the peer asks, if it is another one.
    #[serde(default)]
    pub(crate) peer_asks: Option<String>,
}

/// A volume.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct VolumeReport {
    /// Its AoE address.
    pub(crate) address: String,
    /// Its name for ever.
    pub(crate) identity: String,
    /// Its size.
    pub(crate) bytes: u64,
    /// Its file or device here.
    pub(crate) data: String,
    /// `Frozen`, `Paired`, `Alone`, `Left`, `Passing`.
    pub(crate) phase: String,
    /// Whether initiators are answered by this node.
    pub(crate) serving: bool,
    /// The number of the membership.
    pub(crate) epoch: u64,
    /// The nodes that may serve.
    pub(crate) members: Vec<u8>,
    /// Whether it is served only as long as the lease of its link lasts; a node that serves alone needs none.
    #[serde(default)]
    pub(crate) needs_lease: bool,
    /// `UpToDate`, `Outdated`, `Inconsistent`, `Diskless`.
    pub(crate) disk: String,
    /// The same of the peer, as far as this node knows; `DUnknown` if it does not.
    pub(crate) peer_disk: String,
    /// `Off`, `Established`, `SyncSource`, `SyncTarget`, `VerifyS`, `VerifyT`.
    pub(crate) replication: String,
    /// What an answer to a write promises: `stable`, `memory`, `async`.
    #[serde(default)]
    pub(crate) durability: String,
    /// Whether it promises no more at this moment than that the write is in the memory of both nodes.
    #[serde(default)]
    pub(crate) answers_from_memory: bool,
    /// What one of the nodes lacks, in bytes.
    pub(crate) out_of_sync_bytes: u64,
    /// While that gets less.
    pub(crate) resync: Option<ProgressStatus>,
    /// While the copies are compared.
    #[serde(default)]
    pub(crate) verify: Option<ProgressStatus>,
    /// What was done.
    pub(crate) counters: Counters,
    /// How long it took.
    pub(crate) latency: LatencyStatus,
    /// Initiators that are listened to; none: all.
    #[serde(default)]
    pub(crate) masks: Vec<String>,
}

/// How long initiators have waited for this node since the daemon started, from the first frame of a request to its answer.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(crate) struct LatencyStatus {
    /// For reads.
    pub(crate) reads: Times,
    /// For writes and flushes.
    pub(crate) writes: Times,
}

/// Microseconds.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(crate) struct Times {
    /// Half of the requests took no longer, give or take a fourth.
    pub(crate) p50_microseconds: u64,
    /// Of a hundred 99.
    pub(crate) p99_microseconds: u64,
    /// All.
    pub(crate) max_microseconds: u64,
}

impl Times {
    fn of(latency: &Latency) -> Self {
        let microseconds = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let quantile = |thousandths| latency.quantile(thousandths).map_or(0, microseconds);
        Self {
            p50_microseconds: quantile(500),
            p99_microseconds: quantile(990),
            max_microseconds: microseconds(latency.longest()),
        }
    }
}

/// How a resync or a verify goes.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct ProgressStatus {
    /// Of what was lacking when the nodes met; of the volume.
    pub(crate) percent: f64,
    /// Since they met; since it began.
    pub(crate) bytes_per_second: u64,
    /// At that speed.
    pub(crate) seconds_left: Option<u64>,
}

/// What was done for a volume since the daemon started.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(crate) struct Counters {
    /// From initiators at this node.
    pub(crate) reads: u64,
    /// From initiators at this node.
    pub(crate) writes: u64,
    /// Bytes of those reads.
    pub(crate) bytes_read: u64,
    /// Bytes of those writes.
    pub(crate) bytes_written: u64,
    /// Writes that came by the other node.
    pub(crate) followed: u64,
    /// Copies of a write that was under way or done, or of a read that waited: answered, not executed again. And writes that waited
    /// until they were too old: neither answered nor executed, since a copy of them may have been meanwhile.
    pub(crate) duplicates_suppressed: u64,
    /// Requests dropped because this node may not serve.
    pub(crate) dropped: u64,
    /// Reads that were answered with an error of the disk.
    #[serde(default)]
    pub(crate) read_errors: u64,
    /// Likewise writes and flushes.
    #[serde(default)]
    pub(crate) write_errors: u64,
    /// Requests that took longer than `slow_request` says.
    #[serde(default)]
    pub(crate) slow: u64,
    /// Blocks of 4 KiB copied to the peer.
    pub(crate) blocks_copied: u64,
    /// Times that the volume froze.
    pub(crate) freezes: u64,
}

impl VolumeReport {
    /// What is told of a volume.
    pub(crate) fn new(
        node: NodeNumber,
        volume: &Volume,
        status: &VolumeStatus,
        target: Option<&ExportStatistics>,
    ) -> Self {
        let lacking = status.lacking.max(status.out_of_sync);
        let is_paired = matches!(status.phase, Phase::Paired | Phase::Left);
        Self {
            address: volume.entry.address.to_string(),
            identity: volume.identity.to_string(),
            bytes: volume.sectors * SECTOR_BYTES as u64,
            data: volume.entry.data.display().to_string(),
            phase: format!("{:?}", status.phase),
            serving: status.serving,
            epoch: status.membership.epoch.0,
            members: match status.membership.members {
                Members::Both => vec![0, 1],
                Members::Only(member) => vec![member.number()],
            },
            needs_lease: is_paired || status.phase == Phase::Passing,
            disk: disk_word(node, status).to_owned(),
            peer_disk: peer_disk_word(node, status).to_owned(),
            replication: replication_word(status).to_owned(),
            durability: durability_word(volume.entry.mirror.durability).to_owned(),
            answers_from_memory: status.answers_from_memory,
            out_of_sync_bytes: lacking * BLOCK_BYTES,
            resync: volume.met.filter(|_| is_paired).and_then(|met| resync(met, lacking)),
            verify: verify(status),
            counters: counters(status, target.map(|target| &target.target)),
            latency: LatencyStatus {
                reads: target.map_or_else(Times::default, |target| Times::of(&target.reads)),
                writes: target.map_or_else(Times::default, |target| Times::of(&target.writes)),
            },
            masks: target
                .map_or_else(Vec::new, |target| target.mac_mask.iter().map(ToString::to_string).collect()),
        }
    }
}

impl ProgressStatus {
    /// Of `whole` bytes `done` are done after this time. A percent is not told of nothing.
    fn new(done: u64, whole: u64, elapsed: Duration) -> Option<Self> {
        let bytes_per_second = u64::try_from(u128::from(done) * 1000 / elapsed.as_millis().max(1)).ok()?;
        #[expect(clippy::cast_precision_loss, reason = "a percentage is shown")]
        let percent = 100.0 * done as f64 / whole as f64;
        let seconds_left = (whole - done).checked_div(bytes_per_second);
        (whole > 0).then_some(Self {
            percent: (percent * 10.0).round() / 10.0,
            bytes_per_second,
            seconds_left,
        })
    }
}

fn resync((met, blocks): (Instant, u64), left: u64) -> Option<ProgressStatus> {
    let copied = blocks.saturating_sub(left);
    let progress = ProgressStatus::new(copied * BLOCK_BYTES, blocks.max(left) * BLOCK_BYTES, met.elapsed());
    progress.filter(|_| left > 0 && blocks > 0)
}

fn verify(status: &VolumeStatus) -> Option<ProgressStatus> {
    let VerifyStatus { sectors, elapsed, .. } = status.verify?;
    let bytes = |sectors: u64| sectors * SECTOR_BYTES as u64;
    ProgressStatus::new(bytes(sectors.min(status.sectors)), bytes(status.sectors), elapsed)
}

fn counters(status: &VolumeStatus, target: Option<&aoe::target::Statistics>) -> Counters {
    let counters = Counters {
        blocks_copied: status.counters.copied,
        freezes: status.counters.freezes,
        dropped: status.counters.dropped,
        ..Counters::default()
    };
    let Some(target) = target else { return counters };
    Counters {
        reads: target.reads,
        writes: target.writes,
        bytes_read: target.sectors_read * SECTOR_BYTES as u64,
        bytes_written: target.sectors_written * SECTOR_BYTES as u64,
        followed: target.followed,
        slow: target.slow,
        read_errors: target.read_errors,
        write_errors: target.write_errors,
        duplicates_suppressed: target.duplicates_joined + target.duplicates_answered + target.stale_dropped,
        ..counters
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;

    #[test]
    fn progress_is_a_percentage_a_speed_and_the_time_that_is_left() {
        let progress = ProgressStatus::new(256 << 20, 1 << 30, Duration::from_secs(4));
        let expected = ProgressStatus { percent: 25.0, bytes_per_second: 64 << 20, seconds_left: Some(12) };
        assert_eq!(progress, Some(expected));
        let nothing_yet = ProgressStatus { percent: 0.0, bytes_per_second: 0, seconds_left: None };
        assert_eq!(ProgressStatus::new(0, 1 << 30, Duration::ZERO), Some(nothing_yet));
        assert_eq!(ProgressStatus::new(0, 0, Duration::ZERO), None);
    }

    /// Every key with those around it.
    fn keys(around: &str, value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(object) => {
                for (key, value) in object {
                    let name = if around.is_empty() { key.clone() } else { format!("{around}.{key}") };
                    keys(&name, value, found);
                    found.insert(name);
                }
            }
            Value::Array(list) => list.iter().for_each(|value| keys(around, value, found)),
            _ => {}
        }
    }

    #[test]
    fn keys_stay_and_the_documents_tell_each_of_them() {
        let mut status = text::tests::status();
        status.links[0].peer_versions = Some(VersionsStatus::default());
        let volume = &mut status.volumes[0];
        volume.resync.clone_from(&volume.verify);
        let mut found = BTreeSet::new();
        keys("", &serde_json::to_value(&status).expect("texts and numbers"), &mut found);
        let pinned: BTreeSet<String> = KEYS.split_whitespace().map(str::to_owned).collect();
        assert_eq!(found, pinned, "scripts read these: a key may come, and none may go while `format` is 1");
        let text = include_str!("../../../../docs/operating/pair.md");
        let (_, told) = text.split_once("Fields of `--json` keep their meaning").expect("a paragraph");
        let (told, _) = told.split_once("\n\n").expect("its end");
        for key in &found {
            let word = key.rsplit('.').next().expect("a word");
            assert!(told.contains(&format!("`{word}`")), "{key} in {told}");
        }
    }

    const KEYS: &str = "
        format version pair node versions versions.oldest versions.newest leaving lease_milliseconds
        links links.shard links.connection links.address links.error links.version links.peer_program
        links.peer_versions links.peer_versions.oldest links.peer_versions.newest
        links.lease links.lease.held_milliseconds links.lease.granted_milliseconds
        interfaces interfaces.name interfaces.up interfaces.mac interfaces.virtual_mac interfaces.mtu
        interfaces.answers_for_peer
        arbiter arbiter.kind arbiter.identity arbiter.peer_asks arbiter.reachable arbiter.address arbiter.error
        volumes volumes.address volumes.identity volumes.bytes volumes.data volumes.phase volumes.serving
        volumes.epoch volumes.members volumes.needs_lease volumes.disk volumes.peer_disk volumes.replication
        volumes.durability volumes.answers_from_memory volumes.out_of_sync_bytes volumes.masks
        volumes.resync volumes.resync.percent volumes.resync.bytes_per_second volumes.resync.seconds_left
        volumes.verify volumes.verify.percent volumes.verify.bytes_per_second volumes.verify.seconds_left
        volumes.counters volumes.counters.reads volumes.counters.writes volumes.counters.bytes_read
        volumes.counters.bytes_written volumes.counters.followed volumes.counters.duplicates_suppressed
        volumes.counters.dropped volumes.counters.slow volumes.counters.blocks_copied volumes.counters.freezes
        volumes.counters.read_errors volumes.counters.write_errors
        volumes.latency
        volumes.latency.reads volumes.latency.reads.p50_microseconds volumes.latency.reads.p99_microseconds
        volumes.latency.reads.max_microseconds
        volumes.latency.writes volumes.latency.writes.p50_microseconds volumes.latency.writes.p99_microseconds
        volumes.latency.writes.max_microseconds
        not_served not_served.address not_served.error";
}
