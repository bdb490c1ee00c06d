//! `etherpair bench`: what it takes on the command line. What it means is checked by [`crate::bench::Plan`].

use clap::{Args, ValueEnum};

use crate::bench::{self, Plan};
use crate::byte_size;
use crate::exit_code::Failure;

const EXAMPLES: &str = "\
Examples:
  etherpair bench 7.1 -i eth1
      Random reads of 4 KiB, 32 at a time, for 10 seconds.
  etherpair bench 7.1 -i eth1 -i eth2 --rw read --block-size 1M --depth 4
      Sequential reads over two interfaces.
  etherpair bench 7.1 -i eth1 --rw randrw --mix 70 --verify --allow-writes --size 1G
      Reads and writes; every read is compared with what was written last. Destroys the first GiB of the volume.
  etherpair bench 7.1 -i eth1 --rate 20000 --json
      20,000 reads a second, however long they take. Latency counts from the moment a read should have begun.

While it runs it never sleeps (see --sleep): on a quick network a process that wakes up for each answer would measure its
own waking up. No two writes carry the same data: a target may answer a copy of a write without executing it.
Control-C (or SIGTERM) ends the load with the report so far and exit code 64, a second one at once.
Exit codes: 60 nobody answers, 61 wrong data was read, 62 requests failed; others: docs/exit-codes.md.";

/// What `etherpair bench` takes.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Address of the volume (shelf.slot)
    pub(crate) address: String,

    /// Use this interface; may be given several times
    #[arg(short, long = "interface", value_name = "NAME", required = true)]
    pub(crate) interfaces: Vec<String>,

    /// What to do
    #[arg(long, value_name = "KIND", default_value = "randread")]
    pub(crate) rw: Workload,

    /// Percentage of reads in randrw and rw
    #[arg(long, value_name = "PERCENT", default_value_t = 50, value_parser = clap::value_parser!(u8).range(0..=100))]
    pub(crate) mix: u8,

    /// Bytes a request; longer ones go in several frames
    #[arg(short, long, value_name = "BYTES", default_value = "4k", value_parser = byte_size::parse)]
    pub(crate) block_size: u64,

    /// Requests under way at a time
    #[arg(short, long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub(crate) depth: u32,

    /// Measure for so long
    #[arg(short, long, value_name = "N", default_value_t = 10.0)]
    pub(crate) seconds: f64,

    /// Load the target so long before measuring
    #[arg(long, value_name = "SECONDS", default_value_t = 0.0)]
    pub(crate) warm_up: f64,

    /// End after so many requests
    #[arg(long, value_name = "N")]
    pub(crate) requests: Option<u64>,

    /// Begin so many requests a second whatever the target does, at most --depth at a time
    #[arg(long, value_name = "PER SECOND", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rate: Option<u32>,

    /// Use the volume from this byte on
    #[arg(long, value_name = "BYTES", default_value = "0", value_parser = byte_size::parse)]
    pub(crate) offset: u64,

    /// Use so many bytes of it
    #[arg(long, value_name = "BYTES", value_parser = byte_size::parse)]
    pub(crate) size: Option<u64>,

    /// Check what is read: place, wholeness, and that it is what this run wrote last
    #[arg(long)]
    pub(crate) verify: bool,

    /// Needed to write: the data of the volume is destroyed
    #[arg(long)]
    pub(crate) allow_writes: bool,

    /// Sleep while there is nothing to do, instead of looking for answers all the time
    #[arg(long)]
    pub(crate) sleep: bool,

    /// Stay on this core
    #[arg(long, value_name = "N")]
    pub(crate) cpu: Option<usize>,

    /// How answers come from the kernel
    #[arg(long, value_name = "KIND", default_value = "ring")]
    pub(crate) port: PortChoice,

    /// Send a frame again after so long at the earliest
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=60_000))]
    pub(crate) retransmit_after: u64,

    /// Look so long for the volume, and wait so long for a request
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub(crate) answer_timeout: u64,

    /// Choose the same sectors in the same order as another run with this number
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,

    /// Report in JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// `--rw`.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Workload {
    /// Read anywhere.
    Randread,
    /// Write anywhere.
    Randwrite,
    /// Read from the beginning to the end, again and again.
    Read,
    /// Write from the beginning to the end, again and again.
    Write,
    /// Read and write anywhere.
    Randrw,
    /// Read and write from the beginning to the end.
    Rw,
}

/// `--port`. The default loads the target least and answers soonest with 4 KiB blocks; see `docs/measurements.md`.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum PortChoice {
    /// System calls.
    Plain,
    /// A ring shared with the kernel.
    Ring,
    /// `io_uring` receives.
    Uring,
    /// A ring, and `AF_XDP` to send short frames.
    Xdp,
}

/// Loads and reports.
pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    Ok(bench::run(&Plan::new(arguments)?)?)
}
