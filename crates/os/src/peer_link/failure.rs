//! Why a connection to the peer has ended, for the operator.

use std::io::{self, ErrorKind};

use replication::message::Refusal;
use replication::wire::WireError;
use thiserror::Error;

/// How a connection ended. Each one ends once, and another can be handed in then.
#[derive(Debug, Error)]
pub enum PeerFailure {
    /// The peer closed it between two messages.
    #[error("the peer has closed the connection; see its log for the reason")]
    Closed,
    /// The peer closed it, or died, in the middle of a message.
    #[error("the connection ended in the middle of a message; see whether the peer's process has died")]
    Truncated,
    /// The kernel has given it up.
    #[error("{0}; see the peer, and the link to it")]
    Lost(io::Error),
    /// What came was no message.
    #[error(transparent)]
    Garbage(#[from] WireError),
    /// The peer takes nothing any more.
    #[error(
        "the peer has not taken the last {unsent} bytes; see its load, and whether the link carries what is written"
    )]
    NotTaken {
        /// What waits to be sent.
        unsent: usize,
    },
    /// One of the nodes has ended the session.
    #[error(transparent)]
    Ended(Refusal),
    /// Another connection was handed in.
    #[error("another connection to the peer stands now")]
    Replaced,
    /// By a command.
    #[error("it was closed by command")]
    Asked,
    /// This node has no peer.
    #[error("this node has no peer; configure a pair")]
    NoPeer,
}

impl PeerFailure {
    /// Whether the link looks like the culprit: nothing came over it, or nothing was taken. Where the peer has closed or reset the
    /// connection, that came over the link.
    #[must_use]
    pub fn blames_link(&self) -> bool {
        match self {
            Self::Lost(error) => !matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe),
            Self::NotTaken { .. } | Self::Ended(Refusal::LeaseExpired) => true,
            Self::Closed
            | Self::Truncated
            | Self::Garbage(_)
            | Self::Ended(_)
            | Self::Replaced
            | Self::Asked
            | Self::NoPeer => false,
        }
    }
}
