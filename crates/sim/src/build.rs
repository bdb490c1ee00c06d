//! How the options of a run become a world: two machines with fresh disks, hosts, and what is between them.

use aoe::target::{ExportConfig, Identity, PortLink, SmallState, TargetLimits};
use aoe::{Address, MacAddress, Shelf, Slot};
use block::Duration;
use node::PairConfig;
use replication::durability::Durability;
use replication::identity::{FormatIdentity, PairIdentity, VolumeIdentity};
use replication::limits::{LEASE, Limits};
use replication::membership::{Epoch, Members, Membership, NodeNumber};
use replication::meta::layout::{HOT_EXTENTS_MIN, Layout};
use replication::resize::Capacity;
use replication::resync::ResyncRate;
use replication::start::VolumeConfig;
use replication::version::VersionRange;

use crate::arbiter::Arbiter;
use crate::clock::Clock;
use crate::disk::Disk;
use crate::fault::{Fault, Injection};
use crate::history::History;
use crate::machine::{Disks, Fresh, Machine, MachineConfig};
use crate::network::Network;
use crate::options::Options;
use crate::peer_link::PeerLink;
use crate::random::Random;
use crate::run::BEGIN;
use crate::trace::Trace;
use crate::workload::driver::Interface;
use crate::workload::linux::LinuxOptions;
use crate::workload::ours::OursOptions;
use crate::workload::plan::PlanOptions;
use crate::workload::{Client, ClientOptions, DriverOptions};
use crate::world::{HostPlace, NODES, Parts, Rules, World};

const PAIR: PairIdentity = PairIdentity(0x5157);
/// What the arbiter and both nodes begin with.
const FIRST: Membership = Membership { epoch: Epoch::FIRST, members: Members::Both };
/// Requests of initiators that a node holds at a time.
const OUTSTANDING_MAX: usize = 128;
/// Stations of operators; they are the last one.
const OPERATORS: usize = 1;

pub(crate) fn build(options: &Options, injections: Vec<Injection>, lines_max: usize) -> World {
    let seed = options.seed;
    let machines = [0, 1].map(|node| machine(options, node));
    let hosts = hosts(options);
    let network = Network::new(
        Random::new(seed, "network"),
        NODES + hosts.len() + OPERATORS,
        options.segments,
        options.network_latency,
    );
    let network = if options.joined { network.joined() } else { network };
    let parts = Parts {
        machines,
        network,
        peer: PeerLink::new(Random::new(seed, "peer link"), options.peer_latency),
        patience: options.connection_patience,
        arbiter: Arbiter::new(Random::new(seed, "arbiter"), vec![FIRST; options.volumes.len()]),
        hosts,
        injections,
        histories: options.volumes.iter().map(|_| History::new(aoe::limits::DUPLICATE_WINDOW)).collect(),
        rules: Rules {
            mtu: options.mtu,
            durability: options.durability,
            written_through: options.written_through,
            is_forced: options.faults.contains(&Fault::Force),
            room: options.room,
        },
        random: Random::new(seed, "world"),
        trace: Trace::new(lines_max),
    };
    World::new(BEGIN, parts)
}

/// Three of eight nodes are upgraded while the world goes on, after one to three starts.
fn older_boots(seed: u64, node: usize) -> u32 {
    let mut random = Random::new(seed, ["program of node 0", "program of node 1"][node]);
    if random.coin() { 0 } else { u32::try_from(random.below(4)).expect("a few") }
}

/// In one world of four fewer than a volume may have under way, so that copies wait for each other.
fn copies(seed: u64) -> usize {
    if Random::new(seed, "copies").below(4) == 0 { 5 } else { 16 }
}

/// In half of all worlds a node tells its peer what is out of sync run by run, or a few at a time, as it does in large ones.
fn runs_at_once(seed: u64, node: usize) -> usize {
    let mut random = Random::new(seed, ["runs told by node 0", "runs told by node 1"][node]);
    if random.coin() {
        Limits::DEFAULT.runs_at_once
    } else {
        usize::try_from(1 + random.below(4)).expect("a few")
    }
}

/// In one world of four hardly more than a node may be asked for: little is answered ahead of a peer that follows no more.
fn followed(seed: u64) -> usize {
    if Random::new(seed, "followed").below(4) == 0 { OUTSTANDING_MAX + 4 } else { 2 * OUTSTANDING_MAX }
}

fn machine(options: &Options, node: usize) -> Machine {
    let seed = options.seed;
    let mut random = Random::new(seed, "machines");
    let limits = TargetLimits {
        outstanding_max: OUTSTANDING_MAX,
        write_history_max: 2048,
        export_max: 4,
        followed_max: followed(options.seed),
        digest_seed: random.any(),
    };
    let segments = 0..u8::try_from(options.segments).expect("few segments");
    let mac = |node: usize, segment| node_address(u8::try_from(node).expect("two nodes"), segment);
    let links = segments.clone().map(|segment| PortLink { mac: mac(node, segment), mtu: options.mtu });
    let number = [NodeNumber::Zero, NodeNumber::One][node];
    let modes = options.volumes.iter().zip(options.durability);
    let exports = (0..).zip(modes.clone()).map(|(slot, (sectors, durability))| ExportConfig {
        address: address(slot),
        sectors: *sectors,
        logical_sector_size: options.logical_sector_size,
        identity: Identity::new("sim", "simulated", "1"),
        read_only: false,
        write_cache: durability == Durability::Memory && !options.written_through[usize::from(slot)],
        buffer_count: 16,
        state: SmallState::default(),
        mirror: None,
    });
    let beginning = Duration::from_millis(1000 + random.below(1 << 20));
    let formats: Vec<Fresh> = (0..)
        .zip(&options.volumes)
        .map(|(volume, sectors)| Fresh {
            format: FormatIdentity(random.identity()),
            volume: VolumeIdentity(volume),
            pair: PAIR,
            node: number,
            layout: Layout::new(*sectors, HOT_EXTENTS_MIN).expect("a small volume"),
            membership: FIRST,
            good: true,
        })
        .collect();
    let config = MachineConfig {
        formats: formats.clone(),
        clock: Clock::new(beginning, options.clock_rates[node]),
        links: links.collect(),
        peer_addresses: segments.map(|segment| mac(1 - node, segment)).collect(),
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
                copies: copies(seed),
                volumes: 4,
                runs_at_once: runs_at_once(seed, node),
            },
            versions: VersionRange::ALL,
        },
        older_boots: older_boots(seed, node),
        mistake: options.mistake,
        capacities: capacities(options, node),
        volume_configs: modes.map(|(_, durability)| volume_config(options, durability)).collect(),
    };
    let names = ["disks of node 0", "disks of node 1"];
    let mut random = Random::new(seed, names[node]);
    let latency = options.disk_latency[node];
    let disks = formats.into_iter().map(|fresh| {
        let (data, metadata) = (Disk::new(random.fork(), latency), Disk::new(random.fork(), latency));
        let mut disks = Disks { data, metadata };
        disks.format(fresh);
        disks
    });
    Machine::new(config, disks.collect())
}

fn capacities(options: &Options, node: usize) -> Vec<Capacity> {
    let volumes = options.volumes.iter().zip(options.room);
    let zeros = options.knows_zeros[node];
    volumes.map(|(sectors, room)| Capacity { sectors: sectors + room, zeros }).collect()
}

fn volume_config(options: &Options, durability: Durability) -> VolumeConfig {
    VolumeConfig {
        resync_rate: options.resync_rate.map_or(ResyncRate::Yielding, ResyncRate::BytesPerSecond),
        resync_checksums: options.resync_checksums,
        durability,
        ..VolumeConfig::default()
    }
}

/// The address of a node's port.
pub(crate) const fn node_address(node: u8, segment: u8) -> MacAddress {
    MacAddress([2, 0, 0, 0, node, segment])
}

/// The address of a volume.
pub(crate) fn address(slot: u8) -> Address {
    Address::new(Shelf(7), Slot(slot)).expect("an address")
}

fn hosts(options: &Options) -> Vec<HostPlace> {
    let mut random = Random::new(options.seed, "hosts");
    let count = options.stock_hosts + options.own_hosts;
    let requests = options.requests / u32::try_from(count).expect("few hosts");
    let spots = options.volumes.iter().map(|sectors| spots(&mut random, *sectors)).collect::<Vec<_>>();
    (0..count)
        .map(|index| {
            let number = u16::try_from(index).expect("few hosts");
            // The first volume is everybody's if there are too few for two.
            let volume = if count > 2 { random.index(options.volumes.len()) } else { 0 };
            let stock = index < options.stock_hosts;
            let client = client(options, &mut random, number, stock, requests, volume, &spots[volume]);
            HostPlace::new(Box::new(Client::new(client, random.any())), volume)
        })
        .collect()
}

/// Where the hosts of a volume meet.
fn spots(random: &mut Random, sectors: u64) -> Vec<u64> {
    (0..random.small(1, 4)).map(|_| random.below(sectors - 8)).collect()
}

fn client(
    options: &Options,
    random: &mut Random,
    number: u16,
    stock: bool,
    requests: u32,
    volume: usize,
    spots: &[u64],
) -> ClientOptions {
    let [_, low] = number.to_be_bytes();
    let interfaces = (0..options.segments).map(|segment| {
        let port = u8::try_from(segment).expect("few segments");
        Interface { port, mac: MacAddress([2, 0, 0, 1, low, port]), mtu: options.mtu }
    });
    let address = address(u8::try_from(volume).expect("few volumes"));
    let sectors = options.volumes[volume];
    let tags_repeat = stock && random.coin();
    let driver = if stock {
        let settled =
            random.coin().then(|| random.duration(Duration::from_millis(1), Duration::from_millis(20)));
        let dead = Duration::from_secs(180);
        DriverOptions::Linux(LinuxOptions { address, dead, settled, tags_repeat })
    } else {
        let seed = u32::try_from(random.below(1 << 32)).expect("32 bits");
        DriverOptions::Ours(OursOptions { address, answer_timeout: Duration::from_secs(180), seed })
    };
    // Each has its own of them.
    let spots = spots.iter().copied().filter(|_| random.below(4) > 0).collect();
    let flushes = if stock { 0 } else { options.flushes };
    let byte = |random: &mut Random, low, high| u8::try_from(random.small(low, high)).expect("a byte");
    let busy = options.period / requests.max(1);
    let plan = PlanOptions {
        sectors,
        spots,
        hot: byte(random, 100, 255),
        writes: byte(random, 40, 220),
        repeats: byte(random, 0, 60),
        flushes,
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
        restart: restart(random, tags_repeat),
    }
}

/// How long a host stays away. One that gives out the same tags again must not hear answers to frames of its former life, which
/// the network holds for six seconds and a node for one; no machine starts sooner.
fn restart(random: &mut Random, tags_repeat: bool) -> Duration {
    let (shortest, longest) = if tags_repeat { (8000, 12_000) } else { (1000, 4000) };
    Duration::from_millis(random.between(shortest, longest))
}
