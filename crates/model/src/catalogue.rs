//! What is claimed: the scopes in which everything holds, and for each rule a scope in which it goes wrong without it.

mod duplicates;
mod failover;
mod lease;
mod mirror;

pub use duplicates::DUPLICATES;
pub use failover::FAILOVER;
pub use lease::LEASE;
pub use mirror::MIRROR;

use crate::rules::Rule;
use crate::search::Scene;
use crate::{record, search};

/// A rule that is needed: without it this scope breaks this property.
#[derive(Clone, Copy, Debug)]
pub struct Need<S: 'static> {
    /// The rule.
    pub rule: Rule,
    /// Where it is turned off.
    pub scope: fn() -> S,
    /// What breaks.
    pub property: &'static str,
    /// What happens, in one sentence.
    pub story: &'static str,
}

/// A rule that is not needed: without it everything still holds in this scope.
#[derive(Clone, Copy, Debug)]
pub struct Spare<S: 'static> {
    /// The rule.
    pub rule: Rule,
    /// Where it is turned off.
    pub scope: fn() -> S,
    /// Why nothing happens.
    pub story: &'static str,
}

/// Two rules of which one is enough: without either of them this scope holds, and without both it breaks this property.
#[derive(Clone, Copy, Debug)]
pub struct Either<S: 'static> {
    /// The rules.
    pub rules: [Rule; 2],
    /// Where they are turned off.
    pub scope: fn() -> S,
    /// What breaks without both.
    pub property: &'static str,
    /// What happens, and why one of them prevents it.
    pub story: &'static str,
}

/// What is not given: with all rules in force that this scope has, it breaks this property.
#[derive(Clone, Copy, Debug)]
pub struct Limit<S: 'static> {
    /// Where.
    pub scope: fn() -> S,
    /// What breaks.
    pub property: &'static str,
    /// What happens.
    pub story: &'static str,
}

/// One subject: a part of the protocol with its scopes and its rules.
#[derive(Clone, Copy, Debug)]
pub struct Subject<S: 'static> {
    /// Its name.
    pub name: &'static str,
    /// The scopes in which every property holds.
    pub holds: &'static [fn() -> S],
    /// The rules that it needs.
    pub needs: &'static [Need<S>],
    /// The rules that it does not need.
    pub spares: &'static [Spare<S>],
    /// The rules of which it needs one of two.
    pub eithers: &'static [Either<S>],
    /// What it does not give.
    pub limits: &'static [Limit<S>],
}

impl<S: Scene> Subject<S> {
    /// Its name as a heading.
    #[must_use]
    pub fn title(&self) -> String {
        let (first, rest) = self.name.split_at(1);
        first.to_uppercase() + rest
    }

    /// Searches a scope of this subject, and fails if anything in it is not as recorded.
    ///
    /// # Panics
    ///
    /// If a property is broken, or the page of the record says something else.
    pub fn assert_holds(&self, scope: fn() -> S) {
        let scope = scope();
        assert!(
            self.holds.iter().any(|listed| listed().name() == scope.name()),
            "{} is not in the catalogue",
            scope.name()
        );
        record::assert_holds_as_recorded(scope.name(), &search::explore(&scope));
    }

    /// Turns a rule off, prints what goes wrong, and fails if nothing does or if it is not as recorded.
    ///
    /// # Panics
    ///
    /// If the rule is not needed, or the page of the record says something else.
    pub fn assert_needs(&self, rule: Rule) {
        let needs: Vec<&Need<S>> = self.needs.iter().filter(|need| need.rule == rule).collect();
        assert!(!needs.is_empty(), "{rule:?} is not in the catalogue");
        for need in needs {
            let scope = (need.scope)().without(rule);
            let steps = search::counterexample(&scope, need.property);
            let steps = steps.unwrap_or_else(|| panic!("{rule:?} is not needed in {}", scope.name()));
            println!("{}\nwithout {rule:?}, not {}: {}", scope.name(), need.property, need.story);
            steps.iter().enumerate().for_each(|(place, step)| println!("{:4}. {step}", place + 1));
            record::assert_breaks_as_recorded(rule, need.property, steps.len());
        }
    }

    /// Turns a rule off that is not needed, and fails if it is, or if the search is not as recorded.
    ///
    /// # Panics
    ///
    /// If a property is broken, or the page of the record says something else.
    pub fn assert_spares(&self, rule: Rule) {
        let spare = self.spares.iter().find(|spare| spare.rule == rule);
        let spare = spare.unwrap_or_else(|| panic!("{rule:?} is not in the catalogue"));
        record::assert_spared_as_recorded(rule, &search::explore(&(spare.scope)().without(rule)));
    }

    /// Turns two rules off, one at a time and together, prints what goes wrong, and fails if anything does without one of them or
    /// nothing without both, or if that is not as recorded.
    ///
    /// # Panics
    ///
    /// If one of the rules is needed, if not even one of them is, or if the page of the record says something else.
    pub fn assert_needs_either(&self, rules: [Rule; 2]) {
        let either = self.eithers.iter().find(|either| either.rules == rules);
        let either = either.unwrap_or_else(|| panic!("{rules:?} are not in the catalogue"));
        let alone = rules.map(|rule| search::explore(&(either.scope)().without(rule)));
        let scope = (either.scope)().without(rules[0]).without(rules[1]);
        let steps = search::counterexample(&scope, either.property);
        let steps = steps.unwrap_or_else(|| panic!("neither of {rules:?} is needed in {}", scope.name()));
        println!("{}\nwithout {rules:?}, not {}: {}", scope.name(), either.property, either.story);
        steps.iter().enumerate().for_each(|(place, step)| println!("{:4}. {step}", place + 1));
        record::assert_either_as_recorded(rules, &alone, steps.len());
    }

    /// Shows what a scope does not give with all its rules in force, and fails if it does, or if that is not as recorded.
    ///
    /// # Panics
    ///
    /// If the property holds, or the page of the record says something else.
    pub fn assert_limited(&self, scope: fn() -> S) {
        let scope = scope();
        let limit = self.limits.iter().find(|limit| (limit.scope)().name() == scope.name());
        let limit = limit.unwrap_or_else(|| panic!("{} is not in the catalogue", scope.name()));
        let steps = search::counterexample(&scope, limit.property);
        let steps = steps.unwrap_or_else(|| panic!("{} has no such limit any more", scope.name()));
        record::assert_limited_as_recorded(scope.name(), limit.property, steps.len());
    }
}
