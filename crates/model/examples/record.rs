//! Searches every scope of the catalogue and writes `docs/model.md` anew: `cargo run -p model --example record`, or only
//! one subject: `cargo run -p model --example record duplicates`.
#![allow(clippy::disallowed_methods, reason = "the page says how long each search took")]

use std::fmt::Write as _;
use std::time::Instant;

use model::catalogue::{DUPLICATES, Either, FAILOVER, LEASE, Limit, MIRROR, Need, Subject};
use model::record::{PAGE, grouped, sum_line};
use model::search::{Scene, counterexample, explore};

const HEAD: &str = "\
# What the model has searched

The mirror protocol, told a second time as small as it goes (`crates/model`), in scopes so small that everything which can
happen in them does happen. Written by `cargo run -p model --example record`; the tests of the crate compare with it. Times are of
one thread, and only to give an idea. The sum is of the tables that have a column of times: every search of a whole scope in
which everything holds. The searches for what breaks end sooner and are not counted.

";

fn main() -> std::io::Result<()> {
    let old = std::fs::read_to_string(PAGE).unwrap_or_default();
    let wanted = std::env::args().nth(1);
    let mut page = HEAD.to_owned();
    section(&mut page, &MIRROR, &old, wanted.as_deref());
    section(&mut page, &LEASE, &old, wanted.as_deref());
    section(&mut page, &FAILOVER, &old, wanted.as_deref());
    section(&mut page, &DUPLICATES, &old, wanted.as_deref());
    page.insert_str(HEAD.len(), &format!("{}\n\n", sum_line(&page)));
    let end = page.trim_end().len();
    page.truncate(end);
    page.push('\n');
    std::fs::write(PAGE, page)
}

fn section<S: Scene>(page: &mut String, subject: &Subject<S>, old: &str, wanted: Option<&str>) {
    let heading = format!("## {}\n", subject.title());
    line(page, format_args!("{heading}"));
    if wanted.is_some_and(|wanted| wanted != subject.name) {
        let kept = old.split(&heading).nth(1).and_then(|rest| rest.split("\n## ").next());
        let kept =
            kept.unwrap_or_else(|| panic!("no page with {:?} yet: search everything once", subject.name));
        line(page, format_args!("{}\n", kept.trim()));
        return;
    }
    eprintln!("{}", subject.name);
    holds(page, subject);
    needs(page, subject);
    spares(page, subject);
    eithers(page, subject);
    limits(page, subject);
}

fn holds<S: Scene>(page: &mut String, subject: &Subject<S>) {
    line(page, format_args!("| scope | states | depth | time |\n|---|---|---|---|"));
    for scope in subject.holds.iter().map(|scope| scope()) {
        let [states, depth, time] = searched(&scope);
        line(page, format_args!("| {} | {states} | {depth} | {time} |", scope.name()));
    }
}

fn needs<S: Scene>(page: &mut String, subject: &Subject<S>) {
    let found: Vec<(&Need<S>, Vec<String>)> = subject
        .needs
        .iter()
        .map(|need| {
            (need, broken(&(need.scope)().without(need.rule), need.property, &format!("{:?}", need.rule)))
        })
        .collect();
    line(page, format_args!("\n| turned off | scope | breaks | in steps |\n|---|---|---|---|"));
    for (need, steps) in &found {
        let scope = (need.scope)();
        line(
            page,
            format_args!("| `{:?}` | {} | {} | {} |", need.rule, scope.name(), need.property, steps.len()),
        );
    }
    for (need, steps) in &found {
        line(
            page,
            format_args!("\n### Without `{:?}`, broken: {}\n\n{}\n", need.rule, need.property, need.story),
        );
        told(page, steps);
    }
    line(page, format_args!(""));
}

fn spares<S: Scene>(page: &mut String, subject: &Subject<S>) {
    if subject.spares.is_empty() {
        return;
    }
    line(
        page,
        format_args!(
            "### Not needed\n\n| turned off | scope | states | depth | time |\n|---|---|---|---|---|"
        ),
    );
    for spare in subject.spares {
        let scope = (spare.scope)().without(spare.rule);
        let [states, depth, time] = searched(&scope);
        line(page, format_args!("| `{:?}` | {} | {states} | {depth} | {time} |", spare.rule, scope.name()));
    }
    line(page, format_args!(""));
    for spare in subject.spares {
        line(page, format_args!("- `{:?}`: {}", spare.rule, spare.story));
    }
    line(page, format_args!(""));
}

fn eithers<S: Scene>(page: &mut String, subject: &Subject<S>) {
    if subject.eithers.is_empty() {
        return;
    }
    line(
        page,
        format_args!(
            "### One of two is enough\n\n| turned off | or | scope | states without the first | without the second | without both breaks | in steps |\n|---|---|---|---|---|---|---|"
        ),
    );
    let mut stories = String::new();
    for Either { rules, scope, property, story } in subject.eithers {
        let [first, second] = rules.map(|rule| searched(&scope().without(rule))[0].clone());
        let scope = scope().without(rules[0]).without(rules[1]);
        let steps = broken(&scope, property, &format!("{rules:?}"));
        let [one, other] = rules;
        let (name, count) = (scope.name(), steps.len());
        line(
            page,
            format_args!("| `{one:?}` | `{other:?}` | {name} | {first} | {second} | {property} | {count} |"),
        );
        let stories = &mut stories;
        line(
            stories,
            format_args!("\n### Without `{one:?}` and `{other:?}`, broken: {property}\n\n{story}\n"),
        );
        told(stories, &steps);
    }
    line(page, format_args!("{stories}"));
}

fn limits<S: Scene>(page: &mut String, subject: &Subject<S>) {
    if subject.limits.is_empty() {
        return;
    }
    line(page, format_args!("### What is not given\n\n| scope | breaks | in steps |\n|---|---|---|"));
    let mut stories = String::new();
    for Limit { scope, property, story } in subject.limits {
        let scope = scope();
        let steps = broken(&scope, property, "anything");
        line(page, format_args!("| {} | {property} | {} |", scope.name(), steps.len()));
        let stories = &mut stories;
        line(stories, format_args!("\n### In {}, broken: {property}\n\n{story}\n", scope.name()));
        told(stories, &steps);
    }
    line(page, format_args!("{stories}"));
}

/// The size of a scope in which everything holds, and how long the search took.
fn searched<S: Scene>(scope: &S) -> [String; 3] {
    let begin = Instant::now();
    let explored = explore(scope);
    let time = begin.elapsed().as_secs_f32();
    assert!(explored.broken.is_empty(), "{}: {:?} broken", scope.name(), explored.broken);
    eprintln!("  {}: {} states, {time:.1} s", scope.name(), explored.states);
    [grouped(explored.states), explored.depth.to_string(), format!("{time:.1} s")]
}

fn broken<S: Scene>(scope: &S, property: &'static str, without: &str) -> Vec<String> {
    let steps = counterexample(scope, property);
    let steps = steps.unwrap_or_else(|| panic!("{}: {property} even without {without}", scope.name()));
    eprintln!("  without {without}: broken in {} steps", steps.len());
    steps
}

fn told(page: &mut String, steps: &[String]) {
    for (place, step) in steps.iter().enumerate() {
        line(page, format_args!("{}. {step}", place + 1));
    }
}

fn line(page: &mut String, text: std::fmt::Arguments<'_>) {
    writeln!(page, "{text}").expect("a string takes any text");
}
