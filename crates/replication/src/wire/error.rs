//! What is wrong with a stream: who is at fault, and what to do. Each of them ends the session.

use thiserror::Error;

use super::header::Kind;
use crate::version::Version;

/// Why a stream is of no more use.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum WireError {
    /// Something else is at the other end, or the stream is out of step.
    #[error(
        "no message begins where one must (there is {found:02x?}); look whether the peer's address and port are those of \
         its etherpair"
    )]
    Magic {
        /// What there is.
        found: [u8; 4],
    },
    /// The first message must say what is spoken.
    #[error(
        "the peer sent a message of kind {kind} before a Hello with a version that both nodes speak; see the versions of \
         both nodes, and upgrade the older one"
    )]
    NoSession {
        /// Its number.
        kind: u8,
    },
    /// Another version than was agreed.
    #[error(
        "the peer sent a message of version {found} in a session of version {session}; its program is faulty: upgrade it"
    )]
    Version {
        /// What it says.
        found: u16,
        /// What was agreed.
        session: Version,
    },
    /// No such kind.
    #[error(
        "the peer sent a message of kind {found}, which this version does not have; its program is faulty: upgrade it"
    )]
    Kind {
        /// Its number.
        found: u8,
    },
    /// Torn apart on the way.
    #[error(
        "a message arrived damaged (checksum {found:08x}, not {computed:08x}) and TCP has not noticed; test cable, switch, \
         network cards and memory between the nodes, and turn checksum offload off"
    )]
    Checksum {
        /// What it says.
        found: u32,
        /// What it is.
        computed: u32,
    },
    /// The same for what was to be written or read.
    #[error(
        "data arrived damaged (checksum {found:08x}, not {computed:08x}) and TCP has not noticed; test cable, switch, \
         network cards and memory between the nodes, and turn checksum offload off"
    )]
    DataChecksum {
        /// What it says.
        found: u32,
        /// What it is.
        computed: u32,
    },
    /// A body that no message of this kind has.
    #[error(
        "the peer sent {kind} with a body of {found} bytes, which none has; its program is faulty: upgrade it"
    )]
    BodyLength {
        /// Of which kind.
        kind: Kind,
        /// How long it is.
        found: usize,
    },
    /// Data that this message does not have.
    #[error(
        "the peer sent {kind} with {found} bytes of data, which is not what it says; its program is faulty: upgrade it"
    )]
    DataLength {
        /// Of which kind.
        kind: Kind,
        /// How much it is.
        found: usize,
    },
    /// More data than this node has room for at once.
    #[error(
        "the peer sent {kind} with {found} bytes of data, this node takes {max} at a time; configure both nodes alike"
    )]
    DataTooLong {
        /// Of which kind.
        kind: Kind,
        /// How much it is.
        found: usize,
        /// How much may be.
        max: usize,
    },
    /// A value that means nothing.
    #[error(
        "the peer sent {kind} whose {what} means nothing; its program is faulty or newer: upgrade the older node"
    )]
    Value {
        /// Of which kind.
        kind: Kind,
        /// Which value.
        what: &'static str,
    },
}
