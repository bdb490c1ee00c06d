//! What a frame says, in a few words for whoever reads the trace. Nothing is decided by it.

use std::fmt::Write;

use aoe::wire::{Frame, ata, sequenced};
use aoe::{Command, MacAddress};
use block::SECTOR_BYTES;

use crate::content::Value;

/// A frame in a line: who asks or is answered, for what, and the value of its first sector.
pub(crate) fn of(bytes: &[u8]) -> String {
    let Ok(frame) = Frame::new(bytes) else { return "no frame of ours".to_owned() };
    let header = frame.header();
    let way = if header.response { "answer to" } else { "from" };
    let client = if header.response { frame.ethernet().destination } else { frame.ethernet().source };
    let mut line = format!("{way} {} {}", last(client), header.tag);
    if let Some(error) = header.error {
        let _ = write!(line, " error {error:?}");
    }
    let _ = match header.command {
        Command::Ata => ata_frame(&mut line, frame),
        sequenced::COMMAND => sequenced_frame(&mut line, frame),
        other => write!(line, " {other:?}"),
    };
    line
}

fn last(mac: MacAddress) -> String {
    let [.., host, port] = mac.0;
    format!("host {host}.{port}")
}

fn ata_frame(line: &mut String, frame: Frame<'_>) -> std::fmt::Result {
    let Ok(view) = ata::View::new(frame) else { return Ok(()) };
    if frame.header().response {
        write!(line, " {:?}", ata::Reply::parse(view).status)?;
    }
    registers(line, &ata::Request::parse(view))?;
    content(line, &ata::Request::parse(view), view.sectors(block::SectorCount(1)))
}

fn sequenced_frame(line: &mut String, frame: Frame<'_>) -> std::fmt::Result {
    let Ok(view) = sequenced::View::new(frame) else { return Ok(()) };
    if frame.header().response {
        return match sequenced::Reply::parse(view) {
            Ok(sequenced::Reply::Write { epoch, registers, .. }) => {
                write!(line, " {:?} in epoch {epoch}", registers.status)
            }
            _ => Ok(()),
        };
    }
    let Ok(sequenced::Request::Write { sequence, registers: request, .. }) = sequenced::Request::parse(view)
    else {
        return Ok(());
    };
    write!(line, " number {sequence}")?;
    registers(line, &request)?;
    content(line, &request, view.sectors(block::SectorCount(1)))
}

fn registers(line: &mut String, request: &ata::Request) -> std::fmt::Result {
    write!(line, " {:?} {}+{}", request.command, request.lba(), request.sectors().0)
}

fn content(line: &mut String, request: &ata::Request, first: Option<&[u8]>) -> std::fmt::Result {
    match first.filter(|sector| sector.len() == SECTOR_BYTES) {
        Some(sector) => write!(line, " {}", Value::of(request.lba(), sector)),
        None => Ok(()),
    }
}
