//! The source's side: which blocks are sent when, and what becomes of their bits.

use block::{BlockError, BufferSlice, ExportId, Lba, LbaRange, Operation, SectorCount};

use super::pace::{Admission, Foreground};
use super::{CopyOut, CopyStage, ONE_BLOCK};
use crate::bitmap::Tickets;
use crate::engine::{DiskWork, Engine};
use crate::message::{Token, VolumeMessage};
use crate::mutation::Mutation;
use crate::output::{Digested, Event, Output};
use crate::volume::Phase;

impl Engine {
    /// Begins as many copies as the pace allows, or ends the resync when there is nothing left to copy.
    pub(crate) fn advance_resync(&mut self, export: ExportId) {
        let volume = self.volume(export);
        if volume.phase != Phase::Paired || !volume.meeting.may_copy() {
            return self.advance_verify(export);
        }
        self.look_at_foreground(export);
        while let Some(range) = self.next_to_copy(export) {
            if self.copies_out.is_full() {
                self.await_place(export);
                break;
            }
            let (now, bytes) = (self.now, range.bytes());
            let volume = self.volume_mut(export);
            let copies = volume.resync.copies;
            match volume.resync.pace.admit(now, bytes, copies) {
                Admission::Now => {
                    volume.resync.cursor = range.end();
                    volume.resync.singly = volume.resync.singly.saturating_sub(1);
                    let by_digest = volume.resync.checksums;
                    self.begin_copy(export, range, by_digest);
                }
                Admission::AfterCopy => break,
                Admission::At(at) => {
                    self.wake_at(at);
                    break;
                }
            }
        }
        let volume = self.volume(export);
        let is_in_sync = volume.disk.bitmap.out_of_sync() == 0 || self.mutated(Mutation::PromotedEarly);
        if volume.meeting.is_source && is_in_sync && volume.resync.copies == 0 {
            self.promote(export);
        }
        self.offer_places();
        self.advance_verify(export);
    }

    fn look_at_foreground(&mut self, export: ExportId) {
        let now = self.now;
        let volume = self.volume_mut(export);
        let foreground = Foreground {
            under_way: volume.requests > 0,
            so_far: volume.counters.reads + volume.counters.writes + volume.counters.followed,
        };
        volume.resync.pace.look_at(now, foreground);
    }

    /// All places are taken by copies of other volumes: this one comes when one of them is over, after those that have waited
    /// longer.
    fn await_place(&mut self, export: ExportId) {
        if !self.waiting_for_place.contains(&export) {
            self.waiting_for_place.push_back(export);
        }
    }

    /// If there is a place, the volume that has waited longest may have it. It offers what it leaves to the next.
    fn offer_places(&mut self) {
        if !self.copies_out.is_full()
            && let Some(export) = self.waiting_for_place.pop_front()
        {
            self.attend(export);
        }
    }

    /// The next out-of-sync blocks that are not being copied already.
    fn next_to_copy(&self, export: ExportId) -> Option<LbaRange> {
        let volume = self.volume(export);
        let bitmap = &volume.disk.bitmap;
        let is_single = volume.resync.singly > 0;
        let at_most =
            SectorCount(if is_single { ONE_BLOCK } else { volume.resync.pace.copy_sectors(self.now) });
        let find = |from: Lba| bitmap.next_out_of_sync(from, at_most);
        let next = find(volume.resync.cursor).or_else(|| find(Lba(0)))?;
        let is_copied =
            self.copies_out.iter().any(|(_, copy)| copy.export == export && copy.range.overlaps(next));
        (!is_copied).then_some(next)
    }

    fn begin_copy(&mut self, export: ExportId, range: LbaRange, by_digest: bool) {
        let copy = CopyOut {
            export,
            range,
            stage: CopyStage::Reading,
            is_outdated: false,
            by_digest,
            in_vain: false,
        };
        let token = self.copies_out.insert(copy).expect("a place, looked for before");
        self.volume_mut(export).resync.copies += 1;
        self.ask_disk(export, DiskWork::CopyOut(token), Operation::Read { range });
    }

    /// The source has the sectors as they were at some moment since it asked for them. If no write to them is in flight and
    /// none has been meanwhile, they are newer than whatever the target has, and every later write is sent after them.
    pub(crate) fn copy_was_read(&mut self, token: Token, result: Result<BufferSlice, BlockError>) {
        let copy = self.copies_out.find(token).expect("a copy under way");
        let (export, range, by_digest, is_outdated) =
            (copy.export, copy.range, copy.by_digest, copy.is_outdated);
        let is_dropped = copy.stage == CopyStage::Dropped;
        let Ok(data) = result else {
            self.copy_is_unreadable(export, range);
            return self.end_copy(token, false);
        };
        let is_busy = self.is_busy(export, range) && !self.mutated(Mutation::CopyBesideWrite);
        if is_dropped || is_busy || is_outdated && !self.mutated(Mutation::CopyOfBefore) {
            self.push(Output::Release(data.buffer));
            return self.end_copy(token, false);
        }
        if by_digest {
            self.copy_mut(token).stage = CopyStage::Digesting;
            self.push(Output::Digest { of: Digested::Copy(token), data });
        } else {
            self.copy_mut(token).stage = CopyStage::Sent;
            self.say(export, VolumeMessage::Copy { copy: token, range }, Some(data));
            if self.mutated(Mutation::CopyNotAwaited) {
                self.end_copy(token, true);
            }
        }
        self.push(Output::Release(data.buffer));
    }

    /// The bits stay: what cannot be read is tried again in the next round, or written meanwhile. Only the blocks that
    /// cannot be read are to hold the resync up, so all of them are tried singly.
    fn copy_is_unreadable(&mut self, export: ExportId, range: LbaRange) {
        let now = self.now;
        let resync = &mut self.volume_mut(export).resync;
        if range.count().0 > ONE_BLOCK {
            resync.cursor = range.start();
            resync.singly = u64::from(range.count().0.div_ceil(ONE_BLOCK));
        } else if resync.unreadable.note(range.start(), now).is_none_or(|since| since == now) {
            self.event(export, Event::Unreadable(range));
        }
    }

    /// A write to these sectors has ended: the disk may have looked at them before it, though it tells so only later.
    pub(crate) fn outdate_copies(&mut self, export: ExportId, range: LbaRange) {
        if self.volume(export).resync.copies == 0 {
            return;
        }
        let copies = self.copies_out.values_mut();
        for copy in copies.filter(|copy| copy.export == export && copy.range.overlaps(range)) {
            copy.is_outdated = true;
        }
    }

    /// A digest that was asked for.
    pub(crate) fn handle_digest(&mut self, of: Digested, digest: u128) {
        match of {
            Digested::Held(token) => self.compare(token, digest),
            Digested::Copy(token) => {
                let Some(copy) = self.copies_out.find_mut(token) else { return };
                copy.stage = CopyStage::Sent;
                let (export, range) = (copy.export, copy.range);
                self.say(export, VolumeMessage::CopyDigest { copy: token, range, digest }, None);
            }
        }
    }

    /// The target has it.
    pub(crate) fn handle_copied(&mut self, token: Token) {
        if self.copies_out.find(token).is_some_and(|copy| copy.stage == CopyStage::Sent) {
            self.end_copy(token, true);
        }
    }

    /// The target has a write in flight there.
    pub(crate) fn handle_copy_yielded(&mut self, token: Token) {
        if let Some(copy) = self.copies_out.find(token).filter(|copy| copy.stage == CopyStage::Sent) {
            let export = copy.export;
            self.volume_mut(export).counters.copies_yielded += 1;
            self.end_copy(token, false);
        }
    }

    /// The target has something else: it needs the data.
    pub(crate) fn handle_copy_differs(&mut self, token: Token) {
        if let Some(copy) = self.copies_out.find_mut(token).filter(|copy| copy.stage == CopyStage::Sent) {
            (copy.stage, copy.by_digest, copy.is_outdated) = (CopyStage::Reading, false, false);
            let (export, range) = (copy.export, copy.range);
            self.ask_disk(export, DiskWork::CopyOut(token), Operation::Read { range });
        }
    }

    /// The peer cannot read these sectors.
    pub(crate) fn handle_missing(&mut self, export: ExportId, range: LbaRange) {
        if self.volume(export).phase == Phase::Paired {
            self.set_repair(export, range);
            self.attend(export);
        }
    }

    /// These sectors are to be at the peer as they are here, though its copy counts as much: for as long as the nodes are together.
    pub(crate) fn repair_peer(&mut self, export: ExportId, range: LbaRange) {
        self.set_repair(export, range);
        self.tell_lacking(export, range);
    }

    fn set_repair(&mut self, export: ExportId, range: LbaRange) {
        let is_mixed_up = self.mutated(Mutation::RepairsTakenForDoubts);
        let bitmap = &mut self.volume_mut(export).disk.bitmap;
        if is_mixed_up {
            bitmap.set(range);
        } else {
            bitmap.set_repair(range);
        }
    }

    /// A write of these sectors has failed at this disk, the only one that counts: they are not at the peer as they are here, whatever
    /// it has been told, also where a copy of before is all that it has to tell of yet, or the end of a write of its own.
    pub(crate) fn peer_lacks(&mut self, export: ExportId, range: LbaRange) -> Tickets {
        let tickets = self.volume_mut(export).disk.bitmap.set(range);
        if !self.mutated(Mutation::CommitCountsInVain) {
            self.commits_in_vain(export, range);
        }
        self.tell_lacking(export, range);
        tickets
    }

    fn tell_lacking(&mut self, export: ExportId, range: LbaRange) {
        let copies = self.copies_out.values_mut();
        for copy in copies.filter(|copy| copy.export == export && copy.range.overlaps(range)) {
            copy.in_vain = true;
        }
        let unit = crate::meta::layout::SECTORS_PER_BIT;
        let start = range.start().0 / unit;
        let run = crate::message::BlockRun { start, count: range.end().0.div_ceil(unit) - start };
        self.say(export, VolumeMessage::OutOfSync(vec![run]), None);
        self.attend(export);
    }

    fn end_copy(&mut self, token: Token, is_there: bool) {
        let copy = self.copies_out.remove(token).expect("a copy that is not over");
        let is_in_sync = is_there && (!copy.in_vain || self.mutated(Mutation::CopyCountsInVain));
        let now = self.now;
        let volume = self.volume_mut(copy.export);
        volume.resync.copies -= 1;
        volume.resync.pace.copy_ended(now);
        if is_in_sync {
            volume.disk.bitmap.clear(copy.range);
            volume.counters.copied +=
                u64::from(copy.range.count().0).div_ceil(crate::meta::layout::SECTORS_PER_BIT);
            self.attend(copy.export);
        } else if volume.phase == Phase::Paired {
            // A moment later the write that was in its way is over.
            let at = self.now.after(crate::limits::COPY_RETRY);
            self.wake_at(at);
        }
        // What was attended to last comes first: whoever waits gets the place, not the next copy of this volume.
        self.offer_places();
    }

    /// Copies are given up: those that the disk has end when it has had them.
    pub(crate) fn drop_copies(&mut self, export: ExportId) {
        let mut tokens = self.token_list();
        self.copies_out.list(&mut tokens, |copy| copy.export == export);
        for token in tokens.iter().copied() {
            match self.copy_mut(token).stage {
                CopyStage::Reading => self.copy_mut(token).stage = CopyStage::Dropped,
                CopyStage::Dropped => {}
                CopyStage::Digesting | CopyStage::Sent => self.end_copy(token, false),
            }
        }
        self.give_back(tokens);
        self.abort_verify(export);
        self.drop_copies_in(export);
    }

    fn copy_mut(&mut self, token: Token) -> &mut CopyOut {
        self.copies_out.find_mut(token).expect("a copy under way")
    }
}
