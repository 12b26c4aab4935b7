//! Users at the provider and in a store, judged by the provider's ledger.

use std::path::Path;

use evergrant_ports::TransferStore;
use evergrant_simulator::{CheckReport, LedgerDocument, SeedPlan, SimulatorHandle};
use futures::TryStreamExt;

/// Creates users at the provider and a file of their documents in `folder`; returns its path.
///
/// # Panics
/// If the file cannot be written.
pub fn seed_file(simulator: &SimulatorHandle, plan: SeedPlan, folder: &Path) -> String {
    let path = folder.join("tokens.jsonl");
    let lines: Vec<String> = simulator
        .seed(plan)
        .expect("a plan")
        .map(|document| serde_json::to_string(&document).expect("JSON"))
        .collect();
    std::fs::write(&path, lines.join("\n") + "\n").expect("write the documents");
    path.to_str().expect("a path in UTF-8").to_owned()
}

/// The ledger's verdict on all documents of a store.
///
/// # Panics
/// If the store does not answer.
pub async fn judge(simulator: &SimulatorHandle, store: &dyn TransferStore) -> CheckReport {
    let documents: Vec<serde_json::Value> =
        store.export().try_collect().await.expect("read all documents");
    let documents: Vec<_> = documents
        .iter()
        .map(|document| {
            let json = serde_json::to_vec(document).expect("JSON");
            LedgerDocument::from_json(&json).expect("a document")
        })
        .collect();
    simulator.check(&documents)
}
