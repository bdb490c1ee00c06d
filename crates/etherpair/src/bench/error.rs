//! Why a load cannot be run, or what it found wrong: each with the cure in its text, and its exit code.

use aoe::Address;
use aoe::initiator::RequestError;
use os::cpu::CpuError;
use os::frame_port::PortError;
use thiserror::Error;

use crate::byte_size;
use crate::exit_code::{self, Failure};

/// Why a load fails.
#[derive(Debug, Error)]
pub(crate) enum BenchError {
    /// Not an address.
    #[error(transparent)]
    Address(#[from] aoe::AddressError),
    /// No whole number of sectors, or too many.
    #[error("--block-size {0} is not a multiple of 512 from 512 to 16M")]
    BlockSize(u64),
    /// Not a number of seconds.
    #[error("{option} {value} is no time to measure for; give seconds from 0 to 1000000, like 10 or 0.5")]
    Seconds {
        /// Which option.
        option: &'static str,
        /// What was given.
        value: f64,
    },
    /// The window splits a sector.
    #[error("--offset and --size must be multiples of 512")]
    WindowUnaligned,
    /// A write without leave.
    #[error("this would destroy the data of {0}: say --allow-writes if that is meant")]
    WritesNotAllowed(Address),
    /// Too many interfaces.
    #[error("{0} interfaces are too many; give at most 8")]
    Interfaces(usize),
    /// A port.
    #[error(transparent)]
    Port(#[from] PortError),
    /// A core.
    #[error(transparent)]
    Cpu(#[from] CpuError),
    /// Nobody is there.
    #[error(
        "nobody answers for {address} on {interfaces}; `etherpair discover -i {first}` shows who is there"
    )]
    NoAnswer {
        /// For which volume.
        address: Address,
        /// Where.
        interfaces: String,
        /// The first of them.
        first: String,
    },
    /// The window does not fit.
    #[error("{address} has {volume}, too few for a block of {block} from --offset on with --size", volume = byte_size::display(*.volume_bytes), block = byte_size::display(*.block_bytes))]
    VolumeTooSmall {
        /// Which volume.
        address: Address,
        /// Its size.
        volume_bytes: u64,
        /// What is to fit.
        block_bytes: u64,
    },
    /// Too much to remember.
    #[error("--verify remembers 4 bytes a sector: {size} would take too much memory; choose less than 256G with --size", size = byte_size::display(*.0))]
    TooLargeToVerify(u64),
    /// Wrong data.
    #[error(
        "{wrong} sectors had wrong data: {stale} older than what was acknowledged, {damaged} damaged or misplaced; first at sector {first}"
    )]
    Wrong {
        /// All of them.
        wrong: u64,
        /// Data from before the last acknowledged write.
        stale: u64,
        /// Damaged, or of another sector.
        damaged: u64,
        /// Where the first was.
        first: u64,
    },
    /// Failed requests.
    #[error("{count} requests failed; the first: {first}")]
    Failed {
        /// How many.
        count: u64,
        /// The first.
        first: RequestError,
    },
    /// A signal came.
    #[error("interrupted after {seconds:.1} s, before the load was done")]
    Interrupted {
        /// What was measured, in seconds.
        seconds: f64,
    },
    /// No signal would be heard.
    #[error("listening for signals failed: {0}")]
    Signals(std::io::Error),
    /// The report cannot be told.
    #[error("the report cannot be told: standard output cannot be written ({0})")]
    Report(#[from] std::io::Error),
}

impl From<BenchError> for Failure {
    fn from(error: BenchError) -> Self {
        let code = match &error {
            BenchError::Address(_) => exit_code::ADDRESS_INVALID,
            BenchError::BlockSize(_)
            | BenchError::Seconds { .. }
            | BenchError::WindowUnaligned
            | BenchError::Interfaces(_)
            | BenchError::Cpu(_) => exit_code::USAGE,
            BenchError::WritesNotAllowed(_)
            | BenchError::VolumeTooSmall { .. }
            | BenchError::TooLargeToVerify(_) => exit_code::VOLUME_UNSUITABLE,
            BenchError::Port(error) => exit_code::of_port(error),
            BenchError::NoAnswer { .. } => exit_code::NO_ANSWER,
            BenchError::Wrong { .. } => exit_code::VERIFY_FAILED,
            BenchError::Failed { .. } => exit_code::REQUESTS_FAILED,
            BenchError::Interrupted { .. } => exit_code::INTERRUPTED,
            BenchError::Signals(_) | BenchError::Report(_) => exit_code::SYSTEM,
        };
        Self::new(code, &error)
    }
}
