//! The target's fuzz body on any bytes, and on runs of requests that are right but for a few bytes.

use aoe::wire::{Head, ethernet, header};
use aoe::{AddressPattern, Command, MacAddress, Shelf, Slot, Tag};
use fuzz::{OURS, target_frames};
use proptest::collection::vec;
use proptest::prelude::*;

/// The bytes that stand for one frame with this header and argument.
fn frame(command: u8, slot: u8, step: u8, argument: &[u8]) -> Vec<u8> {
    let address = AddressPattern { shelf: Shelf(7), slot: Slot(slot) };
    let source = MacAddress([2, 0, 0, 0, 0, slot]);
    let mut bytes = vec![0; 24];
    let header = header::Repr::request(address, Command::from(command), Tag(7));
    Head { ethernet: ethernet::Repr { destination: OURS, source }, header }.emit(&mut bytes);
    bytes.extend(argument);
    let length = u16::try_from(bytes.len()).expect("short");
    [&[step][..], &length.to_le_bytes(), &bytes].concat()
}

/// One of the exports, or all of them.
fn slot() -> impl Strategy<Value = u8> {
    prop_oneof![8 => 0u8..3, 1 => Just(Slot::WILDCARD.0)]
}

/// A write or read of a few sectors, most of them right, few enough places that they overlap.
fn transfer() -> impl Strategy<Value = Vec<u8>> {
    let opcode = prop::sample::select(vec![0x20u8, 0x24, 0x30, 0x34, 0x34, 0x34]);
    let flags = prop::sample::select(vec![0x41u8, 0x41, 0x41, 0x01, 0x43, 0x40]);
    (opcode, flags, 0u8..3, 0u8..70, slot(), 0u8..3, 0usize..1100).prop_map(
        |(opcode, flags, count, lba, slot, fill, length)| {
            let registers = [flags, 0, count, opcode, lba, 0, 0, 0, 0, 0, 0, 0];
            let length = if length < 900 { usize::from(count) * 512 } else { length };
            frame(0, slot, 0, &[&registers[..], &vec![fill; length]].concat())
        },
    )
}

fn ata() -> impl Strategy<Value = Vec<u8>> {
    let opcode = prop::sample::select(vec![0xb0u8, 0xe5, 0xe7, 0xea, 0xec, 0xef, 0x06]);
    let feature = prop::sample::select(vec![0u8, 0x02, 0x82, 0xd0, 0xd4, 0xd5, 0xd6, 0xd8, 0xd9, 0xda]);
    (opcode, feature, any::<u8>(), 0u8..8, slot()).prop_map(|(opcode, feature, count, low, slot)| {
        frame(0, slot, 0, &[0, feature, count, opcode, low, 0x4f, 0xc2, 0, 0, 0, 0, 0])
    })
}

fn control() -> impl Strategy<Value = Vec<u8>> {
    (1u8..5, slot(), any::<[u8; 8]>(), vec(any::<u8>(), 0..300)).prop_map(
        |(command, slot, mut argument, rest)| {
            match command {
                1 => {
                    (argument[5], argument[6], argument[7]) = (0x10 | (argument[5] % 6), 0, argument[7] % 64)
                }
                2 => (argument[1], argument[3]) = (argument[1] % 3, argument[3] % 16),
                _ => (argument[0], argument[1]) = (argument[0] % 4, argument[1] % 16),
            }
            frame(command, slot, 0, &[&argument[..], &rest].concat())
        },
    )
}

fn steps() -> impl Strategy<Value = Vec<u8>> {
    let other = any::<u8>().prop_map(|number| vec![number / 8 * 8 + 4 + number % 4]);
    let step = prop_oneof![5 => transfer(), 2 => ata(), 2 => control(), 6 => other];
    (any::<u8>(), vec(step, 1..60)).prop_map(|(options, steps)| {
        let mut bytes = vec![options];
        bytes.extend(steps.concat());
        bytes
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn any_bytes_keep_the_promises(data in vec(any::<u8>(), 0..2000)) {
        target_frames(&data);
    }

    #[test]
    fn runs_of_requests_keep_the_promises(data in steps()) {
        target_frames(&data);
    }

    #[test]
    fn changed_runs_keep_the_promises(
        mut data in steps(), changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..20)
    ) {
        for (place, value) in changes {
            let place = place.index(data.len());
            data[place] = value;
        }
        target_frames(&data);
    }
}

#[test]
fn the_seed_keeps_the_promises() {
    target_frames(include_bytes!("../libfuzzer/corpus/target_frames/each_command"));
}
