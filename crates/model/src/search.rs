//! Searches a scope to its end, or to the shortest execution that breaks a property, with one thread and always alike.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::hash::Hash;

use stateright::{Checker, HasDiscoveries, Model};

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
    let first = HasDiscoveries::AnyOf(BTreeSet::from([property]));
    let checker = scope.model().checker().threads(1).finish_when(first).spawn_bfs().join();
    let states: Vec<_> = checker.discovery(property)?.into_vec();
    let step = |pair: &[(_, Option<_>)]| {
        let action = pair[0].1.expect("only the last state of a path has no action");
        checker.model().tell(&pair[0].0, action, &pair[1].0)
    };
    Some(states.windows(2).map(step).collect())
}
