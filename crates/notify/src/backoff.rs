//! Pauses between tries.

use std::time::Duration;

const LONGEST: Duration = Duration::from_secs(600);

/// The pause after so many failures: doubling from a second to ten minutes, with
/// jitter, so that what failed together does not come back together.
pub fn pause(failures: i64) -> Duration {
    let doubled = u32::try_from(failures.clamp(1, 11) - 1).unwrap_or(0);
    let pause = Duration::from_secs(1 << doubled).min(LONGEST);
    pause.mul_f64(0.75 + rand::random::<f64>() / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_end_at_ten_minutes() {
        for (failures, seconds) in [
            (0, 1.0),
            (1, 1.0),
            (2, 2.0),
            (5, 16.0),
            (11, 600.0),
            (999, 600.0),
        ] {
            for _ in 0..20 {
                let pause = pause(failures).as_secs_f64();
                assert!(
                    (seconds * 0.75..=seconds * 1.25).contains(&pause),
                    "{failures}: {pause}"
                );
            }
        }
    }
}
