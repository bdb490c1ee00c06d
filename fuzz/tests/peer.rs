//! The peer protocol's fuzz bodies on any bytes, on bodies of every kind, and on a real stream with a few bytes changed.

use fuzz::{peer_body, peer_preamble, peer_stream};
use proptest::collection::vec;
use proptest::prelude::*;
use replication::wire::Kind;

/// A Hello, a write of one sector with its data, its acknowledgement and commit.
const STREAM: &[u8] = include_bytes!("../libfuzzer/corpus/peer_stream/write");

/// Lengths that messages have, and others.
fn body() -> impl Strategy<Value = Vec<u8>> {
    let length = prop_oneof![
        9 => prop::sample::select(&[0usize, 8, 16, 24, 32, 40, 48, 80][..]),
        1 => 0..1200usize,
    ];
    length.prop_flat_map(|length| vec(prop_oneof![3 => Just(0u8), 1 => 0..4u8, 1 => any::<u8>()], length))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_bytes_keep_the_promises(data in vec(any::<u8>(), 0..200)) {
        peer_stream(&data);
        peer_body(&data);
    }

    #[test]
    fn a_body_of_any_kind_keeps_the_promises(
        kind in prop::sample::select(Kind::ALL),
        with_data in any::<u8>(),
        body in body(),
    ) {
        peer_body(&[&[kind.number(), with_data][..], &body].concat());
    }

    #[test]
    fn a_preamble_with_a_good_checksum_keeps_the_promises(mut bytes in any::<[u8; 60]>(), kind in 0..6_u8, node in 0..3_u8) {
        let reason = bytes[7] % 9;
        bytes[..8].copy_from_slice(&[b'E', b'P', b'p', b'\n', 1, kind, node, reason]);
        let crc = crc32fast::hash(&bytes).to_le_bytes();
        peer_preamble(&[&bytes[..], &crc].concat());
        peer_preamble(&bytes);
        peer_preamble(&[&bytes[..], &[0; 4]].concat());
    }

    #[test]
    fn a_changed_stream_keeps_the_promises(
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        end in any::<prop::sample::Index>(),
        cut in any::<bool>(),
    ) {
        let mut bytes = STREAM.to_vec();
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if cut {
            bytes.truncate(end.index(bytes.len()));
        }
        peer_stream(&bytes);
    }
}
