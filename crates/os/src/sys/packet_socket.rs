//! The packet socket: opening, options, filter, binding. Unsafe because an address is zeroed by hand, and for `poll`.

use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use super::socket::Socket;

/// A membership of a unicast address; libc has no name for it.
const PACKET_MR_UNICAST: libc::c_ushort = 3;

/// Everything the kernel calls a raw link-layer socket.
#[derive(Debug)]
pub(crate) struct PacketSocket {
    socket: Socket,
}

impl PacketSocket {
    /// A socket that receives nothing until it is bound. Needs CAP_NET_RAW.
    pub(crate) fn open() -> io::Result<Self> {
        Ok(Self { socket: Socket::open(libc::AF_PACKET, libc::SOCK_RAW)? })
    }

    /// A socket that anybody may open, good for nothing but asking about interfaces.
    pub(crate) fn for_questions() -> io::Result<Self> {
        Ok(Self { socket: Socket::open(libc::AF_UNIX, libc::SOCK_DGRAM)? })
    }

    /// Sets an option of the packet level.
    pub(crate) fn set_packet<T: Copy>(&self, option: libc::c_int, value: T) -> io::Result<()> {
        self.socket.set(libc::SOL_PACKET, option, &value)
    }

    /// Sets an option of the socket level.
    pub(crate) fn set_socket<T: Copy>(&self, option: libc::c_int, value: T) -> io::Result<()> {
        self.socket.set(libc::SOL_SOCKET, option, &value)
    }

    /// Asks for room for `bytes` in the kernel; without the privilege to force it, for what the machine allows.
    pub(crate) fn reserve_buffer(&self, forced: libc::c_int, asked: libc::c_int, bytes: usize) {
        self.socket.reserve_buffer(forced, asked, bytes);
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
        self.socket.bind(&address)
    }

    /// Has the card receive frames to this address as well, as long as the socket is open.
    pub(crate) fn add_address(&self, interface_index: u32, address: [u8; 6]) -> io::Result<()> {
        let mut bytes = [0; 8];
        bytes[..6].copy_from_slice(&address);
        self.set_packet(
            libc::PACKET_ADD_MEMBERSHIP,
            libc::packet_mreq {
                mr_ifindex: i32::try_from(interface_index).map_err(io::Error::other)?,
                mr_type: PACKET_MR_UNICAST,
                mr_alen: 6,
                mr_address: bytes,
            },
        )
    }

    /// Takes the error that waits on the socket (a link that went down), so that it stops being readable for it.
    pub(crate) fn take_error(&self) -> io::Result<()> {
        match self.socket.get(libc::SOL_SOCKET, libc::SO_ERROR, 0 as libc::c_int)? {
            0 => Ok(()),
            error => Err(io::Error::from_raw_os_error(error)),
        }
    }

    /// Frames the filter let through and frames lost for want of room, since the last call.
    pub(crate) fn take_statistics(&self) -> io::Result<(u32, u32)> {
        let counts = self.socket.get(libc::SOL_PACKET, libc::PACKET_STATISTICS, [0u32; 2])?;
        Ok((counts[0], counts[1]))
    }
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
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
