//! A peer that is not the one, or is not configured alike: the hello that says so is refused, and the session ends with the reason
//! at both nodes.

mod common;

use block::{Duration, ExportId, Instant};
use replication::engine::{Engine, EngineConfig};
use replication::identity::{FormatIdentity, PairIdentity, VolumeIdentity};
use replication::input::Input;
use replication::limits::{LEASE, Limits};
use replication::links::Interfaces;
use replication::membership::{Membership, NodeNumber};
use replication::message::{Hello, Message, Refusal};
use replication::meta::Format;
use replication::meta::layout::{EXTENT_SECTORS, HOT_EXTENTS_MIN, Layout};
use replication::output::Output;
use replication::start::VolumeConfig;
use replication::version::{Version, VersionRange};

const NOW: Instant = Instant::from_nanos(10_000_000_000);
const EXPORT: ExportId = ExportId(0);
const LIMITS: Limits = Limits { requests: 8, followed: 24, copies: 4, volumes: 2, runs_at_once: 100 };

/// What a node is configured with.
#[derive(Clone, Copy)]
struct Config {
    pair: u128,
    node: NodeNumber,
    lease: Duration,
    versions: VersionRange,
}

const ZERO: Config = Config { pair: 3, node: NodeNumber::Zero, lease: LEASE, versions: VersionRange::ALL };
const ONE: Config = Config { node: NodeNumber::One, ..ZERO };

/// A node, and what it has said to its peer and to its shell since it was asked last.
struct Node {
    engine: Engine,
    said: Vec<Message>,
    ended: Vec<Refusal>,
    peer_links_down: Vec<Interfaces>,
}

impl Node {
    fn connected(config: Config) -> Self {
        let Config { pair, node, lease, versions } = config;
        let pair = PairIdentity(pair);
        let first_disk_slot = 100;
        let engine_config =
            EngineConfig { node, pair, incarnation: 1, lease, limits: LIMITS, first_disk_slot, versions };
        let mut engine = Engine::new(NOW, engine_config);
        let metadata = common::fresh(Format {
            format: FormatIdentity(7),
            volume: VolumeIdentity(5),
            pair,
            node,
            layout: Layout::new(EXTENT_SECTORS, HOT_EXTENTS_MIN).expect("a size"),
            membership: Membership::FIRST,
            good: true,
        });
        engine.add_volume(NOW, EXPORT, metadata, VolumeConfig::default());
        let mut node = Self { engine, said: Vec::new(), ended: Vec::new(), peer_links_down: Vec::new() };
        node.input(Input::Connected);
        node
    }

    fn input(&mut self, input: Input) {
        self.engine.handle_input(NOW, input);
        while let Some(output) = self.engine.poll_output() {
            match output {
                Output::Send { message, .. } => self.said.push(message),
                Output::Disconnect { reason } => self.ended.push(reason),
                Output::PeerLinksDown(down) => self.peer_links_down.push(down),
                Output::Metadata { id, .. } => {
                    self.engine.handle_input(NOW, Input::Metadata { id, result: Ok(()) });
                }
                _ => {}
            }
        }
    }

    fn hears(&mut self, messages: &[Message]) {
        for message in messages {
            self.input(Input::Message { message: message.clone(), data: None });
        }
    }

    /// Whether the peer's first renewal was granted.
    fn has_granted(&self) -> bool {
        self.said.contains(&Message::Granted { number: 1 })
    }
}

/// Both nodes say hello. What each has to say after that, and why it has ended the session.
fn greet(one: Config, other: Config) -> [(Vec<Message>, Vec<Refusal>); 2] {
    let mut nodes = [one, other].map(Node::connected);
    let hellos = [0, 1].map(|index| std::mem::take(&mut nodes[index].said));
    nodes[0].hears(&hellos[1]);
    nodes[1].hears(&hellos[0]);
    nodes.map(|node| (node.said, node.ended))
}

/// Each of two nodes with these configurations refuses the other one, for these reasons, and says nothing else.
fn assert_refused(one: Config, other: Config, reasons: [Refusal; 2]) {
    for ((said, ended), reason) in greet(one, other).into_iter().zip(reasons) {
        assert_eq!((said, ended), (vec![Message::Goodbye(reason)], vec![reason]));
    }
}

#[test]
fn nodes_of_one_pair_go_on_after_their_hellos() {
    for (said, ended) in greet(ZERO, ONE) {
        assert_eq!(ended, []);
        assert!(said.iter().any(|message| matches!(message, Message::Announce(_))), "{said:?}");
        assert!(said.iter().any(|message| matches!(message, Message::Renew { .. })), "{said:?}");
    }
}

#[test]
fn nodes_of_different_pairs_refuse_each_other() {
    assert_refused(ZERO, Config { pair: 4, ..ONE }, [Refusal::Pair; 2]);
    assert_refused(ZERO, Config { pair: 4, ..ZERO }, [Refusal::Pair; 2]);
}

#[test]
fn two_nodes_of_one_number_refuse_each_other() {
    assert_refused(ZERO, ZERO, [Refusal::Node(NodeNumber::Zero); 2]);
    assert_refused(ONE, ONE, [Refusal::Node(NodeNumber::One); 2]);
}

#[test]
fn nodes_with_leases_of_different_length_refuse_each_other_and_each_names_its_own() {
    let longer = Config { lease: Duration::from_millis(1500), ..ONE };
    assert_refused(ZERO, longer, [Refusal::Lease(1000), Refusal::Lease(1500)]);
}

#[test]
fn a_peer_that_was_refused_is_granted_nothing_and_a_new_connection_begins_anew() {
    for wrong in [Config { pair: 4, ..ONE }, ZERO, Config { lease: Duration::from_millis(1500), ..ONE }] {
        let mut node = Node::connected(ZERO);
        node.said.clear();
        let Config { pair, node: number, lease, versions } = wrong;
        let hello = Hello {
            versions,
            pair: PairIdentity(pair),
            node: number,
            incarnation: 2,
            lease_milliseconds: u32::try_from(lease.as_millis()).expect("a second"),
        };
        node.hears(&[Message::Hello(hello), Message::Renew { number: 1 }, Message::Hello(hello)]);
        assert_eq!((node.said.len(), node.ended.len()), (1, 1), "{:?}", node.said);
        assert!(!node.has_granted());
        node.input(Input::Disconnected);
        node.input(Input::Connected);
        let right = Hello { pair: PairIdentity(ONE.pair), node: ONE.node, lease_milliseconds: 1000, ..hello };
        node.hears(&[Message::Hello(right), Message::Renew { number: 1 }]);
        assert_eq!(node.ended.len(), 1, "{:?}", node.ended);
        assert!(node.has_granted());
    }
}

#[test]
fn links_that_are_down_are_told_from_the_first_hello_on_to_who_understands_that() {
    let some = Interfaces::NONE.with(1);
    let said_by = |versions: VersionRange| {
        let mut node = Node::connected(ZERO);
        node.input(Input::LinksDown(some));
        let Config { pair, node: number, .. } = ONE;
        let (pair, lease_milliseconds) = (PairIdentity(pair), 1000);
        let hello = Hello { versions, pair, node: number, incarnation: 2, lease_milliseconds };
        node.hears(&[Message::Hello(hello)]);
        node.input(Input::LinksDown(some));
        node.input(Input::LinksDown(Interfaces::NONE));
        node.said.retain(|message| matches!(message, Message::LinksDown(_)));
        node.said
    };
    let told = [Message::LinksDown(some), Message::LinksDown(Interfaces::NONE)];
    assert_eq!(said_by(VersionRange::ALL), told, "once each");
    assert_eq!(said_by(VersionRange::of(Version::OLDEST, Version::V4)), []);
}

#[test]
fn the_peer_s_links_that_are_down_are_forgotten_with_the_session() {
    let (mut zero, mut one) = (Node::connected(ZERO), Node::connected(ONE));
    one.hears(&zero.said);
    zero.hears(&one.said);
    let down = Interfaces::NONE.with(0).with(5);
    zero.hears(&[Message::LinksDown(down), Message::LinksDown(down)]);
    assert_eq!(zero.peer_links_down, [down]);
    zero.input(Input::Disconnected);
    assert_eq!(zero.peer_links_down, [down, Interfaces::NONE]);
    zero.input(Input::Connected);
    zero.said.clear();
    zero.hears(&[Message::LinksDown(down)]);
    assert_eq!(zero.peer_links_down.len(), 2, "before a hello nothing is believed");
    assert!(matches!(zero.ended.as_slice(), [Refusal::Protocol(_)]), "{:?}", zero.ended);
}

#[test]
fn a_goodbye_ends_the_session_with_the_peers_reason() {
    for reason in [Refusal::Pair, Refusal::Node(NodeNumber::One), Refusal::Lease(1500)] {
        let mut node = Node::connected(ZERO);
        node.said.clear();
        node.hears(&[Message::Goodbye(reason)]);
        assert_eq!((node.said, node.ended), (vec![], vec![reason]), "it is not answered");
    }
}
