//! Names of buffers. Cores pass these on and never see the bytes behind them; the shell that owns the memory knows
//! what a name means and frees it when told.

/// A name the shell gave to a piece of memory: a slot of a receive ring, a buffer of a pool, a mapped page.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct BufferName(pub u64);

/// `length` bytes at `offset` in the named buffer.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct BufferSlice {
    /// Whose memory.
    pub buffer: BufferName,
    /// First byte, counted from the start of the buffer.
    pub offset: u32,
    /// Number of bytes.
    pub length: u32,
}
