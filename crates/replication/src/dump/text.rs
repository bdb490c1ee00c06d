//! A dump for people to read.

use std::fmt::{Display, Formatter, Result};

use super::{CopyReport, Dump, LogReport, RUNS_MAX};
use crate::meta::activity_log::{Extent, RING_BYTES};
use crate::meta::layout::{BITS_PER_BLOCK, EXTENT_SECTORS, SECTORS_PER_BIT};
use crate::meta::small_state::{MacBytes, SmallState};
use crate::meta::version::Version;

impl Display for Dump {
    fn fmt(&self, out: &mut Formatter<'_>) -> Result {
        let superblock = &self.superblock;
        let layout = superblock.layout;
        let sectors = layout.volume_sectors();
        writeln!(out, "metadata format     version {}", Version::CURRENT)?;
        writeln!(out, "bytes               {} of {} used", layout.byte_count(), self.byte_count)?;
        writeln!(out, "format identity     {}", self.format)?;
        writeln!(out, "volume identity     {}", superblock.volume)?;
        writeln!(out, "pair identity       {}", superblock.pair)?;
        writeln!(out, "this is             {}", superblock.node)?;
        writeln!(out, "volume              {sectors} sectors, {}", size(sectors))?;
        writeln!(
            out,
            "membership          epoch {}, {}",
            superblock.membership.epoch, superblock.membership.members
        )?;
        writeln!(out, "clean shutdown      {}", if superblock.clean { "yes" } else { "no" })?;
        let worth = if superblock.disk_lost {
            "none: the disk had failed and the peer went on alone, so that every block is lacking"
        } else if superblock.inconsistent {
            "inconsistent: lacks blocks that only the peer has, never serves alone"
        } else {
            "good"
        };
        writeln!(out, "copy                {worth}")?;
        write_copies(out, "superblock", &self.superblocks)?;
        self.write_small_state(out)?;
        self.write_log(out)?;
        self.write_bitmap(out)?;
        let verdict = if self.is_damaged() {
            "damaged; see above what that costs"
        } else {
            "nothing that a crash does not explain"
        };
        writeln!(out, "\nverdict             {verdict}")
    }
}

impl Dump {
    fn write_small_state(&self, out: &mut Formatter<'_>) -> Result {
        write_copies(out, "small state", &self.small_states)?;
        match &self.small_state {
            Err(error) => writeln!(out, "  lost              {error}"),
            Ok(None) => writeln!(out, "  nothing set"),
            Ok(Some(state)) => write_state(out, state),
        }
    }

    fn write_log(&self, out: &mut Formatter<'_>) -> Result {
        let layout = self.superblock.layout;
        writeln!(
            out,
            "\nactivity log        {} of {} extents can be hot",
            layout.hot_extents(),
            layout.extents()
        )?;
        writeln!(out, "  extent            {}; ring of {} KiB", size(EXTENT_SECTORS), RING_BYTES >> 10)?;
        let log = match &self.activity_log {
            Ok(log) => log,
            Err(error) => return writeln!(out, "  lost              {error}"),
        };
        writeln!(out, "  transactions      {}", log.newest)?;
        if let Some(error) = &log.torn {
            writeln!(out, "  torn              {error}")?;
        }
        let doubt = if self.superblock.clean { "settled by the clean shutdown" } else { "in doubt" };
        writeln!(out, "  hot extents       {}, {doubt}{}", log.hot.len(), Extents(log))
    }

    fn write_bitmap(&self, out: &mut Formatter<'_>) -> Result {
        let (bitmap, blocks) = (&self.bitmap, self.superblock.layout.bitmap_blocks());
        writeln!(
            out,
            "\nbitmap              {blocks} blocks of {BITS_PER_BLOCK} bits, {} written",
            bitmap.written
        )?;
        let missed = size(bitmap.out_of_sync * SECTORS_PER_BIT);
        writeln!(out, "  out of sync       {} blocks of 4 KiB, {missed}", bitmap.out_of_sync)?;
        for run in &bitmap.runs {
            writeln!(out, "    sectors         {}+{}", run.start, run.sectors)?;
        }
        let more = bitmap.run_count - bitmap.runs.len() as u64;
        if more > 0 {
            writeln!(out, "    and {more} runs more")?;
        }
        for flaw in &bitmap.flaws {
            match flaw.flaw {
                Ok(error) => writeln!(out, "  torn              {error}")?,
                Err(error) => writeln!(out, "  in doubt          block {}, all of it: {error}", flaw.block)?,
            }
        }
        let more = (bitmap.torn + bitmap.in_doubt) as usize - bitmap.flaws.len();
        if more > 0 {
            writeln!(out, "    and {more} flawed blocks more")?;
        }
        Ok(())
    }
}

fn write_copies(out: &mut Formatter<'_>, name: &str, copies: &[CopyReport; 2]) -> Result {
    writeln!(out, "\n{name}")?;
    for (index, copy) in copies.iter().enumerate() {
        match copy.found {
            Ok(sequence) => {
                let holds = if copy.holds { ", holds" } else { "" };
                writeln!(out, "  copy {index}            sequence {sequence} at {}{holds}", copy.place)?;
            }
            Err(_) if copy.is_blank() => writeln!(out, "  copy {index}            never written")?,
            Err(error) => writeln!(out, "  copy {index}            {error}")?,
        }
    }
    Ok(())
}

fn write_state(out: &mut Formatter<'_>, state: &SmallState) -> Result {
    writeln!(out, "  volume identity   {}", state.volume)?;
    writeln!(out, "  revision          {}", state.revision)?;
    writeln!(out, "  config string     \"{}\"", state.config_string.escape_ascii())?;
    writeln!(out, "  MAC mask          {}", addresses(&state.mac_mask, "everybody"))?;
    writeln!(
        out,
        "  reservation       {}",
        addresses(&state.reservation, "none, everybody may use the volume")
    )
}

fn addresses(list: &[MacBytes], empty: &str) -> String {
    if list.is_empty() {
        return empty.to_owned();
    }
    list.iter().map(mac).collect::<Vec<_>>().join(" ")
}

fn mac(bytes: &MacBytes) -> String {
    bytes.map(|byte| format!("{byte:02x}")).join(":")
}

/// Runs of extents: `: 1-3 7`.
struct Extents<'a>(&'a LogReport);

impl Display for Extents<'_> {
    fn fmt(&self, out: &mut Formatter<'_>) -> Result {
        let mut rest = self.0.hot.as_slice();
        let mut separator = ": ";
        for _ in 0..RUNS_MAX {
            let Some(Extent(first)) = rest.first().copied() else { return Ok(()) };
            let length = rest.iter().zip(first..).take_while(|(extent, number)| extent.0 == *number).count();
            let last = rest[length - 1].0;
            rest = &rest[length..];
            if first == last {
                write!(out, "{separator}{first}")?;
            } else {
                write!(out, "{separator}{first}-{last}")?;
            }
            separator = " ";
        }
        if rest.is_empty() { Ok(()) } else { write!(out, " and {} more", rest.len()) }
    }
}

/// So many sectors in the largest unit that leaves a whole number or three digits.
fn size(sectors: u64) -> String {
    const UNITS: [(&str, u32); 4] = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];
    let bytes = sectors * 512;
    for (unit, shift) in UNITS {
        let whole = bytes >> shift;
        if whole > 0 {
            let tenths = ((bytes & ((1 << shift) - 1)) * 10) >> shift;
            return if tenths == 0 { format!("{whole} {unit}") } else { format!("{whole}.{tenths} {unit}") };
        }
    }
    format!("{bytes} bytes")
}
