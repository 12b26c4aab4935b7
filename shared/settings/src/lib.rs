#![doc = include_str!("../README.md")]

pub mod duration;
mod error;
mod figment_error;
pub mod secret;

pub use error::ConfigError;
pub use figment_error::config_error;
