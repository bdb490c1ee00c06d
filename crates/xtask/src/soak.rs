//! `cargo xtask soak`: builds the program and the soak, and hands everything on to it.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::demo;

/// What the test command tries: every kind of fault that takes a node away, and a node that hears nobody; always the same, in about a minute.
const TEST_CYCLES: &str = "7";
const TEST_SEED: &str = "2947545";

/// How cargo runs it: checking a history takes optimised code, and the simulator, whose oracle does it, is built so anyway.
const CARGO: [&str; 7] = ["run", "--quiet", "--profile", "sim", "--package", "soak", "--"];

/// What the test command has cargo do, with the program as tests have it: unoptimised, and asserting whatever it can.
pub(crate) fn test_steps() -> [Vec<String>; 2] {
    let program = lab::target_directory().join("debug").join("etherpair");
    let build = ["build", "--quiet", "--package", "etherpair"].map(String::from).to_vec();
    let options = ["--cycles", TEST_CYCLES, "--seed", TEST_SEED].map(String::from);
    [build, arguments(&program, options)]
}

fn arguments(program: &Path, rest: impl IntoIterator<Item = String>) -> Vec<String> {
    let command = ["--command".to_owned(), program.display().to_string()];
    CARGO.map(String::from).into_iter().chain(command).chain(rest).collect()
}

/// Becomes the soak with these arguments, of a release build unless they name another program. It comes back only if it cannot.
pub(crate) fn run(given: &[String]) -> Result<(), String> {
    let names_program = given.iter().any(|argument| argument.starts_with("--command"));
    let asks_only = given.iter().any(|argument| argument == "--help" || argument == "-h");
    let arguments = if names_program || asks_only {
        CARGO.map(String::from).into_iter().chain(given.iter().cloned()).collect()
    } else {
        arguments(&demo::build().map_err(|error| error.to_string())?, given.iter().cloned())
    };
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let error = Command::new(cargo)
        .current_dir(lab::workspace_directory())
        .args(arguments)
        .stdin(Stdio::null())
        .exec();
    Err(format!("cannot run cargo: {error}"))
}
