//! How a node stands, in DRBD's words: what `etherpair status` shows and `--json` gives. The names of fields never change
//! their meaning; `docs/operating/pair.md` explains them.

use std::fmt::Write as _;
use std::time::Instant;

use aoe::target::Latency;
use block::SECTOR_BYTES;
use os::shard::ExportStatistics;
use replication::durability::Durability;
use replication::membership::{Members, NodeNumber};
use replication::message::CopyState;
use replication::version::VersionRange;
use replication::volume::{Phase, VolumeStatus};
use serde::{Deserialize, Serialize};

use super::volumes::Volume;
use crate::byte_size;

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
    /// Milliseconds.
    pub(crate) lease_milliseconds: u64,
    /// The streams to the peer, one a thread.
    pub(crate) links: Vec<LinkStatus>,
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
}

/// The arbiter.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct ArbiterStatus {
    /// `witness`, `etcd` or `none`.
    pub(crate) kind: String,
    /// Whether it can be reached now.
    pub(crate) reachable: bool,
    /// Where it is, or was last.
    pub(crate) address: Option<String>,
    /// Why it cannot be reached.
    pub(crate) error: Option<String>,
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
    /// `UpToDate`, `Outdated`, `Inconsistent`, `Diskless`.
    pub(crate) disk: String,
    /// The same of the peer, as far as this node knows; `DUnknown` if it does not.
    pub(crate) peer_disk: String,
    /// `Off`, `Established`, `SyncSource`, `SyncTarget`.
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
    pub(crate) resync: Option<ResyncStatus>,
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
        let microseconds = |time: block::Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let quantile = |thousandths| latency.quantile(thousandths).map_or(0, microseconds);
        Self {
            p50_microseconds: quantile(500),
            p99_microseconds: quantile(990),
            max_microseconds: microseconds(latency.longest()),
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "milliseconds are shown")]
    fn display(&self) -> String {
        let milliseconds = |microseconds: u64| microseconds as f64 / 1000.0;
        let Self { p50_microseconds: p50, p99_microseconds: p99, max_microseconds: max } = *self;
        format!(
            "{:.2} ms, p99 {:.2} ms, max {:.2} ms",
            milliseconds(p50),
            milliseconds(p99),
            milliseconds(max)
        )
    }
}

/// How a resync goes.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct ResyncStatus {
    /// Of what was lacking when the nodes met.
    pub(crate) percent: f64,
    /// Since they met.
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
    /// Frames that came twice and were not executed twice.
    pub(crate) duplicates_suppressed: u64,
    /// Requests dropped because this node may not serve.
    pub(crate) dropped: u64,
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
        let is_connected = matches!(status.phase, Phase::Paired | Phase::Passing | Phase::Left);
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
            disk: disk_word(node, status).to_owned(),
            peer_disk: peer_disk_word(node, status, is_connected).to_owned(),
            replication: replication_word(status, is_connected).to_owned(),
            durability: durability_word(volume.entry.mirror.durability).to_owned(),
            answers_from_memory: status.answers_from_memory,
            out_of_sync_bytes: lacking * BLOCK_BYTES,
            resync: volume.met.filter(|_| is_connected).and_then(|met| resync(met, lacking)),
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

/// As in the configuration.
const fn durability_word(durability: Durability) -> &'static str {
    match durability {
        Durability::Stable => "stable",
        Durability::Memory => "memory",
        Durability::Async { .. } => "async",
    }
}

fn disk_word(node: NodeNumber, status: &VolumeStatus) -> &'static str {
    match status.copy {
        CopyState::Diskless => "Diskless",
        CopyState::Inconsistent => "Inconsistent",
        CopyState::Good if status.lacking > 0 => "Inconsistent",
        CopyState::Good if !status.membership.members.includes(node) => "Outdated",
        CopyState::Good => "UpToDate",
    }
}

fn peer_disk_word(node: NodeNumber, status: &VolumeStatus, is_connected: bool) -> &'static str {
    let is_member = status.membership.members.includes(node.other());
    match (is_connected, status.out_of_sync) {
        (true, 0) if is_member => "UpToDate",
        (true, _) => "Inconsistent",
        (false, _) if !is_member => "Outdated",
        (false, _) => "DUnknown",
    }
}

fn replication_word(status: &VolumeStatus, is_connected: bool) -> &'static str {
    match (is_connected, status.lacking, status.out_of_sync) {
        (false, ..) => "Off",
        (true, 0, 0) => "Established",
        (true, 0, _) => "SyncSource",
        (true, ..) => "SyncTarget",
    }
}

fn resync((met, blocks): (Instant, u64), left: u64) -> Option<ResyncStatus> {
    if left == 0 || blocks == 0 {
        return None;
    }
    let copied = blocks.saturating_sub(left);
    let bytes = copied * BLOCK_BYTES;
    let bytes_per_second = u64::try_from(u128::from(bytes) * 1000 / met.elapsed().as_millis().max(1)).ok()?;
    #[expect(clippy::cast_precision_loss, reason = "a percentage is shown")]
    let percent = 100.0 * copied as f64 / blocks as f64;
    let seconds_left = (left * BLOCK_BYTES).checked_div(bytes_per_second);
    Some(ResyncStatus { percent: (percent * 10.0).round() / 10.0, bytes_per_second, seconds_left })
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
        duplicates_suppressed: target.duplicates_joined + target.duplicates_answered + target.stale_dropped,
        ..counters
    }
}

impl Status {
    /// For people.
    pub(crate) fn display(&self) -> String {
        let mut text = String::new();
        let mut line = |line: String| {
            // A string takes all.
            let _ = writeln!(text, "{line}");
        };
        let leaving = if self.leaving { ", leaving" } else { "" };
        line(format!("node {} of pair {}, etherpair {}{leaving}", self.node, self.pair, self.version));
        for link in &self.links {
            line(link.display());
        }
        let ArbiterStatus { kind, reachable, address, error } = &self.arbiter;
        let reach = match (kind.as_str(), reachable) {
            ("none", _) => "a node that loses its peer serves nothing until an operator decides".to_owned(),
            (_, true) => format!("reachable at {}", address.as_deref().unwrap_or("?")),
            (_, false) => format!("NOT reachable: {}", error.as_deref().unwrap_or("not tried yet")),
        };
        line(format!("arbiter: {kind}, {reach}"));
        for volume in &self.volumes {
            volume.display(&mut line);
        }
        for NotServed { address, error } in &self.not_served {
            line(format!("{address} NOT served by this node: {error}"));
        }
        if self.volumes.is_empty() && self.not_served.is_empty() {
            line("no volumes; make one with `etherpair volume create`".to_owned());
        }
        text
    }
}

impl LinkStatus {
    fn display(&self) -> String {
        let Self { shard, connection, address, error, version, peer_program, .. } = self;
        let address = address.as_deref().map_or(String::new(), |address| format!(" {address}"));
        let version = version.map_or(String::new(), |version| {
            let program = peer_program.as_deref().filter(|program| !program.is_empty());
            let program = program.map_or(String::new(), |program| format!(" with etherpair {program}"));
            format!(", protocol {version}{program}")
        });
        let error = error.as_deref().map_or(String::new(), |error| format!(" ({error})"));
        format!("peer link {shard}: {connection}{address}{version}{error}")
    }
}

impl VolumeReport {
    fn display(&self, line: &mut impl FnMut(String)) {
        let serving = if self.serving { "serving" } else { "NOT serving" };
        let members: Vec<String> = self.members.iter().map(ToString::to_string).collect();
        line(format!(
            "{} {} {serving}; {}, disk {}, peer's disk {}; epoch {}, members {}",
            self.address,
            byte_size::display(self.bytes),
            self.replication,
            self.disk,
            self.peer_disk,
            self.epoch,
            members.join(" and ")
        ));
        if self.out_of_sync_bytes > 0 {
            let resync = self.resync.as_ref().map_or_else(String::new, |resync| {
                let left = resync.seconds_left.map_or_else(String::new, |left| format!(", {left} s left"));
                format!("; {} % at {}/s{left}", resync.percent, byte_size::display(resync.bytes_per_second))
            });
            line(format!("    out of sync {}{resync}", byte_size::display(self.out_of_sync_bytes)));
        }
        match (self.durability.as_str(), self.answers_from_memory) {
            ("memory", true) => line("    a write is answered when it is in the memory of both nodes".to_owned()),
            ("memory", false) => line(
                "    a write is answered when it is on disk, until both nodes are whole and have been together for a while"
                    .to_owned(),
            ),
            ("async", _) => line("    a write may be answered before the other node has it".to_owned()),
            _ => {}
        }
        let Counters { reads, writes, followed, duplicates_suppressed, slow, .. } = self.counters;
        line(format!(
            "    {reads} reads, {writes} writes here, {followed} writes by the peer, {duplicates_suppressed} duplicates suppressed"
        ));
        if slow > 0 {
            line(format!("    {slow} slow requests; see the log, or `etherpair events`"));
        }
        if !self.masks.is_empty() {
            line(format!("    only for {}", self.masks.join(", ")));
        }
        for (what, count, times) in
            [("reads", reads, &self.latency.reads), ("writes", writes, &self.latency.writes)]
        {
            if count > 0 {
                line(format!("    {what} took {}", times.display()));
            }
        }
    }
}
