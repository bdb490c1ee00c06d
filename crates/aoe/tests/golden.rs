//! Every frame of real traffic decodes, and encodes again to the same bytes.

mod pcap;

use aoe::ata::{AtaCommand, Identify};
use aoe::wire::header::VERSION;
use aoe::wire::pretty::Pretty;
use aoe::wire::{Field, ata, config, reserve};
use aoe::{Address, Command, Frame, MacAddress, Shelf, Slot, WireError};

const LINUX: &[u8] = include_bytes!("../testdata/AoE_Linux.pcap");
const OUT_OF_BOUNDS: &[u8] = include_bytes!("../testdata/aoe-oobr-1.pcap");

/// Encodes the meaning of `frame` and returns it with what follows the last field: payload or padding.
fn encode(frame: Frame<'_>) -> Vec<u8> {
    let head = frame.head();
    let mut bytes = vec![0xaa; frame.bytes().len()];
    head.emit(&mut bytes);
    let end = match (head.header.command, head.header.response) {
        (Command::Ata, false) => {
            ata::Request::parse(ata::View::new(frame).expect("registers")).emit(&mut bytes)
        }
        (Command::Ata, true) => ata::Reply::parse(ata::View::new(frame).expect("registers")).emit(&mut bytes),
        (Command::QueryConfig, _) => {
            let view = config::View::new(frame).expect("an argument");
            config::Repr::parse(view).expect("a config string").emit(&mut bytes)
        }
        (command, _) => panic!("the capture has no {command}"),
    };
    bytes[end..].copy_from_slice(&frame.bytes()[end..]);
    bytes
}

#[test]
fn every_frame_of_the_linux_capture_encodes_to_the_same_bytes() {
    let frames = pcap::frames(LINUX);
    assert_eq!(frames.len(), 186);
    for (number, bytes) in frames.iter().enumerate() {
        let frame = Frame::new(bytes).expect("a frame");
        assert_eq!(encode(frame), *bytes, "frame {number}: {}", Pretty(bytes));
    }
}

#[test]
fn the_linux_capture_holds_what_it_is_known_to_hold() {
    let (mut configs, mut identifies, mut reads, mut writes, mut responses) = (0, 0, 0, 0, 0);
    for bytes in pcap::frames(LINUX) {
        let frame = Frame::new(bytes).expect("a frame");
        let header = frame.header();
        match (header.command, header.response) {
            (Command::QueryConfig, _) => configs += 1,
            (_, true) => responses += 1,
            (_, false) => {
                let view = ata::View::new(frame).expect("registers");
                let request = ata::Request::parse(view);
                match request.command {
                    AtaCommand::IdentifyDevice => identifies += 1,
                    AtaCommand::ReadSectorsExt => reads += 1,
                    AtaCommand::WriteSectorsExt => {
                        writes += 1;
                        assert!(request.flags.contains(ata::AtaFlags::WRITE | ata::AtaFlags::EXTENDED));
                        assert!(view.sectors(request.sectors()).is_some(), "a write brings its data");
                    }
                    other => panic!("{other} in the capture"),
                }
            }
        }
    }
    // Nineteen config requests and one advertisement, which nobody asked for.
    assert_eq!((configs, identifies, reads, writes, responses), (19 + 1, 3, 69, 11, 83));
}

#[test]
fn an_advertisement_of_version_0_is_read_as_linux_reads_it() {
    let frames = pcap::frames(LINUX);
    let advertisement = Frame::new(frames[2]).expect("a frame");
    let header = advertisement.header();
    assert_eq!((header.version, header.response, header.error), (0, true, None));
    assert_ne!(header.version, VERSION);
    assert_eq!(Address::try_from(header.address), Address::new(Shelf(20), Slot(0)));
    assert_eq!(advertisement.ethernet().destination, MacAddress::BROADCAST);
    let repr = config::Repr::parse(config::View::new(advertisement).expect("whole")).expect("a string");
    assert_eq!((repr.buffer_count, repr.firmware, repr.sector_count), (16, 0x4015, 2));
}

#[test]
fn the_disk_in_the_capture_describes_itself() {
    let frames = pcap::frames(LINUX);
    let reply = ata::View::new(Frame::new(frames[4]).expect("a frame")).expect("registers");
    let identify = Identify::parse(reply.payload()).expect("a page");
    assert!(identify.lba48);
    assert_eq!(identify.sectors, 2048);
    assert_eq!(identify.model.to_string(), "Coraid EtherDrive vblade");
    assert_eq!(identify.serial.to_string(), "20.0:localhost.loca");
    assert_eq!(identify.firmware.to_string(), "V21");
}

#[test]
fn every_frame_prints_on_one_line() {
    for bytes in pcap::frames(LINUX).into_iter().chain(pcap::frames(OUT_OF_BOUNDS)) {
        let line = Pretty(bytes).to_string();
        assert!(!line.contains('\n') && line.is_ascii(), "{line}");
    }
}

#[test]
fn a_reservation_cut_inside_its_addresses_is_refused() {
    let frames = pcap::frames(OUT_OF_BOUNDS);
    assert_eq!(frames.len(), 1);
    let frame = Frame::new(frames[0]).expect("the headers are whole");
    let view = reserve::View::new(frame).expect("the argument is whole");
    let error = WireError::Truncated { field: Field::ReserveAddresses, needed: 32, length: 31 };
    assert_eq!(reserve::Reply::parse(view), Err(error));
    assert_eq!(reserve::Request::parse(view), Err(error));
}
