//! What the operator of a pair does: commands for the daemons, what they say of the volume, and waiting until that is as wanted.

use super::{PATIENCE, Pair};
use crate::{Error, Program, error::tail, wait_until};
use serde_json::{Value, json};
use std::{
    fs::File,
    io::{BufReader, Read},
    time::Duration,
};

/// How much of the nodes' logs an error shows.
const TAIL_LINES: usize = 80;
/// Copies are compared piece by piece.
const PIECE: usize = 1 << 20;

/// Whether a volume is served by its node alone.
pub fn is_alone(volume: &Value) -> bool {
    volume["phase"] == "Alone" && volume["serving"] == true
}

/// Whether both nodes are members, serve, and nothing is out of sync.
pub fn is_whole(volume: &Value) -> bool {
    volume["replication"] == "Established"
        && volume["members"] == json!([0, 1])
        && volume["out_of_sync_bytes"] == 0
        && volume["serving"] == true
}

impl Pair {
    /// A command for the daemon of a node.
    pub fn command_program(&self, node: usize, arguments: &str) -> Program {
        let program = Program::new(&self.command).args(arguments.split_whitespace()).arg("--socket");
        program.arg(self.directory(node).join("socket")).within(PATIENCE)
    }

    /// Gives the daemon of a node a command, which must succeed; what it said.
    pub fn command(&self, node: usize, arguments: &str) -> Result<String, Error> {
        Ok(self.command_program(node, arguments).run()?.stdout)
    }

    /// What a node says of itself.
    pub fn status(&self, node: usize) -> Result<Value, Error> {
        let text = self.command(node, "status --json")?;
        serde_json::from_str(&text).map_err(|error| Error::Unexpected {
            program: "etherpair status".into(),
            detail: format!("{error}: {text}"),
        })
    }

    /// What a node says of its first volume.
    pub fn volume(&self, node: usize) -> Result<Value, Error> {
        // None yet while its daemon starts.
        Ok(self.status(node)?["volumes"].get(0).cloned().unwrap_or_default())
    }

    /// Waits until what is asked of the pair is so. The error tells what the nodes have said.
    pub fn wait_for_pair<T>(
        &self,
        what: &str,
        limit: Duration,
        is_so: impl FnMut() -> Result<Option<T>, Error>,
    ) -> Result<T, Error> {
        wait_until(what, limit, is_so).map_err(|error| match error {
            Error::Timeout { expected, waited, .. } => {
                let said = [0, 1].map(|node| self.volume(node).unwrap_or_default());
                let output = format!("{}\n{}\n{}", said[0], said[1], tail(&self.logs(), TAIL_LINES));
                Error::Timeout { expected, waited, output }
            }
            other => other,
        })
    }

    /// Waits until the first volume of a node is as wanted.
    pub fn wait_for(&self, node: usize, what: &str, is_so: impl Fn(&Value) -> bool) -> Result<(), Error> {
        let what = format!("node {node} {what}");
        self.wait_for_pair(&what, PATIENCE, || Ok(is_so(&self.volume(node)?).then_some(())))
    }

    /// Waits until a node serves alone.
    pub fn wait_until_alone(&self, node: usize) -> Result<(), Error> {
        self.wait_for(node, "alone", is_alone)
    }

    /// Waits until a node answers at its own address.
    pub fn wait_until_serving(&self, node: usize) -> Result<(), Error> {
        self.wait_for(node, "serving", |volume| volume["serving"] == true)
    }

    /// Waits until both nodes are members and serve equal copies.
    pub fn wait_until_in_sync(&self) -> Result<(), Error> {
        self.wait_until_in_sync_within(PATIENCE)
    }

    /// The same, where much is to be copied beside much load.
    pub fn wait_until_in_sync_within(&self, limit: Duration) -> Result<(), Error> {
        self.wait_for_pair("a pair in sync", limit, || {
            Ok((is_whole(&self.volume(0)?) && is_whole(&self.volume(1)?)).then_some(()))
        })
    }

    /// Over which of the wires between the nodes (0 and 1) their stream stands, once it does.
    pub fn wait_until_connected(&self) -> Result<usize, Error> {
        self.wait_for_pair("a stream between the nodes", PATIENCE, || {
            // Node 1 is the one that connects, and knows to which address.
            let link = &self.status(1)?["links"][0];
            let is_it = |wire: &usize| link["address"] == *Self::peer_address(0, *wire);
            Ok((0..2).find(is_it).filter(|_| link["connection"] == "Connected"))
        })
    }

    /// Waits until the stream between the nodes stands over that wire.
    pub fn wait_until_connected_over(&self, wire: usize) -> Result<(), Error> {
        self.wait_for_pair(&format!("a stream over wire {wire}"), PATIENCE, || {
            Ok((self.wait_until_connected()? == wire).then_some(()))
        })
    }

    /// Which node serves alone, once one of them does.
    pub fn wait_for_winner(&self) -> Result<usize, Error> {
        self.wait_for_pair("one of the nodes alone", PATIENCE, || {
            for node in 0..2 {
                if is_alone(&self.volume(node)?) {
                    return Ok(Some(node));
                }
            }
            Ok(None)
        })
    }

    /// Where the copies of volume 7.1 differ first, in bytes from the beginning; none if they are equal.
    pub fn copies_differ_at(&self) -> Result<Option<u64>, Error> {
        let open = |node: usize| {
            let path = self.image(node);
            File::open(&path).map_err(Error::system(format!("open {}", path.display())))
        };
        differ_at(open(0)?, open(1)?).map_err(Error::system("compare the copies"))
    }

    /// Whether the data of both copies of volume 7.1 are equal, byte for byte.
    pub fn copies_are_equal(&self) -> Result<bool, Error> {
        Ok(self.copies_differ_at()?.is_none())
    }
}

/// The first byte in which two streams differ; one that ends first differs there.
fn differ_at(one: impl Read, other: impl Read) -> std::io::Result<Option<u64>> {
    let mut readers = (BufReader::with_capacity(PIECE, one), BufReader::with_capacity(PIECE, other));
    let mut at = 0;
    let mut bytes = [vec![0; PIECE], vec![0; PIECE]];
    loop {
        let lengths =
            [read_piece(&mut readers.0, &mut bytes[0])?, read_piece(&mut readers.1, &mut bytes[1])?];
        let common = lengths[0].min(lengths[1]);
        if bytes[0][..common] != bytes[1][..common] {
            let equal = bytes[0].iter().zip(&bytes[1]).take_while(|(one, other)| one == other).count();
            return Ok(Some(at + equal as u64));
        }
        at += common as u64;
        if lengths[0] != lengths[1] {
            return Ok(Some(at));
        }
        if common < PIECE {
            return Ok(None);
        }
    }
}

/// Reads until the piece is full or the stream ends.
fn read_piece(reader: &mut impl Read, piece: &mut [u8]) -> std::io::Result<usize> {
    let mut filled = 0;
    while filled < piece.len() {
        match reader.read(&mut piece[filled..])? {
            0 => break,
            count => filled += count,
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_that_differs_and_an_end_that_comes_first_are_found() {
        let whole = vec![7_u8; 3 * PIECE + 100];
        let differ = |other: &[u8]| differ_at(&whole[..], other).expect("memory can be read");
        assert_eq!(differ(&whole), None);
        for place in [0, PIECE - 1, PIECE, 3 * PIECE + 99] {
            let mut other = whole.clone();
            other[place] ^= 1;
            assert_eq!(differ(&other), Some(place as u64));
        }
        assert_eq!(differ(&whole[..2 * PIECE]), Some(2 * PIECE as u64));
        assert_eq!(differ(&[]), Some(0));
    }

    #[test]
    fn a_pair_is_whole_only_if_everything_says_so() {
        let whole = json!({"phase": "Mirrored", "replication": "Established", "members": [0, 1],
                           "out_of_sync_bytes": 0, "serving": true});
        assert!(is_whole(&whole) && !is_alone(&whole));
        for (key, other) in [
            ("replication", json!("SyncSource")),
            ("members", json!([0])),
            ("out_of_sync_bytes", json!(4096)),
            ("serving", json!(false)),
        ] {
            let mut volume = whole.clone();
            volume[key] = other;
            assert!(!is_whole(&volume), "{key}");
        }
    }
}
