//! The peer protocol. No stream panics; what is accepted means the same after `emit` and the decoder; what is emitted
//! depends on the meaning alone, never on what the buffer held before.

use block::SECTOR_BYTES;
use replication::identity::PairIdentity;
use replication::membership::NodeNumber;
use replication::message::{Hello, Message, VolumeMessage};
use replication::version::{HISTORY, Version, VersionRange};
use replication::wire::preamble::{PREAMBLE_BYTES, Preamble};
use replication::wire::{
    BODY_BYTES_MAX, DATA_BYTES_MAX, Data, Decoder, HEADER_BYTES, MESSAGE_BYTES_MAX, Need, WireError, emit,
};

/// Any bytes as a stream, from its beginning and in the middle of a session.
pub fn peer_stream(data: &[u8]) {
    let at_the_beginning = Decoder::new(DATA_BYTES_MAX, VersionRange::ALL);
    let in_sessions = HISTORY.map(|(version, _)| in_session(version));
    for mut decoder in in_sessions.into_iter().chain([at_the_beginning]) {
        let messages = decode(&mut decoder, data);
        if let Err(error) = &messages {
            assert!(!error.to_string().contains('\n'), "one line: {error}");
            assert_eq!(decoder.head(&[0; HEADER_BYTES]), Err(*error), "a stream does not recover");
        }
    }
}

/// A body of any kind under checksums that fit: the kind, whether the data is as long as the range says, the body.
pub fn peer_body(data: &[u8]) {
    for (version, _) in HISTORY {
        body_in(version, data);
    }
}

fn body_in(session: Version, data: &[u8]) {
    let Some((&[kind, with_data], body)) = data.split_first_chunk() else { return };
    let version = if kind < 3 { 0 } else { session.number() };
    let body = &body[..body.len().min(BODY_BYTES_MAX)];
    let sectors = match body.get(16..18) {
        // Long data tells nothing that short data does not, and takes its time.
        Some(&[count, 0]) if with_data % 2 == 1 && count <= 64 => u32::from(count),
        _ => 0,
    };
    let mut message = [0; HEADER_BYTES].to_vec();
    message[..4].copy_from_slice(b"EP\r\n");
    message[4..6].copy_from_slice(&version.to_le_bytes());
    message[6] = kind;
    message[12..16].copy_from_slice(&u32::try_from(body.len()).expect("bounded").to_le_bytes());
    message[16..20].copy_from_slice(&(sectors * 512).to_le_bytes());
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&message[..28]);
    hasher.update(body);
    message[28..32].copy_from_slice(&hasher.finalize().to_le_bytes());
    message.extend_from_slice(body);
    message.resize(message.len() + usize::try_from(sectors).expect("few") * SECTOR_BYTES, 0x5a);
    if let Ok(messages) = decode(&mut in_session(session), &message) {
        assert_eq!(messages.len(), 1, "one message, whole");
    }
}

/// Past the beginning.
fn in_session(version: Version) -> Decoder {
    let versions = VersionRange::of(version, version);
    let hello = Message::Hello(Hello {
        versions,
        pair: PairIdentity(1),
        node: NodeNumber::One,
        incarnation: 2,
        lease_milliseconds: 1000,
    });
    let mut decoder = Decoder::new(DATA_BYTES_MAX, VersionRange::ALL);
    let mut bytes = [0; MESSAGE_BYTES_MAX];
    let length = emit(version, &hello, Data::NONE, &mut bytes);
    assert_eq!(feed(&mut decoder, &bytes[..length]), Ok(vec![(hello, 0, version)]));
    decoder
}

/// Every message of a stream, each of which must come out the same when it is sent on in a session of the same version.
fn decode(decoder: &mut Decoder, stream: &[u8]) -> Result<Vec<Message>, WireError> {
    let messages = feed(decoder, stream)?;
    for (message, data_bytes, version) in &messages {
        let data = vec![0xa5; *data_bytes];
        let emitted = [0x00, 0xff].map(|before| {
            let mut bytes = vec![before; MESSAGE_BYTES_MAX];
            let length = emit(*version, message, Data::checked(&data), &mut bytes);
            bytes.truncate(length);
            bytes.extend(&data);
            bytes
        });
        assert_eq!(emitted[0], emitted[1], "old bytes of the buffer show in the message");
        let again = feed(&mut in_session(*version), &emitted[0]);
        let again = again.map(|mut messages| messages.pop().map(|(message, bytes, _)| (message, bytes)));
        assert_eq!(again, Ok(Some((message.clone(), *data_bytes))));
    }
    Ok(messages.into_iter().map(|(message, ..)| message).collect())
}

/// Messages, how much data each had, and in which version they could be said.
fn feed(decoder: &mut Decoder, mut stream: &[u8]) -> Result<Vec<(Message, usize, Version)>, WireError> {
    let mut messages = Vec::new();
    let mut data_bytes = 0;
    loop {
        let need = decoder.need();
        let wanted = match need {
            Need::Head => HEADER_BYTES,
            Need::Body(bytes) => bytes,
            Need::Data(left) => left.min(4096),
        };
        let Some((piece, rest)) = stream.split_at_checked(wanted) else { return Ok(messages) };
        stream = rest;
        let message = match need {
            Need::Head => decoder.head(piece.try_into().expect("a head"))?,
            Need::Body(_) => decoder.body(piece)?,
            Need::Data(_) => {
                data_bytes += wanted;
                decoder.data(piece)?
            }
        };
        if let Some(message) = message {
            let fetched =
                matches!(message, Message::Volume(_, VolumeMessage::Fetched { result: Ok(()), .. }));
            assert!(fetched || data_bytes == range_bytes(&message), "data as the message says");
            let version = decoder.version().unwrap_or(Version::NEWEST);
            messages.push((message, std::mem::take(&mut data_bytes), version));
        }
    }
}

fn range_bytes(message: &Message) -> usize {
    match message {
        Message::Volume(_, message) => message.data_bytes().unwrap_or(0),
        _ => 0,
    }
}

/// What comes first on the peer port: no bytes panic, what is accepted means the same after its own bytes, and every fault
/// is told in one line.
pub fn peer_preamble(data: &[u8]) {
    let Some(bytes) = data.first_chunk::<PREAMBLE_BYTES>() else { return };
    match Preamble::parse(bytes) {
        Ok(preamble) => assert_eq!(Preamble::parse(&preamble.emit()), Ok(preamble)),
        Err(error) => {
            let line = error.to_string();
            assert!(!line.contains('\n'), "one line: {line:?}");
        }
    }
}
