//! What the initiators asked and what they were told, in the order it happened.
//!
//! A request is called once and answered in parts, as its frames are. What was never answered, because its host died or
//! gave up, stays without an end: a write may then have happened at any time since, or not at all. The history judges
//! nothing; [`crate::oracle`] does.

use std::collections::BTreeMap;
use std::fmt;

use aoe::Frame;
use aoe::wire::{ata, sequenced};
use block::{Duration, Instant, Lba, LbaRange, SECTOR_BYTES};

use replication::limits::LEASE_MARGIN;

use crate::content::Value;
use crate::world::NODES;

/// Something that happened: when, and after how many other things. No two have the same order.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Moment {
    /// How many moments there were before.
    pub order: u64,
    /// The world's time.
    pub at: Instant,
}

impl Moment {
    /// Before everything.
    pub const BEGINNING: Self = Self { order: 0, at: Instant::from_nanos(0) };
    /// After everything.
    pub const END: Self = Self { order: u64::MAX, at: Instant::from_nanos(u64::MAX) };
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let microseconds = self.at.as_nanos() / 1000;
        write!(f, "{}.{:06} s (#{})", microseconds / 1_000_000, microseconds % 1_000_000, self.order)
    }
}

/// Names a request in its history.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct OperationId(pub u32);

/// What was asked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Action {
    /// What is there?
    Read,
    /// Put this there.
    Write {
        /// What, into every sector.
        value: Value,
        /// Whether its initiator numbers its writes.
        sequenced: bool,
    },
    /// Make durable what was answered.
    Flush,
}

/// How a request stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fate {
    /// Its host waits for it.
    Open,
    /// All of it was answered.
    Done,
    /// Its host died, gave up or was told of an error.
    Abandoned,
}

/// A request.
#[derive(Clone, Copy, Debug)]
pub struct Operation {
    /// Who asked.
    pub initiator: u16,
    /// What.
    pub action: Action,
    /// Where.
    pub range: LbaRange,
    /// When.
    pub call: Moment,
    /// How it stands.
    pub fate: Fate,
    /// Sectors not answered yet.
    left: u16,
    /// Where its sectors begin in `History::sectors`.
    first: u32,
}

/// What became of one sector of a request.
#[derive(Clone, Copy, Debug)]
pub struct SectorEnd {
    /// When it was answered.
    pub end: Option<Moment>,
    /// What was read or written.
    pub value: Value,
}

/// A copy of a stock write's frame that came to a node when no node needed to remember the write any more, or of a sequenced one
/// to a node that had lost its memory since: it may take effect once more. It is the one thing that cannot be had otherwise
/// (`docs/decisions/0010`, 0013).
#[derive(Clone, Copy, Debug)]
pub struct LateCopy {
    /// Whose.
    pub operation: OperationId,
    /// The sectors in the frame.
    pub part: LbaRange,
    /// When the frame came.
    pub arrival: Moment,
}

/// Both nodes have lost what only their memories held. Each sector held one of these values then, of those that were there at
/// some time from `since` on.
#[derive(Clone, Debug)]
pub struct Loss {
    /// What was answered before was safe.
    pub since: Moment,
    /// When it was lost; two moments after it are the loss's own, too.
    pub at: Moment,
    /// What each node's disk held afterwards, where hosts had been.
    pub left: [BTreeMap<Lba, Value>; NODES],
}

/// All of it.
#[derive(Debug)]
pub struct History {
    memory: Duration,
    moments: u64,
    operations: Vec<Operation>,
    sectors: Vec<SectorEnd>,
    late: Vec<LateCopy>,
    losses: Vec<Loss>,
    /// The last flush that was answered began then.
    flushed: Moment,
    /// What each sector held at the beginning; those beyond the end held [`Value::INITIAL`].
    beginning: Vec<Value>,
    /// The last request that wrote a value.
    writers: BTreeMap<Value, OperationId>,
    /// When a frame's sectors first came to a node, or when the copy came that may have taken effect last. Sequenced writes of the same
    /// content are told apart by their numbers.
    arrived: BTreeMap<(Value, Lba, Option<u64>), (OperationId, Instant)>,
    /// Since when each node remembers sequenced writes, and when it last started.
    forgot: [Instant; NODES],
    started: [Instant; NODES],
    /// When the nodes last met.
    met: Instant,
}

impl History {
    /// An empty history. Nodes remember a stock write for `memory` after they answered it, by their own clocks, which may be as
    /// fast as the lease's margin allows.
    ///
    /// # Panics
    /// Never: the margin is less than the whole.
    #[must_use]
    pub fn new(memory: Duration) -> Self {
        Self {
            memory: memory.checked_sub(memory / LEASE_MARGIN).expect("a part of it"),
            moments: 0,
            operations: Vec::new(),
            sectors: Vec::new(),
            late: Vec::new(),
            losses: Vec::new(),
            flushed: Moment::BEGINNING,
            beginning: Vec::new(),
            writers: BTreeMap::new(),
            arrived: BTreeMap::new(),
            forgot: [Instant::from_nanos(0); NODES],
            started: [Instant::from_nanos(0); NODES],
            met: Instant::from_nanos(0),
        }
    }

    /// A host asks.
    pub fn call(&mut self, now: Instant, initiator: u16, action: Action, range: LbaRange) -> OperationId {
        let call = self.moment(now);
        let id = OperationId(u32::try_from(self.operations.len()).expect("a run has few requests"));
        let first = u32::try_from(self.sectors.len()).expect("and few sectors");
        let value = match action {
            Action::Read | Action::Flush => Value::INITIAL,
            Action::Write { value, .. } => {
                self.writers.insert(value, id);
                value
            }
        };
        self.sectors.extend((0..range.count().0).map(|_| SectorEnd { end: None, value }));
        let left = range.count().0;
        self.operations.push(Operation { initiator, action, range, call, fate: Fate::Open, left, first });
        id
    }

    /// Some sectors of a write were answered, or a flush, which has none.
    ///
    /// # Panics
    /// If they were before, or are not the request's.
    pub fn written(&mut self, now: Instant, id: OperationId, part: LbaRange) {
        let end = self.moment(now);
        for sector in part.start().0..part.end().0 {
            let index = self.index(id, sector);
            assert!(self.sectors[index].end.is_none(), "a sector is answered once");
            self.sectors[index].end = Some(end);
        }
        let Operation { action, call, .. } = *self.operation(id);
        if action == Action::Flush {
            self.flushed = self.flushed.max(call);
        }
        self.count(id, part);
    }

    /// What was answered before this moment was to be durable at both nodes when `then` was now, if they flush by themselves what
    /// has been answered for longer than `lag`: or only where a host has asked for it.
    #[must_use]
    pub fn durable_since(&self, then: Instant, lag: Option<Duration>) -> Moment {
        let long_ago = lag.map_or(Instant::from_nanos(0), |lag| then.before(lag));
        let calls = self.operations.iter().map(|operation| operation.call);
        let ends = self.sectors.iter().filter_map(|sector| sector.end);
        let last = calls.chain(ends).filter(|moment| moment.at < long_ago).max();
        last.unwrap_or(Moment::BEGINNING).max(self.flushed)
    }

    /// Both nodes have lost what only their memories held.
    pub fn lost(&mut self, now: Instant, since: Moment, left: [BTreeMap<Lba, Value>; NODES]) {
        let at = self.moment(now);
        self.moments += 2;
        self.losses.push(Loss { since, at, left });
    }

    /// When both nodes lost what only their memories held.
    #[must_use]
    pub fn losses(&self) -> &[Loss] {
        &self.losses
    }

    /// Some sectors of a read were answered, with these values.
    ///
    /// # Panics
    /// If they were before, or are not the request's, or there are too few values.
    pub fn read(
        &mut self,
        now: Instant,
        id: OperationId,
        part: LbaRange,
        values: impl IntoIterator<Item = Value>,
    ) {
        let end = Some(self.moment(now));
        let mut values = values.into_iter();
        for sector in part.start().0..part.end().0 {
            let index = self.index(id, sector);
            assert!(self.sectors[index].end.is_none(), "a sector is answered once");
            let value = values.next().expect("a value for each sector");
            self.sectors[index] = SectorEnd { end, value };
        }
        self.count(id, part);
    }

    /// Nobody waits for a request any more.
    pub fn abandoned(&mut self, id: OperationId) {
        let operation = &mut self.operations[id.0 as usize];
        if operation.fate == Fate::Open {
            operation.fate = Fate::Abandoned;
        }
    }

    /// A copy of a write's frame reached a node, one with a number of its own or a stock initiator's.
    pub fn write_arrived(
        &mut self,
        now: Instant,
        node: usize,
        value: Value,
        part: LbaRange,
        number: Option<u64>,
    ) {
        let Some(&id) = self.writers.get(&value) else { return };
        let is_asked = self.is_asked(id, part.start());
        let (last, arrived) = self.arrived.entry((value, part.start(), number)).or_insert((id, now));
        // A host that writes the same once more may be answered from what is remembered of the first time.
        let is_first = std::mem::replace(last, id) != id && is_asked && number.is_none();
        let remembered = match number {
            Some(_) => *arrived >= self.forgot[node],
            None => now.since(*arrived) <= self.memory,
        };
        if remembered {
            return;
        }
        *arrived = now;
        if is_first {
            return;
        }
        let arrival = self.moment(now);
        self.late.push(LateCopy { operation: id, part, arrival });
    }

    /// Whether nobody has answered this write there yet.
    fn is_asked(&self, id: OperationId, sector: Lba) -> bool {
        let operation = &self.operations[id.0 as usize];
        let is_in = operation.range.start() <= sector && sector < operation.range.end();
        is_in && self.sectors[self.index(id, sector.0)].end.is_none()
    }

    /// A node starts with an empty memory. Sequenced writes that came before are to it what stock writes are to all nodes.
    pub fn node_forgot(&mut self, now: Instant, node: usize) {
        (self.forgot[node], self.started[node]) = (now, now);
    }

    /// A node has met the other one, whose copy counts, and lacks something. It hears what that one remembers. If that one has
    /// started since they last met nobody can say of a write that was in flight then whether its disk has it (decision 0013).
    pub fn target_met(&mut self, now: Instant, target: usize) {
        let source = NODES - 1 - target;
        self.forgot[target] =
            if self.started[source] > self.met { now } else { self.forgot[target].min(self.forgot[source]) };
        self.met = now;
    }

    /// A frame reached a node; the world says so of every one.
    pub fn frame_reached_node(&mut self, now: Instant, node: usize, bytes: &[u8]) {
        let Ok(frame) = Frame::new(bytes) else { return };
        let header = frame.header();
        let Some((registers, number)) = write_of(frame).filter(|_| !header.response) else { return };
        let count = registers.sectors();
        let content = if number.is_some() {
            sequenced::View::new(frame).ok().and_then(|view| view.sectors(count))
        } else {
            ata::View::new(frame).ok().and_then(|view| view.sectors(count))
        };
        let (Some(part), Some(content)) = (LbaRange::new(registers.lba(), count), content) else { return };
        if !part.is_empty() {
            let value = Value::of(part.start(), &content[..SECTOR_BYTES]);
            self.write_arrived(now, node, value, part, number);
        }
    }

    /// Forgets everything up to now; the sectors held these values at this moment, and nothing was open.
    ///
    /// # Panics
    /// If something was.
    pub fn settle(&mut self, beginning: Vec<Value>) {
        assert!(self.open().next().is_none(), "only a quiet world can be settled");
        *self = Self { memory: self.memory, beginning, moments: self.moments, ..Self::new(self.memory) };
    }

    /// Every request in the order of their calls.
    #[must_use]
    pub fn operations(&self) -> &[Operation] {
        &self.operations
    }

    /// One of them.
    #[must_use]
    pub fn operation(&self, id: OperationId) -> &Operation {
        &self.operations[id.0 as usize]
    }

    /// Those that a host waits for.
    pub fn open(&self) -> impl Iterator<Item = (OperationId, &Operation)> {
        self.enumerated().filter(|(_, operation)| operation.fate == Fate::Open)
    }

    /// Every request with its name.
    pub fn enumerated(&self) -> impl Iterator<Item = (OperationId, &Operation)> {
        let named = |(index, operation)| (OperationId(u32::try_from(index).unwrap_or(u32::MAX)), operation);
        self.operations.iter().enumerate().map(named)
    }

    /// What became of the sectors of a request, in their order.
    #[must_use]
    pub fn sector_ends(&self, operation: &Operation) -> &[SectorEnd] {
        let first = operation.first as usize;
        &self.sectors[first..first + usize::from(operation.range.count().0)]
    }

    /// Copies that may have taken effect once more.
    #[must_use]
    pub fn late_copies(&self) -> &[LateCopy] {
        &self.late
    }

    /// What a sector held at the beginning.
    #[must_use]
    pub fn beginning(&self, sector: Lba) -> Value {
        let index = usize::try_from(sector.0).expect("a small volume");
        self.beginning.get(index).copied().unwrap_or(Value::INITIAL)
    }

    fn moment(&mut self, at: Instant) -> Moment {
        self.moments += 1;
        Moment { order: self.moments, at }
    }

    fn index(&self, id: OperationId, sector: u64) -> usize {
        let operation = &self.operations[id.0 as usize];
        let offset = sector.checked_sub(operation.range.start().0).expect("a sector of the request");
        assert!(offset < u64::from(operation.range.count().0), "a sector of the request");
        operation.first as usize + usize::try_from(offset).expect("a short request")
    }

    fn count(&mut self, id: OperationId, part: LbaRange) {
        let operation = &mut self.operations[id.0 as usize];
        operation.left -= part.count().0;
        if operation.left == 0 {
            operation.fate = Fate::Done;
        }
    }
}

/// The registers of a write of either kind, and whether it has a number.
fn write_of(frame: Frame<'_>) -> Option<(ata::Request, Option<u64>)> {
    if let Ok(view) = sequenced::View::new(frame) {
        return match sequenced::Request::parse(view) {
            Ok(sequenced::Request::Write { registers, sequence, .. }) => Some((registers, Some(sequence))),
            _ => None,
        };
    }
    let request = ata::Request::parse(ata::View::new(frame).ok()?);
    request.command.is_write().then_some((request, None))
}
