//! Whose copy counts when two nodes meet: it follows from what both have offered, so both find the same. Nothing is asked and
//! nothing is changed here.

use crate::membership::{Epoch, Members, Membership, NodeNumber};
use crate::message::{CopyState, Offer};

/// What two offers make of the node that holds one of them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Role {
    /// Its copy counts. Where the bitmaps cannot tell what the other missed, everything is in doubt.
    Source {
        /// Whether everything is.
        everything: bool,
    },
    /// The peer's copy counts.
    Target,
    /// It serves alone in an epoch that is over, because an operator has forced the peer: it stops, and offers again.
    Yield {
        /// What the peer serves in.
        to: Membership,
    },
    /// The peer is about to do that.
    Wait,
    /// The peer has no disk: this node serves alone, and for it, as if the peer had left.
    Serve,
    /// This node has no disk: it leaves everything to the peer once that serves alone.
    Pass,
    /// No copy can be trusted to be the newer one.
    Neither,
}

/// Who is what, by what both have offered.
pub(crate) fn decide(node: NodeNumber, server: Option<NodeNumber>, own: Offer, peer: Offer) -> Role {
    match (own.copy, peer.copy) {
        (CopyState::Diskless, CopyState::Diskless) => return Role::Neither,
        (CopyState::Diskless, _) => return Role::Pass,
        (_, CopyState::Diskless) => return Role::Serve,
        _ => {}
    }
    let is_older = rank(own.membership) < rank(peer.membership);
    if own.alone && peer.alone {
        return if is_older { Role::Yield { to: peer.membership } } else { Role::Wait };
    }
    let is_peer_older = rank(peer.membership) < rank(own.membership);
    if own.alone && !peer.alone && is_older || peer.alone && !own.alone && is_peer_older {
        // The newer one was forced, and has ended before it served: nobody's history is given up before it goes on.
        return Role::Neither;
    }
    // Inconsistent against good: only while both are members does the membership not say the same.
    let (newer, older) = if is_older { (peer, own) } else { (own, peer) };
    let source = match newer.membership.members {
        Members::Only(member) => member,
        Members::Both if own.membership.epoch != peer.membership.epoch => {
            if newer == own {
                node
            } else {
                node.other()
            }
        }
        Members::Both => match (own.copy, peer.copy, server) {
            (CopyState::Inconsistent, CopyState::Inconsistent, _) => return Role::Neither,
            (CopyState::Inconsistent, _, _) => node.other(),
            (_, CopyState::Inconsistent, _) => node,
            // What was answered ahead only one node has.
            (_, _, Some(server)) => server,
            // What was only in the memory of both is still in that of one, or on its disk. An older node does not say.
            _ if own.lost_memory != peer.lost_memory && peer.mode.is_some() => {
                if own.lost_memory {
                    node.other()
                } else {
                    node
                }
            }
            _ if own.forgetful != peer.forgetful => {
                if own.forgetful {
                    node.other()
                } else {
                    node
                }
            }
            _ => NodeNumber::Zero,
        },
    };
    let (of_source, is_newer) = if source == node { (own, newer == own) } else { (peer, newer == peer) };
    if of_source.copy != CopyState::Good || !is_newer && own.membership != peer.membership {
        return Role::Neither;
    }
    let everything = !is_covered(source, newer.membership, older.membership);
    if source == node { Role::Source { everything } } else { Role::Target }
}

/// Which of two memberships is the newer one. Two of one epoch there are only if an operator has forced a node while the arbiter let
/// the other one serve, or made both members: of sole members node 0's history stands then, on both nodes, and of a sole one and
/// both that of the sole one.
pub(crate) fn rank(membership: Membership) -> (Epoch, u8) {
    let among_equals = match membership.members {
        Members::Both => 0,
        Members::Only(NodeNumber::One) => 1,
        Members::Only(NodeNumber::Zero) => 2,
    };
    (membership.epoch, among_equals)
}

/// Whether the bitmaps cover what the older one missed: it was a member when the newer one began to serve alone, has come
/// back to that one since, or only has not been told that it is a member again.
pub(crate) fn is_covered(source: NodeNumber, newer: Membership, older: Membership) -> bool {
    let before = newer.epoch.0.checked_sub(1).map(Epoch);
    let was_next = Some(older.epoch) == before;
    match (newer.members, older.members) {
        _ if newer == older => true,
        (Members::Only(_), Members::Both) => was_next,
        (Members::Both, Members::Only(member)) => was_next && member == source,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alone(member: NodeNumber, alone: bool) -> Offer {
        Offer {
            membership: Membership { epoch: Epoch(7), members: Members::Only(member) },
            copy: CopyState::Good,
            alone,
            forgetful: false,
            lost_memory: false,
            mode: None,
            small_state_revision: 0,
        }
    }

    #[test]
    fn who_serves_alone_does_not_give_way_to_one_that_was_forced_and_does_not_serve() {
        let (zero, one) = (NodeNumber::Zero, NodeNumber::One);
        let offers = [alone(zero, false), alone(one, true)];
        let roles = [decide(zero, None, offers[0], offers[1]), decide(one, None, offers[1], offers[0])];
        assert_eq!(roles, [Role::Neither; 2]);
        let offers = [alone(zero, true), alone(one, false)];
        assert_eq!(decide(one, None, offers[1], offers[0]), Role::Target);
    }

    #[test]
    fn a_node_that_was_forced_before_it_heard_that_both_are_members_keeps_its_history() {
        let (zero, one) = (NodeNumber::Zero, NodeNumber::One);
        let mut promoted = alone(zero, false);
        promoted.membership.members = Members::Both;
        for forced in [zero, one] {
            let offers = [alone(forced, true), promoted];
            let roles = [
                decide(forced, None, offers[0], offers[1]),
                decide(forced.other(), None, offers[1], offers[0]),
            ];
            assert_eq!(roles, [Role::Source { everything: true }, Role::Target]);
        }
    }

    #[test]
    fn of_two_sole_members_of_one_epoch_exactly_one_gives_way() {
        let (zero, one) = (NodeNumber::Zero, NodeNumber::One);
        for both_alone in [true, false] {
            let offers = [alone(zero, both_alone), alone(one, both_alone)];
            let roles = [decide(zero, None, offers[0], offers[1]), decide(one, None, offers[1], offers[0])];
            let expected = if both_alone {
                [Role::Wait, Role::Yield { to: offers[0].membership }]
            } else {
                [Role::Source { everything: true }, Role::Target]
            };
            assert_eq!(roles, expected);
        }
        let after_yielding = [alone(zero, true), alone(one, false)];
        assert_eq!(
            decide(zero, None, after_yielding[0], after_yielding[1]),
            Role::Source { everything: true }
        );
    }
}
