//! Providers: what is known of them (`preset`), how one is set up (`section`, `layers`, `settings`,
//! `clients`, `fingerprint`), what its requests look like (`request_form`, `token_url`, `assertion`), how it is
//! reached (`http_settings`, `http_client`, `host_connections`, `transport`), and the client of its token
//! endpoint (`client`).

mod assertion;
mod client;
mod clients;
mod file_line;
mod fingerprint;
mod host_connections;
mod host_pattern;
mod http_client;
mod http_settings;
mod layers;
mod preset;
mod request_form;
mod section;
mod settings;
mod template;
pub mod token_url;
mod transport;

pub use assertion::AssertionKey;
pub use client::{ClientError, ProviderClient, TokenEndpoint, install_tls};
pub use clients::{ClientConfig, RegisteredClient, TenantClients};
pub use host_pattern::HostPattern;
pub use http_settings::{HttpConfig, HttpSettings};
pub use layers::with_presets;
pub use preset::{
    DEFAULT_PRESET, PresetAbout, PresetFact, PresetFile, PresetSource, PresetVector, VectorMeans,
    preset, preset_names, preset_text,
};
pub use request_form::{BodyForm, RequestForm, RequestMethod, RequestParameter};
pub use section::{ProviderConfig, Rotation, TokenLifetime};
pub use settings::{ClientAuth, Provider};
pub use template::TextTemplate;
pub use token_url::TokenUrl;
