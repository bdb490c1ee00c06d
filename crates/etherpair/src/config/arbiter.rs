//! `[arbiter]` of `node.toml`: who is asked when the peer is lost.

use std::net::SocketAddr;

use super::reader::{Reader, Section};
use super::values;

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

/// Reads the section: one of the three, and no more.
pub(super) fn read(reader: &Reader<'_>, section: &Section<'_, '_>) -> Option<ArbiterConfig> {
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
