//! Searches a scope to its end, or to the shortest execution that breaks a property, with one thread and always alike.

use std::collections::BTreeSet;

use stateright::{Checker, HasDiscoveries, Model};

use crate::scope::Scope;
use crate::tell;
use crate::world::{Action, Mirror, World};

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
pub fn explore(scope: &Scope) -> Explored {
    let model = Mirror { scope: scope.clone() };
    let checker = model.checker().threads(1).spawn_bfs().join();
    let broken: BTreeSet<&'static str> = checker.discoveries().into_keys().collect();
    Explored {
        states: checker.unique_state_count(),
        depth: checker.max_depth(),
        broken: broken.into_iter().collect(),
    }
}

/// The steps of the shortest execution of a scope that breaks this property, in words; `None` if there is none.
#[must_use]
pub fn counterexample(scope: &Scope, property: &'static str) -> Option<Vec<String>> {
    let model = Mirror { scope: scope.clone() };
    let first = HasDiscoveries::AnyOf(BTreeSet::from([property]));
    let checker = model.checker().threads(1).finish_when(first).spawn_bfs().join();
    let path = checker.discovery(property)?;
    let states: Vec<(World, Option<Action>)> = path.into_vec();
    let step = |pair: &[(World, Option<Action>)]| {
        let action = pair[0].1.expect("only the last state of a path has no action");
        tell::step(scope, &pair[0].0, action, &pair[1].0)
    };
    Some(states.windows(2).map(step).collect())
}
