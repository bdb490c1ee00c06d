//! How many files this process may have open. A target with a thousand disks needs more than the usual 1024.

use std::io;

use crate::sys;

/// The limit could not be made high enough.
#[derive(Debug, thiserror::Error)]
pub enum OpenFilesError {
    /// Only root may raise the hard limit.
    #[error(
        "{needed} open files are needed but only {allowed} are allowed: raise the limit with `ulimit -n {needed}`, \
         or LimitNOFILE={needed} in the systemd unit"
    )]
    TooFew {
        /// Files that will be open.
        needed: u64,
        /// Files that may be.
        allowed: u64,
    },
    /// The kernel did not tell.
    #[error("the limit of open files cannot be read: {0}")]
    Unreadable(#[from] io::Error),
}

/// Sees to it that `needed` files can be open at once; a limit that is high enough already is left as it is.
///
/// # Errors
/// If the limit is lower and cannot be raised.
pub fn allow_open_files(needed: u64) -> Result<(), OpenFilesError> {
    let (soft, hard) = sys::limit::open_files()?;
    if soft >= needed {
        return Ok(());
    }
    match sys::limit::set_open_files(needed, hard.max(needed)) {
        Ok(()) => Ok(()),
        Err(_) => {
            // The most there is without privilege; the number told is then what is really allowed.
            let allowed = if sys::limit::set_open_files(hard, hard).is_ok() { hard } else { soft };
            Err(OpenFilesError::TooFew { needed, allowed })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_that_suffices_is_left_alone_and_an_absurd_one_is_refused_with_the_cure() {
        let before = sys::limit::open_files().expect("limits");
        allow_open_files(1).expect("one file");
        assert_eq!(sys::limit::open_files().expect("limits"), before);
        let error = allow_open_files(1 << 60).expect_err("no kernel allows that");
        assert!(error.to_string().contains("ulimit -n"), "{error}");
    }
}
