//! Sees to it that one target alone begins to serve an address, however close together two are started.
//!
//! A thread an interface asks who is there ([`super::probe`]); whoever hears of another that serves, or of another that starts
//! and has the lower number, does not begin. The threads go on listening until the disks are served and a while longer: a
//! target that asks meanwhile is answered, and one that serves all the same is named in the log.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use aoe::{Address, MacAddress};
use os::Interface;

use super::error::ExportError;
use super::probe::{Heard, Probe};

/// So long others are listened for after the disks are served. A socket more is a filter more for every frame, so it
/// does not last.
const LISTEN: Duration = Duration::from_secs(10);
/// How soon a thread notices that it is to end.
const LOOK: Duration = Duration::from_millis(100);

/// How often each address is asked for, and the time from one to the next and after the last.
const ROUNDS: (u32, Duration) = (3, Duration::from_millis(120));

const STARTING: u8 = 0;
const SERVING: u8 = 1;
const OVER: u8 = 2;

/// The threads that listen, until dropped.
#[derive(Debug)]
pub(crate) struct Watch {
    stage: Arc<AtomicU8>,
    findings: Receiver<Result<(), ExportError>>,
}

impl Watch {
    /// Asks on all interfaces at once, and comes back when nobody has answered for a third of a second.
    ///
    /// # Errors
    /// [`ExportError::Served`] or [`ExportError::Starting`] name the first that is there.
    pub(crate) fn start(addresses: &[Address], interfaces: &[Interface]) -> Result<Self, ExportError> {
        let (sender, findings) = channel();
        let watch = Self { stage: Arc::new(AtomicU8::new(STARTING)), findings };
        for interface in interfaces {
            let probe = Probe::new(addresses, interface, interfaces)?;
            let (stage, findings) = (Arc::clone(&watch.stage), sender.clone());
            let thread = thread::Builder::new().name("watch".to_owned());
            thread
                .spawn(move || follow(probe, &stage, &findings))
                .map_err(|error| ExportError::System { what: "starting a thread", error })?;
        }
        for _ in interfaces {
            watch.findings.recv().expect("each thread says what it found")?;
        }
        Ok(watch)
    }

    /// To be asked right before the disks are served.
    ///
    /// # Errors
    /// [`ExportError::Served`] if somebody else was heard in the meantime.
    pub(crate) fn begin_serving(&self) -> Result<(), ExportError> {
        self.stage.store(SERVING, Ordering::Release);
        self.findings.try_iter().collect()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stage.store(OVER, Ordering::Release);
    }
}

fn follow(mut probe: Probe, stage: &AtomicU8, findings: &Sender<Result<(), ExportError>>) {
    let found = probe.ask(ROUNDS, refuse);
    let is_free = found.is_ok();
    // Nobody waits for it only when another thread has found somebody.
    let _ = findings.send(found);
    if is_free {
        listen(&mut probe, stage, findings);
    }
}

/// While we ask: of two that start the lower number goes on.
fn refuse(probe: &mut Probe, heard: Heard) -> Result<(), ExportError> {
    let interface = probe.interface().to_owned();
    match heard {
        Heard::Served { address, mac } => Err(ExportError::Served { address, interface, mac }),
        Heard::Starting { address, mac, number } if number <= probe.number() => {
            Err(ExportError::Starting { address, interface, mac })
        }
        Heard::Starting { address, mac, .. } => {
            probe.claim(address, mac);
            Ok(())
        }
    }
}

/// Afterwards the address is ours. Who is heard to serve it before we do forbids it; if that came too late, as who is heard after,
/// it is named.
fn listen(probe: &mut Probe, stage: &AtomicU8, findings: &Sender<Result<(), ExportError>>) {
    let mut served_since = None;
    let mut others: BTreeSet<(Address, MacAddress)> = BTreeSet::new();
    let mut named = BTreeSet::new();
    loop {
        let _: Result<(), Infallible> = probe.listen(LOOK, |probe, heard| {
            match heard {
                Heard::Starting { address, mac, .. } => probe.claim(address, mac),
                Heard::Served { address, mac } => _ = others.insert((address, mac)),
            }
            Ok(())
        });
        // What stage it is matters now, not when we began to listen: the disks may be served since.
        match stage.load(Ordering::Acquire) {
            STARTING => {
                for &(address, mac) in &others {
                    let interface = probe.interface().to_owned();
                    let _ = findings.send(Err(ExportError::Served { address, interface, mac }));
                }
            }
            SERVING if served_since.get_or_insert_with(Instant::now).elapsed() <= LISTEN => {
                for (address, mac) in others.iter().filter(|&&other| named.insert(other)) {
                    tracing::error!(
                        "{address} is served on {} by {mac} too: initiators write to both disks and find their data \
                         on neither; stop one of the two targets at once",
                        probe.interface()
                    );
                }
            }
            _ => return,
        }
    }
}
