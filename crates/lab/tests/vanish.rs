//! Nothing of a laboratory outlives its owner, even one that is killed without warning.
//!
//! The test starts its own program again as the owner to be killed.
#![allow(clippy::disallowed_methods, reason = "a test of the real world")]

use lab::{Namespace, Process, Program, Scratch, disk, guest::GuestOptions, network, wait_until};
use std::{
    io::Write,
    path::{Path, PathBuf},
    time::Duration,
};

/// Set for the program that is to be killed.
const ROLE: &str = "LAB_OWNER_TO_BE_KILLED";
const LIMIT: Duration = Duration::from_secs(60);

#[test]
fn nothing_outlives_an_owner_that_was_killed() {
    if std::env::var_os(ROLE).is_some() {
        own_everything();
    }
    let scratch = Scratch::new("vanish").expect("scratch");
    let program = std::env::current_exe().expect("this program");
    let owner =
        Program::new(program).args(["--exact", "nothing_outlives_an_owner_that_was_killed", "--nocapture"]);
    let mut owner = owner.env(ROLE, "yes").start(scratch.join("owner")).expect("owner");
    let value = |line: String| line.split_once(": ").expect("a value").1.to_owned();
    let mut said = |name: &str| value(owner.wait_for_line(&format!("{name}: "), LIMIT).expect(name));
    let processes = [said("sleeper"), said("guest")].map(|id| PathBuf::from(format!("/proc/{id}")));
    let backing = PathBuf::from(said("backing"));
    let directory = PathBuf::from(said("directory"));
    assert!(processes.iter().all(|process| process.exists()), "{processes:?} run");
    assert!(backing.exists() && directory.exists());
    kill_only(&owner);
    for process in &processes {
        wait_until("the processes to be gone", LIMIT, || Ok((!is_alive(process)).then_some(())))
            .expect("gone");
    }
    wait_until("the loop device to be free", LIMIT, || Ok((!backing.exists()).then_some(()))).expect("free");
    let _next = Scratch::new("vanish").expect("scratch");
    assert!(!directory.exists(), "the next owner sweeps the directory away");
}

/// Makes one of each, says what to look for, and waits for its end.
fn own_everything() -> ! {
    let scratch = Scratch::new("vanish-owner").expect("scratch");
    let (one, other) = (Namespace::new().expect("namespace"), Namespace::new().expect("namespace"));
    network::wire((&one, "eth0"), (&other, "eth0"), 1500).expect("wire");
    one.add_bridge("br0", 9000).expect("bridge");
    let image = scratch.join("image");
    disk::sparse_image(&image, 1 << 20).expect("image");
    let device = disk::LoopDevice::new(&image, 512).expect("loop");
    let sleeper = one.program("sleep").arg("1000").start(scratch.join("sleeper")).expect("sleeper");
    let guest = GuestOptions::new("guest").plug(&one, "br0").expect("plug").start(&scratch).expect("guest");
    let number = device.path().file_name().expect("name").to_string_lossy().into_owned();
    println!("sleeper: {}\nguest: {}", sleeper.id(), guest.process_id());
    println!("backing: /sys/block/{number}/loop/backing_file\ndirectory: {}", scratch.path().display());
    std::io::stdout().flush().expect("flush");
    loop {
        std::thread::park();
    }
}

/// Kills the owner alone, not the group that it leads.
fn kill_only(owner: &Process) {
    Program::new("kill").args(["-9", &owner.id().to_string()]).run().expect("kill");
}

/// Whether a process runs: one that nobody waited for yet does not.
fn is_alive(process: &Path) -> bool {
    let stat = std::fs::read_to_string(process.join("stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}
