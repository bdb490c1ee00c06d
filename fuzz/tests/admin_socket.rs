//! The fuzz body of the socket for commands on any bytes, on lines of any values, and on good requests, repeated, changed and cut.

use admin::{CreateRequest, RemoveRequest, ReplaceRequest, Request};
use fuzz::admin_socket;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

fn request() -> impl Strategy<Value = Request> {
    let path = || option::of("/[a-z/.\u{e4}\"]{0,12}").prop_map(|path| path.map(Into::into));
    let text = || prop_oneof![Just("7.1".to_owned()), any::<String>()];
    prop_oneof![
        Just(Request::Status),
        Just(Request::Events),
        Just(Request::Leave),
        Just(Request::Join),
        Just(Request::Reload),
        (text(), any::<bool>())
            .prop_map(|(address, inconsistent)| Request::Promote { address, inconsistent }),
        (text(), any::<bool>()).prop_map(|(address, fix)| Request::Verify { address, fix }),
        (text(), any::<u64>()).prop_map(|(address, bytes)| Request::Resize { address, bytes }),
        option::of(text()).prop_map(|address| Request::Register { address }),
        (text(), any::<bool>(), any::<bool>()).prop_map(|(address, delete_data, here_only)| {
            Request::RemoveVolume(RemoveRequest { address, delete_data, here_only })
        }),
        (option::of(text()), path(), path()).prop_map(|(address, data, metadata)| {
            Request::ReplaceVolume(ReplaceRequest { address, data, metadata })
        }),
        (text(), any::<Option<u64>>(), path(), path(), path(), path(), any::<[bool; 2]>()).prop_map(
            |(
                address,
                bytes,
                data,
                metadata,
                peer_data,
                peer_metadata,
                [overwrite_peer, overwrite_metadata],
            )| {
                let request = CreateRequest {
                    address,
                    bytes,
                    data,
                    metadata,
                    peer_data,
                    peer_metadata,
                    overwrite_peer,
                    overwrite_metadata,
                };
                Request::CreateVolume(request)
            }
        ),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn any_bytes_keep_the_promises(data in vec(any::<u8>(), 0..300)) {
        admin_socket(&data);
    }

    #[test]
    fn any_values_keep_the_promises(
        command in "[a-z_]{0,16}",
        key in "[a-z_]{0,8}",
        value in "[\\[{\":0-9a-z,\u{0}-\u{1f}]{0,40}",
    ) {
        admin_socket(format!("{{\"command\":\"{command}\",\"{key}\":{value}}}").as_bytes());
        admin_socket(format!("{{\"done\":{value}}}").as_bytes());
    }

    #[test]
    fn good_requests_are_read_back(request in request()) {
        let line = request.line();
        admin_socket(line.as_bytes());
        prop_assert_eq!(Request::read(line.as_bytes()), Ok(request));
    }

    #[test]
    fn good_requests_repeated_changed_and_cut_keep_the_promises(
        requests in vec(request(), 1..6),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
        end in any::<prop::sample::Index>(),
    ) {
        let mut bytes = requests.iter().map(Request::line).collect::<String>().into_bytes();
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        bytes.truncate(end.index(bytes.len()) + 1);
        admin_socket(&bytes);
    }
}
