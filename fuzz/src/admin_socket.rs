//! What comes in at the socket for commands, and what a command takes for a reply. Arbitrary lines never panic; what is a request
//! means the same after its own line; every fault is told in one short line, and so is every reply.

use admin::{LINE_BYTES_MAX, LineError, Reply, Request, RequestError};

/// A line as it comes, and everything before a line feed in it.
pub fn admin_socket(data: &[u8]) {
    line(data);
    line(&[data, b"\n"].concat());
    for piece in data.split_inclusive(|byte| *byte == b'\n') {
        line(piece);
    }
    if let Ok(reply) = serde_json::from_slice::<Reply>(data) {
        let line = reply.line();
        assert_eq!(line.matches('\n').count(), 1, "one line: {line:?}");
        assert_eq!(serde_json::from_str::<Reply>(&line).ok(), Some(reply));
    }
}

fn line(bytes: &[u8]) {
    match Request::read(bytes) {
        Ok(request) => {
            assert!(bytes.len() <= LINE_BYTES_MAX && bytes.ends_with(b"\n"), "a whole line");
            let line = request.line();
            assert_eq!(line.matches('\n').count(), 1, "one line: {line:?}");
            assert_eq!(Request::read(line.as_bytes()), Ok(request));
        }
        Err(error) => {
            let text = error.to_string();
            assert!(!text.contains(char::is_control), "one line: {text:?}");
            assert!(text.len() < 3000, "a short one: {text}");
            let is_cut_off = matches!(error, RequestError(LineError::CutOff { .. }));
            assert_eq!(is_cut_off, bytes.len() > LINE_BYTES_MAX || !bytes.ends_with(b"\n"));
        }
    }
}
