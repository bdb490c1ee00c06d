//! Who is in whose way: rules R1 to R5, as questions about what is under way on the same sectors.
//!
//! Nothing records who waits for whom. Whatever is under way has a claim on its sectors and a number in the order of what
//! happens; whoever begins counts the claims it must wait for, and whoever ends lowers the count of those that came after
//! it, which is the same set. Nothing is changed here but these counts.

use block::{ExportId, LbaRange};

use crate::engine::Engine;
use crate::membership::NodeNumber;
use crate::message::Token;
use crate::mutation::Mutation;
use crate::write::{LocalStage, LocalWrite};

/// What is under way on some sectors.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Claim {
    /// A write of this node's, also while it waits for its turn.
    Local(Token),
    /// A write of the peer's, until its `Commit`.
    Remote(Token),
    /// Sectors that are copied from the peer, or compared with its: writes wait.
    Held,
    /// A read that has its value and waits for the writes that may be in it.
    Read(Token),
}

/// What a remote write meets when it comes.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Met {
    /// Writes that must be on this disk before it is applied (R2 at node 0, R3).
    pub(crate) held_by: u32,
    /// Writes that must be on this disk before it is acknowledged (R4).
    pub(crate) superseded_by: u32,
    /// Sectors that it does not apply (R2 at node 1).
    pub(crate) superseded: Vec<LbaRange>,
    /// Local writes in flight that it comes after.
    pub(crate) overtaken: Vec<Token>,
}

impl Engine {
    /// R1: whether a local write that came as number `arrived` must wait: for a local write in flight or before it in the
    /// queue, for a remote write that is not acknowledged, or where sectors are copied or compared.
    pub(crate) fn must_wait(&self, export: ExportId, range: LbaRange, arrived: u64) -> bool {
        self.claims.overlapping(export, range).any(|(_, _, claim)| match claim {
            Claim::Local(_) if self.mutated(Mutation::OverlappingLocals) => false,
            Claim::Remote(_) if self.mutated(Mutation::AheadOfRemotes) => false,
            Claim::Local(token) => self.locals.find(token).is_some_and(|local| local.arrived < arrived),
            Claim::Remote(token) => self.remotes.find(token).is_some_and(|remote| !remote.is_acked()),
            Claim::Held => !self.mutated(Mutation::ThroughCopies),
            Claim::Read(_) => false,
        })
    }

    /// R2, R3, R4: finds the place of a remote write, which has come just now, among the local ones. What is said is to be given
    /// back by [`Engine::met`].
    pub(crate) fn meet(&mut self, export: ExportId, range: LbaRange) -> Met {
        let mut met = std::mem::take(&mut self.spare_met);
        for (_, other, claim) in self.claims.overlapping(export, range) {
            match claim {
                Claim::Local(token) => {
                    let local = self.locals.find(token).expect("a claim is of something under way");
                    if !self.is_local_in_flight(local) {
                        continue;
                    }
                    let concurrent =
                        local.acked_at.is_none() || self.mutated(Mutation::AcknowledgedSupersedes);
                    if concurrent && self.supersedes() {
                        if !self.mutated(Mutation::SupersededApplied) {
                            met.superseded.push(other);
                        }
                        met.superseded_by += u32::from(!local.on_disk);
                    } else {
                        met.overtaken.push(token);
                        met.held_by += u32::from(!local.on_disk);
                    }
                }
                // The peer's own R1 does not let two of its writes meet; order is kept if it does.
                Claim::Remote(token) => {
                    let remote = self.remotes.find(token).expect("a claim is of something under way");
                    met.held_by += u32::from(!remote.on_disk());
                }
                Claim::Held => met.held_by += 1,
                Claim::Read(_) => {}
            }
        }
        met
    }

    /// Whether a remote write that comes would be superseded by one that has failed at this disk, the only one that counts: then neither
    /// would be there.
    pub(crate) fn has_failed_under(&self, export: ExportId, range: LbaRange) -> bool {
        let has_failed = |token| {
            let local = self.locals.find(token).expect("a claim is of something under way");
            local.has_failed() && local.acked_at.is_none()
        };
        // The bit of a write that has failed stays set as long as it is under way; mostly there is none.
        self.supersedes()
            && self.volume(export).disk.bitmap.out_of_sync() > 0
            && self
                .claims
                .overlapping(export, range)
                .any(|(_, _, claim)| matches!(claim, Claim::Local(token) if has_failed(token)))
    }

    /// What a remote write has met is known.
    pub(crate) fn met(&mut self, mut met: Met) {
        met.superseded.clear();
        met.overtaken.clear();
        self.spare_met = Met { held_by: 0, superseded_by: 0, ..met };
    }

    /// What is left of `range` without the others, in memory that is to be given back.
    pub(crate) fn pieces_of(&mut self, range: LbaRange, others: &mut [LbaRange]) -> Vec<LbaRange> {
        let mut left = self.spare_pieces.pop().unwrap_or_default();
        without(range, others, &mut left);
        left
    }

    pub(crate) fn return_pieces(&mut self, pieces: Option<Vec<LbaRange>>) {
        self.spare_pieces.extend(pieces.map(|mut pieces| {
            pieces.clear();
            pieces
        }));
    }

    /// R2: whether this node's writes supersede concurrent ones of the peer's.
    fn supersedes(&self) -> bool {
        if self.mutated(Mutation::BothSupersede) || self.mutated(Mutation::NeitherSupersedes) {
            return self.mutated(Mutation::BothSupersede);
        }
        self.config.node == NodeNumber::One
    }

    /// R5: how many writes in flight the value may be of, that a read has just got from the disk.
    pub(crate) fn writes_in_flight(&self, export: ExportId, range: LbaRange) -> u32 {
        let waited_for = |claim| match claim {
            Claim::Local(_) => !self.mutated(Mutation::ReadsPassLocals),
            Claim::Remote(token) if self.mutated(Mutation::CommitNotAwaited) => {
                self.remotes.find(token).is_some_and(|remote| !remote.is_acked())
            }
            _ => !self.mutated(Mutation::ReadsPassRemotes),
        };
        let writes = self.claims.overlapping(export, range).map(|(_, _, claim)| claim);
        let count = writes.filter(|claim| self.is_write_in_flight(*claim) && waited_for(*claim)).count();
        u32::try_from(count).expect("bounded by the table")
    }

    /// Whether a write to these sectors was answered that the peer may lack still.
    pub(crate) fn is_answered_ahead(&self, export: ExportId, range: LbaRange) -> bool {
        self.claims.overlapping(export, range).any(|(_, _, claim)| match claim {
            Claim::Local(token) => self.locals.find(token).is_some_and(LocalWrite::is_answered_ahead),
            Claim::Remote(_) | Claim::Held | Claim::Read(_) => false,
        })
    }

    /// Whether any write to these sectors, or another copy of them, is under way here; a copy yields to it.
    pub(crate) fn is_busy(&self, export: ExportId, range: LbaRange) -> bool {
        self.claims
            .overlapping(export, range)
            .any(|(_, _, claim)| self.is_write_in_flight(claim) || claim == Claim::Held)
    }

    fn is_write_in_flight(&self, claim: Claim) -> bool {
        match claim {
            Claim::Local(token) => {
                self.locals.find(token).is_some_and(|local| self.is_local_in_flight(local))
            }
            Claim::Remote(_) => true,
            Claim::Held | Claim::Read(_) => false,
        }
    }

    /// One that waits for its record in the log is not: a freeze drops it, and then nothing was superseded by it.
    pub(crate) fn is_local_in_flight(&self, local: &LocalWrite) -> bool {
        let is_logging = matches!(local.stage, LocalStage::Logging(_));
        local.stage == LocalStage::InFlight || is_logging && self.mutated(Mutation::LoggingInFlight)
    }

    /// A local write is on disk: the remote writes that came while it was not go on.
    pub(crate) fn release_remotes_of_local(
        &mut self,
        export: ExportId,
        range: LbaRange,
        admitted: u64,
        acked_at: Option<u64>,
    ) {
        let superseding = self.supersedes();
        let all = self.mutated(Mutation::AcknowledgedSupersedes);
        self.for_each_remote(export, range, |remote| {
            // One that was dropped waits for nothing.
            if remote.order < admitted || remote.is_dropped() {
                return;
            }
            // As it was when the remote write came: concurrent if the acknowledgement had not come.
            let concurrent = acked_at.is_none_or(|acked| acked > remote.order) || all;
            if concurrent && superseding {
                one_less(&mut remote.superseded_by);
            } else {
                one_less(&mut remote.held_by);
            }
        });
    }

    /// Something else that held remote writes up is on disk.
    pub(crate) fn release_remotes(&mut self, export: ExportId, range: LbaRange, since: u64) {
        self.for_each_remote(export, range, |remote| {
            if remote.order > since {
                one_less(&mut remote.held_by);
            }
        });
    }

    /// A write is over on both nodes: the reads whose value may be of it wait for one less.
    pub(crate) fn release_reads(&mut self, export: ExportId, range: LbaRange, since: u64) {
        if self.reads_waiting == 0 {
            return;
        }
        let mut cursor = self.claims_on(export, range);
        while let Some(claim) = cursor.pop() {
            let Claim::Read(token) = claim else { continue };
            let read = self.reads.find_mut(token).expect("a claim is of something under way");
            if read.order > since {
                one_less(&mut read.waits_for);
                if read.waits_for == 0 {
                    self.go_on_with_read(token);
                }
            }
        }
        self.return_claims(cursor);
    }

    fn for_each_remote(
        &mut self,
        export: ExportId,
        range: LbaRange,
        mut change: impl FnMut(&mut crate::follow::RemoteWrite),
    ) {
        if self.remotes_behind == 0 {
            return;
        }
        let mut cursor = self.claims_on(export, range);
        while let Some(claim) = cursor.pop() {
            let Claim::Remote(token) = claim else { continue };
            change(self.remotes.find_mut(token).expect("a claim is of something under way"));
            self.advance_remote(token);
        }
        self.return_claims(cursor);
    }

    /// The claims on some sectors, in memory that is to be given back.
    fn claims_on(&mut self, export: ExportId, range: LbaRange) -> Vec<Claim> {
        let mut found = self.spare_claims.pop().unwrap_or_default();
        found.extend(self.claims.overlapping(export, range).map(|(_, _, claim)| claim));
        found
    }

    fn return_claims(&mut self, mut claims: Vec<Claim>) {
        claims.clear();
        self.spare_claims.push(claims);
    }
}

/// Something that was waited for is over.
fn one_less(count: &mut u32) {
    *count = count.checked_sub(1).expect("it was counted when it came");
}

/// What is left of `range` without the others: nothing, if nothing is added to `left`.
fn without(range: LbaRange, others: &mut [LbaRange], left: &mut Vec<LbaRange>) {
    others.sort_unstable();
    let mut from = range.start();
    for other in others {
        if other.start() > from {
            left.extend(between(from, other.start().min(range.end())));
        }
        from = from.max(other.end());
    }
    left.extend(between(from, range.end()));
}

fn between(start: block::Lba, end: block::Lba) -> Option<LbaRange> {
    let count = u16::try_from(end.0.checked_sub(start.0)?).expect("a part of a request");
    (count > 0).then(|| LbaRange::new(start, block::SectorCount(count)).expect("a part of a request"))
}

#[cfg(test)]
mod tests {
    use block::{Lba, SectorCount};
    use proptest::prelude::*;

    use super::*;

    fn range(start: u64, count: u16) -> LbaRange {
        LbaRange::new(Lba(start), SectorCount(count)).expect("a range within bounds")
    }

    proptest! {
        #[test]
        fn what_is_left_and_what_was_taken_are_the_whole(
            start in 0u64..40,
            count in 1u16..20,
            others in prop::collection::vec((0u64..60, 1u16..10), 0..8),
        ) {
            let whole = range(start, count);
            let mut others: Vec<_> = others.into_iter().map(|(start, count)| range(start, count)).collect();
            let mut left = Vec::new();
            without(whole, &mut others, &mut left);
            for sector in 0..80 {
                let one = range(sector, 1);
                let expected = whole.overlaps(one) && !others.iter().any(|other| other.overlaps(one));
                prop_assert_eq!(left.iter().filter(|part| part.overlaps(one)).count(), usize::from(expected));
            }
        }
    }
}
