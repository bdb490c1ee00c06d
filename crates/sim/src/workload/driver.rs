//! What a host wants of its initiator, and what it is told: the same for both kinds.

use aoe::MacAddress;
use block::{Duration, Instant, LbaRange};

use super::linux::Linux;
use super::ours::Ours;
use super::plan::Ask;
use crate::content::Value;
use crate::host::HostFrame;

/// Names a request of the host while it is open.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct RequestName(pub u32);

/// What an initiator gives out.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum DriverOutput {
    /// Send this.
    Send(HostFrame),
    /// Some sectors of a request were answered.
    Answered {
        /// Which.
        request: RequestName,
        /// What of it.
        part: LbaRange,
        /// What was read; nothing for a write.
        values: Option<Vec<Value>>,
    },
    /// A request ended without success.
    Failed {
        /// Which.
        request: RequestName,
    },
}

/// An interface of the host.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Interface {
    /// Which port.
    pub port: u8,
    /// Its address.
    pub mac: MacAddress,
    /// Bytes that a frame holds after its Ethernet header.
    pub mtu: u32,
}

/// An initiator of either kind.
#[derive(Debug)]
pub enum Driver {
    /// The driver of the Linux kernel.
    Linux(Box<Linux>),
    /// Our own.
    Ours(Box<Ours>),
}

impl Driver {
    /// Whether requests can be submitted.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        match self {
            Self::Linux(linux) => linux.is_ready(),
            Self::Ours(ours) => ours.is_ready(),
        }
    }

    /// Sectors of the volume as far as it knows.
    #[must_use]
    pub fn sectors(&self) -> u64 {
        match self {
            Self::Linux(linux) => linux.sectors(),
            Self::Ours(ours) => ours.sectors(),
        }
    }

    /// Whether its writes carry numbers of their own.
    #[must_use]
    pub fn is_sequenced(&self) -> bool {
        match self {
            Self::Linux(_) => false,
            Self::Ours(ours) => ours.is_sequenced(),
        }
    }

    /// How long a stock one waits before it sends a frame again.
    #[must_use]
    pub fn resends_after(&self) -> Duration {
        match self {
            Self::Linux(linux) => linux.resends_after(),
            Self::Ours(_) => Duration::ZERO,
        }
    }

    /// Takes a request in.
    pub fn submit(&mut self, now: Instant, request: RequestName, ask: Ask) {
        match self {
            Self::Linux(linux) => linux.submit(now, request, ask),
            Self::Ours(ours) => ours.submit(now, request, ask),
        }
    }

    /// Takes a frame in.
    pub fn handle_frame(&mut self, now: Instant, port: u8, frame: &[u8]) {
        match self {
            Self::Linux(linux) => linux.handle_frame(now, port, frame),
            Self::Ours(ours) => ours.handle_frame(now, port, frame),
        }
    }

    /// The time that [`Driver::poll_timeout`] named has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        match self {
            Self::Linux(linux) => linux.handle_timeout(now),
            Self::Ours(ours) => ours.handle_timeout(now),
        }
    }

    /// What to do next.
    pub fn poll_output(&mut self) -> Option<DriverOutput> {
        match self {
            Self::Linux(linux) => linux.poll_output(),
            Self::Ours(ours) => ours.poll_output(),
        }
    }

    /// When to call [`Driver::handle_timeout`].
    #[must_use]
    pub fn poll_timeout(&self) -> Instant {
        match self {
            Self::Linux(linux) => linux.poll_timeout(),
            Self::Ours(ours) => ours.poll_timeout(),
        }
    }
}
