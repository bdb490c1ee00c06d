//! Network namespaces that vanish by themselves: held by a descriptor, never by a name in `/run/netns`.
//!
//! With the last clone of a [`Namespace`] and the last process in it go its interfaces, its addresses and its filters.

use crate::{Error, Program, sys};
use std::{
    ffi::OsStr,
    fs,
    os::fd::{AsRawFd, OwnedFd, RawFd},
    sync::Arc,
};

/// A network namespace. Clones are the same namespace.
#[derive(Debug, Clone)]
pub struct Namespace {
    descriptor: Arc<OwnedFd>,
}

impl Namespace {
    /// Makes an empty namespace with its loopback up and without IPv6, which would only add frames of its own.
    pub fn new() -> Result<Self, Error> {
        if !sys::is_root() {
            return Err(Error::Privilege);
        }
        let descriptor = sys::new_network_namespace().map_err(Error::system("make a network namespace"))?;
        let namespace = Self { descriptor: Arc::new(descriptor) };
        for scope in ["default", "all"] {
            let path = format!("/proc/sys/net/ipv6/conf/{scope}/disable_ipv6");
            // A kernel without IPv6 has no such file, and no need for it.
            let _ = sys::in_network_namespace(&namespace.descriptor, || fs::write(path, "1"));
        }
        namespace.program("ip").args(["link", "set", "lo", "up"]).run()?;
        Ok(namespace)
    }

    /// A program that will run in this namespace.
    pub fn program(&self, program: impl AsRef<OsStr>) -> Program {
        Program::new(program).in_namespace(self)
    }

    /// Does `work` on a thread that is in this namespace: sockets opened there stay in it.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> std::io::Result<T> + Send) -> Result<T, Error> {
        sys::in_network_namespace(&self.descriptor, work).map_err(Error::system("work in a namespace"))
    }

    /// A path by which other processes can name it, as `ip link set … netns PATH` or `nsenter --net=PATH`.
    pub fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.descriptor())
    }

    pub(crate) fn descriptor(&self) -> RawFd {
        self.descriptor.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_is_empty_but_for_its_loopback_and_seen_in_sys() {
        let namespace = Namespace::new().expect("namespace");
        let output = namespace.program("ls").arg("/sys/class/net").run().expect("ls");
        assert_eq!(output.stdout, "lo\n");
        let inside = namespace.enter(|| fs::read_link("/proc/thread-self/ns/net")).expect("inside");
        let outside = fs::read_link("/proc/self/ns/net").expect("outside");
        assert_ne!(inside, outside);
    }
}
