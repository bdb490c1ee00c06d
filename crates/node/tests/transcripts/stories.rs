//! The stories: what happens, and what both disks hold then. Each can be told of engines that make a mistake.

use replication::mutation::Mutation;

use crate::world::{Frame, World};

/// A stock initiator's write, again and again.
#[allow(dead_code, reason = "only one of the two tests that share this tells it")]
pub(crate) fn late_duplicate(mistake: Option<Mutation>) -> String {
    let mut world = World::new("A duplicate that comes late, by either node", mistake);
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
    world.passes(2500);
    world.arrives(1, first.again(5));
    world.stands('A');
    world.told()
}

/// A node that leaves with requests that wait for others.
#[allow(dead_code, reason = "only one of the two tests that share this tells it")]
pub(crate) fn leave_with_waiting(mistake: Option<Mutation>) -> String {
    let mut world = World::new("A node leaves while requests wait for one another", mistake);
    world.note("One host writes A, another B over it and a third reads: B and the read wait for A. Node 0 is told to leave.");
    world.note("It takes nothing more and ends A at both. B and the read have not begun: they go to node 1 as if the network had brought them there.");
    world.passes(15_000);
    world.leaves_amid(0, &[Frame::stock(1, 'A'), Frame::stock(2, 'B').of(2), Frame::read(3).of(3)]);
    world.note("It is back.");
    world.control(0, replication::input::Control::Join);
    world.passes(5000);
    world.stands('B');
    world.told()
}

/// A numbered write, after whoever executed it was killed, or the other one was away.
pub(crate) fn late_number(mistake: Option<Mutation>) -> String {
    let title = "A numbered write that comes again to a node which was killed, and to one that was away";
    let mut world = World::new(title, mistake);
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
    world.told()
}

/// A stock write that was in flight when the link broke, and that is on the disk which counts.
pub(crate) fn doubt_executed(mistake: Option<Mutation>) -> String {
    let mut world = World::new("A write in doubt that the copy which counts has", mistake);
    world.note("The link is dead, and nobody has noticed. A host writes A to node 0, whose disk has it; node 1 hears nothing.");
    world.falls_silent();
    let first = Frame::stock(1, 'A');
    world.arrives(0, first);
    world.note("The nodes meet as equals: node 0's copy counts, and it says that it has A. Somebody writes B over it.");
    world.parts_and_is_back();
    world.arrives(0, Frame::stock(2, 'B').of(2));
    world.note("The host has no answer, and sends A again, by node 1. Executed, it would undo B.");
    world.arrives(1, first.again(3));
    world.stands('B');
    world.told()
}

/// A stock write that was in flight when the link broke, and that only the disk has which does not count.
pub(crate) fn doubt_abandoned(mistake: Option<Mutation>) -> String {
    let mut world = World::new("A write in doubt that the copy which counts has not", mistake);
    world.arrives(0, Frame::stock(1, 'A'));
    world.note("The link is dead, and nobody has noticed. A host writes B to node 1, whose disk has it; node 0 hears nothing.");
    world.falls_silent();
    let second = Frame::stock(2, 'B');
    world.arrives(1, second);
    world.note("The nodes meet as equals: node 0's copy counts. B never was, and node 1 gives it up.");
    world.parts_and_is_back();
    world.stands('A');
    world.note("The host has no answer, and sends B again. Answered from memory, it would be on no disk.");
    world.arrives(1, second.again(3));
    world.stands('B');
    world.told()
}
