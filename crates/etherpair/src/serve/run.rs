//! From the configuration to the end: starts everything in order, then runs until a signal says stop.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use aoe::target::TargetLimits;
use node::{PairConfig, virtual_mac};
use os::Interface;
use os::frame_port::{FrameFilter, PortError, PortKind, PortOptions};
use os::open_files::allow_open_files;
use os::shard::{Command, Event, ShardError, ShardHandle, ShardOptions};
use replication::limits::Limits;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::admin;
use super::arbiter_watch;
use super::daemon::Daemon;
use super::error::ServeError;
use super::reload::{WantedInterfaces, reload};
use super::{peer_dial, peer_port};
use super::{same_addresses, same_arbiter};
use crate::arbiter::Arbiter;
use crate::config::arbiter::ArbiterConfig;
use crate::config::node::NodeConfig;
use crate::durable_file::random;
use crate::exit_code::Failure;
use crate::export::{Claims, LinkChange, Links};
use crate::signals::Signals;

/// Requests of initiators that a shard holds at a time, each with a buffer.
const OUTSTANDING_MAX: usize = 1024;
/// What the peer may have under way here: its own requests, as reads or as writes, and its copies.
const LIMITS: Limits = Limits {
    requests: OUTSTANDING_MAX,
    followed: 3 * OUTSTANDING_MAX,
    volumes: VOLUMES_MAX,
    ..Limits::DEFAULT
};
/// How long a node that has left waits for frames that were on their way to it.
const ON_THE_WAY: Duration = Duration::from_millis(200);
/// Volumes of one shard.
const VOLUMES_MAX: usize = 1024;

/// Serves until SIGTERM or SIGINT, then leaves.
///
/// # Errors
/// If it cannot begin, or a shard cannot go on.
pub(crate) fn run(path: &Path) -> Result<(), Failure> {
    let config = NodeConfig::read(path)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime =
        runtime.map_err(|error| ServeError::System { what: "starting the control plane", error })?;
    let daemon = runtime.block_on(async {
        let running = Running::start(path, config).await?;
        running.run().await
    })?;
    // Tasks go, and with the last of them the shards, which finish what is under way.
    drop(runtime);
    drop(daemon);
    tracing::info!("stopped");
    Ok(())
}

struct Running {
    path: PathBuf,
    daemon: Arc<Daemon>,
    signals: Signals,
    links: Links,
    events: UnboundedReceiver<(usize, Event)>,
    interfaces_wanted: UnboundedReceiver<WantedInterfaces>,
}

impl Running {
    async fn start(path: &Path, mut config: NodeConfig) -> Result<Self, ServeError> {
        let system = |what| move |error| ServeError::System { what, error };
        allow_open_files(open_files(&config))?;
        let volumes = std::mem::take(&mut config.volumes);
        // From here on a signal ends us in order.
        let signals = Signals::new().map_err(system("listening for signals"))?;
        let missing = |error| {
            let place = config.places.node.of("storage.interfaces");
            ServeError::Interface { place, error }
        };
        let interfaces: Result<Vec<_>, _> =
            config.interfaces.iter().map(|name| Interface::named(name).map_err(missing)).collect();
        let mut links = Links::new(interfaces?).map_err(system("following the interfaces"))?;
        let addresses: Vec<_> = volumes.iter().map(|volume| volume.address).collect();
        let claims = Claims::new(&addresses, &links.interfaces(), false)?;
        let (sender, events) = unbounded_channel();
        let shards = start_shards(&config, &sender)?;
        let arbiter = Arbiter::start(&config.arbiter);
        tracing::warn!(
            "peer and arbiter links are neither authenticated nor encrypted: keep them on networks of their own"
        );
        if config.arbiter == ArbiterConfig::None {
            tracing::warn!(
                "no arbiter: a node that loses its peer serves nothing until it is back or an operator forces it"
            );
        }
        let (wanted, interfaces_wanted) = unbounded_channel();
        let daemon = Arc::new(Daemon::new(config, shards, arbiter, wanted));
        daemon.claims().add(claims);
        daemon.tell_of_slow(daemon.config.slow_request);
        for change in links.now() {
            tell(&daemon, &change);
        }
        let mut strangers = daemon.strangers(&addresses);
        {
            let _known = same_addresses::known(&daemon, !volumes.is_empty()).await;
            for volume in volumes {
                match strangers.remove(&volume.address) {
                    // What cannot be served was told of, and keeps no other from being served.
                    None => drop(daemon.add_configured(volume)),
                    Some(error) => daemon.not_served(volume, None, &error),
                }
            }
        }
        let path = path.to_owned();
        Ok(Self { path, daemon, signals, links, events, interfaces_wanted })
    }

    async fn run(mut self) -> Result<Arc<Daemon>, ServeError> {
        peer_port::listen(&self.daemon).await?;
        peer_dial::dial(&self.daemon);
        arbiter_watch::follow(&self.daemon);
        same_arbiter::follow(&self.daemon);
        same_addresses::follow(&self.daemon);
        admin::listen(&self.daemon, &self.path)?;
        let count = self.daemon.volumes().len();
        let config = &self.daemon.config;
        tracing::info!(
            "{} of pair {} is ready; {count} volumes, commands at {}",
            config.node,
            config.pair,
            config.socket.display()
        );
        let mut leaving = None;
        loop {
            tokio::select! {
                _ = self.signals.terminate.recv(), if leaving.is_none() => leaving = Some(self.leave()),
                _ = self.signals.interrupt.recv(), if leaving.is_none() => leaving = Some(self.leave()),
                _ = self.signals.hangup.recv() => self.reload(),
                Some(WantedInterfaces { names, reply }) = self.interfaces_wanted.recv() => {
                    // Whoever asked may be gone.
                    let _ = reply.send(self.change_interfaces(&names));
                }
                Some((shard, event)) = self.events.recv() => {
                    self.daemon.handle_event(shard, event).map_err(ServeError::ShardFailed)?;
                }
                changes = self.links.changed() => changes.iter().for_each(|change| tell(&self.daemon, change)),
                _ = async { leaving.as_mut().expect("checked").await }, if leaving.is_some() => break,
            }
        }
        for shard in &self.daemon.shards {
            shard.send(Command::Stop);
        }
        let _ = std::fs::remove_file(&self.daemon.config.socket);
        Ok(self.daemon)
    }

    /// Leaves every volume to the peer as far as it can go on.
    fn leave(&self) -> tokio::task::JoinHandle<()> {
        tracing::info!("leaving");
        let daemon = Arc::clone(&self.daemon);
        tokio::spawn(async move {
            let (can, cannot) = daemon.dispensable().await;
            let staying = daemon.leave(&can).await;
            // Switches have just been told; what they had sent here before that is still handed over.
            tokio::time::sleep(ON_THE_WAY).await;
            for address in cannot.into_iter().chain(staying) {
                tracing::warn!(
                    "{address} was not left to the peer: nobody serves it until this node is back"
                );
            }
        })
    }

    /// Reads the configuration again, beside everything else.
    fn reload(&self) {
        let (daemon, path) = (Arc::clone(&self.daemon), self.path.clone());
        tokio::spawn(async move {
            match reload(&daemon, &path).await {
                Ok(text) => tracing::info!("{text}"),
                Err(text) => tracing::error!("reload: {text}"),
            }
        });
    }

    /// Has all shards serve on these interfaces, which differ from those before only at the end.
    fn change_interfaces(&mut self, names: &[String]) -> Result<(), String> {
        let before = self.links.interfaces().len();
        for index in (names.len()..before).rev() {
            let name = self.links.remove_last();
            self.daemon.claims().give_up_interface(&name);
            for shard in &self.daemon.shards {
                shard.send(Command::ClosePort);
            }
            self.daemon.interfaces().truncate(index);
            self.daemon.storage.truncate(index);
            tracing::info!("{name}: nobody is served there any more");
        }
        for name in names.iter().skip(before) {
            self.add_interface(name)?;
        }
        Ok(())
    }

    fn add_interface(&mut self, name: &str) -> Result<(), String> {
        let interface = Interface::named(name).map_err(|error| error.to_string())?;
        let addresses = self.daemon.claims().addresses();
        let claims = Claims::new(&addresses, std::slice::from_ref(&interface), false);
        let claims = claims.map_err(|error| ServeError::from(error).to_string())?;
        let opened: Vec<Result<(), String>> =
            (0..).zip(&self.daemon.shards).map(|shard| open_port(&self.daemon.config, shard, name)).collect();
        if let Some(Err(error)) = opened.iter().find(|opened| opened.is_err()) {
            for (shard, _) in self.daemon.shards.iter().zip(&opened).filter(|(_, opened)| opened.is_ok()) {
                shard.send(Command::ClosePort);
            }
            return Err(error.clone());
        }
        self.daemon.claims().add(claims);
        self.daemon.interfaces().push(name.to_owned());
        tell(&self.daemon, &self.links.add(interface));
        Ok(())
    }
}

/// Opens the next port of a shard, of the best kind that the kernel gives.
fn open_port(
    config: &NodeConfig,
    (remainder, handle): (u32, &ShardHandle),
    name: &str,
) -> Result<(), String> {
    let mut last = "its thread has ended; see the log".to_owned();
    for kind in config.port_kinds {
        let options = Box::new(port_options(config, *kind, remainder, name));
        let (reply, outcome) = channel();
        handle.send(Command::OpenPort { options, reply });
        match outcome.recv() {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => last = error.to_string(),
            Err(_) => break,
        }
    }
    Err(last)
}

fn tell(daemon: &Daemon, change: &LinkChange) {
    let NodeConfig { pair, node, virtual_macs, .. } = daemon.config;
    let seen = virtual_macs.then(|| virtual_mac(pair, node, change.port));
    daemon.storage.changed(change, seen).into_iter().for_each(|report| daemon.report(report));
    for shard in &daemon.shards {
        shard.send(Command::PortChanged { port: change.port, link: change.link });
    }
}

/// Two for each volume, some while they are opened, and the rest of a process.
fn open_files(config: &NodeConfig) -> u64 {
    const OTHERS: usize = 512;
    let shards = config.shards as usize * (16 + 2 * config.interfaces.len());
    let volumes = config.volumes.len().max(VOLUMES_MAX) * (4 + config.interfaces.len());
    (volumes + shards + OTHERS) as u64
}

/// Starts all shards with the best frame ports that the kernel gives.
fn start_shards(
    config: &NodeConfig,
    events: &UnboundedSender<(usize, Event)>,
) -> Result<Vec<ShardHandle>, ServeError> {
    let mut kinds = config.port_kinds;
    loop {
        let [kind, rest @ ..] = kinds else { unreachable!("a configuration names at least one kind") };
        let started: Result<Vec<_>, _> =
            (0..config.shards).map(|shard| start_shard(config, *kind, shard, events)).collect();
        let refused = match &started {
            Err(ServeError::Port { error: error @ PortError::KindRefused { .. }, .. }) => Some(error),
            _ => None,
        };
        let Some(error) = refused.filter(|_| !rest.is_empty()) else { return started };
        tracing::warn!("{error}; frames come by system calls, which costs more processor time");
        kinds = rest;
    }
}

fn port_options(config: &NodeConfig, kind: PortKind, shard: u32, name: &str) -> PortOptions {
    let filter = FrameFilter::Shard { shards: config.shards, remainder: shard };
    PortOptions { kind, virtual_mac: config.virtual_macs, ..PortOptions::new(name, filter) }
}

fn start_shard(
    config: &NodeConfig,
    kind: PortKind,
    shard: u32,
    events: &UnboundedSender<(usize, Event)>,
) -> Result<ShardHandle, ServeError> {
    let draw = || random().map(u64::from_le_bytes);
    let system = |error| ServeError::System { what: "reading random bytes", error };
    let ports = config.interfaces.iter().map(|name| port_options(config, kind, shard, name));
    let number = shard as usize;
    let options = ShardOptions {
        name: format!("shard-{shard}"),
        ports: ports.collect(),
        limits: TargetLimits {
            export_max: VOLUMES_MAX,
            outstanding_max: OUTSTANDING_MAX,
            ..TargetLimits::new(draw().map_err(system)?)
        },
        engine: config.engine,
        busy_poll: config.busy_poll,
        cpu: (!config.cores.is_empty()).then(|| config.cores[number % config.cores.len()]),
        pcap: None,
        pair: Some(PairConfig {
            node: config.node,
            pair: config.pair,
            incarnation: draw().map_err(system)?,
            lease: config.lease,
            limits: LIMITS,
            versions: config.versions,
        }),
    };
    let events = events.clone();
    let notify = move |event| {
        // Nobody listens only when the process is about to end.
        let _ = events.send((number, event));
    };
    ShardHandle::start(options, notify).map_err(|error| match error {
        ShardError::Port(error) => {
            let is_kind = matches!(error, PortError::KindRefused { .. });
            let key = if is_kind { "storage.port" } else { "storage.interfaces" };
            ServeError::Port { place: config.places.node.of(key), error }
        }
        other => Box::new(other).into(),
    })
}
