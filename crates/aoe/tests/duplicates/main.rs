//! Retransmissions are normal traffic and never bring old data back (rules D1 to D4, and D6).
//!
//! Steps made up at random drive two hosts, a wire that copies, delays and reorders, and slow disks; an oracle then
//! looks at what the hosts saw. `PROPTEST_CASES=10000` looks longer.

mod disk;
mod mirrored;
mod oracle;
mod same_bytes_again;
mod world;

use block::LogicalSectorSize;
use proptest::prelude::*;
use world::{Options, Step, World};

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (any::<u8>(), 0..8u8, prop::bool::weighted(0.7), 0..12u8, any::<u8>(), any::<u8>(), any::<u8>())
            .prop_map(|(host, export, write, lba, count, value, port)| Step::Issue {
                host: u8::from(host % 4 == 0),
                export: u8::from(export == 0),
                write,
                lba,
                count,
                value,
                port
            }),
        6 => (any::<u8>(), prop::bool::weighted(0.8), any::<u8>())
            .prop_map(|(which, new_tag, port)| Step::Retransmit { which, new_tag, port }),
        10 => any::<u8>().prop_map(Step::Arrive),
        14 => any::<u8>().prop_map(Step::Handle),
        6 => any::<u8>().prop_map(Step::Progress),
        6 => (any::<u8>(), prop::bool::weighted(0.03))
            .prop_map(|(which, fail)| Step::Complete { which, fail }),
        8 => (any::<u8>(), prop::bool::weighted(0.1)).prop_map(|(which, lost)| Step::Answer { which, lost }),
        2 => prop_oneof![4 => 1..100u16, 2 => 300..600u16, 1 => 900..1100u16]
            .prop_map(|milliseconds| Step::Pass { milliseconds }),
    ]
}

fn run(steps: &[Step], options: Options) {
    let mut world = World::new(options);
    for step in steps {
        world.step(step);
    }
    world.finish();
}

const ORDINARY: Options = Options {
    distinct_values: true,
    logical_sector_size: LogicalSectorSize::B512,
    outstanding_max: 64,
    sectors: world::SECTORS,
    slow: 1,
};

proptest! {
    #[test]
    fn old_data_never_comes_back(steps in prop::collection::vec(step(), 20..300)) {
        run(&steps, ORDINARY);
    }

    #[test]
    fn old_data_never_comes_back_when_the_same_bytes_are_written_again(
        steps in prop::collection::vec(step(), 20..300)
    ) {
        run(&steps, Options { distinct_values: false, ..ORDINARY });
    }

    #[test]
    fn old_data_never_comes_back_to_one_sector_that_everybody_writes(
        steps in prop::collection::vec(step(), 20..150)
    ) {
        run(&steps, Options { distinct_values: false, sectors: 1, slow: 4, ..ORDINARY });
    }

    #[test]
    fn old_data_never_comes_back_on_a_disk_with_large_sectors(steps in prop::collection::vec(step(), 20..300)) {
        run(&steps, Options { logical_sector_size: LogicalSectorSize::B4096, ..ORDINARY });
    }

    #[test]
    fn old_data_never_comes_back_when_the_table_is_small(steps in prop::collection::vec(step(), 20..300)) {
        run(&steps, Options { outstanding_max: 4, distinct_values: false, ..ORDINARY });
    }
}

/// The second write is answered from memory, since the same bytes stand there already. Its duplicate comes more than a
/// second after the first was executed, and other bytes were written in between.
#[test]
fn a_duplicate_of_a_write_that_was_answered_from_memory_is_a_duplicate() {
    let write = |value, port| Step::Issue { host: 0, export: 0, write: true, lba: 0, count: 0, value, port };
    let done = [Step::Complete { which: 0, fail: false }, Step::Answer { which: 0, lost: false }];
    let mut steps = vec![write(0, 0), Step::Arrive(0), Step::Handle(0)];
    steps.extend(done.clone());
    steps.extend([
        Step::Pass { milliseconds: 900 },
        write(0, 0),
        Step::Retransmit { which: 0, new_tag: true, port: 1 },
        Step::Arrive(0),
        Step::Handle(0),
        Step::Answer { which: 0, lost: false },
        write(1, 0),
        Step::Arrive(1),
        Step::Handle(0),
    ]);
    steps.extend(done);
    steps.extend([Step::Pass { milliseconds: 150 }, Step::Arrive(0), Step::Handle(1)]);
    run(&steps, Options { distinct_values: false, ..ORDINARY });
}
