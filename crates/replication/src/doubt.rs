//! What has become of the writes that were in flight when a session ended.
//!
//! When the nodes part, each of them knows of every such write whether its own disk has it: what was handed to the disk is
//! awaited. Who goes on alone goes on with that. When they meet instead, one copy counts wherever they may differ: the
//! source's. So what its disk has was executed, and everything else never was. The source says so before `Proceed`, and both
//! nodes' memories of writes (rules D1, D2, D6) follow it.
//!
//! | the source says | the target | so it |
//! |---|---|---|
//! | what its disk has of it | whatever | is that |
//! | nothing | has sent it, and no acknowledgement came | never arrived, or not before the source froze: it never was |
//! | nothing | has followed it, and no commit came | was finished by the source: it was executed, unless its coordinator's disk could not; frames of a stock write are dropped here, since the source has remembered it for longer |
//!
//! The last two rows need a source that has seen everything since: where it may have forgotten, or has served alone, nobody
//! knows; one that has served alone still names the numbers that it had executed. The source keeps its list until `Ready`: until
//! then it may have to be told again, and nothing new was served. Of writes with numbers each node tells the other all that
//! it remembers besides, so that a node which has restarted or was away knows as much as the other one (decision 0013).

use std::collections::BTreeSet;

use block::{ExportId, LbaRange};

use crate::engine::Engine;
use crate::limits::{DOUBTFUL_KEPT_MAX, DOUBTFUL_MAX, DOUBTFUL_PER_MESSAGE, NUMBERS_MAX};
use crate::message::{DoubtfulWrite, Effect, NumberWindow, Origin, Refusal, VolumeMessage};
use crate::mutation::Mutation;
use crate::output::{Output, Resolution};
use crate::volume::{Phase, Volume};

/// A write that was in flight when a session ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Doubt {
    /// What this disk has of it.
    write: DoubtfulWrite,
    /// Whether this node was its coordinator.
    is_own: bool,
}

impl Volume {
    /// This node goes on alone with what its disk has. A returning peer is to hear that a write with a number was executed;
    /// one that was not may be yet. Frames of stock writes are too old when the peer serves.
    pub(crate) fn keep_executed(&mut self) {
        self.doubtful.retain(|Doubt { write, .. }| {
            let is_executed = matches!(write.effect, Effect::Whole | Effect::Overtaken);
            is_executed && matches!(write.origin, Origin::Sequenced { .. })
        });
        let too_many = self.doubtful.len().saturating_sub(DOUBTFUL_KEPT_MAX);
        self.doubtful.drain(..too_many);
    }
}

impl Engine {
    /// Nobody knows whether a write is on both disks or on none.
    pub(crate) fn doubt(&mut self, export: ExportId, range: LbaRange) {
        self.volume_mut(export).disk.bitmap.set(range);
    }

    /// That write will not touch this disk any more: this is what the disk has of it.
    pub(crate) fn note_effect(
        &mut self,
        export: ExportId,
        range: LbaRange,
        origin: Option<Origin>,
        effect: Effect,
        is_own: bool,
    ) {
        let volume = self.volume_mut(export);
        let Some(origin) = origin.filter(|_| volume.phase == Phase::Frozen) else { return };
        // More there are only of a peer that begins sessions to send writes and end them.
        if volume.doubtful.len() < DOUBTFUL_MAX {
            volume.doubtful.push(Doubt { write: DoubtfulWrite { range, origin, effect }, is_own });
        }
    }

    /// A write of this node's own has failed: what counted as executed because that one came after it is on no disk, or in part.
    pub(crate) fn doubt_overtaken(&mut self, volume: ExportId, range: LbaRange) {
        let doubtful = &mut self.volume_mut(volume).doubtful;
        let overtaken: Vec<DoubtfulWrite> = doubtful
            .iter_mut()
            .filter(|doubt| {
                !doubt.is_own && doubt.write.effect == Effect::Overtaken && doubt.write.range.overlaps(range)
            })
            .map(|doubt| {
                doubt.write.effect = Effect::Unknown;
                doubt.write
            })
            .collect();
        for DoubtfulWrite { range, origin, .. } in overtaken {
            self.push(Output::Resolved { volume, range, origin, resolution: Resolution::Unknown });
        }
    }

    /// As the source: tells the target what this disk has.
    pub(crate) fn say_doubtful(&mut self, export: ExportId) {
        let writes: Vec<DoubtfulWrite> =
            self.volume(export).doubtful.iter().map(|doubt| doubt.write).collect();
        for part in writes.chunks(DOUBTFUL_PER_MESSAGE) {
            self.say(export, VolumeMessage::Doubtful(part.to_vec()), None);
        }
    }

    pub(crate) fn handle_doubtful(&mut self, export: ExportId, writes: &[DoubtfulWrite]) {
        let volume = self.volume_mut(export);
        if !writes.iter().all(|write| volume.is_request(write.range)) {
            return self.refuse(Refusal::Protocol("writes in doubt beyond the volume, or too long"));
        }
        match volume.phase {
            Phase::Frozen if volume.meeting.doubtful.len() + writes.len() <= DOUBTFUL_MAX => {
                volume.meeting.doubtful.extend_from_slice(writes);
            }
            Phase::Frozen => {
                self.refuse(Refusal::Protocol("more writes in doubt than two nodes can have under way"));
            }
            _ => {}
        }
    }

    /// Has the target above tell the peer which numbered writes it remembers.
    pub(crate) fn tell_numbers(&mut self, volume: ExportId) {
        if let Some(peer) = self.volume(volume).meeting.peer_export
            && !self.mutated(Mutation::NumbersNotTold)
        {
            self.push(Output::TellNumbers { volume, peer });
        }
    }

    /// From the source they count from `Proceed` on: until then this node may become the source itself, of a disk that has
    /// nothing of what the other one has executed. The target has heard what counts before it tells.
    pub(crate) fn handle_numbers(&mut self, export: ExportId, windows: Vec<NumberWindow>) {
        let volume = self.volume_mut(export);
        match volume.phase {
            Phase::Frozen if volume.meeting.numbers.len() + windows.len() <= NUMBERS_MAX => {
                volume.meeting.numbers.extend(windows);
            }
            Phase::Frozen => self.refuse(Refusal::Protocol("more initiators than a node remembers")),
            Phase::Paired if volume.meeting.is_source && !volume.meeting.target_is_ready => {
                self.push(Output::Numbers { volume: export, windows });
            }
            _ => {}
        }
    }

    /// As the target: what the source remembers counts, also of what was in doubt and is not known otherwise.
    fn take_numbers(&mut self, volume: ExportId) {
        let windows = std::mem::take(&mut self.volume_mut(volume).meeting.numbers);
        if !windows.is_empty() {
            self.push(Output::Numbers { volume, windows });
        }
    }

    /// As the source: what this disk has counts.
    pub(crate) fn resolve_as_source(&mut self, export: ExportId) {
        let writes = self.volume(export).doubtful.iter().map(|doubt| doubt.write).collect();
        self.resolve(export, writes);
    }

    /// As the target: what the source's disk has counts.
    pub(crate) fn resolve_as_target(&mut self, export: ExportId, are_equals: bool) {
        let keeps_own = self.mutated(Mutation::TargetKeepsItsEffects);
        let volume = self.volume_mut(export);
        let mut writes = std::mem::take(&mut volume.meeting.doubtful);
        let own = std::mem::take(&mut volume.doubtful);
        let has_forgotten = volume.meeting.offer.as_ref().is_none_or(|(source, _)| source.forgetful);
        let told: BTreeSet<_> = writes.iter().map(key).collect();
        writes.extend(own.into_iter().filter(|doubt| !told.contains(&key(&doubt.write))).map(|doubt| {
            let effect = match doubt.is_own {
                _ if has_forgotten || !are_equals => Effect::Unknown,
                true => Effect::Nothing,
                false if matches!(doubt.write.effect, Effect::Overtaken | Effect::Unknown) => {
                    doubt.write.effect
                }
                // The source has finished it, some time ago: what its frames are worth there nobody here knows.
                false if matches!(doubt.write.origin, Origin::Stock { .. }) => Effect::Overtaken,
                false => Effect::Whole,
            };
            DoubtfulWrite { effect, ..doubt.write }
        }));
        if !keeps_own {
            self.resolve(export, writes);
        }
        self.take_numbers(export);
        if are_equals {
            // Whatever was finished before the nodes parted both disks have, and the rest is as at the source by now. What a node
            // served that did not count in the end the source does not have.
            self.tell_numbers(export);
        }
    }

    /// Says what has become of these writes by their effects on the disk that counts.
    fn resolve(&mut self, volume: ExportId, mut writes: Vec<DoubtfulWrite>) {
        sort(&mut writes);
        let overlapped = overlapped(&writes);
        for (DoubtfulWrite { range, origin, effect }, overlapped) in writes.into_iter().zip(overlapped) {
            let resolution = match effect {
                Effect::Overtaken => Resolution::Overtaken,
                Effect::Whole if overlapped => Resolution::Overtaken,
                Effect::Whole => Resolution::Executed,
                Effect::Nothing => Resolution::Abandoned,
                Effect::Unknown => Resolution::Unknown,
            };
            self.push(Output::Resolved { volume, range, origin, resolution });
        }
    }
}

fn key(write: &DoubtfulWrite) -> (u64, u64, Origin) {
    (write.range.start().0, write.range.end().0, write.origin)
}

/// In the order of their beginnings. One that both nodes had taken may be there twice: what took effect is said last, and counts.
fn sort(writes: &mut [DoubtfulWrite]) {
    let rank = |effect| match effect {
        Effect::Nothing => 0,
        Effect::Unknown => 1,
        Effect::Overtaken => 2,
        Effect::Whole => 3,
    };
    writes.sort_unstable_by_key(|write| (key(write), rank(write.effect)));
}

/// Which of the writes, which are in the order of their beginnings, overlap another one that may have taken effect. The
/// one that reaches farthest is enough to compare with: whoever overlaps any earlier one overlaps it, too, and whoever is
/// overlapped by a later one was found to overlap it or reaches farthest itself.
fn overlapped(writes: &[DoubtfulWrite]) -> Vec<bool> {
    let mut overlapped = vec![false; writes.len()];
    let mut farthest: Option<usize> = None;
    for (index, write) in writes.iter().enumerate().filter(|(_, write)| write.effect != Effect::Nothing) {
        let end = |index: usize| writes[index].range.end();
        if let Some(other) = farthest.filter(|other| write.range.start() < end(*other)) {
            (overlapped[index], overlapped[other]) = (true, true);
        }
        if farthest.is_none_or(|other| end(other) < write.range.end()) {
            farthest = Some(index);
        }
    }
    overlapped
}

#[cfg(test)]
mod tests {
    use block::{Lba, SectorCount};

    use super::*;

    fn write(start: u64, count: u16, effect: Effect) -> DoubtfulWrite {
        let range = LbaRange::new(Lba(start), SectorCount(count)).expect("small");
        DoubtfulWrite { range, origin: Origin::Sequenced { initiator: start, sequence: 1 }, effect }
    }

    #[test]
    fn of_a_write_that_both_nodes_had_taken_what_took_effect_is_said_last() {
        for first in [Effect::Whole, Effect::Nothing] {
            let other = if first == Effect::Whole { Effect::Nothing } else { Effect::Whole };
            let mut writes: Vec<_> = [first, other]
                .iter()
                .flat_map(|effect| (0..50).map(|start| write(start, 1, *effect)))
                .collect();
            sort(&mut writes);
            let (twice, rest) = writes.as_chunks::<2>();
            assert!(rest.is_empty() && twice.iter().all(|[one, two]| key(one) == key(two)));
            let ends = twice.iter().map(|[one, two]| (one.effect, two.effect));
            assert!(ends.clone().all(|ends| ends == (Effect::Nothing, Effect::Whole)), "{ends:?}");
        }
    }

    #[test]
    fn writes_overlap_as_if_each_were_compared_with_every_other() {
        let mut state = 1_u64;
        let mut below = |bound: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % bound
        };
        for _ in 0..2000 {
            let mut writes: Vec<_> = (0..below(7))
                .map(|_| {
                    let effect = match below(3) {
                        0 => Effect::Whole,
                        1 => Effect::Nothing,
                        _ => Effect::Unknown,
                    };
                    write(below(20), u16::try_from(1 + below(8)).expect("small"), effect)
                })
                .collect();
            sort(&mut writes);
            let expected: Vec<bool> = (0..writes.len())
                .map(|one| {
                    (0..writes.len()).any(|other| {
                        let both = [&writes[one], &writes[other]];
                        one != other
                            && both.iter().all(|write| write.effect != Effect::Nothing)
                            && both[0].range.overlaps(both[1].range)
                    })
                })
                .collect();
            assert_eq!(overlapped(&writes), expected, "{writes:?}");
        }
    }
}
