//! Random draws that depend on nothing but the seed and what is drawn for.
//!
//! A draw for a grant's nth presentation is the same whatever else arrives and in which order, so
//! a run with one seed meets the same faults on the same grants with any number of workers, and a
//! retry gets a draw of its own.

/// What a draw is for, so that the draws of one request do not resemble each other.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Purpose {
    /// Which fault, if any, a request meets.
    Fault = 1,
    /// How far a request's latency is from the middle.
    Latency = 2,
    /// Whether a seeded document is sound, dead or malformed.
    SeedFate = 3,
    /// In which way a dead or malformed document is so.
    SeedKind = 4,
    /// The first bytes of a seeded document's id.
    DocumentId = 5,
    /// Whether a rule with a share applies to a presentation.
    ScriptedShare = 6,
}

/// A number that is uniform over all 64-bit numbers.
pub(crate) fn bits(seed: u64, purpose: Purpose, subject: u64, attempt: u64) -> u64 {
    let mut state = scramble(seed ^ 0x9e37_79b9_7f4a_7c15);
    for word in [purpose as u64, subject, attempt] {
        state = scramble(state ^ word).wrapping_add(0x9e37_79b9_7f4a_7c15);
    }
    scramble(state)
}

/// A number in `0.0..1.0`.
pub(crate) fn unit(seed: u64, purpose: Purpose, subject: u64, attempt: u64) -> f64 {
    (bits(seed, purpose, subject, attempt) >> 11) as f64 / (1u64 << 53) as f64
}

/// The finaliser of SplitMix64.
fn scramble(mut word: u64) -> u64 {
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_repeat_with_their_seed_and_differ_without_it() {
        assert_eq!(bits(7, Purpose::Fault, 3, 1), bits(7, Purpose::Fault, 3, 1));
        assert_ne!(bits(7, Purpose::Fault, 3, 1), bits(8, Purpose::Fault, 3, 1));
        assert_ne!(bits(7, Purpose::Fault, 3, 1), bits(7, Purpose::Fault, 3, 2));
        assert_ne!(bits(7, Purpose::Fault, 3, 1), bits(7, Purpose::Latency, 3, 1));
    }

    #[test]
    fn draws_are_spread_evenly() {
        let below = (0..100_000).filter(|n| unit(1, Purpose::Fault, *n, 1) < 0.25).count();
        assert!((24_000..26_000).contains(&below), "{below} of 100000 below a quarter");
    }
}
