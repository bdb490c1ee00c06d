//! The world and all that can happen in it, as a state graph that stateright searches.
//!
//! Made by hand rather than from stateright's actors: there are no timers, an initiator is no more than its request, and
//! all that follows with certainty follows at once, which keeps the graph small enough to be searched to its end.

use stateright::{Model, Property};

use crate::arbiter::{Members, Membership, Question};
use crate::history::History;
use crate::initiator::Ethernet;
use crate::link::Link;
use crate::node::{Node, Phase};
use crate::property;
use crate::scope::{Faults, Scope, Start};
use crate::search::Tell;
use crate::tell;
use crate::words::{Image, RequestId, Sectors, Side, Value, WriteId};

/// Two nodes, the link between them, and what the initiators saw.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World {
    /// The nodes.
    pub nodes: [Node; 2],
    /// What is under way to each node.
    pub links: [Link; 2],
    /// The peer link can carry a session.
    pub link_up: bool,
    /// The nodes are connected. A session that was cut does not come back: the nodes meet anew.
    pub session: bool,
    /// What the arbiter has in its register.
    pub arbiter: Membership,
    /// What the initiators saw.
    pub history: History,
    /// What is between initiators and nodes.
    pub ethernet: Ethernet,
    /// What may still go wrong.
    pub faults: Faults,
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
    /// An initiator sends a frame, for the first time or again.
    Send(RequestId),
    /// An initiator turns to the other node and sends a frame there.
    MoveOver(RequestId),
    /// The turn of a frame has come.
    Take(Side, usize),
    /// An answer arrives at its initiator.
    Return(RequestId),
    /// An answer is lost.
    LoseAnswer(RequestId),
    /// Time passes.
    Tick,
    /// Fault: the peer link breaks.
    Cut,
    /// Repair: the peer link is whole again.
    Heal,
    /// Fault: power is lost at a node; these undecided sectors had been written through.
    LosePower(Side, Sectors),
    /// Repair: power is back.
    Restart(Side),
    /// A node without a session stops serving.
    Freeze(Side),
    /// A node asks the arbiter.
    Ask(Side),
    /// A question reaches the arbiter.
    Arbitrate(Side),
    /// A node begins to serve alone.
    GoAlone(Side),
    /// The nodes meet.
    Meet,
    /// A node leaves on purpose.
    Leave(Side),
    /// The source of a resync copies a sector.
    Copy(Side, usize),
    /// The source proposes the target as a member, and the arbiter agrees.
    Propose(Side),
    /// The source hears of it.
    Promote(Side),
}

impl Action {
    /// Whether it is something that goes wrong.
    #[must_use]
    pub fn is_fault(self) -> bool {
        matches!(self, Self::Cut | Self::LosePower(..) | Self::Leave(_))
    }

    /// Whether it is something that is put right from outside, sooner or later.
    #[must_use]
    pub fn is_repair(self) -> bool {
        matches!(self, Self::Heal | Self::Restart(_))
    }
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

    fn frames(&self, state: &World, actions: &mut Vec<Action>) {
        if !self.scope.has_frames() {
            return;
        }
        for (request, _) in state.history.iter() {
            let candidates = [
                (state.may_send(request), Action::Send(request)),
                (state.may_move(&self.scope, request), Action::MoveOver(request)),
                (state.may_return(request), Action::Return(request)),
                (state.may_lose(&self.scope, request), Action::LoseAnswer(request)),
            ];
            actions
                .extend(candidates.into_iter().filter(|(possible, _)| *possible).map(|(_, action)| action));
        }
        for side in Side::BOTH {
            let places = state.may_take(&self.scope, side);
            actions.extend(places.into_iter().map(|place| Action::Take(side, place)));
        }
        if state.may_tick(&self.scope) {
            actions.push(Action::Tick);
        }
    }

    fn messages(&self, state: &World, actions: &mut Vec<Action>) {
        let arrives =
            |to: &Side| !state.links[to.index()].is_empty() && state.nodes[to.index()].is_following();
        actions.extend(Side::BOTH.into_iter().filter(arrives).map(Action::Deliver));
    }

    fn faults(&self, state: &World, actions: &mut Vec<Action>) {
        if state.link_up && state.faults.cuts > 0 {
            actions.push(Action::Cut);
        }
        for side in Side::BOTH {
            let node = &state.nodes[side.index()];
            if state.faults.power_losses > 0 && state.may_lose_power(&self.scope, side) {
                let kept =
                    Sectors::ALL.into_iter().filter(|kept| kept.without(node.disk.undecided()).is_empty());
                actions.extend(kept.map(|kept| Action::LosePower(side, kept)));
            }
            if state.faults.leaves > 0 && state.may_leave(&self.scope, side) {
                actions.push(Action::Leave(side));
            }
        }
    }

    fn repairs(&self, state: &World, actions: &mut Vec<Action>) {
        if !state.link_up {
            actions.push(Action::Heal);
        }
        let down = |side: &Side| state.nodes[side.index()].phase == Phase::Down;
        actions.extend(Side::BOTH.into_iter().filter(down).map(Action::Restart));
    }

    fn members(&self, state: &World, actions: &mut Vec<Action>) {
        for side in Side::BOTH {
            let node = &state.nodes[side.index()];
            let mut may = |possible: bool, action: Action| {
                if possible {
                    actions.push(action);
                }
            };
            may(node.is_following() && !state.session, Action::Freeze(side));
            may(state.may_ask(&self.scope, side), Action::Ask(side));
            let asked = matches!(node.question, Question::Asked(_) | Question::Abandoned(_));
            may(asked, Action::Arbitrate(side));
            may(state.may_go_alone(&self.scope, side), Action::GoAlone(side));
            may(state.may_propose(&self.scope, side), Action::Propose(side));
            may(state.may_promote(&self.scope, side), Action::Promote(side));
            actions.extend(state.may_copy(&self.scope, side).iter().map(|sector| Action::Copy(side, sector)));
        }
        if state.may_meet(&self.scope) {
            actions.push(Action::Meet);
        }
    }

    fn start(&self, start: Start, placement: &[Side]) -> World {
        let mut world = World {
            nodes: [Node::new(Image::default()), Node::new(Image::default())],
            links: [Link::default(), Link::default()],
            link_up: true,
            session: true,
            arbiter: Membership::FIRST,
            history: History::new(placement),
            ethernet: Ethernet::new(&self.scope.requests, placement),
            faults: self.scope.faults,
        };
        if let Start::Alone(sole, missed) = start {
            world.session = false;
            world.arbiter = Membership::FIRST.next(Members::Only(sole));
            let node = &mut world.nodes[sole.index()];
            (node.phase, node.missed) = (Phase::Alone, missed);
            (node.membership, node.kept_membership) = (world.arbiter, world.arbiter);
            let absent = &mut world.nodes[sole.peer().index()];
            absent.phase = Phase::Frozen;
            missed.iter().for_each(|sector| absent.disk.overwrite(sector, Value::STALE));
        }
        world
    }
}

impl Model for Mirror {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        let placements = self.scope.placements();
        let starts = self.scope.starts.iter();
        starts
            .flat_map(|&start| placements.iter().map(move |placement| self.start(start, placement)))
            .collect()
    }

    fn actions(&self, state: &World, actions: &mut Vec<Action>) {
        self.requests(state, actions);
        self.frames(state, actions);
        self.disks(state, actions);
        self.messages(state, actions);
        self.members(state, actions);
        self.faults(state, actions);
        self.repairs(state, actions);
    }

    fn next_state(&self, last: &World, action: Action) -> Option<World> {
        let (scope, mut world) = (&self.scope, last.clone());
        match action {
            Action::Invoke(request) => world.invoke(scope, request),
            Action::Sample(request) => world.sample(scope, request),
            Action::Deliver(to) => world.deliver(scope, to),
            Action::Show(side, write, sector) => world.show(scope, side, write, sector),
            Action::Finish(side, write) => world.finish(scope, side, write),
            Action::Send(request) => world.send_frame(scope, request),
            Action::MoveOver(request) => world.move_over(scope, request),
            Action::Take(side, place) => world.take_frame(scope, side, place),
            Action::Return(request) => world.return_answer(request),
            Action::LoseAnswer(request) => world.ethernet.answers.remove(request),
            Action::Tick => world.tick(),
            Action::Cut => world.cut(),
            Action::Heal => world.link_up = true,
            Action::LosePower(side, kept) => world.lose_power(scope, side, kept),
            Action::Restart(side) => world.nodes[side.index()].phase = Phase::Frozen,
            Action::Freeze(side) => world.freeze(scope, side),
            Action::Ask(side) => world.ask(side),
            Action::Arbitrate(side) => world.arbitrate(scope, side),
            Action::GoAlone(side) => world.go_alone(scope, side),
            Action::Meet => world.meet(scope),
            Action::Leave(side) => world.leave(side),
            Action::Copy(side, sector) => world.copy(side, sector),
            Action::Propose(side) => world.propose(side),
            Action::Promote(side) => world.promote(side),
        }
        world.faults.spend(action);
        world.tidy();
        Some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        property::all()
    }
}

impl Tell for Mirror {
    fn tell(&self, before: &World, action: Action, after: &World) -> String {
        tell::step(&self.scope, before, action, after)
    }
}
