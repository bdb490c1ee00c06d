//! The command line as a whole, checked before anything is touched.
//!
//! Decides which disk is served at which address and by which shard. Opens nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use aoe::Address;
use block::{Duration, LogicalSectorSize};
use os::EngineKind;
use os::disk::{DiskOptions, ReadCache};
use os::frame_port::PortKind;

use super::error::ExportError;
use crate::commands::export::{Arguments, EngineChoice, PortChoice, ReadCacheKind};

/// Where the state files of block devices are, if nothing else is said.
const STATE_DIRECTORY: &str = "/var/lib/etherpair";

/// Everything that `etherpair export` shall do.
#[derive(Debug)]
pub(crate) struct Plan {
    /// What to serve.
    pub(crate) exports: Vec<ExportPlan>,
    /// Where to serve it.
    pub(crate) interfaces: Vec<String>,
    /// Threads.
    pub(crate) shards: u32,
    /// The cores they run on, in turn; none: wherever the kernel puts them.
    pub(crate) cores: Vec<usize>,
    /// Kinds of frame ports to try, the best first.
    pub(crate) port_kinds: &'static [PortKind],
    /// How disks are asked.
    pub(crate) engine: EngineKind,
    /// How long a shard looks before it sleeps.
    pub(crate) busy_poll: Duration,
    /// Writes may be answered before they are durable.
    pub(crate) write_cache: bool,
    /// Requests outstanding, as told to initiators.
    pub(crate) buffer_count: u16,
    /// Serve although somebody else does.
    pub(crate) force: bool,
    /// Record frames there.
    pub(crate) pcap: Option<PathBuf>,
    /// Report in JSON.
    pub(crate) json: bool,
    /// Keep all state files there.
    pub(crate) state_directory: Option<PathBuf>,
}

/// One disk to serve.
#[derive(Clone, Debug)]
pub(crate) struct ExportPlan {
    /// Its address.
    pub(crate) address: Address,
    /// Its disk.
    pub(crate) disk: DiskOptions,
}

impl Plan {
    /// Checks what was given.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub(crate) fn new(arguments: Arguments) -> Result<Self, ExportError> {
        let exports = exports(&arguments)?;
        let mut seen = BTreeSet::new();
        if let Some(twice) = arguments.interfaces.iter().find(|name| !seen.insert(*name)) {
            return Err(ExportError::InterfaceTwice(twice.clone()));
        }
        if arguments.interfaces.len() > INTERFACES_MAX {
            return Err(ExportError::TooManyInterfaces { given: arguments.interfaces.len() });
        }
        let cores = arguments.cpu.map(|list| list.0).unwrap_or_default();
        let allowed = os::cpu::allowed_cores();
        if let Some(&core) = cores.iter().find(|core| !allowed.contains(core)) {
            return Err(ExportError::CoreNotAllowed { core, allowed });
        }
        Ok(Self {
            exports,
            interfaces: arguments.interfaces,
            shards: u32::from(arguments.threads),
            cores,
            port_kinds: port_kinds(arguments.port),
            engine: match arguments.engine {
                EngineChoice::Auto => EngineKind::Auto,
                EngineChoice::Uring => EngineKind::Uring,
                EngineChoice::Threads => EngineKind::Threads,
            },
            busy_poll: Duration::from_micros(u64::from(arguments.busy_poll)),
            write_cache: arguments.write_cache,
            buffer_count: arguments.buffer_count,
            force: arguments.force,
            pcap: arguments.pcap,
            json: arguments.json,
            state_directory: arguments.state_directory,
        })
    }

    /// Where the state of `export` is kept, and whether that place is named by the address and not by the disk.
    pub(crate) fn state_path(&self, export: &ExportPlan, regular_file: bool) -> (PathBuf, bool) {
        let by_address = |directory: &Path| directory.join(format!("{}.etherpair", export.address));
        match &self.state_directory {
            Some(directory) => (by_address(directory), true),
            None if regular_file => {
                let mut path = export.disk.path.as_os_str().to_owned();
                path.push(".etherpair");
                (path.into(), false)
            }
            None => (by_address(Path::new(STATE_DIRECTORY)), true),
        }
    }

    /// The addresses that a shard serves. The kernel's filter divides by the same rule.
    pub(crate) const fn shard_of(&self, address: Address) -> u32 {
        shard_of(address, self.shards)
    }
}

/// A shard numbers its interfaces with a byte, and every shard opens a port on each.
const INTERFACES_MAX: usize = 64;

const fn shard_of(address: Address, shards: u32) -> u32 {
    // `os::frame_port::FrameFilter::Shard` says: shelf × 256 + slot, and the remainder of that.
    ((address.shelf().0 as u32) << 8 | address.slot().0 as u32) % shards
}

const fn port_kinds(choice: PortChoice) -> &'static [PortKind] {
    match choice {
        PortChoice::Auto => &[PortKind::Ring, PortKind::Plain],
        PortChoice::Ring => &[PortKind::Ring],
        PortChoice::Uring => &[PortKind::Uring],
        PortChoice::Plain => &[PortKind::Plain],
        PortChoice::Xdp => &[PortKind::Xdp],
    }
}

fn exports(arguments: &Arguments) -> Result<Vec<ExportPlan>, ExportError> {
    let (pairs, rest) = arguments.pairs.as_chunks::<2>();
    if let [single] = rest {
        return Err(ExportError::Unpaired(single.clone()));
    }
    if pairs.len() > 1 && (arguments.offset.is_some() || arguments.length.is_some()) {
        return Err(ExportError::WindowOfMany);
    }
    let mut exports = Vec::with_capacity(pairs.len());
    let mut addresses = BTreeSet::new();
    let mut disks = BTreeMap::new();
    for [address, path] in pairs {
        let address: Address = address.parse()?;
        if !addresses.insert(address) {
            return Err(ExportError::AddressTwice(address));
        }
        let path = PathBuf::from(path);
        // A path that cannot be resolved is reported when it is opened.
        if !arguments.read_only
            && let Ok(resolved) = path.canonicalize()
            && let Some(other) = disks.insert(resolved, address)
        {
            return Err(ExportError::DiskTwice { path, one: other, other: address });
        }
        exports.push(ExportPlan { address, disk: disk_options(arguments, path) });
    }
    Ok(exports)
}

fn disk_options(arguments: &Arguments, path: PathBuf) -> DiskOptions {
    DiskOptions {
        path,
        offset: arguments.offset.unwrap_or(0),
        length: arguments.length,
        read_only: arguments.read_only,
        read_cache: match arguments.read_cache {
            ReadCacheKind::Page => ReadCache::Page,
            ReadCacheKind::None => ReadCache::None,
        },
        logical_sector_size: arguments.sector_size.as_deref().map(|size| match size {
            "4096" => LogicalSectorSize::B4096,
            _ => LogicalSectorSize::B512,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct CommandLine {
        #[command(flatten)]
        arguments: Arguments,
    }

    fn plan(line: &str) -> Result<Plan, ExportError> {
        let words = std::iter::once("export").chain(line.split(' '));
        Plan::new(CommandLine::try_parse_from(words).expect("clap takes it").arguments)
    }

    #[test]
    fn pairs_become_exports_in_order() {
        let plan = plan("7.1 a.img e7.2 b.img -i eth1 -i eth2 --threads 2").expect("a plan");
        let exports: Vec<String> =
            plan.exports.iter().map(|e| format!("{} {}", e.address, e.disk.path.display())).collect();
        assert_eq!(exports, ["e7.1 a.img", "e7.2 b.img"]);
        assert_eq!((plan.interfaces.len(), plan.shards, plan.buffer_count), (2, 2, 128));
        assert_eq!(plan.exports.iter().map(|e| plan.shard_of(e.address)).collect::<Vec<_>>(), [1, 0]);
    }

    #[test]
    fn what_does_not_fit_together_is_refused() {
        assert!(matches!(plan("7.1 a 7.2 -i x"), Err(ExportError::Unpaired(word)) if word == "7.2"));
        assert!(matches!(plan("7.1 a e7.1 b -i x"), Err(ExportError::AddressTwice(_))));
        assert!(matches!(plan("4095.1 a -i x"), Err(ExportError::Address(_))));
        assert!(matches!(plan("a.img 7.1 -i x"), Err(ExportError::Address(_))));
        assert!(matches!(plan("7.1 a -i x -i x"), Err(ExportError::InterfaceTwice(_))));
        assert!(matches!(plan("7.1 a 7.2 b -i x --offset 1M"), Err(ExportError::WindowOfMany)));
        assert!(matches!(plan("7.1 /dev/null 7.2 /dev/null -i x"), Err(ExportError::DiskTwice { .. })));
        assert!(matches!(plan("7.1 a -i x --cpu 1023"), Err(ExportError::CoreNotAllowed { core: 1023, .. })));
    }

    #[test]
    fn the_state_is_beside_a_file_and_elsewhere_for_a_device() {
        let plan = |line| plan(line).expect("a plan");
        let path = |plan: &Plan, regular| {
            let (path, by_address) = plan.state_path(&plan.exports[0], regular);
            (path.display().to_string(), by_address)
        };
        assert_eq!(path(&plan("7.1 a/b.img -i x"), true), ("a/b.img.etherpair".into(), false));
        assert_eq!(
            path(&plan("7.1 /dev/sdb -i x"), false),
            ("/var/lib/etherpair/e7.1.etherpair".into(), true)
        );
        let elsewhere = plan("7.1 b.img -i x --state-directory /srv");
        assert_eq!(path(&elsewhere, true), ("/srv/e7.1.etherpair".into(), true));
    }
}
