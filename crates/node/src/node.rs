//! The composition: AoE target above, disks below, and what disks with large sectors need in between.
//!
//! It passes on, it does not decide: what a frame means is the target's business, how a small write reaches a disk
//! of 4096-byte sectors that of [`crate::read_modify_write`], and what an export has to do with a peer that of
//! [`crate::pair`].

use std::collections::VecDeque;

use aoe::target::{self, Export, ExportConfig, Refusal, RefusalCounters, Target, TargetError, TargetLimits};
use block::{Completion, ExportId, Instant, Operation};
use thiserror::Error;

use crate::output::{Input, Output};
use crate::pair::Pair;
use crate::read_modify_write::{ReadModifyWrite, Step};

/// Why an input was not taken.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum NodeError {
    /// The frame was ignored.
    #[error("frame ignored: {0}")]
    Refused(Refusal),
}

/// All exports of one shard.
#[derive(Debug)]
pub struct Node {
    pub(crate) target: Target,
    pub(crate) read_modify_write: ReadModifyWrite,
    /// Outputs of our own making, and all of a node that has a peer; otherwise the target's are passed on one by one.
    pub(crate) outputs: VecDeque<Output>,
    pub(crate) pair: Option<Box<Pair>>,
}

impl Node {
    /// A node without exports and without a peer.
    #[must_use]
    pub fn new(limits: TargetLimits) -> Self {
        Self {
            read_modify_write: ReadModifyWrite::new(),
            target: Target::new(limits),
            outputs: VecDeque::with_capacity(8),
            pair: None,
        }
    }

    /// Adds an export that no other node has, and advertises it.
    ///
    /// # Errors
    /// If its address is taken or the shard is full.
    pub fn add_export(&mut self, now: Instant, config: ExportConfig) -> Result<ExportId, TargetError> {
        let logical_sector_size = config.logical_sector_size;
        let export = self.target.add_export(now, ExportConfig { mirror: None, ..config })?;
        self.read_modify_write.add_export(export, logical_sector_size);
        Ok(export)
    }

    /// Takes in what happened.
    ///
    /// # Errors
    /// If a frame was ignored; the reason is counted already.
    ///
    /// # Panics
    /// If the input is about a peer, and this node was made without.
    pub fn handle_input(&mut self, now: Instant, input: Input<'_>) -> Result<(), NodeError> {
        if self.pair.is_some() {
            return self.handle_input_with_peer(now, input);
        }
        let input = match input {
            Input::Completed(completion) => return self.complete(now, completion),
            other => for_target(other).expect("a node without a peer is told nothing about one"),
        };
        self.tell_target(now, input)
    }

    /// The next thing to do; drain until `None` after every input.
    #[must_use]
    pub fn poll_output(&mut self) -> Option<Output> {
        if let Some(output) = self.outputs.pop_front() {
            return Some(output);
        }
        if let Some(request) = self.read_modify_write.next_ready() {
            return Some(Output::Disk(request));
        }
        loop {
            return Some(match self.target.poll_output()? {
                target::Output::Block(request) => match self.read_modify_write.begin(request) {
                    Some(request) => Output::Disk(request),
                    None => continue,
                },
                target::Output::MirrorBlock { .. } | target::Output::Returned { .. } => {
                    unreachable!("a node with a peer has settled")
                }
                target::Output::Send(transmit) => Output::Send(transmit),
                target::Output::SendControl { port, frame } => Output::SendControl { port, frame },
                target::Output::Release(buffer) => Output::Release(buffer),
                target::Output::StoreState { export, state } => Output::StoreState { export, state },
            });
        }
    }

    /// When [`Input::Timeout`] is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let of_pair = self.pair.as_ref().and_then(|pair| pair.engine.poll_timeout());
        [self.target.poll_timeout(), of_pair].into_iter().flatten().min()
    }

    /// Requests of initiators that have not ended.
    #[must_use]
    pub fn outstanding(&self) -> usize {
        self.target.outstanding()
    }

    /// An export as it is now.
    #[must_use]
    pub fn export(&self, export: ExportId) -> Option<&Export> {
        self.target.export(export)
    }

    /// Every export, by number.
    pub fn exports(&self) -> impl Iterator<Item = (ExportId, &Export)> {
        self.target.exports()
    }

    /// How often a frame was ignored, by reason, over all exports and those that are not for any.
    #[must_use]
    pub const fn refusals(&self) -> &RefusalCounters {
        self.target.refusals()
    }

    pub(crate) fn tell_target(&mut self, now: Instant, input: target::Input<'_>) -> Result<(), NodeError> {
        self.target.handle_input(now, input).map_err(NodeError::Refused)
    }

    /// A disk has done what it was asked.
    pub(crate) fn complete(&mut self, now: Instant, completion: Completion) -> Result<(), NodeError> {
        match self.read_modify_write.complete(completion) {
            Step::Done(completion) => self.completed(now, completion),
            Step::DoneAndRelease(completion, buffer) => {
                self.outputs.push_back(Output::Release(buffer));
                self.completed(now, completion)
            }
            Step::Modify { from, to, write } => {
                assert!(matches!(write.operation, Operation::Write { .. }), "a changed sector is written");
                self.outputs.push_back(Output::Copy { from, to });
                self.outputs.push_back(Output::Disk(write));
                Ok(())
            }
        }
    }

    fn completed(&mut self, now: Instant, completion: Completion) -> Result<(), NodeError> {
        match &mut self.pair {
            Some(pair) if pair.is_of_engine(completion.id) => {
                pair.engine.handle_input(now, replication::input::Input::Disk(completion));
                Ok(())
            }
            _ => self.tell_target(now, target::Input::Completed(completion)),
        }
    }
}

/// What the target is told of, in its own words.
pub(crate) fn for_target(input: Input<'_>) -> Option<target::Input<'_>> {
    Some(match input {
        Input::Frame { port, received, frame, buffer } => {
            target::Input::Frame { port, received, frame, buffer }
        }
        Input::Handed { port, received, frame, buffer } => {
            target::Input::Handed { port, received, frame, buffer }
        }
        Input::Completed(completion) => target::Input::Completed(completion),
        Input::StateStored { export, result } => target::Input::StateStored { export, result },
        Input::PortChanged { port, link } => target::Input::PortChanged { port, link },
        Input::PeerAddress { port, mac } => target::Input::PeerAddress { port, mac },
        Input::Resized { export, sectors } => target::Input::Resized { export, sectors },
        Input::OperatorMask { export, mask } => target::Input::OperatorMask { export, mask },
        Input::Timeout => target::Input::Timeout,
        _ => return None,
    })
}
