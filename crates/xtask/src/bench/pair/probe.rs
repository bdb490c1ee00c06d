//! An initiator that asks again and again, always anew: how long nobody answers shows to a hundredth of a second. Real ones
//! wait longer and longer between copies of one request, and find the survivor only with the next copy.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use lab::{Error, FrameSocket, Namespace};

/// Waits so long for an answer before the next write is tried.
pub(super) const PATIENCE: Duration = Duration::from_millis(10);
const PAUSE: Duration = Duration::from_millis(2);
const BROADCAST: [u8; 6] = [0xFF; 6];
/// Version 1, shelf 7, slot 1.
const TO_VOLUME: [u8; 5] = [0x10, 0, 0, 7, 1];
const SECTORS_A_WRITE: u8 = 8;
const VOLUME_SECTORS: u32 = 2 << 20;

/// Writes 4 KiB at a time to the target that answers on `eth1` of this host, until it is told to stop. The longest time without an
/// answer, in milliseconds.
pub(super) fn longest_silence(host: &Namespace, stop: &AtomicBool) -> Result<f64, Error> {
    let socket = FrameSocket::open(host, "eth1", PATIENCE)?;
    let query = [&TO_VOLUME[..], &[1, 0, 0, 0, 1], &[0; 36]].concat();
    let nobody = || Error::Unexpected { program: "the pair".into(), detail: "nobody answers for 7.1".into() };
    let told = (0..100).find_map(|_| socket.exchange(&socket.frame_to(BROADCAST, &query)).transpose());
    let answer = told.ok_or_else(nobody)??;
    let mut target = [0; 6];
    target.copy_from_slice(&answer[6..12]);
    let (mut last, mut longest) = (Instant::now(), Duration::ZERO);
    for number in 2_u32.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let answer = socket.exchange(&socket.frame_to(target, &write(number)))?;
        // Flags with the one for an error are no answer.
        if answer.is_some_and(|frame| frame[14] & 0x04 == 0) {
            longest = longest.max(last.elapsed());
            last = Instant::now();
            thread::sleep(PAUSE);
        }
    }
    Ok(longest.max(last.elapsed()).as_secs_f64() * 1e3)
}

/// WRITE SECTORS EXT; no two are alike.
fn write(number: u32) -> Vec<u8> {
    const WRITE_EXT: u8 = 0x34;
    const EXTENDED_WRITE: u8 = 0x41;
    let first = number * u32::from(SECTORS_A_WRITE) % VOLUME_SECTORS;
    let mut frame = TO_VOLUME.to_vec();
    frame.push(0);
    frame.extend_from_slice(&number.to_be_bytes());
    frame.extend_from_slice(&[EXTENDED_WRITE, 0, SECTORS_A_WRITE, WRITE_EXT]);
    frame.extend_from_slice(&u64::from(first).to_le_bytes());
    frame.extend_from_slice(&number.to_be_bytes().repeat(1024));
    frame
}
