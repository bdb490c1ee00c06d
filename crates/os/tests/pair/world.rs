//! Two shards with a peer link between them on one switch, an arbiter in memory, and a client.

use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aoe::ata::AtaCommand;
use aoe::target::{ExportConfig, Identity, PortId, SmallState, TargetLimits};
use aoe::wire::{Frame, Head, ata, ethernet, header};
use aoe::{Address, AddressPattern, Command as AoeCommand, MacAddress, Tag};
use block::{ExportId, Lba, SECTOR_BYTES};
use lab::{Namespace, network};
use node::PairConfig;
use os::disk::{Disk, DiskError, DiskOptions};
use os::frame_port::{FrameFilter, FramePort, Payload, PortKind, PortOptions, TransmitFrame};
use os::metadata_file::{MetadataError, MetadataFile};
use os::pcap::{PcapLimits, PcapWriter};
use os::peer_link::{Layer, PeerStream};
use os::shard::{Command, Event, MirroredExport, ShardHandle, ShardOptions, ShardStatistics};
use os::{EngineKind, Interface};
use replication::identity::{FormatIdentity, PairIdentity, VolumeIdentity};
use replication::input::{ArbiterAnswer, Control};
use replication::limits::Limits;
use replication::membership::{Epoch, Members, Membership, NodeNumber};
use replication::meta::layout::{HOT_EXTENTS_DEFAULT, Layout};
use replication::meta::{Format, format};
use replication::output::Event as VolumeEvent;
use replication::start::VolumeConfig;
use replication::version::VersionRange;
use replication::volume::VolumeStatus;

pub(crate) const DISK_BYTES: u64 = 64 << 20;
pub(crate) const LEASE: Duration = Duration::from_secs(1);
/// The kernel lets go of a file's lock when it has ended the last request, a moment after whoever asked for it.
const UNLOCKED_WITHIN: Duration = Duration::from_secs(20);
const NUMBERS: [NodeNumber; 2] = [NodeNumber::Zero, NodeNumber::One];
const MTU: u32 = 9000;
const PAIR: PairIdentity = PairIdentity(0x1234_5678_9abc);

pub(crate) fn address() -> Address {
    "7.1".parse().expect("an address")
}

/// How the shards are made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kind {
    pub(crate) port: PortKind,
    pub(crate) engine: EngineKind,
    pub(crate) lease: Duration,
    /// Node 0 stands still as soon as it has recorded a MiB of frames, until [`World::go_on`].
    pub(crate) stands_still: bool,
    /// What the nodes say to each other by TCP goes through a [`Veil`].
    pub(crate) is_veiled: bool,
}

pub(crate) const ORDINARY: Kind = Kind {
    port: PortKind::Ring,
    engine: EngineKind::Uring,
    lease: LEASE,
    stands_still: false,
    is_veiled: false,
};

/// One node.
pub(crate) struct Node {
    /// Until it is killed.
    shard: Option<Arc<ShardHandle>>,
    pub(crate) export: ExportId,
    pub(crate) data: PathBuf,
    pub(crate) meta: PathBuf,
    /// What its connections ended with.
    pub(crate) failures: Receiver<String>,
    pub(crate) volume_events: Arc<Mutex<Vec<VolumeEvent>>>,
}

/// All of it.
pub(crate) struct World {
    pub(crate) nodes: [Node; 2],
    pub(crate) arbiter: Arc<Mutex<Arbiter>>,
    pub(crate) namespace: Namespace,
    restarts: u64,
    goes_on: Arc<AtomicBool>,
    is_veiled: bool,
    directory: tempfile::TempDir,
}

impl Drop for World {
    /// Also a test that has failed ends.
    fn drop(&mut self) {
        self.go_on();
    }
}

/// The least that a layer can be: no byte is on the wire as it is, and none is the next one's veil.
#[derive(Debug, Default)]
struct Veil {
    opened: u8,
    sealed: u8,
}

impl Layer for Veil {
    fn open(&mut self, wire: &[u8], plain: &mut Vec<u8>) -> std::io::Result<()> {
        plain.extend(wire.iter().map(|byte| byte ^ next(&mut self.opened)));
        Ok(())
    }

    fn seal(&mut self, plain: &[u8], wire: &mut Vec<u8>) -> std::io::Result<()> {
        wire.extend(plain.iter().map(|byte| byte ^ next(&mut self.sealed)));
        Ok(())
    }

    fn end(&mut self, _: &mut Vec<u8>) {}
}

fn next(veil: &mut u8) -> u8 {
    *veil = veil.wrapping_add(0x35);
    *veil | 1
}

/// A register that both nodes see.
#[derive(Debug)]
pub(crate) struct Arbiter {
    pub(crate) holds: Membership,
    pub(crate) is_reachable: bool,
}

impl World {
    /// Two nodes that know each other and are not connected.
    pub(crate) fn new(kind: Kind) -> Self {
        let namespace = Namespace::new().expect("these tests make network namespaces: run them as root");
        namespace.set_up("lo").expect("a loopback");
        namespace.add_bridge("switch", MTU).expect("a switch");
        for end in ["node0", "node1", "client", "single"] {
            let plug = format!("to-{end}");
            network::wire((&namespace, end), (&namespace, &plug), MTU).expect("a wire");
            namespace.plug(&plug, "switch").expect("plugged in");
        }
        for end in ["node0", "node1", "client", "single"] {
            let look =
                || namespace.enter(|| Ok(Interface::named(end).ok().filter(|found| found.has_carrier)));
            lab::wait_until("the wire", Duration::from_secs(10), look).expect("a wire");
        }
        let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
        let goes_on = Arc::default();
        if kind.stands_still {
            make_capture(&capture(directory.path()), &goes_on);
        }
        let first = Membership { epoch: Epoch::FIRST, members: Members::Both };
        let arbiter = Arc::new(Mutex::new(Arbiter { holds: first, is_reachable: true }));
        let nodes = NUMBERS.map(|number| Node::start(kind, number, &namespace, &directory, &arbiter));
        Self { nodes, arbiter, namespace, restarts: 0, goes_on, is_veiled: kind.is_veiled, directory }
    }

    /// The same, connected, and serving at both.
    pub(crate) fn paired(kind: Kind) -> Self {
        let world = Self::new(kind);
        world.connect_by_tcp();
        world.await_paired();
        world
    }

    pub(crate) fn connect(&self) {
        let streams: [UnixStream; 2] = UnixStream::pair().expect("a connection").into();
        for (node, stream) in self.nodes.iter().zip(streams) {
            node.connect(stream.try_into().expect("a stream"));
        }
    }

    /// Connects the nodes by TCP, as it is between machines.
    pub(crate) fn connect_by_tcp(&self) {
        let streams = self.namespace.enter(|| {
            let listener = TcpListener::bind(("127.0.0.1", 0))?;
            let near = TcpStream::connect(listener.local_addr()?)?;
            Ok([near, listener.accept()?.0])
        });
        for (node, stream) in self.nodes.iter().zip(streams.expect("a connection")) {
            let mut stream = PeerStream::over_tcp(stream, Duration::from_secs(5)).expect("a stream");
            if self.is_veiled {
                stream = stream.with_layer(Box::<Veil>::default()).expect("memory");
            }
            node.connect(stream);
        }
    }

    /// Waits until both nodes serve and are in sync. On a machine that is busy with something else a lease runs out now and then:
    /// whoever connects nodes does so again.
    pub(crate) fn await_paired(&self) {
        let look = || {
            let is_paired = self.nodes.iter().all(|node| {
                let status = node.status();
                status.serving && status.membership.members == Members::Both && status.out_of_sync == 0
            });
            let is_connected = |node: &Node| node.statistics().peer.is_some_and(|peer| peer.is_connected);
            if !is_paired && !self.nodes.iter().any(is_connected) {
                self.connect_by_tcp();
            }
            Ok(is_paired.then_some(()))
        };
        lab::wait_until("both nodes to serve", Duration::from_secs(40), look).unwrap_or_else(|error| {
            panic!("{error}: {:?}", self.nodes.each_ref().map(|node| (node.status(), &node.volume_events)))
        });
    }

    /// Ends a node without a word to anybody, as if its process had died.
    pub(crate) fn kill(&mut self, index: usize) {
        self.nodes[index].shard.take();
    }

    /// Starts it anew on what is on its disks.
    pub(crate) fn restart(&mut self, kind: Kind, index: usize) {
        let Node { data, meta, .. } = &self.nodes[index];
        let (data, meta) = (data.clone(), meta.clone());
        let is_over = || Ok(Disk::open(&DiskOptions { path: data.clone(), ..DiskOptions::default() }).ok());
        lab::wait_until("the end of its thread", Duration::from_secs(10), is_over).expect("it ends");
        self.restarts += 1;
        let incarnation = 1 + self.restarts;
        self.nodes[index] =
            Node::open(kind, NUMBERS[index], incarnation, &self.namespace, data, meta, &self.arbiter);
    }

    /// Lets node 0 go on.
    pub(crate) fn go_on(&self) {
        self.goes_on.store(true, Ordering::Relaxed);
    }

    pub(crate) fn client(&self) -> Client {
        let options =
            PortOptions { kind: PortKind::Plain, ..PortOptions::new("client", FrameFilter::Responses) };
        let port =
            self.namespace.enter(|| Ok(FramePort::open(&options))).expect("namespace").expect("a port");
        let targets = NUMBERS.map(|number| node::virtual_mac(PAIR, number, PortId(0)));
        Client { port, targets, tag: 0 }
    }

    /// A node without a peer on the same switch, with a disk of its own at the same address, and a client that asks it.
    pub(crate) fn single(&self, kind: Kind) -> (ShardHandle, Client) {
        let data = self.directory.path().join("single.data");
        let mut file = std::fs::File::create(&data).expect("a file");
        std::io::copy(&mut std::io::Read::take(std::io::repeat(0), DISK_BYTES), &mut file).expect("a disk");
        let options = ShardOptions { pair: None, ..options(kind, "single", None) };
        let start = || Ok(ShardHandle::start(options, |event| panic!("{event:?}")));
        let shard = self.namespace.enter(start).expect("namespace").expect("a shard");
        let disk = Disk::open(&DiskOptions { path: data, ..DiskOptions::default() }).expect("a disk");
        let (reply, outcome) = channel();
        let config = Box::new(config(&disk));
        shard.send(Command::AddExport { disk: Box::new(disk), config, reply });
        outcome.recv().expect("an answer").expect("an export");
        let interface = self.namespace.enter(|| Ok(Interface::named("single"))).expect("namespace");
        let mac = MacAddress(interface.expect("an interface").mac);
        (shard, Client { targets: [mac; 2], ..self.client() })
    }

    /// Both files, byte for byte.
    pub(crate) fn assert_equal_copies(&self) {
        let [one, other] = [0, 1].map(|node| std::fs::read(&self.nodes[node].data).expect("a file"));
        let differs = one.iter().zip(&other).position(|(one, other)| one != other);
        assert_eq!(differs, None, "the first byte that differs");
    }
}

impl Node {
    fn start(
        kind: Kind,
        number: NodeNumber,
        namespace: &Namespace,
        directory: &tempfile::TempDir,
        arbiter: &Arc<Mutex<Arbiter>>,
    ) -> Self {
        let [data, meta] =
            ["data", "meta"].map(|kind| directory.path().join(format!("{}.{kind}", name(number))));
        make_disk(number, &data, &meta);
        Self::open(kind, number, 1, namespace, data, meta, arbiter)
    }

    /// On disks that are there.
    fn open(
        kind: Kind,
        number: NodeNumber,
        incarnation: u64,
        namespace: &Namespace,
        data: PathBuf,
        meta: PathBuf,
        arbiter: &Arc<Mutex<Arbiter>>,
    ) -> Self {
        let (sender, events) = channel();
        let mut options = options(kind, &name(number), Some((number, incarnation)));
        if kind.stands_still && number == NodeNumber::Zero {
            let path = capture(data.parent().expect("a directory"));
            options.pcap = Some(PcapWriter::create(&path, PcapLimits::default()).expect("a capture"));
        }
        let start = || {
            Ok(ShardHandle::start(options, move |event| {
                let _ = sender.send(event);
            }))
        };
        let shard = Arc::new(namespace.enter(start).expect("namespace").expect("a shard"));
        let (failed, failures) = channel();
        let volume_events = Arc::default();
        let control = (Arc::downgrade(&shard), Arc::clone(arbiter), Arc::clone(&volume_events));
        std::thread::spawn(move || {
            let (shard, arbiter, volume_events) = control;
            for event in events {
                let Some(shard) = shard.upgrade() else { return };
                take_event(event, &shard, &arbiter, &volume_events, &failed);
            }
        });
        let export = add(&shard, &data, &meta);
        Self { shard: Some(shard), export, data, meta, failures, volume_events }
    }

    pub(crate) fn connect(&self, stream: PeerStream) {
        self.send(Command::PeerConnected(stream));
    }

    pub(crate) fn send(&self, command: Command) {
        self.shard.as_ref().expect("it lives").send(command);
    }

    pub(crate) fn status(&self) -> VolumeStatus {
        let (reply, status) = channel();
        self.send(Command::VolumeStatus { volume: self.export, reply });
        status.recv().expect("an answer").expect("a volume")
    }

    pub(crate) fn control(&self, control: Control) {
        self.send(Command::Control { volume: self.export, control });
    }

    /// Has the volume no more; what it was called.
    pub(crate) fn remove(&self) -> ExportId {
        self.control(Control::Remove);
        let is_gone = || {
            let (reply, status) = channel();
            self.send(Command::VolumeStatus { volume: self.export, reply });
            Ok(status.recv().expect("an answer").is_none().then_some(()))
        };
        lab::wait_until("the end of the volume", Duration::from_secs(20), is_gone).expect("it ends");
        self.export
    }

    /// Has it again.
    pub(crate) fn add_again(&mut self) {
        self.export = add(self.shard.as_ref().expect("it lives"), &self.data, &self.meta);
    }

    pub(crate) fn wait_for(&self, what: &str, wanted: impl Fn(&VolumeStatus) -> bool) -> VolumeStatus {
        let look = || Ok(Some(self.status()).filter(&wanted));
        lab::wait_until(what, Duration::from_secs(20), look)
            .unwrap_or_else(|error| panic!("{error}: {:?} {:?}", self.status(), self.volume_events))
    }

    pub(crate) fn statistics(&self) -> ShardStatistics {
        let (reply, statistics) = channel();
        self.send(Command::Statistics(reply));
        statistics.recv().expect("an answer")
    }

    /// What the last connection ended with.
    pub(crate) fn failure(&self) -> String {
        self.failures.recv_timeout(Duration::from_secs(10)).expect("the connection has ended")
    }
}

fn take_event(
    event: Event,
    shard: &ShardHandle,
    arbiter: &Mutex<Arbiter>,
    volume_events: &Mutex<Vec<VolumeEvent>>,
    failed: &Sender<String>,
) {
    match event {
        Event::Ask { volume, question, expected, next, .. } => {
            let mut arbiter = arbiter.lock().expect("nobody has panicked");
            let answer = if !arbiter.is_reachable {
                ArbiterAnswer::Unreachable
            } else if arbiter.holds == expected {
                arbiter.holds = next;
                ArbiterAnswer::Swapped
            } else {
                ArbiterAnswer::Holds(arbiter.holds)
            };
            shard.send(Command::ArbiterAnswered { volume, question, answer });
        }
        Event::Volume { event, .. } => volume_events.lock().expect("nobody has panicked").push(event),
        Event::PeerFailed(failure) => {
            let _ = failed.send(failure.to_string());
        }
        other => panic!("{other:?}"),
    }
}

fn capture(directory: &Path) -> PathBuf {
    directory.join("node0.pcap")
}

/// A pipe that is not read until it is said: who writes there stands still wherever it happens to be.
fn make_capture(path: &Path, goes_on: &Arc<AtomicBool>) {
    let made = std::process::Command::new("mkfifo").arg(path).status().expect("mkfifo");
    assert!(made.success(), "a pipe");
    let (path, goes_on) = (path.to_owned(), Arc::clone(goes_on));
    std::thread::spawn(move || {
        let mut pipe = std::fs::File::open(path).expect("a pipe");
        while !goes_on.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(5));
        }
        // It ends with whoever writes.
        let _ = std::io::copy(&mut pipe, &mut std::io::sink());
    });
}

fn name(number: NodeNumber) -> String {
    format!("node{}", number.number())
}

fn make_disk(number: NodeNumber, data: &Path, meta: &Path) {
    let mut file = std::fs::File::create(data).expect("a file");
    // Written once: the first write to a place of a file takes much longer than all others.
    std::io::copy(&mut std::io::Read::take(std::io::repeat(0), DISK_BYTES), &mut file).expect("a disk");
    let fresh = format(Format {
        format: FormatIdentity(u128::from(number.number()) + 1),
        volume: VolumeIdentity(7),
        pair: PAIR,
        node: number,
        layout: Layout::new(DISK_BYTES / SECTOR_BYTES as u64, HOT_EXTENTS_DEFAULT).expect("a size"),
        membership: Membership { epoch: Epoch::FIRST, members: Members::Both },
        good: true,
    });
    MetadataFile::create(meta, &fresh).expect("metadata");
}

fn options(kind: Kind, interface: &str, pair: Option<(NodeNumber, u64)>) -> ShardOptions {
    let filter = FrameFilter::Requests { addresses: vec![(7, 1)] };
    let limits = Limits { requests: 256, followed: 256, copies: 16, volumes: 4, ..Limits::DEFAULT };
    let lease = kind.lease;
    ShardOptions {
        ports: vec![PortOptions { kind: kind.port, ..PortOptions::new(interface, filter) }],
        name: interface.to_owned(),
        limits: TargetLimits { outstanding_max: 256, export_max: 4, ..TargetLimits::new(1) },
        engine: kind.engine,
        busy_poll: Duration::ZERO,
        cpu: None,
        pcap: None,
        pair: pair.map(|(node, life)| {
            let incarnation = life * 2 + u64::from(node.number());
            PairConfig { node, pair: PAIR, incarnation, lease, limits, versions: VersionRange::ALL }
        }),
    }
}

fn config(disk: &Disk) -> ExportConfig {
    ExportConfig {
        address: address(),
        sectors: disk.geometry().sectors(),
        logical_sector_size: disk.geometry().logical_sector_size(),
        identity: Identity::new("serial", "model", "1"),
        read_only: false,
        write_cache: false,
        buffer_count: 128,
        state: SmallState::default(),
        mirror: None,
    }
}

fn add(shard: &ShardHandle, data: &Path, meta: &Path) -> ExportId {
    let options = DiskOptions { path: data.to_owned(), ..DiskOptions::default() };
    let disk = lab::wait_until("the lock of a disk", UNLOCKED_WITHIN, || {
        Ok(match Disk::open(&options) {
            Err(DiskError::Locked(_)) => None,
            opened => Some(opened.expect("a disk")),
        })
    });
    let disk = disk.expect("a disk that nobody has");
    let metadata = lab::wait_until("the lock of the metadata", UNLOCKED_WITHIN, || {
        Ok(match MetadataFile::open(meta) {
            Err(MetadataError::Locked(_)) => None,
            opened => Some(opened.expect("metadata")),
        })
    });
    let metadata = metadata.expect("metadata that nobody has");
    let opened = metadata.read().expect("metadata");
    let config = config(&disk);
    let export = MirroredExport { disk, metadata, opened, config, volume: VolumeConfig::default() };
    let (reply, outcome) = channel();
    shard.send(Command::AddMirroredExport { export: Box::new(export), reply });
    outcome.recv().expect("an answer").expect("an export")
}

/// A client that has one request under way, or several.
pub(crate) struct Client {
    pub(crate) port: FramePort,
    pub(crate) targets: [MacAddress; 2],
    tag: u32,
}

impl Client {
    /// Writes a block of 4 KiB filled with `fill`; sends again until it is answered.
    pub(crate) fn write(&mut self, node: usize, block: u64, fill: u8) {
        self.ask(node, block, Some(fill), Duration::from_secs(20)).expect("the write is answered");
    }

    /// The fill of a block.
    pub(crate) fn read(&mut self, node: usize, block: u64) -> u8 {
        let data = self.ask(node, block, None, Duration::from_secs(20)).expect("the read is answered");
        assert!(data.iter().all(|byte| *byte == data[0]), "one fill");
        data[0]
    }

    /// Asks until there is an answer or the time is over.
    pub(crate) fn ask(
        &mut self,
        node: usize,
        block: u64,
        fill: Option<u8>,
        patience: Duration,
    ) -> Option<Vec<u8>> {
        let start = std::time::Instant::now();
        while start.elapsed() < patience {
            let tag = self.send(node, block, fill);
            self.port.flush().expect("sent");
            if let Some(data) = self.answer(Some(node), tag, Duration::from_millis(200)) {
                return Some(data);
            }
        }
        None
    }

    /// Queues one request; its tag.
    pub(crate) fn send(&mut self, node: usize, block: u64, fill: Option<u8>) -> Tag {
        self.tag += 1;
        let head = Head {
            ethernet: ethernet::Repr {
                destination: self.targets[node],
                source: MacAddress(self.port.interface().mac),
            },
            header: header::Repr::request(AddressPattern::from(address()), AoeCommand::Ata, Tag(self.tag)),
        };
        let request = ata::Request {
            flags: if fill.is_some() { ata::AtaFlags::WRITE } else { ata::AtaFlags::NONE },
            feature: 0,
            sector_count: 8,
            command: if fill.is_some() { AtaCommand::WriteSectorsExt } else { AtaCommand::ReadSectorsExt },
            lba: ata::LbaRegisters::from_lba48(Lba(block * 8)),
        };
        let mut bytes = [0; 60];
        head.emit(&mut bytes);
        let length = request.emit(&mut bytes);
        let data = fill.map(|fill| [fill; 4096]);
        let head = if fill.is_some() { &bytes[..length] } else { &bytes[..] };
        let payload = data.as_ref().map(|data| Payload::of(data));
        self.port.queue(TransmitFrame { head, payload }).expect("room");
        if fill.is_some() {
            // The payload is named, not copied.
            self.port.flush().expect("sent");
        }
        Tag(self.tag)
    }

    /// The answer with that tag, if it comes in time; from the address of that node, if it matters.
    pub(crate) fn answer(&mut self, node: Option<usize>, tag: Tag, patience: Duration) -> Option<Vec<u8>> {
        let start = std::time::Instant::now();
        while start.elapsed() < patience {
            let Some(received) = self.port.receive() else {
                self.port.wait(Some(Duration::from_millis(5)));
                continue;
            };
            let frame = Frame::new(self.port.frame(received.slot)).expect("a frame");
            let is_it = frame.header().tag == tag;
            let data = is_it.then(|| {
                if let Some(node) = node {
                    assert_eq!(frame.head().ethernet.source, self.targets[node]);
                }
                let reply = ata::Reply::parse(ata::View::new(frame).expect("an ATA answer"));
                assert!(!reply.status.is_failure(), "the request failed");
                self.port.frame(received.slot)[36..].to_vec()
            });
            self.port.release(received.slot);
            if data.is_some() {
                return data;
            }
        }
        None
    }
}
