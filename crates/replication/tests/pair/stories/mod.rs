//! Stories: what has to happen, in which order, for a rule of the engine to matter. Each breaks one thing after the other by
//! plan where the worlds do so by chance; in the end everything is repaired and looked at as after any other run.
//!
//! A story says what is done to the nodes, not what they answer to it: where a rule holds, half of what follows never
//! happens, and that is no failure.

mod ahead;
mod copies;
mod disks;
mod endings;
mod forcing;
mod leaving;
mod meetings;
mod memory;
mod power;
mod repairs;
mod telling;
mod verifies;
mod writes;

use replication::durability::Durability;
use replication::limits::Limits;
use replication::membership::NodeNumber;
use replication::mutation::Mutation;

use crate::oracle;
use crate::plan::{CALM, WITHOUT_FAULTS, caught};
use crate::world::{EXTENT, Faults, LIMITS, Plan, World};

/// For as long as the story lasts.
const FOR_GOOD: u64 = u64::MAX;
/// A millisecond of the world.
const MILLISECOND: u64 = 1_000_000;
/// More extents than the log holds.
const MANY: u64 = 140 * EXTENT;

type Told = Result<(), String>;
/// Its name, the world in which it happens, and what happens.
pub(crate) type Story = (&'static str, Plan, fn(&mut World) -> Told);

const SMALL: Plan = Plan { clients: 300, faults: Faults { one_sided: true, ..CALM }, ..WITHOUT_FAULTS };
const AHEAD: Plan =
    Plan { durability: Durability::Async { server: NodeNumber::One, lag_bytes_max: 20_000 }, ..SMALL };
/// A peer that follows hardly more than may be asked for.
const FULL_PEER: Plan = Plan { limits: Limits { followed: LIMITS.requests + 4, ..LIMITS }, ..AHEAD };
const LARGE_AHEAD: Plan = Plan { sectors: MANY, ..AHEAD };
const LARGE: Plan = Plan { sectors: MANY, ..SMALL };
const SMALL_IN_MEMORY: Plan = Plan { durability: Durability::Memory, ..SMALL };
const IN_MEMORY: Plan = Plan { durability: Durability::Memory, ..LARGE };

/// All there are.
pub(crate) fn all() -> impl Iterator<Item = Story> {
    let of_each = [
        power::STORIES,
        meetings::STORIES,
        writes::STORIES,
        copies::STORIES,
        disks::STORIES,
        repairs::STORIES,
        verifies::STORIES,
        memory::STORIES,
        ahead::STORIES,
        leaving::STORIES,
        endings::STORIES,
        forcing::STORIES,
    ];
    of_each.into_iter().flatten().copied()
}

/// What was wrong, if anything, when the engines made a mistake.
pub(crate) fn tell(seed: u64, (_, plan, story): Story, mutation: Option<Mutation>) -> Told {
    caught(|| {
        let mut world = World::new(seed, Plan { mutation, ..plan });
        world.trace = std::env::var("TRACE").is_ok();
        (world.calm, world.closed) = (true, true);
        story(&mut world)?;
        world.heal()?;
        oracle::check(&world.history).map_err(|error| format!("history: {error}"))
    })
}
