//! What values in configuration files look like: addresses, paths, identities, sizes, times.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use aoe::{Address, MacAddress};
use block::Duration;
use replication::version::VersionRange;

use super::reader::{Placed, Reader, Section};

/// `192.168.7.1:8802`, `[fd00::1]:8802`.
pub(crate) fn socket_address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        format!(
            "`{text}` is not an IP address with a port; write for example 192.168.7.1:8802 or [fd00::1]:8802"
        )
    })
}

/// A path from the root: a daemon's working directory is nobody's guess.
pub(crate) fn absolute_path(text: &str) -> Result<PathBuf, String> {
    let path = Path::new(text);
    if path.is_absolute() { Ok(path.to_owned()) } else { Err(format!("`{text}` must begin with /")) }
}

/// 32 hexadecimal digits.
pub(crate) fn identity(text: &str) -> Result<u128, String> {
    hexadecimal(text).ok_or_else(|| {
        "must be 32 hexadecimal digits, the same on both nodes; make one with `etherpair config identity`"
            .to_owned()
    })
}

/// The same of a volume, which nobody makes up.
pub(crate) fn volume_identity(text: &str) -> Result<u128, String> {
    hexadecimal(text).ok_or_else(|| {
        "must be the 32 hexadecimal digits that `etherpair status --json` tells of the volume, or be left out".to_owned()
    })
}

fn hexadecimal(text: &str) -> Option<u128> {
    let is_hex = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let number = is_hex.then(|| u128::from_str_radix(text, 16).ok()).flatten();
    number.filter(|number| *number != 0)
}

/// `7.1`.
pub(crate) fn address(text: &str) -> Result<Address, String> {
    Address::from_str(text).map_err(|error| error.to_string())
}

/// `1000ms`, `1s`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let refused = || format!("`{text}` is not a time; write 500ms or 2s");
    let (number, unit) = match (text.strip_suffix("ms"), text.strip_suffix('s')) {
        (Some(number), _) => (number, 1),
        (None, Some(number)) => (number, 1000),
        (None, None) => return Err(refused()),
    };
    let number: u64 = number.parse().map_err(|_| refused())?;
    number.checked_mul(unit).map(Duration::from_millis).ok_or_else(refused)
}

/// `02:00:5e:10:00:01`, of one host.
pub(crate) fn host(text: &str) -> Result<MacAddress, String> {
    let mac: MacAddress = text.parse().map_err(|error: aoe::MacAddressError| error.to_string())?;
    if mac.is_multicast() {
        return Err(format!(
            "`{text}` is the address of a group, and nobody sends from it; write that of an initiator's interface"
        ));
    }
    Ok(mac)
}

/// `1`, `1-2`: versions of the peer protocol, out of those that this program speaks.
pub(crate) fn versions(text: &str) -> Result<VersionRange, String> {
    let (oldest, newest) = text.split_once('-').unwrap_or((text, text));
    let range = oldest.trim().parse().ok().zip(newest.trim().parse().ok());
    let range = range.map(|(oldest, newest)| VersionRange { oldest, newest });
    range.filter(|range| range.is_range() && VersionRange::ALL.includes(*range)).ok_or_else(|| {
        let VersionRange { oldest, newest } = VersionRange::ALL;
        format!("`{text}` are no versions of the peer protocol that this program speaks; write \"{oldest}-{newest}\" or fewer of them")
    })
}

/// The same, neither shorter nor longer than sensible.
pub(crate) fn duration_within(text: &str, min: Duration, max: Duration) -> Result<Duration, String> {
    let duration = duration(text)?;
    if duration < min || duration > max {
        return Err(format!("must be from {}ms to {}ms", min.as_millis(), max.as_millis()));
    }
    Ok(duration)
}

/// The values without their places.
pub(crate) fn all<T>(list: Vec<Placed<T>>) -> Vec<T> {
    list.into_iter().map(|placed| placed.value).collect()
}

/// One of a few words.
pub(crate) fn one_of<T: Copy>(text: &str, words: &[(&str, T)]) -> Result<T, String> {
    let found = words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
    found.ok_or_else(|| {
        let words: Vec<String> = words.iter().map(|(word, _)| format!("\"{word}\"")).collect();
        format!("`{text}` is not known; write {}", words.join(" or "))
    })
}

/// Refuses what stands in a list twice.
pub(crate) fn refuse_twice<T: PartialEq>(reader: &Reader<'_>, list: &[Placed<T>]) {
    for (index, item) in list.iter().enumerate() {
        if list[..index].iter().any(|earlier| earlier.value == item.value) {
            reader.refuse(item, "stands there twice; remove one");
        }
    }
}

/// Links are not encrypted yet, and whoever runs them so has to say that he knows.
pub(crate) fn demand_insecure(reader: &Reader<'_>, section: &Section<'_, '_>) {
    let why = "links are neither authenticated nor encrypted yet (TLS is to come): whoever reaches the port can have a node \
               shut out; use a network of their own and write insecure = true";
    match section.flag("insecure") {
        Some(flag) if flag.value => {}
        Some(flag) => reader.refuse(&flag, why),
        None => reader.refuse(&section.place().named("insecure"), format!("is missing: {why}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_what_they_look_like() {
        assert_eq!(duration("1s"), Ok(Duration::from_millis(1000)));
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(identity("000000000000000000000000000000ff"), Ok(255));
        assert_eq!(one_of("b", &[("a", 1), ("b", 2)]), Ok(2));
        assert!(socket_address("[::1]:5").is_ok() && absolute_path("/x").is_ok());
        assert_eq!(host("02:00:00:00:00:01"), Ok(MacAddress([2, 0, 0, 0, 0, 1])));
        assert_eq!(
            (versions("1-5"), versions("1")),
            (Ok(VersionRange::ALL), Ok(VersionRange { oldest: 1, newest: 1 }))
        );
    }

    #[test]
    fn what_is_none_is_named_with_the_cure() {
        assert!(duration("1 s").expect_err("no time").contains("500ms"));
        assert!(identity("ff").expect_err("too short").contains("etherpair config identity"));
        assert!(identity(&"0".repeat(32)).is_err(), "nobody");
        assert!(one_of("c", &[("a", 1), ("b", 2)]).expect_err("no word").contains("\"a\" or \"b\""));
        assert!(host("02-00").expect_err("no address").contains("six hexadecimal bytes"));
        assert!(host("ff:ff:ff:ff:ff:ff").expect_err("everybody").contains("of a group"));
        for wrong in ["0", "2-1", "1-99", "new", "-1"] {
            assert!(versions(wrong).expect_err("no versions").contains("\"1-5\""), "{wrong}");
        }
        assert!(socket_address("host:5").is_err() && absolute_path("x/y").is_err());
    }
}
