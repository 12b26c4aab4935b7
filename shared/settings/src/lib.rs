//! What the settings of every crate share: [`ConfigError`], durations as people write them, and secrets from
//! files.

pub mod duration;
mod error;
mod figment_error;
pub mod secret;

pub use error::ConfigError;
pub use figment_error::config_error;
