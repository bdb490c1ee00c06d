//! Who reads and writes, and what was seen.

use block::{BlockRequest, Lba, LbaRange, Operation, RequestId, SectorCount};
use replication::durability::Durability;
use replication::identity::VolumeIdentity;
use replication::input::Input;
use replication::message::Origin;
use replication::meta::small_state::SmallState;
use replication::output::Outcome;
use replication::volume::Phase;

use super::{EXTENT, World};
use crate::oracle;

/// So long after its answer a frame that asks for the same write may come: no longer than the engine's memory window.
const LATE: u64 = 2_900_000_000;
/// The same where neither node has answered anything since it began.
const LATE_OF_BOTH: u64 = 1_900_000_000;
/// Most requests are for these sectors of an extent, so that they meet.
const HOT: u64 = 24;

/// One that has a single request at a time.
#[derive(Debug, Default)]
pub(crate) struct Client {
    node: usize,
    request: Option<Pending>,
    generation: u32,
    /// How its last request ended.
    last: Option<Outcome>,
}

#[derive(Debug)]
struct Pending {
    id: RequestId,
    is_write: bool,
    range: LbaRange,
    values: Vec<u64>,
    begin: u64,
}

impl World {
    /// A client, if it has nothing under way, wants something of a node that serves.
    pub(crate) fn client(&mut self) {
        if self.closed {
            return;
        }
        let chosen = self.chance.pick(self.clients.len());
        let index = self.chance.pick(2);
        let may_ask = self.is_running(index) && self.nodes[index].serving;
        if self.clients[chosen].request.is_some() || !may_ask {
            return;
        }
        let count = 1 + self.chance.below(12);
        let extents = self.sectors.div_ceil(EXTENT);
        let extent = if self.chance.one_in(4) || extents > 64 { self.chance.below(extents) } else { 0 };
        let first = extent * EXTENT;
        let size = self.nodes[index].size;
        // The new part of a volume that has grown is of interest.
        let whole = extents == 1 && (size > self.sectors || self.chance.one_in(4));
        let length = (size - first).min(if whole { size } else { HOT });
        let (start, count) = if extent > 0 && self.chance.one_in(8) {
            // Across the boundary of two extents.
            (first - 1, count.clamp(2, length))
        } else {
            (first + self.chance.below(length.saturating_sub(count) + 1), count.min(length))
        };
        let is_write = self.chance.one_in(2);
        self.request(chosen, index, is_write, start, count);
    }

    /// A client asks a node for some sectors.
    pub(crate) fn request(&mut self, chosen: usize, index: usize, is_write: bool, start: u64, count: u64) {
        let count = u16::try_from(count).expect("small");
        let range = LbaRange::new(Lba(start), SectorCount(count)).expect("small");
        let client = &mut self.clients[chosen];
        assert!(client.request.is_none(), "one request at a time");
        client.generation = client.generation.wrapping_add(1) & 0xffff;
        (client.node, client.last) = (index, None);
        let id = RequestId(client.generation << 16 | u32::try_from(chosen).expect("small"));
        let mut values = Vec::new();
        if is_write {
            values = (0..u64::from(count)).map(|offset| self.next_value * 100 + offset).collect();
            self.next_value += 1;
        }
        let begin = self.tick;
        self.clients[chosen].request = Some(Pending { id, is_write, range, values: values.clone(), begin });
        let operation = if is_write {
            let data = self.buffer(index, values);
            let durable = self.writes_through || self.plan.durability != Durability::Memory;
            Operation::Write { range, data, durable }
        } else {
            Operation::Read { range }
        };
        let request = BlockRequest { id, export: self.nodes[index].volume, operation };
        let digest = u128::from(self.next_value);
        let origin = is_write.then_some(Origin::Stock { digest });
        self.input(index, Input::Request { request, origin });
    }

    /// How the last request of a client ended, if it has.
    pub(crate) fn outcome(&self, client: usize) -> Option<Outcome> {
        self.clients[client].last
    }

    /// How many requests are under way.
    pub(crate) fn requests(&self) -> usize {
        self.clients.iter().filter(|client| client.request.is_some()).count()
    }

    /// A client that has nothing under way asks a node for some sectors.
    pub(crate) fn ask(&mut self, index: usize, is_write: bool, start: u64, count: u64) -> usize {
        let idle = self.clients.iter().position(|client| client.request.is_none()).expect("many clients");
        if self.is_running(index) {
            self.request(idle, index, is_write, start, count);
        }
        idle
    }

    /// A client wants what was answered to be on stable storage.
    pub(crate) fn ask_to_flush(&mut self, index: usize) {
        let chosen = self.clients.iter().position(|client| client.request.is_none()).expect("many clients");
        let range = LbaRange::new(Lba(0), SectorCount(1)).expect("small");
        let client = &mut self.clients[chosen];
        client.generation = client.generation.wrapping_add(1) & 0xffff;
        (client.node, client.last) = (index, None);
        let id = RequestId(client.generation << 16 | u32::try_from(chosen).expect("small"));
        client.request = Some(Pending { id, is_write: false, range, values: Vec::new(), begin: self.tick });
        let request = BlockRequest { id, export: self.nodes[index].volume, operation: Operation::Flush };
        self.input(index, Input::Request { request, origin: None });
    }

    /// A client sends the same write to the other node as well: it is one write, answered when either answers.
    pub(crate) fn ask_the_same(&mut self, index: usize, start: u64, count: u64) -> usize {
        self.next_value -= 1;
        self.sends_twice = true;
        self.ask(index, true, start, count)
    }

    pub(crate) fn are_all_answered(&self) -> bool {
        self.clients.iter().all(|client| client.request.is_none())
    }

    pub(crate) fn completed(&mut self, index: usize, id: RequestId, outcome: Outcome) {
        let client = &mut self.clients[id.slot()];
        client.last = Some(outcome);
        let Some(Pending { id: pending, is_write, range, values, begin }) = client.request.take() else {
            return;
        };
        assert!(pending == id && client.node == index, "a request ends once");
        let end = match outcome {
            Outcome::Done(_) => Some(self.tick),
            Outcome::Failed(_) | Outcome::Dropped | Outcome::Started | Outcome::Doubtful => None,
        };
        let values = match outcome {
            Outcome::Done(Some(data)) => {
                let values = self.content(index, data);
                self.nodes[index].buffers.remove(&data.buffer.0);
                values
            }
            Outcome::Done(None) | Outcome::Failed(_) => values,
            Outcome::Dropped | Outcome::Started | Outcome::Doubtful => values,
        };
        self.finished += u64::from(end.is_some());
        self.check_outcome(index, outcome);
        if is_write && matches!(outcome, Outcome::Failed(_)) {
            self.failed.insert(u128::from(values[0] / 100 + 1));
        }
        if is_write && end.is_some() {
            self.answer(index, u128::from(values[0] / 100 + 1));
        }
        if is_write || end.is_some() {
            self.record(is_write, range, &values, begin, end);
        }
    }

    fn record(&mut self, is_write: bool, range: LbaRange, values: &[u64], begin: u64, end: Option<u64>) {
        for (sector, value) in (range.start().0..).zip(values) {
            let same = |before: &&mut oracle::Operation| {
                is_write && before.is_write && (before.sector, before.value) == (sector, *value)
            };
            let before = if self.sends_twice { self.history.iter_mut().find(same) } else { None };
            match before {
                Some(before) => {
                    before.begin = before.begin.min(begin);
                    before.end = before.end.into_iter().chain(end).min();
                }
                None => self.history.push(oracle::Operation { sector, value: *value, is_write, begin, end }),
            }
        }
    }

    /// The node that was asked is not there any more.
    pub(crate) fn give_up_clients(&mut self, index: usize) {
        for at in 0..self.clients.len() {
            if self.clients[at].node != index {
                continue;
            }
            if let Some(Pending { is_write: true, range, values, begin, .. }) =
                self.clients[at].request.take()
            {
                self.record(true, range, &values, begin, None);
            }
        }
    }

    /// Whoever begins to serve has heard of every write whose frames may still come.
    pub(crate) fn serve(&mut self, index: usize, serving: bool, stands_in: bool) {
        self.nodes[index].serving = serving;
        self.nodes[index].stands_in = stands_in;
        self.nodes[index].has_served |= serving;
        while self.answered.front().is_some_and(|(until, _)| *until < self.now) {
            self.answered.pop_front();
        }
        if serving {
            let known = &self.nodes[index].known;
            let unknown = self.answered.iter().find(|(_, digest)| !known.contains(digest));
            assert!(unknown.is_none(), "memory: node {index} serves and has not heard of {unknown:x?}");
        }
    }

    /// A node begins anew, and knows of no frame that came before.
    pub(crate) fn forget_writes(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        node.known.clear();
        node.has_served = false;
        if self.nodes.iter().all(|node| !node.has_served) {
            let last = self.now + LATE_OF_BOTH;
            for (until, _) in &mut self.answered {
                *until = last.min(*until);
            }
        }
    }

    /// A write is answered: whoever serves has heard of it.
    fn answer(&mut self, index: usize, digest: u128) {
        self.nodes[index].known.insert(digest);
        self.answered.push_back((self.now + LATE, digest));
        let other = 1 - index;
        let is_alone = self.status(index).is_some_and(|status| status.phase == Phase::Alone);
        if self.is_running(other) && self.nodes[other].serving && self.nodes[index].serving && !is_alone {
            let is_known = self.nodes[other].known.contains(&digest);
            assert!(is_known, "memory: node {other} serves and has not heard of {digest:x}");
        }
    }

    /// The last client reads everything that was ever touched.
    pub(crate) fn read_all(&mut self) {
        self.tick += 1;
        let touched: std::collections::BTreeSet<u64> =
            self.history.iter().map(|operation| operation.sector).collect();
        for sector in touched {
            let readable = (0..2).find(|index| !self.nodes[*index].sectors.unreadable.contains(&sector));
            let value = self.nodes[readable.expect("one copy is left")].sectors.at(sector);
            let (begin, end) = (self.tick, Some(self.tick + 1));
            self.history.push(oracle::Operation { sector, value, is_write: false, begin, end });
        }
    }

    /// An AoE client sets the config string; sometimes another one does the same at the other node.
    pub(crate) fn set(&mut self, index: usize) {
        let both = self.is_running(1 - index) && self.nodes[1 - index].serving && self.chance.one_in(2);
        for at in [index, 1 - index].into_iter().take(1 + usize::from(both)) {
            self.set_at(at);
        }
    }

    pub(crate) fn set_at(&mut self, index: usize) {
        let mut state = SmallState::new(VolumeIdentity(1));
        self.next_value += 1;
        state.config_string = self.next_value.to_string().into_bytes();
        let volume = self.nodes[index].volume;
        self.input(index, Input::SmallState { volume, state: Box::new(state) });
    }
}

pub(crate) fn digest_of(origin: Origin) -> u128 {
    match origin {
        Origin::Stock { digest } => digest,
        Origin::Sequenced { .. } => unreachable!("clients here are stock ones"),
    }
}
