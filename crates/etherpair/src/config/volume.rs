//! A volume as it is configured: in `node.toml`, or in a file of its own in the volumes directory, where `etherpair volume create`
//! puts it. Both have the same keys.

use std::path::{Path, PathBuf};

use aoe::limits::MAC_MASK_EDITED_MAX;
use aoe::{Address, MacAddress};
use block::LogicalSectorSize;
use replication::durability::Durability;
use replication::identity::VolumeIdentity;
use replication::membership::NodeNumber;
use replication::resync::ResyncRate;
use replication::start::VolumeConfig;

use super::places::{Place, SectionPlace};
use super::reader::{ConfigError, Reader, Section};
use super::values;
use crate::byte_size;

/// A volume as it is configured.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct VolumeEntry {
    /// Its address.
    pub(crate) address: Address,
    /// Its file or device.
    pub(crate) data: PathBuf,
    /// Its metadata.
    pub(crate) metadata: PathBuf,
    /// Which volume it is, if that is said.
    pub(crate) identity: Option<StatedIdentity>,
    /// Unit of the disk; found out if not given.
    pub(crate) logical_sector_size: Option<LogicalSectorSize>,
    /// Requests an initiator may have outstanding.
    pub(crate) buffer_count: u16,
    /// How it is mirrored.
    pub(crate) mirror: VolumeConfig,
    /// Initiators that are listened to; nobody in the list: all. Not said: initiators decide themselves, by the protocol.
    pub(crate) masks: Option<Vec<MacAddress>>,
    /// The file of its own that it stands in, if it does.
    pub(crate) file: Option<PathBuf>,
}

/// Which volume is meant, and where that is said.
#[derive(Clone, Debug)]
pub(crate) struct StatedIdentity {
    /// What its metadata has to say as well.
    pub(crate) identity: VolumeIdentity,
    /// Where it stands.
    pub(crate) place: Place,
}

/// The same is said wherever it stands.
impl PartialEq for StatedIdentity {
    fn eq(&self, other: &Self) -> bool {
        self.identity == other.identity
    }
}

impl VolumeEntry {
    /// Reads the text of a volume's own file at `path`.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub(crate) fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
        Self::parse_placed(path, text).map(|volume| volume.entry)
    }

    /// The same, and where its keys stand.
    pub(super) fn parse_placed(path: &Path, text: &str) -> Result<PlacedVolume, ConfigError> {
        Reader::read(path, text, |reader, section| {
            let entry = Self { file: Some(path.to_owned()), ..read_volume(reader, section)? };
            Some(PlacedVolume { entry, place: section.places() })
        })
    }

    /// The text of a volume's own file.
    pub(crate) fn emit(&self) -> String {
        let quoted = |path: &Path| serde_json::to_string(&path.to_string_lossy()).expect("text");
        let mut text = format!(
            "# A volume that etherpair has made. `etherpair reload` takes over resync_rate, resync_checksums and masks; for\n\
             # anything else stop the daemon before this is edited.\n\
             address = \"{}\"\ndata = {}\nmetadata = {}\n",
            self.address,
            quoted(&self.data),
            quoted(&self.metadata)
        );
        if let Some(StatedIdentity { identity, .. }) = &self.identity {
            text +=
                &format!("# Of the volume whose data and metadata these are.\nidentity = \"{identity}\"\n");
        }
        if let Some(size) = self.logical_sector_size {
            text += &format!("sector_size = {}\n", size.bytes());
        }
        text + &self.settings()
    }

    /// A volume that is as usual in everything else.
    pub(crate) fn plain(address: Address, data: PathBuf, metadata: PathBuf) -> Self {
        Self {
            address,
            data,
            metadata,
            identity: None,
            logical_sector_size: None,
            buffer_count: BUFFER_COUNT,
            mirror: VolumeConfig::default(),
            masks: None,
            file: None,
        }
    }

    /// The same for a file of its own that says which volume it is.
    pub(crate) fn of_volume(mut self, file: &Path, identity: VolumeIdentity) -> Self {
        let place = Place { path: file.to_owned(), line: 0, key: "identity".to_owned() };
        let stated = self.identity.insert(StatedIdentity { identity, place }).clone();
        let line = self.emit().lines().position(|line| line.starts_with("identity = "));
        let place = Place { line: line.map_or(0, |before| before + 1), ..stated.place };
        Self { identity: Some(StatedIdentity { place, ..stated }), ..self }
    }

    /// The same with lines of settings, to stand in a file of its own.
    ///
    /// # Errors
    /// What is wrong with them.
    pub(crate) fn with_settings(&self, file: &Path, settings: &str) -> Result<Self, ConfigError> {
        Self::parse(file, &(self.emit() + settings))
    }

    /// The lines of everything that is not as usual, without files and the unit of the disk: what both nodes say alike.
    pub(crate) fn settings(&self) -> String {
        let mut text = String::new();
        let mut line = |line: String| text += &(line + "\n");
        if self.buffer_count != BUFFER_COUNT {
            line(format!("buffer_count = {}", self.buffer_count));
        }
        match self.mirror.durability {
            Durability::Stable => {}
            Durability::Memory => line("durability = \"memory\"".to_owned()),
            Durability::Async { server, lag_bytes_max } => line(format!(
                "durability = \"async\"\nasync_server = {}\nasync_lag = \"{lag_bytes_max}\"",
                server.number()
            )),
        }
        if let ResyncRate::BytesPerSecond(bytes) = self.mirror.resync_rate {
            line(format!("resync_rate = \"{bytes}\""));
        }
        if self.mirror.resync_checksums {
            line("resync_checksums = true".to_owned());
        }
        if let Some(masks) = &self.masks {
            let quoted: Vec<String> = masks.iter().map(|mask| format!("\"{mask}\"")).collect();
            line(format!("masks = [{}]", quoted.join(", ")));
        }
        text
    }
}

/// A volume, and where it says what.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct PlacedVolume {
    pub(super) entry: VolumeEntry,
    pub(super) place: SectionPlace,
}

/// A volume that stands in `node.toml`.
pub(super) fn read_finished_volume(reader: &Reader<'_>, section: &Section<'_, '_>) -> Option<PlacedVolume> {
    let volume = read_volume(reader, section);
    section.finish();
    Some(PlacedVolume { entry: volume?, place: section.places() })
}

fn read_volume(reader: &Reader<'_>, section: &Section<'_, '_>) -> Option<VolumeEntry> {
    let address = section.required("address", "\"7.1\"", values::address);
    let data = section.required("data", "\"/srv/e7.1.img\"", values::absolute_path);
    let metadata = section.required("metadata", "\"/srv/e7.1.meta\"", values::absolute_path);
    let identity = section.parsed("identity", values::volume_identity);
    let sector_size =
        section.number_of("sector_size", &[(512, LogicalSectorSize::B512), (4096, LogicalSectorSize::B4096)]);
    let buffer_count = section.number("buffer_count", 2..=u64::from(u16::MAX));
    let durability = read_durability(section);
    let resync_rate = section.parsed("resync_rate", resync_rate);
    let resync_checksums = section.flag("resync_checksums");
    let masks = read_masks(reader, section);
    let usual = VolumeConfig::default();
    Some(VolumeEntry {
        address: address?.value,
        data: data?.value,
        metadata: metadata?.value,
        identity: identity.map(|identity| StatedIdentity {
            identity: VolumeIdentity(identity.value),
            place: section.places().of("identity"),
        }),
        logical_sector_size: sector_size.map(|size| size.value),
        buffer_count: buffer_count.and_then(|count| u16::try_from(count.value).ok()).unwrap_or(BUFFER_COUNT),
        mirror: VolumeConfig {
            durability: durability?,
            resync_rate: resync_rate.map_or(usual.resync_rate, |rate| rate.value),
            resync_checksums: resync_checksums.is_some_and(|checksums| checksums.value),
            ..usual
        },
        masks,
        file: None,
    })
}

/// Who is listened to. An empty list is not the same as none: it keeps initiators from making one.
fn read_masks(reader: &Reader<'_>, section: &Section<'_, '_>) -> Option<Vec<MacAddress>> {
    let masks = section.list("masks", values::host);
    values::refuse_twice(reader, &masks);
    if let Some(beyond) = masks.get(MAC_MASK_EDITED_MAX) {
        let text = format!(
            "more than {MAC_MASK_EDITED_MAX} initiators, which is all that the protocol can tell of; remove some"
        );
        reader.refuse(beyond, text);
    }
    section.has("masks").then(|| values::all(masks))
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
pub(super) const ASYNC_LAG: u64 = 16 << 20;

fn lag(text: &str) -> Result<u64, String> {
    let bytes = byte_size::parse(text).ok().filter(|bytes| (1 << 20..=1 << 30).contains(bytes));
    bytes.ok_or_else(|| format!("`{text}` is no lag; write bytes from \"1M\" to \"1G\""))
}

/// Requests an initiator may have outstanding; Linux uses at most 64 unless told otherwise.
const BUFFER_COUNT: u16 = 128;

/// A copy of a resync has 128 KiB: one a second is the slowest there is.
const RESYNC_RATE_MIN: u64 = 128 << 10;

fn resync_rate(text: &str) -> Result<ResyncRate, String> {
    if text == "yielding" {
        return Ok(ResyncRate::Yielding);
    }
    let bytes = byte_size::parse(text).ok().filter(|bytes| *bytes >= RESYNC_RATE_MIN);
    bytes.map(ResyncRate::BytesPerSecond).ok_or_else(|| {
        format!(
            "`{text}` is no rate; write \"yielding\" to give way to initiators, or bytes a second as \"100M\", \"128k\" at least"
        )
    })
}

/// No two volumes may share an address, a file or an identity, and none may use one file twice.
pub(super) fn refuse_same_volumes(volumes: &[PlacedVolume], mut refuse: impl FnMut(Place, String)) {
    for (index, PlacedVolume { entry, place }) in volumes.iter().enumerate() {
        for earlier in &volumes[..index] {
            if let Some((key, text)) = entry.clash_at(&earlier.entry) {
                refuse(place.of(key), format!("{text} (see {})", earlier.place));
            }
        }
        if entry.data == entry.metadata {
            refuse(place.of("metadata"), "is the same file as data; name two".to_owned());
        }
    }
}

impl VolumeEntry {
    /// What two volumes have in common that they must not.
    pub(crate) fn clash(&self, other: &Self) -> Option<String> {
        self.clash_at(other).map(|(_, text)| text)
    }

    /// The same, with the key of this one.
    fn clash_at(&self, other: &Self) -> Option<(&'static str, String)> {
        if self.address == other.address {
            let text = format!("{} is the address of another volume; choose another", self.address);
            return Some(("address", text));
        }
        if let Some(StatedIdentity { identity, .. }) = &self.identity
            && self.identity == other.identity
        {
            let text = format!(
                "{identity} is {} already, and a volume has one address; name the data, the metadata and the identity of this one",
                other.address
            );
            return Some(("identity", text));
        }
        let files = [("data", &self.data), ("metadata", &self.metadata)];
        let (key, shared) =
            files.into_iter().find(|(_, file)| [&other.data, &other.metadata].contains(file))?;
        Some((key, format!("{} belongs to {} already; name another file", shared.display(), other.address)))
    }
}
