//! The codec. Arbitrary bytes never panic; what is accepted has a meaning whose own bytes mean the same; what is
//! emitted depends on the meaning alone, never on what the buffer held before.

use aoe::ata::Identify;
use aoe::wire::pretty::Pretty;
use aoe::wire::{ata, config, mac_mask, pad, reserve, sequenced};
use aoe::{Address, Command, Frame, MacAddress, WireError};
use block::SECTOR_BYTES;

/// Longer than any frame without ATA data.
const BUFFER_BYTES: usize = 2100;

/// A received frame, read in every way there is: each command's request and reply.
pub fn wire_frame(data: &[u8]) {
    let line = Pretty(data).to_string();
    assert!(line.is_ascii() && !line.contains('\n'), "one printable line: {line:?}");
    let Ok(frame) = Frame::new(data) else { return };
    let head = frame.head();
    reread(frame, |_| 24, |again| assert_eq!(again.head(), head));
    match head.header.command {
        Command::Ata => ata_argument(frame),
        Command::QueryConfig => config_argument(frame),
        Command::MacMaskList => mac_mask_argument(frame),
        Command::ReserveRelease => reserve_argument(frame),
        sequenced::COMMAND => sequenced_argument(frame),
        Command::Vendor(_) | Command::Unknown(_) => assert!(ata::View::new(frame).is_err()),
    }
}

/// Emits a frame with this argument into buffers full of different bytes, which must not show, and reads it again.
fn reread(frame: Frame<'_>, emit: impl Fn(&mut [u8]) -> usize, check: impl FnOnce(Frame<'_>)) {
    let emitted = [0x00, 0xff].map(|before| {
        let mut bytes = vec![before; BUFFER_BYTES];
        frame.head().emit(&mut bytes);
        let length = emit(&mut bytes);
        let length = pad(&mut bytes, length);
        bytes.truncate(length);
        bytes
    });
    assert_eq!(emitted[0], emitted[1], "old bytes of the buffer show in the frame");
    check(Frame::new(&emitted[0]).expect("we emit frames"));
}

/// What we emitted can be read.
fn read<T>(result: Result<T, WireError>) -> T {
    result.expect("we emit what can be read")
}

fn ata_argument(frame: Frame<'_>) {
    let Ok(view) = ata::View::new(frame) else { return };
    assert_eq!(view.payload().len(), frame.bytes().len() - 36);
    let request = ata::Request::parse(view);
    assert!(request.lba().0 < 1 << 48);
    if let Some(sectors) = view.sectors(request.sectors()) {
        assert_eq!(sectors.len(), usize::from(request.sector_count) * SECTOR_BYTES);
    }
    let emit = |bytes: &mut [u8]| request.emit(bytes);
    reread(frame, emit, |again| assert_eq!(ata::Request::parse(read(ata::View::new(again))), request));
    let reply = ata::Reply::parse(view);
    let emit = |bytes: &mut [u8]| reply.emit(bytes);
    reread(frame, emit, |again| assert_eq!(ata::Reply::parse(read(ata::View::new(again))), reply));
    let head = ata::ReplyHead::new(&frame.head(), &reply, request.sectors());
    assert_eq!(head.bytes().len(), if request.sector_count == 0 { 60 } else { 36 });
}

fn config_argument(frame: Frame<'_>) {
    if let Ok(request) = config::Request::parse(frame) {
        let emit = |bytes: &mut [u8]| request.emit(bytes);
        reread(frame, emit, |again| assert_eq!(config::Request::parse(again), Ok(request)));
    }
    if let Ok(repr) = config::View::new(frame).and_then(config::Repr::parse) {
        assert!(repr.sectors_per_command().0 > 0);
        let emit = |bytes: &mut [u8]| repr.emit(bytes);
        reread(frame, emit, |again| {
            assert_eq!(config::Repr::parse(read(config::View::new(again))), Ok(repr))
        });
    }
}

fn mac_mask_argument(frame: Frame<'_>) {
    let Ok(view) = mac_mask::View::new(frame) else { return };
    if let Ok(request) = mac_mask::Request::parse(view) {
        let emit = |bytes: &mut [u8]| request.emit(bytes);
        reread(frame, emit, |again| {
            assert_eq!(mac_mask::Request::parse(read(mac_mask::View::new(again))), Ok(request));
        });
    }
    if let Ok(reply) = mac_mask::Reply::parse(view) {
        let emit = |bytes: &mut [u8]| reply.emit(bytes);
        reread(frame, emit, |again| {
            let again = read(mac_mask::Reply::parse(read(mac_mask::View::new(again))));
            assert_eq!(addresses(again), addresses(reply));
        });
    }
}

/// What counts of a reply: a list's entries have commands that mean nothing, and ours emits none.
fn addresses(reply: mac_mask::Reply<'_>) -> (Option<mac_mask::MacMaskError>, u8, Vec<MacAddress>) {
    match reply {
        mac_mask::Reply::List { entries, .. } => {
            (None, 0, entries.iter().map(|entry| entry.address).collect())
        }
        mac_mask::Reply::Refused { error, index, .. } => (Some(error), index, Vec::new()),
    }
}

fn reserve_argument(frame: Frame<'_>) {
    let Ok(view) = reserve::View::new(frame) else { return };
    if let Ok(request) = reserve::Request::parse(view) {
        let emit = |bytes: &mut [u8]| request.emit(bytes);
        reread(frame, emit, |again| {
            assert_eq!(reserve::Request::parse(read(reserve::View::new(again))), Ok(request));
        });
    }
    if let Ok(reply) = reserve::Reply::parse(view) {
        let emit = |bytes: &mut [u8]| reply.emit(bytes);
        reread(frame, emit, |again| {
            assert_eq!(reserve::Reply::parse(read(reserve::View::new(again))), Ok(reply));
        });
    }
}

fn sequenced_argument(frame: Frame<'_>) {
    let Ok(view) = sequenced::View::new(frame) else { return };
    if let Ok(request) = sequenced::Request::parse(view) {
        reread(
            frame,
            |bytes| request.emit(bytes),
            |again| {
                assert_eq!(sequenced::Request::parse(read(sequenced::View::new(again))), Ok(request));
            },
        );
    }
    if let Ok(reply) = sequenced::Reply::parse(view) {
        reread(
            frame,
            |bytes| reply.emit(bytes),
            |again| {
                assert_eq!(sequenced::Reply::parse(read(sequenced::View::new(again))), Ok(reply));
            },
        );
    }
}

/// The data of an IDENTIFY reply, from whatever disk.
pub fn identify_page(data: &[u8]) {
    let Ok(identify) = Identify::parse(data) else { return };
    for text in [identify.serial.to_string(), identify.model.to_string(), identify.firmware.to_string()] {
        assert!(text.is_ascii() && !text.contains('\n'), "printable: {text:?}");
    }
    // A disk without 48 bits may claim more sectors than 28 bits can name; ours never does.
    if !identify.lba48 && identify.sectors > aoe::ata::identify::SECTORS_LBA28_MAX {
        return;
    }
    let mut page = [0xff; SECTOR_BYTES];
    identify.emit(&mut page);
    assert_eq!(Identify::parse(&page), Ok(identify));
}

/// What an operator types.
pub fn text(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(address) = text.parse::<Address>() {
        assert_eq!(address.to_string().parse(), Ok(address));
    }
    if let Ok(mac) = text.parse::<MacAddress>() {
        assert_eq!(mac.to_string(), text.to_ascii_lowercase());
    }
}
