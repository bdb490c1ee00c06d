//! Bytes of a stream socket from and to several pieces of memory. Unsafe because the kernel is told of them by address.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

use super::memory::IoSlice;
use super::socket;

/// Most pieces in one call; what is beyond is left for the next one.
pub(crate) const PIECES_MAX: usize = 1024;

/// How everything is sent: without waiting, and a peer that is gone is an error, not a signal.
pub(super) const SEND_FLAGS: libc::c_int = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;

/// Fills the pieces in order, without waiting; how many bytes came.
pub(crate) fn receive(socket: BorrowedFd<'_>, into: &[IoSlice]) -> io::Result<usize> {
    let mut message = message(into);
    // SAFETY: the pieces are mapped and writable by `IoSlice`'s contract, and the kernel keeps none of them.
    let count = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, libc::MSG_DONTWAIT) };
    usize::try_from(count).map_err(|_| io::Error::last_os_error())
}

/// Sends the pieces in order, as far as there is room; how many bytes went.
pub(crate) fn send(socket: BorrowedFd<'_>, from: &[IoSlice]) -> io::Result<usize> {
    let message = message(from);
    // SAFETY: the pieces are mapped by `IoSlice`'s contract; the kernel reads them during the call only.
    let count = unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const message, SEND_FLAGS) };
    usize::try_from(count).map_err(|_| io::Error::last_os_error())
}

/// Has the kernel give a TCP connection up whose other end has acknowledged nothing for so long. It counts from when it sends something
/// the second time, 0.2 s or more after the first. Where nothing was sent it asks once a second whether the other end is there.
pub(crate) fn give_up_after(socket: BorrowedFd<'_>, silence: Duration) -> io::Result<()> {
    let milliseconds = libc::c_int::try_from(silence.as_millis()).unwrap_or(libc::c_int::MAX);
    for (level, option, value) in [
        // Of what was sent, and of the probes.
        (libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT, milliseconds),
        (libc::IPPROTO_TCP, libc::TCP_KEEPIDLE, 1),
        (libc::IPPROTO_TCP, libc::TCP_KEEPINTVL, 1),
        (libc::SOL_SOCKET, libc::SO_KEEPALIVE, 1),
    ] {
        socket::set(socket, level, option, &value)?;
    }
    Ok(())
}

/// Says that nothing more will be sent.
pub(crate) fn end_sending(socket: BorrowedFd<'_>) {
    // SAFETY: takes no pointers. It fails only where nothing can be sent anyway.
    unsafe { libc::shutdown(socket.as_raw_fd(), libc::SHUT_WR) };
}

/// The pieces as the kernel is told of them.
pub(super) fn message(pieces: &[IoSlice]) -> libc::msghdr {
    // SAFETY: all-zero is a message without address, pieces and control data.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    // An `IoSlice` is laid out as the kernel's vector, which is `*mut` for both directions.
    message.msg_iov = pieces.as_ptr().cast_mut().cast();
    message.msg_iovlen = pieces.len().min(PIECES_MAX) as _;
    message
}
