//! One node's half of the mirror, for all volumes of a shard.
//!
//! Dispatch only: each input is handed to the file that is named after what it is about, and each of these files may call
//! upon the others. What is decided here is nothing but the order of things within an input: first time passes, then the
//! input is taken in, then every volume it touched is looked after.

mod tools;

use std::collections::VecDeque;

use block::{
    BlockError, BlockRequest, BufferSlice, Completion, Duration, ExportId, Instant, IntervalTable, LbaRange,
    Operation,
};

use crate::conflict::{Claim, Met};
use crate::flush::Flush;
use crate::follow::RemoteWrite;
use crate::identity::PairIdentity;
use crate::input::{Input, MetadataId};
use crate::lease::Lease;
use crate::limits::{DOUBTFUL_KEPT_MAX, DOUBTFUL_MAX, Limits};
use crate::links::Links;
use crate::membership::NodeNumber;
use crate::message::{Announce, Message, Refusal, Token, VolumeMessage};
use crate::meta::layout::SMALL_STATE_BYTES;
use crate::mutation::Mutations;
use crate::output::{Outcome, Output};
use crate::read::Read;
use crate::records::Record;
use crate::resync::{CopyIn, CopyOut};
use crate::session::Session;
use crate::slots::Slots;
use crate::version::VersionRange;
use crate::volume::{Phase, Volume, VolumeStatus};
use crate::write::LocalWrite;

/// Metadata writes of one volume under way at most: while a log is made blank, and blocks of the bitmap are written beside.
const RECORDS_PER_VOLUME: usize = 176;

/// What an engine is told about the node it is part of.
#[derive(Clone, Copy, Debug)]
pub struct EngineConfig {
    /// Which of the two.
    pub node: NodeNumber,
    /// Which pair.
    pub pair: PairIdentity,
    /// Drawn at random each time the process starts.
    pub incarnation: u64,
    /// How long a lease lasts; both nodes must mean the same.
    pub lease: Duration,
    /// How much is held at a time.
    pub limits: Limits,
    /// Slots of the ids that the engine gives to requests for the data disks begin here.
    pub first_disk_slot: u16,
    /// Versions of the peer protocol that this node speaks; some of those that the program knows.
    pub versions: VersionRange,
}

/// What the data disk was asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum DiskWork {
    /// The disk write of a local write.
    Local(Token),
    /// A piece of a remote write.
    Remote(Token),
    /// A read, for an initiator or for the peer.
    Read(Token),
    /// What is to be copied to the peer.
    CopyOut(Token),
    /// What was copied from the peer.
    CopyIn(Token),
    /// Sectors to be compared.
    Held(Token),
    /// A flush.
    Flush(Token),
}

/// One node's half of the mirror.
#[derive(Debug)]
pub struct Engine {
    pub(crate) config: EngineConfig,
    pub(crate) now: Instant,
    pub(crate) started: Instant,
    pub(crate) session: Session,
    pub(crate) lease: Lease,
    pub(crate) links: Links,
    pub(crate) volumes: Vec<Option<Volume>>,
    /// What the peer has announced in this session and this node does not have, or not yet.
    pub(crate) unplaced: Vec<Announce>,
    /// Volumes of this session that this node has no more: what the peer still says about them is passed over.
    pub(crate) removed: Vec<ExportId>,
    pub(crate) claims: IntervalTable<Claim>,
    /// Remote writes that met something when they came, and reads that wait for writes: mostly there are none, and whoever
    /// ends need not look for them.
    pub(crate) remotes_behind: usize,
    pub(crate) reads_waiting: usize,
    pub(crate) locals: Slots<LocalWrite>,
    pub(crate) remotes: Slots<RemoteWrite>,
    pub(crate) reads: Slots<Read>,
    pub(crate) copies_out: Slots<CopyOut>,
    /// Volumes for whose next copy there was no place, longest waiting first.
    pub(crate) waiting_for_place: VecDeque<ExportId>,
    pub(crate) copies_in: Slots<CopyIn>,
    pub(crate) flushes: Slots<Flush>,
    /// How many writes are answered and not at the peer yet.
    pub(crate) writes_ahead: usize,
    /// How many of the reads and flushes under way are the peer's.
    pub(crate) reads_for_peer: usize,
    pub(crate) flushes_for_peer: usize,
    pub(crate) records: Slots<Record>,
    /// Memory that is used again.
    pub(crate) spare_records: Vec<Box<[u8; SMALL_STATE_BYTES]>>,
    pub(crate) spare_claims: Vec<Vec<Claim>>,
    pub(crate) spare_met: Met,
    pub(crate) spare_pieces: Vec<Vec<LbaRange>>,
    spare_tokens: Vec<Vec<Token>>,
    disk: Slots<(ExportId, DiskWork)>,
    outputs: VecDeque<Output>,
    /// Counts admissions, acknowledgements and samples, so that any two of them can be told apart by age.
    order: u64,
    pub(crate) questions: u64,
    /// Volumes to be looked after before this input is over.
    attention: Vec<ExportId>,
    /// When something is due, besides the lease.
    wake: Option<Instant>,
    /// Where the time went is told of what took so long.
    slow_after: Option<Duration>,
    mutations: Mutations,
}

impl Engine {
    /// An engine without volumes and without a peer. `now` is when the process started: a lease may have been granted
    /// right before.
    #[must_use]
    pub fn new(now: Instant, config: EngineConfig) -> Self {
        let Limits { requests, followed, copies, volumes, .. } = config.limits;
        let in_doubt = DOUBTFUL_KEPT_MAX + requests + 2 * followed;
        assert!(in_doubt <= DOUBTFUL_MAX, "the peer is told of every write in doubt");
        let mut lease = Lease::new(config.lease);
        lease.assume_granted(now);
        Self {
            config,
            now,
            started: now,
            session: Session::default(),
            lease,
            links: Links::default(),
            volumes: Vec::with_capacity(volumes),
            unplaced: Vec::new(),
            removed: Vec::new(),
            claims: IntervalTable::new(2 * requests + 4 * followed),
            remotes_behind: 0,
            reads_waiting: 0,
            // Those that were answered ahead of the peer are of no request any more.
            locals: Slots::new(requests + followed),
            remotes: Slots::new(followed),
            reads: Slots::new(requests + followed + 2 * crate::heal::BLOCKS_MAX),
            copies_out: Slots::new(copies),
            waiting_for_place: VecDeque::with_capacity(volumes),
            copies_in: Slots::new(followed),
            // Either node's, those in the background as well.
            flushes: Slots::new(2 * (requests + volumes)),
            writes_ahead: 0,
            reads_for_peer: 0,
            flushes_for_peer: 0,
            records: Slots::new(volumes * RECORDS_PER_VOLUME),
            spare_records: Vec::new(),
            spare_claims: Vec::new(),
            spare_met: Met::default(),
            spare_pieces: Vec::new(),
            spare_tokens: Vec::new(),
            disk: Slots::new(usize::from(u16::MAX - config.first_disk_slot)),
            outputs: VecDeque::with_capacity(requests + followed),
            order: 0,
            questions: 0,
            attention: Vec::with_capacity(volumes),
            wake: None,
            slow_after: None,
            mutations: Mutations::default(),
        }
    }

    /// An engine that makes a mistake from now on; to be called before anything else.
    #[cfg(feature = "mutations")]
    pub fn mutate(&mut self, mutation: crate::mutation::Mutation) {
        self.mutations.chosen = Some(mutation);
    }

    /// Takes in what happened. Then the outputs are to be drained.
    pub fn handle_input(&mut self, now: Instant, input: Input) {
        debug_assert!(now >= self.now, "time does not go back");
        self.now = now;
        // What begins or ends a session ends what was before: nothing of that is to be said on the new stream.
        if !matches!(input, Input::Connected | Input::Disconnected) {
            self.let_time_pass();
        }
        match input {
            Input::Request { request, origin } => self.handle_request(request, origin),
            Input::Disk(completion) => self.handle_disk(completion),
            Input::Metadata { id, result } => self.handle_record_written(id, result),
            Input::Connected => self.handle_connected(),
            Input::Disconnected => self.handle_disconnected(),
            Input::Message { message, data } => self.handle_message(message, data),
            Input::Digest { of, digest } => self.handle_digest(of, digest),
            // What was asked for a volume may be answered when it is no more.
            Input::Arbiter { volume, .. }
            | Input::SmallState { volume, .. }
            | Input::Capacity { volume, .. }
            | Input::Control { volume, .. }
                if !self.has_volume(volume) => {}
            Input::Arbiter { volume, question, answer } => self.handle_arbiter(volume, question, answer),
            Input::SmallState { volume, state } => self.handle_small_state(volume, state),
            Input::Capacity { volume, capacity } => self.handle_capacity(volume, capacity),
            Input::Control { volume, control } => self.handle_control(volume, control),
            Input::SlowAfter(after) => self.slow_after = after,
            Input::LinksDown(down) => self.handle_links_down(down),
            Input::HandOver { volume, port, to_receiver, received, frame } => {
                self.hand_over(volume, port, to_receiver, received, frame);
            }
            Input::Timeout => self.attend_to_all(),
        }
        self.look_after_volumes();
    }

    /// The next thing to do, until there is none.
    pub fn poll_output(&mut self) -> Option<Output> {
        let output = self.outputs.pop_front();
        if output.is_none() {
            // Starts at the front of its memory again, which is still in the cache, instead of going round all of it.
            self.outputs.clear();
        }
        output
    }

    /// When to hand in [`Input::Timeout`].
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        [self.wake, self.session_timeout()].into_iter().flatten().min()
    }

    /// The bytes of a metadata write until its completion was handed in.
    ///
    /// # Panics
    /// If it is over.
    #[must_use]
    pub fn record(&self, id: MetadataId) -> &[u8] {
        self.record_bytes(id)
    }

    /// A volume as it is now.
    #[must_use]
    pub fn status(&self, export: ExportId) -> Option<VolumeStatus> {
        let volume = self.volumes.get(index(export))?.as_ref()?;
        Some(volume.status(self.now))
    }

    fn handle_request(&mut self, request: BlockRequest, origin: Option<crate::message::Origin>) {
        if !self.has_volume(request.export) {
            return self.push(Output::Completed { id: request.id, outcome: Outcome::Dropped });
        }
        match request.operation {
            Operation::Read { range } => self.request_read(request.id, request.export, range),
            Operation::Write { range, data, durable } => {
                self.request_write(request.id, request.export, range, data, durable, origin);
            }
            Operation::Flush => self.request_flush(request.id, request.export),
        }
    }

    fn handle_disk(&mut self, completion: Completion) {
        let Completion { id, result } = completion;
        let token = self.disk_token(id);
        let (export, work) = self.disk.remove(token).expect("the disk completes what it was asked, once");
        let volume = self.volume_mut(export);
        volume.at_disk -= 1;
        if volume.at_disk == 0 && volume.phase == Phase::Frozen {
            self.attend(export);
        }
        match work {
            DiskWork::Local(write) => self.local_at_disk(write, result.map(drop)),
            DiskWork::Remote(write) => self.remote_at_disk(write, result.map(drop)),
            DiskWork::Read(read) => self.read_at_disk(read, result.map(of_read)),
            DiskWork::CopyOut(copy) => self.copy_was_read(copy, result.map(of_read)),
            DiskWork::CopyIn(copy) => self.copy_was_written(copy, result.map(drop)),
            DiskWork::Held(held) => self.held_was_read(held, result.map(of_read)),
            DiskWork::Flush(flush) => self.flushed_at_disk(flush, result.map(drop)),
        }
    }

    fn handle_message(&mut self, message: Message, data: Option<BufferSlice>) {
        let result = match message {
            Message::Hello(hello) => self.handle_hello(hello),
            Message::Goodbye(refusal) => self.handle_goodbye(refusal),
            Message::Renew { number } => self.handle_renew(number),
            Message::Granted { number } => self.handle_granted(number),
            Message::Announce(announce) => self.handle_announce(announce),
            Message::LinksDown(down) => self.handle_peer_links_down(down),
            Message::Volume(export, message) => return self.handle_volume_message(export, message, data),
        };
        if let Some(data) = data {
            self.push(Output::Release(data.buffer));
        }
        self.end_if_refused(result);
    }

    fn handle_volume_message(&mut self, export: ExportId, message: VolumeMessage, data: Option<BufferSlice>) {
        if self.is_removed(export) {
            return data.into_iter().for_each(|data| self.push(Output::Release(data.buffer)));
        }
        let result = self.check_volume_message(export, &message, data);
        let Ok(()) = result else {
            if let Some(data) = data {
                self.push(Output::Release(data.buffer));
            }
            return self.end_if_refused(result);
        };
        match (message, data) {
            (VolumeMessage::Replicate { write, range, durable, origin }, Some(data)) => {
                self.handle_replicate(export, write, range, durable, origin, data);
            }
            (VolumeMessage::Copy { copy, range }, Some(data)) => self.handle_copy(export, copy, range, data),
            (VolumeMessage::Handed(handed), Some(frame)) => self.handle_handed(export, handed, frame),
            (VolumeMessage::Fetched { read, result }, data) => self.handle_fetched(read, result, data),
            (VolumeMessage::Ack { write, follower, microseconds }, _) => {
                self.handle_ack(write, follower, microseconds);
            }
            (VolumeMessage::Commit { follower }, _) => self.handle_commit(follower),
            (VolumeMessage::Fetch { read, range }, _) => self.handle_fetch(export, read, range),
            (VolumeMessage::Flush { flush }, _) => self.handle_flush(export, flush),
            (VolumeMessage::Flushed { flush }, _) => self.handle_flushed(flush),
            (message, _) => self.handle_rare_message(export, message),
        }
    }

    fn handle_rare_message(&mut self, export: ExportId, message: VolumeMessage) {
        match message {
            VolumeMessage::OutOfSync(runs) => self.handle_out_of_sync(export, &runs),
            VolumeMessage::Doubtful(writes) => self.handle_doubtful(export, &writes),
            VolumeMessage::Numbers(windows) => self.handle_numbers(export, windows),
            VolumeMessage::Offer(offer) => self.handle_offer(export, offer),
            VolumeMessage::Proceed(membership) => self.handle_proceed(export, membership),
            VolumeMessage::Ready => self.handle_ready(export),
            VolumeMessage::Copied { copy } => self.handle_copied(copy),
            VolumeMessage::CopyYielded { copy } => self.handle_copy_yielded(copy),
            VolumeMessage::CopyDigest { copy, range, digest } => {
                self.handle_copy_digest(export, copy, range, digest)
            }
            VolumeMessage::CopyDiffers { copy } => self.handle_copy_differs(copy),
            VolumeMessage::Missing { range } => self.handle_missing(export, range),
            VolumeMessage::Verify { verify, range, digest } => {
                self.handle_verify(export, verify, range, digest)
            }
            VolumeMessage::Verified { verify, equal } => self.handle_verified(verify, equal),
            VolumeMessage::Member(membership) => self.handle_member(export, membership),
            VolumeMessage::MemberKnown(membership) => self.handle_member_known(export, membership),
            VolumeMessage::Leave => self.handle_leave(export),
            VolumeMessage::DiskFailed => self.handle_disk_failed(export),
            VolumeMessage::GivenBack => self.handle_given_back(export),
            VolumeMessage::Resize { sectors } => self.handle_resize(export, sectors),
            VolumeMessage::ResizeAnswered { sectors, agreed } => {
                self.handle_resize_answered(export, sectors, agreed);
            }
            VolumeMessage::SmallState(state) => self.handle_peer_small_state(export, *state),
            VolumeMessage::SmallStateKnown { revision } => self.handle_small_state_known(export, revision),
            hot => unreachable!("{hot:?} is handled with its data"),
        }
    }

    /// What a peer may say about a volume: one that was announced, within its bounds, and with as much data as it says.
    fn check_volume_message(
        &self,
        export: ExportId,
        message: &VolumeMessage,
        data: Option<BufferSlice>,
    ) -> Result<(), Refusal> {
        if !self.session.is_up() {
            return Err(Refusal::Protocol("something about a volume before hello"));
        }
        let volume = self.volumes.get(index(export)).and_then(Option::as_ref);
        let volume = volume.ok_or(Refusal::Protocol("a volume that was not announced"))?;
        if volume.meeting.peer_export.is_none() {
            return Err(Refusal::Protocol("something about a volume before its announcement"));
        }
        if message.range().is_some_and(|range| !volume.is_request(range)) {
            return Err(Refusal::Protocol("sectors beyond the volume or too many"));
        }
        let expected = match message {
            VolumeMessage::Fetched { read, result: Ok(()) } => self.fetched_bytes(*read),
            other => other.data_bytes(),
        };
        match (expected, data) {
            (None, None) => Ok(()),
            (Some(bytes), Some(data)) if bytes == data.length as usize => Ok(()),
            // Nobody waits for it any more: its length does not matter.
            (None, Some(_)) if matches!(message, VolumeMessage::Fetched { .. }) => Ok(()),
            _ => Err(Refusal::Protocol("data of another length than the message says")),
        }
    }
}

/// What follows from an input.
impl Engine {
    fn look_after_volumes(&mut self) {
        while let Some(export) = self.attention.pop() {
            if self.has_volume(export) {
                self.look_after(export);
            }
        }
    }

    /// Everything that may follow from what has happened to a volume.
    fn look_after(&mut self, export: ExportId) {
        self.advance_resize(export);
        self.advance_standing(export);
        self.advance_meeting(export);
        self.advance_resync(export);
        self.write_records(export);
        self.flush_in_background(export);
        self.settle_promises(export);
        self.start_logged(export);
        self.admit_waiting(export);
        self.update_serving(export);
        self.end_removal(export);
    }
}

fn of_read(data: Option<BufferSlice>) -> BufferSlice {
    data.expect("a read that succeeded has a buffer")
}

pub(crate) fn index(export: ExportId) -> usize {
    usize::try_from(export.0).expect("as many as fit memory")
}

/// A write whose outcome at the disk is all that matters.
pub(crate) type Written = Result<(), BlockError>;
