//! What can go wrong while a laboratory is set up or used, each with what was being done and what to do about it.

use std::{fmt, io, process::ExitStatus, time::Duration};

/// A failure of the laboratory or of a part in it. Its text is meant to be the whole story of a failed test.
#[derive(thiserror::Error)]
pub enum Error {
    /// Not running as root.
    #[error("the laboratory makes network namespaces, taps and loop devices: run it as root")]
    Privilege,
    /// A Debian package is missing and could not be installed.
    #[error("package {package} is needed ({reason}) and cannot be installed; install it by hand:\n{detail}")]
    Package {
        /// The package's name.
        package: &'static str,
        /// What it is needed for.
        reason: &'static str,
        /// What apt said.
        detail: String,
    },
    /// A program could not be started at all.
    #[error("cannot start {program}: {source}")]
    Start {
        /// The command line.
        program: String,
        /// Why not.
        source: io::Error,
    },
    /// A program ended with another status than zero.
    #[error("{program}\nended with {status}; its output ends:\n{output}")]
    Failed {
        /// The command line.
        program: String,
        /// How it ended.
        status: ExitStatus,
        /// The end of what it printed.
        output: String,
    },
    /// A process ended while something was still expected of it.
    #[error("{program}\nended with {status} while waiting for {expected}; its output ends:\n{output}")]
    Exited {
        /// The command line.
        program: String,
        /// How it ended.
        status: ExitStatus,
        /// What was waited for.
        expected: String,
        /// The end of what it printed.
        output: String,
    },
    /// Something did not happen in time.
    #[error("{expected} did not come within {waited:?}; seen so far:\n{output}")]
    Timeout {
        /// What was waited for.
        expected: String,
        /// For how long.
        waited: Duration,
        /// The end of what the awaited party printed.
        output: String,
    },
    /// The kernel refused something.
    #[error("cannot {action}: {source}")]
    System {
        /// What was tried.
        action: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A part answered something that the laboratory does not understand.
    #[error("{program} said something unexpected: {detail}")]
    Unexpected {
        /// Who.
        program: String,
        /// What.
        detail: String,
    },
}

/// As for reading: a failed `expect` in a test prints this, and it is many lines long.
impl fmt::Debug for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{self}")
    }
}

impl Error {
    /// An operating-system error while doing `action`, for `map_err`.
    pub(crate) fn system(action: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let action = action.into();
        move |source| Self::System { action, source }
    }
}

/// The last lines of a long output: enough to see what happened, short enough to read.
pub(crate) fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    let mut end = all[all.len().saturating_sub(lines)..].join("\n");
    if end.is_empty() {
        end.push_str("(nothing)");
    }
    end
}
