//! What is read is what was written, wherever it lies and however it comes.

use std::fmt::Write;
use std::time::{Duration, Instant};

use aoe::ata::{AtaCommand, ErrorRegister};
use block::LogicalSectorSize;
use lab::disk::LoopDevice;

use crate::client::Client;
use crate::world::{PATIENCE, World, bytes_of, pattern};

const MIB: u64 = 1 << 20;

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("ASCII").trim()
}

#[test]
fn identify_says_size_names_and_a_serial_that_stays() {
    let world = World::new();
    world.disk("disk.img", 8 * MIB);
    let mut client = world.client();
    let mut serial = None;
    for _ in 0..2 {
        let mut server = world.export("7.1 disk.img -i eth1");
        let identify = client.identify("7.1");
        assert_eq!((identify.sectors, identify.lba48), (8 * MIB / 512, true));
        assert_eq!(text(identify.model.as_bytes()), "etherpair");
        assert_eq!(text(identify.firmware.as_bytes()), env!("CARGO_PKG_VERSION"));
        assert!(text(identify.serial.as_bytes()).starts_with("e7.1-"), "{identify:?}");
        assert_eq!(*serial.get_or_insert(identify.serial), identify.serial);
        assert!(server.terminate(PATIENCE).expect("it ends").success());
    }
}

#[test]
fn what_was_written_is_read_again_and_is_in_the_file() {
    let world = World::new();
    let disk = world.disk("disk.img", 8 * MIB);
    let _server = world.export("7.1 disk.img -i eth1");
    let mut client = world.client();
    let config = client.config("7.1").expect("an answer");
    assert_eq!((config.sectors, config.buffer_count), (16, 128));
    let data = pattern(1, 16);
    client.write("7.1", 99, &data);
    assert_eq!(client.read("7.1", 99, 16), data);
    assert_eq!(client.read("7.1", 107, 8), data[8 * 512..]);
    assert_eq!(bytes_of(&disk)[99 * 512..][..data.len()], data);
    let flush = client.ata("7.1", AtaCommand::FlushCacheExt, 0, 0, &[]).expect("an answer");
    assert!(!flush.status.is_failure());
}

#[test]
fn requests_beyond_the_end_fail_and_change_nothing() {
    let world = World::new();
    let disk = world.disk("disk.img", MIB);
    let _server = world.export("7.1 disk.img -i eth1");
    let mut client = world.client();
    let read = client.ata("7.1", AtaCommand::ReadSectorsExt, 2047, 2, &[]).expect("an answer");
    assert!(read.status.is_failure() && read.error.contains(ErrorRegister::IDNF));
    let write = client.try_write("7.1", 2048, &pattern(1, 1)).expect("an answer");
    assert!(write.status.is_failure() && write.error.contains(ErrorRegister::IDNF));
    assert_eq!(bytes_of(&disk).len() as u64, MIB);
}

#[test]
fn two_disks_are_kept_apart_whichever_thread_serves_them() {
    for threads in [1, 2] {
        let world = World::new();
        let (one, two) = (world.disk("one.img", MIB), world.disk("two.img", 2 * MIB));
        let _server = world.export(&format!("7.1 one.img 7.2 two.img -i eth1 --threads {threads}"));
        let mut client = world.client();
        client.write("7.1", 5, &pattern(1, 8));
        client.write("7.2", 5, &pattern(2, 8));
        assert_eq!(client.read("7.1", 5, 8), pattern(1, 8));
        assert_eq!(client.read("7.2", 5, 8), pattern(2, 8));
        assert_eq!(client.identify("7.2").sectors, 4096);
        assert_eq!(bytes_of(&one)[5 * 512..][..4096], pattern(1, 8));
        assert_eq!(bytes_of(&two)[5 * 512..][..4096], pattern(2, 8));
        client.expect_silence("7.3");
    }
}

#[test]
fn a_thousand_disks_are_served_within_seconds_by_two_threads() {
    const EXPORTS: u32 = 1000;
    let world = World::new();
    let address = |number: u32| format!("{}.{}", number / 200, number % 200);
    let mut arguments = String::new();
    for number in 0..EXPORTS {
        let name = format!("{number}.img");
        world.disk(&name, u64::from(number + 1) * 4096);
        write!(arguments, "{} {name} ", address(number)).expect("a string");
    }
    let start = Instant::now();
    let mut server = world.export(&format!("{arguments}-i eth1 -i eth2 --threads 2"));
    let took = start.elapsed();
    // Seconds on a slow and busy machine, so that only a start that grows with the square of the disks fails.
    assert!(took < Duration::from_secs(20), "{took:?}");
    let (mut one, mut two) = (world.client(), Client::new(&world.clients, "far2"));
    for number in (0..EXPORTS).step_by(37) {
        assert_eq!(one.identify(&address(number)).sectors, u64::from(number + 1) * 8);
        two.write(&address(number), 0, &pattern(number.to_le_bytes()[0], 8));
        assert!(one.read(&address(number), 0, 8) == pattern(number.to_le_bytes()[0], 8));
    }
    assert!(server.terminate(PATIENCE).expect("it ends").success());
}

#[test]
fn a_disk_is_the_same_on_two_interfaces() {
    let world = World::new();
    world.disk("disk.img", MIB);
    let _server = world.export("7.1 disk.img -i eth1 -i eth2");
    let (mut one, mut two) = (world.client(), Client::new(&world.clients, "far2"));
    one.write("7.1", 0, &pattern(3, 4));
    assert_eq!(two.read("7.1", 0, 4), pattern(3, 4));
    two.write("7.1", 2, &pattern(4, 4));
    assert_eq!(one.read("7.1", 2, 4), pattern(4, 4));
    let config = |client: &mut Client| client.config("7.1").expect("an answer").target;
    assert_ne!(config(&mut one), config(&mut two), "each interface speaks for itself");
}

#[test]
fn a_window_is_all_that_can_be_reached() {
    let world = World::new();
    let disk = world.disk("disk.img", 0);
    let whole = pattern(9, 2048);
    std::fs::write(&disk, &whole).expect("filled");
    let _server = world.export("7.1 disk.img -i eth1 --offset 64k --length 128k");
    let mut client = world.client();
    assert_eq!(client.identify("7.1").sectors, 256);
    assert_eq!(client.read("7.1", 0, 1), whole[65_536..66_048]);
    client.write("7.1", 0, &pattern(1, 1));
    client.write("7.1", 255, &pattern(2, 1));
    let beyond = client.try_write("7.1", 255, &pattern(3, 2)).expect("an answer");
    assert!(beyond.status.is_failure());
    let mut expected = whole;
    expected[65_536..66_048].copy_from_slice(&pattern(1, 1));
    expected[65_536 + 255 * 512..][..512].copy_from_slice(&pattern(2, 1));
    assert!(bytes_of(&disk) == expected, "something outside was touched");
}

#[test]
fn a_read_only_disk_is_read_and_never_written() {
    let world = World::new();
    let disk = world.disk("disk.img", 0);
    std::fs::write(&disk, pattern(5, 64)).expect("filled");
    for cache in ["none", "page"] {
        let mut server = world.export(&format!("7.1 disk.img -i eth1 --read-only --read-cache {cache}"));
        let mut client = world.client();
        assert_eq!(client.read("7.1", 8, 8), pattern(5, 64)[8 * 512..16 * 512]);
        let write = client.try_write("7.1", 8, &pattern(6, 8)).expect("an answer");
        assert!(write.status.is_failure() && write.error.contains(ErrorRegister::ABRT));
        assert!(bytes_of(&disk) == pattern(5, 64), "it was written");
        assert!(server.terminate(PATIENCE).expect("it ends").success());
    }
}

/// Writes pieces of 4096-byte sectors and compares everything with what a disk of 512-byte sectors would hold.
fn check_small_writes(client: &mut Client, expected: &mut [u8]) {
    for (round, (lba, sectors)) in [(3, 1), (7, 2), (8, 8), (14, 9), (0, 16), (63, 1)].into_iter().enumerate()
    {
        let data = pattern(u8::try_from(round).expect("few") + 100, sectors);
        client.write("7.1", lba as u64, &data);
        expected[lba * 512..][..data.len()].copy_from_slice(&data);
    }
    for lba in (0..64).step_by(16) {
        assert!(client.read("7.1", lba as u64, 16) == expected[lba * 512..][..16 * 512], "at {lba}");
    }
    assert_eq!(client.identify("7.1").physical_sector_size, LogicalSectorSize::B4096);
}

#[test]
fn writes_smaller_than_a_sector_of_the_disk_leave_their_neighbours_alone() {
    let world = World::new();
    let disk = world.disk("disk.img", 0);
    let mut expected = pattern(7, 64);
    std::fs::write(&disk, &expected).expect("filled");
    let _server = world.export("7.1 disk.img -i eth1 --sector-size 4096");
    check_small_writes(&mut world.client(), &mut expected);
    assert!(bytes_of(&disk) == expected, "the file differs");
}

#[test]
fn a_block_device_with_large_sectors_is_recognised() {
    let world = World::new();
    let disk = world.disk("disk.img", 0);
    let mut expected = pattern(7, 64);
    std::fs::write(&disk, &expected).expect("filled");
    let device = LoopDevice::new(&disk, 4096).expect("a loop device");
    let path = device.path().display();
    let mut server = world.export(&format!("7.1 {path} -i eth1 --state-directory states"));
    check_small_writes(&mut world.client(), &mut expected);
    assert!(world.scratch.join("states/e7.1.etherpair").exists());
    server.terminate(PATIENCE).expect("it ends");
    let error = world.refused(&format!("7.1 {path} -i eth1 --state-directory states --sector-size 512"));
    assert_eq!(error.status.code(), Some(17), "{error:?}");
}

#[test]
fn every_kind_of_port_and_engine_serves_alike() {
    for port in ["ring", "uring", "plain", "xdp"] {
        for engine in ["uring", "threads"] {
            let world = World::new();
            world.disk("disk.img", MIB);
            let _server = world.export(&format!("7.1 disk.img -i eth1 --port {port} --engine {engine}"));
            let mut client = world.client();
            for round in 0..20 {
                let data = pattern(round, 16);
                client.write("7.1", u64::from(round) * 16, &data);
                assert!(client.read("7.1", u64::from(round) * 16, 16) == data, "{port} and {engine}");
            }
        }
    }
}

#[test]
fn a_thread_that_finds_no_queue_for_af_xdp_does_without_and_says_so() {
    let world = World::new();
    world.disk("one.img", MIB);
    world.disk("two.img", MIB);
    let mut server = world.export("7.1 one.img 7.2 two.img -i eth1 --port xdp --threads 2");
    let mut client = world.client();
    for address in ["7.1", "7.2"] {
        client.write(address, 3, &pattern(1, 2));
        assert!(client.read(address, 3, 2) == pattern(1, 2));
    }
    server.terminate(PATIENCE).expect("it ends");
    let log = server.output();
    assert_eq!(log.matches("eth1: every queue has an AF_XDP socket already").count(), 1, "{log}");
}

#[test]
fn without_rings_everything_works_and_the_log_says_so_once() {
    let world = World::new();
    world.disk("disk.img", MIB);
    let confined = world.program("7.1 disk.img -i eth1").confined();
    let mut server = confined.start(world.scratch.join("log")).expect("it starts");
    server.wait_for_line("serving e7.1", PATIENCE).expect("it serves");
    let mut client = world.client();
    client.write("7.1", 3, &pattern(1, 16));
    assert!(client.read("7.1", 3, 16) == pattern(1, 16));
    let log = server.output();
    assert_eq!(log.matches("the kernel refuses a ring port").count(), 1, "{log}");
    assert_eq!(log.matches("io_uring is not available").count(), 1, "{log}");
    server.terminate(PATIENCE).expect("it ends");
    for (option, code) in [("--port ring", 25), ("--port uring", 25), ("--engine uring", 26)] {
        let confined = world.program(&format!("7.1 disk.img -i eth1 {option}")).confined();
        let output = confined.within(PATIENCE).output().expect("it ends");
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        let last = output.stderr.lines().last().expect("a line");
        assert!(last.starts_with("etherpair: the kernel refuses"), "{output:?}");
    }
}

#[test]
fn a_capture_holds_the_frames_of_both_directions() {
    let world = World::new();
    world.disk("disk.img", MIB);
    let mut server = world.export("7.1 disk.img -i eth1 --pcap frames.pcap");
    let mut client = world.client();
    client.write("7.1", 0, &pattern(1, 2));
    client.read("7.1", 0, 2);
    server.terminate(PATIENCE).expect("it ends");
    let capture = bytes_of(&world.scratch.join("frames.pcap"));
    assert_eq!(capture[..4], 0xa1b2_3c4d_u32.to_ne_bytes(), "nanosecond pcap");
    let mut rest = &capture[24..];
    let (mut requests, mut answers) = (0, 0);
    while !rest.is_empty() {
        let length = u32::from_ne_bytes(rest[8..12].try_into().expect("four bytes")) as usize;
        let frame = aoe::Frame::new(&rest[16..16 + length]).expect("an AoE frame");
        if frame.header().response {
            answers += 1
        } else {
            requests += 1
        }
        rest = &rest[16 + length..];
    }
    assert!(requests >= 3 && answers >= requests, "{requests} requests, {answers} answers");
}
