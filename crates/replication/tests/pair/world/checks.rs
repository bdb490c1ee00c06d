//! What must hold all the time, and what when everything is repaired.

use block::LbaRange;
use replication::durability::Durability;
use replication::input::Input;
use replication::message::{CopyState, Message, VolumeMessage};
use replication::output::{Event, Outcome, Resolution};
use replication::volume::{Phase, VolumeStatus};

use super::{Faults, World, node_number, open_metadata};

impl World {
    /// Who serves alone is the only one who serves, and where a node stands in for the other one, that serves nothing; whatever
    /// either may not have noticed yet: before an answer leaves it looks at the clock.
    pub(crate) fn check_exclusion(&mut self) {
        if self.is_forced || std::mem::replace(&mut self.is_poking, true) {
            return;
        }
        for index in 0..2 {
            let other = 1 - index;
            if self.is_alone(index) && self.is_running(other) && self.nodes[other].serving {
                self.input(other, Input::Timeout);
                let both = self.is_alone(index) && self.nodes[other].serving;
                assert!(!both, "exclusion: node {index} serves alone, and so does node {other}");
            }
        }
        for index in 0..2 {
            let other = 1 - index;
            let are_two = |world: &Self| {
                [index, other].into_iter().all(|index| world.is_running(index) && world.nodes[index].serving)
                    && world.nodes[index].stands_in
            };
            if are_two(self) {
                self.input(index, Input::Timeout);
                self.input(other, Input::Timeout);
                assert!(
                    !are_two(self),
                    "address: node {index} answers at the address of node {other}, and so does that"
                );
            }
        }
        self.is_poking = false;
    }

    pub(crate) const fn now(&self) -> u64 {
        self.now
    }

    pub(crate) fn is_alone(&self, index: usize) -> bool {
        self.status(index).is_some_and(|status| status.phase == Phase::Alone)
    }

    pub(crate) fn is_diskless(&self, index: usize) -> bool {
        self.status(index).is_some_and(|status| status.copy == CopyState::Diskless)
    }

    /// What a node is told of a write in doubt is what the disk that counts shows: that of the node that lacks nothing.
    pub(crate) fn check_resolution(
        &mut self,
        index: usize,
        range: LbaRange,
        digest: u128,
        resolution: Resolution,
    ) {
        let is_target = self.status(index).is_some_and(|status| status.lacking > 0);
        let source = if is_target { 1 - index } else { index };
        let first = u64::try_from((digest - 1) * 100).expect("small");
        let shown = self.nodes[source].sectors.read(range);
        let count = shown.iter().zip(first..).filter(|(sector, value)| **sector == *value).count();
        let is_right = match resolution {
            Resolution::Executed => count == shown.len(),
            Resolution::Abandoned => count == 0,
            // By whatever overtook it, if not by itself.
            Resolution::Overtaken => shown.iter().all(|sector| *sector != 0),
            Resolution::Unknown => true,
        };
        let of = shown.len();
        assert!(
            is_right,
            "resolution: node {index} is told {resolution:?} of {digest:x} at {range}, node {source} has {count} of {of}"
        );
        let executed = &mut self.nodes[index].executed;
        match resolution {
            Resolution::Executed | Resolution::Overtaken => executed.insert(digest),
            Resolution::Abandoned | Resolution::Unknown => executed.remove(&digest),
        };
        let known = &mut self.nodes[index].known;
        match resolution {
            Resolution::Abandoned => known.remove(&digest),
            _ => known.insert(digest),
        };
    }

    pub(crate) fn check_event(&mut self, index: usize, event: Event) {
        self.check_growth(index, &event);
        if let Event::Differs(range) = event {
            let is_bad = |sector| {
                let is_unreadable = self.nodes.iter().any(|node| node.sectors.unreadable.contains(&sector));
                is_unreadable || self.wrong.contains(&sector)
            };
            let is_right = (range.start().0..range.end().0).any(is_bad);
            assert!(is_right, "verify: {range:?} differs where nothing was wrong");
        }
        if matches!(event, Event::Differs(_) | Event::VerifyDone { .. } | Event::VerifyAborted { .. }) {
            self.verified[index].push(event);
        }
    }

    /// A disk holds something there that nobody has written.
    pub(crate) fn spoil_silently(&mut self, index: usize, sector: u64) {
        self.nodes[index].sectors.begin_with(sector, u64::MAX - sector);
        self.wrong.insert(sector);
    }

    /// A message is about to be heard.
    pub(crate) fn check_message(&self, index: usize, message: &Message) {
        let is_leave = matches!(message, Message::Volume(_, VolumeMessage::Leave));
        let Some(status) = self.status(index).filter(|_| is_leave && !self.faults.read_errors) else {
            return;
        };
        if status.phase == Phase::Paired {
            let can_go_on = status.lacking == 0 && status.membership.members.includes(node_number(index));
            assert!(can_go_on, "leave: node {index} is left with what it cannot serve: {status:?}");
        }
    }

    pub(crate) fn check_outcome(&self, index: usize, outcome: Outcome) {
        if matches!(outcome, Outcome::Failed(_)) {
            assert!(!self.are_whole(), "silence: node {index} tells an error though both copies are good");
        }
        if self.faults.leaves && self.is_peaceful() {
            let is_done = matches!(outcome, Outcome::Done(_));
            assert!(is_done, "stall: node {index} ends a request with {outcome:?} though nothing is lost");
        }
    }

    /// Whether nothing goes wrong in this world.
    pub(crate) const fn is_peaceful(&self) -> bool {
        let Faults { cuts, crashes, pauses, stalls, read_errors, write_errors, .. } = self.faults;
        !(cuts || crashes || pauses || stalls || read_errors || write_errors)
    }

    /// Whether both nodes' copies are good everywhere, as far as they know.
    pub(crate) fn are_whole(&self) -> bool {
        [self.status(0), self.status(1)].iter().flatten().filter(|status| is_good(status)).count() == 2
    }

    pub(crate) fn is_a_whole_pair(&self) -> bool {
        let is_settled = |status: &VolumeStatus| is_good(status) && status.membership == self.arbiter;
        [self.status(0), self.status(1)].iter().flatten().filter(|status| is_settled(status)).count() == 2
            && self.questions.is_empty()
            && self.answers.is_empty()
    }

    /// Everything is repaired; runs until both nodes are members again and equal.
    pub(crate) fn heal(&mut self) -> Result<(), String> {
        self.repair();
        for step in 0..80_000 {
            // Never would a crowd pause all at once by chance.
            self.closed |= step > 5000;
            if step % 4000 == 0 {
                self.make_room();
            }
            if step == 20_000 {
                // Where the only good copy cannot be read, nothing but the disk itself can help.
                self.nodes.iter_mut().for_each(|node| node.sectors.unreadable.clear());
            }
            // A removal that had begun may have ended since.
            (0..2).filter(|index| self.nodes[*index].is_removed).collect::<Vec<_>>().into_iter().for_each(
                |index| {
                    self.add_again(index);
                },
            );
            self.step();
            if self.is_whole() {
                self.check_equal()?;
                self.read_all();
                return self.check_settings();
            }
        }
        Err(format!(
            "liveness: not whole again: {:?} {:?}, arbiter {}",
            self.status(0),
            self.status(1),
            self.arbiter
        ))
    }

    /// Whether both nodes are members, say so, and have nothing left to do; and the arbiter knows it.
    fn is_whole(&self) -> bool {
        let serves = |index: usize| match self.plan.durability {
            Durability::Async { server, .. } => self.nodes[index].serving == (server == node_number(index)),
            Durability::Stable | Durability::Memory => self.nodes[index].serving,
        };
        let whole = |index: usize| {
            self.status(index).is_some_and(|status| is_good(&status) && status.membership == self.arbiter)
                && serves(index)
                && self.nodes[index].at_disk.is_empty()
                && self.nodes[index].at_metadata.is_empty()
        };
        whole(0)
            && whole(1)
            && self.are_all_answered()
            && self.link.ends.iter().all(|end| end.inbox.is_empty())
    }

    pub(crate) fn check_equal(&self) -> Result<(), String> {
        let [zero, one] = &self.nodes;
        let sectors = self.status(0).map_or(0, |status| status.sectors);
        match zero.sectors.difference(&one.sectors, sectors) {
            Some(sector) => Err(format!(
                "equality: the copies differ in sector {sector}: {} and {}",
                zero.sectors.at(sector),
                one.sectors.at(sector)
            )),
            None => Ok(()),
        }
    }

    /// What AoE clients have set is the same on both disks.
    fn check_settings(&self) -> Result<(), String> {
        let [zero, one] = [0, 1].map(|index| {
            let opened = open_metadata(&self.nodes[index].metadata);
            opened.small_state.map(|state| state.config_string)
        });
        if zero == one { Ok(()) } else { Err(format!("settings: {zero:?} and {one:?}")) }
    }
}

fn is_good(status: &VolumeStatus) -> bool {
    status.phase == Phase::Paired
        && status.lacking == 0
        && status.out_of_sync == 0
        && status.copy == CopyState::Good
}
