//! What all replicas know of a provider.

use serde::{Deserialize, Serialize};

use super::gate::Gate;

/// What all replicas know of a provider. It lives in the store, so that every replica acts on it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProviderState {
    /// Its pauses and its circuit.
    pub gate: Gate,
}
