//! What is claimed of one subject: leases by the clock.

use super::{Need, Spare, Subject};
use crate::lease::{HOLDER_STOPS_FIRST, LeaseScope, two_clocks};
use crate::rules::Rule;

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
