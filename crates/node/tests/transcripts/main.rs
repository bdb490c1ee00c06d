//! Stories of two whole nodes, told frame by frame and kept in `testdata`. `TRANSCRIPTS=write` writes them anew, to be reviewed
//! as a diff. Each line of a story is something that happens; below it stands what a reader wants to know of what follows.

mod world;

use std::path::PathBuf;

use world::{Frame, World};

fn compare(name: &str, text: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testdata").join(format!("{name}.txt"));
    if std::env::var("TRANSCRIPTS").is_ok_and(|mode| mode == "write") {
        return std::fs::write(&path, text).expect("the file can be written");
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    let different = expected.lines().zip(text.lines()).find(|(old, new)| old != new);
    assert!(
        expected == text,
        "{name}.txt tells another story, first at {different:?}; if this one is right: TRANSCRIPTS=write, and look at the diff"
    );
}

#[test]
fn a_duplicate_that_comes_late() {
    let mut world = World::new("A duplicate that comes late, by either node");
    world.note("A stock initiator writes A to node 0, and its answer is late. It sends the same again under another tag by node 1.");
    let first = Frame::stock(1, 'A');
    world.arrives(0, first);
    world.note("Node 1 has followed A, and answers from memory (D1). Its disk is not asked.");
    world.arrives(1, first.again(2));
    world.note("Another initiator writes B over it.");
    world.arrives(1, Frame::stock(3, 'B').of(2));
    world.note("Copies of A's frame that the network has held come now. Executed, they would undo B (D1): dropped at both nodes.");
    world.passes(400);
    world.arrives(0, first.again(4));
    world.arrives(1, first);
    world.note("Longer than a duplicate can be under way, the same bytes are a new write.");
    world.passes(1500);
    world.arrives(1, first.again(5));
    world.stands('A');
    compare("late_duplicate", &world.told());
}

#[test]
fn a_numbered_duplicate_that_comes_after_its_node_was_killed() {
    let mut world =
        World::new("A numbered write that comes again to a node which was killed, and to one that was away");
    world.note("Our own initiator writes A as its number 1 to node 0; the answer is lost. Somebody writes B over it.");
    let first = Frame::numbered(1, 1, 'A');
    world.arrives(0, first);
    world.arrives(1, Frame::stock(2, 'B'));
    world.note("Node 0 is killed and is back before the arbiter is asked. It has forgotten what it executed, and node 1 tells it.");
    world.kill(0);
    world.start(0);
    world.passes(4000);
    world.note("However late the frame comes: it is answered and not executed (D6).");
    world.arrives(0, first.again(3));
    world.stands('B');
    world.note("Now it is node 1 that was killed: what node 0 has been told it can tell.");
    world.kill(1);
    world.start(1);
    world.passes(4000);
    world.arrives(1, first.again(4));
    world.stands('B');
    world.note("Node 1 is away for longer. Node 0 goes on alone, executes number 2, whose answer is lost, and D over it.");
    world.kill(1);
    world.passes(3000);
    let second = Frame::numbered(5, 2, 'C');
    world.arrives(0, second);
    world.arrives(0, Frame::stock(6, 'D'));
    world.note("It is back, and is told before it serves.");
    world.start(1);
    world.passes(5000);
    world.arrives(1, second.again(7));
    world.stands('D');
    compare("late_number", &world.told());
}
