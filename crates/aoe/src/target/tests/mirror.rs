//! An export that another node holds as well.

use super::*;
use crate::limits::{self, RESENT_AFTER_MIN};

const SEED: u64 = 77;

fn mirrored() -> Bench {
    let mirror = Some(Mirror { digest_seed: SEED });
    let mut bench = Bench::new(ExportConfig { mirror, ..config() });
    bench.serve(true);
    bench
}

impl Bench {
    fn serve(&mut self, serving: bool) -> Vec<Output> {
        self.mirror(MirrorInput::Serving { export: self.export, serving })
    }

    fn mirror(&mut self, input: MirrorInput) -> Vec<Output> {
        self.drain();
        self.target.handle_input(self.now, Input::Mirror(input)).expect("no frame");
        self.drain()
    }

    fn followed(&mut self, write: u64, lba: u64, count: u8, data: u8) {
        let (export, write) = (self.export, FollowedWrite(write));
        let (range, origin) = (range(lba, count), origin(count, data));
        assert!(self.mirror(MirrorInput::Followed { export, write, range, origin }).is_empty());
    }

    fn followed_ended(&mut self, write: u64, end: MirrorEnd) {
        assert!(
            self.mirror(MirrorInput::FollowedEnded { write: FollowedWrite(write), end }).is_empty(),
            "nobody here waits for it"
        );
    }

    /// What the nodes agree upon about a write of eight sectors that was in flight when they parted.
    fn resolved(&mut self, lba: u64, data: u8, end: MirrorEnd) {
        let (export, range, origin) = (self.export, range(lba, 8), origin(8, data));
        assert!(self.mirror(MirrorInput::Resolved { export, range, origin, end }).is_empty());
    }

    fn statistics(&self) -> Statistics {
        *self.target.export(self.export).expect("there").statistics()
    }
}

fn range(lba: u64, count: u8) -> LbaRange {
    LbaRange::new(Lba(lba), block::SectorCount(count.into())).expect("small")
}

fn origin(count: u8, data: u8) -> Origin {
    let digest = Digest::of(SEED, &vec![data; usize::from(count) * 512]);
    Origin::Stock { digest }
}

/// Buffers of the frames that are given back, and how long these are.
fn returned(outputs: &[Output]) -> Vec<(u64, u32)> {
    let of = |output: &Output| match output {
        Output::Returned { port: PORT, to_peer: false, frame, .. } => Some((frame.buffer.0, frame.length)),
        _ => None,
    };
    outputs.iter().filter_map(of).collect()
}

fn mirror_request(outputs: &[Output]) -> (BlockRequest, Option<Origin>) {
    let mut requests = outputs.iter().filter_map(|output| match output {
        Output::MirrorBlock { request, origin } => Some((*request, *origin)),
        _ => None,
    });
    let request = requests.next().expect("a request");
    assert_eq!(requests.next(), None);
    request
}

#[test]
fn an_export_that_may_not_be_served_is_silent_and_so_is_what_was_queued_meanwhile() {
    let mirror = Some(Mirror { digest_seed: SEED });
    let mut bench = Bench::new(ExportConfig { mirror, ..config() });
    assert_eq!(bench.target.poll_timeout(), None, "it is not advertised");
    assert_eq!(bench.read(0, 1), Err(Refusal::NotServing));
    bench.drain();
    let queued = bench.frame(CLIENT, registers(AtaCommand::ReadSectorsExt, 0, 1), 0);
    let received = bench.now;
    bench.now = at(10_100);
    bench.serve(true);
    assert_eq!(bench.target.poll_timeout(), Some(bench.now), "it is advertised");
    let input = Input::Frame { port: PORT, received, frame: &queued, buffer: BufferName(9) };
    assert_eq!(bench.target.handle_input(bench.now, input), Err(Refusal::NotServing));
    bench.drain();
    assert!(bench.read(0, 1).is_ok());
    assert_eq!(bench.statistics().refusals.count(Refusal::NotServing), 2);
}

#[test]
fn a_request_says_whose_write_it_is() {
    let mut bench = mirrored();
    let (request, of) = mirror_request(&bench.write(8, 8, 1).expect("admitted"));
    assert!(matches!(request.operation, Operation::Write { .. }));
    assert_eq!(of, Some(origin(8, 1)));
    assert_eq!(mirror_request(&bench.read(0, 1).expect("admitted")).1, None);
    assert_eq!(answers(&bench.complete(request.id, Ok(None))), [(1, 0x40, 0)]);
}

#[test]
fn who_takes_no_more_requests_answers_those_that_are_completed_nevertheless() {
    let mut bench = mirrored();
    let (write, _) = mirror_request(&bench.write(8, 8, 1).expect("admitted"));
    bench.write(8, 8, 1).expect("joins");
    let (read, _) = mirror_request(&bench.read(100, 1).expect("admitted"));
    bench.serve(false);
    assert_eq!(bench.read(0, 1), Err(Refusal::NotServing));
    assert_eq!(answers(&bench.complete(write.id, Ok(None))).len(), 2);
    let payload = BufferSlice { buffer: BufferName(900), offset: 0, length: 512 };
    assert_eq!(answers(&bench.complete(read.id, Ok(Some(payload)))).len(), 1);
    assert_eq!((bench.target.outstanding(), bench.statistics().dropped), (0, 0));
}

#[test]
fn who_may_not_serve_any_more_gives_back_what_waits_and_answers_nothing_that_is_dropped() {
    let mut bench = mirrored();
    let (first, _) = mirror_request(&bench.write(8, 8, 1).expect("admitted"));
    bench.write(8, 8, 2).expect("waits");
    bench.write(8, 8, 2).expect("joins");
    bench.write(8, 8, 3).expect("waits");
    bench.read(9, 1).expect("waits");
    let (read, _) = mirror_request(&bench.read(100, 1).expect("admitted"));
    let outputs = bench.serve(false);
    assert_eq!(
        (released(&outputs), returned(&outputs)),
        (vec![], vec![(2, 36 + 4096), (4, 36 + 4096), (5, 60)])
    );
    assert_eq!(bench.target.outstanding(), 2);
    bench.serve(true);
    assert!(bench.write(8, 8, 3).expect("waits for the first").is_empty());
    let outputs = bench.mirror(MirrorInput::Dropped { id: first.id, end: MirrorEnd::Doubtful });
    assert_eq!(released(&outputs), [1]);
    let (third, _) = mirror_request(&outputs);
    assert!(bench.mirror(MirrorInput::Dropped { id: read.id, end: MirrorEnd::Doubtful }).is_empty());
    assert_eq!(answers(&bench.complete(third.id, Ok(None))), [(7, 0x40, 0)]);
    assert_eq!(bench.write(8, 8, 1), Err(Refusal::Doubtful));
    assert_eq!((bench.target.outstanding(), bench.statistics().dropped), (0, 6));
}

#[test]
fn a_write_that_was_sent_again_is_not_given_back_under_its_old_tag_and_a_read_under_its_new_one() {
    let mut bench = mirrored();
    mirror_request(&bench.write(8, 8, 1).expect("admitted"));
    bench.write(8, 8, 2).expect("waits");
    bench.read(9, 1).expect("waits");
    bench.now = bench.now.after(RESENT_AFTER_MIN);
    bench.write(8, 8, 2).expect("takes the place of the first");
    assert_eq!(released(&bench.read(9, 1).expect("takes the place of the first")), [3]);
    let outputs = bench.serve(false);
    assert_eq!((released(&outputs), returned(&outputs)), (vec![2], vec![(5, 60)]));
}

#[test]
fn a_dropped_write_is_answered_if_it_was_executed_and_new_if_it_was_not() {
    let mut bench = mirrored();
    for (lba, end) in [(0, MirrorEnd::Executed), (8, MirrorEnd::Abandoned), (16, MirrorEnd::Doubtful)] {
        let (request, _) = mirror_request(&bench.write(lba, 8, 1).expect("admitted"));
        bench.mirror(MirrorInput::Dropped { id: request.id, end });
    }
    assert_eq!(answers(&bench.write(0, 8, 1).expect("answered")).len(), 1);
    mirror_request(&bench.write(8, 8, 1).expect("admitted"));
    assert_eq!(bench.write(16, 8, 1), Err(Refusal::Doubtful));
    bench.now = at(11_251);
    mirror_request(&bench.write(16, 8, 1).expect("a new write after so long"));
}

#[test]
fn a_write_of_the_other_node_is_not_executed_here_and_answered_when_it_has_ended() {
    let mut bench = mirrored();
    bench.followed(5, 8, 8, 1);
    assert_eq!(bench.write(8, 8, 1), Err(Refusal::InFlightAtPeer));
    bench.drain();
    bench.now = at(10_500);
    bench.followed_ended(5, MirrorEnd::Executed);
    bench.now = at(11_200);
    assert_eq!(answers(&bench.write(8, 8, 1).expect("answered")).len(), 1);
    assert_eq!((bench.statistics().followed, bench.target.outstanding()), (1, 0));
}

#[test]
fn a_write_that_waits_here_while_the_other_node_executes_it_is_not_executed_again() {
    let mut bench = mirrored();
    let (first, _) = mirror_request(&bench.write(8, 8, 2).expect("admitted"));
    bench.write(8, 8, 1).expect("waits");
    bench.followed(5, 8, 8, 1);
    bench.followed_ended(5, MirrorEnd::Executed);
    let outputs = bench.complete(first.id, Ok(None));
    assert_eq!((answers(&outputs).len(), bench.target.outstanding()), (1, 0), "only the first is executed");
    bench.drain();
    bench.write(16, 8, 2).expect("admitted");
    bench.write(16, 8, 1).expect("waits");
    bench.followed(6, 16, 8, 1);
    bench.drain();
    bench.serve(false);
    assert_eq!(bench.statistics().dropped, 2);
}

#[test]
fn a_write_of_the_other_node_that_came_to_nothing_is_new_here() {
    let mut bench = mirrored();
    bench.followed(5, 8, 8, 1);
    bench.followed_ended(5, MirrorEnd::Abandoned);
    mirror_request(&bench.write(8, 8, 1).expect("admitted"));
    assert_eq!(bench.target.writes_remembered(), 1);
}

#[test]
fn a_write_of_the_other_node_supersedes_what_was_written_here_before() {
    let mut bench = mirrored();
    let (request, _) = mirror_request(&bench.write(8, 8, 1).expect("admitted"));
    bench.complete(request.id, Ok(None));
    bench.followed(5, 15, 1, 2);
    assert_eq!(bench.write(8, 8, 1), Err(Refusal::Superseded));
    bench.followed_ended(5, MirrorEnd::Executed);
    let (request, _) = mirror_request(&bench.write(15, 1, 3).expect("admitted"));
    bench.complete(request.id, Ok(None));
    assert_eq!(bench.write(15, 1, 2), Err(Refusal::Superseded));
}

#[test]
fn of_two_writes_at_once_neither_is_taken_for_the_later_one() {
    let mut bench = mirrored();
    let (request, _) = mirror_request(&bench.write(8, 8, 1).expect("admitted"));
    bench.followed(5, 8, 8, 2);
    bench.complete(request.id, Ok(None));
    bench.followed_ended(5, MirrorEnd::Executed);
    assert_eq!(bench.write(8, 8, 1), Err(Refusal::Superseded));
    assert_eq!(bench.write(8, 8, 2), Err(Refusal::Superseded));
}

#[test]
fn a_doubtful_write_counts_more_than_what_was_remembered_of_it() {
    let mut bench = mirrored();
    bench.followed(5, 8, 8, 1);
    bench.followed_ended(5, MirrorEnd::Executed);
    bench.resolved(8, 1, MirrorEnd::Doubtful);
    assert_eq!(bench.write(8, 8, 1), Err(Refusal::Doubtful));
    bench.now = at(11_251);
    mirror_request(&bench.write(8, 8, 1).expect("a new write after so long"));
}

#[test]
fn a_write_that_the_nodes_agree_was_executed_is_answered_by_one_that_never_heard_of_it() {
    let mut bench = mirrored();
    let (request, _) = mirror_request(&bench.write(8, 8, 1).expect("admitted"));
    bench.complete(request.id, Ok(None));
    bench.resolved(8, 2, MirrorEnd::Executed);
    bench.resolved(16, 3, MirrorEnd::Overtaken);
    assert_eq!(answers(&bench.write(8, 8, 2).expect("answered")).len(), 1);
    assert_eq!(bench.write(8, 8, 1), Err(Refusal::Superseded));
    bench.drain();
    assert_eq!(bench.write(16, 8, 3), Err(Refusal::Superseded));
}

#[test]
fn a_write_that_the_nodes_agree_never_was_is_new_whatever_this_disk_had_of_it() {
    let mut bench = mirrored();
    bench.followed(5, 8, 8, 1);
    bench.followed_ended(5, MirrorEnd::Executed);
    let (request, _) = mirror_request(&bench.write(16, 8, 1).expect("admitted"));
    bench.mirror(MirrorInput::Dropped { id: request.id, end: MirrorEnd::Executed });
    bench.resolved(8, 1, MirrorEnd::Abandoned);
    bench.resolved(16, 1, MirrorEnd::Abandoned);
    bench.resolved(24, 1, MirrorEnd::Abandoned);
    assert_eq!(bench.target.writes_remembered(), 0);
    for lba in [8, 16, 24] {
        mirror_request(&bench.write(lba, 8, 1).expect("admitted"));
    }
}

#[test]
fn a_memory_that_has_no_room_for_the_other_nodes_write_takes_no_write_for_a_while() {
    let mut bench = mirrored();
    for write in 0..64 {
        bench.followed(write, write * 8, 8, 1);
        bench.followed_ended(write, MirrorEnd::Executed);
    }
    bench.followed(64, 1000, 8, 1);
    assert_eq!(bench.write(0, 8, 1), Err(Refusal::HistoryFull));
    bench.drain();
    bench.now = at(12_001);
    assert_eq!(bench.write(1000, 8, 1), Err(Refusal::InFlightAtPeer));
    bench.followed_ended(64, MirrorEnd::Executed);
    assert_eq!(bench.write(1000, 8, 1), Err(Refusal::HistoryFull));
    bench.drain();
    bench.now = at(15_752);
    mirror_request(&bench.write(1000, 8, 1).expect("a new write after so long"));
}

/// The frames of a write that waits join it unread, and the last of them is what its age is reckoned from.
#[test]
fn a_write_that_has_waited_is_not_executed_when_the_other_node_has_since_its_first_frame() {
    let mut bench = mirrored();
    let (slow, _) = mirror_request(&bench.write(0, 8, 1).expect("admitted"));
    for (lba, data) in [(0, 2), (8, 3)] {
        let waits = bench.write(lba, 16, data).expect("admitted");
        assert!(waits.iter().all(|output| !matches!(output, Output::MirrorBlock { .. })), "{waits:?}");
    }
    bench.now = at(10_400);
    bench.followed(5, 8, 16, 3);
    bench.followed_ended(5, MirrorEnd::Executed);
    bench.now = at(12_400);
    bench.write(8, 16, 3).expect("joins");
    bench.now = at(12_500);
    let outputs = bench.complete(slow.id, Ok(None));
    assert!(outputs.iter().all(|output| !matches!(output, Output::MirrorBlock { .. })), "{outputs:?}");
}

/// As many as there is room for are remembered here, and the other node has taken one more in.
#[test]
fn a_number_that_there_is_no_room_for_takes_nothing_from_whoever_is_known_or_has_none() {
    let mut bench = mirrored();
    let export = bench.export;
    let known = |initiator| NumberWindow { initiator, latest: 1, executed: [0; 16], failed: [0; 16] };
    for initiator in 1..=limits::SEQUENCED_INITIATORS_MAX as u64 {
        let input = Input::NumbersTold { export, window: &known(initiator) };
        bench.target.handle_input(bench.now, input).expect("no frame");
    }
    bench.now = at(10_010);
    let (write, range) = (FollowedWrite(5), range(8, 8));
    let origin = Origin::Sequenced { initiator: 0, sequence: 1 };
    bench.mirror(MirrorInput::Followed { export, write, range, origin });
    bench.followed_ended(5, MirrorEnd::Executed);
    mirror_request(&bench.write(8, 8, 1).expect("a stock write goes on"));
    let mut numbered = |initiator, lba| {
        let frame = bench.sequenced_frame_of(initiator, 2, lba, 7);
        let outputs = bench.send(&frame);
        bench.drain();
        outputs
    };
    mirror_request(&numbered(1, 100).expect("one that is known goes on"));
    assert_eq!(numbered(0, 108), Err(Refusal::TooManyInitiators));
}

#[test]
fn a_state_that_both_nodes_have_answers_who_asked_for_it() {
    let mut bench = mirrored();
    let mut frame = vec![0; 1100];
    let header = header::Repr::request(address().into(), Command::QueryConfig, Tag(3));
    Head { ethernet: ethernet::Repr { destination: OURS, source: CLIENT }, header }.emit(&mut frame);
    wire::config::Request::ForceSet(b"mine").emit(&mut frame);
    let state = |string: &[u8]| SmallState { config_string: string.to_vec(), ..SmallState::default() };
    let store = Output::StoreState { export: bench.export, state: state(b"mine") };
    // Another client's wish comes first: who asked for this one has to ask again.
    for (agreed, answers) in [(b"other", 0), (b"", 0), (b"mine", 1)] as [(&[u8], usize); 3] {
        let agreed = state(agreed);
        assert!(bench.send(&frame).expect("taken").contains(&store));
        let input = Input::StateAgreed { export: bench.export, state: &agreed };
        bench.target.handle_input(bench.now, input).expect("no frame");
        let sent = bench.drain().iter().filter(|output| matches!(output, Output::SendControl { .. })).count();
        assert_eq!(sent, answers);
        assert_eq!(bench.target.export(bench.export).expect("there").state(), &agreed);
    }
}

#[test]
fn of_slow_requests_all_are_counted_and_some_are_told_of_with_what_they_waited_for() {
    let mut bench = mirrored();
    let slow_after = Input::SlowAfter(Some(Duration::from_millis(500)));
    bench.target.handle_input(bench.now, slow_after).expect("no frame");
    let (first, _) = mirror_request(&bench.write(0, 8, 1).expect("admitted"));
    // It waits for the first.
    bench.write(4, 8, 2).expect("admitted");
    bench.now = at(10_499);
    let outputs = bench.complete(first.id, Ok(None));
    let (second, _) = mirror_request(&outputs);
    assert_eq!(bench.target.take_slow(), None, "not so long");
    bench.now = at(10_600);
    bench.complete(second.id, Ok(None));
    let slow = bench.target.take_slow().expect("told of");
    let expected = Slow {
        export: bench.export,
        kind: SlowKind::Write,
        range: Some(range(4, 8)),
        initiator: CLIENT,
        took: Duration::from_millis(600),
        waited: Duration::from_millis(499),
        answered: true,
        others: 0,
    };
    assert_eq!((slow, bench.target.take_slow()), (expected, None));
    let read = |bench: &mut Bench, takes: u64, end: Option<MirrorEnd>| {
        let (read, _) = mirror_request(&bench.read(100, 1).expect("admitted"));
        bench.now = bench.now.after(Duration::from_millis(takes));
        match end {
            None => bench.complete(read.id, Err(BlockError::Medium)),
            Some(end) => bench.mirror(MirrorInput::Dropped { id: read.id, end }),
        };
        bench.target.take_slow()
    };
    for _ in 0..4 {
        assert_eq!(read(&mut bench, 1000, None), None, "one in five seconds is enough");
    }
    let slow = read(&mut bench, 1000, Some(MirrorEnd::Abandoned)).expect("told of");
    assert_eq!((slow.kind, slow.answered, slow.others), (SlowKind::Read, false, 4));
    assert_eq!(bench.statistics().slow, 6);
}

impl Bench {
    fn operator_mask(&mut self, mask: Option<&[MacAddress]>) -> Vec<Output> {
        let input = Input::OperatorMask { export: self.export, mask: mask.map(<[_]>::to_vec) };
        self.target.handle_input(self.now, input).expect("no frame");
        self.drain()
    }

    fn agreed(&mut self, mac_mask: &[MacAddress]) -> Vec<Output> {
        let state = SmallState { mac_mask: mac_mask.to_vec(), ..SmallState::default() };
        let input = Input::StateAgreed { export: self.export, state: &state };
        self.target.handle_input(self.now, input).expect("no frame");
        self.drain()
    }

    /// A client puts another one on the list. What is stored, and the error that it is told, if it is told anything.
    fn adds(&mut self, mac: MacAddress) -> (Option<SmallState>, Option<u8>) {
        let mut frame = vec![0; 60];
        let header = header::Repr::request(address().into(), Command::MacMaskList, Tag(3));
        Head { ethernet: ethernet::Repr { destination: OURS, source: CLIENT }, header }.emit(&mut frame);
        // An edit with one directive: add.
        frame[25..30].copy_from_slice(&[1, 0, 1, 0, 1]);
        frame[30..36].copy_from_slice(&mac.0);
        let outputs = self.send(&frame).expect("taken");
        let stored = outputs.iter().find_map(|output| match output {
            Output::StoreState { state, .. } => Some(state.clone()),
            _ => None,
        });
        let told = outputs.iter().find_map(|output| match output {
            Output::SendControl { frame, .. } => Some(frame[26]),
            _ => None,
        });
        (stored, told)
    }
}

fn stored(outputs: &[Output]) -> Option<Vec<MacAddress>> {
    outputs.iter().find_map(|output| match output {
        Output::StoreState { state, .. } => Some(state.mac_mask.clone()),
        _ => None,
    })
}

#[test]
fn the_operators_mask_is_set_once_when_the_export_is_served_and_clients_cannot_change_it() {
    let mirror = Some(Mirror { digest_seed: SEED });
    let mut bench = Bench::new(ExportConfig { mirror, ..config() });
    assert_eq!(
        stored(&bench.operator_mask(Some(&[CLIENT]))),
        None,
        "a node that may not serve changes nothing"
    );
    assert_eq!(stored(&bench.serve(true)), Some(vec![CLIENT]));
    assert!(bench.agreed(&[CLIENT]).is_empty(), "nobody waits for an answer");
    assert_eq!(bench.adds(OTHER_CLIENT), (None, Some(1)), "refused, with an error of the command");
    assert_eq!(bench.adds(CLIENT), (None, Some(0)), "what changes nothing is no change");
    bench.serve(false);
    assert_eq!(stored(&bench.serve(true)), None);
    // The other node has been told another list: the later one counts, and this node does not fight.
    assert!(bench.agreed(&[OTHER_CLIENT]).is_empty());
    bench.serve(false);
    assert_eq!(stored(&bench.serve(true)), None);
    assert_eq!(stored(&bench.operator_mask(Some(&[CLIENT]))), Some(vec![CLIENT]), "until it is said again");
    bench.agreed(&[CLIENT]);
    assert_eq!(stored(&bench.operator_mask(None)), None, "the list stays as it is");
    let state = SmallState { mac_mask: vec![CLIENT, OTHER_CLIENT], ..SmallState::default() };
    assert_eq!(bench.adds(OTHER_CLIENT), (Some(state), None), "and is the clients' again");
}

#[test]
fn the_operators_mask_waits_for_a_change_that_is_under_way() {
    let mut bench = mirrored();
    let (changed, _) = bench.adds(OTHER_CLIENT);
    assert!(changed.is_some());
    assert_eq!(stored(&bench.operator_mask(Some(&[]))), None);
    assert_eq!(stored(&bench.agreed(&[OTHER_CLIENT])), Some(Vec::new()));
    // A list of nobody is everybody, and kept so.
    bench.agreed(&[]);
    assert_eq!(bench.adds(CLIENT), (None, Some(1)));
}

const PEER: MacAddress = MacAddress([2, 0, 0, 0, 0, 0xbb]);

/// The sources of the frames that are sent.
fn sources(outputs: &[Output]) -> Vec<MacAddress> {
    let sent = outputs.iter().filter_map(|output| match output {
        Output::SendControl { frame, .. } => Some(wire::Frame::new(frame).expect("a frame").head()),
        _ => None,
    });
    sent.map(|head| head.ethernet.source).collect()
}

#[test]
fn the_other_node_s_address_is_answered_at_where_it_has_no_link_and_nowhere_else() {
    const OTHER_PORT: PortId = PortId(1);
    let mut bench = mirrored();
    let link = PortLink { mac: MacAddress([2, 0, 0, 0, 0, 0xab]), mtu: 9000 };
    let other_peer = MacAddress([2, 0, 0, 0, 0, 0xbc]);
    for input in [
        Input::PortChanged { port: OTHER_PORT, link: Some(link) },
        Input::PeerAddress { port: PORT, mac: PEER },
        Input::PeerAddress { port: OTHER_PORT, mac: other_peer },
        Input::Timeout,
    ] {
        bench.target.handle_input(bench.now, input).expect("no frame");
    }
    bench.drain();
    let mut to_peer = bench.frame(CLIENT, registers(AtaCommand::ReadSectorsExt, 0, 1), 0);
    let set_down = |bench: &mut Bench, port, down| {
        bench.target.handle_input(bench.now, Input::PeerLinkDown { port, down }).expect("no frame");
        bench.target.handle_input(bench.now, Input::Timeout).expect("no frame");
        sources(&bench.drain())
    };
    to_peer[..6].copy_from_slice(&PEER.0);
    assert_eq!(set_down(&mut bench, OTHER_PORT, true), [OURS, link.mac, other_peer], "switches are told");
    assert_eq!(bench.send(&to_peer), Err(Refusal::OtherDestination), "another wire");
    assert_eq!(set_down(&mut bench, PORT, true), [OURS, PEER, link.mac, other_peer]);
    let (request, _) = mirror_request(&bench.send(&to_peer).expect("taken"));
    let payload = BufferSlice { buffer: BufferName(900), offset: 0, length: 512 };
    let answered = bench.complete(request.id, Ok(Some(payload)));
    let [Output::Send(transmit)] = answered.as_slice() else { panic!("no answer: {answered:?}") };
    assert_eq!(transmit.head.bytes()[6..12], PEER.0, "from the address that was asked");
    assert_eq!(set_down(&mut bench, PORT, true), [], "that is no news");
    assert_eq!(set_down(&mut bench, PORT, false), [], "the other node tells of itself");
    assert_eq!(bench.send(&to_peer), Err(Refusal::OtherDestination));
    bench.mirror(MirrorInput::Serving { export: ExportId(0), serving: false });
    assert_eq!(set_down(&mut bench, PORT, true), [], "who may not serve does so nowhere");
    assert_eq!(bench.send(&to_peer), Err(Refusal::NotServing));
}

/// Whether writes may be cached is known by the node whose address it was said to.
#[test]
fn beside_the_other_node_nothing_is_cached_at_its_address_and_its_cache_is_left_alone() {
    let mirror = Some(Mirror { digest_seed: SEED });
    let mut bench = Bench::new(ExportConfig { mirror, write_cache: true, ..config() });
    bench.serve(true);
    for input in
        [Input::PeerAddress { port: PORT, mac: PEER }, Input::PeerLinkDown { port: PORT, down: true }]
    {
        bench.target.handle_input(bench.now, input).expect("no frame");
    }
    let durable = |bench: &mut Bench, lba: u64, destination: MacAddress| {
        let mut frame = bench.frame(CLIENT, registers(AtaCommand::WriteSectorsExt, lba, 1), 0x5a);
        frame[..6].copy_from_slice(&destination.0);
        match mirror_request(&bench.send(&frame).expect("taken")).0.operation {
            Operation::Write { durable, .. } => durable,
            other => panic!("a write, not {other:?}"),
        }
    };
    assert!(!durable(&mut bench, 0, OURS) && durable(&mut bench, 8, PEER));
    let disable = ata::Request { feature: 0x82, ..registers(AtaCommand::SetFeatures, 0, 0) };
    let mut frame = bench.frame(CLIENT, disable, 0);
    frame[..6].copy_from_slice(&PEER.0);
    let refused = answers(&bench.send(&frame).expect("answered"));
    assert!(matches!(refused.as_slice(), [(_, 0x41, 0x04)]), "aborted: {refused:?}");
    assert!(!durable(&mut bench, 16, OURS), "as before");
    bench.mirror(MirrorInput::StandsIn { export: ExportId(0), stands_in: true });
    assert!(!durable(&mut bench, 24, PEER), "the only one that serves decides");
}

#[test]
fn who_serves_alone_answers_at_both_addresses_and_says_so_unasked() {
    let mut bench = mirrored();
    let peer_address = Input::PeerAddress { port: PORT, mac: PEER };
    bench.target.handle_input(bench.now, peer_address).expect("no frame");
    let mut to_peer = bench.frame(CLIENT, registers(AtaCommand::ReadSectorsExt, 0, 1), 0);
    to_peer[..6].copy_from_slice(&PEER.0);
    assert_eq!(bench.send(&to_peer), Err(Refusal::OtherDestination), "the other node answers there");
    bench.target.handle_input(bench.now, Input::Timeout).expect("no frame");
    assert_eq!(sources(&bench.drain()), [OURS]);

    let stands_in = |stands_in| MirrorInput::StandsIn { export: ExportId(0), stands_in };
    bench.mirror(stands_in(true));
    bench.target.handle_input(bench.now, Input::Timeout).expect("no frame");
    assert_eq!(sources(&bench.drain()), [OURS, PEER], "switches learn where the address is now");
    let (request, _) = mirror_request(&bench.send(&to_peer).expect("taken"));
    let payload = BufferSlice { buffer: BufferName(900), offset: 0, length: 512 };
    let answered = bench.complete(request.id, Ok(Some(payload)));
    let [Output::Send(transmit)] = answered.as_slice() else { panic!("no answer: {answered:?}") };
    assert_eq!(transmit.head.bytes()[6..12], PEER.0, "from the address that was asked");

    let late = [AtaCommand::ReadSectorsExt, AtaCommand::FlushCacheExt].map(|command| {
        let mut frame =
            bench.frame(CLIENT, registers(command, 8, u8::from(command != AtaCommand::FlushCacheExt)), 0);
        frame[..6].copy_from_slice(&PEER.0);
        mirror_request(&bench.send(&frame).expect("taken")).0.id
    });
    bench.mirror(stands_in(false));
    assert_eq!(bench.send(&to_peer), Err(Refusal::OtherDestination));
    let payload = BufferSlice { buffer: BufferName(901), offset: 0, length: 512 };
    for (id, payload) in late.into_iter().zip([Some(payload), None]) {
        let answered = bench.complete(id, Ok(payload));
        let sent = answered.iter().find_map(|output| match output {
            Output::Send(transmit) => Some(transmit.head.bytes()[6..12].to_vec()),
            _ => None,
        });
        assert_eq!(sent.as_deref(), Some(&OURS.0[..]), "switches are not told again that it is here");
    }
}
