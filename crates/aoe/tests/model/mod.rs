//! A world in virtual time for the initiator: a network, targets that share a disk, and the memory of a client.

use std::collections::{BTreeMap, VecDeque};

use aoe::ata::{AtaString, ErrorRegister, Identify};
use aoe::initiator::{Ask, Initiator, Input, Options, Output, PortId, PortLink, RequestError};
use aoe::wire::{ata, config};
use aoe::{Address, AoeError, Command, Frame, MacAddress, Shelf, Slot, Tag};
use block::{BufferName, Duration, Instant, LogicalSectorSize, RequestId};

/// A generator whose whole state is one number.
#[derive(Clone, Debug)]
pub(crate) struct Random(pub u64);

impl Random {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut value = self.0;
        value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (value ^ (value >> 31)) % bound.max(1)
    }
}

/// What the wire does to frames, in each direction.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Network {
    pub(crate) loss_per_mille: u32,
    pub(crate) double_per_mille: u32,
    pub(crate) delay: Duration,
    /// Added at random, so that frames overtake each other.
    pub(crate) jitter: Duration,
}

/// Loses nothing and keeps the order.
pub(crate) const PERFECT: Network = Network {
    loss_per_mille: 0,
    double_per_mille: 0,
    delay: Duration::from_micros(20),
    jitter: Duration::ZERO,
};

const SERVICE: Duration = Duration::from_micros(100);
const BUFFERS: u16 = 32;
/// Questions are asked once a minute as soon as somebody was found.
const FOUND_WITHIN: Duration = Duration::from_secs(1800);

#[derive(Debug)]
enum Event {
    ToTarget { target: usize, port: usize, frame: Vec<u8> },
    ToInitiator { port: usize, frame: Vec<u8> },
}

/// A target that executes a write once: it knows the tags of those it has done, as a target with a memory for
/// duplicates does. The disk is the world's.
#[derive(Debug)]
pub(crate) struct ModelTarget {
    mac: MacAddress,
    pub(crate) alive: bool,
    pub(crate) serial: &'static str,
    pub(crate) bad_sector: Option<u64>,
    /// Refuse so many ATA commands.
    pub(crate) refusals: u32,
    pub(crate) writes: u32,
    done: BTreeMap<(MacAddress, Tag), ()>,
}

pub(crate) struct World {
    pub(crate) now: Instant,
    pub(crate) found_at: Instant,
    pub(crate) initiator: Initiator,
    pub(crate) targets: Vec<ModelTarget>,
    pub(crate) completed: VecDeque<(RequestId, Result<(), RequestError>)>,
    pub(crate) rejected: Vec<MacAddress>,
    disk: Vec<u8>,
    memory: BTreeMap<u64, Vec<u8>>,
    events: BTreeMap<(Instant, u64), Event>,
    sequence: u64,
    random: Random,
    network: Network,
    ports: usize,
}

fn address() -> Address {
    Address::new(Shelf(7), Slot(1)).expect("valid")
}

fn port_mac(port: usize) -> MacAddress {
    MacAddress([2, 0, 0, 0, 0, u8::try_from(port).expect("few")])
}

impl World {
    pub(crate) fn new(seed: u64, network: Network, targets: usize, ports: usize, sectors: u64) -> Self {
        let now = Instant::from_nanos(1_000_000_000_000);
        let links: Vec<(PortId, PortLink)> = (0..ports)
            .map(|port| {
                (PortId(u8::try_from(port).expect("few")), PortLink { mac: port_mac(port), mtu: 9000 })
            })
            .collect();
        let seed_of_tags = u32::try_from(seed & 0xffff_ffff).expect("masked");
        let targets = (0..targets).map(|index| ModelTarget {
            mac: MacAddress([2, 0, 0, 0, 1, u8::try_from(index).expect("few")]),
            alive: true,
            serial: "model",
            bad_sector: None,
            refusals: 0,
            writes: 0,
            done: BTreeMap::new(),
        });
        Self {
            now,
            found_at: now,
            initiator: Initiator::new(now, Options::new(address(), seed_of_tags), &links),
            targets: targets.collect(),
            completed: VecDeque::new(),
            rejected: Vec::new(),
            disk: vec![0; usize::try_from(sectors * 512).expect("small")],
            memory: BTreeMap::new(),
            events: BTreeMap::new(),
            sequence: 0,
            random: Random(seed),
            network,
            ports,
        }
    }

    pub(crate) fn run_until_found(&mut self) {
        self.drain();
        let begin = self.now;
        while self.initiator.targets().count() < self.targets.len() {
            assert!(self.step());
            assert!(self.now.since(begin) < FOUND_WITHIN, "a target is not found");
            if !self.rejected.is_empty() {
                return;
            }
        }
        self.found_at = self.now;
    }

    /// Memory that a request reads into or writes from.
    pub(crate) fn client_memory(&mut self, id: u32, bytes: Vec<u8>) -> BufferName {
        self.memory.insert(u64::from(id), bytes);
        BufferName(u64::from(id))
    }

    pub(crate) fn take_memory(&mut self, id: u32) -> Vec<u8> {
        self.memory.remove(&u64::from(id)).expect("memory of the request")
    }

    pub(crate) fn submit(&mut self, id: RequestId, ask: Ask) {
        self.initiator.handle_input(self.now, Input::Submit { id, ask }).expect("a good request");
        self.drain();
    }

    /// Goes on to whatever comes next; false if nothing does.
    pub(crate) fn step(&mut self) -> bool {
        let timeout = self.initiator.poll_timeout();
        match self.events.first_key_value() {
            Some((&(at, _), _)) if at <= timeout => {
                let (_, event) = self.events.pop_first().expect("there is one");
                self.now = self.now.max(at);
                match event {
                    Event::ToTarget { target, port, frame } => self.serve(target, port, &frame),
                    Event::ToInitiator { port, frame } => self.deliver(port, &frame),
                }
            }
            _ => {
                self.now = self.now.max(timeout);
                self.initiator.handle_input(self.now, Input::Timeout).expect("a timeout is always taken");
                self.drain();
            }
        }
        true
    }

    fn deliver(&mut self, port: usize, frame: &[u8]) {
        let port = PortId(u8::try_from(port).expect("few"));
        let input = Input::Frame { port, frame, buffer: BufferName(u64::MAX) };
        self.initiator.handle_input(self.now, input).expect("model targets make no mistakes");
        self.drain_with(frame);
    }

    fn drain(&mut self) {
        self.drain_with(&[]);
    }

    fn drain_with(&mut self, received: &[u8]) {
        while let Some(output) = self.initiator.poll_output() {
            match output {
                Output::Send { port, head, payload } => {
                    let mut frame = head.bytes().to_vec();
                    if let Some(slice) = payload {
                        let start = slice.offset as usize;
                        let memory = &self.memory[&slice.buffer.0];
                        frame.extend(&memory[start..start + slice.length as usize]);
                    }
                    self.send_to_targets(usize::from(port.0), &frame);
                }
                Output::Data { id, offset, data } => {
                    let bytes = &received[data.offset as usize..][..data.length as usize];
                    let memory = self.memory.get_mut(&u64::from(id.0)).expect("memory of the request");
                    memory[offset as usize..][..bytes.len()].copy_from_slice(bytes);
                }
                Output::Completed { id, result } => self.completed.push_back((id, result)),
                Output::Rejected { mac } => self.rejected.push(mac),
                Output::Sized { .. } => {}
            }
        }
    }

    fn send_to_targets(&mut self, port: usize, frame: &[u8]) {
        let destination = Frame::new(frame).expect("a whole frame").ethernet().destination;
        for target in 0..self.targets.len() {
            if destination == MacAddress::BROADCAST || destination == self.targets[target].mac {
                let frame = frame.to_vec();
                self.transmit(Duration::ZERO, || Event::ToTarget { target, port, frame: frame.clone() });
            }
        }
    }

    fn transmit(&mut self, extra: Duration, event: impl Fn() -> Event) {
        let copies = 1 + u32::from(self.random.below(1000) < u64::from(self.network.double_per_mille));
        for _ in 0..copies {
            if self.random.below(1000) < u64::from(self.network.loss_per_mille) {
                continue;
            }
            let jitter = self.random.below(u64::try_from(self.network.jitter.as_nanos()).expect("short"));
            let at = self.now.after(self.network.delay + extra + Duration::from_nanos(jitter));
            self.sequence += 1;
            self.events.insert((at, self.sequence), event());
        }
    }

    fn serve(&mut self, target: usize, port: usize, bytes: &[u8]) {
        assert!(port < self.ports);
        if !self.targets[target].alive {
            return;
        }
        let frame = Frame::new(bytes).expect("the initiator sends whole frames");
        let mut reply = vec![0; 9014];
        let head = frame.head().reply(self.targets[target].mac, address());
        head.emit(&mut reply);
        let (length, extra) = match head.header.command {
            Command::QueryConfig => (self.targets[target].configure(&mut reply), Duration::ZERO),
            _ => (self.execute(target, frame, &mut reply), SERVICE),
        };
        reply.truncate(length.max(60));
        self.transmit(extra, || Event::ToInitiator { port, frame: reply.clone() });
    }

    fn execute(&mut self, target: usize, frame: Frame<'_>, reply: &mut [u8]) -> usize {
        let Self { targets, disk, .. } = self;
        let target = &mut targets[target];
        if target.refusals > 0 {
            target.refusals -= 1;
            return frame.head().header.reply(address()).refusing(AoeError::Reserved).emit(reply);
        }
        let view = ata::View::new(frame).expect("an ATA frame");
        let request = ata::Request::parse(view);
        let range = usize::try_from(request.lba().0 * 512).expect("small");
        let range = range..range + request.sectors().bytes();
        let sectors = request.lba().0..request.lba().0 + u64::from(request.sector_count);
        if target.bad_sector.is_some_and(|bad| sectors.contains(&bad)) {
            return ata::Reply::failure(&request, ErrorRegister::UNC).emit(reply);
        }
        let length = ata::Reply::success(&request).emit(reply);
        if request.command.is_read() {
            let data = &disk[range];
            reply[36..36 + data.len()].copy_from_slice(data);
            return 36 + data.len();
        }
        if request.command.is_write() {
            let data = view.sectors(request.sectors()).expect("a write carries its sectors");
            let key = (frame.ethernet().source, frame.header().tag);
            if target.done.insert(key, ()).is_none() {
                target.writes += 1;
                disk[range].copy_from_slice(data);
            }
            return length;
        }
        if request.command == aoe::ata::AtaCommand::IdentifyDevice {
            let page: &mut [u8; 512] = (&mut reply[36..548]).try_into().expect("512 bytes");
            target.identify(disk.len() as u64 / 512).emit(page);
            return 548;
        }
        length
    }
}

impl ModelTarget {
    fn configure(&self, reply: &mut [u8]) -> usize {
        config::Repr {
            buffer_count: BUFFERS,
            firmware: 1,
            sector_count: 17,
            version: 1,
            command: config::ConfigCommand::Read,
            string: b"",
        }
        .emit(reply)
    }

    fn identify(&self, sectors: u64) -> Identify {
        Identify {
            sectors,
            lba48: true,
            serial: AtaString::new(self.serial),
            firmware: AtaString::new("1"),
            model: AtaString::new("model"),
            physical_sector_size: LogicalSectorSize::B512,
            write_cache: false,
            smart: false,
        }
    }
}
