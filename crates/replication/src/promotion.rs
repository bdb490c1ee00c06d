//! A node that lacks nothing any more becomes a member: the source asks the arbiter, notes what it says, and tells the target;
//! the target notes it and says so. Whoever was told too early or too late is not believed.

use std::cmp::Ordering;

use block::ExportId;

use crate::engine::Engine;
use crate::membership::{Cause, Members, Membership};
use crate::message::{Refusal, VolumeMessage};
use crate::mutation::Mutation;
use crate::output::{Event, Wish};
use crate::role::{is_covered, rank};
use crate::volume::Phase;

impl Engine {
    /// As the source, with nothing lacking at the target any more: makes it a member.
    pub(crate) fn promote(&mut self, export: ExportId) {
        let peer = self.config.node.other();
        let is_taken_for_told = self.mutated(Mutation::MemberTakenForTold);
        let volume = self.volume_mut(export);
        let membership = volume.membership();
        match membership.members {
            Members::Both => {
                if std::mem::take(&mut volume.meeting.owes_in_sync) {
                    volume.meeting.owes_member = Some(membership);
                    volume.meeting.awaits_member_known = !is_taken_for_told;
                    self.keep_word(export);
                }
            }
            // Until that is durable the arbiter is asked for nothing that builds on it.
            Members::Only(_) if !volume.is_superblock_durable() => {}
            Members::Only(_) => {
                if let Ok(next) = membership.succeed(Cause::InSync(peer)) {
                    self.ask(export, membership, next, Wish::OfBoth);
                }
            }
        }
    }

    /// The peer has made a membership durable and lets this node know.
    pub(crate) fn handle_member(&mut self, export: ExportId, membership: Membership) {
        let peer = self.config.node.other();
        let is_said_once = self.mutated(Mutation::LeaveNotRepeated);
        let offers_at_once = self.mutated(Mutation::OffersBeforeLeaveIsKnown);
        let volume = self.volume_mut(export);
        let in_sync = membership.members == Members::Both;
        if volume.phase == Phase::Alone && !in_sync {
            return self.hear_of_another(export, membership);
        }
        if membership.epoch < volume.membership().epoch {
            return;
        }
        // What was asked for to repair it the peer may not have heard of yet. And a node that is leaving was a member first.
        let lacks = volume.lacks.out_of_sync() > 0 && !volume.meeting.has_asked_for_repair;
        if in_sync && !matches!(volume.phase, Phase::Paired | Phase::Left) {
            // Said before the peer heard that this node's disk has failed.
            return;
        }
        if in_sync && lacks {
            return self.refuse(Refusal::Protocol("a member that lacks blocks"));
        }
        if volume.phase == Phase::Frozen && volume.meeting.has_left && !in_sync && !is_said_once {
            // The leave may have come while the peer was to go on because of an earlier one. Once more: what says it is known.
            self.say(export, VolumeMessage::Leave, None);
        }
        let volume = self.volume_mut(export);
        let has_missed_more = volume.phase == Phase::Frozen
            && volume.has_disk
            && !is_covered(peer, membership, volume.membership());
        if has_missed_more {
            // What it has is known by the membership it was in, until the nodes have met.
            return;
        }
        volume.disk.superblock.membership = membership;
        volume.meeting.known_to_peer = Some(membership);
        if volume.phase == Phase::Paired {
            (volume.meeting.is_source, volume.meeting.awaits_member_known) = (false, false);
        }
        if in_sync {
            volume.disk.superblock.inconsistent = false;
            volume.meeting.owes_member_known = Some(membership);
            self.event(export, Event::InSync(membership));
        } else if volume.phase == Phase::Left {
            self.freeze(export);
            let meeting = &mut self.volume_mut(export).meeting;
            meeting.begin_anew();
            // The peer may not have gone on yet: it does not expect an offer, also of a node that is to come back already.
            if !offers_at_once {
                meeting.has_left = true;
                self.say(export, VolumeMessage::Leave, None);
            }
        } else if volume.phase == Phase::Frozen && !volume.has_disk {
            // The peer serves alone now, and for this node, once both have offered again.
            volume.meeting.begin_anew();
        }
        self.attend(export);
    }

    /// The peer serves alone, and so does this node: an operator has forced one of them. The older one offers to meet.
    fn hear_of_another(&mut self, export: ExportId, membership: Membership) {
        let own = self.volume(export).membership();
        match rank(membership).cmp(&rank(own)) {
            _ if self.mutated(Mutation::AnotherIgnored) => {}
            Ordering::Less => self.tell_of_serving_alone(export),
            Ordering::Equal => {}
            Ordering::Greater => {
                self.yield_to_forced(export, membership);
                // By what was offered before, the nodes would meet as they were.
                self.volume_mut(export).meeting.begin_anew();
            }
        }
    }

    /// A node that serves alone says so to whoever may do so, too: neither would wait for the other to offer.
    pub(crate) fn tell_of_serving_alone(&mut self, export: ExportId) {
        let volume = self.volume(export);
        let is_here = self.session.is_up() && volume.meeting.peer_export.is_some();
        if is_here && volume.phase == Phase::Alone && !volume.leaving {
            let membership = volume.membership();
            self.say(export, VolumeMessage::Member(membership), None);
        }
    }

    /// Or, from a node that was told of a leave: it knows, and what it said before does not count.
    pub(crate) fn handle_member_known(&mut self, export: ExportId, membership: Membership) {
        let node = self.config.node;
        let volume = self.volume_mut(export);
        if volume.meeting.has_left {
            volume.meeting.leave_is_known = true;
            volume.meeting.offer = None;
            volume.meeting.told = None;
            return self.attend(export);
        }
        let is_newer = membership.members == Members::Both && membership.epoch > volume.membership().epoch;
        if is_newer
            && volume.membership().members == Members::Only(node.other())
            && volume.lacks.out_of_sync() == 0
        {
            // The peer healed the register, and heard from this node what the arbiter holds before it could say so itself.
            return self.handle_member(export, membership);
        }
        if is_newer && volume.is_whole() {
            // The arbiter has said it to this node, which has told the peer before it believed it.
            volume.disk.superblock.membership = membership;
        }
        volume.meeting.known_to_peer = Some(membership);
        if membership == volume.membership() && volume.phase == Phase::Paired {
            volume.meeting.awaits_member_known = false;
            self.event(export, Event::InSync(membership));
            self.attend(export);
        }
    }
}
