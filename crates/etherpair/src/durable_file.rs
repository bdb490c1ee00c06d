//! Small files that are replaced as a whole, durably: after a crash either the old content is there or the new.
//!
//! What becomes durable is said by [`Step`]s, so that tests see in which order it does, and can have each of them fail.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Of files that are made: nobody but their owner reads what a volume holds, or who serves it.
pub(crate) const PRIVATE_MODE: u32 = 0o600;
/// Of directories.
const PRIVATE_DIRECTORY_MODE: u32 = 0o700;

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
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(PRIVATE_MODE).open(&beside)?;
        file.write_all(bytes)?;
        Step::SyncFile.take(|| file.sync_all())?;
        Ok(Self { beside, path: path.to_owned() })
    }

    /// Puts it in the place of the file, durably.
    ///
    /// # Errors
    /// What the kernel says. Either content may be there then.
    pub(crate) fn replace(self) -> io::Result<()> {
        Step::Rename.take(|| fs::rename(&self.beside, &self.path))?;
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

/// Makes the bytes of these files, which lie in one directory, durable, and that they are there: who reads a file may read what a process
/// that was killed has put in its place and not made durable, and is to find it again after a loss of power.
///
/// # Errors
/// What the kernel says, and of which file.
pub(crate) fn settle(paths: &[PathBuf]) -> Result<(), (PathBuf, io::Error)> {
    for path in paths {
        let synced = Step::SyncFile.take(|| File::open(path)?.sync_all());
        synced.map_err(|error| (path.clone(), error))?;
    }
    let any = paths.last();
    any.map_or(Ok(()), |path| sync_directory_of(path).map_err(|error| (path.clone(), error)))
}

/// Removes the file at `path`, durably, if there is one.
///
/// # Errors
/// What the kernel says. It may be there or not then.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    match Step::Remove.take(|| fs::remove_file(path)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        result => result?,
    }
    sync_directory_of(path)
}

/// Makes a directory, and those above it, for nobody but its owner, unless it is there.
///
/// # Errors
/// What the kernel says.
pub(crate) fn make_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(PRIVATE_DIRECTORY_MODE).create(path)
}

/// Makes durable which files there are beside `path`.
///
/// # Errors
/// What the kernel says.
pub(crate) fn sync_directory_of(path: &Path) -> io::Result<()> {
    Step::SyncDirectory.take(|| os::file::sync_directory_of(path))
}

/// What is done on the way to stable storage.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Step {
    /// The bytes of a file become durable.
    SyncFile,
    /// It takes the place of the old one.
    Rename,
    /// A file goes.
    Remove,
    /// What the directory says becomes durable.
    SyncDirectory,
}

impl Step {
    #[cfg(not(test))]
    fn take(self, take: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        take()
    }

    #[cfg(test)]
    fn take(self, take: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        watch::before(self)?;
        take()
    }
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

/// What tests of this thread want to know of each step, before it is taken.
#[cfg(test)]
pub(crate) mod watch {
    use super::{Step, io};
    use std::cell::RefCell;

    type Watcher = Box<dyn FnMut(Step) -> io::Result<()>>;

    thread_local! {
        static WATCHER: RefCell<Option<Watcher>> = const { RefCell::new(None) };
    }

    /// Asks `watcher` before each step from now on; one that it refuses fails and is not taken.
    pub(crate) fn set(watcher: impl FnMut(Step) -> io::Result<()> + 'static) {
        WATCHER.set(Some(Box::new(watcher)));
    }

    pub(super) fn before(step: Step) -> io::Result<()> {
        WATCHER.with_borrow_mut(|watcher| watcher.as_mut().map_or(Ok(()), |watcher| watcher(step)))
    }
}
