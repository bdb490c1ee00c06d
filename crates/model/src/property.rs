//! What must hold in every state, whatever has happened.
//!
//! Progress is a property of states too: the graphs have no cycles, so that a world in which nothing is left to happen is
//! where every execution ends, and there every request must have its answer.

use stateright::{Model, Property};

use crate::arbiter::Members;
use crate::history::Progress;
use crate::node::{Node, Phase};
use crate::words::{SECTOR_COUNT, Sectors, Side};
use crate::world::{Action, Mirror, World};

/// What was read and acknowledged could have come from a single correct disk, sector by sector.
pub const LINEARIZABLE: &str = "linearizable";
/// After a power loss of both nodes, whichever copy may be taken has what was acknowledged and what was read.
pub const DURABLE: &str = "durable";
/// When nothing is in flight between members, both copies are equal.
pub const CONVERGED: &str = "converged";
/// Wherever the copies may differ after a power loss, an activity log or the bitmap says so.
pub const DIFFERENCE_KNOWN: &str = "difference known";
/// When nothing is left to happen, both nodes are members again and every request has its answer or was dropped.
pub const ANSWERED: &str = "answered";
/// When nothing is left to happen but repairs, a node that may serve does, and answers.
pub const AVAILABLE: &str = "available";
/// While one node serves alone, the other serves nothing, and what the one has is whole and recorded.
pub const ONE_HISTORY: &str = "one history";
/// As long as no link breaks and no power is lost, no request is dropped: not by a planned leave either.
pub const NOTHING_DROPPED: &str = "nothing dropped";
/// No disk is ever given two overlapping writes at once.
pub const ORDERED: &str = "ordered";

/// All properties.
#[must_use]
pub fn all() -> Vec<Property<Mirror>> {
    vec![
        Property::always(LINEARIZABLE, is_linearizable),
        Property::always(DURABLE, is_durable),
        Property::always(CONVERGED, is_converged),
        Property::always(DIFFERENCE_KNOWN, is_difference_known),
        Property::always(ANSWERED, is_answered),
        Property::always(AVAILABLE, is_available),
        Property::always(ONE_HISTORY, is_one_history),
        Property::always(NOTHING_DROPPED, is_nothing_dropped),
        Property::always(ORDERED, is_ordered),
    ]
}

fn is_linearizable(model: &Mirror, world: &World) -> bool {
    (0..SECTOR_COUNT).all(|sector| world.history.is_linearizable(&model.scope.requests, sector, None))
}

/// The copies that may be taken if both nodes lose power now: the sole member's, or that of either member.
fn eligible(world: &World) -> impl Iterator<Item = &Node> {
    let newest = world.nodes[0].kept_membership.max(world.nodes[1].kept_membership);
    Side::BOTH.into_iter().filter(move |&side| newest.members != Members::Only(side.peer())).filter_map(
        move |side| {
            let node = &world.nodes[side.index()];
            (node.kept_membership == newest).then_some(node)
        },
    )
}

fn is_durable(model: &Mirror, world: &World) -> bool {
    (0..SECTOR_COUNT).all(|sector| {
        let mut seen = Vec::new();
        for value in eligible(world).flat_map(|node| node.disk.survivors(sector)) {
            if !seen.contains(&value) {
                seen.push(value);
            }
        }
        seen.iter().all(|&value| world.history.is_linearizable(&model.scope.requests, sector, Some(value)))
    })
}

fn is_converged(_: &Mirror, world: &World) -> bool {
    let member = |node: &Node| node.phase == Phase::Paired && node.membership.members == Members::Both;
    let quiet = world.session
        && world.nodes.iter().all(|node| node.is_quiet() && member(node))
        && world.links.iter().all(|link| link.is_empty());
    !quiet || world.nodes[0].disk == world.nodes[1].disk
}

fn is_difference_known(_: &Mirror, world: &World) -> bool {
    let known = world.nodes.iter().fold(Sectors::NONE, |known, node| known.or(node.log).or(node.missed));
    let [zero, one] = &world.nodes;
    let mut sectors = (0..SECTOR_COUNT).filter(|&sector| !known.contains(sector));
    sectors.all(|sector| {
        let values = [zero, one].map(|node| node.disk.survivors(sector));
        values[0] == values[1] && values[0][0] == values[0][1]
    })
}

/// What can happen next, apart from what goes wrong.
fn possible(model: &Mirror, world: &World) -> Vec<Action> {
    let mut actions = Vec::new();
    model.actions(world, &mut actions);
    actions.retain(|action| !action.is_fault());
    actions
}

fn is_answered(model: &Mirror, world: &World) -> bool {
    let answered = |progress: Progress| matches!(progress, Progress::Returned(_) | Progress::Dropped);
    let member = |node: &Node| node.phase == Phase::Paired && node.membership.members == Members::Both;
    !possible(model, world).is_empty()
        || world.history.iter().all(|(id, call)| answered(call.progress) || model.scope.is_framed(id))
            && world.nodes.iter().all(member)
            && world.session
}

fn is_available(model: &Mirror, world: &World) -> bool {
    if possible(model, world).iter().any(|action| !action.is_repair()) {
        return true;
    }
    let serving = world.nodes.iter().any(Node::serves);
    let open = |progress: Progress| matches!(progress, Progress::Waiting | Progress::Pending);
    let starved = world.history.iter().any(|(id, call)| {
        world.nodes[call.at.index()].serves() && open(call.progress) && !model.scope.is_framed(id)
    });
    let entitled = |side: Side| {
        let up = world.nodes[side.index()].phase == Phase::Frozen;
        up && world.arbiter == world.nodes[side.index()].membership
            && world.arbiter.members != Members::Only(side.peer())
    };
    !starved && (serving || !Side::BOTH.into_iter().any(entitled))
}

fn is_one_history(_: &Mirror, world: &World) -> bool {
    Side::BOTH.into_iter().filter(|side| world.nodes[side.index()].phase == Phase::Alone).all(|side| {
        let node = &world.nodes[side.index()];
        !world.nodes[side.peer().index()].serves()
            && node.lacks.is_empty()
            && node.kept_membership.members == Members::Only(side)
    })
}

fn is_nothing_dropped(model: &Mirror, world: &World) -> bool {
    let faults = model.scope.faults;
    faults.cuts + faults.power_losses > 0
        || world.history.iter().all(|(_, call)| call.progress != Progress::Dropped)
}

fn is_ordered(_: &Mirror, world: &World) -> bool {
    world.nodes.iter().all(|node| !node.disk.is_left_to_chance())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scope::Scope;
    use crate::words::{Request, RequestId};

    #[test]
    fn a_request_that_nothing_will_answer_is_noticed() {
        let scope = Scope::new("a read", vec![Request::read(Sectors::FIRST).at(Side::Zero)]);
        let model = Mirror { scope };
        let mut world = model.init_states().remove(0);
        assert!(is_answered(&model, &world) && is_available(&model, &world), "it can still be asked");
        world.history.invoke(RequestId::new(0));
        assert!(!is_answered(&model, &world), "it was asked, and no node knows of it");
        assert!(!is_available(&model, &world), "the node serves and does not answer");
    }
}
