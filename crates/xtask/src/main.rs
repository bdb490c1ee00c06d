//! `cargo xtask`: the project's chores, each one command that needs nothing but Debian, root and Rust.
//!
//! What a chore needs from Debian it installs itself and says why; what it makes (namespaces, processes, files) vanishes
//! with it, also when it fails or is interrupted. Only of `test` the step under way goes on where the chore is killed alone,
//! and takes with it what it has made when it ends; an interrupt from the terminal reaches both.
#![allow(clippy::disallowed_methods, reason = "a chore of the real world: it starts programs and takes time")]

mod bench;
mod check;
mod demo;
mod sim;
mod soak;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Chores of the etherpair project.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask")]
struct CommandLine {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Debug, Subcommand)]
enum Chore {
    /// A mirrored pair in namespaces: load through both nodes, one dies, comes back, leaves: under two minutes after the build.
    Demo,
    /// Formatting, lints, documentation and every test, those on real parts included. Run as root.
    Test {
        /// Leave out what is slow: tests in emulated guests and the exhaustive model.
        #[arg(long)]
        quick: bool,
    },
    /// Measure our target beside its rivals and write docs/measurements.md. Run as root, on a quiet machine.
    Bench(bench::Arguments),
    /// The pair in a simulated world where everything goes wrong, by seeds. `--help` says more.
    #[command(disable_help_flag = true)]
    Sim {
        /// What the simulator takes: --seeds N, --seed N, --scenario NAME, --without FAULT, --mistake NAME, --trace and others.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// A real pair under verified load from several initiators, while nodes are killed and stopped and wires cut. `--help` says more.
    #[command(disable_help_flag = true)]
    Soak {
        /// What the soak takes: --cycles N, --seed S, --command PROGRAM, --rate N.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// What the build server runs: the same as `test`.
    Ci,
}

fn main() -> ExitCode {
    let result = match CommandLine::parse().chore {
        Chore::Demo => demo::run(),
        Chore::Test { quick } => check::run(quick),
        Chore::Bench(arguments) => bench::run(&arguments),
        Chore::Sim { arguments } => sim::run(&arguments),
        Chore::Soak { arguments } => soak::run(&arguments),
        Chore::Ci => check::run(false),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error}");
            ExitCode::FAILURE
        }
    }
}
