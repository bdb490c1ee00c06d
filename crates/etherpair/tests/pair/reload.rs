//! A configuration is read again while the daemons run: what can change does, what cannot is refused as a whole.

use std::fs;
use std::io::ErrorKind;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::thread;

use lab::network::MTU_JUMBO;
use lab::{Namespace, Output, Signal, wait_until};
use serde_json::{Value, json};

use crate::world::{PATIENCE, World, bench};
use crate::{assert_equal_copies, pair, under_load};

pub(crate) fn edit(world: &World, node: usize, from: &str, to: &str) {
    let path = world.configuration_file(node);
    let text = fs::read_to_string(&path).expect("a configuration");
    assert!(text.contains(from), "{from} in {text}");
    fs::write(&path, text.replace(from, to)).expect("a configuration");
}

/// An initiator on the second network is answered.
fn assert_answered(world: &World, host: &Namespace) {
    let output = ask(world, host, "");
    assert!(output.status.success(), "{output:?}\n{}", world.logs());
}

/// None is: not one answer within a second.
fn assert_not_answered(world: &World, host: &Namespace) {
    let output = ask(world, host, "--answer-timeout 1");
    assert_eq!(output.status.code(), Some(60), "{output:?}");
}

fn ask(world: &World, host: &Namespace, options: &str) -> Output {
    let output = bench(host, &format!("7.1 -i eth1 --rw randread --requests 50 {options}"));
    assert_eq!(world.status(0)["not_served"], json!([]));
    output
}

/// The interfaces that node 0 shows, and whether they are up.
fn interfaces(world: &World) -> Vec<(String, bool)> {
    let status = world.status(0);
    let interfaces = status["interfaces"].as_array().expect("a list").iter();
    interfaces
        .map(|shown| {
            let name = shown["name"].as_str().expect("a name").to_owned();
            assert!(shown["mtu"] == 9000 && shown["mac"] != shown["virtual_mac"], "{status}");
            (name, shown["up"].as_bool().expect("up or not"))
        })
        .collect()
}

#[test]
fn interfaces_come_and_go_under_load() {
    let world = World::new();
    let (_witness, _nodes) = pair(&world);
    let second = world.add_host("second", &[1], MTU_JUMBO).expect("a host");
    assert_answered(&world, &second);
    under_load(&world, 5, || {
        for _ in 0..2 {
            for node in 0..2 {
                edit(&world, node, "\"eth1\", \"eth2\"", "\"eth1\"");
                world.does(node, "reload");
            }
            assert_not_answered(&world, &second);
            assert_eq!(interfaces(&world), [("eth1".to_owned(), true)]);
            for node in 0..2 {
                edit(&world, node, "\"eth1\"", "\"eth1\", \"eth2\"");
                world.does(node, "reload");
            }
            assert_answered(&world, &second);
        }
    });
    // One that loses its link is told of, and shown.
    let _events = world.command(0, "events").start(world.scratch.join("events")).expect("a command");
    world.wait_for(0, "the listener", |_| {
        let link = |up| world.set_storage_link_up(0, 1, up).expect("a port of the switch");
        link(false);
        world.wait_for(0, "down", |_| !interfaces(&world)[1].1);
        link(true);
        world.wait_for(0, "up", |_| interfaces(&world)[1].1);
        fs::read_to_string(world.scratch.join("events")).is_ok_and(|told| told.contains("interface-down"))
    });
    world.wait_for_event("interface-up");
    world.wait_for_in_sync();
    assert_equal_copies(&world);
}

#[test]
fn what_cannot_change_while_the_daemon_runs_refuses_the_whole() {
    let world = World::new();
    let (_witness, _nodes) = pair(&world);
    let second = world.add_host("second", &[1], MTU_JUMBO).expect("a host");
    let refused = |wanted: &[&str]| {
        let output = world.command(0, "reload").output().expect("it ends");
        assert_eq!(output.status.code(), Some(86), "{output:?}");
        for part in wanted {
            assert!(output.stderr.contains(part), "{part} in {}", output.stderr);
        }
        assert_answered(&world, &second);
    };
    edit(&world, 0, "\"eth1\", \"eth2\"", "\"eth1\"");
    edit(&world, 0, "[peer]\n", "[peer]\nlease = \"2s\"\n");
    refused(&["nothing was changed", "node.toml:", "`peer.lease`: cannot change", "stop both daemons"]);
    edit(&world, 0, "[peer]\nlease = \"2s\"\n", "[peer]\nleese = 1\n");
    refused(&["`peer.leese`: there is no such key"]);
    edit(&world, 0, "leese = 1\n", "");
    edit(&world, 0, "\"eth1\"", "\"eth2\"");
    refused(&["`storage.interfaces`", "at the end of the list"]);
    edit(&world, 0, "\"eth2\"", "\"eth1\", \"eth2\", \"eth9\"");
    refused(&["eth9"]);
    edit(&world, 0, ", \"eth9\"", "");
    fs::write(
        world.directory(0).join("e7.9.volume.toml"),
        "address = \"7.9\"\ndata = \"/nowhere\"\nmetadata = \"/nowhere.meta\"\n",
    )
    .expect("a volume that is not there");
    refused(&["e7.9", "/nowhere"]);
    fs::remove_file(world.directory(0).join("e7.9.volume.toml")).expect("removed");
    // What this process serves other processes of the machine see, also what it did not serve when it started.
    for interface in ["eth1", "eth2"] {
        assert!(is_claimed(&world, interface, "e7.1") && !is_claimed(&world, interface, "e7.9"));
    }
    whoever_makes_the_same_at_once_makes_it_whole_or_not_at_all(&world);
}

/// Whether node 0 keeps other processes of its machine from serving an address.
fn is_claimed(world: &World, interface: &str, address: &str) -> bool {
    let name = SocketAddr::from_abstract_name(format!("etherpair/{interface}/{address}")).expect("a name");
    let bound = world.node(0).enter(|| Ok(UnixDatagram::bind_addr(&name))).expect("a namespace");
    bound.is_err_and(|error| error.kind() == ErrorKind::AddrInUse)
}

fn whoever_makes_the_same_at_once_makes_it_whole_or_not_at_all(world: &World) {
    let files = |node: usize, address: &str| {
        let names = fs::read_dir(world.directory(node)).expect("a directory");
        let names = names.map(|name| name.expect("a file").file_name().to_string_lossy().into_owned());
        names.filter(|name| name.contains(address)).count()
    };
    let served = |node: usize, address: &str| {
        let status = world.status(node);
        assert_eq!(status["not_served"], json!([]), "{}", world.logs());
        let volumes = status["volumes"].as_array().expect("a list").clone();
        volumes.iter().any(|volume| volume["address"] == address)
    };
    for address in ["7.5", "7.6", "7.7"] {
        let create = |node: usize, name: &str| {
            let path = |ending: &str| world.directory(node).join(format!("{name}-e{address}.{ending}"));
            let (data, metadata) = (path("img"), path("meta"));
            let arguments = format!(
                "volume create {address} --size 4M --data {} --metadata {}",
                data.display(),
                metadata.display()
            );
            let output = world.command(node, &arguments).output().expect("it ends");
            assert!(matches!(output.status.code(), Some(0 | 86)), "{output:?}");
            output.status.success()
        };
        let made = thread::scope(|scope| {
            let makers = [(0, "one"), (0, "two"), (1, "three"), (1, "four")]
                .map(|(node, name)| scope.spawn(move || create(node, name)));
            for _ in 0..4 {
                (0..2).for_each(|node| drop(world.does(node, "reload")));
            }
            makers.map(|maker| maker.join().expect("no panic")).into_iter().filter(|made| *made).count()
        });
        assert!(made <= 1, "{address} was made {made} times");
        let name = format!("e{address}");
        for node in 0..2 {
            assert_eq!(served(node, &name), made == 1, "{}", world.logs());
            // What was made for a node that gave it up goes when the connection does.
            let are_whole = || Ok((files(node, &name) == made * 3).then_some(()));
            wait_until("all files or none", PATIENCE, are_whole).expect("whole");
        }
    }
}

#[test]
fn a_volume_that_is_not_configured_any_more_is_the_others_until_it_is_again() {
    let world = World::new();
    let (_witness, _nodes) = pair(&world);
    let file = world.directory(0).join("e7.1.volume.toml");
    let text = fs::read_to_string(&file).expect("a description");
    under_load(&world, 5, || {
        fs::remove_file(&file).expect("removed");
        let said = world.does(0, "reload");
        assert!(said.contains("removed: e7.1"), "{said}");
        assert_eq!(world.status(0)["volumes"], json!([]));
        world.wait_for_alone(1);
        fs::write(&file, &text).expect("put back");
        let said = world.does(0, "reload");
        assert!(said.contains("served now: e7.1"), "{said}");
    });
    world.wait_for_in_sync();
    assert_equal_copies(&world);
    // The second one needs nobody to go on, since it is to be served nowhere.
    for node in 0..2 {
        assert!(is_claimed(&world, "eth1", "e7.1") == (node == 0));
        fs::remove_file(world.directory(node).join("e7.1.volume.toml")).expect("removed");
        let said = world.does(node, "reload");
        assert!(said.contains("removed: e7.1"), "{said}");
        assert_eq!(world.status(node)["volumes"], json!([]));
    }
}

#[test]
fn a_resync_goes_faster_when_it_may() {
    let world = World::new();
    let (_witness, mut nodes) = pair(&world);
    nodes[1].kill().expect("it can be killed");
    let file = world.directory(0).join("e7.1.volume.toml");
    let text = fs::read_to_string(&file).expect("a description");
    fs::write(&file, format!("{text}resync_rate = \"128k\"\n")).expect("slower");
    world.does(0, "reload");
    world.wait_for_alone(0);
    // Nor is the only copy that is served taken away.
    let is_kept = |why: &str| {
        fs::rename(&file, world.directory(0).join("elsewhere")).expect("moved");
        let output = world.command(0, "reload").output().expect("it ends");
        assert_eq!(output.status.code(), Some(86), "{output:?}");
        for part in
            ["nothing was changed", "e7.1.volume.toml: e7.1 is not there any more", why, "put it back"]
        {
            assert!(output.stderr.contains(part), "{part} in {}", output.stderr);
        }
        assert_eq!(world.volume(0)["serving"], true);
        fs::rename(world.directory(0).join("elsewhere"), &file).expect("moved back");
    };
    is_kept("cannot be reached");
    // Sixteen MiB at least, at 128 KiB a second.
    let load = "7.1 -i eth1 --rw randwrite --block-size 64k --verify --allow-writes --requests 400";
    let load = world.bench(load);
    assert!(load.status.success(), "{load:?}\n{}", world.logs());
    nodes[1] = world.start_node(1);
    world.wait_for(0, "source", |volume| volume["replication"] == "SyncSource");
    assert!(world.volume(0)["out_of_sync_bytes"].as_u64().is_some_and(|bytes| bytes > 8 << 20));
    tells_how_the_resync_goes(&world);
    is_kept("its copy is not up to date");
    fs::write(&file, text).expect("faster again");
    let before = std::time::Instant::now();
    world.does(0, "reload");
    world.wait_for_in_sync();
    assert!(before.elapsed().as_secs() < 50, "it would have taken two minutes");
    assert_equal_copies(&world);
}

/// Node 0 copies at 128 KiB a second, and much is left.
fn tells_how_the_resync_goes(world: &World) {
    let is_told = |volume: &Value| {
        let resync = &volume["resync"];
        let figure = |name: &str| resync[name].as_f64();
        let (percent, speed) = (figure("percent"), figure("bytes_per_second"));
        let left = figure("seconds_left");
        percent.is_some_and(|percent| percent > 0.0 && percent < 50.0)
            && speed.is_some_and(|speed| speed > 0.0 && speed < 2.0 * f64::from(128 << 10))
            && left.is_some_and(|left| left > 30.0)
    };
    for node in 0..2 {
        world.wait_for(node, "how the resync goes", is_told);
    }
    assert_eq!(world.volume(1)["replication"], "SyncTarget");
    let said = world.does(0, "status");
    assert!(said.contains(" % at ") && said.contains(" s left"), "{said}");
}

#[test]
fn a_signal_has_the_configuration_read_again_and_a_wrong_one_changes_nothing_and_is_told_once() {
    let world = World::new();
    let (_witness, nodes) = pair(&world);
    let file = world.directory(0).join("e7.1.volume.toml");
    let plain = fs::read_to_string(&file).expect("a description");
    let masked = |mac: &str| format!("{plain}masks = [\"{mac}\"]\n");
    let has_masks = |masks: &[&str]| world.wait_for(0, "masks", |volume| volume["masks"] == json!(masks));
    let [first, second] = ["02:00:00:00:00:01", "02:00:00:00:00:02"];
    fs::write(&file, masked(first)).expect("a description");
    nodes[0].signal(Signal::HangUp).expect("it can be told");
    has_masks(&[first]);
    // One key is wrong, and nothing of all else is taken on.
    fs::write(&file, masked(second)).expect("a description");
    edit(&world, 0, "\"eth1\", \"eth2\"", "\"eth1\"");
    edit(&world, 0, "[peer]\n", "[peer]\nleese = 1\n");
    let log = world.scratch.join("node0.log");
    let told = || {
        let log = fs::read_to_string(&log).expect("a log");
        log.lines().filter(|line| line.contains("reload: ")).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(told(), [""; 0]);
    nodes[0].signal(Signal::HangUp).expect("it can be told");
    wait_until("a line in the log", PATIENCE, || Ok((!told().is_empty()).then_some(()))).expect("told");
    // By the time a command that comes later has failed alike nothing of the first one is under way.
    let refused = world.command(0, "reload").output().expect("it ends");
    assert_eq!(refused.status.code(), Some(86), "{refused:?}");
    let told = told();
    let line = 1 + fs::read_to_string(world.configuration_file(0))
        .expect("a configuration")
        .lines()
        .position(|line| line == "leese = 1")
        .expect("the key");
    let wanted = format!(
        "reload: nothing was changed: {}:{line}: `peer.leese`: there is no such key; did you mean `lease`?",
        world.configuration_file(0).display()
    );
    assert!(
        told.len() == 1 && told[0].contains(" ERROR ") && told[0].ends_with(&wanted),
        "{wanted} in {told:?}"
    );
    assert_eq!(world.volume(0)["masks"], json!([first]));
    assert_eq!(interfaces(&world).len(), 2);
    edit(&world, 0, "leese = 1\n", "");
    nodes[0].signal(Signal::HangUp).expect("it can be told");
    has_masks(&[second]);
    world.wait_for(0, "one interface", |_| interfaces(&world).len() == 1);
}
