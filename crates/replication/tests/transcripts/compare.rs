//! A story as it is told now beside the file of the crate whose test this is. `node` tells its stories with it as well.

use std::fmt::Write as _;
use std::path::PathBuf;

/// Differing lines that are shown, of each of the two.
const LINES_MAX: usize = 40;

/// The file holds this text, or gets it.
pub(crate) fn compare(name: &str, text: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testdata").join(format!("{name}.txt"));
    if std::env::var("TRANSCRIPTS").is_ok_and(|mode| mode == "write") {
        return std::fs::write(&path, text).expect("the file can be written");
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        expected == text,
        "{name}.txt tells another story:\n{}if this one is right: TRANSCRIPTS=write, and look at the diff",
        differences(&expected, text)
    );
}

/// What stands between the lines that both begin and end with.
fn differences(expected: &str, found: &str) -> String {
    let [expected, found] = [expected, found].map(|text| text.split_inclusive('\n').collect::<Vec<_>>());
    let begin = expected.iter().zip(&found).take_while(|(old, new)| old == new).count();
    let (old, new) = (&expected[begin..], &found[begin..]);
    let end = old.iter().rev().zip(new.iter().rev()).take_while(|(old, new)| old == new).count();
    let mut text = format!("from line {}\n", begin + 1);
    for (sign, lines) in [('-', &old[..old.len() - end]), ('+', &new[..new.len() - end])] {
        for line in lines.iter().take(LINES_MAX) {
            writeln!(text, "{sign} {}", line.trim_end()).expect("a string takes everything");
        }
    }
    text
}
