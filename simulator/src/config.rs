//! What is set once, at the start.

use crate::dialect::{ClientKey, ProviderDialect};
use crate::settings::SimulatorSettings;

/// The simulator's identity and the settings that it starts with.
#[derive(Clone)]
pub struct SimulatorConfig {
    /// The id of the one client that the provider knows.
    pub client_id: String,
    /// Its secret.
    pub client_secret: String,
    /// The key that signs the client's assertions, where it is known.
    pub client_key: Option<ClientKey>,
    /// Whose dialect is spoken. None is RFC 6749.
    pub dialect: Option<ProviderDialect>,
    /// The scope that every grant has, words separated by spaces.
    pub scope: String,
    /// Decides every draw and every token.
    pub seed: u64,
    /// How the provider behaves at first.
    pub settings: SimulatorSettings,
}

impl Default for SimulatorConfig {
    fn default() -> Self {
        Self {
            client_id: "evergrant".to_owned(),
            client_secret: "evergrant-simulator-secret".to_owned(),
            client_key: None,
            dialect: None,
            scope: "data:read offline_access".to_owned(),
            seed: 1,
            settings: SimulatorSettings::default(),
        }
    }
}

/// Shows no secret.
impl std::fmt::Debug for SimulatorConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Config")
            .field("client_id", &self.client_id)
            .field("scope", &self.scope)
            .field("seed", &self.seed)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}
