//! The machines of the demonstration: the laboratory's pair and a hypervisor, each a network namespace.

use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use lab::network::MTU_JUMBO;
use lab::pair::{PATIENCE, Pair};
use lab::{Error, Namespace};
use serde_json::Value;

/// Looking costs a process, beside nodes that need the same two cores.
const BETWEEN_LOOKS: Duration = Duration::from_millis(300);

pub(super) struct Stage {
    command: PathBuf,
    pub(super) pair: Pair,
    hypervisor: Namespace,
}

impl Stage {
    pub(super) fn new(command: PathBuf) -> Result<Self, Error> {
        let pair = Pair::new("demo", &command, true)?;
        let hypervisor = pair.add_host("hypervisor", &[0], MTU_JUMBO)?;
        Ok(Self { command, pair, hypervisor })
    }

    /// What a command of the hypervisor says.
    pub(super) fn hypervisor_runs(&self, arguments: &str) -> Result<String, Error> {
        let program = self.hypervisor.program(&self.command).args(arguments.split_whitespace());
        Ok(program.within(PATIENCE).run()?.stdout)
    }

    /// Waits until a node says of its volume what is wanted, and shows meanwhile how far its `resync` or `verify` is. The most that was out
    /// of sync, in bytes.
    pub(super) fn watch(
        &self,
        node: usize,
        what: &str,
        progress: &str,
        is_so: impl Fn(&Value) -> bool,
    ) -> Result<u64, Error> {
        let (mut shown, mut most) = (String::new(), 0);
        self.pair.wait_for_pair(what, PATIENCE, || {
            let volume = self.pair.volume(node)?;
            let line = line(&volume, &volume[progress]);
            if line != shown {
                println!("            storage{node}: {line}");
                shown = line;
            }
            most = number(&volume["out_of_sync_bytes"]).max(most);
            if is_so(&volume) {
                return Ok(Some(most));
            }
            thread::sleep(BETWEEN_LOOKS);
            Ok(None)
        })
    }
}

/// Everything that `status` says of how copies become equal, or are compared.
fn line(volume: &Value, progress: &Value) -> String {
    let mut line = format!(
        "{}, peer's disk {}",
        volume["replication"].as_str().unwrap_or_default(),
        volume["peer_disk"].as_str().unwrap_or_default()
    );
    if let Some(percent) = progress["percent"].as_f64() {
        let speed = number(&progress["bytes_per_second"]) >> 20;
        let left =
            progress["seconds_left"].as_u64().map_or_else(String::new, |left| format!(", {left} s left"));
        line += &format!(", {percent:.1} % at {speed} MiB/s{left}");
    }
    match number(&volume["out_of_sync_bytes"]) {
        0 => line,
        bytes => format!("{line}, {:.1} MiB out of sync", bytes as f64 / f64::from(1 << 20)),
    }
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_resync_is_shown_with_how_far_and_how_fast_it_is_and_how_long_it_still_takes() {
        let progress = json!({ "percent": 25.0, "bytes_per_second": 40 << 20, "seconds_left": 3 });
        let volume = json!({ "replication": "SyncSource", "peer_disk": "Inconsistent", "out_of_sync_bytes": 120 << 20 });
        assert_eq!(
            line(&volume, &progress),
            "SyncSource, peer's disk Inconsistent, 25.0 % at 40 MiB/s, 3 s left, 120.0 MiB out of sync"
        );
        let volume = json!({ "replication": "Established", "peer_disk": "UpToDate", "out_of_sync_bytes": 0 });
        assert_eq!(line(&volume, &Value::Null), "Established, peer's disk UpToDate");
    }
}
