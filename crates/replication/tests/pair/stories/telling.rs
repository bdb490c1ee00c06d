//! What a story does to the world, and waits for.

use block::Operation;
use replication::input::{Control, Input};
use replication::volume::Phase;

use super::{FOR_GOOD, MILLISECOND, Told};
use crate::world::{EXTENT, Stage, VOLUME, World};

/// What stories are told with.
impl World {
    /// Both serve, and nothing that was asked of the arbiter before can still be carried out.
    pub(crate) fn both_rely_on_memory(&mut self) -> Told {
        self.until("both serve", |world| world.serves(0) && world.serves(1))?;
        self.run_for(14_000 * MILLISECOND);
        let relies = |index| self.status(index).is_some_and(|status| status.answers_from_memory);
        if relies(0) && relies(1) { Ok(()) } else { Err("stall: nodes do not rely on memory".to_owned()) }
    }

    pub(crate) fn serves(&self, index: usize) -> bool {
        self.is_running(index) && self.nodes[index].serving
    }

    pub(crate) fn is_paired(&self, index: usize) -> bool {
        self.status(index).is_some_and(|status| status.phase == Phase::Paired)
    }

    pub(crate) fn writes_at(&self, index: usize) -> usize {
        let writes = self.nodes[index].at_disk.iter();
        writes.filter(|at_disk| matches!(at_disk.request.operation, Operation::Write { .. })).count()
    }

    pub(crate) fn go_on(&mut self, stage: Stage, index: usize) {
        self.stall(stage, index, 0);
    }

    pub(crate) fn control(&mut self, index: usize, control: Control) {
        self.input(index, Input::Control { volume: VOLUME, control });
    }

    pub(crate) fn run(&mut self, steps: u32) {
        (0..steps).for_each(|_| self.step());
    }

    pub(crate) fn until(&mut self, what: &str, is_so: impl Fn(&Self) -> bool) -> Told {
        for _ in 0..20_000 {
            if is_so(self) {
                return Ok(());
            }
            self.step();
        }
        Err(format!("liveness: never comes to pass that {what}"))
    }

    /// So much time passes, evenly.
    pub(crate) fn run_for(&mut self, nanoseconds: u64) {
        let (end, was_busy) = (self.now() + nanoseconds, self.is_busy);
        self.is_busy = true;
        while self.now() < end {
            self.step();
        }
        self.is_busy = was_busy;
    }

    /// Both nodes know at once.
    pub(crate) fn cut(&mut self) {
        self.link_is_up(false);
        self.break_link();
        (0..2).for_each(|index| self.close(index));
    }

    /// One node knows at once, and the other not before its lease runs out.
    pub(crate) fn cut_at(&mut self, index: usize) {
        self.stall(Stage::Link, 1 - index, FOR_GOOD);
        self.link_is_up(false);
        self.break_at(1 - index);
        self.break_at(index);
        self.close(index);
    }

    pub(crate) fn uncut(&mut self) {
        self.link_is_up(true);
    }

    /// The pair has lost a node, and the other one goes on.
    pub(crate) fn left_alone(&mut self, index: usize) -> Told {
        self.until("both serve", |world| world.serves(0) && world.serves(1))?;
        self.crash(1 - index);
        self.until("the other goes on", |world| world.is_alone(index))
    }

    /// Writes to so many extents of other blocks of the bitmap that the log holds none of the first any more.
    pub(crate) fn forget_extents(&mut self, index: usize) {
        for extent in 40..115 {
            self.ask(index, true, extent * EXTENT, 1);
            self.run(60);
        }
    }
}
