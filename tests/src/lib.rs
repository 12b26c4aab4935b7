//! What the tests share: real servers in containers, the project's programs as processes, and
//! deployments of both beside a provider.

pub mod container;
pub mod deployment;
pub mod mongodb;
pub mod program;
pub mod rabbitmq;

/// An HTTP client.
///
/// # Panics
/// If it cannot be made.
pub fn http_client() -> reqwest::Client {
    evergrant_shared::provider::install_tls();
    reqwest::Client::new()
}
