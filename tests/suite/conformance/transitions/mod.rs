//! Random transitions through every store: what becomes of each, and of the documents, is the same.
//! `EVERGRANT_TEST_SEED` draws the same ones again.

mod history;
mod step;

use std::sync::Arc;

use evergrant_mongodb::{MongoSettings, MongoStore};
use evergrant_ports::{Store, wall_clock};
use evergrant_testkit::mongodb as server;
use proptest::collection::vec;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};

use self::history::history;
use self::step::{Step, steps};
use super::adapters;

/// Sequences that are tried.
const CASES: u32 = 16;
/// Transitions in a sequence.
const STEPS_MAX: usize = 60;
/// Shorter sequences that are tried once one has failed.
const SHRINKS_MAX: u32 = 100;

#[test]
fn random_transitions_come_to_the_same_in_every_store() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let settings = runtime.block_on(async { super::store::settings(server::url().await) });
    let given = std::env::var("EVERGRANT_TEST_SEED").ok();
    let given = given.map(|seed| seed.parse().expect("EVERGRANT_TEST_SEED is not a number"));
    let seed: u64 = given.unwrap_or_else(|| wall_clock().unix_ms().unsigned_abs());
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let config = Config {
        cases: CASES,
        max_shrink_iters: SHRINKS_MAX,
        failure_persistence: None,
        ..Config::default()
    };
    let sequences = vec(steps(), 1..=STEPS_MAX);
    let ran = TestRunner::new_with_rng(config, rng)
        .run(&sequences, |steps| runtime.block_on(compare(&settings, &steps)));
    assert!(ran.is_ok(), "EVERGRANT_TEST_SEED={seed}\n{}", ran.unwrap_err());
}

async fn compare(settings: &MongoSettings, steps: &[Step]) -> Result<(), TestCaseError> {
    let collection = format!("tokens-{}", uuid::Uuid::new_v4().simple());
    let settings = MongoSettings { collection, ..settings.clone() };
    let mongodb = Arc::new(MongoStore::connect(settings).await.unwrap()) as Arc<dyn Store>;
    let base = wall_clock();
    let expected = history(&*adapters::memory().await, steps, base).await;
    for (name, store) in [("SQLite", adapters::sqlite().await), ("MongoDB", mongodb)] {
        let found = history(&*store, steps, base).await;
        let differs = expected.iter().zip(&found).find(|(expected, found)| expected != found);
        if let Some((expected, found)) = differs {
            let why = format!("{name} differs from memory:\n  {found}\ninstead of\n  {expected}");
            return Err(TestCaseError::fail(why));
        }
    }
    Ok(())
}
