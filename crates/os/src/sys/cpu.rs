//! Scheduling calls that the standard library lacks.

use std::io;
use std::mem;

const CORES_MAX: usize = libc::CPU_SETSIZE as usize;

/// Restricts the calling thread to one core.
pub(crate) fn pin_to_core(core: usize) -> io::Result<()> {
    if core >= CORES_MAX {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    // SAFETY: an all-zero set is the empty set.
    let mut set: libc::cpu_set_t = unsafe { mem::zeroed() };
    // SAFETY: `core` lies inside the set, as checked above.
    unsafe { libc::CPU_SET(core, &mut set) };
    // SAFETY: the set is readable for the length given; 0 is the calling thread.
    let result = unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// The cores the calling thread may run on; none if the kernel does not say.
pub(crate) fn allowed_cores() -> Vec<usize> {
    // SAFETY: an all-zero set is the empty set.
    let mut set: libc::cpu_set_t = unsafe { mem::zeroed() };
    // SAFETY: the set is writable for the length given; 0 is the calling thread.
    let result = unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut set) };
    if result < 0 {
        return Vec::new();
    }
    // SAFETY: every index lies inside the set.
    (0..CORES_MAX).filter(|&core| unsafe { libc::CPU_ISSET(core, &set) }).collect()
}
