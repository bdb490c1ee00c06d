//! `cargo run --release -p sim --example conflict -- WRITES [SEED]`: conflicting writes from both sides, and what came of them.
#![allow(clippy::disallowed_methods, reason = "a command of the real world: it takes time")]

use std::process::ExitCode;
use std::time::Instant;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse::<u64>());
    let (Some(Ok(writes)), seed) = (arguments.next(), arguments.next().unwrap_or(Ok(0))) else {
        eprintln!("say how many writes, like 1000000");
        return ExitCode::FAILURE;
    };
    let Ok(seed) = seed else {
        eprintln!("a seed is a number");
        return ExitCode::FAILURE;
    };
    let begun = Instant::now();
    match sim::conflict::run(seed, writes) {
        Ok(report) => {
            println!(
                "{report:#?}\nno reconnect, copies equal, every read legal; {:.1} s",
                begun.elapsed().as_secs_f64()
            );
            ExitCode::SUCCESS
        }
        Err(failure) => {
            eprintln!("seed {seed}: {failure}");
            ExitCode::FAILURE
        }
    }
}
