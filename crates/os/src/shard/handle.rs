//! The control plane's end of a shard: how one is made, what is asked of it and what it asks.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;

use aoe::MacAddress;
use aoe::target::{ExportConfig, PortId, PortLink, SmallState, StateError, TargetError, TargetLimits};
use block::{Duration, ExportId};
use node::{MirrorError, PairConfig, SlowRequest};
use replication::input::{ArbiterAnswer, Control};
use replication::links::Interfaces;
use replication::membership::Membership;
use replication::meta::Opened;
use replication::output::{Event as VolumeEvent, Wish};
use replication::start::VolumeConfig;
use replication::volume::VolumeStatus;
use thiserror::Error;

use super::{Shard, ShardStatistics};
use crate::cpu::CpuError;
use crate::disk::{Disk, DiskError};
use crate::disk_engine::EngineKind;
use crate::frame_port::{PortError, PortOptions};
use crate::metadata_file::MetadataFile;
use crate::pcap::PcapWriter;
use crate::peer_link::{PeerFailure, PeerStream};
use crate::sys::file::EventFd;

/// How a shard is made.
#[derive(Debug)]
pub struct ShardOptions {
    /// Shown by `ps` and in logs.
    pub name: String,
    /// Its interfaces; the index is the port's number.
    pub ports: Vec<PortOptions>,
    /// Bounds of the target.
    pub limits: TargetLimits,
    /// How disk operations reach the kernel.
    pub engine: EngineKind,
    /// How long to look for the next frame, with nothing under way, before sleeping.
    pub busy_poll: Duration,
    /// Pin the thread to this CPU.
    pub cpu: Option<usize>,
    /// Record all frames there.
    pub pcap: Option<PcapWriter>,
    /// The pair it belongs to, if it has a peer: the shard of the same number on the other node.
    pub pair: Option<PairConfig>,
}

/// Why a shard could not start.
#[derive(Debug, Error)]
pub enum ShardError {
    /// A port could not be opened.
    #[error(transparent)]
    Port(#[from] PortError),
    /// The core it was to run on.
    #[error(transparent)]
    Cpu(#[from] CpuError),
    /// The kernel refused the engine.
    #[error("the kernel refuses this way to ask disks ({0}): use the threads engine")]
    Engine(io::Error),
    /// The kernel refused memory, a ring or a thread.
    #[error("cannot start: {0}")]
    System(#[from] io::Error),
    /// The thread ended before it could say why.
    #[error("the thread ended while starting")]
    Lost,
}

/// A disk that the peer holds as well.
#[derive(Debug)]
pub struct MirroredExport {
    /// The disk, opened and locked.
    pub disk: Disk,
    /// Its metadata, opened and locked.
    pub metadata: MetadataFile,
    /// What was read there.
    pub opened: Opened,
    /// How it is exported; size and what clients had set are those of the metadata.
    pub config: ExportConfig,
    /// How it is mirrored; how large it could become is looked up.
    pub volume: VolumeConfig,
}

/// Why a disk cannot be served together with the peer.
#[derive(Debug, Error)]
pub enum MirroredExportError {
    /// The node refuses it.
    #[error(transparent)]
    Node(#[from] MirrorError),
    /// Its end is missing.
    #[error(
        "{path}: the disk has {found} sectors, its metadata is for {needed}; restore the disk's size, or make the volume anew",
        path = path.display()
    )]
    TooSmall {
        /// Which disk.
        path: PathBuf,
        /// Sectors that it has.
        found: u64,
        /// Sectors of the volume.
        needed: u64,
    },
    /// What the peer is sent is read by this process, which must not find that a page has gone.
    #[error(
        "{path}: a mirrored disk is not read through the page cache; open it without",
        path = .0.display()
    )]
    PageCache(PathBuf),
    /// What the peer writes could not be written.
    #[error("{path}: a mirrored disk is written by both nodes; open it for writing", path = .0.display())]
    ReadOnly(PathBuf),
}

/// What the control plane asks of a shard.
#[derive(Debug)]
pub enum Command {
    /// Serve this disk.
    AddExport {
        /// The disk, opened and locked.
        disk: Box<Disk>,
        /// Everything else.
        config: Box<ExportConfig>,
        /// Where to say under which number.
        reply: Sender<Result<ExportId, TargetError>>,
    },
    /// Serve this disk together with the peer.
    AddMirroredExport {
        /// All about it.
        export: Box<MirroredExport>,
        /// Where to say under which number.
        reply: Sender<Result<ExportId, MirroredExportError>>,
    },
    /// Talk to the peer by this connection from now on; what stood before is closed. However it ends, one
    /// [`Event::PeerFailed`] says so.
    PeerConnected(PeerStream),
    /// Close the connection to the peer.
    PeerDisconnect,
    /// The arbiter has answered an [`Event::Ask`], or could not be reached.
    ArbiterAnswered {
        /// About which volume.
        volume: ExportId,
        /// Which question.
        question: u64,
        /// What.
        answer: ArbiterAnswer,
    },
    /// The operator wants something of a volume.
    Control {
        /// Of which.
        volume: ExportId,
        /// What.
        control: Control,
    },
    /// The operator says which initiators are listened to, or leaves that to them.
    OperatorMask {
        /// Of which export.
        export: ExportId,
        /// Nobody in the list: everybody.
        mask: Option<Vec<MacAddress>>,
    },
    /// Tell of requests of mirrored exports that take so long, some of them by [`Event::Slow`].
    SlowAfter(Duration),
    /// Say how a mirrored export stands; `None` if there is no such.
    VolumeStatus {
        /// Which.
        volume: ExportId,
        /// Where to say it.
        reply: Sender<Option<VolumeStatus>>,
    },
    /// An [`Event::StoreState`] was carried out, or could not be.
    StateStored {
        /// Whose state.
        export: ExportId,
        /// Whether it is on stable storage.
        result: Result<(), StateError>,
    },
    /// An interface came up, went down or changed.
    PortChanged {
        /// Which.
        port: PortId,
        /// Its address and MTU, `None` while it is down.
        link: Option<PortLink>,
    },
    /// Serve on one more interface, which comes after those that there are.
    OpenPort {
        /// How it is opened.
        options: Box<PortOptions>,
        /// Where to say how it went.
        reply: Sender<Result<(), PortError>>,
    },
    /// Serve no more on the last interface, unless it is the only one.
    ClosePort,
    /// Look at the sizes of all disks again, and of the metadata of mirrored ones.
    RefreshDisks,
    /// Say what was done so far.
    Statistics(Sender<ShardStatistics>),
    /// Finish what is under way and end.
    Stop,
}

/// What a shard asks of the control plane.
#[derive(Debug)]
pub enum Event {
    /// Make this durable and answer with [`Command::StateStored`].
    StoreState {
        /// Whose state.
        export: ExportId,
        /// All of it.
        state: SmallState,
    },
    /// A disk has a new size, and initiators were told.
    Resized {
        /// Whose disk.
        export: ExportId,
        /// Its new size.
        sectors: u64,
    },
    /// A disk could not be looked at; it is served as before.
    RefreshFailed {
        /// Whose disk.
        export: ExportId,
        /// What is wrong.
        error: DiskError,
    },
    /// A connection to the peer has ended; another one is welcome.
    PeerFailed(PeerFailure),
    /// Ask the arbiter to put `next` in the place of `expected`, or, if they are equal, whether it holds that; answer with
    /// [`Command::ArbiterAnswered`].
    Ask {
        /// About which volume.
        volume: ExportId,
        /// Number of the question.
        question: u64,
        /// What it must hold.
        expected: Membership,
        /// What it shall hold.
        next: Membership,
        /// Who wants it.
        wish: Wish,
    },
    /// Something has happened to a mirrored export.
    Volume {
        /// To which.
        volume: ExportId,
        /// What.
        event: VolumeEvent,
    },
    /// A request took long.
    Slow(Box<SlowRequest>),
    /// The peer has no link on these interfaces, and on no others: this node answers there at its address, too.
    PeerLinksDown(Interfaces),
    /// The shard cannot go on.
    Failed(io::Error),
}

/// The control plane's end of a running shard.
#[derive(Debug)]
pub struct ShardHandle {
    commands: Sender<Command>,
    wake: Arc<EventFd>,
    thread: Option<JoinHandle<()>>,
}

impl ShardHandle {
    /// Starts a shard on a thread of its own; its events go to `notify`, from that thread.
    ///
    /// # Errors
    /// If a port cannot be opened or the kernel refuses what it needs.
    pub fn start(options: ShardOptions, notify: impl Fn(Event) + Send + 'static) -> Result<Self, ShardError> {
        let (commands, receiver) = channel();
        let (started, outcome) = channel();
        let wake = Arc::new(EventFd::new()?);
        let shard_wake = Arc::clone(&wake);
        let builder = std::thread::Builder::new().name(options.name.clone());
        // The ring of the engine belongs to the thread that makes it, so the shard is made there.
        let thread =
            builder.spawn(move || match Shard::new(options, receiver, shard_wake, Box::new(notify)) {
                Ok(mut shard) => {
                    if started.send(Ok(())).is_ok() {
                        shard.run();
                    }
                }
                Err(error) => {
                    // Nobody listens only if the starter is gone, and then nobody wants to know.
                    let _ = started.send(Err(error));
                }
            })?;
        outcome.recv().unwrap_or(Err(ShardError::Lost))?;
        Ok(Self { commands, wake, thread: Some(thread) })
    }

    /// Asks something of the shard. Returns whether it still runs.
    pub fn send(&self, command: Command) -> bool {
        let sent = self.commands.send(command).is_ok();
        self.wake.signal();
        sent
    }

    /// Ends the shard once what is under way is done.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        if let Some(thread) = self.thread.take() {
            self.send(Command::Stop);
            // A shard that panicked has aborted the process already.
            let _ = thread.join();
        }
    }
}

impl Drop for ShardHandle {
    fn drop(&mut self) {
        self.end();
    }
}
