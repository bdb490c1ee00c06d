//! Online verify: compares the two copies while both serve, without false alarms.
//!
//! The sectors that are compared are held on both nodes for the moment of comparing, so no write can be on one of them
//! only. Sectors that are being written are passed over and tried again. The other node only sees run after run that it is asked
//! about, and takes that for a verify of the peer's as long as they come.

use block::{Duration, ExportId, Instant, Lba, LbaRange, SectorCount};

use super::CopyInWork;
use crate::engine::Engine;
use crate::limits::{COPY_RETRY, COPY_SECTORS};
use crate::message::{Token, VolumeMessage};
use crate::mutation::Mutation;
use crate::output::Event;
use crate::volume::{Phase, Volume};

/// A peer that has asked about no sectors for so long does not verify any more.
const PEER_SILENCE: Duration = Duration::from_millis(1000);

/// How far a verify has come, for operators.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct VerifyStatus {
    /// Whether this node compares, as it was asked to; otherwise the peer does.
    pub is_source: bool,
    /// Sectors from the first one on that are done.
    pub sectors: u64,
    /// Since it began.
    pub elapsed: Duration,
}

/// How far a verify has come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Progress {
    began: Instant,
    next: Lba,
    different: u64,
    fix: bool,
    /// Sectors that are being compared.
    comparing: bool,
    /// Sectors that were in use are not tried again before.
    retry_at: Instant,
}

/// What this node sees of a verify of the peer's.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct PeerProgress {
    began: Instant,
    next: Lba,
    asked: Instant,
}

impl PeerProgress {
    /// The peer asks about these sectors; whether it is one verify with what it asked about before follows from `before`.
    fn asked(before: Option<Self>, now: Instant, range: LbaRange) -> Self {
        let before = before.filter(|before| before.is_going_on(now) && before.next <= range.start());
        Self { began: before.map_or(now, |before| before.began), next: range.start(), asked: now }
    }

    fn is_going_on(self, now: Instant) -> bool {
        now.since(self.asked) < PEER_SILENCE
    }
}

impl Volume {
    /// The verify that goes on: one of this node's own, or else one of the peer's.
    pub(crate) fn verify_status(&self, now: Instant) -> Option<VerifyStatus> {
        if self.phase != Phase::Paired {
            return None;
        }
        let status = |is_source, next: Lba, began| VerifyStatus {
            is_source,
            sectors: next.0,
            elapsed: now.since(began),
        };
        let own = self.resync.verify.map(|own| status(true, own.next, own.began));
        let peer = self.resync.peer_verify.filter(|peer| peer.is_going_on(now));
        own.or_else(|| peer.map(|peer| status(false, peer.next, peer.began)))
    }
}

impl Engine {
    pub(crate) fn start_verify(&mut self, export: ExportId, fix: bool) {
        let now = self.now;
        self.volume_mut(export).resync.verify =
            Some(Progress { began: now, next: Lba(0), different: 0, fix, comparing: false, retry_at: now });
        self.attend(export);
    }

    /// Compares the next sectors, one run at a time.
    pub(crate) fn advance_verify(&mut self, export: ExportId) {
        let volume = self.volume(export);
        let Some(progress) = volume.resync.verify.filter(|progress| !progress.comparing) else { return };
        if volume.phase != Phase::Paired {
            return;
        }
        if self.now < progress.retry_at {
            return self.wake_at(progress.retry_at);
        }
        let left = volume.layout().volume_sectors() - progress.next.0;
        if left == 0 {
            self.volume_mut(export).resync.verify = None;
            return self.event(export, Event::VerifyDone { different: progress.different });
        }
        let count = u16::try_from(left.min(u64::from(COPY_SECTORS))).expect("no more than a copy");
        let range = LbaRange::new(progress.next, SectorCount(count)).expect("within the volume");
        let is_known = volume.lacks(range) || volume.disk.bitmap.touches(range);
        if is_known {
            // Known to differ, and being copied.
            self.progress_mut(export).next = range.end();
            return self.attend(export);
        }
        let begun = !self.is_busy(export, range)
            && self.hold_and_read(export, Token(0), range, CopyInWork::VerifyOwn).is_some();
        if begun {
            self.progress_mut(export).comparing = true;
        } else {
            self.retry_verify(export);
        }
    }

    /// The peer verifies: are these sectors the same here?
    pub(crate) fn handle_verify(&mut self, export: ExportId, verify: Token, range: LbaRange, digest: u128) {
        let now = self.now;
        let resync = &mut self.volume_mut(export).resync;
        resync.peer_verify = Some(PeerProgress::asked(resync.peer_verify, now, range));
        let is_busy = self.is_busy(export, range) && !self.mutated(Mutation::VerifyDoesNotYield);
        let is_open = self.volume(export).phase == Phase::Paired && !is_busy;
        let work = CopyInWork::VerifyForPeer { digest };
        if !is_open || self.hold_and_read(export, verify, range, work).is_none() {
            self.say(export, VolumeMessage::Verified { verify, equal: None }, None);
        }
    }

    /// The peer has been told of these sectors; after the last ones there is nothing more to verify.
    pub(crate) fn verified_for_peer(&mut self, export: ExportId, range: LbaRange) {
        let volume = self.volume_mut(export);
        if range.end().0 == volume.layout().volume_sectors() {
            volume.resync.peer_verify = None;
        }
    }

    pub(crate) fn handle_verified(&mut self, token: Token, equal: Option<bool>) {
        let is_waiting = self
            .copies_in
            .find(token)
            .is_some_and(|held| held.work == CopyInWork::VerifyOwn && !held.at_disk && !held.dropped);
        if is_waiting {
            self.verified(token, equal);
        }
    }

    /// The sectors were compared, or could not be for now.
    pub(crate) fn verified(&mut self, token: Token, equal: Option<bool>) {
        let held = self.held_mut(token);
        let (export, range) = (held.export, held.range);
        if let Some(progress) = &mut self.volume_mut(export).resync.verify {
            progress.comparing = false;
            if equal.is_some() {
                progress.next = range.end();
            }
            if equal == Some(false) {
                progress.different += u64::from(range.count().0);
            }
            let fix = progress.fix && equal == Some(false);
            if equal == Some(false) {
                self.event(export, Event::Differs(range));
            }
            if fix {
                self.resync_difference(export, range);
            }
            if equal.is_none() {
                self.retry_verify(export);
            }
        }
        self.release_held(token);
    }

    /// Of two copies that differ for no known reason, node 0's is taken; unless only one of them is a member's.
    fn resync_difference(&mut self, export: ExportId, range: LbaRange) {
        let node = self.config.node;
        let volume = self.volume(export);
        let is_source = match volume.membership().members {
            crate::membership::Members::Both => node == crate::membership::NodeNumber::Zero,
            crate::membership::Members::Only(member) => member == node,
        };
        if is_source {
            self.peer_lacks(export, range);
        } else {
            self.repair(export, range);
        }
    }

    /// Sectors are in use: tried again a moment later. Where both nodes verify the same sectors they find each other in the
    /// way, again and again if both waited alike; so node 1 waits longer.
    fn retry_verify(&mut self, export: ExportId) {
        let wait = match self.config.node {
            crate::membership::NodeNumber::Zero => COPY_RETRY,
            crate::membership::NodeNumber::One => COPY_RETRY * 4,
        };
        let at = self.now.after(wait);
        self.progress_mut(export).retry_at = at;
        self.wake_at(at);
    }

    fn progress_mut(&mut self, export: ExportId) -> &mut Progress {
        self.volume_mut(export).resync.verify.as_mut().expect("a verify under way")
    }
}
