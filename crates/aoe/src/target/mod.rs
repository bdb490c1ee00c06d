//! The target: a frame in, a request to a disk or an answer out, for all exports of one shard.
//!
//! Pure: it reads no clock, owns no socket, disk or buffer, and never moves a payload; it looks at the data of a
//! write once, to tell duplicates of it from other writes. Read in this order: [`Input`] and [`Output`]; `arrival`
//! (which frames count, and for which export); `ata` with `outstanding` (order), `duplicate` (what was sent before)
//! and `execution` (start and answer); `mirror` with `followed` (what the other node does); `device`; `config`, `mac_mask` and `reserve` with `change` (what clients may
//! set); `advertise`.
//!
//! What holds at all times (the rules are those of the design, §5):
//! - D1: a write identical to one in flight is not executed; both are answered, or the later one where it is the earlier one
//!   sent again.
//! - D2: a write identical to one completed within the last second is answered, or dropped if something that
//!   overlaps it was admitted since.
//! - D3: a frame more than a second old when its turn comes is dropped.
//! - D6: a write with a number is executed once, however late its frames come, while the process lives.
//! - D4: overlapping requests are executed in the order in which they were handed in.
//! - An answer promises durability unless the operator allowed a write cache.
//! - Every frame's buffer is released exactly once, every disk request completed exactly once.

mod advertise;
mod arrival;
mod ata;
mod change;
mod config;
mod control;
mod device;
mod directory;
mod duplicate;
mod execution;
mod export;
mod followed;
mod latency;
mod mac_mask;
mod mirror;
mod numbers;
mod operator_mask;
mod output;
mod outstanding;
mod port;
mod refusal;
mod reserve;
mod sector_sequence;
mod sequenced;
mod slab;
mod slow;

pub use export::{Export, ExportConfig, Identity, Mirror, SmallState, Statistics};
pub use latency::Latency;
pub use numbers::NumberWindow;
pub use output::{FollowedWrite, Input, MirrorEnd, MirrorInput, Origin, Output};
pub use output::{ReplyHead, StateError, Transmit};
pub use port::{PortId, PortLink};
pub use refusal::{Refusal, RefusalCounters};
pub use slow::{Slow, SlowKind};

use std::collections::VecDeque;

use block::{BufferName, Duration, ExportId, Instant};
use thiserror::Error;

use crate::address::Address;
use crate::limits;
use arrival::{Buffer, Reception};
use directory::Directory;
use duplicate::WriteHistory;
use export::{Exports, is_possible_size};
use followed::FollowedWrites;
use numbers::Numbers;
use outstanding::Outstanding;
use port::Ports;

/// Inputs that a shell may hand in before it drains the outputs.
pub const INPUTS_UNDRAINED_MAX: usize = 256;

/// Answers that no disk was asked for may be queued: one for every export, and these.
const OUTPUTS_UNOWED_MIN: usize = 1024;

/// How much a shard holds. Memory is reserved at once and touched only as far as it is used.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TargetLimits {
    /// Requests waiting or at a disk, at most 65,536. More are dropped.
    pub outstanding_max: usize,
    /// Writes in flight or remembered, for 2.25 s after their end, in a pair for 3.75 s. More are dropped: that many in that time are the
    /// most that a shard sustains.
    pub write_history_max: usize,
    /// Exports at one time.
    pub export_max: usize,
    /// Writes under way here that came by the other node of a pair, over all exports.
    pub followed_max: usize,
    /// A random number that nobody on the network knows.
    pub digest_seed: u64,
}

impl TargetLimits {
    /// Enough for a shard that does 230,000 writes a second, or 140,000 in a pair.
    #[must_use]
    pub const fn new(digest_seed: u64) -> Self {
        Self {
            outstanding_max: 4096,
            write_history_max: 512 * 1024,
            export_max: 4096,
            followed_max: 8192,
            digest_seed,
        }
    }
}

/// Why an export cannot be added or changed.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum TargetError {
    /// There is one already.
    #[error("{address} is exported already; give each disk an address of its own")]
    AddressInUse {
        /// The address.
        address: Address,
    },
    /// No room.
    #[error(
        "there are {max} exports already, and no room for more; spread them over more threads (`--threads`, or `count` in [threads])"
    )]
    TooManyExports {
        /// The limit.
        max: usize,
    },
    /// Linux uses half of it, and cannot use a target at all if that is none.
    #[error("a buffer count of {count} makes the disk unusable for Linux; use at least 2")]
    BufferCount {
        /// What was asked for.
        count: u16,
    },
    /// Empty, or more than 48 bits can name.
    #[error("{sectors} sectors cannot be exported; 1 to 2^48 can")]
    Size {
        /// What was asked for.
        sectors: u64,
    },
    /// A string or list is too long for its command.
    #[error(
        "the saved config string, MAC mask or reservation is too long; remove the state file to begin anew"
    )]
    State,
}

/// All exports of one shard.
#[derive(Debug)]
pub struct Target {
    exports: Exports,
    directory: Directory,
    ports: Ports,
    outstanding: Outstanding,
    history: WriteHistory,
    followed: FollowedWrites,
    numbers: Numbers,
    outputs: VecDeque<Output>,
    outputs_max: usize,
    /// Outputs that nobody waits for with a buffer or a request are dropped when so many are queued.
    outputs_unowed_max: usize,
    advertise_at: Option<Instant>,
    refusals: RefusalCounters,
    export_max: usize,
    digest_seed: u64,
    /// What takes so long is counted and told of.
    slow_after: Option<Duration>,
    slow: Option<Slow>,
}

impl Target {
    /// A target without exports and with no interface up.
    ///
    /// # Panics
    /// If a limit is zero, or more requests are to be outstanding than their names can tell apart.
    #[must_use]
    pub fn new(limits: TargetLimits) -> Self {
        let TargetLimits { outstanding_max, write_history_max, export_max, followed_max, digest_seed } =
            limits;
        let outputs_unowed_max = export_max + OUTPUTS_UNOWED_MIN;
        // A request leaves at most three things behind: for the disk, for its sender, and its buffer.
        let outputs_max = 3 * (outstanding_max + INPUTS_UNDRAINED_MAX) + outputs_unowed_max;
        Self {
            exports: Exports::default(),
            directory: Directory::new(export_max),
            ports: Ports::default(),
            outstanding: Outstanding::new(outstanding_max),
            history: WriteHistory::new(write_history_max, digest_seed),
            followed: FollowedWrites::new(followed_max),
            numbers: Numbers::new(limits::SEQUENCED_INITIATORS_MAX),
            outputs: VecDeque::with_capacity(outputs_max),
            outputs_max,
            outputs_unowed_max,
            advertise_at: None,
            refusals: RefusalCounters::default(),
            export_max,
            digest_seed,
            slow_after: None,
            slow: None,
        }
    }

    /// Serves a disk from now on, and has it advertised at the next timeout, which is due at once. One that another node
    /// holds as well serves, and is advertised, when [`MirrorInput::Serving`] says so.
    ///
    /// # Errors
    /// See [`TargetError`].
    pub fn add_export(&mut self, now: Instant, config: ExportConfig) -> Result<ExportId, TargetError> {
        let address = config.address;
        if self.directory.find(address.into()).is_some() {
            return Err(TargetError::AddressInUse { address });
        }
        if self.exports.len() >= self.export_max {
            return Err(TargetError::TooManyExports { max: self.export_max });
        }
        if config.buffer_count < 2 {
            return Err(TargetError::BufferCount { count: config.buffer_count });
        }
        if !is_possible_size(config.sectors) {
            return Err(TargetError::Size { sectors: config.sectors });
        }
        if !config.state.is_within_limits() {
            return Err(TargetError::State);
        }
        if config.mirror.is_some() {
            self.history.has_peer();
        }
        let id = self.exports.insert(Export::new(config));
        self.directory.insert(address, id);
        self.schedule_advertisement(now, id);
        Ok(id)
    }

    /// Serves a disk no longer: it is silent from now on. What its disk still has is completed and not answered.
    /// Gives back what clients had set. Its disk is not to be added again before those requests are completed:
    /// nothing would order them before new ones.
    pub fn remove_export(&mut self, id: ExportId) -> Option<SmallState> {
        let export = self.exports.remove(id)?;
        self.directory.remove(export.address());
        Some(export.config.state)
    }

    /// Takes in what happened. Then the outputs are to be drained.
    ///
    /// # Errors
    /// [`Refusal`] if a frame was ignored; it is counted, and its buffer released.
    ///
    /// # Panics
    /// If the shell completes what it was not asked, or does not drain the outputs.
    pub fn handle_input(&mut self, now: Instant, input: Input<'_>) -> Result<(), Refusal> {
        let result = match input {
            Input::Frame { port, received, frame, buffer } => {
                self.frame(Reception { now, received, port, handed: false }, frame, buffer)
            }
            Input::Handed { port, received, frame, buffer } => {
                self.frame(Reception { now, received, port, handed: true }, frame, buffer)
            }
            Input::Completed(completion) => {
                self.completed(now, completion);
                Ok(())
            }
            Input::StateStored { export, result } => self.state_stored(export, result),
            Input::PortChanged { port, link } => {
                if self.ports.change(port, link) {
                    self.schedule_all_advertisements(now);
                }
                Ok(())
            }
            Input::PeerAddress { port, mac } => {
                self.ports.set_peer(port, mac);
                Ok(())
            }
            Input::PeerLinkDown { port, down } => {
                if self.ports.set_peer_down(port, down) {
                    self.schedule_all_advertisements(now);
                }
                Ok(())
            }
            Input::Resized { export, sectors } => {
                self.resized(now, export, sectors);
                Ok(())
            }
            Input::StateAgreed { export, state } => self.state_agreed(export, state),
            Input::SlowAfter(after) => {
                self.slow_after = after;
                Ok(())
            }
            Input::OperatorMask { export, mask } => {
                self.take_operator_mask(export, mask);
                Ok(())
            }
            Input::NumbersTold { export, window } => {
                self.learn_numbers(now, export, window);
                Ok(())
            }
            Input::Mirror(input) => {
                self.mirror(now, input);
                Ok(())
            }
            Input::Timeout => {
                self.advertise(now);
                Ok(())
            }
        };
        self.invariants();
        result.inspect_err(|refusal| self.refusals.add(*refusal))
    }

    /// The next thing to do, until there is none.
    #[inline]
    pub fn poll_output(&mut self) -> Option<Output> {
        let output = self.outputs.pop_front();
        if output.is_none() {
            // Begins anew at the start of its memory, which so stays in the cache.
            self.outputs.clear();
        }
        output
    }

    /// When to hand in [`Input::Timeout`].
    #[must_use]
    pub const fn poll_timeout(&self) -> Option<Instant> {
        self.advertise_at
    }

    /// An export that is served.
    #[must_use]
    pub fn export(&self, id: ExportId) -> Option<&Export> {
        self.exports.find(id)
    }

    /// Every export that is served, in the order in which they were added.
    pub fn exports(&self) -> impl Iterator<Item = (ExportId, &Export)> {
        self.exports.names().filter_map(|id| self.exports.find(id).map(|export| (id, export)))
    }

    /// How often a frame was ignored, by reason, over all exports and those that are not for any.
    #[must_use]
    pub const fn refusals(&self) -> &RefusalCounters {
        &self.refusals
    }

    /// Which numbered writes to an export are remembered (rule D6), for the other node of a pair.
    pub fn numbers(&self, now: Instant, export: ExportId) -> impl Iterator<Item = NumberWindow> {
        self.numbers.windows(now, export)
    }

    /// Requests that wait or are at a disk.
    #[must_use]
    pub fn outstanding(&self) -> usize {
        self.outstanding.len()
    }

    /// Writes in flight or remembered, of [`TargetLimits::write_history_max`].
    #[must_use]
    pub fn writes_remembered(&self) -> usize {
        self.history.len()
    }

    fn frame(&mut self, reception: Reception, frame: &[u8], buffer: BufferName) -> Result<(), Refusal> {
        let result = self.arrive(reception, frame, buffer);
        if result != Ok(Buffer::Kept) {
            self.push(Output::Release(buffer));
        }
        result.map(|_| ())
    }

    fn resized(&mut self, now: Instant, id: ExportId, sectors: u64) {
        assert!(is_possible_size(sectors), "the shell looks at a size before it tells");
        let Some(export) = self.exports.find_mut(id) else { return };
        if export.config.sectors != sectors {
            export.config.sectors = sectors;
            self.schedule_advertisement(now, id);
        }
    }

    fn export_mut(&mut self, id: ExportId) -> &mut Export {
        self.exports.find_mut(id).expect("the caller has found the export")
    }

    #[inline]
    fn push(&mut self, output: Output) {
        assert!(self.outputs.len() < self.outputs_max, "outputs are not drained");
        self.outputs.push_back(output);
    }

    /// How many outputs that stand for no request in the table and no buffer may be queued now.
    fn output_room(&self) -> usize {
        self.outputs_unowed_max.saturating_sub(self.outputs.len())
    }

    fn check_output_room(&self) -> Result<(), Refusal> {
        if self.output_room() == 0 { Err(Refusal::ReplyQueueFull) } else { Ok(()) }
    }

    /// What must hold between the parts after every input; cheap enough to be looked at each time.
    fn invariants(&self) {
        assert!(self.outputs.len() <= self.outputs_max, "outputs are bounded");
        assert!(self.history.in_flight() <= self.outstanding.len(), "each write in flight is outstanding");
    }
}

#[cfg(test)]
mod tests;
