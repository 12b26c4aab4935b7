#![doc = include_str!("../README.md")]

pub mod duration;
mod error;
mod figment_error;
pub mod secret;
mod tls_pair;

pub use error::ConfigError;
pub use figment_error::config_error;
pub use tls_pair::{check_tls_pair, tls_pair};
