//! Disks to export: images, loop devices with other sector sizes, and disks that fail in the ways that disks fail.
//!
//! Without device-mapper, which a small kernel may lack, faults are made of what every kernel has: a loop device whose file
//! is cut short beneath it answers reads with EIO, one on a full memory file system answers writes with ENOSPC.

use crate::{Error, sys};
use std::{
    fs::{File, OpenOptions},
    io::{BufWriter, Write},
    os::fd::{AsRawFd, OwnedFd},
    path::{Path, PathBuf},
};

/// Makes an image of which nothing is allocated yet; it reads as zeroes.
pub fn sparse_image(path: &Path, size_bytes: u64) -> Result<(), Error> {
    let file = create(path)?;
    file.set_len(size_bytes).map_err(Error::system(format!("size {}", path.display())))
}

/// Makes an image full of bytes that look random and are the same each time, all of it written to the disk.
///
/// For benches: a file that is only reserved is read as zeroes without asking the disk, and each first write to it is slow.
pub fn filled_image(path: &Path, size_bytes: u64) -> Result<(), Error> {
    let action = format!("fill {}", path.display());
    let file = create(path)?;
    let mut writer = BufWriter::with_capacity(1 << 20, &file);
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    for _ in 0..size_bytes / 8 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        writer.write_all(&state.to_le_bytes()).map_err(Error::system(action.as_str()))?;
    }
    writer.flush().and_then(|()| file.sync_all()).map_err(Error::system(action.as_str()))
}

/// Changes the size of an image; what is beyond a smaller size is gone.
pub fn resize_image(path: &Path, size_bytes: u64) -> Result<(), Error> {
    let action = format!("resize {}", path.display());
    let file = OpenOptions::new().write(true).open(path).map_err(Error::system(action.as_str()))?;
    file.set_len(size_bytes).map_err(Error::system(action.as_str()))
}

fn create(path: &Path) -> Result<File, Error> {
    File::create(path).map_err(Error::system(format!("make {}", path.display())))
}

/// A loop device over a file. It goes with its owner, however that ends.
#[derive(Debug)]
pub struct LoopDevice {
    descriptor: OwnedFd,
    path: PathBuf,
}

impl LoopDevice {
    /// Binds a free loop device with sectors of `sector_bytes` (512 or 4096) to `file`.
    pub fn new(file: &Path, sector_bytes: u32) -> Result<Self, Error> {
        let action = format!("bind a loop device to {}", file.display());
        let backing =
            OpenOptions::new().read(true).write(true).open(file).map_err(Error::system(action.as_str()))?;
        let (descriptor, number) =
            sys::new_loop_device(&backing, sector_bytes).map_err(Error::system(action))?;
        Ok(Self { descriptor, path: PathBuf::from(format!("/dev/loop{number}")) })
    }

    /// The device's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes it look at the size of its file again. Without this a file cut short leaves a device with bad sectors.
    pub fn reread_size(&self) -> Result<(), Error> {
        sys::reread_loop_capacity(&self.descriptor).map_err(Error::system("read a loop device's size again"))
    }
}

/// A file system in memory that holds only so much. It goes with its owner, and is mounted nowhere.
#[derive(Debug)]
pub struct SmallFileSystem {
    root: OwnedFd,
}

impl SmallFileSystem {
    /// Makes one for `size_bytes` of data.
    pub fn new(size_bytes: u64) -> Result<Self, Error> {
        let root = sys::new_detached_tmpfs(size_bytes).map_err(Error::system("make a memory file system"))?;
        Ok(Self { root })
    }

    /// Its root directory, by a path that any process can open while the owner lives.
    pub fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), self.root.as_raw_fd()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Scratch;
    use crate::wait::wait_until;
    use std::{io, os::unix::fs::FileExt, time::Duration};

    const MIB: u64 = 1 << 20;

    #[test]
    fn a_loop_device_over_a_file_cut_short_fails_reads_beyond() {
        let scratch = Scratch::new("disk-test").expect("scratch");
        let image = scratch.join("image");
        filled_image(&image, 4 * MIB).expect("image");
        let device = LoopDevice::new(&image, 512).expect("loop");
        resize_image(&image, 2 * MIB).expect("cut");
        let file = File::open(device.path()).expect("open");
        let mut bytes = [0; 4096];
        file.read_exact_at(&mut bytes, MIB).expect("still there");
        let error = file.read_exact_at(&mut bytes, 3 * MIB).expect_err("gone");
        assert_eq!(error.raw_os_error(), Some(libc::EIO));
    }

    #[test]
    fn a_small_file_system_is_full_where_it_says() {
        let small = SmallFileSystem::new(MIB).expect("file system");
        let image = small.path().join("image");
        sparse_image(&image, 4 * MIB).expect("image");
        let file = OpenOptions::new().write(true).open(&image).expect("open");
        let mut offset = 0;
        let error = loop {
            match file.write_all_at(&[1; 4096], offset) {
                Ok(()) => offset += 4096,
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert!(offset <= MIB, "{offset} bytes fitted");
    }

    #[test]
    fn a_loop_device_has_the_sector_size_asked_for_and_goes_with_its_owner() {
        let scratch = Scratch::new("disk-test").expect("scratch");
        let image = scratch.join("image");
        sparse_image(&image, MIB).expect("image");
        let device = LoopDevice::new(&image, 4096).expect("loop");
        let block = Path::new("/sys/block").join(device.path().file_name().expect("name"));
        let sector = std::fs::read_to_string(block.join("queue/logical_block_size")).expect("sector size");
        assert_eq!(sector.trim(), "4096");
        resize_image(&image, 2 * MIB).expect("grow");
        device.reread_size().expect("reread");
        assert_eq!(std::fs::read_to_string(block.join("size")).expect("size").trim(), "4096");
        drop(device);
        // Whoever looks at block devices just then, as udev does, holds it for a moment longer.
        let backing = block.join("loop/backing_file");
        wait_until("the device is free", Duration::from_secs(30), || Ok((!backing.exists()).then_some(())))
            .expect("freed");
    }
}
