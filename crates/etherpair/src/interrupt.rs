//! Control-C (or SIGTERM) for commands that end by themselves sooner or later: the first asks them to end now with what
//! they have, the second ends the process. What ending means is the command's business.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use crate::exit_code;

/// A command that sleeps looks at least so often whether it was asked to end.
pub(crate) const LOOK: Duration = Duration::from_millis(50);

/// Whether the command was asked to end.
#[derive(Clone, Debug)]
pub(crate) struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// From here on a signal does not kill but asks.
    ///
    /// # Errors
    /// If the kernel refuses a thread or what belongs to it.
    pub(crate) fn listen() -> io::Result<Self> {
        let asked = Arc::new(AtomicBool::new(false));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let guard = runtime.enter();
        let (mut interrupt, mut terminate) =
            (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        drop(guard);
        let flag = Arc::clone(&asked);
        thread::Builder::new().name("signals".to_owned()).spawn(move || {
            runtime.block_on(async {
                loop {
                    tokio::select! {
                        _ = interrupt.recv() => {}
                        _ = terminate.recv() => {}
                    }
                    if flag.swap(true, Ordering::Relaxed) {
                        std::process::exit(exit_code::INTERRUPTED.into());
                    }
                }
            });
        })?;
        Ok(Self(asked))
    }

    /// Whether a signal came.
    pub(crate) fn is_asked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
