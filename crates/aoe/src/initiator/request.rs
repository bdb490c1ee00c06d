//! Requests that are open: what of each was handed out to frames, what was answered, and which still has frames to send.
//!
//! Units are sectors; of a flush, which goes to each target once, they are targets. First come, first sent.

use std::collections::VecDeque;

use block::{BufferSlice, Instant, Lba, LbaRange, RequestId, SECTOR_BYTES, SectorCount};

use super::retransmit::Kind;
use crate::wire::header::AoeError;

/// An open request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Active {
    pub(crate) id: RequestId,
    pub(crate) kind: Kind,
    pub(crate) range: LbaRange,
    pub(crate) data: Option<BufferSlice>,
    pub(crate) submitted: Instant,
    pub(crate) refused: Option<AoeError>,
    /// Units in all, put into frames so far, and answered so far.
    pub(crate) units: u32,
    pub(crate) handed_out: u32,
    pub(crate) answered: u32,
}

impl Active {
    /// The next sectors to put into a frame: at most `limit`.
    pub(crate) fn next_range(&self, limit: SectorCount) -> LbaRange {
        let left = self.units - self.handed_out;
        let count = SectorCount(u16::try_from(left).unwrap_or(u16::MAX).min(limit.0));
        let start = Lba(self.range.start().0 + u64::from(self.handed_out));
        LbaRange::new(start, count).expect("a part of a range is a range")
    }

    /// Where sectors of the request begin in its bytes.
    pub(crate) fn byte_offset(&self, part: LbaRange) -> u32 {
        let sectors = part.start().0 - self.range.start().0;
        u32::try_from(sectors * SECTOR_BYTES as u64).expect("a request has less than 2^32 bytes")
    }

    /// The bytes of a part of a write.
    pub(crate) fn payload(&self, part: LbaRange) -> Option<BufferSlice> {
        let BufferSlice { buffer, offset, .. } = self.data?;
        let length = u32::try_from(part.bytes()).expect("a frame is short");
        Some(BufferSlice { buffer, offset: offset + self.byte_offset(part), length })
    }
}

/// All open requests.
#[derive(Debug)]
pub(crate) struct Requests {
    table: Box<[Option<Active>]>,
    free: Vec<u32>,
    /// Those with units to hand out.
    unsent: VecDeque<u32>,
}

impl Requests {
    pub(crate) fn new(capacity: usize) -> Self {
        let names = 0..u32::try_from(capacity).expect("fewer than 2^32 requests");
        Self {
            table: vec![None; capacity].into_boxed_slice(),
            free: names.rev().collect(),
            unsent: VecDeque::with_capacity(capacity),
        }
    }

    pub(crate) fn capacity(&self) -> usize {
        self.table.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.free.len() == self.table.len()
    }

    /// Takes a request in; false if there is no room.
    pub(crate) fn insert(&mut self, request: Active) -> bool {
        let Some(index) = self.free.pop() else {
            return false;
        };
        self.table[index as usize] = Some(request);
        self.unsent.push_back(index);
        true
    }

    pub(crate) fn request(&mut self, index: u32) -> &mut Active {
        self.table[index as usize].as_mut().expect("a frame belongs to an open request")
    }

    /// The first that has units to hand out.
    pub(crate) fn first_unsent(&self) -> Option<(u32, Active)> {
        let index = *self.unsent.front()?;
        Some((index, self.table[index as usize].expect("what is to be sent is open")))
    }

    /// So many units of the first were put into a frame.
    pub(crate) fn hand_out(&mut self, units: u32) {
        let index = *self.unsent.front().expect("only the first hands out");
        let request = self.request(index);
        request.handed_out += units;
        assert!(request.handed_out <= request.units, "more was sent than asked for");
        if request.handed_out == request.units {
            self.unsent.pop_front();
        }
    }

    /// A request has ended.
    pub(crate) fn remove(&mut self, index: u32) -> Active {
        let request = self.table[index as usize].take().expect("a request ends once");
        if request.handed_out < request.units {
            self.unsent.retain(|&unsent| unsent != index);
        }
        self.free.push(index);
        request
    }

    /// Some request submitted at `moment` or before.
    pub(crate) fn submitted_before(&self, moment: Instant) -> Option<u32> {
        let old = |request: &Option<Active>| request.is_some_and(|request| request.submitted <= moment);
        self.table.iter().position(old).map(|index| u32::try_from(index).expect("fewer than 2^32"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use block::BufferName;

    fn write(start: u64, sectors: u16) -> Active {
        let range = LbaRange::new(Lba(start), SectorCount(sectors)).expect("a range");
        let length = u32::from(sectors) * 512;
        Active {
            id: RequestId(9),
            kind: Kind::Write,
            range,
            data: Some(BufferSlice { buffer: BufferName(4), offset: 1024, length }),
            submitted: Instant::from_nanos(5),
            refused: None,
            units: u32::from(sectors),
            handed_out: 0,
            answered: 0,
        }
    }

    #[test]
    fn a_request_is_cut_into_frames_from_its_start_to_its_end() {
        let mut requests = Requests::new(2);
        assert!(requests.insert(write(100, 20)));
        let mut parts = Vec::new();
        while let Some((_, request)) = requests.first_unsent() {
            let range = request.next_range(SectorCount(8));
            let payload = request.payload(range).expect("a write has bytes");
            parts.push((range.start().0, range.count().0, payload.offset, payload.length));
            requests.hand_out(u32::from(range.count().0));
        }
        assert_eq!(parts, [(100, 8, 1024, 4096), (108, 8, 5120, 4096), (116, 4, 9216, 2048)]);
        assert!(!requests.is_empty(), "sent is not answered");
    }

    #[test]
    fn a_request_that_ends_half_sent_hands_out_nothing_more() {
        let mut requests = Requests::new(1);
        assert!(requests.insert(write(0, 20)));
        assert!(!requests.insert(write(0, 20)), "full");
        requests.hand_out(8);
        assert_eq!(requests.submitted_before(Instant::from_nanos(4)), None);
        assert_eq!(requests.submitted_before(Instant::from_nanos(5)), Some(0));
        assert_eq!(requests.remove(0).id, RequestId(9));
        assert!(requests.first_unsent().is_none() && requests.is_empty());
    }
}
