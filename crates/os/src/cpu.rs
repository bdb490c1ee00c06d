//! Cores and processor time of the calling thread.
//!
//! A shard stays on its core so that its caches stay warm; a claim of "so much processor time a request" comes from
//! here.

use std::io;
use std::time::Duration;

use crate::sys;

/// Why a thread could not be put on a core.
#[derive(Debug, thiserror::Error)]
pub enum CpuError {
    /// The core is not there, or this process may not use it.
    #[error("cannot run on core {core}: this process may use cores {allowed}")]
    NotAllowed {
        /// The core asked for.
        core: usize,
        /// The cores there are.
        allowed: String,
    },
    /// The kernel refused for another reason.
    #[error("cannot run on core {core}: {source}")]
    Refused {
        /// The core asked for.
        core: usize,
        /// What the kernel said.
        source: io::Error,
    },
}

/// The cores this thread may run on.
#[must_use]
pub fn allowed_cores() -> Vec<usize> {
    sys::cpu::allowed_cores()
}

/// Keeps the calling thread on one core from now on.
pub fn pin_to_core(core: usize) -> Result<(), CpuError> {
    sys::cpu::pin_to_core(core).map_err(|source| match source.raw_os_error() {
        Some(libc::EINVAL) => {
            let allowed: Vec<String> = allowed_cores().iter().map(ToString::to_string).collect();
            CpuError::NotAllowed { core, allowed: allowed.join(", ") }
        }
        _ => CpuError::Refused { core, source },
    })
}

/// Processor time the calling thread has used, in the kernel and out of it.
#[must_use]
pub fn thread_time() -> Duration {
    Duration::from_nanos(sys::clock::thread_nanos())
}

/// Processor time all threads of the process have used.
#[must_use]
pub fn process_time() -> Duration {
    Duration::from_nanos(sys::clock::process_nanos())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_can_be_put_on_a_core_it_may_use_and_on_no_other() {
        let thread = std::thread::spawn(|| {
            let last = *allowed_cores().last().expect("at least one core");
            pin_to_core(last).expect("an allowed core");
            assert_eq!(allowed_cores(), [last]);
            pin_to_core(1_000_000).expect_err("no such core")
        });
        let error = thread.join().expect("thread");
        assert!(matches!(error, CpuError::NotAllowed { core: 1_000_000, .. }), "{error}");
    }

    #[test]
    fn work_costs_processor_time() {
        let before = thread_time();
        while thread_time() < before + Duration::from_millis(2) {
            std::hint::spin_loop();
        }
        assert!(process_time() >= Duration::from_millis(2));
    }
}
