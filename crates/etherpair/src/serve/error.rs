//! Why a node cannot begin, or a command cannot be carried out.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use aoe::{Address, MacAddress};
use os::InterfaceError;
use os::disk::DiskError;
use os::frame_port::PortError;
use os::metadata_file::MetadataError;
use os::open_files::OpenFilesError;
use os::shard::{MirroredExportError, ShardError};
use replication::identity::{PairIdentity, VolumeIdentity};
use thiserror::Error;

use crate::config::places::Place;
use crate::exit_code::{self, Failure};
use crate::export::ExportError;

/// Why a node cannot begin or go on.
#[derive(Debug, Error)]
pub(crate) enum ServeError {
    /// An interface cannot be used.
    #[error("{place}: {error}")]
    Interface {
        /// Where it is named.
        place: Place,
        /// Why.
        error: InterfaceError,
    },
    /// A port on an interface cannot be opened.
    #[error("{place}: {error}")]
    Port {
        /// Where the interface is named, or the kind of port.
        place: Place,
        /// Why.
        error: PortError,
    },
    /// A shard cannot start.
    #[error(transparent)]
    Shard(#[from] Box<ShardError>),
    /// Too few files may be open.
    #[error(transparent)]
    OpenFiles(#[from] OpenFilesError),
    /// Another process here serves an address.
    #[error(
        "another process of this machine serves {address} on {interface} already; stop it (most likely an `etherpair export`), or choose \
         another address"
    )]
    ServedHere {
        /// Of a volume.
        address: Address,
        /// On which of our interfaces.
        interface: String,
    },
    /// An address cannot be claimed for this process.
    #[error(transparent)]
    Claim(Box<ExportError>),
    /// A port or socket cannot be listened on.
    #[error(
        "{place}: cannot listen on {address}: {error}; look at the address, and whether another process has it"
    )]
    Listen {
        /// Where it is named.
        place: Place,
        /// The address.
        address: SocketAddr,
        /// What the kernel said.
        error: io::Error,
    },
    /// Another daemon is there.
    #[error("{path}: another daemon listens there; stop it, or name another socket in [admin]", path = .0.display())]
    SocketTaken(PathBuf),
    /// The socket cannot be made.
    #[error("{path}: {error}; look at the directory, or name another socket in [admin]", path = path.display())]
    Socket {
        /// Where.
        path: PathBuf,
        /// What the kernel said.
        error: io::Error,
    },
    /// A shard has ended.
    #[error("a thread cannot go on: {0}")]
    ShardFailed(String),
    /// The kernel refuses something else.
    #[error("{what}: {error}")]
    System {
        /// What.
        what: &'static str,
        /// What the kernel said.
        error: io::Error,
    },
}

/// Why a volume cannot be served.
#[derive(Debug, Error)]
pub(crate) enum VolumeError {
    /// Its disk.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// Its disk is not there. What is put in its place must not count as the volume.
    #[error(
        "{path}: there is none: look whether its file system is mounted and its device there, then `etherpair reload`; if it is lost, \
         `etherpair volume replace {address}` makes it anew from the peer's copy. Do not put an empty one in its place",
        path = .path.display()
    )]
    DiskMissing {
        /// Which volume.
        address: Address,
        /// Where it should be.
        path: PathBuf,
    },
    /// Its disk cannot be the one that was there.
    #[error(
        "{path} was never written to, and its metadata says that the volume was: it is not the file that was here. Look whether its file \
         system is mounted, then `etherpair reload`; if it is lost, `etherpair volume replace {address}` makes it anew from the peer's copy",
        path = .path.display()
    )]
    OtherDisk {
        /// Which volume.
        address: Address,
        /// The file.
        path: PathBuf,
    },
    /// Its metadata.
    #[error(transparent)]
    Metadata(#[from] Box<MetadataError>),
    /// The shard refuses it.
    #[error(transparent)]
    Export(#[from] Box<MirroredExportError>),
    /// The metadata is another pair's.
    #[error(
        "the metadata belongs to the pair {found}, not to {expected}; name the metadata that was made for this volume"
    )]
    OtherPair {
        /// Whose it is.
        found: PairIdentity,
        /// Whose it should be.
        expected: PairIdentity,
    },
    /// The metadata is of another volume than is said.
    #[error(
        "{place}: is {stated}, and {metadata} is the metadata of volume {found}: most likely the files of two volumes were swapped, and \
         initiators would find another disk at this address. Name the data and the metadata of {stated}, then `etherpair reload`; if it is to be \
         volume {found}, write that there, as long as the peer has it at this address, too; if {stated} is to be made anew here, put that metadata \
         aside",
        metadata = .metadata.display()
    )]
    OtherIdentity {
        /// Where it is said.
        place: Place,
        /// What.
        stated: VolumeIdentity,
        /// What was opened.
        metadata: PathBuf,
        /// Whose that is.
        found: VolumeIdentity,
    },
    /// This node serves the volume already, at another address.
    #[error(
        "{metadata} is the metadata of volume {identity}, which is served at {other} already, from {other_data} and {other_metadata}: a volume has \
         one address, and two copies of it in one node ruin both. Name the data and the metadata that were made for {address}, then \
         `etherpair reload`",
        metadata = .metadata.display(), other_data = .other_data.display(), other_metadata = .other_metadata.display()
    )]
    ServedAtAnother {
        /// Where it was to be served.
        address: Address,
        /// From what.
        metadata: PathBuf,
        /// Which volume.
        identity: VolumeIdentity,
        /// Where it is served.
        other: Address,
        /// From what.
        other_data: PathBuf,
        /// And with what.
        other_metadata: PathBuf,
    },
    /// The peer serves it elsewhere, or something else at its address.
    #[error("{0}")]
    AddressesDiffer(String),
    /// Somebody else serves its address.
    #[error(
        "{mac} on {interface} answers for this address and is not of this pair: initiators would write to both disks and find their data on \
         neither. Stop that server or choose another address, then `etherpair reload`; if it is the peer, `virtual_macs` must be alike on \
         both nodes"
    )]
    Stranger {
        /// On which of our interfaces.
        interface: String,
        /// Who.
        mac: MacAddress,
    },
    /// Another process here serves its address.
    #[error(
        "another process of this machine serves this address on {interface}; stop it (most likely an `etherpair export`) or choose another \
         address, then `etherpair reload`"
    )]
    ServedHere {
        /// On which of our interfaces.
        interface: String,
    },
    /// Its address cannot be claimed for this process.
    #[error(transparent)]
    Claim(Box<ExportError>),
    /// The shard is gone.
    #[error("its thread has ended; see the log")]
    Lost,
}

impl VolumeError {
    /// Which volume was found in the place of the one that was meant.
    pub(super) const fn found(&self) -> Option<VolumeIdentity> {
        match self {
            Self::OtherIdentity { found, .. } => Some(*found),
            _ => None,
        }
    }
}

impl From<ExportError> for ServeError {
    fn from(error: ExportError) -> Self {
        match error {
            ExportError::ServedHere { address, interface, .. } => Self::ServedHere { address, interface },
            other => Self::Claim(Box::new(other)),
        }
    }
}

impl From<ExportError> for VolumeError {
    fn from(error: ExportError) -> Self {
        match error {
            ExportError::ServedHere { interface, .. } => Self::ServedHere { interface },
            other => Self::Claim(Box::new(other)),
        }
    }
}

impl From<ServeError> for Failure {
    fn from(error: ServeError) -> Self {
        let code = match &error {
            ServeError::Interface { error, .. } => exit_code::of_interface(error),
            ServeError::Port { error, .. } => exit_code::of_port(error),
            ServeError::Shard(error) => match error.as_ref() {
                ShardError::Engine(_) => exit_code::ENGINE_REFUSED,
                _ => exit_code::SYSTEM,
            },
            ServeError::OpenFiles(_) => exit_code::OPEN_FILES,
            ServeError::ServedHere { .. } => exit_code::ADDRESS_SERVED,
            ServeError::Listen { .. } | ServeError::SocketTaken(_) | ServeError::Socket { .. } => {
                exit_code::LISTEN
            }
            ServeError::Claim(_) | ServeError::ShardFailed(_) | ServeError::System { .. } => {
                exit_code::SYSTEM
            }
        };
        Self::new(code, &error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_another_process_is_named_with_a_cure_that_a_node_has() {
        let error = ExportError::ServedHere {
            address: "7.1".parse().expect("an address"),
            interface: "eth1".to_owned(),
            mac: MacAddress([2, 0, 0, 0, 0, 1]),
        };
        let failure = Failure::from(ServeError::from(error));
        assert_eq!(failure.code(), exit_code::ADDRESS_SERVED);
        let text = failure.to_string();
        assert!(text.contains("e7.1 on eth1") && !text.contains("--force"), "{text}");
    }
}
