//! The reference tools of the protocol, over a wire: aoeping, aoecfg with each of its commands, aoe-sancheck.

use lab::{Error, Output, package};
use std::time::Duration;
use tests::{MIB, Target, TargetOptions, World};

/// The tools wait for ever for an answer that does not come.
const LIMIT: Duration = Duration::from_secs(60);
/// aoe-sancheck listens for 6 s whatever comes.
const SANCHECK_LIMIT: Duration = Duration::from_secs(60);

fn serving(label: &str) -> (World, Target) {
    package::require(&[package::AOETOOLS]).expect("aoetools");
    let world = World::new(label).expect("world");
    let image = world.sparse_image("disk", 64 * MIB).expect("image");
    let target = TargetOptions::new("7.1", &image).start(&world).expect("target");
    (world, target)
}

fn aoeping(world: &World, options: &[&str]) -> Result<Output, Error> {
    world.client.program("aoeping").args(options).args(["7", "1", "eth0"]).within(LIMIT).run()
}

/// What aoecfg prints of the answer to a command, which must come: that ends it.
fn aoecfg(world: &World, command: &str, string: &str) -> String {
    let printed = aoecfg_within(world, command, string, "50");
    assert!(!printed.is_empty(), "{command} {string:?} is answered");
    printed
}

/// A command that nobody answers within a second.
fn expect_silence(world: &World, command: &str, string: &str) {
    assert_eq!(aoecfg_within(world, command, string, "1"), "", "{command} {string:?} is met with silence");
}

fn aoecfg_within(world: &World, command: &str, string: &str, seconds: &str) -> String {
    let arguments = ["-t", seconds, "-c", command, "-s", string, "7", "1", "eth0"];
    let output = world.client.program("aoecfg").args(arguments).within(LIMIT).output().expect("aoecfg");
    format!("{}{}", output.stdout, output.stderr)
}

#[test]
fn aoeping_gets_answers_to_all_it_asks() {
    let (world, mut target) = serving("aoeping");
    aoeping(&world, &["-v"]).expect("query config");
    let identify = aoeping(&world, &["-i"]).expect("identify").stdout;
    assert!(identify.split_whitespace().count() >= 256, "512 bytes in hexadecimal:\n{identify}");
    let fields = aoeping(&world, &["-I"]).expect("identify").stdout;
    for name in ["serial_number: ", "firmware_rev: ", "model: "] {
        let value = fields.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        assert!(!value.trim().is_empty(), "{name}says something:\n{fields}");
    }
    aoeping(&world, &["-t", "77"]).expect("a first tag");
    target.expect_running().expect("the target still runs");
}

/// What `aoeping -S` gets: its registers and data, or what it says of an abort.
fn smart(world: &World, command: &str) -> Result<String, String> {
    // A sector for WRITE LOG; the others read nothing.
    let script = format!("printf '%512s' data | aoeping -s 5 -S {command} 7 1 eth0");
    let output = world.client.program("sh").args(["-c", &script]).within(LIMIT).output().expect("aoeping");
    if output.status.success() { Ok(output.stdout) } else { Err(output.stderr) }
}

/// The hexadecimal bytes that aoeping prints behind the registers.
fn smart_data(printed: &str) -> Vec<u8> {
    let (_, data) = printed.split_once("SMART data:").expect("data");
    data.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).expect("hexadecimal")).collect()
}

#[test]
fn aoeping_finds_a_healthy_disk_by_smart() {
    let (world, mut target) = serving("aoeping-smart");
    let health = smart(&world, "return_status").expect("return status");
    assert!(health.contains("LBA Mid: 0x4f"), "the threshold is not exceeded:\n{health}");
    for (command, start) in [("read_data", [0x10, 0]), ("read_log:0", [1, 0]), ("read_log:1", [1, 0])] {
        let data = smart_data(&smart(&world, command).expect(command));
        assert_eq!((data.len(), &data[..2]), (512, &start[..]), "{command}");
    }
    smart(&world, "offline_immediate:0").expect("all data is there");
    target.expect_running().expect("the target still runs");
}

#[test]
fn aoeping_is_refused_what_the_disk_does_not_do_and_never_left_waiting() {
    let (world, mut target) = serving("aoeping-smart-refused");
    let refused = |command: &str| {
        let error = smart(&world, command).expect_err(command);
        assert!(error.contains("aborted on target"), "{command}: {error}");
    };
    ["write_log:0x80", "write_log:6", "read_log:0x80", "offline_immediate:1"].into_iter().for_each(refused);
    smart(&world, "disable").expect("disable");
    ["return_status", "read_data", "read_log:1"].into_iter().for_each(refused);
    smart(&world, "enable")
        .expect("IDENTIFY still says that there is SMART, and enabling it is never refused");
    smart(&world, "return_status").expect("as before");
    target.expect_running().expect("the target still runs");
}

#[test]
fn aoecfg_reads_tests_sets_and_forces_the_config_string() {
    let (world, mut target) = serving("aoecfg");
    aoecfg(&world, "set", "first words");
    assert!(aoecfg(&world, "read", "").contains("first words"));
    assert!(aoecfg(&world, "test", "first words").contains("first words"));
    expect_silence(&world, "test", "first");
    assert!(aoecfg(&world, "prefix", "first").contains("first words"));
    expect_silence(&world, "prefix", "words");
    aoecfg(&world, "set", "second words");
    assert!(aoecfg(&world, "read", "").contains("first words"), "set never overwrites");
    aoecfg(&world, "fset", "second words");
    assert!(aoecfg(&world, "read", "").contains("second words"), "force set does");
    target.expect_running().expect("the target still runs");
}

#[test]
fn the_config_string_is_there_again_after_a_crash() {
    let (world, mut target) = serving("aoecfg-crash");
    aoecfg(&world, "set", "lasting words");
    target.kill().expect("kill");
    target.restart(&world).expect("restart");
    assert!(aoecfg(&world, "read", "").contains("lasting words"));
}

#[test]
fn aoe_sancheck_finds_the_path_good_up_to_the_largest_payload() {
    let (world, mut target) = serving("sancheck");
    let output =
        world.client.program("aoe-sancheck").within(SANCHECK_LIMIT).run().expect("aoe-sancheck").stdout;
    let line = output.lines().find(|line| line.starts_with("e7.1")).unwrap_or_default();
    assert!(line.contains("eth0"), "the disk is seen through eth0:\n{output}");
    let payload = line.split_whitespace().filter_map(|word| word.parse::<u32>().ok()).max();
    assert!(payload >= Some(8192), "jumbo frames are used:\n{output}");
    target.expect_running().expect("the target still runs");
}
