//! Online verify: compares the two copies while both serve, without false alarms.
//!
//! The sectors that are compared are held on both nodes for the moment of comparing, so no write can be on one of them
//! only. Sectors that are being written are passed over and tried again. The copies of members are compared: what one
//! that came back has not got yet is known to differ. The other node only sees run after run that it is asked about, and takes
//! that for a verify of the peer's as long as they come.

use block::{Duration, ExportId, Instant, Lba, LbaRange, SectorCount};

use super::{CopyInWork, ONE_BLOCK};
use crate::engine::Engine;
use crate::limits::{COPY_RETRY, COPY_SECTORS};
use crate::membership::{Members, NodeNumber};
use crate::message::{Token, VolumeMessage};
use crate::mutation::Mutation;
use crate::output::Event;
use crate::read::Asker;
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
    /// The comparison under way: the result of another one, of a verify before this, is not for this one.
    comparing: Option<Token>,
    /// Up to here block by block: some are not to be compared, and the others are.
    singly_until: Lba,
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

/// What came of comparing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Compared {
    Equal,
    Different,
    /// Not readable here: as good as different.
    Unreadable,
    /// A write was in the way.
    NotNow,
}

impl Progress {
    const fn new(now: Instant, fix: bool) -> Self {
        let (next, singly_until) = (Lba(0), Lba(0));
        Self { began: now, next, different: 0, fix, comparing: None, singly_until, retry_at: now }
    }
}

impl Engine {
    /// Begins with the first sector. One that is under way is given up for it.
    pub(crate) fn start_verify(&mut self, export: ExportId, fix: bool) {
        self.abort_verify(export);
        self.volume_mut(export).resync.verify = Some(Progress::new(self.now, fix));
        if self.volume(export).phase != Phase::Paired {
            self.abort_verify(export);
        }
        self.attend(export);
    }

    /// What was begun does not come to its end, and whoever waits for it is told.
    pub(crate) fn abort_verify(&mut self, export: ExportId) {
        if let Some(progress) = self.volume_mut(export).resync.verify.take() {
            let Progress { next: Lba(compared), different, .. } = progress;
            self.event(export, Event::VerifyAborted { compared, different });
        }
    }

    /// Compares the next sectors, one run at a time.
    pub(crate) fn advance_verify(&mut self, export: ExportId) {
        let volume = self.volume(export);
        let Some(progress) = volume.resync.verify.filter(|progress| progress.comparing.is_none()) else {
            return;
        };
        if volume.phase != Phase::Paired || volume.membership().members != Members::Both {
            return;
        }
        if self.now < progress.retry_at {
            return self.wake_at(progress.retry_at);
        }
        let Some(range) = next_range(volume, &progress) else {
            if progress.fix && volume.disk.bitmap.has_repairs() && !self.mutated(Mutation::FixNotAwaited) {
                // Whoever hears that it is done may take it that what differed does not any more.
                return;
            }
            self.volume_mut(export).resync.verify = None;
            return self.event(export, Event::VerifyDone { different: progress.different });
        };
        let is_known = volume.lacks(range) || volume.disk.bitmap.touches(range);
        if is_known {
            return self.pass_over(export, range);
        }
        let is_busy = self.is_busy(export, range);
        let token =
            if is_busy { None } else { self.hold_and_read(export, Token(0), range, CopyInWork::VerifyOwn) };
        match token {
            Some(_) => self.progress_mut(export).comparing = token,
            None => self.retry_verify(export),
        }
    }

    /// Some blocks are known to differ, and are being copied; those beside them are compared. Many may be in a row: each is an
    /// input of its own.
    fn pass_over(&mut self, export: ExportId, range: LbaRange) {
        let progress = self.progress_mut(export);
        if range.count().0 > ONE_BLOCK {
            progress.singly_until = range.end();
        } else {
            progress.next = range.end();
        }
        self.wake_at(self.now);
    }

    /// The peer verifies: are these sectors the same here?
    pub(crate) fn handle_verify(&mut self, export: ExportId, verify: Token, range: LbaRange, digest: u128) {
        let now = self.now;
        let resync = &mut self.volume_mut(export).resync;
        resync.peer_verify = Some(PeerProgress::asked(resync.peer_verify, now, range));
        let is_busy = self.is_busy(export, range) && !self.mutated(Mutation::VerifyDoesNotYield);
        let is_open =
            self.volume(export).phase == Phase::Paired && !is_busy && !self.is_known_to_differ(export, range);
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
            self.compared(
                token,
                match equal {
                    Some(true) => Compared::Equal,
                    Some(false) if self.mutated(Mutation::VerifyBlind) => Compared::Equal,
                    Some(false) => Compared::Different,
                    None => Compared::NotNow,
                },
            );
        }
    }

    /// This node cannot read sectors that it was to compare.
    pub(crate) fn could_not_verify(&mut self, token: Token) {
        self.compared(token, Compared::Unreadable);
    }

    /// The sectors were compared, or could not be for now.
    fn compared(&mut self, token: Token, outcome: Compared) {
        let held = self.held_mut(token);
        let (export, range) = (held.export, held.range);
        let progress = self.volume(export).resync.verify;
        let is_awaited = progress.is_some_and(|progress| {
            progress.comparing == Some(token) || self.mutated(Mutation::VerifyTakesAnything)
        });
        if is_awaited {
            self.note_compared(export, range, outcome);
        }
        self.release_held(token);
    }

    /// Whether it is noted already that these sectors are to be copied, this way or that: nothing new is to be found out.
    fn is_known_to_differ(&self, export: ExportId, range: LbaRange) -> bool {
        let volume = self.volume(export);
        let is_known = volume.lacks(range) || volume.disk.bitmap.touches(range);
        is_known && !self.mutated(Mutation::FixesCross)
    }

    fn note_compared(&mut self, export: ExportId, range: LbaRange, outcome: Compared) {
        // The peer may have found it, too, and fix it.
        let is_news = !self.is_known_to_differ(export, range);
        let outcome = if outcome == Compared::Different && !is_news { Compared::NotNow } else { outcome };
        let progress = self.progress_mut(export);
        progress.comparing = None;
        match outcome {
            Compared::NotNow => return self.retry_verify(export),
            // The blocks beside the one that cannot be read are compared.
            Compared::Unreadable if range.count().0 > ONE_BLOCK => {
                progress.singly_until = range.end();
                return;
            }
            Compared::Equal => {}
            Compared::Different | Compared::Unreadable => {
                if progress.fix && !self.fix(export, range, outcome) {
                    return self.retry_verify(export);
                }
                self.event(export, Event::Differs(range));
                self.progress_mut(export).different += u64::from(range.count().0);
            }
        }
        self.progress_mut(export).next = range.end();
    }

    /// Of two members' copies that differ that of the node that was told to fix it counts; where it cannot be read the peer's
    /// does, if that can be read. Says whether it has begun: such reads are made one at a time.
    fn fix(&mut self, export: ExportId, range: LbaRange, outcome: Compared) -> bool {
        if outcome == Compared::Unreadable && !self.mutated(Mutation::FixSendsUnreadable) {
            let is_free = !self.reads.iter().any(|(_, read)| read.is_healing());
            if is_free {
                self.begin_read(export, Asker::Nobody, range);
            }
            return is_free;
        }
        if self.mutated(Mutation::FixTakesNodeZeros) && self.config.node == NodeNumber::One {
            self.ask_for_copy(export, range);
        } else if !self.mutated(Mutation::FixForgotten) {
            self.repair_peer(export, range);
        }
        true
    }

    /// Sectors are in use: tried again a moment later. Where both nodes verify the same sectors they find each other in the
    /// way, again and again if both waited alike; so node 1 waits longer.
    fn retry_verify(&mut self, export: ExportId) {
        let wait = match self.config.node {
            NodeNumber::Zero => COPY_RETRY,
            NodeNumber::One => COPY_RETRY * 4,
        };
        let at = self.now.after(wait);
        self.progress_mut(export).retry_at = at;
        self.wake_at(at);
    }

    fn progress_mut(&mut self, export: ExportId) -> &mut Progress {
        self.volume_mut(export).resync.verify.as_mut().expect("a verify under way")
    }
}

/// What is to be compared next, if anything is left.
fn next_range(volume: &Volume, progress: &Progress) -> Option<LbaRange> {
    let left = volume.layout().volume_sectors() - progress.next.0;
    let at_most = if progress.next < progress.singly_until { ONE_BLOCK } else { COPY_SECTORS };
    let count = u16::try_from(left.min(u64::from(at_most))).expect("no more than a copy");
    (count > 0).then(|| LbaRange::new(progress.next, SectorCount(count)).expect("within the volume"))
}
