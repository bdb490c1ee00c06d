//! The messages of [`crate::message`] as bytes, and the bytes of a stream as messages (`docs/peer-protocol.md`).
//!
//! Read in this order: [`header`] (the shape of every message), [`crate::version`], [`decoder`], then the bodies: `session`,
//! `meeting`, `write` (also what reads say), `compare`, `small_state`. Each body has its fields' places in one module, a
//! checked view, `emit` and `parse`. All numbers are little-endian; what is not used is emitted as zero and ignored.
//!
//! It decides nothing about what a message is answered with, and whether it fits the session. No bytes make it panic.
//! Emission cannot fail: a buffer that is too small, data that is not the message's, or a kind that the version
//! does not have, is our own fault.

mod compare;
pub mod decoder;
mod error;
mod handed;
pub mod header;
mod meeting;
pub mod preamble;
mod session;
mod small_state;
mod view;
mod write;

use block::{ExportId, SECTOR_BYTES, SectorCount};

pub use decoder::{Decoder, Need};
pub use error::WireError;
pub use header::{Data, HEADER_BYTES, Kind};
pub use session::TOLD_BY_PEER;

use crate::limits::{DOUBTFUL_PER_MESSAGE, NUMBERS_PER_MESSAGE, RUNS_PER_MESSAGE};
use crate::links::Interfaces;
use crate::message::{Message, Token, VolumeMessage};
use crate::version::Version;
use compare::{Digest, Verified};
use header::Header;
use meeting::ResizeAnswer;
use view::{Body, View};
use write::{Ack, Done, Sectors, Write};

/// Longest message without its data: two pages.
pub const MESSAGE_BYTES_MAX: usize = 8192;
/// Longest body.
pub const BODY_BYTES_MAX: usize = MESSAGE_BYTES_MAX - HEADER_BYTES;
/// Most data a message can have: as many sectors as a range.
pub const DATA_BYTES_MAX: usize = SectorCount(u16::MAX).bytes();

/// How much data follows a message.
enum DataRule {
    Exactly(usize),
    /// An answer to a question that this side remembers.
    WholeSectors,
}

impl DataRule {
    fn of(message: &Message) -> Self {
        match message {
            Message::Volume(_, VolumeMessage::Fetched { result: Ok(()), .. }) => Self::WholeSectors,
            Message::Volume(_, message) => Self::Exactly(message.data_bytes().unwrap_or(0)),
            _ => Self::Exactly(0),
        }
    }

    fn allows(&self, bytes: usize) -> bool {
        match self {
            Self::Exactly(exactly) => bytes == *exactly,
            Self::WholeSectors => bytes > 0 && bytes <= DATA_BYTES_MAX && bytes.is_multiple_of(SECTOR_BYTES),
        }
    }
}

/// Writes a message without its data, which is sent right after it, as it is in sessions of that version, and says how long it
/// is. Nothing is allocated. `Hello` and `Goodbye` are the same in all versions.
///
/// # Panics
/// If `data` is not what the message says, a list longer than its limit, a range empty, or `message_bytes` too short:
/// [`MESSAGE_BYTES_MAX`] is always enough.
pub fn emit(version: Version, message: &Message, data: Data, message_bytes: &mut [u8]) -> usize {
    let bytes = usize::try_from(data.bytes).expect("32 bits");
    assert!(DataRule::of(message).allows(bytes), "the data of this message");
    let body = &mut message_bytes[HEADER_BYTES..];
    let (volume, (kind, length)) = match message {
        Message::Hello(hello) => (0, (Kind::Hello, hello.emit(body))),
        Message::Goodbye(refusal) => (0, (Kind::Goodbye, refusal.emit(body))),
        Message::Renew { number } => (0, (Kind::Renew, number.emit(body))),
        Message::Granted { number } => (0, (Kind::Granted, number.emit(body))),
        Message::Announce(announce) => (0, (Kind::Announce, announce.emit(body))),
        Message::LinksDown(down) => (0, (Kind::LinksDown, down.bits().emit(body))),
        Message::Volume(export, message) => (export.0, emit_body(version, message, body)),
    };
    Header::emit(version, kind, volume, length, data, message_bytes)
}

fn emit_body(version: Version, message: &VolumeMessage, body: &mut [u8]) -> (Kind, usize) {
    use VolumeMessage as V;
    match *message {
        V::OutOfSync(ref runs) => (Kind::OutOfSync, runs.emit(body)),
        V::Doubtful(ref writes) => (Kind::Doubtful, writes.emit(body)),
        V::Numbers(ref windows) => (Kind::Numbers, windows.emit(body)),
        V::Offer(offer) => (Kind::Offer, offer.emit(body)),
        V::Proceed(membership) => (Kind::Proceed, membership.emit(body)),
        V::Ready => (Kind::Ready, 0),
        V::Replicate { write: token, range, durable, origin } => {
            (Kind::Replicate, Write { token, range, durable, origin }.emit(body))
        }
        V::Ack { write, follower, microseconds } => {
            (Kind::Ack, Ack { write, follower, microseconds }.emit_in(version, body))
        }
        V::Commit { follower } => (Kind::Commit, follower.emit(body)),
        V::Fetch { read: token, range } => (Kind::Fetch, Sectors { token, range }.emit(body)),
        V::Fetched { read: token, result } => (Kind::Fetched, Done { token, result }.emit(body)),
        V::Copy { copy: token, range } => (Kind::Copy, Sectors { token, range }.emit(body)),
        V::CopyDigest { copy: token, range, digest } => {
            (Kind::CopyDigest, Digest { token, range, digest }.emit(body))
        }
        V::Copied { copy } => (Kind::Copied, copy.emit(body)),
        V::CopyYielded { copy } => (Kind::CopyYielded, copy.emit(body)),
        V::CopyDiffers { copy } => (Kind::CopyDiffers, copy.emit(body)),
        V::Missing { range } => (Kind::Missing, Sectors { token: Token(0), range }.emit(body)),
        V::Verify { verify: token, range, digest } => {
            (Kind::Verify, Digest { token, range, digest }.emit(body))
        }
        V::Verified { verify: token, equal } => (Kind::Verified, Verified { token, equal }.emit(body)),
        V::Member(membership) => (Kind::Member, membership.emit(body)),
        V::MemberKnown(membership) => (Kind::MemberKnown, membership.emit(body)),
        V::Leave => (Kind::Leave, 0),
        V::DiskFailed => (Kind::DiskFailed, 0),
        V::GivenBack => (Kind::GivenBack, 0),
        V::Handed(handed) => (Kind::Handed, handed.emit(body)),
        V::Resize { sectors } => (Kind::Resize, sectors.emit(body)),
        V::ResizeAnswered { sectors, agreed } => {
            (Kind::ResizeAnswered, ResizeAnswer { sectors, agreed }.emit(body))
        }
        V::Flush { flush } => (Kind::Flush, flush.emit(body)),
        V::Flushed { flush } => (Kind::Flushed, flush.emit(body)),
        V::SmallState(ref state) => (Kind::SmallState, state.emit(body)),
        V::SmallStateKnown { revision } => (Kind::SmallStateKnown, revision.emit(body)),
    }
}

/// The message of a session of that version with that body, whose checksum fits.
fn parse(version: Version, kind: Kind, volume: u32, body: &[u8]) -> Result<Message, WireError> {
    let view = View::new(kind, body);
    match kind {
        Kind::Hello => Body::parse(view).map(Message::Hello),
        Kind::Goodbye => Body::parse(view).map(Message::Goodbye),
        Kind::Renew => Ok(Message::Renew { number: Body::parse(view)? }),
        Kind::Granted => Ok(Message::Granted { number: Body::parse(view)? }),
        Kind::Announce => Body::parse(view).map(Message::Announce),
        Kind::LinksDown => Ok(Message::LinksDown(Interfaces::of_bits(Body::parse(view)?))),
        _ => Ok(Message::Volume(ExportId(volume), parse_body(version, kind, view)?)),
    }
}

fn parse_body(version: Version, kind: Kind, view: View<'_>) -> Result<VolumeMessage, WireError> {
    use VolumeMessage as V;
    Ok(match kind {
        Kind::OutOfSync => V::OutOfSync(Body::parse(view)?),
        Kind::Doubtful => V::Doubtful(Body::parse(view)?),
        Kind::Numbers => V::Numbers(Body::parse(view)?),
        Kind::Offer => V::Offer(Body::parse(view)?),
        Kind::Proceed => V::Proceed(Body::parse(view)?),
        Kind::Ready => <()>::parse(view).map(|()| V::Ready)?,
        Kind::Replicate => {
            let Write { token, range, durable, origin } = Body::parse(view)?;
            V::Replicate { write: token, range, durable, origin }
        }
        Kind::Ack => {
            let Ack { write, follower, microseconds } = Ack::parse_in(version, view)?;
            V::Ack { write, follower, microseconds }
        }
        Kind::Commit => V::Commit { follower: Body::parse(view)? },
        Kind::Fetch => {
            let Sectors { token, range } = Body::parse(view)?;
            V::Fetch { read: token, range }
        }
        Kind::Fetched => {
            let Done { token, result } = Body::parse(view)?;
            V::Fetched { read: token, result }
        }
        Kind::Copy => {
            let Sectors { token, range } = Body::parse(view)?;
            V::Copy { copy: token, range }
        }
        Kind::CopyDigest => {
            let Digest { token, range, digest } = Body::parse(view)?;
            V::CopyDigest { copy: token, range, digest }
        }
        Kind::Copied => V::Copied { copy: Body::parse(view)? },
        Kind::CopyYielded => V::CopyYielded { copy: Body::parse(view)? },
        Kind::CopyDiffers => V::CopyDiffers { copy: Body::parse(view)? },
        Kind::Missing => V::Missing { range: Sectors::parse(view)?.range },
        Kind::Verify => {
            let Digest { token, range, digest } = Body::parse(view)?;
            V::Verify { verify: token, range, digest }
        }
        Kind::Verified => {
            let Verified { token, equal } = Body::parse(view)?;
            V::Verified { verify: token, equal }
        }
        Kind::Member => V::Member(Body::parse(view)?),
        Kind::MemberKnown => V::MemberKnown(Body::parse(view)?),
        Kind::Leave => <()>::parse(view).map(|()| V::Leave)?,
        Kind::DiskFailed => <()>::parse(view).map(|()| V::DiskFailed)?,
        Kind::GivenBack => <()>::parse(view).map(|()| V::GivenBack)?,
        Kind::Handed => V::Handed(Body::parse(view)?),
        Kind::Resize => V::Resize { sectors: Body::parse(view)? },
        Kind::ResizeAnswered => {
            let ResizeAnswer { sectors, agreed } = Body::parse(view)?;
            V::ResizeAnswered { sectors, agreed }
        }
        Kind::Flush => V::Flush { flush: Body::parse(view)? },
        Kind::Flushed => V::Flushed { flush: Body::parse(view)? },
        Kind::SmallState => V::SmallState(Body::parse(view)?),
        Kind::SmallStateKnown => V::SmallStateKnown { revision: Body::parse(view)? },
        Kind::Hello | Kind::Goodbye | Kind::Renew | Kind::Granted | Kind::Announce | Kind::LinksDown => {
            unreachable!("no volume's: {kind}")
        }
    })
}

const _: () = {
    assert!(RUNS_PER_MESSAGE * 16 <= BODY_BYTES_MAX && DOUBTFUL_PER_MESSAGE * 40 <= BODY_BYTES_MAX);
    assert!(NUMBERS_PER_MESSAGE * meeting::WINDOW_BYTES <= BODY_BYTES_MAX);
    assert!(small_state::BYTES_MAX <= BODY_BYTES_MAX);
    assert!(DATA_BYTES_MAX <= u32::MAX as usize, "as the head counts it");
};
