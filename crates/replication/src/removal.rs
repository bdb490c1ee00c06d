//! A volume that this node is to have no more: it stops serving at once, ends what it began, and is forgotten.
//!
//! To the peer it is like a failed disk: if it has the volume further on, it goes on alone, without a stall. What is on disk is
//! left as after any end, so that the volume may be added again; then it is a node that comes back. Decides nothing about files.

use block::ExportId;

use crate::engine::{Engine, index};
use crate::message::{Announce, VolumeMessage};
use crate::output::Event;
use crate::volume::{Phase, Volume};

impl Engine {
    /// Serves no more, and tells the peer so.
    pub(crate) fn begin_removal(&mut self, export: ExportId) {
        if self.volume(export).removing {
            return;
        }
        self.say(export, VolumeMessage::DiskFailed, None);
        self.volume_mut(export).removing = true;
        if self.volume(export).phase != Phase::Frozen {
            self.freeze(export);
        }
        self.abandon_question(export);
        self.volume_mut(export).meeting.begin_anew();
        self.attend(export);
    }

    /// What the peer says of the volume from now on it says before it knows.
    pub(crate) fn is_removed(&self, export: ExportId) -> bool {
        match self.volumes.get(index(export)) {
            Some(Some(volume)) => volume.removing,
            _ => self.removed.contains(&export),
        }
    }

    /// Forgets the volume when nothing of it is under way any more.
    pub(crate) fn end_removal(&mut self, export: ExportId) {
        if !self.volume(export).is_removal_over() {
            return;
        }
        let volume = self.volumes[index(export)].take().expect("just looked at");
        if self.session.is_up() {
            self.removed.push(export);
        }
        let (sectors, identity) = (volume.layout().volume_sectors(), volume.disk.superblock.volume);
        let is_announced_anew = self.unplaced.iter().any(|announce| announce.volume == identity);
        if let Some(export) = volume.meeting.peer_export.filter(|_| !is_announced_anew) {
            // Should it be added again, the peer need not say so twice.
            self.unplaced.push(Announce { volume: identity, export, sectors });
        }
        self.event(export, Event::Removed);
    }
}

impl Volume {
    fn is_removal_over(&self) -> bool {
        let is_noted = self.is_superblock_durable() && self.is_bitmap_durable();
        self.removing
            && self.phase == Phase::Frozen
            && self.at_disk == 0
            && self.requests == 0
            && self.locals == 0
            && (self.unflushed.is_empty() || !self.has_disk)
            && (is_noted || !self.disk.is_writable)
    }
}
