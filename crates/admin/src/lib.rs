//! What is said at the socket for commands: a line of JSON asks, a line of JSON answers (`docs/operating/admin-socket.md`). What the
//! control planes of a pair ask of each other in the same way is [`peer`].
//!
//! It decides which lines are requests, and nothing of what follows from them. Whether the one who asks may do so is decided by
//! the permissions of the socket; still no bytes make it panic or remember more than a line.
#![forbid(unsafe_code)]

mod line;
pub mod peer;

pub use line::LineError;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;

/// The longest line that asks, with its end.
pub const LINE_BYTES_MAX: usize = 64 << 10;

/// What is wanted of a daemon.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "command", deny_unknown_fields)]
pub enum Request {
    /// How does everything stand?
    Status,
    /// Tell what happens from now on.
    Events,
    /// The peer is to go on alone.
    Leave,
    /// Come back after that.
    Join,
    /// Serve although the copy may be stale.
    Promote {
        /// Which volume.
        address: String,
        /// Also a copy that is not whole.
        #[serde(default)]
        inconsistent: bool,
    },
    /// Make a volume at both nodes.
    CreateVolume(CreateRequest),
    /// Compare the two copies.
    Verify {
        /// Which volume.
        address: String,
        /// Copy what differs.
        fix: bool,
    },
    /// Make it larger.
    Resize {
        /// Which volume.
        address: String,
        /// How many bytes it is to have.
        bytes: u64,
    },
    /// Remove it from both nodes, or from this one.
    RemoveVolume(RemoveRequest),
    /// Get a copy anew from the peer.
    ReplaceVolume(ReplaceRequest),
    /// Make the arbiter's register of a volume that both nodes serve in sync; of all if none is named.
    Register {
        /// Which volume.
        address: Option<String>,
    },
    /// Read the configuration again.
    Reload,
}

/// A volume to be made.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct CreateRequest {
    /// Its address.
    pub address: String,
    /// Its size in bytes; that of the image if there is one.
    pub bytes: Option<u64>,
    /// Its file or device here; otherwise a new one in the volumes directory.
    pub data: Option<PathBuf>,
    /// Its metadata here; otherwise a new file in the volumes directory.
    pub metadata: Option<PathBuf>,
    /// Its file or device at the peer.
    pub peer_data: Option<PathBuf>,
    /// Its metadata at the peer.
    pub peer_metadata: Option<PathBuf>,
    /// What is on a device at the peer may be overwritten.
    pub overwrite_peer: bool,
    /// What is on a device for metadata, at either node, may be overwritten.
    #[serde(default)]
    pub overwrite_metadata: bool,
}

/// A volume to be removed.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct RemoveRequest {
    /// Its address.
    pub address: String,
    /// Its data is deleted, too, at every node that it is removed from.
    pub delete_data: bool,
    /// It is removed from this node only; the peer, if it has it, goes on alone.
    pub here_only: bool,
}

/// A copy to be made anew.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct ReplaceRequest {
    /// Of which volume; none: of all volumes of the peer's that this node cannot serve.
    pub address: Option<String>,
    /// Its file or device, if it is not configured yet; otherwise a new file in the volumes directory.
    pub data: Option<PathBuf>,
    /// Likewise its metadata.
    pub metadata: Option<PathBuf>,
}

/// What a daemon says.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// It is done; or this is what was wanted.
    Done(Value),
    /// It is not; what to do.
    Refused(String),
}

/// Why a line is no request: nothing is to be done then.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error("not a request: {0}; see docs/operating/admin-socket.md")]
pub struct RequestError(pub LineError);

impl Request {
    /// What a line asks, with the line feed at its end.
    ///
    /// # Errors
    /// [`RequestError`] if it is no request; nothing is to be done then.
    pub fn read(line: &[u8]) -> Result<Self, RequestError> {
        line::read(line).map_err(RequestError)
    }

    /// The line that asks it.
    ///
    /// # Panics
    /// If a path in it is no text.
    #[must_use]
    pub fn line(&self) -> String {
        line::write(self)
    }
}

impl Reply {
    /// The line that says it.
    #[must_use]
    pub fn line(&self) -> String {
        line::write(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_requests_of_the_documents_are_requests() {
        let text = include_str!("../../../docs/operating/admin-socket.md");
        let rows = text.lines().filter(|line| line.starts_with("| `{"));
        let requests: Vec<&str> =
            rows.flat_map(|row| row.split('`')).filter(|part| part.starts_with('{')).collect();
        assert!(requests.len() > 8, "{requests:?}");
        for request in requests {
            let line = request.replace('…', "4096") + "\n";
            let read = Request::read(line.as_bytes()).unwrap_or_else(|error| panic!("{request}: {error}"));
            assert_eq!(Request::read(read.line().as_bytes()), Ok(read));
        }
    }

    #[test]
    fn anything_else_is_none_and_says_why_in_one_line() {
        let read = |line: &[u8]| Request::read(line).expect_err("no request");
        for line in
            ["\n", "{}\n", "status\n", "{\"command\":\"fly\"}\n", "{\"command\":\"promote\"}\n", "[[[[[[[[\n"]
        {
            let error = read(line.as_bytes()).to_string();
            assert!(error.starts_with("not a request: ") && !error.contains('\n'), "{error}");
        }
        assert_eq!(read(b"{\"command\":\"leave\"}"), RequestError(LineError::CutOff { bytes: 19 }));
        assert_eq!(read(b""), RequestError(LineError::CutOff { bytes: 0 }));
        assert_eq!(read(b"\xff\n"), RequestError(LineError::NoText));
        let long = [vec![b' '; LINE_BYTES_MAX], b"\n".to_vec()].concat();
        assert_eq!(read(&long), RequestError(LineError::CutOff { bytes: LINE_BYTES_MAX + 1 }));
        let deep = "[".repeat(60_000) + "\n";
        assert!(
            matches!(read(deep.as_bytes()), RequestError(LineError::Unknown(_))),
            "and the stack is deep enough"
        );
        let shouting = format!("{{\"command\":\"{}\\n\\u001b[2J\"}}\n", "x".repeat(1000));
        let error = read(shouting.as_bytes()).to_string();
        assert!(error.len() < 400 && !error.contains(['\n', '\u{1b}']), "{error}");
    }
}
