//! Sequenced writes: each number of an initiator is executed once.

use super::*;
use crate::limits::SEQUENCE_WINDOW;
use crate::wire::sequenced::{self, Reply, Request, View};

const INITIATOR: u64 = 0x0807_0605_0403_0201;

impl Bench {
    fn sequenced_frame(&mut self, sequence: u64, lba: u64, data: u8) -> Vec<u8> {
        self.sequenced_frame_of(INITIATOR, sequence, lba, data)
    }

    pub(super) fn sequenced_frame_of(
        &mut self,
        initiator: u64,
        sequence: u64,
        lba: u64,
        data: u8,
    ) -> Vec<u8> {
        self.tags += 1;
        let mut frame = vec![data; sequenced::PAYLOAD_OFFSET + 8 * 512];
        let header = header::Repr::request(address().into(), sequenced::COMMAND, Tag(self.tags));
        Head { ethernet: ethernet::Repr { destination: OURS, source: CLIENT }, header }.emit(&mut frame);
        let checksum = sequenced::checksum(&[data; 8 * 512]);
        let registers = registers(AtaCommand::WriteSectorsExt, lba, 8);
        Request::Write { checksum, initiator, sequence, registers }.emit(&mut frame);
        frame
    }

    fn sequenced(&mut self, sequence: u64, lba: u64, data: u8) -> Result<Vec<Output>, Refusal> {
        let frame = self.sequenced_frame(sequence, lba, data);
        self.send(&frame)
    }
}

/// Status and epoch of each answer to a sequenced write.
fn statuses(outputs: &[Output]) -> Vec<(u8, u64)> {
    let frames = outputs.iter().filter_map(|output| match output {
        Output::Send(transmit) => Some(transmit.head.bytes()),
        _ => None,
    });
    let reply = |bytes| {
        let view = View::new(wire::Frame::new(bytes).expect("a frame")).expect("a sequenced reply");
        match Reply::parse(view).expect("a reply") {
            Reply::Write { initiator: INITIATOR, epoch, registers } => (registers.status.0, epoch),
            other => panic!("{other:?}"),
        }
    };
    frames.map(reply).collect()
}

/// The error in the one control frame.
fn refusal(outputs: &[Output]) -> u8 {
    let frame = outputs.iter().find_map(|output| match output {
        Output::SendControl { frame, .. } => Some(frame),
        _ => None,
    });
    let frame = frame.expect("a refusal");
    assert_eq!(frame[14], 0x1c);
    frame[15]
}

#[test]
fn a_number_is_executed_once_however_late_it_comes_again() {
    let mut bench = Bench::new(config());
    let first = block_request(&bench.sequenced(1, 8, 5).expect("admitted"));
    let Operation::Write { range, data, .. } = first.operation else { panic!("a write") };
    assert_eq!((range.start().0, data.offset, data.length), (8, 60, 4096));
    assert_eq!(released(&bench.sequenced(1, 8, 5).expect("joins")), [2]);
    assert_eq!(statuses(&bench.complete(first.id, Ok(None))), [(0x40, 0), (0x40, 0)]);
    let second = block_request(&bench.sequenced(2, 8, 6).expect("another number"));
    bench.complete(second.id, Ok(None));
    bench.now = at(100_000);
    let outputs = bench.sequenced(1, 8, 5).expect("answered though another one came after");
    assert!(!has_block_request(&outputs));
    assert_eq!(statuses(&outputs), [(0x40, 0)]);
    assert_eq!(bench.target.writes_remembered(), 0);
}

#[test]
fn the_same_content_under_another_number_is_another_write() {
    let mut bench = Bench::new(config());
    let first = block_request(&bench.sequenced(1, 8, 5).expect("admitted"));
    bench.complete(first.id, Ok(None));
    assert!(has_block_request(&bench.sequenced(2, 8, 5).expect("admitted")));
}

#[test]
fn stock_writes_go_on_beside_and_count_as_overlapping() {
    let mut bench = Bench::new(config());
    let stock = block_request(&bench.write(8, 8, 5).expect("admitted"));
    bench.complete(stock.id, Ok(None));
    let first = block_request(&bench.sequenced(1, 8, 6).expect("admitted"));
    bench.complete(first.id, Ok(None));
    assert_eq!(bench.write(8, 8, 5), Err(Refusal::Superseded));
}

#[test]
fn a_write_that_failed_fails_again_and_one_that_is_damaged_is_not_looked_at() {
    let mut bench = Bench::new(config());
    let first = block_request(&bench.sequenced(1, 8, 5).expect("admitted"));
    assert_eq!(statuses(&bench.complete(first.id, Err(BlockError::Medium))), [(0x61, 0)]);
    assert_eq!(statuses(&bench.sequenced(1, 8, 5).expect("answered")), [(0x41, 0)]);
    let mut damaged = bench.sequenced_frame(2, 8, 5);
    damaged[1000] ^= 1;
    assert_eq!(bench.send(&damaged), Err(Refusal::BadChecksum));
}

#[test]
fn a_number_below_the_window_is_refused() {
    let mut bench = Bench::new(config());
    let first = block_request(&bench.sequenced(1, 8, 5).expect("admitted"));
    bench.complete(first.id, Ok(None));
    bench.sequenced(SEQUENCE_WINDOW + 1, 16, 5).expect("admitted");
    assert_eq!(refusal(&bench.sequenced(1, 8, 5).expect("refused")), 240);
    assert_eq!(refusal(&bench.sequenced(0, 8, 5).expect("there is no number 0")), 2);
}

#[test]
fn a_query_tells_the_window() {
    let mut bench = Bench::new(config());
    let mut frame = bench.sequenced_frame(1, 0, 0);
    Request::Query { initiator: INITIATOR }.emit(&mut frame);
    let outputs = bench.send(&frame[..60]).expect("answered");
    let Output::SendControl { frame, .. } = &outputs[0] else { panic!("{outputs:?}") };
    let view = View::new(wire::Frame::new(frame).expect("a frame")).expect("a reply");
    assert_eq!(Reply::parse(view), Ok(Reply::Query { window: 1024, initiator: INITIATOR, epoch: 0 }));
}

#[test]
fn what_the_other_node_has_executed_is_answered_here_with_the_epoch() {
    let mut bench = Bench::new(ExportConfig { mirror: Some(Mirror { digest_seed: 1 }), ..config() });
    let export = bench.export;
    let mirror = |bench: &mut Bench, input| {
        bench.drain();
        bench.target.handle_input(bench.now, Input::Mirror(input)).expect("no frame");
        bench.drain()
    };
    mirror(&mut bench, MirrorInput::Epoch { export, epoch: 7 });
    mirror(&mut bench, MirrorInput::Serving { export, serving: true });
    let origin = |sequence| Origin::Sequenced { initiator: INITIATOR, sequence };
    let range = LbaRange::new(Lba(8), block::SectorCount(8)).expect("small");
    let write = FollowedWrite(3);
    mirror(&mut bench, MirrorInput::Followed { export, write, range, origin: origin(1) });
    assert_eq!(bench.sequenced(1, 8, 5), Err(Refusal::InFlightAtPeer));
    mirror(&mut bench, MirrorInput::FollowedEnded { write, end: MirrorEnd::Executed });
    bench.now = at(500_000);
    assert_eq!(statuses(&bench.sequenced(1, 8, 5).expect("answered")), [(0x40, 7)]);
    let resolved = |sequence, end| MirrorInput::Resolved { export, range, origin: origin(sequence), end };
    mirror(&mut bench, resolved(1, MirrorEnd::Doubtful));
    assert_eq!(bench.sequenced(1, 8, 5), Err(Refusal::Doubtful));
    mirror(&mut bench, resolved(1, MirrorEnd::Executed));
    mirror(&mut bench, resolved(3, MirrorEnd::Overtaken));
    bench.now = at(900_000);
    for sequence in [1, 3] {
        let outputs = bench.sequenced(sequence, 8, 5).expect("answered however late");
        assert_eq!(statuses(&outputs), [(0x40, 7)]);
    }
    let outputs = bench.sequenced(2, 8, 6).expect("admitted");
    assert!(
        matches!(outputs.as_slice(), [Output::MirrorBlock { origin: found, .. }] if *found == Some(origin(2)))
    );
    mirror(&mut bench, resolved(3, MirrorEnd::Abandoned));
    let outputs = bench.sequenced(3, 16, 5).expect("admitted");
    assert!(matches!(outputs.as_slice(), [Output::MirrorBlock { .. }]));
}
