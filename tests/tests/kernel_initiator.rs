//! The Linux kernel's own initiator, in a guest: the judge that counts most.
#![allow(clippy::disallowed_methods, reason = "these are tests of the real world")]

use lab::{disk::LoopDevice, guest::Guest};
use std::{path::Path, time::Duration};
use tests::{DISCOVER, MIB, TargetOptions, World, use_grown};

const LIMIT: Duration = Duration::from_secs(120);

#[test]
fn the_kernel_discovers_the_disk_and_reads_back_all_that_it_wrote() {
    let world = World::new("kernel-verify").expect("world");
    let image = world.sparse_image("disk", 256 * MIB).expect("image");
    let mut target = TargetOptions::new("7.1", &image).start(&world).expect("target");
    let mut guest = world.guest_with_initiator("guest").expect("guest");
    let said =
        guest.run(&format!("{DISCOVER} blockdev --getsize64 /dev/etherd/e7.1"), LIMIT).expect("discover");
    assert_eq!(said.trim(), (256 * MIB).to_string());
    let payload = guest.run("cat '/sys/block/etherd!e7.1/payload'", LIMIT).expect("payload");
    // On jumbo frames at least 8 KiB; 8704 would cut every 4 KiB block into pieces.
    let payload: u32 = payload.trim().parse().expect("a number of bytes");
    assert!(payload >= 8192, "{payload} bytes a frame");
    write_and_verify_twice(&mut guest, "--bs=4k --size=20m");
    target.expect_running().expect("the target still runs");
    assert!(target.terminate().expect("terminate").success());
}

/// Two rounds with different seeds: what is left over from the first is stale in the second. `randrw` with writes only,
/// because fio compares no seeds with `randwrite`.
fn write_and_verify_twice(guest: &mut Guest, shape: &str) {
    for seed in [1, 2] {
        for phase in ["--do_verify=0", "--verify_only"] {
            let fio = format!(
                "/usr/bin/fio --name=work --filename=/dev/etherd/e7.1 --ioengine=libaio --direct=1 --thread \
                 --rw=randrw --rwmixwrite=100 {shape} --iodepth=32 --randseed={seed} --verify=crc32c \
                 --verify_fatal=1 {phase}"
            );
            guest.run(&fio, LIMIT).expect("fio");
        }
    }
}

/// The kernel knows AoE disks as disks of 512-byte sectors and asks for pieces of larger ones.
#[test]
fn a_disk_of_4096_byte_sectors_takes_the_kernel_s_pieces_of_sectors() {
    let world = World::new("kernel-4096").expect("world");
    let image = world.sparse_image("disk", 64 * MIB).expect("image");
    let device = LoopDevice::new(&image, 4096).expect("a disk of 4096-byte sectors");
    let mut target = TargetOptions::new("7.1", device.path()).start(&world).expect("target");
    let mut guest = world.guest_with_initiator("guest").expect("guest");
    guest.run(DISCOVER, LIMIT).expect("discover");
    // Four requests to a sector of the disk, often under way together.
    write_and_verify_twice(&mut guest, "--bs=1k --size=2m");
    let script = "set -e
mkfs.ext4 -q -b 1024 -E lazy_itable_init=0,lazy_journal_init=0 /dev/etherd/e7.1
mount -t ext4 /dev/etherd/e7.1 /mnt
cd /mnt
for file in $(seq 1 20); do dd if=/dev/urandom of=$file bs=700 count=$file 2> /dev/null; done
sha256sum [0-9]* > /tmp/sums
cd /; umount /mnt
mount -t ext4 /dev/etherd/e7.1 /mnt
cd /mnt; sha256sum -c /tmp/sums | grep -c OK
cd /; umount /mnt";
    let said = guest.run(script, LIMIT).expect("a file system of small blocks");
    assert_eq!(said.trim(), "20", "all files are whole");
    assert!(target.terminate().expect("terminate").success());
    assert_clean_on_the_host(&image);
}

#[test]
fn a_file_system_on_the_disk_survives_and_is_clean() {
    let world = World::new("kernel-ext4").expect("world");
    let image = world.sparse_image("disk", 256 * MIB).expect("image");
    let _target = TargetOptions::new("7.1", &image).start(&world).expect("target");
    let mut guest = world.guest_with_initiator("guest").expect("guest");
    let script = format!(
        "{DISCOVER}
mkfs.ext4 -q -E lazy_itable_init=0,lazy_journal_init=0 /dev/etherd/e7.1
mount -t ext4 /dev/etherd/e7.1 /mnt
cd /mnt
for directory in $(seq 1 12); do
    mkdir -p tree/$directory/below
    for file in $(seq 1 8); do
        dd if=/dev/urandom of=tree/$directory/below/$file bs=1k count=$((file * file * 4)) 2> /dev/null
    done
done
dd if=/dev/urandom of=large bs=1M count=24 2> /dev/null
find . -type f | sort | xargs sha256sum > /tmp/sums
rm -r tree/3 tree/7
grep -v 'tree/[37]/' /tmp/sums > sums
cd /; umount /mnt
mount -t ext4 /dev/etherd/e7.1 /mnt
cd /mnt; sha256sum -c sums | grep -c OK
cd /; umount /mnt
e2fsck -f -n /dev/etherd/e7.1"
    );
    let said = guest.run(&script, LIMIT).expect("file system");
    assert!(said.contains("\n81\n") || said.starts_with("81\n"), "81 files are whole:\n{said}");
    assert_clean_on_the_host(&image);
}

/// The bytes in the image itself are a clean file system too: nothing was only in somebody's memory.
fn assert_clean_on_the_host(image: &Path) {
    lab::Program::new("e2fsck").args(["-f", "-n"]).arg(image).run().expect("a clean image");
}

#[test]
fn a_disk_that_grew_is_seen_grown_after_revalidation() {
    let world = World::new("kernel-resize").expect("world");
    let image = world.sparse_image("disk", 64 * MIB).expect("image");
    let target = TargetOptions::new("7.1", &image).start(&world).expect("target");
    let mut guest = world.guest_with_initiator("guest").expect("guest");
    guest.run(DISCOVER, LIMIT).expect("discover");
    lab::disk::resize_image(&image, 96 * MIB).expect("grow");
    target.reread_sizes().expect("signal");
    guest.run(&use_grown(96 * MIB), LIMIT).expect("the new size, and data at the new end");
}
