//! What is claimed: the scopes in which everything holds, and for each rule a scope in which it goes wrong without it.

use crate::property::{CONVERGED, DURABLE, LINEARIZABLE};
use crate::rules::Rule;
use crate::scope::{Scope, mirror};
use crate::{record, search};

/// A rule that is needed: without it this scope breaks this property.
#[derive(Clone, Copy, Debug)]
pub struct Need {
    /// The rule.
    pub rule: Rule,
    /// Where it is turned off.
    pub scope: fn() -> Scope,
    /// What breaks.
    pub property: &'static str,
    /// What happens, in one sentence.
    pub story: &'static str,
}

/// One subject: a part of the protocol with its scopes and its rules.
#[derive(Clone, Copy, Debug)]
pub struct Subject {
    /// Its name.
    pub name: &'static str,
    /// The scopes in which every property holds.
    pub holds: &'static [fn() -> Scope],
    /// The rules that it needs.
    pub needs: &'static [Need],
}

/// All subjects.
pub const SUBJECTS: &[Subject] = &[MIRROR];

/// Rules R1 to R5: both nodes up, the link whole, and a power loss of both considered at every point.
pub const MIRROR: Subject = Subject {
    name: "the mirror",
    holds: &[
        mirror::two_writes_two_reads,
        mirror::three_writes,
        mirror::three_writes_one_read,
        mirror::partial_overlap,
        mirror::bridge,
    ],
    needs: &[
        Need {
            rule: Rule::WaitForLocal,
            scope: mirror::two_writes_two_reads,
            property: CONVERGED,
            story: "Two overlapping writes through one node are on both disks at once, and each disk finishes in its own order.",
        },
        Need {
            rule: Rule::WaitForRemote,
            scope: mirror::two_writes_two_reads,
            property: CONVERGED,
            story: "A node admits a write on top of a remote one that it is still applying; the peer sees the two as concurrent.",
        },
        Need {
            rule: Rule::TieBreak,
            scope: mirror::two_writes_two_reads,
            property: CONVERGED,
            story: "Each node applies the other's concurrent write after its own, so each ends with the other's value.",
        },
        Need {
            rule: Rule::AckedIsBefore,
            scope: mirror::two_writes_two_reads,
            property: CONVERGED,
            story: "Node 1 takes a write that was admitted after its own was acknowledged for a concurrent one, and does not apply it.",
        },
        Need {
            rule: Rule::LocalDiskFirst,
            scope: mirror::two_writes_two_reads,
            property: CONVERGED,
            story: "The remote write is given to the disk while the local one before it is outstanding, and the disk swaps them.",
        },
        Need {
            rule: Rule::AckAfterSuperseder,
            scope: mirror::two_writes_two_reads,
            property: DURABLE,
            story: "Node 1 acknowledges a write it does not apply, before the write that stands for it is durable: its copy has neither.",
        },
        Need {
            rule: Rule::AckAfterSuperseder,
            scope: mirror::two_writes_two_reads,
            property: LINEARIZABLE,
            story: "The same without a power loss: the superseded write is answered, and a read at node 1 still finds what was there before both.",
        },
        Need {
            rule: Rule::ReadsWaitForLocal,
            scope: mirror::two_writes_two_reads,
            property: LINEARIZABLE,
            story: "A value is read at its coordinator before the follower has heard of it, and then not at the follower.",
        },
        Need {
            rule: Rule::ReadsWaitForRemote,
            scope: mirror::two_writes_two_reads,
            property: DURABLE,
            story: "A value is read at the follower while the coordinator's disk does not have it: that copy has never seen it.",
        },
        Need {
            rule: Rule::Commit,
            scope: mirror::two_writes_two_reads,
            property: DURABLE,
            story: "The follower has acknowledged and answers a read, while the coordinator's disk is still at work.",
        },
        Need {
            rule: Rule::ReadsCheckedWhenSampled,
            scope: mirror::two_writes_two_reads,
            property: DURABLE,
            story: "A read begins when nothing is in flight; a write comes in before the disk gives the value, which is the new one.",
        },
    ],
};

impl Subject {
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
    pub fn assert_holds(&self, scope: fn() -> Scope) {
        let scope = scope();
        assert!(
            self.holds.iter().any(|listed| listed().name == scope.name),
            "{} is not in the catalogue",
            scope.name
        );
        record::assert_holds_as_recorded(scope.name, &search::explore(&scope));
    }

    /// Turns a rule off, prints what goes wrong, and fails if nothing does or if it is not as recorded.
    ///
    /// # Panics
    ///
    /// If the rule is not needed, or the page of the record says something else.
    pub fn assert_needs(&self, rule: Rule) {
        let needs: Vec<&Need> = self.needs.iter().filter(|need| need.rule == rule).collect();
        assert!(!needs.is_empty(), "{rule:?} is not in the catalogue");
        for need in needs {
            let scope = (need.scope)().without(rule);
            let steps = search::counterexample(&scope, need.property);
            let steps = steps.unwrap_or_else(|| panic!("{rule:?} is not needed in {}", scope.name));
            println!("{}\nwithout {rule:?}, not {}: {}", scope.name, need.property, need.story);
            steps.iter().enumerate().for_each(|(place, step)| println!("{:4}. {step}", place + 1));
            record::assert_breaks_as_recorded(rule, need.property, steps.len());
        }
    }
}
