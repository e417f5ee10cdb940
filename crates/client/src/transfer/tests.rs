//! What spans more than one file of this module.

mod archives;
mod downloading;
mod proxied;
mod sending;
mod server;

use std::time::Duration;

use super::Patience;

/// Tries again at once.
const QUICK: Patience = Patience {
    attempts: 4,
    first: Duration::from_millis(1),
    longest: Duration::from_millis(5),
};

/// Bytes that no compressor makes smaller.
fn noise(size: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(size + 8);
    while bytes.len() < size {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(size);
    bytes
}
