//! Reads the frames of a classic little-endian pcap file; just enough for the files in `testdata/`.

const MAGIC: u32 = 0xa1b2_c3d4;
const FILE_HEADER_BYTES: usize = 24;
const FRAME_HEADER_BYTES: usize = 16;

fn u32_at(bytes: &[u8], offset: usize) -> usize {
    let field = bytes[offset..offset + 4].try_into().expect("four bytes");
    usize::try_from(u32::from_le_bytes(field)).expect("32 bits fit")
}

/// The captured bytes of every frame, in order. As libpcap does, a frame is cut at the file's snapshot length.
pub(crate) fn frames(file: &[u8]) -> Vec<&[u8]> {
    assert_eq!(u32_at(file, 0), usize::try_from(MAGIC).expect("32 bits fit"), "a little-endian pcap file");
    let snapshot_length = u32_at(file, 16);
    let mut frames = Vec::new();
    let mut rest = &file[FILE_HEADER_BYTES..];
    while !rest.is_empty() {
        let (header, after) = rest.split_at(FRAME_HEADER_BYTES);
        let (frame, next) = after.split_at(u32_at(header, 8));
        frames.push(&frame[..frame.len().min(snapshot_length)]);
        rest = next;
    }
    frames
}
