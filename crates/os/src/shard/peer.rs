//! The peer: its messages in, ours out, and all else that a node has to do because it has one.
//!
//! A message is handed in at a time that was looked up after it had come: a renewal that is granted at an older moment would
//! end earlier here than its sender believes. For the same reason the lease is looked at right before answers leave, however
//! long this thread was held up since they were made.

use std::io;
use std::os::fd::{AsRawFd, RawFd};

use aoe::Digest;
use block::{BufferName, BufferSlice, Duration, ExportId, Instant, SectorCount};
use node::{Input, Output, PairConfig};
use replication::identity::PairIdentity;
use replication::limits::COPY_SECTORS;
use replication::output::Event::Removed;
use replication::version::VersionRange;

use super::Shard;
use super::handle::Event;
use super::held_commits::HeldCommits;
use super::metadata::MetadataWrites;
use super::place::Place;
use crate::buffer_pool::{BufferPool, Room};
use crate::clock;
use crate::peer_link::{PeerFailure, PeerLink, PeerStatistics, PeerStream, Received};

/// Messages taken from the peer in a turn, so that neither it nor the initiators wait for the other.
const MESSAGES_A_TURN: usize = 64;
/// Bytes of their data, after which the turn's other work comes first.
const DATA_BYTES_A_TURN: usize = 512 << 10;
/// How long a shard that stops waits for the peer, without which it cannot answer what initiators have asked.
pub(super) const PARTING_MAX: Duration = Duration::from_secs(1);

/// What a shard with a peer has besides.
pub(super) struct Peer {
    link: Option<PeerLink>,
    pub(super) metadata: MetadataWrites,
    digest_seed: u64,
    versions: VersionRange,
    /// When the lease ends that the answers depend on which are queued.
    pub(super) lease_end: Option<Instant>,
    commits: HeldCommits,
    /// The last look at the connection has left something there, or in what was read ahead.
    has_left: bool,
    /// Of connections that are over.
    past: PeerStatistics,
}

/// What a turn has taken from the peer.
pub(super) struct Taken {
    /// The time that it is then.
    pub(super) now: Instant,
    pub(super) count: usize,
    /// There was no more.
    pub(super) is_all: bool,
}

impl Peer {
    pub(super) fn new(pair: &PairConfig) -> io::Result<Self> {
        Ok(Self {
            link: None,
            metadata: MetadataWrites::new()?,
            digest_seed: digest_seed(pair.pair),
            versions: pair.versions,
            lease_end: None,
            commits: HeldCommits::default(),
            has_left: false,
            past: PeerStatistics::default(),
        })
    }

    /// Whether a buffer that somebody frees is about to be sent; it is freed again after that.
    pub(super) fn holds(&mut self, name: BufferName) -> bool {
        self.link.as_mut().is_some_and(|link| link.holds(name))
    }

    /// Whether a message with data is queued.
    pub(super) fn has_data_queued(&self) -> bool {
        self.link.as_ref().is_some_and(PeerLink::has_data_queued)
    }

    /// Whether the connection is to be looked at soon, though nothing has come.
    pub(super) fn is_blocked(&self) -> bool {
        self.link.as_ref().is_some_and(PeerLink::is_blocked)
    }

    /// When commits that wait are to be sent alone.
    pub(super) fn commits_due(&self) -> Option<Instant> {
        self.commits.due()
    }

    /// The connection, if what is queued is to be sent now: `is_busy` says that initiators wait for this node.
    fn due(&mut self, now: Instant, is_busy: bool) -> Option<&mut PeerLink> {
        let link = self.link.as_mut()?;
        if link.has_only_commits() && !link.is_blocked() && self.commits.may_wait(now, is_busy) {
            return None;
        }
        self.commits.sent(now, link.is_pressing());
        Some(link)
    }

    /// Whether what has come waits for a buffer.
    pub(super) fn is_stalled(&self) -> bool {
        self.link.as_ref().is_some_and(PeerLink::is_stalled)
    }

    pub(super) fn descriptor(&self) -> Option<RawFd> {
        self.link.as_ref().map(PeerLink::as_raw_fd)
    }

    pub(super) fn statistics(&self) -> PeerStatistics {
        let mut sum = PeerStatistics { is_connected: self.link.is_some(), ..self.past };
        if let Some(link) = &self.link {
            link.add_to(&mut sum);
        }
        sum
    }
}

impl Shard {
    /// Begins a session, after the end of the one before.
    pub(super) fn connect_peer(&mut self, now: Instant, stream: PeerStream) {
        self.lose_peer(now, PeerFailure::Replaced);
        if self.stopping_since.is_some() {
            return (self.notify)(Event::PeerFailed(PeerFailure::Asked));
        }
        let data_bytes_max = self.pool.buffer_bytes_max();
        let Some(peer) = &mut self.peer else {
            return (self.notify)(Event::PeerFailed(PeerFailure::NoPeer));
        };
        match PeerLink::new(stream, data_bytes_max, peer.versions) {
            Ok(link) => peer.link = Some(link),
            Err(error) => return (self.notify)(Event::PeerFailed(PeerFailure::Lost(error))),
        }
        self.look_up_sleepers();
        self.feed(now, Input::PeerConnected);
    }

    /// Ends the session, if there is one.
    pub(super) fn lose_peer(&mut self, now: Instant, reason: PeerFailure) {
        if self.close_link(reason) {
            self.feed(now, Input::PeerDisconnected);
        }
    }

    /// Whether a connection to the peer stands.
    pub(super) fn is_linked(&self) -> bool {
        self.peer.as_ref().is_some_and(|peer| peer.link.is_some())
    }

    /// A shard that stops has a peer as long as it may be needed for what has come: to answer that, or to be handed it if this node has
    /// left. By itself a peer would not end to give its disks work: with writes of its own initiators, or a resync.
    pub(super) fn part_if_stopping(&mut self, now: Instant) {
        let Some(due) = self.parting_due() else { return };
        let is_done = self.node.outstanding() == 0 && self.ports.oldest().is_none();
        if is_done || due <= now {
            self.lose_peer(now, PeerFailure::Asked);
        }
    }

    /// When a shard that stops parts from its peer at the latest.
    pub(super) fn parting_due(&self) -> Option<Instant> {
        Some(self.stopping_since.filter(|_| self.is_linked())?.after(PARTING_MAX))
    }

    /// Takes messages, up to a turn's worth.
    pub(super) fn take_messages(&mut self, now: Instant) -> Taken {
        if !self.may_have_messages() && !self.is_timeout_due(now) {
            return Taken { now, count: 0, is_all: true };
        }
        let taken = self.take_messages_there_are(now);
        if let Some(peer) = &mut self.peer {
            peer.has_left = peer.link.is_some() && !taken.is_all;
        }
        taken
    }

    fn take_messages_there_are(&mut self, now: Instant) -> Taken {
        let (mut now, mut count, mut bytes) = (now, 0, 0);
        if let Some(link) = self.peer.as_mut().and_then(|peer| peer.link.as_mut()) {
            link.begin_turn();
        }
        while count < MESSAGES_A_TURN && bytes < DATA_BYTES_A_TURN {
            // What follows from a message may be that the session ends.
            let Some(link) = self.peer.as_mut().and_then(|peer| peer.link.as_mut()) else { break };
            match link.receive(&mut self.pool) {
                Ok(Received::Message(message, data)) => {
                    now = clock::now();
                    bytes += data.map_or(0, |(_, length)| length);
                    let data = data.map(|(buffer, length)| whole(buffer, length));
                    self.feed(now, Input::PeerMessage { message, data });
                    count += 1;
                }
                Ok(Received::Nothing) => return Taken { now, count, is_all: true },
                Ok(Received::NoBuffer) => break,
                Err(failure) => {
                    now = clock::now();
                    self.lose_peer(now, failure);
                    count += 1;
                }
            }
        }
        Taken { now, count, is_all: false }
    }

    /// Whether a look at the connection may bring something: not while the kernel is to tell when something has come, and has not.
    fn may_have_messages(&self) -> bool {
        let Some(peer) = &self.peer else { return false };
        peer.has_left
            || peer.is_blocked()
            || peer.descriptor().is_some_and(|file| self.disks.may_be_readable(file))
    }

    /// Tells the node of metadata that was written.
    pub(super) fn take_written_metadata(&mut self, now: Instant) -> usize {
        let mut count = 0;
        while let Some(peer) = &mut self.peer
            && let Some((id, result)) = peer.metadata.completed(&mut self.disks)
        {
            self.feed(now, Input::MetadataWritten { id, result });
            count += 1;
        }
        count
    }

    /// Carries out what only a node with a peer wants.
    pub(super) fn carry_out_for_peer(&mut self, now: Instant, output: Output) {
        match output {
            Output::PeerSend { message, data } => {
                let data = data.map(|slice| (slice.buffer, self.memory(slice)));
                if let Some(link) = self.peer.as_mut().and_then(|peer| peer.link.as_mut()) {
                    link.send(&message, data);
                }
            }
            Output::Arrived { port, received, frame } => {
                assert_eq!(frame.offset, 0, "what follows a message has a buffer of its own");
                let (buffer, frame) = (frame.buffer, self.memory(frame));
                let _ = self
                    .node
                    .handle_input(now, Input::Handed { port, received, frame: frame.look(), buffer });
            }
            Output::PeerDisconnect { reason } => drop(self.close_link(PeerFailure::Ended(reason))),
            Output::MetadataWrite { id, volume, place } => {
                if let Some(peer) = &mut self.peer {
                    peer.metadata.write(id, volume, place);
                }
            }
            Output::Digest { of, data } => {
                let seed = self.peer.as_ref().map_or(0, |peer| peer.digest_seed);
                let Digest(digest) = Digest::of(seed, self.memory(data).look());
                let _ = self.node.handle_input(now, Input::Digest { of, digest });
            }
            Output::Ask { volume, question, expected, next, wish } => {
                (self.notify)(Event::Ask { volume, question, expected, next, wish });
            }
            Output::Slow(slow) => (self.notify)(Event::Slow(slow)),
            Output::PeerLinksDown(down) => (self.notify)(Event::PeerLinksDown(down)),
            Output::Event { volume, event } => {
                if event == Removed {
                    self.forget_disk(volume);
                }
                (self.notify)(Event::Volume { volume, event });
            }
            other => unreachable!("{other:?} is carried out for every node"),
        }
    }

    /// Closes disk and metadata of an export that is no more, and so gives up their locks.
    fn forget_disk(&mut self, volume: ExportId) {
        self.disks.remove(volume);
        if let Some(peer) = &mut self.peer {
            peer.metadata.remove(volume);
        }
    }

    /// Remembers how long the answer that is about to be queued at a port may leave. If others have to leave to make room
    /// for it, they are looked at.
    pub(super) fn note_lease(&mut self, index: usize) {
        if self.ports[index].queued() >= self.ports.send_batch() {
            self.drop_answers_too_late();
        }
        let end = self.node.lease_end();
        if let Some(peer) = &mut self.peer {
            peer.lease_end = [peer.lease_end, end].into_iter().flatten().min();
        }
    }

    /// Sends messages and starts metadata writes.
    pub(super) fn transmit_to_peer(&mut self, now: Instant) {
        let is_busy = self.node.outstanding() > 0;
        let Some(peer) = &mut self.peer else { return };
        peer.metadata.start(&self.node, &mut self.disks);
        if let Some(link) = peer.due(now, is_busy) {
            link.flush();
        }
        self.release_sent();
    }

    /// The same by the call that starts what waits for the disk, if that is possible: then [`Self::was_sent_with_disk`] is to be told.
    pub(super) fn hand_over_to_peer(&mut self, now: Instant) -> bool {
        let is_busy = self.node.outstanding() > 0;
        let Some(peer) = &mut self.peer else { return false };
        peer.metadata.start(&self.node, &mut self.disks);
        if let Some(link) = peer.due(now, is_busy) {
            if let Some((socket, pieces)) = link.hand_over()
                && self.disks.send(socket, pieces)
            {
                return true;
            }
            link.flush();
        }
        self.release_sent();
        false
    }

    /// As [`PeerLink::was_sent`].
    pub(super) fn was_sent_with_disk(&mut self, sent: Option<io::Result<usize>>) {
        if let Some(link) = self.peer.as_mut().and_then(|peer| peer.link.as_mut()) {
            link.was_sent(sent);
        }
        self.release_sent();
    }

    /// Frees the buffers of what was sent and is needed by nobody else.
    fn release_sent(&mut self) {
        while let Some(name) = self.peer.as_mut().and_then(|peer| peer.link.as_mut()?.take_done()) {
            self.release(name);
        }
    }

    /// Nothing is queued any more.
    pub(super) fn forget_lease(&mut self) {
        if let Some(peer) = &mut self.peer
            && (0..self.ports.len()).all(|index| self.ports[index].queued() == 0)
        {
            peer.lease_end = None;
        }
    }

    /// Drops all answers that are queued if the lease has ended by which one of them was made. What is queued after that has a
    /// lease of its own.
    pub(super) fn drop_answers_too_late(&mut self) {
        let Some(peer) = &mut self.peer else { return };
        if peer.lease_end.is_none_or(|end| clock::now() < end) {
            return;
        }
        peer.lease_end = None;
        for index in 0..self.ports.len() {
            let flushed = self.transmitter.discard(index, &mut self.ports[index]);
            self.account(flushed);
        }
    }

    /// Closes the connection to the peer and says why. Returns whether there was one.
    fn close_link(&mut self, reason: PeerFailure) -> bool {
        let Some(mut link) = self.peer.as_mut().and_then(|peer| peer.link.take()) else { return false };
        if let Some(buffer) = link.close() {
            self.pool.give(buffer);
        }
        while let Some(name) = link.take_done() {
            self.release(name);
        }
        if let Some(peer) = &mut self.peer {
            peer.commits = HeldCommits::default();
            peer.has_left = false;
            link.add_to(&mut peer.past);
            peer.past.bytes_unsent = 0;
        }
        self.disks.disarm(link.as_raw_fd());
        self.look_up_sleepers();
        (self.notify)(Event::PeerFailed(reason));
        true
    }
}

/// The buffers of a shard with a peer: as many more as the peer may have under way here.
pub(super) fn buffers(own: Room, pair: &PairConfig) -> io::Result<BufferPool> {
    // A copy may begin and end inside a sector of a disk that has large ones.
    const COPY_BYTES: usize = SectorCount(COPY_SECTORS).bytes() + 2 * 4096;
    let large = Room { count: 2 * pair.limits.copies + 1, bytes: COPY_BYTES };
    BufferPool::with_peer(own, pair.limits.followed, large)
}

fn whole(buffer: u32, length: usize) -> BufferSlice {
    let length = u32::try_from(length).expect("a message's data is bounded");
    BufferSlice { buffer: Place::Pool(buffer).name().expect("pool buffers have names"), offset: 0, length }
}

/// Both nodes come to the same number.
const fn digest_seed(PairIdentity(pair): PairIdentity) -> u64 {
    #[expect(clippy::cast_possible_truncation, reason = "both halves count")]
    let seed = (pair >> 64) as u64 ^ (pair as u64);
    seed
}
