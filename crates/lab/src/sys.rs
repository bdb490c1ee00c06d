//! The system calls of the laboratory: namespaces, taps, loop devices, detached mounts, and what a child does between
//! fork and exec. All `unsafe` of this crate is here, because none of these calls has a safe wrapper in the standard
//! library; each function is a thin one with an `io::Result`.

use std::{
    ffi::{CString, c_int, c_void},
    fs::{File, OpenOptions},
    io,
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
        unix::process::CommandExt,
    },
    process::Command,
    time::Duration,
};

fn check(result: c_int) -> io::Result<c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Whether this process may do everything.
pub(crate) fn is_root() -> bool {
    // SAFETY: takes no arguments and cannot fail.
    unsafe { libc::geteuid() == 0 }
}

/// Makes a network namespace that lives as long as the descriptor or a process in it.
pub(crate) fn new_network_namespace() -> io::Result<OwnedFd> {
    // A namespace belongs to a thread: a passing thread makes it and leaves only the descriptor behind.
    on_own_thread(|| {
        // SAFETY: changes only the calling thread's namespace, which ends right after.
        check(unsafe { libc::unshare(libc::CLONE_NEWNET) })?;
        Ok(File::open("/proc/thread-self/ns/net")?.into())
    })
}

/// Runs `work` on a thread that is in `namespace`.
pub(crate) fn in_network_namespace<T: Send>(
    namespace: &OwnedFd,
    work: impl FnOnce() -> io::Result<T> + Send,
) -> io::Result<T> {
    on_own_thread(|| {
        // SAFETY: changes only the calling thread's namespace, which ends right after.
        check(unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) })?;
        work()
    })
}

fn on_own_thread<T: Send>(work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    std::thread::scope(|scope| scope.spawn(work).join())
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Opens a new tap interface of the calling thread's namespace; it lives as long as the descriptor.
pub(crate) fn open_tap(name: &str) -> io::Result<OwnedFd> {
    let file = OpenOptions::new().read(true).write(true).open("/dev/net/tun")?;
    // SAFETY: `ifreq` is plain data for which all zeroes is valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if name.len() >= request.ifr_name.len() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from.cast_signed();
    }
    let flags = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR;
    request.ifr_ifru.ifru_flags = i16::try_from(flags).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: the request is a valid ifreq that outlives the call.
    check(unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw mut request) })?;
    Ok(file.into())
}

/// What is done to a child between fork and exec.
pub(crate) struct ChildSetup {
    pub(crate) namespace: Option<RawFd>,
    pub(crate) core: Option<usize>,
    pub(crate) inherited: Vec<RawFd>,
    pub(crate) confined: bool,
}

/// Makes `command` start its child according to `setup`, to die with the calling thread.
pub(crate) fn prepare_child(command: &mut Command, setup: ChildSetup) {
    let parent = std::process::id();
    command.process_group(0);
    // SAFETY: the closure makes system calls only; it neither allocates nor takes locks, as is due after fork.
    unsafe {
        command.pre_exec(move || {
            die_with_parent(parent)?;
            if let Some(namespace) = setup.namespace {
                enter_network_namespace(namespace)?;
            }
            if let Some(core) = setup.core {
                pin_to_core(core)?;
            }
            setup.inherited.iter().try_for_each(|&descriptor| keep_across_exec(descriptor))?;
            // Last, because what came before may need what is forbidden from here on.
            if setup.confined { forbid_rings() } else { Ok(()) }
        });
    }
}

fn die_with_parent(parent: u32) -> io::Result<()> {
    // SAFETY: plain system calls without pointers.
    unsafe {
        check(libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL))?;
        // The parent may have gone before the call above.
        if libc::getppid().cast_unsigned() != parent {
            libc::_exit(127);
        }
    }
    Ok(())
}

/// Enters the namespace as `ip netns exec` does: with a view of `/sys` that shows its interfaces.
fn enter_network_namespace(namespace: RawFd) -> io::Result<()> {
    // SAFETY: the strings are constants with a terminating zero; null is allowed where it is given.
    unsafe {
        check(libc::setns(namespace, libc::CLONE_NEWNET))?;
        check(libc::unshare(libc::CLONE_NEWNS))?;
        let none = std::ptr::null::<c_void>();
        let private = libc::MS_SLAVE | libc::MS_REC;
        check(libc::mount(c"none".as_ptr(), c"/".as_ptr(), std::ptr::null(), private, none))?;
        let sysfs = c"sysfs".as_ptr();
        check(libc::mount(sysfs, c"/sys".as_ptr(), sysfs, 0, none))?;
    }
    Ok(())
}

/// Has the kernel refuse io_uring and rings of packet sockets, by the means that containers use.
fn forbid_rings() -> io::Result<()> {
    const LOAD: u16 = 0x20;
    const IF_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    // Places in what the filter is shown: the call's number, then its arguments of eight bytes each.
    const NUMBER: u32 = 0;
    const ARGUMENTS: u32 = 16;
    const fn step(code: u16, jt: u8, jf: u8, k: u32) -> libc::sock_filter {
        libc::sock_filter { code, jt, jf, k }
    }
    const REFUSE: u32 = libc::SECCOMP_RET_ERRNO | libc::EPERM.cast_unsigned();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "numbers of calls are small")]
    const fn number(call: libc::c_long) -> u32 {
        call as u32
    }
    let mut program = [
        step(LOAD, 0, 0, NUMBER),
        step(IF_EQUAL, 6, 0, number(libc::SYS_io_uring_setup)),
        step(IF_EQUAL, 0, 4, number(libc::SYS_setsockopt)),
        step(LOAD, 0, 0, ARGUMENTS + 8),
        step(IF_EQUAL, 0, 2, libc::SOL_PACKET.cast_unsigned()),
        step(LOAD, 0, 0, ARGUMENTS + 16),
        step(IF_EQUAL, 1, 0, libc::PACKET_RX_RING.cast_unsigned()),
        step(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW),
        step(RETURN, 0, 0, REFUSE),
    ];
    let length = u16::try_from(program.len()).map_err(io::Error::other)?;
    let filter = libc::sock_fprog { len: length, filter: program.as_mut_ptr() };
    // SAFETY: the filter and its program live until after the call, which copies them.
    unsafe {
        check(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))?;
        check(libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const filter))?;
    }
    Ok(())
}

fn pin_to_core(core: usize) -> io::Result<()> {
    // SAFETY: an all-zero set is a valid empty set, and it outlives the call.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(core, &mut set);
        check(libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set))?;
    }
    Ok(())
}

fn keep_across_exec(descriptor: RawFd) -> io::Result<()> {
    // SAFETY: a plain system call without pointers.
    check(unsafe { libc::fcntl(descriptor, libc::F_SETFD, 0) }).map(|_| ())
}

/// Sends a signal to a process.
pub(crate) fn send_signal(process: u32, signal: c_int) -> io::Result<()> {
    let process = libc::pid_t::try_from(process).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: a plain system call without pointers.
    check(unsafe { libc::kill(process, signal) }).map(|_| ())
}

/// Kills a process that was made the leader of its group, and all that it started.
pub(crate) fn kill_group(leader: u32) {
    if let Ok(leader) = libc::pid_t::try_from(leader) {
        // SAFETY: a plain system call without pointers. A group that is gone already is no matter.
        unsafe { libc::kill(-leader, libc::SIGKILL) };
    }
}

/// The unit of the times in `/proc/PID/stat`, in ticks a second.
pub(crate) fn clock_ticks_per_second() -> u64 {
    // SAFETY: a plain library call without pointers.
    let ticks = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    u64::try_from(ticks).unwrap_or(100)
}

const LOOP_CTL_GET_FREE: libc::Ioctl = 0x4C82;
const LOOP_CONFIGURE: libc::Ioctl = 0x4C0A;
const LOOP_SET_CAPACITY: libc::Ioctl = 0x4C07;
const LO_FLAGS_AUTOCLEAR: u32 = 4;

/// `struct loop_info64` of the kernel.
#[repr(C)]
struct LoopInfo {
    device: u64,
    inode: u64,
    rdevice: u64,
    offset: u64,
    size_limit: u64,
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    flags: u32,
    file_name: [u8; 64],
    crypt_name: [u8; 64],
    encrypt_key: [u8; 32],
    init: [u64; 2],
}

/// `struct loop_config` of the kernel.
#[repr(C)]
struct LoopConfig {
    descriptor: u32,
    block_size: u32,
    info: LoopInfo,
    reserved: [u64; 8],
}

/// Binds a free loop device to `backing`. It is unbound when the last descriptor of it is closed.
pub(crate) fn new_loop_device(backing: &File, block_size: u32) -> io::Result<(OwnedFd, u32)> {
    let control = OpenOptions::new().read(true).write(true).open("/dev/loop-control")?;
    loop {
        // SAFETY: this request takes no argument.
        let number = check(unsafe { libc::ioctl(control.as_raw_fd(), LOOP_CTL_GET_FREE) })?;
        let device = OpenOptions::new().read(true).write(true).open(format!("/dev/loop{number}"))?;
        match configure_loop_device(&device, backing, block_size) {
            Ok(()) => return Ok((device.into(), number.cast_unsigned())),
            // Another process was quicker with this one.
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {}
            Err(error) => return Err(error),
        }
    }
}

fn configure_loop_device(device: &File, backing: &File, block_size: u32) -> io::Result<()> {
    // SAFETY: plain data for which all zeroes is valid.
    let mut config: LoopConfig = unsafe { std::mem::zeroed() };
    config.descriptor = backing.as_raw_fd().cast_unsigned();
    config.block_size = block_size;
    config.info.flags = LO_FLAGS_AUTOCLEAR;
    // SAFETY: the configuration has the kernel's layout and outlives the call.
    check(unsafe { libc::ioctl(device.as_raw_fd(), LOOP_CONFIGURE, &raw const config) }).map(|_| ())
}

/// Makes a loop device look at the size of its backing file again.
pub(crate) fn reread_loop_capacity(device: &OwnedFd) -> io::Result<()> {
    // SAFETY: this request takes no argument that is looked at.
    check(unsafe { libc::ioctl(device.as_raw_fd(), LOOP_SET_CAPACITY, 0) }).map(|_| ())
}

/// Makes a tmpfs that is mounted nowhere and lives as long as the descriptor of its root directory.
pub(crate) fn new_detached_tmpfs(size_bytes: u64) -> io::Result<OwnedFd> {
    const FSCONFIG_SET_STRING: libc::c_long = 1;
    const FSCONFIG_CMD_CREATE: libc::c_long = 6;
    let size = CString::new(size_bytes.to_string())?;
    let none = std::ptr::null::<libc::c_char>();
    // SAFETY: all strings end with a zero and outlive the calls; the descriptors returned are new and ours.
    unsafe {
        let context = owned(libc::syscall(libc::SYS_fsopen, c"tmpfs".as_ptr(), 1))?;
        let raw = context.as_raw_fd();
        let set =
            libc::syscall(libc::SYS_fsconfig, raw, FSCONFIG_SET_STRING, c"size".as_ptr(), size.as_ptr(), 0);
        check_long(set)?;
        check_long(libc::syscall(libc::SYS_fsconfig, raw, FSCONFIG_CMD_CREATE, none, none, 0))?;
        owned(libc::syscall(libc::SYS_fsmount, raw, 1, 0))
    }
}

fn check_long(result: libc::c_long) -> io::Result<libc::c_long> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Takes a descriptor that a system call has just returned.
///
/// # Safety
/// A non-negative `result` must be an open descriptor that nobody else owns.
unsafe fn owned(result: libc::c_long) -> io::Result<OwnedFd> {
    let descriptor = RawFd::try_from(check_long(result)?).map_err(io::Error::other)?;
    // SAFETY: promised by the caller.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// Opens a packet socket of the calling thread's namespace for one Ethernet type on one interface.
pub(crate) fn open_packet_socket(interface: &str, ether_type: u16, timeout: Duration) -> io::Result<OwnedFd> {
    let name = CString::new(interface)?;
    // SAFETY: the name ends with a zero and outlives the call.
    let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
    if index == 0 {
        return Err(io::Error::last_os_error());
    }
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
    // Protocol 0: nothing is received before the socket is bound to its interface.
    // SAFETY: a plain system call; the descriptor is new and ours.
    let socket = unsafe { owned(libc::c_long::from(libc::socket(libc::AF_PACKET, kind, 0)))? };
    // SAFETY: `sockaddr_ll` is plain data for which all zeroes is valid.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = u16::try_from(libc::AF_PACKET).map_err(io::Error::other)?;
    address.sll_protocol = ether_type.to_be();
    address.sll_ifindex = index.cast_signed();
    let wait = libc::timeval {
        tv_sec: libc::time_t::try_from(timeout.as_secs()).map_err(io::Error::other)?,
        tv_usec: timeout.subsec_micros().into(),
    };
    let raw = socket.as_raw_fd();
    // SAFETY: address and time are of the lengths given and outlive the calls.
    unsafe {
        check(libc::bind(raw, (&raw const address).cast(), length_of(&address)))?;
        let time = (&raw const wait).cast();
        check(libc::setsockopt(raw, libc::SOL_SOCKET, libc::SO_RCVTIMEO, time, length_of(&wait)))?;
    }
    Ok(socket)
}

fn length_of<T>(_: &T) -> libc::socklen_t {
    u32::try_from(size_of::<T>()).unwrap_or(u32::MAX)
}

/// Sends a whole frame, Ethernet header included.
pub(crate) fn send_frame(socket: &OwnedFd, frame: &[u8]) -> io::Result<()> {
    // SAFETY: the buffer is valid for its length during the call.
    let sent = unsafe { libc::send(socket.as_raw_fd(), frame.as_ptr().cast(), frame.len(), 0) };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Receives a whole frame into `buffer`; gives its length.
pub(crate) fn receive_frame(socket: &OwnedFd, buffer: &mut [u8]) -> io::Result<usize> {
    // SAFETY: the buffer is valid for its length during the call, and ours alone.
    let received = unsafe { libc::recv(socket.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), 0) };
    usize::try_from(received).map_err(|_| io::Error::last_os_error())
}
