//! The scopes in which a peer is lost and found.

use super::{Faults, Scope, Start, read, write};
use crate::words::{Request, Sectors, Side};

/// The link breaks once.
#[must_use]
pub fn one_cut() -> Scope {
    Scope::new("the link breaks once: two writes, a read", vec![write(), write(), read()])
        .with(Faults { cuts: 1, ..Faults::default() })
}

/// The link breaks once, seen by readers on both sides.
#[must_use]
pub fn one_cut_readers() -> Scope {
    Scope::new("the link breaks once: a write, two reads", vec![write(), read(), read()])
        .with(Faults { cuts: 1, ..Faults::default() })
}

/// The link breaks twice.
#[must_use]
pub fn two_cuts() -> Scope {
    Scope::new("the link breaks twice: a write, two reads", vec![write(), read(), read()])
        .with(Faults { cuts: 2, ..Faults::default() })
}

/// One node loses power once.
#[must_use]
pub fn one_power_loss() -> Scope {
    Scope::new("power is lost once: two writes, a read", vec![write(), write(), read()])
        .with(Faults { power_losses: 1, ..Faults::default() })
}

/// Power is lost twice: at both nodes, or at one of them again.
#[must_use]
pub fn two_power_losses() -> Scope {
    Scope::new("power is lost twice: a write, two reads", vec![write(), read(), read()])
        .with(Faults { power_losses: 2, ..Faults::default() })
}

/// The link breaks and power is lost, in either order.
#[must_use]
pub fn cut_and_power_loss() -> Scope {
    Scope::new("the link breaks, power is lost: a write, two reads", vec![write(), read(), read()])
        .with(Faults { cuts: 1, power_losses: 1, ..Faults::default() })
}

/// A node leaves on purpose.
#[must_use]
pub fn leave() -> Scope {
    Scope::new("a node leaves: two writes, a read", vec![write(), write(), read()])
        .with(Faults { leaves: 1, ..Faults::default() })
}

/// A node comes back to one that serves alone.
#[must_use]
pub fn resync() -> Scope {
    let starts = Side::BOTH.map(|sole| Start::Alone(sole, Sectors::FIRST));
    Scope::new("a node returns: two writes, a read", vec![write(), write(), read()]).from(&starts)
}

/// A node comes back to one that serves alone and has missed both sectors.
#[must_use]
pub fn resync_two_sectors() -> Scope {
    let starts = Side::BOTH.map(|sole| Start::Alone(sole, Sectors::PAIR));
    let requests = vec![Request::write(Sectors::PAIR), Request::read(Sectors::PAIR)];
    Scope::new("a node returns: a write and a read of two sectors", requests).from(&starts)
}

/// A node comes back to one that serves alone, and the link breaks again.
#[must_use]
pub fn resync_and_cut() -> Scope {
    let starts = Side::BOTH.map(|sole| Start::Alone(sole, Sectors::FIRST));
    Scope::new("a node returns, the link breaks: a write, a read", vec![write(), read()])
        .from(&starts)
        .with(Faults { cuts: 1, ..Faults::default() })
}

/// A node comes back to one that serves alone, and power is lost.
#[must_use]
pub fn resync_and_power_loss() -> Scope {
    let starts = Side::BOTH.map(|sole| Start::Alone(sole, Sectors::FIRST));
    Scope::new("a node returns, power is lost: a write, a read", vec![write(), read()])
        .from(&starts)
        .with(Faults { power_losses: 1, ..Faults::default() })
}
