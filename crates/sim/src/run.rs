//! One run from its first moment to the verdict: everything goes wrong, then everything is put right.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use aoe::target::{ExportConfig, Identity, PortLink, SmallState, TargetLimits};
use aoe::{Address, MacAddress, Shelf, Slot};
use block::{Duration, Instant, Lba, LogicalSectorSize, SECTOR_BYTES};
use node::PairConfig;
use replication::identity::{FormatIdentity, PairIdentity, VolumeIdentity};
use replication::limits::{LEASE, Limits};
use replication::membership::{Epoch, Members, Membership, NodeNumber};
use replication::meta::layout::{HOT_EXTENTS_MIN, Layout};
use replication::meta::{Format, format};
use replication::resync::ResyncRate;
use replication::start::VolumeConfig;

use crate::arbiter::Arbiter;
use crate::clock::Clock;
use crate::disk::Disk;
use crate::fault::{self, FaultCounts, Injection};
use crate::history::History;
use crate::host::Host;
use crate::network::Network;
use crate::options::Options;
use crate::peer_link::PeerLink;
use crate::process::{Disks, Machine, MachineConfig};
use crate::property::{Replica, linearizable, liveness, replicas_equal};
use crate::random::Random;
use crate::store::Store;
use crate::trace::Trace;
use crate::watch::Marks;
use crate::workload::driver::Interface;
use crate::workload::linux::LinuxOptions;
use crate::workload::ours::OursOptions;
use crate::workload::plan::PlanOptions;
use crate::workload::{Client, ClientOptions, DriverOptions};
use crate::world::{NODES, Parts, World};

/// When the world begins: late enough that nothing is before the clock's beginning.
pub const BEGIN: Instant = Instant::from_nanos(10_000_000_000);
const PAIR: PairIdentity = PairIdentity(0x5157);
/// What the arbiter and both nodes begin with.
const FIRST: Membership = Membership { epoch: Epoch::FIRST, members: Members::Both };
/// After everything was put right all that was asked is answered within this time.
pub const LIVENESS_BOUND: Duration = Duration::from_secs(60);

/// What came of a run.
#[derive(Clone, Debug)]
pub struct Report {
    /// What was wrong, if anything.
    pub failure: Option<String>,
    /// Requests asked.
    pub requests: u64,
    /// Events that happened.
    pub events: u64,
    /// The way it took.
    pub digest: u64,
    /// What went wrong by intention.
    pub faults: FaultCounts,
    /// What was seen.
    pub marks: Marks,
    /// The last lines of the trace.
    pub lines: Vec<String>,
}

/// Runs a world that these options describe, without the injections of these numbers.
#[must_use]
pub fn run(options: &Options, suppressed: &[u32], lines_max: usize) -> Report {
    let mut injections = injections(options);
    injections.retain(|injection| !suppressed.contains(&injection.number));
    run_with(options, injections, lines_max)
}

/// Runs a world that these options describe, where exactly this goes wrong.
#[must_use]
pub fn run_with(options: &Options, injections: Vec<Injection>, lines_max: usize) -> Report {
    let mut world = build(options, injections, lines_max);
    // An assertion of the nodes that fails is a finding like any other.
    let verdict = catch_unwind(AssertUnwindSafe(|| judge(&mut world, options)));
    let failure = match verdict {
        Ok(verdict) => verdict.err(),
        Err(panic) => Some(format!("an assertion failed: {}", message(panic.as_ref()))),
    };
    Report {
        failure,
        requests: world.history().operations().len() as u64,
        events: world.trace().events(),
        digest: world.trace().digest(),
        faults: world.counts().clone(),
        marks: world.marks().clone(),
        lines: world.trace().lines().to_vec(),
    }
}

fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("something else than a text")
}

/// What the options have go wrong.
#[must_use]
pub fn injections(options: &Options) -> Vec<Injection> {
    let mut random = Random::new(options.seed, "injections");
    fault::plan(&mut random, &options.faults, options.injections, BEGIN, options.period)
}

fn judge(world: &mut World, options: &Options) -> Result<(), String> {
    go(world, BEGIN.after(options.period), |_| false)?;
    world.heal();
    world.finish();
    let healed = world.now();
    let bound = healed.after(LIVENESS_BOUND);
    go(world, bound, |world| world.open() == 0 && world.is_whole())?;
    liveness::check(world.history(), healed, world.now(), LIVENESS_BOUND)
        .map_err(|stuck| stuck.to_string())?;
    let bound = LIVENESS_BOUND + copying(options);
    go(world, healed.after(bound), World::is_whole)?;
    if !world.is_whole() {
        let statuses = [0, 1].map(|node: usize| world.machines()[node].status(0));
        return Err(format!("the pair is not whole {bound:?} after the last fault: {statuses:#?}"));
    }
    // Commits and what was learned of each other are still on their way.
    let rest = world.now().after(Duration::from_secs(1));
    go(world, rest, |_| false)?;
    linearizable::check(world.history()).map_err(|violation| violation.to_string())?;
    check_replicas(world)
}

/// How long it takes to copy the largest volume at the rate that was chosen, and a quarter more.
fn copying(options: &Options) -> Duration {
    let Some(rate) = options.resync_rate else { return Duration::ZERO };
    let bytes = options.volumes.iter().max().unwrap_or(&0) * SECTOR_BYTES as u64;
    Duration::from_millis(bytes * 1250 / rate)
}

/// Lets things happen until that moment, or until it is enough.
fn go(world: &mut World, until: Instant, enough: impl Fn(&World) -> bool) -> Result<(), String> {
    while !enough(world) && world.step(until) {
        if let Some(violation) = world.violation() {
            return Err(violation.to_owned());
        }
    }
    Ok(())
}

fn check_replicas(world: &World) -> Result<(), String> {
    let [zero, one] = world.machines();
    for (zero, one) in zero.disks.iter().zip(&one.disks) {
        let (zero, one) = (zero.data.store(), one.data.store());
        let firsts = zero.differences(one).map(|offset| offset / SECTOR_BYTES as u64);
        let sectors = firsts.flat_map(|first| (first..first + 8).map(Lba));
        replicas_equal::check([zero, one], sectors).map_err(|unequal| unequal.to_string())?;
    }
    Ok(())
}

impl Replica for Store {
    fn read(&self, sector: Lba, bytes: &mut [u8; SECTOR_BYTES]) {
        Self::read(self, sector.byte_offset(), bytes);
    }
}

fn build(options: &Options, injections: Vec<Injection>, lines_max: usize) -> World {
    let seed = options.seed;
    let machines = [0, 1].map(|node| machine(options, node));
    let hosts = hosts(options);
    let network = Network::new(
        Random::new(seed, "network"),
        NODES + hosts.len(),
        options.segments,
        options.network_latency,
    );
    let parts = Parts {
        machines,
        network,
        peer: PeerLink::new(Random::new(seed, "peer link"), options.peer_latency),
        patience: options.connection_patience,
        arbiter: Arbiter::new(Random::new(seed, "arbiter"), vec![FIRST; options.volumes.len()]),
        hosts,
        injections,
        history: History::new(aoe::limits::DUPLICATE_WINDOW),
        random: Random::new(seed, "world"),
        trace: Trace::new(lines_max),
    };
    World::new(BEGIN, parts)
}

fn machine(options: &Options, node: usize) -> Machine {
    let seed = options.seed;
    let mut random = Random::new(seed, "machines");
    let limits = TargetLimits {
        outstanding_max: 128,
        write_history_max: 2048,
        export_max: 4,
        followed_max: 256,
        digest_seed: random.any(),
    };
    let low = u8::try_from(node).expect("two nodes");
    let links = (0..options.segments).map(|segment| {
        let segment = u8::try_from(segment).expect("few segments");
        PortLink { mac: MacAddress([2, 0, 0, 0, low, segment]), mtu: options.mtu }
    });
    let number = [NodeNumber::Zero, NodeNumber::One][node];
    let exports = (0..).zip(&options.volumes).map(|(slot, sectors)| ExportConfig {
        address: address(slot),
        sectors: *sectors,
        logical_sector_size: LogicalSectorSize::B512,
        identity: Identity::new("sim", "simulated", "1"),
        read_only: false,
        write_cache: false,
        buffer_count: 16,
        state: SmallState::default(),
        mirror: None,
    });
    let beginning = Duration::from_millis(1000 + random.below(1 << 20));
    let config = MachineConfig {
        clock: Clock::new(beginning, options.clock_rates[node]),
        links: links.collect(),
        exports: exports.collect(),
        limits,
        pair: PairConfig {
            node: number,
            pair: PAIR,
            incarnation: 0,
            lease: LEASE,
            limits: Limits {
                requests: limits.outstanding_max,
                followed: limits.followed_max,
                copies: 16,
                volumes: 4,
            },
        },
        volume_config: VolumeConfig {
            resync_rate: options.resync_rate.map_or(ResyncRate::Yielding, ResyncRate::BytesPerSecond),
            resync_checksums: options.resync_checksums,
            ..VolumeConfig::default()
        },
    };
    let names = ["disks of node 0", "disks of node 1"];
    let mut random = Random::new(seed, names[node]);
    let latency = options.disk_latency[node];
    let disks = (0..).zip(&options.volumes).map(|(volume, sectors)| {
        let data = Disk::new(random.fork(), latency);
        let mut metadata = Disk::new(random.fork(), latency);
        let fresh = format(Format {
            format: FormatIdentity(random.identity()),
            volume: VolumeIdentity(volume),
            pair: PAIR,
            node: number,
            layout: Layout::new(*sectors, HOT_EXTENTS_MIN).expect("a small volume"),
            membership: FIRST,
            good: true,
        });
        for (place, record) in fresh.bitmap_records().chain(fresh.superblock_records()) {
            metadata.store_mut().write(place.0, &record);
        }
        Disks { data, metadata }
    });
    Machine::new(config, disks.collect())
}

fn address(slot: u8) -> Address {
    Address::new(Shelf(7), Slot(slot)).expect("an address")
}

fn hosts(options: &Options) -> Vec<Box<dyn Host<History>>> {
    let mut random = Random::new(options.seed, "hosts");
    let count = options.stock_hosts + options.own_hosts;
    let requests = options.requests / u32::try_from(count).expect("few hosts");
    (0..count)
        .map(|index| {
            let number = u16::try_from(index).expect("few hosts");
            let client = client(options, &mut random, number, index < options.stock_hosts, requests);
            Box::new(Client::new(client, random.any())) as Box<dyn Host<History>>
        })
        .collect()
}

fn client(options: &Options, random: &mut Random, number: u16, stock: bool, requests: u32) -> ClientOptions {
    let [_, low] = number.to_be_bytes();
    let interfaces = (0..options.segments).map(|segment| {
        let port = u8::try_from(segment).expect("few segments");
        Interface { port, mac: MacAddress([2, 0, 0, 1, low, port]), mtu: options.mtu }
    });
    let address = address(0);
    let sectors = options.volumes[0];
    let driver = if stock {
        let settled =
            random.coin().then(|| random.duration(Duration::from_millis(1), Duration::from_millis(20)));
        let dead = Duration::from_secs(180);
        DriverOptions::Linux(LinuxOptions { address, dead, settled, tags_repeat: random.coin() })
    } else {
        let seed = u32::try_from(random.below(1 << 32)).expect("32 bits");
        DriverOptions::Ours(OursOptions { address, answer_timeout: Duration::from_secs(180), seed })
    };
    let spots = (0..random.small(1, 3)).map(|_| random.below(sectors - 8)).collect();
    let byte = |random: &mut Random, low, high| u8::try_from(random.small(low, high)).expect("a byte");
    let busy = options.period / requests.max(1);
    let plan = PlanOptions {
        sectors,
        spots,
        hot: byte(random, 100, 255),
        writes: byte(random, 40, 220),
        repeats: byte(random, 0, 60),
        pauses: byte(random, 0, 20),
        think: busy * random.small(1, 6),
        pause: Duration::from_millis(random.between(10, 3000)),
    };
    ClientOptions {
        initiator: number,
        driver,
        plan,
        interfaces: interfaces.collect(),
        workers: u16::try_from(random.small(1, 8)).expect("few"),
        requests,
        restart: Duration::from_millis(random.between(1000, 4000)),
    }
}
