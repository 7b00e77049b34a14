//! TLS settings and certificates that reload when their files change.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::secret;

/// Pause between looks at certificate files. Renewals happen days ahead, so a minute would do; tests and people wait less.
pub const LOOK_EVERY: Duration = Duration::from_secs(5);
/// HTTP/2 for gRPC, HTTP/1.1 for everybody else.
pub const HTTP: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A certificate or key file cannot be read.
    #[error("read {what} file")]
    Read {
        /// Which of them.
        what: &'static str,
        /// Why, with the path.
        #[source]
        source: secret::Error,
    },
    /// A text is not PEM of the kind that is needed.
    #[error("read {what} as PEM")]
    Pem {
        /// Which of them.
        what: &'static str,
        /// Why.
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    /// There is no certificate in a PEM text.
    #[error("read {what} as PEM: there is no certificate in it")]
    NoCertificate {
        /// Which of them.
        what: &'static str,
    },
    /// Certificate and key do not fit, or are of a kind that is not supported.
    #[error("use {what} for TLS")]
    Unusable {
        /// Which of them.
        what: &'static str,
        /// Why.
        #[source]
        source: rustls::Error,
    },
}

/// Makes `ring` the process's provider of cryptography. Every `main` and every test that uses TLS calls it first; calling
/// it again does nothing.
pub fn install_crypto() {
    // The only error is that a provider is installed already, and this program has one provider only.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// Reads all certificates of a PEM text.
///
/// # Errors
/// [`Error::Pem`] or [`Error::NoCertificate`].
pub fn certificates(what: &'static str, pem: &str) -> Result<Vec<CertificateDer<'static>>, Error> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    let read = read.map_err(|source| Error::Pem { what, source })?;
    if read.is_empty() { Err(Error::NoCertificate { what }) } else { Ok(read) }
}

/// A client that trusts the authorities in `ca_pem` and nobody else.
///
/// # Errors
/// If `ca_pem` holds no usable certificate.
pub fn client_config(ca_pem: &str) -> Result<ClientConfig, Error> {
    const WHAT: &str = "the certificate authority";
    let mut roots = RootCertStore::empty();
    for certificate in certificates(WHAT, ca_pem)? {
        roots.add(certificate).map_err(|source| Error::Unusable { what: WHAT, source })?;
    }
    install_crypto();
    Ok(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth())
}

/// A server that shows whatever certificate `shown` holds at each handshake.
pub fn server_config(shown: Arc<Reloading>, protocols: &[&[u8]]) -> ServerConfig {
    install_crypto();
    let mut config = ServerConfig::builder().with_no_client_auth().with_cert_resolver(shown);
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    config
}

/// A certificate that follows its files.
pub struct Reloading {
    certificate: PathBuf,
    key: PathBuf,
    shown: ArcSwap<CertifiedKey>,
    /// Stamps of the files from just before they were read, so that no change between reading and following is missed.
    read: ArcSwap<Stamps>,
    changes: watch::Sender<u64>,
}

/// What tells one content of the two files from another without reading them.
type Stamps = [Option<(SystemTime, u64)>; 2];

impl fmt::Debug for Reloading {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Reloading({})", self.certificate.display())
    }
}

impl ResolvesServerCert for Reloading {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.shown.load_full())
    }
}

impl Reloading {
    /// Reads certificate chain and private key, both PEM.
    ///
    /// # Errors
    /// If one cannot be read or they do not fit each other.
    pub fn open(certificate: &Path, key: &Path) -> Result<Arc<Reloading>, Error> {
        let read = ArcSwap::from_pointee(stamps(certificate, key));
        let shown = ArcSwap::from_pointee(read_pair(certificate, key)?);
        let (changes, _) = watch::channel(0);
        let (certificate, key) = (certificate.to_owned(), key.to_owned());
        Ok(Arc::new(Reloading { certificate, key, shown, read, changes }))
    }

    /// Reads the files again and shows what they hold from now on; on an error the old certificate stays.
    ///
    /// # Errors
    /// As [`Reloading::open`].
    pub fn reload(&self) -> Result<(), Error> {
        let found = stamps(&self.certificate, &self.key);
        self.shown.store(Arc::new(read_pair(&self.certificate, &self.key)?));
        self.read.store(Arc::new(found));
        self.changes.send_modify(|count| *count += 1);
        Ok(())
    }

    /// Counts reloads: for programs beside us that must be told, such as the NATS server.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Looks at the files every `every` until `stop`, and reloads when one has changed. A pair that does not fit, such as a
    /// certificate whose key is not there yet, is tried again at the next look.
    pub async fn follow(&self, every: Duration, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(every) => {}
            }
            if stamps(&self.certificate, &self.key) == **self.read.load() {
                continue;
            }
            match self.reload() {
                Ok(()) => tracing::info!(path = %self.certificate.display(), "certificate reloaded"),
                Err(error) => tracing::warn!(
                    error = %crate::telemetry::chain(&error),
                    path = %self.certificate.display(),
                    "certificate changed but cannot be used, keeping the old one"
                ),
            }
        }
    }
}

fn stamps(certificate: &Path, key: &Path) -> Stamps {
    [certificate, key].map(|path| {
        let found = std::fs::metadata(path).ok()?;
        Some((found.modified().ok()?, found.len()))
    })
}

fn read_pair(certificate: &Path, key: &Path) -> Result<CertifiedKey, Error> {
    const CERTIFICATE: &str = "the certificate";
    const KEY: &str = "the private key";
    let read = |what, path| secret::read_given(path).map_err(|source| Error::Read { what, source });
    let chain = certificates(CERTIFICATE, &read(CERTIFICATE, certificate)?)?;
    let key = PrivateKeyDer::from_pem_slice(read(KEY, key)?.as_bytes())
        .map_err(|source| Error::Pem { what: KEY, source })?;
    CertifiedKey::from_der(chain, key, &rustls::crypto::ring::default_provider())
        .map_err(|source| Error::Unusable { what: CERTIFICATE, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_holds_no_certificate_is_refused() {
        for pem in ["", "text", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            assert!(client_config(pem).is_err(), "{pem:?}");
        }
        assert!(matches!(
            Reloading::open(Path::new("/nonexistent"), Path::new("/nonexistent")),
            Err(Error::Read { .. })
        ));
    }
}
