//! What a load is to be, checked as far as that goes without the volume.

use aoe::Address;
use block::{Duration, SECTOR_BYTES, SectorCount};
use os::frame_port::PortKind;

use super::BenchError;
use super::generator::Mix;
use crate::commands::bench::{Arguments, PortChoice, Workload};

/// Longest request.
const BLOCK_BYTES_MAX: u64 = 16 << 20;
/// As many interfaces as an initiator uses.
const INTERFACES_MAX: usize = aoe::initiator::PORTS_MAX;

/// A load.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) address: Address,
    pub(crate) interfaces: Vec<String>,
    pub(crate) workload: Workload,
    pub(crate) mix: Mix,
    pub(crate) block: SectorCount,
    pub(crate) depth: u32,
    pub(crate) duration: Duration,
    pub(crate) warm_up: Duration,
    pub(crate) requests: Option<u64>,
    /// From one request to the next.
    pub(crate) interval: Option<Duration>,
    pub(crate) offset_sectors: u64,
    pub(crate) sectors: Option<u64>,
    pub(crate) verify: bool,
    pub(crate) sleep: bool,
    pub(crate) core: Option<usize>,
    pub(crate) port: PortKind,
    pub(crate) retransmit_after: Duration,
    pub(crate) answer_timeout: Duration,
    pub(crate) seed: u64,
    pub(crate) json: bool,
}

impl Plan {
    /// Makes sense of the command line.
    pub(crate) fn new(arguments: &Arguments) -> Result<Self, BenchError> {
        let address: Address = arguments.address.parse()?;
        let mix = mix(arguments);
        if mix.writes() && !arguments.allow_writes {
            return Err(BenchError::WritesNotAllowed(address));
        }
        if arguments.interfaces.len() > INTERFACES_MAX {
            return Err(BenchError::Interfaces(arguments.interfaces.len()));
        }
        let sector = SECTOR_BYTES as u64;
        let size = arguments.size.unwrap_or(0);
        if !arguments.offset.is_multiple_of(sector) || !size.is_multiple_of(sector) {
            return Err(BenchError::WindowUnaligned);
        }
        Ok(Self {
            address,
            interfaces: arguments.interfaces.clone(),
            workload: arguments.rw,
            mix,
            block: block(arguments.block_size)?,
            depth: arguments.depth,
            duration: seconds("--seconds", arguments.seconds)?,
            warm_up: seconds("--warm-up", arguments.warm_up)?,
            requests: arguments.requests,
            interval: arguments.rate.map(|rate| Duration::from_secs(1) / rate),
            offset_sectors: arguments.offset / sector,
            sectors: arguments.size.map(|size| size / sector),
            verify: arguments.verify,
            sleep: arguments.sleep,
            core: arguments.cpu,
            port: match arguments.port {
                PortChoice::Plain => PortKind::Plain,
                PortChoice::Ring => PortKind::Ring,
                PortChoice::Uring => PortKind::Uring,
                PortChoice::Xdp => PortKind::Xdp,
            },
            retransmit_after: Duration::from_millis(arguments.retransmit_after),
            answer_timeout: Duration::from_secs(arguments.answer_timeout),
            seed: arguments.seed.unwrap_or_else(|| os::clock::now().as_nanos()),
            json: arguments.json,
        })
    }
}

fn mix(arguments: &Arguments) -> Mix {
    let (random, reads) = match arguments.rw {
        Workload::Randread => (true, 100),
        Workload::Randwrite => (true, 0),
        Workload::Read => (false, 100),
        Workload::Write => (false, 0),
        Workload::Randrw => (true, arguments.mix),
        Workload::Rw => (false, arguments.mix),
    };
    Mix { random, reads }
}

fn block(bytes: u64) -> Result<SectorCount, BenchError> {
    let refused = || BenchError::BlockSize(bytes);
    if bytes == 0 || bytes > BLOCK_BYTES_MAX {
        return Err(refused());
    }
    let bytes = usize::try_from(bytes).map_err(|_| refused())?;
    SectorCount::from_bytes(bytes).ok_or_else(refused)
}

fn seconds(option: &'static str, value: f64) -> Result<Duration, BenchError> {
    if !(0.0..=1e6).contains(&value) {
        return Err(BenchError::Seconds { option, value });
    }
    Ok(Duration::from_secs_f64(value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        arguments: Arguments,
    }

    fn plan(line: &str) -> Result<Plan, BenchError> {
        let words = std::iter::once("bench").chain(line.split_whitespace());
        Plan::new(&Line::parse_from(words).arguments)
    }

    #[test]
    fn nothing_is_written_without_leave() {
        for kind in ["randwrite", "write", "randrw", "rw"] {
            let error = plan(&format!("7.1 -i eth1 --rw {kind}")).expect_err("no leave");
            assert!(matches!(error, BenchError::WritesNotAllowed(_)), "{error}");
            plan(&format!("7.1 -i eth1 --rw {kind} --allow-writes")).expect("leave");
        }
        plan("7.1 -i eth1 --rw randrw --mix 100").expect("reads only");
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        assert!(matches!(plan("7.1 -i eth1 --block-size 1000"), Err(BenchError::BlockSize(1000))));
        assert!(matches!(plan("7.1 -i eth1 --block-size 0"), Err(BenchError::BlockSize(0))));
        assert!(matches!(plan("7.1 -i eth1 --block-size 17M"), Err(BenchError::BlockSize(_))));
        assert!(matches!(plan("7.1 -i eth1 --offset 100"), Err(BenchError::WindowUnaligned)));
        assert!(matches!(plan("7.1 -i eth1 --seconds NaN"), Err(BenchError::Seconds { .. })));
        assert!(matches!(plan("7 -i eth1"), Err(BenchError::Address(_))));
    }
}
