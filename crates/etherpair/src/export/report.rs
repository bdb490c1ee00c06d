//! What the operator is told on standard output: a line for each thing that happens, as text or as JSON.
//!
//! Trouble is not told here but logged to standard error. That nobody reads is no reason to stop serving.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;

use aoe::limits::sectors_per_frame;
use aoe::target::{Refusal, Statistics};
use block::SECTOR_BYTES;
use os::Interface;
use os::frame_port::PortKind;
use os::shard::ShardStatistics;
use serde::Serialize;

use super::links::LinkChange;
use super::shards::Served;
use crate::byte_size;

/// Tells it in the form that was asked for.
#[derive(Debug)]
pub(crate) struct Report {
    json: bool,
}

/// A line of JSON.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Line<'a> {
    Serving { address: String, disk: &'a Path, bytes: u64, port: String, interfaces: Vec<InterfaceLine<'a>> },
    Resized { address: String, disk: &'a Path, bytes: u64 },
    Link { interface: &'a str, up: bool, mtu: Option<u32> },
    Statistics(&'a Totals),
    Stopped,
}

#[derive(Debug, Serialize)]
struct InterfaceLine<'a> {
    name: &'a str,
    mac: String,
    mtu: u32,
    sectors_per_frame: u16,
}

/// All shards and exports together, since the start.
#[derive(Debug, Default, Serialize)]
struct Totals {
    reads: u64,
    bytes_read: u64,
    writes: u64,
    bytes_written: u64,
    flushes: u64,
    /// Requests that waited for an earlier write.
    waited: u64,
    /// Requests that went to their disk together with a neighbour.
    merged: u64,
    /// Copies of a write that was under way or done: answered, not executed.
    duplicates_answered: u64,
    /// Copies of a write that something followed: neither answered nor executed.
    duplicates_dropped: u64,
    /// Frames that were too old when their turn came.
    stale_dropped: u64,
    disk_errors: u64,
    /// Requests answered with an error though no disk failed.
    refused: u64,
    control_replies: u64,
    frames_received: u64,
    frames_sent: u64,
    frames_unsent: u64,
    frames_without_buffer: u64,
    /// The memory for received frames was full.
    frames_lost: u64,
    frames_truncated: u64,
    pages_lost: u64,
    /// Frames that got no answer, by reason; those of the fields above are not repeated.
    ignored: BTreeMap<&'static str, u64>,
}

impl Report {
    pub(crate) const fn new(json: bool) -> Self {
        Self { json }
    }

    /// All exports are served from now on.
    pub(crate) fn serving(&self, served: &[Served], interfaces: &[Interface], port: PortKind) {
        for export in served {
            let bytes = export.sectors * SECTOR_BYTES as u64;
            let interfaces = interfaces.iter().map(|interface| InterfaceLine {
                name: &interface.name,
                mac: aoe::MacAddress(interface.mac).to_string(),
                mtu: interface.mtu,
                sectors_per_frame: sectors_per_frame(interface.mtu as usize).0,
            });
            self.print(&Line::Serving {
                address: export.address.to_string(),
                disk: &export.disk,
                bytes,
                port: port.to_string(),
                interfaces: interfaces.collect(),
            });
        }
    }

    /// A disk has another size.
    pub(crate) fn resized(&self, export: &Served, sectors: u64) {
        let bytes = sectors * SECTOR_BYTES as u64;
        self.print(&Line::Resized { address: export.address.to_string(), disk: &export.disk, bytes });
    }

    /// An interface came, went or changed.
    pub(crate) fn link(&self, change: &LinkChange) {
        let mtu = change.link.map(|link| link.mtu);
        self.print(&Line::Link { interface: &change.interface, up: mtu.is_some(), mtu });
    }

    /// What was done so far.
    pub(crate) fn statistics(&self, shards: &[ShardStatistics]) {
        self.print(&Line::Statistics(&Totals::of(shards)));
    }

    /// Nothing is served any more.
    pub(crate) fn stopped(&self) {
        self.print(&Line::Stopped);
    }

    fn print(&self, line: &Line<'_>) {
        let text = if self.json {
            serde_json::to_string(line)
                .unwrap_or_else(|error| format!("{{\"event\":\"unprintable\",\"error\":\"{error}\"}}"))
        } else {
            line.to_string()
        };
        // A reader that went away misses it.
        let _ = writeln!(io::stdout().lock(), "{text}");
    }
}

impl std::fmt::Display for Line<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Serving { address, disk, bytes, interfaces, .. } => {
                let places: Vec<String> = interfaces.iter().map(ToString::to_string).collect();
                let size = byte_size::display(*bytes);
                write!(formatter, "serving {address} {} {size} on {}", disk.display(), places.join(", "))
            }
            Self::Resized { address, disk, bytes } => {
                write!(formatter, "resized {address} {} {}", disk.display(), byte_size::display(*bytes))
            }
            Self::Link { interface, mtu: Some(mtu), .. } => {
                let sectors = sectors_per_frame(*mtu as usize).0;
                write!(formatter, "link {interface} up (MTU {mtu}, {sectors} sectors a frame)")
            }
            Self::Link { interface, mtu: None, .. } => write!(formatter, "link {interface} down"),
            Self::Statistics(totals) => write!(formatter, "statistics {totals}"),
            Self::Stopped => formatter.write_str("stopped"),
        }
    }
}

impl std::fmt::Display for InterfaceLine<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { name, mtu, sectors_per_frame, .. } = self;
        write!(formatter, "{name} (MTU {mtu}, {sectors_per_frame} sectors a frame)")
    }
}

impl std::fmt::Display for Totals {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (read, written) = (byte_size::display(self.bytes_read), byte_size::display(self.bytes_written));
        write!(
            formatter,
            "{} reads ({read}), {} writes ({written}), {} flushes, {} waited, {} merged; duplicates: {} answered, {} dropped; \
             {} stale frames dropped; {} disk errors; {} requests refused; {} control replies; \
             frames: {} received, {} sent, {} unsent, {} without buffer, {} lost, {} truncated, \
             {} pages lost; ignored:",
            self.reads,
            self.writes,
            self.flushes,
            self.waited,
            self.merged,
            self.duplicates_answered,
            self.duplicates_dropped,
            self.stale_dropped,
            self.disk_errors,
            self.refused,
            self.control_replies,
            self.frames_received,
            self.frames_sent,
            self.frames_unsent,
            self.frames_without_buffer,
            self.frames_lost,
            self.frames_truncated,
            self.pages_lost,
        )?;
        if self.ignored.is_empty() {
            return formatter.write_str(" none");
        }
        self.ignored.iter().try_for_each(|(reason, count)| write!(formatter, " {reason} {count}"))
    }
}

impl Totals {
    fn of(shards: &[ShardStatistics]) -> Self {
        let mut totals = Self::default();
        for shard in shards {
            totals.merged += shard.requests_merged;
            totals.frames_received += shard.frames_received;
            totals.frames_sent += shard.frames_sent;
            totals.frames_unsent += shard.frames_unsent;
            totals.frames_without_buffer += shard.frames_without_buffer;
            totals.frames_lost += shard.frames_lost;
            totals.frames_truncated += shard.frames_truncated;
            totals.pages_lost += shard.pages_lost;
            shard.exports.iter().for_each(|export| totals.add(&export.target));
            shard.refusals.iter().for_each(|(refusal, count)| totals.ignore(refusal, count));
        }
        totals
    }

    fn add(&mut self, export: &Statistics) {
        self.reads += export.reads;
        self.bytes_read += export.sectors_read * SECTOR_BYTES as u64;
        self.writes += export.writes;
        self.bytes_written += export.sectors_written * SECTOR_BYTES as u64;
        self.flushes += export.flushes;
        self.waited += export.waited;
        self.duplicates_answered += export.duplicates_joined + export.duplicates_answered;
        self.stale_dropped += export.stale_dropped;
        self.disk_errors += export.read_errors + export.write_errors;
        self.refused += export.aborted + export.aoe_errors;
        self.control_replies += export.control_replies;
    }

    fn ignore(&mut self, refusal: Refusal, count: u64) {
        match refusal {
            Refusal::Superseded => self.duplicates_dropped += count,
            Refusal::Stale => self.stale_dropped += count,
            _ if count == 0 => {}
            _ => *self.ignored.entry(refusal.label()).or_default() += count,
        }
    }
}
