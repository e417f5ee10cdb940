//! How an upload is cut into parts of S3: at most 10,000, whatever its length,
//! within buffers that stay small.

const MIB: u64 = 1 << 20;
/// Parts of a multipart upload.
pub const MOST_PARTS: u64 = 10_000;
/// What fits one part is stored by one PUT.
pub const SMALL_PART: u64 = 8 * MIB;
/// The largest part that is buffered; larger ones stream through.
pub const BUFFERED_PART: u64 = 16 * MIB;
/// Buffers of a part that streams through.
const STREAMED_BUFFER: u64 = 4 * MIB;

/// The cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// One PUT.
    Whole {
        /// Bytes.
        length: u64,
    },
    /// Parts of a known number; each is held in memory until it is stored.
    Buffered {
        /// Bytes of each part but the last.
        part: u64,
    },
    /// Parts too large for memory; each streams through small buffers.
    Streamed {
        /// Bytes of each part but the last.
        part: u64,
        /// Bytes of all.
        length: u64,
    },
    /// Parts of an unknown number: at most 78 GiB, beyond which the length must
    /// be stated.
    Unknown,
}

impl Cut {
    /// For a body of `length` bytes, if that is known.
    #[must_use]
    pub fn of(length: Option<u64>) -> Self {
        let Some(length) = length else {
            return Self::Unknown;
        };
        if length <= SMALL_PART {
            return Self::Whole { length };
        }
        let part = length.div_ceil(MOST_PARTS).div_ceil(MIB) * MIB;
        if part <= BUFFERED_PART {
            Self::Buffered {
                part: part.max(SMALL_PART),
            }
        } else {
            Self::Streamed { part, length }
        }
    }

    /// Bytes of a buffer, the largest that the upload ever fills.
    #[must_use]
    pub fn buffer(self) -> u64 {
        match self {
            Self::Whole { length } => length,
            Self::Buffered { part } => part,
            Self::Streamed { .. } => STREAMED_BUFFER,
            Self::Unknown => SMALL_PART,
        }
    }

    /// Bytes of a part that is not the last.
    #[must_use]
    pub fn part(self) -> u64 {
        match self {
            Self::Whole { length } => length,
            Self::Buffered { part } | Self::Streamed { part, .. } => part,
            Self::Unknown => SMALL_PART,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIB: u64 = 1 << 40;

    #[test]
    fn any_length_up_to_5_tib_fits_10_000_parts() {
        for length in [
            SMALL_PART + 1,
            100 * MIB,
            80_000 * MIB,
            80_000 * MIB + 1,
            160_000 * MIB,
            160_000 * MIB + 1,
            TIB,
            5 * TIB,
        ] {
            let cut = Cut::of(Some(length));
            let parts = length.div_ceil(cut.part());
            assert!(
                (1..=MOST_PARTS).contains(&parts),
                "{length}: {parts} parts of {}",
                cut.part()
            );
            assert!(cut.part() >= 5 * MIB && cut.part() <= 5 << 30);
            assert!(cut.buffer() <= BUFFERED_PART);
        }
        assert_eq!(Cut::of(Some(0)), Cut::Whole { length: 0 });
        assert_eq!(Cut::of(Some(SMALL_PART)), Cut::Whole { length: SMALL_PART });
        assert!(matches!(Cut::of(Some(5 * TIB)), Cut::Streamed { .. }));
    }
}
