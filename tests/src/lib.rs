//! What the tests on real parts share: a small storage network, and the target under test in it.
//!
//! The target is ours unless the variable `TARGET_UNDER_TEST` says `vblade`: the tests were first made to work with that
//! reference, and it can be asked again how *it* behaves. Nothing is skipped: what is missing on the machine is
//! installed, and what cannot be is a failed test.
#![allow(clippy::disallowed_methods, reason = "these are tests of the real world")]

mod pair;
mod random;
pub mod recorded_writes;
mod target;
mod volatile_disk;
mod world;

pub use pair::Pair;
pub use random::Random;
pub use target::{Target, TargetOptions, binary};
pub use volatile_disk::{Rack, Survival, VolatileDisk};
pub use world::World;

/// One mebibyte.
pub const MIB: u64 = 1 << 20;

/// For a guest: asks who is there, and waits for the disk at 7.1 to appear. Whatever fails after it ends the script.
pub const DISCOVER: &str = "set -e
echo > /dev/etherd/discover
tries=0
until [ -b /dev/etherd/e7.1 ] && [ \"$(cat '/sys/block/etherd!e7.1/state')\" = up ]; do
    tries=$((tries + 1)); [ $tries -lt 200 ]; sleep 0.05
done
";
