//! The target. Whatever frames come, in whatever order with completions, stored changes and time between: nothing
//! panics; nothing is written but what a well-formed write to one address asked for, within the disk; every buffer is
//! let go once; and an answer holds nothing but what its fields say, zeros behind.

use std::collections::BTreeMap;

use aoe::ata::AtaCommand;
use aoe::limits::{CONTROL_FRAME_BYTES_MAX, FRAME_BYTES_MIN};
use aoe::target::{
    ExportConfig, Identity, Input, Output, PortId, PortLink, SmallState, StateError, Target, TargetLimits,
};
use aoe::wire::ata::{AtaFlags, Request, View};
use aoe::wire::sequenced;
use aoe::{Address, Command, Frame, MacAddress, Shelf, Slot};
use block::{
    BlockError, BlockRequest, BufferName, BufferSlice, Completion, Duration, ExportId, Instant,
    LogicalSectorSize, Operation, SECTOR_BYTES,
};

/// Who we are in frames that are to get through.
pub const OURS: MacAddress = MacAddress([2, 0, 0, 0, 0, 0xaa]);
const SECTORS: u64 = 64;

/// Steps are cut from `data`: a byte says what happens, and for a frame two more how long it is.
pub fn target_frames(data: &[u8]) {
    let mut run = Run::new(data.first().copied().unwrap_or(0));
    let mut rest = data.get(1..).unwrap_or(&[]);
    while let [step, tail @ ..] = rest {
        rest = run.step(*step, tail);
    }
    run.finish();
}

struct Run {
    target: Target,
    exports: Vec<ExportId>,
    now: Instant,
    frames: BTreeMap<BufferName, Vec<u8>>,
    read: BTreeMap<BufferName, usize>,
    buffers: u64,
    at_disk: Vec<BlockRequest>,
    stores: Vec<ExportId>,
}

impl Run {
    fn new(options: u8) -> Self {
        let limits = TargetLimits {
            outstanding_max: 8,
            write_history_max: 16,
            export_max: 4,
            followed_max: 4,
            digest_seed: 7,
        };
        let mut target = Target::new(limits);
        let now = Instant::from_nanos(10_000_000_000);
        let mtu = if options & 1 == 0 { 9000 } else { 1500 };
        for port in 0..2 {
            let link = Some(PortLink { mac: OURS, mtu });
            target.handle_input(now, Input::PortChanged { port: PortId(port), link }).expect("no frame");
        }
        let exports = (0..3u8).map(|slot| {
            let config = ExportConfig {
                address: Address::new(Shelf(7), Slot(slot)).expect("an address"),
                sectors: SECTORS,
                logical_sector_size: if options & 2 == 0 {
                    LogicalSectorSize::B512
                } else {
                    LogicalSectorSize::B4096
                },
                identity: Identity::new("serial", "model", "1"),
                read_only: slot == 2,
                write_cache: slot == 1,
                buffer_count: 16,
                state: SmallState::default(),
                mirror: None,
            };
            target.add_export(now, config).expect("a good config")
        });
        let exports = exports.collect();
        let (frames, read) = (BTreeMap::new(), BTreeMap::new());
        Self { target, exports, now, frames, read, buffers: 0, at_disk: Vec::new(), stores: Vec::new() }
    }

    fn step<'a>(&mut self, step: u8, rest: &'a [u8]) -> &'a [u8] {
        let which = usize::from(step) / 8;
        match step % 8 {
            0..=3 => return self.frame(step, rest),
            4 => self.complete(which, None),
            5 if which < 12 => self.complete(which, Some(BlockError::Medium)),
            5 => self.resize(which),
            6 => self.stored(which, if which.is_multiple_of(4) { Err(StateError) } else { Ok(()) }),
            _ => self.pass(which),
        }
        rest
    }

    /// A frame as it is, or one whose header is made to get through.
    fn frame<'a>(&mut self, step: u8, rest: &'a [u8]) -> &'a [u8] {
        let [low, high, rest @ ..] = rest else { return &[] };
        let length = usize::from(u16::from_le_bytes([*low, *high])) % 1200;
        let (bytes, rest) = rest.split_at(length.min(rest.len()));
        let mut frame = bytes.to_vec();
        if step.is_multiple_of(2) && frame.len() >= 24 {
            let destination = if frame[0] == 0xff { MacAddress::BROADCAST } else { OURS };
            frame[..6].copy_from_slice(&destination.0);
            frame[6] &= 0xfe;
            frame[12..14].copy_from_slice(&[0x88, 0xa2]);
            frame[14] = 0x10;
            frame[16..18].copy_from_slice(&[0, 7]);
            frame[18] = if frame[18] == Slot::WILDCARD.0 { frame[18] } else { frame[18] % 3 };
            frame[19] = if frame[19].is_multiple_of(5) { 0xf0 } else { frame[19] % 4 };
        }
        let age = Duration::from_millis(u64::from(step / 8) * 40);
        let buffer = self.buffer();
        self.frames.insert(buffer, frame.clone());
        let (port, received) = (PortId(step / 8 % 3), self.now.before(age));
        let input = Input::Frame { port, received, frame: &frame, buffer };
        // Refused or not: the buffer is followed either way.
        let _ = self.target.handle_input(self.now, input);
        self.drain();
        rest
    }

    fn buffer(&mut self) -> BufferName {
        self.buffers += 1;
        BufferName(self.buffers)
    }

    fn complete(&mut self, which: usize, error: Option<BlockError>) {
        if self.at_disk.is_empty() {
            return;
        }
        let request = self.at_disk.remove(which % self.at_disk.len());
        let result = match (error, request.operation) {
            (Some(error), _) => Err(error),
            (None, Operation::Read { range }) => {
                let buffer = self.buffer();
                self.read.insert(buffer, range.bytes());
                let length = u32::try_from(range.bytes()).expect("a frame's worth");
                Ok(Some(BufferSlice { buffer, offset: 0, length }))
            }
            (None, _) => Ok(None),
        };
        let completion = Completion { id: request.id, result };
        self.target.handle_input(self.now, Input::Completed(completion)).expect("no frame");
        self.drain();
    }

    fn resize(&mut self, which: usize) {
        let sectors = SECTORS - which as u64;
        let resized = Input::Resized { export: self.exports[0], sectors };
        self.target.handle_input(self.now, resized).expect("no frame");
    }

    fn stored(&mut self, which: usize, result: Result<(), StateError>) {
        if !self.stores.is_empty() {
            let export = self.stores.remove(which % self.stores.len());
            // It fails where the interface of the request is gone or cannot carry the answer.
            let _ = self.target.handle_input(self.now, Input::StateStored { export, result });
            self.drain();
        }
    }

    fn pass(&mut self, which: usize) {
        self.now = self.now.after(Duration::from_millis(which as u64 * 100));
        if self.target.poll_timeout().is_some_and(|due| due <= self.now) {
            self.target.handle_input(self.now, Input::Timeout).expect("no frame");
            self.drain();
        }
    }

    fn drain(&mut self) {
        while let Some(output) = self.target.poll_output() {
            match output {
                Output::Block(request) => {
                    self.check_block(&request);
                    self.at_disk.push(request);
                }
                Output::Send(transmit) => {
                    let head = transmit.head.bytes();
                    let is_sequenced = head[19] == sequenced::COMMAND.number();
                    let reserved = if is_sequenced { &head[58..60] } else { &head[34..36] };
                    assert_eq!(reserved, [0, 0], "reserved bytes");
                    match transmit.payload {
                        None => check_padding(head, if is_sequenced { 60 } else { 36 }),
                        Some(payload) => {
                            assert_eq!(head.len(), 36);
                            let length = self.read.remove(&payload.buffer).expect("sent once");
                            assert_eq!((payload.offset, payload.length as usize), (0, length));
                        }
                    }
                }
                Output::MirrorBlock { .. } | Output::Returned { .. } => panic!("no export here is mirrored"),
                Output::SendControl { frame, .. } => check_control(&frame),
                Output::Release(buffer) => {
                    let known = self.frames.remove(&buffer).is_some() || self.read.remove(&buffer).is_some();
                    assert!(known, "{buffer:?} is released twice");
                }
                Output::StoreState { export, state } => {
                    assert!(state.is_within_limits() && !self.stores.contains(&export));
                    self.stores.push(export);
                }
            }
        }
    }

    /// A request to a disk is within it, and a write is what a frame that is still there asks for.
    fn check_block(&self, request: &BlockRequest) {
        let config = self.target.export(request.export).expect("served").config();
        let (range, write) = match request.operation {
            Operation::Flush => return,
            Operation::Read { range } => (range, None),
            Operation::Write { range, data, durable } => {
                assert!(durable || config.write_cache);
                (range, Some(data))
            }
        };
        assert!(!range.is_empty() && range.end().0 <= config.sectors, "{range} is not on the disk");
        let Some(data) = write else { return };
        assert!(!config.read_only);
        let bytes = &self.frames[&data.buffer];
        let frame = Frame::new(bytes).expect("a frame");
        let header = frame.header();
        let (asked, offset) = match header.command {
            sequenced::COMMAND => (sequenced_write(frame), sequenced::PAYLOAD_OFFSET),
            _ => (Request::parse(View::new(frame).expect("registers")), 36),
        };
        assert_eq!((header.version, header.response), (1, false));
        assert_eq!(Address::try_from(header.address), Ok(config.address), "a write names one target");
        assert!(!frame.ethernet().destination.is_multicast());
        assert!(matches!(asked.command, AtaCommand::WriteSectors | AtaCommand::WriteSectorsExt));
        assert!(asked.flags.contains(AtaFlags::WRITE));
        assert_eq!((asked.lba(), asked.sectors()), (range.start(), range.count()));
        assert_eq!((data.offset as usize, data.length as usize), (offset, range.bytes()));
        assert!(bytes.len() >= offset + range.bytes(), "the data was in the frame");
    }

    fn finish(mut self) {
        while !self.at_disk.is_empty() {
            self.complete(0, None);
        }
        while !self.stores.is_empty() {
            self.stored(0, Ok(()));
        }
        assert_eq!(self.target.outstanding(), 0, "requests are left over");
        assert!(self.frames.is_empty() && self.read.is_empty(), "buffers are left over");
    }
}

/// The registers of a sequenced write whose data is what its checksum says.
fn sequenced_write(frame: Frame<'_>) -> Request {
    let view = sequenced::View::new(frame).expect("an argument");
    let sequenced::Request::Write { checksum, registers, .. } =
        sequenced::Request::parse(view).expect("whole")
    else {
        panic!("a query writes nothing")
    };
    let data = view.sectors(registers.sectors()).expect("its data");
    assert_eq!(sequenced::checksum(data), checksum);
    registers
}

/// What a frame without ATA data says it holds, and nothing behind it.
fn check_control(bytes: &[u8]) {
    assert!(bytes.len() <= CONTROL_FRAME_BYTES_MAX);
    let header = Frame::new(bytes).expect("we send frames").header();
    assert!(header.response && header.version == 1 && bytes[14] & 0x03 == 0);
    assert_eq!(bytes[15], header.error.map_or(0, aoe::AoeError::number));
    let used = match header.command {
        _ if header.error.is_some() => 24,
        Command::Ata => 36 + SECTOR_BYTES,
        Command::QueryConfig => 32 + usize::from(u16::from_be_bytes([bytes[30], bytes[31]])),
        Command::MacMaskList if bytes[26] != 0 => 28,
        Command::MacMaskList => 28 + 8 * usize::from(bytes[27]),
        Command::ReserveRelease => 26 + 6 * usize::from(bytes[25]),
        sequenced::COMMAND => 60,
        Command::Vendor(_) | Command::Unknown(_) => panic!("only an error answers {}", header.command),
    };
    check_padding(bytes, used);
}

/// `used` bytes, and zeros up to the shortest frame.
fn check_padding(bytes: &[u8], used: usize) {
    assert_eq!(bytes.len(), used.max(FRAME_BYTES_MIN));
    assert!(bytes[used..].iter().all(|byte| *byte == 0), "padding that is not zero: {bytes:02x?}");
}
