//! The volume gets larger, with disks whose new part reads as zeros or as anything.

use block::ExportId;
use replication::input::{Control, Input};
use replication::meta::layout::{HOT_EXTENTS_MIN, Layout};
use replication::output::Event;
use replication::resize::Capacity;

use super::World;
use crate::oracle::Operation;

/// What new sectors hold that were another's before: a value for each node and sector.
const LEFT_OVER: u64 = 1 << 40;

impl World {
    /// Both disks grow, most of the time, and then an operator wants the volume to do so.
    pub(crate) fn grow(&mut self, index: usize) {
        let before = self.nodes[index].room;
        if before >= self.sectors + 4096 {
            return;
        }
        let sectors = before + 1 + self.chance.below(60);
        let only_one = self.chance.one_in(8);
        for at in 0..2 {
            if !(only_one && at != index) {
                self.grow_disk(at, sectors);
            }
        }
        let control = Control::Resize { sectors };
        self.input(index, Input::Control { volume: self.nodes[index].volume, control });
    }

    fn grow_disk(&mut self, at: usize, sectors: u64) {
        for sector in self.nodes[at].room..sectors {
            if self.is_dirty {
                let value = LEFT_OVER + 2 * sector + at as u64;
                self.history.push(Operation { sector, value, is_write: true, begin: 0, end: None });
                self.nodes[at].sectors.begin_with(sector, value);
            }
        }
        self.nodes[at].room = self.nodes[at].room.max(sectors);
        let capacity = self.capacity(at);
        let layout = Layout::new(capacity.sectors, HOT_EXTENTS_MIN).expect("a small volume");
        self.nodes[at].metadata.resize(usize::try_from(layout.byte_count()).expect("small"), 0);
        if self.is_running(at) {
            self.input(at, Input::Capacity { volume: self.nodes[at].volume, capacity });
        }
    }

    pub(super) fn capacity(&self, at: usize) -> Capacity {
        Capacity { sectors: self.nodes[at].room, zeros: !self.is_dirty }
    }

    /// A node without room for what its peer has is given it, as an operator would; it follows when they are connected anew.
    pub(super) fn make_room(&mut self) {
        let sectors = self.nodes.iter().map(|node| node.room).max().expect("two");
        for at in 0..2 {
            // Also one that has it and stood still when it was told.
            self.grow_disk(at, sectors);
        }
        let sizes = [0, 1].map(|at| self.status(at).map(|status| status.sectors));
        if sizes[0] != sizes[1] {
            self.break_link();
        }
    }

    pub(super) fn note_growth(&mut self, index: usize, volume: ExportId, sectors: u64) {
        assert!(
            volume == self.nodes[index].volume && sectors > self.nodes[index].size,
            "growth: a volume only grows"
        );
        self.nodes[index].size = sectors;
        self.grown += 1;
    }

    /// Nobody hears of a size that a node has no room for.
    pub(super) fn check_growth(&self, index: usize, event: &Event) {
        if let Event::Resized { sectors } = event {
            assert!(*sectors <= self.capacity(index).sectors, "growth: beyond the end of the disk");
        }
    }
}
