//! When a write of this node's own may begin, and how it does: its turn, its extents in the log, then to the peer and the disk.

use block::{ExportId, Operation};

use super::{LocalStage, LocalWrite, extents_of};
use crate::activity_log::Begun;
use crate::bitmap::Tickets;
use crate::conflict::Claim;
use crate::durability::Durability;
use crate::engine::{DiskWork, Engine};
use crate::message::{Token, VolumeMessage};
use crate::mutation::Mutation;
use crate::volume::Phase;

impl Engine {
    /// Something is over: those that waited are looked at again, in the order they came.
    pub(crate) fn admit_waiting(&mut self, export: ExportId) {
        for _ in 0..self.volume(export).waiting.len() {
            let token = self.volume_mut(export).waiting.pop_front().expect("counted");
            if self.locals.find(token).is_some() && !self.try_admit(token) {
                self.volume_mut(export).waiting.push_back(token);
            }
        }
    }

    /// Admits a write if it is its turn and there is room in the log.
    pub(super) fn try_admit(&mut self, token: Token) -> bool {
        let write = self.locals.find(token).expect("a write that waits");
        let (export, range, arrived) = (write.export, write.range, write.arrived);
        let extents = extents_of(range);
        let volume = self.volume(export);
        // Half of the log is left to the peer's writes: if both nodes' own filled it, each would wait for the other.
        let has_room = volume.local_extents + extents <= volume.layout().hot_extents() / 2
            || self.mutated(Mutation::WholeLogTaken);
        if volume.is_settling() && !self.mutated(Mutation::SettlingSkipped)
            || !has_room
            || !volume.disk.log_counts()
            || self.must_wait(export, range, arrived)
        {
            return false;
        }
        let volume = self.volume_mut(export);
        let begun = volume.disk.log.begin(range);
        if begun == Begun::Full {
            return false;
        }
        volume.local_extents += extents;
        volume.locals += 1;
        let admitted = self.next_order();
        let now = self.now;
        let write = self.local_mut(token);
        (write.admitted, write.times.admitted) = (admitted, Some(now));
        match begun {
            Begun::After(_) if self.mutated(Mutation::LogNotAwaited) => {
                self.attend(export);
                self.start_local(token);
            }
            Begun::After(sequence) => {
                self.local_mut(token).stage = LocalStage::Logging(sequence);
                self.volume_mut(export).waiting_for_log.push_back(Claim::Local(token));
                self.attend(export);
            }
            Begun::Ready | Begun::Full => self.start_local(token),
        }
        true
    }

    /// The log is durable up to some transaction: what waited for it starts.
    pub(crate) fn start_logged(&mut self, export: ExportId) {
        for _ in 0..self.volume(export).waiting_for_log.len() {
            let claim = self.volume_mut(export).waiting_for_log.pop_front().expect("counted");
            let started = match claim {
                Claim::Local(token) => self.start_logged_local(token),
                Claim::Remote(token) => self.start_logged_remote(token),
                Claim::Held | Claim::Read(_) => unreachable!("only writes are logged"),
            };
            if !started {
                self.volume_mut(export).waiting_for_log.push_back(claim);
            }
        }
    }

    fn start_logged_local(&mut self, token: Token) -> bool {
        let Some(write) = self.locals.find(token) else { return true };
        let LocalStage::Logging(sequence) = write.stage else { return true };
        let (export, range, arrived) = (write.export, write.range, write.arrived);
        // R1 again: a write of the peer's, or a copy, may have come since, and this one was not in flight.
        let is_in_the_way =
            self.must_wait(export, range, arrived) && !self.mutated(Mutation::LoggingInFlight);
        let starts = self.volume(export).disk.log.is_durable(sequence) && !is_in_the_way;
        if starts {
            self.start_local(token);
        }
        starts
    }

    /// To the peer, if it is there, and to the disk, at the same moment.
    fn start_local(&mut self, token: Token) {
        let now = self.next_order();
        let LocalWrite { export, range, data, durable, origin, .. } = *self.local(token);
        let volume = self.volume(export);
        // What only one node has in memory is not safe there.
        let may_cache = || {
            volume.may_cache()
                || volume.could_go_on_from_memory()
                    && (self.mutated(Mutation::CachedBesideStray)
                        || volume.relies_on_memory() && self.mutated(Mutation::CachedBeforeMemberKnown))
                || volume.phase == Phase::Paired && self.mutated(Mutation::CachedWhileNotWhole)
        };
        let durable = durable || volume.durability == Durability::Memory && !may_cache();
        let was_in_flight = self.is_local_in_flight(self.local(token));
        let write = self.local_mut(token);
        write.durable = durable;
        if !was_in_flight {
            write.admitted = now;
        }
        if self.volume(export).phase == Phase::Alone {
            let tickets = if self.mutated(Mutation::BitsNotSet) {
                Tickets::default()
            } else {
                self.peer_misses(export, range)
            };
            let time = self.now;
            let write = self.local_mut(token);
            (write.acked_at, write.tickets, write.times.acked) = (Some(now), tickets, Some(time));
            if !tickets.is_empty() {
                self.volume_mut(export).promised.push(token);
                self.attend(export);
            }
        } else {
            self.say(export, VolumeMessage::Replicate { write: token, range, durable, origin }, Some(data));
        }
        let time = self.now;
        let write = self.local_mut(token);
        (write.stage, write.times.started) = (LocalStage::InFlight, Some(time));
        self.ask_disk(export, DiskWork::Local(token), Operation::Write { range, data, durable });
    }
}
