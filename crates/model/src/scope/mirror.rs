//! The scopes without faults, in which a power loss of both nodes is considered at every point.

use super::{Scope, read, write};
use crate::words::{Request, Sectors};

/// Two writes and two reads of one sector.
#[must_use]
pub fn two_writes_two_reads() -> Scope {
    Scope::new("two writes, two reads", vec![write(), write(), read(), read()])
}

/// Three writes to one sector.
#[must_use]
pub fn three_writes() -> Scope {
    Scope::new("three writes", vec![write(), write(), write()])
}

/// Three writes to one sector and a read.
#[must_use]
pub fn three_writes_one_read() -> Scope {
    Scope::new("three writes, a read", vec![write(), write(), write(), read()])
}

/// Two writes of which one covers only half of the other, and a read of both sectors.
#[must_use]
pub fn partial_overlap() -> Scope {
    let requests =
        vec![Request::write(Sectors::PAIR), Request::write(Sectors::SECOND), Request::read(Sectors::PAIR)];
    Scope::new("two sectors, writes that overlap in part, a read", requests)
}

/// Three writes, the middle one of which overlaps both others, which do not overlap each other.
#[must_use]
pub fn bridge() -> Scope {
    let requests = [Sectors::FIRST, Sectors::PAIR, Sectors::SECOND].map(Request::write).to_vec();
    Scope::new("two sectors, a write across two others", requests)
}
