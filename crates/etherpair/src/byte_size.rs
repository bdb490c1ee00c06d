//! Sizes as operators write them: `512`, `64k`, `10G`, `1.5T` is not one. Suffixes are powers of 1024.

/// The number of bytes that `text` means.
///
/// # Errors
/// If it is no number with at most one suffix, or does not fit.
pub(crate) fn parse(text: &str) -> Result<u64, String> {
    let refused =
        || format!("`{text}` is not a size; write bytes like 4096, or with a suffix: 64k, 512M, 10G, 2T");
    let (number, unit) = match text.as_bytes().last() {
        Some(b'k' | b'K') => (&text[..text.len() - 1], 1 << 10),
        Some(b'm' | b'M') => (&text[..text.len() - 1], 1 << 20),
        Some(b'g' | b'G') => (&text[..text.len() - 1], 1 << 30),
        Some(b't' | b'T') => (&text[..text.len() - 1], 1_u64 << 40),
        _ => (text, 1),
    };
    if number.is_empty() || !number.bytes().all(|digit| digit.is_ascii_digit()) {
        return Err(refused());
    }
    number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit)).ok_or_else(refused)
}

/// `bytes` for people: three figures and a binary unit.
pub(crate) fn display(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1 << 10 {
        return format!("{bytes} B");
    }
    #[expect(clippy::cast_precision_loss, reason = "three figures are shown")]
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_and_without_suffix() {
        assert_eq!(parse("0"), Ok(0));
        assert_eq!(parse("4096"), Ok(4096));
        assert_eq!(parse("64k"), Ok(65_536));
        assert_eq!(parse("10G"), Ok(10 << 30));
        assert_eq!(parse("2T"), Ok(2 << 40));
    }

    #[test]
    fn what_is_no_size_is_named_in_the_error() {
        for text in
            ["", "k", "-1", "+1", "1.5G", "10 G", "10GG", "10GiB", "é", "99999999999999999999", "99999999T"]
        {
            assert!(parse(text).expect_err("no size").contains(&format!("`{text}`")), "{text}");
        }
    }

    #[test]
    fn sizes_are_shown_in_the_largest_unit() {
        assert_eq!(display(512), "512 B");
        assert_eq!(display(10 << 30), "10.0 GiB");
        assert_eq!(display(1536), "1.5 KiB");
    }
}
