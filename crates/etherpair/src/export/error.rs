//! Why `etherpair export` does not start or cannot go on: each with the cure in its text, and its exit code.

use std::io;
use std::path::PathBuf;

use aoe::target::TargetError;
use aoe::{Address, AddressError, MacAddress};
use block::GeometryError;
use os::InterfaceError;
use os::disk::DiskError;
use os::frame_port::PortError;
use os::open_files::OpenFilesError;
use os::shard::ShardError;
use thiserror::Error;

use super::state_file::StateFileError;
use crate::exit_code::{self, Failure};

/// Why an export fails.
#[derive(Debug, Error)]
pub(crate) enum ExportError {
    /// An address without a disk, or a disk without an address.
    #[error("`{0}` stands alone; give pairs of address and disk: 7.1 disk.img 7.2 other.img")]
    Unpaired(String),
    /// Not an address.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// The same address for two disks.
    #[error("{0} is given twice; give each disk an address of its own")]
    AddressTwice(Address),
    /// The same disk at two addresses.
    #[error(
        "{path}: given twice, as {one} and {other}; a disk that is written has one address (--read-only allows more)",
        path = path.display()
    )]
    DiskTwice {
        /// Which disk.
        path: PathBuf,
        /// Its first address.
        one: Address,
        /// Its second.
        other: Address,
    },
    /// A window for several disks.
    #[error("--offset and --length are for a single disk; start one `etherpair export` for each window")]
    WindowOfMany,
    /// The same interface twice.
    #[error("interface {0} is given twice; name each once")]
    InterfaceTwice(String),
    /// More than are ever needed.
    #[error("{given} interfaces are too many; give at most 64")]
    TooManyInterfaces {
        /// How many.
        given: usize,
    },
    /// A core that is not there or not ours.
    #[error("--cpu: core {core} is not one of those this process may use: {allowed:?}")]
    CoreNotAllowed {
        /// The core asked for.
        core: usize,
        /// Those there are.
        allowed: Vec<usize>,
    },
    /// The limit of the process.
    #[error(transparent)]
    OpenFiles(#[from] OpenFilesError),
    /// A disk.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// A state file.
    #[error(transparent)]
    StateFile(#[from] StateFileError),
    /// An interface.
    #[error(transparent)]
    Interface(#[from] InterfaceError),
    /// A shard, most often its port.
    #[error(transparent)]
    Shard(#[from] ShardError),
    /// The port that looks who else is there.
    #[error(transparent)]
    Port(#[from] PortError),
    /// The capture cannot be made.
    #[error("{path}: the capture cannot be made ({error}); name another file with --pcap", path = path.display())]
    Pcap {
        /// Which file.
        path: PathBuf,
        /// What the kernel said.
        error: io::Error,
    },
    /// Somebody on the wire answers for an address.
    #[error(
        "{address} is served on {interface} by {mac} already; choose another address, stop that target, or serve it \
         all the same with --force"
    )]
    Served {
        /// The address.
        address: Address,
        /// Where.
        interface: String,
        /// By whom.
        mac: MacAddress,
    },
    /// Somebody on the wire is about to serve an address, and goes on.
    #[error(
        "{address}: {mac} on {interface} starts to serve it at this moment; choose another address, stop that target, or \
         serve it all the same with --force"
    )]
    Starting {
        /// The address.
        address: Address,
        /// Where.
        interface: String,
        /// By whom.
        mac: MacAddress,
    },
    /// Another process of this machine does, which the wire does not show.
    #[error(
        "{address} is served on {interface} by another process of this machine ({mac}) already; choose another \
         address, stop that process, or serve it all the same with --force"
    )]
    ServedHere {
        /// The address.
        address: Address,
        /// Where.
        interface: String,
        /// The interface's own address.
        mac: MacAddress,
    },
    /// The target does not take it.
    #[error("{address}: {error}")]
    Target {
        /// The address.
        address: Address,
        /// Why.
        error: TargetError,
    },
    /// A shard ended by itself.
    #[error("the thread that serves cannot go on: {0}")]
    ShardFailed(String),
    /// The kernel refuses something ordinary.
    #[error("{what} failed: {error}")]
    System {
        /// What was being done.
        what: &'static str,
        /// What the kernel said.
        error: io::Error,
    },
}

impl ExportError {
    /// The exit code that belongs to it.
    pub(crate) const fn exit_code(&self) -> u8 {
        match self {
            Self::Unpaired(_)
            | Self::DiskTwice { .. }
            | Self::WindowOfMany
            | Self::InterfaceTwice(_)
            | Self::TooManyInterfaces { .. }
            | Self::CoreNotAllowed { .. } => exit_code::USAGE,
            Self::Address(_) => exit_code::ADDRESS_INVALID,
            Self::AddressTwice(_) => exit_code::ADDRESS_TWICE,
            Self::Disk(error) => disk_code(error),
            Self::StateFile(error) => state_code(error),
            Self::Interface(error) => exit_code::of_interface(error),
            Self::Port(error) | Self::Shard(ShardError::Port(error)) => exit_code::of_port(error),
            Self::OpenFiles(_) => exit_code::OPEN_FILES,
            Self::Served { .. } | Self::Starting { .. } | Self::ServedHere { .. } => {
                exit_code::ADDRESS_SERVED
            }
            Self::Shard(ShardError::Engine(_)) => exit_code::ENGINE_REFUSED,
            Self::Shard(_)
            | Self::Pcap { .. }
            | Self::Target { .. }
            | Self::ShardFailed(_)
            | Self::System { .. } => exit_code::SYSTEM,
        }
    }
}

impl From<ExportError> for Failure {
    fn from(error: ExportError) -> Self {
        Self::new(error.exit_code(), &error)
    }
}

const fn disk_code(error: &DiskError) -> u8 {
    match error {
        DiskError::Missing(_) => exit_code::DISK_MISSING,
        DiskError::NotADisk(_) => exit_code::NOT_A_DISK,
        DiskError::Permission(_) => exit_code::DISK_PERMISSION,
        DiskError::Locked(_) => exit_code::DISK_LOCKED,
        DiskError::InUse(_) => exit_code::DISK_IN_USE,
        DiskError::Geometry { error: GeometryError::Empty, .. } => exit_code::DISK_EMPTY,
        DiskError::Geometry { .. } | DiskError::OffsetUnaligned { .. } => exit_code::DISK_UNALIGNED,
        DiskError::BeyondEnd { .. } => exit_code::DISK_BEYOND_END,
        DiskError::SectorTooSmall { .. } => exit_code::SECTOR_SIZE,
        DiskError::System { .. } => exit_code::SYSTEM,
    }
}

const fn state_code(error: &StateFileError) -> u8 {
    match error {
        StateFileError::Torn(_) | StateFileError::Damaged { .. } => exit_code::STATE_BROKEN,
        StateFileError::Version { .. } => exit_code::STATE_VERSION,
        StateFileError::OtherAddress { .. }
        | StateFileError::OtherDisk { .. }
        | StateFileError::OtherVolume { .. } => exit_code::STATE_FOREIGN,
        StateFileError::Read { .. } | StateFileError::Write { .. } => exit_code::STATE_SYSTEM,
    }
}
