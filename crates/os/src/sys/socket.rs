//! A socket of any family with its options. Unsafe because the standard library opens none but those of the internet.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// An open socket; it neither waits nor is inherited by programs started from here.
#[derive(Debug)]
pub(crate) struct Socket {
    descriptor: OwnedFd,
}

impl Socket {
    pub(crate) fn open(family: libc::c_int, kind: libc::c_int) -> io::Result<Self> {
        let kind = kind | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        // SAFETY: takes no pointers.
        let descriptor = unsafe { libc::socket(family, kind, 0) };
        if descriptor < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: just opened, and nobody else knows the number.
        Ok(Self { descriptor: unsafe { OwnedFd::from_raw_fd(descriptor) } })
    }

    /// Asks for room for `bytes` in the kernel; without the privilege to force it, for what the machine allows.
    pub(crate) fn reserve_buffer(&self, forced: libc::c_int, asked: libc::c_int, bytes: usize) {
        let bytes = libc::c_int::try_from(bytes).unwrap_or(libc::c_int::MAX);
        if self.set(libc::SOL_SOCKET, forced, &bytes).is_err() {
            // A smaller buffer is full earlier; it is no reason not to work.
            drop(self.set(libc::SOL_SOCKET, asked, &bytes));
        }
    }

    /// As [`set`].
    pub(crate) fn set<T: Copy>(&self, level: libc::c_int, option: libc::c_int, value: &T) -> io::Result<()> {
        set(self.as_fd(), level, option, value)
    }

    /// Reads an option; only for integers and structures of integers, for which any bytes are a value.
    pub(crate) fn get<T: Copy>(
        &self,
        level: libc::c_int,
        option: libc::c_int,
        mut value: T,
    ) -> io::Result<T> {
        let mut length = length_of::<T>();
        // SAFETY: `value` is writable for `length` bytes; callers use integers and structures of integers only.
        let result = unsafe {
            let address = (&raw mut value).cast();
            libc::getsockopt(self.descriptor.as_raw_fd(), level, option, address, &raw mut length)
        };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(value) }
    }

    /// Binds to an address of the socket's family.
    pub(crate) fn bind<T: Copy>(&self, address: &T) -> io::Result<()> {
        let length = length_of::<T>();
        // SAFETY: `address` is readable for `length` bytes.
        let result = unsafe { libc::bind(self.descriptor.as_raw_fd(), (&raw const *address).cast(), length) };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

/// Sets an option; the kernel keeps no reference to the value.
pub(crate) fn set<T: Copy>(
    socket: BorrowedFd<'_>,
    level: libc::c_int,
    option: libc::c_int,
    value: &T,
) -> io::Result<()> {
    let length = length_of::<T>();
    // SAFETY: `value` is readable for `length` bytes, and the kernel keeps no reference to it.
    let result =
        unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, (&raw const *value).cast(), length) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn length_of<T>() -> libc::socklen_t {
    libc::socklen_t::try_from(size_of::<T>()).unwrap_or(libc::socklen_t::MAX)
}
