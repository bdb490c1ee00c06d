//! `node.toml`, read as a whole before anything is touched: which pair and which node, where it is reached, what it serves.
//!
//! Volumes stand in the file itself, or each in a file of its own in the volumes directory, where `etherpair volume create`
//! puts them. Whether files, interfaces and addresses exist is found out later.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use aoe::Address;
use block::Duration;
use os::EngineKind;
use os::frame_port::PortKind;
use replication::identity::PairIdentity;
use replication::membership::NodeNumber;
use replication::version::VersionRange;
use thiserror::Error;
use toml::de::DeTable;

use super::arbiter::{self, ArbiterConfig};
use super::places::{Place, Places};
use super::reader::{ConfigError, Reader, Section};
use super::sections::{Peer, Storage, Threads};
use super::volume::{PlacedVolume, VolumeEntry, read_finished_volume, refuse_same_volumes};
use super::{read_text, values};
use crate::exit_code::{self, Failure};

/// Where `etherpair status` and the others find the daemon.
pub(crate) const SOCKET: &str = "/run/etherpair.sock";
/// Where volumes are kept that were made by a command.
const VOLUMES_DIRECTORY: &str = "/var/lib/etherpair";
/// How the file of a volume ends that was made by a command.
const VOLUME_SUFFIX: &str = ".volume.toml";

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
    /// Requests that take longer are told of.
    pub(crate) slow_request: Duration,
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
    /// Where all of this stands.
    pub(crate) places: Places,
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
    /// Everything that is wrong with any of them.
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        let text = read_text(path)?;
        match Self::parse(path, &text) {
            Ok(mut config) => {
                let (volumes, mut error) = read_volumes_directory(&config.volumes_directory)?;
                config.add_volumes(volumes, &mut error);
                if error.is_empty() { Ok(config) } else { Err(wrong(&error)) }
            }
            Err(mut error) => {
                let (_, others) = read_volumes_directory(&volumes_directory(&text))?;
                error.append(others);
                Err(wrong(&error))
            }
        }
    }

    fn add_volumes(&mut self, volumes: Vec<PlacedVolume>, error: &mut ConfigError) {
        let Places { volumes: places, .. } = &mut self.places;
        let in_node = self.volumes.drain(..).filter_map(|entry| {
            places.get(&entry.address).cloned().map(|place| PlacedVolume { entry, place })
        });
        let all: Vec<PlacedVolume> = in_node.chain(volumes).collect();
        refuse_same_volumes(&all, |place, text| error.add(place, text));
        for PlacedVolume { entry, place } in all {
            places.insert(entry.address, place);
            self.volumes.push(entry);
        }
    }

    /// The file that describes a volume that a command has made.
    pub(crate) fn volume_file(&self, address: Address) -> PathBuf {
        self.volumes_directory.join(format!("{address}{VOLUME_SUFFIX}"))
    }
}

fn wrong(error: &ConfigError) -> Failure {
    Failure::new(exit_code::CONFIG_WRONG, error)
}

/// The volumes that have files of their own, and what is wrong with these files.
fn read_volumes_directory(directory: &Path) -> Result<(Vec<PlacedVolume>, ConfigError), Failure> {
    let entries = std::fs::read_dir(directory).and_then(Iterator::collect::<std::io::Result<Vec<_>>>);
    let mut files: Vec<PathBuf> = match entries {
        Ok(entries) => entries.into_iter().map(|entry| entry.path()).collect(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(error) => {
            let unreadable = UnreadableDirectory { directory: directory.to_owned(), error };
            return Err(Failure::new(exit_code::CONFIG_UNREADABLE, &unreadable));
        }
    };
    files.retain(|file| file.to_string_lossy().ends_with(VOLUME_SUFFIX));
    files.sort();
    let (mut volumes, mut wrong) = (Vec::new(), ConfigError::default());
    for path in files {
        match std::fs::read_to_string(&path) {
            Ok(text) => match VolumeEntry::parse_placed(&path, &text) {
                Ok(volume) => volumes.push(volume),
                Err(error) => wrong.append(error),
            },
            Err(error) => {
                let text = format!("cannot be read ({error}); look at its permissions");
                wrong.add(Place { path, line: 0, key: String::new() }, text);
            }
        }
    }
    Ok((volumes, wrong))
}

/// Of a file in which other things are wrong.
fn volumes_directory(text: &str) -> PathBuf {
    let (document, _) = DeTable::parse_recoverable(text);
    let value = document.get_ref().get("volumes_directory");
    let path = value.and_then(|value| values::absolute_path(value.get_ref().as_str()?).ok());
    path.unwrap_or_else(|| PathBuf::from(VOLUMES_DIRECTORY))
}

/// Volumes that are not seen would not be served.
#[derive(Debug, Error)]
#[error("{directory}: the volumes directory cannot be read ({error}); look at its permissions", directory = directory.display())]
struct UnreadableDirectory {
    directory: PathBuf,
    error: std::io::Error,
}

fn read_node(reader: &Reader<'_>, top: &Section<'_, '_>) -> Option<NodeConfig> {
    let pair = top.required("pair", "\"32 hexadecimal digits\"", values::identity);
    let node = top.required_number("node", 0..=1);
    let storage = top.required_section("storage").map(|section| Storage::read(reader, &section));
    let peer = top.required_section("peer").map(|section| Peer::read(reader, &section));
    let arbiter = top.required_section("arbiter").map(|section| arbiter::read(reader, &section));
    let admin = top.section("admin");
    let socket = admin.as_ref().and_then(|admin| admin.parsed("socket", values::absolute_path));
    admin.inspect(Section::finish);
    let threads = top.section("threads").map(|section| Threads::read(reader, &section)).unwrap_or_default();
    let volumes_directory = top.parsed("volumes_directory", values::absolute_path);
    let volumes = top.sections("volume");
    let count = volumes.len();
    let volumes: Vec<_> =
        volumes.iter().filter_map(|section| read_finished_volume(reader, section)).collect();
    refuse_same_volumes(&volumes, |place, text| reader.refuse_at(place, text));
    let volumes = Some(volumes).filter(|volumes| volumes.len() == count);
    let (storage, peer, volumes) = (storage?, peer?, volumes?);
    Some(NodeConfig {
        pair: PairIdentity(pair?.value),
        node: NodeNumber::from_number(u8::try_from(node?.value).ok()?)?,
        lease: peer.lease,
        interfaces: storage.interfaces,
        port_kinds: storage.port_kinds,
        virtual_macs: storage.virtual_macs,
        slow_request: storage.slow_request,
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
        places: Places {
            node: top.places(),
            volumes: volumes.iter().map(|volume| (volume.entry.address, volume.place.clone())).collect(),
        },
        volumes: volumes.into_iter().map(|volume| volume.entry).collect(),
    })
}

#[cfg(test)]
mod tests {
    use aoe::MacAddress;
    use block::LogicalSectorSize;
    use replication::durability::Durability;
    use replication::identity::VolumeIdentity;
    use replication::limits::LEASE;
    use replication::resync::ResyncRate;
    use replication::start::VolumeConfig;

    use super::super::volume::ASYNC_LAG;
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
        let line = EXAMPLE.lines().count() + 2;
        assert!(error.starts_with(&format!("node.toml:{line}: `volume.address`: ")), "{error}");
    }

    #[test]
    fn everything_that_is_wrong_with_any_file_is_told_with_its_line() {
        let directory = std::env::temp_dir().join(format!("etherpair-config-{}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("a directory");
        let write = |name: &str, text: &str| std::fs::write(directory.join(name), text).expect("a file");
        let read = || {
            let error = NodeConfig::read(&directory.join("node.toml")).expect_err("wrong");
            assert_eq!(error.code(), exit_code::CONFIG_WRONG);
            error.to_string()
        };
        let node = EXAMPLE.replace("/var/lib/etherpair", &directory.to_string_lossy());
        write("node.toml", &node);
        write("a.volume.toml", "address = \"7.1\"\ndata = \"/x/a\"\nmetadata = \"/x/a.meta\"\n");
        write("b.volume.toml", "address = \"7.2\"\ndata = \"/x/b\"\nmetadata = \"/x/b\"\nmetdata = 1\n");
        write("c.volume.toml", "address = \"7.3\"\ndata = \"/x/c\"\nmetadata = \"/x/c\"\n");
        write("d.volume.toml", "address = \"7.4\"\ndata = \"/x/d\"\n\nmetadata = \"/x/a\"\n");
        std::fs::create_dir_all(directory.join("e.volume.toml")).expect("no file");
        let volume = node.lines().position(|line| line == "[[volume]]").expect("the example has one") + 1;
        let place = |name: &str| directory.join(name).display().to_string();
        let seen = place("node.toml");
        let parts = [
            format!(
                "{}:4: `metdata`: there is no such key; did you mean `metadata`?",
                place("b.volume.toml")
            ),
            format!("{}: cannot be read (", place("e.volume.toml")),
            format!(
                "{}:1: `address`: e7.1 is the address of another volume; choose another (see {seen}:{volume})",
                place("a.volume.toml")
            ),
            format!("{}:3: `metadata`: is the same file as data; name two", place("c.volume.toml")),
            format!(
                "{}:4: `metadata`: /x/a belongs to e7.1 already; name another file (see {}:1)",
                place("d.volume.toml"),
                place("a.volume.toml")
            ),
        ];
        let error = read();
        assert_eq!(error.lines().count(), parts.len(), "{error}");
        for part in parts {
            assert!(error.contains(&part), "{part} in {error}");
        }
        write("node.toml", &node.replace("node = 0", "node = 2"));
        let error = read();
        for part in ["node.toml:", "`node`: must be a whole number", "b.volume.toml:4: `metdata`"] {
            assert!(error.contains(part), "{part} in {error}");
        }
        std::fs::remove_dir_all(&directory).expect("cleaned up");
    }

    #[test]
    fn the_file_of_a_volume_means_what_it_was_made_of() {
        let mut volume = parse(EXAMPLE).expect("the example").volumes.remove(0);
        volume.logical_sector_size = Some(LogicalSectorSize::B4096);
        volume.data = PathBuf::from("/srv/with \"quotes\".img");
        volume.file = Some(PathBuf::from("/x/e7.1.toml"));
        let reads_back = |volume: &VolumeEntry| {
            let text = volume.emit();
            assert_eq!(VolumeEntry::parse(Path::new("/x/e7.1.toml"), &text).as_ref(), Ok(volume), "{text}");
        };
        reads_back(&volume);
        volume = volume.of_volume(Path::new("/x/e7.1.toml"), VolumeIdentity(0xa1));
        reads_back(&volume);
        assert_eq!(volume.settings(), "", "nothing is said of what is as usual");
        volume.buffer_count = 17;
        volume.masks = Some(vec![MacAddress([2, 0, 0, 0, 0, 0xa1]), MacAddress([2, 0, 0, 0, 0, 0xa2])]);
        volume.mirror.resync_rate = ResyncRate::BytesPerSecond(123_456_789);
        volume.mirror.resync_checksums = true;
        let ahead = Durability::Async { server: NodeNumber::One, lag_bytes_max: 3 << 20 };
        for durability in [Durability::Memory, ahead] {
            volume.mirror.durability = durability;
            reads_back(&volume);
        }
        volume.masks = Some(Vec::new());
        reads_back(&volume);
    }

    #[test]
    fn a_volume_has_one_address() {
        let identity = format!("identity = \"{}\"\n", VolumeIdentity(0xa1));
        let second = "[[volume]]\naddress = \"7.9\"\ndata = \"/srv/two.img\"\nmetadata = \"/srv/two.meta\"\n";
        let text = format!("{EXAMPLE}{identity}{second}");
        assert!(parse(&text).is_ok(), "what is not said of one may be another volume");
        let error = parse(&format!("{text}{identity}")).expect_err("one volume at two addresses");
        let place = format!("node.toml:{}: `volume.identity`: ", EXAMPLE.lines().count() + 6);
        assert!(error.contains(&place) && error.contains("is e7.1 already"), "{error}");
    }

    #[test]
    fn masks_are_addresses_of_hosts_each_once() {
        let with = |masks: &str| parse(&format!("{EXAMPLE}masks = {masks}\n"));
        let masks = |config: NodeConfig| config.volumes[0].masks.clone();
        assert_eq!(parse(EXAMPLE).map(masks), Ok(None));
        assert_eq!(with("[]").map(masks), Ok(Some(Vec::new())));
        let one = MacAddress([2, 0, 0, 0, 0, 10]);
        assert_eq!(with("[\"02:00:00:00:00:0A\"]").map(masks), Ok(Some(vec![one])));
        let line = EXAMPLE.lines().count() + 1;
        for (wrong, cure) in [
            ("[\"eth1\"]", "six hexadecimal bytes"),
            ("[\"01:00:00:00:00:01\"]", "of a group"),
            ("[\"02:00:00:00:00:01\", \"02:00:00:00:00:01\"]", "stands there twice"),
            ("\"02:00:00:00:00:01\"", "a list of texts"),
        ] {
            let error = with(wrong).expect_err(wrong);
            let place = format!("node.toml:{line}: `volume.masks`: ");
            assert!(error.contains(&place) && error.contains(cure), "{error}");
        }
        let many: Vec<String> = (0..185).map(|number| format!("\"02:00:00:00:00:{number:02x}\"")).collect();
        assert!(with(&format!("[{}]", many.join(", "))).expect_err("too many").contains("more than 184"));
    }
}
