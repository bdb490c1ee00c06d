//! What nobody should send to the witness: what was recorded of a connection, cut off anywhere, and what never was a question.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::Instant;

use lab::pair::PAIR;
use replication::identity::{PairIdentity, VolumeIdentity};
use replication::membership::{Epoch, Members, Membership, NodeNumber};
use replication::witness::question::{ANSWER_BYTES, QUESTION_BYTES};
use replication::witness::{Answer, AnswerKind, Moment, Question, QuestionKind, RegisterKey};

use crate::reload::edit;
use crate::world::World;
use crate::{assert_equal_copies, pair, told_at_most_since};

const WITNESS: &str = "10.7.0.3:8803";
/// The epoch of a new volume, which both nodes serve.
const BOTH: Membership = Membership { epoch: Epoch(1), members: Members::Both };

/// Shuts node 1 out.
const SWAP: QuestionKind = QuestionKind::Swap {
    expected: BOTH,
    next: Membership { epoch: Epoch(2), members: Members::Only(NodeNumber::Zero) },
};

fn question(volume: VolumeIdentity, moment: Moment, kind: QuestionKind) -> [u8; QUESTION_BYTES] {
    let key = RegisterKey { pair: PairIdentity(PAIR), volume };
    Question { number: 7, key, moment, kind }.emit()
}

fn hello() -> [u8; QUESTION_BYTES] {
    question(VolumeIdentity(0), Moment::default(), QuestionKind::Hello)
}

/// Says this to the witness on a connection of its own; what is answered until the end.
fn say(world: &World, bytes: &[u8]) -> Vec<Answer> {
    let said = world.node(0).enter(|| say_all(&mut TcpStream::connect(WITNESS)?, bytes));
    said.expect("it listens")
}

/// The same behind a greeting, with the moment that is told there; what is answered to it after that.
fn say_in_time(world: &World, bytes: impl FnOnce(Moment) -> Vec<u8> + Send) -> Vec<Answer> {
    let said = world.node(0).enter(move || {
        let mut stream = TcpStream::connect(WITNESS)?;
        stream.write_all(&hello())?;
        let mut welcome = [0; ANSWER_BYTES];
        stream.read_exact(&mut welcome)?;
        say_all(&mut stream, &bytes(Answer::parse(&welcome).expect("an answer").moment))
    });
    said.expect("it listens")
}

fn say_all(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<Vec<Answer>> {
    // A witness that has heard enough ends the conversation before all was said.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(Shutdown::Write);
    let (mut answers, mut answer) = (Vec::new(), [0; ANSWER_BYTES]);
    while stream.read_exact(&mut answer).is_ok() {
        answers.push(Answer::parse(&answer).expect("an answer"));
    }
    Ok(answers)
}

#[test]
fn what_was_recorded_cut_off_or_never_was_a_question_changes_no_register_and_a_node_may_be_lost_after_it() {
    let world = World::new();
    for node in 0..2 {
        // So that a busy machine does not have the nodes part, which would change the register.
        edit(&world, node, "[peer]\n", "[peer]\nlease = \"3s\"\n");
    }
    let (_witness, mut nodes) = pair(&world);
    let identity = world.volume(0)["identity"].clone();
    let identity = u128::from_str_radix(identity.as_str().expect("a text"), 16).expect("hexadecimal digits");
    let volume = VolumeIdentity(identity);
    let file = world.scratch.join("witness").join(format!("{PAIR:032x}.registers"));
    let register = || fs::read_to_string(&file).expect("registers");
    let before = register();
    assert!(before.ends_with(" 1 both\n"), "{before}");
    let begun = Instant::now();
    let load = "7.1 -i eth1 --rw randrw --verify --allow-writes --sleep --seconds 6";
    let output = thread::scope(|scope| {
        let load = scope.spawn(|| world.bench(load));
        // With the moment of a connection that is no more.
        let recorded = [hello(), question(volume, say(&world, &hello())[0].moment, SWAP)].concat();
        for _ in 0..20 {
            let answers: Vec<AnswerKind> = say(&world, &recorded).iter().map(|answer| answer.kind).collect();
            assert_eq!(answers, [AnswerKind::Welcome, AnswerKind::Late]);
        }
        for end in 0..recorded.len() {
            say(&world, &recorded[..end]);
        }
        // Cut off where it would be carried out if it were whole, and damaged there.
        for place in 0..QUESTION_BYTES {
            let cut = say_in_time(&world, |moment| question(volume, moment, SWAP)[..place].to_vec());
            assert_eq!(cut, [], "{place} bytes are no question");
            let damaged = say_in_time(&world, |moment| {
                let mut bytes = question(volume, moment, SWAP);
                bytes[place] ^= 0x40;
                bytes.to_vec()
            });
            assert!(damaged.iter().all(|answer| answer.kind == AnswerKind::Version), "{place}: {damaged:?}");
        }
        for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0xff; 300], &[0; 1000], b"EPw\n\x01\x01\x01", b"EP"] {
            for _ in 0..20 {
                assert_eq!(say(&world, bytes), []);
            }
        }
        load.join().expect("no panic")
    });
    assert!(output.status.success(), "{output:?}\n{}", world.logs());
    assert_eq!(register(), before, "{}", world.logs());
    let log = fs::read_to_string(world.scratch.join("witness.log")).expect("a log");
    let lines = log.lines().filter(|line| line.contains("connection from")).count();
    assert!((1..=told_at_most_since(begun)).contains(&lines), "{lines} lines: {log}");
    assert!(!log.contains("panicked"), "{log}");
    // And it still does what it is there for.
    nodes[1].kill().expect("it can be killed");
    world.wait_for_alone(0);
    assert!(register().ends_with(" 2 only-0\n"), "{}", register());
    let load = "7.1 -i eth1 --rw randrw --verify --allow-writes --requests 200";
    assert!(world.bench(load).status.success(), "{}", world.logs());
    nodes[1] = world.start_node(1);
    world.wait_for_in_sync();
    assert_equal_copies(&world);
}
