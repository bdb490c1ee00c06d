//! Losing the peer: freezing, serving alone, leaving; and whether requests are taken.
//!
//! A frozen volume waits until its own disk has had everything, until the peer has surely stopped serving, and until the
//! arbiter has made this node the sole member, all durably known, before it serves alone. It never decides who is to be
//! asked or met: it asks only when the peer cannot be met.

use block::{ExportId, Instant};

use crate::engine::Engine;
use crate::input::Control;
use crate::lacking::Telling;
use crate::limits::MEMORY_WINDOW;
use crate::membership::{Cause, Epoch, Members};
use crate::message::{CopyState, VolumeMessage};
use crate::mutation::Mutation;
use crate::output::{Event, Output, Wish};
use crate::volume::{Phase, Volume};

impl Engine {
    /// Stops serving and following at once, and drops every request.
    pub(crate) fn freeze(&mut self, export: ExportId) {
        let stops_at = self.lease.granted_until();
        let was_only_good = self.is_only_good(export, None);
        let awaits_answered =
            self.awaits_what_was_answered_ahead(export) || self.mutated(Mutation::AllAnsweredForgotten);
        let volume = self.volume_mut(export);
        volume.was_only_good = was_only_good;
        volume.has_all_answered =
            volume.phase == Phase::Paired && volume.meeting.peer_left && !awaits_answered;
        volume.change_phase(Phase::Frozen);
        volume.counters.freezes += 1;
        // An answer to what was asked as a member of this session means something else from now on.
        volume.peer_stops_at = volume.peer_stops_at.max(stops_at);
        if !self.mutated(Mutation::LacksForgotten) {
            self.volume_mut(export).keep_lacks();
        }
        // An answer to what was asked as a member of this session means something else from now on.
        self.abandon_question(export);
        self.update_serving(export);
        if !self.mutated(Mutation::FrozenReadsAnswered) {
            self.drop_reads(export);
        }
        self.drop_locals(export);
        self.drop_remotes(export);
        self.drop_copies(export);
        self.drop_flushes(export);
        self.event(export, Event::Frozen);
        self.attend(export);
    }

    /// The session ended while the volume did not depend on it: what the peer had asked for is not wanted any more.
    pub(crate) fn drop_for_peer(&mut self, export: ExportId) {
        self.drop_copies(export);
        self.volume_mut(export).meeting.settling = false;
    }

    /// Advances a frozen volume towards serving alone, and any volume whose peer has left.
    pub(crate) fn advance_standing(&mut self, export: ExportId) {
        self.leave_if_idle(export);
        self.note_clean_end(export);
        self.note_lost_disk(export);
        self.tell_forced(export);
        let volume = self.volume(export);
        if volume.removing {
            return;
        }
        if volume.phase == Phase::Paired && volume.meeting.peer_left {
            self.go_on_after_leaver(export);
        } else if volume.phase == Phase::Paired && volume.stray_until.is_some() {
            self.look_for_stray(export);
        } else if volume.phase == Phase::Frozen && self.may_go_alone(export) {
            self.go_alone(export);
        }
    }

    /// Whether everything is there that serving alone needs; asks for what is missing.
    fn may_go_alone(&mut self, export: ExportId) -> bool {
        let node = self.config.node;
        let now = self.now;
        let ready_at = self.alone_at(export);
        let volume = self.volume(export);
        let possible = volume.copy_state() == CopyState::Good
            && !volume.leaving
            && !volume.shut_out
            && volume.may_take_over(node)
            && volume.unflushed.is_empty();
        let meeting = &volume.meeting;
        let is_taken_up = meeting.offered.is_some() && meeting.peer_may_return;
        let is_away = meeting.peer_left && (!is_taken_up || self.mutated(Mutation::AloneWithOffer));
        let is_met = self.session.is_up() && meeting.peer_export.is_some() && !is_away;
        if !possible || is_met && !volume.forced {
            return false;
        }
        if now < ready_at {
            self.wake_at(ready_at);
            return false;
        }
        let membership = volume.membership();
        let allowed = membership.members == Members::Only(node) && volume.confirmed
            || self.mutated(Mutation::ArbiterNotAsked);
        if !allowed {
            let next = match membership.members {
                Members::Both => membership.succeed(Cause::Lost(node.other())).ok(),
                Members::Only(member) => (member == node).then_some(membership),
            };
            if let Some(next) = next {
                self.ask(export, membership, next, Wish::OfOne);
            }
            return false;
        }
        if !self.mutated(Mutation::AloneAsClean) {
            // What is written from now on is in doubt after a crash, and is let begin only where that is noted.
            self.volume_mut(export).disk.superblock.clean = false;
        }
        let volume = self.volume(export);
        (volume.at_disk == 0 || self.mutated(Mutation::DrainNotAwaitedAlone))
            && (volume.is_superblock_durable() || self.mutated(Mutation::EpochNotDurable))
            && (volume.is_bitmap_durable() || self.mutated(Mutation::DoubtsNotDurable))
    }

    /// From when on nothing that the peer may still do, and nothing that this node may have forgotten, matters.
    fn alone_at(&self, export: ExportId) -> Instant {
        let volume = self.volume(export);
        let is_forgetful = volume.forgetful && !self.mutated(Mutation::ForgetfulServes);
        let remembers_at = if is_forgetful { volume.began.after(MEMORY_WINDOW) } else { self.started };
        if self.mutated(Mutation::LeaseWaitSkipped) {
            return remembers_at;
        }
        volume.peer_stops_at.max(remembers_at)
    }

    fn go_alone(&mut self, export: ExportId) {
        let volume = self.volume_mut(export);
        volume.change_phase(Phase::Alone);
        // A peer that is here although this node was forced has offered what it will not offer again.
        let offer = volume.meeting.offer.take().filter(|_| volume.forced);
        volume.forgetful = false;
        volume.forced = false;
        volume.keep_executed();
        volume.lacks.clear_all();
        volume.disk.bitmap.note_repairs();
        volume.meeting.begin_anew();
        volume.meeting.offer = offer;
        let membership = volume.membership();
        self.keep_small_state_alone(export);
        self.say(export, VolumeMessage::Member(membership), None);
        self.event(export, Event::Alone(membership));
    }

    /// The peer has left on purpose, or has lost its disk: nothing stalls, this node goes on as soon as it may.
    fn go_on_after_leaver(&mut self, export: ExportId) {
        let node = self.config.node;
        if !self.needs_no_memory(export) && !self.mutated(Mutation::LeftWithCache) {
            return;
        }
        if self.awaits_what_was_answered_ahead(export) {
            return;
        }
        let volume = self.volume(export);
        let membership = volume.membership();
        if membership.members == Members::Both {
            if volume.copy_state() != CopyState::Good {
                return;
            }
            if let Ok(next) = membership.succeed(Cause::Left(node.other())) {
                self.ask(export, membership, next, Wish::OfBoth);
            }
            return;
        }
        if membership.members != Members::Only(node) {
            self.freeze(export);
            // The offers that have led here count no more: by them the nodes would meet again at once.
            let meeting = &mut self.volume_mut(export).meeting;
            meeting.begin_anew();
            meeting.peer_left = true;
            return;
        }
        if !volume.is_superblock_durable() && !self.mutated(Mutation::EpochNotDurable) {
            return;
        }
        self.drop_for_peer(export);
        // Whether the leaver becomes a member is of no interest any more.
        self.abandon_question(export);
        let volume = self.volume_mut(export);
        volume.change_phase(Phase::Alone);
        volume.lacks.clear_all();
        volume.disk.bitmap.note_repairs();
        self.drop_remotes(export);
        self.volume_mut(export).doubtful.clear();
        self.go_on_without_acks(export);
        self.read_without_peer(export);
        self.flush_without_peer(export);
        self.keep_small_state_alone(export);
        self.volume_mut(export).meeting.begin_anew();
        self.say(export, VolumeMessage::Member(membership), None);
        self.event(export, Event::Alone(membership));
    }

    /// The peer serves no more and has finished what it took.
    pub(crate) fn handle_leave(&mut self, export: ExportId) {
        if self.volume(export).phase == Phase::Paired {
            let volume = self.volume_mut(export);
            let is_first = !volume.meeting.peer_left;
            volume.meeting.peer_left_whole |= is_first && volume.disk.bitmap.out_of_sync() == 0;
            return self.handle_peer_left(export);
        }
        let both_leave = self.volume(export).phase == Phase::Left;
        if both_leave {
            self.freeze(export);
        }
        let volume = self.volume_mut(export);
        if volume.phase == Phase::Frozen {
            let has_left = volume.meeting.has_left || both_leave;
            volume.meeting.begin_anew();
            (volume.meeting.peer_left, volume.meeting.peer_may_return) = (true, true);
            volume.meeting.has_left = has_left;
        }
        // Only then it offers to meet again, so that nothing from before counts on either side.
        volume.meeting.telling = Telling::default();
        let membership = volume.membership();
        self.say(export, VolumeMessage::MemberKnown(membership), None);
        self.attend(export);
    }

    /// The peer serves no more and has finished what it took, or its disk has failed, or it has the volume no more.
    pub(crate) fn handle_peer_left(&mut self, export: ExportId) {
        let phase = self.volume(export).phase;
        if matches!(phase, Phase::Left | Phase::Passing) {
            // Nobody is there to leave it to.
            self.freeze(export);
        }
        let keeps_address = self.mutated(Mutation::AddressKeptByLeaver);
        let meeting = &mut self.volume_mut(export).meeting;
        meeting.address_is_taken &= keeps_address;
        match phase {
            Phase::Paired => meeting.peer_left = true,
            Phase::Frozen => {
                (meeting.peer_left, meeting.peer_may_return) = (true, false);
                meeting.offer = None;
            }
            // What it may have offered it takes back.
            Phase::Alone => meeting.begin_anew(),
            Phase::Left | Phase::Passing => {
                meeting.begin_anew();
                meeting.peer_left = true;
            }
        }
        self.flush_here_alone(export);
        self.write_all_through(export);
        self.attend(export);
    }

    /// The operator wants something.
    pub(crate) fn handle_control(&mut self, export: ExportId, control: Control) {
        let volume = self.volume_mut(export);
        match control {
            Control::Leave => volume.leaving = true,
            // An offer that was made stands; one that was not, because this node had left, is made now.
            Control::Join => {
                if std::mem::take(&mut volume.leaving) {
                    self.tell_of_serving_alone(export);
                }
            }
            Control::Force { held } => self.force(export, held),
            Control::Surpass { held } => self.surpass(export, held),
            Control::Verify { fix } => self.start_verify(export, fix),
            Control::Resize { sectors } => self.resize(export, sectors),
            Control::Resync { rate, checksums } => volume.resync.set_pace(rate, checksums),
            Control::Remove => self.begin_removal(export),
        }
        self.update_serving(export);
        self.attend(export);
    }

    /// An operator says that this node's copy counts, whoever has granted what: in an epoch that nobody was granted.
    fn force(&mut self, export: ExportId, held: Epoch) {
        let node = self.config.node;
        let takes_held = self.mutated(Mutation::ForcedIntoHeldEpoch);
        let volume = self.volume_mut(export);
        volume.forced = volume.phase == Phase::Frozen && !volume.removing;
        if !volume.forced {
            return;
        }
        let membership = volume.membership();
        let cause = match membership.members {
            Members::Both => Cause::Lost(node.other()),
            Members::Only(_) => Cause::Forced(node),
        };
        let next = membership.succeed(cause).unwrap_or(membership);
        let next = if takes_held { next } else { next.later_than(volume.held.max(held)) };
        volume.disk.superblock.membership = next;
        if volume.has_disk {
            let superblock = &mut volume.disk.superblock;
            (superblock.inconsistent, superblock.disk_lost) = (false, false);
        }
        volume.confirmed = true;
        volume.shut_out = false;
        volume.forced_to = Some(next);
        // What was asked before is not what is asked now.
        if !self.mutated(Mutation::ForcedWithQuestion) {
            self.abandon_question(export);
        }
    }

    /// This node was forced while the arbiter was away, which had granted the other one that epoch, or a later one.
    fn surpass(&mut self, export: ExportId, held: Epoch) {
        let node = self.config.node;
        let stays = self.mutated(Mutation::ForcedIntoHeldEpoch);
        let volume = self.volume_mut(export);
        let membership = volume.membership();
        let next = if stays { membership } else { membership.later_than(held) };
        // What it has offered it holds to.
        let may_change =
            volume.phase == Phase::Alone && volume.is_sole(node) && volume.meeting.offered.is_none();
        if may_change && next != membership && !volume.removing {
            volume.disk.superblock.membership = next;
            volume.forced_to = Some(next);
        }
    }

    /// The arbiter and the peer hear of a force when a loss of power does not undo it.
    fn tell_forced(&mut self, export: ExportId) {
        let is_early = self.mutated(Mutation::ForceToldEarly);
        let volume = self.volume_mut(export);
        let Some(forced) = volume.forced_to else { return };
        if volume.membership() != forced {
            volume.forced_to = None;
        } else if volume.disk.superblock_durable.membership == forced || is_early {
            volume.forced_to = None;
            self.event(export, Event::Forced(forced));
            self.tell_of_serving_alone(export);
        }
    }

    /// A volume that is to leave does so when nothing of its own is in flight.
    fn leave_if_idle(&mut self, export: ExportId) {
        let volume = self.volume(export);
        // Also nothing that was answered before the peer had it.
        let is_done = volume.requests == 0 && volume.locals == 0;
        let idle = volume.leaving && !volume.serving && (is_done || self.mutated(Mutation::LeavesBusy));
        if idle && self.may_be_left(export) {
            self.volume_mut(export).change_phase(Phase::Left);
            self.say(export, VolumeMessage::Leave, None);
        }
    }

    /// Whether the peer would go on by itself.
    fn may_be_left(&self, export: ExportId) -> bool {
        let volume = self.volume(export);
        // The peer can go on: it is a member or the only one, lacks nothing, and has been told both.
        let dispensable = !volume.is_sole(self.config.node) && volume.disk.bitmap.out_of_sync() == 0
            || self.mutated(Mutation::LeavesIndispensable);
        // And the arbiter will let it: nothing that this node has asked can come in between.
        let is_whole = !volume.meeting.owes_in_sync
            || self.mutated(Mutation::LeavesUntold)
            || self.mutated(Mutation::LeavesIndispensable);
        // What it has heard of the register only now, its peer does not believe before it says so.
        let is_heard =
            volume.meeting.owes_member_known.is_none() || self.mutated(Mutation::LeavesBeforeItSays);
        let is_told =
            is_whole && is_heard && volume.meeting.owes_member.is_none() && volume.stray_until.is_none();
        volume.phase == Phase::Paired && dispensable && is_told && !volume.meeting.peer_left
    }

    /// A node that has left and has nothing on its way says so on disk: nothing is in doubt when it comes back.
    fn note_clean_end(&mut self, export: ExportId) {
        let volume = self.volume(export);
        let is_drained = volume.at_disk == 0 && volume.unflushed.is_empty();
        let is_over = is_drained && volume.is_bitmap_durable() || self.mutated(Mutation::CleanTooEarly);
        // A disk that has failed may have lost what was in its cache, and so has a node that was without power.
        let has_all = volume.has_disk && !volume.lost_memory || self.mutated(Mutation::CleanWithoutMemory);
        let is_over = is_over && has_all;
        // What it has offered may make it go on at any moment.
        let is_uncommitted = volume.meeting.offered.is_none() || self.mutated(Mutation::CleanWithOffer);
        if volume.leaving && volume.phase == Phase::Frozen && is_over && is_uncommitted {
            self.volume_mut(export).disk.superblock.clean = true;
        }
    }

    /// Whether requests are taken; tells whoever hands them in.
    pub(crate) fn update_serving(&mut self, export: ExportId) {
        let serving = self.should_serve(export);
        let is_late = self.mutated(Mutation::SizeNotToldWhileGrowing);
        let volume = self.volume_mut(export);
        let sectors = volume.layout().volume_sectors();
        let is_settled = if is_late { volume.growth.is_none() } else { volume.is_of_settled_size() };
        // Whoever hands in requests learns of sectors that both nodes have, never of fewer.
        if serving && is_settled && volume.sectors_told != sectors {
            volume.sectors_told = sectors;
            self.push(Output::Resized { volume: export, sectors });
        }
        let stands_in = serving && self.should_stand_in(export);
        let hands_over = self.should_hand_over(export, serving);
        let volume = self.volume_mut(export);
        if (volume.serving, volume.stands_in, volume.hands_over) != (serving, stands_in, hands_over) {
            (volume.serving, volume.stands_in, volume.hands_over) = (serving, stands_in, hands_over);
            self.push(Output::Serving { volume: export, serving, stands_in, hands_over });
            self.attend(export);
        }
        self.give_address_back(export);
    }

    fn should_serve(&mut self, export: ExportId) -> bool {
        let volume = self.volume(export);
        let may_serve = match volume.phase {
            // Until it may go, so that initiators wait as little as they can.
            _ if volume.leaving => {
                volume.serving && volume.phase == Phase::Paired && !self.may_be_left(export)
            }
            Phase::Alone => true,
            Phase::Frozen | Phase::Left | Phase::Passing => false,
            Phase::Paired => volume.may_go_on_serving(self.config.node) || self.is_ready_to_serve(volume),
        };
        may_serve && (volume.serving || !self.must_be_quiet(export))
    }

    fn is_ready_to_serve(&self, volume: &Volume) -> bool {
        let target_is_ready = !volume.meeting.serve_when_ready || volume.meeting.target_is_ready;
        volume.may_serve_paired(self.config.node)
            && (self.holds_lease() || self.mutated(Mutation::ServesWithoutLease))
            && (volume.is_superblock_durable() || self.mutated(Mutation::ServesBeforeDurable))
            && (target_is_ready || self.mutated(Mutation::ServesBeforeReady))
    }
}
