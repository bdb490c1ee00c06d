//! The composition: AoE target above, disks below, and what disks with large sectors need in between.
//!
//! It passes on, it does not decide: what a frame means is the target's business, how a small write reaches a disk
//! of 4096-byte sectors that of [`crate::read_modify_write`].

use std::collections::VecDeque;

use aoe::target::{
    self, Export, ExportConfig, PortId, PortLink, Refusal, RefusalCounters, SmallState, StateError, Target,
};
use aoe::target::{TargetError, TargetLimits, Transmit};
use block::{BlockRequest, BufferName, BufferSlice, Completion, ExportId, Instant, Operation};
use thiserror::Error;

use crate::read_modify_write::{ReadModifyWrite, Step};

/// What happened.
#[derive(Debug)]
pub enum Input<'a> {
    /// A frame came in; its buffer is ours until [`Output::Release`].
    Frame {
        /// By which interface.
        port: PortId,
        /// When the kernel received it.
        received: Instant,
        /// All of it, from the destination address on.
        frame: &'a [u8],
        /// The memory it stands in.
        buffer: BufferName,
    },
    /// A disk request ended.
    Completed(Completion),
    /// A [`Output::StoreState`] was carried out, or could not be.
    StateStored {
        /// Whose state.
        export: ExportId,
        /// Whether it is on stable storage.
        result: Result<(), StateError>,
    },
    /// An interface came up, went down or changed.
    PortChanged {
        /// Which interface.
        port: PortId,
        /// Its address and MTU, or `None` while it is down.
        link: Option<PortLink>,
    },
    /// A disk has another size now.
    Resized {
        /// Whose disk.
        export: ExportId,
        /// Its new size.
        sectors: u64,
    },
    /// The time given by [`Node::poll_timeout`] has come.
    Timeout,
}

/// What to do.
#[derive(Debug)]
pub enum Output {
    /// Give this to the disk of its export. Every range is aligned to the disk's logical sectors.
    Disk(BlockRequest),
    /// Copy these bytes, before any later output is carried out.
    Copy {
        /// From where.
        from: BufferSlice,
        /// To where; as long as `from`.
        to: BufferSlice,
    },
    /// Send this frame, then free its payload's buffer.
    Send(Transmit),
    /// Send this complete frame.
    SendControl {
        /// By which interface.
        port: PortId,
        /// All of it.
        frame: Vec<u8>,
    },
    /// The buffer is not needed any more.
    Release(BufferName),
    /// Make this durable, then say so by [`Input::StateStored`].
    StoreState {
        /// Whose state.
        export: ExportId,
        /// All of it.
        state: SmallState,
    },
}

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
    target: Target,
    read_modify_write: ReadModifyWrite,
    /// Outputs of our own making; the target's are passed on one by one.
    outputs: VecDeque<Output>,
}

impl Node {
    /// A node without exports.
    #[must_use]
    pub fn new(limits: TargetLimits) -> Self {
        Self {
            read_modify_write: ReadModifyWrite::new(limits.outstanding_max),
            target: Target::new(limits),
            outputs: VecDeque::with_capacity(8),
        }
    }

    /// Adds an export and advertises it.
    ///
    /// # Errors
    /// If its address is taken or the shard is full.
    pub fn add_export(&mut self, now: Instant, config: ExportConfig) -> Result<ExportId, TargetError> {
        let logical_sector_size = config.logical_sector_size;
        let export = self.target.add_export(now, config)?;
        self.read_modify_write.add_export(export, logical_sector_size);
        Ok(export)
    }

    /// Takes in what happened.
    ///
    /// # Errors
    /// If a frame was ignored; the reason is counted already.
    pub fn handle_input(&mut self, now: Instant, input: Input<'_>) -> Result<(), NodeError> {
        let input = match input {
            Input::Completed(completion) => return self.complete(now, completion),
            Input::Frame { port, received, frame, buffer } => {
                target::Input::Frame { port, received, frame, buffer }
            }
            Input::StateStored { export, result } => target::Input::StateStored { export, result },
            Input::PortChanged { port, link } => target::Input::PortChanged { port, link },
            Input::Resized { export, sectors } => target::Input::Resized { export, sectors },
            Input::Timeout => target::Input::Timeout,
        };
        self.target.handle_input(now, input).map_err(NodeError::Refused)
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
                target::Output::MirrorBlock { .. } => unreachable!("no export of this node is mirrored"),
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
        self.target.poll_timeout()
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

    fn complete(&mut self, now: Instant, completion: Completion) -> Result<(), NodeError> {
        match self.read_modify_write.complete(completion) {
            Step::Done(completion) => self
                .target
                .handle_input(now, target::Input::Completed(completion))
                .map_err(NodeError::Refused),
            Step::DoneAndRelease(completion, buffer) => {
                self.outputs.push_back(Output::Release(buffer));
                self.target
                    .handle_input(now, target::Input::Completed(completion))
                    .map_err(NodeError::Refused)
            }
            Step::Modify { from, to, write } => {
                debug_assert!(matches!(write.operation, Operation::Write { .. }));
                self.outputs.push_back(Output::Copy { from, to });
                self.outputs.push_back(Output::Disk(write));
                Ok(())
            }
        }
    }
}
