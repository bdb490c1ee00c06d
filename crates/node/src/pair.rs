//! Exports that the peer holds as well: target above, engine below it, then the disks and the peer.
//!
//! ```text
//!   frames ──▶ target ──MirrorBlock──▶ engine ──Disk──▶ read-modify-write ──▶ disks
//!              ◀─Completed, Dropped,──        ──PeerSend, MetadataWrite, Ask──▶ shell
//!              Serving, Followed, Resolved
//! ```
//!
//! A node with a peer settles after each input: everything that the two cores have to say to each other is said before
//! the shell hears of anything, and the shell gets all of it in the order in which it was said. Before each input the
//! engine is told the time if it waits for it, so that no frame is answered by a node whose lease has run out meanwhile.

use aoe::target::{
    self, ExportConfig, FollowedWrite, Mirror, MirrorEnd, MirrorInput, Target, TargetError, TargetLimits,
};
use aoe::{Digest, MacAddress};
use block::{Completion, Duration, ExportId, Instant, RequestId};
use replication::durability::Durability;
use replication::engine::{Engine, EngineConfig};
use replication::identity::{PairIdentity, VolumeIdentity};
use replication::input::MetadataId;
use replication::limits::{Limits, NUMBERS_PER_MESSAGE};
use replication::membership::NodeNumber;
use replication::message::{Message, NumberWindow, Origin, VolumeMessage};
use replication::meta::Opened;
use replication::meta::small_state::SmallState;
use replication::output::Event::{MaskDiffers, Removed};
use replication::output::{FollowedEnd, Outcome, Resolution};
use replication::spent::Spent;
use replication::start::VolumeConfig;
use replication::version::VersionRange;
use replication::volume::VolumeStatus;
use replication::{input, output};
use thiserror::Error;

use crate::hand_over::{HandOver, Manner};
use crate::node::{Node, NodeError, for_target};
use crate::output::{Input, Output, SlowRequest};
use crate::read_modify_write::ReadModifyWrite;

/// What a node is told about the pair it belongs to.
#[derive(Clone, Copy, Debug)]
pub struct PairConfig {
    /// Which of the two it is.
    pub node: NodeNumber,
    /// Which pair.
    pub pair: PairIdentity,
    /// Drawn at random each time the process starts.
    pub incarnation: u64,
    /// How long a lease lasts, alike on both nodes.
    pub lease: Duration,
    /// How much is held at a time; its `requests` follows from the target's limits.
    pub limits: Limits,
    /// Versions of the peer protocol that it speaks.
    pub versions: VersionRange,
}

/// Why a mirrored export cannot be added.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum MirrorError {
    /// The target has refused it.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// There is no peer to hold it.
    #[error("this node has no peer; configure one, or export the disk without a mirror")]
    NoPeer,
    /// The metadata is another pair's.
    #[error(
        "the metadata belongs to the pair {found}, not to {expected}; check which metadata file belongs to the disk"
    )]
    Pair {
        /// Whose it is.
        found: PairIdentity,
        /// Whose it should be.
        expected: PairIdentity,
    },
    /// The metadata is the peer's.
    #[error("the metadata belongs to {found}; this is {expected}: use the metadata that was made here")]
    Node {
        /// Whose it is.
        found: NodeNumber,
        /// Whose it should be.
        expected: NodeNumber,
    },
}

/// What a node has if it has a peer.
#[derive(Debug)]
pub(crate) struct Pair {
    pub(crate) engine: Engine,
    config: PairConfig,
    first_disk_slot: u16,
    /// By export.
    volumes: Vec<Option<Mirrored>>,
    pub(crate) hand_over: HandOver,
    /// Where the time went of the request that is completed next.
    spent: Option<Box<Spent>>,
}

/// A volume that both nodes hold.
#[derive(Clone, Copy, Debug)]
struct Mirrored {
    identity: VolumeIdentity,
    durability: Durability,
}

impl Pair {
    /// Whether the engine has asked a disk for this; the target's names have smaller slots.
    pub(crate) const fn is_of_engine(&self, id: RequestId) -> bool {
        id.slot() >= self.first_disk_slot as usize
    }

    fn volume(&self, export: ExportId) -> Option<VolumeIdentity> {
        Some(self.mirrored(export)?.identity)
    }

    fn mirrored(&self, export: ExportId) -> Option<Mirrored> {
        self.volumes.get(export.0 as usize).copied().flatten()
    }

    /// Whether only this node of the two ever serves a volume.
    fn is_only_server(&self, export: ExportId) -> bool {
        let durability = self.mirrored(export).map(|mirrored| mirrored.durability);
        matches!(durability, Some(Durability::Async { server, .. }) if server == self.config.node)
    }
}

impl Node {
    /// Its engine makes a mistake from now on; to be called before anything else.
    ///
    /// # Panics
    /// If it has no peer.
    #[cfg(feature = "mutations")]
    pub fn mutate(&mut self, mutation: replication::mutation::Mutation) {
        self.pair_mut().engine.mutate(mutation);
    }

    /// A node without exports that has a peer. `now` is when its process started.
    ///
    /// # Panics
    /// If requests and followed writes together are more than the names of requests can tell apart.
    #[must_use]
    pub fn with_peer(now: Instant, limits: TargetLimits, config: PairConfig) -> Self {
        let first_disk_slot = u16::try_from(limits.outstanding_max).expect("fewer than 65,536 requests");
        let engine_limits = Limits { requests: limits.outstanding_max, ..config.limits };
        let engine = Engine::new(
            now,
            EngineConfig {
                node: config.node,
                pair: config.pair,
                incarnation: config.incarnation,
                lease: config.lease,
                limits: engine_limits,
                first_disk_slot,
                versions: config.versions,
            },
        );
        let limits = TargetLimits { followed_max: engine_limits.followed, ..limits };
        Self {
            read_modify_write: ReadModifyWrite::new(),
            target: Target::new(limits),
            outputs: std::collections::VecDeque::with_capacity(1024),
            pair: Some(Box::new(Pair {
                engine,
                config,
                first_disk_slot,
                volumes: Vec::new(),
                hand_over: HandOver::default(),
                spent: None,
            })),
        }
    }

    /// Adds an export that the peer holds as well, as its metadata was found. It is silent until the engine says
    /// otherwise. Its size and what clients had set are those of the metadata, whatever `config` says.
    ///
    /// # Errors
    /// See [`MirrorError`].
    pub fn add_mirrored_export(
        &mut self,
        now: Instant,
        config: ExportConfig,
        opened: Opened,
        volume_config: VolumeConfig,
    ) -> Result<ExportId, MirrorError> {
        let Self { target, read_modify_write, pair, .. } = self;
        let pair = pair.as_mut().ok_or(MirrorError::NoPeer)?;
        let superblock = &opened.superblock;
        if superblock.pair != pair.config.pair {
            return Err(MirrorError::Pair { found: superblock.pair, expected: pair.config.pair });
        }
        if superblock.node != pair.config.node {
            return Err(MirrorError::Node { found: superblock.node, expected: pair.config.node });
        }
        let (volume, logical_sector_size) = (superblock.volume, config.logical_sector_size);
        let config = ExportConfig {
            sectors: superblock.layout.volume_sectors(),
            state: opened.small_state.as_ref().map(to_target_state).unwrap_or_default(),
            mirror: Some(Mirror { digest_seed: digest_seed(pair.config.pair, volume) }),
            ..config
        };
        let export = target.add_export(now, config)?;
        read_modify_write.add_export(export, logical_sector_size);
        pair.volumes.resize(export.0 as usize + 1, None);
        pair.hand_over.add_export(export);
        let durability = volume_config.durability;
        pair.volumes[export.0 as usize] = Some(Mirrored { identity: volume, durability });
        pair.engine.add_volume(now, export, opened, volume_config);
        self.settle(now);
        Ok(export)
    }

    /// The bytes of an [`Output::MetadataWrite`], until [`Input::MetadataWritten`] was handed in.
    ///
    /// # Panics
    /// If this node has no peer, or the write is over.
    #[must_use]
    pub fn metadata_record(&self, id: MetadataId) -> &[u8] {
        self.pair.as_ref().expect("only a node with a peer writes metadata").engine.record(id)
    }

    /// Until when answers may leave that depend on the lease from the peer; `None` if there is none. To be looked at right
    /// before they do: the process may have stood still since the node gave them out.
    #[must_use]
    pub fn lease_end(&self) -> Option<Instant> {
        self.pair.as_ref()?.engine.lease_end()
    }

    /// How a mirrored export stands; `None` for others.
    #[must_use]
    pub fn volume_status(&self, export: ExportId) -> Option<VolumeStatus> {
        let pair = self.pair.as_ref()?;
        pair.volume(export)?;
        pair.engine.status(export)
    }

    pub(crate) fn handle_input_with_peer(&mut self, now: Instant, input: Input<'_>) -> Result<(), NodeError> {
        let due = self.pair().engine.poll_timeout().is_some_and(|due| due <= now);
        if due || matches!(input, Input::Timeout) {
            self.tell_engine(now, input::Input::Timeout)?;
            self.drop_old_handed(now);
            self.settle(now);
        }
        let result = match input {
            Input::Completed(completion) => self.complete(now, completion),
            Input::Resized { export, .. } if self.pair().volume(export).is_some() => Ok(()),
            Input::PeerConnected => self.tell_engine(now, input::Input::Connected),
            Input::PeerDisconnected => {
                self.drop_handed();
                self.tell_engine(now, input::Input::Disconnected)
            }
            Input::Frame { port, received, frame, buffer }
                if self.pair().hand_over.is_on() && self.hand_over(now, port, received, frame, buffer) =>
            {
                Ok(())
            }
            Input::PeerMessage { message, data } => {
                self.tell_engine(now, input::Input::Message { message, data })
            }
            Input::MetadataWritten { id, result } => {
                self.tell_engine(now, input::Input::Metadata { id, result })
            }
            Input::Digest { of, digest } => self.tell_engine(now, input::Input::Digest { of, digest }),
            Input::ArbiterAnswered { volume, question, answer } => {
                self.tell_engine(now, input::Input::Arbiter { volume, question, answer })
            }
            Input::Capacity { volume, capacity } => {
                self.tell_engine(now, input::Input::Capacity { volume, capacity })
            }
            Input::SlowAfter(after) => {
                self.tell_target(now, target::Input::SlowAfter(after))?;
                self.tell_engine(now, input::Input::SlowAfter(after))
            }
            Input::Control { volume, control } => {
                self.tell_engine(now, input::Input::Control { volume, control })
            }
            other => {
                let input = for_target(other).expect("all that is not for the target is above");
                self.tell_target(now, input)
            }
        };
        self.settle(now);
        result
    }

    pub(crate) fn pair(&self) -> &Pair {
        self.pair.as_ref().expect("the caller has seen that there is a peer")
    }

    pub(crate) fn pair_mut(&mut self) -> &mut Pair {
        self.pair.as_mut().expect("the caller has seen that there is a peer")
    }

    pub(crate) fn tell_engine(&mut self, now: Instant, input: input::Input) -> Result<(), NodeError> {
        self.pair_mut().engine.handle_input(now, input);
        Ok(())
    }

    /// Has the two cores say to each other what they have to say. What is for the shell is queued.
    fn settle(&mut self, now: Instant) {
        loop {
            while let Some(output) = self.pair.as_mut().and_then(|pair| pair.engine.poll_output()) {
                self.take_from_engine(now, output);
            }
            let Some(output) = self.target.poll_output() else { return };
            self.take_from_target(now, output);
        }
    }

    fn take_from_target(&mut self, now: Instant, output: target::Output) {
        let output = match output {
            target::Output::MirrorBlock { request, origin } => {
                let input = input::Input::Request { request, origin: origin.map(to_engine_origin) };
                return self.tell_engine(now, input).expect("the engine takes every request");
            }
            target::Output::Block(request) => return self.ask_disk(request),
            target::Output::Send(transmit) => Output::Send(transmit),
            target::Output::SendControl { port, frame } => Output::SendControl { port, frame },
            target::Output::Release(buffer) => Output::Release(buffer),
            target::Output::StoreState { export, state } => match self.pair().volume(export) {
                None => Output::StoreState { export, state },
                Some(volume) => {
                    let state = Box::new(to_engine_state(volume, &state));
                    let input = input::Input::SmallState { volume: export, state };
                    return self.tell_engine(now, input).expect("the engine takes every state");
                }
            },
        };
        self.outputs.push_back(output);
    }

    fn ask_disk(&mut self, request: block::BlockRequest) {
        if let Some(request) = self.read_modify_write.begin(request) {
            self.outputs.push_back(Output::Disk(request));
        }
    }

    fn take_from_engine(&mut self, now: Instant, output: output::Output) {
        use output::Output as Of;
        let output = match output {
            Of::Disk(request) => return self.ask_disk(request),
            Of::Completed { id, outcome } => return self.completed_by_engine(now, id, outcome),
            Of::Serving { volume: export, serving, stands_in, hands_over } => {
                self.tell_epoch(now, export);
                self.tell_mirror(now, MirrorInput::Serving { export, serving });
                // Where the other node never serves, nobody else answers at its address.
                let stands_in = stands_in || serving && self.pair().is_only_server(export);
                self.tell_mirror(now, MirrorInput::StandsIn { export, stands_in });
                return self.set_manner(export, Manner { serving, stands_in, hands_over });
            }
            Of::Handed { volume, port, to_receiver, received, frame } => {
                return self.keep_handed(volume, port, to_receiver, received, frame);
            }
            Of::Followed { volume, write, range, origin } => {
                let (write, origin) = (FollowedWrite(write.0), to_target_origin(origin));
                return self.tell_mirror(now, MirrorInput::Followed { export: volume, write, range, origin });
            }
            Of::FollowedEnded { write, end } => {
                let end = match end {
                    FollowedEnd::Finished | FollowedEnd::Started => MirrorEnd::Executed,
                    FollowedEnd::Dropped => MirrorEnd::Abandoned,
                    FollowedEnd::Doubtful => MirrorEnd::Doubtful,
                };
                return self
                    .tell_mirror(now, MirrorInput::FollowedEnded { write: FollowedWrite(write.0), end });
            }
            Of::Resolved { volume, range, origin, resolution } => {
                let origin = to_target_origin(origin);
                let end = match resolution {
                    Resolution::Executed => MirrorEnd::Executed,
                    Resolution::Overtaken => MirrorEnd::Overtaken,
                    Resolution::Abandoned => MirrorEnd::Abandoned,
                    Resolution::Unknown => MirrorEnd::Doubtful,
                };
                return self.tell_mirror(now, MirrorInput::Resolved { export: volume, range, origin, end });
            }
            Of::TellNumbers { volume, peer } => return self.tell_numbers(volume, peer),
            Of::Numbers { volume, windows } => {
                for window in &windows {
                    let input =
                        target::Input::NumbersTold { export: volume, window: &to_target_window(window) };
                    self.tell_target(now, input).expect("only frames are refused");
                }
                return;
            }
            Of::SmallState { volume, state } => {
                let state = to_target_state(&state);
                let input = target::Input::StateAgreed { export: volume, state: &state };
                // If there is no room for the answer its client asks again.
                let _ = self.tell_target(now, input);
                match self.other_mask(volume) {
                    Some(hosts) => Output::Event { volume, event: MaskDiffers { hosts } },
                    None => return,
                }
            }
            Of::Resized { volume, sectors } => {
                let input = target::Input::Resized { export: volume, sectors };
                return self.tell_target(now, input).expect("only frames are refused");
            }
            Of::Spent { spent, .. } => {
                self.pair_mut().spent = Some(spent);
                return;
            }
            Of::Release(buffer) => Output::Release(buffer),
            Of::Send { message, data } => Output::PeerSend { message, data },
            Of::Disconnect { reason } => Output::PeerDisconnect { reason },
            Of::Metadata { id, volume, place } => Output::MetadataWrite { id, volume, place },
            Of::Digest { of, data } => Output::Digest { of, data },
            Of::Ask { volume, question, expected, next } => Output::Ask { volume, question, expected, next },
            Of::Event { volume, event } => {
                self.tell_epoch(now, volume);
                if event == Removed {
                    self.forget_export(volume);
                }
                Output::Event { volume, event }
            }
        };
        self.outputs.push_back(output);
    }

    /// How many hosts are on the MAC mask list that holds, if it is not the one that the operator has said at this node.
    fn other_mask(&self, export: ExportId) -> Option<usize> {
        let export = self.target.export(export)?;
        let (wanted, mask) = (export.operator_mask()?, &export.state().mac_mask);
        (!export.operator_mask_is_due() && wanted != mask.as_slice()).then_some(mask.len())
    }

    fn completed_by_engine(&mut self, now: Instant, id: RequestId, outcome: Outcome) {
        let dropped = |end| target::Input::Mirror(MirrorInput::Dropped { id, end });
        let input = match outcome {
            Outcome::Done(payload) => target::Input::Completed(Completion { id, result: Ok(payload) }),
            Outcome::Failed(error) => target::Input::Completed(Completion { id, result: Err(error) }),
            Outcome::Started => dropped(MirrorEnd::Executed),
            Outcome::Dropped => dropped(MirrorEnd::Abandoned),
            Outcome::Doubtful => dropped(MirrorEnd::Doubtful),
        };
        self.tell_target(now, input).expect("only frames are refused");
        let spent = self.pair_mut().spent.take();
        if let Some(request) = self.target.take_slow() {
            self.outputs
                .push_back(Output::Slow(Box::new(SlowRequest { request, spent: spent.map(|spent| *spent) })));
        }
    }

    /// Which numbered writes this node remembers.
    fn tell_numbers(&mut self, export: ExportId, peer: ExportId) {
        let windows: Vec<_> = self.target.numbers(export).map(to_engine_window).collect();
        for part in windows.chunks(NUMBERS_PER_MESSAGE) {
            let message = Message::Volume(peer, VolumeMessage::Numbers(part.to_vec()));
            self.outputs.push_back(Output::PeerSend { message, data: None });
        }
    }

    /// The engine has ended all that it had under way for the export, and nobody is answered for it any more. Its number is not
    /// given out again.
    fn forget_export(&mut self, export: ExportId) {
        self.target.remove_export(export);
        self.set_manner(export, Manner::default());
        self.pair_mut().volumes[export.0 as usize] = None;
    }

    /// The membership may have changed.
    fn tell_epoch(&mut self, now: Instant, export: ExportId) {
        if let Some(status) = self.volume_status(export) {
            self.tell_mirror(now, MirrorInput::Epoch { export, epoch: status.membership.epoch.0 });
        }
    }

    fn tell_mirror(&mut self, now: Instant, input: MirrorInput) {
        self.tell_target(now, target::Input::Mirror(input)).expect("only frames are refused");
    }
}

/// Both nodes come to the same number, and nobody else knows it.
fn digest_seed(PairIdentity(pair): PairIdentity, VolumeIdentity(volume): VolumeIdentity) -> u64 {
    let mixed = pair ^ volume.rotate_left(64);
    #[expect(clippy::cast_possible_truncation, reason = "both halves count")]
    let seed = (mixed >> 64) as u64 ^ (mixed as u64).rotate_left(32);
    seed
}

const fn to_engine_origin(origin: target::Origin) -> Origin {
    match origin {
        target::Origin::Stock { initiator: MacAddress(initiator), digest: Digest(digest) } => {
            Origin::Stock { initiator, digest }
        }
        target::Origin::Sequenced { initiator, sequence } => Origin::Sequenced { initiator, sequence },
    }
}

const fn to_target_origin(origin: Origin) -> target::Origin {
    match origin {
        Origin::Stock { initiator, digest } => {
            target::Origin::Stock { initiator: MacAddress(initiator), digest: Digest(digest) }
        }
        Origin::Sequenced { initiator, sequence } => target::Origin::Sequenced { initiator, sequence },
    }
}

fn to_engine_window(window: target::NumberWindow) -> NumberWindow {
    let target::NumberWindow { initiator, latest, executed, failed } = window;
    NumberWindow { initiator, latest, executed, failed }
}

const fn to_target_window(window: &NumberWindow) -> target::NumberWindow {
    let NumberWindow { initiator, latest, executed, failed } = *window;
    target::NumberWindow { initiator, latest, executed, failed }
}

fn to_target_state(state: &SmallState) -> target::SmallState {
    target::SmallState {
        config_string: state.config_string.clone(),
        mac_mask: state.mac_mask.iter().copied().map(MacAddress).collect(),
        reservation: state.reservation.iter().copied().map(MacAddress).collect(),
    }
}

fn to_engine_state(volume: VolumeIdentity, state: &target::SmallState) -> SmallState {
    SmallState {
        config_string: state.config_string.clone(),
        mac_mask: state.mac_mask.iter().map(|mac| mac.0).collect(),
        reservation: state.reservation.iter().map(|mac| mac.0).collect(),
        ..SmallState::new(volume)
    }
}
