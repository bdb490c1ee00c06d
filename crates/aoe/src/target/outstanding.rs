//! Requests that were admitted and not answered yet, and in which order the disk may see them.
//!
//! A write waits for every earlier unfinished write that overlaps it, a read likewise; reads never make anything
//! wait. So the disk never has two overlapping writes, and a value that was read stays read. On disks with 4096-byte
//! sectors writes are ordered by the whole sectors they touch, since a part of one is read, modified and written.
//!
//! Nothing records who waits for whom. A request counts the unfinished writes it overlaps when it is admitted; a
//! write that ends lowers the count of every later request it overlaps, which is the same set.

use block::{BufferSlice, EntryId, ExportId, Instant, IntervalTable, LbaRange, RequestId};

use super::arrival::Arrival;
use super::duplicate::WriteIdentity;
use super::output::Origin;
use super::port::PortId;
use super::refusal::Refusal;
use super::sector_sequence::Sequence;
use super::slab::{NIL, Slab};
use crate::limits::RESENT_AFTER_MIN;
use crate::wire::{Head, ata};

/// Most duplicates of a write that are answered with it, besides those that take the place of others.
const DUPLICATES_MAX: usize = 16;

/// Where an answer goes, and what it answers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answer {
    /// The interface that the request came in by.
    pub(crate) port: PortId,
    /// When its frame was received.
    pub(crate) received: Instant,
    /// Head of the reply.
    pub(crate) head: Head,
    /// The registers of the request.
    pub(crate) request: ata::Request,
    /// Set if it is a sequenced write, which has an answer of another shape.
    pub(crate) sequenced: Option<Sequenced>,
}

impl Answer {
    /// Whether `earlier` is to the same initiator, which has forgotten it since: this is to the same request sent again.
    fn takes_the_place_of(&self, earlier: &Self) -> bool {
        self.head.ethernet.destination == earlier.head.ethernet.destination
            && self.received.since(earlier.received) >= RESENT_AFTER_MIN
    }
}

/// What the answer to a sequenced write needs besides.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sequenced {
    /// Whose epoch it tells.
    pub(crate) export: ExportId,
    /// Whose write it is.
    pub(crate) initiator: u64,
}

/// What the disk is to do.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Work {
    /// Read these sectors.
    Read {
        /// Which.
        range: LbaRange,
        /// The frame that asked for it: kept as long as it waits.
        frame: BufferSlice,
    },
    /// Write sectors.
    Write {
        /// Who writes what where.
        identity: WriteIdentity,
        /// The bytes, in the buffer of the frame that brought them.
        data: BufferSlice,
        /// Whether the answer promises stable storage.
        durable: bool,
        /// Its place in the order of admission.
        sequence: Sequence,
    },
    /// Make everything durable.
    Flush,
}

impl Work {
    /// Which write it is.
    pub(crate) const fn identity(&self) -> Option<WriteIdentity> {
        match self {
            Self::Write { identity, .. } => Some(*identity),
            Self::Read { .. } | Self::Flush => None,
        }
    }

    /// The frame that one which waits has come in.
    pub(crate) const fn frame(&self) -> Option<BufferSlice> {
        match *self {
            Self::Read { frame, .. } => Some(frame),
            // Nothing comes after the data but padding.
            Self::Write { data, .. } => {
                Some(BufferSlice { buffer: data.buffer, offset: 0, length: data.offset + data.length })
            }
            Self::Flush => None,
        }
    }

    /// Whose write it is.
    pub(crate) fn origin(&self) -> Option<Origin> {
        match self {
            Self::Write { identity, .. } => Some(identity.origin()),
            Self::Read { .. } | Self::Flush => None,
        }
    }
}

/// One request to a disk.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request {
    /// Whose disk.
    pub(crate) export: ExportId,
    /// When its frame, or the latest duplicate of it, was received.
    pub(crate) received: Instant,
    /// When its first frame was.
    pub(crate) began: Instant,
    /// When it was handed on, or came, as long as it was not.
    pub(crate) started: Instant,
    /// Who waits for the outcome.
    pub(crate) answer: Answer,
    /// What to do.
    pub(crate) work: Work,
}

impl Request {
    /// One whose frame has just come.
    pub(super) const fn new(export: ExportId, arrival: &Arrival<'_>, answer: Answer, work: Work) -> Self {
        let Arrival { received, now, .. } = *arrival;
        Self { export, received, began: received, started: now, answer, work }
    }
}

/// A request that has left the table, and the first of the duplicates that want the same answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Finished {
    /// The request.
    pub(crate) request: Request,
    duplicates: u32,
}

/// All requests of a shard that are waiting or at a disk.
#[derive(Debug)]
pub(crate) struct Outstanding {
    slots: Slab<Slot>,
    /// Unfinished writes and waiting reads; the value is the slot.
    intervals: IntervalTable<u32>,
    /// Slots that wait for nothing any more and have not been started.
    ready: Vec<u32>,
    admitted: u64,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    request: Request,
    /// Place in the order of admission; its low half tells two users of a slot apart.
    order: u64,
    interval: Option<EntryId>,
    /// First duplicate of this write, or the next duplicate after this one.
    duplicates: u32,
    state: State,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    /// Waits for this many earlier writes.
    Waiting(u32),
    /// Nothing is in its way; the disk has it or is about to get it.
    Started,
    /// Wants the answer of the write whose list it is in.
    Duplicate,
    Free,
}

impl Outstanding {
    /// Most requests that a request's name has room for.
    pub(crate) const CAPACITY_MAX: usize = 1 << 16;

    /// Room for `capacity` requests, duplicates included.
    pub(crate) fn new(capacity: usize) -> Self {
        assert!(capacity <= Self::CAPACITY_MAX, "more requests than their names can tell apart");
        Self {
            slots: Slab::new(capacity),
            intervals: IntervalTable::new(capacity),
            ready: Vec::with_capacity(capacity),
            admitted: 0,
        }
    }

    /// Requests in the table, duplicates included.
    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether one more request would be too many.
    #[inline]
    pub(crate) fn is_full(&self) -> bool {
        self.slots.room() == 0
    }

    /// The unfinished write that `identity` is a duplicate of.
    pub(crate) fn find_duplicate(&self, identity: &WriteIdentity) -> Option<u32> {
        self.intervals.overlapping(identity.export, identity.range).map(|(_, _, slot)| slot).find(|slot| {
            matches!(&self.slots[*slot].request.work, Work::Write { identity: other, .. } if other == identity)
        })
    }

    /// Lets a duplicate of the write in `slot` have its answer too, if there is room; instead of an earlier one that its sender has
    /// forgotten if there is such a one. It is as good a reason to execute the write as the first frame was, so the
    /// write is as young as its youngest duplicate.
    pub(crate) fn add_duplicate(&mut self, slot: u32, answer: Answer) -> Result<(), Refusal> {
        let (forgotten, duplicates) = self.forgotten_for(slot, &answer);
        if forgotten.is_none() && (self.is_full() || duplicates == DUPLICATES_MAX) {
            return Err(Refusal::TooManyOutstanding);
        }
        let primary = &mut self.slots[slot];
        primary.request.received = primary.request.received.max(answer.received);
        if let Some(forgotten) = forgotten {
            self.slots[forgotten].request.answer = answer;
            return Ok(());
        }
        let duplicate = Slot {
            request: Request { answer, ..primary.request },
            order: 0,
            interval: None,
            duplicates: primary.duplicates,
            state: State::Duplicate,
        };
        let duplicate = self.slots.insert(duplicate);
        self.slots[slot].duplicates = duplicate;
        Ok(())
    }

    /// Which of the answers to the write in `slot` this one takes the place of, the oldest of them; and how many duplicates it has.
    fn forgotten_for(&self, slot: u32, answer: &Answer) -> (Option<u32>, usize) {
        let mut forgotten: Option<u32> = None;
        let received = |of: u32| self.slots[of].request.answer.received;
        let (mut index, mut answers) = (slot, 0);
        while index != NIL {
            let Slot { request, duplicates, .. } = &self.slots[index];
            if answer.takes_the_place_of(&request.answer)
                && forgotten.is_none_or(|oldest| received(index) < received(oldest))
            {
                forgotten = Some(index);
            }
            (index, answers) = (*duplicates, answers + 1);
        }
        (forgotten, answers - 1)
    }

    /// Has a read that waits answer this one instead, if it is the same sent again: it has read nothing yet. The earlier
    /// frame, if there was one.
    #[inline]
    pub(crate) fn renew_read(
        &mut self,
        export: ExportId,
        range: LbaRange,
        answer: &Answer,
        frame: BufferSlice,
    ) -> Option<BufferSlice> {
        if self.intervals.is_empty() {
            return None;
        }
        let is_forgotten = |slot: &u32| {
            let Slot { request, state, .. } = &self.slots[*slot];
            matches!((&request.work, state), (Work::Read { range: of, .. }, State::Waiting(_)) if *of == range)
                && answer.takes_the_place_of(&request.answer)
        };
        let slot = self.intervals.overlapping(export, range).map(|(_, _, slot)| slot).find(is_forgotten)?;
        let request = &mut self.slots[slot].request;
        (request.answer, request.received) = (*answer, answer.received);
        let earlier = request.work.frame();
        request.work = Work::Read { range, frame };
        earlier
    }

    /// Whether a read of these sectors would have to wait for a write.
    pub(crate) fn would_wait(&self, export: ExportId, range: LbaRange) -> bool {
        self.unfinished_writes(export, range) > 0
    }

    /// Admits a request that is ordered by `ordered` (a flush by nothing): its name if it may start at once, `None`
    /// if it has to wait until [`Self::next_ready`] gives it out.
    #[inline]
    pub(crate) fn admit(&mut self, request: Request, ordered: Option<LbaRange>) -> Option<RequestId> {
        let waits_for = ordered.map_or(0, |range| self.unfinished_writes(request.export, range));
        let state = if waits_for == 0 { State::Started } else { State::Waiting(waits_for) };
        self.admitted += 1;
        let slot = Slot { request, order: self.admitted, interval: None, duplicates: NIL, state };
        let slot = self.slots.insert(slot);
        let is_write = matches!(request.work, Work::Write { .. });
        if let Some(range) = ordered.filter(|_| is_write || waits_for > 0) {
            let entry = self.intervals.insert(request.export, range, slot);
            self.slots[slot].interval = Some(entry.expect("as many intervals as slots"));
        }
        (waits_for == 0).then(|| self.name(slot))
    }

    /// The request of that name, which the disk has or is about to get.
    #[inline]
    pub(crate) fn request(&self, id: RequestId) -> &Request {
        &self.slots[self.slot(id)].request
    }

    /// Its turn has come, which it has waited for.
    pub(crate) fn note_start(&mut self, now: Instant, id: RequestId) {
        let slot = self.slot(id);
        self.slots[slot].request.started = now;
    }

    /// Takes a request out that was completed or given up, and makes ready what waited for it.
    #[inline]
    pub(crate) fn finish(&mut self, id: RequestId) -> Finished {
        let index = self.slot(id);
        let slot = self.slots[index];
        self.slots[index].state = State::Free;
        self.slots.remove(index);
        if let Some(entry) = slot.interval {
            let (range, _) = self.intervals.entry(entry).expect("a write keeps its interval to its end");
            self.intervals.remove(entry);
            self.wake(slot.request.export, range, slot.order);
        }
        Finished { request: slot.request, duplicates: slot.duplicates }
    }

    /// The next duplicate that wants the answer of `finished`; it leaves the table.
    pub(crate) fn next_duplicate(&mut self, finished: &mut Finished) -> Option<Answer> {
        if finished.duplicates == NIL {
            return None;
        }
        let index = finished.duplicates;
        let slot = &mut self.slots[index];
        assert_eq!(slot.state, State::Duplicate, "only duplicates are in a write's list");
        slot.state = State::Free;
        finished.duplicates = slot.duplicates;
        let answer = slot.request.answer;
        self.slots.remove(index);
        Some(answer)
    }

    /// A request that waits for nothing any more: from now on it counts as started.
    pub(crate) fn next_ready(&mut self) -> Option<RequestId> {
        let index = self.ready.pop()?;
        let slot = &mut self.slots[index];
        slot.state = State::Started;
        if let Work::Read { .. } = slot.request.work
            && let Some(entry) = slot.interval.take()
        {
            self.intervals.remove(entry);
        }
        Some(self.name(index))
    }

    /// Takes out a request of `export` that waits for others, from `place` on, which moves on; together with those that
    /// wait for it, because none of them is left when there is no more to take out.
    pub(crate) fn take_waiting(&mut self, export: ExportId, place: &mut u32) -> Option<Finished> {
        while (*place as usize) < self.slots.touched() {
            let index = *place;
            *place += 1;
            let slot = self.slots[index];
            if slot.request.export != export || !matches!(slot.state, State::Waiting(_)) {
                continue;
            }
            if let Some(entry) = slot.interval {
                self.intervals.remove(entry);
            }
            self.slots[index].state = State::Free;
            self.slots.remove(index);
            return Some(Finished { request: slot.request, duplicates: slot.duplicates });
        }
        None
    }

    /// Whether another write than this, which overlaps it, was admitted and has not ended.
    pub(crate) fn has_other_unfinished_write(&self, identity: &WriteIdentity) -> bool {
        self.intervals.overlapping(identity.export, identity.range).any(|(_, _, slot)| {
            self.slots[slot].request.work.identity().is_some_and(|other| other != *identity)
        })
    }

    #[inline]
    fn unfinished_writes(&self, export: ExportId, range: LbaRange) -> u32 {
        let writes = self
            .intervals
            .overlapping(export, range)
            .filter(|(_, _, slot)| matches!(self.slots[*slot].request.work, Work::Write { .. }));
        u32::try_from(writes.count()).expect("fewer than the capacity")
    }

    /// One write fewer for every later request that overlaps `range`.
    fn wake(&mut self, export: ExportId, range: LbaRange, order: u64) {
        for (_, _, index) in self.intervals.overlapping(export, range) {
            let slot = &mut self.slots[index];
            if slot.order < order {
                continue;
            }
            let State::Waiting(waits_for) = slot.state else {
                panic!("a request that overlaps an earlier unfinished write was started");
            };
            slot.state = State::Waiting(waits_for - 1);
            if waits_for == 1 {
                self.ready.push(index);
            }
        }
        // Chains hold the latest first, and `next_ready` takes from the end: the earliest starts first.
    }

    fn name(&self, slot: u32) -> RequestId {
        RequestId(slot | generation(self.slots[slot].order))
    }

    #[inline]
    fn slot(&self, id: RequestId) -> u32 {
        let index = id.0 & 0xffff;
        assert!((index as usize) < self.slots.touched(), "{id:?} was never given out");
        let slot = &self.slots[index];
        assert!(
            slot.state == State::Started && generation(slot.order) == id.0 & 0xffff_0000,
            "{id:?} is not at the disk: completed twice or never given out"
        );
        index
    }
}

/// The low half of an order in the upper half of a name.
const fn generation(order: u64) -> u32 {
    ((order & 0xffff) as u32) << 16
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::AddressPattern;
    use crate::ata::AtaCommand;
    use crate::digest::Digest;
    use crate::mac::MacAddress;
    use crate::wire::{ethernet, header};
    use block::{BufferName, Lba, SectorCount};

    const EXPORT: ExportId = ExportId(0);

    fn answer(port: u8, received: Instant) -> Answer {
        let ethernet = ethernet::Repr { destination: MacAddress::default(), source: MacAddress::default() };
        let header = header::Repr::request(AddressPattern::EVERY, header::Command::Ata, header::Tag(0));
        let request = ata::Request {
            flags: ata::AtaFlags::WRITE,
            feature: 0,
            sector_count: 1,
            command: AtaCommand::WriteSectorsExt,
            lba: ata::LbaRegisters::default(),
        };
        Answer { port: PortId(port), received, head: Head { ethernet, header }, request, sequenced: None }
    }

    fn range(start: u64, count: u16) -> LbaRange {
        LbaRange::new(Lba(start), SectorCount(count)).expect("a range within bounds")
    }

    fn frame(buffer: u64) -> BufferSlice {
        BufferSlice { buffer: BufferName(buffer), offset: 0, length: 60 }
    }

    fn at(milliseconds: u64) -> Instant {
        Instant::from_nanos(milliseconds * 1_000_000)
    }

    fn write(start: u64, count: u16) -> Request {
        let range = range(start, count);
        let identity = WriteIdentity::stock(EXPORT, range, Digest(0));
        let data = BufferSlice { buffer: BufferName(0), offset: 36, length: 512 };
        let work = Work::Write { identity, data, durable: true, sequence: Sequence::default() };
        let (received, began, started) = (at(0), at(0), at(0));
        Request { export: EXPORT, received, began, started, answer: answer(0, at(0)), work }
    }

    fn read(start: u64, count: u16) -> Request {
        Request { work: Work::Read { range: range(start, count), frame: frame(0) }, ..write(start, count) }
    }

    fn admit(outstanding: &mut Outstanding, request: Request, start: u64, count: u16) -> Option<RequestId> {
        outstanding.admit(request, Some(range(start, count)))
    }

    /// A write to the first eight sectors that the disk has: its name, what it is, and where it stands.
    fn write_in_flight(outstanding: &mut Outstanding) -> (RequestId, WriteIdentity, u32) {
        let request = write(0, 8);
        let identity = request.work.identity().expect("a write");
        let id = admit(outstanding, request, 0, 8).expect("nothing is in its way");
        (id, identity, outstanding.find_duplicate(&identity).expect("in flight"))
    }

    #[test]
    fn overlapping_writes_start_one_after_the_other_in_order_of_admission() {
        let mut outstanding = Outstanding::new(8);
        let first = admit(&mut outstanding, write(0, 8), 0, 8).expect("nothing is in its way");
        assert_eq!(admit(&mut outstanding, write(4, 8), 4, 8), None);
        assert_eq!(admit(&mut outstanding, write(8, 8), 8, 8), None);
        assert!(admit(&mut outstanding, write(16, 8), 16, 8).is_some());
        outstanding.finish(first);
        let second = outstanding.next_ready().expect("the second waits no more");
        assert!(
            matches!(outstanding.request(second).work, Work::Write { identity, .. } if identity.range == range(4, 8))
        );
        assert_eq!(outstanding.next_ready(), None);
        outstanding.finish(second);
        let third = outstanding.next_ready().expect("the third waits no more");
        outstanding.finish(third);
        assert_eq!(outstanding.len(), 1);
    }

    #[test]
    fn a_read_waits_for_writes_and_nothing_waits_for_a_read() {
        let mut outstanding = Outstanding::new(8);
        assert!(admit(&mut outstanding, read(0, 8), 0, 8).is_some());
        let first = admit(&mut outstanding, write(0, 8), 0, 8).expect("reads are in nobody's way");
        assert_eq!(admit(&mut outstanding, read(7, 4), 7, 4), None);
        assert!(admit(&mut outstanding, write(8, 8), 8, 8).is_some());
        outstanding.finish(first);
        let waiting = outstanding.next_ready().expect("the read waited for the first write only");
        assert!(matches!(outstanding.request(waiting).work, Work::Read { .. }));
    }

    #[test]
    fn whole_sectors_of_a_4096_byte_disk_are_ordered() {
        let mut outstanding = Outstanding::new(8);
        assert!(outstanding.admit(write(1, 1), Some(range(1, 1).widened_to(8))).is_some());
        assert_eq!(outstanding.admit(write(6, 1), Some(range(6, 1).widened_to(8))), None);
    }

    #[test]
    fn a_duplicate_shares_the_answer_and_keeps_the_write_young() {
        let mut outstanding = Outstanding::new(3);
        let (first, identity, slot) = write_in_flight(&mut outstanding);
        outstanding.add_duplicate(slot, answer(1, at(5))).expect("there is room");
        outstanding.add_duplicate(slot, answer(2, at(3))).expect("there is room");
        assert!(outstanding.is_full());
        assert_eq!(outstanding.request(first).received, at(5));
        let mut finished = outstanding.finish(first);
        let duplicates: Vec<u8> = std::iter::from_fn(|| outstanding.next_duplicate(&mut finished))
            .map(|answer| answer.port.0)
            .collect();
        assert_eq!((duplicates, outstanding.len()), (vec![2, 1], 0));
        assert_eq!(outstanding.find_duplicate(&identity), None);
    }

    #[test]
    fn a_write_sent_again_is_answered_once_under_its_latest_tag_and_takes_no_room() {
        let mut outstanding = Outstanding::new(2);
        let (first, _, slot) = write_in_flight(&mut outstanding);
        // Another request for the same, which the same host has under way at the same time.
        outstanding.add_duplicate(slot, answer(1, at(1))).expect("there is room");
        for (port, received) in (2..).zip([100, 101, 300, 301, 700, 701]) {
            outstanding
                .add_duplicate(slot, answer(port, at(received)))
                .expect("takes the place of an earlier one");
        }
        assert_eq!(outstanding.add_duplicate(slot, answer(9, at(702))), Err(Refusal::TooManyOutstanding));
        assert_eq!(outstanding.request(first).received, at(701));
        let mut finished = outstanding.finish(first);
        let mut answered = vec![finished.request.answer.port.0];
        answered.extend(
            std::iter::from_fn(|| outstanding.next_duplicate(&mut finished)).map(|answer| answer.port.0),
        );
        assert_eq!(answered, [6, 7]);
    }

    #[test]
    fn a_write_has_few_duplicates_however_much_room_there_is() {
        let mut outstanding = Outstanding::new(64);
        let (first, _, slot) = write_in_flight(&mut outstanding);
        let taken =
            (0..40).filter(|port| outstanding.add_duplicate(slot, answer(*port, at(1))).is_ok()).count();
        assert_eq!((taken, outstanding.len()), (DUPLICATES_MAX, 1 + DUPLICATES_MAX));
        let mut finished = outstanding.finish(first);
        assert_eq!(std::iter::from_fn(|| outstanding.next_duplicate(&mut finished)).count(), DUPLICATES_MAX);
    }

    #[test]
    fn a_read_sent_again_takes_the_place_of_one_that_waits_and_of_none_that_reads() {
        let mut outstanding = Outstanding::new(8);
        assert!(admit(&mut outstanding, read(0, 8), 0, 8).is_some());
        let renew = |outstanding: &mut Outstanding, start, count, port, at| {
            outstanding.renew_read(EXPORT, range(start, count), &answer(port, at), frame(port.into()))
        };
        assert_eq!(renew(&mut outstanding, 0, 8, 1, at(100)), None);
        let first = admit(&mut outstanding, write(0, 8), 0, 8).expect("reads are in nobody's way");
        assert_eq!(admit(&mut outstanding, read(4, 8), 4, 8), None);
        assert_eq!(renew(&mut outstanding, 4, 8, 1, at(49)), None, "it may be another one");
        assert_eq!(renew(&mut outstanding, 4, 7, 1, at(100)), None, "other sectors");
        assert_eq!(renew(&mut outstanding, 4, 8, 1, at(100)), Some(frame(0)));
        assert_eq!(renew(&mut outstanding, 4, 8, 2, at(200)), Some(frame(1)));
        assert_eq!(outstanding.len(), 3);
        outstanding.finish(first);
        let waiting = outstanding.next_ready().expect("it waits no more");
        assert_eq!(outstanding.request(waiting).answer.port, PortId(2));
        assert_eq!(renew(&mut outstanding, 4, 8, 3, at(500)), None);
    }

    #[test]
    #[should_panic(expected = "completed twice")]
    fn a_request_completed_twice_is_our_own_fault() {
        let mut outstanding = Outstanding::new(2);
        let first = admit(&mut outstanding, write(0, 8), 0, 8).expect("starts");
        outstanding.finish(first);
        admit(&mut outstanding, write(0, 8), 0, 8).expect("starts");
        outstanding.finish(first);
    }
}
