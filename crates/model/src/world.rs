//! The world and all that can happen in it, as a state graph that stateright searches.
//!
//! Made by hand rather than from stateright's actors: there are no timers, an initiator is no more than its request, and
//! all that follows with certainty follows at once, which keeps the graph small enough to be searched to its end.

use stateright::{Model, Property};

use crate::history::History;
use crate::link::Link;
use crate::node::Node;
use crate::property;
use crate::scope::Scope;
use crate::words::{Image, RequestId, Side, WriteId};

/// Two nodes, the link between them, and what the initiators saw.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World {
    /// The nodes.
    pub nodes: [Node; 2],
    /// What is under way to each node.
    pub links: [Link; 2],
    /// What the initiators saw.
    pub history: History,
}

/// One thing that can happen next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// An initiator asks and a node takes the request.
    Invoke(RequestId),
    /// The disk gives a read its value (only if that is not when the read begins).
    Sample(RequestId),
    /// The next message arrives at a node.
    Deliver(Side),
    /// A sector of an outstanding disk write becomes visible.
    Show(Side, WriteId, usize),
    /// A disk write becomes durable and is finished.
    Finish(Side, WriteId),
}

/// The graph of all that can happen within a scope.
#[derive(Clone, Debug)]
pub struct Mirror {
    /// The bounds.
    pub scope: Scope,
}

impl Mirror {
    fn requests(&self, state: &World, actions: &mut Vec<Action>) {
        for (request, _) in state.history.iter() {
            if state.may_invoke(&self.scope, request) {
                actions.push(Action::Invoke(request));
            }
        }
        for read in state.nodes.iter().flat_map(|node| &node.reads).filter(|read| read.found.is_none()) {
            actions.push(Action::Sample(read.request));
        }
    }

    fn disks(&self, state: &World, actions: &mut Vec<Action>) {
        for side in Side::BOTH {
            for entry in &state.nodes[side.index()].disk.outstanding {
                actions.extend(entry.left.iter().map(|sector| Action::Show(side, entry.write, sector)));
                if entry.left.is_empty() {
                    actions.push(Action::Finish(side, entry.write));
                }
            }
        }
    }
}

impl Model for Mirror {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        let start = |placement: Vec<Side>| World {
            nodes: [Node::new(Image::default()), Node::new(Image::default())],
            links: [Link::default(), Link::default()],
            history: History::new(&placement),
        };
        self.scope.placements().into_iter().map(start).collect()
    }

    fn actions(&self, state: &World, actions: &mut Vec<Action>) {
        self.requests(state, actions);
        self.disks(state, actions);
        actions.extend(
            Side::BOTH.into_iter().filter(|to| !state.links[to.index()].is_empty()).map(Action::Deliver),
        );
    }

    fn next_state(&self, last: &World, action: Action) -> Option<World> {
        let mut world = last.clone();
        match action {
            Action::Invoke(request) => world.invoke(&self.scope, request),
            Action::Sample(request) => world.sample(&self.scope, request),
            Action::Deliver(to) => world.deliver(&self.scope, to),
            Action::Show(side, write, sector) => world.nodes[side.index()].disk.show(write, sector),
            Action::Finish(side, write) => world.finish(&self.scope, side, write),
        }
        Some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        property::all()
    }
}
