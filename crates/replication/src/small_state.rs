//! What AoE clients set (config string, MAC mask, reservation): the same on both nodes, and durable on both before the
//! client is answered. Two changes at the same moment: node 0's counts.

use block::ExportId;

use crate::engine::Engine;
use crate::membership::{Members, NodeNumber};
use crate::message::VolumeMessage;
use crate::meta::small_state::SmallState;
use crate::mutation::Mutation;
use crate::output::Output;
use crate::volume::Phase;

impl Engine {
    /// A client of this node's has set something.
    pub(crate) fn handle_small_state(&mut self, export: ExportId, mut state: Box<SmallState>) {
        let is_paired = self.volume(export).phase == Phase::Paired;
        let disk = &mut self.volume_mut(export).disk;
        let revision = disk.small_state.revision.checked_add(1);
        state.revision =
            revision.expect("revisions do not run out: larger ones than are counted up to are refused");
        state.volume = disk.small_state.volume;
        disk.small_state = (*state).clone();
        disk.small_state_waits_for_peer = is_paired;
        disk.small_state_is_told = false;
        self.say(export, VolumeMessage::SmallState(state), None);
        self.attend(export);
    }

    /// The peer has another state, or the nodes have just met and it has a newer one.
    pub(crate) fn handle_peer_small_state(&mut self, export: ExportId, state: SmallState) {
        let peer_wins = self.config.node == NodeNumber::One || self.mutated(Mutation::SmallStateTie);
        let disk = &mut self.volume_mut(export).disk;
        let own = disk.small_state.revision;
        let is_newer =
            state.revision > own || state.revision == own && peer_wins && state != disk.small_state;
        if is_newer && state.volume == disk.small_state.volume {
            disk.small_state = state;
            // Of one revision there may be two states: what is on disk, or on its way there, is of the other.
            let older = own.saturating_sub(1);
            disk.small_state_durable = disk.small_state_durable.min(older);
            disk.small_state_writing = disk.small_state_writing.map(|revision| revision.min(older));
            disk.small_state_waits_for_peer = false;
            disk.small_state_is_told = false;
            self.attend(export);
        } else if state == disk.small_state && disk.small_state_durable == own {
            self.say(export, VolumeMessage::SmallStateKnown { revision: own }, None);
        }
    }

    pub(crate) fn handle_small_state_known(&mut self, export: ExportId, revision: u64) {
        let disk = &mut self.volume_mut(export).disk;
        if revision == disk.small_state.revision {
            disk.small_state_waits_for_peer = false;
            self.tell_small_state(export);
        }
    }

    pub(crate) fn small_state_is_durable(&mut self, export: ExportId) {
        let revision = self.volume(export).disk.small_state_durable;
        self.say(export, VolumeMessage::SmallStateKnown { revision }, None);
        self.tell_small_state(export);
    }

    /// The nodes are paired: the one whose state is newer tells it. Where one has served alone its state counts, whatever the other
    /// one has that nobody was answered for.
    pub(crate) fn share_small_state(&mut self, export: ExportId, members: Members, peer_revision: u64) {
        let node = self.config.node;
        let own = self.volume(export).disk.small_state.revision;
        if self.mutated(Mutation::SmallStateNotShared) {
            return;
        }
        match members {
            _ if self.mutated(Mutation::SmallStateUnanswered) => {}
            Members::Only(member) if member != node => return,
            Members::Only(_) if own <= peer_revision && peer_revision > 0 => {
                return self.tell_anew(export, peer_revision);
            }
            Members::Only(_) | Members::Both => {}
        }
        let disk = &self.volume(export).disk;
        if own > peer_revision || own == peer_revision && own > 0 && self.config.node == NodeNumber::Zero {
            let state = Box::new(disk.small_state.clone());
            self.say(export, VolumeMessage::SmallState(state), None);
        }
    }

    /// What is set here becomes newer than what the peer has.
    fn tell_anew(&mut self, export: ExportId, peer_revision: u64) {
        let disk = &mut self.volume_mut(export).disk;
        let revision = peer_revision.checked_add(1);
        disk.small_state.revision = revision.expect("larger ones than are counted up to are refused");
        let state = Box::new(disk.small_state.clone());
        self.say(export, VolumeMessage::SmallState(state), None);
        self.attend(export);
    }

    /// The peer cannot be waited for any more.
    pub(crate) fn keep_small_state_alone(&mut self, export: ExportId) {
        self.volume_mut(export).disk.small_state_waits_for_peer = false;
        self.tell_small_state(export);
    }

    fn tell_small_state(&mut self, export: ExportId) {
        let disk = &mut self.volume_mut(export).disk;
        let is_durable = disk.small_state_durable == disk.small_state.revision;
        if is_durable && !disk.small_state_waits_for_peer && !disk.small_state_is_told {
            disk.small_state_is_told = true;
            let state = Box::new(disk.small_state.clone());
            self.push(Output::SmallState { volume: export, state });
        }
    }
}
