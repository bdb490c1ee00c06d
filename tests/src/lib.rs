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

/// For a guest: has the driver look at the disk at 7.1 again until it has so many bytes, and writes and reads at its end.
pub fn use_grown(bytes: u64) -> String {
    let near_end = bytes / 4096 - 16;
    format!(
        "set -e; tries=0
until [ \"$(blockdev --getsize64 /dev/etherd/e7.1)\" = {bytes} ]; do
    /usr/sbin/aoe-revalidate e7.1
    tries=$((tries + 1)); [ $tries -lt 50 ]; sleep 0.1
done
dd if=/dev/urandom of=/tmp/grown bs=4k count=16 2> /dev/null
dd if=/tmp/grown of=/dev/etherd/e7.1 bs=4k seek={near_end} oflag=direct 2> /dev/null
dd if=/dev/etherd/e7.1 bs=4k skip={near_end} count=16 iflag=direct 2> /dev/null | cmp - /tmp/grown"
    )
}
