//! Searches every scope of the catalogue and writes `docs/model.md` anew: `cargo run -p model --example record`.
#![allow(clippy::disallowed_methods, reason = "the page says how long each search took")]

use std::fmt::Write as _;
use std::time::Instant;

use model::catalogue::{FAILOVER, LEASE, MIRROR, Need, Subject};
use model::record::{PAGE, grouped};
use model::search::{Scene, counterexample, explore};

const HEAD: &str = "\
# What the model has searched

The mirror protocol, told a second time as small as it goes (`crates/model`), in scopes so small that everything which can
happen in them does happen. Written by `cargo run -p model --example record`; the tests of the crate compare with it. Times are of
one thread, and only to give an idea.

";

fn main() -> std::io::Result<()> {
    let mut page = HEAD.to_owned();
    section(&mut page, &MIRROR);
    section(&mut page, &LEASE);
    section(&mut page, &FAILOVER);
    let end = page.trim_end().len();
    page.truncate(end);
    page.push('\n');
    std::fs::write(PAGE, page)
}

fn section<S: Scene>(page: &mut String, subject: &Subject<S>) {
    eprintln!("{}", subject.name);
    let mut line = |text: std::fmt::Arguments<'_>| writeln!(page, "{text}").expect("a string takes any text");
    line(format_args!("## {}\n", subject.title()));
    line(format_args!("| scope | states | depth | time |\n|---|---|---|---|"));
    for scope in subject.holds.iter().map(|scope| scope()) {
        let begin = Instant::now();
        let explored = explore(&scope);
        let time = begin.elapsed().as_secs_f32();
        assert!(explored.broken.is_empty(), "{}: {:?} broken", scope.name(), explored.broken);
        eprintln!("  {}: {} states, {time:.1} s", scope.name(), explored.states);
        line(format_args!(
            "| {} | {} | {} | {time:.1} s |",
            scope.name(),
            grouped(explored.states),
            explored.depth
        ));
    }
    let found: Vec<(&Need<S>, Vec<String>)> = subject.needs.iter().map(|need| (need, search(need))).collect();
    line(format_args!("\n| turned off | scope | breaks | in steps |\n|---|---|---|---|"));
    for (need, steps) in &found {
        let scope = (need.scope)();
        let scope = scope.name();
        line(format_args!("| `{:?}` | {scope} | {} | {} |", need.rule, need.property, steps.len()));
    }
    for (need, steps) in &found {
        line(format_args!("\n### Without `{:?}`: not {}\n\n{}\n", need.rule, need.property, need.story));
        steps.iter().enumerate().for_each(|(place, step)| line(format_args!("{}. {step}", place + 1)));
    }
    line(format_args!(""));
}

fn search<S: Scene>(need: &Need<S>) -> Vec<String> {
    let scope = (need.scope)().without(need.rule);
    let steps = counterexample(&scope, need.property);
    let steps = steps.unwrap_or_else(|| panic!("{:?} is not needed in {}", need.rule, scope.name()));
    eprintln!("  without {:?}: not {} in {} steps", need.rule, need.property, steps.len());
    steps
}
