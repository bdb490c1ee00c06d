//! One measurement: a contestant started, loaded, and stopped; its rate, latency and processor time a request.

use std::time::Duration;

use lab::{Error, Process};
use serde_json::Value;

use super::contestant::Contestant;
use super::line::Line;
use super::stage::{CLIENT_INTERFACE, Stage, TARGET_IP};

/// Loaded so long before it counts.
const WARM_UP: &str = "0.3";

/// What was found.
#[derive(Clone, Copy, Debug)]
pub(super) struct Measurement {
    pub(super) requests_per_second: f64,
    pub(super) latency_microseconds: f64,
    /// Of the target; none for fio, which is its own.
    pub(super) cpu_microseconds: Option<f64>,
    pub(super) retransmissions: u64,
}

/// Measures a contestant once; none if it is not to be had.
pub(super) fn once(line: &Line, contestant: Contestant, stage: &Stage) -> Result<Option<Measurement>, Error> {
    let mut process = contestant.start(stage)?;
    let measured = match (&process, contestant) {
        (None, Contestant::Fio) => fio(line, stage, None).map(Some),
        (None, _) => Ok(None),
        (Some(process), contestant) if contestant.is_nbd() => fio(line, stage, Some(process)).map(Some),
        (Some(process), contestant) => aoe(line, contestant, stage, process).map(Some),
    };
    if let Some(process) = &mut process {
        process.terminate(Duration::from_secs(10)).map(|_| ()).or_else(|_| process.kill())?;
    }
    measured
}

/// Our load generator on an AoE target.
fn aoe(line: &Line, contestant: Contestant, stage: &Stage, target: &Process) -> Result<Measurement, Error> {
    let depth = line.depth.to_string();
    let seconds = stage.seconds.to_string();
    let mut program = stage.client(&stage.command).args([
        "bench",
        contestant.address(),
        "-i",
        CLIENT_INTERFACE,
        "--rw",
        line.work.name(),
        "--block-size",
        line.block,
        "--depth",
        &depth,
        "--seconds",
        &seconds,
        "--warm-up",
        WARM_UP,
        "--json",
    ]);
    if line.work.writes() {
        program = program.arg("--allow-writes");
    }
    let before = target.cpu_time()?;
    let output = program.run()?;
    let used = target.cpu_time()? - before;
    let report = parse(&output.stdout)?;
    let summary = &report[if line.work.writes() { "write" } else { "read" }];
    Ok(Measurement {
        requests_per_second: number(&summary["requests_per_second"]),
        latency_microseconds: number(&summary["latency_microseconds"]["mean"]),
        cpu_microseconds: Some(used.as_secs_f64() * 1e6 / number(&report["requests_in_all"]).max(1.0)),
        retransmissions: report["retransmissions"].as_u64().unwrap_or(0),
    })
}

/// fio on the file, or on an NBD server.
fn fio(line: &Line, stage: &Stage, server: Option<&Process>) -> Result<Measurement, Error> {
    let engine = match server {
        None => vec![
            "--ioengine=io_uring".to_owned(),
            "--direct=1".to_owned(),
            format!("--filename={}", stage.image.display()),
        ],
        Some(_) => vec!["--ioengine=nbd".to_owned(), format!("--uri=nbd://{TARGET_IP}/disk")],
    };
    let mut program = stage.client("fio").args(engine).args([
        "--name=line",
        "--size=1g",
        "--time_based",
        "--randrepeat=0",
        "--norandommap",
        "--output-format=json",
    ]);
    program = program.args([
        format!("--rw={}", line.work.name()),
        format!("--bs={}", line.block),
        format!("--iodepth={}", line.depth),
        format!("--runtime={}ms", (stage.seconds * 1e3).round()),
        format!("--ramp_time={}ms", 300),
    ]);
    if line.work.writes() && server.is_none() {
        program = program.arg("--sync=dsync");
    }
    let before = server.map(Process::cpu_time).transpose()?;
    let output = program.run()?;
    let used = match (server, before) {
        (Some(server), Some(before)) => Some(server.cpu_time()? - before),
        _ => None,
    };
    // Warnings come before the JSON.
    let start = output.stdout.find('{').unwrap_or(0);
    let report = parse(&output.stdout[start..])?;
    let summary = &report["jobs"][0][if line.work.writes() { "write" } else { "read" }];
    let rate = number(&summary["iops"]);
    // fio tells only the requests that it measured; the target also did those of the ramp.
    let requests = rate * (stage.seconds + 0.3);
    Ok(Measurement {
        requests_per_second: rate,
        latency_microseconds: number(&summary["lat_ns"]["mean"]) / 1e3,
        cpu_microseconds: used.map(|used| used.as_secs_f64() * 1e6 / requests.max(1.0)),
        retransmissions: 0,
    })
}

fn parse(text: &str) -> Result<Value, Error> {
    serde_json::from_str(text).map_err(|error| Error::Unexpected {
        program: "the report of a load".into(),
        detail: format!("{error}:\n{text}"),
    })
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or(0.0)
}
