//! Crashes, pauses, broken links and broken disks under a kernel initiator at work: no I/O error where the fault is
//! passing, an honest one where the disk itself is bad, and never a wrong byte.
#![allow(clippy::disallowed_methods, reason = "these are tests of the real world")]

use lab::{
    Signal,
    disk::{LoopDevice, SmallFileSystem},
    guest::{Guest, Job},
    network::{Direction, Loss},
    wait_until,
};
use std::time::Duration;
use tests::{DISCOVER, MIB, Target, TargetOptions, World};

const LIMIT: Duration = Duration::from_secs(120);

/// 12,288 random writes, slow enough to be at it for 8 s. `randrw` with writes only, because fio compares no seeds with
/// `randwrite`, and stale blocks would pass.
const LOAD: &str = "/usr/bin/fio --name=load --filename=/dev/etherd/e7.1 --ioengine=libaio --direct=1 --thread \
    --rw=randrw --rwmixwrite=100 --bs=4k --iodepth=32 --size=48m --randseed=7 --verify=crc32c --verify_fatal=1";

/// A guest that writes to the target while the test does its worst.
struct UnderLoad {
    target: Target,
    guest: Guest,
    load: Job,
    // After who writes in its directory.
    world: World,
}

impl UnderLoad {
    fn start(label: &str) -> Self {
        let world = World::new(label).expect("world");
        let image = world.sparse_image("disk", 64 * MIB).expect("image");
        let target = TargetOptions::new("7.1", &image).start(&world).expect("target");
        let guest = world.guest_with_initiator("guest").expect("guest");
        Self::begin(world, target, guest)
    }

    fn start_on_two_paths(label: &str) -> Self {
        let world = World::new(label).expect("world");
        world.add_second_path().expect("second path");
        let image = world.sparse_image("disk", 64 * MIB).expect("image");
        let target = TargetOptions::new("7.1", &image).args(["-i", "eth2"]).start(&world).expect("target");
        let guest = world.guest_with_two_paths("guest").expect("guest");
        Self::begin(world, target, guest)
    }

    fn begin(world: World, target: Target, mut guest: Guest) -> Self {
        let script = format!("{DISCOVER}{LOAD} --do_verify=0 --rate_iops=1500");
        let load = guest.start_job(&script).expect("load");
        let this = Self { target, guest, load, world };
        this.let_it_work(1000);
        this
    }

    /// Waits until the target's host has received so many more frames.
    fn let_it_work(&self, frames: u64) {
        let before = self.world.frames_received_by_storage().expect("count");
        let result = wait_until("the load to go on", LIMIT, || {
            let passed = self.world.frames_received_by_storage()? - before >= frames;
            Ok((passed || !self.guest.is_running(&self.load)).then_some(()))
        });
        if let Err(error) = result {
            panic!("{error}\n{}\n{}", self.guest.job_output(&self.load), self.guest.console());
        }
        assert!(self.guest.is_running(&self.load), "the load ended too early to be disturbed");
    }

    /// Waits for the end of the load, and reads everything back.
    fn verify(mut self) {
        self.guest.wait_for_job(&self.load, LIMIT).expect("the load ends well");
        self.guest.run(&format!("{LOAD} --verify_only"), LIMIT).expect("all that was written is there");
        let console = self.guest.console();
        assert!(!console.contains("I/O error"), "no I/O error reached the file system:\n{console}");
        self.target.expect_running().expect("the target still runs");
    }
}

#[test]
fn a_target_killed_and_started_again_under_load_costs_no_error_and_no_data() {
    let mut test = UnderLoad::start("crash");
    for pause in [50, 300, 1000] {
        test.target.kill().expect("kill");
        std::thread::sleep(Duration::from_millis(pause));
        test.target.restart(&test.world).expect("restart");
        test.let_it_work(500);
    }
    test.verify();
}

#[test]
fn a_link_that_flaps_under_load_costs_no_error_and_no_data() {
    let test = UnderLoad::start("flap");
    for pause in [20, 200, 800] {
        // At the switch the target's host loses its carrier; at the host its interface is gone for a while.
        test.world.switch.set_down("storage").expect("down");
        std::thread::sleep(Duration::from_millis(pause));
        test.world.switch.set_up("storage").expect("up");
        test.let_it_work(300);
        test.world.storage.set_down("eth1").expect("down");
        std::thread::sleep(Duration::from_millis(pause));
        test.world.storage.set_up("eth1").expect("up");
        test.let_it_work(300);
    }
    test.verify();
}

#[test]
fn lost_frames_and_a_paused_target_cost_no_error_and_no_data() {
    let mut test = UnderLoad::start("loss");
    for direction in [Direction::Sent, Direction::Received] {
        test.world.switch.set_loss("storage", direction, Loss::PerThousand(2)).expect("loss");
    }
    test.let_it_work(2000);
    test.target.process().signal(Signal::Stop).expect("stop");
    // Longer than a frame may be old: what waited in the socket must not be executed late.
    std::thread::sleep(Duration::from_millis(2500));
    test.target.process().signal(Signal::Continue).expect("continue");
    test.let_it_work(500);
    for direction in [Direction::Sent, Direction::Received] {
        test.world.switch.set_loss("storage", direction, Loss::None).expect("no loss");
    }
    test.verify();
}

#[test]
fn one_of_two_paths_that_goes_silent_costs_no_error_and_no_data() {
    let mut test = UnderLoad::start_on_two_paths("two-paths");
    let netif = test.guest.run("cat '/sys/block/etherd!e7.1/netif'", LIMIT).expect("interfaces");
    assert!(netif.contains("eth0") && netif.contains("eth1"), "the initiator uses both ways: {netif}");
    // The link stays up: only its own patience tells the initiator to send by the other way, after 11 s.
    test.world.switch.set_loss("storage2", Direction::Sent, Loss::All).expect("silence");
    test.let_it_work(1000);
    test.world.switch.set_loss("storage2", Direction::Sent, Loss::None).expect("there again");
    test.verify();
}

#[test]
fn a_full_disk_is_an_error_to_the_writer_and_passes_when_there_is_room_again() {
    let world = World::new("full").expect("world");
    let small = SmallFileSystem::new(8 * MIB).expect("file system");
    let (image, ballast) = (small.path().join("disk"), small.path().join("ballast"));
    lab::disk::filled_image(&ballast, 4 * MIB).expect("ballast");
    lab::disk::sparse_image(&image, 32 * MIB).expect("image");
    let mut target = TargetOptions::new("7.1", &image).start(&world).expect("target");
    let mut guest = world.guest_with_initiator("guest").expect("guest");
    let write = "dd if=/dev/urandom of=/dev/etherd/e7.1 bs=64k oflag=direct";
    let fill = format!("{DISCOVER} {write} count=16; if {write} seek=16 count=112; then exit 9; fi");
    guest.run(&fill, LIMIT).expect("what fits is written, what does not is an error");
    guest.run("dd if=/dev/etherd/e7.1 of=/dev/null bs=64k count=32 iflag=direct", LIMIT).expect("read");
    target.expect_running().expect("the target still runs");
    std::fs::remove_file(&ballast).expect("make room");
    guest.run(&format!("{write} seek=16 count=60"), LIMIT).expect("there is room again");
}

#[test]
fn bad_sectors_are_an_error_to_the_reader_and_good_ones_beside_them_are_served() {
    let world = World::new("bad-sectors").expect("world");
    let image = world.filled_image("disk", 16 * MIB).expect("image");
    let device = LoopDevice::new(&image, 512).expect("loop");
    let mut target = TargetOptions::new("7.1", device.path()).start(&world).expect("target");
    let mut guest = world.guest_with_initiator("guest").expect("guest");
    // A file cut short beneath its loop device: reading beyond its end is EIO.
    lab::disk::resize_image(&image, 8 * MIB).expect("cut");
    let read = "dd if=/dev/etherd/e7.1 of=/dev/null bs=64k iflag=direct";
    let script =
        format!("{DISCOVER} {read} count=120; if {read} skip=192 count=1; then exit 9; fi; {read} count=120");
    guest.run(&script, LIMIT).expect("errors where the sectors are bad, and only there");
    target.expect_running().expect("the target still runs");
    lab::disk::resize_image(&image, 16 * MIB).expect("mend");
    guest.run(&format!("{read} skip=192 count=1"), LIMIT).expect("a mended sector");
}
