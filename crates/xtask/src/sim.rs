//! `cargo xtask sim`: builds the simulator with optimisation and assertions, and hands everything on to it.

use std::process::{Command, Stdio};

/// Runs the simulator with these arguments.
pub(crate) fn run(arguments: &[String]) -> Result<(), String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .current_dir(lab::workspace_directory())
        .args(["run", "--quiet", "--profile", "sim", "--package", "sim", "--"])
        .args(arguments)
        // A run frees all its memory, and the next one wants as much: the kernel need not have it meanwhile.
        .env("MALLOC_TRIM_THRESHOLD_", "268435456")
        .env("MALLOC_MMAP_THRESHOLD_", "268435456")
        .stdin(Stdio::null())
        .status()
        .map_err(|error| format!("cannot run cargo: {error}"))?;
    if status.success() { Ok(()) } else { Err("the simulator has found something".into()) }
}
