//! What goes wrong: cuts, losses of power, pauses, standstills, bad sectors; and mines, which lie in wait for an output.

use block::LbaRange;
use replication::input::{Control, Input};
use replication::message::{Message, VolumeMessage};
use replication::output::{Event, Outcome, Output};
use replication::resync::ResyncRate;
use replication::volume::Phase;

use super::disk::{AtDisk, Landing, tear_record};
use super::{STAGES, Stage, World, stage_of};
use block::Operation;

/// A loss of power that waits for a certain output of a node.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mine {
    node: usize,
    output: usize,
    /// How often it is let pass.
    passes: u64,
    /// Who loses power: the node itself, the other one, both.
    victims: [bool; 2],
}

/// The outputs that mines wait for.
const FUSES: [fn(&Output) -> bool; 22] = [
    |output| is_record(output, Stage::Superblock),
    |output| is_record(output, Stage::Log),
    |output| is_record(output, Stage::Bitmap) || is_record(output, Stage::FirstBitmap),
    |output| matches!(output, Output::Serving { serving: true, .. }),
    |output| matches!(output, Output::Serving { serving: false, .. }),
    |output| matches!(output, Output::Ask { .. }),
    |output| matches!(output, Output::Disconnect { .. }),
    |output| matches!(output, Output::Completed { outcome: Outcome::Done(_), .. }),
    |output| matches!(output, Output::Event { event: Event::Frozen, .. }),
    |output| matches!(output, Output::Event { event: Event::Paired { .. }, .. }),
    |output| matches!(output, Output::Event { event: Event::Alone(_), .. }),
    |output| matches!(output, Output::Event { event: Event::InSync(_), .. }),
    |output| says(output, |message| matches!(message, VolumeMessage::Offer(_))),
    |output| says(output, |message| matches!(message, VolumeMessage::Proceed(_))),
    |output| says(output, |message| matches!(message, VolumeMessage::Ready)),
    |output| says(output, |message| matches!(message, VolumeMessage::Member(_))),
    |output| says(output, |message| matches!(message, VolumeMessage::MemberKnown(_))),
    |output| says(output, |message| matches!(message, VolumeMessage::Leave)),
    |output| says(output, |message| matches!(message, VolumeMessage::Replicate { .. })),
    |output| says(output, |message| matches!(message, VolumeMessage::Ack { .. })),
    |output| says(output, |message| matches!(message, VolumeMessage::Copy { .. })),
    |output| says(output, |message| matches!(message, VolumeMessage::Copied { .. })),
];

fn is_record(output: &Output, stage: Stage) -> bool {
    matches!(output, Output::Metadata { place, .. } if stage_of(*place) == stage)
}

fn says(output: &Output, kind: impl Fn(&VolumeMessage) -> bool) -> bool {
    matches!(output, Output::Send { message: Message::Volume(_, message), .. } if kind(message))
}

impl World {
    /// One thing goes wrong, or is repaired.
    pub(crate) fn fault(&mut self) {
        let index = self.chance.pick(2);
        if self.faults.removals && self.chance.one_in(8) {
            return self.remove_or_add(index);
        }
        if self.faults.rates && self.chance.one_in(3) {
            return self.change_rate(index);
        }
        match self.chance.below(13) {
            12 if self.faults.resizes && self.is_running(index) => self.grow(index),
            0 if self.faults.cuts => {
                self.link.is_up = !self.link.is_up;
                if !self.link.is_up {
                    self.say(|| "the link is cut".into());
                    self.break_link();
                }
            }
            1 if self.faults.cuts => self.break_link(),
            2 if self.faults.crashes => {
                if self.nodes[index].engine.is_some() {
                    self.crash(index);
                } else {
                    self.start(index);
                }
            }
            3 if self.faults.crashes && self.chance.one_in(4) => {
                (0..2).for_each(|index| self.crash(index));
            }
            3 if self.faults.single_losses => {
                if self.nodes[index].engine.is_none() {
                    self.start(index);
                } else if self.is_a_whole_pair() {
                    self.crash(index);
                }
            }
            4 if self.faults.pauses => self.pause(index),
            5 if self.faults.arbiter => self.arbiter_is_up = !self.arbiter_is_up,
            6 if self.faults.leaves && self.is_running(index) => {
                let may_leave = !self.nodes[1 - index].leaving || self.chance.one_in(4);
                let leaving = !self.nodes[index].leaving && may_leave;
                self.nodes[index].leaving = leaving;
                let control = if leaving { Control::Leave } else { Control::Join };
                self.input(index, Input::Control { volume: self.nodes[index].volume, control });
            }
            7 if self.faults.verifies && self.is_running(index) => {
                let volume = self.nodes[index].volume;
                self.input(index, Input::Control { volume, control: Control::Verify { fix: true } });
            }
            8 if self.faults.settings && self.is_running(index) && self.nodes[index].serving => {
                self.set(index);
            }
            9 | 10 if self.faults.stalls => {
                let stage = STAGES[self.chance.pick(STAGES.len())];
                let long = [3_000_000, 300_000_000, 5_000_000_000][self.chance.pick(3)];
                let duration = self.chance.below(long);
                self.stall(stage, index, duration);
            }
            11 if self.faults.mines => {
                let victims = [[true, false], [false, true], [true, true]][self.chance.pick(3)];
                let (output, passes) = (self.chance.pick(FUSES.len()), self.chance.below(4));
                self.mine = Some(Mine { node: index, output, passes, victims });
            }
            _ => {}
        }
    }

    /// An operator wants a resync to go at another rate, whether one runs or not.
    fn change_rate(&mut self, index: usize) {
        let rates = [2048, 8192, 1 << 20].map(ResyncRate::BytesPerSecond);
        let rate = rates.get(self.chance.pick(4)).copied().unwrap_or(ResyncRate::Yielding);
        let checksums = self.chance.one_in(2);
        let volume = self.nodes[index].volume;
        self.input(index, Input::Control { volume, control: Control::Resync { rate, checksums } });
    }

    /// Something stands still for a while.
    pub(crate) fn stall(&mut self, stage: Stage, index: usize, duration: u64) {
        self.say(|| format!("{stage:?} of node {index} stands still for {} ms", duration / 1_000_000));
        let place = STAGES.iter().position(|known| *known == stage).expect("listed");
        self.nodes[index].stalled[place] = self.now.saturating_add(duration);
    }

    pub(crate) fn is_stalled(&self, stage: Stage, index: usize) -> bool {
        let place = STAGES.iter().position(|known| *known == stage).expect("listed");
        self.now < self.nodes[index].stalled[place]
    }

    /// Whether this output is the one that a mine waits for.
    pub(crate) fn strikes(&mut self, index: usize, output: &Output) -> bool {
        let Some(mine) = &mut self.mine else { return false };
        if self.calm || mine.node != index || !FUSES[mine.output](output) {
            return false;
        }
        mine.passes = mine.passes.saturating_sub(1);
        mine.passes == 0
    }

    pub(crate) fn explode(&mut self, index: usize) {
        let Some(mine) = self.mine.take() else { return };
        for (victim, is_hit) in [index, 1 - index].into_iter().zip(mine.victims) {
            if is_hit {
                self.crash(victim);
            }
        }
    }

    /// Clocks go at these rates from now on, in thousandths.
    pub(crate) fn set_clock_rates(&mut self, rates: [i64; 2]) {
        for (index, rate) in rates.into_iter().enumerate() {
            let before = self.clock(index).as_nanos();
            let node = &mut self.nodes[index];
            node.clock = (0, rate);
            // Nothing jumps.
            let after = self.clock(index).as_nanos();
            self.nodes[index].clock.0 = before.saturating_sub(after) + 1;
        }
    }

    pub(crate) fn pause(&mut self, index: usize) {
        self.nodes[index].paused = !self.nodes[index].paused;
        let paused = self.nodes[index].paused;
        self.say(|| format!("node {index} paused: {paused}"));
        if !paused && !self.faults.one_sided && self.link.ends[index].is_broken {
            self.close(index);
        }
    }

    /// Power is lost: of what was on its way to a disk some sectors arrive.
    pub(crate) fn crash(&mut self, index: usize) {
        let landings = [Landing::draw(&mut self.chance), Landing::draw(&mut self.chance)];
        self.crash_with(index, landings);
    }

    /// The same, with so much of what is under way to the disk and to the metadata.
    pub(crate) fn crash_with(&mut self, index: usize, [data, records]: [Landing; 2]) {
        if self.nodes[index].engine.take().is_none() {
            return;
        }
        self.say(|| format!("node {index} loses power"));
        let node = &mut self.nodes[index];
        for AtDisk { request, landed, .. } in std::mem::take(&mut node.at_disk) {
            if let Operation::Write { range, data: slice, .. } = request.operation
                && !landed
            {
                let first = slice.offset as usize / 512;
                let values = &node.buffers[&slice.buffer.0][first..first + slice.length as usize / 512];
                node.sectors.tear(range, values, data, &mut self.chance);
            }
        }
        for record in std::mem::take(&mut node.at_metadata) {
            tear_record(&mut node.metadata, &record, records, &mut self.chance);
        }
        node.sectors.lose_power(data, &mut self.chance);
        node.buffers.clear();
        node.digests.clear();
        node.followed.clear();
        node.executed.clear();
        node.to_tell = None;
        node.serving = false;
        node.paused = false;
        self.forget_writes(index);
        self.give_up_clients(index);
        self.questions.retain(|question| question.asker != index || self.chance.one_in(2));
        self.answers.retain(|(asker, ..)| *asker != index);
        self.vanish(index);
    }

    /// A sector that is to be read turns out to be bad.
    pub(crate) fn spoil(&mut self, index: usize, range: LbaRange) {
        if self.faults.read_errors && !self.calm && self.chance.one_in(80) {
            let sector = range.start().0 + self.chance.below(u64::from(range.count().0));
            // Disks lose physical sectors of 4 KiB, each once. One copy is left at least: the other node's is readable and
            // as good.
            let lost = sector / 8 * 8..self.nodes[index].room.min(sector / 8 * 8 + 8);
            let other_has_it = self.nodes[1 - index].sectors.unreadable.range(lost.clone()).next().is_none();
            if self.are_whole() && other_has_it && self.lost.insert((index, sector / 8)) {
                self.nodes[index].sectors.unreadable.extend(lost);
            }
        }
    }

    /// Everything that stood still or was broken goes on.
    pub(crate) fn repair(&mut self) {
        self.calm = true;
        self.link.is_up = true;
        self.arbiter_is_up = true;
        self.grants_are_lost = false;
        self.is_busy = false;
        self.mine = None;
        for index in 0..2 {
            self.nodes[index].stalled = [0; STAGES.len()];
            if self.nodes[index].paused {
                self.pause(index);
            }
            if self.nodes[index].is_removed {
                self.add_again(index);
            }
            let has_disk = self.status(index).is_some_and(|status| status.phase != Phase::Passing);
            if self.nodes[index].engine.is_none() || !has_disk || self.is_diskless(index) {
                // A disk that failed comes back with what it holds.
                self.crash(index);
                self.start(index);
            }
            self.nodes[index].leaving = false;
            let volume = self.nodes[index].volume;
            self.input(index, Input::Control { volume, control: Control::Join });
        }
    }
}
