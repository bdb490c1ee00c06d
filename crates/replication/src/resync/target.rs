//! The target's side: what is written, compared or refused; and a node's own wish for what it cannot read.

use block::{BlockError, BufferSlice, ExportId, LbaRange, Operation};

use super::{CopyIn, CopyInWork};
use crate::conflict::Claim;
use crate::engine::{DiskWork, Engine, Written};
use crate::limits::UNWRITABLE_RETRY;
use crate::message::{BlockRun, Token, VolumeMessage};
use crate::mutation::Mutation;
use crate::output::{Digested, Event, Output};
use crate::volume::Phase;

impl Engine {
    /// A copy has come. It is older than every write that this node knows to be in flight there, and yields to it.
    pub(crate) fn handle_copy(&mut self, export: ExportId, copy: Token, range: LbaRange, data: BufferSlice) {
        let is_busy = self.is_busy(export, range) && !self.mutated(Mutation::CopyDoesNotYield);
        let is_later = self.now < self.volume(export).resync.no_copies_until;
        if self.volume(export).phase != Phase::Paired || is_busy || is_later {
            self.push(Output::Release(data.buffer));
            return self.yield_copy(export, copy);
        }
        let Some(token) = self.hold(export, copy, range, CopyInWork::Write) else {
            self.push(Output::Release(data.buffer));
            return self.yield_copy(export, copy);
        };
        if self.mutated(Mutation::LacksClearedEarly) {
            self.volume_mut(export).here_now(range);
        }
        self.held_mut(token).data = Some(data);
        self.held_mut(token).at_disk = true;
        self.ask_disk(export, DiskWork::CopyIn(token), Operation::Write { range, data, durable: true });
    }

    fn yield_copy(&mut self, export: ExportId, copy: Token) {
        self.volume_mut(export).counters.copies_yielded += 1;
        self.say(export, VolumeMessage::CopyYielded { copy }, None);
    }

    /// The source asks whether its sectors are the same here.
    pub(crate) fn handle_copy_digest(
        &mut self,
        export: ExportId,
        copy: Token,
        range: LbaRange,
        digest: u128,
    ) {
        let is_open = self.volume(export).phase == Phase::Paired && !self.is_busy(export, range);
        if !is_open || self.hold_and_read(export, copy, range, CopyInWork::Compare { digest }).is_none() {
            self.yield_copy(export, copy);
        }
    }

    /// Holds sectors and reads them, to compare.
    pub(crate) fn hold_and_read(
        &mut self,
        export: ExportId,
        peer: Token,
        range: LbaRange,
        work: CopyInWork,
    ) -> Option<Token> {
        let token = self.hold(export, peer, range, work)?;
        self.held_mut(token).at_disk = true;
        self.ask_disk(export, DiskWork::Held(token), Operation::Read { range });
        Some(token)
    }

    fn hold(&mut self, export: ExportId, peer: Token, range: LbaRange, work: CopyInWork) -> Option<Token> {
        let order = self.next_order();
        let (data, claim, at_disk, dropped, in_vain) = (None, None, false, false, false);
        let held = CopyIn { export, peer, range, work, data, claim, order, at_disk, dropped, in_vain };
        let token = self.copies_in.insert(held)?;
        let claim = self.claims.insert(export, range, Claim::Held).expect("a claim for each copy");
        self.held_mut(token).claim = Some(claim);
        Some(token)
    }

    /// The source says that this node lacks these blocks: copies of before do not change that.
    pub(crate) fn copy_in_vain(&mut self, export: ExportId, run: BlockRun) {
        let held = self.copies_in.values_mut();
        for held in held.filter(|held| held.export == export && run.touches(held.range)) {
            held.in_vain = true;
        }
    }

    pub(crate) fn copy_was_written(&mut self, token: Token, result: Written) {
        let held = self.held_mut(token);
        held.at_disk = false;
        let (export, copy, dropped) = (held.export, held.peer, held.dropped);
        match result {
            Ok(()) if dropped => {}
            Err(error) if dropped => self.dropped_write_failed(export, error),
            Ok(()) => self.is_as_at_source(token, copy),
            Err(error) => {
                self.release_held(token);
                return self.copy_failed(export, copy, error);
            }
        }
        self.release_held(token);
    }

    /// A copy could not be written. The only good disk is not given up for sectors that it has asked for because it cannot read them:
    /// they are read from the peer, which goes on to try.
    fn copy_failed(&mut self, export: ExportId, copy: Token, error: BlockError) {
        let is_only_good = self.is_only_good(export, None);
        if !is_only_good || self.mutated(Mutation::OnlyDiskGivenUpForCopy) {
            return self.disk_failed(export, error);
        }
        let at = self.now.after(UNWRITABLE_RETRY);
        self.volume_mut(export).resync.no_copies_until = at;
        self.yield_copy(export, copy);
    }

    /// What is held is what the source has sent, or has. If the source has found out since that this node lacks it all the same,
    /// it goes on to lack it.
    fn is_as_at_source(&mut self, token: Token, copy: Token) {
        let CopyIn { export, range, in_vain, .. } = *self.held_mut(token);
        if !in_vain || self.mutated(Mutation::CopyCountsInVain) {
            self.volume_mut(export).here_now(range);
        }
        self.say(export, VolumeMessage::Copied { copy }, None);
    }

    pub(crate) fn held_was_read(&mut self, token: Token, result: Result<BufferSlice, BlockError>) {
        let held = self.held_mut(token);
        held.at_disk = false;
        let dropped = held.dropped;
        match result {
            Ok(data) => {
                if !dropped {
                    self.push(Output::Digest { of: Digested::Held(token), data });
                }
                self.push(Output::Release(data.buffer));
                if dropped {
                    self.release_held(token);
                }
            }
            Err(_) if dropped => self.release_held(token),
            Err(_) => self.could_not_compare(token),
        }
    }

    /// The digest of held sectors is there.
    pub(crate) fn compare(&mut self, token: Token, own: u128) {
        let Some(held) = self.copies_in.find(token) else { return };
        let (export, range, peer, work) = (held.export, held.range, held.peer, held.work);
        match work {
            CopyInWork::Compare { digest } if digest == own => self.is_as_at_source(token, peer),
            CopyInWork::Compare { .. } => self.say(export, VolumeMessage::CopyDiffers { copy: peer }, None),
            CopyInWork::VerifyForPeer { digest } => {
                let equal = Some(digest == own);
                self.say(export, VolumeMessage::Verified { verify: peer, equal }, None);
                self.verified_for_peer(export, range);
            }
            CopyInWork::VerifyOwn => {
                // The sectors stay held until the peer has compared its own.
                return self.say(export, VolumeMessage::Verify { verify: token, range, digest: own }, None);
            }
            CopyInWork::Write => unreachable!("nothing to compare"),
        }
        self.release_held(token);
    }

    /// Sectors that this disk cannot read are as good as different.
    fn could_not_compare(&mut self, token: Token) {
        let held = self.held_mut(token);
        let (export, range, peer, work) = (held.export, held.range, held.peer, held.work);
        match work {
            CopyInWork::Compare { .. } => self.say(export, VolumeMessage::CopyDiffers { copy: peer }, None),
            CopyInWork::VerifyForPeer { .. } => {
                self.say(export, VolumeMessage::Verified { verify: peer, equal: Some(false) }, None);
                self.verified_for_peer(export, range);
            }
            CopyInWork::VerifyOwn => return self.could_not_verify(token),
            CopyInWork::Write => unreachable!("nothing to compare"),
        }
        self.release_held(token);
    }

    /// Lets go of held sectors: writes that waited go on.
    pub(crate) fn release_held(&mut self, token: Token) {
        let held = self.copies_in.remove(token).expect("something that is held");
        self.claims.remove(held.claim.expect("claimed when it came"));
        self.outdate_copies(held.export, held.range);
        if let Some(data) = held.data {
            self.push(Output::Release(data.buffer));
        }
        self.release_remotes(held.export, held.range, held.order);
        self.attend(held.export);
    }

    /// These sectors cannot be read here, and the peer can: it is asked for a copy, which will be written over them.
    pub(crate) fn repair(&mut self, export: ExportId, range: LbaRange) {
        self.event(export, Event::ReadRepaired(range));
        if !self.mutated(Mutation::ReadNotRepaired) {
            self.ask_for_copy(export, range);
        }
    }

    pub(crate) fn ask_for_copy(&mut self, export: ExportId, range: LbaRange) {
        let volume = self.volume_mut(export);
        volume.lacks.set(range);
        volume.meeting.has_asked_for_repair = true;
        self.say(export, VolumeMessage::Missing { range }, None);
    }

    pub(crate) fn drop_copies_in(&mut self, export: ExportId) {
        let mut tokens = self.token_list();
        self.copies_in.list(&mut tokens, |held| held.export == export);
        for token in tokens.iter().copied() {
            if self.held_mut(token).at_disk {
                self.held_mut(token).dropped = true;
            } else {
                self.release_held(token);
            }
        }
        self.give_back(tokens);
    }

    pub(crate) fn held_mut(&mut self, token: Token) -> &mut CopyIn {
        self.copies_in.find_mut(token).expect("something that is held")
    }
}
