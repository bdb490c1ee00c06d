//! What an arbiter has to do, whoever it is; and what only a witness does.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use lab::{Namespace, Process, package};
use replication::identity::{PairIdentity, VolumeIdentity};
use replication::input::ArbiterAnswer;
use replication::membership::{Epoch, Members, Membership, NodeNumber};
use replication::witness::RegisterKey;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Arbiter, ArbiterError, PATIENCE};
use crate::config::arbiter::ArbiterConfig;
use crate::witness::{WitnessConfig, start};

const KEY: RegisterKey = RegisterKey { pair: PairIdentity(0xaa), volume: VolumeIdentity(7) };
const BOTH: Membership = Membership { epoch: Epoch(1), members: Members::Both };
const ZERO: Membership = Membership { epoch: Epoch(2), members: Members::Only(NodeNumber::Zero) };
const ONE: Membership = Membership { epoch: Epoch(2), members: Members::Only(NodeNumber::One) };

/// Runs a test in a network of its own.
fn in_namespace(test: impl AsyncFnOnce() + Send) {
    in_this(&Namespace::new().expect("run as root"), test);
}

fn in_this(namespace: &Namespace, test: impl AsyncFnOnce() + Send) {
    let done = namespace.enter(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(test());
        Ok(())
    });
    done.expect("a namespace");
}

fn witness_config(directory: &Path) -> WitnessConfig {
    let listen = vec!["127.0.0.1:0".parse().expect("an address")];
    WitnessConfig { listen, directory: directory.to_owned(), pairs: Vec::new() }
}

async fn reached(config: &ArbiterConfig) -> Arbiter {
    let arbiter = Arbiter::start(config);
    let begun = Instant::now();
    while !arbiter.state().is_reachable {
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", arbiter.state());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    arbiter
}

/// What holds for every arbiter.
async fn keeps_registers(config: &ArbiterConfig) {
    let (one, two) = (reached(config).await, reached(config).await);
    assert_eq!(one.ask(KEY, BOTH, ZERO).await, Err(ArbiterError::NoRegister), "nothing is made by a swap");
    assert_eq!(one.create(KEY, BOTH).await, Ok(()));
    assert_eq!(two.create(KEY, BOTH).await, Ok(()), "the other node says the same");
    assert_eq!(two.ask(KEY, BOTH, BOTH).await, Ok(ArbiterAnswer::Swapped), "it holds that");
    let (zero, other) = tokio::join!(one.ask(KEY, BOTH, ZERO), two.ask(KEY, BOTH, ONE));
    let answers = [zero.expect("reachable"), other.expect("reachable")];
    let held = match answers {
        [ArbiterAnswer::Swapped, ArbiterAnswer::Holds(held)] => (held == ZERO).then_some(held),
        [ArbiterAnswer::Holds(held), ArbiterAnswer::Swapped] => (held == ONE).then_some(held),
        _ => None,
    };
    let held = held.unwrap_or_else(|| panic!("of two that ask for the same one gets it: {answers:?}"));
    assert_eq!(one.ask(KEY, BOTH, BOTH).await, Ok(ArbiterAnswer::Holds(held)));
    assert_eq!(two.create(KEY, BOTH).await, Err(ArbiterError::Holds(held)), "a register is never made anew");
    let other = RegisterKey { volume: VolumeIdentity(8), ..KEY };
    assert_eq!(one.create(other, BOTH).await, Ok(()), "volumes have nothing to do with each other");
    let other = RegisterKey { pair: PairIdentity(1), ..KEY };
    assert_eq!(one.ask(other, BOTH, BOTH).await, Err(ArbiterError::NoRegister), "nor have pairs");
    assert_eq!(one.remove(KEY, BOTH).await, Err(ArbiterError::Holds(held)));
    assert_eq!(one.remove(KEY, held).await, Ok(()));
    assert_eq!(one.remove(KEY, held).await, Ok(()), "the answer was lost, and it is asked again");
    assert_eq!(two.ask(KEY, held, held).await, Err(ArbiterError::NoRegister));
}

#[test]
fn a_witness_keeps_registers() {
    let directory = tempfile::tempdir().expect("a directory");
    in_namespace(async || {
        let addresses = start(&witness_config(directory.path())).await.expect("a witness");
        keeps_registers(&ArbiterConfig::Witness(addresses)).await;
    });
}

/// etcd on the loopback of the namespace.
fn etcd(namespace: &Namespace, directory: &Path) -> Process {
    package::require(&[package::ETCD]).expect("etcd");
    let program = namespace.program("etcd").arg("--data-dir").arg(directory.join("etcd"));
    let urls =
        ["--listen-client-urls", "http://127.0.0.1:2379", "--advertise-client-urls", "http://127.0.0.1:2379"];
    let peers = ["--listen-peer-urls", "http://127.0.0.1:2380"];
    program.args(urls).args(peers).start(directory.join("etcd.log")).expect("it starts")
}

fn etcd_config() -> ArbiterConfig {
    etcd_at(&["127.0.0.1:9", "127.0.0.1:2379"])
}

fn etcd_at(endpoints: &[&str]) -> ArbiterConfig {
    let endpoints = endpoints.iter().map(|endpoint| endpoint.parse().expect("an address"));
    ArbiterConfig::Etcd { endpoints: endpoints.collect(), prefix: "/etherpair".to_owned() }
}

/// One of three members of a cluster, at ports of its own.
fn member(namespace: &Namespace, directory: &Path, number: usize) -> Process {
    package::require(&[package::ETCD]).expect("etcd");
    let client = format!("http://127.0.0.1:{}", 2379 + 10 * number);
    let peer = |number: usize| format!("http://127.0.0.1:{}", 2380 + 10 * number);
    let cluster: Vec<String> = (0..3).map(|number| format!("m{number}={}", peer(number))).collect();
    let (name, cluster, own) = (format!("m{number}"), cluster.join(","), peer(number));
    let arguments = [
        ["--name", &name],
        ["--listen-client-urls", &client],
        ["--advertise-client-urls", &client],
        ["--listen-peer-urls", &own],
        ["--initial-advertise-peer-urls", &own],
        ["--initial-cluster", &cluster],
        // Whoever is to vote, and whoever is to be missed, is so soon.
        ["--heartbeat-interval", "50"],
        ["--election-timeout", "500"],
    ];
    let program = namespace.program("etcd").args(arguments.concat());
    let program = program.arg("--data-dir").arg(directory.join(&name));
    program.start(directory.join(format!("{name}.log"))).expect("it starts")
}

#[test]
fn a_member_of_etcd_that_is_there_without_a_majority_is_no_arbiter() {
    let directory = tempfile::tempdir().expect("a directory");
    let namespace = Namespace::new().expect("run as root");
    let mut members = [0, 1, 2].map(|number| member(&namespace, directory.path(), number));
    in_this(&namespace, async || {
        // Nothing is asked here but whether it can be reached.
        let arbiter = reached(&etcd_at(&["127.0.0.1:2379"])).await;
        let mut states = arbiter.states().expect("an arbiter");
        members.iter_mut().skip(1).for_each(|member| member.kill().expect("it can be killed"));
        let lost = states.wait_for(|state| !state.is_reachable && state.error.is_some());
        let lost = tokio::time::timeout(Duration::from_secs(20), lost).await.expect("it is told in time");
        drop(lost.expect("there is an arbiter"));
        // It takes connections all the same.
        drop(TcpStream::connect("127.0.0.1:2379").await.expect("it is there"));
    });
}

#[test]
fn etcd_keeps_registers_and_may_go_away_and_come_back() {
    let directory = tempfile::tempdir().expect("a directory");
    let namespace = Namespace::new().expect("run as root");
    let mut server = etcd(&namespace, directory.path());
    in_this(&namespace, async || {
        keeps_registers(&etcd_config()).await;
        let arbiter = reached(&etcd_config()).await;
        assert_eq!(arbiter.create(KEY, BOTH).await, Ok(()));
        let identity = arbiter.state().identity.expect("it was reached");
        assert!(identity.starts_with("cluster ") && identity.ends_with(", prefix /etherpair"), "{identity}");
        server.kill().expect("it can be killed");
        assert_eq!(arbiter.ask(KEY, BOTH, ZERO).await, Err(ArbiterError::Unreachable));
        let state = arbiter.state();
        assert!(!state.is_reachable && state.identity == Some(identity), "{state:?}");
        let _server = etcd(&namespace, directory.path());
        let arbiter = reached(&etcd_config()).await;
        assert_eq!(arbiter.ask(KEY, BOTH, ZERO).await, Ok(ArbiterAnswer::Swapped));
        assert_eq!(arbiter.ask(KEY, BOTH, ONE).await, Ok(ArbiterAnswer::Holds(ZERO)));
    });
}

#[test]
fn a_thousand_questions_at_once_are_answered_soon() {
    let directory = tempfile::tempdir().expect("a directory");
    in_namespace(async || {
        let addresses = start(&witness_config(directory.path())).await.expect("a witness");
        let arbiter = reached(&ArbiterConfig::Witness(addresses)).await;
        let begun = Instant::now();
        let questions: Vec<_> = (0..1000)
            .map(|volume| {
                let (arbiter, key) = (arbiter.clone(), RegisterKey { volume: VolumeIdentity(volume), ..KEY });
                tokio::spawn(async move { arbiter.create(key, BOTH).await })
            })
            .collect();
        for question in questions {
            assert_eq!(question.await.expect("it ran"), Ok(()));
        }
        assert!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
    });
}

#[test]
fn an_address_where_nobody_is_leads_to_the_next() {
    let directory = tempfile::tempdir().expect("a directory");
    in_namespace(async || {
        let mut addresses = start(&witness_config(directory.path())).await.expect("a witness");
        addresses.insert(0, "127.0.0.2:9".parse().expect("an address"));
        let arbiter = reached(&ArbiterConfig::Witness(addresses)).await;
        assert_eq!(arbiter.create(KEY, BOTH).await, Ok(()));
    });
}

#[test]
fn a_witness_that_nobody_reaches_is_said_to_be_so_in_time() {
    in_namespace(async || {
        let arbiter =
            Arbiter::start(&ArbiterConfig::Witness(vec!["127.0.0.2:9".parse().expect("an address")]));
        let begun = Instant::now();
        assert_eq!(arbiter.ask(KEY, BOTH, ZERO).await, Err(ArbiterError::Unreachable));
        assert!(begun.elapsed() < PATIENCE + Duration::from_millis(500), "{:?}", begun.elapsed());
        assert!(!arbiter.state().is_reachable);
    });
}

#[test]
fn a_second_witness_in_the_place_of_the_first_is_not_believed() {
    let (first, second) =
        (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
    in_namespace(async || {
        let one = start(&witness_config(first.path())).await.expect("a witness");
        let two = start(&witness_config(second.path())).await.expect("a witness");
        // A port that leads to the first witness, then to the second.
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        tokio::spawn(async move {
            for target in [one[0], two[0], two[0], two[0], two[0], two[0], two[0], two[0]] {
                let Ok((mut near, _)) = listener.accept().await else { return };
                let mut far = TcpStream::connect(target).await.expect("a witness");
                let lasts = Duration::from_millis(300);
                let _ = tokio::time::timeout(lasts, tokio::io::copy_bidirectional(&mut near, &mut far)).await;
            }
        });
        let arbiter = reached(&ArbiterConfig::Witness(vec![address])).await;
        let begun = Instant::now();
        while !arbiter.state().error.is_some_and(|error| error.contains("another witness")) {
            assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", arbiter.state());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(arbiter.create(KEY, BOTH).await, Err(ArbiterError::Unreachable));
    });
}

async fn is_closed(address: SocketAddr, bytes: &[u8]) -> bool {
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    stream.write_all(bytes).await.expect("it listens");
    let mut rest = Vec::new();
    // Closed with unread bytes, it may also be reset.
    let _ = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut rest))
        .await
        .expect("it is closed");
    rest.is_empty()
}

#[test]
fn garbage_closes_its_connection_and_others_go_on() {
    let directory = tempfile::tempdir().expect("a directory");
    in_namespace(async || {
        let addresses = start(&witness_config(directory.path())).await.expect("a witness");
        let arbiter = reached(&ArbiterConfig::Witness(addresses.clone())).await;
        assert_eq!(arbiter.create(KEY, BOTH).await, Ok(()));
        for _ in 0..100 {
            assert!(is_closed(addresses[0], b"GET / HTTP/1.1\r\nHost: witness\r\n\r\n").await);
            assert!(is_closed(addresses[0], &[&b"EPw\n\x01\x02"[..], &[0xff; 200]].concat()).await);
        }
        assert_eq!(arbiter.ask(KEY, BOTH, ZERO).await, Ok(ArbiterAnswer::Swapped));
    });
}
