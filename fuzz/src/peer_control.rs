//! What the control planes of the two nodes ask of each other. Arbitrary lines never panic; what is a request means the same after its
//! own line; every fault is told in one short line.

use admin::LINE_BYTES_MAX;
use admin::LineError;
use admin::peer::{PeerRequest, PeerRequestError};

/// A line as it comes, and everything before a line feed in it.
pub fn peer_control(data: &[u8]) {
    line(data);
    line(&[data, b"\n"].concat());
    data.split_inclusive(|byte| *byte == b'\n').for_each(line);
}

fn line(bytes: &[u8]) {
    match PeerRequest::read(bytes) {
        Ok(request) => {
            assert!(bytes.len() <= LINE_BYTES_MAX && bytes.ends_with(b"\n"), "a whole line");
            let line = request.line();
            assert_eq!(line.matches('\n').count(), 1, "one line: {line:?}");
            assert_eq!(PeerRequest::read(line.as_bytes()), Ok(request));
        }
        Err(error) => {
            let text = error.to_string();
            assert!(!text.contains(char::is_control), "one line: {text:?}");
            assert!(text.len() < 3000, "a short one: {text}");
            let is_cut_off = matches!(error, PeerRequestError(LineError::CutOff { .. }));
            assert_eq!(is_cut_off, bytes.len() > LINE_BYTES_MAX || !bytes.ends_with(b"\n"));
        }
    }
}
