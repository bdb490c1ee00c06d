//! `etherpair discover`: who answers on an interface. Asks, listens for a while, prints a table or JSON.

use std::time::Duration;

use aoe::initiator::{Discovery, DiscoveryOutput, Responder};
use aoe::{Address, AddressPattern, Frame};
use clap::Args;
use os::clock;
use os::frame_port::{PortError, PortKind};
use serde::Serialize;
use thiserror::Error;

use crate::byte_size;
use crate::exit_code::{self, Failure};
use crate::interrupt::{self, Interrupt};
use crate::standard;
use os::initiator_ports::InitiatorPorts;

/// Room for the answers to a broadcast: each volume of each target sends one.
const RECEIVE_BYTES: usize = 32 << 20;

const EXAMPLES: &str = "\
Examples:
  etherpair discover -i eth1
      Every volume that anybody serves on eth1.
  etherpair discover 7.1 -i eth1 -i eth2 --json
      Who serves e7.1, as a JSON array.

Control-C ends it with what was found. The exit code is 60 if nobody answers; others: docs/exit-codes.md.";

/// What `etherpair discover` takes.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Only this address (shelf.slot)
    address: Option<String>,

    /// Ask on this interface; may be given several times
    #[arg(short, long = "interface", value_name = "NAME", required = true)]
    interfaces: Vec<String>,

    /// Listen so long for answers
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..=3_600_000))]
    timeout: u64,

    /// Print a JSON array
    #[arg(long)]
    json: bool,
}

/// Why a search has no result.
#[derive(Debug, Error)]
enum DiscoverError {
    #[error(transparent)]
    Address(#[from] aoe::AddressError),
    #[error(transparent)]
    Port(#[from] PortError),
    #[error("nobody answers{on}: is the target running, and on the same network (the same VLAN)?", on = on(.interfaces))]
    Nobody { interfaces: Vec<String> },
    #[error("interrupted before the time to listen was over: there may be others")]
    Interrupted,
    #[error("listening for signals failed: {0}")]
    Signals(std::io::Error),
    #[error("standard output cannot be written ({0})")]
    Output(#[from] std::io::Error),
}

fn on(interfaces: &[String]) -> String {
    format!(" on {}", interfaces.join(", "))
}

impl From<DiscoverError> for Failure {
    fn from(error: DiscoverError) -> Self {
        let code = match &error {
            DiscoverError::Address(_) => exit_code::ADDRESS_INVALID,
            DiscoverError::Port(error) => exit_code::of_port(error),
            DiscoverError::Nobody { .. } => exit_code::NO_ANSWER,
            DiscoverError::Interrupted => exit_code::INTERRUPTED,
            DiscoverError::Signals(_) | DiscoverError::Output(_) => exit_code::SYSTEM,
        };
        Self::new(code, &error)
    }
}

/// Asks and prints.
pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    Ok(discover(arguments)?)
}

fn discover(arguments: &Arguments) -> Result<(), DiscoverError> {
    let pattern = match &arguments.address {
        Some(text) => text.parse::<Address>()?.into(),
        None => AddressPattern::EVERY,
    };
    let mut ports = InitiatorPorts::open(&arguments.interfaces, PortKind::Plain, RECEIVE_BYTES)?;
    let interrupt = Interrupt::listen().map_err(DiscoverError::Signals)?;
    let limit = Duration::from_millis(arguments.timeout);
    let (discovery, is_whole) = listen(&mut ports, pattern, limit, &interrupt);
    let mut rows: Vec<Row> = discovery.responders().map(|responder| Row::new(responder, &ports)).collect();
    rows.sort_by(|one, other| one.key().cmp(&other.key()));
    if arguments.json {
        let text = serde_json::to_string_pretty(&rows).map_err(std::io::Error::from)?;
        standard::say(&format!("{text}\n"))?;
    } else if !rows.is_empty() {
        standard::say(&table(&rows))?;
    }
    if !is_whole {
        return Err(DiscoverError::Interrupted);
    }
    if rows.is_empty() {
        return Err(DiscoverError::Nobody { interfaces: arguments.interfaces.clone() });
    }
    Ok(())
}

/// Asks and listens; whether that was for as long as it was to be.
fn listen(
    ports: &mut InitiatorPorts,
    pattern: AddressPattern,
    limit: Duration,
    interrupt: &Interrupt,
) -> (Discovery, bool) {
    let begin = clock::now();
    let mut discovery = Discovery::new(begin, pattern, &ports.links(), std::process::id());
    loop {
        while let Some(output) = discovery.poll_output() {
            if let DiscoveryOutput::Send { port, frame } = output {
                ports.send(port, &frame, None);
            }
        }
        ports.flush();
        let now = clock::now();
        let Some(left) = limit.checked_sub(now.since(begin)).filter(|left| !left.is_zero()) else {
            return (discovery, true);
        };
        if interrupt.is_asked() {
            return (discovery, false);
        }
        ports.wait(left.min(discovery.poll_timeout().since(now)).min(interrupt::LOOK));
        let now = clock::now();
        while let Some(arrival) = ports.receive() {
            if let Ok(frame) = Frame::new(ports.frame(arrival)) {
                discovery.handle_frame(now, arrival.port, frame);
            }
            ports.release(arrival);
        }
        discovery.handle_timeout(now);
    }
}

/// A responder as it is shown.
#[derive(Debug, Serialize)]
struct Row {
    address: String,
    #[serde(skip)]
    number: (u16, u8),
    interface: String,
    mac: String,
    /// None if it does not identify itself.
    bytes: Option<u64>,
    model: Option<String>,
    serial: Option<String>,
    disk_firmware: Option<String>,
    sectors_per_frame: u16,
    buffer_count: u16,
    firmware: u16,
    config_string: String,
}

impl Row {
    fn new(responder: &Responder, ports: &InitiatorPorts) -> Self {
        let identify = responder.identify.as_ref();
        Self {
            address: responder.address.to_string(),
            number: (responder.address.shelf().0, responder.address.slot().0),
            interface: ports.interface(responder.port).to_owned(),
            mac: responder.mac.to_string(),
            bytes: identify.map(|identify| identify.sectors * 512),
            model: identify.map(|identify| identify.model.to_string()),
            serial: identify.map(|identify| identify.serial.to_string()),
            disk_firmware: identify.map(|identify| identify.firmware.to_string()),
            sectors_per_frame: responder.sectors_per_frame.0,
            buffer_count: responder.buffer_count,
            firmware: responder.firmware,
            config_string: responder.config_string.escape_ascii().to_string(),
        }
    }

    fn key(&self) -> (u16, u8, &str, &str) {
        (self.number.0, self.number.1, &self.interface, &self.mac)
    }

    fn cells(&self) -> [String; 9] {
        [
            self.address.clone(),
            self.interface.clone(),
            self.mac.clone(),
            self.bytes.map_or_else(|| "no answer".to_owned(), byte_size::display),
            self.sectors_per_frame.to_string(),
            self.buffer_count.to_string(),
            self.model.clone().unwrap_or_default(),
            self.serial.clone().unwrap_or_default(),
            self.config_string.clone(),
        ]
    }
}

const HEADINGS: [&str; 9] =
    ["ADDRESS", "INTERFACE", "MAC", "SIZE", "SECTORS/FRAME", "BUFFERS", "MODEL", "SERIAL", "CONFIG STRING"];

fn table(rows: &[Row]) -> String {
    let cells: Vec<[String; 9]> = rows.iter().map(Row::cells).collect();
    let width = |column: usize| {
        let lengths = cells.iter().map(|row| row[column].chars().count());
        lengths.chain([HEADINGS[column].len()]).max().unwrap_or(0)
    };
    let widths: [usize; 9] = std::array::from_fn(width);
    let headings: [String; 9] = HEADINGS.map(str::to_owned);
    let mut text = String::new();
    for row in std::iter::once(&headings).chain(&cells) {
        let line: Vec<String> =
            row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        text.push_str(line.join("  ").trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let row = Row {
            address: "e7.1".to_owned(),
            number: (7, 1),
            interface: "eth1".to_owned(),
            mac: "02:00:00:00:00:01".to_owned(),
            bytes: Some(1 << 30),
            model: Some("etherpair".to_owned()),
            serial: Some("1".to_owned()),
            disk_firmware: Some("0".to_owned()),
            sectors_per_frame: 16,
            buffer_count: 64,
            firmware: 1,
            config_string: String::new(),
        };
        assert_eq!(
            table(&[row]),
            "ADDRESS  INTERFACE  MAC                SIZE     SECTORS/FRAME  BUFFERS  MODEL      SERIAL  CONFIG STRING\n\
             e7.1     eth1       02:00:00:00:00:01  1.0 GiB  16             64       etherpair  1\n"
        );
    }
}
