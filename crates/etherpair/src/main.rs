//! The `etherpair` command: reads the command line, hands over to one command, and makes its result an exit code.

// The shell around pure crates: it may read the clock, start threads and sleep.
#![allow(clippy::disallowed_methods)]

mod arbiter;
mod bench;
mod byte_size;
mod commands;
mod config;
mod durable_file;
mod exit_code;
mod export;
mod interrupt;
mod seldom;
mod serve;
mod signals;
mod witness;

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

use crate::commands::{
    bench as bench_command, config as config_command, control, discover as discover_command,
    dump as dump_command, export as export_command, serve as serve_command, witness as witness_command,
};
use crate::exit_code::Failure;

/// Looked into at random for every write, the target's memory of writes is worth large pages.
#[global_allocator]
static ALLOCATOR: os::LargePageAllocator = os::LargePageAllocator;

/// Replicated block storage over raw Ethernet.
#[derive(Debug, Parser)]
#[command(name = "etherpair", version, propagate_version = true)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve disks over AoE.
    Export(export_command::Arguments),
    /// Show who serves disks on a network.
    Discover(discover_command::Arguments),
    /// Load a volume of any AoE target, and measure.
    Bench(bench_command::Arguments),
    /// Tell what the metadata of a mirrored volume says.
    Dump(dump_command::Arguments),
    /// Be a node of a pair.
    Serve(serve_command::Arguments),
    /// Show how a node, its peer, its arbiter and its volumes stand.
    Status(control::StatusArguments),
    /// Tell what happens, a line of JSON each.
    Events(control::PlainArguments),
    /// Make, list and compare volumes of a pair.
    Volume(control::VolumeArguments),
    /// Have the peer go on alone, so that this node can be taken away.
    Leave(control::PlainArguments),
    /// Come back after `leave`.
    Join(control::PlainArguments),
    /// Serve a volume although the peer may have a newer copy.
    Promote(control::PromoteArguments),
    /// Have a node read its configuration again.
    Reload(control::PlainArguments),
    /// Keep the registers that decide which node of a pair goes on alone.
    Witness(witness_command::Arguments),
    /// Check a configuration.
    Config(config_command::Arguments),
}

fn main() -> ExitCode {
    let command_line = match CommandLine::try_parse() {
        Ok(command_line) => command_line,
        Err(error) => return exit_code::usage(&error),
    };
    log_to_stderr();
    let result = match command_line.command {
        Command::Export(arguments) => export_command::run(arguments).map_err(Failure::from),
        Command::Discover(arguments) => discover_command::run(&arguments),
        Command::Bench(arguments) => bench_command::run(&arguments),
        Command::Dump(arguments) => dump_command::run(arguments).map_err(Failure::from),
        Command::Serve(arguments) => serve_command::run_command(&arguments),
        Command::Status(arguments) => control::status(&arguments),
        Command::Events(arguments) => control::events(&arguments),
        Command::Volume(arguments) => control::volume(arguments),
        Command::Leave(arguments) => control::leave(&arguments),
        Command::Join(arguments) => control::join(&arguments),
        Command::Promote(arguments) => control::promote(&arguments),
        Command::Reload(arguments) => control::reload(&arguments),
        Command::Witness(arguments) => witness_command::run(&arguments),
        Command::Config(arguments) => config_command::run(&arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

/// What happens is told on standard error; `ETHERPAIR_LOG` says how much of it (`warn`, `debug`, `os=debug`, ...).
fn log_to_stderr() {
    let filter = EnvFilter::try_from_env("ETHERPAIR_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .init();
}
