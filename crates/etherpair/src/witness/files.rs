//! What a witness keeps in its directory: who it is, and a file of registers for each pair.
//!
//! Each file is text with a head that has its length and CRC-32, replaced as a whole and made durable. A file that is torn or
//! damaged is never used and never overwritten: a register that came back with an old value could let both nodes serve. For the same
//! reason nothing that is read at the start counts before it is durable: a witness that was killed may have left it in a cache only.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use replication::identity::{PairIdentity, VolumeIdentity};
use replication::membership::Membership;
use replication::witness::registers::{Change, REGISTERS_PER_PAIR_MAX};
use replication::witness::{RegisterKey, Registers};
use thiserror::Error;

use crate::arbiter::register_text;
use crate::durable_file::{self, Beside, PRIVATE_MODE};

const MAGIC: &str = "etherpair-registers";
const VERSION: u32 = 1;
const SUFFIX: &str = "registers";
/// The longest line there is: 32 digits, 20 digits, a word.
const LINE_BYTES_MAX: usize = 64;

/// Why a directory cannot be used.
#[derive(Debug, Error)]
pub(crate) enum FilesError {
    /// The kernel refuses.
    #[error("{path}: {error}; look at the directory and its permissions", path = path.display())]
    System {
        /// Which file.
        path: PathBuf,
        /// What the kernel said.
        error: io::Error,
    },
    /// Another witness is there.
    #[error("{path}: another witness uses this directory; stop it, or give this one a directory of its own", path = .0.display())]
    Locked(PathBuf),
    /// It is not what was written.
    #[error(
        "{path}: the file is torn or damaged ({what}), and an old one in its place could let both nodes serve; if both nodes of \
         the pair are connected, {cure}",
        path = path.display(),
        cure = cure(path)
    )]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What does not fit.
        what: &'static str,
    },
    /// A newer program wrote it.
    #[error("{path}: format version {version}; this program knows {VERSION}: use the newer etherpair", path = path.display())]
    Version {
        /// Which file.
        path: PathBuf,
        /// Its version.
        version: u32,
    },
}

/// What to do about a damaged file.
fn cure(path: &Path) -> &'static str {
    if path.extension().is_some_and(|suffix| suffix == SUFFIX) {
        "remove it and run `etherpair volume register --all` on one of them"
    } else {
        // A new identity is another witness to the nodes.
        "empty the directory, and do as if the witness were replaced (\"Replace the witness\" in docs/operating/pair.md)"
    }
}

/// The directory of a witness, locked.
#[derive(Debug)]
pub(crate) struct Files {
    directory: PathBuf,
    identity: u128,
    _lock: File,
}

/// The registers of a pair as they are to be, on stable storage, but not in their place yet.
#[derive(Debug)]
pub(crate) enum Written {
    /// A file is to take the place of the one that is there.
    Beside(Beside),
    /// There are none, and no file is to be there.
    Nothing(PathBuf),
}

impl Written {
    /// Has them count, durably.
    ///
    /// # Errors
    /// What the kernel says. Either content may be there then.
    pub(crate) fn replace(self) -> io::Result<()> {
        match self {
            Self::Beside(beside) => beside.replace(),
            Self::Nothing(path) => durable_file::remove(&path),
        }
    }
}

impl Files {
    /// Opens the directory, makes it if it is not there, and reads all registers.
    ///
    /// # Errors
    /// The first file that cannot be used.
    pub(crate) fn open(directory: &Path) -> Result<(Self, Registers), FilesError> {
        let system = |path: &Path| {
            let path = path.to_owned();
            move |error| FilesError::System { path, error }
        };
        durable_file::make_directory(directory).map_err(system(directory))?;
        let lock_path = directory.join("lock");
        let lock =
            OpenOptions::new().write(true).create(true).truncate(true).mode(PRIVATE_MODE).open(&lock_path);
        let lock = lock.map_err(system(&lock_path))?;
        if let Err(error) = lock.try_lock() {
            return Err(match error {
                fs::TryLockError::WouldBlock => FilesError::Locked(directory.to_owned()),
                fs::TryLockError::Error(error) => FilesError::System { path: lock_path, error },
            });
        }
        let mut registers = Registers::default();
        let mut found = vec![directory.join("identity")];
        let entries = fs::read_dir(directory).and_then(Iterator::collect::<io::Result<Vec<_>>>);
        for entry in entries.map_err(system(directory))? {
            let path = entry.path();
            if path.extension().is_some_and(|suffix| suffix == SUFFIX) {
                read_registers(&path, &mut registers)?;
                found.push(path);
            }
        }
        let identity = identity(&found[0])?;
        durable_file::settle(&found).map_err(|(path, error)| FilesError::System { path, error })?;
        Ok((Self { directory: directory.to_owned(), identity, _lock: lock }, registers))
    }

    /// Which witness this is.
    pub(crate) const fn identity(&self) -> u128 {
        self.identity
    }

    /// Writes the registers of a pair beside its file, durably. A pair without registers is to have no file.
    ///
    /// # Errors
    /// What the kernel says.
    pub(crate) fn write(&self, pair: PairIdentity, registers: &Registers) -> io::Result<Written> {
        let path = self.path(pair);
        if !registers.knows(pair) {
            return Ok(Written::Nothing(path));
        }
        Beside::write(&path, emit(pair, registers).as_bytes()).map(Written::Beside)
    }

    /// The file of a pair's registers.
    pub(crate) fn path(&self, pair: PairIdentity) -> PathBuf {
        self.directory.join(format!("{pair}.{SUFFIX}"))
    }
}

fn emit(pair: PairIdentity, registers: &Registers) -> String {
    let mut body = format!("pair {pair}\n");
    for (volume, membership) in registers.of_pair(pair) {
        body += &format!("{volume} {}\n", register_text::emit(membership));
    }
    with_head(&body)
}

fn with_head(body: &str) -> String {
    let crc = checksum(VERSION, body.as_bytes());
    format!("{MAGIC} {VERSION} length={} crc32={crc:08x}\n{body}", body.len())
}

fn checksum(version: u32, body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&version.to_le_bytes());
    hasher.update(body);
    hasher.finalize()
}

fn read_registers(path: &Path, registers: &mut Registers) -> Result<(), FilesError> {
    let body = read(path)?;
    let damaged = |what| FilesError::Damaged { path: path.to_owned(), what };
    let (first, rest) = body.split_once('\n').ok_or_else(|| damaged("its first line"))?;
    let pair = first.strip_prefix("pair ").and_then(hexadecimal).map(PairIdentity);
    let pair = pair.ok_or_else(|| damaged("its pair"))?;
    if path.file_stem().is_none_or(|name| name != pair.to_string().as_str()) {
        return Err(damaged("it has the name of another pair"));
    }
    for line in rest.lines() {
        let (volume, to) = parse_line(line).ok_or_else(|| damaged("a line"))?;
        registers.apply(Change { key: RegisterKey { pair, volume }, to: Some(to) });
    }
    Ok(())
}

fn parse_line(line: &str) -> Option<(VolumeIdentity, Membership)> {
    let (volume, membership) = line.split_once(' ')?;
    Some((VolumeIdentity(hexadecimal(volume)?), register_text::parse(membership)?))
}

fn hexadecimal(text: &str) -> Option<u128> {
    (text.len() == 32).then(|| u128::from_str_radix(text, 16).ok()).flatten()
}

/// The identity, drawn when the directory was made.
fn identity(path: &Path) -> Result<u128, FilesError> {
    match read(path) {
        Err(FilesError::System { error, .. }) if error.kind() == io::ErrorKind::NotFound => {}
        text => {
            return hexadecimal(text?.trim_end())
                .ok_or(FilesError::Damaged { path: path.to_owned(), what: "its identity" });
        }
    }
    let system = |error| FilesError::System { path: path.to_owned(), error };
    let identity = u128::from_le_bytes(durable_file::random().map_err(system)?);
    let text = with_head(&format!("{identity:032x}\n"));
    durable_file::replace(path, text.as_bytes()).map_err(system)?;
    Ok(identity)
}

/// The body of a file whose head fits it.
fn read(path: &Path) -> Result<String, FilesError> {
    let mut text = String::new();
    let limit = (REGISTERS_PER_PAIR_MAX + 2) * LINE_BYTES_MAX;
    let file = File::open(path).and_then(|file| file.take(limit as u64).read_to_string(&mut text));
    let damaged = |what| FilesError::Damaged { path: path.to_owned(), what };
    match file {
        Err(error) if error.kind() == io::ErrorKind::InvalidData => return Err(damaged("it is no text")),
        Err(error) => return Err(FilesError::System { path: path.to_owned(), error }),
        Ok(_) => {}
    }
    let (head, body) = text.split_once('\n').ok_or_else(|| damaged("its head"))?;
    let mut words = head.split(' ');
    if words.next() != Some(MAGIC) {
        return Err(damaged("it does not begin like one"));
    }
    let version = words.next().and_then(|word| word.parse().ok()).ok_or_else(|| damaged("its head"))?;
    if version != VERSION {
        return Err(FilesError::Version { path: path.to_owned(), version });
    }
    let length = words.next().and_then(|word| word.strip_prefix("length=")?.parse::<usize>().ok());
    let crc = words.next().and_then(|word| u32::from_str_radix(word.strip_prefix("crc32=")?, 16).ok());
    if length != Some(body.len()) {
        return Err(damaged("its length"));
    }
    if crc != Some(checksum(version, body.as_bytes())) || words.next().is_some() {
        return Err(damaged("its checksum"));
    }
    Ok(body.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::durable_file::{Step, watch};
    use replication::membership::{Epoch, Members, NodeNumber};
    use std::os::unix::fs::PermissionsExt;
    use std::sync::mpsc::channel;

    const PAIR: PairIdentity = PairIdentity(0xabc);

    fn registers() -> Registers {
        let mut registers = Registers::default();
        let both = Membership { epoch: Epoch(1), members: Members::Both };
        let one = Membership { epoch: Epoch::LAST, members: Members::Only(NodeNumber::One) };
        for (volume, to) in [(5, both), (6, one)] {
            registers.apply(Change {
                key: RegisterKey { pair: PAIR, volume: VolumeIdentity(volume) },
                to: Some(to),
            });
        }
        registers
    }

    fn stored() -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().expect("a directory");
        let (files, _) = Files::open(directory.path()).expect("empty");
        files.write(PAIR, &registers()).expect("written").replace().expect("replaced");
        let path = files.path(PAIR);
        (directory, path)
    }

    #[test]
    fn what_was_written_is_read_again_and_the_witness_stays_who_it_is() {
        let (directory, path) = stored();
        let (files, read) = Files::open(directory.path()).expect("readable");
        assert_eq!(read, registers());
        let identity = files.identity();
        assert!(matches!(Files::open(directory.path()), Err(FilesError::Locked(_))));
        drop(files);
        assert_eq!(Files::open(directory.path()).expect("readable").0.identity(), identity);
        let text = fs::read_to_string(path).expect("text");
        assert!(text.ends_with("00000000000000000000000000000006 9223372036854775808 only-1\n"), "{text}");
    }

    #[test]
    fn nothing_that_was_read_counts_before_it_is_durable() {
        let (directory, _) = stored();
        // The identity, the registers of one pair, and that both are there.
        let settled = [Step::SyncFile, Step::SyncFile, Step::SyncDirectory];
        for failing in 0..=settled.len() {
            let (sender, steps) = channel();
            let mut left = failing;
            watch::set(move |step| {
                sender.send(step).map_err(io::Error::other)?;
                left = left.checked_sub(1).ok_or_else(|| io::Error::other("broken"))?;
                Ok(())
            });
            let opened = Files::open(directory.path());
            watch::set(|_| Ok(()));
            let taken: Vec<Step> = steps.try_iter().collect();
            assert_eq!(taken, settled[..settled.len().min(failing + 1)]);
            match opened {
                Ok((_, read)) => assert_eq!((failing, read), (settled.len(), registers())),
                Err(FilesError::System { error, .. }) => assert_eq!(error.to_string(), "broken"),
                Err(error) => panic!("{error}"),
            }
        }
    }

    #[test]
    fn who_serves_what_only_the_owner_reads() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("witness");
        let (files, _) = Files::open(&path).expect("empty");
        files.write(PAIR, &registers()).expect("written").replace().expect("replaced");
        let mode = |path: &Path| fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o700);
        let names = fs::read_dir(&path).expect("a directory").map(|entry| entry.expect("a file").path());
        let open: Vec<_> = names.filter(|path| mode(path) != 0o600).collect();
        assert_eq!(open, Vec::<PathBuf>::new());
    }

    #[test]
    fn a_file_cut_or_changed_anywhere_is_refused_and_left_as_it_is() {
        let (directory, path) = stored();
        let whole = fs::read(&path).expect("bytes");
        for index in 0..whole.len() {
            for mut bytes in [whole[..index].to_vec(), whole.clone()] {
                if bytes.len() == whole.len() {
                    bytes[index] ^= 0x04;
                }
                fs::write(&path, &bytes).expect("damaged");
                Files::open(directory.path()).expect_err("damaged");
                assert_eq!(fs::read(&path).expect("bytes"), bytes, "left as it was");
            }
        }
    }

    #[test]
    fn a_newer_version_and_the_file_of_another_pair_are_named() {
        let (directory, path) = stored();
        let text = fs::read_to_string(&path).expect("text");
        fs::write(&path, text.replacen("registers 1 ", "registers 2 ", 1)).expect("newer");
        assert!(matches!(Files::open(directory.path()), Err(FilesError::Version { version: 2, .. })));
        fs::remove_file(&path).expect("removed");
        fs::write(directory.path().join(format!("{:032x}.registers", 1)), text).expect("renamed");
        let error = Files::open(directory.path()).expect_err("another's");
        assert!(error.to_string().contains("another pair"), "{error}");
    }
}
