use std::sync::Mutex;
use std::sync::atomic::Ordering;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::*;
use crate::fake_store::FakeStore;
use evergrant_domain::provider_state::OperatorPause;
use evergrant_domain::settlement::TripReason;

const MS: Duration = Duration::from_millis(1);
const RTT: Duration = Duration::from_millis(2);

fn replica(store: &Arc<FakeStore>, limits: &[&str]) -> Arc<SharedBudget> {
    let limits = limits.iter().map(|limit| limit.parse().unwrap()).collect();
    let (provider, client) = ("p".parse().unwrap(), "client".to_owned());
    let settings = BudgetSettings { provider, limits, client, metrics: ProcessMetrics::default() };
    Arc::new(SharedBudget::start(store.clone(), settings))
}

fn replicas(count: usize, limits: &[&str]) -> (Arc<FakeStore>, Vec<Arc<SharedBudget>>) {
    let store = Arc::new(FakeStore::new(RTT));
    let replicas = (0..count).map(|_| replica(&store, limits)).collect();
    (store, replicas)
}

/// When requests reach the provider, since the start of the test.
#[derive(Default)]
struct Provider {
    arrivals: Mutex<Vec<Duration>>,
    waits: Mutex<Vec<Duration>>,
}

impl Provider {
    fn arrivals(&self) -> Vec<Duration> {
        let mut arrivals = self.arrivals.lock().unwrap().clone();
        arrivals.sort();
        arrivals
    }

    fn longest_wait(&self) -> Duration {
        self.waits.lock().unwrap().iter().copied().max().unwrap_or_default()
    }
}

/// Each replica sends what its budget permits, with this many requests waiting. An answer takes
/// `latency`, and a request reaches the provider after up to `jitter`.
async fn spend(
    replicas: &[Arc<SharedBudget>],
    waiters: usize,
    (latency, jitter): (Duration, Duration),
    duration: Duration,
) -> Provider {
    let provider = Arc::new(Provider::default());
    let start = Instant::now();
    let mut senders = JoinSet::new();
    for budget in replicas {
        for _ in 0..waiters {
            let (budget, provider) = (Arc::clone(budget), Arc::clone(&provider));
            senders.spawn(async move {
                let end = start + duration;
                while Instant::now() < end {
                    let asked = Instant::now();
                    let acquired = tokio::time::timeout_at(end, budget.acquire()).await;
                    let Ok(permit) = acquired else { break };
                    provider.waits.lock().unwrap().push(asked.elapsed());
                    sleep(jitter.mul_f64(fastrand::f64())).await;
                    provider.arrivals.lock().unwrap().push(start.elapsed());
                    sleep(latency).await;
                    permit.answered();
                }
            });
        }
    }
    senders.join_all().await;
    Arc::into_inner(provider).unwrap()
}

fn most_in(window: Duration, arrivals: &[Duration]) -> usize {
    let within = |start: Duration| arrivals.partition_point(|at| *at < start + window);
    arrivals.iter().enumerate().map(|(index, at)| within(*at) - index).max().unwrap_or(0)
}

/// The used share of a limit after the first second.
fn used(limit: u32, arrivals: &[Duration], until: Duration) -> f64 {
    let warm = Duration::from_secs(1);
    let steady = arrivals.iter().filter(|at| **at >= warm && **at < until).count();
    steady as f64 / (f64::from(limit) * (until - warm).as_secs_f64())
}

#[tokio::test(start_paused = true)]
async fn replicas_together_use_a_limit_and_never_exceed_it() {
    for count in [1, 4, 16] {
        let (store, replicas) = replicas(count, &["200/s"]);
        let until = Duration::from_secs(30);
        let provider = spend(&replicas, 64, (MS * 20, MS * 8), until).await;
        let arrivals = provider.arrivals();
        let most = most_in(Duration::from_secs(1), &arrivals);
        assert!(most <= 200, "{count} replicas: {most} in a second");
        let used = used(200, &arrivals, until);
        assert!(used >= 0.98, "{count} replicas used {used}");
        let looks = store.reads.load(Ordering::Relaxed) as f64 / 30.0 / count as f64;
        assert!(looks < 12.0, "{count} replicas: {looks} looks a second each");
    }
}

#[tokio::test(start_paused = true)]
async fn a_steady_latency_costs_the_budget_nothing() {
    let (_store, replicas) = replicas(2, &["200/s"]);
    let until = Duration::from_secs(20);
    let provider = spend(&replicas, 300, (MS * 900, MS * 5), until).await;
    let used = used(200, &provider.arrivals(), until);
    assert!(used >= 0.98, "{used}");
}

#[tokio::test(start_paused = true)]
async fn with_often_late_requests_the_limit_holds() {
    let (_store, replicas) = replicas(4, &["100/s"]);
    let until = Duration::from_secs(60);
    let provider = spend(&replicas, 64, (MS * 5, MS * 60), until).await;
    let arrivals = provider.arrivals();
    let used = used(100, &arrivals, until);
    // It costs the lateness, and a little more until that is known.
    assert!(used >= 0.88, "{used}");
    // Before any fast answer, lateness is unknown.
    let known = arrivals.partition_point(|at| *at < Duration::from_secs(1));
    let most = most_in(Duration::from_secs(1), &arrivals[known..]);
    assert!(most <= 100, "{most}");
}

#[tokio::test(start_paused = true)]
async fn replicas_that_compete_do_not_starve() {
    let (_store, replicas) = replicas(16, &["200/s"]);
    // A replica's share of a second.
    let provider = spend(&replicas, 12, (MS * 20, MS), Duration::from_secs(30)).await;
    let longest = provider.longest_wait();
    assert!(longest < Duration::from_secs(3), "{longest:?}");
}

#[tokio::test(start_paused = true)]
async fn small_limits_hold_and_are_used() {
    for (limit, window_s, requests, run_s) in
        [("1/s", 1, 1, 60), ("10/min", 60, 10, 600), ("1/h", 3_600, 1, 7_300)]
    {
        let (_store, replicas) = replicas(2, &[limit]);
        let provider = spend(&replicas, 1, (MS * 20, MS * 10), Duration::from_secs(run_s)).await;
        let arrivals = provider.arrivals();
        let most = most_in(Duration::from_secs(window_s), &arrivals);
        assert!(most <= requests, "{limit}: {most}");
        let ideal = run_s as f64 / window_s as f64 * requests as f64;
        assert!(arrivals.len() as f64 >= ideal * 0.96, "{limit}: {}", arrivals.len());
    }
}

#[tokio::test(start_paused = true)]
async fn several_limits_all_hold() {
    let (_store, replicas) = replicas(2, &["10/s", "300/min"]);
    let provider = spend(&replicas, 20, (MS * 20, MS), Duration::from_secs(120)).await;
    let arrivals = provider.arrivals();
    assert!(most_in(Duration::from_secs(1), &arrivals) <= 10);
    assert!(most_in(Duration::from_secs(60), &arrivals) <= 300);
    assert!(arrivals.len() >= 588, "{}", arrivals.len());
}

#[tokio::test(start_paused = true)]
async fn an_idle_replica_makes_no_store_calls() {
    let (store, replicas) = replicas(2, &["200/s"]);
    replicas[0].acquire().await.answered();
    sleep(Duration::from_secs(5)).await;
    let (state, reads) = (store.state(), store.reads.load(Ordering::Relaxed));
    sleep(Duration::from_secs(60)).await;
    assert_eq!((store.state(), store.reads.load(Ordering::Relaxed)), (state, reads));
}

#[tokio::test(start_paused = true)]
async fn without_a_limit_nothing_waits_and_reads_are_rare() {
    let (store, replicas) = replicas(1, &[]);
    let provider = spend(&replicas, 8, (MS, MS), Duration::from_secs(10)).await;
    assert!(provider.arrivals().len() > 10_000, "{}", provider.arrivals().len());
    assert!(store.reads.load(Ordering::Relaxed) < 80);
    assert_eq!(store.writes.load(Ordering::Relaxed), 1, "who we are, once");
}

/// Sends in the background and returns when requests arrived.
fn spending(
    replicas: &[Arc<SharedBudget>],
    duration: Duration,
) -> tokio::task::JoinHandle<Vec<Duration>> {
    let replicas = replicas.to_vec();
    tokio::spawn(async move { spend(&replicas, 16, (MS * 5, MS), duration).await.arrivals() })
}

fn between(arrivals: &[Duration], from_ms: u64, to_ms: u64) -> usize {
    let range = Duration::from_millis(from_ms)..Duration::from_millis(to_ms);
    arrivals.iter().filter(|at| range.contains(*at)).count()
}

#[tokio::test(start_paused = true)]
async fn a_pause_and_its_end_reach_every_replica_quickly() {
    for limits in [vec!["200/s"], vec![]] {
        let (_store, replicas) = replicas(4, &limits);
        let spending = spending(&replicas, Duration::from_secs(10));
        sleep(Duration::from_secs(2)).await;
        replicas[0].note(&BudgetSignal::Pause(Duration::from_secs(5)));
        let arrivals = spending.await.unwrap();
        assert!(between(&arrivals, 0, 2_000) > 300);
        assert_eq!(between(&arrivals, 2_500, 6_999), 0);
        assert!(between(&arrivals, 7_000, 7_500) > 50, "{}", between(&arrivals, 7_000, 7_500));
    }
}

#[tokio::test(start_paused = true)]
async fn an_operator_pauses_and_resumes() {
    let (store, replicas) = replicas(4, &["200/s"]);
    let spending = spending(&replicas, Duration::from_secs(10));
    sleep(Duration::from_secs(2)).await;
    store.change(|state, now| {
        state.pause = Some(OperatorPause { until: None, since: now, why: "a test".to_owned() });
    });
    sleep(Duration::from_secs(4)).await;
    assert!(replicas[3].shut_for() > Some(Duration::from_secs(60)));
    store.change(|state, _| state.pause = None);
    let arrivals = spending.await.unwrap();
    assert_eq!(between(&arrivals, 2_500, 5_999), 0);
    assert!(between(&arrivals, 6_500, 7_500) > 190);
}

#[tokio::test(start_paused = true)]
async fn one_replicas_successful_probe_closes_the_circuit_for_all() {
    for limits in [vec!["200/s"], vec![]] {
        let (store, replicas) = replicas(4, &limits);
        replicas[0].note(&BudgetSignal::Trip(TripReason::Misconfigured));
        sleep(MS * 100).await;
        let spending = spending(&replicas, Duration::from_secs(30));
        sleep(Duration::from_secs(17)).await;
        assert!(store.state().gate.tripped().is_some());
        replicas[1].note(&BudgetSignal::Healthy);
        let arrivals = spending.await.unwrap();
        assert_eq!(between(&arrivals, 0, 17_000), 1, "one probe");
        assert!(between(&arrivals, 17_000, 18_000) > 100);
        assert_eq!(store.state().gate.tripped(), None);
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_changes_nothing_writes_nothing() {
    let (store, replicas) = replicas(1, &["200/s"]);
    replicas[0].acquire().await.answered();
    // The first success shows that the client works.
    replicas[0].note(&BudgetSignal::Healthy);
    sleep(Duration::from_secs(2)).await;
    let writes = store.writes.load(Ordering::Relaxed);
    replicas[0].note(&BudgetSignal::Healthy);
    replicas[0].note(&BudgetSignal::Neutral);
    sleep(Duration::from_secs(2)).await;
    assert_eq!(store.writes.load(Ordering::Relaxed), writes);
}

#[tokio::test(start_paused = true)]
async fn without_the_store_only_reserved_slots_are_used() {
    for limits in [vec!["200/s"], vec![]] {
        let (store, replicas) = replicas(2, &limits);
        let spending = spending(&replicas, Duration::from_secs(10));
        sleep(Duration::from_secs(2)).await;
        store.away.store(true, Ordering::Relaxed);
        sleep(Duration::from_secs(4)).await;
        store.away.store(false, Ordering::Relaxed);
        let arrivals = spending.await.unwrap();
        assert_eq!(between(&arrivals, 2_600, 6_000), 0);
        assert!(between(&arrivals, 7_100, 8_100) > 190);
        if !limits.is_empty() {
            assert!(most_in(Duration::from_secs(1), &arrivals) <= 200);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_changed_limit_holds_within_a_second() {
    let (store, replicas) = replicas(4, &["1/h"]);
    let spending = spending(&replicas, Duration::from_secs(20));
    sleep(Duration::from_secs(5)).await;
    store.change(|state, _| state.limits = Some(vec!["100/s".parse().unwrap()]));
    sleep(Duration::from_secs(5)).await;
    store.change(|state, _| state.limits = Some(vec!["10/s".parse().unwrap()]));
    let arrivals = spending.await.unwrap();
    assert!(between(&arrivals, 6_000, 7_000) >= 98);
    assert!(between(&arrivals, 11_000, 12_000) <= 10);
}

#[tokio::test(start_paused = true)]
async fn waiters_are_served_in_order_and_may_give_up() {
    let (_store, replicas) = replicas(1, &["1/s"]);
    let budget = &replicas[0];
    budget.acquire().await.answered();
    let start = Instant::now();
    let given_up = tokio::time::timeout(MS * 800, budget.acquire()).await;
    assert!(given_up.is_err());
    budget.acquire().await.answered();
    assert!(start.elapsed() <= MS * 1_030, "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_dies_wastes_one_slice() {
    let (_store, mut replicas) = replicas(2, &["200/s"]);
    let survivor = spending(&replicas[..1], Duration::from_secs(10));
    let victim = spending(&replicas[1..], Duration::from_secs(10));
    sleep(Duration::from_secs(5)).await;
    victim.abort();
    replicas.truncate(1);
    let arrivals = survivor.await.unwrap();
    assert!(between(&arrivals, 5_400, 6_400) >= 190, "{}", between(&arrivals, 5_400, 6_400));
}

#[tokio::test(start_paused = true)]
async fn slow_writes_lower_the_rate_but_do_not_stop_it() {
    for (read_ms, write_ms) in
        [(2, 200), (2, 400), (2, 1_000), (100, 200), (200, 400), (500, 1_000)]
    {
        for (count, limit, requests) in [(1, "10/s", 10), (4, "10/s", 10), (4, "200/s", 200)] {
            let store = FakeStore::with_writes(MS * read_ms, MS * write_ms);
            let store = Arc::new(store);
            let replicas: Vec<_> = (0..count).map(|_| replica(&store, &[limit])).collect();
            let until = Duration::from_secs(60);
            let waiters = (requests * 4) as usize;
            let provider = spend(&replicas, waiters, (MS * 20, MS * 8), until).await;
            let arrivals = provider.arrivals();
            let case = format!("{count} replicas, {limit}, {read_ms} and {write_ms} ms");
            let most = most_in(Duration::from_secs(1), &arrivals);
            assert!(most <= requests as usize, "{case}: {most} in a second");
            let after = Duration::from_secs(10);
            let steady = arrivals.iter().filter(|at| **at >= after).count();
            let used = steady as f64 / (f64::from(requests) * (until - after).as_secs_f64());
            eprintln!("{case}: used {used}");
            assert!(used >= 0.5, "{case}: used {used}");
            assert!(store.state().slow_store.is_some(), "{case}: it is told");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_limit_slow_reads_do_not_stop_requests() {
    let store = Arc::new(FakeStore::with_writes(MS * 500, MS * 1_000));
    let provider = spend(&[replica(&store, &[])], 8, (MS * 10, MS), Duration::from_secs(20)).await;
    let arrivals = provider.arrivals();
    let longest = arrivals.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap();
    assert!(longest < MS * 100, "{longest:?}");
}

#[tokio::test(start_paused = true)]
async fn replicas_with_differing_clock_estimates_keep_the_limit() {
    for error_ms in [0, 10, 60, 150] {
        let store = FakeStore::new(RTT);
        let seen = |behind_ms| Arc::new(store.seen_behind(MS * behind_ms, MS * error_ms));
        // One is exact; the other is as wrong as it reports.
        let replicas = [replica(&seen(0), &["50/s"]), replica(&seen(error_ms), &["50/s"])];
        let until = Duration::from_secs(60);
        let provider = spend(&replicas, 64, (MS * 20, MS * 2), until).await;
        let arrivals = provider.arrivals();
        let most = most_in(Duration::from_secs(1), &arrivals);
        let used = used(50, &arrivals, until);
        eprintln!("{error_ms} ms: {most}, used {used}");
        assert!(most <= 50, "{error_ms} ms: {most} in a second");
        assert!(used >= 0.4, "{error_ms} ms: used {used}");
    }
}
