//! `witness.toml`, read as a whole before anything is touched.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use replication::identity::PairIdentity;

use crate::config::reader::{ConfigError, Reader, Section};
use crate::config::values;

/// What a witness is told.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct WitnessConfig {
    /// Where it listens.
    pub(crate) listen: Vec<SocketAddr>,
    /// Where the registers are.
    pub(crate) directory: PathBuf,
    /// The pairs it serves; none: every one that asks.
    pub(crate) pairs: Vec<PairIdentity>,
}

impl WitnessConfig {
    /// Reads the text of the file at `path`.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub(crate) fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
        Reader::read(path, text, Self::read)
    }

    fn read(reader: &Reader<'_>, top: &Section<'_, '_>) -> Option<Self> {
        let listen = top.required_list("listen", "[\"0.0.0.0:8803\"]", values::socket_address);
        values::refuse_twice(reader, &listen);
        let directory = top.required("directory", "\"/var/lib/etherpair-witness\"", values::absolute_path);
        let pairs = top.list("pairs", values::identity);
        values::refuse_twice(reader, &pairs);
        values::demand_insecure(reader, top);
        let pairs = values::all(pairs).into_iter().map(PairIdentity).collect();
        Some(Self { listen: values::all(listen), directory: directory?.value, pairs })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<WitnessConfig, String> {
        WitnessConfig::parse(Path::new("witness.toml"), text).map_err(|error| error.to_string())
    }

    #[test]
    fn the_example_of_the_documents_is_a_configuration() {
        let config = parse(include_str!("../../../../docs/operating/witness.toml")).expect("the example");
        assert_eq!(config.directory, Path::new("/var/lib/etherpair-witness"));
        assert_eq!(config.listen.len(), 1);
    }

    #[test]
    fn everything_that_is_wrong_is_told() {
        let error = parse("listen = [\"1.2.3.4\"]\npairs = [\"xyz\"]\nlisten_on = 1\n").expect_err("wrong");
        for part in [
            "`insecure`: is missing",
            "1: `listen`: ",
            "2: `pairs`: ",
            "`listen_on`: there is no such key; did you mean `listen`?",
        ] {
            assert!(error.contains(part), "{part} in {error}");
        }
        let error =
            parse("listen = [\"0.0.0.0:1\"]\ndirectory = \"/x\"\ninsecure = false\n").expect_err("wrong");
        assert!(error.contains("witness.toml:3: `insecure`: ") && error.contains("TLS"), "{error}");
    }
}
