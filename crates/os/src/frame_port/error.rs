//! What can go wrong with a port, and what to do about it.

use std::io;

use crate::interface::InterfaceError;

/// Why a port could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum PortError {
    /// The interface itself.
    #[error(transparent)]
    Interface(#[from] InterfaceError),
    /// It is not up.
    #[error("interface {interface} is down: bring it up with `ip link set {interface} up`")]
    Down {
        /// The interface.
        interface: String,
    },
    /// Frames on it are too small for a sector.
    #[error(
        "interface {interface} has MTU {mtu}, too small for one sector a frame: \
         set at least {MTU_MIN} with `ip link set {interface} mtu ...` (9000 is best)"
    )]
    MtuTooSmall {
        /// The interface.
        interface: String,
        /// What it has.
        mtu: u32,
    },
    /// No privilege.
    #[error("no permission for raw Ethernet on {interface}: run as root or give the program CAP_NET_RAW")]
    NotPermitted {
        /// The interface.
        interface: String,
    },
    /// The kernel does not give this kind of port here (a container, too little memory, an old kernel).
    #[error("the kernel refuses a {kind} port on {interface} ({source}): use the plain kind")]
    KindRefused {
        /// The interface.
        interface: String,
        /// The kind asked for.
        kind: super::PortKind,
        /// What the kernel said.
        source: io::Error,
    },
    /// Anything else the kernel said no to.
    #[error("raw Ethernet on {interface}: {step} failed ({source})")]
    Socket {
        /// The interface.
        interface: String,
        /// What was being done.
        step: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
}

/// With a smaller MTU no frame holds a sector by the rule every initiator uses, `(MTU - 36) / 512`.
pub const MTU_MIN: u32 = 36 + 512;

/// Why not all queued frames were sent. In every case the first `sent` frames are on their way.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The kernel or the card has no room now; the rest stays queued: flush again, after a moment or when writable.
    #[error("no room to send: {sent} frames sent, {queued} still queued")]
    Busy {
        /// Frames sent.
        sent: usize,
        /// Frames kept.
        queued: usize,
    },
    /// The frame after the `sent` ones has a payload that cannot be read (a page of a file that is gone or failed). It
    /// is dropped; the frames after it stay queued: flush again.
    #[error("the payload of a frame cannot be read")]
    Unreadable {
        /// Frames sent.
        sent: usize,
    },
    /// The frame after the `sent` ones is longer than the MTU allows now. It is dropped; the frames after it stay
    /// queued: flush again.
    #[error("a frame is longer than the MTU allows")]
    TooLong {
        /// Frames sent.
        sent: usize,
    },
    /// The link is down or gone; nothing is queued any more.
    #[error("the link is down: {dropped} frames dropped")]
    LinkDown {
        /// Frames sent.
        sent: usize,
        /// Frames thrown away.
        dropped: usize,
    },
    /// Something else; the frame after the `sent` ones is dropped, the frames after it stay queued.
    #[error("sending failed: {source}")]
    Other {
        /// Frames sent.
        sent: usize,
        /// What the kernel said.
        source: io::Error,
    },
}

impl SendError {
    /// Frames that were sent before it came to this.
    #[must_use]
    pub const fn sent(&self) -> usize {
        match self {
            Self::Busy { sent, .. }
            | Self::Unreadable { sent }
            | Self::TooLong { sent }
            | Self::LinkDown { sent, .. }
            | Self::Other { sent, .. } => *sent,
        }
    }
}
