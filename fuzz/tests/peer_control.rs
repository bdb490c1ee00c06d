//! The fuzz body of what control planes ask of each other: on any bytes, and on good requests, repeated, changed and cut.

use admin::peer::{DataKind, PeerRequest, PeerVolume, Plan};
use fuzz::peer_control;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

fn plan() -> impl Strategy<Value = PeerRequest> {
    let path = || option::of("/[a-z/.\u{e4}\"]{0,12}").prop_map(|path| path.map(Into::into));
    let kind = prop_oneof![
        Just(DataKind::New),
        Just(DataKind::Image),
        any::<bool>().prop_map(|overwrite| DataKind::Copy { overwrite }),
    ];
    let sizes = (any::<u64>(), option::of(any::<usize>()));
    (any::<String>(), any::<String>(), sizes, path(), path(), kind, any::<bool>()).prop_map(
        |(address, identity, (sectors, sector_size), data, metadata, data_kind, overwrite_metadata)| {
            PeerRequest::Prepare(Plan {
                address,
                identity,
                sectors,
                sector_size,
                data,
                metadata,
                data_kind,
                overwrite_metadata,
            })
        },
    )
}

fn request() -> impl Strategy<Value = PeerRequest> {
    let text = || prop_oneof![Just("7.1".to_owned()), any::<String>()];
    let volume =
        || {
            (text(), option::of(text()), any::<bool>())
                .prop_map(|(address, identity, delete_data)| PeerVolume { address, identity, delete_data })
        };
    prop_oneof![
        plan(),
        Just(PeerRequest::Activate),
        (text(), any::<u64>()).prop_map(|(identity, sectors)| PeerRequest::MakeRoom { identity, sectors }),
        (option::of(text()), option::of(text()))
            .prop_map(|(address, after)| PeerRequest::Describe { address, after }),
        text().prop_map(|address| PeerRequest::IsConfigured { address }),
        volume().prop_map(PeerRequest::MayRemove),
        volume().prop_map(PeerRequest::Remove),
        Just(PeerRequest::Arbiter),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn any_bytes_keep_the_promises(data in vec(any::<u8>(), 0..300)) {
        peer_control(&data);
    }

    #[test]
    fn good_requests_are_read_back(request in request()) {
        let line = request.line();
        peer_control(line.as_bytes());
        prop_assert_eq!(PeerRequest::read(line.as_bytes()), Ok(request));
    }

    #[test]
    fn good_requests_repeated_changed_and_cut_keep_the_promises(
        requests in vec(request(), 1..6),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
        end in any::<prop::sample::Index>(),
    ) {
        let mut bytes = requests.iter().map(PeerRequest::line).collect::<String>().into_bytes();
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        bytes.truncate(end.index(bytes.len()) + 1);
        peer_control(&bytes);
    }
}
