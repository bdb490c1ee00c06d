//! The `etherpair` command: reads the command line, hands over to one command, and makes its result an exit code.

// The shell around pure crates: it may read the clock, start threads and sleep.
#![allow(clippy::disallowed_methods)]
// What is said goes by `standard`, which survives that it cannot be written.
#![deny(clippy::print_stdout, clippy::print_stderr)]

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
mod standard;
mod streams;
mod witness;

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

use crate::commands::{
    bench as bench_command, config as config_command, control, discover as discover_command,
    dump as dump_command, examples, export as export_command, serve as serve_command,
    witness as witness_command,
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
    #[command(after_help = examples::STATUS)]
    Status(control::StatusArguments),
    /// Tell what happens, a line of JSON each.
    #[command(after_help = examples::EVENTS)]
    Events(control::PlainArguments),
    /// Make, list and compare volumes of a pair.
    #[command(after_help = examples::VOLUME)]
    Volume(control::VolumeArguments),
    /// Have the peer go on alone, so that this node can be taken away.
    #[command(after_help = examples::LEAVE)]
    Leave(control::PlainArguments),
    /// Come back after `leave`.
    #[command(after_help = examples::JOIN)]
    Join(control::PlainArguments),
    /// Serve a volume although the peer may have a newer copy.
    #[command(after_help = examples::PROMOTE)]
    Promote(control::PromoteArguments),
    /// Have a node read its configuration again.
    #[command(after_help = examples::RELOAD)]
    Reload(control::PlainArguments),
    /// Keep the registers that decide which node of a pair goes on alone.
    Witness(witness_command::Arguments),
    /// Check a configuration.
    #[command(after_help = examples::CONFIG)]
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

/// What happens is told on standard error; `ETHERPAIR_LOG` says how much of it (`warn`, `debug`, `os=debug`, ...). A line that cannot be
/// written is lost. To complain of it there as well, as the library does by itself, would be the end of a daemon.
fn log_to_stderr() {
    let filter = EnvFilter::try_from_env("ETHERPAIR_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .log_internal_errors(false)
        .init();
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    /// Every command below this one, with the words that lead to it.
    fn commands(words: &str, command: &clap::Command, found: &mut Vec<(String, clap::Command)>) {
        for below in command.get_subcommands().filter(|below| below.get_name() != "help") {
            let words = format!("{words} {}", below.get_name());
            commands(&words, below, found);
            found.push((words, below.clone()));
        }
    }

    /// The command lines in its examples: each stands two places in, and what it means under it.
    fn examples(command: &mut clap::Command) -> Vec<String> {
        let help = command.render_long_help().to_string();
        let Some((_, examples)) = help.split_once("\nExamples:\n") else { return Vec::new() };
        let lines = examples.lines().filter_map(|line| line.strip_prefix("  etherpair "));
        lines.map(|line| format!("etherpair {}", line.split(" | ").next().unwrap_or_default())).collect()
    }

    #[test]
    fn every_command_has_examples_of_itself_and_each_is_understood() {
        let mut found = Vec::new();
        commands("etherpair", &CommandLine::command(), &mut found);
        assert!(found.len() > 20, "{found:?}");
        for (words, mut command) in found {
            let examples = examples(&mut command);
            assert!(!examples.is_empty(), "`{words} --help` has no example; put one into its after_help");
            for example in examples {
                assert!(format!("{example} ").starts_with(&format!("{words} ")), "{example} under {words}");
                let understood = CommandLine::try_parse_from(example.split_whitespace());
                assert!(understood.is_ok(), "{example}: {understood:?}");
            }
        }
    }
}
