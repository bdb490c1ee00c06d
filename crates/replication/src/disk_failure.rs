//! What becomes of a volume when a disk fails, at this node or at the other one.
//!
//! A node whose disk fails gives it up, and the other one goes on alone, unless nobody else could go on with what is here: then the
//! disk is kept, and what it could not do is an error. It decides that, and tells; `standing` does the rest.

use block::{BlockError, ExportId, LbaRange};

use crate::durability::Durability;
use crate::engine::Engine;
use crate::membership::Members;
use crate::message::{Token, VolumeMessage};
use crate::mutation::Mutation;
use crate::output::{Event, Outcome};
use crate::volume::Phase;

impl Engine {
    /// The data disk has failed. The peer, if it has a good copy, goes on alone, and answers at this node's address, too.
    pub(crate) fn disk_failed(&mut self, export: ExportId, error: BlockError) {
        self.event(export, Event::DiskFailed(error));
        let volume = self.volume_mut(export);
        volume.has_disk = false;
        // One that is full is not exchanged for that.
        volume.awaits_other_disk |= error != BlockError::NoSpace;
        if matches!(self.volume(export).phase, Phase::Paired | Phase::Left) {
            if !self.mutated(Mutation::DiskFailureNotTold) {
                self.say(export, VolumeMessage::DiskFailed, None);
            }
            self.freeze(export);
            self.volume_mut(export).meeting.begin_anew();
        } else if self.volume(export).meeting.offered.is_some() {
            // What it has offered it has not.
            self.say(export, VolumeMessage::DiskFailed, None);
            self.volume_mut(export).meeting.begin_anew();
        }
    }

    /// A durable write has failed that a freeze had dropped. In memory mode it may have been the flush of the whole disk, and it
    /// cannot be told what that has lost of what was in the cache before.
    pub(crate) fn dropped_write_failed(&mut self, export: ExportId, error: BlockError) {
        let volume = self.volume(export);
        let is_full = error == BlockError::NoSpace;
        let had_cache = volume.durability == Durability::Memory && volume.has_disk && !is_full;
        let is_only_copy = self.is_only_copy(export);
        if had_cache && !is_only_copy && !self.mutated(Mutation::DroppedWriteBelieved) {
            self.disk_failed(export, error);
        }
    }

    /// Whether nobody else could go on with what this node has, if its disk were given up; also where the session has ended in which
    /// that was so.
    pub(crate) fn is_only_copy(&self, export: ExportId) -> bool {
        let volume = self.volume(export);
        let was_only_good = volume.phase == Phase::Frozen && volume.was_only_good;
        volume.phase == Phase::Alone
            || volume.is_sole(self.config.node)
            || was_only_good && !self.mutated(Mutation::OnlyGoodForgotten)
            || self.is_only_good(export, None)
    }

    /// Whether the peer is here and could not go on by itself, also because it has left, or has no disk. Not where sectors are concerned
    /// that this node lacks: those only the peer has, and they would be read there as long as it is here, and not any more when it is gone.
    pub(crate) fn is_only_good(&self, export: ExportId, range: Option<LbaRange>) -> bool {
        let volume = self.volume(export);
        let is_left = volume.phase == Phase::Paired && volume.meeting.peer_left;
        let is_lacking =
            range.is_some_and(|range| volume.lacks(range)) && !self.mutated(Mutation::LackedCountedOn);
        // Nor where what was in this node's memory only may be lost, which the peer has left with, and could go on with.
        let is_kept = volume.meeting.peer_left_whole
            && !volume.unflushed.is_empty()
            // The grant that it has asked for would shut the other one out.
            && volume.question.is_none()
            && volume.meeting.known_to_peer == Some(volume.membership())
            && !self.mutated(Mutation::LeaverHasNothing);
        let is_left = is_left && !is_lacking && !is_kept;
        volume.is_only_good(self.config.node) || is_left && !self.mutated(Mutation::LeaverCountedOn)
    }

    /// A write failed at this node's disk.
    pub(crate) fn local_failed(&mut self, token: Token, error: BlockError) {
        let write = self.local(token);
        let (export, range) = (write.export, write.range);
        let is_only_good = self.is_only_good(export, Some(range)) && !self.mutated(Mutation::OnlyDiskGivenUp);
        let peer_can_go_on = self.volume(export).phase == Phase::Paired && !is_only_good;
        if peer_can_go_on && !self.mutated(Mutation::WriteErrorTold) {
            // Freezes, and so drops every write but this one, which the disk has given back.
            self.disk_failed(export, error);
            return self.forget_local(token, Outcome::Doubtful);
        }
        // The only good copy is here, but not of these sectors any more: the peer's is of no use either until the initiator
        // writes them again, and is to become what this one is.
        if self.volume(export).phase == Phase::Paired {
            let tickets = self.peer_lacks(export, range);
            self.ends_when_noted(token, tickets);
        }
        if self.fail_superseded(export, range) {
            return self.fail_and_part(token, error);
        }
        self.fail_local(token, error);
    }

    /// The disk has failed and the peer has gone on alone: whatever stands in its place when this node begins anew, an old or an empty
    /// disk, lacks everything. Not before: should the peer end without going on, what this disk has may be what counts.
    pub(crate) fn note_lost_disk(&mut self, export: ExportId) {
        let node = self.config.node;
        let is_forgotten = self.mutated(Mutation::LostDiskForgotten);
        let volume = self.volume_mut(export);
        let has_gone_on = volume.membership().members == Members::Only(node.other());
        if volume.awaits_other_disk && has_gone_on && !is_forgotten {
            let superblock = &mut volume.disk.superblock;
            (superblock.inconsistent, superblock.disk_lost) = (true, true);
        }
    }

    /// The peer has no disk any more, or not the volume.
    pub(crate) fn handle_disk_failed(&mut self, export: ExportId) {
        self.volume_mut(export).meeting.peer_left_whole = false;
        self.handle_peer_left(export);
    }
}
