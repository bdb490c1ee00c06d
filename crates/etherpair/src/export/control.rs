//! From the plan to the end: starts everything in order, then serves until a signal says stop.
//!
//! One thread that never touches a frame. Shards ask it to make state durable; it tells them of links, sizes and the
//! end. What takes long (syncing a state file) runs beside it, so that a slow disk does not keep a signal waiting.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use aoe::Address;
use aoe::target::{SmallState, StateError};
use block::ExportId;
use os::Interface;
use os::open_files::allow_open_files;
use os::shard::{Command, Event, ShardStatistics};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::claim::Claims;
use super::error::ExportError;
use super::links::{LinkChange, Links};
use super::plan::Plan;
use super::report::Report;
use super::shards::{Served, ShardEvent, Shards};
use super::volume::Volume;
use super::watch::Watch;
use crate::signals::Signals;

/// A shard that does not say what it did within this time is left out of the statistics.
const STATISTICS_PATIENCE: Duration = Duration::from_secs(1);

/// Serves what the plan says until SIGTERM or SIGINT.
///
/// # Errors
/// If it cannot begin, or a shard cannot go on.
pub(crate) fn serve(plan: &Plan) -> Result<(), ExportError> {
    allow_open_files(open_files(plan))?;
    let volumes = Volume::open_all(plan)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| ExportError::System { what: "starting the control plane", error })?;
    runtime.block_on(async {
        // From here on a signal ends us in order.
        let failed = |error| ExportError::System { what: "listening for signals", error };
        let signals = Signals::new().map_err(failed)?;
        // What is told then is only this command's.
        let user = signal(SignalKind::user_defined1()).map_err(failed)?;
        let control = Control::start(plan, volumes)?;
        control.run(signals, user).await
    })
}

/// Two for a disk while it is opened, one claim for each interface, and the rest of a process.
fn open_files(plan: &Plan) -> u64 {
    const OTHERS: usize = 64;
    const SHARD: usize = 8;
    let exports = plan.exports.len() * (1 + plan.interfaces.len());
    let shards = plan.shards as usize * (SHARD + 2 * plan.interfaces.len());
    (exports + shards + OTHERS) as u64
}

/// A state that was, or was not, made durable.
type Stored = ((usize, ExportId), Result<(), StateError>);

struct Control {
    shards: Shards,
    served: Vec<Served>,
    /// Places in `served`.
    places: BTreeMap<(usize, ExportId), usize>,
    links: Links,
    events: UnboundedReceiver<ShardEvent>,
    stored: (UnboundedSender<Stored>, UnboundedReceiver<Stored>),
    report: Report,
    _claims: Claims,
    _watch: Option<Watch>,
}

impl Control {
    fn start(plan: &Plan, mut volumes: Vec<Volume>) -> Result<Self, ExportError> {
        let (sender, events) = unbounded_channel();
        let interfaces = plan.interfaces.iter().map(|name| Interface::named(name));
        let mut links = Links::new(interfaces.collect::<Result<_, _>>()?)
            .map_err(|error| ExportError::System { what: "following the interfaces", error })?;
        let shards = Shards::start(plan, &sender)?;
        for change in links.now() {
            tell(&shards, &change);
        }
        let addresses: Vec<Address> = plan.exports.iter().map(|export| export.address).collect();
        let interfaces = links.interfaces();
        let claims = Claims::new(&addresses, &interfaces, plan.force)?;
        let watch = (!plan.force).then(|| Watch::start(&addresses, &interfaces)).transpose()?;
        Volume::create_states(&mut volumes)?;
        watch.as_ref().map_or(Ok(()), Watch::begin_serving)?;
        let served = shards.add(plan, volumes)?;
        let report = Report::new(plan.json);
        report.serving(&served, &interfaces, shards.port_kind());
        let places = served.iter().enumerate().map(|(place, export)| ((export.shard, export.export), place));
        let places = places.collect();
        Ok(Self {
            shards,
            served,
            places,
            links,
            events,
            stored: unbounded_channel(),
            report,
            _claims: claims,
            _watch: watch,
        })
    }

    async fn run(mut self, mut signals: Signals, mut user: Signal) -> Result<(), ExportError> {
        let result = loop {
            tokio::select! {
                _ = signals.terminate.recv() => break Ok(()),
                _ = signals.interrupt.recv() => break Ok(()),
                _ = signals.hangup.recv() => self.shards.send_all(|| Command::RefreshDisks),
                _ = user.recv() => self.report.statistics(&self.statistics()),
                Some((shard, event)) = self.events.recv() => {
                    if let Err(error) = self.event(shard, event) {
                        break Err(error);
                    }
                }
                Some(((shard, export), result)) = self.stored.1.recv() => {
                    self.shards.send(shard, Command::StateStored { export, result });
                }
                changes = self.links.changed() => self.links_changed(&changes),
            }
        };
        self.report.statistics(&self.statistics());
        self.shards.stop();
        self.report.stopped();
        result
    }

    fn event(&self, shard: usize, event: Event) -> Result<(), ExportError> {
        match event {
            Event::StoreState { export, state } => self.store(shard, export, state),
            Event::Resized { export, sectors } => {
                self.report.resized(self.export(shard, export), sectors);
            }
            Event::RefreshFailed { export, error } => {
                let address = self.export(shard, export).address;
                tracing::error!("{address} is served with its old size: {error}");
            }
            Event::PeerFailed(_)
            | Event::PeerLinksDown(_)
            | Event::Ask { .. }
            | Event::Slow(_)
            | Event::Volume { .. } => {
                unreachable!("a disk that is exported by one node has no peer")
            }
            Event::Failed(error) => return Err(ExportError::ShardFailed(error.to_string())),
        }
        Ok(())
    }

    fn store(&self, shard: usize, export: ExportId, state: SmallState) {
        let Served { address, state: file, .. } = self.export(shard, export);
        let (address, file, stored) = (*address, Arc::clone(file), self.stored.0.clone());
        tokio::task::spawn_blocking(move || {
            let result = file.store(&state).map_err(|error| {
                tracing::error!("{address}: what a client set is refused: {error}");
                StateError
            });
            // Nobody listens only when the process is about to end, and then nobody is answered.
            let _ = stored.send(((shard, export), result));
        });
    }

    fn export(&self, shard: usize, export: ExportId) -> &Served {
        &self.served[self.places[&(shard, export)]]
    }

    fn links_changed(&self, changes: &[LinkChange]) {
        for change in changes {
            tell(&self.shards, change);
            self.report.link(change);
        }
    }

    fn statistics(&self) -> Vec<ShardStatistics> {
        let (reply, statistics) = channel();
        self.shards.send_all(|| Command::Statistics(reply.clone()));
        drop(reply);
        std::iter::from_fn(|| statistics.recv_timeout(STATISTICS_PATIENCE).ok()).collect()
    }
}

fn tell(shards: &Shards, change: &LinkChange) {
    shards.send_all(|| Command::PortChanged { port: change.port, link: change.link });
}
