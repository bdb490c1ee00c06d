//! Directories for images, logs and sockets of one laboratory, and the directory where fetched things are kept.
//!
//! A scratch directory is removed when its owner drops it. One whose owner was killed is recognised by its free lock
//! and removed by whoever opens the next one. Everything lies below the workspace's `target` directory.

use crate::Error;
use std::{
    fs::{self, File},
    io::ErrorKind,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

/// The file in a scratch directory whose lock says that it is in use.
const LOCK: &str = "in-use";

/// A directory that vanishes with its owner.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
    _lock: File,
}

impl Scratch {
    /// Makes a new empty directory, and removes those that dead owners left behind.
    pub fn new(label: &str) -> Result<Self, Error> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let parent = target_directory().join("lab").join("scratch");
        fs::create_dir_all(&parent).map_err(Error::system(format!("make {}", parent.display())))?;
        // Making and sweeping exclude each other, or a sweep could take a directory that is not locked yet.
        let gate = File::create(parent.join("gate"))
            .map_err(Error::system("open the gate of scratch directories"))?;
        gate.lock().map_err(Error::system("lock the gate of scratch directories"))?;
        sweep(&parent);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = parent.join(format!("{label}-{}-{number}", std::process::id()));
        fs::create_dir(&path).map_err(Error::system(format!("make {}", path.display())))?;
        let lock =
            File::create(path.join(LOCK)).map_err(Error::system(format!("lock {}", path.display())))?;
        lock.lock().map_err(Error::system(format!("lock {}", path.display())))?;
        Ok(Self { path, _lock: lock })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path of a file in it.
    pub fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// Where things are kept that are costly to get and worth keeping from run to run, as a guest's kernel.
pub fn cache_directory() -> Result<PathBuf, Error> {
    let path = target_directory().join("lab").join("cache");
    fs::create_dir_all(&path).map_err(Error::system(format!("make {}", path.display())))?;
    Ok(path)
}

/// The root of the workspace.
pub fn workspace_directory() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_path_buf()
}

/// Where cargo puts what it builds.
pub fn target_directory() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace_directory().join("target"), PathBuf::from)
}

/// Removes the directories whose owners are gone. Best effort: what cannot be removed is left for the next run.
fn sweep(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let path = entry.path();
        let is_free = match File::open(path.join(LOCK)) {
            Ok(lock) => lock.try_lock().is_ok(),
            // Nobody makes one meanwhile: its removal was cut short after the lock had gone.
            Err(error) => error.kind() == ErrorKind::NotFound && path.is_dir(),
        };
        if is_free {
            let _ = fs::remove_dir_all(&path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scratch_directory_vanishes_with_its_owner_and_survives_a_sweep_before() {
        let first = Scratch::new("scratch-test").expect("scratch");
        let second = Scratch::new("scratch-test").expect("scratch");
        let path = first.path().to_path_buf();
        assert!(path.is_dir() && second.path().is_dir());
        drop(first);
        assert!(!path.exists());
    }

    #[test]
    fn a_directory_left_by_a_dead_owner_is_swept() {
        let alive = Scratch::new("scratch-test").expect("scratch");
        // One that is whole, and one whose removal was cut short: what of it goes first nobody knows.
        let orphans = [LOCK, "left"].map(|file| {
            let made = alive.join("made");
            fs::create_dir(&made).expect("orphan");
            File::create(made.join(file)).expect("a file");
            // Put there in one step, for other tests sweep as well.
            let orphan = alive.path().with_file_name(format!("scratch-test-{file}"));
            fs::rename(made, &orphan).expect("orphan");
            orphan
        });
        let _next = Scratch::new("scratch-test").expect("scratch");
        assert!(orphans.iter().all(|orphan| !orphan.exists()) && alive.path().is_dir());
    }
}
