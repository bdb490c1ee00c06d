//! The codec's fuzz bodies on three kinds of bytes: any at all, a good header with anything behind it, and frames of
//! real traffic with a few bytes changed and the end cut.

use fuzz::{identify_page, text, wire_frame};
use proptest::collection::vec;
use proptest::prelude::*;

/// One request of each command.
const SEEDS: [&[u8]; 4] = [
    include_bytes!("../libfuzzer/corpus/wire_frame/ata_write"),
    include_bytes!("../libfuzzer/corpus/wire_frame/config_set"),
    include_bytes!("../libfuzzer/corpus/wire_frame/mac_mask_edit"),
    include_bytes!("../libfuzzer/corpus/wire_frame/reserve_set"),
];

fn headed() -> impl Strategy<Value = Vec<u8>> {
    let command = prop_oneof![0u8..4, any::<u8>()];
    (any::<[u8; 24]>(), command, vec(any::<u8>(), 0..2200)).prop_map(|(mut head, command, argument)| {
        head[12..14].copy_from_slice(&[0x88, 0xa2]);
        head[19] = command;
        [&head[..], &argument].concat()
    })
}

fn changed() -> impl Strategy<Value = Vec<u8>> {
    let changes = vec((any::<prop::sample::Index>(), any::<u8>()), 0..8);
    (prop::sample::select(&SEEDS[..]), changes, any::<prop::sample::Index>(), any::<bool>()).prop_map(
        |(seed, changes, end, cut)| {
            let mut bytes = seed.to_vec();
            for (at, value) in changes {
                let at = at.index(bytes.len());
                bytes[at] = value;
            }
            if cut {
                bytes.truncate(end.index(bytes.len()));
            }
            bytes
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_bytes_keep_the_promises(data in vec(any::<u8>(), 0..200)) {
        wire_frame(&data);
        text(&data);
    }

    #[test]
    fn any_argument_keeps_the_promises(data in headed()) {
        wire_frame(&data);
    }

    #[test]
    fn a_changed_frame_keeps_the_promises(data in changed()) {
        wire_frame(&data);
    }

    #[test]
    fn any_page_keeps_the_promises(mut data in vec(any::<u8>(), 500..520), signed: bool) {
        if let (false, Some(integrity)) = (signed, data.get_mut(510)) {
            *integrity = 0;
        }
        identify_page(&data);
    }

    #[test]
    fn any_text_keeps_the_promises(data in "(e?[0-9]{0,6}\\.[0-9]{0,4}|([0-9a-fA-F]{1,3}:?){0,7})") {
        text(data.as_bytes());
    }
}
