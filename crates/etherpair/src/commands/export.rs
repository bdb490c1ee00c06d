//! `etherpair export`: what it takes on the command line. What it means is checked by [`crate::export::Plan`].

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::byte_size;
use crate::export::{ExportError, Plan, serve};

/// Shown after the options.
const EXAMPLES: &str = "\
Examples:
  etherpair export 7.1 disk.img -i eth1
      Serve disk.img as e7.1 on eth1. Writes are on stable storage when they are answered.
  etherpair export 7.1 /dev/sdb 7.2 boot.img -i eth1 -i eth2 --threads 2
      Serve two disks on two interfaces, with a thread for each half of the addresses.
  etherpair export 9.0 boot.img -i eth1 --read-only --read-cache page
      Serve a boot image from memory.

Signals:
  SIGTERM, SIGINT  finish what is under way and end with exit code 0
  SIGHUP           look at the sizes of all disks again; initiators are told of a new one
  SIGUSR1          print the statistics, as also at the end

The config string, the MAC mask list and the reservation that AoE clients set are kept in a state file: beside a regular
file as FILE.etherpair, for a block device in /var/lib/etherpair. ETHERPAIR_LOG=debug tells more on standard error.
Exit codes: docs/exit-codes.md.";

/// What `etherpair export` takes.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Address (shelf.slot: 0.0 to 65534.254) and disk (a regular file or a block device), one pair or several
    #[arg(value_names = ["ADDRESS", "DISK"], num_args = 2.., required = true)]
    pub(crate) pairs: Vec<String>,

    /// Serve on this interface; may be given several times
    #[arg(short, long = "interface", value_name = "NAME", required = true)]
    pub(crate) interfaces: Vec<String>,

    /// Threads that serve; each takes its share of the addresses
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) threads: u16,

    /// Serve the disk from this byte on (k, M, G, T: powers of 1024); for a single pair
    #[arg(long, value_name = "BYTES", value_parser = byte_size::parse)]
    pub(crate) offset: Option<u64>,

    /// Serve so many bytes of the disk; for a single pair
    #[arg(long, value_name = "BYTES", value_parser = byte_size::parse)]
    pub(crate) length: Option<u64>,

    /// Refuse all writes
    #[arg(long)]
    pub(crate) read_only: bool,

    /// Answer writes before they are on stable storage: faster, but Linux initiators never flush, so a power failure
    /// here loses what they believe is written
    #[arg(long, conflicts_with = "read_only")]
    pub(crate) write_cache: bool,

    /// Serve reads from memory (page) or always from the disk (none)
    #[arg(long, value_name = "KIND", default_value = "none")]
    pub(crate) read_cache: ReadCacheKind,

    /// Unit of the disk; found out if not given
    #[arg(long, value_name = "BYTES", value_parser = ["512", "4096"])]
    pub(crate) sector_size: Option<String>,

    /// Requests an initiator may have outstanding at each address; Linux uses at most 64 unless told otherwise
    #[arg(long, value_name = "N", default_value_t = 128, value_parser = clap::value_parser!(u16).range(2..))]
    pub(crate) buffer_count: u16,

    /// Keep all state files there
    #[arg(long, value_name = "DIRECTORY")]
    pub(crate) state_directory: Option<PathBuf>,

    /// Serve although somebody else answers for an address
    #[arg(long)]
    pub(crate) force: bool,

    /// Record all AoE frames there, for support; with several threads the others append .1, .2 and so on
    #[arg(long, value_name = "FILE")]
    pub(crate) pcap: Option<PathBuf>,

    /// How frames come and go: auto is ring, or plain where that is refused; xdp is a ring and `AF_XDP` to send short frames
    #[arg(long, value_name = "KIND", default_value = "auto")]
    pub(crate) port: PortChoice,

    /// How disks are asked: auto is uring, or threads where that is refused
    #[arg(long, value_name = "KIND", default_value = "auto")]
    pub(crate) engine: EngineChoice,

    /// With little under way, look so long for what comes next before sleeping: a fifth less latency one request at a
    /// time, for a busier core; 0 sleeps at once
    #[arg(long, value_name = "MICROSECONDS", default_value_t = 50, value_parser = clap::value_parser!(u32).range(..=1_000_000))]
    pub(crate) busy_poll: u32,

    /// Keep the threads on these cores, in turn: 0,2-3
    #[arg(long, value_name = "LIST", value_parser = parse_cores)]
    pub(crate) cpu: Option<CoreList>,

    /// Report in JSON, a line for each event
    #[arg(long)]
    pub(crate) json: bool,
}

/// `--read-cache`.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum ReadCacheKind {
    /// From memory where possible.
    Page,
    /// From the disk.
    None,
}

/// `--port`.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum PortChoice {
    /// The best that the kernel allows.
    Auto,
    /// A ring shared with the kernel.
    Ring,
    /// `io_uring` receives.
    Uring,
    /// System calls.
    Plain,
    /// A ring, and `AF_XDP` to send short frames.
    Xdp,
}

/// `--engine`.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum EngineChoice {
    /// The best that the kernel allows.
    Auto,
    /// `io_uring`.
    Uring,
    /// Threads that wait.
    Threads,
}

/// `--cpu`: numbers of cores, in order.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct CoreList(pub(crate) Vec<usize>);

/// Serves until told to stop.
pub(crate) fn run(arguments: Arguments) -> Result<(), ExportError> {
    serve(&Plan::new(arguments)?)
}

/// Numbers and ranges of cores.
pub(crate) fn parse_cores(text: &str) -> Result<CoreList, String> {
    let refused = || format!("`{text}` is not a list of cores; write numbers and ranges like 0,2-3");
    let mut cores = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let first: usize = first.parse().map_err(|_| refused())?;
        let last: usize = last.parse().map_err(|_| refused())?;
        if first > last || last >= CORES_MAX {
            return Err(refused());
        }
        cores.extend(first..=last);
    }
    Ok(CoreList(cores))
}

/// As many as the kernel's set of cores has.
const CORES_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_cores_are_numbers_and_ranges() {
        assert_eq!(parse_cores("1"), Ok(CoreList(vec![1])));
        assert_eq!(parse_cores("0,2-4,1"), Ok(CoreList(vec![0, 2, 3, 4, 1])));
        for text in ["", "a", "1-", "-1", "3-2", "0-9999999999", "1,,2"] {
            assert!(parse_cores(text).is_err(), "{text}");
        }
    }
}
