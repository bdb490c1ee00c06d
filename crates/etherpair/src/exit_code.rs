//! The exit codes, one for each kind of failure; `docs/exit-codes.md` is the same table for operators.
//!
//! A number that was given out once never changes its meaning.

use std::io;
use std::process::ExitCode;

use clap::error::ErrorKind;
use os::InterfaceError;
use os::frame_port::PortError;

use crate::standard;

macro_rules! codes {
    ($($name:ident = $code:literal, $text:literal;)+) => {
        $(#[doc = $text] pub(crate) const $name: u8 = $code;)+

        /// Every code with its meaning, as `docs/exit-codes.md` has them.
        #[cfg(test)]
        const ALL: &[(u8, &str)] = &[$(($code, $text),)+];
    };
}

codes! {
    SYSTEM = 1, "The machine failed, not the command line: the kernel, a disk, the network. The message says what.";
    USAGE = 2, "The command line is wrong: an unknown option, a bad number, arguments that do not fit together.";
    DISK_MISSING = 10, "There is no such disk image or device.";
    DISK_EMPTY = 11, "The disk image is empty.";
    DISK_UNALIGNED = 12, "The size of the disk, `--offset` or `--length` is not a multiple of the sector size.";
    NOT_A_DISK = 13, "Neither a regular file nor a block device.";
    DISK_PERMISSION = 14, "The disk may not be opened.";
    DISK_LOCKED = 15, "Another process uses the disk.";
    DISK_BEYOND_END = 16, "`--offset` and `--length` reach beyond the end of the disk.";
    SECTOR_SIZE = 17, "The disk cannot do sectors as small as `--sector-size` asks for.";
    DISK_IN_USE = 18, "The device is mounted, or part of LVM or md.";
    INTERFACE_UNKNOWN = 20, "There is no such interface.";
    INTERFACE_DOWN = 21, "The interface is down.";
    MTU_TOO_SMALL = 22, "The frames of the interface hold no sector: its MTU is below 548.";
    NOT_ETHERNET = 23, "The interface is not Ethernet.";
    NOT_PERMITTED = 24, "No privilege for raw Ethernet (CAP_NET_RAW).";
    KIND_REFUSED = 25, "The kernel refuses the kind of port that `--port`, or `port` in node.toml, asks for.";
    ENGINE_REFUSED = 26, "The kernel refuses what `--engine`, or `engine` in node.toml, asks for.";
    ADDRESS_INVALID = 30, "Not an address that a volume can have.";
    ADDRESS_TWICE = 31, "The same address twice on the command line.";
    ADDRESS_SERVED = 32, "Somebody else serves the address already: on the wire, or another process here.";
    STATE_BROKEN = 40, "The state file is cut short or damaged.";
    STATE_VERSION = 41, "The state file, or the witness's registers of a pair, have a format version that this program does not know.";
    STATE_FOREIGN = 42, "The state file belongs to another address, disk or volume.";
    STATE_SYSTEM = 43, "The state file, or the witness's directory, can be neither read nor written; or another witness uses that directory.";
    OPEN_FILES = 50, "More open files are needed than the process may have.";
    NO_ANSWER = 60, "`discover`, `bench`: nobody answers.";
    VERIFY_FAILED = 61, "`bench --verify`: wrong data was read.";
    REQUESTS_FAILED = 62, "`bench`: requests failed.";
    VOLUME_UNSUITABLE = 63, "`bench`: the volume is too small for it, or its data would be destroyed without `--allow-writes`.";
    INTERRUPTED = 64, "`discover`, `bench`: ended by a signal before they were done; what was found until then was told.";
    META_NONE = 70, "`dump`: the file is not the metadata of a volume.";
    META_DAMAGED = 71, "`dump`: the metadata is damaged, more than a crash explains; what is left was told.";
    META_VERSION = 72, "`dump`: the metadata was written by a newer version.";
    CONFIG_UNREADABLE = 80, "There is no such configuration file, or it cannot be read.";
    CONFIG_WRONG = 81, "The configuration is wrong; everything that is was told.";
    LISTEN = 82, "A port or socket cannot be listened on.";
    REGISTERS_DAMAGED = 83, "`witness`: the registers of a pair are torn or damaged.";
    DAEMON_UNREACHABLE = 85, "No daemon answers at the socket.";
    DAEMON_REFUSED = 86, "The daemon has not done what was asked, or not all of it, and the message says why; or the question whether it should was not answered with the address.";
}

/// The exit code for an interface.
pub(crate) const fn of_interface(error: &InterfaceError) -> u8 {
    match error {
        InterfaceError::Unknown { .. } => INTERFACE_UNKNOWN,
        InterfaceError::NotEthernet { .. } => NOT_ETHERNET,
        InterfaceError::Unreadable { .. } => SYSTEM,
    }
}

/// The exit code for a port.
pub(crate) const fn of_port(error: &PortError) -> u8 {
    match error {
        PortError::Interface(error) => of_interface(error),
        PortError::Down { .. } => INTERFACE_DOWN,
        PortError::MtuTooSmall { .. } => MTU_TOO_SMALL,
        PortError::NotPermitted { .. } => NOT_PERMITTED,
        PortError::KindRefused { .. } => KIND_REFUSED,
        PortError::Socket { .. } => SYSTEM,
    }
}

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

    /// What was asked for is not told.
    pub(crate) fn unsaid(error: &io::Error) -> Self {
        Self { message: format!("standard output cannot be written ({error})"), code: SYSTEM }
    }

    /// The exit code.
    #[cfg(test)]
    pub(crate) const fn code(&self) -> u8 {
        self.code
    }

    /// Tells the operator.
    pub(crate) fn report(&self) -> ExitCode {
        standard::mention(&format!("etherpair: {}\n", self.message));
        ExitCode::from(self.code)
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.message)
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
        let printed = standard::is_read(error.print());
        return match printed {
            _ if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => ExitCode::from(USAGE),
            Ok(_) => ExitCode::SUCCESS,
            Err(error) => Failure::unsaid(&error).report(),
        };
    }
    standard::mention(&format!("etherpair: {}\n", one_line(&error.to_string())));
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
    fn the_table_for_operators_is_this_table() {
        let table = include_str!("../../../docs/exit-codes.md");
        let rows: Vec<&str> =
            table.lines().filter(|line| line.starts_with("| ") && !line.contains("Code")).collect();
        let expected: Vec<String> = ALL.iter().map(|(code, text)| format!("| {code} | {text} |")).collect();
        assert_eq!(
            rows[0],
            "| 0 | Done; for `export`: told to stop, and everything under way was finished. |"
        );
        assert_eq!(rows[1..], expected);
    }

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
