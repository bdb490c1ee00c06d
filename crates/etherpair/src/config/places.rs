//! Where in its files a configuration says what: for what only shows when two files, or a file and a running daemon, are compared.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use aoe::Address;

/// A key in a file, or where it would stand.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Place {
    /// The file.
    pub(crate) path: PathBuf,
    /// Line, from 1; 0 for the file as a whole.
    pub(crate) line: usize,
    /// The key with its sections, as `peer.addresses`; empty where there is none.
    pub(crate) key: String,
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.path.display())?;
        if self.line > 0 {
            write!(formatter, ":{}", self.line)?;
        }
        if self.key.is_empty() { Ok(()) } else { write!(formatter, ": `{}`", self.key) }
    }
}

/// A section of a file, and the lines of its keys.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct SectionPlace {
    /// The file.
    pub(super) path: PathBuf,
    /// Its name with those around it; empty for the top.
    pub(super) name: String,
    /// Where it begins.
    pub(super) line: usize,
    /// Keys with the sections within this one, as `peer.addresses`.
    pub(super) lines: BTreeMap<String, usize>,
}

impl SectionPlace {
    /// Where a key stands; one that is not there, where its section begins.
    pub(crate) fn of(&self, key: &str) -> Place {
        let mut around = Some(key);
        let mut line = self.line;
        while let Some(name) = around {
            if let Some(found) = self.lines.get(name) {
                line = *found;
                break;
            }
            around = name.rsplit_once('.').map(|(section, _)| section);
        }
        let key = if self.name.is_empty() { key.to_owned() } else { format!("{}.{key}", self.name) };
        Place { path: self.path.clone(), line, key }
    }
}

impl fmt::Display for SectionPlace {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.path.display(), self.line)
    }
}

/// Where everything of a configuration stands.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Places {
    /// `node.toml`.
    pub(crate) node: SectionPlace,
    /// The volumes, wherever they are.
    pub(crate) volumes: BTreeMap<Address, SectionPlace>,
}

impl Places {
    /// Where a volume stands.
    pub(crate) fn of_volume(&self, address: Address) -> &SectionPlace {
        self.volumes.get(&address).unwrap_or(&self.node)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_is_not_there_is_where_its_section_begins() {
        let lines = [("peer", 3), ("peer.lease", 5)].map(|(key, line)| (key.to_owned(), line));
        let top = SectionPlace { path: "x.toml".into(), name: String::new(), line: 1, lines: lines.into() };
        let place = |key: &str| top.of(key).to_string();
        assert_eq!(place("peer.lease"), "x.toml:5: `peer.lease`");
        assert_eq!(place("peer.versions"), "x.toml:3: `peer.versions`");
        assert_eq!(place("admin.socket"), "x.toml:1: `admin.socket`");
        let volume = SectionPlace { name: "volume".to_owned(), line: 9, ..SectionPlace::default() };
        assert_eq!(volume.of("data").key, "volume.data");
    }
}
