//! Assigns documents to shards of a provider's work queue.

use sha2::{Digest, Sha256};

use crate::DocumentId;

/// The shard of a document, `0..shards`. The same on every machine and in every release, so all
/// jobs of one document are in one queue. Zero shards count as one.
pub fn shard_of(id: &DocumentId, shards: u16) -> u16 {
    let shards = u64::from(shards.max(1));
    u16::try_from(stable_hash(id) % shards).unwrap_or(0)
}

/// A hash of an id that does not change between machines, processes and releases.
pub fn stable_hash(id: &DocumentId) -> u64 {
    let digest = Sha256::digest(serde_json::Value::from(id.clone()).to_string());
    let mut first = [0; 8];
    first.copy_from_slice(&digest[..8]);
    u64::from_be_bytes(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_never_changes_between_releases() {
        let id = DocumentId::String("alice".into());
        assert_eq!(shard_of(&id, 16), 14);
        assert_eq!(shard_of(&id, 1), 0);
        assert_eq!(shard_of(&id, 0), 0);
    }

    #[test]
    fn documents_spread_evenly() {
        let mut counts = [0_u32; 4];
        for number in 0..4_000 {
            counts[usize::from(shard_of(&DocumentId::Integer(number), 4))] += 1;
        }
        assert!(counts.iter().all(|count| (850..1_150).contains(count)), "{counts:?}");
    }
}
