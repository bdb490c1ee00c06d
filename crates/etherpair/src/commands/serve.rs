//! `etherpair serve`: what it takes on the command line.

use std::path::PathBuf;

use clap::Args;

use crate::exit_code::Failure;
use crate::serve::run;

/// Shown after the options.
const EXAMPLES: &str = "\
Examples:
  etherpair serve -c /etc/etherpair/node.toml
      Be a node of a pair: serve its volumes together with the peer.

Signals:
  SIGTERM, SIGINT  leave every volume to the peer, finish what is under way and end with exit code 0
  SIGHUP           read the configuration again, as `etherpair reload`: what can change without a restart does

A commented configuration: docs/operating/node.toml. How to install a pair: docs/operating/pair.md.";

/// What `etherpair serve` takes.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// The configuration file
    #[arg(short, long, value_name = "FILE", default_value = "/etc/etherpair/node.toml")]
    config: PathBuf,
}

/// Serves until told to stop.
pub(crate) fn run_command(arguments: &Arguments) -> Result<(), Failure> {
    run(&arguments.config)
}
