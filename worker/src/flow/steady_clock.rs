//! A clock that also advances while the machine is suspended.
//!
//! The clock of timers (`CLOCK_MONOTONIC`) stops while a machine sleeps, and while a virtual
//! machine is paused, copied or moved. A lease in the store runs out meanwhile. So the age of a
//! lease is also checked by clocks that advance.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The readings of a machine's clocks. Only differences have a meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SteadyTime {
    /// Time since boot, including suspended time. Zero if the system does not provide it.
    pub since_boot: Duration,
    /// The wall clock. It is corrected after a pause that the machine itself did not notice.
    pub wall: Duration,
}

impl SteadyTime {
    /// The time since `earlier`, by the clock that advanced more. A wall clock that is set forward
    /// looks like a pause, which costs only a claim.
    pub fn since(self, earlier: Self) -> Duration {
        let by_boot = self.since_boot.saturating_sub(earlier.since_boot);
        by_boot.max(self.wall.saturating_sub(earlier.wall))
    }
}

/// The source of [`SteadyTime`]. Cheap to clone.
#[derive(Clone)]
pub struct SteadyClock(Arc<dyn Fn() -> SteadyTime + Send + Sync>);

impl SteadyClock {
    /// A clock that shows what `look` returns.
    pub fn new(look: impl Fn() -> SteadyTime + Send + Sync + 'static) -> Self {
        Self(Arc::new(look))
    }

    /// The current reading.
    pub fn now(&self) -> SteadyTime {
        (self.0)()
    }
}

impl Default for SteadyClock {
    /// The clocks of this machine.
    fn default() -> Self {
        Self::new(|| {
            let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            SteadyTime { since_boot: uptime().unwrap_or_default(), wall }
        })
    }
}

impl std::fmt::Debug for SteadyClock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SteadyClock")
    }
}

/// `CLOCK_BOOTTIME`, as Linux reports it.
fn uptime() -> Option<Duration> {
    static UPTIME: LazyLock<Option<File>> = LazyLock::new(|| File::open("/proc/uptime").ok());
    let mut text = [0; 64];
    let read = UPTIME.as_ref()?.read_at(&mut text, 0).ok()?;
    let text = std::str::from_utf8(text.get(..read)?).ok()?;
    Duration::try_from_secs_f64(text.split(' ').next()?.parse().ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(since_boot_s: u64, wall_s: u64) -> SteadyTime {
        let [since_boot, wall] = [since_boot_s, wall_s].map(Duration::from_secs);
        SteadyTime { since_boot, wall }
    }

    #[test]
    fn elapsed_time_follows_the_clock_that_advanced_more() {
        let passed = |later: SteadyTime| later.since(at(100, 1_000)).as_secs();
        assert_eq!(passed(at(105, 1_005)), 5);
        assert_eq!(passed(at(160, 1_001)), 60, "suspended, and the wall clock was set back");
        assert_eq!(passed(at(101, 1_060)), 60, "a virtual machine was paused");
        assert_eq!(passed(at(102, 900)), 2);
    }

    #[test]
    fn the_clocks_of_this_machine_advance() {
        let clock = SteadyClock::default();
        let now = clock.now();
        assert!(now.wall > Duration::ZERO);
        assert!(clock.now().since(now) < Duration::from_secs(3_600));
        assert_eq!(cfg!(target_os = "linux"), uptime().is_some());
    }
}
