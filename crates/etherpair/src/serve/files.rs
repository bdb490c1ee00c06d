//! Where a volume's data and metadata are at this node: which places may be used, and which files may be made there. What is in
//! them is not known here. All of it blocks.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use block::SECTOR_BYTES;
use os::file::is_device;

use crate::durable_file::{self, PRIVATE_MODE};

/// Where devices are, but for what is kept in memory.
const DEVICES: [&str; 2] = ["/dev", "/dev/shm"];

/// Refuses places that cannot be a volume's data and metadata.
///
/// # Errors
/// Which one, and why.
pub(super) fn check_places(data: &Path, metadata: &Path) -> Result<(), String> {
    for path in [data, metadata] {
        if !path.is_absolute() {
            return Err(format!(
                "{}: a place must begin with /, since the daemon works elsewhere",
                path.display()
            ));
        }
        check_device_is_there(path)?;
    }
    if is_same(data, metadata) {
        return Err(format!("{}: data and metadata are the same file or device; name two", data.display()));
    }
    Ok(())
}

/// A file that is not there may be made; a device may not, nor a file in its place.
///
/// # Errors
/// Which device is missing.
pub(super) fn check_device_is_there(path: &Path) -> Result<(), String> {
    if path.exists() {
        return Ok(());
    }
    let is_link = fs::symlink_metadata(path).is_ok();
    let directory = path.parent().and_then(|parent| fs::canonicalize(parent).ok());
    let [devices, memory] = DEVICES;
    let is_among_devices = |path: &Path| path.starts_with(devices) && !path.starts_with(memory);
    if is_among_devices(path) || directory.as_deref().is_some_and(is_among_devices) {
        return Err(format!(
            "{}: there is no such device; look at its name, and with `lsblk` whether it is there",
            path.display()
        ));
    }
    if is_link {
        return Err(format!(
            "{}: a link to something that is not there; see where it leads with `readlink`",
            path.display()
        ));
    }
    Ok(())
}

/// Whether both are one file or one device, by whatever names.
fn is_same(one: &Path, other: &Path) -> bool {
    let identity = |path: &Path| {
        let found = fs::metadata(path).ok()?;
        let is_device = found.file_type().is_block_device();
        Some(if is_device { (true, found.rdev(), 0) } else { (false, found.dev(), found.ino()) })
    };
    one == other || identity(one).is_some_and(|found| identity(other) == Some(found))
}

/// Refuses a device that has not so many bytes. A file gets them.
///
/// # Errors
/// How many it has.
pub(super) fn check_room(path: &Path, needed: u64) -> Result<(), String> {
    if !is_device(path) {
        return Ok(());
    }
    let found = File::open(path).and_then(|mut device| device.seek(SeekFrom::End(0)));
    let found = found.map_err(|error| format!("{}: {error}", path.display()))?;
    if found < needed {
        return Err(format!(
            "{}: has {found} bytes, {needed} are needed; use a larger device",
            path.display()
        ));
    }
    Ok(())
}

/// A new file as long as a volume. What a volume holds is nobody's business but its owner's.
pub(super) fn make(path: &Path, sectors: u64) -> io::Result<()> {
    let file: File = OpenOptions::new().write(true).create_new(true).mode(PRIVATE_MODE).open(path)?;
    let length = file.set_len(sectors * SECTOR_BYTES as u64).and_then(|()| file.sync_all());
    length.and_then(|()| durable_file::sync_directory_of(path)).inspect_err(|_| {
        // What is there is of no use, and stands in the way of the next try.
        let _ = fs::remove_file(path);
    })
}

/// A file, made if it is not there, as long as a volume; what is in it stays until it is written over.
pub(super) fn lengthen(path: &Path, sectors: u64) -> io::Result<()> {
    let file: File =
        OpenOptions::new().write(true).create(true).truncate(false).mode(PRIVATE_MODE).open(path)?;
    let bytes = sectors * SECTOR_BYTES as u64;
    if file.metadata()?.len() < bytes {
        file.set_len(bytes)?;
    }
    file.sync_all()?;
    durable_file::sync_directory_of(path)
}

/// Metadata in a file gets another name, if it is there. What is on a device stays until it is written over.
pub(super) fn put_metadata_aside(path: &Path) -> io::Result<()> {
    if is_device(path) || !path.exists() {
        return Ok(());
    }
    let mut number = 1;
    while fs::symlink_metadata(aside(path, &format!("replaced-{number}"))).is_ok() {
        number += 1;
    }
    fs::rename(path, aside(path, &format!("replaced-{number}")))?;
    durable_file::sync_directory_of(path)
}

/// Where a file can be put aside: under a name that nothing has, also if something was put aside with the same word before.
pub(super) fn unused_aside(path: &Path, word: &str) -> PathBuf {
    let (mut place, mut number) = (aside(path, word), 1);
    while fs::symlink_metadata(&place).is_ok() {
        number += 1;
        place = aside(path, &format!("{word}-{number}"));
    }
    place
}

/// What is put aside keeps its name and says why it is there.
fn aside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{suffix}"));
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn what_is_made_for_a_volume_is_only_for_its_owner() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = |name: &str| directory.path().join(name);
        make(&path("made"), 8).expect("a file");
        lengthen(&path("lengthened"), 8).expect("a file");
        durable_file::replace(&path("described"), b"address").expect("a file");
        durable_file::make_directory(&path("new/volumes")).expect("a directory");
        let mode = |name: &str| fs::metadata(path(name)).expect("it is there").permissions().mode() & 0o777;
        assert_eq!(["made", "lengthened", "described"].map(mode), [0o600; 3]);
        assert_eq!(["new", "new/volumes"].map(mode), [0o700; 2]);
        // What somebody has made is as he wants it.
        fs::set_permissions(path("made"), fs::Permissions::from_mode(0o640)).expect("his");
        lengthen(&path("made"), 16).expect("a longer file");
        assert_eq!(mode("made"), 0o640);
    }

    #[test]
    fn no_file_is_made_where_a_device_is_missing() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = |name: &str| directory.path().join(name);
        symlink("/dev", path("devices")).expect("a link");
        symlink("/dev/nothing-of-this-name", path("disk")).expect("a link");
        for missing in ["/dev/nothing-of-this-name", "/dev/no-such-group/disk"]
            .map(PathBuf::from)
            .into_iter()
            .chain([path("devices/nothing")])
        {
            let refused = check_places(&missing, &path("meta")).expect_err("missing");
            assert!(
                refused.contains(&format!("{}: there is no such device", missing.display())),
                "{refused}"
            );
            assert!(check_places(&path("data"), &missing).is_err(), "{}", missing.display());
        }
        let refused = check_places(&path("disk"), &path("meta")).expect_err("leads nowhere");
        assert!(refused.contains("a link to something that is not there"), "{refused}");
        for fine in ["/dev/null", "/dev/shm/e7.1.img", "/srv/e7.1.img"].map(Path::new) {
            assert_eq!(check_places(fine, &path("meta")), Ok(()));
        }
        let refused = check_places(Path::new("e7.1.img"), &path("meta")).expect_err("where?");
        assert!(refused.contains("must begin with /"), "{refused}");
    }

    #[test]
    fn data_and_metadata_are_two_whatever_they_are_called() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = |name: &str| directory.path().join(name);
        fs::write(path("one"), "").expect("a file");
        symlink(path("one"), path("link")).expect("a link");
        fs::hard_link(path("one"), path("other")).expect("a name more");
        for same in ["one", "link", "other"] {
            let refused = check_places(&path("one"), &path(same)).expect_err("one file");
            assert!(refused.contains("the same file"), "{refused}");
        }
        assert!(check_places(&path("new"), &path("new")).is_err());
        assert_eq!(check_places(&path("one"), &path("new")), Ok(()));
    }
}
