//! How inputs and outputs read: one line each, short, and the same again when something else changes.
//!
//! Things under way are named in the order in which they appear, `w0.1` for the first write that node 0 coordinates: w a
//! write, f the follower's name of one, r a read for the peer, c a copy of a resync, v a comparison, s a flush.

use std::collections::BTreeMap;

use block::{BlockRequest, LbaRange, Operation, RequestId};
use replication::input::{ArbiterAnswer, Input, MetadataId};
use replication::membership::Membership;
use replication::message::{BlockRun, CopyState, Effect, Message, Token, VolumeMessage};
use replication::meta::activity_log::Transaction;
use replication::meta::bitmap;
use replication::meta::layout::{Layout, Place};
use replication::meta::superblock::Superblock;
use replication::meta::twin::Side;
use replication::output::{Event, FollowedEnd, Outcome, Output, Resolution};
use replication::spent::Spent;
use replication::volume::VolumeStatus;

use crate::world::{FORMAT, layout};

#[derive(Debug, Default)]
pub(crate) struct Words {
    names: BTreeMap<(char, usize, Token), usize>,
    counts: BTreeMap<(char, usize), usize>,
    requests: u32,
    /// What disks and metadata were asked for, until they have done it.
    asked: BTreeMap<(usize, RequestId), String>,
    records: BTreeMap<(usize, MetadataId), String>,
}

impl Words {
    /// The next request of a client.
    pub(crate) fn request(&mut self, _node: usize) -> RequestId {
        self.requests += 1;
        RequestId(self.requests)
    }

    /// What has come in, unless it is not worth a line.
    pub(crate) fn input(
        &mut self,
        node: usize,
        input: &Input,
        content: Option<&str>,
        leases: bool,
    ) -> Option<String> {
        Some(match input {
            Input::Request { request, .. } => {
                format!("request {}: {}", request.id.0, self.operation(request.operation, content))
            }
            Input::SlowAfter(_) => "is to tell of slow requests".to_owned(),
            Input::Disk(completion) => {
                let asked = self.asked.remove(&(node, completion.id)).unwrap_or_default();
                match (&completion.result, content) {
                    (Ok(_), Some(content)) => format!("disk has {asked}: {}", self.content(content)),
                    (Ok(_), None) => format!("disk has {asked}"),
                    (Err(error), _) => format!("disk cannot {asked}: {error}"),
                }
            }
            Input::Metadata { id, .. } => {
                format!("metadata has {}", self.records.remove(&(node, *id)).unwrap_or_default())
            }
            Input::Connected => "is connected to its peer".to_owned(),
            Input::Disconnected => "the connection is gone".to_owned(),
            Input::Message { message, .. } => {
                format!("hears {}", self.message(1 - node, message, content, leases)?)
            }
            Input::Digest { .. } => "has the digest".to_owned(),
            Input::Arbiter { answer, .. } => match answer {
                ArbiterAnswer::Swapped => "arbiter: done".to_owned(),
                ArbiterAnswer::Holds(held) => format!("arbiter: no, it holds {}", members(*held)),
                ArbiterAnswer::Unreachable => "arbiter: no answer".to_owned(),
            },
            Input::Control { control, .. } => format!("operator: {control:?}"),
            Input::Timeout => return None,
            other => format!("{other:?}"),
        })
    }

    /// What is to be done, unless it is not worth a line.
    pub(crate) fn output(
        &mut self,
        node: usize,
        output: &Output,
        content: Option<&str>,
        record: Option<&[u8]>,
        leases: bool,
    ) -> Option<String> {
        Some(match output {
            Output::Disk(BlockRequest { id, operation, .. }) => {
                let asked = self.operation(*operation, content);
                self.asked.insert((node, *id), asked.clone());
                format!("disk: {asked}")
            }
            Output::Completed { id, outcome } => {
                format!("request {} {}", id.0, self.outcome(*outcome, content))
            }
            // There are no numbered writes in these stories.
            Output::Release(_) | Output::TellNumbers { .. } | Output::Numbers { .. } => return None,
            Output::Send { message, .. } => format!("says {}", self.message(node, message, content, leases)?),
            Output::Disconnect { reason } => format!("ends the session: {reason}"),
            Output::Metadata { id, place, .. } => {
                let text = record_text(*place, record.unwrap_or_default());
                self.records.insert((node, *id), text.clone());
                format!("metadata: {text}")
            }
            Output::Spent { spent, .. } => {
                let Spent { waiting, log, disk, peer, at_peer, .. } = **spent;
                format!(
                    "tells where its time went: waiting {waiting:?}, log {log:?}, disk {disk:?}, peer {peer:?}, {at_peer:?} of it there"
                )
            }
            Output::Digest { .. } => "asks for the digest".to_owned(),
            Output::Ask { expected, next, .. } if expected == next => {
                format!("asks the arbiter whether it holds {}", members(*expected))
            }
            Output::Ask { expected, next, .. } => {
                format!("asks the arbiter: {} instead of {}", members(*next), members(*expected))
            }
            Output::Serving { stands_in: true, .. } => "serves, also at the peer's address".to_owned(),
            Output::Serving { serving: true, hands_over: true, .. } => {
                "serves, hands back what came for the peer".to_owned()
            }
            Output::Serving { serving: true, .. } => "serves".to_owned(),
            Output::Serving { hands_over: true, .. } => "serves no more, hands over what comes".to_owned(),
            Output::Serving { .. } => "serves no more".to_owned(),
            Output::Followed { write, range, .. } => {
                format!("target remembers {}, {range}", self.name('f', node, *write))
            }
            Output::FollowedEnded { write, end } => {
                let end = match end {
                    FollowedEnd::Finished => "both have it",
                    FollowedEnd::Started => "this disk has it or will",
                    FollowedEnd::Dropped => "never executed here",
                    FollowedEnd::Doubtful => "nobody knows what this disk has of it",
                };
                format!("target: {}, {end}", self.name('f', node, *write))
            }
            Output::Resolved { range, resolution, .. } => {
                let became = match resolution {
                    Resolution::Executed => "was executed",
                    Resolution::Overtaken => "was executed, maybe before another one in doubt",
                    Resolution::Abandoned => "never was",
                    Resolution::Unknown => "is unknown, its frames are dropped for a while",
                };
                format!("target: the write in doubt at {range} {became}")
            }
            Output::Event { event, .. } => format!("tells the operator: {}", event_text(event)),
            other => format!("{other:?}"),
        })
    }

    pub(crate) fn status(&self, status: &VolumeStatus) -> String {
        let serving = if status.serving { "serves" } else { "serves nothing" };
        let mut text = format!("{:?}, {serving}, epoch {}", status.phase, members(status.membership));
        match (status.lacking, status.out_of_sync) {
            (0, 0) => {}
            (lacking, out_of_sync) => {
                text += &format!(", lacks {lacking} blocks, peer lacks {out_of_sync}");
            }
        }
        text
    }

    /// `A*8 .*56`
    pub(crate) fn content(&self, content: &str) -> String {
        let mut runs: Vec<(char, usize)> = Vec::new();
        for letter in content.chars() {
            match runs.last_mut() {
                Some((last, count)) if *last == letter => *count += 1,
                _ => runs.push((letter, 1)),
            }
        }
        let runs: Vec<String> = runs.into_iter().map(|(letter, count)| format!("{letter}*{count}")).collect();
        runs.join(" ")
    }

    fn operation(&self, operation: Operation, content: Option<&str>) -> String {
        match operation {
            Operation::Read { range } => format!("read {range}"),
            Operation::Write { range, durable, .. } => {
                let content = self.content(content.unwrap_or_default());
                format!("write {range} {content}{}", if durable { "" } else { ", cached" })
            }
            Operation::Flush => "flush".to_owned(),
        }
    }

    fn outcome(&self, outcome: Outcome, content: Option<&str>) -> String {
        match (outcome, content) {
            (Outcome::Done(_), Some(content)) => format!("answered: {}", self.content(content)),
            (Outcome::Done(_), None) => "answered: done".to_owned(),
            (Outcome::Failed(error), _) => format!("answered: {error}"),
            (Outcome::Dropped, _) => "dropped in silence".to_owned(),
            (Outcome::Started, _) => "dropped in silence, but this disk has it".to_owned(),
            (Outcome::Doubtful, _) => "dropped in silence, and nobody knows".to_owned(),
        }
    }

    /// Names what `owner` calls so.
    fn name(&mut self, kind: char, owner: usize, token: Token) -> String {
        let counts = &mut self.counts;
        let number = *self.names.entry((kind, owner, token)).or_insert_with(|| {
            let count = counts.entry((kind, owner)).or_default();
            *count += 1;
            *count
        });
        format!("{kind}{owner}.{number}")
    }

    /// What `sender` says.
    fn message(
        &mut self,
        sender: usize,
        message: &Message,
        content: Option<&str>,
        leases: bool,
    ) -> Option<String> {
        Some(match message {
            Message::Hello(hello) => format!("Hello from {}, protocol {}", hello.node, hello.versions),
            Message::Goodbye(reason) => format!("Goodbye: {reason}"),
            Message::Renew { .. } if leases => "Renew".to_owned(),
            Message::Granted { .. } if leases => "Granted".to_owned(),
            Message::Renew { .. } | Message::Granted { .. } => return None,
            Message::Announce(announce) => format!("Announce the volume, {} sectors", announce.sectors),
            Message::LinksDown(down) => format!("LinksDown {:b}", down.bits()),
            Message::Volume(_, message) => {
                let text = self.volume_message(sender, message);
                match content {
                    Some(content) => format!("{text} {}", self.content(content)),
                    None => text,
                }
            }
        })
    }

    fn volume_message(&mut self, sender: usize, message: &VolumeMessage) -> String {
        use VolumeMessage as Of;
        let peer = 1 - sender;
        match message {
            Of::OutOfSync(runs) => format!("OutOfSync {}", runs_text(runs)),
            Of::Doubtful(writes) => {
                let texts: Vec<String> = writes
                    .iter()
                    .map(|write| {
                        let effect = match write.effect {
                            Effect::Whole => "here",
                            Effect::Overtaken => "here, below another one",
                            Effect::Nothing => "not here",
                            Effect::Unknown => "unknown",
                        };
                        format!("{} {effect}", write.range)
                    })
                    .collect();
                format!("Doubtful {}", texts.join(", "))
            }
            Of::Offer(offer) => {
                let copy = match offer.copy {
                    CopyState::Good => "good copy",
                    CopyState::Inconsistent => "copy lacks blocks",
                    CopyState::Diskless => "no disk",
                };
                let alone = if offer.alone { ", serves alone" } else { "" };
                let forgetful = if offer.forgetful { ", has forgotten its writes" } else { "" };
                format!("Offer: epoch {}, {copy}{alone}{forgetful}", members(offer.membership))
            }
            Of::Proceed(membership) => format!("Proceed: epoch {}", members(*membership)),
            Of::Replicate { write, range, .. } => {
                format!("Replicate {} {range}", self.name('w', sender, *write))
            }
            Of::Ack { write, follower, .. } => {
                let (write, follower) = (self.name('w', peer, *write), self.name('f', sender, *follower));
                format!("Ack {write} ({follower})")
            }
            Of::Commit { follower } => format!("Commit {}", self.name('f', peer, *follower)),
            Of::Fetch { read, range } => format!("Fetch {} {range}", self.name('r', sender, *read)),
            Of::Fetched { read, .. } => format!("Fetched {}", self.name('r', peer, *read)),
            Of::Copy { copy, range } => format!("Copy {} {range}", self.name('c', sender, *copy)),
            Of::CopyDigest { copy, range, .. } => {
                format!("CopyDigest {} {range}", self.name('c', sender, *copy))
            }
            Of::Copied { copy } => format!("Copied {}", self.name('c', peer, *copy)),
            Of::CopyYielded { copy } => format!("CopyYielded {}", self.name('c', peer, *copy)),
            Of::CopyDiffers { copy } => format!("CopyDiffers {}", self.name('c', peer, *copy)),
            Of::Missing { range } => format!("Missing {range}"),
            Of::Member(membership) => format!("Member: epoch {}", members(*membership)),
            Of::MemberKnown(membership) => format!("MemberKnown: epoch {}", members(*membership)),
            Of::Flush { flush } => format!("Flush {}", self.name('s', sender, *flush)),
            Of::Flushed { flush } => format!("Flushed {}", self.name('s', peer, *flush)),
            other => format!("{other:?}"),
        }
    }
}

fn members(membership: Membership) -> String {
    membership.to_string()
}

fn runs_text(runs: &[BlockRun]) -> String {
    if runs.is_empty() {
        return "nothing".to_owned();
    }
    let runs: Vec<String> = runs
        .iter()
        .map(|run| LbaRange::new(block::Lba(run.start * 8), block::SectorCount(sectors(run.count))))
        .map(|range| range.expect("blocks of the volume").to_string())
        .collect();
    runs.join(", ")
}

fn sectors(blocks: u64) -> u16 {
    u16::try_from(blocks * 8).expect("a small volume")
}

fn event_text(event: &Event) -> String {
    match event {
        Event::Frozen => "frozen".to_owned(),
        Event::Paired { membership, lacking, peer_lacks } => {
            format!("paired, epoch {membership}; lacks {lacking} blocks, the peer {peer_lacks}")
        }
        Event::Alone(membership) => format!("alone, epoch {membership}"),
        Event::InSync(membership) => format!("in sync, epoch {membership}"),
        Event::ShutOut(membership) => format!("shut out, the arbiter holds {membership}"),
        Event::ReadRepaired(range) => format!("{range} unreadable, mended from the peer"),
        Event::Forced(membership) => format!("forced, epoch {membership}"),
        other => format!("{other:?}"),
    }
}

/// What a record says.
fn record_text(place: Place, bytes: &[u8]) -> String {
    for side in [Side::Zero, Side::One] {
        if place == Layout::superblock(side) {
            let (_, (_, superblock)) = Superblock::parse(bytes, side).expect("just made");
            let used = if superblock.clean { "clean" } else { "in use" };
            let whole = if superblock.inconsistent { ", lacks blocks" } else { "" };
            let lost = if superblock.disk_lost { ", disk lost" } else { "" };
            return format!("superblock (epoch {}, {used}{whole}{lost})", superblock.membership);
        }
        if place == layout().bitmap_block(0, side) {
            let bits = bitmap::parse(bytes, layout(), FORMAT, 0, side).expect("just made");
            let word = bits.1.words().next().expect("a block has words");
            let set: Vec<String> =
                (0..8).filter(|bit| word >> bit & 1 == 1).map(|bit| bit.to_string()).collect();
            let set = if set.is_empty() { "none".to_owned() } else { set.join(" ") };
            return format!("bitmap (blocks that the peer lacks: {set})");
        }
    }
    for index in 0..128 {
        if place == Layout::transaction(index) {
            return match Transaction::parse(bytes, index, layout(), FORMAT) {
                Ok(transaction) => {
                    let extents: Vec<String> =
                        transaction.changes.iter().map(|change| change.extent.0.to_string()).collect();
                    format!("activity log (extent {} is hot)", extents.join(", "))
                }
                Err(_) => "activity log (blank)".to_owned(),
            };
        }
    }
    "small state".to_owned()
}
