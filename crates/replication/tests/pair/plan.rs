//! The worlds that the engine is put into, and what comes out of a run.

use std::panic::{AssertUnwindSafe, catch_unwind};

use replication::durability::Durability;
use replication::membership::NodeNumber;
use replication::resync::ResyncRate;

use crate::oracle;
use crate::world::{EXTENT, Faults, LIMITS, Plan, World};

pub(crate) const CALM: Faults = Faults {
    cuts: false,
    one_sided: false,
    crashes: false,
    mines: false,
    pauses: false,
    stalls: false,
    arbiter: false,
    read_errors: false,
    write_errors: false,
    leaves: false,
    single_losses: false,
    verifies: false,
    settings: false,
    resizes: false,
    removals: false,
    rates: false,
};

const fn plan(steps: u32, sectors: u64, faults: Faults) -> Plan {
    let (durability, resync_rate) = (Durability::Stable, ResyncRate::Yielding);
    Plan { steps, sectors, clients: 5, faults, durability, resync_rate, limits: LIMITS, mutation: None }
}

const SMALL: u64 = 64;
const EXTENTS: u64 = 20_000;

pub(crate) const WITHOUT_FAULTS: Plan = plan(3000, SMALL, Faults { verifies: true, settings: true, ..CALM });
pub(crate) const CUTS: Plan = plan(4000, SMALL, Faults { cuts: true, settings: true, ..CALM });
pub(crate) const LOSSES: Plan = plan(4000, EXTENTS, Faults { crashes: true, ..CALM });
pub(crate) const PAUSES: Plan = plan(4000, SMALL, Faults { pauses: true, cuts: true, ..CALM });
pub(crate) const LEAVES: Plan = plan(4000, SMALL, Faults { leaves: true, cuts: true, ..CALM });
/// Nodes leave and come back, and nothing else happens: nobody notices.
pub(crate) const ONLY_LEAVES: Plan = plan(4000, SMALL, Faults { leaves: true, ..CALM });
pub(crate) const BAD_DISKS: Plan =
    plan(4000, SMALL, Faults { read_errors: true, write_errors: true, ..CALM });
/// Disks and the volume get larger.
pub(crate) const GROWTH: Plan =
    plan(4000, SMALL, Faults { resizes: true, cuts: true, crashes: true, ..CALM });
/// Nodes are told to have the volume no more, and to have it again.
pub(crate) const REMOVALS: Plan = plan(
    5000,
    SMALL,
    Faults { removals: true, leaves: true, cuts: true, stalls: true, arbiter: true, ..CALM },
);
/// The same with losses of power, and more extents than the log holds.
pub(crate) const COLD_REMOVALS: Plan =
    plan(4000, 70 * EXTENT, Faults { removals: true, crashes: true, stalls: true, ..CALM });
pub(crate) const WRITES_IN_MEMORY: Plan =
    Plan { durability: Durability::Memory, ..plan(4000, SMALL, Faults { single_losses: true, ..CALM }) };
/// The same with many extents, of which the log forgets some, and records that take their time.
pub(crate) const COLD_WRITES_IN_MEMORY: Plan = Plan {
    durability: Durability::Memory,
    clients: 12,
    ..plan(3000, 70 * EXTENT, Faults { single_losses: true, stalls: true, ..CALM })
};
/// More extents than the log holds, and more clients than it holds extents.
pub(crate) const CROWD: Plan = Plan { clients: 250, ..plan(6000, 100 * EXTENT, CALM) };
/// Messages, disks and records each at a speed of their own, and a link that breaks for one side at a time.
pub(crate) const STALLS: Plan = plan(
    6000,
    SMALL,
    Faults { cuts: true, one_sided: true, pauses: true, stalls: true, arbiter: true, ..CALM },
);
/// A resync that takes longer than a node that came back keeps quiet.
pub(crate) const SLOW_RESYNC: Plan = Plan {
    resync_rate: ResyncRate::BytesPerSecond(4096),
    ..plan(6000, SMALL, Faults { cuts: true, one_sided: true, crashes: true, stalls: true, ..CALM })
};
/// The same, at rates that change while it runs. Not among those below: where the hunt finds what it finds stays as it is.
#[allow(dead_code, reason = "only one of the two tests that share this tries it")]
pub(crate) const RATES: Plan = Plan { faults: Faults { rates: true, ..SLOW_RESYNC.faults }, ..SLOW_RESYNC };
/// Power is lost at the worst moments.
pub(crate) const MINES: Plan = plan(
    6000,
    SMALL,
    Faults { cuts: true, one_sided: true, crashes: true, mines: true, stalls: true, arbiter: true, ..CALM },
);
/// The same, with more extents than the log holds.
pub(crate) const COLD_MINES: Plan = Plan { clients: 12, ..plan(3000, 70 * EXTENT, MINES.faults) };
/// One node serves and answers ahead of the other.
pub(crate) const AHEAD: Plan = Plan {
    durability: Durability::Async { server: NodeNumber::One, lag_bytes_max: 20_000 },
    ..plan(
        4000,
        SMALL,
        Faults { cuts: true, one_sided: true, stalls: true, leaves: true, crashes: true, ..CALM },
    )
};
pub(crate) const EVERYTHING: Plan = plan(
    6000,
    EXTENTS,
    Faults {
        cuts: true,
        one_sided: true,
        crashes: true,
        mines: true,
        pauses: true,
        stalls: true,
        arbiter: true,
        read_errors: true,
        write_errors: true,
        leaves: true,
        single_losses: false,
        verifies: true,
        settings: true,
        resizes: true,
        removals: false,
        rates: false,
    },
);

/// All of them, by name: for the hunt after mistakes.
#[allow(dead_code, reason = "only one of the two tests that share this goes through all")]
pub(crate) const ALL: [(&str, Plan); 19] = [
    ("everything", EVERYTHING),
    ("cuts", CUTS),
    ("losses of power", LOSSES),
    ("pauses", PAUSES),
    ("leaves", LEAVES),
    ("leaves only", ONLY_LEAVES),
    ("bad disks", BAD_DISKS),
    ("growth", GROWTH),
    ("writes in memory", WRITES_IN_MEMORY),
    ("cold writes in memory", COLD_WRITES_IN_MEMORY),
    ("no faults", WITHOUT_FAULTS),
    ("crowd", CROWD),
    ("stalls", STALLS),
    ("slow resync", SLOW_RESYNC),
    ("mines", MINES),
    ("mines and a cold log", COLD_MINES),
    ("ahead of the peer", AHEAD),
    ("removals", REMOVALS),
    ("cold removals", COLD_REMOVALS),
];

/// How many requests were finished, or what was wrong: an assertion of the world's, or of the engine's own, as well.
pub(crate) fn run(seed: u64, plan: Plan) -> Result<u64, String> {
    caught(|| live(seed, plan))
}

/// What a panic says is what was wrong.
pub(crate) fn caught<T>(live: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(live)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        Err(text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string)).unwrap_or_default())
    })
}

fn live(seed: u64, plan: Plan) -> Result<u64, String> {
    let mut world = World::new(seed, plan);
    world.trace = std::env::var("TRACE").is_ok();
    for _ in 0..plan.steps {
        world.step();
    }
    world.heal()?;
    oracle::check(&world.history).map_err(|error| format!("history: {error}"))?;
    Ok(world.finished)
}
