//! What a shard has done, in numbers.

use aoe::target::RefusalCounters;
use block::Instant;
use node::Node;
use replication::lease::LeaseStatus;

use super::disks::Disks;
use super::ports::Ports;
use crate::peer_link::PeerStatistics;

/// Counters of one shard since it started.
#[derive(Clone, Debug, Default)]
pub struct ShardStatistics {
    /// Frames taken from the ports.
    pub frames_received: u64,
    /// Frames given to the kernel.
    pub frames_sent: u64,
    /// Replies the interface did not take, or not in time; their initiators ask again.
    pub frames_unsent: u64,
    /// Frames dropped because every buffer was in use.
    pub frames_without_buffer: u64,
    /// Frames lost because the memory of their port was full.
    pub frames_lost: u64,
    /// Frames longer than their interface's MTU was when its port was opened.
    pub frames_truncated: u64,
    /// Replies dropped because a page left the page cache and could not be read back in time.
    pub pages_lost: u64,
    /// Requests that went to their disk in one operation with a neighbour.
    pub requests_merged: u64,
    /// Disk operations under way now.
    pub disk_operations: usize,
    /// Buffers in use now.
    pub buffers_taken: usize,
    /// Frames that got no answer, by reason, whether for an export or for none.
    pub refusals: RefusalCounters,
    /// What has gone over the peer link; `None` without a peer.
    pub peer: Option<PeerStatistics>,
    /// How long the leases of both nodes last; `None` without a peer.
    pub lease: Option<LeaseStatus>,
    /// Of each export.
    pub exports: Vec<ExportStatistics>,
}

/// Counters of one export.
#[derive(Clone, Debug)]
pub struct ExportStatistics {
    /// Its address.
    pub address: aoe::Address,
    /// What the target counted.
    pub target: aoe::target::Statistics,
    /// How long reads took, from their frame to their answer.
    pub reads: Box<aoe::target::Latency>,
    /// How long writes and flushes did.
    pub writes: Box<aoe::target::Latency>,
    /// Which initiators are listened to; empty: all.
    pub mac_mask: Vec<aoe::MacAddress>,
}

impl ShardStatistics {
    /// The counters with what only the parts know filled in.
    pub(super) fn snapshot(
        &self,
        now: Instant,
        node: &Node,
        disks: &Disks,
        buffers_taken: usize,
        ports: &mut Ports,
        peer: Option<PeerStatistics>,
    ) -> Self {
        let exports = node
            .exports()
            .map(|(_, export)| ExportStatistics {
                address: export.address(),
                target: *export.statistics(),
                reads: Box::new(*export.latency_of_reads()),
                writes: Box::new(*export.latency_of_writes()),
                mac_mask: export.state().mac_mask.clone(),
            })
            .collect();
        let ports = ports.statistics();
        Self {
            frames_lost: ports.lost,
            frames_truncated: ports.truncated,
            requests_merged: disks.requests_merged(),
            disk_operations: disks.in_flight(),
            buffers_taken,
            refusals: *node.refusals(),
            exports,
            peer,
            lease: node.lease_status(now),
            ..self.clone()
        }
    }
}
