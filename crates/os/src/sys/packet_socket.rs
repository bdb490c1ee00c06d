//! The packet socket: opening, options, filter, binding. Unsafe because the standard library knows no such socket.

use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Everything the kernel calls a raw link-layer socket.
#[derive(Debug)]
pub(crate) struct PacketSocket {
    descriptor: OwnedFd,
}

impl PacketSocket {
    /// A socket that receives nothing until it is bound. Needs CAP_NET_RAW.
    pub(crate) fn open() -> io::Result<Self> {
        Self::of_kind(libc::AF_PACKET, libc::SOCK_RAW)
    }

    /// A socket that anybody may open, good for nothing but asking about interfaces.
    pub(crate) fn for_questions() -> io::Result<Self> {
        Self::of_kind(libc::AF_UNIX, libc::SOCK_DGRAM)
    }

    fn of_kind(family: libc::c_int, kind: libc::c_int) -> io::Result<Self> {
        let kind = kind | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        // SAFETY: takes no pointers.
        let descriptor = unsafe { libc::socket(family, kind, 0) };
        if descriptor < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: just opened, and nobody else knows the number.
        Ok(Self { descriptor: unsafe { OwnedFd::from_raw_fd(descriptor) } })
    }

    /// Sets an option of the packet level.
    pub(crate) fn set_packet<T: Copy>(&self, option: libc::c_int, value: T) -> io::Result<()> {
        self.set(libc::SOL_PACKET, option, &value)
    }

    /// Sets an option of the socket level.
    pub(crate) fn set_socket<T: Copy>(&self, option: libc::c_int, value: T) -> io::Result<()> {
        self.set(libc::SOL_SOCKET, option, &value)
    }

    /// Asks for room for `bytes` in the kernel; without the privilege to force it, for what the machine allows.
    pub(crate) fn reserve_buffer(&self, forced: libc::c_int, asked: libc::c_int, bytes: usize) {
        let bytes = libc::c_int::try_from(bytes).unwrap_or(libc::c_int::MAX);
        if self.set_socket(forced, bytes).is_err() {
            // A smaller buffer loses frames earlier; it is no reason not to work.
            drop(self.set_socket(asked, bytes));
        }
    }

    fn set<T: Copy>(&self, level: libc::c_int, option: libc::c_int, value: &T) -> io::Result<()> {
        let length = length_of::<T>();
        // SAFETY: `value` is readable for `length` bytes, and the kernel keeps no reference to it.
        let result = unsafe {
            libc::setsockopt(self.descriptor.as_raw_fd(), level, option, (&raw const *value).cast(), length)
        };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    fn get<T: Copy>(&self, level: libc::c_int, option: libc::c_int, mut value: T) -> io::Result<T> {
        let mut length = length_of::<T>();
        // SAFETY: `value` is writable for `length` bytes; callers use integers and structures of integers only.
        let result = unsafe {
            let address = (&raw mut value).cast();
            libc::getsockopt(self.descriptor.as_raw_fd(), level, option, address, &raw mut length)
        };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(value) }
    }

    /// Installs a filter; frames it refuses never reach the socket.
    pub(crate) fn attach_filter(&self, program: &[libc::sock_filter]) -> io::Result<()> {
        let length = u16::try_from(program.len()).map_err(|_| io::Error::other("filter too long"))?;
        // The kernel copies the program and writes to none of it; the field is `*mut` for history's sake.
        self.set_socket(
            libc::SO_ATTACH_FILTER,
            libc::sock_fprog { len: length, filter: program.as_ptr().cast_mut() },
        )
    }

    /// Receives frames of one type from one interface from now on, and sends to it.
    pub(crate) fn bind(&self, interface_index: u32, ethertype: u16) -> io::Result<()> {
        // SAFETY: an all-zero address is a valid one.
        let mut address: libc::sockaddr_ll = unsafe { mem::zeroed() };
        address.sll_family = libc::c_ushort::try_from(libc::AF_PACKET).map_err(io::Error::other)?;
        address.sll_protocol = ethertype.to_be();
        address.sll_ifindex = i32::try_from(interface_index).map_err(io::Error::other)?;
        let length = length_of::<libc::sockaddr_ll>();
        // SAFETY: `address` is readable for `length` bytes.
        let result = unsafe { libc::bind(self.descriptor.as_raw_fd(), (&raw const address).cast(), length) };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Takes the error that waits on the socket (a link that went down), so that it stops being readable for it.
    pub(crate) fn take_error(&self) -> io::Result<()> {
        match self.get(libc::SOL_SOCKET, libc::SO_ERROR, 0 as libc::c_int)? {
            0 => Ok(()),
            error => Err(io::Error::from_raw_os_error(error)),
        }
    }

    /// Frames the filter let through and frames lost for want of room, since the last call.
    pub(crate) fn take_statistics(&self) -> io::Result<(u32, u32)> {
        let counts = self.get(libc::SOL_PACKET, libc::PACKET_STATISTICS, [0u32; 2])?;
        Ok((counts[0], counts[1]))
    }
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

fn length_of<T>() -> libc::socklen_t {
    libc::socklen_t::try_from(size_of::<T>()).unwrap_or(libc::socklen_t::MAX)
}

/// Waits until `descriptor` has one of `events` or the time is over; says whether it had one.
pub(crate) fn poll(
    descriptor: BorrowedFd<'_>,
    events: i16,
    timeout: Option<std::time::Duration>,
) -> io::Result<bool> {
    let mut entry = libc::pollfd { fd: descriptor.as_raw_fd(), events, revents: 0 };
    let limit = timeout.map(|timeout| libc::timespec {
        tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(timeout.subsec_nanos()),
    });
    let limit = limit.as_ref().map_or(std::ptr::null(), |limit| &raw const *limit);
    // SAFETY: one entry, valid for the length of the call; `limit` is null or points to a live timespec.
    let result = unsafe { libc::ppoll(&raw mut entry, 1, limit, std::ptr::null()) };
    if result < 0 {
        let error = io::Error::last_os_error();
        return if error.kind() == io::ErrorKind::Interrupted { Ok(false) } else { Err(error) };
    }
    Ok(result > 0)
}
