//! Which blocks a node lacks, told from one to the other in runs: with an offer those in doubt, with `Proceed` those that the
//! target lacks from then on, and on their own those that are found later.
//!
//! A bitmap may have more runs than the stream carries while a lease lasts. What does not fit one portion is told ahead, a
//! portion at a time, with a renewal of the lease behind each: the next one follows when that was granted, so that never more
//! than one waits in the stream. The node serves meanwhile; what it writes behind the place to which it has told is told at once.

use block::{ExportId, LbaRange};

use crate::bitmap::{Bits, Tickets};
use crate::engine::Engine;
use crate::limits::RUNS_PER_MESSAGE;
use crate::message::{BlockRun, Refusal, VolumeMessage};
use crate::meta::layout::SECTORS_PER_BIT;
use crate::mutation::Mutation;
use crate::volume::{Phase, Volume};

/// How far the peer was told what the bitmap knows, before an offer or `Proceed`.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Telling {
    /// It has heard of all blocks before this one.
    next: u64,
    /// So many of them are out of sync.
    told: u64,
    /// The next portion waits until the one before has arrived.
    waits: bool,
}

impl Engine {
    /// Tells the peer every out-of-sync block that the bitmap knows, in portions; says whether all was told. Nothing may be
    /// written meanwhile.
    pub(crate) fn tell_all(&mut self, export: ExportId) -> bool {
        let is_short = self.tell_ahead(export);
        if is_short {
            self.tell_rest(export);
        }
        is_short
    }

    /// Tells a portion of what the bitmap knows, unless the rest is less than that; says whether it is.
    pub(crate) fn tell_ahead(&mut self, export: ExportId) -> bool {
        if self.volume(export).meeting.telling.waits {
            return false;
        }
        let portion = self.config.limits.runs_at_once;
        let runs = self.untold(export, portion);
        if runs.len() < portion {
            return true;
        }
        // One portion at a time, of whatever volume.
        if self.session.portion.is_none() {
            self.tell(export, &runs);
            self.session.portion = Some(self.renew_now());
        }
        self.volume_mut(export).meeting.telling.waits = true;
        false
    }

    /// Tells what is left after that.
    pub(crate) fn tell_rest(&mut self, export: ExportId) {
        let runs = self.untold(export, usize::MAX);
        self.tell(export, &runs);
        let volume = self.volume_mut(export);
        let told = std::mem::take(&mut volume.meeting.telling).told;
        assert!(told == volume.disk.bitmap.noted(), "the peer has heard of every block that it lacks");
    }

    /// A portion has arrived at the peer, as a renewal behind it has.
    pub(crate) fn portion_has_arrived(&mut self) {
        self.session.portion = None;
        for export in self.exports() {
            if std::mem::take(&mut self.volume_mut(export).meeting.telling.waits) {
                self.attend(export);
            }
        }
    }

    fn untold(&self, export: ExportId, at_most: usize) -> Vec<BlockRun> {
        let volume = self.volume(export);
        let next = |from: u64| volume.disk.bitmap.next_run(from);
        std::iter::successors(next(volume.meeting.telling.next), |run| next(run.end()))
            .take(at_most)
            .collect()
    }

    fn tell(&mut self, export: ExportId, runs: &[BlockRun]) {
        for part in runs.chunks(RUNS_PER_MESSAGE) {
            self.say(export, VolumeMessage::OutOfSync(part.to_vec()), None);
        }
        if let Some(last) = runs.last() {
            let telling = &mut self.volume_mut(export).meeting.telling;
            telling.next = last.end();
            telling.told += runs.iter().map(|run| run.count).sum::<u64>();
        }
    }

    /// The peer misses what is written here alone. What is returned must be durable before the write is answered.
    pub(crate) fn peer_misses(&mut self, export: ExportId, range: LbaRange) -> Tickets {
        let volume = self.volume_mut(export);
        let bitmap = &mut volume.disk.bitmap;
        let (start, next) = (range.start().0 / SECTORS_PER_BIT, volume.meeting.telling.next);
        if start >= next {
            return bitmap.set(range);
        }
        let end = bitmap.around(range).end.min(next);
        let known = bitmap.count_in(start..end);
        let tickets = bitmap.set(range);
        let unknown = end - start - known;
        if unknown > 0 && !self.mutated(Mutation::LateNotTold) {
            self.volume_mut(export).meeting.telling.told += unknown;
            let run = BlockRun { start, count: end - start };
            self.say(export, VolumeMessage::OutOfSync(vec![run]), None);
        }
        tickets
    }

    /// Before an offer or `Proceed` a part of it; on its own: blocks that the target lacks from now on.
    pub(crate) fn handle_out_of_sync(&mut self, export: ExportId, runs: &[BlockRun]) {
        let bits = self.volume(export).layout().bits();
        let is_of_it = |run: &BlockRun| run.start.checked_add(run.count).is_some_and(|end| end <= bits);
        if !runs.iter().all(|run| run.count > 0 && is_of_it(run)) {
            return self.refuse(Refusal::Protocol("out-of-sync blocks beyond the volume, or a run of none"));
        }
        let left_keeps = self.mutated(Mutation::LeaverKeepsRevoked);
        let volume = self.volume_mut(export);
        // Who has no disk any more offers itself anew already.
        let is_paired = volume.phase == Phase::Paired || volume.phase == Phase::Left && !left_keeps;
        if !is_paired || volume.meeting.peer_left {
            let layout = volume.layout();
            let told = volume.meeting.told.get_or_insert_with(|| Bits::new(layout));
            return runs.iter().for_each(|run| told.set_run(*run));
        }
        for run in runs {
            volume.lacks.set_run(*run);
        }
        for run in runs {
            self.revoke_remotes(export, *run);
            self.copy_in_vain(export, *run);
            self.locals_in_vain(export, *run);
        }
    }
}

impl Volume {
    /// What this node lacks is also what it has to bring to the next meeting: unless only a repair was under way, in which
    /// case this copy is as good as it was.
    pub(crate) fn keep_lacks(&mut self) {
        let superblock = &self.disk.superblock;
        if superblock.inconsistent || !superblock.membership.members.includes(superblock.node) {
            self.disk.bitmap.take_over(&mut self.lacks);
        }
        self.lacks.clear_all();
    }
}
