//! Which blocks a node lacks, told from one to the other in runs: with an offer those in doubt, with `Proceed` those that the
//! target lacks from then on, and on their own those that are found later.

use block::{ExportId, Lba, LbaRange, SectorCount};

use crate::engine::Engine;
use crate::limits::{COPY_SECTORS, RUNS_PER_MESSAGE};
use crate::message::{BlockRun, Refusal, VolumeMessage};
use crate::meta::layout::SECTORS_PER_BIT;
use crate::volume::{Phase, Volume};

impl Engine {
    /// Tells the peer every out-of-sync block that the bitmap knows.
    pub(crate) fn say_runs(&mut self, export: ExportId) {
        let mut runs = Vec::new();
        let mut all = Vec::new();
        self.volume(export).disk.bitmap.for_each_run(|run| all.push(run));
        for run in all {
            runs.push(run);
            if runs.len() == RUNS_PER_MESSAGE {
                self.say(export, VolumeMessage::OutOfSync(std::mem::take(&mut runs)), None);
            }
        }
        if !runs.is_empty() {
            self.say(export, VolumeMessage::OutOfSync(runs), None);
        }
    }

    /// Before an offer or `Proceed` a part of it; on its own: blocks that the target lacks from now on.
    pub(crate) fn handle_out_of_sync(&mut self, export: ExportId, runs: &[BlockRun]) {
        let bits = self.volume(export).layout().bits();
        if runs.iter().any(|run| run.start.checked_add(run.count).is_none_or(|end| end > bits)) {
            return self.refuse(Refusal::Protocol("out-of-sync blocks beyond the volume"));
        }
        let volume = self.volume_mut(export);
        // Who has no disk any more offers itself anew already.
        if volume.phase != Phase::Paired || volume.meeting.peer_left {
            return volume.meeting.runs.extend_from_slice(runs);
        }
        let sectors = volume.layout().volume_sectors();
        for run in runs {
            for_each_range(sectors, *run, |range| {
                volume.lacks.set(range);
            });
        }
        for run in runs {
            self.revoke_remotes(export, *run);
            self.copy_in_vain(export, *run);
        }
    }
}

impl Volume {
    /// What this node lacks is also what it has to bring to the next meeting: unless only a repair was under way, in which
    /// case this copy is as good as it was.
    pub(crate) fn keep_lacks(&mut self) {
        let superblock = &self.disk.superblock;
        if superblock.inconsistent || !superblock.membership.members.includes(superblock.node) {
            let sectors = self.layout().volume_sectors();
            let mut runs = Vec::new();
            self.lacks.for_each_run(|run| runs.push(run));
            for run in runs {
                for_each_range(sectors, run, |range| {
                    self.disk.bitmap.set(range);
                });
            }
        }
        self.lacks.clear_all();
    }
}

/// Cuts a run of blocks into ranges that a request may have.
pub(crate) fn for_each_range(volume_sectors: u64, run: BlockRun, mut visit: impl FnMut(LbaRange)) {
    let end = ((run.start + run.count) * SECTORS_PER_BIT).min(volume_sectors);
    let mut start = run.start * SECTORS_PER_BIT;
    while start < end {
        let count = u16::try_from((end - start).min(u64::from(COPY_SECTORS))).expect("no more than a copy");
        visit(LbaRange::new(Lba(start), SectorCount(count)).expect("within the volume"));
        start += u64::from(count);
    }
}
