//! Inputs from this machine: time and randomness.

use std::time::{SystemTime, UNIX_EPOCH};

use evergrant_domain::Timestamp;

/// This machine's clock. Leases and schedules use the store's clock instead
/// ([`crate::StoreClock::now`]), so the clocks of replicas do not matter.
pub fn wall_clock() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_unix_ms(0).plus(since_epoch)
}

/// An id for an entry of the audit record that begins at `now`. Ids sort by time. The random part
/// is `fastrand`'s of this thread, which a simulation seeds.
pub fn new_audit_id(now: Timestamp) -> String {
    // 44 bits of milliseconds last until the year 2527.
    format!("{:011x}{:08x}", now.unix_ms().max(0), fastrand::u32(..))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_entry_has_a_greater_id() {
        let id = |unix_ms| new_audit_id(Timestamp::from_unix_ms(unix_ms));
        assert!(id(1_700_000_000_000) < id(1_700_000_000_001));
        assert!(id(9) < id(1_700_000_000_000));
    }
}
