//! The volume leaves a node and comes back to it, under another number, while the nodes go on talking.

use block::ExportId;
use replication::input::{Control, Input};
use replication::message::Refusal;

use super::{World, open_metadata};

impl World {
    /// An operator wants the volume gone from a node, or back.
    pub(crate) fn remove_or_add(&mut self, index: usize) {
        if !self.is_running(index) {
            return;
        }
        if self.nodes[index].is_removed {
            return self.add_again(index);
        }
        self.input(index, Input::Control { volume: self.nodes[index].volume, control: Control::Remove });
    }

    /// The engine says that it has the volume no more.
    pub(crate) fn note_removal(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        assert!(!node.serving, "removal: node {index} is told to serve what it has no more");
        assert!(node.at_disk.is_empty() && node.at_metadata.is_empty(), "removal: node {index} is not done");
        assert!(node.followed.is_empty(), "removal: node {index} follows still");
        node.is_removed = true;
        node.leaving = false;
        // What frames came before is remembered for the old number.
        self.forget_writes(index);
    }

    /// The volume is back, as its metadata says.
    pub(crate) fn add_again(&mut self, index: usize) {
        let now = self.clock(index);
        let config = self.volume_config(index);
        let node = &mut self.nodes[index];
        let Some(engine) = &mut node.engine else { return };
        node.volume = ExportId(node.volume.0 + 1);
        node.is_removed = false;
        engine.add_volume(now, node.volume, open_metadata(&node.metadata), config);
        node.size = engine.status(node.volume).expect("just added").sectors;
        self.input(index, Input::Timeout);
    }

    /// A volume was removed and added before the peer had gone on without it: the nodes meet anew.
    pub(crate) fn is_back_too_soon(&self, reason: Refusal) -> bool {
        self.faults.removals && matches!(reason, Refusal::Protocol(text) if text.contains("was removed"))
    }
}
