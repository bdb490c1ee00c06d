//! `cargo xtask sim`: builds the simulator with optimisation and assertions, and hands everything on to it.

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

/// Seeds in the test command, and the first of them.
const SEEDS: u64 = 3000;
const SEED_BASE: u64 = 16_000;

/// How cargo runs the simulator.
const CARGO: [&str; 6] = ["run", "--quiet", "--profile", "sim", "--package", "sim"];

/// What the test command has cargo do: every story, the same seeds each time (which see all that can happen), and one more that nobody has chosen.
pub(crate) fn test_steps() -> Vec<Vec<String>> {
    let seeds = |count: u64, base: u64| {
        format!("--seeds {count} --seed-base {base}").split(' ').map(Into::into).collect::<Vec<String>>()
    };
    let mut many = seeds(SEEDS, SEED_BASE);
    many.push("--see-all".into());
    let mut steps: Vec<Vec<String>> = vec![vec!["--scenario".into(), "all".into()], many];
    steps.extend(commit_seed().map(|seed| seeds(1, seed)));
    let whole = |arguments| {
        let cargo = CARGO.iter().copied().chain(["--"]).map(String::from);
        cargo.chain(arguments).collect()
    };
    steps.into_iter().map(whole).collect()
}

/// What else cargo is told: nodes make mistakes on purpose only in a build that has them.
fn features(arguments: &[String]) -> &'static [&'static str] {
    let of_mistakes = arguments.iter().any(|argument| argument.starts_with("--mistake"));
    if of_mistakes { &["--features", "mutations"] } else { &[] }
}

/// The beginning of the commit's name as a number, if this is a repository.
fn commit_seed() -> Option<u64> {
    let mut git = Command::new("git");
    git.current_dir(lab::workspace_directory()).args(["rev-parse", "--short=12", "HEAD"]);
    let output = git.output().ok()?;
    u64::from_str_radix(String::from_utf8(output.stdout).ok()?.trim(), 16).ok()
}

/// Becomes the simulator with these arguments, so that it ends with the chore. It comes back only if it cannot.
pub(crate) fn run(arguments: &[String]) -> Result<(), String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let error = Command::new(cargo)
        .current_dir(lab::workspace_directory())
        .args(CARGO)
        .args(features(arguments))
        .arg("--")
        .args(arguments)
        // A run frees all its memory, and the next one wants as much: the kernel need not have it meanwhile.
        .env("MALLOC_TRIM_THRESHOLD_", "268435456")
        .env("MALLOC_MMAP_THRESHOLD_", "268435456")
        .stdin(Stdio::null())
        .exec();
    Err(format!("cannot run cargo: {error}"))
}
