//! Any frame as one line of text, in the manner of tcpdump: for logs and captures, never for decisions.

use std::fmt;

use super::config::{self, ConfigCommand};
use super::header::{self, Command};
use super::mac_mask::{self, DirectiveCommand, Directives};
use super::reserve::{self, Addresses};
use super::{Frame, WireError, ata, sequenced};

/// Shows the bytes of a frame, whatever they are.
#[derive(Clone, Copy, Debug)]
pub struct Pretty<'a>(pub &'a [u8]);

impl fmt::Display for Pretty<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let frame = match Frame::new(self.0) {
            Ok(frame) => frame,
            Err(error) => return write!(f, "not AoE: {error}"),
        };
        let ethernet = frame.ethernet();
        let header = frame.header();
        let direction = if header.response { "response" } else { "request" };
        write!(f, "{} > {} ", ethernet.source, ethernet.destination)?;
        write!(f, "{} {direction} {} tag {}", header.address, header.command, header.tag)?;
        if header.version != header::VERSION {
            write!(f, " version {}", header.version)?;
        }
        if let Some(error) = header.error {
            return write!(f, " error: {error}");
        }
        if let Err(error) = write_argument(f, frame, header)? {
            write!(f, " malformed: {error}")?;
        }
        write!(f, ", {} bytes", self.0.len())
    }
}

/// Outer error: the formatter's. Inner: the frame's.
type Written = Result<Result<(), WireError>, fmt::Error>;

/// Goes on with the value, or ends the writing with the frame's error.
macro_rules! parsed {
    ($result:expr) => {
        match $result {
            Ok(value) => value,
            Err(error) => return Ok(Err(error)),
        }
    };
}

fn write_argument(f: &mut fmt::Formatter<'_>, frame: Frame<'_>, header: header::Repr) -> Written {
    match (header.command, header.response) {
        (Command::Ata, false) => write_ata_request(f, frame),
        (Command::Ata, true) => write_ata_reply(f, frame),
        (Command::QueryConfig, false) => write_config_request(f, frame),
        (Command::QueryConfig, true) => write_config_reply(f, frame),
        (Command::MacMaskList, response) => write_mac_mask(f, frame, response),
        (Command::ReserveRelease, response) => write_reserve(f, frame, response),
        (sequenced::COMMAND, response) => write_sequenced(f, frame, response),
        (Command::Vendor(_) | Command::Unknown(_), _) => Ok(Ok(())),
    }
}

fn write_ata_request(f: &mut fmt::Formatter<'_>, frame: Frame<'_>) -> Written {
    let request = ata::Request::parse(parsed!(ata::View::new(frame)));
    let ata::Request { flags, feature, sector_count, command, .. } = request;
    write!(f, ", {command} lba {} sectors {sector_count} flags {flags:?}", request.lba())?;
    if feature != 0 {
        write!(f, " feature {feature:#04x}")?;
    }
    Ok(Ok(()))
}

fn write_ata_reply(f: &mut fmt::Formatter<'_>, frame: Frame<'_>) -> Written {
    let reply = ata::Reply::parse(parsed!(ata::View::new(frame)));
    write!(f, ", status {}", reply.status)?;
    if reply.status.is_failure() {
        write!(f, " error {}", reply.error)?;
    }
    Ok(Ok(()))
}

fn write_sequenced(f: &mut fmt::Formatter<'_>, frame: Frame<'_>, response: bool) -> Written {
    let view = parsed!(sequenced::View::new(frame));
    if response {
        return match parsed!(sequenced::Reply::parse(view)) {
            sequenced::Reply::Query { window, epoch, .. } => {
                write!(f, ", sequenced writes: window {window} epoch {epoch}").map(Ok)
            }
            sequenced::Reply::Write { epoch, registers, .. } => {
                write!(f, ", sequenced write: status {} epoch {epoch}", registers.status).map(Ok)
            }
        };
    }
    match parsed!(sequenced::Request::parse(view)) {
        sequenced::Request::Query { initiator } => {
            write!(f, ", sequenced writes? initiator {initiator:016x}").map(Ok)
        }
        sequenced::Request::Write { initiator, sequence, registers, .. } => {
            let ata::Request { command, sector_count, .. } = registers;
            write!(f, ", sequenced {command} {sequence} of {initiator:016x}")?;
            write!(f, " lba {} sectors {sector_count}", registers.lba()).map(Ok)
        }
    }
}

fn write_config_request(f: &mut fmt::Formatter<'_>, frame: Frame<'_>) -> Written {
    let request = parsed!(config::Request::parse(frame));
    write!(f, ", {}", name(request.command()))?;
    match request {
        config::Request::Read => Ok(Ok(())),
        config::Request::Test(string)
        | config::Request::TestPrefix(string)
        | config::Request::Set(string)
        | config::Request::ForceSet(string) => write!(f, " \"{}\"", string.escape_ascii()).map(Ok),
    }
}

fn write_config_reply(f: &mut fmt::Formatter<'_>, frame: Frame<'_>) -> Written {
    let repr = parsed!(config::Repr::parse(parsed!(config::View::new(frame))));
    write!(f, ", {} buffers {} firmware {:#06x}", name(repr.command), repr.buffer_count, repr.firmware)?;
    let string = repr.string.escape_ascii();
    write!(f, " sectors {} string \"{string}\"", repr.sectors_per_command()).map(Ok)
}

const fn name(command: ConfigCommand) -> &'static str {
    match command {
        ConfigCommand::Read => "read",
        ConfigCommand::Test => "test",
        ConfigCommand::TestPrefix => "test prefix",
        ConfigCommand::Set => "set",
        ConfigCommand::ForceSet => "force set",
    }
}

fn write_mac_mask(f: &mut fmt::Formatter<'_>, frame: Frame<'_>, response: bool) -> Written {
    let view = parsed!(mac_mask::View::new(frame));
    if !response {
        return match parsed!(mac_mask::Request::parse(view)) {
            mac_mask::Request::Read => write!(f, ", read").map(Ok),
            mac_mask::Request::Edit(directives) => {
                write!(f, ", edit")?;
                write_directives(f, directives)
            }
        };
    }
    match parsed!(mac_mask::Reply::parse(view)) {
        mac_mask::Reply::List { entries, .. } => {
            write!(f, ", list")?;
            write_directives(f, entries)
        }
        mac_mask::Reply::Refused { error, index, .. } => {
            write!(f, ", refused: {error:?} at directive {index}").map(Ok)
        }
    }
}

fn write_directives(f: &mut fmt::Formatter<'_>, directives: Directives<'_>) -> Written {
    for directive in directives.iter() {
        match directive.command {
            DirectiveCommand::None => write!(f, " ")?,
            DirectiveCommand::Add => write!(f, " +")?,
            DirectiveCommand::Delete => write!(f, " -")?,
            DirectiveCommand::Unknown(number) => write!(f, " {number:#04x}?")?,
        }
        write!(f, "{}", directive.address)?;
    }
    Ok(Ok(()))
}

fn write_reserve(f: &mut fmt::Formatter<'_>, frame: Frame<'_>, response: bool) -> Written {
    let view = parsed!(reserve::View::new(frame));
    let (verb, addresses) = if response {
        ("list", parsed!(reserve::Reply::parse(view)).addresses)
    } else {
        match parsed!(reserve::Request::parse(view)) {
            reserve::Request::Read => ("read", Addresses::default()),
            reserve::Request::Set(addresses) => ("set", addresses),
            reserve::Request::ForceSet(addresses) => ("force set", addresses),
        }
    };
    write!(f, ", {verb}")?;
    for address in addresses.iter() {
        write!(f, " {address}")?;
    }
    Ok(Ok(()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::tests::request_frame;

    fn line(command: Command, argument: &[u8]) -> String {
        Pretty(&request_frame(command, argument)).to_string()
    }

    fn response_line(command: Command, argument: &[u8]) -> String {
        let mut bytes = request_frame(command, argument);
        bytes[14] |= 0x08;
        Pretty(&bytes).to_string()
    }

    const REQUEST: &str = "20:cf:30:02:b0:52 > 68:a3:c4:f4:84:1e e20.0 request";
    const RESPONSE: &str = "20:cf:30:02:b0:52 > 68:a3:c4:f4:84:1e e20.0 response";

    #[test]
    fn ata_is_one_line() {
        assert_eq!(
            line(Command::Ata, &[0x40, 0, 2, 0x24, 0x34, 0x12, 0, 0, 0, 0, 0, 0]),
            format!("{REQUEST} ATA tag 0x0002cd63, READ SECTORS EXT lba 4660 sectors 2 flags E---, 36 bytes")
        );
        assert_eq!(
            response_line(Command::Ata, &[0x40, 0x10, 2, 0x41, 0, 0, 0, 0, 0, 0, 0, 0]),
            format!("{RESPONSE} ATA tag 0x0002cd63, status DRDY|ERR error IDNF, 36 bytes")
        );
    }

    #[test]
    fn config_is_one_line_even_with_control_characters() {
        assert_eq!(
            line(Command::QueryConfig, &[0, 0, 0, 0, 0, 0x13, 0, 3, b'a', b'\n', 0xff]),
            format!("{REQUEST} Query Config tag 0x0002cd63, set \"a\\n\\xff\", 35 bytes")
        );
        assert_eq!(
            response_line(Command::QueryConfig, &[0, 16, 0x40, 0x15, 2, 0x10, 0, 0]),
            format!(
                "{RESPONSE} Query Config tag 0x0002cd63, \
                 read buffers 16 firmware 0x4015 sectors 2 string \"\", 32 bytes"
            )
        );
    }

    #[test]
    fn lists_of_hosts_are_one_line() {
        assert_eq!(
            line(Command::MacMaskList, &[0, 1, 0, 2, 0, 1, 1, 2, 3, 4, 5, 6, 0, 2, 1, 2, 3, 4, 5, 7]),
            format!(
                "{REQUEST} MAC Mask List tag 0x0002cd63, edit +01:02:03:04:05:06 -01:02:03:04:05:07, 44 bytes"
            )
        );
        assert_eq!(
            response_line(Command::MacMaskList, &[0, 1, 3, 9]),
            format!("{RESPONSE} MAC Mask List tag 0x0002cd63, refused: ListFull at directive 9, 28 bytes")
        );
        assert_eq!(
            line(Command::ReserveRelease, &[1, 1, 1, 2, 3, 4, 5, 6]),
            format!("{REQUEST} Reserve/Release tag 0x0002cd63, set 01:02:03:04:05:06, 32 bytes")
        );
    }

    #[test]
    fn what_is_wrong_with_a_frame_is_said() {
        assert_eq!(
            line(Command::ReserveRelease, &[1, 2]),
            format!(
                "{REQUEST} Reserve/Release tag 0x0002cd63 malformed: frame of 26 bytes ends inside its \
                 reserve addresses, which needs 38, 26 bytes"
            )
        );
        assert_eq!(Pretty(&[0; 14]).to_string(), "not AoE: EtherType 0x0000 is not AoE (0x88a2)");
    }
}
