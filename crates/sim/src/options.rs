//! What a seed makes of a run: how large everything is, how fast, and what may go wrong. Printed before a failure.
//!
//! Each seed leaves out some faults and some features altogether (swarm testing, Groce and others 2012): what always
//! happens hides what happens only without it.

use std::fmt;

use block::{Duration, LogicalSectorSize};

use replication::durability::Durability;
use replication::membership::NodeNumber;
use replication::meta::layout::{EXTENT_SECTORS, HOT_EXTENTS_MIN};

use crate::fault::Fault;
use crate::mistake::Mistake;
use crate::random::Random;
use crate::survivor::Ending;

/// Volumes that a run has at most.
pub const VOLUMES_MAX: usize = 2;
/// So long after a start nothing that was asked of the arbiter before can be carried out any more, and it has agreed.
const RELIED_ON_AFTER: Duration = Duration::from_secs(12);

/// What a run is like.
#[derive(Clone, Debug)]
pub struct Options {
    /// The number all chance comes from.
    pub seed: u64,
    /// Sectors of each volume.
    pub volumes: Vec<u64>,
    /// Sectors for which the disks of both nodes have room beyond that, by volume.
    pub room: [u64; VOLUMES_MAX],
    /// Whether a node knows that what lies beyond the end of a volume reads as zeros.
    pub knows_zeros: [bool; 2],
    /// What the disks read and write at once.
    pub logical_sector_size: LogicalSectorSize,
    /// What an answer to a write means, by volume.
    pub durability: [Durability; VOLUMES_MAX],
    /// How often, out of 256 requests, a host with our initiator asks for a flush instead.
    pub flushes: u8,
    /// Segments of the network.
    pub segments: usize,
    /// One switch for all of them.
    pub joined: bool,
    /// Bytes that a frame holds.
    pub mtu: u32,
    /// Hosts with a stock initiator.
    pub stock_hosts: usize,
    /// Hosts with our own.
    pub own_hosts: usize,
    /// Hosts have switched the write cache of these off, where there is one.
    pub written_through: [bool; VOLUMES_MAX],
    /// How long frames take.
    pub network_latency: Duration,
    /// How long the peer link takes.
    pub peer_latency: Duration,
    /// How long each node's disks take.
    pub disk_latency: [Duration; 2],
    /// How much faster than the world each node's clock goes, in millionths.
    pub clock_rates: [i64; 2],
    /// How long things go wrong.
    pub period: Duration,
    /// What may go wrong.
    pub faults: Vec<Fault>,
    /// How often.
    pub injections: u32,
    /// How long a node waits for a connection that carries nothing.
    pub connection_patience: Duration,
    /// How many bytes a second a resync copies; as many as it may if nothing is said.
    pub resync_rate: Option<u64>,
    /// Whether a resync sends checksums first.
    pub resync_checksums: bool,
    /// Requests that the hosts together are to make.
    pub requests: u32,
    /// What happens once everything is well, if anything.
    pub ending: Option<Ending>,
    /// What every node does wrong on purpose.
    pub mistake: Mistake,
}

impl Options {
    /// What the seed says.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut options = Self::drawn(seed);
        // Somebody has to ask for it; the driver of Linux never does.
        options.own_hosts = options.own_hosts.max(usize::from(options.flushes > 0));
        let modes = &options.durability[..options.volumes.len()];
        options.ending = Ending::drawn(seed, modes);
        if modes.contains(&Durability::Memory) {
            // One failure at a time: a node that has lost its memory needs the other one whole.
            let keeps_disks = Random::new(seed, "disks or memories").below(4) > 0;
            options
                .faults
                .retain(|fault| if keeps_disks { !is_of_disk(*fault) } else { !ends_a_node(*fault) });
            // Nodes rely on memory only so long after they have started.
            options.period += RELIED_ON_AFTER;
            options.requests += options.requests / 2;
        }
        options
    }

    fn drawn(seed: u64) -> Self {
        let mut random = Random::new(seed, "options");
        let random = &mut random;
        let micros = Duration::from_micros;
        Self {
            seed,
            volumes: volumes(random, seed),
            room: room(seed),
            knows_zeros: knows_zeros(seed),
            logical_sector_size: if random.below(6) == 0 {
                LogicalSectorSize::B4096
            } else {
                LogicalSectorSize::B512
            },
            durability: [(); VOLUMES_MAX].map(|()| durability(random)),
            written_through: written_through(seed),
            flushes: [0, 0, 3, 24][random.index(4)],
            segments: if random.below(3) == 0 { 2 } else { 1 },
            joined: joined(seed),
            mtu: [1500, 4200, 9000][random.index(3)],
            stock_hosts: 1 + random.index(3),
            own_hosts: random.index(3),
            network_latency: micros(1 << random.below(9)),
            peer_latency: micros(1 << random.below(11)),
            disk_latency: [(); 2].map(|()| micros(8 << random.below(9))),
            clock_rates: [(); 2].map(|()| clock_rate(random)),
            period: Duration::from_millis(random.between(8000, 25_000)),
            faults: faults(random, seed),
            injections: random.small(4, 30),
            connection_patience: Duration::from_millis(50 << random.below(9)),
            resync_rate: (random.below(4) == 0).then(|| 1 << random.between(17, 24)),
            resync_checksums: random.coin(),
            requests: random.small(300, 900),
            ending: None,
            mistake: Mistake::default(),
        }
    }

    /// Without these faults.
    #[must_use]
    pub fn without(mut self, faults: &[Fault]) -> Self {
        self.faults.retain(|fault| !faults.contains(fault));
        self
    }
}

impl fmt::Display for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "volumes of {:?} sectors on disks of {:?}, {:?}, written through {:?}, {} segment(s){}, MTU {}",
            self.volumes,
            self.logical_sector_size,
            &self.durability[..self.volumes.len()],
            &self.written_through[..self.volumes.len()],
            self.segments,
            if self.joined { " joined" } else { "" },
            self.mtu
        )?;
        writeln!(
            f,
            "{} stock host(s) and {} of our own, {} requests, of these of our own {} in 256 flushes",
            self.stock_hosts, self.own_hosts, self.requests, self.flushes
        )?;
        writeln!(
            f,
            "latency: network {:?}, peer {:?}, disks {:?}; clocks {:?} ppm; patience {:?}",
            self.network_latency,
            self.peer_latency,
            self.disk_latency,
            self.clock_rates,
            self.connection_patience
        )?;
        let names: Vec<&str> = self.faults.iter().map(|fault| fault.name()).collect();
        write!(f, "{} faults within {:?}, out of: {}", self.injections, self.period, names.join(" "))?;
        if let Some(ending) = self.ending {
            write!(f, "\nin the end: {ending:?}")?;
        }
        self.mistake.name().map_or(Ok(()), |mistake| write!(f, "\nmistake: {mistake}"))
    }
}

/// Mostly small ones; some with several extents, a few with several blocks of the bitmap, and of those half with more extents
/// than the activity log holds.
fn volumes(random: &mut Random, seed: u64) -> Vec<u64> {
    let mut of_large = Random::new(seed, "large volumes");
    let more = HOT_EXTENTS_MIN.into();
    let count = if random.below(4) == 0 { 2 } else { 1 };
    (0..count)
        .map(|_| match random.below(32) {
            0 => {
                let several_blocks = 258_048 + random.between(1, 9000);
                let extents = of_large.between(more, 3 * more);
                if of_large.coin() { several_blocks + extents * EXTENT_SECTORS } else { several_blocks }
            }
            1 | 2 => random.between(8193, 40_000),
            _ => random.between(16, 512),
        })
        .map(|sectors| sectors.next_multiple_of(8))
        .collect()
}

/// Mostly for a few more requests; sometimes for several extents.
fn room(seed: u64) -> [u64; VOLUMES_MAX] {
    let mut random = Random::new(seed, "room");
    [(); VOLUMES_MAX].map(|()| match random.below(8) {
        0 => random.between(8, 3 * EXTENT_SECTORS).next_multiple_of(8),
        _ => random.between(8, 512).next_multiple_of(8),
    })
}

fn knows_zeros(seed: u64) -> [bool; 2] {
    let mut random = Random::new(seed, "known zeros");
    [(); 2].map(|()| random.coin())
}

/// Mostly the one that is meant for everybody.
fn durability(random: &mut Random) -> Durability {
    match random.below(16) {
        0..=3 => Durability::Memory,
        4 | 5 => Durability::Async {
            server: if random.coin() { NodeNumber::Zero } else { NodeNumber::One },
            lag_bytes_max: 1 << random.between(9, 20),
        },
        _ => Durability::Stable,
    }
}

/// Mostly they leave it on.
fn written_through(seed: u64) -> [bool; VOLUMES_MAX] {
    let mut random = Random::new(seed, "write cache");
    [(); VOLUMES_MAX].map(|()| random.below(4) == 0)
}

/// Whether two interfaces of a host are for more throughput, not for a network of its own each.
fn joined(seed: u64) -> bool {
    Random::new(seed, "joined").coin()
}

/// Mostly that of a crystal; sometimes as bad as the lease's margin allows.
fn clock_rate(random: &mut Random) -> i64 {
    let most = match random.below(8) {
        0 => 0,
        1 => 24_000,
        _ => 500,
    };
    i64::try_from(random.between(0, 2 * most)).expect("small") - i64::try_from(most).expect("small")
}

const fn is_of_disk(fault: Fault) -> bool {
    matches!(
        fault,
        Fault::ReadError | Fault::WriteError | Fault::FlushError | Fault::MetadataFull | Fault::DiskReplaced
    )
}

const fn ends_a_node(fault: Fault) -> bool {
    matches!(
        fault,
        Fault::Kill
            | Fault::PowerLoss
            | Fault::PowerLossBoth
            | Fault::MetadataDamage
            | Fault::DiskReplaced
            | Fault::Restart
    )
}

/// Each kind with a probability of its own seed: few, half, or nearly all.
fn faults(random: &mut Random, seed: u64) -> Vec<Fault> {
    let mut apart = Random::new(seed, "faults apart");
    let chance = [150_000, 400_000, 700_000, 950_000][random.index(4)];
    let is_in = |fault: &Fault| {
        let random = if fault.is_drawn_apart() { &mut apart } else { &mut *random };
        random.chance(chance) && fault.is_drawn()
    };
    Fault::ALL.into_iter().filter(is_in).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_differ_in_what_they_leave_out() {
        let options: Vec<Options> = (0..256).map(Options::new).collect();
        for fault in Fault::ALL.into_iter().filter(|fault| fault.is_drawn()) {
            let with = options.iter().filter(|options| options.faults.contains(&fault)).count();
            assert!((1..256).contains(&with), "{fault} is in {with} of 256 seeds");
        }
    }
}
