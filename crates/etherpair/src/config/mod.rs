//! Configuration files: how they are read ([`reader`]), what the values in them look like ([`values`]), and what a node is
//! told ([`node`], of which [`arbiter`], [`volume`] and `sections` read the parts, and [`places`] tells where they stand). A
//! witness's own is with the witness.

pub(crate) mod arbiter;
#[cfg(test)]
mod example;
pub(crate) mod node;
pub(crate) mod places;
pub(crate) mod reader;
mod sections;
pub(crate) mod values;
pub(crate) mod volume;

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::exit_code::{self, Failure};
use reader::ConfigError;

/// The file cannot be read at all.
#[derive(Debug, Error)]
#[error("{path}: the configuration cannot be read ({error}); name another with -c", path = path.display())]
struct Unreadable {
    path: PathBuf,
    error: io::Error,
}

/// Reads and checks a configuration file as a whole.
///
/// # Errors
/// Everything that is wrong with it.
pub(crate) fn read_file<T>(
    path: &Path,
    parse: impl FnOnce(&Path, &str) -> Result<T, ConfigError>,
) -> Result<T, Failure> {
    parse(path, &read_text(path)?).map_err(|error| Failure::new(exit_code::CONFIG_WRONG, &error))
}

fn read_text(path: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(path).map_err(|error| {
        Failure::new(exit_code::CONFIG_UNREADABLE, &Unreadable { path: path.to_owned(), error })
    })
}
