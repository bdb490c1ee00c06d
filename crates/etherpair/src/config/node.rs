//! `node.toml`, read as a whole before anything is touched: which pair and which node, where it is reached, what it serves.
//!
//! Volumes stand in the file itself, or each in a file of its own in the volumes directory, where `etherpair volume create`
//! puts them. Whether files, interfaces and addresses exist is found out later.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use aoe::Address;
use block::{Duration, LogicalSectorSize};
use os::EngineKind;
use os::frame_port::PortKind;
use replication::durability::Durability;
use replication::identity::PairIdentity;
use replication::limits::LEASE;
use replication::membership::NodeNumber;
use replication::resync::ResyncRate;
use replication::start::VolumeConfig;
use replication::version::VersionRange;
use thiserror::Error;

use super::reader::{ConfigError, Placed, Reader, Section};
use super::{read_file, values};
use crate::byte_size;
use crate::exit_code::{self, Failure};

/// Where `etherpair status` and the others find the daemon.
pub(crate) const SOCKET: &str = "/run/etherpair.sock";
/// Where volumes are kept that were made by a command.
const VOLUMES_DIRECTORY: &str = "/var/lib/etherpair";
/// How the file of a volume ends that was made by a command.
const VOLUME_SUFFIX: &str = ".volume.toml";
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

/// Everything a node is told.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct NodeConfig {
    /// Which pair.
    pub(crate) pair: PairIdentity,
    /// Which of its nodes.
    pub(crate) node: NodeNumber,
    /// How long a lease lasts; alike on both.
    pub(crate) lease: Duration,
    /// Interfaces on which initiators are served.
    pub(crate) interfaces: Vec<String>,
    /// Kinds of frame ports to try, the best first.
    pub(crate) port_kinds: &'static [PortKind],
    /// Answer from addresses of the pair's, which the other node takes over, and not from the interfaces' own.
    pub(crate) virtual_macs: bool,
    /// Where the peer finds this node.
    pub(crate) listen: Vec<SocketAddr>,
    /// Where this node finds the peer, tried in turn.
    pub(crate) peer_addresses: Vec<SocketAddr>,
    /// Versions of the peer protocol that may be spoken.
    pub(crate) versions: VersionRange,
    /// Who is asked when the peer is lost.
    pub(crate) arbiter: ArbiterConfig,
    /// Where commands find the daemon.
    pub(crate) socket: PathBuf,
    /// Threads that serve, and the cores they run on.
    pub(crate) shards: u32,
    /// The cores; none: wherever the kernel puts them.
    pub(crate) cores: Vec<usize>,
    /// How long a thread looks for more before it sleeps.
    pub(crate) busy_poll: Duration,
    /// How disks are asked.
    pub(crate) engine: EngineKind,
    /// Where volumes are kept that were made by a command.
    pub(crate) volumes_directory: PathBuf,
    /// What is served.
    pub(crate) volumes: Vec<VolumeEntry>,
}

/// Who is asked when the peer is lost.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum ArbiterConfig {
    /// `etherpair witness`, at any of these addresses.
    Witness(Vec<SocketAddr>),
    /// etcd, at any of these endpoints, with its keys under this prefix.
    Etcd {
        /// Where its members take requests.
        endpoints: Vec<SocketAddr>,
        /// What its keys begin with.
        prefix: String,
    },
    /// Nobody: a node that loses its peer serves nothing until it is back, or until an operator forces it.
    None,
}

/// A volume as it is configured.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct VolumeEntry {
    /// Its address.
    pub(crate) address: Address,
    /// Its file or device.
    pub(crate) data: PathBuf,
    /// Its metadata.
    pub(crate) metadata: PathBuf,
    /// Unit of the disk; found out if not given.
    pub(crate) logical_sector_size: Option<LogicalSectorSize>,
    /// Requests an initiator may have outstanding.
    pub(crate) buffer_count: u16,
    /// How it is mirrored.
    pub(crate) mirror: VolumeConfig,
    /// The file of its own that it stands in, if it does.
    pub(crate) file: Option<PathBuf>,
}

impl NodeConfig {
    /// Reads the text of the file at `path`, without the volumes directory.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub(crate) fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
        Reader::read(path, text, read_node)
    }
}

impl NodeConfig {
    /// Reads the file at `path` and the files of its volumes directory.
    ///
    /// # Errors
    /// Everything that is wrong with the first file that is.
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        let mut config = read_file(path, Self::parse)?;
        let directory = &config.volumes_directory;
        let entries = std::fs::read_dir(directory).and_then(Iterator::collect::<std::io::Result<Vec<_>>>);
        let mut files: Vec<PathBuf> = match entries {
            Ok(entries) => entries.into_iter().map(|entry| entry.path()).collect(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(error) => {
                let unreadable = UnreadableDirectory { directory: directory.clone(), error };
                return Err(Failure::new(exit_code::CONFIG_UNREADABLE, &unreadable));
            }
        };
        files.retain(|file| file.to_string_lossy().ends_with(VOLUME_SUFFIX));
        files.sort();
        for file in files {
            let volume = read_file(&file, VolumeEntry::parse)?;
            if let Some(text) = config.volumes.iter().find_map(|other| volume.clash(other)) {
                return Err(Failure::new(exit_code::CONFIG_WRONG, &Clash { file, text }));
            }
            config.volumes.push(volume);
        }
        Ok(config)
    }

    /// The file that describes a volume that a command has made.
    pub(crate) fn volume_file(&self, address: Address) -> PathBuf {
        self.volumes_directory.join(format!("{address}{VOLUME_SUFFIX}"))
    }
}

/// Volumes that are not seen would not be served.
#[derive(Debug, Error)]
#[error("{directory}: the volumes directory cannot be read ({error}); look at its permissions", directory = directory.display())]
struct UnreadableDirectory {
    directory: PathBuf,
    error: std::io::Error,
}

/// A volume's own file does not fit the others.
#[derive(Debug, Error)]
#[error("{file}: {text}", file = file.display())]
struct Clash {
    file: PathBuf,
    text: String,
}

impl VolumeEntry {
    /// Reads the text of a volume's own file at `path`.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub(crate) fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
        let entry = Reader::read(path, text, |_, top| read_volume(top))?;
        Ok(Self { file: Some(path.to_owned()), ..entry })
    }

    /// The text of a volume's own file.
    pub(crate) fn emit(&self) -> String {
        let quoted = |path: &Path| serde_json::to_string(&path.to_string_lossy()).expect("text");
        let mut text = format!(
            "# A volume that `etherpair volume create` has made. It may be edited while the daemon is stopped.\n\
             address = \"{}\"\ndata = {}\nmetadata = {}\n",
            self.address,
            quoted(&self.data),
            quoted(&self.metadata)
        );
        if let Some(size) = self.logical_sector_size {
            text += &format!("sector_size = {}\n", size.bytes());
        }
        text
    }
}

fn read_node(reader: &Reader<'_>, top: &Section<'_, '_>) -> Option<NodeConfig> {
    let pair = top.required("pair", "\"32 hexadecimal digits\"", values::identity);
    let node = top.required_number("node", 0..=1);
    let storage = top.required_section("storage").map(|section| Storage::read(reader, &section));
    let peer = top.required_section("peer").map(|section| Peer::read(reader, &section));
    let arbiter = top.required_section("arbiter").map(|section| read_arbiter(reader, &section));
    let admin = top.section("admin");
    let socket = admin.as_ref().and_then(|admin| admin.parsed("socket", values::absolute_path));
    admin.inspect(Section::finish);
    let threads = top.section("threads").map(|section| Threads::read(reader, &section)).unwrap_or_default();
    let volumes_directory = top.parsed("volumes_directory", values::absolute_path);
    let volumes = top.sections("volume").iter().map(read_finished_volume).collect::<Vec<_>>();
    refuse_same_volumes(reader, &volumes);
    let (storage, peer) = (storage?, peer?);
    Some(NodeConfig {
        pair: PairIdentity(pair?.value),
        node: NodeNumber::from_number(u8::try_from(node?.value).ok()?)?,
        lease: peer.lease,
        interfaces: storage.interfaces,
        port_kinds: storage.port_kinds,
        virtual_macs: storage.virtual_macs,
        listen: peer.listen,
        peer_addresses: peer.addresses,
        versions: peer.versions,
        arbiter: arbiter??,
        socket: socket.map_or_else(|| PathBuf::from(SOCKET), |socket| socket.value),
        shards: threads.count,
        cores: threads.cores,
        busy_poll: threads.busy_poll,
        engine: threads.engine,
        volumes_directory: volumes_directory
            .map_or_else(|| PathBuf::from(VOLUMES_DIRECTORY), |path| path.value),
        volumes: volumes
            .into_iter()
            .map(|volume| volume.map(|volume| volume.value))
            .collect::<Option<_>>()?,
    })
}

struct Storage {
    interfaces: Vec<String>,
    port_kinds: &'static [PortKind],
    virtual_macs: bool,
}

impl Storage {
    fn read(reader: &Reader<'_>, section: &Section<'_, '_>) -> Self {
        /// A shard numbers its interfaces with a byte.
        const INTERFACES_MAX: usize = 64;
        let interfaces = section.required_list("interfaces", "[\"eth1\", \"eth2\"]", interface);
        values::refuse_twice(reader, &interfaces);
        if let Some(beyond) = interfaces.get(INTERFACES_MAX) {
            reader.refuse(beyond, format!("more than {INTERFACES_MAX} interfaces; remove some"));
        }
        let port = section.parsed("port", |text| values::one_of(text, &PORTS));
        let virtual_macs = section.flag("virtual_macs");
        section.finish();
        Self {
            interfaces: values::all(interfaces),
            port_kinds: port.map_or(PORTS[0].1, |port| port.value),
            virtual_macs: virtual_macs.is_none_or(|flag| flag.value),
        }
    }
}

struct Peer {
    listen: Vec<SocketAddr>,
    addresses: Vec<SocketAddr>,
    lease: Duration,
    versions: VersionRange,
}

impl Peer {
    fn read(reader: &Reader<'_>, section: &Section<'_, '_>) -> Self {
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
            versions: versions.map_or(VersionRange::ALL, |versions| versions.value),
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

#[derive(Debug)]
struct Threads {
    count: u32,
    cores: Vec<usize>,
    busy_poll: Duration,
    engine: EngineKind,
}

impl Default for Threads {
    fn default() -> Self {
        Self { count: 1, cores: Vec::new(), busy_poll: Duration::from_micros(50), engine: EngineKind::Auto }
    }
}

impl Threads {
    fn read(reader: &Reader<'_>, section: &Section<'_, '_>) -> Self {
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

fn read_arbiter(reader: &Reader<'_>, section: &Section<'_, '_>) -> Option<ArbiterConfig> {
    let witness = section.section("witness").map(|witness| read_witness(reader, &witness));
    let etcd = section.section("etcd").map(|etcd| read_etcd(reader, &etcd));
    let none = section.flag("none").filter(|none| none.value).map(|_| ArbiterConfig::None);
    section.finish();
    let mut given = [witness, etcd, none].into_iter().flatten();
    match (given.next(), given.next()) {
        (Some(arbiter), None) => Some(arbiter),
        _ => {
            let text = "must have one of: a section [arbiter.witness], a section [arbiter.etcd], or none = true if nobody is to be \
                        asked (a node that loses its peer then serves nothing until it is back or an operator forces it)";
            reader.refuse(&section.place(), text);
            None
        }
    }
}

fn read_witness(reader: &Reader<'_>, section: &Section<'_, '_>) -> ArbiterConfig {
    let addresses = section.required_list("addresses", "[\"10.0.0.3:8803\"]", values::socket_address);
    values::refuse_twice(reader, &addresses);
    values::demand_insecure(reader, section);
    section.finish();
    ArbiterConfig::Witness(values::all(addresses))
}

fn read_etcd(reader: &Reader<'_>, section: &Section<'_, '_>) -> ArbiterConfig {
    let endpoints = section.required_list("endpoints", "[\"http://10.0.0.3:2379\"]", endpoint);
    values::refuse_twice(reader, &endpoints);
    let prefix = section.parsed("prefix", |text| match text.strip_suffix('/') {
        Some(shorter) => Err(format!("ends with a /, which is put there anyway; write \"{shorter}\"")),
        None => Ok(text.to_owned()),
    });
    values::demand_insecure(reader, section);
    section.finish();
    let prefix = prefix.map_or_else(|| "/etherpair".to_owned(), |prefix| prefix.value);
    ArbiterConfig::Etcd { endpoints: values::all(endpoints), prefix }
}

fn endpoint(text: &str) -> Result<SocketAddr, String> {
    let refused = || {
        format!(
            "`{text}` is no endpoint; write http:// with an IP address and a port, as http://10.0.0.3:2379"
        )
    };
    text.strip_prefix("http://").and_then(|rest| rest.trim_end_matches('/').parse().ok()).ok_or_else(refused)
}

fn read_finished_volume(section: &Section<'_, '_>) -> Option<Placed<VolumeEntry>> {
    let volume = read_volume(section);
    section.finish();
    Some(section.place().with(volume?))
}

fn read_volume(section: &Section<'_, '_>) -> Option<VolumeEntry> {
    let address = section.required("address", "\"7.1\"", values::address);
    let data = section.required("data", "\"/srv/e7.1.img\"", values::absolute_path);
    let metadata = section.required("metadata", "\"/srv/e7.1.meta\"", values::absolute_path);
    let sector_size =
        section.number_of("sector_size", &[(512, LogicalSectorSize::B512), (4096, LogicalSectorSize::B4096)]);
    let buffer_count = section.number("buffer_count", 2..=u64::from(u16::MAX));
    let durability = read_durability(section);
    let resync_rate = section.parsed("resync_rate", resync_rate);
    let resync_checksums = section.flag("resync_checksums");
    let usual = VolumeConfig::default();
    Some(VolumeEntry {
        address: address?.value,
        data: data?.value,
        metadata: metadata?.value,
        logical_sector_size: sector_size.map(|size| size.value),
        buffer_count: buffer_count.and_then(|count| u16::try_from(count.value).ok()).unwrap_or(BUFFER_COUNT),
        mirror: VolumeConfig {
            durability: durability?,
            resync_rate: resync_rate.map_or(usual.resync_rate, |rate| rate.value),
            resync_checksums: resync_checksums.is_some_and(|checksums| checksums.value),
            ..usual
        },
        file: None,
    })
}

/// What an answer to a write means; in one of the modes two keys more.
fn read_durability(section: &Section<'_, '_>) -> Option<Durability> {
    const WORDS: [(&str, Mode); 3] =
        [("stable", Mode::Stable), ("memory", Mode::Memory), ("async", Mode::Async)];
    let mode = section.parsed("durability", |text| values::one_of(text, &WORDS));
    let mode = mode.map_or(Mode::Stable, |mode| mode.value);
    if mode != Mode::Async {
        for key in ["async_server", "async_lag"] {
            section.refuse_key(key, "belongs to durability = \"async\"; remove it, or choose that");
        }
        return Some(if mode == Mode::Memory { Durability::Memory } else { Durability::Stable });
    }
    let server = section.required_number("async_server", 0..=1);
    let lag = section.parsed("async_lag", lag);
    let server = NodeNumber::from_number(u8::try_from(server?.value).ok()?)?;
    Some(Durability::Async { server, lag_bytes_max: lag.map_or(ASYNC_LAG, |lag| lag.value) })
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Mode {
    Stable,
    Memory,
    Async,
}

/// Bytes that the node which only follows may lack, unless told otherwise.
const ASYNC_LAG: u64 = 16 << 20;

fn lag(text: &str) -> Result<u64, String> {
    let bytes = byte_size::parse(text).ok().filter(|bytes| (1 << 20..=1 << 30).contains(bytes));
    bytes.ok_or_else(|| format!("`{text}` is no lag; write bytes from \"1M\" to \"1G\""))
}

/// Requests an initiator may have outstanding; Linux uses at most 64 unless told otherwise.
pub(crate) const BUFFER_COUNT: u16 = 128;

fn interface(text: &str) -> Result<String, String> {
    let is_name = !text.is_empty() && text.len() < 16 && !text.contains(['/', ' ']);
    if is_name {
        Ok(text.to_owned())
    } else {
        Err(format!("`{text}` is no name of an interface; see `ip link`"))
    }
}

fn resync_rate(text: &str) -> Result<ResyncRate, String> {
    if text == "yielding" {
        return Ok(ResyncRate::Yielding);
    }
    let bytes = byte_size::parse(text).ok().filter(|bytes| *bytes >= 128 << 10);
    bytes.map(ResyncRate::BytesPerSecond).ok_or_else(|| {
        format!(
            "`{text}` is no rate; write \"yielding\" to give way to initiators, or bytes a second as \"100M\""
        )
    })
}

/// No two volumes may share an address or a file.
fn refuse_same_volumes(reader: &Reader<'_>, volumes: &[Option<Placed<VolumeEntry>>]) {
    let volumes: Vec<&Placed<VolumeEntry>> = volumes.iter().flatten().collect();
    for (index, placed) in volumes.iter().enumerate() {
        for earlier in &volumes[..index] {
            if let Some(text) = placed.value.clash(&earlier.value) {
                reader.refuse(placed, format!("{text} (line {})", reader.line(earlier)));
            }
        }
        if placed.value.data == placed.value.metadata {
            reader.refuse(placed, "data and metadata are the same file; name two");
        }
    }
}

impl VolumeEntry {
    /// What two volumes have in common that they must not.
    pub(crate) fn clash(&self, other: &Self) -> Option<String> {
        let files = [&self.data, &self.metadata];
        if self.address == other.address {
            return Some(format!("{} is the address of another volume; choose another", self.address));
        }
        let shared = files.into_iter().find(|file| [&other.data, &other.metadata].contains(file))?;
        Some(format!("{} belongs to {} already; name another file", shared.display(), other.address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = include_str!("../../../../docs/operating/node.toml");

    fn parse(text: &str) -> Result<NodeConfig, String> {
        NodeConfig::parse(Path::new("node.toml"), text).map_err(|error| error.to_string())
    }

    #[test]
    fn the_example_of_the_documents_is_a_configuration() {
        let config = parse(EXAMPLE).expect("the example");
        assert_eq!(config.node, NodeNumber::Zero);
        assert_eq!(config.interfaces, ["eth1", "eth2"]);
        assert_eq!(config.lease, LEASE);
        assert!(matches!(config.arbiter, ArbiterConfig::Witness(addresses) if addresses.len() == 1));
        assert_eq!(config.volumes.len(), 1);
        assert_eq!(config.volumes[0].mirror, VolumeConfig::default());
    }

    #[test]
    fn everything_that_is_wrong_is_told_with_its_line() {
        let text = "node = 2\n[storage]\ninterfaces = [\"eth1\", \"eth1\"]\nport = \"rnig\"\n[peer]\nlisten = [\"1.1.1.1:1\"]\n\
                    addresses = [\"1.1.1.1:1\"]\nlease = \"1h\"\ninsecure = true\n[arbiter]\n[[volume]]\naddress = \"4095.1\"\n\
                    data = \"x\"\nmetdata = \"/y\"\n";
        let error = parse(text).expect_err("wrong");
        for part in [
            "1: `pair`: is missing",
            "1: `node`: must be a whole number from 0 to 1",
            "3: `storage.interfaces`: stands there twice",
            "4: `storage.port`: `rnig` is not known; write \"auto\" or",
            "7: `peer.addresses`: is where this node listens itself",
            "8: `peer.lease`: `1h` is not a time",
            "10: `arbiter`: must have one of",
            "12: `volume.address`: ",
            "13: `volume.data`: `x` must begin with /",
            "11: `volume.metadata`: is missing",
            "14: `volume.metdata`: there is no such key; did you mean `metadata`?",
        ] {
            assert!(error.contains(&format!("node.toml:{part}")), "{part} in {error}");
        }
    }

    #[test]
    fn there_is_one_arbiter_or_it_is_said_that_there_is_none() {
        let with = |arbiter: &str| {
            let (head, tail) = EXAMPLE.split_once("[arbiter.witness]").expect("the example has one");
            let (_, tail) = tail.split_once("insecure = true").expect("the witness's");
            parse(&format!("{head}{arbiter}{tail}")).map(|config| config.arbiter)
        };
        assert_eq!(with("[arbiter]\nnone = true"), Ok(ArbiterConfig::None));
        let etcd =
            "[arbiter.etcd]\nendpoints = [\"http://10.0.0.3:2379\", \"http://[::1]:2379/\"]\ninsecure = true";
        assert!(matches!(with(etcd), Ok(ArbiterConfig::Etcd { endpoints, .. }) if endpoints.len() == 2));
        for wrong in ["[arbiter]", "[arbiter]\nnone = false", &format!("[arbiter]\nnone = true\n{etcd}")] {
            assert!(with(wrong).expect_err("not one").contains("`arbiter`: must have one of"), "{wrong}");
        }
        let error =
            with("[arbiter.etcd]\nendpoints = [\"etcd:2379\"]\ninsecure = true").expect_err("no address");
        assert!(error.contains("`etcd:2379` is no endpoint"), "{error}");
    }

    #[test]
    fn answers_ahead_of_the_peer_name_the_node_that_gives_them() {
        let with = |lines: &str| {
            parse(&format!("{EXAMPLE}{lines}\n")).map(|config| config.volumes[0].mirror.durability)
        };
        let expected = Durability::Async { server: NodeNumber::One, lag_bytes_max: 32 << 20 };
        assert_eq!(with("durability = \"async\"\nasync_server = 1\nasync_lag = \"32M\""), Ok(expected));
        let usual = Durability::Async { server: NodeNumber::Zero, lag_bytes_max: ASYNC_LAG };
        assert_eq!(with("durability = \"async\"\nasync_server = 0"), Ok(usual));
        assert!(
            with("durability = \"async\"")
                .expect_err("no server")
                .contains("`volume.async_server`: is missing")
        );
        assert!(
            with("durability = \"async\"\nasync_server = 0\nasync_lag = \"1\"")
                .expect_err("no lag")
                .contains("\"1M\"")
        );
        assert!(with("async_server = 1").expect_err("not async").contains("belongs to durability"));
    }

    #[test]
    fn two_volumes_share_nothing() {
        let volume = |address: &str, data: &str| {
            format!("[[volume]]\naddress = \"{address}\"\ndata = \"{data}\"\nmetadata = \"{data}.meta\"\n")
        };
        let error =
            parse(&format!("{EXAMPLE}{}", volume("8.1", "/srv/e7.1.img"))).expect_err("the same file");
        assert!(error.contains("/srv/e7.1.img belongs to e7.1 already"), "{error}");
        let error = parse(&format!("{EXAMPLE}{}", volume("7.1", "/srv/b"))).expect_err("the same address");
        assert!(error.contains("e7.1 is the address of another volume"), "{error}");
    }

    #[test]
    fn the_file_of_a_volume_means_what_it_was_made_of() {
        let mut volume = parse(EXAMPLE).expect("the example").volumes.remove(0);
        volume.logical_sector_size = Some(LogicalSectorSize::B4096);
        volume.data = PathBuf::from("/srv/with \"quotes\".img");
        volume.file = Some(PathBuf::from("/x/e7.1.toml"));
        assert_eq!(VolumeEntry::parse(Path::new("/x/e7.1.toml"), &volume.emit()), Ok(volume));
    }
}
