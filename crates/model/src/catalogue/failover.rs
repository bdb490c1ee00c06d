//! What is claimed of one subject: losing the peer and finding it again.

use super::{Need, Subject};
use crate::property::{DIFFERENCE_KNOWN, LINEARIZABLE, NOTHING_DROPPED, ONE_HISTORY};
use crate::rules::Rule;
use crate::scope::{Scope, failover};

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
