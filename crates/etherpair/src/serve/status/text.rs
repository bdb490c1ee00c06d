//! The same for people: a line for each link, interface and volume, and what else there is to say of a volume below it.

use std::fmt::Write as _;

use super::words::serving_words;
use super::{
    ArbiterStatus, Counters, InterfaceStatus, LeaseReport, LinkStatus, NotServed, ProgressStatus, Status,
    Times, VolumeReport,
};
use crate::byte_size;

impl Status {
    /// For people.
    pub(crate) fn display(&self) -> String {
        let mut text = String::new();
        let mut line = |line: String| {
            // A string takes all.
            let _ = writeln!(text, "{line}");
        };
        let leaving = if self.leaving { ", leaving" } else { "" };
        line(format!("node {} of pair {}, etherpair {}{leaving}", self.node, self.pair, self.version));
        for link in &self.links {
            line(link.display());
        }
        for interface in &self.interfaces {
            line(interface.display());
        }
        let ArbiterStatus { kind, identity, reachable, address, error, peer_asks } = &self.arbiter;
        let reach = match (kind.as_str(), reachable) {
            ("none", _) => "a node that loses its peer serves nothing until an operator decides".to_owned(),
            (_, true) => format!("reachable at {}", address.as_deref().unwrap_or("?")),
            (_, false) => format!("NOT reachable: {}", error.as_deref().unwrap_or("not tried yet")),
        };
        line(format!("arbiter: {kind}, {reach}"));
        if let Some(other) = peer_asks {
            let identity = identity.as_deref().unwrap_or("one");
            line(format!(
                "    {identity}, but THE PEER ASKS ANOTHER ONE, {other}; see `arbiters-differ` in the log"
            ));
        }
        for volume in &self.volumes {
            volume.display(&mut line);
        }
        for not_served in &self.not_served {
            line(not_served.display());
        }
        if self.volumes.is_empty() && self.not_served.is_empty() {
            line("no volumes; make one with `etherpair volume create`".to_owned());
        }
        text
    }
}

impl NotServed {
    /// For people.
    pub(crate) fn display(&self) -> String {
        format!("{} NOT served by this node: {}", self.address, self.error)
    }
}

impl LinkStatus {
    fn display(&self) -> String {
        let Self { shard, connection, address, error, version, peer_program, lease, .. } = self;
        let address = address.as_deref().map_or(String::new(), |address| format!(" {address}"));
        let version = version.map_or(String::new(), |version| {
            let program = peer_program.as_deref().filter(|program| !program.is_empty());
            let program = program.map_or(String::new(), |program| format!(" with etherpair {program}"));
            format!(", protocol {version}{program}")
        });
        let error = error.as_deref().map_or(String::new(), |error| format!(" ({error})"));
        format!("peer link {shard}: {connection}{address}{version}{error}; {}", lease.display())
    }
}

impl LeaseReport {
    fn display(&self) -> String {
        #[expect(clippy::cast_precision_loss, reason = "hundredths of a second are shown")]
        let seconds = |milliseconds: u64| format!("{:.2} s", milliseconds as f64 / 1000.0);
        let held = self.held_milliseconds.map_or_else(
            || "no lease from the peer".to_owned(),
            |left| format!("lease from the peer for {}", seconds(left)),
        );
        let granted = self.granted_milliseconds.map(|left| format!(", for the peer for {}", seconds(left)));
        held + &granted.unwrap_or_default()
    }
}

impl InterfaceStatus {
    fn display(&self) -> String {
        let Self { name, up, mac, virtual_mac, mtu, answers_for_peer } = self;
        let mtu = mtu.map_or_else(String::new, |mtu| format!(", MTU {mtu}"));
        let mac = mac.as_deref().map_or_else(String::new, |mac| format!(", MAC {mac}"));
        let seen = virtual_mac.as_deref().map_or_else(String::new, |seen| format!(", initiators see {seen}"));
        let peer =
            if *answers_for_peer { "; DOWN at the other node, this one answers for it there" } else { "" };
        match up {
            true => format!("interface {name}: up{mtu}{mac}{seen}{peer}"),
            false => format!("interface {name}: DOWN, this node serves nobody there{mtu}{mac}"),
        }
    }
}

impl ProgressStatus {
    fn display(&self) -> String {
        let left = self.seconds_left.map_or_else(String::new, |left| format!(", {left} s left"));
        format!("{} % at {}/s{left}", self.percent, byte_size::display(self.bytes_per_second))
    }
}

impl VolumeReport {
    fn display(&self, line: &mut impl FnMut(String)) {
        let serving = serving_words(self.serving, &self.phase);
        let members: Vec<String> = self.members.iter().map(ToString::to_string).collect();
        line(format!(
            "{} {} {serving}; {}, disk {}, peer's disk {}; epoch {}, members {}",
            self.address,
            byte_size::display(self.bytes),
            self.replication,
            self.disk,
            self.peer_disk,
            self.epoch,
            members.join(" and ")
        ));
        if self.out_of_sync_bytes > 0 {
            let resync = self.resync.as_ref().map(|resync| format!("; {}", resync.display()));
            let bytes = byte_size::display(self.out_of_sync_bytes);
            line(format!("    out of sync {bytes}{}", resync.unwrap_or_default()));
        }
        if let Some(verify) = &self.verify {
            line(format!("    compared {}", verify.display()));
        }
        match (self.durability.as_str(), self.answers_from_memory) {
            ("memory", true) => line("    a write is answered when it is in the memory of both nodes".to_owned()),
            ("memory", false) => line(
                "    a write is answered when it is on disk, until both nodes are whole and have been together for a while"
                    .to_owned(),
            ),
            ("async", _) => line("    a write may be answered before the other node has it".to_owned()),
            _ => {}
        }
        let Counters {
            reads,
            writes,
            bytes_read,
            bytes_written,
            followed,
            duplicates_suppressed,
            slow,
            read_errors,
            write_errors,
            ..
        } = self.counters;
        line(format!(
            "    {reads} reads of {}, {writes} writes of {} here, {followed} writes by the peer, {duplicates_suppressed} duplicates \
             suppressed",
            byte_size::display(bytes_read),
            byte_size::display(bytes_written)
        ));
        if read_errors + write_errors > 0 {
            line(format!(
                "    {read_errors} reads and {write_errors} writes ANSWERED WITH AN ERROR of the disk; see the kernel's log"
            ));
        }
        if slow > 0 {
            line(format!("    {slow} slow requests; see the log, or `etherpair events`"));
        }
        if !self.masks.is_empty() {
            line(format!("    only for {}", self.masks.join(", ")));
        }
        for (what, count, times) in
            [("reads", reads, &self.latency.reads), ("writes", writes, &self.latency.writes)]
        {
            if count > 0 {
                line(format!("    {what} took {}", times.display()));
            }
        }
    }
}

impl Times {
    #[expect(clippy::cast_precision_loss, reason = "milliseconds are shown")]
    fn display(&self) -> String {
        let milliseconds = |microseconds: u64| microseconds as f64 / 1000.0;
        let Self { p50_microseconds: p50, p99_microseconds: p99, max_microseconds: max } = *self;
        format!(
            "{:.2} ms, p99 {:.2} ms, max {:.2} ms",
            milliseconds(p50),
            milliseconds(p99),
            milliseconds(max)
        )
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::serve::status::VersionsStatus;

    pub(in super::super) fn status() -> Status {
        let lease = LeaseReport { held_milliseconds: Some(812), granted_milliseconds: Some(1040) };
        let link = LinkStatus {
            connection: "Connected".to_owned(),
            version: Some(3),
            lease,
            ..LinkStatus::default()
        };
        let interface = InterfaceStatus {
            name: "eth1".to_owned(),
            up: true,
            mac: Some("02:00:00:00:00:01".to_owned()),
            virtual_mac: Some("02:00:00:00:00:02".to_owned()),
            mtu: Some(9000),
            answers_for_peer: true,
        };
        Status {
            format: 1,
            version: "0.1.0".to_owned(),
            pair: "7".to_owned(),
            node: 1,
            versions: VersionsStatus::default(),
            leaving: false,
            lease_milliseconds: 1000,
            links: vec![
                link,
                LinkStatus { shard: 1, connection: "Connecting".to_owned(), ..LinkStatus::default() },
            ],
            interfaces: vec![
                interface.clone(),
                InterfaceStatus { name: "eth2".to_owned(), up: false, ..interface },
            ],
            arbiter: ArbiterStatus {
                kind: "witness".to_owned(),
                identity: Some("a1".to_owned()),
                reachable: true,
                address: Some("10.0.0.3:8803".to_owned()),
                error: None,
                peer_asks: Some("witness b2".to_owned()),
            },
            volumes: vec![volume("Paired", "VerifyS"), volume("Alone", "Off")],
            not_served: vec![NotServed { address: "e7.2".to_owned(), error: "no such file".to_owned() }],
        }
    }

    fn volume(phase: &str, replication: &str) -> VolumeReport {
        let progress = ProgressStatus { percent: 25.0, bytes_per_second: 1 << 20, seconds_left: Some(48) };
        VolumeReport {
            address: "e7.1".to_owned(),
            identity: "5".to_owned(),
            bytes: 64 << 20,
            data: "/x".to_owned(),
            phase: phase.to_owned(),
            serving: true,
            epoch: 3,
            members: vec![0, 1],
            needs_lease: phase == "Paired",
            disk: "UpToDate".to_owned(),
            peer_disk: "UpToDate".to_owned(),
            replication: replication.to_owned(),
            durability: "stable".to_owned(),
            answers_from_memory: false,
            out_of_sync_bytes: if phase == "Alone" { 4096 } else { 0 },
            resync: None,
            verify: (replication == "VerifyS").then_some(progress),
            counters: Counters { reads: 2, bytes_read: 8192, ..Counters::default() },
            latency: super::super::LatencyStatus::default(),
            masks: Vec::new(),
        }
    }

    #[test]
    fn people_see_leases_interfaces_a_verify_and_what_is_not_served() {
        let text = status().display();
        for line in [
            "peer link 0: Connected, protocol 3; lease from the peer for 0.81 s, for the peer for 1.04 s",
            "peer link 1: Connecting; no lease from the peer",
            "arbiter: witness, reachable at 10.0.0.3:8803",
            "    a1, but THE PEER ASKS ANOTHER ONE, witness b2; see `arbiters-differ` in the log",
            "interface eth1: up, MTU 9000, MAC 02:00:00:00:00:01, initiators see 02:00:00:00:00:02; DOWN at the other node, this one answers for it there",
            "interface eth2: DOWN, this node serves nobody there, MTU 9000, MAC 02:00:00:00:00:01",
            "e7.1 64.0 MiB serving; VerifyS, disk UpToDate, peer's disk UpToDate; epoch 3, members 0 and 1",
            "    compared 25 % at 1.0 MiB/s, 48 s left",
            "e7.1 64.0 MiB serving alone, without a lease; Off, disk UpToDate, peer's disk UpToDate; epoch 3, members 0 and 1",
            "    out of sync 4.0 KiB",
            "    2 reads of 8.0 KiB, 0 writes of 0 B here, 0 writes by the peer, 0 duplicates suppressed",
            "e7.2 NOT served by this node: no such file",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
    }

    #[test]
    fn what_an_older_daemon_does_not_say_is_left_out() {
        let mut value = serde_json::to_value(status()).expect("texts and numbers");
        value.as_object_mut().expect("an object").remove("interfaces");
        let arbiter = value["arbiter"].as_object_mut().expect("an object");
        assert!(arbiter.remove("identity").is_some() && arbiter.remove("peer_asks").is_some());
        for link in value["links"].as_array_mut().expect("a list") {
            link.as_object_mut().expect("an object").remove("lease");
        }
        for volume in value["volumes"].as_array_mut().expect("a list") {
            let volume = volume.as_object_mut().expect("an object");
            assert!(volume.remove("needs_lease").is_some() && volume.remove("verify").is_some());
        }
        let status: Status = serde_json::from_value(value).expect("an older status");
        assert!(!status.display().contains("interface"));
    }
}
