//! Byte by byte: each command, each sub-command and each error, request and answer.
//!
//! The files are written by the test itself when `AOE_GOLDEN_REWRITE` is set, and are reviewed as a diff.

mod script;

use aoe::ata::AtaCommand;
use aoe::target::{ExportConfig, Input, PortId, PortLink, SmallState, StateError};
use aoe::wire::ata::{AtaFlags, LbaRegisters, Request};
use aoe::wire::config as wire_config;
use aoe::wire::mac_mask::{self, Directive, DirectiveCommand};
use aoe::wire::reserve::{self, ReserveCommand};
use aoe::{AddressPattern, Command, MacAddress, Shelf, Slot};
use block::{BlockError, Lba, LogicalSectorSize};
use script::{HOST, OTHER, OURS, Script, config};

const READ: AtaFlags = AtaFlags::EXTENDED;

fn request(command: AtaCommand, lba: u64, sector_count: u8) -> Request {
    let lba = Lba(lba);
    let (flags, lba) = if matches!(command, AtaCommand::ReadSectors | AtaCommand::WriteSectors) {
        (AtaFlags::NONE, LbaRegisters::from_lba28(lba))
    } else {
        (READ, LbaRegisters::from_lba48(lba))
    };
    let flags = if command.is_write() { flags | AtaFlags::WRITE } else { flags };
    Request { flags, feature: 0, sector_count, command, lba }
}

fn feature(command: AtaCommand, feature: u8, low: u8) -> Request {
    Request {
        flags: AtaFlags::NONE,
        feature,
        lba: LbaRegisters([low, 0x4f, 0xc2, 0, 0, 0]),
        ..request(command, 0, 0)
    }
}

impl Script {
    fn ata(&mut self, comment: &str, request: Request) {
        let frame = self.frame(Command::Ata, |bytes| request.emit(bytes));
        self.send(comment, &frame);
    }

    /// A write with data, `bytes` of it.
    fn write(&mut self, comment: &str, request: Request, bytes: usize) {
        let frame = self.write_frame(request, bytes);
        self.send(comment, &frame);
    }

    fn write_frame(&mut self, request: Request, bytes: usize) -> Vec<u8> {
        self.frame(Command::Ata, |frame| {
            let start = request.emit(frame);
            frame[start..start + bytes].fill(0x5d);
            start + bytes
        })
    }

    fn fails(&mut self, error: BlockError) -> &mut Self {
        self.disk = Err(error);
        self
    }

    fn config(&mut self, comment: &str, request: wire_config::Request<'_>) {
        let frame = self.frame(Command::QueryConfig, |bytes| request.emit(bytes));
        self.send(comment, &frame);
    }

    fn mask(&mut self, comment: &str, directives: &[(u8, MacAddress)]) {
        let directives = directives.iter().map(|(command, address)| Directive {
            command: DirectiveCommand::from(*command),
            address: *address,
        });
        let frame = self.frame(Command::MacMaskList, |bytes| mac_mask::emit_edit(bytes, directives));
        self.send(comment, &frame);
    }

    fn mask_read(&mut self, comment: &str) {
        let frame = self.frame(Command::MacMaskList, mac_mask::emit_read);
        self.send(comment, &frame);
    }

    fn reserve(&mut self, comment: &str, command: ReserveCommand, addresses: &[MacAddress]) {
        let addresses = addresses.iter().copied();
        let frame = self.frame(Command::ReserveRelease, |bytes| reserve::emit(bytes, command, addresses));
        self.send(comment, &frame);
    }
}

#[test]
fn read_and_write_are_answered_byte_by_byte() {
    use AtaCommand::{ReadSectors, ReadSectorsExt, WriteSectors, WriteSectorsExt};
    let mut script = Script::new("Command 0: READ and WRITE; 2048 sectors, MTU 9000", config(), 9000);
    script.ata("READ SECTOR(S), 28 bits", request(ReadSectors, 0x123, 1));
    script.ata("READ SECTOR(S) EXT, 48 bits", request(ReadSectorsExt, 0x7fe, 2));
    let extended = Request { flags: READ, ..request(ReadSectors, 0x123, 1) };
    script.ata("the opcode decides, not the E flag: 28 bits, device bits masked", extended);
    let probe = request(ReadSectorsExt, 0, 2);
    script.write("READ with a payload behind it, as Linux probes a doubtful path", probe, 1024);
    script.ata(
        "as many sectors as MTU 9000 carries, one more than are offered",
        request(ReadSectorsExt, 0, 17),
    );
    script.ata("one sector more than the frame carries: bad argument", request(ReadSectorsExt, 0, 18));
    script.ata("no sector: bad argument", request(ReadSectorsExt, 0, 0));
    script.ata("beyond the end: IDNF", request(ReadSectorsExt, 2047, 2));
    script.fails(BlockError::Medium).ata("unreadable: UNC", request(ReadSectorsExt, 8, 1));
    script.fails(BlockError::BeyondEnd).ata("the file was truncated: IDNF", request(ReadSectorsExt, 8, 1));
    script.fails(BlockError::Gone).ata("the disk is gone: DF, not ready", request(ReadSectorsExt, 8, 1));

    script.write("WRITE SECTOR(S), 28 bits", request(WriteSectors, 0x123, 1), 512);
    script.write("WRITE SECTOR(S) EXT, 48 bits", request(WriteSectorsExt, 8, 2), 1024);
    script.write(
        "the same again under a new tag: answered, not executed",
        request(WriteSectorsExt, 8, 2),
        1024,
    );
    script.write("one sector of it anew", request(WriteSectorsExt, 9, 1), 512);
    script.write("the same as before a third time: dropped", request(WriteSectorsExt, 8, 2), 1024);
    let flags = AtaFlags::WRITE | AtaFlags::EXTENDED | AtaFlags::ASYNCHRONOUS;
    let asynchronous = Request { flags, ..request(WriteSectorsExt, 16, 1) };
    script.write("the A flag without a write cache: durable", asynchronous, 512);
    script.write("more data than sectors", request(WriteSectorsExt, 24, 1), 600);
    script.write("less data than sectors: bad argument", request(WriteSectorsExt, 24, 2), 1023);
    let contradiction = Request { flags: READ, ..request(WriteSectorsExt, 24, 1) };
    script.write("a write without the W flag: ABRT", contradiction, 512);
    script.write("beyond the end: IDNF", request(WriteSectorsExt, 2048, 1), 512);
    script.write("no sector: bad argument", request(WriteSectorsExt, 0, 0), 0);
    for error in [BlockError::Medium, BlockError::NoSpace, BlockError::ReadOnly, BlockError::Gone] {
        script.fails(error).write("a write that the disk refuses", request(WriteSectorsExt, 32, 1), 512);
    }
    let frame = script.write_frame(request(WriteSectorsExt, 40, 1), 512);
    script.send_aged("a frame more than a second old: dropped", &frame, 1001);
    let frame = script.frame(Command::Ata, |bytes| request(ReadSectorsExt, 0, 1).emit(bytes));
    script.send("cut in the registers: bad argument", &frame[..35]);

    let mut read_only = Script::new("read-only", ExportConfig { read_only: true, ..config() }, 1500);
    read_only.write("a write: ABRT", request(WriteSectorsExt, 8, 1), 512);
    read_only.ata("three sectors at MTU 1500: bad argument", request(ReadSectorsExt, 8, 3));
    script.append(&read_only);

    let mut cached = Script::new("write cache", ExportConfig { write_cache: true, ..config() }, 1500);
    cached.write("not durable", request(WriteSectorsExt, 8, 1), 512);
    cached.ata("SET FEATURES, disable write cache: flushed first", feature(AtaCommand::SetFeatures, 0x82, 0));
    cached.write("durable", request(WriteSectorsExt, 9, 1), 512);
    let asynchronous = Request { flags, ..request(WriteSectorsExt, 10, 1) };
    cached.write("the A flag: not durable", asynchronous, 512);
    cached.ata("SET FEATURES, enable write cache", feature(AtaCommand::SetFeatures, 0x02, 0));
    cached.write("not durable", request(WriteSectorsExt, 11, 1), 512);
    script.append(&cached);
    script.check("ata_read_write");
}

#[test]
fn other_ata_commands_are_answered_byte_by_byte() {
    use AtaCommand::{
        CheckPowerMode, FlushCache, FlushCacheExt, IdentifyDevice, SetFeatures, Smart, Unknown,
    };
    let mut script = Script::new("Command 0: everything but READ and WRITE", config(), 9000);
    script.ata("IDENTIFY DEVICE", request(IdentifyDevice, 0, 1));
    script.write(
        "IDENTIFY padded to test the path, as aoe-sancheck does",
        request(IdentifyDevice, 0, 1),
        1024,
    );
    script.ata("FLUSH CACHE", request(FlushCache, 0, 0));
    script.ata("FLUSH CACHE EXT", request(FlushCacheExt, 0, 0));
    script.fails(BlockError::Medium).ata("a flush that the disk refuses: DF", request(FlushCache, 0, 0));
    script.ata("CHECK POWER MODE", request(CheckPowerMode, 0, 0));
    script.ata("CHECK POWER MODE with a sector count", request(CheckPowerMode, 0, 200));
    script.ata("SET FEATURES, enable write cache where none is allowed", feature(SetFeatures, 0x02, 0));
    script.ata("SET FEATURES, disable write cache", feature(SetFeatures, 0x82, 0));
    script.ata("SET FEATURES, anything else: ABRT", feature(SetFeatures, 0x03, 0));
    script.ata("SMART READ DATA", feature(Smart, 0xd0, 0));
    script.ata("SMART READ THRESHOLDS", feature(Smart, 0xd1, 0));
    script.ata("SMART EXECUTE OFFLINE IMMEDIATE, off-line routine", feature(Smart, 0xd4, 0));
    script.ata("SMART EXECUTE OFFLINE IMMEDIATE, self-test: ABRT", feature(Smart, 0xd4, 1));
    script.ata("SMART READ LOG, directory", feature(Smart, 0xd5, 0));
    script.ata("SMART READ LOG, summary error log", feature(Smart, 0xd5, 1));
    script.ata("SMART READ LOG, self-test log", feature(Smart, 0xd5, 6));
    script.ata("SMART READ LOG, a log that is not there: ABRT", feature(Smart, 0xd5, 9));
    script.ata("SMART WRITE LOG, a log that is for reading: ABRT", feature(Smart, 0xd6, 6));
    script.write(
        "SMART WRITE LOG, a log that is not there, with data: ABRT",
        feature(Smart, 0xd6, 0x80),
        512,
    );
    script.ata("SMART RETURN STATUS", feature(Smart, 0xda, 0));
    script.ata("SMART DISABLE OPERATIONS", feature(Smart, 0xd9, 0));
    script.ata("SMART RETURN STATUS while disabled: ABRT", feature(Smart, 0xda, 0));
    script.ata("SMART ENABLE OPERATIONS", feature(Smart, 0xd8, 0));
    script.ata("SMART, unknown sub-command: ABRT", feature(Smart, 0xd2, 0));
    script.ata("SMART without its signature: ABRT", Request { feature: 0xd0, ..request(Smart, 0, 0) });
    script.ata("DATA SET MANAGEMENT, which we do not have: ABRT", request(Unknown(0x06), 0, 1));

    script.quietly(|script| {
        for _ in 0..50 {
            script.fails(BlockError::Medium).ata("", request(AtaCommand::ReadSectorsExt, 0, 1));
        }
    });
    script.ata("SMART RETURN STATUS after fifty errors: failing", feature(Smart, 0xda, 0));
    script.ata("SMART READ DATA after fifty errors", feature(Smart, 0xd0, 0));

    let large = ExportConfig {
        sectors: 1 << 40,
        logical_sector_size: LogicalSectorSize::B4096,
        write_cache: true,
        ..config()
    };
    let mut large = Script::new("512 TiB on 4096-byte sectors, with a write cache", large, 1500);
    large.ata("IDENTIFY DEVICE", request(IdentifyDevice, 0, 1));
    large.ata("READ above 2^31 sectors", request(AtaCommand::ReadSectorsExt, 0x81_2345_6789, 1));
    script.append(&large);
    script.check("ata_other");
}

#[test]
fn query_config_is_answered_byte_by_byte() {
    use wire_config::Request::{ForceSet, Read, Set, Test, TestPrefix};
    let mut script = Script::new("Command 1, Query Config; MTU 9000", config(), 9000);
    script.config("read: no string is set", Read);
    let frame = script.frame(Command::QueryConfig, |_| 24);
    script.send("read without an argument, as nmap sends it", &frame[..24]);
    let frame = script.frame(Command::QueryConfig, |bytes| {
        bytes[24..1056].fill(0xed);
        bytes[29] = 0x10;
        bytes[30..32].copy_from_slice(&1024u16.to_be_bytes());
        1056
    });
    script.send("read with anything in the other fields, as aoeping sends it", &frame);
    script.config("test for the empty string", Test(b""));
    script.config("set", Set(b"alpha"));
    script.config("read", Read);
    script.config("set the same again", Set(b"alpha"));
    script.config("set another: a string is present", Set(b"beta"));
    script.config("test, equal", Test(b"alpha"));
    script.config("test, not equal: silence", Test(b"alph"));
    script.config("prefix test, a prefix", TestPrefix(b"alp"));
    script.config("prefix test, longer than the string: silence", TestPrefix(b"alphabet"));
    script.config("force set", ForceSet(b"beta"));
    script.store = Err(StateError);
    script.config("force set that cannot be stored: device unavailable", ForceSet(b"gamma"));
    script.config("read: nothing has changed", Read);
    script.config("force set to nothing", ForceSet(b""));
    let frame = script.frame(Command::QueryConfig, |bytes| {
        bytes[29] = 0x15;
        60
    });
    script.send("no such sub-command: bad argument", &frame);
    let frame = script.frame(Command::QueryConfig, |bytes| {
        bytes[29] = 0x14;
        bytes[30..32].copy_from_slice(&1025u16.to_be_bytes());
        1057
    });
    script.send("set 1025 bytes: bad argument", &frame);
    let frame = script.frame(Command::QueryConfig, |bytes| {
        bytes[29] = 0x14;
        bytes[30..32].copy_from_slice(&29u16.to_be_bytes());
        60
    });
    script.send("set one byte more than the frame has: bad argument", &frame);

    let state = SmallState { config_string: vec![b'x'; 1024], ..SmallState::default() };
    let mut small = Script::new("MTU 1500, a string of 1024 bytes", ExportConfig { state, ..config() }, 1500);
    small.advertise("advertised when added, tag 0, to everybody", None);
    small.config("read", Read);
    let link = Some(PortLink { mac: OURS, mtu: 900 });
    small.advertise(
        "an MTU that the string does not fit: nothing is advertised",
        Some(Input::PortChanged { port: PortId(0), link }),
    );
    small.config("and nothing answered", Read);
    script.append(&small);
    script.check("query_config");
}

#[test]
fn mac_mask_lists_are_answered_byte_by_byte() {
    let mut script = Script::new("Command 2, MAC Mask List", config(), 1500);
    let many: Vec<(u8, MacAddress)> =
        (0..=184).map(|number| (1, MacAddress([2, 0, 0, 1, 0, number]))).collect();
    script.mask_read("read: the list is empty");
    script.mask("nothing to do", &[]);
    script.mask("add two, and one of them again", &[(1, HOST), (1, OTHER), (1, HOST), (0, OURS)]);
    script.mask_read("read");
    script.host = MacAddress([2, 0, 0, 0, 0, 3]);
    script.mask_read("from a host that is not listed: silence");
    script.ata("IDENTIFY from there: silence", request(AtaCommand::IdentifyDevice, 0, 1));
    script.host = HOST;
    script.mask("delete one, and one that is not there", &[(2, OTHER), (2, OURS)]);
    script.mask("the second directive does not exist, so nothing is done", &[(1, OTHER), (3, OURS)]);
    script.mask("a group address: unspecified error", &[(1, MacAddress([3, 0, 0, 0, 0, 0]))]);
    script.mask("one too many", &many[..184]);
    script.store = Err(StateError);
    script.mask("what cannot be stored: device unavailable", &[(1, OTHER)]);
    script.mask_read("read: still the one");
    script.mask("delete the last one: everybody may talk again", &[(2, HOST)]);
    let frame = script.frame(Command::MacMaskList, |bytes| {
        bytes[25] = 2;
        60
    });
    script.send("no such sub-command: bad argument", &frame);
    let frame = script.frame(Command::MacMaskList, |bytes| {
        bytes[25] = 1;
        bytes[27] = 255;
        60
    });
    script.send("more directives than the frame has: bad argument", &frame);
    script.send("cut in its argument: bad argument", &frame[..27]);

    let state = SmallState { mac_mask: vec![HOST, OTHER], ..SmallState::default() };
    let mut listed = Script::new("a list that was kept", ExportConfig { state, ..config() }, 1500);
    listed.advertise("advertised to each host on it", None);
    script.append(&listed);
    script.check("mac_mask");
}

#[test]
fn reservations_are_answered_byte_by_byte() {
    use ReserveCommand::{ForceSet, Read, Set};
    let mut script = Script::new("Command 3, Reserve/Release", config(), 1500);
    let many: Vec<MacAddress> = (0..=247).map(|number| MacAddress([2, 0, 0, 1, 0, number])).collect();
    script.reserve("read: nobody", Read, &[]);
    script.reserve("set", Set, &[HOST, HOST]);
    script.reserve("read", Read, &[]);
    script.host = OTHER;
    script.ata("READ by another host: reserved", request(AtaCommand::ReadSectorsExt, 0, 1));
    script.write("WRITE by another host: reserved", request(AtaCommand::WriteSectorsExt, 0, 1), 512);
    script.ata("IDENTIFY by another host", request(AtaCommand::IdentifyDevice, 0, 1));
    script.config("Query Config by another host", wire_config::Request::Read);
    script.reserve("set by another host: reserved", Set, &[OTHER]);
    script.reserve("force set by another host", ForceSet, &[OTHER]);
    script.ata("READ by that host", request(AtaCommand::ReadSectorsExt, 0, 1));
    script.store = Err(StateError);
    script.reserve("a release that cannot be stored: device unavailable", Set, &[]);
    script.reserve("release", Set, &[]);
    script.reserve("more hosts than an answer holds: bad argument", Set, &many);
    let frame = script.frame(Command::ReserveRelease, |bytes| {
        bytes[24] = 3;
        60
    });
    script.send("no such sub-command: bad argument", &frame);
    let frame = script.frame(Command::ReserveRelease, |bytes| {
        bytes[24..26].copy_from_slice(&[1, 6]);
        60
    });
    script.send("more addresses than the frame has: bad argument", &frame);
    script.send("cut in its argument: bad argument", &frame[..25]);
    script.check("reserve");
}

#[test]
fn headers_are_answered_byte_by_byte() {
    let mut script = Script::new("The header: versions, commands, addresses", config(), 1500);
    let identify = |bytes: &mut [u8]| request(AtaCommand::CheckPowerMode, 0, 0).emit(bytes);
    let mut frame = script.frame(Command::Ata, identify);
    frame[14] = 0x20;
    script.send("version 2: unsupported version", &frame);
    let mut frame = script.frame(Command::Ata, identify);
    frame[14] = 0x13;
    frame[15] = 0xff;
    script.send("reserved flags and an error without its flag are ignored and not echoed", &frame);
    let mut frame = script.frame(Command::Ata, identify);
    frame[14] = 0x18;
    script.send("an answer: silence", &frame);
    for command in [4, 0xf1, 0xff] {
        let frame = script.frame(Command::from(command), |_| 60);
        script.send("a command that we do not have: unrecognized command", &frame);
    }
    script.pattern = AddressPattern { shelf: Shelf(7), slot: Slot::WILDCARD };
    script.ata("every slot of the shelf", request(AtaCommand::CheckPowerMode, 0, 0));
    script.pattern = AddressPattern { shelf: Shelf::WILDCARD, slot: Slot(1) };
    script.ata("the slot of every shelf", request(AtaCommand::CheckPowerMode, 0, 0));
    script.pattern = AddressPattern { shelf: Shelf(8), slot: Slot::WILDCARD };
    script.ata("every slot of another shelf: silence", request(AtaCommand::CheckPowerMode, 0, 0));
    script.pattern = AddressPattern::EVERY;
    script.destination = MacAddress::BROADCAST;
    script.config("Query Config to everybody", wire_config::Request::Read);
    script.ata("READ to everybody", request(AtaCommand::ReadSectorsExt, 0, 1));
    script.write("WRITE to everybody: silence", request(AtaCommand::WriteSectorsExt, 0, 1), 512);
    script.pattern = AddressPattern { shelf: Shelf(7), slot: Slot(1) };
    script.write(
        "WRITE to one address by broadcast: silence",
        request(AtaCommand::WriteSectorsExt, 0, 1),
        512,
    );
    script.check("header");
}
