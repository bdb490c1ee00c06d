//! Proof that a shard in steady state allocates nothing: an allocator that counts, and a client that keeps it busy.
//!
//! Every thread is counted but those that say they are not, the test's own, and the main thread. Unsafe because an allocator is.
#![allow(clippy::disallowed_methods, reason = "tests wait for the real world by the real clock")]

mod common;
#[path = "pair/world.rs"]
#[allow(dead_code, reason = "made for the tests of the pair")]
mod world;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use aoe::ata::AtaCommand;
use aoe::target::{ExportConfig, Identity, SmallState, TargetLimits};
use aoe::wire::{Frame, Head, ata, ethernet, header};
use aoe::{Address, AddressPattern, Command as AoeCommand, MacAddress, Tag};
use block::{Lba, SECTOR_BYTES};
use common::Wire;
use os::disk::{Disk, DiskOptions, ReadCache};
use os::frame_port::{FrameFilter, FramePort, Payload, PortKind, PortOptions, TransmitFrame};
use os::shard::{Command, ShardHandle, ShardOptions};
use os::{EngineKind, Interface};

struct CountingAllocator;

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

/// Allocations, also those that only grow, by threads that are counted.
static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

thread_local! {
    // Made without allocation and never dropped, so that the allocator may look at it at any time.
    static COUNTED: Cell<bool> = const { Cell::new(true) };
}

fn count() {
    // The main thread is the test harness's, which says so when a test takes long.
    // SAFETY: plain system calls without pointers.
    let is_main = unsafe { libc::gettid() == libc::getpid() };
    if COUNTED.get() && !is_main {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
    }
}

// SAFETY: everything is left to the system's allocator; counting touches no memory of its own.
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the rules of the same method.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the rules of the same method.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, address: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the rules of the same method.
        unsafe { System.realloc(address, layout, new_size) }
    }

    unsafe fn dealloc(&self, address: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the rules of the same method.
        unsafe { System.dealloc(address, layout) }
    }
}

const DISK_BYTES: u64 = 64 << 20;
/// Sectors of a request: 4 KiB, the size that matters most.
const SECTORS: u8 = 8;
const WINDOW: u64 = 64;
/// Longer than a new export is advertised, again and again; each time costs an allocation.
const WARM_UP: Duration = Duration::from_secs(3);
/// For each shard in turn while they all warm up.
const WARM_UP_REQUESTS: u64 = 1000;
/// When a client sends again what is not answered, and how often.
const AGAIN_AFTER: Duration = Duration::from_secs(2);
const TRIES: u32 = 10;
/// A pair may need so many until nothing but requests happens in one.
const ROUNDS: u32 = 4;
/// So many that whatever is counted in 16 bits begins anew.
const MANY: u64 = 70_000;
/// So many that every place in tables and queues was used again and again.
const SOME: u64 = 10_000;

fn address() -> Address {
    "7.1".parse().expect("an address")
}

/// A busy client: as many requests under way as the window holds, reads and writes in turn.
struct Client {
    port: FramePort,
    target: MacAddress,
    order: Order,
    sent: u64,
    /// By number.
    under_way: BTreeSet<u64>,
}

/// Where the requests go.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Order {
    /// To all places, in an order that no disk likes; reads and writes in turn.
    Scattered,
    /// One behind the other, so that many go to the disk together; stretches of reads and of writes in turn.
    InRow,
}

impl Order {
    /// Whether a request writes, and its place among so many.
    const fn of(self, number: u64, places: u64) -> (bool, u64) {
        match self {
            Self::Scattered => (number.is_multiple_of(2), number.wrapping_mul(2_654_435_761) % places),
            Self::InRow => ((number / WINDOW).is_multiple_of(2), number % places),
        }
    }
}

impl Client {
    fn new(wire: &Wire, order: Order) -> Self {
        let options =
            PortOptions { kind: PortKind::Plain, ..PortOptions::new("far", FrameFilter::Responses) };
        let near = wire.namespace.enter(|| Ok(Interface::named("near"))).expect("namespace").expect("near");
        let (port, target) = (wire.port_with(options), MacAddress(near.mac));
        Self { port, target, order, sent: 0, under_way: BTreeSet::new() }
    }

    fn run(&mut self, requests: u64) {
        let until = self.sent + requests;
        while self.sent < until || !self.under_way.is_empty() {
            while self.sent < until && (self.under_way.len() as u64) < WINDOW {
                self.sent += 1;
                self.under_way.insert(self.sent);
                self.send(self.sent);
            }
            self.port.flush().expect("sent");
            self.wait();
            while let Some(received) = self.port.receive() {
                let frame = Frame::new(self.port.frame(received.slot)).expect("a frame");
                let Tag(number) = frame.header().tag;
                if number != 0 {
                    let view = ata::View::new(frame).expect("an ATA answer");
                    assert!(!ata::Reply::parse(view).status.is_failure(), "a request failed");
                    self.under_way.remove(&u64::from(number));
                }
                self.port.release(received.slot);
            }
        }
    }

    /// Waits for an answer. A frame may be lost on a machine that has too much to do; then it is sent again.
    fn wait(&mut self) {
        for _ in 0..TRIES {
            if self.port.wait(Some(AGAIN_AFTER)) {
                return;
            }
            for number in self.under_way.clone() {
                self.send(number);
            }
            self.port.flush().expect("sent");
        }
        panic!("no answer to {} requests", self.under_way.len());
    }

    fn send(&mut self, number: u64) {
        const DATA: [u8; SECTORS as usize * SECTOR_BYTES] = [0x5a; SECTORS as usize * SECTOR_BYTES];
        let (is_write, place) = self.order.of(number, DISK_BYTES / DATA.len() as u64);
        let tag = Tag(u32::try_from(number).expect("few requests"));
        let head = Head {
            ethernet: ethernet::Repr {
                destination: self.target,
                source: MacAddress(self.port.interface().mac),
            },
            header: header::Repr::request(AddressPattern::from(address()), AoeCommand::Ata, tag),
        };
        let request = ata::Request {
            flags: if is_write { ata::AtaFlags::WRITE } else { ata::AtaFlags::NONE },
            feature: 0,
            sector_count: SECTORS,
            command: if is_write { AtaCommand::WriteSectorsExt } else { AtaCommand::ReadSectorsExt },
            lba: ata::LbaRegisters::from_lba48(Lba(place * u64::from(SECTORS))),
        };
        let mut bytes = [0; 60];
        head.emit(&mut bytes);
        let length = request.emit(&mut bytes);
        let (head, payload) =
            if is_write { (&bytes[..length], Some(Payload::of(&DATA))) } else { (&bytes[..], None) };
        self.port.queue(TransmitFrame { head, payload }).expect("the window is smaller than the queue");
    }
}

fn start(wire: &Wire, kind: PortKind, engine: EngineKind) -> ShardHandle {
    let filter = FrameFilter::Requests { addresses: vec![(7, 1)] };
    let options = ShardOptions {
        name: "shard-0".to_owned(),
        ports: vec![PortOptions { kind, ..PortOptions::new("near", filter) }],
        limits: TargetLimits::new(1),
        engine,
        busy_poll: Duration::ZERO,
        cpu: None,
        pcap: None,
        pair: None,
    };
    let shard = wire.namespace.enter(|| Ok(ShardHandle::start(options, |event| panic!("{event:?}"))));
    shard.expect("namespace").expect("a shard")
}

fn serve(shard: &ShardHandle, path: &Path, read_cache: ReadCache, write_cache: bool) {
    let disk = Disk::open(&DiskOptions { path: path.to_owned(), read_cache, ..DiskOptions::default() });
    let disk = disk.expect("a disk");
    let config = ExportConfig {
        address: address(),
        sectors: disk.geometry().sectors(),
        logical_sector_size: disk.geometry().logical_sector_size(),
        identity: Identity::new("serial", "model", "1"),
        read_only: false,
        write_cache,
        buffer_count: 128,
        state: SmallState::default(),
        mirror: None,
    };
    let (reply, outcome) = channel();
    shard.send(Command::AddExport { disk: Box::new(disk), config: Box::new(config), reply });
    outcome.recv().expect("an answer").expect("an export");
}

/// A shard and a client of it, with the wire and the file that both need.
struct Load {
    _wire: Wire,
    _file: tempfile::NamedTempFile,
    shard: ShardHandle,
    client: Client,
    what: String,
}

impl Load {
    fn new(kind: PortKind, engine: EngineKind, read_cache: ReadCache, order: Order) -> Self {
        let wire = Wire::new(9000);
        let mut file = tempfile::NamedTempFile::new_in(env!("CARGO_TARGET_TMPDIR")).expect("a file");
        // Written once: the first write to a place of a file takes much longer than all others.
        std::io::copy(&mut std::io::Read::take(std::io::repeat(1), DISK_BYTES), &mut file).expect("a disk");
        let shard = start(&wire, kind, engine);
        // Scattered writes need not wait for the disk: the test is about what the shard does, ten thousands of times.
        serve(&shard, file.path(), read_cache, order == Order::Scattered);
        let client = Client::new(&wire, order);
        let what = format!("requests with {kind}, {engine:?}, {read_cache:?} and {order:?}");
        Self { _wire: wire, _file: file, shard, client, what }
    }

    /// Serves so many requests, half of them writes; no thread makes an allocation meanwhile.
    fn run(&mut self, requests: u64) {
        let before = ALLOCATIONS.load(Ordering::Relaxed);
        self.client.run(requests);
        let made = ALLOCATIONS.load(Ordering::Relaxed) - before;
        assert_eq!(made, 0, "allocations in {requests} {}", self.what);
        let Client { order, sent, .. } = self.client;
        if order == Order::InRow {
            let merged = merged(&self.shard);
            assert!(merged > sent / 2, "of {sent} requests only {merged} were merged");
        }
    }
}

/// The same for two nodes of a pair, each of which is asked for every other request: none in one of a few rounds.
fn allocations_of_a_pair(kind: PortKind, engine: EngineKind, requests: u64) -> u64 {
    COUNTED.set(false);
    let world = world::World::paired(world::Kind {
        port: kind,
        engine,
        lease: Duration::from_secs(5),
        ..world::ORDINARY
    });
    let mut client = world.client();
    let start = Instant::now();
    while start.elapsed() < WARM_UP {
        run_pair(&mut client, WARM_UP_REQUESTS);
    }
    let mut made_in_round = || {
        let before = ALLOCATIONS.load(Ordering::Relaxed);
        run_pair(&mut client, requests);
        ALLOCATIONS.load(Ordering::Relaxed) - before
    };
    // What happens seldom is told to the control plane, and that takes an allocation now and then: a request that was slow, or a lease
    // that was missed, on a machine that has too much to do.
    (0..ROUNDS).map(|_| made_in_round()).find(|made| *made == 0).unwrap_or_else(made_in_round)
}

fn run_pair(client: &mut world::Client, requests: u64) {
    let mut sent = 0;
    let mut under_way = BTreeMap::new();
    while sent < requests || !under_way.is_empty() {
        while sent < requests && (under_way.len() as u64) < WINDOW / 2 {
            sent += 1;
            under_way.insert(send_to_pair(client, sent), sent);
        }
        client.port.flush().expect("sent");
        for tries in 0.. {
            if client.port.wait(Some(AGAIN_AFTER)) {
                break;
            }
            assert!(tries < TRIES, "no answer to {} requests", under_way.len());
            under_way =
                under_way.into_values().map(|number| (send_to_pair(client, number), number)).collect();
            client.port.flush().expect("sent");
        }
        while let Some(received) = client.port.receive() {
            let tag = Frame::new(client.port.frame(received.slot)).expect("a frame").header().tag;
            under_way.remove(&tag);
            client.port.release(received.slot);
        }
    }
}

/// Both nodes are read and written, through both.
fn send_to_pair(client: &mut world::Client, number: u64) -> Tag {
    let place = number.wrapping_mul(2_654_435_761) % (world::DISK_BYTES / 4096);
    let fill = (number & 2 == 0).then_some(0x5a);
    client.send(usize::from(number & 1 == 0), place, fill)
}

/// Requests that went to the disk together with others.
fn merged(shard: &ShardHandle) -> u64 {
    let (reply, statistics) = channel();
    shard.send(Command::Statistics(reply));
    statistics.recv().expect("an answer").requests_merged
}

// One test, because the count is one for the whole process.
#[test]
fn a_shard_in_steady_state_allocates_nothing() {
    let counted = {
        let before = ALLOCATIONS.load(Ordering::Relaxed);
        std::hint::black_box(Vec::<u8>::with_capacity(1));
        ALLOCATIONS.load(Ordering::Relaxed) - before
    };
    assert!(counted >= 1, "the allocator counts");
    COUNTED.set(false);
    let mut loads = [
        (PortKind::Ring, EngineKind::Uring, ReadCache::None, Order::Scattered, MANY),
        (PortKind::Ring, EngineKind::Uring, ReadCache::Page, Order::Scattered, SOME),
        (PortKind::Uring, EngineKind::Uring, ReadCache::None, Order::Scattered, SOME),
        (PortKind::Plain, EngineKind::Threads, ReadCache::None, Order::Scattered, SOME),
        (PortKind::Ring, EngineKind::Uring, ReadCache::None, Order::InRow, SOME),
        (PortKind::Plain, EngineKind::Threads, ReadCache::None, Order::InRow, SOME),
        (PortKind::Xdp, EngineKind::Uring, ReadCache::None, Order::Scattered, SOME),
    ]
    .map(|(kind, engine, read_cache, order, requests)| {
        (Load::new(kind, engine, read_cache, order), requests)
    });
    let start = Instant::now();
    while start.elapsed() < WARM_UP {
        loads.iter_mut().for_each(|(load, _)| load.client.run(WARM_UP_REQUESTS));
    }
    for (mut load, requests) in loads {
        load.run(requests);
    }
    for (kind, engine) in [(PortKind::Ring, EngineKind::Uring), (PortKind::Plain, EngineKind::Threads)] {
        let made = allocations_of_a_pair(kind, engine, SOME);
        assert_eq!(made, 0, "allocations in {SOME} requests to a pair with {kind} and {engine:?}");
    }
}
