//! Searches a scope to its end, or to the shortest execution that breaks a property, with one thread and always alike.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::hash::Hash;

use stateright::{Checker, Model, Property};

use crate::rules::Rule;

/// A model that can say in words what happens in it.
pub trait Tell:
    Model<State: Clone + Debug + Hash + PartialEq + Send + Sync, Action: Copy + PartialEq> + Send + Sync
{
    /// What an action did.
    fn tell(&self, before: &Self::State, action: Self::Action, after: &Self::State) -> String;
}

/// What can be searched: the bounds of a model, with rules that can be turned off.
pub trait Scene: Sized {
    /// The model.
    type Model: Tell + 'static;

    /// What to call it.
    fn name(&self) -> &'static str;

    /// The same with one rule turned off.
    #[must_use]
    fn without(self, rule: Rule) -> Self;

    /// The graph of all that can happen.
    fn model(&self) -> Self::Model;
}

/// How a search of a whole scope ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explored {
    /// How many different states there are.
    pub states: usize,
    /// The length of the longest shortest way to a state.
    pub depth: usize,
    /// The properties that do not hold.
    pub broken: Vec<&'static str>,
}

/// Searches every state of a scope.
#[must_use]
pub fn explore<S: Scene>(scope: &S) -> Explored {
    let checker = scope.model().checker().threads(1).spawn_bfs().join();
    let broken: BTreeSet<&'static str> = checker.discoveries().into_keys().collect();
    Explored {
        states: checker.unique_state_count(),
        depth: checker.max_depth(),
        broken: broken.into_iter().collect(),
    }
}

/// The steps of the shortest execution of a scope that breaks this property, in words; `None` if there is none.
#[must_use]
pub fn counterexample<S: Scene>(scope: &S, property: &'static str) -> Option<Vec<String>> {
    let checker = Only { model: scope.model(), property }.checker().threads(1).spawn_bfs().join();
    let states: Vec<_> = checker.discovery(property)?.into_vec();
    let step = |pair: &[(_, Option<_>)]| {
        let action = pair[0].1.expect("only the last state of a path has no action");
        checker.model().model.tell(&pair[0].0, action, &pair[1].0)
    };
    Some(states.windows(2).map(step).collect())
}

/// A model of which one property is asked for. Where several are, stateright goes on for a while when one of them is broken, and
/// tells of the last state that breaks it, not of the first.
struct Only<M> {
    model: M,
    property: &'static str,
}

impl<M: Tell> Model for Only<M> {
    type State = M::State;
    type Action = M::Action;

    fn init_states(&self) -> Vec<M::State> {
        self.model.init_states()
    }

    fn actions(&self, state: &M::State, actions: &mut Vec<M::Action>) {
        self.model.actions(state, actions);
    }

    fn next_state(&self, last: &M::State, action: M::Action) -> Option<M::State> {
        self.model.next_state(last, action)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![Property::always(self.property, |only, state| {
            (only.model.property(only.property).condition)(&only.model, state)
        })]
    }

    fn within_boundary(&self, state: &M::State) -> bool {
        self.model.within_boundary(state)
    }
}
