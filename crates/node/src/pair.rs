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

mod settling;
mod words;

use aoe::target::{self, ExportConfig, Mirror, Target, TargetError, TargetLimits};
use block::{Duration, ExportId, Instant, RequestId};
use replication::durability::Durability;
use replication::engine::{Engine, EngineConfig};
use replication::identity::{PairIdentity, VolumeIdentity};
use replication::input;
use replication::input::MetadataId;
use replication::lease::LeaseStatus;
use replication::limits::Limits;
use replication::links::Interfaces;
use replication::membership::NodeNumber;
use replication::meta::Opened;
use replication::spent::Spent;
use replication::start::VolumeConfig;
use replication::version::VersionRange;
use replication::volume::VolumeStatus;
use thiserror::Error;

use self::words::to_target_state;
use crate::hand_over::HandOver;
use crate::node::{Node, NodeError, for_target};
use crate::output::Input;
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
    /// Interfaces of this node that have no link.
    pub(crate) links_down: Interfaces,
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
                links_down: Interfaces::NONE,
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

    /// The bytes of an [`Output::MetadataWrite`](crate::output::Output::MetadataWrite), until [`Input::MetadataWritten`] was handed in.
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

    /// How long the leases of both nodes last from `now` on; `None` if there is no peer.
    #[must_use]
    pub fn lease_status(&self, now: Instant) -> Option<LeaseStatus> {
        Some(self.pair.as_ref()?.engine.lease_status(now))
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
            Input::PortChanged { port, link } => {
                // Nothing is taken there any more when the peer hears of it.
                let told = self.tell_target(now, target::Input::PortChanged { port, link });
                self.tell_of_link(now, port, link.is_none());
                told
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
}

/// Both nodes come to the same number, and nobody else knows it.
fn digest_seed(PairIdentity(pair): PairIdentity, VolumeIdentity(volume): VolumeIdentity) -> u64 {
    let mixed = pair ^ volume.rotate_left(64);
    #[expect(clippy::cast_possible_truncation, reason = "both halves count")]
    let seed = (mixed >> 64) as u64 ^ (mixed as u64).rotate_left(32);
    seed
}
