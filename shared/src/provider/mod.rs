//! Providers: what is known of them (`preset`), how one is set up (`settings`, `fingerprint`), and
//! the client of their token endpoint (`client`).

mod client;
mod fingerprint;
mod preset;
mod settings;

pub use client::{ClientError, ProviderClient, TokenEndpoint, install_tls};
pub use preset::PresetName;
pub use settings::{ClientAuth, Provider};
