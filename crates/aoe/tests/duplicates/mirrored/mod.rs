//! The same with a pair of targets: frames come by either node, each tells the other of the writes that it takes, and the
//! session between them breaks. Stock hosts (rules D1 to D4) and hosts that number their writes (D6).
//!
//! What is below the targets is as simple as it can be: one disk, whose writes take effect at one moment, in an order
//! that both nodes' knowledge allows. So whatever an oracle finds wrong is the fault of a target. Taken for granted, besides what
//! `world` does: what was under way when the session broke is known when it stands again, and the frames of a stock host whose
//! write took effect then cease to come as if it had been answered.

mod pair;

use proptest::prelude::*;

use self::pair::{Options, SECTORS, Step, World};

const ORDINARY: Options = Options { distinct_values: true, write_history_max: 256, sectors: SECTORS };

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..4u8, 0..2u8, prop::bool::weighted(0.75), any::<u8>(), any::<u8>(), any::<u8>())
            .prop_map(|(host, node, write, lba, count, value)| Step::Issue { host, node, write, lba, count, value }),
        6 => (any::<u8>(), 0..2u8).prop_map(|(which, node)| Step::Retransmit { which, node }),
        10 => any::<u8>().prop_map(Step::Arrive),
        12 => (0..2u8).prop_map(Step::Handle),
        12 => (0..2u8).prop_map(Step::Hear),
        8 => any::<u8>().prop_map(Step::Complete),
        8 => (any::<u8>(), prop::bool::weighted(0.2)).prop_map(|(which, lost)| Step::Answer { which, lost }),
        1 => (any::<u8>(), any::<bool>()).prop_map(|(taken, is_doubtful)| Step::Break { taken, is_doubtful }),
        2 => prop_oneof![4 => 1..100u16, 2 => 300..600u16, 1 => 900..1100u16, 1 => 2000..2500u16]
            .prop_map(|milliseconds| Step::Pass { milliseconds }),
    ]
}

fn run(steps: &[Step], options: Options) {
    let mut world = World::new(options);
    steps.iter().for_each(|step| world.step(step));
    world.finish();
}

proptest! {
    #[test]
    fn old_data_never_comes_back_by_either_node_of_a_pair(steps in prop::collection::vec(step(), 20..250)) {
        run(&steps, ORDINARY);
    }

    #[test]
    fn old_data_never_comes_back_by_either_node_when_the_same_bytes_are_written_again(
        steps in prop::collection::vec(step(), 20..250)
    ) {
        run(&steps, Options { distinct_values: false, ..ORDINARY });
    }

    #[test]
    fn old_data_never_comes_back_by_either_node_to_one_sector_that_everybody_writes(
        steps in prop::collection::vec(step(), 20..120)
    ) {
        run(&steps, Options { distinct_values: false, sectors: 1, ..ORDINARY });
    }

    #[test]
    fn old_data_never_comes_back_by_either_node_whose_memory_is_small(
        steps in prop::collection::vec(step(), 20..250)
    ) {
        run(&steps, Options { write_history_max: 8, ..ORDINARY });
    }
}

/// A host's write of the first sectors; `count` is one less than how many.
const fn write(host: u8, node: u8, lba: u8, count: u8, value: u8) -> Step {
    Step::Issue { host, node, write: true, lba, count, value }
}

const ANSWERED: Step = Step::Answer { which: 0, lost: false };

/// A write waits at node 1 behind another one. It comes by node 0 as well, is executed and answered, and something is
/// written over it. Its turn at node 1 comes only then.
#[test]
fn a_write_that_waited_while_the_other_node_executed_it_is_not_executed() {
    let steps = [
        write(1, 1, 1, 0, 0),
        Step::Arrive(0),
        Step::Handle(1),
        write(0, 0, 0, 1, 0),
        Step::Arrive(0),
        Step::Retransmit { which: 1, node: 1 },
        Step::Arrive(0),
        Step::Handle(1),
        Step::Handle(0),
        Step::Hear(1),
        Step::Hear(0),
        Step::Hear(0),
        Step::Complete(0),
        ANSWERED,
        Step::Hear(1),
        Step::Hear(1),
        write(1, 0, 0, 0, 0),
        Step::Arrive(0),
        Step::Handle(0),
        Step::Hear(1),
        Step::Hear(0),
        Step::Complete(1),
        ANSWERED,
        Step::Complete(0),
    ];
    run(&steps, ORDINARY);
}

/// Both nodes take a write of the same sector at once, and node 0's comes last. What the other one wrote is not there any
/// more: the same bytes again are a new write.
#[test]
fn a_write_that_was_overtaken_is_not_answered_from_memory() {
    let steps = [
        write(1, 0, 0, 0, 1),
        write(0, 1, 0, 0, 0),
        Step::Arrive(0),
        Step::Arrive(0),
        Step::Handle(0),
        Step::Handle(1),
        Step::Hear(0),
        Step::Hear(1),
        Step::Hear(1),
        Step::Hear(0),
        Step::Complete(1),
        Step::Complete(0),
        Step::Hear(0),
        ANSWERED,
        ANSWERED,
        write(0, 0, 0, 0, 0),
        Step::Arrive(0),
        Step::Handle(0),
    ];
    run(&steps, Options { distinct_values: false, ..ORDINARY });
}

/// A host writes the same bytes twice, the second time when a second has nearly passed, and node 0 answers from memory. Another copy of
/// that comes to node 1, later than a second after the first, and after something was written over it.
#[test]
fn a_copy_of_what_the_other_node_has_answered_from_memory_is_not_executed() {
    let steps = [
        write(0, 0, 0, 0, 0),
        Step::Arrive(0),
        Step::Handle(0),
        Step::Hear(1),
        Step::Hear(0),
        Step::Complete(0),
        Step::Hear(1),
        ANSWERED,
        Step::Pass { milliseconds: 900 },
        write(0, 0, 0, 0, 0),
        Step::Retransmit { which: 0, node: 1 },
        Step::Arrive(0),
        Step::Handle(0),
        ANSWERED,
        write(1, 0, 0, 0, 1),
        Step::Arrive(1),
        Step::Handle(0),
        Step::Hear(1),
        Step::Hear(0),
        Step::Complete(0),
        Step::Hear(1),
        ANSWERED,
        Step::Pass { milliseconds: 500 },
        Step::Arrive(0),
        Step::Handle(1),
    ];
    run(&steps, Options { distinct_values: false, ..ORDINARY });
}
