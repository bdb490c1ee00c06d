//! The words of the model: sides, sectors, values, requests, and the identity of a write.
//!
//! Everything is as small as the scopes allow: two sides, at most two sectors, and a value that says who wrote it.
//! What happens to a request is not here: `history` keeps what its initiator saw, `mirror` what the nodes did with it.

/// How many sectors a volume of the model has. Two are enough for writes that overlap in part.
pub const SECTOR_COUNT: usize = 2;

/// One of the two nodes of a pair. The number breaks ties and never changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// Node 0: its write is ordered first when two are concurrent, and its copy wins after a double power loss.
    Zero,
    /// Node 1: its write is ordered last when two are concurrent.
    One,
}

impl Side {
    /// Both sides, in the order of their numbers.
    pub const BOTH: [Self; 2] = [Self::Zero, Self::One];

    /// The other node.
    #[must_use]
    pub fn peer(self) -> Self {
        match self {
            Self::Zero => Self::One,
            Self::One => Self::Zero,
        }
    }

    /// The place of this side in arrays of two.
    #[must_use]
    pub fn index(self) -> usize {
        usize::from(self == Self::One)
    }
}

impl std::fmt::Display for Side {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "node {}", self.index())
    }
}

/// A set of sectors, one bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sectors(u8);

impl Sectors {
    /// No sector.
    pub const NONE: Self = Self(0);
    /// Sector 0 alone.
    pub const FIRST: Self = Self(1);
    /// Sector 1 alone.
    pub const SECOND: Self = Self(2);
    /// Sectors 0 and 1.
    pub const PAIR: Self = Self(3);

    /// Every set of sectors.
    pub const ALL: [Self; 4] = [Self::NONE, Self::FIRST, Self::SECOND, Self::PAIR];

    /// The set that has only the sector with this number.
    #[must_use]
    pub fn one(sector: usize) -> Self {
        assert!(sector < SECTOR_COUNT, "the model has no sector {sector}");
        Self(1 << sector)
    }

    /// The numbers of the sectors, in ascending order.
    pub fn iter(self) -> impl Iterator<Item = usize> {
        (0..SECTOR_COUNT).filter(move |&sector| self.contains(sector))
    }

    /// Whether the sector with this number is in the set.
    #[must_use]
    pub fn contains(self, sector: usize) -> bool {
        self.0 & (1 << sector) != 0
    }

    /// Whether the two sets share a sector.
    #[must_use]
    pub fn overlaps(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether no sector is in the set.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The sectors in both sets.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// The sectors in either set.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The sectors of this set that are not in the other.
    #[must_use]
    pub fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

/// What a sector holds: nothing yet, or the number of the request that wrote it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Value(u8);

impl Value {
    /// What every sector holds at the beginning.
    pub const INITIAL: Self = Self(0);
    /// What a copy holds where it has missed a write before the beginning. No read may ever return it.
    pub const STALE: Self = Self(u8::MAX);

    /// The value that a request writes: no two requests write the same one.
    #[must_use]
    pub fn of(request: RequestId) -> Self {
        Self(request.0 + 1)
    }

    /// The request that wrote it, if one did.
    #[must_use]
    pub fn written_by(self) -> Option<RequestId> {
        (self != Self::INITIAL && self != Self::STALE).then(|| RequestId(self.0 - 1))
    }
}

/// What the volume's sectors hold, or what a read found in them.
pub type Image = [Value; SECTOR_COUNT];

/// The number of a request in its scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(u8);

impl RequestId {
    /// The request at this place of the scope's list.
    #[must_use]
    pub fn new(index: usize) -> Self {
        assert!(index < 7, "a scope has at most seven requests");
        Self(u8::try_from(index).expect("a number below seven"))
    }

    /// Its place in the scope's list.
    #[must_use]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// Read or write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Writes [`Value::of`] the request to each of its sectors.
    Write,
    /// Returns what its sectors hold.
    Read,
}

/// What an initiator may ask, once, at any time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Request {
    /// Read or write.
    pub kind: Kind,
    /// The sectors it covers.
    pub sectors: Sectors,
    /// The node that receives it; `None` if the scope tries both.
    pub at: Option<Side>,
    /// How many frames its initiator may send for it; with none it comes without frames, once and in time.
    pub frames: u8,
}

impl Request {
    /// A write to these sectors, through either node.
    #[must_use]
    pub fn write(sectors: Sectors) -> Self {
        Self { kind: Kind::Write, sectors, at: None, frames: 0 }
    }

    /// A read of these sectors, through either node.
    #[must_use]
    pub fn read(sectors: Sectors) -> Self {
        Self { kind: Kind::Read, sectors, at: None, frames: 0 }
    }

    /// The same request, sent in as many as this number of frames.
    #[must_use]
    pub fn in_frames(self, frames: u8) -> Self {
        Self { frames, ..self }
    }

    /// The same request, through this node only.
    #[must_use]
    pub fn at(self, side: Side) -> Self {
        Self { at: Some(side), ..self }
    }
}

/// A set of requests, one bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestSet(u8);

impl RequestSet {
    /// Adds a request.
    pub fn insert(&mut self, request: RequestId) {
        self.0 |= 1 << request.0;
    }

    /// Takes a request out.
    pub fn remove(&mut self, request: RequestId) {
        self.0 &= !(1 << request.0);
    }

    /// Whether the request is in the set.
    #[must_use]
    pub fn contains(self, request: RequestId) -> bool {
        self.0 & (1 << request.0) != 0
    }

    /// Whether every request of this set is in the other.
    #[must_use]
    pub fn is_subset(self, other: Self) -> bool {
        self.0 & !other.0 == 0
    }

    /// Whether the set has no request.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The requests in both sets.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// The requests in either set.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl FromIterator<RequestId> for RequestSet {
    fn from_iter<T: IntoIterator<Item = RequestId>>(requests: T) -> Self {
        let mut set = Self::default();
        for request in requests {
            set.insert(request);
        }
        set
    }
}

/// The name of one execution of a write. A write that was sent again may be executed by both nodes at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WriteId {
    /// The request whose data is written.
    pub request: RequestId,
    /// The coordinator.
    pub by: Side,
}

/// A set of writes in flight, one bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WriteSet(u16);

impl WriteSet {
    fn bit(write: WriteId) -> u16 {
        1 << (2 * write.request.0) << write.by.index()
    }

    /// Adds a write.
    pub fn insert(&mut self, write: WriteId) {
        self.0 |= Self::bit(write);
    }

    /// Takes a write out.
    pub fn remove(&mut self, write: WriteId) {
        self.0 &= !Self::bit(write);
    }

    /// Whether no write is in the set.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl FromIterator<WriteId> for WriteSet {
    fn from_iter<T: IntoIterator<Item = WriteId>>(writes: T) -> Self {
        let mut set = Self::default();
        for write in writes {
            set.insert(write);
        }
        set
    }
}
