//! Bad input: one line on standard error that names the culprit and the cure, and an exit code of its own.

use std::fs;

use lab::{Output, Program};

use crate::world::{PATIENCE, World};

const MIB: u64 = 1 << 20;

/// Compares code and text; the text is one line.
fn check(output: &Output, code: i32, words: &[&str]) {
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    assert_eq!(output.stderr.trim_end().lines().count(), 1, "not one line: {output:?}");
    for word in words {
        assert!(output.stderr.contains(word), "no `{word}` in {output:?}");
    }
    assert_eq!(output.stdout, "", "nothing was served");
}

#[test]
fn a_disk_that_is_none_is_refused() {
    let world = World::new();
    world.disk("empty.img", 0);
    world.disk("uneven.img", 1000);
    world.disk("disk.img", MIB);
    let refused = |arguments: &str| world.refused(&format!("{arguments} -i eth1"));
    check(&refused("7.1 missing.img"), 10, &["missing.img", "truncate -s"]);
    check(&refused("7.1 empty.img"), 11, &["empty.img", "empty"]);
    check(&refused("7.1 uneven.img"), 12, &["uneven.img", "1000", "multiple of 512"]);
    check(&refused("7.1 ."), 13, &["neither a regular file nor a block device"]);
    check(&refused("7.1 /dev/null"), 13, &["/dev/null"]);
    check(&refused("7.1 disk.img --offset 100"), 12, &["--offset 100"]);
    check(&refused("7.1 disk.img --length 100"), 12, &["100"]);
    check(&refused("7.1 disk.img --offset 512k --length 1M"), 16, &["--offset 524288", "1048576 bytes"]);
    check(&refused("7.1 disk.img --offset 2M"), 16, &["--offset 2097152"]);
}

#[test]
fn a_disk_in_use_or_without_permission_is_refused() {
    let world = World::new();
    let disk = world.disk("disk.img", MIB);
    let _server = world.export("7.1 disk.img -i eth1");
    check(&world.refused("7.2 disk.img -i eth1"), 15, &["disk.img", "stop that one"]);
    let secret = world.disk("secret.img", MIB);
    let nobody = |path: &std::path::Path| {
        let program = world.target.program("setpriv").directory(world.scratch.path());
        let without = "--bounding-set=-dac_override,-dac_read_search";
        let program =
            program.args([without, "--inh-caps=-all", env!("CARGO_BIN_EXE_etherpair"), "export", "7.3"]);
        program.arg(path).args(["-i", "eth1"]).within(PATIENCE).output().expect("it ends")
    };
    let forbid = |path: &std::path::Path| {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(path, fs::Permissions::from_mode(0o000)).expect("permissions");
    };
    forbid(&secret);
    check(&nobody(&secret), 14, &["secret.img", "permission denied"]);
    drop(disk);
}

#[test]
fn an_interface_that_cannot_be_used_is_refused() {
    let world = World::new();
    world.disk("disk.img", MIB);
    check(&world.refused("7.1 disk.img -i eth9"), 20, &["eth9", "eth1, eth2, lo"]);
    world.target.set_down("eth2").expect("down");
    check(&world.refused("7.1 disk.img -i eth2"), 21, &["eth2", "ip link set eth2 up"]);
    world.target.set_mtu("eth1", 500).expect("a small MTU");
    check(&world.refused("7.1 disk.img -i eth1"), 22, &["eth1", "MTU 500", "548"]);
    world.target.program("ip").args(["tuntap", "add", "tun0", "mode", "tun"]).run().expect("a tunnel");
    check(&world.refused("7.1 disk.img -i tun0"), 23, &["tun0", "Ethernet"]);
    assert!(!world.scratch.join("disk.img.etherpair").exists(), "refused, and yet something was made");
}

#[test]
fn who_may_not_open_raw_sockets_is_told_so() {
    let world = World::new();
    world.disk("disk.img", MIB);
    let program = world.target.program("setpriv").directory(world.scratch.path());
    let program =
        program.args(["--bounding-set=-net_raw", "--inh-caps=-all", env!("CARGO_BIN_EXE_etherpair")]);
    let output = program.args(["export", "7.1", "disk.img", "-i", "eth1"]).within(PATIENCE).output();
    check(&output.expect("it ends"), 24, &["eth1", "CAP_NET_RAW"]);
}

#[test]
fn addresses_that_are_none_or_come_twice_are_refused() {
    let world = World::new();
    world.disk("disk.img", MIB);
    world.disk("other.img", MIB);
    let refused = |arguments: &str| world.refused(&format!("{arguments} -i eth1"));
    for (address, word) in
        [("65535.0", "65535"), ("4095.1", "4095"), ("7.255", "255"), ("65536.1", "`65536.1`")]
    {
        check(&refused(&format!("{address} disk.img")), 30, &[word]);
    }
    for text in ["7", "7.1.2", "disk", "7.x"] {
        check(&refused(&format!("{text} disk.img")), 30, &[&format!("`{text}`"), "shelf.slot"]);
    }
    check(&refused("7.1 disk.img e7.1 other.img"), 31, &["e7.1", "twice"]);
}

#[test]
fn a_state_file_that_cannot_be_used_is_refused_and_left_alone() {
    let world = World::new();
    world.disk("disk.img", MIB);
    world.export("7.1 disk.img -i eth1").terminate(PATIENCE).expect("it ends");
    let path = world.scratch.join("disk.img.etherpair");
    let good = fs::read_to_string(&path).expect("a state file");
    let with = |text: &str| {
        fs::write(&path, text).expect("written");
        let output = world.refused("7.1 disk.img -i eth1");
        assert_eq!(fs::read_to_string(&path).expect("a state file"), text, "it was touched");
        output
    };
    check(&with(&good[..good.len() - 9]), 40, &["disk.img.etherpair", "cut short", "remove it"]);
    check(&with(""), 40, &["disk.img.etherpair", "cut short"]);
    check(&with(&good.replace("\"config_string\": \"\"", "\"config_string\": \"x\"")), 40, &["damaged"]);
    check(&with("something else\n"), 40, &["disk.img.etherpair", "damaged"]);
    check(&with(&good.replacen("state 1", "state 9", 1)), 41, &["disk.img.etherpair", "version 9"]);
    fs::write(&path, &good).expect("written");
    check(&world.refused("7.2 disk.img -i eth1"), 42, &["disk.img.etherpair", "e7.1", "e7.2"]);
    let nowhere = world.refused("7.1 disk.img -i eth1 --state-directory /proc/nowhere");
    check(&nowhere, 43, &["/proc/nowhere/e7.1.etherpair", "--state-directory"]);
}

#[test]
fn a_command_line_that_makes_no_sense_is_refused_in_one_line() {
    let world = World::new();
    world.disk("disk.img", MIB);
    world.disk("other.img", MIB);
    check(&world.refused("7.1 disk.img"), 2, &["--interface"]);
    check(&world.refused("7.1 -i eth1"), 2, &["2 values"]);
    check(&world.refused("7.1 disk.img 7.2 -i eth1"), 2, &["`7.2` stands alone"]);
    check(&world.refused("7.1 disk.img 7.2 disk.img -i eth1"), 2, &["disk.img", "e7.1", "e7.2"]);
    check(&world.refused("7.1 disk.img 7.2 other.img -i eth1 --offset 1M"), 2, &["--offset"]);
    check(&world.refused("7.1 disk.img -i eth1 -i eth1"), 2, &["eth1", "twice"]);
    check(&world.refused("7.1 disk.img -i eth1 --read-only --write-cache"), 2, &["--write-cache"]);
    for bad in [
        "--threads 0",
        "--threads x",
        "--offset 1.5G",
        "--length=-1",
        "--buffer-count 1",
        "--sector-size 1024",
        "--busy-poll 9999999",
        "--cpu 1-",
        "--cpu 1000",
        "--port best",
        "--engine best",
        "--nonesuch",
    ] {
        let option = bad.split([' ', '=']).next().expect("an option");
        check(&world.refused(&format!("7.1 disk.img -i eth1 {bad}")), 2, &[option]);
    }
}

#[test]
fn too_few_open_files_are_told_with_the_number_needed() {
    let world = World::new();
    let mut arguments = Vec::new();
    for slot in 0..100 {
        let name = format!("disk{slot}.img");
        world.disk(&name, MIB);
        arguments.extend([format!("7.{slot}"), name]);
    }
    let limited = Program::new("prlimit").in_namespace(&world.target).directory(world.scratch.path());
    let limited =
        limited.args(["--nofile=100:100", "setpriv", "--bounding-set=-sys_resource", "--inh-caps=-all"]);
    let limited =
        limited.args([env!("CARGO_BIN_EXE_etherpair"), "export"]).args(&arguments).args(["-i", "eth1"]);
    check(&limited.within(PATIENCE).output().expect("it ends"), 50, &["ulimit -n", "only 100"]);
}
