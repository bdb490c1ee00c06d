//! Requests that took long: each is counted, and one now and then is told of, so that an operator learns of a slow disk or peer
//! before his users do, and not once for each of a thousand requests behind it.

use block::{Duration, ExportId, Instant, LbaRange};

use super::Target;
use super::outstanding::{Request, Work};
use crate::mac::MacAddress;

/// The least time between two that are told of, for each export.
const TOLD_INTERVAL: Duration = Duration::from_secs(5);

/// A request that took long.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Slow {
    /// To which export.
    pub export: ExportId,
    /// What was asked.
    pub kind: SlowKind,
    /// Which sectors; of a flush none.
    pub range: Option<LbaRange>,
    /// Who asked.
    pub initiator: MacAddress,
    /// From its first frame to its end.
    pub took: Duration,
    /// How much of that it was in the sockets or waited here for earlier requests, before anybody else knew of it.
    pub waited: Duration,
    /// Whether it was answered; otherwise it ended because this node may not serve.
    pub answered: bool,
    /// So many more of this export took long since the last one that was told of.
    pub others: u64,
}

/// What a slow request asks for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SlowKind {
    /// Sectors.
    Read,
    /// To write some.
    Write,
    /// That everything is durable.
    Flush,
}

/// What an export remembers of slow requests.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct SlowRequests {
    told: Option<Instant>,
    untold: u64,
}

impl Target {
    /// The slow request that the last input has ended, if it is to be told of.
    pub const fn take_slow(&mut self) -> Option<Slow> {
        self.slow.take()
    }

    /// A request is over.
    #[inline]
    pub(super) fn note_time(&mut self, now: Instant, request: &Request, answered: bool) {
        let took = now.since(request.began);
        if self.slow_after.is_some_and(|after| took >= after) {
            self.note_slow(now, request, took, answered);
        }
    }

    #[cold]
    fn note_slow(&mut self, now: Instant, request: &Request, took: Duration, answered: bool) {
        let Some(export) = self.exports.find_mut(request.export) else { return };
        export.statistics.slow += 1;
        let SlowRequests { told, untold } = &mut export.slow;
        if told.is_some_and(|told| now.since(told) < TOLD_INTERVAL) {
            *untold += 1;
            return;
        }
        *told = Some(now);
        let others = std::mem::take(untold);
        let (kind, range) = match &request.work {
            Work::Read { range, .. } => (SlowKind::Read, Some(*range)),
            Work::Write { identity, .. } => (SlowKind::Write, Some(identity.range)),
            Work::Flush => (SlowKind::Flush, None),
        };
        self.slow = Some(Slow {
            export: request.export,
            kind,
            range,
            initiator: request.answer.head.ethernet.destination,
            took,
            waited: request.started.since(request.began),
            answered,
            others,
        });
    }
}
