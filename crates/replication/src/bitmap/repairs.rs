//! What the peer is to be given anew though its copy counts as much as this one (decision 0017): how it comes there, and when it becomes
//! what the peer misses.

use block::LbaRange;

use super::{Bitmap, Bits};
use crate::message::BlockRun;

impl Bitmap {
    /// Whether any are only to be repaired.
    pub(crate) const fn has_repairs(&self) -> bool {
        self.repairs.out_of_sync() > 0
    }

    /// The peer is to be given `range` anew: every block that it touches and that is not out of sync already.
    ///
    /// # Panics
    /// If the range ends beyond the volume.
    pub(crate) fn set_repair(&mut self, range: LbaRange) {
        for bit in self.bits.around(range) {
            if self.bits.count_in(bit..bit + 1) == 0 {
                self.repairs.set_run(BlockRun { start: bit, count: 1 });
            }
        }
    }

    /// This copy counts from now on, whatever becomes of the session: what was to be repaired the peer misses.
    pub(crate) fn note_repairs(&mut self) {
        if self.has_repairs() {
            let mut repairs = std::mem::replace(&mut self.repairs, Bits::new(self.bits.layout()));
            self.take_over(&mut repairs);
        }
    }
}
