//! The world: nodes, hosts and arbiter around one virtual clock, and everything that happens between them.
//!
//! It takes the next event, lets whoever it is for deal with it, and schedules what follows. It decides nothing about
//! right and wrong; it only notes what happened.

mod effects;
mod healing;
mod hosts;
mod injection;
mod meeting;
mod promise;

use block::{Duration, Instant};
use replication::durability::Durability;

use crate::arbiter::{Arbiter, Question};
use crate::disk::Ticket;
use crate::event::Queue;
use crate::examine;
use crate::fault::{FaultCounts, Injection};
use crate::finding::{Finding, Property};
use crate::glimpse;
use crate::history::History;
use crate::host::Host;
use crate::machine::Machine;
use crate::mark::{Mark, Marks};
use crate::network::{Arrival, Network};
use crate::options::VOLUMES_MAX;
use crate::peer_link::{Deliveries, Delivery, PeerLink};
use crate::process::{Asked, Effect, Happening};
use crate::property::whole;
use crate::random::Random;
use crate::trace::Trace;
use crate::watch::Watch;
use promise::Memories;

/// Nodes of a pair; hosts come after them in the order of stations.
pub const NODES: usize = 2;

/// Pause between two attempts of the nodes to connect.
const CONNECT_PAUSE: Duration = Duration::from_millis(50);
/// How long a node waits for the arbiter.
const ARBITER_PATIENCE: Duration = Duration::from_millis(400);

/// Something that happens.
#[derive(Debug)]
enum Event {
    Frame(Arrival),
    Host(usize),
    DiskDone {
        node: usize,
        boot: u32,
        volume: usize,
        ticket: Ticket,
        of: Asked,
    },
    Delivery {
        node: usize,
        boot: u32,
        delivery: Delivery,
    },
    Question(Box<Question>),
    Connect,
    Flap,
    /// A node sees which of its ports have a link.
    Links {
        node: usize,
    },
    Later {
        node: usize,
        boot: u32,
        happening: Box<Happening>,
    },
    Timer {
        node: usize,
    },
    Start {
        node: usize,
    },
    /// An operator sees to a disk that failed, and starts the node anew.
    Repair {
        node: usize,
    },
    Resume {
        node: usize,
    },
    Begin(usize),
    End(usize),
}

const _: () = assert!(size_of::<Event>() <= 56, "events are moved around in the heap all the time");

/// A host, and when it is to be called.
pub struct HostPlace {
    host: Box<dyn Host<History>>,
    /// What it uses.
    volume: usize,
    due: Option<Instant>,
}

impl HostPlace {
    /// A host that uses that volume.
    #[must_use]
    pub const fn new(host: Box<dyn Host<History>>, volume: usize) -> Self {
        Self { host, volume, due: None }
    }
}

/// What holds for the whole run.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Bytes that a frame holds as long as nobody has changed it.
    pub mtu: u32,
    /// What an answer to a write means, by volume.
    pub durability: [Durability; VOLUMES_MAX],
    /// Whether each write is to be on stable storage, by volume.
    pub written_through: [bool; VOLUMES_MAX],
    /// An operator may force a node to serve: then what hosts see is not judged.
    pub is_forced: bool,
    /// How many sectors a volume can get, by volume.
    pub room: [u64; VOLUMES_MAX],
}

/// What a world is made of.
pub struct Parts {
    /// The two machines, without power.
    pub machines: [Machine; NODES],
    /// The network between them and the hosts.
    pub network: Network,
    /// The link between the two.
    pub peer: PeerLink,
    /// How long a node waits for a connection that carries nothing.
    pub patience: Duration,
    /// The third party.
    pub arbiter: Arbiter,
    /// The hosts.
    pub hosts: Vec<HostPlace>,
    /// What will go wrong.
    pub injections: Vec<Injection>,
    /// Where the hosts write what they see, by volume.
    pub histories: Vec<History>,
    /// What holds for the whole run.
    pub rules: Rules,
    /// Chance for whatever belongs to no part.
    pub random: Random,
    /// The way it goes.
    pub trace: Trace,
}

/// See the module's text.
pub struct World {
    now: Instant,
    queue: Queue<Event>,
    machines: [Machine; NODES],
    /// When each node's timer is due in the queue, so that it stands there once.
    timers: [Option<Instant>; NODES],
    network: Network,
    peer: PeerLink,
    patience: Duration,
    /// Since when what each node sent to its peer has not arrived.
    stuck_since: [Option<Instant>; NODES],
    /// An attempt to connect is under way until then.
    connecting_until: Instant,
    arbiter: Arbiter,
    hosts: Vec<HostPlace>,
    injections: Vec<Injection>,
    histories: Vec<History>,
    rules: Rules,
    random: Random,
    trace: Trace,
    counts: FaultCounts,
    /// Nodes that go on without a disk until they are started anew.
    broken: [bool; NODES],
    /// Nodes whose disk may not hold all of the volume yet.
    replaced: [bool; NODES],
    effects: Vec<Effect>,
    arrivals: Vec<Arrival>,
    deliveries: Deliveries,
    watch: Watch,
    /// By volume.
    memories: Vec<Memories>,
    /// From then on disks and nodes take no longer than they should, unless something goes wrong anew.
    slow_until: Instant,
    healed: bool,
}

impl World {
    /// A world at its beginning: everything has power, nothing has happened.
    #[must_use]
    pub fn new(begin: Instant, parts: Parts) -> Self {
        let Parts { machines, network, peer, patience, arbiter, hosts, .. } = parts;
        let Parts { injections, histories, rules, random, trace, .. } = parts;
        let mut world = Self {
            now: begin,
            queue: Queue::default(),
            machines,
            timers: [None; NODES],
            network,
            peer,
            patience,
            stuck_since: [None; NODES],
            connecting_until: begin,
            arbiter,
            hosts,
            injections,
            histories,
            rules,
            random,
            trace,
            counts: FaultCounts::default(),
            broken: [false; NODES],
            replaced: [false; NODES],
            effects: Vec::new(),
            arrivals: Vec::new(),
            deliveries: Vec::new(),
            watch: Watch::new(rules.is_forced),
            memories: Vec::new(),
            slow_until: begin,
            healed: false,
        };
        world.queue.schedule(begin, Event::Connect);
        for node in 0..NODES {
            let later = world.random.duration(Duration::ZERO, Duration::from_millis(50));
            world.queue.schedule(begin.after(later), Event::Start { node });
        }
        for host in 0..world.hosts.len() {
            world.queue.schedule(begin, Event::Host(host));
            world.hosts[host].due = Some(begin);
        }
        for index in 0..world.injections.len() {
            world.queue.schedule(world.injections[index].at, Event::Begin(index));
        }
        world
    }

    /// The next thing happens, unless it is later than that moment; tells whether one did.
    pub fn step(&mut self, until: Instant) -> bool {
        if self.queue.peek().is_none_or(|at| at > until) {
            self.now = self.now.max(until);
            return false;
        }
        let (at, event) = self.queue.pop().expect("just looked at");
        assert!(at >= self.now, "time goes forward");
        self.now = at;
        self.trace.note(&[at.as_nanos()]);
        self.happen(event);
        true
    }

    /// Whether what hosts see counts.
    #[must_use]
    pub const fn is_judged(&self) -> bool {
        !self.rules.is_forced
    }

    fn examine_differences(&mut self, volume: usize) {
        if !self.is_judged() {
            return;
        }
        let result = examine::differences_are_covered(&self.machines, volume, &mut self.random);
        if let Err(finding) = result {
            self.watch.violated(finding.of_volume(volume));
        }
    }

    /// Requests that wait for an answer.
    #[must_use]
    pub fn open(&self) -> usize {
        self.hosts.iter().map(|place| place.host.open()).sum()
    }

    /// The time.
    #[must_use]
    pub const fn now(&self) -> Instant {
        self.now
    }

    /// What was found wrong so far.
    #[must_use]
    pub const fn violation(&self) -> Option<&Finding> {
        self.watch.violation()
    }

    /// What was seen of everything that should be tried.
    #[must_use]
    pub fn marks(&self) -> Marks {
        let mut marks = self.watch.marks();
        self.machines.iter().for_each(|machine| machine.count(&mut marks));
        let late = self.histories.iter().map(|history| history.late_copies().len() as u64);
        marks.add_many(Mark::LateCopy, late.sum());
        marks
    }

    /// Whether both nodes serve every volume as members and neither lacks anything.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        let volumes = 0..self.machines[0].disks.len();
        let whole = |volume| (0..NODES).all(|node| self.is_whole_at(node, volume));
        volumes.into_iter().all(whole)
    }

    fn is_whole_at(&self, node: usize, volume: usize) -> bool {
        // In this mode one node serves, the other follows.
        let follows = match self.rules.durability[volume] {
            Durability::Async { server, .. } => usize::from(server.number()) != node,
            Durability::Stable | Durability::Memory => false,
        };
        self.machines[node].status(volume).is_some_and(|status| whole::is_whole_at(&status, follows))
    }

    /// Both nodes have the same size of each volume, and all that there was.
    ///
    /// # Errors
    /// A volume that is too small somewhere.
    pub(crate) fn are_sizes_equal(&self) -> Result<(), Finding> {
        for volume in 0..self.histories.len() {
            let sizes = [0, 1]
                .map(|node: usize| self.machines[node].status(volume).map_or(0, |status| status.sectors));
            let result = self.watch.size(volume).in_the_end(sizes);
            result.map_err(|error| Finding::new(Property::Size, error).of_volume(volume))?;
        }
        Ok(())
    }

    /// What the hosts saw, by volume.
    #[must_use]
    pub fn histories(&self) -> &[History] {
        &self.histories
    }

    /// Requests that hosts have made.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.histories.iter().map(|history| history.operations().len() as u64).sum()
    }

    /// Looks at the disks; at what hosts were told only if that is wanted, since it takes longer.
    pub fn examine(&mut self, at_promises: bool) {
        for volume in 0..self.histories.len() {
            self.examine_differences(volume);
            let node = self.random.index(NODES);
            if at_promises && self.is_judged() && examine::has_good_copy(&self.machines[node], volume) {
                let kept = self.is_kept(volume, node);
                if let Err(finding) = kept {
                    self.watch.violated(finding.of_volume(volume));
                }
            }
        }
    }

    /// The nodes.
    #[must_use]
    pub const fn machines(&self) -> &[Machine; NODES] {
        &self.machines
    }

    /// What went wrong so far.
    #[must_use]
    pub const fn counts(&self) -> &FaultCounts {
        &self.counts
    }

    /// The way so far.
    #[must_use]
    pub const fn trace(&self) -> &Trace {
        &self.trace
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Frame(arrival) => self.frame_arrives(arrival),
            Event::Host(host) => self.host_timeout(host),
            Event::DiskDone { node, boot, volume, ticket, of } => {
                self.trace.note(&[2, node as u64, volume as u64]);
                let happening = self.machines[node].disk_done(volume, ticket, of, &mut self.counts);
                if let Some(happening) = happening {
                    self.tell(node, boot, happening);
                }
            }
            Event::Delivery { node, boot, delivery } => {
                if let Delivery::Bytes(_, bytes) = &delivery {
                    self.trace.note_bytes(bytes);
                }
                self.tell(node, boot, Happening::Peer(delivery));
            }
            Event::Question(question) => self.arbiter_decides(&question),
            Event::Connect => self.connect(),
            Event::Flap => {
                if self.peer.flap(self.now, &mut self.deliveries) {
                    let later = self.random.duration(Duration::from_millis(1), Duration::from_millis(100));
                    self.queue.schedule(self.now.after(later), Event::Flap);
                }
                self.deliver();
            }
            Event::Links { node } => self.look_at_links(node),
            Event::Later { node, boot, happening } => self.tell(node, boot, *happening),
            Event::Timer { node } => {
                if self.timers[node].is_some_and(|due| due <= self.now) {
                    self.timers[node] = None;
                    self.machines[node].timeout(self.now, &mut self.counts, &mut self.effects);
                    self.carry_out(node);
                }
            }
            Event::Start { node } => self.start(node),
            Event::Repair { node } => self.repair(node),
            Event::Resume { node } => {
                self.trace.say(self.now, format_args!("node {node} goes on"));
                self.machines[node].resume(self.now, &mut self.counts, &mut self.effects);
                self.carry_out(node);
            }
            Event::Begin(index) => self.begin(index),
            Event::End(index) => self.end(index),
        }
    }

    fn start(&mut self, node: usize) {
        if self.machines[node].is_up() {
            return;
        }
        self.trace.note(&[3, node as u64]);
        self.trace.say(self.now, format_args!("node {node} starts"));
        self.timers[node] = None;
        for history in &mut self.histories {
            history.node_forgot(self.now, node);
        }
        let started = self.machines[node].start(self.now, &mut self.counts, &mut self.effects);
        match started {
            Ok(full_logs) => (0..full_logs).for_each(|_| self.watch.mark(Mark::FullLogReplayed)),
            Err(error) => return self.watch.violated(Finding::new(Property::Metadata, error)),
        }
        self.carry_out(node);
    }
}
