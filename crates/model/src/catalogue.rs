//! What is claimed: the scopes in which everything holds, and for each rule a scope in which it goes wrong without it.

use crate::lease::{HOLDER_STOPS_FIRST, LeaseScope, two_clocks};
use crate::property::{
    CONVERGED, DIFFERENCE_KNOWN, DURABLE, LINEARIZABLE, NOTHING_DROPPED, ONE_HISTORY, ORDERED,
};
use crate::rules::Rule;
use crate::scope::{Scope, duplicates, failover, mirror};
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

/// Rules R1 to R5: both nodes up, the link whole, and a power loss of both considered at every point.
pub const MIRROR: Subject<Scope> = Subject {
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
            rule: Rule::LocalDiskFirst,
            scope: mirror::two_writes_two_reads,
            property: ORDERED,
            story: "The same, as the disk sees it.",
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
    spares: &[],
    eithers: &[],
    limits: &[],
};

/// Leases by the clock.
pub const LEASE: Subject<LeaseScope> = Subject {
    name: "leases",
    holds: &[two_clocks],
    needs: &[
        Need {
            rule: Rule::HolderCountsFromSending,
            scope: two_clocks,
            property: HOLDER_STOPS_FIRST,
            story: "The answer is under way for longer than the margin, and the lease begins when it arrives.",
        },
        Need {
            rule: Rule::LeaseMargin,
            scope: two_clocks,
            property: HOLDER_STOPS_FIRST,
            story: "The granter's clock is a little faster than the holder's.",
        },
        Need {
            rule: Rule::ClockCountsSuspend,
            scope: two_clocks,
            property: HOLDER_STOPS_FIRST,
            story: "The holder sleeps through the end of its lease, and wakes with most of it left.",
        },
    ],
    spares: &[Spare {
        rule: Rule::GranterCountsFromAnswering,
        scope: two_clocks,
        story: "The holder counts from an even earlier moment, so that counting from when the renewal was received is enough.",
    }],
    eithers: &[],
    limits: &[],
};

/// Losing the peer and finding it again.
pub const FAILOVER: Subject<Scope> = Subject {
    name: "losing the peer",
    holds: &[
        failover::one_cut,
        failover::one_cut_readers,
        failover::two_cuts,
        failover::one_power_loss,
        failover::two_power_losses,
        failover::cut_and_power_loss,
        failover::leave,
        failover::resync,
        failover::resync_two_sectors,
        failover::resync_and_cut,
        failover::resync_and_power_loss,
    ],
    needs: &[
        Need {
            rule: Rule::LeaseWait,
            scope: failover::one_cut_readers,
            property: LINEARIZABLE,
            story: "The sole member answers a write while its peer, which has not noticed, still answers reads.",
        },
        Need {
            rule: Rule::LeaseCheckedAfterWork,
            scope: failover::one_cut_readers,
            property: LINEARIZABLE,
            story: "A read begins in time, its node freezes and gives up a write, and then the disk gives the value of that write.",
        },
        Need {
            rule: Rule::ExclusiveArbiter,
            scope: failover::one_cut_readers,
            property: ONE_HISTORY,
            story: "The arbiter counts as a vote for whoever asks, so both go on alone.",
        },
        Need {
            rule: Rule::ExclusiveArbiter,
            scope: failover::one_cut_readers,
            property: LINEARIZABLE,
            story: "The same, as an initiator sees it: a write at one node, then a read at the other.",
        },
        Need {
            rule: Rule::EpochBeforeAnswers,
            scope: failover::two_power_losses,
            property: LINEARIZABLE,
            story: "The sole member forgets that it was, and meets its stale peer as an equal.",
        },
        Need {
            rule: Rule::AbandonedGrantsIgnored,
            scope: failover::one_cut_readers,
            property: ONE_HISTORY,
            story: "A question lingers on the way to the arbiter, the nodes meet again, and then the answer arrives.",
        },
        Need {
            rule: Rule::DrainFirst,
            scope: failover::one_cut_readers,
            property: LINEARIZABLE,
            story: "A write that was dropped is still on its way to the disk, and lands after the nodes have met.",
        },
        Need {
            rule: Rule::LogFirst,
            scope: failover::two_power_losses,
            property: LINEARIZABLE,
            story: "A write is on one disk when both lose power, and nobody knows where to look.",
        },
        Need {
            rule: Rule::OneCopyWins,
            scope: failover::one_cut_readers,
            property: LINEARIZABLE,
            story: "The nodes meet as equals, and leave as they are the sectors in which a write was unfinished.",
        },
        Need {
            rule: Rule::BitmapSet,
            scope: failover::one_cut_readers,
            property: LINEARIZABLE,
            story: "The sole member writes, and its peer comes back without hearing of it.",
        },
        Need {
            rule: Rule::BitmapSet,
            scope: failover::one_cut_readers,
            property: DIFFERENCE_KNOWN,
            story: "The same, before the peer is back.",
        },
        Need {
            rule: Rule::LeaverSettles,
            scope: failover::leave,
            property: NOTHING_DROPPED,
            story: "A node says that it leaves while it has a write in flight, and its peer goes on without it.",
        },
        Need {
            rule: Rule::BitmapKept,
            scope: failover::two_power_losses,
            property: LINEARIZABLE,
            story: "The sole member loses power, and with it the list of what its peer has missed.",
        },
        Need {
            rule: Rule::ReturningGivesUp,
            scope: failover::one_cut_readers,
            property: LINEARIZABLE,
            story: "A node comes back with a write that was never acknowledged, and answers reads with it.",
        },
        Need {
            rule: Rule::ReturningWaitsForSync,
            scope: failover::resync,
            property: LINEARIZABLE,
            story: "A node comes back and answers a read with what it has.",
        },
        Need {
            rule: Rule::MemberWhenInSync,
            scope: failover::resync_and_cut,
            property: LINEARIZABLE,
            story: "A node that is not in sync is made a member, the link breaks, and when the nodes meet again nobody knows that it lacked anything.",
        },
        Need {
            rule: Rule::CopyWaitsForWrites,
            scope: failover::resync,
            property: LINEARIZABLE,
            story: "A sector is copied while a write made alone is on its way to the disk: the peer gets what was there before, and never the write.",
        },
        Need {
            rule: Rule::CopyYields,
            scope: failover::resync,
            property: LINEARIZABLE,
            story: "A copy lands on top of a write that the target is about to finish.",
        },
    ],
    spares: &[],
    eithers: &[],
    limits: &[],
};

/// Frames that are sent again, linger, and come by the other node.
pub const DUPLICATES: Subject<Scope> = Subject {
    name: "duplicates",
    holds: &[
        duplicates::stock,
        duplicates::stock_alone,
        duplicates::stock_behind,
        duplicates::stock_doubled,
        duplicates::stock_flooded,
        duplicates::stock_and_cut,
        duplicates::stock_and_power_loss,
        duplicates::stock_returning_and_power_loss,
        duplicates::sequenced,
        duplicates::sequenced_and_cut,
        duplicates::sequenced_and_power_loss,
        duplicates::numbers_remembered,
        duplicates::numbers_remembered_alone,
    ],
    needs: &[
        Need {
            rule: Rule::InFlightAtBoth,
            scope: duplicates::stock,
            property: DURABLE,
            story: "A write is slow, its initiator turns to the other node, and that one executes it again after it has acknowledged it.",
        },
        Need {
            rule: Rule::JudgedInTurn,
            scope: duplicates::stock_behind,
            property: DURABLE,
            story: "A write is slow, and its second frame waits at the other node for a third write. When its turn comes, the first one has been executed, answered and overwritten.",
        },
        Need {
            rule: Rule::FinishedRemembered,
            scope: duplicates::stock,
            property: DURABLE,
            story: "A second frame is taken when its write is answered and another one has followed.",
        },
        Need {
            rule: Rule::FinishedAtBoth,
            scope: duplicates::stock,
            property: DURABLE,
            story: "The second frame goes to the other node, which only followed and remembers nothing.",
        },
        Need {
            rule: Rule::AnswersInTime,
            scope: duplicates::stock,
            property: DURABLE,
            story: "The answer takes as long as the window, so that a second frame is sent late, and lingers until the write is forgotten.",
        },
        Need {
            rule: Rule::OldFramesDropped,
            scope: duplicates::stock,
            property: DURABLE,
            story: "A second frame lingers in the queue until its write is forgotten.",
        },
        Need {
            rule: Rule::MemoryShared,
            scope: duplicates::stock_and_cut,
            property: DURABLE,
            story: "The sole member executes a write; the second frame goes to the node that has just come back.",
        },
        Need {
            rule: Rule::ForgetfulWaits,
            scope: duplicates::stock_and_power_loss,
            property: DURABLE,
            story: "A node loses power and is back, alone, sooner than the second frame of a write that it does not remember.",
        },
        Need {
            rule: Rule::DoubtfulDropped,
            scope: duplicates::stock_returning_and_power_loss,
            property: DURABLE,
            story: "The coordinator makes its peer a member, which has not heard of that, and loses power: its copy counts, and whether a write that the peer followed is on it nobody knows.",
        },
        Need {
            rule: Rule::StartedIsExecuted,
            scope: duplicates::sequenced_and_cut,
            property: DURABLE,
            story: "A follower applied a write, goes on alone with it, and executes it again after another one.",
        },
        Need {
            rule: Rule::SoleSettlesFirst,
            scope: duplicates::sequenced_and_cut,
            property: DURABLE,
            story: "The sole member has a write in flight when its peer returns; the peer executes it as well.",
        },
        Need {
            rule: Rule::Identity,
            scope: duplicates::sequenced,
            property: DURABLE,
            story: "Without a name, a frame that comes late by the other node is a new write.",
        },
        Need {
            rule: Rule::IdentityReplicated,
            scope: duplicates::sequenced,
            property: DURABLE,
            story: "Only the coordinator knows the name, and the frame comes by the other node.",
        },
        Need {
            rule: Rule::IdentityKept,
            scope: duplicates::sequenced_and_power_loss,
            property: DURABLE,
            story: "A node loses power and the names with it, goes on alone with the data, and executes a write again.",
        },
        Need {
            rule: Rule::NumbersShared,
            scope: duplicates::numbers_remembered,
            property: DURABLE,
            story: "A node is back with power, has met the one that executed a write meanwhile, and is not told of it.",
        },
        Need {
            rule: Rule::RememberingCopyWins,
            scope: duplicates::numbers_remembered,
            property: DURABLE,
            story: "The coordinator answers and loses power, and its copy is taken: it does not know that the write is on it, and the one that knows is not asked.",
        },
    ],
    spares: &[
        Spare {
            rule: Rule::InFlightOnce,
            scope: duplicates::stock,
            story: "R1 makes the second execution wait for the first, and then D2 answers it. D1 at its own node only saves work.",
        },
        Spare {
            rule: Rule::ReceiveOrder,
            scope: duplicates::stock,
            story: "Writes whose order matters are not sent together, and a frame that was overtaken is caught by D2 or D3.",
        },
        Spare {
            rule: Rule::QueueDroppedAfterFreeze,
            scope: duplicates::stock_and_cut,
            story: "What is queued at a frozen node and was executed by the other is known when they meet, or too old. D5 is a second net.",
        },
    ],
    eithers: &[
        Either {
            rules: [Rule::InFlightOnce, Rule::WaitForLocal],
            scope: duplicates::stock_alone,
            property: ORDERED,
            story: "Both frames of one write are given to the disk at once. D1 drops the second; otherwise R1 has it wait.",
        },
        Either {
            rules: [Rule::InFlightOnce, Rule::JudgedInTurn],
            scope: duplicates::stock,
            property: DURABLE,
            story: "A second frame comes while the write is in flight, waits its turn, and is executed when the write has been answered. D1 drops it when it comes; otherwise D2 answers it when its turn comes, if it looks then.",
        },
        Either {
            rules: [Rule::ReceiveOrder, Rule::FinishedRemembered],
            scope: duplicates::stock_doubled,
            property: DURABLE,
            story: "The network doubles a frame, and a later write is taken before the second one. In order it is taken before anything that was sent after the answer; otherwise D2 knows it.",
        },
        Either {
            rules: [Rule::QueueDroppedAfterFreeze, Rule::MemoryShared],
            scope: duplicates::stock_flooded,
            property: DURABLE,
            story: "A frame is queued at a frozen node as well as executed by the one that stands in for it, and taken when the node is back. D5 drops it; otherwise the node has been told of it.",
        },
    ],
    limits: &[
        Limit {
            scope: duplicates::stock_read,
            property: DURABLE,
            story: "The answer to a write is lost; the write is read, overwritten by somebody else, and sent again when it is forgotten.",
        },
        Limit {
            scope: duplicates::numbers_forgotten,
            property: DURABLE,
            story: "The answer to a write is lost, and both nodes lose power: nobody knows that it was executed. It is read, overwritten by somebody else, and sent again.",
        },
        Limit {
            scope: duplicates::numbers_forgotten_alone,
            property: DURABLE,
            story: "The sole member executes a write, whose answer is lost, and loses power before the other node is back. It was read and overwritten by somebody else, and is sent again.",
        },
        Limit {
            scope: duplicates::numbers_forgotten_by_one,
            property: DURABLE,
            story: "A node loses power and is granted to go on alone before it has met the other one, which may know the write. It is read, overwritten by somebody else, and sent again.",
        },
    ],
};

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
