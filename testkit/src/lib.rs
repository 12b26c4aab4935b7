//! The test kit: real servers in containers, the project's programs as processes, deployments of
//! both with a provider, chaos tests on real servers, and a simulation without any server.

pub mod browser;
pub mod cases;
pub mod chaos;
pub mod cluster;
pub mod container;
pub mod dedicated;
pub mod deployment;
pub mod docker;
pub mod embedded;
pub mod fault_proxy;
pub mod ledger;
pub mod mongodb;
pub mod mongodb_faults;
pub mod program;
pub mod rabbitmq;
pub mod simulation;

/// An HTTP client.
///
/// # Panics
/// If it cannot be made.
pub fn http_client() -> reqwest::Client {
    evergrant_provider::install_tls();
    reqwest::Client::new()
}

/// The same, which trusts a certificate as well.
///
/// # Panics
/// If it is none as PEM.
pub fn http_client_trusting(certificate: &[u8]) -> reqwest::Client {
    evergrant_provider::install_tls();
    let certificate = reqwest::Certificate::from_pem(certificate).expect("a certificate");
    let client = reqwest::Client::builder().tls_certs_merge([certificate]);
    client.build().expect("an HTTP client")
}
