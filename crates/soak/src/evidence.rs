//! What is kept of a soak that has failed: what the initiators wrote down, the logs, both copies and both nodes' metadata.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::record::Entry;

/// Copies everything of `scratch`, and writes the notes beside it; where to.
pub(crate) fn keep(scratch: &Path, seed: u64, entries: &[Entry], what: &str) -> io::Result<PathBuf> {
    let directory = lab::target_directory().join("soak").join(format!("seed-{seed}-{}", std::process::id()));
    copy(scratch, &directory)?;
    let mut history = BufWriter::new(File::create(directory.join("history.txt"))?);
    entries.iter().try_for_each(|entry| writeln!(history, "{entry}"))?;
    history.flush()?;
    fs::write(directory.join("what.txt"), format!("{what}\n"))?;
    Ok(directory)
}

/// Copies files and directories; what is neither, as the sockets of the daemons, is left out.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (kind, place) = (entry.file_type()?, to.join(entry.file_name()));
        if kind.is_dir() {
            copy(&entry.path(), &place)?;
        } else if kind.is_file() {
            fs::copy(entry.path(), place)?;
        }
    }
    Ok(())
}
