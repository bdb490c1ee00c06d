//! The life of a read, of this node's own or of the peer's.
//!
//! ```text
//!            this copy is good              nothing was in flight when the value was taken
//!   asked ──────────────────▶ AtDisk ───────────────────────────────────────────────▶ answered
//!     │                         │  └─ writes were in flight ─▶ Waiting ─ all over (R5) ─▲
//!     │ this copy lacks it      │ unreadable                                            │
//!     └────────────────────▶ Fetching ◀──┘ ───── the peer's value ──────────────────────┘
//! ```
//!
//! Before `Fetching` it is `Behind` while the peer does not have a write to these sectors that was answered ahead of it.
//!
//! R5 is applied when the disk has given the value, to exactly the writes in flight at that moment: the value may be of one
//! of them, and later ones need no waiting.

use block::{BlockError, BufferSlice, EntryId, ExportId, Instant, LbaRange, Operation, RequestId};

use crate::conflict::Claim;
use crate::engine::{DiskWork, Engine};
use crate::message::{Refusal, Token, VolumeMessage};
use crate::mutation::Mutation;
use crate::output::{Outcome, Output};
use crate::spent::Spent;
use crate::volume::Phase;

const TOO_MANY_READS: &str = "more reads than a node may have under way";

/// Who is told when a read or a flush is over.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Asker {
    /// A request of this node's.
    Request(RequestId),
    /// The peer.
    Peer(Token),
    /// Nobody.
    Nobody,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum ReadStage {
    AtDisk,
    /// The peer is asked when it has the writes that were answered ahead of it.
    Behind,
    Fetching,
    Waiting(BufferSlice),
}

/// A read.
#[derive(Debug)]
pub(crate) struct Read {
    export: ExportId,
    asker: Asker,
    range: LbaRange,
    stage: ReadStage,
    /// Since when, and where its time went before.
    since: Instant,
    spent: Spent,
    claim: Option<EntryId>,
    /// When the value was taken, in the order of what happens.
    pub(crate) order: u64,
    pub(crate) waits_for: u32,
    /// This node's disk could not read it.
    is_unreadable: bool,
    /// The peer could not read it either, and this node's disk was asked once more.
    is_asked_again: bool,
    dropped: bool,
}

impl Read {
    /// What it has done until now is over.
    fn enter(&mut self, now: Instant, stage: ReadStage) {
        let spent = match self.stage {
            ReadStage::AtDisk => &mut self.spent.disk,
            ReadStage::Fetching => &mut self.spent.peer,
            ReadStage::Behind | ReadStage::Waiting(_) => &mut self.spent.waiting,
        };
        *spent += now.since(self.since);
        (self.since, self.stage) = (now, stage);
    }

    /// Nobody waits for it: it is to find out what can be read where.
    pub(crate) const fn is_healing(&self) -> bool {
        matches!(self.asker, Asker::Nobody)
    }
}

impl Engine {
    pub(crate) fn request_read(&mut self, id: RequestId, export: ExportId, range: LbaRange) {
        let volume = self.volume_mut(export);
        if !volume.serving {
            volume.counters.dropped += 1;
            return self.push(Output::Completed { id, outcome: Outcome::Dropped });
        }
        volume.requests += 1;
        self.begin_read(export, Asker::Request(id), range);
    }

    /// The peer lacks these sectors, or cannot read them.
    pub(crate) fn handle_fetch(&mut self, export: ExportId, read: Token, range: LbaRange) {
        let volume = self.volume(export);
        if !matches!(volume.phase, Phase::Paired | Phase::Alone | Phase::Left) {
            return;
        }
        if volume.lacks(range) {
            let result = Err(BlockError::Medium);
            return self.say(export, VolumeMessage::Fetched { read, result }, None);
        }
        if self.reads_for_peer >= self.config.limits.followed {
            return self.refuse(Refusal::Protocol(TOO_MANY_READS));
        }
        self.begin_read(export, Asker::Peer(read), range);
    }

    pub(crate) fn begin_read(&mut self, export: ExportId, asker: Asker, range: LbaRange) {
        let lacks = self.volume(export).lacks(range) && !self.mutated(Mutation::LacksNotLookedAt);
        let stage = if lacks { ReadStage::Fetching } else { ReadStage::AtDisk };
        let read = Read {
            export,
            asker,
            range,
            stage,
            since: self.now,
            spent: Spent::default(),
            claim: None,
            order: 0,
            waits_for: 0,
            is_unreadable: false,
            is_asked_again: false,
            dropped: false,
        };
        let Some(token) = self.reads.insert(read) else {
            return self.refuse(Refusal::Protocol(TOO_MANY_READS));
        };
        self.reads_for_peer += usize::from(matches!(asker, Asker::Peer(_)));
        if lacks {
            self.fetch(token);
        } else {
            self.ask_disk(export, DiskWork::Read(token), Operation::Read { range });
        }
    }

    /// Asks the peer for the value. It may not have yet what was answered ahead of it.
    fn fetch(&mut self, token: Token) {
        let read = self.read(token);
        let (export, range) = (read.export, read.range);
        let waits_for = self.writes_in_flight(export, range);
        if waits_for > 0 && self.is_answered_ahead(export, range) {
            return self.wait_for_writes(token, waits_for, ReadStage::Behind);
        }
        self.enter_stage(token, ReadStage::Fetching);
        self.volume_mut(export).counters.fetched += 1;
        self.say(export, VolumeMessage::Fetch { read: token, range }, None);
    }

    pub(crate) fn read_at_disk(&mut self, token: Token, result: Result<BufferSlice, BlockError>) {
        let read = self.read(token);
        let (export, range) = (read.export, read.range);
        if read.dropped {
            if let Ok(data) = result {
                self.push(Output::Release(data.buffer));
            }
            return self.forget_read(token, Outcome::Dropped);
        }
        match result {
            Ok(data) => self.sample(token, export, range, data),
            Err(error) => self.unreadable(token, export, range, error),
        }
    }

    /// The disk has given the value. What is in flight now is what the value may be of.
    fn sample(&mut self, token: Token, export: ExportId, range: LbaRange, data: BufferSlice) {
        let waits_for = self.writes_in_flight(export, range);
        if waits_for == 0 {
            return self.end_with(token, data);
        }
        self.wait_for_writes(token, waits_for, ReadStage::Waiting(data));
    }

    /// Answers with what this disk has: unless the peer has said since that this node lacks it, and that some of it never was.
    fn end_with(&mut self, token: Token, data: BufferSlice) {
        let Read { export, asker, range, .. } = *self.read(token);
        let volume = self.volume(export);
        let counts = !matches!(volume.phase, Phase::Paired | Phase::Left) || !volume.lacks(range);
        if counts || self.mutated(Mutation::LackedSampled) {
            return self.forget_read(token, Outcome::Done(Some(data)));
        }
        self.push(Output::Release(data.buffer));
        match asker {
            Asker::Peer(_) => self.forget_read(token, Outcome::Failed(BlockError::Medium)),
            Asker::Request(_) | Asker::Nobody => self.fetch(token),
        }
    }

    fn wait_for_writes(&mut self, token: Token, waits_for: u32, stage: ReadStage) {
        let order = self.next_order();
        let Read { export, range, .. } = *self.read(token);
        let claim = self.claims.insert(export, range, Claim::Read(token)).expect("a claim for each read");
        self.enter_stage(token, stage);
        let read = self.read_mut(token);
        (read.order, read.waits_for, read.claim) = (order, waits_for, Some(claim));
        self.reads_waiting += 1;
        self.volume_mut(export).counters.reads_waited += 1;
    }

    /// The last write that it waited for is over.
    pub(crate) fn go_on_with_read(&mut self, token: Token) {
        match self.read(token).stage {
            ReadStage::Waiting(data) => {
                self.waits_no_more(token);
                self.end_with(token, data);
            }
            ReadStage::Behind => {
                self.waits_no_more(token);
                let Read { export, range, .. } = *self.read(token);
                if self.volume(export).phase == Phase::Paired {
                    return self.fetch(token);
                }
                self.enter_stage(token, ReadStage::AtDisk);
                self.ask_disk(export, DiskWork::Read(token), Operation::Read { range });
            }
            ReadStage::AtDisk | ReadStage::Fetching => unreachable!("these wait for no write"),
        }
    }

    fn waits_no_more(&mut self, token: Token) {
        let claim = self.read_mut(token).claim.take().expect("claimed while it waits");
        self.claims.remove(claim);
        self.reads_waiting -= 1;
    }

    /// Sectors that this disk cannot read are read from the peer. Where it lacks some of them, or is the one that asks, they are looked
    /// at block by block.
    fn unreadable(&mut self, token: Token, export: ExportId, range: LbaRange, error: BlockError) {
        let bitmap = &self.volume(export).disk.bitmap;
        let blocks = bitmap.around(range);
        let peer_lacks = bitmap.count_in(blocks.clone());
        let is_own = !matches!(self.read(token).asker, Asker::Peer(_));
        let may_help = self.volume(export).phase == Phase::Paired && peer_lacks < blocks.end - blocks.start;
        if !may_help || self.mutated(Mutation::PeerNotRead) {
            return self.forget_read(token, Outcome::Failed(error));
        }
        if is_own && peer_lacks == 0 {
            self.read_mut(token).is_unreadable = true;
            return self.fetch(token);
        }
        let is_given_up = self.mutated(Mutation::MixedReadsGivenUp);
        let healed =
            if is_given_up { Outcome::Failed(error) } else { self.heal_or_fail(export, range, error) };
        self.forget_read(token, if is_own { healed } else { Outcome::Failed(error) });
    }

    pub(crate) fn handle_fetched(
        &mut self,
        token: Token,
        result: Result<(), BlockError>,
        data: Option<BufferSlice>,
    ) {
        let is_waiting =
            self.reads.find(token).is_some_and(|read| read.stage == ReadStage::Fetching && !read.dropped);
        if !is_waiting {
            if let Some(data) = data {
                self.push(Output::Release(data.buffer));
            }
            return;
        }
        let read = self.read(token);
        let (export, range, is_unreadable) = (read.export, read.range, read.is_unreadable);
        if result.is_err() && !read.is_asked_again && !self.volume(export).lacks(range) {
            return self.ask_again(token);
        }
        let outcome = match (result, data) {
            (Ok(()), Some(data)) => {
                if is_unreadable {
                    self.repair(export, range);
                }
                Outcome::Done(Some(data))
            }
            (Err(error), _) => self.heal_or_fail(export, range, error),
            (Ok(()), None) => unreachable!("checked when the message came"),
        };
        self.forget_read(token, outcome);
    }

    /// The peer could not read it, and what this node's disk has lost or lacked may have been written anew meanwhile.
    fn ask_again(&mut self, token: Token) {
        self.enter_stage(token, ReadStage::AtDisk);
        let read = self.read_mut(token);
        read.is_asked_again = true;
        let (export, range) = (read.export, read.range);
        self.ask_disk(export, DiskWork::Read(token), Operation::Read { range });
    }

    /// How much data the answer to a fetch must have; nothing if nobody waits for it.
    pub(crate) fn fetched_bytes(&self, token: Token) -> Option<usize> {
        let read = self.reads.find(token)?;
        (read.stage == ReadStage::Fetching).then(|| read.range.bytes())
    }

    /// Takes a read out of everything and answers it.
    fn forget_read(&mut self, token: Token, outcome: Outcome) {
        let mut read = self.reads.remove(token).expect("a read that is not over");
        let Read { export, asker, claim, .. } = read;
        if let Some(claim) = claim {
            self.claims.remove(claim);
            self.reads_waiting -= 1;
        }
        match asker {
            Asker::Request(id) => {
                self.volume_mut(export).counters.reads += 1;
                read.enter(self.now, ReadStage::AtDisk);
                let Spent { waiting, disk, peer, .. } = read.spent;
                if self.may_be_slow(waiting + disk + peer) {
                    self.push(Output::Spent { id, spent: Box::new(read.spent) });
                }
                self.complete(export, id, outcome);
            }
            Asker::Nobody => {
                if let Outcome::Done(Some(data)) = outcome {
                    self.push(Output::Release(data.buffer));
                }
            }
            Asker::Peer(read) => {
                self.reads_for_peer -= 1;
                let (result, data) = match outcome {
                    Outcome::Done(data) => (Ok(()), data),
                    Outcome::Failed(error) => (Err(error), None),
                    Outcome::Dropped | Outcome::Started | Outcome::Doubtful => return,
                };
                self.say(export, VolumeMessage::Fetched { read, result }, data);
                if let Some(data) = data {
                    self.push(Output::Release(data.buffer));
                }
            }
        }
    }

    /// The peer is gone, and this node goes on alone: what was to come from there is read here, for better or worse.
    pub(crate) fn read_without_peer(&mut self, export: ExportId) {
        let mut tokens = self.token_list();
        self.reads.list(&mut tokens, |read| read.export == export && read.stage == ReadStage::Fetching);
        for token in tokens.iter().copied() {
            self.enter_stage(token, ReadStage::AtDisk);
            let range = self.read(token).range;
            self.ask_disk(export, DiskWork::Read(token), Operation::Read { range });
        }
        self.give_back(tokens);
    }

    /// The node freezes: nobody is to be answered.
    pub(crate) fn drop_reads(&mut self, export: ExportId) {
        self.drop_those(|read| read.export == export);
    }

    /// The peer is not to be answered.
    pub(crate) fn drop_reads_of_peer(&mut self, export: ExportId) {
        self.drop_those(|read| read.export == export && matches!(read.asker, Asker::Peer(_)));
    }

    fn drop_those(&mut self, is_one: impl Fn(&Read) -> bool) {
        let mut tokens = self.token_list();
        self.reads.list(&mut tokens, is_one);
        for token in tokens.iter().copied() {
            match self.read(token).stage {
                ReadStage::AtDisk => self.read_mut(token).dropped = true,
                ReadStage::Behind | ReadStage::Fetching => self.forget_read(token, Outcome::Dropped),
                ReadStage::Waiting(data) => {
                    self.push(Output::Release(data.buffer));
                    self.forget_read(token, Outcome::Dropped);
                }
            }
        }
        self.give_back(tokens);
    }

    fn enter_stage(&mut self, token: Token, stage: ReadStage) {
        let now = self.now;
        self.read_mut(token).enter(now, stage);
    }

    fn read(&self, token: Token) -> &Read {
        self.reads.find(token).expect("a read under way")
    }

    fn read_mut(&mut self, token: Token) -> &mut Read {
        self.reads.find_mut(token).expect("a read under way")
    }
}
