//! `cargo xtask test`: everything that must hold before a change lands, in the order of what fails soonest.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use lab::package::{self, Package};

use crate::{sim, soak};

/// What the tests on real parts need from Debian.
const PACKAGES: [Package; 9] = [
    package::IPROUTE2,
    package::AOETOOLS,
    package::QEMU,
    package::IPXE,
    package::BUSYBOX,
    package::E2FSPROGS,
    package::KMOD,
    package::ETCD,
    package::OCFS2_TOOLS,
];
/// Crates whose tests take minutes: real parts in emulated guests, and the exhaustive model.
const SLOW: [&str; 2] = ["tests", "model"];

/// The engine of the mirror with one mistake after the other: thousands of runs, so optimised. Some only whole nodes show. The
/// simulator has to find a few of them, one for each property that it judges by.
const MISTAKES: [&str; 12] = [
    "--package",
    "replication",
    "--package",
    "node",
    "--package",
    "sim",
    "--features",
    "mutations",
    "--test",
    "mutations",
    "--config",
    "profile.dev.opt-level=2",
];

/// Tests that ran.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    passed: u64,
    failed: u64,
    /// Steps other than tests that failed, and test programs that did not come to their summary.
    broken: u64,
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.broken += other.broken;
    }
}

/// Tests that only compute, in the time in which the real pairs and guests wait: they take what is left of the processors, and so
/// cost those nothing. What they print comes at the end, in one piece.
struct Aside {
    thread: JoinHandle<(Tally, Vec<String>)>,
}

impl Aside {
    fn begin(quick: bool) -> Self {
        let thread = thread::spawn(move || {
            let (mut tally, mut printed) = (Tally::default(), Vec::new());
            let mut print = |line: &str| printed.push(line.to_owned());
            tests_at(&mut tally, Priority::Last, "mistakes on purpose", &MISTAKES, &mut print);
            if !quick {
                tests_at(&mut tally, Priority::Last, "exhaustive model", &["--package", "model"], &mut print);
            }
            (tally, printed)
        });
        Self { thread }
    }

    fn end(self, tally: &mut Tally) {
        match self.thread.join() {
            Ok((aside, printed)) => {
                println!("{}", printed.join("\n"));
                tally.add(aside);
            }
            Err(_) => tally.broken += 1,
        }
    }
}

/// Who gets a processor first.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Priority {
    Ordinary,
    Last,
}

/// Runs all steps and says what came out, even if an early one failed.
pub(crate) fn run(quick: bool) -> Result<(), String> {
    package::require(&[package::FIO])
        .and_then(|()| package::require(&PACKAGES))
        .map_err(|e| e.to_string())?;
    let mut tally = Tally::default();
    step(&mut tally, "format", &["fmt", "--all", "--check"], &[]);
    step(
        &mut tally,
        "lints",
        &["clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"],
        &[],
    );
    step(
        &mut tally,
        "docs",
        &["doc", "--quiet", "--workspace", "--no-deps"],
        &[("RUSTDOCFLAGS", "-D warnings")],
    );
    let aside = Aside::begin(quick);
    tests(&mut tally, "fast tests", &fast_arguments());
    steps(&mut tally, "simulated pairs", sim::test_steps());
    if !quick {
        steps(&mut tally, "a real pair, cycle after cycle", soak::test_steps());
        // One at a time: each guest wants a core of its own.
        tests(&mut tally, "tests on real parts", &["--package", "tests", "--", "--test-threads=1"]);
    }
    aside.end(&mut tally);
    println!();
    if tally.broken > 0 {
        println!("{} step(s) besides the tests went wrong; see above", tally.broken);
    }
    println!("{} passed, {} failed", tally.passed, tally.failed);
    match tally {
        Tally { failed: 0, broken: 0, passed } if passed > 0 => Ok(()),
        Tally { passed: 0, failed: 0, .. } => Err("no test ran".into()),
        Tally { failed, broken, .. } => Err(format!("{failed} test(s) and {broken} other step(s) failed")),
    }
}

fn fast_arguments() -> Vec<&'static str> {
    let mut arguments = vec!["--workspace"];
    for package in SLOW {
        arguments.extend(["--exclude", package]);
    }
    // Pairs of daemons wait most of their time, for leases and for each other.
    arguments.extend(["--", "--test-threads=4"]);
    arguments
}

fn cargo() -> Command {
    cargo_at(Priority::Ordinary)
}

fn cargo_at(priority: Priority) -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = match priority {
        Priority::Ordinary => Command::new(cargo),
        Priority::Last => {
            let mut nice = Command::new("nice");
            nice.args(["-n", "19"]).arg(cargo);
            nice
        }
    };
    command.current_dir(lab::workspace_directory()).stdin(Stdio::null());
    command
}

fn step(tally: &mut Tally, name: &str, arguments: &[&str], environment: &[(&str, &str)]) {
    let begun = Instant::now();
    println!("== {name}: cargo {}", arguments.join(" "));
    let status = cargo().args(arguments).envs(environment.iter().copied()).status();
    let good = status.is_ok_and(|status| status.success());
    println!("== {name}: {} after {} s", if good { "ok" } else { "FAILED" }, begun.elapsed().as_secs());
    tally.broken += u64::from(!good);
}

fn steps(tally: &mut Tally, name: &str, steps: impl IntoIterator<Item = Vec<String>>) {
    for arguments in steps {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        step(tally, name, &arguments, &[]);
    }
}

fn tests(tally: &mut Tally, name: &str, arguments: &[&str]) {
    tests_at(tally, Priority::Ordinary, name, arguments, &mut |line| println!("{line}"));
}

fn tests_at(
    tally: &mut Tally,
    priority: Priority,
    name: &str,
    arguments: &[&str],
    print: &mut dyn FnMut(&str),
) {
    let begun = Instant::now();
    print(&format!("== {name}: cargo test {}", arguments.join(" ")));
    let before = *tally;
    let good = run_tests(tally, priority, arguments, print).unwrap_or_else(|error| {
        print(&format!("== {name}: {error}"));
        false
    });
    // A test program that crashed has no summary to count.
    if !good && tally.failed == before.failed {
        tally.broken += 1;
    }
    let passed = tally.passed - before.passed;
    let failed = tally.failed - before.failed;
    print(&format!("== {name}: {passed} passed, {failed} failed after {} s", begun.elapsed().as_secs()));
}

fn run_tests(
    tally: &mut Tally,
    priority: Priority,
    arguments: &[&str],
    print: &mut dyn FnMut(&str),
) -> Result<bool, String> {
    let mut child = cargo_at(priority)
        .args(["test", "--quiet", "--no-fail-fast"])
        .args(arguments)
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("cannot run cargo: {error}"))?;
    let output = child.stdout.take().ok_or("cargo has no standard output")?;
    for line in BufReader::new(output).lines() {
        let line = line.map_err(|error| format!("cargo's output: {error}"))?;
        if let Some((passed, failed)) = counts(&line) {
            tally.passed += passed;
            tally.failed += failed;
        }
        print(&line);
    }
    child.wait().map(|status| status.success()).map_err(|error| format!("cargo: {error}"))
}

/// The numbers in a line such as `test result: ok. 3 passed; 0 failed; …`.
fn counts(line: &str) -> Option<(u64, u64)> {
    let words: Vec<&str> = line.strip_prefix("test result: ")?.split_whitespace().collect();
    let before = |word: &str| {
        let at = words.iter().position(|w| w.trim_end_matches(';') == word)?;
        words.get(at.checked_sub(1)?)?.parse().ok()
    };
    Some((before("passed")?, before("failed")?))
}

#[cfg(test)]
mod tests {
    use super::counts;

    #[test]
    fn a_summary_line_is_counted_and_another_is_not() {
        let line = "test result: FAILED. 12 passed; 3 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.1s";
        assert_eq!(counts(line), Some((12, 3)));
        assert_eq!(counts("running 12 tests"), None);
    }
}
