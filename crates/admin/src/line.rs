//! A line of JSON, as it is said at both control planes.

use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

use crate::LINE_BYTES_MAX;

/// Why a line says nothing.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum LineError {
    /// It did not end, or whoever said it was gone before it did.
    #[error("the line is cut off after {bytes} bytes; end it with a line feed within {LINE_BYTES_MAX}")]
    CutOff {
        /// How long it is.
        bytes: usize,
    },
    /// Not even text.
    #[error("the line is no text in UTF-8")]
    NoText,
    /// Nothing that is known.
    #[error("{0}")]
    Unknown(String),
}

/// What a line says, with the line feed at its end.
pub(crate) fn read<T: DeserializeOwned>(line: &[u8]) -> Result<T, LineError> {
    if line.len() > LINE_BYTES_MAX || !line.ends_with(b"\n") {
        return Err(LineError::CutOff { bytes: line.len() });
    }
    let text = std::str::from_utf8(line).map_err(|_| LineError::NoText)?;
    serde_json::from_str(text).map_err(|error| LineError::Unknown(one_line(&error.to_string())))
}

/// The line that says it.
pub(crate) fn write(said: &impl Serialize) -> String {
    serde_json::to_string(said).expect("texts and numbers") + "\n"
}

/// What is told may repeat what was said, which is anything: it is short, and on one line.
fn one_line(text: &str) -> String {
    const SHOWN: usize = 200;
    text.chars().take(SHOWN).flat_map(char::escape_debug).collect()
}
