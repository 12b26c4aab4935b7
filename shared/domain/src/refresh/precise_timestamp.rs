//! A point in the store's time in microseconds, finer than a [`Timestamp`].

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Timestamp;

/// A point in the store's time in microseconds since the Unix epoch. Slots need this precision: at
/// 200 a second they are 5 ms apart.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct PreciseTimestamp(i64);

impl PreciseTimestamp {
    /// From microseconds since the Unix epoch.
    pub const fn from_unix_us(unix_us: i64) -> Self {
        Self(unix_us)
    }

    /// Microseconds since the Unix epoch.
    pub const fn unix_us(self) -> i64 {
        self.0
    }

    /// The time in milliseconds, rounded down.
    pub const fn timestamp(self) -> Timestamp {
        Timestamp::from_unix_ms(self.0.div_euclid(1_000))
    }

    /// This moment, `duration` later, rounded up to a microsecond.
    pub fn plus(self, duration: Duration) -> Self {
        let us = duration.as_nanos().div_ceil(1_000);
        Self(self.0.saturating_add(i64::try_from(us).unwrap_or(i64::MAX)))
    }

    /// How long after `earlier` this is; zero if it is not after.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl From<Timestamp> for PreciseTimestamp {
    fn from(time: Timestamp) -> Self {
        Self(time.unix_ms().saturating_mul(1_000))
    }
}
