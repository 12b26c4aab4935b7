//! What a store holds, in one line.

use std::fmt;

use evergrant_ports::{StoreError, TransferStore};
use futures::TryStreamExt;
use indicatif::ProgressBar;
use serde_json::Value;
use sha2::{Digest, Sha256};

/// What a store holds: how many documents, and a checksum of its export.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Summary {
    pub(crate) documents: u64,
    /// Of the lines that `evergrant export` writes.
    pub(crate) sha256: String,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} documents, SHA-256 {}", self.documents, self.sha256)
    }
}

/// Reads all documents of a store, each as `moved` makes it.
pub(super) async fn summarise(
    store: &dyn TransferStore,
    moved: impl Fn(Value) -> Value,
    progress: Option<&ProgressBar>,
) -> Result<Summary, StoreError> {
    let mut digest = Sha256::new();
    let mut documents = 0;
    let mut export = store.export();
    while let Some(document) = export.try_next().await? {
        digest.update(moved(document).to_string());
        digest.update(b"\n");
        documents += 1;
        if let Some(progress) = progress {
            progress.inc(1);
        }
    }
    let sha256 = digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(Summary { documents, sha256 })
}
