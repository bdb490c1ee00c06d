//! The driver against targets that answer what the test says, or nothing.

use aoe::ata::{AtaString, Identify};
use aoe::{Shelf, Slot};
use block::LogicalSectorSize;

use aoe::limits::PAYLOAD_OFFSET;

use super::*;

const HOST: MacAddress = MacAddress([2, 0, 0, 0, 0, 9]);
const NODES: [MacAddress; 2] = [MacAddress([2, 0, 0, 0, 1, 0]), MacAddress([2, 0, 0, 0, 1, 1])];
const READ: RequestName = RequestName(0);

fn address() -> Address {
    Address::new(Shelf(7), Slot(1)).expect("valid")
}

fn at(milliseconds: u64) -> Instant {
    Instant::from_nanos(milliseconds * 1_000_000)
}

fn options() -> LinuxOptions {
    LinuxOptions {
        address: address(),
        dead: Duration::from_secs(180),
        settled: Some(Duration::from_micros(200)),
        tags_repeat: false,
    }
}

fn range(start: u64, count: u16) -> LbaRange {
    LbaRange::new(Lba(start), SectorCount(count)).expect("a range")
}

/// Frames that the driver wants to send, with what else it said.
fn sent(driver: &mut Linux) -> (Vec<Vec<u8>>, Vec<DriverOutput>) {
    let mut frames = Vec::new();
    let mut others = Vec::new();
    while let Some(output) = driver.poll_output() {
        match output {
            DriverOutput::Send(frame) => frames.push(frame.bytes),
            other => others.push(other),
        }
    }
    (frames, others)
}

fn reply_head(request: &[u8], node: MacAddress, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length.max(60)];
    Frame::new(request).expect("a frame").head().reply(node, address()).emit(&mut bytes);
    bytes
}

fn config_reply(request: &[u8], node: MacAddress) -> Vec<u8> {
    let mut bytes = reply_head(request, node, 60);
    let command = config::ConfigCommand::Read;
    let string = &[];
    config::Repr { buffer_count: 8, firmware: 1, sector_count: 16, version: 1, command, string }
        .emit(&mut bytes);
    bytes
}

fn answer(request: &[u8], payload: &[u8]) -> Vec<u8> {
    let frame = Frame::new(request).expect("a frame");
    let mut bytes = reply_head(request, frame.ethernet().destination, PAYLOAD_OFFSET + payload.len());
    let request = ata::Request::parse(ata::View::new(frame).expect("ATA"));
    ata::Reply::success(&request).emit(&mut bytes);
    bytes[PAYLOAD_OFFSET..PAYLOAD_OFFSET + payload.len()].copy_from_slice(payload);
    bytes
}

fn tag(frame: &[u8]) -> Tag {
    Frame::new(frame).expect("a frame").header().tag
}

fn destination(frame: &[u8]) -> MacAddress {
    Frame::new(frame).expect("a frame").ethernet().destination
}

/// A driver that has found its volume at both nodes.
fn found() -> Linux {
    let interface = Interface { port: 0, mac: HOST, mtu: 9000 };
    let mut driver = Linux::new(at(0), options(), &[interface]);
    let (queries, _) = sent(&mut driver);
    assert_eq!(queries.len(), 1);
    for node in NODES {
        driver.handle_frame(at(1), 0, &config_reply(&queries[0], node));
    }
    let (identifies, _) = sent(&mut driver);
    let mut page = [0; SECTOR_BYTES];
    Identify {
        sectors: 4096,
        lba48: true,
        serial: AtaString::new("serial"),
        firmware: AtaString::new("1"),
        model: AtaString::new("model"),
        physical_sector_size: LogicalSectorSize::B512,
        write_cache: false,
        smart: false,
    }
    .emit(&mut page);
    for identify in &identifies {
        driver.handle_frame(at(2), 0, &answer(identify, &page));
    }
    assert!(driver.is_ready());
    sent(&mut driver);
    driver
}

#[test]
fn a_request_is_cut_and_dealt_round_over_both_nodes() {
    let mut driver = found();
    driver.submit(at(3), READ, Ask { range: range(8, 40), value: None });
    let (frames, _) = sent(&mut driver);
    assert_eq!(frames.len(), 3);
    assert_ne!(destination(&frames[0]), destination(&frames[1]));
    assert_eq!(destination(&frames[0]), destination(&frames[2]));
    let mut content = vec![0; 16 * SECTOR_BYTES];
    Value::new(1, 1).fill(Lba(24), &mut content);
    driver.handle_frame(at(4), 0, &answer(&frames[1], &content));
    let (_, outputs) = sent(&mut driver);
    let values = Some(vec![Value::new(1, 1); 16]);
    assert_eq!(outputs, [DriverOutput::Answered { request: READ, part: range(24, 16), values }]);
}

#[test]
fn a_frame_without_an_answer_is_sent_again_under_a_new_tag_and_the_old_one_is_not_heeded() {
    let mut driver = found();
    let value = Some(Value::new(1, 1));
    driver.submit(at(150), READ, Ask { range: range(0, 1), value });
    let (first, _) = sent(&mut driver);
    assert_eq!(driver.poll_timeout(), at(200), "it looks every 100 ms");
    driver.handle_timeout(at(200));
    let (second, _) = sent(&mut driver);
    assert_eq!(second.len(), 1, "50 ms are far more than it is used to");
    assert_ne!(tag(&first[0]), tag(&second[0]));
    assert_eq!(destination(&first[0]), destination(&second[0]));
    assert_eq!(first[0][PAYLOAD_OFFSET..], second[0][PAYLOAD_OFFSET..]);
    driver.handle_frame(at(201), 0, &answer(&first[0], &[]));
    assert!(sent(&mut driver).1.is_empty(), "an answer to the first");
    driver.handle_frame(at(202), 0, &answer(&second[0], &[]));
    let answered = DriverOutput::Answered { request: READ, part: range(0, 1), values: None };
    assert_eq!(sent(&mut driver).1, [answered]);
}

/// Runs the timers until `until`; the frames sent, with their times in milliseconds.
fn run(driver: &mut Linux, until: u64) -> Vec<(u64, Vec<u8>)> {
    let mut all = Vec::new();
    while driver.poll_timeout() <= at(until) {
        let now = driver.poll_timeout();
        driver.handle_timeout(now);
        let (frames, _) = sent(driver);
        all.extend(frames.into_iter().map(|frame| (now.as_nanos() / 1_000_000, frame)));
    }
    all
}

#[test]
fn another_node_is_tried_only_after_eleven_seconds() {
    let mut driver = found();
    driver.submit(at(150), READ, Ask { range: range(0, 1), value: None });
    let (first, _) = sent(&mut driver);
    let frames = run(&mut driver, 14_000);
    let others = |(_, frame): &&(u64, Vec<u8>)| {
        destination(frame) != destination(&first[0]) && destination(frame) != MacAddress::BROADCAST
    };
    let elsewhere = frames.iter().find(others);
    let (when, moved) = elsewhere.expect("it moves");
    assert!((11_000..12_000).contains(when), "at {when} ms");
    let other = destination(moved);
    let last = frames.iter().rfind(|(_, frame)| destination(frame) == other).expect("it is sent again");
    driver.handle_frame(at(14_001), 0, &answer(&last.1, &[0; 512]));
    assert_eq!(sent(&mut driver).1.len(), 1, "it is answered");
    driver.submit(at(14_002), RequestName(1), Ask { range: range(0, 33), value: None });
    let (later, _) = sent(&mut driver);
    assert!(!later.is_empty() && later.iter().all(|frame| destination(frame) == other), "{later:?}");
}

#[test]
fn a_device_that_nobody_answers_for_goes_down_and_is_looked_for_again() {
    let interface = Interface { port: 0, mac: HOST, mtu: 9000 };
    let mut driver = found();
    driver.options.dead = Duration::from_secs(30);
    assert_eq!(driver.interfaces, [interface]);
    driver.submit(at(150), READ, Ask { range: range(0, 1), value: None });
    let mut failed = false;
    while driver.is_ready() {
        let now = driver.poll_timeout();
        assert!(now < at(60_000), "it gives up");
        driver.handle_timeout(now);
        failed |= sent(&mut driver).1.contains(&DriverOutput::Failed { request: READ });
    }
    assert!(failed);
    let soon = run(&mut driver, 60_000);
    assert!(soon.iter().any(|(_, frame)| destination(frame) == MacAddress::BROADCAST));
}

#[test]
fn a_restarted_host_may_give_out_the_same_tags() {
    let interface = Interface { port: 0, mac: HOST, mtu: 9000 };
    let tags = |boot: u64| {
        let options = LinuxOptions { tags_repeat: true, ..options() };
        let mut driver = Linux::new(at(boot), options, &[interface]);
        let (queries, _) = sent(&mut driver);
        driver.handle_frame(at(boot + 7), 0, &config_reply(&queries[0], NODES[0]));
        tag(&sent(&mut driver).0[0])
    };
    assert_eq!(tags(0), tags(123_456));
}
