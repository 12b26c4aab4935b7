//! Where the time comes from: the system, or a hand that moves it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// A source of time. Everything the simulator decides takes its time from here, so that a test
/// of a lifetime, a grace or a limit moves the clock instead of waiting.
///
/// Latency is the exception: it is really waited for.
pub trait TimeSource: Send + Sync + 'static {
    /// Microseconds since the Unix epoch. Never goes backwards.
    fn now_us(&self) -> u64;

    /// Milliseconds since the Unix epoch. Never goes backwards.
    fn now_ms(&self) -> u64 {
        self.now_us() / 1_000
    }
}

/// The system's time at the start, carried on by the monotonic clock, so that a step of the wall
/// clock in mid-run changes nothing.
#[derive(Debug, Clone)]
pub struct SystemClock {
    base_us: u64,
    started: Instant,
}

impl SystemClock {
    /// Reads the wall clock once.
    pub fn new() -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
        let base_us = since_epoch.map_or(0, |elapsed| elapsed.as_micros() as u64);
        Self { base_us, started: Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl TimeSource for SystemClock {
    fn now_us(&self) -> u64 {
        self.base_us + self.started.elapsed().as_micros() as u64
    }
}

/// The time of tokio's runtime, set to a time of the calendar: where a test pauses the runtime's time,
/// this clock stands still too, and latency costs none.
#[derive(Debug, Clone)]
pub struct RuntimeClock {
    base_us: u64,
    started: tokio::time::Instant,
}

impl RuntimeClock {
    /// A clock that shows `now_ms` milliseconds since the Unix epoch now.
    pub fn at_ms(now_ms: u64) -> Self {
        Self { base_us: now_ms * 1_000, started: tokio::time::Instant::now() }
    }
}

impl TimeSource for RuntimeClock {
    fn now_us(&self) -> u64 {
        self.base_us + self.started.elapsed().as_micros() as u64
    }
}

/// A clock that stands still until it is moved. Clones share their time.
#[derive(Debug, Clone)]
pub struct ManualClock(Arc<AtomicU64>);

impl ManualClock {
    /// A clock that stands at `now_ms` milliseconds since the Unix epoch.
    pub fn at_ms(now_ms: u64) -> Self {
        Self(Arc::new(AtomicU64::new(now_ms * 1_000)))
    }

    /// Moves the clock forward by milliseconds.
    pub fn advance_ms(&self, by_ms: u64) {
        self.advance_us(by_ms * 1_000);
    }

    /// Moves the clock forward by microseconds.
    pub fn advance_us(&self, by_us: u64) {
        self.0.fetch_add(by_us, Ordering::SeqCst);
    }
}

impl TimeSource for ManualClock {
    fn now_us(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}
