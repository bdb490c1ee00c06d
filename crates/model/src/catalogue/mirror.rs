//! What is claimed of one subject: rules R1 to R5: both nodes up, the link whole, and a power loss of both considered at every point.

use super::{Need, Subject};
use crate::property::{CONVERGED, DURABLE, LINEARIZABLE, ORDERED};
use crate::rules::Rule;
use crate::scope::{Scope, mirror};

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
