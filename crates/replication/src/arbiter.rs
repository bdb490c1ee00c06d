//! Asking the arbiter, and what its answers mean: yes, no, nothing, and what was granted though nobody waits for it any more.
//!
//! Decides which question is open and what an answer changes in the membership. It never decides that a node is to serve
//! alone: `standing` asks, and goes on when the membership has changed.

use block::ExportId;

use crate::engine::Engine;
use crate::input::ArbiterAnswer;
use crate::limits::{ARBITER_PATIENCE, ARBITER_RETRY, QUESTION_LIFE};
use crate::membership::{Epoch, Members, Membership};
use crate::message::VolumeMessage;
use crate::mutation::Mutation;
use crate::output::{Event, Output, Wish};
use crate::volume::{Phase, Question};

impl Engine {
    /// Asks the arbiter, unless it is being asked or was a moment ago.
    pub(crate) fn ask(&mut self, export: ExportId, expected: Membership, next: Membership, wish: Wish) {
        let now = self.now;
        let number = self.questions + 1;
        let volume = self.volume_mut(export);
        if volume.question.is_some_and(|question| now < question.given_up_at) {
            let at = volume.question.map_or(now, |question| question.given_up_at);
            return self.wake_at(at);
        }
        self.abandon_question(export);
        let volume = self.volume_mut(export);
        if now < volume.ask_at {
            let at = volume.ask_at;
            return self.wake_at(at);
        }
        volume.question = Some(Question { number, expected, next, given_up_at: now.after(ARBITER_PATIENCE) });
        self.questions = number;
        self.push(Output::Ask { volume: export, question: number, expected, next, wish });
    }

    /// What the arbiter says to the question asked before is not heeded as an answer any more. It may be carried out all the
    /// same, and would then shut the peer out for nothing.
    pub(crate) fn abandon_question(&mut self, export: ExportId) {
        let until = self.now.after(QUESTION_LIFE);
        let sole = Members::Only(self.config.node);
        let volume = self.volume_mut(export);
        if volume.question.take().is_some_and(|question| question.next.members == sole) {
            volume.stray_until = Some(until);
        }
    }

    /// Both nodes are members and whole: asks now and then whether the arbiter agrees, as long as it may change its mind.
    pub(crate) fn look_for_stray(&mut self, export: ExportId) {
        let now = self.now;
        let volume = self.volume_mut(export);
        let membership = volume.membership();
        if !volume.is_whole() {
            return;
        }
        // Its own time, so that a peer that is lost now is not asked about any later for it.
        if now < volume.look_at {
            let at = volume.look_at;
            return self.wake_at(at);
        }
        self.ask(export, membership, membership, Wish::OfBoth);
        let next = now.after(ARBITER_PATIENCE);
        self.wake_at(next);
    }

    pub(crate) fn handle_arbiter(&mut self, export: ExportId, number: u64, answer: ArbiterAnswer) {
        let retry_at = self.now.after(ARBITER_RETRY);
        let volume = self.volume_mut(export);
        let Some(question) = volume.question.filter(|question| question.number == number) else {
            // What was asked may have been done all the same: the arbiter is asked again when it matters.
            return;
        };
        match answer {
            ArbiterAnswer::Swapped => self.agreed(export, question),
            // The answer to an earlier question of the same kind was lost: nobody else writes this.
            ArbiterAnswer::Holds(held) if held == question.next => self.agreed(export, question),
            ArbiterAnswer::Holds(held) if held.epoch <= Epoch::LAST => self.overruled(export, question, held),
            // A register that is damaged says nothing.
            ArbiterAnswer::Holds(_) | ArbiterAnswer::Unreachable => {
                volume.ask_at = retry_at;
                self.abandon_question(export);
                self.wake_at(retry_at);
            }
        }
        self.attend(export);
    }

    /// The arbiter holds something else than was expected.
    fn overruled(&mut self, export: ExportId, question: Question, held: Membership) {
        let node = self.config.node;
        let retry_at = self.now.after(ARBITER_RETRY);
        let volume = self.volume_mut(export);
        volume.question = None;
        volume.held = volume.held.max(held.epoch);
        // Of one epoch there are two only if an operator has forced this node while the arbiter was away.
        let is_beside_forced =
            held.epoch == question.expected.epoch && question.expected.members == Members::Only(node);
        let own_promotion =
            Membership { epoch: Epoch(question.expected.epoch.0.saturating_add(1)), members: Members::Both };
        let is_own_promotion = question.expected.members == Members::Only(node) && held == own_promotion;
        let is_own_grant = held.members == Members::Only(node) && held.epoch > question.expected.epoch;
        if is_own_promotion || is_own_grant {
            // Only this node can have put that there: it lost power, or its peer, before it heard or noted the answer. Of a
            // promotion the peer was not told either, since that is done only when it is noted.
            volume.disk.superblock.membership = held;
            volume.disk.superblock.clean = false;
            volume.confirmed = is_own_grant;
            if is_own_grant && volume.phase == Phase::Paired {
                // The peer has missed nothing: it is told, and made a member again.
                volume.stray_until = None;
                volume.meeting.is_source = true;
                volume.meeting.target_is_ready = true;
                volume.meeting.owes_member = Some(held);
            }
        } else if held.members == Members::Both && held.epoch > question.expected.epoch && volume.is_whole() {
            // Whoever healed the register has lost power before it noted that, or is about to note it. That may be the peer,
            // which could still serve alone in the epoch before: so it is the first to know.
            volume.look_at = retry_at;
            self.wake_at(retry_at);
            self.say(export, VolumeMessage::Member(held), None);
        } else if (held.epoch > question.expected.epoch || is_beside_forced) && volume.phase == Phase::Frozen
        {
            volume.shut_out = true;
            self.event(export, Event::ShutOut(held));
        } else {
            let is_look = question.next == question.expected && volume.phase == Phase::Paired;
            *(if is_look { &mut volume.look_at } else { &mut volume.ask_at }) = retry_at;
            self.wake_at(retry_at);
        }
    }

    fn agreed(&mut self, export: ExportId, question: Question) {
        let node = self.config.node;
        let is_taken_for_told = self.mutated(Mutation::MemberTakenForTold);
        let volume = self.volume_mut(export);
        volume.question = None;
        if volume.membership() != question.expected {
            return;
        }
        if question.next == question.expected && volume.phase == Phase::Paired {
            return self.agrees_still(export);
        }
        volume.disk.superblock.membership = question.next;
        volume.disk.superblock.clean = false;
        if question.next != question.expected {
            // Nothing that was asked before fits what the register holds now.
            volume.stray_until = None;
        }
        match question.next.members {
            Members::Only(member) => volume.confirmed = member == node,
            Members::Both => {
                volume.meeting.owes_member = Some(question.next);
                volume.meeting.awaits_member_known = !is_taken_for_told;
            }
        }
    }

    /// The arbiter holds what both nodes believe. It is asked again until nothing that was given up can change that.
    fn agrees_still(&mut self, export: ExportId) {
        let (now, again_at) = (self.now, self.now.after(ARBITER_PATIENCE));
        let volume = self.volume_mut(export);
        if volume.stray_until.is_some_and(|until| now >= until) {
            volume.stray_until = None;
        } else {
            volume.look_at = again_at;
            self.wake_at(again_at);
        }
    }
}
