//! The target as a whole: what no single part can show.

mod mirror;
mod sequenced;

use super::*;
use crate::ata::AtaCommand;
use crate::wire::ata::{AtaFlags, LbaRegisters};
use crate::wire::header::{self, Command, Tag};
use crate::wire::{self, Head, ata, ethernet};
use crate::{AddressPattern, Digest, MacAddress, Shelf, Slot};
use block::{
    BlockError, BlockRequest, BufferSlice, Completion, Lba, LbaRange, LogicalSectorSize, Operation, RequestId,
};

const PORT: PortId = PortId(0);
const OURS: MacAddress = MacAddress([2, 0, 0, 0, 0, 0xaa]);
const CLIENT: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);
const OTHER_CLIENT: MacAddress = MacAddress([2, 0, 0, 0, 0, 2]);

fn address() -> Address {
    Address::new(Shelf(7), Slot(1)).expect("an address")
}

fn config() -> ExportConfig {
    ExportConfig {
        address: address(),
        sectors: 2048,
        logical_sector_size: LogicalSectorSize::B512,
        identity: Identity::new("7.1", "etherpair", "0.1"),
        read_only: false,
        write_cache: false,
        buffer_count: 64,
        state: SmallState::default(),
        mirror: None,
    }
}

fn at(milliseconds: u64) -> Instant {
    Instant::from_nanos(milliseconds * 1_000_000)
}

/// A target with one export on one interface, and a hand to drive it.
struct Bench {
    target: Target,
    export: ExportId,
    now: Instant,
    buffers: u64,
    tags: u32,
}

impl Bench {
    fn new(config: ExportConfig) -> Self {
        Self::with_limits(config, 16)
    }

    fn with_limits(config: ExportConfig, outstanding_max: usize) -> Self {
        let limits = TargetLimits {
            outstanding_max,
            write_history_max: 64,
            export_max: 8,
            followed_max: 8,
            digest_seed: 42,
        };
        let mut target = Target::new(limits);
        let now = at(10_000);
        let link = PortLink { mac: OURS, mtu: 9000 };
        target.handle_input(now, Input::PortChanged { port: PORT, link: Some(link) }).expect("no frame");
        let export = target.add_export(now, config).expect("a good config");
        Self { target, export, now, buffers: 0, tags: 0 }
    }

    fn frame(&mut self, source: MacAddress, request: ata::Request, data: u8) -> Vec<u8> {
        self.tags += 1;
        let mut frame = vec![data; 36 + usize::from(request.sector_count) * 512];
        let header = header::Repr::request(address().into(), Command::Ata, Tag(self.tags));
        Head { ethernet: ethernet::Repr { destination: OURS, source }, header }.emit(&mut frame);
        let end = request.emit(&mut frame);
        if !request.command.is_write() {
            frame.truncate(end);
            frame.resize(60, 0);
        }
        frame
    }

    /// Hands in a frame and says what came of it; the buffer is the number of the frame.
    fn send(&mut self, frame: &[u8]) -> Result<Vec<Output>, Refusal> {
        self.buffers += 1;
        let input = Input::Frame { port: PORT, received: self.now, frame, buffer: BufferName(self.buffers) };
        self.target.handle_input(self.now, input)?;
        Ok(self.drain())
    }

    fn drain(&mut self) -> Vec<Output> {
        std::iter::from_fn(|| self.target.poll_output()).collect()
    }

    fn write(&mut self, lba: u64, count: u8, data: u8) -> Result<Vec<Output>, Refusal> {
        let frame = self.frame(CLIENT, registers(AtaCommand::WriteSectorsExt, lba, count), data);
        self.send(&frame)
    }

    fn read(&mut self, lba: u64, count: u8) -> Result<Vec<Output>, Refusal> {
        let frame = self.frame(CLIENT, registers(AtaCommand::ReadSectorsExt, lba, count), 0);
        self.send(&frame)
    }

    fn complete(&mut self, id: RequestId, result: Result<Option<BufferSlice>, BlockError>) -> Vec<Output> {
        self.target.handle_input(self.now, Input::Completed(Completion { id, result })).expect("no frame");
        self.drain()
    }
}

fn registers(command: AtaCommand, lba: u64, sector_count: u8) -> ata::Request {
    let flags = if command.is_write() { AtaFlags::WRITE | AtaFlags::EXTENDED } else { AtaFlags::EXTENDED };
    ata::Request { flags, feature: 0, sector_count, command, lba: LbaRegisters::from_lba48(Lba(lba)) }
}

/// The one disk request among `outputs`.
fn block_request(outputs: &[Output]) -> BlockRequest {
    let mut requests = outputs.iter().filter_map(|output| match output {
        Output::Block(request) => Some(*request),
        _ => None,
    });
    let request = requests.next().expect("a disk request");
    assert_eq!(requests.next(), None);
    request
}

fn has_block_request(outputs: &[Output]) -> bool {
    outputs.iter().any(|output| matches!(output, Output::Block(_)))
}

/// Tag, status and error of each ATA answer without data.
fn answers(outputs: &[Output]) -> Vec<(u32, u8, u8)> {
    let frames = outputs.iter().filter_map(|output| match output {
        Output::Send(transmit) => Some(transmit.head.bytes()),
        _ => None,
    });
    frames
        .map(|bytes| {
            let tag = u32::from_be_bytes([bytes[20], bytes[21], bytes[22], bytes[23]]);
            (tag, bytes[27], bytes[25])
        })
        .collect()
}

fn released(outputs: &[Output]) -> Vec<u64> {
    outputs
        .iter()
        .filter_map(|output| match output {
            Output::Release(buffer) => Some(buffer.0),
            _ => None,
        })
        .collect()
}

#[test]
fn a_read_goes_to_the_disk_and_its_bytes_to_the_sender() {
    let mut bench = Bench::new(config());
    let outputs = bench.read(8, 8).expect("admitted");
    assert_eq!(released(&outputs), [1]);
    let request = block_request(&outputs);
    let BlockRequest { operation: Operation::Read { range }, .. } = request else { panic!("a read") };
    assert_eq!((range.start(), range.count().0), (Lba(8), 8));
    let payload = BufferSlice { buffer: BufferName(99), offset: 0, length: 4096 };
    let outputs = bench.complete(request.id, Ok(Some(payload)));
    let [Output::Send(Transmit { head, payload: Some(sent), .. })] = outputs.as_slice() else {
        panic!("one frame: {outputs:?}");
    };
    assert_eq!((*sent, head.bytes().len()), (payload, 36));
    assert_eq!(answers(&outputs), [(1, 0x40, 0)]);
}

#[test]
fn a_write_keeps_its_buffer_until_the_disk_has_it() {
    let mut bench = Bench::new(config());
    let outputs = bench.write(8, 8, 5).expect("admitted");
    assert_eq!(released(&outputs), [0u64; 0]);
    let request = block_request(&outputs);
    let Operation::Write { data, durable, .. } = request.operation else { panic!("a write") };
    assert_eq!(data, BufferSlice { buffer: BufferName(1), offset: 36, length: 4096 });
    assert!(durable);
    let outputs = bench.complete(request.id, Ok(None));
    assert_eq!((released(&outputs), answers(&outputs)), (vec![1], vec![(1, 0x40, 0)]));
}

#[test]
fn a_duplicate_of_a_write_in_flight_is_answered_with_it() {
    let mut bench = Bench::new(config());
    let request = block_request(&bench.write(8, 8, 5).expect("admitted"));
    let duplicate = bench.write(8, 8, 5).expect("joined");
    assert!(!has_block_request(&duplicate));
    assert_eq!(released(&duplicate), [2]);
    let outputs = bench.complete(request.id, Ok(None));
    assert_eq!(answers(&outputs), [(1, 0x40, 0), (2, 0x40, 0)]);
    assert_eq!(released(&outputs), [1]);
    assert_eq!(bench.target.outstanding(), 0);
}

#[test]
fn a_duplicate_of_a_completed_write_is_answered_at_once_or_dropped_when_others_came_after() {
    let mut bench = Bench::new(config());
    let first = block_request(&bench.write(8, 8, 5).expect("admitted"));
    bench.complete(first.id, Ok(None));
    assert_eq!(answers(&bench.write(8, 8, 5).expect("answered")), [(2, 0x40, 0)]);
    let second = block_request(&bench.write(15, 1, 6).expect("admitted"));
    assert_eq!(bench.write(8, 8, 5), Err(Refusal::Superseded));
    bench.complete(second.id, Ok(None));
    bench.now = at(12_000);
    assert!(has_block_request(&bench.write(8, 8, 5).expect("a new write after so long")));
}

#[test]
fn a_copy_from_the_other_interface_of_a_host_is_the_same_write() {
    let mut bench = Bench::new(config());
    let copy = |bench: &mut Bench| {
        let frame = bench.frame(OTHER_CLIENT, registers(AtaCommand::WriteSectorsExt, 8, 8), 5);
        bench.send(&frame)
    };
    let first = block_request(&bench.write(8, 8, 5).expect("admitted"));
    assert!(!has_block_request(&copy(&mut bench).expect("joins")));
    assert_eq!(answers(&bench.complete(first.id, Ok(None))), [(1, 0x40, 0), (2, 0x40, 0)]);
    assert_eq!(answers(&copy(&mut bench).expect("answered")), [(3, 0x40, 0)]);
    bench.write(15, 1, 6).expect("admitted");
    assert_eq!(copy(&mut bench), Err(Refusal::Superseded));
}

#[test]
fn a_frame_more_than_a_second_old_is_dropped() {
    let mut bench = Bench::new(config());
    let frame = bench.frame(CLIENT, registers(AtaCommand::ReadSectorsExt, 0, 1), 0);
    let received = at(8_999);
    let input = Input::Frame { port: PORT, received, frame: &frame, buffer: BufferName(1) };
    assert_eq!(bench.target.handle_input(bench.now, input), Err(Refusal::Stale));
    assert_eq!(released(&bench.drain()), [1]);
    assert_eq!(bench.target.refusals().count(Refusal::Stale), 1);
}

#[test]
fn a_write_that_waited_more_than_a_second_is_dropped_and_what_waited_for_it_goes_on() {
    let mut bench = Bench::new(config());
    let first = block_request(&bench.write(8, 8, 1).expect("admitted"));
    bench.write(8, 8, 2).expect("waits");
    bench.now = at(10_900);
    bench.write(8, 8, 3).expect("waits");
    bench.read(9, 1).expect("waits");
    bench.now = at(11_001);
    let outputs = bench.complete(first.id, Ok(None));
    assert_eq!(released(&outputs), [1, 2]);
    let third = block_request(&outputs);
    let Operation::Write { data, .. } = third.operation else { panic!("the third write") };
    assert_eq!(data.buffer, BufferName(3));
    let outputs = bench.complete(third.id, Ok(None));
    assert!(matches!(block_request(&outputs).operation, Operation::Read { .. }));
    let statistics = bench.target.export(bench.export).expect("there").statistics();
    assert_eq!((statistics.stale_dropped, statistics.waited), (1, 3));
}

#[test]
fn a_duplicate_keeps_a_waiting_write_young() {
    let mut bench = Bench::new(config());
    let first = block_request(&bench.write(8, 8, 1).expect("admitted"));
    bench.write(8, 8, 2).expect("waits");
    bench.now = at(10_900);
    bench.write(8, 8, 2).expect("joins");
    bench.now = at(11_001);
    let outputs = bench.complete(first.id, Ok(None));
    let second = block_request(&outputs);
    assert_eq!(
        answers(&bench.complete(second.id, Ok(None))),
        [(3, 0x40, 0)],
        "its sender has forgotten the first tag"
    );
}

#[test]
fn parts_of_one_large_sector_are_written_one_after_the_other() {
    let mut bench = Bench::new(ExportConfig { logical_sector_size: LogicalSectorSize::B4096, ..config() });
    let first = block_request(&bench.write(8, 1, 1).expect("admitted"));
    assert!(!has_block_request(&bench.write(15, 1, 2).expect("waits")));
    assert!(has_block_request(&bench.write(16, 1, 2).expect("admitted")));
    assert!(has_block_request(&bench.complete(first.id, Ok(None))));
}

#[test]
fn disk_errors_become_status_and_never_stop_anything() {
    let cases = [
        (BlockError::Medium, 0x61, 0x04),
        (BlockError::NoSpace, 0x61, 0x04),
        (BlockError::ReadOnly, 0x41, 0x04),
        (BlockError::BeyondEnd, 0x41, 0x10),
        (BlockError::Gone, 0x21, 0x04),
    ];
    let mut bench = Bench::new(config());
    for (tag, (error, status, register)) in (1..).zip(cases) {
        // A write that failed is tried again when it is sent again.
        let request = block_request(&bench.write(0, 1, 1).expect("admitted"));
        assert_eq!(answers(&bench.complete(request.id, Err(error))), [(tag, status, register)]);
    }
    let request = block_request(&bench.read(0, 1).expect("admitted"));
    assert_eq!(answers(&bench.complete(request.id, Err(BlockError::Medium))), [(6, 0x41, 0x40)]);
    let statistics = bench.target.export(bench.export).expect("there").statistics();
    assert_eq!((statistics.read_errors, statistics.write_errors), (1, 5));
}

#[test]
fn a_full_table_drops_frames_and_says_so() {
    let mut bench = Bench::with_limits(config(), 2);
    let request = block_request(&bench.write(0, 1, 1).expect("admitted"));
    bench.read(8, 1).expect("admitted");
    assert_eq!(bench.read(9, 1), Err(Refusal::TooManyOutstanding));
    assert_eq!(bench.write(0, 1, 1), Err(Refusal::TooManyOutstanding));
    assert_eq!(released(&bench.drain()), [3, 4]);
    bench.complete(request.id, Ok(None));
    assert!(bench.write(4, 1, 1).is_ok());
    let statistics = bench.target.export(bench.export).expect("there").statistics();
    assert_eq!(statistics.refusals.count(Refusal::TooManyOutstanding), 2);
}

#[test]
fn an_export_that_was_removed_is_silent_and_gives_everything_back() {
    let mut bench = Bench::new(config());
    let write = block_request(&bench.write(0, 1, 1).expect("admitted"));
    bench.write(0, 1, 2).expect("waits");
    let read = block_request(&bench.read(8, 1).expect("admitted"));
    assert!(bench.target.remove_export(bench.export).is_some());
    assert_eq!(bench.read(8, 1), Err(Refusal::UnknownAddress));
    bench.drain();
    let outputs = bench.complete(write.id, Ok(None));
    assert_eq!(outputs, [Output::Release(BufferName(1)), Output::Release(BufferName(2))]);
    let payload = BufferSlice { buffer: BufferName(77), offset: 0, length: 512 };
    assert_eq!(bench.complete(read.id, Ok(Some(payload))), [Output::Release(BufferName(77))]);
    assert_eq!(bench.target.outstanding(), 0);
    assert!(bench.target.add_export(bench.now, config()).is_ok(), "the address is free again");
}

#[test]
fn a_waiting_write_does_not_outgrow_an_export_that_shrank() {
    let mut bench = Bench::new(config());
    let first = block_request(&bench.write(2040, 8, 1).expect("admitted"));
    bench.write(2040, 8, 2).expect("waits");
    let resized = Input::Resized { export: bench.export, sectors: 2044 };
    bench.target.handle_input(bench.now, resized).expect("no frame");
    let outputs = bench.complete(first.id, Ok(None));
    assert!(!has_block_request(&outputs));
    assert_eq!(answers(&outputs), [(1, 0x40, 0), (2, 0x41, 0x10)]);
}

#[test]
fn a_link_that_went_down_takes_its_answers_with_it_and_no_buffer() {
    let mut bench = Bench::new(config());
    let read = block_request(&bench.read(8, 1).expect("admitted"));
    let down = Input::PortChanged { port: PORT, link: None };
    bench.target.handle_input(bench.now, down).expect("no frame");
    let payload = BufferSlice { buffer: BufferName(77), offset: 0, length: 512 };
    assert_eq!(bench.complete(read.id, Ok(Some(payload))), [Output::Release(BufferName(77))]);
    assert_eq!(bench.read(8, 1), Err(Refusal::PortDown));
}

#[test]
fn advertisements_are_sent_three_times_and_to_those_who_may_talk() {
    let mut bench = Bench::new(config());
    let mut sent = Vec::new();
    while let Some(due) = bench.target.poll_timeout() {
        bench.now = due;
        bench.target.handle_input(due, Input::Timeout).expect("no frame");
        sent.extend(bench.drain().into_iter().map(|output| (due, output)));
    }
    let times: Vec<Instant> = sent.iter().map(|(due, _)| *due).collect();
    assert_eq!(times, [at(10_000), at(10_250), at(12_250)]);
    let Output::SendControl { frame, .. } = &sent[0].1 else { panic!("a frame") };
    assert_eq!((&frame[..6], frame[14], &frame[20..24]), (&[0xff; 6][..], 0x18, &[0; 4][..]));

    let mac_mask = vec![CLIENT, OTHER_CLIENT];
    let mut bench =
        Bench::new(ExportConfig { state: SmallState { mac_mask, ..SmallState::default() }, ..config() });
    bench.target.handle_input(bench.now, Input::Timeout).expect("no frame");
    let receivers: Vec<Vec<u8>> = bench
        .drain()
        .into_iter()
        .map(|output| match output {
            Output::SendControl { frame, .. } => frame[..6].to_vec(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(receivers, [CLIENT.0.to_vec(), OTHER_CLIENT.0.to_vec()]);
}

#[test]
fn an_export_with_more_listeners_than_there_is_room_for_is_advertised_to_as_many_as_fit() {
    let mac_mask = (0..=254).map(|last| MacAddress([2, 0, 0, 0, 1, last])).collect();
    let mut bench =
        Bench::new(ExportConfig { state: SmallState { mac_mask, ..SmallState::default() }, ..config() });
    for port in 1..5 {
        let link = PortLink { mac: MacAddress([2, 0, 0, 0, 0, 0xaa + port]), mtu: 9000 };
        let up = Input::PortChanged { port: PortId(port), link: Some(link) };
        bench.target.handle_input(bench.now, up).expect("no frame");
    }
    let mut sent = Vec::new();
    while let Some(due) = bench.target.poll_timeout().filter(|_| sent.len() < 4) {
        bench.now = due;
        bench.target.handle_input(due, Input::Timeout).expect("no frame");
        sent.push(bench.drain().len());
    }
    assert_eq!(sent, [8 + OUTPUTS_UNOWED_MIN; 3]);
}

#[test]
fn the_write_cache_is_used_only_where_it_is_allowed_and_emptied_when_it_is_switched_off() {
    let features = |feature| ata::Request { feature, ..registers(AtaCommand::SetFeatures, 0, 0) };
    let durable = |outputs: &[Output]| match block_request(outputs).operation {
        Operation::Write { durable, .. } => durable,
        _ => panic!("a write"),
    };
    let mut bench = Bench::new(config());
    let frame = bench.frame(CLIENT, features(0x02), 0);
    assert_eq!(answers(&bench.send(&frame).expect("answered")), [(1, 0x40, 0)]);
    assert!(durable(&bench.write(0, 1, 1).expect("admitted")));

    let mut bench = Bench::new(ExportConfig { write_cache: true, ..config() });
    assert!(!durable(&bench.write(0, 1, 1).expect("admitted")));
    let frame = bench.frame(CLIENT, features(0x82), 0);
    let outputs = bench.send(&frame).expect("admitted");
    assert!(answers(&outputs).is_empty());
    let flush = block_request(&outputs);
    assert_eq!(flush.operation, Operation::Flush);
    assert!(durable(&bench.write(1, 1, 1).expect("admitted")));
    assert_eq!(answers(&bench.complete(flush.id, Ok(None))), [(2, 0x40, 0)]);
}

#[test]
fn a_change_is_seen_only_when_it_is_durable() {
    let mut bench = Bench::new(config());
    let set = |string: &[u8], tag| {
        let mut frame = vec![0; 1100];
        let header = header::Repr::request(address().into(), Command::QueryConfig, Tag(tag));
        Head { ethernet: ethernet::Repr { destination: OURS, source: CLIENT }, header }.emit(&mut frame);
        wire::config::Request::Set(string).emit(&mut frame);
        frame
    };
    let outputs = bench.send(&set(b"first", 1)).expect("taken");
    let state = SmallState { config_string: b"first".to_vec(), ..SmallState::default() };
    let store = Output::StoreState { export: bench.export, state: state.clone() };
    assert_eq!(outputs, [store.clone(), Output::Release(BufferName(1))]);
    assert_eq!(bench.target.export(bench.export).expect("there").state(), &SmallState::default());
    assert_eq!(bench.send(&set(b"first", 2)), Err(Refusal::ChangePending));
    bench.drain();

    let stored = |result| Input::StateStored { export: ExportId(0), result };
    bench.target.handle_input(bench.now, stored(Err(StateError))).expect("no frame");
    let outputs = bench.drain();
    let [Output::SendControl { frame, .. }] = outputs.as_slice() else { panic!("{outputs:?}") };
    assert_eq!((frame[14], frame[15]), (0x1c, 3));
    assert_eq!(bench.target.export(bench.export).expect("there").state(), &SmallState::default());

    assert!(bench.send(&set(b"first", 3)).expect("taken").contains(&store));
    bench.target.handle_input(bench.now, stored(Ok(()))).expect("no frame");
    let outputs = bench.drain();
    let [Output::SendControl { frame, .. }] = outputs.as_slice() else { panic!("{outputs:?}") };
    assert_eq!((&frame[20..24], &frame[32..37]), (&[0, 0, 0, 3][..], &b"first"[..]));
    assert_eq!(bench.target.export(bench.export).expect("there").state(), &state);
}

#[test]
fn wildcards_are_answered_by_each_export_and_never_written_to() {
    let mut bench = Bench::new(config());
    for slot in 2..5 {
        let address = Address::new(Shelf(7), Slot(slot)).expect("an address");
        bench.target.add_export(bench.now, ExportConfig { address, ..config() }).expect("room");
    }
    let mut to_all = |request| {
        let mut frame = bench.frame(CLIENT, request, 1);
        let every_slot = AddressPattern { shelf: Shelf(7), slot: Slot::WILDCARD };
        header::Repr::request(every_slot, Command::Ata, Tag(9)).emit(&mut frame);
        bench.send(&frame)
    };
    let outputs = to_all(registers(AtaCommand::ReadSectorsExt, 0, 1)).expect("answered");
    assert_eq!(outputs.iter().filter(|output| matches!(output, Output::Block(_))).count(), 4);
    assert_eq!(released(&outputs), [1]);
    let outputs = to_all(registers(AtaCommand::CheckPowerMode, 0, 0)).expect("answered");
    assert_eq!(answers(&outputs).len(), 4);
    assert_eq!(to_all(registers(AtaCommand::WriteSectorsExt, 0, 1)), Err(Refusal::WriteToMany));

    let mut frame = bench.frame(CLIENT, registers(AtaCommand::WriteSectorsExt, 0, 1), 1);
    frame[..6].fill(0xff);
    assert_eq!(bench.send(&frame), Err(Refusal::WriteToMany));
}

#[test]
fn a_read_of_many_is_not_answered_by_an_export_where_it_would_wait() {
    let mut bench = Bench::new(config());
    let second = Address::new(Shelf(7), Slot(2)).expect("an address");
    bench.target.add_export(bench.now, ExportConfig { address: second, ..config() }).expect("room");
    let write = block_request(&bench.write(0, 8, 5).expect("admitted"));
    let mut frame = bench.frame(CLIENT, registers(AtaCommand::ReadSectorsExt, 0, 1), 0);
    let every_slot = AddressPattern { shelf: Shelf(7), slot: Slot::WILDCARD };
    header::Repr::request(every_slot, Command::Ata, Tag(9)).emit(&mut frame);
    let outputs = bench.send(&frame).expect("the second export answers");
    assert_ne!(block_request(&outputs).export, bench.export);
    assert_eq!((released(&outputs), bench.target.outstanding()), (vec![2], 2));

    // One that waits for its own sake is not renewed by a read of many.
    assert_eq!(released(&bench.read(0, 1).expect("waits")), [0u64; 0]);
    bench.now = bench.now.after(limits::RESENT_AFTER_MIN);
    assert_eq!(released(&bench.send(&frame).expect("the second export answers")), [4]);
    let outputs = bench.complete(write.id, Ok(None));
    assert_eq!((released(&outputs), answers(&outputs)), (vec![1, 3], vec![(1, 0x40, 0)]));
    let refusals = &bench.target.export(bench.export).expect("there").statistics().refusals;
    assert_eq!(refusals.count(Refusal::ReadToMany), 2);

    // Where nobody answers, the frame is released all the same.
    let mut bench = Bench::new(config());
    bench.write(0, 8, 5).expect("admitted");
    assert_eq!(bench.send(&frame), Err(Refusal::ReadToMany));
    assert_eq!(released(&bench.drain()), [2]);
}

#[test]
fn frames_that_are_not_for_us_are_told_apart() {
    let mut bench = Bench::new(config());
    let good = bench.frame(CLIENT, registers(AtaCommand::ReadSectorsExt, 0, 1), 0);
    let with = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut frame = good.clone();
        change(&mut frame);
        frame
    };
    let cases = [
        (with(&|frame| frame.truncate(23)), Refusal::NotAoe),
        (with(&|frame| frame[12] = 0x08), Refusal::NotAoe),
        (with(&|frame| frame[14] |= 0x08), Refusal::Response),
        (with(&|frame| frame[6] |= 1), Refusal::BadSource),
        (with(&|frame| frame[6..12].copy_from_slice(&OURS.0)), Refusal::BadSource),
        (with(&|frame| frame[5] ^= 1), Refusal::OtherDestination),
        (with(&|frame| frame[0] |= 1), Refusal::OtherDestination),
        (with(&|frame| frame[18] = 9), Refusal::UnknownAddress),
    ];
    for (frame, refusal) in cases {
        assert_eq!(bench.send(&frame), Err(refusal));
        assert_eq!(released(&bench.drain()).len(), 1);
    }
    let unknown_port =
        Input::Frame { port: PortId(3), received: bench.now, frame: &good, buffer: BufferName(0) };
    assert_eq!(bench.target.handle_input(bench.now, unknown_port), Err(Refusal::PortDown));
}

#[test]
fn an_export_that_nobody_could_use_is_refused() {
    let mut bench = Bench::new(config());
    let refused = |target: &mut Target, config| target.add_export(at(0), config).expect_err("refused");
    let other = Address::new(Shelf(1), Slot(1)).expect("an address");
    let fresh = || ExportConfig { address: other, ..config() };
    assert_eq!(refused(&mut bench.target, config()), TargetError::AddressInUse { address: address() });
    let one = ExportConfig { buffer_count: 1, ..fresh() };
    assert_eq!(refused(&mut bench.target, one), TargetError::BufferCount { count: 1 });
    assert_eq!(
        refused(&mut bench.target, ExportConfig { sectors: 0, ..fresh() }),
        TargetError::Size { sectors: 0 }
    );
    let config_string = vec![0; 1025];
    let long = ExportConfig { state: SmallState { config_string, ..SmallState::default() }, ..fresh() };
    assert_eq!(refused(&mut bench.target, long), TargetError::State);
}
