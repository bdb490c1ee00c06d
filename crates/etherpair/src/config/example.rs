//! Each key of the commented example in the documents, given something wrong: it must be told with its line, its name and the cure.

use std::collections::BTreeSet;
use std::path::Path;

use super::node::NodeConfig;

const EXAMPLE: &str = include_str!("../../../../docs/operating/node.toml");

/// A key, something wrong, and a part of what is said of it.
const WRONG: &[(&str, &str, &str)] = &[
    (
        "pair",
        "\"ff\"",
        "32 hexadecimal digits, the same on both nodes; make one with `etherpair config identity`",
    ),
    ("node", "2", "must be a whole number from 0 to 1"),
    ("volumes_directory", "\"volumes\"", "must begin with /"),
    ("storage.interfaces", "[\"eth1/0\"]", "see `ip link`"),
    ("storage.interfaces", "[\"eth1\", \"eth1\"]", "remove one"),
    ("storage.port", "\"rnig\"", "write \"auto\" or \"ring\" or"),
    ("storage.virtual_macs", "\"yes\"", "must be true or false"),
    ("storage.slow_request", "\"1h\"", "write 500ms or 2s"),
    ("storage.slow_request", "\"0ms\"", "must be from 1ms to 600000ms"),
    ("peer.listen", "[]", "write for example listen = [\"10.0.0.1:8802\"]"),
    ("peer.addresses", "[\"10.7.0.2\"]", "write for example 192.168.7.1:8802"),
    ("peer.addresses", "[\"10.7.0.1:8802\"]", "name the peer's address"),
    ("peer.lease", "\"20s\"", "must be from 200ms to 10000ms"),
    ("peer.versions", "\"9\"", "write \"1-5\" or fewer of them"),
    ("peer.insecure", "false", "write insecure = true"),
    ("arbiter.witness.addresses", "\"10.7.0.3:8803\"", "must be a list of texts"),
    ("arbiter.witness.insecure", "1", "must be true or false"),
    ("arbiter.etcd.endpoints", "[\"etcd:2379\"]", "as http://10.0.0.3:2379"),
    ("arbiter.etcd.prefix", "\"/etherpair/\"", "write \"/etherpair\""),
    ("arbiter.etcd.insecure", "false", "write insecure = true"),
    ("admin.socket", "\"etherpair.sock\"", "must begin with /"),
    ("threads.count", "0", "must be a whole number from 1 to 256"),
    ("threads.cores", "\"2-1\"", "write numbers and ranges like 0,2-3"),
    ("threads.busy_poll_microseconds", "-1", "must be a whole number from 0 to 1000000"),
    ("threads.engine", "\"fast\"", "write \"auto\" or \"uring\" or \"threads\""),
    ("volume.address", "\"7\"", "7.1"),
    ("volume.data", "7", "must be text in quotes"),
    ("volume.metadata", "\"e7.1.meta\"", "must begin with /"),
    ("volume.metadata", "\"/srv/e7.1.img\"", "name two"),
    ("volume.identity", "\"ff\"", "`etherpair status --json` tells of the volume, or be left out"),
    ("volume.sector_size", "1024", "must be 512 or 4096"),
    ("volume.buffer_count", "1", "must be a whole number from 2 to 65535"),
    ("volume.durability", "\"disk\"", "write \"stable\" or \"memory\" or \"async\""),
    ("volume.async_server", "2", "must be a whole number from 0 to 1"),
    ("volume.async_lag", "\"1k\"", "write bytes from \"1M\" to \"1G\""),
    ("volume.resync_rate", "\"64k\"", "\"128k\" at least"),
    ("volume.resync_checksums", "\"yes\"", "must be true or false"),
    ("volume.masks", "[\"eth1\"]", "six hexadecimal bytes"),
];

/// The example with everything in it that is commented out, and where each key stands, from 1.
fn everything() -> (Vec<String>, Vec<(usize, String)>) {
    let (mut lines, mut keys, mut section) = (Vec::new(), Vec::new(), String::new());
    for (number, line) in (1..).zip(EXAMPLE.lines()) {
        let said = line.strip_prefix("# ").unwrap_or(line);
        let name = said.split_once(" = ").map(|(name, _)| name);
        let name = name.filter(|name| name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'));
        let is_section = said.starts_with('[') && said.ends_with(']');
        if is_section {
            section = said.trim_matches(['[', ']']).to_owned() + ".";
        }
        keys.extend(name.map(|name| (number, format!("{section}{name}"))));
        lines.push(if is_section || name.is_some() { said } else { line }.to_owned());
    }
    (lines, keys)
}

/// What is said of the example with this in the place of some values.
fn told(values: &[(&str, &str)]) -> Vec<String> {
    let (mut lines, keys) = everything();
    for (key, value) in values {
        let (number, key) = keys.iter().find(|(_, found)| found == key).expect("a key of the example");
        let (_, name) = key.rsplit_once('.').unwrap_or(("", key));
        lines[number - 1] = format!("{name} = {value}");
    }
    let error = NodeConfig::parse(Path::new("node.toml"), &lines.join("\n"));
    error.expect_err("two arbiters").to_string().lines().map(str::to_owned).collect()
}

#[test]
fn each_key_of_the_example_is_refused_with_line_and_cure_if_something_wrong_stands_there() {
    let (_, keys) = everything();
    let core = format!("\"{}\"", os::cpu::allowed_cores().first().expect("this one"));
    let usual = [("threads.cores", core.as_str()), ("volume.durability", "\"async\"")];
    let nothing_wrong = told(&usual);
    assert_eq!(nothing_wrong.len(), 1, "{nothing_wrong:?}");
    assert!(nothing_wrong[0].contains("`arbiter`: must have one of"), "{nothing_wrong:?}");
    for (key, wrong, cure) in WRONG {
        let (line, _) = keys.iter().find(|(_, found)| found == key).expect("a key of the example");
        let told = told(&[&usual[..], &[(key, wrong)]].concat());
        let place = format!("node.toml:{line}: `{key}`: ");
        let is_told = told.iter().any(|told| told.starts_with(&place) && told.contains(cure));
        assert!(is_told, "{place}{cure} in {told:?}");
    }
    let named: BTreeSet<&str> = keys.iter().map(|(_, key)| key.as_str()).collect();
    let tried: BTreeSet<&str> = WRONG.iter().map(|(key, ..)| *key).collect();
    assert_eq!(named, tried, "a key of the example that nobody has tried");
}
