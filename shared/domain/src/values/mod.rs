//! Ids, times and texts.

pub mod document_id;
pub mod fingerprint;
pub(crate) mod plain_name;
pub(crate) mod prefix_pattern;
pub mod printable;
pub mod provider_id;
pub mod secrets;
pub mod shard;
pub mod timestamp;
