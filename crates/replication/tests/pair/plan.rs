//! The worlds that the engine is put into, and what comes out of a run.

use crate::oracle;
use crate::world::{Faults, Plan, World};

pub(crate) const CALM: Faults = Faults {
    cuts: false,
    crashes: false,
    pauses: false,
    arbiter: false,
    read_errors: false,
    write_errors: false,
    leaves: false,
    single_losses: false,
    verifies: false,
    settings: false,
    resizes: false,
};

const fn plan(steps: u32, sectors: u64, faults: Faults) -> Plan {
    Plan { steps, sectors, clients: 5, faults, mutation: None }
}

pub(crate) const WITHOUT_FAULTS: Plan = plan(3000, 64, Faults { verifies: true, settings: true, ..CALM });
pub(crate) const CUTS: Plan = plan(4000, 64, Faults { cuts: true, settings: true, ..CALM });
pub(crate) const LOSSES: Plan = plan(4000, 20_000, Faults { crashes: true, ..CALM });
pub(crate) const PAUSES: Plan = plan(4000, 64, Faults { pauses: true, cuts: true, ..CALM });
pub(crate) const LEAVES: Plan = plan(4000, 64, Faults { leaves: true, cuts: true, ..CALM });
pub(crate) const BAD_DISKS: Plan = plan(4000, 64, Faults { read_errors: true, write_errors: true, ..CALM });
pub(crate) const GROWTH: Plan = plan(4000, 64, Faults { resizes: true, cuts: true, crashes: true, ..CALM });
pub(crate) const WRITES_IN_MEMORY: Plan = plan(4000, 64, Faults { single_losses: true, ..CALM });
/// More extents than the log holds, and more clients than it holds extents.
pub(crate) const CROWD: Plan = Plan { clients: 120, ..plan(6000, 100 * 8192, CALM) };
pub(crate) const EVERYTHING: Plan = plan(
    6000,
    20_000,
    Faults {
        cuts: true,
        crashes: true,
        pauses: true,
        arbiter: true,
        read_errors: true,
        write_errors: true,
        leaves: true,
        single_losses: false,
        verifies: true,
        settings: true,
        resizes: true,
    },
);

/// All of them, by name: for the hunt after mistakes.
#[allow(dead_code, reason = "only one of the two tests that share this goes through all")]
pub(crate) const ALL: [(&str, Plan); 10] = [
    ("everything", EVERYTHING),
    ("cuts", CUTS),
    ("losses of power", LOSSES),
    ("pauses", PAUSES),
    ("leaves", LEAVES),
    ("bad disks", BAD_DISKS),
    ("growth", GROWTH),
    ("writes in memory", WRITES_IN_MEMORY),
    ("no faults", WITHOUT_FAULTS),
    ("crowd", CROWD),
];

/// How many requests were finished, or what was wrong.
pub(crate) fn run(seed: u64, plan: Plan) -> Result<u64, String> {
    let mut world = World::new(seed, plan);
    world.trace = std::env::var("TRACE").is_ok();
    for _ in 0..plan.steps {
        world.step();
    }
    world.heal()?;
    oracle::check(&world.history).map_err(|error| format!("history: {error}"))?;
    Ok(world.finished)
}
