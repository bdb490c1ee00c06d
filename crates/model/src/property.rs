//! What must hold in every state, whatever has happened.
//!
//! Progress is a property of states too: the graphs have no cycles, so that a world in which nothing is left to happen is
//! where every execution ends, and there every request must have its answer.

use stateright::{Model, Property};

use crate::history::Progress;
use crate::words::SECTOR_COUNT;
use crate::world::{Mirror, World};

/// What was read and acknowledged could have come from a single correct disk, sector by sector.
pub const LINEARIZABLE: &str = "linearizable";
/// Whichever copy is taken after a power loss of both nodes, it has what was acknowledged and what was read.
pub const DURABLE: &str = "durable";
/// When nothing is in flight, both copies are equal.
pub const CONVERGED: &str = "converged";
/// When nothing is left to happen, every request has its answer.
pub const ANSWERED: &str = "answered";
/// No disk is ever given two overlapping writes at once.
pub const ORDERED: &str = "ordered";

/// All properties.
#[must_use]
pub fn all() -> Vec<Property<Mirror>> {
    vec![
        Property::always(LINEARIZABLE, is_linearizable),
        Property::always(DURABLE, is_durable),
        Property::always(CONVERGED, is_converged),
        Property::always(ANSWERED, is_answered),
        Property::always(ORDERED, is_ordered),
    ]
}

fn is_linearizable(model: &Mirror, world: &World) -> bool {
    (0..SECTOR_COUNT).all(|sector| world.history.is_linearizable(&model.scope.requests, sector, None))
}

fn is_durable(model: &Mirror, world: &World) -> bool {
    (0..SECTOR_COUNT).all(|sector| {
        let mut seen = Vec::new();
        for value in world.nodes.iter().flat_map(|node| node.disk.survivors(sector)) {
            if !seen.contains(&value) {
                seen.push(value);
            }
        }
        seen.iter().all(|&value| world.history.is_linearizable(&model.scope.requests, sector, Some(value)))
    })
}

fn is_converged(_: &Mirror, world: &World) -> bool {
    let quiet =
        world.nodes.iter().all(|node| node.is_quiet()) && world.links.iter().all(|link| link.is_empty());
    !quiet || world.nodes[0].disk == world.nodes[1].disk
}

fn is_answered(model: &Mirror, world: &World) -> bool {
    let mut actions = Vec::new();
    model.actions(world, &mut actions);
    let answered = |progress: Progress| matches!(progress, Progress::Returned(_) | Progress::Dropped);
    !actions.is_empty() || world.history.iter().all(|(_, call)| answered(call.progress))
}

fn is_ordered(_: &Mirror, world: &World) -> bool {
    world.nodes.iter().all(|node| !node.disk.is_left_to_chance())
}
