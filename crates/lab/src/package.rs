//! The Debian packages that tests, the demo and the benches need, each with its reason.
//!
//! A package counts as present when the file that is wanted from it is: so a machine without apt works as well, if it
//! has the tools. What is missing is installed, with one line that says why; what cannot be is an error that names it.

use crate::Error;
use std::{
    path::Path,
    process::{Command, Stdio},
    sync::Mutex,
};

/// A Debian package, what to look for to see whether it is there, and what it is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Package {
    /// Its name in the archive.
    pub name: &'static str,
    /// A file of it, absolute; or a command, looked for where root finds commands.
    pub provides: &'static str,
    /// What it is needed for.
    pub reason: &'static str,
}

/// Namespaces, veth pairs and bridges.
pub const IPROUTE2: Package =
    Package { name: "iproute2", provides: "ip", reason: "network namespaces, wires and lossy links" };
/// Storage load: the yardstick of benches, the verifier in guests.
pub const FIO: Package =
    Package { name: "fio", provides: "fio", reason: "yardstick of the benches and verified load in guests" };
/// The reference target.
pub const VBLADE: Package =
    Package { name: "vblade", provides: "vblade", reason: "the reference target that we are compared with" };
/// `aoeping`, `aoecfg`, `aoe-sancheck` and the scripts around the kernel driver.
pub const AOETOOLS: Package = Package {
    name: "aoetools",
    provides: "aoeping",
    reason: "the reference tools that must work with our target",
};
/// Guests.
pub const QEMU: Package = Package {
    name: "qemu-system-x86",
    provides: "qemu-system-x86_64",
    reason: "guests with the kernel's aoe driver and with iPXE",
};
/// The other replicated disk. Its module is in the guests' kernel.
pub const DRBD_UTILS: Package = Package {
    name: "drbd-utils",
    provides: "drbdadm",
    reason: "DRBD in two guests, which the pair in the same guests is compared with",
};
/// A network-block-device server, as one more rival in the benches.
pub const QEMU_UTILS: Package =
    Package { name: "qemu-utils", provides: "qemu-nbd", reason: "the NBD row of the benches" };
/// The boot loader that boots from AoE.
pub const IPXE: Package = Package {
    name: "ipxe",
    provides: "/usr/lib/ipxe/ipxe.lkrn",
    reason: "network boot from an exported disk",
};
/// The shell of the guests.
pub const BUSYBOX: Package =
    Package { name: "busybox-static", provides: "busybox", reason: "the guests' first process and shell" };
/// File systems on exported disks.
pub const E2FSPROGS: Package =
    Package { name: "e2fsprogs", provides: "mkfs.ext4", reason: "a file system on an exported disk" };
/// The cluster file system.
pub const OCFS2_TOOLS: Package = Package {
    name: "ocfs2-tools",
    provides: "mkfs.ocfs2",
    reason: "two guests that mount one mirrored disk at the same time",
};
/// Module dependencies of the guests' kernel.
pub const KMOD: Package =
    Package { name: "kmod", provides: "depmod", reason: "the modules of the guests' kernel and their order" };

/// Someone else's arbiter.
pub const ETCD: Package =
    Package { name: "etcd-server", provides: "etcd", reason: "the arbiter tests run against etcd as well" };

/// Makes sure that all of `packages` are there. Prints a line for each one that it installs.
pub fn require(packages: &[Package]) -> Result<(), Error> {
    // Tests run in parallel threads: one asks apt, the others find the work done.
    static APT: Mutex<()> = Mutex::new(());
    let _one_at_a_time = APT.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    for package in packages.iter().filter(|package| !package.is_present()) {
        eprintln!("installing Debian package {}: {}", package.name, package.reason);
        install(package)?;
    }
    Ok(())
}

impl Package {
    /// Whether what is wanted of it is there.
    pub fn is_present(&self) -> bool {
        if self.provides.starts_with('/') {
            return Path::new(self.provides).exists();
        }
        find_command(self.provides).is_some()
    }
}

/// Where a command is, looked for in `PATH` and where root's commands are.
pub fn find_command(name: &str) -> Option<std::path::PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(Into::into);
    std::env::split_paths(&path)
        .chain(system)
        .map(|directory| directory.join(name))
        .find(|file| file.is_file())
}

fn install(package: &Package) -> Result<(), Error> {
    let first = apt(&["install", "-y", "-qq", "--no-install-recommends", package.name]);
    let result = first.or_else(|_| {
        // The usual reason is a list of packages that is older than the archive.
        let _ = apt(&["update", "-qq"]);
        apt(&["install", "-y", "-qq", "--no-install-recommends", package.name])
    });
    match result {
        Ok(()) if package.is_present() => Ok(()),
        Ok(()) => Err(package.error(format!("installed, but {} is not there", package.provides))),
        Err(detail) => Err(package.error(detail)),
    }
}

impl Package {
    pub(crate) fn error(&self, detail: String) -> Error {
        Error::Package { package: self.name, reason: self.reason, detail }
    }
}

/// Runs apt-get without questions, waiting for another apt that holds the lock.
pub(crate) fn apt(arguments: &[&str]) -> Result<(), String> {
    let result = Command::new("apt-get")
        .args(["-o", "DPkg::Lock::Timeout=120"])
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null())
        .output();
    match result {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(crate::error::tail(&String::from_utf8_lossy(&output.stderr), 5)),
        Err(error) => Err(format!("apt-get: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_whose_command_is_there_needs_no_apt() {
        let shell = Package { name: "no-such-package", provides: "sh", reason: "a test" };
        require(&[shell]).expect("sh is there, so apt is never asked");
    }

    #[test]
    fn the_error_names_the_package_and_the_reason() {
        let missing = Package { name: "no-such-package", provides: "no-such-command", reason: "a test" };
        let text = missing.error("apt-get: no".into()).to_string();
        assert!(text.contains("package no-such-package is needed (a test)"), "{text}");
    }
}
