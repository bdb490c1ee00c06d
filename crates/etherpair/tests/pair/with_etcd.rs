//! A pair whose arbiter is etcd: three members, of which one stops in the moment it matters, then two are lost.

use std::fs;

use lab::{Process, Signal, package};

use crate::world::{PATIENCE, World};
use crate::{assert_equal_copies, under_load};

/// A member of the cluster, on the witness's host. One that was there before goes on with what it had.
fn start_member(world: &World, number: usize) -> Process {
    let client = format!("http://10.7.0.3:{}", 2379 + 10 * number);
    let peer = |number: usize| format!("http://10.7.0.3:{}", 2380 + 10 * number);
    let cluster: Vec<String> = (0..3).map(|number| format!("m{number}={}", peer(number))).collect();
    let (name, cluster, own) = (format!("m{number}"), cluster.join(","), peer(number));
    let arguments = [
        ["--name", &name],
        ["--listen-client-urls", &client],
        ["--advertise-client-urls", &client],
        ["--listen-peer-urls", &own],
        ["--initial-advertise-peer-urls", &own],
        ["--initial-cluster", &cluster],
    ];
    let program = world.witness_host().program("etcd").args(arguments.concat());
    let program = program.arg("--data-dir").arg(world.scratch.join(&name));
    program.start(world.scratch.join(format!("{name}.log"))).expect("it starts")
}

fn use_etcd(world: &World, node: usize) {
    let path = world.configuration_file(node);
    let text = fs::read_to_string(&path).expect("a configuration");
    let (head, tail) = text.split_once("[arbiter.witness]").expect("a witness");
    let (_, tail) = tail.split_once("insecure = true\n").expect("its end");
    let endpoints: Vec<String> =
        (0..3).map(|number| format!("\"http://10.7.0.3:{}\"", 2379 + 10 * number)).collect();
    let etcd = format!("[arbiter.etcd]\nendpoints = [{}]\ninsecure = true\n", endpoints.join(", "));
    fs::write(&path, format!("{head}{etcd}{tail}")).expect("a configuration");
}

#[test]
fn with_etcd_a_pair_outlives_a_member_and_waits_for_a_majority() {
    package::require(&[package::ETCD]).expect("etcd");
    let world = World::new();
    let mut members = [0, 1, 2].map(|number| start_member(&world, number));
    (0..2).for_each(|node| use_etcd(&world, node));
    let mut nodes = [world.start_node(0), world.start_node(1)];
    let reached = || Ok((0..2).all(|node| world.status(node)["arbiter"]["reachable"] == true).then_some(()));
    lab::wait_until("etcd", PATIENCE, reached).expect("a cluster");
    assert_eq!(world.status(0)["arbiter"]["kind"], "etcd");
    world.does(0, "volume create 7.1 --size 16M");
    world.wait_for_in_sync();
    // The member that both nodes have asked so far stands still when a node is lost.
    let asked = world.status(1)["arbiter"]["address"].as_str().expect("an address").to_owned();
    let index = (0..3).find(|number| asked.ends_with(&format!(":{}", 2379 + 10 * number))).expect("a member");
    under_load(&world, 8, || {
        members[index].signal(Signal::Stop).expect("it can be stopped");
        nodes[0].kill().expect("it can be killed");
        world.wait_for_alone(1);
        nodes[0] = world.start_node(0);
    });
    world.wait_for_in_sync();
    assert_equal_copies(&world);
    members[index].signal(Signal::Continue).expect("it goes on");
    // Without a majority nobody is granted anything.
    members.iter_mut().skip(1).for_each(|member| member.kill().expect("it can be killed"));
    nodes[1].kill().expect("it can be killed");
    world.wait_for(0, "frozen", |volume| volume["phase"] == "Frozen");
    let asked = world.bench("7.1 -i eth1 --rw randread --requests 1 --answer-timeout 4");
    assert!(!asked.status.success(), "{asked:?}");
    members[1] = start_member(&world, 1);
    world.wait_for_alone(0);
    nodes[1] = world.start_node(1);
    world.wait_for_in_sync();
    assert_equal_copies(&world);
    world.does(0, "volume remove 7.1 --yes");
}
