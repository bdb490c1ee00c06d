//! `[storage]`, `[peer]` and `[threads]` of `node.toml`: where initiators are served, how the nodes find each other, who does the work.

use std::net::SocketAddr;

use block::Duration;
use os::EngineKind;
use os::frame_port::PortKind;
use replication::limits::LEASE;
use replication::version::VersionRange;

use super::reader::{Reader, Section};
use super::values;

/// Names for the kinds of frame ports; `auto` tries several.
const PORTS: [(&str, &[PortKind]); 5] = [
    ("auto", &[PortKind::Ring, PortKind::Plain]),
    ("ring", &[PortKind::Ring]),
    ("uring", &[PortKind::Uring]),
    ("plain", &[PortKind::Plain]),
    ("xdp", &[PortKind::Xdp]),
];
const ENGINES: [(&str, EngineKind); 3] =
    [("auto", EngineKind::Auto), ("uring", EngineKind::Uring), ("threads", EngineKind::Threads)];

/// `[storage]`.
pub(super) struct Storage {
    pub(super) interfaces: Vec<String>,
    pub(super) port_kinds: &'static [PortKind],
    pub(super) virtual_macs: bool,
    pub(super) slow_request: Duration,
}

impl Storage {
    pub(super) fn read(reader: &Reader<'_>, section: &Section<'_, '_>) -> Self {
        /// A shard numbers its interfaces with a byte.
        const INTERFACES_MAX: usize = 64;
        let interfaces = section.required_list("interfaces", "[\"eth1\", \"eth2\"]", interface);
        values::refuse_twice(reader, &interfaces);
        if let Some(beyond) = interfaces.get(INTERFACES_MAX) {
            reader.refuse(beyond, format!("more than {INTERFACES_MAX} interfaces; remove some"));
        }
        let port = section.parsed("port", |text| values::one_of(text, &PORTS));
        let virtual_macs = section.flag("virtual_macs");
        let slow_request =
            section.parsed("slow_request", |text| values::duration_within(text, SLOW_MIN, SLOW_MAX));
        section.finish();
        Self {
            interfaces: values::all(interfaces),
            port_kinds: port.map_or(PORTS[0].1, |port| port.value),
            virtual_macs: virtual_macs.is_none_or(|flag| flag.value),
            slow_request: slow_request.map_or(SLOW_REQUEST, |slow| slow.value),
        }
    }
}

/// What takes longer is worth a look: no disk in good health does, and users notice.
const SLOW_REQUEST: Duration = Duration::from_millis(1000);
/// Less would tell of a disk that works as it should.
const SLOW_MIN: Duration = Duration::from_millis(1);
/// Initiators have given up long before.
const SLOW_MAX: Duration = Duration::from_millis(600_000);

/// `[peer]`.
pub(super) struct Peer {
    pub(super) listen: Vec<SocketAddr>,
    pub(super) addresses: Vec<SocketAddr>,
    pub(super) lease: Duration,
    pub(super) versions: VersionRange,
}

impl Peer {
    pub(super) fn read(reader: &Reader<'_>, section: &Section<'_, '_>) -> Self {
        let listen = section.required_list("listen", "[\"10.0.0.1:8802\"]", values::socket_address);
        values::refuse_twice(reader, &listen);
        let addresses = section.required_list("addresses", "[\"10.0.0.2:8802\"]", values::socket_address);
        values::refuse_twice(reader, &addresses);
        for address in &addresses {
            if listen.iter().any(|listen| listen.value == address.value) {
                reader.refuse(address, "is where this node listens itself; name the peer's address");
            }
        }
        let lease = section.parsed("lease", |text| values::duration_within(text, LEASE_MIN, LEASE_MAX));
        let versions = section.parsed("versions", values::versions);
        values::demand_insecure(reader, section);
        section.finish();
        Self {
            versions: versions.map_or(VersionRange::USUAL, |versions| versions.value),
            listen: values::all(listen),
            addresses: values::all(addresses),
            lease: lease.map_or(LEASE, |lease| lease.value),
        }
    }
}

/// Shorter than this, a busy machine loses its lease now and then.
const LEASE_MIN: Duration = Duration::from_millis(200);
/// Longer than this, a stall outlasts what file systems bear.
const LEASE_MAX: Duration = Duration::from_millis(10_000);

/// `[threads]`.
#[derive(Debug)]
pub(super) struct Threads {
    pub(super) count: u32,
    pub(super) cores: Vec<usize>,
    pub(super) busy_poll: Duration,
    pub(super) engine: EngineKind,
}

impl Default for Threads {
    fn default() -> Self {
        Self { count: 1, cores: Vec::new(), busy_poll: Duration::from_micros(50), engine: EngineKind::Auto }
    }
}

impl Threads {
    pub(super) fn read(reader: &Reader<'_>, section: &Section<'_, '_>) -> Self {
        let usual = Self::default();
        let count = section.number("count", 1..=256);
        let cores =
            section.parsed("cores", |text| crate::commands::export::parse_cores(text).map(|list| list.0));
        let allowed = os::cpu::allowed_cores();
        if let Some(cores) = &cores
            && let Some(core) = cores.value.iter().find(|core| !allowed.contains(core))
        {
            reader.refuse(cores, format!("this process may not run on core {core}; it may on {allowed:?}"));
        }
        let busy_poll = section.number("busy_poll_microseconds", 0..=1_000_000);
        let engine = section.parsed("engine", |text| values::one_of(text, &ENGINES));
        section.finish();
        Self {
            count: count.and_then(|count| u32::try_from(count.value).ok()).unwrap_or(usual.count),
            cores: cores.map_or(usual.cores, |cores| cores.value),
            busy_poll: busy_poll.map_or(usual.busy_poll, |busy_poll| Duration::from_micros(busy_poll.value)),
            engine: engine.map_or(usual.engine, |engine| engine.value),
        }
    }
}

fn interface(text: &str) -> Result<String, String> {
    let is_name = !text.is_empty() && text.len() < 16 && !text.contains(['/', ' ']);
    if is_name {
        Ok(text.to_owned())
    } else {
        Err(format!("`{text}` is no name of an interface; see `ip link`"))
    }
}
