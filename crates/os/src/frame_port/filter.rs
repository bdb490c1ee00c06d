//! Which frames reach us: a program of the kernel's classic filter machine, run for every frame before it costs more.
//!
//! A frame of a VLAN that has no device here arrives at the untagged socket with its tag taken off and the mark "for
//! another host": the filter drops it, or every VLAN of the wire could read and write the disk. The AoE version is
//! not looked at: a request of an unknown version deserves an error, and the target gives it.

use libc::sock_filter;

/// Up to so many addresses are compared one by one in the kernel; beyond that only their hash is.
pub const EXACT_ADDRESSES_MAX: usize = 32;

/// The frames a port wants.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum FrameFilter {
    /// Requests to one of these addresses (shelf, slot), or to a wildcard: for a target.
    Requests {
        /// Own addresses; more than [`EXACT_ADDRESSES_MAX`] of them mean: requests to any address.
        addresses: Vec<(u16, u8)>,
    },
    /// Requests to every address whose number `shelf × 256 + slot` leaves `remainder` when divided by `shards`, or to
    /// a wildcard: for one shard of a target with many addresses.
    Shard {
        /// Number of shards, at least 1.
        shards: u32,
        /// This shard.
        remainder: u32,
    },
    /// Responses: for an initiator.
    Responses,
    /// Responses, and requests for a configuration: for whoever watches who serves what.
    Discovery,
    /// Everything: for whoever listens.
    All,
}

// Places in the frame, and in the kernel's notes about it.
const ETHERTYPE_OFFSET: u32 = 12;
const FLAGS: u32 = 14;
const ADDRESS: u32 = 16;
const COMMAND: u32 = 19;
const PACKET_TYPE: u32 = (libc::SKF_AD_OFF + libc::SKF_AD_PKTTYPE).cast_unsigned();
const VLAN_TAG: u32 = (libc::SKF_AD_OFF + libc::SKF_AD_VLAN_TAG).cast_unsigned();

const RESPONSE_FLAG: u32 = 0x08;
const QUERY_CONFIG: u32 = 1;
const VLAN_ID_MASK: u32 = 0x0fff;
const ANY_SHELF_FROM: u32 = 0x00ff_ff00;
const ANY_SLOT: u32 = 0xff;

// Whole instructions: class, size or operation, addressing.
const LOAD_WORD: u16 = 0x20;
const LOAD_HALF: u16 = 0x28;
const LOAD_BYTE: u16 = 0x30;
const SHIFT_RIGHT: u16 = 0x74;
const AND: u16 = 0x54;
const MODULO: u16 = 0x94;
const IF_EQUAL: u16 = 0x15;
const IF_GREATER: u16 = 0x25;
const IF_AT_LEAST: u16 = 0x35;
const IF_ANY_BIT: u16 = 0x45;
const RETURN: u16 = 0x06;
const REMEMBER: u16 = 0x07; // X = A
const RECALL: u16 = 0x87; // A = X

const TAKE: sock_filter = instruction(RETURN, u32::MAX);
const DROP: sock_filter = instruction(RETURN, 0);

impl FrameFilter {
    /// The filter as the kernel runs it, for a port that has these addresses besides its interface's. A load beyond the end
    /// of a short frame drops the frame.
    pub(crate) fn program(&self, addresses: &[[u8; 6]]) -> Vec<sock_filter> {
        let mut program = recipients(addresses);
        program.extend([instruction(LOAD_WORD, VLAN_TAG), unless(IF_ANY_BIT, VLAN_ID_MASK), DROP]);
        match self {
            Self::Requests { addresses } => {
                program.extend(direction(false));
                if addresses.len() <= EXACT_ADDRESSES_MAX {
                    program.extend(exact_addresses(addresses));
                }
            }
            Self::Shard { shards, remainder } => {
                program.extend(direction(false));
                program.extend(shard(*shards, *remainder));
            }
            Self::Responses => program.extend(direction(true)),
            Self::Discovery => program.extend([
                instruction(LOAD_BYTE, FLAGS),
                jump(IF_ANY_BIT, RESPONSE_FLAG, 3, 0),
                instruction(LOAD_BYTE, COMMAND),
                when(IF_EQUAL, QUERY_CONFIG),
                DROP,
            ]),
            Self::All => {}
        }
        program.push(TAKE);
        program
    }
}

/// Drops what is for others. To the kernel a frame to one of our own further addresses is for another host, too.
///
/// A port with such addresses sees frames of every type, before the kernel has looked at their VLANs: where it has, a frame of a
/// VLAN without a device has lost its tag and is marked in the same way, and could not be told from one of ours.
fn recipients(addresses: &[[u8; 6]]) -> Vec<sock_filter> {
    // PACKET_HOST, _BROADCAST and _MULTICAST are 0 to 2; what is above is for others, or our own sending.
    let multicast = libc::PACKET_MULTICAST.into();
    if addresses.is_empty() {
        return vec![instruction(LOAD_WORD, PACKET_TYPE), unless(IF_GREATER, multicast), DROP];
    }
    let tests = u8::try_from(4 * addresses.len()).expect("few addresses");
    let mut program = vec![
        instruction(LOAD_HALF, ETHERTYPE_OFFSET),
        when(IF_EQUAL, super::ETHERTYPE.into()),
        DROP,
        instruction(LOAD_WORD, PACKET_TYPE),
        jump(IF_GREATER, multicast, 0, tests + 3),
        when(IF_EQUAL, libc::PACKET_OTHERHOST.into()),
        DROP,
    ];
    for ([a, b, c, d, e, f], passed) in addresses.iter().copied().zip(1u8..) {
        program.extend([
            instruction(LOAD_WORD, 0),
            jump(IF_EQUAL, u32::from_be_bytes([a, b, c, d]), 0, 2),
            instruction(LOAD_HALF, 4),
            // Over the other addresses and the DROP behind them.
            jump(IF_EQUAL, u16::from_be_bytes([e, f]).into(), tests - 4 * passed + 1, 0),
        ]);
    }
    program.push(DROP);
    program
}

/// The program that drops every frame.
pub(super) fn nothing() -> Vec<sock_filter> {
    vec![DROP]
}

fn direction(responses: bool) -> [sock_filter; 3] {
    let test = if responses { when(IF_ANY_BIT, RESPONSE_FLAG) } else { unless(IF_ANY_BIT, RESPONSE_FLAG) };
    [instruction(LOAD_BYTE, FLAGS), test, DROP]
}

/// Ends in a DROP that an own address or a wildcard jumps over.
fn exact_addresses(addresses: &[(u16, u8)]) -> Vec<sock_filter> {
    let own = addresses.iter().map(|&(shelf, slot)| (IF_EQUAL, u32::from(shelf) << 8 | u32::from(slot)));
    let mut program = vec![instruction(LOAD_WORD, ADDRESS), instruction(SHIFT_RIGHT, 8)];
    let mut tests = vec![(IF_AT_LEAST, ANY_SHELF_FROM)];
    tests.extend(own);
    // The tests are followed by AND, the test for any slot, and DROP: what passes must land behind that.
    for (passed, &(test, value)) in tests.iter().enumerate() {
        let distance = tests.len() - passed - 1 + 3;
        program.push(jump(test, value, u8::try_from(distance).unwrap_or(u8::MAX), 0));
    }
    program.extend([instruction(AND, 0xff), jump(IF_EQUAL, ANY_SLOT, 1, 0), DROP]);
    program
}

fn shard(shards: u32, remainder: u32) -> Vec<sock_filter> {
    assert!(shards > 0 && remainder < shards, "shard {remainder} of {shards}");
    vec![
        instruction(LOAD_WORD, ADDRESS),
        instruction(SHIFT_RIGHT, 8),
        jump(IF_AT_LEAST, ANY_SHELF_FROM, 7, 0),
        instruction(REMEMBER, 0),
        instruction(AND, 0xff),
        jump(IF_EQUAL, ANY_SLOT, 4, 0),
        instruction(RECALL, 0),
        instruction(MODULO, shards),
        jump(IF_EQUAL, remainder, 1, 0),
        DROP,
    ]
}

const fn instruction(code: u16, k: u32) -> sock_filter {
    sock_filter { code, jt: 0, jf: 0, k }
}

const fn jump(code: u16, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter { code, jt, jf, k }
}

/// Skips the next instruction unless the test holds.
const fn unless(code: u16, k: u32) -> sock_filter {
    jump(code, k, 0, 1)
}

/// Skips the next instruction when the test holds.
const fn when(code: u16, k: u32) -> sock_filter {
    jump(code, k, 1, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the kernel would do, for the instructions used here.
    fn takes(filter: &FrameFilter, frame: &[u8], packet_type: u32, vlan: u32) -> bool {
        runs(&filter.program(&[]), frame, packet_type, vlan)
    }

    fn runs(program: &[sock_filter], frame: &[u8], packet_type: u32, vlan: u32) -> bool {
        let (mut a, mut x, mut at) = (0u32, 0u32, 0usize);
        loop {
            let sock_filter { code, jt, jf, k } = program[at];
            at += 1;
            let mut branch = |holds: bool| at += usize::from(if holds { jt } else { jf });
            match code {
                LOAD_WORD if k == PACKET_TYPE => a = packet_type,
                LOAD_WORD if k == VLAN_TAG => a = vlan,
                LOAD_WORD => match frame.get(k as usize..k as usize + 4) {
                    Some(word) => a = u32::from_be_bytes(word.try_into().expect("four bytes")),
                    None => return false,
                },
                LOAD_HALF => match frame.get(k as usize..k as usize + 2) {
                    Some(half) => a = u16::from_be_bytes(half.try_into().expect("two bytes")).into(),
                    None => return false,
                },
                LOAD_BYTE => match frame.get(k as usize) {
                    Some(&byte) => a = byte.into(),
                    None => return false,
                },
                SHIFT_RIGHT => a >>= k,
                AND => a &= k,
                MODULO => a %= k,
                REMEMBER => x = a,
                RECALL => a = x,
                IF_EQUAL => branch(a == k),
                IF_GREATER => branch(a > k),
                IF_AT_LEAST => branch(a >= k),
                IF_ANY_BIT => branch(a & k != 0),
                RETURN => return k != 0,
                other => panic!("instruction {other:#x}"),
            }
        }
    }

    fn frame(flags: u8, shelf: u16, slot: u8) -> Vec<u8> {
        let mut frame = vec![0; 60];
        frame[12..14].copy_from_slice(&0x88a2u16.to_be_bytes());
        frame[14] = 0x10 | flags;
        frame[16..18].copy_from_slice(&shelf.to_be_bytes());
        frame[18] = slot;
        frame[19] = 0xaa; // the command must not disturb the address
        frame
    }

    #[test]
    fn a_target_takes_its_addresses_and_every_wildcard() {
        let addresses =
            (0..EXACT_ADDRESSES_MAX).map(|index| (7, u8::try_from(index).expect("small"))).collect();
        let filter = FrameFilter::Requests { addresses };
        for (shelf, slot, wanted) in [
            (7, 0, true),
            (7, 31, true),
            (7, 32, false),
            (8, 0, false),
            (0xffff, 0xff, true),
            (0xffff, 9, true),
            (3, 0xff, true),
        ] {
            assert_eq!(takes(&filter, &frame(0, shelf, slot), 0, 0), wanted, "{shelf}.{slot}");
        }
    }

    #[test]
    fn a_target_with_more_addresses_than_the_kernel_compares_takes_any() {
        let addresses = (0..=32).map(|slot| (7, slot)).collect();
        assert!(takes(&FrameFilter::Requests { addresses }, &frame(0, 999, 9), 0, 0));
    }

    #[test]
    fn every_address_belongs_to_exactly_one_shard_and_a_wildcard_to_all() {
        for (shelf, slot) in [(0, 0), (7, 1), (7, 2), (7, 3), (65534, 254)] {
            let takers = (0..3).filter(|&remainder| {
                takes(&FrameFilter::Shard { shards: 3, remainder }, &frame(0, shelf, slot), 0, 0)
            });
            let number = u32::from(shelf) * 256 + u32::from(slot);
            assert_eq!(takers.collect::<Vec<_>>(), [number % 3], "{shelf}.{slot}");
        }
        for (shelf, slot) in [(0xffff, 1), (7, 0xff), (0xffff, 0xff)] {
            for remainder in 0..3 {
                assert!(takes(&FrameFilter::Shard { shards: 3, remainder }, &frame(0, shelf, slot), 0, 0));
            }
        }
    }

    #[test]
    fn requests_and_responses_are_told_apart() {
        let (request, response) = (frame(0, 7, 1), frame(0x08, 7, 1));
        let target = FrameFilter::Requests { addresses: vec![(7, 1)] };
        assert!(takes(&target, &request, 0, 0) && !takes(&target, &response, 0, 0));
        assert!(!takes(&FrameFilter::Responses, &request, 0, 0));
        assert!(takes(&FrameFilter::Responses, &response, 0, 0));
        assert!(takes(&FrameFilter::All, &request, 0, 0) && takes(&FrameFilter::All, &response, 0, 0));
    }

    #[test]
    fn who_watches_sees_responses_and_requests_for_a_configuration_and_no_load() {
        let with_command = |flags, command| {
            let mut frame = frame(flags, 7, 1);
            frame[19] = command;
            frame
        };
        for (flags, command, wanted) in
            [(0, 0, false), (0, 1, true), (0, 2, false), (8, 0, true), (8, 1, true)]
        {
            let frame = with_command(flags, command);
            assert_eq!(takes(&FrameFilter::Discovery, &frame, 0, 0), wanted, "{flags} {command}");
        }
    }

    #[test]
    fn frames_of_other_hosts_and_other_vlans_are_dropped_and_priority_tags_are_not() {
        for filter in [FrameFilter::All, FrameFilter::Requests { addresses: vec![(7, 1)] }] {
            let frame = frame(0, 7, 1);
            for (packet_type, wanted) in [(0, true), (1, true), (2, true), (3, false), (4, false)] {
                assert_eq!(takes(&filter, &frame, packet_type, 0), wanted, "type {packet_type}");
            }
            assert!(!takes(&filter, &frame, 0, 42));
            assert!(takes(&filter, &frame, 0, 0xe000), "priority 7, no VLAN");
        }
    }

    #[test]
    fn a_port_with_addresses_of_its_own_takes_what_is_for_them_and_nothing_more_of_others() {
        let own = [[2, 1, 2, 3, 4, 6], [2, 1, 2, 3, 4, 7]];
        let program = FrameFilter::Requests { addresses: vec![(7, 1)] }.program(&own);
        let to = |destination: [u8; 6], shelf| {
            let mut frame = frame(0, shelf, 1);
            frame[..6].copy_from_slice(&destination);
            frame
        };
        const OTHER_HOST: u32 = 3;
        for address in own {
            assert!(runs(&program, &to(address, 7), OTHER_HOST, 0));
            assert!(!runs(&program, &to(address, 8), OTHER_HOST, 0), "another shelf");
            assert!(!runs(&program, &to(address, 7), OTHER_HOST, 42), "another VLAN");
            assert!(!runs(&program, &to(address, 7), 4, 0), "sent from here");
        }
        assert!(!runs(&program, &to([2, 1, 2, 3, 4, 8], 7), OTHER_HOST, 0));
        assert!(!runs(&program, &to([3, 1, 2, 3, 4, 6], 7), OTHER_HOST, 0));
        for packet_type in 0..3 {
            assert!(runs(&program, &to([9; 6], 7), packet_type, 0));
        }
        let mut other_type = to(own[0], 7);
        other_type[12..14].copy_from_slice(&[8, 0]);
        assert!(!runs(&program, &other_type, 0, 0), "the port sees frames of every type");
    }

    #[test]
    fn a_version_that_nobody_knows_is_left_to_the_target_to_refuse() {
        let mut strange = frame(0, 7, 1);
        strange[14] = 0x20;
        assert!(takes(&FrameFilter::Requests { addresses: vec![(7, 1)] }, &strange, 0, 0));
    }

    #[test]
    fn a_frame_too_short_for_its_address_is_dropped() {
        let filter = FrameFilter::Requests { addresses: vec![(7, 1)] };
        assert!(!takes(&filter, &frame(0, 7, 1)[..19], 0, 0));
        assert!(!takes(&filter, &[], 0, 0));
    }
}
