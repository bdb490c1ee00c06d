//! Frames that nobody should send: they never change the disk, never stop the target, and never get memory out of it.

use lab::FrameSocket;
use std::{fs, time::Duration};
use tests::{MIB, Random, Target, TargetOptions, World};

const QUERY_CONFIG: u8 = 1;
/// The frame header, from the version to the tag.
const HEADER: usize = 10;

struct Wire {
    target: Target,
    socket: FrameSocket,
    mac: [u8; 6],
    disk: Vec<u8>,
    // After who writes in its directory.
    world: World,
}

impl Wire {
    fn new(label: &str) -> Self {
        let world = World::new(label).expect("world");
        let image = world.filled_image("disk", 4 * MIB).expect("image");
        let target = TargetOptions::new("7.1", &image).start(&world).expect("target");
        let socket = FrameSocket::open(&world.client, "eth0", Duration::from_millis(500)).expect("socket");
        let mut this = Self { target, socket, mac: [0xFF; 6], disk: fs::read(image).expect("image"), world };
        let reply = this.query_config().expect("an answer to a broadcast");
        this.mac.copy_from_slice(&reply[6..12]);
        this
    }

    /// Asks as initiators do: more than once, for behind thousands of frames a question or its answer may find no room.
    fn query_config(&self) -> Option<Vec<u8>> {
        (0..20_u32).find_map(|number| {
            let mut request = header(QUERY_CONFIG, 0x8000_0000 + number);
            request.extend([0; 8]);
            self.socket.exchange(&self.socket.frame_to(self.mac, &request)).expect("exchange")
        })
    }

    fn send(&self, rest: &[u8]) {
        self.socket.send(&self.socket.frame_to(self.mac, rest)).expect("send");
    }

    fn assert_unharmed(mut self) {
        self.target.expect_running().expect("the target still runs");
        let reply = self.query_config().expect("the target still answers");
        assert_eq!(reply[16..19], [0, 7, 1], "from its own address");
        let disk = fs::read(self.world.path("disk")).expect("image");
        assert!(disk == self.disk, "the disk is as it was");
    }
}

/// Version 1, no flags, address 7.1.
fn header(command: u8, tag: u32) -> Vec<u8> {
    let mut bytes = vec![0x10, 0, 0, 7, 1, command];
    bytes.extend(tag.to_be_bytes());
    assert_eq!(bytes.len(), HEADER);
    bytes
}

#[test]
fn random_bytes_do_no_harm() {
    let wire = Wire::new("garbage-random");
    let mut random = Random::new(0x0005_EED0_FAE0);
    for _ in 0..10_000 {
        let length = random.index(1500);
        wire.send(&random.bytes(length));
    }
    wire.assert_unharmed();
}

#[test]
fn requests_cut_short_anywhere_do_no_harm() {
    let wire = Wire::new("garbage-cut");
    let mut random = Random::new(0x00C0_FFEE);
    for round in 0..4_000_u32 {
        // ATA writes and config, mask and reservation edits that promise more than the frame holds.
        let arguments: Vec<u8> = match round % 4 {
            0 => [
                &[0x43, 0, 16, [0x30, 0x34][random.index(2)], 8, 0, 0, 0, 0, 0, 0, 0][..],
                &random.bytes(512),
            ]
            .concat(),
            1 => [&[0, 0, 0, 0, 0, 4, 4, 0][..], &random.bytes(100)].concat(),
            2 => [&[0, 1, 0, 200][..], &[0, 1], &random.bytes(6)].concat(),
            _ => [&[1, 255][..], &random.bytes(12)].concat(),
        };
        let command = [0, 1, 2, 3][usize::try_from(round % 4).expect("small")];
        let cut = random.index(arguments.len().min(if command == 0 { 525 } else { 12 }));
        wire.send(&[header(command, round), arguments[..cut].to_vec()].concat());
    }
    wire.assert_unharmed();
}

#[test]
fn unknown_commands_versions_and_ata_opcodes_do_no_harm() {
    let wire = Wire::new("garbage-unknown");
    let mut random = Random::new(0x00BA_D5EED);
    for round in 0..=255_u8 {
        for _ in 0..8 {
            let mut unknown = [header(round.max(4), 9), random.bytes(64)].concat();
            wire.send(&unknown);
            // The same with another version, and as a response: neither is for a target.
            unknown[0] = 0x20;
            wire.send(&unknown);
            unknown[0] = 0x18;
            wire.send(&unknown);
            let is_write = matches!(round, 0x30 | 0x31 | 0x34 | 0x35 | 0x39 | 0xC5 | 0xCA | 0xCB);
            let opcode = if is_write { 0xEC } else { round };
            let registers = [0x40, 0, 1, opcode, 0, 0, 0, 0, 0, 0, 0, 0];
            wire.send(&[header(0, 9), registers.to_vec(), random.bytes(512)].concat());
        }
    }
    wire.assert_unharmed();
}

#[test]
fn writes_to_every_disk_at_once_beyond_the_end_or_without_the_write_bit_change_nothing() {
    let wire = Wire::new("garbage-writes");
    let ata_write =
        |flags: u8, lba: [u8; 6]| [&[flags, 0, 1, 0x34][..], &lba, &[0, 0], &[0x5A; 512]].concat();
    let broadcast = [&[0x10, 0, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0, 1][..], &ata_write(0x41, [0; 6])].concat();
    wire.send(&broadcast);
    // 4 MiB are sectors 0 to 0x1FFF; the last of these addresses overflows when it is made bytes.
    for lba in [[0, 0x20, 0, 0, 0, 0], [0xFF; 6], [0, 0, 0, 0, 0, 0x80]] {
        let request = [header(0, 2), ata_write(0x41, lba)].concat();
        let request = wire.socket.frame_to(wire.mac, &request);
        let reply = (0..20).find_map(|_| wire.socket.exchange(&request).expect("exchange"));
        let reply = reply.expect("an answer");
        assert_eq!(reply[27] & 1, 1, "the error bit of the ATA status");
    }
    wire.send(&[header(0, 3), ata_write(0x40, [0; 6])].concat());
    wire.assert_unharmed();
}

#[test]
fn the_padding_of_short_answers_is_zero_whatever_was_received_before() {
    let wire = Wire::new("garbage-padding");
    for _ in 0..64 {
        wire.send(&[header(0, 5), vec![0x40, 0, 1, 0xE5], vec![0xA5; 1000]].concat());
        let reply = wire.query_config().expect("an answer");
        assert!(reply.len() >= 60, "padded to the least length of Ethernet: {}", reply.len());
        assert!(reply[32..].iter().all(|&byte| byte == 0), "{reply:02x?}");
    }
    wire.assert_unharmed();
}
