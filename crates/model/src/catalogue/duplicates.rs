//! What is claimed of one subject: frames that are sent again, linger, and come by the other node.

use super::{Either, Limit, Need, Spare, Subject};
use crate::property::{DURABLE, ORDERED};
use crate::rules::Rule;
use crate::scope::{Scope, duplicates};

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
