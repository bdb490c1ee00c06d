//! What the control planes of the two nodes of a pair ask of each other, on a connection of the peer port for one request or a few: a
//! line of JSON asks, a line answers.
//!
//! It decides which lines are requests. Fields are only ever added, and a node leaves out what it does not know, so that two versions
//! understand each other.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;

use crate::line::{self, LineError};

/// What the peer is asked.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PeerRequest {
    /// Make the files.
    Prepare(Plan),
    /// Serve it.
    Activate,
    /// Make room for a volume to grow.
    MakeRoom {
        /// Which volume, 32 hexadecimal digits.
        identity: String,
        /// How many sectors it is to have.
        sectors: u64,
    },
    /// What is there of a volume that is to be made anew at the one who asks, or of all?
    Describe {
        /// Which.
        address: Option<String>,
        /// Of all: only the next few beyond this address, or the first few if it is empty. All at once if it is not said, as older
        /// nodes ask; they answer likewise, whatever is said.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<String>,
    },
    /// Is a volume to be served there, whether it is or not?
    IsConfigured {
        /// Which.
        address: String,
    },
    /// Could a volume be removed?
    MayRemove(PeerVolume),
    /// Remove it.
    Remove(PeerVolume),
    /// Which arbiter is asked there?
    Arbiter,
    /// Which volumes are served there, and at which addresses?
    Served {
        /// Only the next few beyond this address, or the first few.
        after: Option<String>,
    },
}

/// What it answers.
pub type PeerAnswer = Result<Value, String>;

/// A volume to be made at one node.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Plan {
    /// Its address.
    pub address: String,
    /// 32 hexadecimal digits.
    pub identity: String,
    /// Its size.
    pub sectors: u64,
    /// None: as the disk is. The answer says which.
    pub sector_size: Option<usize>,
    /// Its file or device; otherwise a new one in the volumes directory.
    pub data: Option<PathBuf>,
    /// Its metadata; otherwise a new file in the volumes directory.
    pub metadata: Option<PathBuf>,
    /// What the data file is to be.
    pub data_kind: DataKind,
    /// What is on a device for metadata may be overwritten.
    #[serde(default)]
    pub overwrite_metadata: bool,
}

/// What a data file is to be.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DataKind {
    /// A new file: zeros, equal to a new one at the other node.
    New,
    /// It exists, and is the volume's content.
    Image,
    /// Its content comes from the other node: a new file, or a device that may be overwritten.
    Copy {
        /// Whether a device may be.
        overwrite: bool,
    },
}

/// A volume of the peer's to be removed.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct PeerVolume {
    /// Its address.
    pub address: String,
    /// 32 hexadecimal digits; none if the one who asks could not open it.
    pub identity: Option<String>,
    /// Its data is deleted, too.
    pub delete_data: bool,
}

/// What a node says of a volume to its peer, which is to get it anew.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Described {
    /// Its address.
    pub address: String,
    /// 32 hexadecimal digits.
    pub identity: String,
    /// Its size.
    pub sectors: u64,
    /// Unit of its disk, in bytes.
    pub sector_size: usize,
    /// The number of its membership.
    pub epoch: u64,
    /// The node that says so serves alone, with a copy that lacks nothing.
    pub is_sole_and_good: bool,
    /// What both nodes are to say of it alike, as lines of its description.
    #[serde(default)]
    pub settings: String,
}

/// Which arbiter a node asks.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct AskedArbiter {
    /// `witness`, `etcd` or `none`.
    pub kind: String,
    /// A name that no other one has; none if the node has not reached it yet.
    pub identity: Option<String>,
}

/// A volume that is served at a node.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Served {
    /// Where initiators find it.
    pub address: String,
    /// 32 hexadecimal digits.
    pub identity: String,
}

/// Why a line is no request of a peer: nothing is to be done then.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error("not a request of a peer: {0}{advice}", advice = advice(.0))]
pub struct PeerRequestError(pub LineError);

/// A newer node may ask what an older one does not know; both end their lines.
const fn advice(error: &LineError) -> &'static str {
    match error {
        LineError::Unknown(_) => "; if it is the peer, upgrade the older node",
        LineError::CutOff { .. } | LineError::NoText => "",
    }
}

impl PeerRequest {
    /// What a line asks, with the line feed at its end.
    ///
    /// # Errors
    /// [`PeerRequestError`] if it is no request; nothing is to be done then.
    pub fn read(line: &[u8]) -> Result<Self, PeerRequestError> {
        line::read(line).map_err(PeerRequestError)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LINE_BYTES_MAX;

    #[test]
    fn what_an_older_node_asks_is_understood_and_what_it_does_not_know_is_left_out_there() {
        let read = |line: &str| PeerRequest::read(format!("{line}\n").as_bytes()).expect("a request");
        assert_eq!(
            read("{\"describe\":{\"address\":null}}"),
            PeerRequest::Describe { address: None, after: None }
        );
        let plan = "{\"prepare\":{\"address\":\"7.1\",\"identity\":\"ff\",\"sectors\":8,\"sector_size\":null,\"data\":null,\
                    \"metadata\":null,\"data_kind\":{\"copy\":{\"overwrite\":true}},\"of_a_newer_one\":1}}";
        let PeerRequest::Prepare(plan) = read(plan) else { panic!("a plan") };
        assert!(!plan.overwrite_metadata && plan.data_kind == DataKind::Copy { overwrite: true });
        assert_eq!(read("\"activate\"").line(), "\"activate\"\n");
    }

    #[test]
    fn anything_else_is_no_request_and_says_why_in_one_line() {
        let read = |line: &[u8]| PeerRequest::read(line).expect_err("no request");
        for line in
            ["\n", "{}\n", "activate\n", "{\"fly\":null}\n", "{\"remove\":{\"address\":7}}\n", "[[[[\n"]
        {
            let error = read(line.as_bytes()).to_string();
            assert!(error.starts_with("not a request of a peer") && !error.contains('\n'), "{error}");
            assert!(error.ends_with("upgrade the older node"), "{error}");
        }
        let cut_off = read(b"\"activate\"");
        assert!(!cut_off.to_string().contains("upgrade"), "{cut_off}");
        assert_eq!(cut_off, PeerRequestError(LineError::CutOff { bytes: 10 }));
        assert_eq!(read(b"\xff\n"), PeerRequestError(LineError::NoText));
        let long = [vec![b' '; LINE_BYTES_MAX], b"\n".to_vec()].concat();
        assert_eq!(read(&long), PeerRequestError(LineError::CutOff { bytes: LINE_BYTES_MAX + 1 }));
    }
}
