//! The first file system of a guest: busybox, kernel modules and a script that makes the guest take orders.
//!
//! The archive format is cpio "newc": for each file a header of hexadecimal fields, the name, the data, each padded to four.

use super::kernel::Kernel;
use crate::{Error, package::find_command};
use std::{fs, path::Path};

/// The script of process 1: mounts, modules, interfaces up, and then the agent.
///
/// An order is a number on the second serial port: the guest runs `/shared/NUMBER.sh` and leaves output and status there.
const INIT: &str = r#"#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin:/usr/sbin:/usr/bin HOME=/ TERM=dumb
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
mount -t tmpfs tmp /tmp
mkdir -p /dev/shm /mnt
while read -r module; do insmod "/modules/$module" || echo "module $module failed"; done < /modules/order
for interface in /sys/class/net/*; do ip link set "${interface##*/}" up; done
mount -t 9p -o trans=virtio,version=9p2000.L,msize=262144,ro,cache=loose usr /usr
mount -t 9p -o trans=virtio,version=9p2000.L,msize=262144,cache=none shared /shared
stty -F /dev/ttyS1 raw -echo clocal
exec 3< /dev/ttyS1
touch /shared/ready
while read -r number <&3; do
    (
        exec 3<&-
        sh "/shared/$number.sh" > "/shared/$number.output" 2>&1 < /dev/null
        echo $? > "/shared/$number.unfinished"
        mv "/shared/$number.unfinished" "/shared/$number.status"
    ) &
done
echo "the control line has ended"
poweroff -f
"#;

const DIRECTORY: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const FILE: u32 = 0o100_644;
const LINK: u32 = 0o120_777;

/// Writes an initramfs with `modules` of `kernel` to `path`.
pub(super) fn write(path: &Path, kernel: &Kernel, modules: &[&str]) -> Result<(), Error> {
    let mut archive = Archive::default();
    for directory in ["bin", "dev", "etc", "mnt", "modules", "proc", "shared", "sys", "tmp", "usr"] {
        archive.add(directory, DIRECTORY, &[]);
    }
    // Programs of the host look for their libraries where a Debian host has them.
    for (name, target) in
        [("sbin", "usr/sbin"), ("lib", "usr/lib"), ("lib64", "usr/lib64"), ("etc/mtab", "/proc/mounts")]
    {
        archive.add(name, LINK, target.as_bytes());
    }
    let busybox = find_command("busybox").unwrap_or_else(|| "/bin/busybox".into());
    archive.add("bin/busybox", PROGRAM, &read(&busybox)?);
    archive.add("init", PROGRAM, INIT.as_bytes());
    if let Ok(configuration) = fs::read("/etc/mke2fs.conf") {
        archive.add("etc/mke2fs.conf", FILE, &configuration);
    }
    let mut order = String::new();
    for file in kernel.modules(modules)? {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        archive.add(&format!("modules/{name}"), FILE, &read(&file)?);
        order.push_str(&name);
        order.push('\n');
    }
    archive.add("modules/order", FILE, order.as_bytes());
    fs::write(path, archive.finish()).map_err(Error::system(format!("write {}", path.display())))
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    fs::read(path).map_err(Error::system(format!("read {}", path.display())))
}

/// A cpio archive that is being written.
#[derive(Default)]
struct Archive {
    bytes: Vec<u8>,
    next_inode: u32,
}

impl Archive {
    fn add(&mut self, name: &str, mode: u32, data: &[u8]) {
        self.next_inode += 1;
        let links = 1 + u32::from(mode == DIRECTORY);
        let (size, name_size) = (length(data), length(name.as_bytes()) + 1);
        // inode, mode, user, group, links, time, size, four device numbers, length of the name, checksum (unused)
        let fields = [self.next_inode, mode, 0, 0, links, 0, size, 0, 0, 0, 0, name_size, 0];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes.extend_from_slice(format!("{field:08X}").as_bytes());
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(data);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    fn finish(mut self) -> Vec<u8> {
        self.add("TRAILER!!!", 0, &[]);
        self.bytes
    }
}

fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).expect("a file of an initramfs is far below 4 GiB")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_entry_has_the_documented_layout() {
        let mut archive = Archive::default();
        archive.add("a", FILE, b"hello");
        let text = String::from_utf8(archive.bytes).expect("text");
        assert!(text.starts_with("07070100000001000081A4"), "{text:?}");
        assert_eq!(&text[110..], "a\0hello\0\0\0");
    }
}
