//! Providers: what is known of them (`preset`), how one is set up (`section`, `settings`, `fingerprint`), and
//! the client of their token endpoint (`client`).

mod client;
mod fingerprint;
mod preset;
mod section;
mod settings;
pub mod token_url;

pub use client::{ClientError, ProviderClient, TokenEndpoint, install_tls};
pub use preset::PresetName;
pub use section::ProviderConfig;
pub use settings::{ClientAuth, Provider};
