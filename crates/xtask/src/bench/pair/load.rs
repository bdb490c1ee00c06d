//! One load and what was found: our initiator on a volume, or fio on files.

use std::path::Path;
use std::time::Duration;

use lab::{Error, Namespace, Process, Program};
use serde_json::Value;

/// Loaded so long before it counts.
const WARM_UP: f64 = 0.3;
const LOAD_LIMIT: Duration = Duration::from_secs(120);

/// What was found. Times in microseconds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sample {
    pub(super) requests_per_second: f64,
    pub(super) p50: f64,
    pub(super) mean: f64,
    pub(super) p99: f64,
    pub(super) max: f64,
    /// Of the targets, all together, a request; none for what is none.
    pub(super) processor: Option<f64>,
}

/// A load of our initiator from `client` on an address. `arguments` as `etherpair bench` takes them.
pub(super) fn aoe(
    command: &Path,
    client: &Namespace,
    arguments: &str,
    targets: &[&Process],
) -> Result<Sample, Error> {
    let used = || targets.iter().map(|target| target.cpu_time()).sum::<Result<Duration, Error>>();
    let before = used()?;
    let program = client.program(command).arg("bench").args(arguments.split_whitespace());
    let output = program.args(["-i", "eth1", "--sleep", "--json"]).within(LOAD_LIMIT).run()?;
    let used = used()? - before;
    let report = parse(&output.stdout)?;
    let number = |value: &Value| value.as_f64().unwrap_or(0.0);
    let in_all = number(&report["requests_in_all"]).max(1.0);
    let mut sample = Sample { processor: Some(used.as_secs_f64() * 1e6 / in_all), ..Sample::default() };
    for summary in [&report["read"], &report["write"]] {
        let latency = &summary["latency_microseconds"];
        sample.requests_per_second += number(&summary["requests_per_second"]);
        // Of reads and writes together the worse one counts.
        sample.p50 = sample.p50.max(number(&latency["p50"]));
        sample.mean = sample.mean.max(number(&latency["mean"]));
        sample.p99 = sample.p99.max(number(&latency["p99"]));
        sample.max = sample.max.max(number(&latency["max"]));
    }
    Ok(sample)
}

/// The arguments of a measured load of 4 KiB requests.
pub(super) fn arguments(address: &str, work: &str, depth: u32, seconds: f64) -> String {
    format!("{address} --rw {work} --depth {depth} --seconds {seconds} --warm-up {WARM_UP} --allow-writes")
}

/// fio writes 4 KiB blocks with O_DSYNC to each of these files at once; what one of them got.
pub(super) fn fio(files: &[&Path], depth: u32, seconds: f64) -> Result<Sample, Error> {
    let mut program = Program::new("fio").args([
        "--ioengine=io_uring",
        "--direct=1",
        "--sync=dsync",
        "--rw=randwrite",
        "--bs=4k",
        "--size=1g",
        "--time_based",
        "--randrepeat=0",
        "--norandommap",
        "--lat_percentiles=1",
        "--output-format=json",
    ]);
    program = program.args([
        format!("--iodepth={depth}"),
        format!("--runtime={}ms", (seconds * 1e3).round()),
        format!("--ramp_time={}ms", (WARM_UP * 1e3).round()),
    ]);
    for (index, file) in files.iter().enumerate() {
        program = program.args([format!("--name=file{index}"), format!("--filename={}", file.display())]);
    }
    let output = program.within(LOAD_LIMIT).run()?;
    // Warnings come before the JSON.
    let start = output.stdout.find('{').unwrap_or(0);
    let report = parse(&output.stdout[start..])?;
    let of_jobs = |value: &dyn Fn(&Value) -> Option<f64>| {
        let jobs = report["jobs"].as_array().into_iter().flatten();
        let values: Vec<f64> = jobs.map(|job| value(&job["write"]).unwrap_or(0.0)).collect();
        values.iter().sum::<f64>() / f64::from(u32::try_from(values.len().max(1)).unwrap_or(1))
    };
    let percentile =
        |name: &'static str| of_jobs(&move |write| write["lat_ns"]["percentile"][name].as_f64()) / 1e3;
    Ok(Sample {
        requests_per_second: of_jobs(&|write| write["iops"].as_f64()),
        p50: percentile("50.000000"),
        mean: of_jobs(&|write| write["lat_ns"]["mean"].as_f64()) / 1e3,
        p99: percentile("99.000000"),
        max: of_jobs(&|write| write["lat_ns"]["max"].as_f64()) / 1e3,
        processor: None,
    })
}

fn parse(text: &str) -> Result<Value, Error> {
    serde_json::from_str(text).map_err(|error| Error::Unexpected {
        program: "the report of a load".into(),
        detail: format!("{error}:\n{text}"),
    })
}
