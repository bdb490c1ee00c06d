//! The exit codes, one for each kind of failure; `docs/exit-codes.md` is the same table for operators.
//!
//! A number that was given out once never changes its meaning.

use std::process::ExitCode;

use clap::error::ErrorKind;

/// Something failed that is nobody's mistake on the command line: the machine, the kernel, a disk.
pub(crate) const SYSTEM: u8 = 1;
/// The command line is wrong; also what clap uses.
pub(crate) const USAGE: u8 = 2;
/// There is no such file.
pub(crate) const DISK_MISSING: u8 = 10;
/// The file is empty.
pub(crate) const DISK_EMPTY: u8 = 11;
/// The size or the window of the disk splits a sector.
pub(crate) const DISK_UNALIGNED: u8 = 12;
/// Neither a regular file nor a block device.
pub(crate) const NOT_A_DISK: u8 = 13;
/// The file may not be opened.
pub(crate) const DISK_PERMISSION: u8 = 14;
/// Another process has it.
pub(crate) const DISK_LOCKED: u8 = 15;
/// `--offset` and `--length` reach beyond the end.
pub(crate) const DISK_BEYOND_END: u8 = 16;
/// The disk cannot do sectors that small.
pub(crate) const SECTOR_SIZE: u8 = 17;
/// There is no such interface.
pub(crate) const INTERFACE_UNKNOWN: u8 = 20;
/// It is down.
pub(crate) const INTERFACE_DOWN: u8 = 21;
/// Its frames hold no sector.
pub(crate) const MTU_TOO_SMALL: u8 = 22;
/// It is not Ethernet.
pub(crate) const NOT_ETHERNET: u8 = 23;
/// No privilege for raw Ethernet.
pub(crate) const NOT_PERMITTED: u8 = 24;
/// The kernel refuses the kind of port or engine that was asked for.
pub(crate) const KIND_REFUSED: u8 = 25;
/// Not an address that a volume can have.
pub(crate) const ADDRESS_INVALID: u8 = 30;
/// The same address twice on the command line.
pub(crate) const ADDRESS_TWICE: u8 = 31;
/// Somebody else answers for the address.
pub(crate) const ADDRESS_SERVED: u8 = 32;
/// The state file is cut short or damaged.
pub(crate) const STATE_BROKEN: u8 = 40;
/// The state file was written by a newer version.
pub(crate) const STATE_VERSION: u8 = 41;
/// The state file is another volume's.
pub(crate) const STATE_FOREIGN: u8 = 42;
/// The state file can be neither read nor written.
pub(crate) const STATE_SYSTEM: u8 = 43;

/// How a command failed: one line for the operator and the exit code.
#[derive(Debug)]
pub(crate) struct Failure {
    message: String,
    code: u8,
}

impl Failure {
    /// A failure with the text of `error`.
    pub(crate) fn new(code: u8, error: &dyn std::error::Error) -> Self {
        Self { message: error.to_string(), code }
    }

    /// Tells the operator.
    pub(crate) fn report(&self) -> ExitCode {
        eprintln!("etherpair: {}", self.message);
        ExitCode::from(self.code)
    }
}

/// Tells what clap found wrong in one line; help and version are no failure.
pub(crate) fn usage(error: &clap::Error) -> ExitCode {
    if matches!(
        error.kind(),
        ErrorKind::DisplayHelp
            | ErrorKind::DisplayVersion
            | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
    ) {
        // Standard output may be closed already; nobody reads the help then.
        let _ = error.print();
        return if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
            ExitCode::from(USAGE)
        } else {
            ExitCode::SUCCESS
        };
    }
    eprintln!("etherpair: {}", one_line(&error.to_string()));
    ExitCode::from(USAGE)
}

/// The paragraph that says what is wrong, without the usage that follows it.
fn one_line(text: &str) -> String {
    let wrong = text.split("\n\n").next().unwrap_or(text);
    let wrong: Vec<&str> = wrong.split_whitespace().collect();
    let wrong = wrong.join(" ");
    format!("{}; see `etherpair --help`", wrong.strip_prefix("error: ").unwrap_or(&wrong))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_clap_says_becomes_one_line() {
        let text = "error: the following required arguments were not provided:\n  --interface <NAME>\n\nUsage: etherpair";
        let line = one_line(text);
        assert_eq!(
            line,
            "the following required arguments were not provided: --interface <NAME>; see `etherpair --help`"
        );
    }
}
