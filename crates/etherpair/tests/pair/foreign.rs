//! Whoever is not the peer, at either end of a connection between the nodes: of another pair, of the same number, with other
//! versions or threads, or connecting the wrong way round.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use lab::pair::Pair;
use replication::identity::PairIdentity;
use replication::membership::NodeNumber;
use replication::version::VersionRange;
use replication::wire::preamble::{PREAMBLE_BYTES, Preamble, PreambleRefusal, ProgramName, Purpose};

use crate::world::{PATIENCE, World};
use crate::{assert_equal_copies, pair, under_load};

const OTHER_PAIR: PairIdentity = PairIdentity(lab::pair::PAIR + 1);
const SHARD: Purpose = Purpose::Shard { shard: 0, shards: 1 };

/// The node that its peer would be.
fn said_by(node: NodeNumber, purpose: Purpose) -> Preamble {
    let (pair, versions) = (PairIdentity(lab::pair::PAIR), VersionRange::ALL);
    Preamble { pair, node, purpose, versions, program: ProgramName::new("test") }
}

/// What the daemon of a node answers to whoever connects and says that.
fn answer(world: &World, node: usize, said: &[u8]) -> Purpose {
    let address = Pair::peer_address(node, 0);
    let answered = world.node(1 - node).enter(|| {
        let mut stream = TcpStream::connect(address)?;
        stream.write_all(said)?;
        let mut answer = [0; PREAMBLE_BYTES];
        stream.read_exact(&mut answer)?;
        Ok(answer)
    });
    Preamble::parse(&answered.expect("it answers")).expect("a preamble").purpose
}

#[test]
fn whoever_is_not_the_peer_is_told_why_it_is_refused_and_the_pair_goes_on() {
    let world = World::new();
    let (_witness, _nodes) = pair(&world);
    let (zero, one) = (NodeNumber::Zero, NodeNumber::One);
    let newer = VersionRange { oldest: u16::MAX, newest: u16::MAX };
    let refused = [
        (0, Preamble { pair: OTHER_PAIR, ..said_by(one, SHARD) }, PreambleRefusal::Pair),
        (1, Preamble { pair: OTHER_PAIR, ..said_by(zero, Purpose::Control) }, PreambleRefusal::Pair),
        // Which pair it is comes before which node.
        (0, Preamble { pair: OTHER_PAIR, ..said_by(zero, SHARD) }, PreambleRefusal::Pair),
        (0, said_by(zero, SHARD), PreambleRefusal::Node),
        (1, said_by(one, Purpose::Control), PreambleRefusal::Node),
        (0, Preamble { versions: newer, ..said_by(one, SHARD) }, PreambleRefusal::Version),
        (0, said_by(one, Purpose::Shard { shard: 0, shards: 2 }), PreambleRefusal::Shards),
        (0, said_by(one, Purpose::Shard { shard: 1, shards: 1 }), PreambleRefusal::Shards),
        (1, said_by(zero, SHARD), PreambleRefusal::Direction),
        (0, said_by(one, Purpose::Accepted { nonce: 0 }), PreambleRefusal::Version),
        (0, said_by(one, Purpose::Confirmed { nonce: 0 }), PreambleRefusal::Version),
        (0, said_by(one, Purpose::Refused(PreambleRefusal::Busy)), PreambleRefusal::Version),
    ];
    under_load(&world, 2, || {
        for (node, said, refusal) in refused {
            assert_eq!(
                answer(&world, node, &said.emit()),
                Purpose::Refused(refusal),
                "node {node}: {said:?}"
            );
        }
        assert!(matches!(
            answer(&world, 0, &said_by(one, Purpose::Control).emit()),
            Purpose::Accepted { .. }
        ));
    });
    assert_equal_copies(&world);
}

/// Answers at each address of node 0 with what is wanted just then, and goes.
fn impostor(world: &World) -> Arc<Mutex<Preamble>> {
    let said = Arc::new(Mutex::new(said_by(NodeNumber::Zero, Purpose::Refused(PreambleRefusal::Busy))));
    for wire in 0..2 {
        let listener = world.node(0).enter(|| TcpListener::bind(Pair::peer_address(0, wire)));
        let (listener, said) = (listener.expect("its address is free"), Arc::clone(&said));
        thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                let answer = said.lock().expect("nobody panics holding it").emit();
                let _ = stream.read_exact(&mut [0; PREAMBLE_BYTES]);
                let _ = stream.write_all(&answer);
                // Whoever has heard enough hangs up.
                let _ = stream.read(&mut [0; 1]);
            }
        });
    }
    said
}

#[test]
fn a_node_that_connects_to_another_than_its_peer_says_who_is_there() {
    let world = World::new();
    let _witness = world.start_witness();
    let said = impostor(&world);
    let _node = world.start_node(1);
    let (zero, accepted) = (NodeNumber::Zero, Purpose::Accepted { nonce: 0 });
    let newer = VersionRange { oldest: u16::MAX, newest: u16::MAX };
    let told = [
        (
            Preamble { pair: OTHER_PAIR, ..said_by(zero, accepted) },
            "refused: the nodes have different values of `pair`",
        ),
        (said_by(NodeNumber::One, accepted), "refused: both nodes have the same value of `node`"),
        (
            said_by(zero, Purpose::Refused(PreambleRefusal::Shards)),
            "the peer refuses: the nodes have different values of `count`",
        ),
        (Preamble { versions: newer, ..said_by(zero, accepted) }, "they have none in common"),
        (said_by(zero, SHARD), "answer"),
    ];
    for (preamble, text) in told {
        *said.lock().expect("nobody panics holding it") = preamble;
        let is_told = || Ok(Some(()).filter(|()| world.status(1).to_string().contains(text)));
        world.wait_for_pair(text, PATIENCE, is_told).expect("it is told");
    }
}
