//! The record in `docs/model.md`: how large each scope is and how short each counterexample.
//!
//! The page is the only place with these numbers. `cargo run -p model --example record` writes it anew, the tests compare
//! with it, and a change of the protocol is seen as a change of the page.

use crate::rules::Rule;
use crate::search::Explored;

/// Where the page is.
pub const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/model.md");

/// Fails if the page says something else about a scope in which everything holds.
///
/// # Panics
///
/// If a property is broken, or the states or the depth differ from the page.
pub fn assert_holds_as_recorded(scope: &str, explored: &Explored) {
    assert!(explored.broken.is_empty(), "{scope}: {:?} broken; see search::counterexample", explored.broken);
    let found = [grouped(explored.states), explored.depth.to_string()];
    let row = row(|cells| cells.len() == 4 && cells[0] == scope);
    let cure = "if the change is meant: cargo run -p model --example record";
    assert_eq!(row.map(|cells| [cells[1].clone(), cells[2].clone()]), Some(found), "{scope}: {cure}");
}

/// Fails if the page says something else about the counterexample that this rule prevents.
///
/// # Panics
///
/// If the page has no such counterexample, or one of another length.
pub fn assert_breaks_as_recorded(rule: Rule, property: &str, steps: usize) {
    let row = row(|cells| cells.len() == 4 && cells[0] == format!("`{rule:?}`") && cells[2] == property);
    let cure = "if the change is meant: cargo run -p model --example record";
    assert_eq!(row.map(|cells| cells[3].clone()), Some(steps.to_string()), "{rule:?}: {cure}");
}

/// Fails if the page says something else about a scope in which everything holds without this rule.
///
/// # Panics
///
/// If a property is broken, or the states or the depth differ from the page.
pub fn assert_spared_as_recorded(rule: Rule, explored: &Explored) {
    assert!(explored.broken.is_empty(), "without {rule:?}: {:?} broken; it is needed", explored.broken);
    let found = [grouped(explored.states), explored.depth.to_string()];
    let row = row(|cells| cells.len() == 5 && cells[0] == format!("`{rule:?}`"));
    let cure = "if the change is meant: cargo run -p model --example record";
    assert_eq!(row.map(|cells| [cells[2].clone(), cells[3].clone()]), Some(found), "{rule:?}: {cure}");
}

/// Fails if the page says something else about two rules of which one is enough.
///
/// # Panics
///
/// If a property is broken without one of them, or the states or the steps differ from the page.
pub fn assert_either_as_recorded(rules: [Rule; 2], alone: &[Explored; 2], steps: usize) {
    for (rule, explored) in rules.iter().zip(alone) {
        assert!(explored.broken.is_empty(), "without {rule:?} alone: {:?} broken", explored.broken);
    }
    let [first, second] = [0, 1].map(|place| grouped(alone[place].states));
    let names = rules.map(|rule| format!("`{rule:?}`"));
    let row = row(|cells| cells.len() == 7 && cells[..2] == names);
    let cure = "if the change is meant: cargo run -p model --example record";
    assert_eq!(
        row.map(|cells| [cells[3].clone(), cells[4].clone(), cells[6].clone()]),
        Some([first, second, steps.to_string()]),
        "{rules:?}: {cure}"
    );
}

/// Fails if the page says something else about the shortest way to what a scope does not give.
///
/// # Panics
///
/// If the page has no such row, or one with another number of steps.
pub fn assert_limited_as_recorded(scope: &str, property: &str, steps: usize) {
    let row = row(|cells| cells.len() == 3 && cells[0] == scope && cells[1] == property);
    let cure = "if the change is meant: cargo run -p model --example record";
    assert_eq!(row.map(|cells| cells[2].clone()), Some(steps.to_string()), "{scope}: {cure}");
}

/// A number with a space between each three digits.
#[must_use]
pub fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

/// How many states all the searches had together that the tables of a page have a time for, and how long they took.
#[must_use]
pub fn sum_line(page: &str) -> String {
    let (mut states, mut tenths) = (0_usize, 0_usize);
    for cells in rows(page) {
        let [.., found, _depth, time] = &cells[..] else { continue };
        // `12.3 s` is 123 tenths
        let time = time.strip_suffix(" s").and_then(|time| time.replace('.', "").parse::<usize>().ok());
        let found = found.replace(' ', "").parse::<usize>().ok();
        if let (Some(found), Some(time)) = (found, time) {
            states += found;
            tenths += time;
        }
    }
    format!("In all: {} states in {}.{} s.", grouped(states), tenths / 10, tenths % 10)
}

/// The rows of all tables of a page.
fn rows(page: &str) -> impl Iterator<Item = Vec<String>> {
    let cells = |line: &str| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect();
    page.lines().filter(|line| line.starts_with('|')).map(cells)
}

fn page() -> String {
    std::fs::read_to_string(PAGE).expect("docs/model.md: cargo run -p model --example record writes it")
}

/// The first row of any table of the page that fits.
fn row(fits: impl Fn(&[String]) -> bool) -> Option<Vec<String>> {
    rows(&page()).find(|cells| fits(cells))
}

#[cfg(test)]
mod tests {
    use super::{grouped, page, sum_line};

    #[test]
    fn rows_with_a_time_are_summed() {
        let page = "| scope | states | depth | time |\n| a | 1 600 | 3 | 0.7 s |\n| `R` | a | 16 | 2 | 11.5 s |\n| `R` | a | durable | 4 |";
        assert_eq!(sum_line(page), "In all: 1 616 states in 12.2 s.");
    }

    #[test]
    fn the_sum_of_the_record_is_that_of_its_rows() {
        let (page, cure) = (page(), "cargo run -p model --example record");
        assert!(page.lines().any(|line| line == sum_line(&page)), "{cure}");
    }

    #[test]
    fn digits_are_grouped_by_three() {
        assert_eq!(
            [0, 999, 1_000, 68_852, 1_234_567].map(grouped),
            ["0", "999", "1 000", "68 852", "1 234 567"]
        );
    }
}
