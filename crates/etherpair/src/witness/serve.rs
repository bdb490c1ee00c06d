//! Runs a witness: opens its directory, listens, and hands each connection to a conversation.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::config::WitnessConfig;
use super::conversation::{ConversationEnd, SILENCE_MAX, Witness, converse};
use super::files::{Files, FilesError};
use super::store;
use crate::durable_file::random;
use crate::seldom::Seldom;
use crate::signals::Signals;
use crate::streams::accept_witness;

/// Connections at once: a thousand pairs.
const CONNECTIONS_MAX: usize = 2048;

/// Why a witness cannot begin.
#[derive(Debug, Error)]
pub(crate) enum WitnessFailure {
    /// Its directory cannot be used.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// It cannot listen.
    #[error(
        "cannot listen on {address}: {error}; look at the address, and whether another process has the port"
    )]
    Listen {
        /// Where.
        address: SocketAddr,
        /// What the kernel said.
        error: io::Error,
    },
    /// The kernel refuses something else.
    #[error("{what}: {error}")]
    System {
        /// What.
        what: &'static str,
        /// What the kernel said.
        error: io::Error,
    },
}

/// Serves until SIGTERM or SIGINT.
///
/// # Errors
/// If it cannot begin.
pub(crate) fn serve(config: &WitnessConfig) -> Result<(), WitnessFailure> {
    let system = |what| move |error| WitnessFailure::System { what, error };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(system("starting"))?;
    runtime.block_on(async {
        let mut signals = Signals::new().map_err(system("listening for signals"))?;
        start(config).await?;
        loop {
            tokio::select! {
                _ = signals.terminate.recv() => break,
                _ = signals.interrupt.recv() => break,
                _ = signals.hangup.recv() => tracing::info!("there is nothing to read again: a witness is restarted instead"),
            }
        }
        tracing::info!("stopped");
        Ok(())
    })
}

/// Opens the directory and listens; whoever connects is answered from then on. Where it listens.
///
/// # Errors
/// If it cannot begin.
pub(crate) async fn start(config: &WitnessConfig) -> Result<Vec<SocketAddr>, WitnessFailure> {
    let (files, registers) = Files::open(&config.directory)?;
    let pairs = registers.pairs().count();
    let identity = files.identity();
    let store = store::start(files, registers)
        .map_err(|error| WitnessFailure::System { what: "starting a thread", error })?;
    let witness = Arc::new(Witness { identity, pairs: config.pairs.clone(), store });
    let door = Arc::new(Door::new());
    let mut addresses = Vec::new();
    for &address in &config.listen {
        let listen = |error| WitnessFailure::Listen { address, error };
        let listener = TcpListener::bind(address).await.map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        tracing::info!("witness {identity:032x} listens on {address}; it has registers of {pairs} pairs");
        tokio::spawn(accept(listener, Arc::clone(&witness), Arc::clone(&door)));
        addresses.push(address);
    }
    tracing::warn!(
        "links are neither authenticated nor encrypted: whoever reaches the port can change registers"
    );
    Ok(addresses)
}

/// How many may be in, and what is said about those that misbehave.
struct Door {
    places: Arc<Semaphore>,
    misbehaved: Mutex<Seldom>,
    full: Mutex<Seldom>,
}

impl Door {
    fn new() -> Self {
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        Self { places, misbehaved: Mutex::default(), full: Mutex::default() }
    }

    fn enter(&self, from: SocketAddr) -> Option<OwnedSemaphorePermit> {
        let place = Arc::clone(&self.places).try_acquire_owned().ok();
        if place.is_none() {
            write(&self.full, |more| {
                tracing::warn!(
                    "{from} is turned away: {CONNECTIONS_MAX} connections are open; see who they are{more}"
                );
            });
        }
        place
    }

    fn leave(&self, from: SocketAddr, end: &ConversationEnd) {
        if let ConversationEnd::Stream(error) = end {
            return tracing::debug!("{from}: {error}");
        }
        write(&self.misbehaved, |more| tracing::warn!("connection from {from} ended: {end}{more}"));
    }
}

fn write(seldom: &Mutex<Seldom>, line: impl FnOnce(&str)) {
    seldom.lock().unwrap_or_else(PoisonError::into_inner).write(Instant::now(), line);
}

async fn accept(listener: TcpListener, witness: Arc<Witness>, door: Arc<Door>) {
    loop {
        let (stream, from) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                write(&door.full, |more| tracing::error!("no connection can be taken: {error}{more}"));
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Some(place) = door.enter(from) else { continue };
        let Ok(connection) = random().map(u64::from_le_bytes) else { continue };
        let (witness, door) = (Arc::clone(&witness), Arc::clone(&door));
        tokio::spawn(async move {
            let conversation = async {
                let accepted = timeout(SILENCE_MAX, accept_witness(stream)).await;
                let stream = accepted.map_err(|_| ConversationEnd::Silent)??;
                converse(stream, connection, witness).await
            };
            if let Err(end) = conversation.await {
                door.leave(from, &end);
            }
            drop(place);
        });
    }
}
