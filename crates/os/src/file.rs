//! What files are, and that they stay: the few questions about paths that both this crate and whoever uses it have.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use crate::sys;

/// Whether it is a block device.
#[must_use]
pub fn is_device(path: &Path) -> bool {
    path.metadata().is_ok_and(|found| found.file_type().is_block_device())
}

/// Whether it is a regular file that nothing was ever written to, also if room is reserved for it. Where the file system cannot tell it
/// is not.
#[must_use]
pub fn was_never_written(path: &Path) -> bool {
    let is_file = path.metadata().is_ok_and(|found| found.is_file());
    is_file && File::open(path).is_ok_and(|file| !sys::file::was_written(&file))
}

/// Makes durable which files there are beside `path`.
///
/// # Errors
/// What the kernel says.
pub fn sync_directory_of(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    #[test]
    fn a_file_was_written_as_soon_as_one_byte_of_it_was() {
        let file = tempfile::NamedTempFile::new_in(env!("CARGO_MANIFEST_DIR")).expect("a file");
        file.as_file().set_len(1 << 20).expect("longer");
        assert!(was_never_written(file.path()));
        file.as_file().write_all_at(&[0], 1 << 19).expect("written");
        assert!(!was_never_written(file.path()));
        assert!(!was_never_written(Path::new("/dev/null")) && !was_never_written(Path::new("/")));
    }
}
