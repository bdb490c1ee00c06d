//! The tables: medians over the rounds, ratios within each round, and whether each goal was reached.

use std::fmt::Write as _;
use std::fs;

use lab::{Error, Program, workspace_directory};

use super::Arguments;
use super::contestant::Contestant;
use super::line::{Goal, Line};
use super::measure::Measurement;

const BEGIN: &str = "<!-- written by `cargo xtask bench` from here -->";
const END: &str = "<!-- to here -->";

/// What stands above the tables.
pub(super) fn header(arguments: &Arguments) -> String {
    let Arguments { rounds, seconds, realtime, .. } = arguments;
    let priority = if *realtime { ", real-time priority" } else { "" };
    format!(
        "{} {rounds} rounds of {seconds} s for each contestant in turn{priority}; medians. Requests are 4 KiB unless said \
         otherwise; latency is the mean; processor time is the target's, a request.\n",
        machine()
    )
}

/// One line of the comparison, `rounds` of its contestants.
pub(super) fn line(line: &Line, rounds: &[&[Option<Measurement>]]) -> String {
    let mut text = format!(
        "\n**{}**\n\n| | requests/s | MB/s | latency µs | processor µs | sent again |\n|---|---|---|---|---|---|\n",
        line.name
    );
    for (index, contestant) in line.contestants.iter().enumerate() {
        let measured = |value: fn(&Measurement) -> f64| {
            median(rounds.iter().filter_map(|round| round[index].as_ref()).map(value).collect())
        };
        let Some(rate) = measured(|measurement| measurement.requests_per_second) else {
            continue;
        };
        let latency = measured(|measurement| measurement.latency_microseconds).unwrap_or(0.0);
        let again =
            measured(|measurement| f64::from(u32::try_from(measurement.retransmissions).unwrap_or(u32::MAX)));
        let cpu = measured(|measurement| measurement.cpu_microseconds.unwrap_or(0.0)).unwrap_or(0.0);
        let cpu = if cpu > 0.0 { format!("{cpu:.2}") } else { "–".to_owned() };
        let megabytes = rate * block_bytes(line.block) / 1e6;
        let again = again.unwrap_or(0.0);
        let name = contestant.name();
        let _ = writeln!(text, "| {name} | {rate:.0} | {megabytes:.0} | {latency:.1} | {cpu} | {again:.0} |");
    }
    for &ours in line.contestants.iter().filter(|contestant| contestant.is_ours()) {
        let verdicts: Vec<String> =
            line.goals.iter().filter_map(|goal| verdict(line, rounds, ours, *goal)).collect();
        let _ = writeln!(text, "\n{}: {}.", ours.name(), verdicts.join("; "));
    }
    text
}

/// Whether a goal was reached; none if there is nobody to compare with.
fn verdict(line: &Line, rounds: &[&[Option<Measurement>]], ours: Contestant, goal: Goal) -> Option<String> {
    let of = |round: &[Option<Measurement>], wanted: Contestant| {
        let index = line.contestants.iter().position(|contestant| *contestant == wanted)?;
        round[index]
    };
    let compared = |other: Contestant, compare: fn(Measurement, Measurement) -> f64| {
        let pairs = rounds.iter().filter_map(|round| Some((of(round, ours)?, of(round, other)?)));
        median(pairs.map(|(ours, theirs)| compare(ours, theirs)).collect())
    };
    let (found, reached) = match goal {
        Goal::Rate(other, wanted) => {
            let ratio =
                compared(other, |ours, theirs| ours.requests_per_second / theirs.requests_per_second)?;
            (format!("{ratio:.2} × {} (wanted {wanted})", other.name()), ratio >= wanted)
        }
        Goal::Cpu(wanted) => {
            let cpu = compared(ours, |ours, _| ours.cpu_microseconds.unwrap_or(0.0))?;
            (format!("{cpu:.2} µs of processor time (wanted {wanted})"), cpu <= wanted)
        }
        Goal::CpuRatio(other, wanted) => {
            let ratio = compared(other, |ours, theirs| {
                ours.cpu_microseconds.unwrap_or(0.0) / theirs.cpu_microseconds.unwrap_or(f64::NAN)
            })?;
            (
                format!("{ratio:.2} × the processor time of {} (wanted {wanted})", other.name()),
                ratio <= wanted,
            )
        }
        Goal::Added(other, wanted) => {
            let added =
                compared(other, |ours, theirs| ours.latency_microseconds - theirs.latency_microseconds)?;
            (format!("{added:.1} µs more latency than {} (wanted {wanted})", other.name()), added <= wanted)
        }
    };
    Some(if reached { found } else { format!("**missed:** {found}") })
}

/// The middle value.
pub(super) fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

/// Puts `text` between the markers in `docs/measurements.md`, at its end if there are none yet.
pub(super) fn write(text: &str) -> Result<(), Error> {
    let path = workspace_directory().join("docs").join("measurements.md");
    let failed = |action: &str| {
        let action = format!("{action} {}", path.display());
        move |source| Error::System { action, source }
    };
    let old = fs::read_to_string(&path).map_err(failed("read"))?;
    let section = format!("{BEGIN}\n\n{text}\n{END}");
    let new = match (old.find(BEGIN), old.find(END)) {
        (Some(begin), Some(end)) if begin < end => {
            format!("{}{section}{}", &old[..begin], &old[end + END.len()..])
        }
        _ => format!("{}\n\n## Beside other targets\n\n{section}\n", old.trim_end()),
    };
    fs::write(&path, new).map_err(failed("write"))
}

fn machine() -> String {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model =
        cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("an unknown processor");
    let cores = cpu.lines().filter(|line| line.starts_with("processor")).count();
    let kernel = Program::new("uname").arg("-r").run().map(|output| output.stdout).unwrap_or_default();
    let model = model.trim_start_matches([' ', '\t', ':']);
    format!("{cores} cores of {model}, Linux {}.", kernel.trim())
}

fn block_bytes(block: &str) -> f64 {
    let (number, unit) = block.split_at(block.len() - 1);
    let unit = if unit == "m" { 1_048_576.0 } else { 1024.0 };
    number.parse::<f64>().unwrap_or(0.0) * unit
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_one() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(Vec::new()), None);
    }

    #[test]
    fn blocks_are_read_as_the_load_generators_read_them() {
        assert!((block_bytes("4k") - 4096.0).abs() < 0.5);
        assert!((block_bytes("1m") - 1_048_576.0).abs() < 0.5);
    }
}
