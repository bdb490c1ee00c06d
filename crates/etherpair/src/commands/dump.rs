//! `etherpair dump`: tells what a metadata file says, for people or as JSON. It opens the file for reading only and takes
//! no lock, so it may be used beside a running node; what is being written then may look torn.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use clap::Args;
use replication::dump::{CopyReport, Dump, DumpError, Source};
use replication::membership::{Members, NodeNumber};
use replication::meta::activity_log::ReplayError;
use replication::meta::layout::{EXTENT_SECTORS, Place, SECTORS_PER_BIT};
use replication::meta::record::{Flaw, RecordError};
use replication::meta::twin::TwinError;
use replication::meta::version::Version;
use serde_json::{Value, json};
use thiserror::Error;

use crate::exit_code::{self, Failure};
use crate::standard;

/// Shown after the options.
const EXAMPLES: &str = "\
Examples:
  etherpair dump /var/lib/etherpair/e7.1.meta
      Tell what the metadata of a mirrored volume says: who serves, what was in flight, what has to be resynced.
  etherpair dump --json /dev/vg0/e7.1-meta | jq .bitmap.out_of_sync_blocks
      How many blocks of 4 KiB the peer has missed.

Exit codes: 0 all is well, or a crash explains it; 10 no such file; 14 it may not be read; 70 not metadata;
71 damaged (what is left is told all the same); 72 written by a newer version. Others: docs/exit-codes.md.";

/// What `etherpair dump` takes.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Metadata of a mirrored volume: a file or a block device
    #[arg(value_name = "META")]
    meta: PathBuf,

    /// Tell it in JSON
    #[arg(long)]
    json: bool,
}

/// Why `etherpair dump` ended badly.
#[derive(Debug, Error)]
pub(crate) enum DumpFailure {
    /// The file cannot be opened or read.
    #[error("{path}: the metadata cannot be read ({error}); look at the name and its permissions", path = path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// What the kernel said.
        error: io::Error,
    },
    /// It is not metadata, or not whole.
    #[error("{path}: {error}", path = path.display())]
    Unusable {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        error: DumpError<io::Error>,
    },
    /// It was told, and something in it is lost.
    #[error("{path}: the metadata is damaged; make it anew and let the peer resync this node", path = path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
    },
    /// A part of it was written by a newer program.
    #[error("{path}: {error}", path = path.display())]
    Version {
        /// Which file.
        path: PathBuf,
        /// Which record.
        error: RecordError,
    },
    /// Nobody takes what is told.
    #[error("standard output cannot be written ({0})")]
    Output(io::Error),
}

impl From<DumpFailure> for Failure {
    fn from(failure: DumpFailure) -> Self {
        let code = match &failure {
            DumpFailure::Read { error, .. } => match error.kind() {
                io::ErrorKind::NotFound => exit_code::DISK_MISSING,
                io::ErrorKind::PermissionDenied => exit_code::DISK_PERMISSION,
                _ => exit_code::SYSTEM,
            },
            DumpFailure::Unusable { error: DumpError::Superblock(error), .. } => match error {
                TwinError::Refused(_) => exit_code::META_VERSION,
                TwinError::NoMetadata => exit_code::META_NONE,
                TwinError::BothLost { zero, one } if is_nothing_of_ours(zero) && is_nothing_of_ours(one) => {
                    exit_code::META_NONE
                }
                TwinError::BothLost { .. } | TwinError::TwoFormats { .. } => exit_code::META_DAMAGED,
            },
            DumpFailure::Unusable { .. } | DumpFailure::Damaged { .. } => exit_code::META_DAMAGED,
            DumpFailure::Version { .. } => exit_code::META_VERSION,
            DumpFailure::Output(_) => exit_code::SYSTEM,
        };
        Self::new(code, &failure)
    }
}

const fn is_nothing_of_ours(error: &RecordError) -> bool {
    matches!(error.flaw, Flaw::Blank | Flaw::NotARecord { .. } | Flaw::CutShort { .. })
}

/// Tells what the file says.
pub(crate) fn run(arguments: Arguments) -> Result<(), DumpFailure> {
    tell(arguments, &mut io::stdout().lock())
}

fn tell(arguments: Arguments, out: &mut impl Write) -> Result<(), DumpFailure> {
    let Arguments { meta: path, json } = arguments;
    let read = |error| DumpFailure::Read { path: path.clone(), error };
    let mut source = FileSource::open(File::open(&path).map_err(read)?).map_err(read)?;
    let dump = match Dump::read(&mut source) {
        Ok(dump) => dump,
        Err(DumpError::Read(error)) => return Err(read(error)),
        Err(error) => return Err(DumpFailure::Unusable { path, error }),
    };
    let text = if json { format!("{:#}\n", as_json(&dump)) } else { dump.to_string() };
    standard::say_to(out, &text).map_err(DumpFailure::Output)?;
    if let Some(error) = refused(&dump) {
        return Err(DumpFailure::Version { path, error });
    }
    if dump.is_damaged() { Err(DumpFailure::Damaged { path }) } else { Ok(()) }
}

/// A record that a newer version wrote, beside a superblock that this one knows.
fn refused(dump: &Dump) -> Option<RecordError> {
    let mut twins = dump.bitmap.flaws.iter().filter_map(|flaw| flaw.flaw.err());
    match (&dump.small_state, &dump.activity_log) {
        (Err(TwinError::Refused(error)), _) | (_, Err(ReplayError::Refused(error))) => Some(*error),
        _ => twins.find_map(|error| match error {
            TwinError::Refused(error) => Some(error),
            _ => None,
        }),
    }
}

struct FileSource {
    file: File,
    byte_count: u64,
}

impl FileSource {
    fn open(mut file: File) -> io::Result<Self> {
        // Of a block device, too, the end says how long it is.
        let byte_count = file.seek(SeekFrom::End(0))?;
        Ok(Self { file, byte_count })
    }
}

impl Source for FileSource {
    type Error = io::Error;

    fn byte_count(&self) -> u64 {
        self.byte_count
    }

    fn read(&mut self, place: Place, into: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(into, place.0)
    }
}

fn as_json(dump: &Dump) -> Value {
    let superblock = &dump.superblock;
    let layout = superblock.layout;
    json!({
        "format_version": Version::CURRENT.number(),
        "byte_count": dump.byte_count,
        "bytes_used": layout.byte_count(),
        "format": dump.format.to_string(),
        "volume": superblock.volume.to_string(),
        "pair": superblock.pair.to_string(),
        "node": superblock.node.number(),
        "volume_sectors": layout.volume_sectors(),
        "membership": {
            "epoch": superblock.membership.epoch.0,
            "members": members(superblock.membership.members),
        },
        "clean": superblock.clean,
        "inconsistent": superblock.inconsistent,
        "disk_lost": superblock.disk_lost,
        "superblocks": copies(&dump.superblocks),
        "small_state": small_state(dump),
        "activity_log": activity_log(dump),
        "bitmap": bitmap(dump),
        "damaged": dump.is_damaged(),
    })
}

fn members(members: Members) -> Value {
    match members {
        Members::Both => json!([NodeNumber::Zero.number(), NodeNumber::One.number()]),
        Members::Only(node) => json!([node.number()]),
    }
}

fn copies(copies: &[CopyReport; 2]) -> Value {
    let copy = |copy: &CopyReport| match copy.found {
        Ok(sequence) => json!({ "byte": copy.place.0, "sequence": sequence.0, "holds": copy.holds }),
        Err(_) if copy.is_blank() => json!({ "byte": copy.place.0, "blank": true }),
        Err(error) => json!({ "byte": copy.place.0, "error": error.to_string() }),
    };
    copies.iter().map(copy).collect()
}

fn small_state(dump: &Dump) -> Value {
    let addresses = |list: &[[u8; 6]]| -> Value {
        list.iter().map(|mac| mac.map(|byte| format!("{byte:02x}")).join(":")).collect()
    };
    let state = match &dump.small_state {
        Err(error) => json!({ "error": error.to_string() }),
        Ok(None) => Value::Null,
        Ok(Some(state)) => json!({
            "volume": state.volume.to_string(),
            "revision": state.revision,
            // Bytes 0 to 255 as the characters of those numbers, as in the state file of `etherpair export`.
            "config_string": state.config_string.iter().map(|byte| char::from(*byte)).collect::<String>(),
            "mac_mask": addresses(&state.mac_mask),
            "reservation": addresses(&state.reservation),
        }),
    };
    json!({ "copies": copies(&dump.small_states), "state": state })
}

fn activity_log(dump: &Dump) -> Value {
    let layout = dump.superblock.layout;
    let mut value = json!({
        "extent_sectors": EXTENT_SECTORS,
        "extents": layout.extents(),
        "hot_extents_max": layout.hot_extents(),
    });
    match &dump.activity_log {
        Ok(log) => {
            value["newest"] = json!(log.newest.0);
            value["hot_extents"] = log.hot.iter().map(|extent| extent.0).collect();
            value["torn"] = json!(log.torn.map(|error| error.to_string()));
        }
        Err(error) => value["error"] = json!(error.to_string()),
    }
    value
}

fn bitmap(dump: &Dump) -> Value {
    let bitmap = &dump.bitmap;
    let flaw = |flaw: &replication::dump::BlockFlaw| match flaw.flaw {
        Ok(error) => json!({ "block": flaw.block, "torn": error.to_string() }),
        Err(error) => json!({ "block": flaw.block, "in_doubt": error.to_string() }),
    };
    json!({
        "sectors_per_bit": SECTORS_PER_BIT,
        "blocks": dump.superblock.layout.bitmap_blocks(),
        "blocks_written": bitmap.written,
        "out_of_sync_blocks": bitmap.out_of_sync,
        "run_count": bitmap.run_count,
        "first_runs": bitmap.runs.iter().map(|run| json!([run.start, run.sectors])).collect::<Value>(),
        "blocks_torn": bitmap.torn,
        "blocks_in_doubt": bitmap.in_doubt,
        "first_flaws": bitmap.flaws.iter().map(flaw).collect::<Value>(),
    })
}

#[cfg(test)]
mod tests {
    use replication::identity::{FormatIdentity, PairIdentity, VolumeIdentity};
    use replication::membership::Membership;
    use replication::meta::layout::{Layout, RECORD_BYTES};
    use replication::meta::record::Sequence;
    use replication::meta::superblock::Superblock;
    use replication::meta::twin::Side;

    use super::*;

    fn metadata(version: u8) -> tempfile::NamedTempFile {
        let layout = Layout::new(2048, 64).expect("1 MiB");
        let superblock = Superblock {
            volume: VolumeIdentity(1),
            pair: PairIdentity(2),
            node: NodeNumber::Zero,
            layout,
            membership: Membership::FIRST,
            clean: true,
            inconsistent: false,
            disk_lost: false,
        };
        let mut record = [0; RECORD_BYTES];
        superblock.emit(&mut record, FormatIdentity(3), Sequence(1));
        record[8] = version;
        let crc = crc32fast::hash(&record[..60]);
        record[60..64].copy_from_slice(&crc.to_le_bytes());
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        file.as_file().set_len(layout.byte_count()).expect("room");
        file.as_file().write_all_at(&record, Layout::superblock(Side::One).0).expect("room");
        file
    }

    fn code_of(file: &tempfile::NamedTempFile) -> Option<u8> {
        let arguments = Arguments { meta: file.path().to_owned(), json: true };
        tell(arguments, &mut Vec::new()).err().map(|failure| Failure::from(failure).code())
    }

    #[test]
    fn fresh_metadata_is_told_and_all_is_well() {
        let file = metadata(1);
        assert_eq!(code_of(&file), None);
        let mut source = FileSource::open(file.reopen().expect("there")).expect("a file");
        let told = as_json(&Dump::read(&mut source).expect("metadata"));
        assert_eq!(told["membership"], json!({ "epoch": 1, "members": [0, 1] }));
        assert_eq!(told["bitmap"]["out_of_sync_blocks"], 0);
        assert_eq!(told["superblocks"][0], json!({ "byte": 0, "blank": true }));
        assert_eq!(told["damaged"], false);
    }

    #[test]
    fn each_way_of_being_unusable_has_its_exit_code() {
        assert_eq!(code_of(&metadata(2)), Some(exit_code::META_VERSION));
        let file = metadata(1);
        file.as_file().set_len((1 << 20) + RECORD_BYTES as u64).expect("shorter");
        assert_eq!(code_of(&file), Some(exit_code::META_DAMAGED), "cut short");
        file.as_file().set_len(100).expect("shorter");
        assert_eq!(code_of(&file), Some(exit_code::META_NONE));
        let file = metadata(1);
        file.as_file().write_all_at(&[7; 8192], 2 << 20).expect("room");
        assert_eq!(code_of(&file), Some(exit_code::META_DAMAGED), "the bitmap's only block is lost");
        let arguments = Arguments { meta: "/nonexistent/7.1.meta".into(), json: false };
        let failure = Failure::from(tell(arguments, &mut Vec::new()).expect_err("no such file"));
        assert_eq!(failure.code(), exit_code::DISK_MISSING);
    }
}
