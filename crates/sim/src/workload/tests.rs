//! Hosts against one real target with a disk that does everything at once.

use std::collections::BTreeMap;

use aoe::target::{self, ExportConfig, Identity, PortId, PortLink, SmallState, Target, TargetLimits};
use aoe::{Address, MacAddress, Shelf, Slot};
use block::{BufferName, BufferSlice, Completion, LogicalSectorSize, Operation};

use super::*;
use crate::oracle;

const SECTORS: u64 = 256;
const NODE: MacAddress = MacAddress([2, 0, 0, 0, 1, 0]);

fn address() -> Address {
    Address::new(Shelf(7), Slot(1)).expect("valid")
}

/// A target, its disk, and a wire that loses one frame in eight.
struct Scene {
    target: Target,
    disk: Vec<u8>,
    buffers: BTreeMap<BufferName, Vec<u8>>,
    named: u64,
    random: fastrand::Rng,
    history: History,
    clients: Vec<Client>,
    now: Instant,
    /// Frames of numbered writes.
    numbered: u32,
}

impl Scene {
    fn new(clients: Vec<Client>) -> Self {
        let limits = TargetLimits {
            outstanding_max: 256,
            write_history_max: 4096,
            export_max: 1,
            followed_max: 1,
            digest_seed: 1,
        };
        let mut target = Target::new(limits);
        let now = Instant::from_nanos(1_000_000_000);
        let link = Some(PortLink { mac: NODE, mtu: 9000 });
        target.handle_input(now, target::Input::PortChanged { port: PortId(0), link }).expect("no frame");
        let config = ExportConfig {
            address: address(),
            sectors: SECTORS,
            logical_sector_size: LogicalSectorSize::B512,
            identity: Identity::new("7", "model", "1"),
            read_only: false,
            write_cache: false,
            buffer_count: 16,
            state: SmallState::default(),
            mirror: None,
        };
        target.add_export(now, config).expect("a good config");
        Self {
            target,
            disk: vec![0; 512 * usize::try_from(SECTORS).expect("few")],
            buffers: BTreeMap::new(),
            named: 0,
            random: fastrand::Rng::with_seed(1),
            history: History::new(aoe::limits::DUPLICATE_WINDOW),
            clients,
            now,
            numbered: 0,
        }
    }

    fn buffer(&mut self, bytes: Vec<u8>) -> BufferName {
        self.named += 1;
        self.buffers.insert(BufferName(self.named), bytes);
        BufferName(self.named)
    }

    /// Lets the next host whose time has come do something, until all are done.
    fn run(&mut self) {
        while !self.clients.iter().all(Client::is_done) {
            let next = self.clients.iter().filter_map(Client::poll_timeout).min().expect("a host");
            self.now = self.now.after(Duration::from_micros(50)).max(next);
            for index in 0..self.clients.len() {
                if self.clients[index].poll_timeout().is_some_and(|due| due <= self.now) {
                    self.clients[index].handle_timeout(self.now, &mut self.history);
                }
                while let Some(frame) = self.clients[index].poll_frame() {
                    self.deliver(&frame.bytes);
                }
            }
            assert!(self.now < Instant::from_nanos(1_000_000_000_000), "they get done");
        }
    }

    fn deliver(&mut self, frame: &[u8]) {
        if self.random.u8(..) < 32 {
            return;
        }
        self.history.frame_reached_node(self.now, 0, frame);
        let head = aoe::Frame::new(frame).expect("a frame").header();
        self.numbered += u32::from(head.command == aoe::wire::sequenced::COMMAND);
        let buffer = self.buffer(frame.to_vec());
        let input = target::Input::Frame { port: PortId(0), received: self.now, frame, buffer };
        if self.target.handle_input(self.now, input).is_err() {
            self.buffers.remove(&buffer);
        }
        while let Some(output) = self.target.poll_output() {
            match output {
                target::Output::Block(request) => self.execute(&request),
                target::Output::Send(transmit) => {
                    let mut bytes = transmit.head.bytes().to_vec();
                    if let Some(BufferSlice { buffer, offset, length }) = transmit.payload {
                        let whole = self.buffers.remove(&buffer).expect("a buffer in use");
                        bytes.extend_from_slice(&whole[offset as usize..][..length as usize]);
                    }
                    self.answer(&bytes);
                }
                target::Output::SendControl { frame, .. } => self.answer(&frame),
                target::Output::Release(buffer) => {
                    self.buffers.remove(&buffer);
                }
                target::Output::StoreState { .. } => {}
                target::Output::MirrorBlock { .. } | target::Output::Returned { .. } => {
                    unreachable!("the export is not mirrored")
                }
            }
        }
    }

    fn execute(&mut self, request: &block::BlockRequest) {
        let result = match request.operation {
            Operation::Read { range } => {
                let from = usize::try_from(range.start().byte_offset()).expect("a small disk");
                let bytes = self.disk[from..from + range.bytes()].to_vec();
                let length = u32::try_from(bytes.len()).expect("short");
                Some(BufferSlice { buffer: self.buffer(bytes), offset: 0, length })
            }
            Operation::Write { range, data, .. } => {
                let from = usize::try_from(range.start().byte_offset()).expect("a small disk");
                let bytes = &self.buffers[&data.buffer][data.offset as usize..][..data.length as usize];
                self.disk[from..from + range.bytes()].copy_from_slice(bytes);
                None
            }
            Operation::Flush => None,
        };
        let completion = Completion { id: request.id, result: Ok(result) };
        self.target.handle_input(self.now, target::Input::Completed(completion)).expect("no frame");
    }

    fn answer(&mut self, frame: &[u8]) {
        if self.random.u8(..) < 32 {
            return;
        }
        let receiver = aoe::Frame::new(frame).expect("a frame").ethernet().destination;
        for client in &mut self.clients {
            if receiver == MacAddress::BROADCAST || receiver == client.mac(0) {
                client.handle_frame(self.now, 0, frame, &mut self.history);
            }
        }
    }
}

fn client(initiator: u16, driver: DriverOptions) -> Client {
    let mac = MacAddress([2, 0, 0, 0, 0, u8::try_from(initiator).expect("few hosts")]);
    let plan = PlanOptions {
        sectors: SECTORS,
        spots: vec![16, 100],
        hot: 180,
        writes: 128,
        repeats: 50,
        flushes: 0,
        pauses: 10,
        think: Duration::from_micros(500),
        pause: Duration::from_millis(300),
    };
    let options = ClientOptions {
        initiator,
        driver,
        plan,
        interfaces: vec![Interface { port: 0, mac, mtu: 9000 }],
        workers: 4,
        requests: 150,
        restart: Duration::from_secs(5),
    };
    Client::new(options, u64::from(initiator))
}

fn linux() -> DriverOptions {
    DriverOptions::Linux(LinuxOptions {
        address: address(),
        dead: Duration::from_secs(180),
        settled: Some(Duration::from_micros(100)),
        tags_repeat: true,
    })
}

fn ours() -> DriverOptions {
    DriverOptions::Ours(OursOptions { address: address(), answer_timeout: Duration::from_secs(180), seed: 5 })
}

#[test]
fn hosts_of_both_kinds_get_all_their_answers_on_a_wire_that_loses_frames() {
    let mut scene = Scene::new(vec![client(1, linux()), client(2, ours()), client(3, linux())]);
    scene.run();
    assert_eq!(scene.history.operations().len(), 450);
    assert_eq!(scene.clients.iter().map(Client::failed).sum::<u32>(), 0);
    assert!(scene.numbered > 60, "our own initiator numbers its writes: {} frames", scene.numbered);
    assert_eq!(oracle::check(&scene.history), Ok(()));
    let found: Vec<_> =
        (0..SECTORS).map(block::Lba).zip(crate::content::Value::of_all(block::Lba(0), &scene.disk)).collect();
    assert_eq!(oracle::check_with(&scene.history, &found, crate::history::Moment::END), Ok(()));
}

#[test]
fn a_disk_that_forgets_a_write_is_found_out() {
    let mut scene = Scene::new(vec![client(1, linux()), client(2, ours())]);
    scene.run();
    let sector = usize::try_from(
        scene
            .history
            .operations()
            .iter()
            .rev()
            .find(|operation| operation.action != Action::Read)
            .expect("a write")
            .range
            .start()
            .0,
    )
    .expect("small");
    scene.disk[sector * 512..(sector + 1) * 512].fill(0);
    let found: Vec<_> =
        (0..SECTORS).map(block::Lba).zip(crate::content::Value::of_all(block::Lba(0), &scene.disk)).collect();
    assert!(oracle::check_with(&scene.history, &found, crate::history::Moment::END).is_err());
}

#[test]
fn a_host_that_crashes_comes_back_and_asks_the_rest() {
    let mut scene = Scene::new(vec![client(1, linux()), client(2, ours())]);
    for turn in 0..2 {
        while scene.clients[turn].asked() < 50 {
            let next = scene.clients.iter().filter_map(Client::poll_timeout).min().expect("a host");
            scene.now = scene.now.after(Duration::from_micros(50)).max(next);
            let now = scene.now;
            scene.clients[turn].handle_timeout(now, &mut scene.history);
            while let Some(frame) = scene.clients[turn].poll_frame() {
                scene.deliver(&frame.bytes);
            }
        }
        let now = scene.now;
        scene.clients[turn].crash(now, &mut scene.history);
        assert_eq!(scene.clients[turn].poll_timeout(), Some(now.after(Duration::from_secs(5))));
    }
    scene.run();
    assert_eq!(oracle::check(&scene.history), Ok(()));
    assert!(scene.clients.iter().all(|client| client.open() == 0 && client.asked() == 150));
}
