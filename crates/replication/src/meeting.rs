//! Two nodes meet again: which copy counts where, and from which moment on both take writes.
//!
//! ```text
//!   source                                             target
//!     │ ◀── OutOfSync, Offer ────────────────────────▶ │  each when its disk has had everything
//!     │  joins the runs, waits until they are durable  │
//!     │ ─── OutOfSync, Doubtful, Numbers, Proceed ───▶ │  both are paired from here on in the stream
//!     │                                                │  what it lacks is durably noted
//!     │ ◀─────────────────────────── Numbers, Ready ── │
//!     │ ─── copies ... Member ───────────────────────▶ │  when nothing is lacking and the arbiter agrees
//! ```
//!
//! Who is the source follows from the two offers alone, so both find the same. Nothing here touches a write or a read.

use block::{ExportId, Instant, Lba, LbaRange, SectorCount};

use crate::engine::Engine;
use crate::limits::{COPY_SECTORS, MEMORY_WINDOW, PEER_QUIET, RUNS_PER_MESSAGE};
use crate::membership::{Cause, Epoch, Members, Membership, NodeNumber};
use crate::message::{BlockRun, CopyState, Offer, Refusal, VolumeMessage};
use crate::meta::layout::SECTORS_PER_BIT;
use crate::mutation::Mutation;
use crate::output::Event;
use crate::volume::{Phase, Volume};

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
    Yield,
    /// The peer is about to do that.
    Wait,
    /// The peer has no disk: this node serves alone, and for it, as if the peer had left.
    Serve,
    /// This node has no disk: its requests go to the peer once that serves alone.
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
    let is_older = rank(own) < rank(peer);
    if own.alone && peer.alone {
        return if is_older { Role::Yield } else { Role::Wait };
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
            // What was only in the memory of both is still in that of one.
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
    if source == node { Role::Source { everything: !is_covered(source, newer, older) } } else { Role::Target }
}

/// Which of two offers is the newer one. Two sole members of one epoch there are only if an operator has forced one of them while
/// the arbiter let the other one serve: node 0's history stands then, on both nodes.
fn rank(offer: Offer) -> (Epoch, bool) {
    (offer.membership.epoch, offer.membership.members == Members::Only(NodeNumber::Zero))
}

/// Whether the bitmaps cover what the older one missed: it was a member when the newer one began to serve alone, has come
/// back to that one since, or only has not been told that it is a member again.
fn is_covered(source: NodeNumber, newer: Offer, older: Offer) -> bool {
    let before = newer.membership.epoch.0.checked_sub(1).map(Epoch);
    let was_next = Some(older.membership.epoch) == before;
    match (newer.membership.members, older.membership.members) {
        _ if newer.membership == older.membership => true,
        (Members::Only(_), Members::Both) => was_next,
        (Members::Both, Members::Only(member)) => was_next && member == source,
        _ => false,
    }
}

impl Engine {
    /// Advances the meeting with the peer as far as it goes.
    pub(crate) fn advance_meeting(&mut self, export: ExportId) {
        let volume = self.volume(export);
        if !self.session.is_up() || volume.meeting.peer_export.is_none() || volume.removing {
            return;
        }
        self.offer(export);
        let volume = self.volume(export);
        if matches!(volume.phase, Phase::Frozen | Phase::Alone) && !volume.leaving {
            match self.role(export) {
                Some(Role::Source { everything }) => self.proceed(export, everything),
                Some(Role::Yield) => self.yield_to_forced(export),
                Some(Role::Pass) if self.is_peer_alone(export) => self.pass(export),
                _ => {}
            }
        }
        self.keep_word(export);
    }

    /// What this node is, when both have offered.
    fn role(&self, export: ExportId) -> Option<Role> {
        let meeting = &self.volume(export).meeting;
        let (peer, _) = meeting.offer.as_ref()?;
        Some(decide(self.config.node, self.volume(export).server(), meeting.offered?, *peer))
    }

    fn is_peer_alone(&self, export: ExportId) -> bool {
        self.volume(export).meeting.offer.as_ref().is_some_and(|(peer, _)| peer.alone)
    }

    fn own_offer(&self, export: ExportId) -> Offer {
        let volume = self.volume(export);
        Offer {
            membership: volume.membership(),
            copy: volume.copy_state(),
            alone: volume.phase == Phase::Alone,
            forgetful: volume.forgetful,
            small_state_revision: volume.disk.small_state_durable,
        }
    }

    /// Offers to meet, once a session: a frozen volume when its disk has had everything, one that serves alone in answer to
    /// the peer's offer.
    fn offer(&mut self, export: ExportId) {
        let volume = self.volume(export);
        let ready = match volume.phase {
            Phase::Frozen => {
                let is_drained = volume.at_disk == 0 && volume.unflushed.is_empty();
                // A peer that has left is not waited for; whoever had left itself comes back.
                let is_wanted = !volume.meeting.peer_left || volume.meeting.has_left;
                (is_drained || self.mutated(Mutation::DrainNotAwaited)) && is_wanted
            }
            // The only one there is does not leave: it serves nothing, and lets its peer wait.
            Phase::Alone => volume.meeting.offer.is_some() && !volume.leaving,
            Phase::Paired | Phase::Left | Phase::Passing => false,
        };
        let is_gone = volume.meeting.has_left && (volume.leaving || !volume.meeting.leave_is_known);
        let is_said = volume.meeting.offered.is_some() || is_gone;
        if !ready || is_said {
            return;
        }
        // What the arbiter says from now on comes too late: what was offered holds until the session ends.
        if !self.mutated(Mutation::AbandonedGrantHeeded) {
            self.abandon_question(export);
        }
        if self.volume(export).leaving {
            self.volume_mut(export).meeting.has_left = true;
            return self.say(export, VolumeMessage::Leave, None);
        }
        let offer = self.own_offer(export);
        let meeting = &mut self.volume_mut(export).meeting;
        (meeting.has_left, meeting.leave_is_known) = (false, false);
        meeting.offered = Some(offer);
        if self.volume(export).phase == Phase::Frozen {
            self.say_runs(export);
        }
        self.say(export, VolumeMessage::Offer(offer), None);
    }

    /// Tells the peer every out-of-sync block that the bitmap knows.
    fn say_runs(&mut self, export: ExportId) {
        let mut runs = Vec::new();
        let mut all = Vec::new();
        self.volume(export).disk.bitmap.for_each_run(|run| all.push(run));
        for run in all {
            runs.push(run);
            if runs.len() == RUNS_PER_MESSAGE {
                self.say(export, VolumeMessage::OutOfSync(std::mem::take(&mut runs)), None);
            }
        }
        if !runs.is_empty() {
            self.say(export, VolumeMessage::OutOfSync(runs), None);
        }
    }

    pub(crate) fn handle_offer(&mut self, export: ExportId, offer: Offer) {
        let volume = self.volume_mut(export);
        if volume.phase == Phase::Paired && !volume.meeting.peer_left {
            return self.refuse(Refusal::Protocol("an offer from a node that is met already"));
        }
        let runs = std::mem::take(&mut volume.meeting.runs);
        volume.meeting.offer = Some((offer, runs));
        // Without a disk it is as good as gone.
        volume.meeting.peer_left = offer.copy == CopyState::Diskless;
        volume.meeting.joined = false;
        self.attend(export);
    }

    /// Before an offer or `Proceed` a part of it; on its own: blocks that the target lacks from now on.
    pub(crate) fn handle_out_of_sync(&mut self, export: ExportId, runs: &[BlockRun]) {
        let bits = self.volume(export).layout().bits();
        if runs.iter().any(|run| run.start.checked_add(run.count).is_none_or(|end| end > bits)) {
            return self.refuse(Refusal::Protocol("out-of-sync blocks beyond the volume"));
        }
        let volume = self.volume_mut(export);
        match volume.phase {
            Phase::Paired => runs.iter().for_each(|run| {
                for_each_range(volume.layout().volume_sectors(), *run, |range| {
                    volume.lacks.set(range);
                })
            }),
            _ => volume.meeting.runs.extend_from_slice(runs),
        }
    }

    /// As the source: joins what differs, waits until that is durable and nothing begun alone is in flight, and goes on
    /// together with the peer.
    fn proceed(&mut self, export: ExportId, everything: bool) {
        let everything = everything && !self.mutated(Mutation::EverythingRuleDropped);
        let joins = !self.mutated(Mutation::DoubtsNotJoined);
        let volume = self.volume_mut(export);
        volume.meeting.settling = true;
        if !volume.meeting.joined {
            volume.meeting.joined = true;
            let sectors = volume.layout().volume_sectors();
            let runs =
                volume.meeting.offer.as_mut().map(|(_, runs)| std::mem::take(runs)).unwrap_or_default();
            for run in runs.into_iter().filter(|_| joins) {
                for_each_range(sectors, run, |range| {
                    volume.disk.bitmap.set(range);
                });
            }
            if everything {
                volume.disk.bitmap.set_all();
            }
            self.write_records(export);
        }
        let volume = self.volume(export);
        let is_settled = volume.locals == 0 || self.mutated(Mutation::UnsettledProceeds);
        let is_noted = volume.is_bitmap_durable() || self.mutated(Mutation::JoinNotDurable);
        if !is_settled || !is_noted || !volume.is_superblock_durable() {
            return;
        }
        if !self.mutated(Mutation::RunsNotTold) {
            self.say_runs(export);
        }
        let volume = self.volume(export);
        let membership = volume.membership();
        let was_alone = volume.phase == Phase::Alone;
        let out_of_sync = volume.disk.bitmap.out_of_sync();
        self.say_doubtful(export);
        self.tell_numbers(export);
        self.say(export, VolumeMessage::Proceed(membership), None);
        self.pair(export);
        if !was_alone {
            self.resolve_as_source(export);
        }
        let peer_quiet_until = self.now.after(PEER_QUIET);
        let volume = self.volume_mut(export);
        if membership.members != Members::Both {
            volume.peer_quiet_until = peer_quiet_until;
        }
        volume.meeting.is_source = true;
        let peer_is_whole = volume.meeting.offer.as_ref().is_some_and(|(peer, _)| {
            peer.copy == CopyState::Good && peer.membership == membership && out_of_sync == 0
        });
        volume.meeting.owes_in_sync = !peer_is_whole;
        volume.meeting.serve_when_ready = !peer_is_whole && !was_alone;
        volume.disk.superblock.clean = false;
        self.event(export, Event::Paired { membership, lacking: 0, peer_lacks: out_of_sync });
    }

    /// As the target: everything that the source has named is lacking here, and nothing else.
    pub(crate) fn handle_proceed(&mut self, export: ExportId, membership: Membership) {
        let volume = self.volume(export);
        if volume.phase != Phase::Frozen || self.role(export) != Some(Role::Target) {
            return self
                .refuse(Refusal::Protocol("proceed without an offer that makes this node the target"));
        }
        let are_equals = membership.members == Members::Both;
        self.pair(export);
        self.resolve_as_target(export, are_equals);
        self.volume_mut(export).forgetful = false;
        let quiet_until = self.now.after(MEMORY_WINDOW);
        // Whatever the source answered as the sole member this node has not heard of, also if the source has frozen since:
        // an earlier `Proceed` may have been lost on the way.
        let is_quiet = !are_equals && !self.mutated(Mutation::ReturnerServes);
        let is_noted = !self.mutated(Mutation::InconsistencyNotNoted);
        let volume = self.volume_mut(export);
        if is_quiet {
            volume.quiet_until = quiet_until;
        }
        let runs = std::mem::take(&mut volume.meeting.runs);
        let sectors = volume.layout().volume_sectors();
        volume.lacks.clear_all();
        for run in runs {
            for_each_range(sectors, run, |range| {
                volume.lacks.set(range);
            });
        }
        volume.disk.bitmap.clear_all();
        let lacking = volume.lacks.out_of_sync();
        let superblock = &mut volume.disk.superblock;
        superblock.membership = membership;
        superblock.inconsistent = (lacking > 0 || !are_equals) && is_noted;
        superblock.clean = false;
        volume.meeting.owes_ready = true;
        volume.meeting.known_to_peer = Some(membership);
        self.event(export, Event::Paired { membership, lacking, peer_lacks: 0 });
        self.attend(export);
    }

    fn pair(&mut self, export: ExportId) {
        // Whatever was asked before this is about a membership that may not hold any more.
        self.abandon_question(export);
        let quiet_until = self.now.after(MEMORY_WINDOW);
        let is_ignored = self.mutated(Mutation::ForgetfulServes);
        let volume = self.volume_mut(export);
        volume.change_phase(Phase::Paired);
        volume.meeting.settling = false;
        volume.shut_out = false;
        volume.forced = false;
        volume.lost_memory = false;
        volume.peer_quiet_until = Instant::from_nanos(0);
        if volume.forgetful && !is_ignored {
            volume.quiet_until = quiet_until;
        }
        let revision = self.volume(export).meeting.offer.as_ref().map(|(peer, _)| peer.small_state_revision);
        self.share_small_state(export, revision.unwrap_or_default());
        self.attend(export);
    }

    /// The target has noted durably what it lacks.
    pub(crate) fn handle_ready(&mut self, export: ExportId) {
        let volume = self.volume_mut(export);
        volume.meeting.target_is_ready = true;
        volume.meeting.known_to_peer = Some(volume.membership());
        // It has heard what there was to tell, and cannot be the source before it has every block.
        volume.doubtful.clear();
        volume.forgetful = false;
        self.attend(export);
    }

    /// Says what was to be said as soon as something was durable.
    fn keep_word(&mut self, export: ExportId) {
        let volume = self.volume_mut(export);
        if !volume.is_superblock_durable() {
            return;
        }
        let ready = std::mem::take(&mut volume.meeting.owes_ready);
        let member = volume.meeting.owes_member.take();
        let known = volume.meeting.owes_member_known.take();
        if ready {
            self.say(export, VolumeMessage::Ready, None);
        }
        if let Some(membership) = member {
            self.say(export, VolumeMessage::Member(membership), None);
        }
        if let Some(membership) = known {
            self.say(export, VolumeMessage::MemberKnown(membership), None);
        }
    }

    /// As the source, with nothing lacking at the target any more: makes it a member.
    pub(crate) fn promote(&mut self, export: ExportId) {
        let peer = self.config.node.other();
        let volume = self.volume_mut(export);
        let membership = volume.membership();
        match membership.members {
            Members::Both => {
                if std::mem::take(&mut volume.meeting.owes_in_sync) {
                    volume.meeting.owes_member = Some(membership);
                    self.keep_word(export);
                }
            }
            Members::Only(_) => {
                if let Ok(next) = membership.succeed(Cause::InSync(peer)) {
                    self.ask(export, membership, next);
                }
            }
        }
    }

    /// The peer has made a membership durable and lets this node know.
    pub(crate) fn handle_member(&mut self, export: ExportId, membership: Membership) {
        let volume = self.volume_mut(export);
        if membership.epoch < volume.membership().epoch {
            return;
        }
        let in_sync = membership.members == Members::Both;
        // What was asked for to repair it the peer may not have heard of yet. And a node that is leaving was a member first.
        let lacks = volume.lacks.out_of_sync() > 0 && !volume.meeting.has_asked_for_repair;
        if in_sync && !matches!(volume.phase, Phase::Paired | Phase::Left) {
            // Said before the peer heard that this node's disk has failed.
            return;
        }
        if in_sync && lacks {
            return self.refuse(Refusal::Protocol("a member that lacks blocks"));
        }
        volume.disk.superblock.membership = membership;
        volume.meeting.known_to_peer = Some(membership);
        if volume.phase == Phase::Paired {
            volume.meeting.is_source = false;
        }
        if in_sync {
            volume.disk.superblock.inconsistent = false;
            volume.meeting.owes_member_known = Some(membership);
            self.event(export, Event::InSync(membership));
        } else if volume.phase == Phase::Left {
            self.freeze(export);
            self.volume_mut(export).meeting.begin_anew();
        } else if volume.phase == Phase::Frozen && !volume.has_disk {
            // The peer serves alone now, and for this node, once both have offered again.
            volume.meeting.begin_anew();
        }
        self.attend(export);
    }

    /// Or, from a node that was told of a leave: it knows, and what it said before does not count.
    pub(crate) fn handle_member_known(&mut self, export: ExportId, membership: Membership) {
        let node = self.config.node;
        let volume = self.volume_mut(export);
        if volume.meeting.has_left {
            volume.meeting.leave_is_known = true;
            volume.meeting.offer = None;
            volume.meeting.runs.clear();
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
            self.event(export, Event::InSync(membership));
            self.attend(export);
        }
    }

    /// An operator has forced the peer to serve while this node did: what was written here alone since is lost.
    fn yield_to_forced(&mut self, export: ExportId) {
        self.freeze(export);
        let volume = self.volume_mut(export);
        volume.meeting.offered = None;
        volume.confirmed = false;
    }

    /// Without a disk: requests go to the peer, which serves alone.
    fn pass(&mut self, export: ExportId) {
        let volume = self.volume_mut(export);
        volume.change_phase(Phase::Passing);
    }
}

/// Cuts a run of blocks into ranges that a request may have.
pub(crate) fn for_each_range(volume_sectors: u64, run: BlockRun, mut visit: impl FnMut(LbaRange)) {
    let end = ((run.start + run.count) * SECTORS_PER_BIT).min(volume_sectors);
    let mut start = run.start * SECTORS_PER_BIT;
    while start < end {
        let count = u16::try_from((end - start).min(u64::from(COPY_SECTORS))).expect("no more than a copy");
        visit(LbaRange::new(Lba(start), SectorCount(count)).expect("within the volume"));
        start += u64::from(count);
    }
}

impl Volume {
    /// What this node lacks is also what it has to bring to the next meeting: unless only a repair was under way, in which
    /// case this copy is as good as it was.
    pub(crate) fn keep_lacks(&mut self) {
        let superblock = &self.disk.superblock;
        if superblock.inconsistent || !superblock.membership.members.includes(superblock.node) {
            let sectors = self.layout().volume_sectors();
            let mut runs = Vec::new();
            self.lacks.for_each_run(|run| runs.push(run));
            for run in runs {
                for_each_range(sectors, run, |range| {
                    self.disk.bitmap.set(range);
                });
            }
        }
        self.lacks.clear_all();
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
            small_state_revision: 0,
        }
    }

    #[test]
    fn of_two_sole_members_of_one_epoch_exactly_one_gives_way() {
        let (zero, one) = (NodeNumber::Zero, NodeNumber::One);
        for both_alone in [true, false] {
            let offers = [alone(zero, both_alone), alone(one, both_alone)];
            let roles = [decide(zero, None, offers[0], offers[1]), decide(one, None, offers[1], offers[0])];
            let expected = if both_alone {
                [Role::Wait, Role::Yield]
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
