//! Waiting for a condition of the real world. Nothing in the laboratory waits for a fixed time.

use crate::Error;
use std::time::{Duration, Instant};

/// How often a condition is looked at: short beside anything that is waited for, long beside what looking costs.
const INTERVAL: Duration = Duration::from_millis(5);

/// Waits until `condition` gives a value. After `limit` it fails, naming `expected`.
pub fn wait_until<T>(
    expected: &str,
    limit: Duration,
    mut condition: impl FnMut() -> Result<Option<T>, Error>,
) -> Result<T, Error> {
    let start = Instant::now();
    loop {
        if let Some(value) = condition()? {
            return Ok(value);
        }
        if start.elapsed() > limit {
            let output = "(nothing)".into();
            return Err(Error::Timeout { expected: expected.into(), waited: limit, output });
        }
        std::thread::sleep(INTERVAL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_that_never_holds_is_named_in_the_error() {
        let error =
            wait_until::<()>("the moon", Duration::from_millis(20), || Ok(None)).expect_err("never true");
        assert!(error.to_string().contains("the moon did not come within 20ms"), "{error}");
    }
}
