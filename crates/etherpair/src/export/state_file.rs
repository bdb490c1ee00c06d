//! The state file of one volume: who it is, and what AoE clients have set (config string, MAC mask, reservation).
//!
//! One header line with format version and CRC-32, then JSON that people can read. It is replaced as a whole: written
//! beside, synced, renamed, and the directory synced. A file that is cut short, damaged, of another version or another
//! volume's is never used and never overwritten; the error names it and the cure. Nothing here runs in a shard.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use aoe::target::SmallState;
use aoe::{Address, MacAddress};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::durable_file::{replace, settle};

/// First word of the header.
const MAGIC: &str = "etherpair-state";
/// The only format so far.
const VERSION: u32 = 1;
/// More than the largest state: a config string of 1024 and two lists of 255 addresses.
const FILE_BYTES_MAX: u64 = 64 << 10;

/// Why a state file is not used.
#[derive(Debug, Error)]
pub(crate) enum StateFileError {
    /// The end is missing.
    #[error(
        "{path}: the state file is cut short; restore it from a backup, or remove it to start without config string, \
         MAC mask and reservation",
        path = .0.display()
    )]
    Torn(PathBuf),
    /// It is not what was written.
    #[error(
        "{path}: the state file is damaged ({what}); restore it from a backup, or remove it to start without config \
         string, MAC mask and reservation",
        path = path.display()
    )]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What does not fit.
        what: String,
    },
    /// A newer program wrote it.
    #[error(
        "{path}: the state file has format version {version}, this program knows {VERSION}; use the newer etherpair \
         that wrote it",
        path = path.display()
    )]
    Version {
        /// Which file.
        path: PathBuf,
        /// Its version.
        version: u32,
    },
    /// It belongs to another address.
    #[error(
        "{path}: the state file belongs to {found}, not to {wanted}; export the disk as {found}, or name another \
         directory with --state-directory",
        path = path.display()
    )]
    OtherAddress {
        /// Which file.
        path: PathBuf,
        /// Whose it is.
        found: Address,
        /// Who asks.
        wanted: Address,
    },
    /// It belongs to another disk.
    #[error(
        "{path}: the state file belongs to the disk {found}, not to {wanted}; export that disk, or move the file away \
         if this one takes its place",
        path = path.display(), found = found.display(), wanted = wanted.display()
    )]
    OtherDisk {
        /// Which file.
        path: PathBuf,
        /// Whose it is.
        found: PathBuf,
        /// Who asks.
        wanted: PathBuf,
    },
    /// It was replaced by another volume's while this one was served.
    #[error(
        "{path}: the state file was replaced by that of volume {found} while {ours} is served; stop this export, then \
         put the right file there",
        path = path.display()
    )]
    OtherVolume {
        /// Which file.
        path: PathBuf,
        /// Whose is there now.
        found: VolumeId,
        /// Who wants to write.
        ours: VolumeId,
    },
    /// It cannot be read.
    #[error("{path}: the state file cannot be read ({error}); look at its permissions", path = path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// What the kernel said.
        error: io::Error,
    },
    /// It cannot be written.
    #[error(
        "{path}: the state file cannot be written ({error}); make room or set permissions there, or name another \
         directory with --state-directory",
        path = path.display()
    )]
    Write {
        /// Which file.
        path: PathBuf,
        /// What the kernel said.
        error: io::Error,
    },
}

/// Names a volume for ever, whatever its address, its file or its host: 128 random bits.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct VolumeId(u128);

impl VolumeId {
    /// A new one.
    ///
    /// # Errors
    /// If the kernel gives no random bytes.
    pub(crate) fn random() -> io::Result<Self> {
        let mut bytes = [0; 16];
        File::open("/dev/urandom")?.read_exact(&mut bytes)?;
        Ok(Self(u128::from_ne_bytes(bytes)))
    }
}

impl std::fmt::Display for VolumeId {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{:032x}", self.0)
    }
}

/// Whose state it is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Owner {
    /// The address the volume is served at.
    pub(crate) address: Address,
    /// The disk, if the place of the state file does not say it already.
    pub(crate) disk: Option<PathBuf>,
}

/// The state file of one volume.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct StateFile {
    path: PathBuf,
    owner: Owner,
    volume: VolumeId,
}

/// What stands in the file after its header.
#[derive(Debug, Deserialize, Serialize)]
struct Body {
    address: String,
    volume: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    disk: Option<PathBuf>,
    /// Bytes 0 to 255 as the characters of those numbers, so that ASCII reads as what it is.
    config_string: String,
    mac_mask: Vec<String>,
    reservation: Vec<String>,
}

impl StateFile {
    /// Reads the file at `path`; `None` if there is none.
    ///
    /// # Errors
    /// If there is a file that cannot be used.
    pub(crate) fn open(path: &Path, owner: &Owner) -> Result<Option<(Self, SmallState)>, StateFileError> {
        let Some(body) = read(path)? else { return Ok(None) };
        let damaged = |what: &str| StateFileError::Damaged { path: path.to_owned(), what: what.to_owned() };
        let found: Address = body.address.parse().map_err(|_| damaged("its address"))?;
        if found != owner.address {
            return Err(StateFileError::OtherAddress { path: path.to_owned(), found, wanted: owner.address });
        }
        if let (Some(found), Some(wanted)) = (&body.disk, &owner.disk)
            && found != wanted
        {
            let (found, wanted) = (found.clone(), wanted.clone());
            return Err(StateFileError::OtherDisk { path: path.to_owned(), found, wanted });
        }
        let volume = body.volume().ok_or_else(|| damaged("its volume id"))?;
        let state = body.state().ok_or_else(|| damaged("a value out of range"))?;
        // Initiators will be told what an export that was killed may have left in a cache only.
        settle(&[path.to_owned()]).map_err(|(path, error)| StateFileError::Write { path, error })?;
        Ok(Some((Self { path: path.to_owned(), owner: owner.clone(), volume }, state)))
    }

    /// Makes the file of a new volume, with nothing set.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(crate) fn create(path: &Path, owner: &Owner) -> Result<Self, StateFileError> {
        let volume =
            VolumeId::random().map_err(|error| StateFileError::Write { path: path.to_owned(), error })?;
        let file = Self { path: path.to_owned(), owner: owner.clone(), volume };
        file.write(&SmallState::default())?;
        Ok(file)
    }

    /// Makes `state` durable.
    ///
    /// # Errors
    /// If it cannot be written, or the file there is not this volume's any more. The old state is then still there.
    pub(crate) fn store(&self, state: &SmallState) -> Result<(), StateFileError> {
        if let Some(found) = read(&self.path)?.and_then(|body| body.volume())
            && found != self.volume
        {
            return Err(StateFileError::OtherVolume { path: self.path.clone(), found, ours: self.volume });
        }
        self.write(state)
    }

    /// The volume's name for ever.
    pub(crate) const fn volume(&self) -> VolumeId {
        self.volume
    }

    fn write(&self, state: &SmallState) -> Result<(), StateFileError> {
        let body = Body::new(&self.owner, self.volume, state);
        replace(&self.path, emit(&body).as_bytes())
            .map_err(|error| StateFileError::Write { path: self.path.clone(), error })
    }
}

impl Body {
    fn new(owner: &Owner, volume: VolumeId, state: &SmallState) -> Self {
        let texts = |addresses: &[MacAddress]| addresses.iter().map(ToString::to_string).collect();
        Self {
            address: owner.address.to_string(),
            volume: volume.to_string(),
            disk: owner.disk.clone(),
            config_string: state.config_string.iter().map(|&byte| char::from(byte)).collect(),
            mac_mask: texts(&state.mac_mask),
            reservation: texts(&state.reservation),
        }
    }

    fn volume(&self) -> Option<VolumeId> {
        u128::from_str_radix(&self.volume, 16).ok().map(VolumeId)
    }

    fn state(&self) -> Option<SmallState> {
        let addresses = |texts: &[String]| {
            texts.iter().map(|text| text.parse().ok()).collect::<Option<Vec<MacAddress>>>()
        };
        let state = SmallState {
            config_string: self.config_string.chars().map(|c| u8::try_from(c).ok()).collect::<Option<_>>()?,
            mac_mask: addresses(&self.mac_mask)?,
            reservation: addresses(&self.reservation)?,
        };
        state.is_within_limits().then_some(state)
    }
}

fn emit(body: &Body) -> String {
    let mut json = serde_json::to_string_pretty(body).expect("texts and lists of texts");
    json.push('\n');
    let mut text = String::new();
    let crc = checksum(VERSION, json.as_bytes());
    writeln!(text, "{MAGIC} {VERSION} length={} crc32={crc:08x}", json.len()).expect("a string takes all");
    text.push_str(&json);
    text
}

fn checksum(version: u32, json: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&version.to_le_bytes());
    hasher.update(json);
    hasher.finalize()
}

/// What stands in the file, checked as far as one can without knowing whose it is.
fn read(path: &Path) -> Result<Option<Body>, StateFileError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(StateFileError::Read { path: path.to_owned(), error }),
    };
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| StateFileError::Read { path: path.to_owned(), error })?;
    parse(path, &bytes).map(Some)
}

fn parse(path: &Path, bytes: &[u8]) -> Result<Body, StateFileError> {
    let damaged = |what: &str| StateFileError::Damaged { path: path.to_owned(), what: what.to_owned() };
    let torn = || StateFileError::Torn(path.to_owned());
    let end = bytes.iter().position(|&byte| byte == b'\n');
    let header = end.map_or(bytes, |end| &bytes[..end]);
    let Some(end) = end else {
        // A piece of the first line, down to nothing at all, is what a crash may leave; anything else is not ours.
        let magic = MAGIC.as_bytes();
        let ours = header.starts_with(magic) || magic.starts_with(header);
        return Err(if ours { torn() } else { damaged("it does not begin like one") });
    };
    let header = std::str::from_utf8(header).map_err(|_| damaged("its first line"))?;
    let mut words = header.split(' ');
    if words.next() != Some(MAGIC) {
        return Err(damaged("it does not begin like one"));
    }
    let version: u32 =
        words.next().and_then(|word| word.parse().ok()).ok_or_else(|| damaged("its first line"))?;
    if version != VERSION {
        return Err(StateFileError::Version { path: path.to_owned(), version });
    }
    let length = words.next().and_then(|word| word.strip_prefix("length=")?.parse::<usize>().ok());
    let crc = words.next().and_then(|word| u32::from_str_radix(word.strip_prefix("crc32=")?, 16).ok());
    let (Some(length), Some(crc), None) = (length, crc, words.next()) else {
        return Err(damaged("its first line"));
    };
    let json = &bytes[end + 1..];
    if json.len() < length {
        return Err(torn());
    }
    if json.len() != length || checksum(version, json) != crc {
        return Err(damaged("its checksum; edited by hand?"));
    }
    serde_json::from_slice(json).map_err(|error| damaged(&error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::durable_file::{Step, watch};
    use std::fs;

    fn owner() -> Owner {
        Owner { address: "e7.1".parse().expect("an address"), disk: None }
    }

    fn state() -> SmallState {
        SmallState {
            config_string: b"boot \xff\x00\"\n".to_vec(),
            mac_mask: vec![MacAddress([2, 0, 0, 0, 0, 1])],
            reservation: vec![MacAddress([2, 0, 0, 0, 0, 2]), MacAddress([2, 0, 0, 0, 0, 3])],
        }
    }

    /// A directory with the state file of e7.1 in it.
    fn stored() -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("disk.img.etherpair");
        let file = StateFile::create(&path, &owner()).expect("created");
        file.store(&state()).expect("stored");
        (directory, path)
    }

    #[test]
    fn what_was_stored_is_read_again_and_people_can_read_it() {
        let (_directory, path) = stored();
        let (file, read) = StateFile::open(&path, &owner()).expect("readable").expect("there");
        assert_eq!(read, state());
        let text = fs::read_to_string(&path).expect("text");
        assert!(text.starts_with("etherpair-state 1 length="), "{text}");
        assert!(text.contains("\"address\": \"e7.1\"") && text.contains("02:00:00:00:00:01"), "{text}");
        assert!(text.contains(&file.volume().to_string()), "{text}");
    }

    #[test]
    fn what_was_read_is_durable_before_anybody_is_told() {
        let (_directory, path) = stored();
        for failing in [Step::SyncFile, Step::SyncDirectory] {
            watch::set(move |step| if step == failing { Err(io::Error::other("broken")) } else { Ok(()) });
            let opened = StateFile::open(&path, &owner());
            watch::set(|_| Ok(()));
            assert!(matches!(opened, Err(StateFileError::Write { .. })), "{failing:?}: {opened:?}");
        }
    }

    #[test]
    fn a_volume_keeps_its_id_and_two_volumes_differ() {
        let (directory, path) = stored();
        let (first, _) = StateFile::open(&path, &owner()).expect("readable").expect("there");
        first.store(&SmallState::default()).expect("stored");
        let (again, read) = StateFile::open(&path, &owner()).expect("readable").expect("there");
        assert_eq!((again.volume(), read), (first.volume(), SmallState::default()));
        let other = StateFile::create(&directory.path().join("other"), &owner()).expect("created");
        assert_ne!(other.volume(), first.volume());
    }

    #[test]
    fn no_file_is_no_error() {
        let directory = tempfile::tempdir().expect("a directory");
        assert_eq!(StateFile::open(&directory.path().join("none"), &owner()).expect("no error"), None);
    }

    #[test]
    fn a_file_cut_short_anywhere_is_torn() {
        let (_directory, path) = stored();
        let whole = fs::read(&path).expect("bytes");
        let header = whole.iter().position(|&byte| byte == b'\n').expect("a first line");
        for length in 0..whole.len() {
            fs::write(&path, &whole[..length]).expect("cut");
            let error = StateFile::open(&path, &owner()).expect_err("torn");
            assert!(matches!(error, StateFileError::Torn(_)), "cut at {length} of {header}: {error}");
        }
    }

    #[test]
    fn a_changed_byte_anywhere_is_noticed_and_nothing_is_reset() {
        let (_directory, path) = stored();
        let whole = fs::read(&path).expect("bytes");
        for index in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[index] ^= 0x04;
            fs::write(&path, &bytes).expect("damaged");
            StateFile::open(&path, &owner()).expect_err("damaged");
            assert_eq!(fs::read(&path).expect("bytes"), bytes, "left as it was");
        }
    }

    #[test]
    fn an_unknown_version_is_named() {
        let (_directory, path) = stored();
        let text = fs::read_to_string(&path).expect("text").replacen("state 1 ", "state 2 ", 1);
        fs::write(&path, text).expect("a newer one");
        let error = StateFile::open(&path, &owner()).expect_err("too new");
        assert!(matches!(error, StateFileError::Version { version: 2, .. }), "{error}");
    }

    #[test]
    fn the_file_of_another_address_or_disk_is_refused() {
        let (directory, path) = stored();
        let other = Owner { address: "e7.2".parse().expect("an address"), disk: None };
        let error = StateFile::open(&path, &other).expect_err("foreign");
        assert!(matches!(error, StateFileError::OtherAddress { .. }), "{error}");
        let path = directory.path().join("e7.1.etherpair");
        let owner_of = |disk: &str| Owner { disk: Some(disk.into()), ..owner() };
        StateFile::create(&path, &owner_of("/dev/one")).expect("created");
        let error = StateFile::open(&path, &owner_of("/dev/two")).expect_err("foreign");
        assert!(matches!(error, StateFileError::OtherDisk { .. }), "{error}");
    }

    #[test]
    fn the_file_of_another_volume_is_not_overwritten() {
        let (_directory, path) = stored();
        let (ours, _) = StateFile::open(&path, &owner()).expect("readable").expect("there");
        let theirs = StateFile::create(&path, &owner()).expect("replaced");
        let error = ours.store(&state()).expect_err("foreign");
        assert!(matches!(error, StateFileError::OtherVolume { .. }), "{error}");
        let (found, _) = StateFile::open(&path, &owner()).expect("readable").expect("there");
        assert_eq!(found.volume(), theirs.volume());
    }

    #[test]
    fn a_place_that_cannot_be_written_is_named_with_the_cure() {
        let error = StateFile::create(Path::new("/nonexistent/state"), &owner()).expect_err("no directory");
        assert!(matches!(error, StateFileError::Write { .. }), "{error}");
        assert!(error.to_string().contains("--state-directory"), "{error}");
    }
}
