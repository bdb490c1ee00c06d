//! Small files that are replaced as a whole, durably: after a crash either the old content is there or the new.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// New content on stable storage, beside the file whose place it is to take.
#[derive(Debug)]
pub(crate) struct Beside {
    beside: PathBuf,
    path: PathBuf,
}

impl Beside {
    /// Writes `bytes` beside `path`, durably.
    ///
    /// # Errors
    /// What the kernel says.
    pub(crate) fn write(path: &Path, bytes: &[u8]) -> io::Result<Self> {
        let mut beside = path.as_os_str().to_owned();
        beside.push(".new");
        let beside = PathBuf::from(beside);
        let mut file = File::create(&beside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        Ok(Self { beside, path: path.to_owned() })
    }

    /// Puts it in the place of the file, durably.
    ///
    /// # Errors
    /// What the kernel says. Either content may be there then.
    pub(crate) fn replace(self) -> io::Result<()> {
        fs::rename(&self.beside, &self.path)?;
        sync_directory_of(&self.path)
    }
}

/// Puts `bytes` in the place of whatever is at `path`, durably.
///
/// # Errors
/// What the kernel says. Either content may be there then.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    Beside::write(path, bytes)?.replace()
}

/// Makes durable which files there are beside `path`.
///
/// # Errors
/// What the kernel says.
pub(crate) fn sync_directory_of(path: &Path) -> io::Result<()> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    File::open(directory)?.sync_all()
}

/// Random bytes of the kernel's.
///
/// # Errors
/// If it gives none.
pub(crate) fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}
