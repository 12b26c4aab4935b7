//! Rate limits of login attempts.
//!
//! Each attempt counts for its network and for its user, so that neither one machine nor many
//! together can guess passwords. Guessing must not lock the user out, so a browser with which the
//! user has logged in before is recognized by a cookie, and all such browsers of a user have a
//! limit of their own. Keys are hashed into a fixed number of slots, which limits the memory.

use std::hash::{BuildHasher, Hash, RandomState};
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::Clock;
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};
use tokio::time::Instant;

use super::network::{CUSTOMER_PREFIX, SITE_PREFIX, network_of};

/// Slots of each limit. Two keys may share one by chance; an attacker cannot know which.
const SLOTS: u64 = 65_536;

/// The runtime's clock.
#[derive(Debug, Clone, Copy)]
struct RuntimeClock(Instant);

impl Clock for RuntimeClock {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.0.elapsed()
    }
}

type Limiter = RateLimiter<
    u64,
    HashMapStateStore<u64>,
    RuntimeClock,
    governor::middleware::NoOpMiddleware<Duration>,
>;

/// The rate limits of login attempts.
pub(super) struct LoginLimits {
    clock: RuntimeClock,
    hasher: RandomState,
    networks: Limiter,
    sites: Limiter,
    users: Limiter,
    devices: Limiter,
}

impl LoginLimits {
    pub(super) fn new() -> Self {
        let clock = RuntimeClock(Instant::now());
        let limiter = |burst: u32, every: Duration| {
            let burst = NonZeroU32::new(burst).unwrap_or(NonZeroU32::MIN);
            let quota = Quota::with_period(every).unwrap_or(Quota::per_hour(burst));
            Limiter::hashmap_with_clock(quota.allow_burst(burst), clock)
        };
        Self {
            clock,
            hasher: RandomState::new(),
            networks: limiter(10, Duration::from_secs(10)),
            sites: limiter(40, Duration::from_secs(2)),
            users: limiter(20, Duration::from_secs(5)),
            devices: limiter(10, Duration::from_secs(10)),
        }
    }

    /// Counts an attempt; `known` if it comes from a browser with which the user has logged in
    /// before.
    ///
    /// # Errors
    /// How long to wait, if the limit is exceeded.
    pub(super) fn check(&self, address: IpAddr, user: &str, known: bool) -> Result<(), Duration> {
        if known {
            return self.take(&self.devices, user);
        }
        self.check_network(address)?;
        self.take(&self.users, user)
    }

    /// Counts an attempt of an unknown user.
    ///
    /// # Errors
    /// As [`Self::check`].
    pub(super) fn check_network(&self, address: IpAddr) -> Result<(), Duration> {
        self.take(&self.networks, network_of(address, CUSTOMER_PREFIX))?;
        if address.to_canonical().is_ipv6() {
            self.take(&self.sites, network_of(address, SITE_PREFIX))?;
        }
        Ok(())
    }

    fn take(&self, limiter: &Limiter, key: impl Hash) -> Result<(), Duration> {
        let slot = self.hasher.hash_one(key) % SLOTS;
        limiter.check_key(&slot).map_err(|until| until.wait_time_from(self.clock.now()))
    }

    /// How many keys are remembered.
    #[cfg(test)]
    fn len(&self) -> usize {
        self.networks.len() + self.sites.len() + self.users.len() + self.devices.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(n: u32) -> IpAddr {
        IpAddr::V4(n.into())
    }

    #[tokio::test(start_paused = true)]
    async fn many_failures_lock_nobody_out_and_use_little_memory() {
        let limits = LoginLimits::new();
        let let_through = (0..10_000)
            .filter(|n| limits.check(address(0x0a00_0000 + n), "alice", false).is_ok())
            .count();
        assert!(let_through <= 20, "{let_through} guesses of one user's password from everywhere");
        let one_address = (0..10_000)
            .filter(|n| limits.check(address(1), &format!("user {n}"), false).is_ok())
            .count();
        assert!(one_address <= 10, "{one_address} guesses from one address");
        assert!(limits.len() as u64 <= 4 * SLOTS);
        // The browser that alice has used before is admitted at once, and any other one later.
        assert_eq!(limits.check(address(2), "alice", true), Ok(()));
        let wait = limits.check(address(3), "alice", false).unwrap_err();
        assert!(wait <= Duration::from_secs(5), "{wait:?}");
        tokio::time::advance(wait).await;
        assert_eq!(limits.check(address(4), "alice", false), Ok(()));
    }

    /// How many of the attempts at as many users are admitted, each from the address of its number.
    fn let_through(address_of: impl Fn(u128) -> IpAddr) -> usize {
        let limits = LoginLimits::new();
        let tries = (0..1_000)
            .filter(|n| limits.check(address_of(*n), &format!("user {n}"), false).is_ok());
        tries.count()
    }

    #[tokio::test(start_paused = true)]
    async fn addresses_of_one_customer_are_one() {
        let base = "2001:db8::".parse::<std::net::Ipv6Addr>().unwrap().to_bits();
        let v6 = |bits: u128| IpAddr::V6((base | bits).into());
        assert_eq!(let_through(v6), 10, "addresses of a /64");
        assert_eq!(let_through(|n| v6((n & 0xff) << 64)), 10, "networks of a /56");
        assert_eq!(let_through(|n| v6((n & 0xff) << 72)), 40, "customers of a /48");
        assert_eq!(let_through(|_| "::ffff:192.0.2.1".parse().unwrap()), 10);
        #[allow(clippy::cast_possible_truncation, reason = "small")]
        let all = let_through(|n| address(n as u32));
        assert!(all > 900, "{all} of 1,000 strangers to each other");
    }
}
