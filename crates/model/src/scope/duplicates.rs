//! The scopes in which frames are sent again, linger, and come by the other node.

use super::{Faults, Memory, Scope, Start, read, write};
use crate::initiator::Network;
use crate::words::{Sectors, Side};

/// A stock initiator sends a write twice, while another one writes to the same sector.
#[must_use]
pub fn stock() -> Scope {
    Scope::new("stock: a write in two frames, a write", vec![write().in_frames(2), write().in_frames(1)])
        .uncached()
}

/// The same, and another one reads.
#[must_use]
pub fn stock_read() -> Scope {
    let requests = vec![write().in_frames(2), write(), read()];
    Scope::new("stock: a write in two frames, a write, a read", requests).uncached()
}

/// The same, and the link breaks.
#[must_use]
pub fn stock_and_cut() -> Scope {
    Scope::new("stock: a write in two frames, a write, the link breaks", vec![write().in_frames(2), write()])
        .uncached()
        .with(Faults { cuts: 1, ..Faults::default() })
}

/// A stock initiator sends a write twice, another one writes, and a node loses power.
#[must_use]
pub fn stock_and_power_loss() -> Scope {
    Scope::new("stock: a write in two frames, a write, power is lost", vec![write().in_frames(2), write()])
        .uncached()
        .with(Faults { power_losses: 1, ..Faults::default() })
}

/// The same when a node comes back to one that serves alone, each write at a node of its own to begin with.
#[must_use]
pub fn stock_returning_and_power_loss() -> Scope {
    let requests = vec![write().in_frames(2).at(Side::Zero), write().at(Side::One)];
    Scope::new("stock: a write in two frames, a write, a node returns, power is lost", requests)
        .uncached()
        .from(&[Start::Alone(Side::Zero, Sectors::FIRST)])
        .with(Faults { power_losses: 1, ..Faults::default() })
}

/// A stock initiator sends a write twice, and nobody else asks anything.
#[must_use]
pub fn stock_alone() -> Scope {
    Scope::new("stock: a write in two frames", vec![write().in_frames(2)]).uncached()
}

/// A stock initiator turns to the other node, where its write has to wait for another one.
#[must_use]
pub fn stock_behind() -> Scope {
    let requests = vec![write().in_frames(2).at(Side::Zero), write().at(Side::Zero), write().at(Side::One)];
    Scope::new("stock: a write in two frames, two writes", requests).uncached()
}

/// The network doubles each frame; all of them go to one node.
#[must_use]
pub fn stock_doubled() -> Scope {
    let requests = vec![write().in_frames(1).at(Side::Zero), write().in_frames(1).at(Side::Zero)];
    Scope::new("stock: two writes, each frame twice, one node", requests).uncached().over(Network::Twice)
}

/// A node comes back to one that serves alone, and what is sent to its address both of them get.
#[must_use]
pub fn stock_flooded() -> Scope {
    let starts = Side::BOTH.map(|sole| Start::Alone(sole, Sectors::FIRST));
    Scope::new("stock: two writes, a node returns, frames flooded", vec![write().in_frames(1), write()])
        .uncached()
        .from(&starts)
        .over(Network::Flooding)
}

/// A sequenced initiator sends a write twice, anywhere, while another one writes to the same sector.
#[must_use]
pub fn sequenced() -> Scope {
    let requests = vec![write().in_frames(2), write(), read()];
    Scope::new("sequenced: a write in two frames, a write, a read", requests).uncached().sequenced()
}

/// The same, and the link breaks.
#[must_use]
pub fn sequenced_and_cut() -> Scope {
    let requests = vec![write().in_frames(2), write()];
    Scope::new("sequenced: a write in two frames, a write, the link breaks", requests)
        .uncached()
        .sequenced()
        .with(Faults { cuts: 1, ..Faults::default() })
}

/// The same, and a node loses power.
#[must_use]
pub fn sequenced_and_power_loss() -> Scope {
    let requests = vec![write().in_frames(2), write()];
    Scope::new("sequenced: a write in two frames, a write, power is lost", requests)
        .uncached()
        .sequenced()
        .with(Faults { power_losses: 1, ..Faults::default() })
}

/// Identities are not kept, and each node loses power, or one of them twice, always while the other one remembers.
#[must_use]
pub fn numbers_remembered() -> Scope {
    let requests = vec![write().in_frames(2), write()];
    let name = "numbers not kept: a write in two frames, a write, power is lost twice, one node remembers";
    Scope::new(name, requests)
        .uncached()
        .numbers_not_kept(Memory::OneRemembers)
        .with(Faults { power_losses: 2, ..Faults::default() })
}

/// Identities are not kept, a node comes back to one that serves alone, and power is lost where the other one remembers.
#[must_use]
pub fn numbers_remembered_alone() -> Scope {
    let starts = Side::BOTH.map(|sole| Start::Alone(sole, Sectors::FIRST));
    let requests = vec![write().in_frames(2).at(Side::Zero), write()];
    let name =
        "numbers not kept: a write in two frames, a write, a node returns, power is lost, one node remembers";
    Scope::new(name, requests)
        .uncached()
        .from(&starts)
        .numbers_not_kept(Memory::OneRemembers)
        .with(Faults { power_losses: 1, ..Faults::default() })
}

/// Identities are not kept, both nodes lose power before they meet, and somebody reads.
#[must_use]
pub fn numbers_forgotten() -> Scope {
    let requests = [write().in_frames(2), write(), read()].map(|request| request.at(Side::Zero));
    let name = "numbers not kept: a write in two frames, a write, a read, both lose power";
    Scope::new(name, requests.to_vec())
        .uncached()
        .numbers_not_kept(Memory::MetFirst)
        .with(Faults { power_losses: 2, ..Faults::default() })
}

/// Identities are not kept, the sole member loses power before its peer is back, and somebody reads.
#[must_use]
pub fn numbers_forgotten_alone() -> Scope {
    let requests = [write().in_frames(2), write(), read()].map(|request| request.at(Side::Zero));
    let name = "numbers not kept: a write in two frames, a write, a read, the sole member loses power";
    Scope::new(name, requests.to_vec())
        .uncached()
        .from(&[Start::Alone(Side::Zero, Sectors::FIRST)])
        .numbers_not_kept(Memory::NotKept)
        .with(Faults { power_losses: 1, ..Faults::default() })
}

/// Identities are not kept, a node loses power and may go on alone though the other one remembers, and somebody reads.
#[must_use]
pub fn numbers_forgotten_by_one() -> Scope {
    let requests = [write().in_frames(2), write(), read()].map(|request| request.at(Side::Zero));
    let name = "numbers not kept: a write in two frames, a write, a read, power is lost";
    Scope::new(name, requests.to_vec())
        .uncached()
        .numbers_not_kept(Memory::NotKept)
        .with(Faults { power_losses: 1, ..Faults::default() })
}
