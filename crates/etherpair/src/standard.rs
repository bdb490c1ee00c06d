//! What commands say on standard output and standard error, where nothing that happens to these ends the program by itself.
//!
//! `println!` and its like panic when the line cannot be written, and a panic is the end of a daemon. What a command was asked to tell is
//! an error if it cannot be told; what it says beside that, and why it fails, is lost then. Who has stopped reading has read enough.

use std::io::{self, Write};

/// Tells on standard output what was asked for. Whether anybody reads on.
///
/// # Errors
/// What the kernel says, as of a disk that is full.
pub(crate) fn say(text: &str) -> io::Result<bool> {
    say_to(&mut io::stdout().lock(), text)
}

/// The same to somebody else.
///
/// # Errors
/// What the kernel says.
pub(crate) fn say_to(out: &mut impl Write, text: &str) -> io::Result<bool> {
    is_read(out.write_all(text.as_bytes()).and_then(|()| out.flush()))
}

/// Whether whoever was told something reads on.
///
/// # Errors
/// Why he was not told, unless he has gone.
pub(crate) fn is_read(told: io::Result<()>) -> io::Result<bool> {
    match told {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error),
    }
}

/// Tells people something on standard error, as far as that can be written.
pub(crate) fn mention(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
}
