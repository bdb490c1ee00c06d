//! Which node answers at the address of one that comes back.
//!
//! A sole member answers at both addresses. One that comes back has not heard of what was answered at its own meanwhile, and is
//! quiet until nothing of that can reach it any more ([`MEMORY_WINDOW`]); for so long the other one stands in for it.
//!
//! ```text
//!   source                                             target
//!     │ ─── Proceed ─────────────────────────────────▶ │  is quiet
//!     │  ceases to answer at the target's address      │
//!     │ ─── GivenBack ───────────────────────────────▶ │  answers at it, if it need not be quiet any more either
//! ```
//!
//! Both wait for the same time, and the target for the message as well: so they never answer at one address at once, and
//! initiators wait for no longer than the message takes. A source that leaves, or has lost its disk, answers nowhere. Where a
//! session has no such message the source ceases earlier, by what clocks may differ ([`PEER_QUIET`]).

use block::ExportId;

use crate::engine::Engine;
use crate::limits::{MEMORY_WINDOW, PEER_QUIET};
use crate::message::VolumeMessage;
use crate::mutation::Mutation;
use crate::volume::{Phase, Volume};

impl Engine {
    /// As the source: the target comes back, and does not answer at its address yet.
    pub(crate) fn stand_in_for_returner(&mut self, export: ExportId) {
        let is_told = self.session.tells_of_giving_back();
        let ceases_at = self.now.after(if is_told { MEMORY_WINDOW } else { PEER_QUIET });
        let volume = self.volume_mut(export);
        volume.peer_quiet_until = ceases_at;
        volume.meeting.owes_address = is_told;
    }

    /// As the target: what the source has answered as the sole member this node has not heard of.
    pub(crate) fn return_quietly(&mut self, export: ExportId) {
        let is_told = self.session.tells_of_giving_back() && !self.mutated(Mutation::AddressNotAwaited);
        let quiet_until = self.now.after(MEMORY_WINDOW);
        let volume = self.volume_mut(export);
        volume.quiet_until = quiet_until;
        volume.meeting.address_is_taken = is_told;
    }

    /// Whether the peer surely takes no requests: it is away, or it has come back and is quiet.
    pub(crate) fn should_stand_in(&mut self, export: ExportId) -> bool {
        let Volume { phase, peer_quiet_until, .. } = *self.volume(export);
        let is_quiet = phase == Phase::Paired && self.now < peer_quiet_until;
        if is_quiet {
            self.wake_at(peer_quiet_until);
        }
        is_quiet || phase == Phase::Alone
    }

    /// Tells the target that this node, as whoever hands in requests knows already, answers no more at its address.
    pub(crate) fn give_address_back(&mut self, export: ExportId) {
        let volume = self.volume(export);
        if !volume.meeting.owes_address || volume.phase != Phase::Paired {
            return;
        }
        let until = volume.peer_quiet_until;
        if self.now < until && !self.mutated(Mutation::AddressGivenEarly) {
            return self.wake_at(until);
        }
        self.volume_mut(export).meeting.owes_address = false;
        self.say(export, VolumeMessage::GivenBack, None);
    }

    pub(crate) fn handle_given_back(&mut self, export: ExportId) {
        self.volume_mut(export).meeting.address_is_taken = false;
        self.attend(export);
    }

    /// Whether requests that this node could take would be taken twice, or by a node that has not heard of them.
    pub(crate) fn must_be_quiet(&mut self, export: ExportId) -> bool {
        let Volume { phase, quiet_until, ref meeting, .. } = *self.volume(export);
        // What this node has not heard of is as far away when it has become the sole member meanwhile.
        if self.now < quiet_until {
            self.wake_at(quiet_until);
            return true;
        }
        phase == Phase::Paired && meeting.address_is_taken
    }
}
