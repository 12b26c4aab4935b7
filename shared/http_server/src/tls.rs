//! TLS with a certificate that may be renewed while the server runs.

use std::fs;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio_rustls::TlsAcceptor;

/// How often the files are checked. Certificates are renewed weeks before they expire.
const RELOAD_INTERVAL: Duration = Duration::from_secs(60);

/// A server's certificate and key files.
#[derive(Debug, Clone)]
pub struct ServerTls(Arc<Files>);

#[derive(Debug)]
struct Files {
    certificate: PathBuf,
    key: PathBuf,
    present: RwLock<Arc<CertifiedKey>>,
}

/// A certificate that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read, or has other content.
    #[error("{what} in {}: {reason}", .path.display())]
    File {
        /// What should be in the file.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why it cannot be used. It quotes nothing of the file.
        reason: String,
    },
    /// The two do not match, or are of an unknown kind.
    #[error(
        "the certificate in {} cannot be used with the key in {}, or not at all: {reason}",
        .certificate.display(), .key.display()
    )]
    Pair {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// Why not.
        reason: rustls::Error,
    },
}

impl ServerTls {
    /// Reads a certificate, followed by its chain, and its key: both as PEM.
    ///
    /// # Errors
    /// [`TlsError`] names the file.
    pub fn new(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let present = RwLock::new(Arc::new(read(certificate, key)?));
        Ok(Self(Arc::new(Files { certificate: certificate.into(), key: key.into(), present })))
    }

    /// Reloads the files when they change, until `shutdown` ends. If they cannot be used, that is
    /// logged and the old certificate stays.
    pub async fn keep_fresh(self, shutdown: impl Future<Output = ()> + Send) {
        let mut shutdown = pin!(shutdown);
        let mut seen = self.0.changed_at();
        loop {
            tokio::select! {
                () = tokio::time::sleep(RELOAD_INTERVAL) => {}
                () = &mut shutdown => return,
            }
            let now = self.0.changed_at();
            if now == seen {
                continue;
            }
            seen = now;
            match self.read_again() {
                Ok(()) => tracing::info!("the certificate was renewed"),
                Err(error) => {
                    tracing::warn!(%error, "the new certificate cannot be used: keeping the old one")
                }
            }
        }
    }

    fn read_again(&self) -> Result<(), TlsError> {
        let Files { certificate, key, present } = &*self.0;
        let new = Arc::new(read(certificate, key)?);
        *present.write().unwrap_or_else(PoisonError::into_inner) = new;
        Ok(())
    }

    /// Accepts connections: TLS 1.2 and 1.3, and HTTP/1.1 within.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        let files: Arc<dyn ResolvesServerCert> = Arc::clone(&self.0) as _;
        let versions = [&rustls::version::TLS13, &rustls::version::TLS12];
        let config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&versions)
            .expect("ring has cipher suites for both");
        let mut config = config.with_no_client_auth().with_cert_resolver(files);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        TlsAcceptor::from(Arc::new(config))
    }
}

impl Files {
    fn changed_at(&self) -> [Option<SystemTime>; 2] {
        [&self.certificate, &self.key]
            .map(|path| fs::metadata(path).and_then(|file| file.modified()).ok())
    }
}

impl ResolvesServerCert for Files {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.present.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn read(certificate: &Path, key: &Path) -> Result<CertifiedKey, TlsError> {
    let of = |what, path: &Path, reason: String| TlsError::File { what, path: path.into(), reason };
    let of_certificate = |reason| of("the certificate", certificate, reason);
    let chain: Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(certificate).and_then(Iterator::collect);
    let chain = chain.map_err(|error| of_certificate(error.to_string()))?;
    if chain.is_empty() {
        return Err(of_certificate("it holds none as PEM".to_owned()));
    }
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| {
        let reason = match error {
            pem::Error::NoItemsFound => "it holds none as PEM without a passphrase".to_owned(),
            error => error.to_string(),
        };
        of("the certificate's key", key, reason)
    })?;
    CertifiedKey::from_der(chain, private, &provider()).map_err(|reason| TlsError::Pair {
        certificate: certificate.into(),
        key: key.into(),
        reason,
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// The files of a certificate for a name.
    pub(in super::super) fn files(folder: &Path, name: &str) -> (PathBuf, PathBuf) {
        let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        let paths = (folder.join("certificate.pem"), folder.join("key.pem"));
        fs::write(&paths.0, made.cert.pem()).unwrap();
        fs::write(&paths.1, made.signing_key.serialize_pem()).unwrap();
        paths
    }

    #[test]
    fn a_renewed_certificate_is_used_unless_it_is_broken() {
        let folder = tempfile::tempdir().unwrap();
        let (certificate, key) = files(folder.path(), "one.example");
        let tls = ServerTls::new(&certificate, &key).unwrap();
        let present = || tls.0.present.read().unwrap().cert.clone();
        let first = present();
        files(folder.path(), "two.example");
        tls.read_again().unwrap();
        let second = present();
        assert_ne!(first, second);
        fs::write(&certificate, "half of a fil").unwrap();
        assert!(tls.read_again().is_err());
        assert_eq!(present(), second);
    }

    #[test]
    fn an_unusable_file_is_named_without_its_content() {
        let folder = tempfile::tempdir().unwrap();
        let (certificate, key) = files(folder.path(), "one.example");
        let says = |certificate: &Path, key: &Path, part: &str| {
            let error = ServerTls::new(certificate, key).unwrap_err().to_string();
            assert!(error.contains(part) && !error.contains("PRIVATE"), "{error}");
        };
        says(&folder.path().join("none"), &key, "none");
        says(&key, &key, "it holds none as PEM");
        says(&certificate, &certificate, "without a passphrase");
        let other = folder.path().join("other");
        fs::create_dir(&other).unwrap();
        let (_, others_key) = files(&other, "one.example");
        says(&certificate, &others_key, "cannot be used with the key");
    }
}
