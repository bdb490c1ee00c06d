//! iPXE boots from an exported image.

use std::time::Duration;
use tests::{MIB, TargetOptions, World};

#[test]
fn ipxe_boots_from_the_exported_disk() {
    let world = World::new("ipxe").expect("world");
    let image = world.sparse_image("disk", 16 * MIB).expect("image");
    let line = "started from e7.1 over Ethernet";
    let sector = lab::guest::boot_sector(line);
    std::os::unix::fs::FileExt::write_all_at(
        &std::fs::OpenOptions::new().write(true).open(&image).expect("open"),
        &sector,
        0,
    )
    .expect("write the boot sector");
    let mut target = TargetOptions::new("7.1", &image).start(&world).expect("target");
    let mut machine = world.ipxe("ifopen net0\nsanboot aoe:e7.1").expect("machine");
    machine.wait_for_line(line, Duration::from_secs(60)).expect("the boot sector's line");
    target.expect_running().expect("the target still runs");
}
