//! `etherpair witness`: what it takes on the command line.

use std::path::PathBuf;

use clap::Args;

use crate::config::read_file;
use crate::exit_code::{self, Failure};
use crate::witness::{FilesError, WitnessConfig, WitnessFailure, serve};

/// Shown after the options.
const EXAMPLES: &str = "\
Examples:
  etherpair witness -c /etc/etherpair/witness.toml
      Keep the registers of one or many pairs, on a machine that is neither of their nodes.

Signals: SIGTERM and SIGINT end it with exit code 0. Nothing is lost: every register is durable before it is answered.
A commented configuration: docs/operating/witness.toml. The protocol: docs/witness-protocol.md.";

/// What `etherpair witness` takes.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// The configuration file
    #[arg(short, long, value_name = "FILE", default_value = "/etc/etherpair/witness.toml")]
    config: PathBuf,
}

/// Serves until told to stop.
pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let config = read_file(&arguments.config, WitnessConfig::parse)?;
    serve(&config).map_err(|failure| {
        let code = match &failure {
            WitnessFailure::Files(FilesError::Damaged { .. }) => exit_code::REGISTERS_DAMAGED,
            WitnessFailure::Files(FilesError::Version { .. }) => exit_code::STATE_VERSION,
            WitnessFailure::Files(_) => exit_code::STATE_SYSTEM,
            WitnessFailure::Listen { .. } => exit_code::LISTEN,
            WitnessFailure::System { .. } => exit_code::SYSTEM,
        };
        Failure::new(code, &failure)
    })
}
