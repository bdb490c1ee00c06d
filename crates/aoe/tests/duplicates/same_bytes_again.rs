//! Writing A, then B, then A again: why the second A has to wait until no copy of the first can come any more. Each test is
//! a run in which a rule that would execute it at once, for a reason that looks good, brings old data back
//! (`docs/decisions/0008`).

use crate::ORDINARY;
use crate::world::{Step, World};

/// A write or read of the first sector of the first disk by one of the hosts.
const fn issue(host: u8, write: bool) -> Step {
    Step::Issue { host, export: 0, write, lba: 0, count: 0, value: 0, port: 0 }
}

/// The oldest frame on the wire arrives, is read, and what it asks for is done; its answer is on the way.
const DONE: [Step; 3] = [Step::Arrive(0), Step::Handle(0), Step::Complete { which: 0, fail: false }];
const ANSWERED: Step = Step::Answer { which: 0, lost: false };
/// The oldest request without an answer is sent again, by the same interface and under a new tag.
const AGAIN: Step = Step::Retransmit { which: 0, new_tag: true, port: 0 };

fn run(steps: &[&[Step]]) -> World {
    let mut world = World::new(ORDINARY);
    steps.iter().copied().flatten().for_each(|step| world.step(step));
    world
}

fn done(host: u8, write: bool) -> Vec<Step> {
    [&[issue(host, write)], &DONE[..], &[ANSWERED]].concat()
}

/// "It came later by the same interface, so it was sent later." Frames of one sender leave by several queues of its card,
/// and a copy that waits in one is overtaken by what the answer to the first frame set off.
#[test]
fn a_copy_that_was_overtaken_on_its_own_path_is_dropped() {
    run(&[
        &[issue(0, true), AGAIN],
        &DONE,
        &[ANSWERED, issue(0, true), Step::Arrive(1), Step::Handle(0)],
        &[Step::Complete { which: 0, fail: false }, ANSWERED, Step::Pass { milliseconds: 5 }],
        &DONE,
        &done(1, false),
    ])
    .finish();
}

/// "Its tag says that it was sent after B, so it is no copy of an A from before B." It is, if the answer to A was lost and B
/// did not wait for it; and somebody has seen A before B.
#[test]
fn a_copy_sent_after_the_next_write_because_an_answer_was_lost_is_dropped() {
    run(&[
        &[issue(0, true)],
        &DONE,
        &[Step::Answer { which: 0, lost: true }],
        &done(1, false),
        &done(0, true),
        &done(1, false),
        &[AGAIN],
        &DONE,
        &done(1, false),
    ])
    .finish();
}

/// "Nobody has read A since, so its first execution may as well not have happened." Its answer may have arrived while the copy
/// was on the wire: then both writes are over, and whoever reads B may rely on it.
#[test]
fn a_copy_sent_before_its_answer_arrived_is_dropped_though_nobody_has_read_the_first() {
    run(&[
        &[issue(0, true)],
        &DONE,
        &[issue(0, true)],
        &DONE,
        &[AGAIN, ANSWERED, ANSWERED],
        // The reader's frame passes by the copy, which was sent before it.
        &[issue(1, false), Step::Arrive(1), Step::Handle(0)],
        &[Step::Complete { which: 0, fail: false }, ANSWERED],
        &DONE,
        &done(1, false),
    ])
    .finish();
}

/// What it costs: a write of the same bytes is dropped, and executed when it is sent again after the window.
#[test]
fn the_same_bytes_written_again_are_taken_as_soon_as_no_copy_can_come() {
    let mut world = World::new(crate::Options { distinct_values: false, ..ORDINARY });
    let write = |value| Step::Issue { host: 0, export: 0, write: true, lba: 0, count: 0, value, port: 0 };
    let mut step = |step: &Step| world.step(step);
    for value in [1, 2] {
        step(&write(value));
        DONE.iter().chain([&ANSWERED]).for_each(&mut step);
    }
    step(&write(1));
    DONE.iter().chain([&ANSWERED, &Step::Pass { milliseconds: 1249 }, &AGAIN]).for_each(&mut step);
    DONE.iter().chain([&ANSWERED]).for_each(&mut step);
    assert!(!world.has_answer(2), "within the window");
    let mut step = |step: &Step| world.step(step);
    [Step::Pass { milliseconds: 2 }, AGAIN].iter().chain(&DONE).chain([&ANSWERED]).for_each(&mut step);
    assert!(world.has_answer(2), "after it");
    world.finish();
}
