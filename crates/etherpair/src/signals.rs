//! The signals that every daemon of ours listens for. What follows from them is decided by whoever has them.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Signals that came, one after the other.
#[derive(Debug)]
pub(crate) struct Signals {
    /// SIGTERM: end in an orderly way.
    pub(crate) terminate: Signal,
    /// SIGINT, of a terminal: likewise.
    pub(crate) interrupt: Signal,
    /// SIGHUP: look again at what may have changed.
    pub(crate) hangup: Signal,
}

impl Signals {
    /// From here on they do not end the process any more.
    ///
    /// # Errors
    /// If the kernel does not give them.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }
}
