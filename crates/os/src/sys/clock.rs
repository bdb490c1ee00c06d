//! Reading the kernel's clocks. Unsafe because the standard library offers neither `CLOCK_BOOTTIME` nor its number.

/// Nanoseconds on `CLOCK_BOOTTIME`.
pub(crate) fn boottime_nanos() -> u64 {
    read(libc::CLOCK_BOOTTIME)
}

/// Nanoseconds since 1970 on `CLOCK_REALTIME`, the clock the kernel stamps received frames with.
pub(crate) fn realtime_nanos() -> u64 {
    read(libc::CLOCK_REALTIME)
}

/// Nanoseconds of processor time of the calling thread.
pub(crate) fn thread_nanos() -> u64 {
    read(libc::CLOCK_THREAD_CPUTIME_ID)
}

/// Nanoseconds of processor time of the process.
pub(crate) fn process_nanos() -> u64 {
    read(libc::CLOCK_PROCESS_CPUTIME_ID)
}

fn read(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is valid for writes for the length of the call.
    let result = unsafe { libc::clock_gettime(clock, &raw mut time) };
    assert!(result == 0, "every supported kernel has clock {clock}");
    nanos(&time)
}

/// A kernel time as one number.
pub(crate) const fn nanos(time: &libc::timespec) -> u64 {
    time.tv_sec.cast_unsigned() * 1_000_000_000 + time.tv_nsec.cast_unsigned()
}
