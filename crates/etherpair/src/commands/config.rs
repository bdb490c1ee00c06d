//! `etherpair config`: checks a configuration, draws an identity.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::examples;
use crate::config::node::NodeConfig;
use crate::config::read_file;
use crate::durable_file::random;
use crate::exit_code::{self, Failure};
use crate::standard;
use crate::witness::WitnessConfig;

/// What `etherpair config` takes.
#[derive(Args, Debug)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Tell everything that is wrong with a configuration; exit code 81 if anything is
    #[command(after_help = examples::CONFIG_CHECK)]
    Check {
        /// The configuration of a node
        #[arg(short, long, value_name = "FILE", default_value = "/etc/etherpair/node.toml")]
        config: PathBuf,

        /// It is the configuration of a witness
        #[arg(long)]
        witness: bool,
    },
    /// Draw an identity for a new pair
    #[command(after_help = examples::CONFIG_IDENTITY)]
    Identity,
}

/// Does what was asked.
pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    match &arguments.command {
        Command::Check { config, witness: true } => {
            read_file(config, WitnessConfig::parse)?;
            say(&format!("{}: good", config.display()))
        }
        Command::Check { config, witness: false } => {
            let node = NodeConfig::read(config)?;
            say(&format!(
                "{}: good; {} of pair {}, {} volumes",
                config.display(),
                node.node,
                node.pair,
                node.volumes.len()
            ))
        }
        Command::Identity => {
            let identity = random().map_err(|error| Failure::new(exit_code::SYSTEM, &error))?;
            say(&format!("{:032x}", u128::from_le_bytes(identity)))
        }
    }
}

fn say(line: &str) -> Result<(), Failure> {
    standard::say(&format!("{line}\n")).map(drop).map_err(|error| Failure::unsaid(&error))
}
