//! TLS with a certificate of the simulator's own, and HTTP/2 by ALPN beside HTTP/1.1.

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::TlsAcceptor;

/// Why there can be no TLS.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// No certificate could be made.
    #[error("cannot make a certificate: {0}")]
    Make(#[from] rcgen::Error),
    /// It cannot be used.
    #[error("cannot use the certificate: {0}")]
    Use(#[from] rustls::Error),
}

/// A certificate that signs itself, for `address` and this machine's names: as PEM, and what speaks TLS by it.
pub(crate) fn self_signed(address: SocketAddr) -> Result<(String, TlsAcceptor), CertificateError> {
    let names = ["localhost", "127.0.0.1", "::1"].map(ToOwned::to_owned).into_iter();
    let made = rcgen::generate_simple_self_signed(
        names.chain([address.ip().to_string()]).collect::<Vec<_>>(),
    )?;
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let certificate = CertificateDer::from(made.cert.der().to_vec());
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok((made.cert.pem(), TlsAcceptor::from(Arc::new(config))))
}
