//! Two nodes meet again: which copy counts where, and from which moment on both take writes.
//!
//! ```text
//!   source                                             target
//!     │ ◀── OutOfSync, Offer ────────────────────────▶ │  each when its disk has had everything
//!     │  joins what it is told, a step at a time, and  │
//!     │  waits until that is durable; serves meanwhile │
//!     │ ─── OutOfSync ───────────────────────────────▶ │  if it is much, most of it
//!     │  lets nothing begin, ends what it has begun    │
//!     │ ─── OutOfSync, Doubtful, Numbers, Proceed ───▶ │  both are paired from here on in the stream
//!     │                                                │  what it lacks is durably noted
//!     │ ◀─────────────────────────── Numbers, Ready ── │
//!     │ ─── copies ... Member ───────────────────────▶ │  when nothing is lacking and the arbiter agrees
//! ```
//!
//! Who is the source says `role`, what is lacking `lacking`, how the target becomes a member `promotion`. Nothing here touches a
//! write or a read.

use block::{ExportId, Instant};

use crate::bitmap::Bits;
use crate::durability::Durability;
use crate::engine::Engine;
use crate::lacking::Telling;
use crate::limits::{BITMAP_BLOCKS_AT_ONCE, MEMORY_WINDOW, MEMORY_WINDOW_OF_BOTH};
use crate::membership::{Members, Membership};
use crate::message::{CopyState, Offer, Refusal, VolumeMessage};
use crate::mutation::Mutation;
use crate::output::Event;
use crate::role::{Role, decide};
use crate::volume::{Phase, Volume};

impl Engine {
    /// Advances the meeting with the peer as far as it goes.
    pub(crate) fn advance_meeting(&mut self, export: ExportId) {
        let volume = self.volume(export);
        if !self.session.is_up() || volume.meeting.peer_export.is_none() || volume.removing {
            return;
        }
        self.offer(export);
        if self.volume(export).meeting.offer.is_some() {
            self.leave_still(export);
        }
        let volume = self.volume(export);
        // A leaver that has offered before holds to it, and leaves when they have met.
        let holds_back =
            volume.leaving && (volume.phase == Phase::Alone || self.mutated(Mutation::LeaverDoesNotProceed));
        if matches!(volume.phase, Phase::Frozen | Phase::Alone) && !holds_back {
            match self.role(export) {
                Some(Role::Source { everything }) => self.proceed(export, everything),
                Some(Role::Yield { to }) => self.yield_to_forced(export, to),
                Some(Role::Pass) if self.is_peer_alone(export) => self.pass(export),
                Some(Role::Neither) => self.tell_not_met(export),
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
        let is_untold = match volume.durability {
            Durability::Memory => self.mutated(Mutation::LostMemoryNotTold),
            _ => self.mutated(Mutation::UncleanNotTold),
        };
        Offer {
            membership: volume.membership(),
            copy: volume.copy_state(),
            alone: volume.phase == Phase::Alone,
            forgetful: volume.forgetful,
            lost_memory: volume.began_unclean && !is_untold,
            mode: Some(volume.durability.mode()),
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
            let meeting = &mut self.volume_mut(export).meeting;
            (meeting.has_left, meeting.telling) = (true, Telling::default());
            return self.say(export, VolumeMessage::Leave, None);
        }
        if self.volume(export).phase == Phase::Frozen && !self.tell_all(export) {
            return;
        }
        let offer = self.own_offer(export);
        let meeting = &mut self.volume_mut(export).meeting;
        (meeting.has_left, meeting.leave_is_known) = (false, false);
        meeting.offered = Some(offer);
        self.say(export, VolumeMessage::Offer(offer), None);
    }

    /// The peer has come back, and offers to meet a node that has left and is not to come back: it waits for an answer before it goes
    /// on alone.
    fn leave_still(&mut self, export: ExportId) {
        let is_mute = self.mutated(Mutation::LeavesOnce);
        let volume = self.volume_mut(export);
        let has_left = volume.leaving && volume.meeting.has_left && volume.meeting.leave_is_known;
        if has_left && !is_mute {
            (volume.meeting.offer, volume.meeting.leave_is_known) = (None, false);
            self.say(export, VolumeMessage::Leave, None);
        }
    }

    pub(crate) fn handle_offer(&mut self, export: ExportId, offer: Offer) {
        let volume = self.volume_mut(export);
        if volume.phase == Phase::Paired && !volume.meeting.peer_left {
            return self.refuse(Refusal::Protocol("an offer from a node that is met already"));
        }
        let mode = volume.durability.mode();
        let has_disks = volume.has_disk && offer.copy != CopyState::Diskless;
        if let Some(peer) = offer.mode.filter(|peer| *peer != mode && has_disks) {
            // What either has promised the other would not keep.
            volume.meeting.told = None;
            self.event(export, Event::ModesDiffer { here: mode, peer });
            return self.leave_still(export);
        }
        let told = volume.meeting.told.take();
        volume.meeting.offer = Some((offer, told));
        // Without a disk it is as good as gone.
        volume.meeting.peer_left = offer.copy == CopyState::Diskless;
        volume.meeting.peer_may_return = false;
        (volume.meeting.joined, volume.meeting.settling) = (0, false);
        volume.meeting.is_said_not_met = false;
        if volume.meeting.offered.is_some() {
            // What it was told as to a target it may have forgotten.
            volume.meeting.telling = Telling::default();
        }
        self.attend(export);
    }

    /// As the source: takes what the peer's offer has in doubt into the bitmap, a step at a time; says whether all is there.
    fn join(&mut self, export: ExportId, everything: bool) -> bool {
        let everything = everything && !self.mutated(Mutation::EverythingRuleDropped);
        let joins = !self.mutated(Mutation::DoubtsNotJoined);
        let volume = self.volume_mut(export);
        let blocks = volume.layout().bitmap_blocks();
        let Volume { disk, meeting, .. } = volume;
        if meeting.joined == blocks {
            return true;
        }
        // Of what both have, this copy counts: what was to be repaired at the peer before they parted is to be, still.
        disk.bitmap.note_repairs();
        let step = meeting.joined..blocks.min(meeting.joined + BITMAP_BLOCKS_AT_ONCE);
        meeting.joined = step.end;
        if everything {
            disk.bitmap.join_all(step);
        } else if let Some((_, Some(told))) = meeting.offer.as_ref().filter(|_| joins) {
            disk.bitmap.join(told, step);
        }
        let is_joined = meeting.joined == blocks;
        if is_joined {
            meeting.offer.iter_mut().for_each(|(_, told)| *told = None);
        } else {
            let now = self.now;
            self.wake_at(now);
        }
        self.write_records(export);
        is_joined
    }

    /// As the source: joins what differs, waits until that is durable and nothing begun alone is in flight, and goes on
    /// together with the peer. A node that serves alone goes on to do so until what is left to be written and told is as little
    /// as the requests that it has under way.
    fn proceed(&mut self, export: ExportId, everything: bool) {
        if !self.volume(export).is_as_offered() {
            return self.refuse(Refusal::Changed);
        }
        if !self.join(export, everything) {
            return;
        }
        if !self.volume(export).is_settling() {
            let is_begun =
                !self.volume(export).disk.bitmap.has_joined() || self.mutated(Mutation::JoinNotDurable);
            if !is_begun || !self.tell_ahead(export) {
                return;
            }
            self.volume_mut(export).meeting.settling = true;
        }
        let volume = self.volume(export);
        let is_settled = volume.locals == 0 || self.mutated(Mutation::UnsettledProceeds);
        let is_noted = volume.is_bitmap_durable() || self.mutated(Mutation::JoinNotDurable);
        if !is_settled || !is_noted || !volume.is_superblock_durable() {
            return;
        }
        if !self.mutated(Mutation::RunsNotTold) {
            self.tell_rest(export);
        }
        let volume = self.volume(export);
        let membership = volume.membership();
        let was_alone = volume.phase == Phase::Alone;
        let out_of_sync = volume.disk.bitmap.out_of_sync();
        self.say_doubtful(export);
        self.tell_numbers(export);
        self.say(export, VolumeMessage::Proceed(membership), None);
        self.pair(export, membership.members);
        if !was_alone {
            self.resolve_as_source(export);
        }
        if membership.members != Members::Both {
            self.stand_in_for_returner(export);
        }
        let volume = self.volume_mut(export);
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
        if !volume.has_disk {
            // Said before the peer heard that it has failed since it was offered.
            return;
        }
        if !volume.is_as_offered() && volume.membership() != membership {
            return self.refuse(Refusal::Changed);
        }
        if volume.phase != Phase::Frozen || self.role(export) != Some(Role::Target) {
            return self
                .refuse(Refusal::Protocol("proceed without an offer that makes this node the target"));
        }
        let are_equals = membership.members == Members::Both;
        self.pair(export, membership.members);
        self.resolve_as_target(export, are_equals);
        self.volume_mut(export).forgetful = false;
        // Whatever the source answered as the sole member this node has not heard of, also if the source has frozen since:
        // an earlier `Proceed` may have been lost on the way.
        let is_quiet = !are_equals && !self.mutated(Mutation::ReturnerServes);
        if is_quiet {
            self.return_quietly(export);
        }
        let is_noted = !self.mutated(Mutation::InconsistencyNotNoted);
        let volume = self.volume_mut(export);
        let layout = volume.layout();
        volume.lacks = volume.meeting.told.take().unwrap_or_else(|| Bits::new(layout));
        volume.disk.bitmap.clear_all();
        let lacking = volume.lacks.out_of_sync();
        let superblock = &mut volume.disk.superblock;
        superblock.membership = membership;
        superblock.inconsistent = (lacking > 0 || !are_equals) && is_noted;
        // The source has noted all of it.
        superblock.disk_lost = false;
        superblock.clean = false;
        volume.meeting.owes_ready = true;
        volume.meeting.known_to_peer = Some(membership);
        self.event(export, Event::Paired { membership, lacking, peer_lacks: 0 });
        self.attend(export);
    }

    fn pair(&mut self, export: ExportId, members: Members) {
        // Whatever was asked before this is about a membership that may not hold any more.
        self.abandon_question(export);
        let is_ignored = self.mutated(Mutation::ForgetfulServes);
        let is_early = self.mutated(Mutation::ForgetfulServesEarly);
        let (now, volume) = (self.now, self.volume_mut(export));
        let has_peer_forgotten = volume.meeting.offer.as_ref().is_some_and(|(peer, _)| peer.forgetful);
        let window = if has_peer_forgotten || is_early { MEMORY_WINDOW_OF_BOTH } else { MEMORY_WINDOW };
        volume.change_phase(Phase::Paired);
        volume.meeting.settling = false;
        volume.shut_out = false;
        volume.forced = false;
        volume.has_all_answered = false;
        (volume.lost_memory, volume.began_unclean) = (false, false);
        volume.peer_quiet_until = Instant::from_nanos(0);
        if volume.forgetful && !is_ignored {
            volume.quiet_until = now.after(window);
        }
        let revision = self.volume(export).meeting.offer.as_ref().map(|(peer, _)| peer.small_state_revision);
        self.share_small_state(export, members, revision.unwrap_or_default());
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
    pub(crate) fn keep_word(&mut self, export: ExportId) {
        let is_early = self.mutated(Mutation::PromotedEarly);
        let volume = self.volume_mut(export);
        if !volume.is_superblock_durable() {
            return;
        }
        let ready = std::mem::take(&mut volume.meeting.owes_ready);
        // What could not be written to the only good disk meanwhile is to be in sync first.
        let is_in_sync = volume.disk.bitmap.out_of_sync() == 0 || is_early;
        let member = volume.meeting.owes_member.take_if(|next| next.members != Members::Both || is_in_sync);
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

    /// The copies count no more than each other: they stay apart, until an operator says which is to count.
    fn tell_not_met(&mut self, export: ExportId) {
        let volume = self.volume_mut(export);
        let meeting = &mut volume.meeting;
        let (Some(here), Some((peer, _))) = (meeting.offered, meeting.offer.as_ref()) else { return };
        if volume.forced {
            // It is about to go on alone.
            return;
        }
        let event = Event::NotMet { here, peer: *peer };
        if !std::mem::replace(&mut meeting.is_said_not_met, true) {
            self.event(export, event);
        }
    }

    /// An operator has forced the peer to serve while this node did, or this one: what was written here alone since is lost.
    pub(crate) fn yield_to_forced(&mut self, export: ExportId, to: Membership) {
        let here = self.volume(export).membership();
        self.event(export, Event::GivesWay { here, to });
        self.freeze(export);
        let volume = self.volume_mut(export);
        (volume.meeting.offered, volume.meeting.telling) = (None, Telling::default());
        volume.confirmed = false;
    }

    /// Without a disk: everything is left to the peer, which serves alone.
    fn pass(&mut self, export: ExportId) {
        let volume = self.volume_mut(export);
        volume.change_phase(Phase::Passing);
    }
}
