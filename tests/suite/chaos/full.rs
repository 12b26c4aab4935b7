//! The full runs. `tests/run --chaos` runs each of them alone.

use super::{Duration, FaultCounts, ProviderPace, RECOVERY, run};

const GRANTS: u32 = 5_000;

const COUNTS: FaultCounts = FaultCounts {
    worker_kills: 20,
    producer_kills: 4,
    broker_kills: 3,
    database_kills: 3,
    broker_pauses: 2,
    database_pauses: 2,
    cuts: 1,
    pause: Duration::from_secs(30),
    cut: Duration::from_secs(10),
};

/// Slow enough for all faults to find work: 24 a second.
const PACE: ProviderPace = ProviderPace { latency_ms: 1_000, in_flight: 6 };

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes: tests/run --chaos"]
async fn chaos_loses_none_of_5000_grants_within_the_providers_grace() {
    let run = run(&COUNTS, GRANTS, 60, PACE).await;
    run.assert_nothing_is_lost();
    run.assert_it_recovered_within(RECOVERY);
    run.scene.evergrant.assert_no_secret_was_written(&[]);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes: tests/run --chaos"]
async fn chaos_without_a_grace_loses_only_killed_requests() {
    let run = run(&COUNTS, GRANTS, 0, PACE).await;
    run.assert_only_the_wire_was_lost().await;
    run.assert_it_recovered_within(RECOVERY);
    run.scene.evergrant.assert_no_secret_was_written(&[]);
}
