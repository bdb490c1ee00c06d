//! A slow request in the words of operators: what it was, how long it took, and where the time went.

use std::fmt::Write as _;
use std::time::Duration;

use aoe::target::SlowKind;
use node::SlowRequest;
use replication::spent::Spent;
use serde_json::{Value, json};

use super::events::{Report, Severity};

/// What to tell of it.
pub(super) fn report(address: &str, slow: &SlowRequest) -> Report {
    Report::new(address, Severity::Warning, "slow-request", text(slow), details(slow))
}

fn text(SlowRequest { request, spent }: &SlowRequest) -> String {
    let what = match (request.kind, request.range) {
        (SlowKind::Flush, _) | (_, None) => "a flush".to_owned(),
        (SlowKind::Read, Some(range)) => {
            format!("a read of {} sectors at {}", range.count().0, range.start().0)
        }
        (SlowKind::Write, Some(range)) => {
            format!("a write of {} sectors at {}", range.count().0, range.start().0)
        }
    };
    let end =
        if request.answered { "" } else { " and ended without an answer, since this node may not serve" };
    let mut text = format!("{what} by {} took {}{end}", request.initiator, seconds(request.took));
    let mut parts: Vec<String> = parts(request.waited, spent.as_ref())
        .into_iter()
        .filter(|(_, time)| *time >= SHOWN_MIN)
        .map(|(name, time)| format!("{} {name}", seconds(time)))
        .collect();
    if parts.is_empty() {
        parts.push("no part of it alone was long".to_owned());
    }
    // A string takes all.
    let _ = write!(text, ": {}", parts.join(", "));
    if request.others > 0 {
        let _ = write!(text, " ({} more took as long since the last one that was told)", request.others);
    }
    text
}

/// Shorter parts are left out.
const SHOWN_MIN: Duration = Duration::from_millis(1);

fn parts(waited: Duration, spent: Option<&Spent>) -> Vec<(&'static str, Duration)> {
    let mut parts = vec![("in the queue, behind earlier requests for the same sectors", waited)];
    if let Some(Spent { waiting, log, disk, peer, at_peer, bitmap }) = spent.copied() {
        parts.extend([
            ("until its turn, behind writes of either node or the settling of a meeting", waiting),
            ("for the activity log", log),
            ("at this node's disk", disk),
            ("for the peer", peer),
            ("of that at the peer itself", at_peer),
            ("to note what the peer lacks", bitmap),
        ]);
    }
    parts
}

fn details(SlowRequest { request, spent }: &SlowRequest) -> Value {
    let kind = match request.kind {
        SlowKind::Read => "read",
        SlowKind::Write => "write",
        SlowKind::Flush => "flush",
    };
    let Spent { waiting, log, disk, peer, at_peer, bitmap } = spent.unwrap_or_default();
    let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    json!({
        "kind": kind,
        "first": request.range.map(|range| range.start().0),
        "count": request.range.map(|range| range.count().0),
        "initiator": request.initiator.to_string(),
        "answered": request.answered,
        "took_milliseconds": ms(request.took),
        "queued_milliseconds": ms(request.waited),
        "waiting_milliseconds": ms(waiting),
        "activity_log_milliseconds": ms(log),
        "disk_milliseconds": ms(disk),
        "peer_milliseconds": ms(peer),
        "at_peer_milliseconds": ms(at_peer),
        "bitmap_milliseconds": ms(bitmap),
        "others": request.others,
    })
}

fn seconds(time: Duration) -> String {
    format!("{:.3} s", time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use aoe::MacAddress;
    use aoe::target::Slow;
    use block::{ExportId, Lba, LbaRange, SectorCount};

    use super::*;

    fn slow(spent: Option<Spent>) -> SlowRequest {
        let request = Slow {
            export: ExportId(0),
            kind: SlowKind::Write,
            range: LbaRange::new(Lba(4096), SectorCount(8)),
            initiator: MacAddress([2, 0, 0, 0, 0, 9]),
            took: Duration::from_millis(1250),
            waited: Duration::from_millis(20),
            answered: true,
            others: 0,
        };
        SlowRequest { request, spent }
    }

    #[test]
    fn the_line_tells_who_asked_for_what_and_where_the_time_went() {
        let spent = Spent {
            disk: Duration::from_millis(3),
            peer: Duration::from_millis(1200),
            at_peer: Duration::from_millis(1190),
            ..Spent::default()
        };
        assert_eq!(
            text(&slow(Some(spent))),
            "a write of 8 sectors at 4096 by 02:00:00:00:00:09 took 1.250 s: 0.020 s in the queue, behind earlier requests for the \
             same sectors, 0.003 s at this node's disk, 1.200 s for the peer, 1.190 s of that at the peer itself"
        );
        let report = report("e7.1", &slow(Some(spent)));
        assert_eq!((report.about.as_str(), report.event), ("e7.1", "slow-request"));
        assert_eq!(report.details["peer_milliseconds"], 1200);
        assert_eq!(report.details["disk_milliseconds"], 3);
    }

    #[test]
    fn what_is_not_known_is_not_told() {
        let mut flush = slow(None);
        flush.request.kind = SlowKind::Flush;
        flush.request.range = None;
        flush.request.waited = Duration::ZERO;
        flush.request.answered = false;
        flush.request.others = 7;
        assert_eq!(
            text(&flush),
            "a flush by 02:00:00:00:00:09 took 1.250 s and ended without an answer, since this node may not serve: no part of it alone \
             was long (7 more took as long since the last one that was told)"
        );
    }
}
