//! One of each fault, or a few.

use super::{Duration, FaultCounts, ProviderPace, run};

const GRANTS: u32 = 1_200;

const COUNTS: FaultCounts = FaultCounts {
    worker_kills: 6,
    producer_kills: 2,
    broker_kills: 1,
    database_kills: 1,
    broker_pauses: 1,
    database_pauses: 1,
    cuts: 1,
    pause: Duration::from_secs(8),
    cut: Duration::from_secs(3),
};

const PACE: ProviderPace = ProviderPace { latency_ms: 1_000, in_flight: 6 };

#[tokio::test(flavor = "multi_thread")]
async fn kills_pauses_and_cuts_lose_no_grant_within_grace() {
    let run = run(&COUNTS, GRANTS, 60, PACE).await;
    run.assert_nothing_is_lost();
    run.scene.evergrant.assert_no_secret_was_written(&[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_grace_only_killed_requests_are_lost_and_reported() {
    let run = run(&COUNTS, GRANTS, 0, PACE).await;
    run.assert_only_the_wire_was_lost().await;
}
