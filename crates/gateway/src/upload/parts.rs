//! The parts of a multipart upload: at most 10,000 for any length, with small buffers.

const MIB: u64 = 1 << 20;
/// Parts that S3 allows in a multipart upload.
pub const MAX_PARTS: u64 = 10_000;
/// The smallest part. A file that is not larger is stored by one PUT.
pub const MIN_PART: u64 = 8 * MIB;
/// The largest part that is buffered. Larger parts are streamed.
pub const MAX_BUFFERED_PART: u64 = 16 * MIB;
/// The size of the buffers of a streamed part.
const STREAM_BUFFER: u64 = 4 * MIB;

/// How an upload is divided into parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartLayout {
    /// One PUT.
    Whole { length: u64 },
    /// Parts of this size, each held in memory until it is stored.
    Buffered { part: u64 },
    /// Parts of this size, each streamed through small buffers.
    Streamed {
        part: u64,
        /// The length of the file.
        length: u64,
    },
    /// The length is unknown. At most 78 GiB fit; a longer file needs a stated length.
    Unknown,
}

impl PartLayout {
    /// The layout for a body of `length` bytes, or of unknown length.
    #[must_use]
    pub fn for_length(length: Option<u64>) -> Self {
        let Some(length) = length else {
            return Self::Unknown;
        };
        if length <= MIN_PART {
            return Self::Whole { length };
        }
        let part = length.div_ceil(MAX_PARTS).div_ceil(MIB) * MIB;
        if part <= MAX_BUFFERED_PART {
            Self::Buffered {
                part: part.max(MIN_PART),
            }
        } else {
            Self::Streamed { part, length }
        }
    }

    /// The size of the largest buffer that the upload fills.
    #[must_use]
    pub fn buffer_size(self) -> u64 {
        match self {
            Self::Whole { length } => length,
            Self::Buffered { part } => part,
            Self::Streamed { .. } => STREAM_BUFFER,
            Self::Unknown => MIN_PART,
        }
    }

    /// The size of each part but the last.
    #[must_use]
    pub fn part_size(self) -> u64 {
        match self {
            Self::Whole { length } => length,
            Self::Buffered { part } | Self::Streamed { part, .. } => part,
            Self::Unknown => MIN_PART,
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
            MIN_PART + 1,
            100 * MIB,
            80_000 * MIB,
            80_000 * MIB + 1,
            160_000 * MIB,
            160_000 * MIB + 1,
            TIB,
            5 * TIB,
        ] {
            let layout = PartLayout::for_length(Some(length));
            let parts = length.div_ceil(layout.part_size());
            assert!(
                (1..=MAX_PARTS).contains(&parts),
                "{length}: {parts} parts of {}",
                layout.part_size()
            );
            assert!(layout.part_size() >= 5 * MIB && layout.part_size() <= 5 << 30);
            assert!(layout.buffer_size() <= MAX_BUFFERED_PART);
        }
        assert_eq!(
            PartLayout::for_length(Some(0)),
            PartLayout::Whole { length: 0 }
        );
        assert_eq!(
            PartLayout::for_length(Some(MIN_PART)),
            PartLayout::Whole { length: MIN_PART }
        );
        assert!(matches!(
            PartLayout::for_length(Some(5 * TIB)),
            PartLayout::Streamed { .. }
        ));
    }
}
