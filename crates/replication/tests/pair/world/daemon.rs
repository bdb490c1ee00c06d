//! What a daemon does for its engine: it has a node forced as an operator wants it, and makes that known to the arbiter.

use replication::input::{Control, Input};
use replication::membership::{Epoch, Membership};

use super::{Stage, World};

impl World {
    /// An operator forces a node; its daemon has asked what the arbiter holds, if that can be asked.
    pub(crate) fn force(&mut self, index: usize) {
        let held = if self.reaches_arbiter(index) { self.arbiter.epoch } else { Epoch(0) };
        self.control(index, Control::Force { held });
    }

    pub(super) fn note_force(&mut self, index: usize, forced: Membership) {
        self.nodes[index].to_tell = Some(forced);
    }

    /// Until the arbiter holds it, or the node goes by something else.
    pub(super) fn tell_forced(&mut self, index: usize) {
        let Some(forced) = self.nodes[index].to_tell else { return };
        if !self.is_running(index) || !self.reaches_arbiter(index) {
            return;
        }
        let goes_by_it = self.status(index).is_some_and(|status| status.membership == forced);
        if self.arbiter.epoch < forced.epoch {
            self.arbiter = forced;
        }
        if self.arbiter == forced || !goes_by_it {
            self.nodes[index].to_tell = None;
        } else {
            let control = Control::Surpass { held: self.arbiter.epoch };
            self.input(index, Input::Control { volume: self.nodes[index].volume, control });
        }
    }

    /// Whether an answer of the arbiter's is under way.
    pub(crate) fn has_answers(&self) -> bool {
        !self.answers.is_empty()
    }

    fn reaches_arbiter(&self, index: usize) -> bool {
        self.arbiter_is_up && !self.is_stalled(Stage::Question, index)
    }
}
