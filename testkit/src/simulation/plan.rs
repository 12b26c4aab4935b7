//! The world of a seed.

use std::time::Duration;

use evergrant_domain::limit::RateLimit;
use evergrant_simulator::FaultRates;
use fastrand::Rng;

use super::poison::Poison;

/// The size of the world, and the rates of faults.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) grants: u32,
    pub(crate) workers: usize,
    pub(crate) producers: usize,
    /// The number of providers. The limit is that of the first.
    pub(crate) providers: usize,
    /// How long faults occur.
    pub(crate) chaos: Duration,
    /// The provider's grace.
    pub(crate) grace_s: u64,
    /// The lifetime of access tokens, which determines the schedule.
    pub(crate) access_token_s: u64,
    /// After how long a death is asked again.
    pub(crate) death_recheck: Duration,
    /// The limit of the provider.
    pub(crate) limit: Option<RateLimit>,
    pub(crate) rescue_means: RescueMeans,
    /// Whether every other worker seals answers with another key, which the others do not have.
    pub(crate) two_keys: bool,
    /// When grants end in any case, if they do.
    pub(crate) end: Option<AbsoluteEnd>,
    /// How long the provider rejects the client at the start.
    pub(crate) wrong_client: Option<Duration>,
    /// The maximum latency of store calls in both directions, in milliseconds.
    pub(crate) store_way_ms: [u64; 2],
    /// A permanent problem, and the number of affected documents.
    pub(crate) poison: Option<(Poison, u32)>,
    /// Whether every other worker has other client settings.
    pub(crate) two_clients: bool,
    /// Whether all workers run on one machine, or each on its own.
    pub(crate) same_machine: bool,
    pub(crate) rates: Rates,
    /// The provider's fault rates.
    pub(crate) provider: FaultRates,
    pub(crate) latency_ms: u64,
    pub(crate) pauses: Pauses,
}

/// A grant's end, which no refresh moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AbsoluteEnd {
    /// How long after a sign-in the settings expect it, in seconds.
    pub(crate) lifetime_s: u64,
    /// Whether the provider enforces it.
    pub(crate) is_true: bool,
}

/// The safeguards of an uncommitted answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RescueMeans {
    /// None: no key is configured.
    None,
    /// The rescue queue only: nothing local may hold answers.
    RescueQueue,
    /// A journal as well.
    Both,
}

/// The theme of a seed.
enum Theme {
    /// All faults occur now and then.
    Chaos,
    /// A few documents have a permanent problem.
    Poison(Poison),
}

impl Theme {
    /// Every sixth seed is about a permanent problem.
    fn draw(rng: &mut Rng) -> Self {
        let poison = Poison::draw(rng);
        if rng.usize(..6) == 0 { Self::Poison(poison) } else { Self::Chaos }
    }
}

/// How often a call fails, from 0 to 1.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rates {
    /// The process crashes at a call.
    pub(crate) crash: f64,
    /// A call fails without an effect.
    pub(crate) store_fails: f64,
    /// A call takes effect and reports a failure.
    pub(crate) store_unanswered: f64,
    /// A call reports a failure and takes effect later.
    pub(crate) store_late: f64,
    /// A call takes seconds.
    pub(crate) store_slow: f64,
    /// A machine is suspended after a claim.
    pub(crate) suspended: f64,
    /// A cursor ends early.
    pub(crate) store_cut: f64,
    pub(crate) queue_fails: f64,
    /// A message is in its queue, but its confirm is lost.
    pub(crate) unconfirmed: f64,
    pub(crate) queue_slow: f64,
    /// A message is confirmed and lost.
    pub(crate) message_lost: f64,
    pub(crate) message_doubled: f64,
    pub(crate) message_late: f64,
    /// Messages are reordered.
    pub(crate) reordered: f64,
    /// A consumer ends at a delivery.
    pub(crate) consumer_lost: f64,
    pub(crate) ack_lost: f64,
    /// The provider is unreachable.
    pub(crate) not_sent: f64,
    /// The provider reports a valid grant as dead.
    pub(crate) dead_for_once: f64,
    /// A user signs in again at the moment when the old token is reported as dead.
    pub(crate) sign_in_at_death: f64,
    /// A journal refuses an answer, or cannot be read.
    pub(crate) journal_fails: f64,
}

/// The mean time between two events of a kind; None is never.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pauses {
    /// A process is killed at an arbitrary point.
    pub(crate) kill: Option<Duration>,
    /// A process is stopped.
    pub(crate) restart: Option<Duration>,
    /// A process is suspended.
    pub(crate) freeze: Option<Duration>,
    pub(crate) sign_in: Option<Duration>,
    pub(crate) revocation: Option<Duration>,
    pub(crate) edit: Option<Duration>,
    /// The provider gives all requests the same answer.
    pub(crate) storm: Option<Duration>,
    /// The store is unavailable for all.
    pub(crate) store_outage: Option<Duration>,
    /// The broker is unavailable for all.
    pub(crate) broker_outage: Option<Duration>,
    /// One process cannot reach the store, or the broker, or both.
    pub(crate) partition: Option<Duration>,
}

/// Longer than a storm in which all grants are reported as dead.
pub(crate) const LONG_RECHECK: Duration = Duration::from_secs(26);

/// A grace longer than any run.
pub(crate) const ENDLESS_GRACE_S: u64 = 100_000;

impl Plan {
    pub(crate) fn draw(rng: &mut Rng) -> Self {
        let theme = Theme::draw(rng);
        let plan = Self::of_chaos(rng);
        let Theme::Poison(poison) = theme else { return plan };
        Self {
            poison: Some((poison, rng.u32(1..=plan.grants / 3))),
            rates: Rates::default(),
            provider: FaultRates::default(),
            pauses: Pauses::default(),
            limit: None,
            end: None,
            wrong_client: None,
            ..plan
        }
    }

    fn of_chaos(rng: &mut Rng) -> Self {
        let grace_s = [0, 0, 30, ENDLESS_GRACE_S][rng.usize(..4)];
        let limit = ["", "", "20/s", "5/s", "2/s"][rng.usize(..5)];
        Self {
            grants: rng.u32(8..=24),
            workers: rng.usize(2..=4),
            producers: rng.usize(1..=2),
            providers: rng.usize(1..=2),
            chaos: Duration::from_secs(rng.u64(40..=100)),
            grace_s,
            access_token_s: rng.u64(24..=60),
            death_recheck: [Duration::ZERO, Duration::from_secs(2), LONG_RECHECK][rng.usize(..3)],
            limit: limit.parse().ok(),
            rescue_means: [
                RescueMeans::None,
                RescueMeans::RescueQueue,
                RescueMeans::Both,
                RescueMeans::Both,
            ][rng.usize(..4)],
            two_keys: rng.usize(..4) == 0,
            end: AbsoluteEnd::draw(rng),
            wrong_client: (rng.usize(..16) == 0)
                .then(|| Duration::from_millis(rng.u64(16_000..=24_000))),
            store_way_ms: store_way_ms(rng),
            two_clients: rng.usize(..4) == 0,
            same_machine: rng.bool(),
            poison: None,
            rates: Rates::draw(rng),
            provider: provider_faults(rng),
            latency_ms: rng.u64(5..=400),
            pauses: Pauses::draw(rng),
        }
    }
}

impl AbsoluteEnd {
    fn draw(rng: &mut Rng) -> Option<Self> {
        let end = Self { lifetime_s: rng.u64(60..=150), is_true: rng.bool() };
        (rng.usize(..4) == 0).then_some(end)
    }
}

/// Mostly small.
fn store_way_ms(rng: &mut Rng) -> [u64; 2] {
    let far = rng.u64(10..=60);
    [[3, 0], [3, 0], [far, 0], [0, far]][rng.usize(..4)]
}

impl Rates {
    fn draw(rng: &mut Rng) -> Self {
        Self {
            crash: rate(rng, 0.01),
            store_fails: rate(rng, 0.1),
            store_unanswered: rate(rng, 0.1),
            store_late: rate(rng, 0.05),
            store_slow: rate(rng, 0.05),
            suspended: rate(rng, 0.1),
            store_cut: rate(rng, 0.1),
            queue_fails: rate(rng, 0.1),
            unconfirmed: rate(rng, 0.1),
            queue_slow: rate(rng, 0.05),
            message_lost: rate(rng, 0.03),
            message_doubled: rate(rng, 0.1),
            message_late: rate(rng, 0.1),
            reordered: rate(rng, 0.5),
            consumer_lost: rate(rng, 0.05),
            ack_lost: rate(rng, 0.05),
            not_sent: rate(rng, 0.1),
            dead_for_once: rate(rng, 0.1),
            sign_in_at_death: rate(rng, 0.3),
            journal_fails: rate(rng, 0.1),
        }
    }
}

impl Pauses {
    fn draw(rng: &mut Rng) -> Self {
        Self {
            kill: pause(rng, 8..=40),
            restart: pause(rng, 10..=60),
            freeze: pause(rng, 10..=40),
            sign_in: pause(rng, 2..=20),
            revocation: pause(rng, 5..=40),
            edit: pause(rng, 5..=30),
            storm: if rng.bool() { None } else { pause(rng, 20..=60) },
            store_outage: pause(rng, 15..=60),
            broker_outage: pause(rng, 15..=60),
            partition: pause(rng, 10..=60),
        }
    }
}

/// Zero for half of the seeds; otherwise small values are more likely.
fn rate(rng: &mut Rng, most: f64) -> f64 {
    if rng.bool() { 0.0 } else { most * rng.f64().powi(2) }
}

fn pause(rng: &mut Rng, seconds: std::ops::RangeInclusive<u64>) -> Option<Duration> {
    rng.bool().then(|| Duration::from_secs(rng.u64(seconds)))
}

fn provider_faults(rng: &mut Rng) -> FaultRates {
    FaultRates {
        http_500: rate(rng, 0.1),
        http_503: rate(rng, 0.1),
        html_error: rate(rng, 0.05),
        reset_before: rate(rng, 0.05),
        reset_after: rate(rng, 0.05),
        no_reply: rate(rng, 0.05),
        truncated_body: rate(rng, 0.05),
        ok_with_error: rate(rng, 0.01),
        expires_in_string: rate(rng, 0.1),
        expires_in_missing: rate(rng, 0.05),
        no_new_refresh_token: rate(rng, 0.05),
        throttle_429: rate(rng, 0.1),
        invalid_grant: rate(rng, 0.03),
        invalid_client: rate(rng, 0.002),
        // Errors that echo tokens are covered by other tests.
        echo_token: 0.0,
    }
}
