//! The main stories of the mirror, step by step: what came in, what came out, and why.
//!
//! Each is a file in `testdata/`, written by `TRANSCRIPTS=write cargo test -p replication --test transcripts` and reviewed
//! as a diff. Two engines follow a script in virtual time; nothing is left to chance.

mod stories;
mod words;
mod world;

use std::fmt::Write as _;
use std::path::PathBuf;

/// The file holds this text, or gets it.
pub(crate) fn compare(name: &str, text: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testdata").join(format!("{name}.txt"));
    if std::env::var("TRANSCRIPTS").is_ok_and(|mode| mode == "write") {
        return std::fs::write(&path, text).expect("the file can be written");
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    let differences = differences(&expected, text);
    assert!(
        differences.is_empty(),
        "{name}.txt tells another story:\n{differences}if this one is right: TRANSCRIPTS=write, and look at the diff"
    );
}

/// What stands between the lines that both begin and end with.
fn differences(expected: &str, found: &str) -> String {
    let (expected, found): (Vec<_>, Vec<_>) = (expected.lines().collect(), found.lines().collect());
    let begin = expected.iter().zip(&found).take_while(|(old, new)| old == new).count();
    if begin == expected.len() && begin == found.len() {
        return String::new();
    }
    let (old, new) = (&expected[begin..], &found[begin..]);
    let end = old.iter().rev().zip(new.iter().rev()).take_while(|(old, new)| old == new).count();
    let mut text = format!("from line {}\n", begin + 1);
    for (sign, lines) in [('-', &old[..old.len() - end]), ('+', &new[..new.len() - end])] {
        for line in lines.iter().take(40) {
            writeln!(text, "{sign} {line}").expect("a string takes everything");
        }
    }
    text
}
