//! What the nodes have promised of what they answered, by the mode of each volume, and when it was lost by permission.
//!
//! - `Stable`: all of it is on the disk of whoever serves with a good copy, whatever happens.
//! - `Memory`: the same of what was answered before a flush that was answered, or so long ago that the nodes have flushed by
//!   themselves. The rest is lost only if both nodes end while they are together: one that goes on alone has everything, and
//!   from then on writes through until the other one has it, too. Where hosts have switched the write cache off, as in `Stable`.
//! - `Async`: what is answered survives as in `Stable`. The follower lacks so many bytes at most as long as it is a member with
//!   nothing to fetch; that is what forcing it would lose.

use block::{Duration, Instant};
use replication::durability::Durability;
use replication::membership::Members;
use replication::message::CopyState;
use replication::volume::Phase;

use super::{NODES, World};
use crate::examine;
use crate::fault::Injection;
use crate::finding::{Finding, Property};
use crate::mark::Mark;
use crate::property::lag;

/// Nodes flush after a second, and again as soon as they are frozen, which may take two more; the rest is for their disks.
const FLUSHED_AFTER: Duration = Duration::from_millis(4000);
/// A disk or a node that is slow has caught up so long after that.
const CAUGHT_UP_AFTER: Duration = Duration::from_secs(8);

/// What both nodes know of a volume in memory mode.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Memories {
    /// Both are members, know it, and neither has gone on alone since.
    together: bool,
    /// Those that have ended since.
    gone: [bool; NODES],
    /// When the first of them did.
    since: Instant,
}

impl World {
    /// Whether the copy of a node, which serves with a good one, holds what it must.
    pub(crate) fn is_kept(&self, volume: usize, node: usize) -> Result<(), Finding> {
        let (history, disk) = (&self.histories[volume], &self.machines[node].disks[volume].data);
        let now = crate::history::Moment::END;
        if !self.is_in_memory(volume) {
            return examine::disk_is_right(history, node, disk, true, now);
        }
        let flushed = history.durable_since(self.now, self.lag(self.now));
        examine::disk_is_right(history, node, disk, true, flushed)?;
        examine::disk_is_right(history, node, disk, false, now)
    }

    /// Whether an answer to a write means no more than that it is in both memories.
    fn is_in_memory(&self, volume: usize) -> bool {
        self.rules.durability[volume] == Durability::Memory && !self.rules.written_through[volume]
    }

    /// How long ago that must have been what the nodes have flushed by themselves at that moment, if that is certain.
    fn lag(&self, at: Instant) -> Option<Duration> {
        (at >= self.slow_until).then_some(FLUSHED_AFTER)
    }

    /// A disk, or a node, takes its time.
    pub(super) fn slowed_by(&mut self, injection: &Injection) {
        self.slow_until = self.slow_until.max(injection.end().after(CAUGHT_UP_AFTER));
    }

    /// Something has happened at a node.
    pub(super) fn watch_memories(&mut self) {
        self.memories.resize(self.histories.len(), Memories::default());
        for volume in 0..self.memories.len() {
            if !self.is_in_memory(volume) {
                continue;
            }
            let statuses = [0, 1].map(|node: usize| self.machines[node].status(volume));
            let memories = &mut self.memories[volume];
            if statuses.iter().flatten().any(|status| status.phase == Phase::Alone) {
                memories.together = false;
            } else if let [Some(zero), Some(one)] = statuses
                && zero.membership == one.membership
                && [zero, one].iter().all(|status| {
                    status.phase == Phase::Paired
                        && status.membership.members == Members::Both
                        && (status.lacking, status.out_of_sync) == (0, 0)
                })
            {
                *memories = Memories { together: true, ..Memories::default() };
            }
        }
    }

    /// A node has ended: nobody can say what was in its memory.
    pub(super) fn memory_is_gone(&mut self, node: usize) {
        for volume in 0..self.memories.len() {
            let memories = &mut self.memories[volume];
            if !memories.together {
                continue;
            }
            if memories.gone == [false; NODES] {
                memories.since = self.now;
            }
            memories.gone[node] = true;
            if memories.gone == [true; NODES] {
                memories.together = false;
                let first = memories.since;
                self.lose(volume, first);
            }
        }
    }

    fn lose(&mut self, volume: usize, first: Instant) {
        let history = &self.histories[volume];
        let since = history.durable_since(first, self.lag(first));
        let left = self.machines.each_ref().map(|machine| {
            let store = machine.disks[volume].data.store();
            crate::property::durable::held(history, store).into_iter().collect()
        });
        self.trace.say(
            self.now,
            format_args!("volume {volume}: both memories are gone; safe is what was there {since}"),
        );
        self.watch.mark(Mark::MemoriesGone);
        self.histories[volume].lost(self.now, since, left);
    }

    /// The follower of a node that is about to end lacks no more than it may.
    pub(super) fn examine_lag(&mut self, node: usize) {
        for volume in 0..self.histories.len() {
            let Durability::Async { server, lag_bytes_max } = self.rules.durability[volume] else { continue };
            let register = self.arbiter.registers()[volume];
            let statuses = [node, 1 - node].map(|node| self.machines[node].status(volume));
            let [Some(here), Some(there)] = statuses else { continue };
            let is_member = register.members == Members::Both
                && [here, there].iter().all(|status| status.membership == register)
                && (there.copy, there.lacking, here.out_of_sync) == (CopyState::Good, 0, 0);
            if usize::from(server.number()) != node || !is_member || !self.is_judged() {
                continue;
            }
            self.watch.mark(Mark::LagLookedAt);
            let store = self.machines[1 - node].disks[volume].data.store();
            if let Err(error) = lag::check(&self.histories[volume], store, lag_bytes_max) {
                self.watch.violated(Finding::new(Property::Lag, error).of_volume(volume));
            }
        }
    }
}

#[cfg(test)]
impl World {
    /// Something else is taken for promised.
    pub(crate) const fn promise(&mut self, durability: Durability) {
        self.rules.durability = [durability; crate::options::VOLUMES_MAX];
        self.rules.written_through = [false; crate::options::VOLUMES_MAX];
    }

    /// Flushes make nothing durable.
    pub(crate) fn let_disks_lie(&mut self) {
        for disks in self.machines.iter_mut().flat_map(|machine| &mut machine.disks) {
            disks.data.condition.lies = true;
        }
    }

    /// Nobody can say how long ago something must have been that the nodes have flushed by themselves.
    pub(crate) const fn is_slow_for_good(&mut self) {
        self.slow_until = Instant::from_nanos(u64::MAX);
    }
}
