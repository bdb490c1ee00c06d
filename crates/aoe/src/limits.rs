//! Every limit of the protocol with its reason, and what must hold between them, checked when this compiles.

use block::{Duration, SECTOR_BYTES, SectorCount};

/// Shortest Ethernet frame, without its checksum. Cards pad to it; veth, tap and packet sockets do not, and tools
/// such as aoeping ignore anything shorter, so whoever emits a frame pads it.
pub const FRAME_BYTES_MIN: usize = 60;

/// Ethernet addresses and type: what an interface's MTU does not count.
pub const ETHERNET_BYTES: usize = 14;

/// Where the argument of every command begins (Ethernet included).
pub const ARGUMENT_OFFSET: usize = 24;

/// Where the data of an ATA command begins.
pub const PAYLOAD_OFFSET: usize = 36;

/// Longest config string (AoEr11 §3.2).
pub const CONFIG_STRING_BYTES_MAX: usize = 1024;

/// Entries in a MAC mask list: its count is one byte on the wire.
pub const MAC_MASK_MAX: usize = 255;

/// Hosts in a reservation: its count is one byte on the wire.
pub const RESERVATION_MAX: usize = 255;

/// Entries that clients may put on a MAC mask list: the answer, which holds all of them, still fits an MTU of 1500.
pub const MAC_MASK_EDITED_MAX: usize = 184;

/// Hosts that clients may reserve for: likewise.
pub const RESERVATION_SET_MAX: usize = 247;

/// A frame older than this when its turn comes is dropped. Stock initiators ask again long before, so an older frame
/// is a duplicate of something that was done, or that its sender has given up.
pub const FRAME_AGE_MAX: Duration = Duration::from_secs(1);

/// An answer that has not left so long after it was made is not sent: to its initiator it is one that the wire has lost, which every
/// rule allows. A write is remembered from when its answer was made, and its initiator may send it again until it has that.
pub const ANSWER_AGE_MAX: Duration = Duration::from_millis(250);

/// How long after a write was answered a duplicate of it may still come in by an interface: the network holds no
/// frame longer.
pub const DUPLICATE_WINDOW: Duration = Duration::from_secs(1);

/// A frame that asks for the same as one received so much earlier from the same address, and not answered yet, is that request sent
/// again. Its sender has forgotten the earlier tag: an answer under that would only spoil its estimate of the round trip. Two
/// requests for the same at nearly the same time are both answered; the Linux driver looks for late ones ten times a
/// second, others less often.
pub const RESENT_AFTER_MIN: Duration = Duration::from_millis(50);

/// Numbers below its latest one that are remembered of an initiator of sequenced writes: four times as many frames as
/// ours has under way by default.
pub const SEQUENCE_WINDOW: u64 = 1024;

/// Initiators of sequenced writes that a shard remembers, counted once for each export they write to: 300 KiB.
pub const SEQUENCED_INITIATORS_MAX: usize = 1024;

/// An initiator that was idle for so long is forgotten if there is no room for another one. It must have given up
/// every write by then: see [`SEQUENCED_PATIENCE_MAX`].
pub const NUMBERS_IDLE_MIN: Duration = Duration::from_secs(600);

/// An initiator sends a sequenced write again for at most so long.
pub const SEQUENCED_PATIENCE_MAX: Duration = Duration::from_secs(300);

/// Sectors that one ATA command may carry: 64 KiB, more than any Ethernet MTU holds (loopback's 65,536 holds 127).
pub const SECTORS_PER_FRAME_MAX: SectorCount = SectorCount(128);

/// What a Query Config reply means whose sector count is zero.
pub const SECTORS_PER_FRAME_DEFAULT: SectorCount = SectorCount(2);

/// Frames are cut to a multiple of this where they are that large. At MTU 9000 seventeen sectors fit; an initiator
/// that used them all would send 8,704 bytes a frame, and nearly every one would begin inside a 4 KiB block.
pub const SECTORS_PER_FRAME_UNIT: u16 = 8;

/// Smallest MTU that carries a sector.
pub const MTU_MIN: usize = PAYLOAD_OFFSET + SECTOR_BYTES;

/// The longest frame that this crate emits with an argument that is not ATA data: a full config string or list.
pub const CONTROL_FRAME_BYTES_MAX: usize = 28 + MAC_MASK_MAX * 8;

/// Sectors that an AoE frame holds at an MTU: ⌊(MTU − 36) / 512⌋, at most [`SECTORS_PER_FRAME_MAX`].
/// The 36 bytes count the Ethernet header, which the MTU does not; every implementation does, so both sides agree.
#[must_use]
pub const fn sectors_per_frame_raw(mtu: usize) -> SectorCount {
    let sectors = mtu.saturating_sub(PAYLOAD_OFFSET) / SECTOR_BYTES;
    if sectors >= SECTORS_PER_FRAME_MAX.0 as usize {
        return SECTORS_PER_FRAME_MAX;
    }
    #[expect(clippy::cast_possible_truncation, reason = "just compared with a u16")]
    SectorCount(sectors as u16)
}

/// Sectors that a target offers at an MTU: what fits, a multiple of [`SECTORS_PER_FRAME_UNIT`] where that many do.
/// Zero means that the MTU is below [`MTU_MIN`] and AoE cannot run.
#[must_use]
pub const fn sectors_per_frame(mtu: usize) -> SectorCount {
    let SectorCount(raw) = sectors_per_frame_raw(mtu);
    if raw < SECTORS_PER_FRAME_UNIT {
        SectorCount(raw)
    } else {
        SectorCount(raw - raw % SECTORS_PER_FRAME_UNIT)
    }
}

const _: () = {
    assert!(
        NUMBERS_IDLE_MIN.as_secs() > SEQUENCED_PATIENCE_MAX.as_secs() + FRAME_AGE_MAX.as_secs() * 2,
        "who is forgotten has given up"
    );
    assert!(
        ANSWER_AGE_MAX.as_millis() * 4 == FRAME_AGE_MAX.as_millis(),
        "what an answer may take is little beside what a frame may"
    );
    assert!(SECTORS_PER_FRAME_MAX.0 <= 255, "the sector count is one byte on the wire");
    assert!(SECTORS_PER_FRAME_MAX.0 <= 256, "block::IntervalTable takes ranges of at most 256 sectors");
    assert!(
        SECTORS_PER_FRAME_MAX.0.is_multiple_of(SECTORS_PER_FRAME_UNIT),
        "rounding must not change the largest"
    );
    assert!(PAYLOAD_OFFSET == ARGUMENT_OFFSET + 12, "an ATA argument is 12 bytes");
    assert!(ARGUMENT_OFFSET == ETHERNET_BYTES + 10, "an AoE header is 10 bytes");
    assert!(FRAME_BYTES_MIN > PAYLOAD_OFFSET, "a reply without data is header and padding");
    assert!(32 + CONFIG_STRING_BYTES_MAX <= CONTROL_FRAME_BYTES_MAX, "a config string fits a control frame");
    assert!(26 + RESERVATION_MAX * 6 <= CONTROL_FRAME_BYTES_MAX, "a reservation fits a control frame");
    assert!(
        sectors_per_frame(MTU_MIN).0 == 1 && sectors_per_frame(MTU_MIN - 1).0 == 0,
        "MTU_MIN carries one sector"
    );
    assert!(MAC_MASK_MAX <= u8::MAX as usize && RESERVATION_MAX <= u8::MAX as usize, "counts are one byte");
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sectors_per_frame_follow_the_table_and_are_whole_blocks_when_large() {
        let table = [(0, 0, 0), (547, 0, 0), (1500, 2, 2), (4200, 8, 8), (8228, 16, 16), (9000, 17, 16)];
        for (mtu, raw, offered) in table {
            assert_eq!(sectors_per_frame_raw(mtu), SectorCount(raw), "MTU {mtu}");
            assert_eq!(sectors_per_frame(mtu), SectorCount(offered), "MTU {mtu}");
        }
        assert_eq!(sectors_per_frame_raw(65_536), SectorCount(127));
        assert_eq!(sectors_per_frame(65_536), SectorCount(120));
        assert_eq!(sectors_per_frame(usize::MAX), SECTORS_PER_FRAME_MAX);
    }
}
