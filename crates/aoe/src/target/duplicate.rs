//! What to do with a write that looks like one seen before.
//!
//! Initiators send a request again under a new tag when its answer is late, so the duplicate may come after the write
//! was answered, and after the same sectors were written anew: executed, it would bring old data back. This file
//! remembers completed writes for as long as a duplicate may still come, and tells duplicates from new writes.
//! Duplicates of writes still in flight are found by `outstanding`, which knows those.
//!
//! How long: the duplicate left the initiator before the answer reached it, which was sent [`ANSWER_AGE_MAX`] after it was made at
//! the latest. The wire may hold it for [`DUPLICATE_WINDOW`] after that, and the receive queue for [`FRAME_AGE_MAX`]; older ones are
//! dropped unread. So a write is remembered for the sum, and a frame *received* more than the first two ([`WINDOW`]) after the last
//! answer is a new write. An answer given from memory counts: it may have been to a new write of the same bytes, which has
//! duplicates of its own. When the memory is full of younger ones it refuses new writes; it never forgets early.
//!
//! Writes that come by the other node of a pair are entered as well, once they have ended here. They cannot be refused:
//! one that finds no room blinds the memory until its duplicates are too old to matter. What one node of a pair has answered from memory
//! the other one does not hear of. So there only the end of a write counts: for a window after it each node answers duplicates from
//! memory, and for as long again as their own duplicates may come ([`WINDOW_OF_PAIR`]) both drop what something came after since. A
//! write of the other node's ended there after it came here, and before it ended here: answers count from the one, the rest from the other.

use block::{Duration, ExportId, Instant, LbaRange};

use super::numbers::Number;
use super::output::Origin;
use super::sector_sequence::{SectorSequences, Sequence, bucket, spread};
use super::slab::{NIL, Slab};
use crate::digest::Digest;
use crate::limits::{ANSWER_AGE_MAX, DUPLICATE_WINDOW, FRAME_AGE_MAX};

/// From when a write was answered until a duplicate of it may still be received.
const WINDOW: Duration = DUPLICATE_WINDOW.saturating_add(ANSWER_AGE_MAX);
/// The same of what either node of a pair has answered from memory, and a little to spare, from when the write ended there.
const WINDOW_OF_PAIR: Duration = WINDOW.saturating_mul(2).saturating_add(ANSWER_AGE_MAX);

/// Forgotten at once, at most: keeps up with the one write that is admitted, and no input has to pay for many.
const FORGOTTEN_MAX: usize = 4;

/// What makes two writes the same one. Who sent it does not: a host with two interfaces sends a request again from the other one's
/// address (`docs/decisions/0015`).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct WriteIdentity {
    /// Whose disk.
    pub(crate) export: ExportId,
    /// Where to.
    pub(crate) range: LbaRange,
    /// What; or whose write by number.
    pub(crate) digest: Digest,
    /// Whether it is known by its number.
    pub(crate) is_numbered: bool,
}

impl WriteIdentity {
    /// The identity of a write that is known by its content (rules D1, D2).
    pub(crate) const fn stock(export: ExportId, range: LbaRange, digest: Digest) -> Self {
        Self { export, range, digest, is_numbered: false }
    }

    /// The identity of a write that is known by its number (rule D6).
    pub(crate) const fn numbered(export: ExportId, range: LbaRange, initiator: u64, sequence: u64) -> Self {
        let digest = Digest((initiator as u128) << 64 | sequence as u128);
        Self { export, range, digest, is_numbered: true }
    }

    /// The identity of a write that came by the other node.
    pub(crate) const fn of(export: ExportId, range: LbaRange, origin: Origin) -> Self {
        match origin {
            Origin::Stock { digest } => Self::stock(export, range, digest),
            Origin::Sequenced { initiator, sequence } => Self::numbered(export, range, initiator, sequence),
        }
    }

    /// The number that it is known by.
    pub(crate) fn number(&self) -> Option<Number> {
        #[expect(clippy::cast_possible_truncation, reason = "each half is one number")]
        let (initiator, sequence) = ((self.digest.0 >> 64) as u64, self.digest.0 as u64);
        self.is_numbered.then_some(Number { export: self.export, initiator, sequence })
    }

    /// What the other node is told.
    pub(crate) fn origin(&self) -> Origin {
        match self.number() {
            Some(Number { initiator, sequence, .. }) => Origin::Sequenced { initiator, sequence },
            None => Origin::Stock { digest: self.digest },
        }
    }
}

/// What to do with a write.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Verdict {
    /// Execute it: no duplicate of it is known, or that one failed and nothing came after.
    New,
    /// Answer it: its data stands on the disk already.
    Answer,
    /// Drop it: it was executed, and something that overlaps it was admitted since.
    Superseded,
    /// Drop it: whether it was executed nobody knows.
    Doubtful,
}

/// What became of a write that is remembered.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Ending {
    /// It is on the disk.
    Executed,
    /// It is on the disk; something that overlaps it was under way by the other node, and may be the later one.
    Overtaken,
    /// It failed, and may have changed the disk.
    Failed,
    /// Nobody knows.
    Doubtful,
}

/// Writes completed a short while ago, and the order of all admitted ones.
#[derive(Debug)]
pub(crate) struct WriteHistory {
    entries: Slab<Entry>,
    /// Newest entry of each chain plus one.
    chains: Box<[u32]>,
    oldest: u32,
    youngest: u32,
    sequences: SectorSequences,
    /// Writes admitted that will need an entry when they complete.
    admitted: usize,
    /// Those of them that came by the other node.
    followed: usize,
    /// Until then a duplicate may come of a write that found no room.
    blind_until: Option<Instant>,
    /// Another node answers for the same exports.
    is_mirrored: bool,
    multiplier: u64,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    identity: WriteIdentity,
    /// When it was answered last; of a pair when it ended here.
    answered: Instant,
    sequence: Sequence,
    /// Next older entry of the chain plus one.
    next: u32,
    /// Neighbours in the order of the last answers.
    older: u32,
    younger: u32,
    ending: Ending,
    /// Milliseconds by which it may have ended sooner at the other node than here.
    lag: u16,
}

impl Entry {
    /// Whether an answer given now has no copies later than the other node expects any.
    const fn may_be_answered(&self, now: Instant) -> bool {
        now.since(self.answered).as_nanos() + self.lag as u128 * 1_000_000 <= WINDOW.as_nanos()
    }
}

impl WriteHistory {
    /// Remembers at most `capacity` writes, those in flight included.
    pub(crate) fn new(capacity: usize, seed: u64) -> Self {
        Self {
            entries: Slab::new(capacity),
            chains: vec![0; capacity.next_power_of_two()].into_boxed_slice(),
            oldest: NIL,
            youngest: NIL,
            // A write that is no whole number of aligned blocks, or a larger one, touches two or more.
            sequences: SectorSequences::new(capacity * 2, seed),
            admitted: 0,
            followed: 0,
            blind_until: None,
            is_mirrored: false,
            multiplier: spread(seed.rotate_left(17)),
        }
    }

    /// From now on another node answers for the same exports, or for some of them.
    pub(crate) const fn has_peer(&mut self) {
        self.is_mirrored = true;
    }

    /// How long a duplicate may come of what was answered.
    const fn window(&self) -> Duration {
        if self.is_mirrored { WINDOW_OF_PAIR } else { WINDOW }
    }

    /// What to do with a write that came in a frame received at `received`. A verdict to answer is taken as done.
    pub(crate) fn judge(&mut self, now: Instant, identity: &WriteIdentity, received: Instant) -> Verdict {
        let mut next = self.chains[self.chain(identity)];
        while next != 0 {
            let index = next - 1;
            let entry = &self.entries[index];
            if entry.identity != *identity {
                next = entry.next;
                continue;
            }
            // Older executions of the same write need no look: what rules out the newest rules them out.
            let verdict = self.judge_against(entry, received);
            if verdict == Verdict::Answer && self.is_mirrored && !entry.may_be_answered(now) {
                // Not in time: sent again, it is a new write if nothing has come after it.
                return Verdict::Superseded;
            }
            if verdict == Verdict::Answer && !self.is_mirrored {
                self.unlink(index);
                self.entries[index].answered = now;
                self.link_youngest(index);
            }
            return verdict;
        }
        Verdict::New
    }

    fn judge_against(&self, entry: &Entry, received: Instant) -> Verdict {
        let age = received.since(entry.answered);
        if age > self.window() {
            return Verdict::New;
        }
        let WriteIdentity { export, range, .. } = entry.identity;
        let is_latest = self.sequences.is_latest(export, range, entry.sequence);
        match entry.ending {
            Ending::Executed | Ending::Failed | Ending::Doubtful if age > WINDOW && is_latest => Verdict::New,
            _ if age > WINDOW => Verdict::Superseded,
            Ending::Doubtful => Verdict::Doubtful,
            Ending::Overtaken => Verdict::Superseded,
            _ if !is_latest => Verdict::Superseded,
            Ending::Failed => Verdict::New,
            Ending::Executed => Verdict::Answer,
        }
    }

    /// Whether a frame of this write, received then, would not be taken for a new write.
    pub(crate) fn remembers(&self, identity: &WriteIdentity, received: Instant) -> bool {
        let mut next = self.chains[self.chain(identity)];
        while next != 0 {
            let entry = &self.entries[next - 1];
            if entry.identity == *identity {
                // What is older was looked at when the frame came; since then it is itself what came after.
                let is_recent = received.since(entry.answered) <= WINDOW;
                return is_recent && self.judge_against(entry, received) != Verdict::New;
            }
            next = entry.next;
        }
        false
    }

    /// Enters a write into the order, or refuses it because the memory is full.
    pub(crate) fn admit(&mut self, now: Instant, export: ExportId, range: LbaRange) -> Option<Sequence> {
        let mut forgotten = 0;
        while (forgotten < FORGOTTEN_MAX || !self.has_room(range)) && self.forget_oldest(now) {
            forgotten += 1;
        }
        if !self.has_room(range) {
            return None;
        }
        self.admitted += 1;
        Some(self.sequences.admit(export, range))
    }

    /// Enters a write that came by the other node into the order, or is blind for a while because the memory is full.
    pub(crate) fn follow(&mut self, now: Instant, export: ExportId, range: LbaRange) -> Option<Sequence> {
        let sequence = self.admit(now, export, range);
        match sequence {
            Some(_) => self.followed += 1,
            None => self.overlook(now),
        }
        sequence
    }

    /// A write that [`Self::follow`] has entered is about to be completed or abandoned.
    pub(crate) fn unfollow(&mut self) {
        assert!(self.followed > 0, "a write that is followed ends once");
        self.followed -= 1;
    }

    /// A write came or ended that this memory does not know: no verdict is to be trusted for a while.
    pub(crate) fn overlook(&mut self, now: Instant) {
        self.blind_until = Some(now.after(self.window() + FRAME_AGE_MAX));
    }

    /// Whether a write of the other node may be missing that a verdict would depend on.
    pub(crate) fn is_blind(&self, now: Instant) -> bool {
        self.blind_until.is_some_and(|until| now <= until)
    }

    /// Remembers an admitted write that has ended, and not before `since` at the other node. A failed one counts, since it may have
    /// changed the disk.
    pub(crate) fn complete(
        &mut self,
        now: Instant,
        since: Instant,
        identity: WriteIdentity,
        sequence: Sequence,
        ending: Ending,
    ) {
        assert!(self.admitted > 0, "a write completes once");
        self.admitted -= 1;
        let chain = self.chain(&identity);
        let next = self.chains[chain];
        let lag = u16::try_from(now.since(since).as_nanos().div_ceil(1_000_000)).unwrap_or(u16::MAX);
        let entry = Entry { identity, answered: now, sequence, next, older: NIL, younger: NIL, ending, lag };
        let index = self.entries.insert(entry);
        self.chains[chain] = index + 1;
        self.link_youngest(index);
    }

    /// Forgets the latest execution of a write: it took place at a disk that does not count.
    pub(crate) fn forget(&mut self, identity: &WriteIdentity) {
        let mut next = self.chains[self.chain(identity)];
        while next != 0 {
            let index = next - 1;
            if self.entries[index].identity == *identity {
                return self.remove(index);
            }
            next = self.entries[index].next;
        }
    }

    /// An admitted write was dropped before the disk saw it.
    pub(crate) fn abandon(&mut self, export: ExportId, range: LbaRange) {
        assert!(self.admitted > 0, "a write is abandoned once");
        self.admitted -= 1;
        self.sequences.release(export, range);
    }

    /// Writes admitted here and not ended.
    pub(crate) const fn in_flight(&self) -> usize {
        self.admitted - self.followed
    }

    /// Writes remembered or in flight.
    pub(crate) fn len(&self) -> usize {
        self.entries.len() + self.admitted
    }

    fn has_room(&self, range: LbaRange) -> bool {
        self.entries.room() > self.admitted && self.sequences.has_room(range)
    }

    /// Forgets the oldest write if no duplicate of it can come any more.
    fn forget_oldest(&mut self, now: Instant) -> bool {
        if self.oldest == NIL {
            return false;
        }
        let index = self.oldest;
        if now.since(self.entries[index].answered) <= self.window() + FRAME_AGE_MAX {
            return false;
        }
        self.remove(index);
        true
    }

    fn remove(&mut self, index: u32) {
        let identity = self.entries[index].identity;
        self.unlink(index);
        self.unchain(index, &identity);
        self.entries.remove(index);
        self.sequences.release(identity.export, identity.range);
    }

    fn link_youngest(&mut self, index: u32) {
        let older = self.youngest;
        self.entries[index].older = older;
        self.entries[index].younger = NIL;
        match older {
            NIL => self.oldest = index,
            older => self.entries[older].younger = index,
        }
        self.youngest = index;
    }

    fn unlink(&mut self, index: u32) {
        let Entry { older, younger, .. } = self.entries[index];
        match older {
            NIL => self.oldest = younger,
            older => self.entries[older].younger = younger,
        }
        match younger {
            NIL => self.youngest = older,
            younger => self.entries[younger].older = older,
        }
    }

    fn unchain(&mut self, index: u32, identity: &WriteIdentity) {
        let chain = self.chain(identity);
        let after = self.entries[index].next;
        if self.chains[chain] == index + 1 {
            self.chains[chain] = after;
            return;
        }
        let mut previous = self.chains[chain] - 1;
        while self.entries[previous].next != index + 1 {
            previous = self.entries[previous].next - 1;
        }
        self.entries[previous].next = after;
    }

    fn chain(&self, identity: &WriteIdentity) -> usize {
        #[expect(clippy::cast_possible_truncation, reason = "either half of a digest is a hash")]
        let content = identity.digest.0 as u64;
        let place = identity.range.start().0 ^ (u64::from(identity.export.0) << 46);
        bucket(content.wrapping_add(place.wrapping_mul(self.multiplier)), self.chains.len())
    }
}

/// Whether a frame received at `received` is too old to be acted on at `now`.
pub(crate) fn is_stale(now: Instant, received: Instant) -> bool {
    now.since(received) > FRAME_AGE_MAX
}

const _: () = assert!(size_of::<Entry>() <= 80, "an entry stays small");

#[cfg(test)]
mod tests {
    use super::*;
    use block::{Lba, SectorCount};

    const EXPORT: ExportId = ExportId(0);

    fn range(start: u64, count: u16) -> LbaRange {
        LbaRange::new(Lba(start), SectorCount(count)).expect("a range within bounds")
    }

    fn identity(start: u64, content: u128) -> WriteIdentity {
        WriteIdentity::stock(EXPORT, range(start, 8), Digest(content))
    }

    fn at(milliseconds: u64) -> Instant {
        Instant::from_nanos(milliseconds * 1_000_000)
    }

    fn write(history: &mut WriteHistory, now: Instant, start: u64, content: u128, failed: bool) {
        let ending = if failed { Ending::Failed } else { Ending::Executed };
        let sequence = history.admit(now, EXPORT, range(start, 8)).expect("room");
        history.complete(now, now, identity(start, content), sequence, ending);
    }

    #[test]
    fn a_duplicate_is_answered_until_something_overlapping_was_admitted() {
        let mut history = WriteHistory::new(16, 7);
        write(&mut history, at(10), 0, 1, false);
        assert_eq!(history.judge(at(11), &identity(0, 1), at(11)), Verdict::Answer);
        assert_eq!(history.judge(at(11), &identity(0, 2), at(11)), Verdict::New);
        assert_eq!(history.judge(at(11), &identity(8, 1), at(11)), Verdict::New);
        history.admit(at(12), EXPORT, range(7, 1)).expect("room");
        assert_eq!(history.judge(at(13), &identity(0, 1), at(13)), Verdict::Superseded);
    }

    #[test]
    fn a_duplicate_received_before_the_write_ended_is_a_duplicate_and_one_received_late_is_a_new_write() {
        let mut history = WriteHistory::new(16, 7);
        write(&mut history, at(5000), 0, 1, false);
        write(&mut history, at(5000), 0, 2, false);
        assert_eq!(history.judge(at(5001), &identity(0, 1), at(4500)), Verdict::Superseded);
        assert_eq!(history.judge(at(6500), &identity(0, 1), at(6250)), Verdict::Superseded);
        assert_eq!(history.judge(at(6500), &identity(0, 1), at(6251)), Verdict::New);
    }

    #[test]
    fn an_answer_from_memory_begins_the_window_anew() {
        let mut history = WriteHistory::new(16, 7);
        write(&mut history, at(0), 0, 1, false);
        write(&mut history, at(10), 8, 1, false);
        // Not a duplicate, but the host writing the same bytes again: its own duplicates may still be on the wire.
        assert_eq!(history.judge(at(900), &identity(0, 1), at(900)), Verdict::Answer);
        write(&mut history, at(950), 0, 2, false);
        assert_eq!(history.judge(at(1100), &identity(0, 1), at(1050)), Verdict::Superseded);
        assert!(history.forget_oldest(at(2261)), "the neighbour is the oldest now");
        assert!(!history.forget_oldest(at(3150)));
    }

    #[test]
    fn in_a_pair_what_something_came_after_is_dropped_for_twice_as_long() {
        let mut history = WriteHistory::new(16, 7);
        history.has_peer();
        write(&mut history, at(0), 0, 1, false);
        write(&mut history, at(0), 8, 1, false);
        // As the other node may have answered one that came then.
        assert_eq!(history.judge(at(1250), &identity(0, 1), at(1250)), Verdict::Answer);
        assert_eq!(history.judge(at(1251), &identity(0, 1), at(1251)), Verdict::New, "nothing came after");
        write(&mut history, at(1300), 0, 2, false);
        assert_eq!(history.judge(at(2750), &identity(0, 1), at(2750)), Verdict::Superseded);
        assert!(!history.forget_oldest(at(3750)));
        assert_eq!(history.judge(at(3750), &identity(0, 1), at(2751)), Verdict::New);
        assert!(history.forget_oldest(at(3751)));
    }

    #[test]
    fn in_a_pair_nothing_is_answered_later_than_the_other_node_expects() {
        let mut history = WriteHistory::new(16, 7);
        history.has_peer();
        write(&mut history, at(1000), 0, 1, false);
        // It has waited here.
        assert_eq!(history.judge(at(2251), &identity(0, 1), at(2200)), Verdict::Superseded);
        assert_eq!(history.judge(at(2250), &identity(0, 1), at(2200)), Verdict::Answer);
        // The other node may have ended it long before this one heard of that.
        let sequence = history.admit(at(1000), EXPORT, range(8, 8)).expect("room");
        history.complete(at(1000), at(400), identity(8, 1), sequence, Ending::Executed);
        assert_eq!(history.judge(at(1650), &identity(8, 1), at(1600)), Verdict::Answer);
        assert_eq!(history.judge(at(1651), &identity(8, 1), at(1600)), Verdict::Superseded);
        assert_eq!(history.judge(at(2300), &identity(8, 1), at(2300)), Verdict::New);
        assert!(!history.forget_oldest(at(4750)));
    }

    #[test]
    fn in_a_pair_a_write_does_not_stand_in_its_own_way() {
        let mut history = WriteHistory::new(16, 7);
        history.has_peer();
        write(&mut history, at(0), 0, 1, false);
        assert_eq!(history.judge(at(1300), &identity(0, 1), at(1300)), Verdict::New);
        history.admit(at(1300), EXPORT, range(0, 8)).expect("room");
        assert!(!history.remembers(&identity(0, 1), at(1300)), "what it was admitted as came after");
    }

    #[test]
    fn a_failed_write_is_tried_again_unless_something_came_after() {
        let mut history = WriteHistory::new(16, 7);
        write(&mut history, at(10), 0, 1, true);
        assert_eq!(history.judge(at(11), &identity(0, 1), at(11)), Verdict::New);
        write(&mut history, at(12), 0, 2, false);
        assert_eq!(history.judge(at(13), &identity(0, 1), at(13)), Verdict::Superseded);
    }

    #[test]
    fn a_failed_write_supersedes_what_came_before() {
        let mut history = WriteHistory::new(16, 7);
        write(&mut history, at(10), 0, 1, false);
        write(&mut history, at(11), 0, 2, true);
        assert_eq!(history.judge(at(12), &identity(0, 1), at(12)), Verdict::Superseded);
    }

    #[test]
    fn a_full_memory_refuses_until_its_oldest_write_is_past_all_duplicates() {
        let mut history = WriteHistory::new(2, 7);
        write(&mut history, at(0), 0, 1, false);
        write(&mut history, at(1), 8, 1, false);
        assert_eq!(history.admit(at(2250), EXPORT, range(16, 8)), None);
        assert!(history.admit(at(2251), EXPORT, range(16, 8)).is_some());
        assert_eq!(history.len(), 2);
        history.abandon(EXPORT, range(16, 8));
        assert_eq!(history.len(), 1);
    }

    #[test]
    fn nothing_is_left_behind_when_all_is_forgotten() {
        let mut history = WriteHistory::new(1024, 7);
        for step in 0..5000u64 {
            write(&mut history, at(step * 3), step * 5 % 4096, u128::from(step % 7), step % 11 == 0);
        }
        while history.forget_oldest(at(1_000_000)) {}
        assert_eq!(history.len(), 0);
        assert!(history.chains.iter().all(|chain| *chain == 0));
        assert!(history.sequences.has_room(range(0, 255)));
    }
}
