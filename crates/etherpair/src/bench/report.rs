//! What a load found, for people and for programs.

use aoe::initiator::{RequestError, Statistics, TargetStatus};
use serde::Serialize;

use super::BenchError;
use super::meter::Summary;
use super::verifier::Findings;
use crate::byte_size;
use crate::standard;

/// The whole report.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) address: String,
    pub(crate) volume_bytes: u64,
    pub(crate) targets: Vec<TargetReport>,
    pub(crate) sectors_per_frame: u16,
    pub(crate) workload: String,
    pub(crate) block_bytes: usize,
    pub(crate) depth: u32,
    pub(crate) seconds: f64,
    pub(crate) read: Option<Summary>,
    pub(crate) write: Option<Summary>,
    /// Requests of the whole load, warm-up included: what the target had to do.
    pub(crate) requests_in_all: u64,
    pub(crate) failed: u64,
    pub(crate) frames_sent: u64,
    pub(crate) retransmissions: u64,
    pub(crate) late_answers: u64,
    pub(crate) refusals: u64,
    pub(crate) malformed_answers: u64,
    pub(crate) window_reductions: u64,
    /// Answers that this machine lost for want of memory.
    pub(crate) answers_lost_here: u64,
    /// Our own processor time a request.
    pub(crate) client_microseconds_per_request: f64,
    pub(crate) verified: Option<Findings>,
    /// A signal came before the load was done.
    pub(crate) interrupted: bool,
    #[serde(skip)]
    pub(crate) first_failure: Option<RequestError>,
}

/// A target as it stood in the end.
#[derive(Debug, Serialize)]
pub(crate) struct TargetReport {
    mac: String,
    buffer_count: u16,
    window: u32,
    silent: bool,
}

impl TargetReport {
    pub(crate) fn new(status: &TargetStatus, buffer_count: u16) -> Self {
        let TargetStatus { mac, window, silent, .. } = *status;
        Self { mac: mac.to_string(), buffer_count, window, silent }
    }
}

impl Report {
    /// Puts in the counters of the initiator since `before`.
    pub(crate) fn count(&mut self, before: Statistics, after: Statistics) {
        self.frames_sent = after.frames_sent - before.frames_sent;
        self.retransmissions = after.retransmissions - before.retransmissions;
        self.late_answers = after.late_answers - before.late_answers;
        self.refusals = after.refusals - before.refusals;
        self.malformed_answers = after.malformed - before.malformed;
        self.window_reductions = after.window_reductions - before.window_reductions;
    }

    /// Tells it on standard output.
    pub(crate) fn print(&self, json: bool) -> Result<(), BenchError> {
        let text = if json {
            serde_json::to_string_pretty(self).map_err(std::io::Error::from)? + "\n"
        } else {
            self.text()
        };
        standard::say(&text)?;
        Ok(())
    }

    /// Whether all was well.
    pub(crate) fn verdict(&self) -> Result<(), BenchError> {
        if let Some(Findings { stale, damaged, first_wrong: Some(first), .. }) = self.verified {
            return Err(BenchError::Wrong { wrong: stale + damaged, stale, damaged, first });
        }
        match self.first_failure {
            Some(first) => Err(BenchError::Failed { count: self.failed, first }),
            None if self.interrupted => Err(BenchError::Interrupted { seconds: self.seconds }),
            None => Ok(()),
        }
    }

    fn text(&self) -> String {
        let mut text = format!(
            "{} ({}), {} of {}, {} at a time, {:.1} s\n",
            self.address,
            byte_size::display(self.volume_bytes),
            self.workload,
            byte_size::display(self.block_bytes as u64),
            self.depth,
            self.seconds
        );
        for target in &self.targets {
            let TargetReport { mac, buffer_count, window, silent } = target;
            let silent = if *silent { ", silent" } else { "" };
            text += &format!("target {mac}: {buffer_count} buffers, window {window}{silent}\n");
        }
        for (name, summary) in [("read", &self.read), ("write", &self.write)] {
            if let Some(summary) = summary {
                text += &direction(name, summary);
            }
        }
        text += &format!(
            "frames {}, sent again {}, late answers {}, refusals {}, answers lost here {}, failed requests {}\n",
            self.frames_sent,
            self.retransmissions,
            self.late_answers,
            self.refusals,
            self.answers_lost_here,
            self.failed
        );
        text +=
            &format!("client: {:.2} us of processor time a request\n", self.client_microseconds_per_request);
        if let Some(findings) = &self.verified {
            text += &verified(findings);
        }
        text
    }
}

fn direction(name: &str, summary: &Summary) -> String {
    let latency = &summary.latency_microseconds;
    format!(
        "{name:>5}: {:.0} requests/s, {:.1} MB/s\n       latency us: min {:.1}, mean {:.1}, 50% {:.1}, 90% {:.1}, \
         99% {:.1}, 99.9% {:.1}, 99.99% {:.1}, max {:.1}\n",
        summary.requests_per_second,
        summary.bytes_per_second / 1e6,
        latency.min,
        latency.mean,
        latency.p50,
        latency.p90,
        latency.p99,
        latency.p999,
        latency.p9999,
        latency.max
    )
}

fn verified(findings: &Findings) -> String {
    let Findings { sectors_checked, foreign, stale, damaged, .. } = findings;
    format!(
        "verified: {sectors_checked} sectors, {stale} stale, {damaged} damaged or misplaced, {foreign} not stamped\n"
    )
}
