//! The shards: starting one thread for each, with the best frame ports that the kernel gives, and adding the exports.

use std::path::{Path, PathBuf};
use std::sync::mpsc::channel;

use aoe::target::TargetLimits;
use block::ExportId;
use os::frame_port::{EXACT_ADDRESSES_MAX, FrameFilter, PortError, PortKind, PortOptions};
use os::pcap::{PcapLimits, PcapWriter};
use os::shard::{Command, Event, ShardError, ShardHandle, ShardOptions};
use tokio::sync::mpsc::UnboundedSender;

use super::error::ExportError;
use super::plan::Plan;
use super::state_file::StateFile;
use super::volume::Volume;

/// Requests a shard holds at a time. Each has a buffer, and the kernel keeps all buffers in memory: 26 MB, as frames may
/// grow to jumbo frames. The deepest disks are busy with a quarter of it; beyond it frames are dropped, and come again.
const OUTSTANDING_MAX: usize = 1024;

/// What a shard says, and which.
pub(crate) type ShardEvent = (usize, Event);

/// All running shards.
#[derive(Debug)]
pub(crate) struct Shards {
    handles: Vec<ShardHandle>,
    port_kind: PortKind,
}

/// An export that is served.
#[derive(Debug)]
pub(crate) struct Served {
    /// Which shard serves it.
    pub(crate) shard: usize,
    /// Its number there.
    pub(crate) export: ExportId,
    /// Where.
    pub(crate) address: aoe::Address,
    /// What.
    pub(crate) disk: PathBuf,
    /// 512-byte sectors when it was added.
    pub(crate) sectors: u64,
    /// What clients set is kept there.
    pub(crate) state: std::sync::Arc<StateFile>,
}

impl Shards {
    /// Starts them all, without exports. Their events go to `events`.
    ///
    /// # Errors
    /// If an interface cannot be used or the kernel refuses what was asked for.
    pub(crate) fn start(plan: &Plan, events: &UnboundedSender<ShardEvent>) -> Result<Self, ExportError> {
        let mut kinds = plan.port_kinds;
        loop {
            let [kind, rest @ ..] = kinds else { unreachable!("a plan names at least one kind") };
            match Self::start_with(plan, *kind, events) {
                Err(ExportError::Shard(ShardError::Port(PortError::KindRefused {
                    kind, source, ..
                }))) if !rest.is_empty() => {
                    tracing::warn!(
                        "the kernel refuses a {kind} port ({source}): frames come by system calls, which costs more \
                         processor time; allow packet rings in the container's seccomp profile"
                    );
                    kinds = rest;
                }
                result => return result,
            }
        }
    }

    fn start_with(
        plan: &Plan,
        kind: PortKind,
        events: &UnboundedSender<ShardEvent>,
    ) -> Result<Self, ExportError> {
        let seed = digest_seed()?;
        let mut handles = Vec::new();
        for shard in 0..plan.shards {
            let options = options(plan, kind, shard, seed)?;
            let (events, number) = (events.clone(), shard as usize);
            let notify = move |event| {
                // Nobody listens only when the process is about to end.
                let _ = events.send((number, event));
            };
            handles.push(ShardHandle::start(options, notify)?);
        }
        Ok(Self { handles, port_kind: kind })
    }

    /// How frames are received.
    pub(crate) const fn port_kind(&self) -> PortKind {
        self.port_kind
    }

    /// Has all volumes served, and so advertised.
    ///
    /// # Errors
    /// If a target does not take one.
    pub(crate) fn add(&self, plan: &Plan, volumes: Vec<Volume>) -> Result<Vec<Served>, ExportError> {
        let mut replies = Vec::with_capacity(volumes.len());
        for volume in volumes {
            let (disk, config, state) = volume.into_parts(plan);
            let shard = plan.shard_of(config.address) as usize;
            let (address, sectors, path) = (config.address, config.sectors, disk.path().to_owned());
            let (reply, outcome) = channel();
            self.handles[shard].send(Command::AddExport {
                disk: Box::new(disk),
                config: Box::new(config),
                reply,
            });
            replies.push((shard, address, sectors, path, state, outcome));
        }
        let mut served = Vec::with_capacity(replies.len());
        for (shard, address, sectors, disk, state, outcome) in replies {
            let outcome = outcome.recv().map_err(|_| ExportError::ShardFailed("it ended".to_owned()))?;
            let export = outcome.map_err(|error| ExportError::Target { address, error })?;
            served.push(Served { shard, export, address, disk, sectors, state: state.into() });
        }
        Ok(served)
    }

    /// Asks something of one shard. One that has ended says so by its event.
    pub(crate) fn send(&self, shard: usize, command: Command) {
        self.handles[shard].send(command);
    }

    /// Asks the same of all.
    pub(crate) fn send_all(&self, mut command: impl FnMut() -> Command) {
        for handle in &self.handles {
            handle.send(command());
        }
    }

    /// Ends them all once what is under way is done.
    pub(crate) fn stop(self) {
        for handle in &self.handles {
            handle.send(Command::Stop);
        }
        for handle in self.handles {
            handle.stop();
        }
    }
}

fn options(plan: &Plan, kind: PortKind, shard: u32, seed: u64) -> Result<ShardOptions, ExportError> {
    let exports = plan.exports.iter().filter(|export| plan.shard_of(export.address) == shard).count();
    let filter = filter(plan, shard);
    let ports =
        plan.interfaces.iter().map(|name| PortOptions { kind, ..PortOptions::new(name, filter.clone()) });
    Ok(ShardOptions {
        name: format!("shard-{shard}"),
        ports: ports.collect(),
        limits: TargetLimits {
            export_max: exports.max(1),
            outstanding_max: OUTSTANDING_MAX,
            ..TargetLimits::new(seed)
        },
        engine: plan.engine,
        busy_poll: plan.busy_poll,
        cpu: (!plan.cores.is_empty()).then(|| plan.cores[shard as usize % plan.cores.len()]),
        pcap: plan.pcap.as_deref().map(|path| capture(path, shard)).transpose()?,
        pair: None,
    })
}

fn filter(plan: &Plan, shard: u32) -> FrameFilter {
    if plan.shards > 1 || plan.exports.len() > EXACT_ADDRESSES_MAX {
        return FrameFilter::Shard { shards: plan.shards, remainder: shard };
    }
    let addresses = plan.exports.iter().map(|export| (export.address.shelf().0, export.address.slot().0));
    FrameFilter::Requests { addresses: addresses.collect() }
}

/// One file a shard: no thread waits for another's capture.
fn capture(path: &Path, shard: u32) -> Result<PcapWriter, ExportError> {
    let mut path = path.as_os_str().to_owned();
    if shard > 0 {
        path.push(format!(".{shard}"));
    }
    let path = PathBuf::from(path);
    PcapWriter::create(&path, PcapLimits::default()).map_err(|error| ExportError::Pcap { path, error })
}

/// Nobody on the network may know it, or writes could be made to look like copies of others.
fn digest_seed() -> Result<u64, ExportError> {
    use std::io::Read;
    let mut bytes = [0; 8];
    std::fs::File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut bytes))
        .map_err(|error| ExportError::System { what: "reading random bytes", error })?;
    Ok(u64::from_ne_bytes(bytes))
}
